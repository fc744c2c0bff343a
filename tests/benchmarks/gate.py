"""What the gate of label reading costs and saves: the same rows read with it, without it, and as they were written.

    python tests/benchmarks/gate.py DATA_FOLDER [--limit N] [--sets a,b] [--ways "text 16,chat 16,chat 0"]

DATA_FOLDER as in accuracy.py. The embedded model answers, uncalibrated; answers are kept in the cache folder.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accuracy import SETS, rows_of, task_for

from fewshot import Task
from fewshot.inference import conversation
from fewshot.result import Result

WAYS = "text 16,chat 16,chat 0"


def read(task: Task[Any], rows: Sequence[dict[str, Any]], gate: dict[str, float]) -> list[Result[Any]]:
    """Ask all rows with the gate at these shares."""
    usual = dict(conversation._GATE)
    conversation._GATE.update(gate)
    try:
        return list(task.map([{"text": row["text"]} for row in rows], progress=False))
    finally:
        conversation._GATE.update(usual)


def line(name: str, way: str, folder: Path, limit: int) -> str:
    """Measure one set in one way; give a row of the table."""
    rows, pool = rows_of(folder / f"{name}.jsonl")[:limit], rows_of(folder / f"{name}.train.jsonl")
    labels = sorted({row["output"] for row in pool})
    random.Random(0).shuffle(labels)
    form, _, k = way.partition(" ")
    shots = random.Random(0).sample(pool, int(k))
    task = task_for(name, labels, form=form, calibrate=False, cache=True, max_repairs=0).using(examples=shots)
    gated, bare = read(task, rows, {}), read(task, rows, {"chat": 0.0, "text": 0.0})
    written = read(task.using(scoring=False), rows, {})
    shares = [result.coverage for result in bare if result.coverage is not None]
    below = sum(result.method != "logprobs" for result in gated)

    def right(results: Sequence[Result[Any]]) -> int:
        return sum(result.value == row["output"] for result, row in zip(results, rows, strict=True))

    def agreeing(results: Sequence[Result[Any]]) -> tuple[int, int]:
        pairs = [(r.value, w.value) for r, w in zip(results, written, strict=True) if w.error is None and not r.error]
        return sum(value == said for value, said in pairs), len(pairs)

    agreed = "; ".join("{} of {}".format(*agreeing(results)) for results in (gated, bare))
    held = f"{100 * min(shares):.3g}%, {100 * statistics.median(shares):.3g}%" if shares else "none"
    failed = sum(result.error is not None for result in gated)
    figures = (len(rows), held, below, f"{right(gated)}, {right(bare)}, {right(written)}", failed, agreed)
    return f"| {name}, {way} shots | {' | '.join(map(str, figures))} |"


def main() -> None:
    """Print the table, a row when it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--ways", default=WAYS)
    args = parser.parse_args()
    print(
        "| asked | rows | labels hold (least, median) | below the gate | right: gated, without, written | errors "
        "| agree with what is written: gated; without |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    for way in args.ways.split(","):
        for name in args.sets.split(","):
            print(line(name, way, args.folder, args.limit), flush=True)


if __name__ == "__main__":
    main()
