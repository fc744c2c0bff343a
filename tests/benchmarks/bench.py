"""What a call costs over the bare `openai` client: processor time, in alternating pairs, in one run.

    python tests/benchmarks/bench.py [--short] [--out FILE]

Ratios are what counts: these machines are shared. Each is the median of pairs, with the lowest and the highest.
`--short` is for CI: fewer pairs, and exit code 1 when a ratio is grossly above what it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GROSS = {"single k=4": 0.5, "single k=32": 0.35, "bulk 64": 0.4, "bulk 256": 0.4, "import": 3.0}
"""Above these, something is badly wrong; the targets themselves are about half."""
TEXT = "Order {i:06d} arrived today and the superb little lamp works."


@contextmanager
def stub(latency_ms: float) -> Iterator[str]:
    """Run the stub server in a process of its own; gives its base URL."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "stub.py"), str(latency_ms)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def paired(bare: Callable[[], None], ours: Callable[[], None], pairs: int) -> dict[str, float]:
    """Measure both in turn; gives the ratio of processor times and of wall times."""
    bare()
    ours()
    cpu, wall, costs, times = [], [], [], []
    for _ in range(pairs):
        (bare_cpu, bare_wall), (our_cpu, our_wall) = _cost(bare), _cost(ours)
        cpu.append(our_cpu / bare_cpu)
        wall.append(bare_wall / our_wall)
        costs.append(our_cpu)
        times.append(our_wall)
    return {
        "ratio": statistics.median(cpu),
        "low": min(cpu),
        "high": max(cpu),
        "times_as_fast": statistics.median(wall),
        "our_cpu_s": min(costs),
        "our_wall_s": min(times),
    }


def _cost(work: Callable[[], None]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def single(k: int, *, calls: int, pairs: int) -> dict[str, float]:
    """One blocking call, template to validated and scored value, against a bare `create` with the same messages."""
    import openai

    from fewshot import load

    with stub(0) as url:
        task = load("sentiment", base_url=url, model="stub", k=k)
        turns = [{"role": turn.role, "content": turn.content} for turn in task.render("x")]
        client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)

        def bare() -> None:
            for i in range(calls):
                messages: Any = [*turns[:-1], {"role": "user", "content": f"Text: {TEXT.format(i=i)}\nSentiment:"}]
                client.chat.completions.create(model="stub", messages=messages, temperature=0, max_tokens=1)

        def ours() -> None:
            for i in range(calls):
                task(TEXT.format(i=i))

        return paired(bare, ours, pairs)


def shots(*, calls: int, pairs: int) -> dict[str, float]:
    """A call with 32 shots against one without any, both ours."""
    from fewshot import load

    with stub(0) as url:
        none, many = (load("sentiment", base_url=url, model="stub", k=k) for k in (0, 32))

        def asked(task: Any) -> Callable[[], None]:
            def work() -> None:
                for i in range(calls):
                    task(TEXT.format(i=i))

            return work

        return paired(asked(none), asked(many), pairs)


def bulk(in_flight: int, latency_ms: float, *, rows: int, pairs: int) -> dict[str, float]:
    """Many rows through `map`, against a bare `AsyncOpenAI` loop with a semaphore."""
    import openai

    from fewshot import load

    with stub(latency_ms) as url:
        task = load("sentiment", base_url=url, model="stub", k=4)
        turns = [{"role": turn.role, "content": turn.content} for turn in task.render("x")]

        async def bare_rows() -> None:
            client = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
            gate = asyncio.Semaphore(in_flight)

            async def one(i: int) -> None:
                messages: Any = [*turns[:-1], {"role": "user", "content": f"Text: {TEXT.format(i=i)}\nSentiment:"}]
                async with gate:
                    await client.chat.completions.create(model="stub", messages=messages, temperature=0, max_tokens=1)

            await asyncio.gather(*map(one, range(rows)))
            await client.close()

        def ours() -> None:
            texts = (TEXT.format(i=i) for i in range(rows))
            count = sum(result.value == "positive" for result in task.map(texts, concurrency=in_flight))
            assert count == rows

        found = paired(_once(bare_rows), ours, pairs)
        ideal = rows / in_flight * latency_ms / 1000
        return found | {"cpu_us_a_row": found["our_cpu_s"] / rows * 1e6, "over_ideal": found["our_wall_s"] / ideal}


def _once(work: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    return lambda: asyncio.run(work())  # type: ignore[arg-type]


def importing(*, pairs: int) -> dict[str, float]:
    """`import fewshot` against Python's own start with pydantic's import; peak memory in MB."""

    def cost(code: str) -> tuple[float, float]:
        # Not ru_maxrss: on Linux a child starts with its parent's.
        peak = "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
        script = f"{code}; import time; print(time.process_time(), {peak})"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        seconds, kilobytes = map(float, done.stdout.split())
        return seconds, kilobytes / 1024

    ratios, peaks = [], []
    for _ in range(pairs):
        (base, _), (own, peak) = cost("import pydantic"), cost("import fewshot")
        ratios.append(own / base)
        peaks.append(peak)
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "peak_mb": max(peaks)}


def first(*, pairs: int) -> dict[str, float]:
    """From nothing to the first label, imports and connection included, against the bare client's first answer."""
    ask = "messages=[{'role': 'user', 'content': 'x'}], model='stub'"

    def cost(code: str) -> float:
        script = f"{code}; import time; print(time.process_time())"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return float(done.stdout)

    with stub(0) as url:
        bare = f"import openai; openai.OpenAI(base_url={url!r}, api_key='k').chat.completions.create({ask})"
        ours = f"import fewshot; fewshot.classify_sentiment('x', base_url={url!r}, model='stub')"
        costs = [(cost(bare), cost(ours)) for _ in range(pairs)]
    ratios = [own / base for base, own in costs]
    return {
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "our_cpu_s": min(own for _, own in costs),
    }


def micro() -> dict[str, float]:
    """Microseconds for rendering, parsing, scoring and choosing a shot among 10,000."""
    import math
    import timeit

    from fewshot import Task, load
    from fewshot.inference.label_tree import LabelTree
    from fewshot.outputs.kinds import output_of
    from fewshot.types import TokenLogprob

    task = load("sentiment", k=32)
    _, inputs = task._bind("A fine day.")
    prompt = task._prompts.of(task.examples[:32])
    labels = output_of(["positive", "negative", "neutral"])
    top = (*tuple((f" w{i}".encode(), math.log(0.01)) for i in range(17)), (b" positive", math.log(0.5)))

    def score() -> None:
        tree = LabelTree({name: name for name in ("positive", "negative", "neutral")})
        tree.add(TokenLogprob(*top[0], top))
        tree.logprobs()

    words = [
        f"{colour} {thing} {i % 97}" for i in range(2500) for colour in ("red", "blue") for thing in ("lamp", "cup")
    ]
    shelf = [(f"The {word} arrived, number {i}.", ("good", "bad")[i % 2]) for i, word in enumerate(words)]
    similar = Task.of("Judge it.", ["good", "bad"], shelf, select="bm25", k=8)
    _, asked = similar._bind("My blue lamp 41 came today.")
    similar._prompts.offline(asked)

    jobs: dict[str, Callable[[], object]] = {
        "8 shots of 10,000, bm25": lambda: similar._prompts.offline(asked),
        "render chat, 32 shots": lambda: (prompt.prefix, prompt.turn(inputs)),
        "render text, 32 shots": lambda: prompt.text(inputs),
        "parse a label": lambda: labels.parse("positive"),
        "parse a label in prose": lambda: labels.parse("The sentiment of this text is positive."),
        "score three labels": score,
    }
    return {name: min(timeit.repeat(job, number=200, repeat=5)) / 200 * 1e6 for name, job in jobs.items()}


def flat(counts: tuple[int, int]) -> dict[str, float]:
    """Peak memory in MB of a process that maps so many rows."""
    return {f"{count} rows": _peak_of(count) for count in counts}


def _peak_of(rows: int) -> float:
    with stub(0) as url:
        code = (
            "from fewshot import load\n"
            f"task = load('sentiment', base_url={url!r}, model='stub', k=4)\n"
            f"n = sum(r.value == 'positive' for r in task.map((f'row {{i}}' for i in range({rows})), concurrency=64))\n"
            f"assert n == {rows}; print(int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(done.stdout)


def main() -> int:
    """Run all of it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("FEWSHOT_", "OPENAI_"))]:
        del os.environ[name]
    pairs, calls, rows = (3, 30, 300) if args.short else (7, 100, 2000)
    found: dict[str, dict[str, float]] = {}
    for k in (0, 4, 32):
        found[f"single k={k}"] = _said(f"single k={k}", single(k, calls=calls, pairs=pairs))
    found["32 shots to none"] = _said("32 shots to none", shots(calls=2 * calls, pairs=pairs + 2))
    for in_flight in (64, 256):
        measured = bulk(in_flight, 20, rows=max(rows, in_flight * 2), pairs=min(pairs, 3))
        found[f"bulk {in_flight}"] = _said(f"bulk {in_flight}", measured)
    found["bulk 200 ms, 100"] = _said("bulk 200 ms, 100", bulk(100, 200, rows=1000, pairs=1 if args.short else 3))
    found["import"] = _said("import", importing(pairs=pairs))
    found["first call"] = _said("first call", first(pairs=pairs))
    found["micro (us)"] = _said("micro (us)", micro())
    if not args.short:
        found["memory (MB)"] = _said("memory (MB)", flat((10_000, 100_000)))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    gross = [name for name, limit in GROSS.items() if name in found and found[name]["ratio"] > limit]
    if gross:
        print(f"grossly slow: {', '.join(gross)}", file=sys.stderr)
    return 1 if gross else 0


def _said(name: str, figures: dict[str, float]) -> dict[str, float]:
    print(f"{name:<18}" + "  ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
