"""Answers and no answers on the embedded model: the task `answer` as it ships, and calibrated on each set's pool.

    python tests/benchmarks/answers.py DATA_FOLDER [--limit N] [--sets a,b] [--ways a,b] [--out FILE]

DATA_FOLDER holds `NAME.jsonl` (test) and `NAME.train.jsonl` (pool), rows with `question`, perhaps `context`, and
`answers`, which is empty where there is none. Answers are kept in the cache folder, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from fewshot import Task, load

SETS = ("qa_selfaware", "qa_squad2")
WAYS = ("default", "calibrated", "even prior", "risk 20%")
SHOWN = ("answerable_kept", "unanswerable_accuracy", "auroc_answerable", "answerability", "exact_match_answerable",
         "token_f1_answerable", "auroc", "ece", "coverage", "exact_match_given")  # fmt: skip


def way_of(way: str, task: Task[Any], pool: list[dict[str, Any]]) -> Task[Any]:
    """Give the task, calibrated on the pool where that is the way."""
    if way == "default":
        return task
    options: dict[str, Any] = {"target": "answers"}
    if way == "even prior":
        options["prior"] = {"answer": 0.5, "none": 0.5}
    if way == "risk 20%":
        options["risk"] = 0.2
    return task.calibrate(pool, **options)


def measured(task: Task[Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Measure a task; the balanced accuracy is the mean of both kinds of question."""
    report = task.evaluate(rows, target="answers")
    found: dict[str, Any] = {}
    for name in SHOWN:
        if name in report.metrics:
            figure = report.metrics[name]
            found |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    kinds = [found[name] for name in ("answerable_kept", "unanswerable_accuracy") if name in found]
    found["balanced"] = sum(kinds) / len(kinds) if kinds else None
    return found | {"rows": len(rows), "seconds": report.seconds, "promise": report.promise}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a set."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def main() -> int:
    """Measure the sets and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    task = load("answer", model="local", cache=True)
    found: dict[str, dict[str, Any]] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for name in args.sets.split(","):
        rows, pool = rows_of(args.folder / f"{name}.jsonl")[: args.limit], rows_of(args.folder / f"{name}.train.jsonl")
        for way in args.ways.split(","):
            started = time.monotonic()
            figures = found.setdefault(name, {})[way] = measured(way_of(way, task, pool), rows)
            shown = [f"{k} {figures[k]:.3f}" for k in ("balanced", *SHOWN) if isinstance(figures.get(k), float)]
            print(f"{name:<14}{way:<12}{'  '.join(shown)}  took {time.monotonic() - started:.0f} s", flush=True)
            if args.out:
                args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
