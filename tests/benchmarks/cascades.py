"""Simulate cascades: how often the promise is kept on rows to come, and how many calls of the strong task are saved.

    python tests/benchmarks/cascades.py [--resamples N] [--sample N] [--to-come N]

Two stub tasks answer texts that say what each answers and how sure the cheap one is; it agrees with the strong one as
often as it is sure. Each resample is fitted by `cheap.then(strong, agree=…).calibrate(sample)` on new rows, and answers
rows to come; "kept" counts the resamples in which the expected share of all these rows that get the strong one's answer
is the promised one at least, and a resample in which the cheap task answers nothing keeps it too.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys

from fewshot import Completion, Request, ScriptedClient, Task

LABELS = ["bug", "praise"]
CASES = [("good", 0.9, 6.0), ("fair", 0.9, 3.0), ("good", 0.95, 6.0), ("poor", 0.9, 1.5)]
"""A name, the promised agreement, and how much the cheap task's confidence leans to certainty."""


def texts(count: int, lean: float, draw: random.Random) -> list[str]:
    """Draw rows: what the strong task says, what the cheap one says, and how sure it is."""
    found = []
    for number in range(count):
        sure, right = 0.5 + 0.5 * draw.betavariate(lean, 1), draw.choice(LABELS)
        other = LABELS[1 - LABELS.index(right)]
        found.append(f"{number} {draw.random()}|{right}|{right if draw.random() < sure else other}|{sure:.4f}")
    return found


def task(name: str, place: int) -> Task[str]:
    """Make a stub that says what stands at this place of a text."""

    def answer(request: Request) -> Completion:
        parts = str(request.chat[-1].content).splitlines()[0].split("|")
        sure = float(parts[3]) if name == "cheap" else 0.99
        chances = {label: sure if label == parts[place] else 1 - sure for label in LABELS}
        return Completion(text="", model=name, probabilities=chances)

    shots = [("a", "bug"), ("b", "praise")]
    client = ScriptedClient(answer)
    return Task.of(f"Sort it, {name}.", LABELS, shots, name=name, client=client, model=name, decisions=True)


async def resample(agree: float, lean: float, sample: int, to_come: int, draw: random.Random) -> tuple[float, float]:
    """Fit once; give the shares of rows that are expected to get the strong answer, and that the cheap task answers."""
    cascade = task("cheap", 2).then(task("strong", 1).using(calibrate=False), agree=agree)
    cascade = await cascade.acalibrate(texts(sample, lean, draw))
    sure = []
    async for result in cascade.amap(texts(to_come, lean, draw)):
        if result.model == "cheap":
            sure.append(float(str(result.inputs["text"]).split("|")[3]))
    return 1 - sum(1 - one for one in sure) / to_come, len(sure) / to_come


async def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--to-come", type=int, default=300)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{'cheap task':12}{'promised':>10}{'kept':>8}{'agree':>8}{'strong calls saved':>20}")
    for name, agree, lean in CASES:
        draw = random.Random(f"{name} {agree}")
        found = [await resample(agree, lean, args.sample, args.to_come, draw) for _ in range(args.resamples)]
        kept = sum(agreed >= agree for agreed, _ in found) / len(found)
        agreed, saved = (sum(values) / len(found) for values in zip(*found, strict=True))
        print(f"{name:12}{agree:10.0%}{kept:8.1%}{agreed:8.1%}{saved:20.0%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
