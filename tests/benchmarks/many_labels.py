"""Many labels: the head alone, its candidates, what is out of scope, and with a model requests and tokens a row.

    python tests/benchmarks/many_labels.py DATA_FOLDER [--sets intent77_banking,intent150_clinc] [--limit 500]
        [--model local] [--asked 40] [--all 0]

DATA_FOLDER holds `NAME.jsonl` (test) and `NAME.train.jsonl` (pool), rows with `text` and `label`; a label that the pool
does not have is out of scope. `--model` asks about that many rows too, weighed on the pool; `--all` asks about so many
with all labels in the prompt.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fewshot import ScriptedClient, Task
from fewshot.result import Result

RATES = (0.05, 0.1, 0.15)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def told(results: list[Result[str]], rows: list[dict[str, str]], seconds: float) -> dict[str, Any]:
    """Sum up results; shares are of all rows."""
    count = len(rows)
    pairs = list(zip(results, rows, strict=True))
    return {
        "rows": count,
        "right": sum(result.value == row["label"] for result, row in pairs) / count,
        "errors": sum(result.error is not None for result in results),
        "among_candidates": sum(row["label"] in result.candidates for result, row in pairs) / count,
        "candidates": sum(len(result.candidates) for result in results) / count,
        "requests_a_row": sum(result.attempts for result in results) / count,
        "most_requests": max(result.attempts for result in results),
        "input_tokens_a_row": sum(result.usage.input_tokens for result in results) / count,
        "seconds_a_row": seconds / count,
        "methods": Counter(result.method for result in results),
        "calibrations": Counter(result.calibration for result in results),
    }


def measured(task: Task[str], rows: list[dict[str, str]]) -> dict[str, Any]:
    """Answer rows one after the other; the first row's time holds the fit and is not counted."""
    task.run(rows[0]["text"])
    started = time.monotonic()
    results = [task.run(row["text"]) for row in rows[1:]]
    return told(results, rows[1:], time.monotonic() - started)


def main() -> None:
    """Print one JSON line a figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--sets", default="intent77_banking,intent150_clinc")
    options.add_argument("--limit", type=int, default=600)
    options.add_argument("--model")
    options.add_argument("--asked", type=int, default=40)
    options.add_argument("--all", type=int, default=0)
    given = options.parse_args()
    for name in given.sets.split(","):
        pool, test = (rows_of(given.folder / f"{name}{end}") for end in (".train.jsonl", ".jsonl"))
        labels = sorted({row["label"] for row in pool})
        within = [row for row in test if row["label"] in labels][: given.limit]
        outside = [row for row in test if row["label"] not in labels][: given.limit]
        task = Task.of(
            "Which intent does the question have?",
            labels,
            [(row["text"], row["label"]) for row in pool],
            client=ScriptedClient(),
        )
        alone = task.using(candidate_rows=0)
        print(json.dumps({"set": name, "head": measured(alone, within)}), flush=True)
        for rate in RATES if outside else ():
            held = [
                sum(alone.run(row["text"], out_of_scope=rate).abstained for row in rows) / len(rows)
                for rows in (within, outside)
            ]
            print(json.dumps({"set": name, "out_of_scope": rate, "held_within": held[0], "held_outside": held[1]}))
        if given.model:
            asked = task.using(client=None, model=given.model)
            print(json.dumps({"set": name, "model": measured(asked, within[: given.asked])}), flush=True)
            both = asked.using(calibrate=False)
            print(json.dumps({"set": name, "weighed alike": measured(both, within[: given.asked])}), flush=True)
        if given.model and given.all:
            every = task.using(client=None, model=given.model, candidates=False, calibrate=False)
            print(json.dumps({"set": name, "all labels": measured(every, within[: given.all])}), flush=True)


if __name__ == "__main__":
    main()
