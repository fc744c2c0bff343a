"""Accuracy and calibration on the embedded model: the same rows asked in every way, shots only from each set's pool.

    python tests/benchmarks/accuracy.py DATA_FOLDER [--limit N] [--sets a,b] [--out FILE]

DATA_FOLDER holds `NAME.jsonl` (test) and `NAME.train.jsonl` (pool), rows with `text` and `label`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fewshot import Task
from fewshot.report import Report

SETS = ("sent2_sst2", "sent2_mr", "sent3_tweeteval", "sent3_fpb", "topic_agnews", "topic_trec", "emotion_tweeteval")
ASKING = {
    "sent": ("Classify the sentiment of the text as {labels}.", "Text", "Sentiment"),
    "topi": ("Classify the text as {labels}.", "Text", "Topic"),
    "emot": ("Classify the emotion of the text as {labels}.", "Text", "Emotion"),
}
SHOTS = 8


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read rows as a task takes them."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [{"text": row["text"], "output": row["label"]} for row in map(json.loads, filter(None, lines))]


def task_for(name: str, labels: list[str], **options: Any) -> Task[Any]:
    """Make the task of a set; its wording is the one that anybody would write first."""
    instruction, asked, cue = ASKING[name[:4]]
    template = (
        f"{{% block instruction %}}{instruction.replace('{labels}', '{{ labels | join(chr) }}')}{{% endblock %}}\n"
        f"{{% block input %}}{asked}: {{{{ text }}}}{{% endblock %}}\n"
        f"{{% block output %}}{cue}: {{{{ output }}}}{{% endblock %}}\n"
    ).replace("join(chr)", "join(', ')")
    return Task.of(template, labels, name=name, model="local", **options)


def article(task: Task[Any], rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ask as the article's function does: no shots, a chat, and the prose taken for the answer."""
    asked = task.using(form="chat", k=0, scoring=False, max_tokens=10, max_repairs=0)
    results = list(asked.map(({"text": row["text"]} for row in rows), concurrency=4))
    right = sum(result.value == row["output"] for result, row in zip(results, rows, strict=True))
    return {"accuracy": right / len(rows), "no label": sum(r.error is not None for r in results) / len(rows)}


def told(report: Report) -> dict[str, float]:
    """Give the figures of a report that the table shows."""
    names = ("accuracy", "macro_f1", "ece")
    return {name: report.metrics[name].value for name in names if name in report.metrics} | {"seconds": report.seconds}


def measure(name: str, folder: Path, limit: int | None) -> dict[str, dict[str, float]]:
    """Measure one set in every way."""
    rows, pool = rows_of(folder / f"{name}.jsonl")[:limit], rows_of(folder / f"{name}.train.jsonl")
    labels = sorted({row["output"] for row in pool})
    random.Random(0).shuffle(labels)
    common: dict[str, Any] = {"pool": pool, "k": SHOTS}
    task = task_for(name, labels)
    majority = Counter(row["output"] for row in rows).most_common(1)[0][1] / len(rows)
    found = {"majority label": {"accuracy": majority}, "article, no shots": article(task, rows)}
    plain = task.using(calibrate=False)
    found["shots, answer read"] = told(
        plain.using(scoring=False, max_repairs=0).evaluate(rows, calibrate=False, **common)
    )
    found["shots, label scores"] = told(plain.evaluate(rows, calibrate=False, **common))
    found["… calibrated on the pool"] = told(task.evaluate(rows, calibration_rows=len(pool), **common))
    return found


def main() -> int:
    """Measure the sets and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = {}
    for name in args.sets.split(","):
        started = time.monotonic()
        found[name] = measure(name, args.folder, args.limit)
        for way, figures in found[name].items():
            print(f"{name:<20}{way:<28}" + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()), flush=True)
        print(f"{name:<20}took {time.monotonic() - started:.0f} s", flush=True)
        if args.out:
            args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
