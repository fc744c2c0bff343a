"""Simulate cascades: how often the promise is kept on rows to come, and how many calls of the strong task are saved.

    python tests/benchmarks/cascades.py [--resamples N] [--sample N] [--to-come N]
        [--recorded F [--data FOLDER --record SET CHEAP STRONG]]

Two stub tasks answer names of rows, which tell a sentence encoder nothing, as a table says, with how sure the cheap one
is; it agrees with the strong one as often as it is sure. Each resample is fitted by
`cheap.then(strong, agree=…).calibrate(sample)` on new rows, and answers rows to come; "kept" counts the resamples in
which the expected share of all these rows that get the strong one's answer is the promised one at least, and a resample
in which the cheap task answers nothing keeps it too.

`--record sent2_sst2 local /path/to/larger.gguf` first lets two models answer a set (its folder in `--data`), each with
nothing but 64 rows of the pool, and keeps what they say in F. A sample is then drawn from those rows, with replacement,
and all of them are the rows to come: what is expected of a row drawn like the sample's is their mean, without noise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
from collections.abc import Mapping
from pathlib import Path

from accuracy import rows_of

from fewshot import Completion, Request, ScriptedClient, Task

LABELS = ["bug", "praise"]
Row = tuple[str, str, float]
"""What the strong task says, what the cheap one says, and how sure that is."""
CASES = [("good", 0.9, 6.0), ("fair", 0.9, 3.0), ("good", 0.95, 6.0), ("poor", 0.9, 1.5)]
"""A name, the promised agreement, and how much the cheap task's confidence leans to certainty."""


def drawn(count: int, lean: float, draw: random.Random) -> list[Row]:
    """Draw rows."""
    found = []
    for _ in range(count):
        sure, right = 0.5 + 0.5 * draw.betavariate(lean, 1), draw.choice(LABELS)
        other = LABELS[1 - LABELS.index(right)]
        found.append((right, right if draw.random() < sure else other, sure))
    return found


def task(name: str, place: int, table: Mapping[str, Row]) -> Task[str]:
    """Make a stub that says what stands at this place of a row."""

    def answer(request: Request) -> Completion:
        row = table[str(request.chat[-1].content).split()[1]]
        sure = row[2] if name == "cheap" else 0.99
        return Completion(
            text="", model=name, probabilities={la: sure if la == row[place] else 1 - sure for la in LABELS}
        )

    shots = [("a", "bug"), ("b", "praise")]
    client = ScriptedClient(answer)
    return Task.of(f"Sort it, {name}.", LABELS, shots, name=name, client=client, model=name, decisions=True)


def record(folder: Path, name: str, models: list[str], count: int = 64) -> list[Row]:
    """Let two models answer the test rows of a set with two labels, each with nothing but the same rows of the pool."""
    pool, test = rows_of(folder / f"{name}.train.jsonl"), rows_of(folder / f"{name}.jsonl")
    labels = sorted({row["output"] for row in pool})
    shots = [(row["text"], row["output"]) for row in random.Random(3).sample(pool, count)]
    said = []
    for model in models:
        asked = Task.of(f"Classify the text as {' or '.join(labels)}.", labels, shots, model=model, cache=True)
        said.append(list(asked.map(row["text"] for row in test)))
    rights = [sum(r.value == row["output"] for r, row in zip(one, test, strict=True)) / len(test) for one in said]
    print(f"{name}: right alone {rights[0]:.1%} and {rights[1]:.1%}", flush=True)
    named = dict(zip(labels, LABELS, strict=True))
    return [(named[str(s.value)], named[str(c.value)], c.confidence or 0.0) for c, s in zip(*said, strict=True)]


async def resample(agree: float, rows: list[Row], sample: int, *, recorded: bool) -> tuple[float, float]:
    """Fit on a sample of rows; give the shares of the others that get the strong answer, and that cheap answers.

    The first is counted where rows were recorded, and expected where they were drawn.
    """
    table = {f"{random.Random(place).getrandbits(64):x}": row for place, row in enumerate(rows)}
    names = list(table)
    cascade = task("cheap", 1, table).then(task("strong", 0, table).using(calibrate=False), agree=agree)
    cascade = await cascade.acalibrate(names[:sample])
    missed, answered = 0.0, 0
    async for result in cascade.amap(names[sample:]):
        if result.model == "cheap":
            strong, cheap, sure = table[str(result.inputs["text"])]
            missed += strong != cheap if recorded else 1 - sure
            answered += 1
    return 1 - missed / len(names[sample:]), answered / len(names[sample:])


async def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--to-come", type=int, default=300)
    parser.add_argument("--recorded", type=Path)
    parser.add_argument("--record", nargs=3, metavar=("SET", "CHEAP", "STRONG"))
    parser.add_argument("--data", type=Path, default=Path())
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    if args.record:
        rows = await asyncio.to_thread(record, args.data, args.record[0], args.record[1:])
        args.recorded.write_text(json.dumps(rows), encoding="utf-8")
    kept_rows: list[Row] = json.loads(args.recorded.read_text(encoding="utf-8")) if args.recorded else []
    print(f"{'cheap task':12}{'promised':>10}{'kept':>8}{'agree':>8}{'strong calls saved':>20}")
    cases = [("recorded", agree, 0.0) for agree in (0.85, 0.9, 0.95)] if kept_rows else CASES
    for name, agree, lean in cases:
        draw, found = random.Random(f"{name} {agree}"), []
        for _ in range(args.resamples):
            if kept_rows:
                rows = [*draw.choices(kept_rows, k=args.sample), *kept_rows]
            else:
                rows = drawn(args.sample + args.to_come, lean, draw)
            found.append(await resample(agree, rows, args.sample, recorded=bool(kept_rows)))
        kept = sum(agreed >= agree for agreed, _ in found) / len(found)
        agreed, saved = (sum(values) / len(found) for values in zip(*found, strict=True))
        print(f"{name:12}{agree:10.0%}{kept:8.1%}{agreed:8.1%}{saved:20.0%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
