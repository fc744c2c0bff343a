"""What a row costs on the embedded model over a bare llama.cpp loop: processor time, in alternating pairs, in one run.

    python tests/benchmarks/embedded.py [--rows N] [--pairs N] [--shots 0,4,16]

The bare loop asks xllamacpp in this very process for one token after each of the prompts that the task sends, with
llama.cpp's own reuse of what prompts share: no HTTP, nothing listed, nothing read. Beside it stands the same loop with
500 log-probabilities listed for each prompt, which is what label scores are made of.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import fewshot
from fewshot.models.endpoint import EMBEDDED_CONTEXT
from fewshot.models.local import server as local
from fewshot.models.openai_client import OpenAIClient
from fewshot.types import Completion, Request

FIRST = (
    "Superb",
    "Dull",
    "My",
    "Nobody",
    "We",
    "After",
    "Still",
    "Two",
    "Broken",
    "Such",
    "It",
    "Never",
    "Good",
    "All",
)
TEXT = "{first} lamp {i:04d} came today and works, though the box had a dent and there was no manual in it."
"""Texts begin differently, as real ones do: what they share would be computed once in the bare loop."""


def bare_loop(prompts: list[str], listed: int) -> Callable[[], None]:
    """Give a loop over prompts on a server of its own."""
    xllamacpp = local._llama()
    params = xllamacpp.CommonParams()
    params.model.path = str(local.serve().path)
    params.verbosity, params.ui, params.warmup, params.fit_params, params.cache_ram_mib = -1, False, False, False, 0
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel = EMBEDDED_CONTEXT, 1
    params.n_batch = params.n_ubatch = local._BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = local._threads()
    server = xllamacpp.Server(params)
    local._await_loop(server.listening_address, "")

    def loop() -> None:
        for prompt in prompts:
            body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "cache_prompt": True, "logprobs": listed}
            assert server.handle_completions(body)["choices"][0]["finish_reason"] == "length"

    return loop


def recorded(work: Callable[[], None]) -> list[str]:
    """Give the prompts that work sends, in their order."""
    prompts: list[str] = []
    complete = OpenAIClient.complete

    async def recording(self: OpenAIClient, request: Request, *, deadline: float | None = None) -> Completion:
        assert request.text is not None
        prompts.append(request.text)
        return await complete(self, request, deadline=deadline)

    OpenAIClient.complete = recording  # type: ignore[method-assign]
    try:
        work()
    finally:
        OpenAIClient.complete = complete  # type: ignore[method-assign]
    return prompts


def cost(work: Callable[[], None]) -> float:
    """Give the processor time of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--shots", default="0,4,16")
    args = parser.parse_args()
    texts = [TEXT.format(first=FIRST[i % len(FIRST)], i=i) for i in range(args.rows)]
    print("| shots | requests a row | bare loop, s a row | with 500 listed, x | fewshot, x (lowest, highest) |")
    print("|---|---|---|---|---|")
    for shots in map(int, args.shots.split(",")):
        task = fewshot.load("sentiment", model="local", k=shots, calibrate=False)

        def ours(task: fewshot.Task[Any] = task) -> None:
            assert not [result for result in task.map(texts) if result.error]

        prompts = recorded(ours)
        bare, listing = bare_loop(prompts, 0), bare_loop(prompts, 500)
        bare(), listing()
        taken = [(cost(bare), cost(listing), cost(ours)) for _ in range(args.pairs)]
        ratios = sorted(mine / base for base, _, mine in taken)
        listed = statistics.median(second / base for base, second, _ in taken)
        row = min(base for base, _, _ in taken) / args.rows
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        print(f"| {shots} | {len(prompts) / args.rows:.1f} | {row:.3f} | {listed:.2f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
