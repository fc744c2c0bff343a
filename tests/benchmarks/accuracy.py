"""Accuracy and calibration on the embedded model: the same rows asked in every way, shots only from each set's pool.

    python tests/benchmarks/accuracy.py DATA_FOLDER [--limit N] [--sets a,b] [--ways a,b] [--out FILE]
    python tests/benchmarks/accuracy.py --table FILE

DATA_FOLDER holds `NAME.jsonl` (test) and `NAME.train.jsonl` (pool), rows with `text` and `label`. Answers are kept in
the cache folder, so a run that was stopped goes on, and seconds count only what was asked anew.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, create_model

from fewshot import Task
from fewshot.evaluation.metrics import macro_f1
from fewshot.evaluation.report import Report

SETS = ("sent2_sst2", "sent2_mr", "sent3_tweeteval", "sent3_fpb", "topic_agnews", "topic_trec", "emotion_tweeteval")
ASKING = {
    "sent": ("Classify the sentiment of the text as {labels}.", "Text", "Sentiment"),
    "topi": ("Classify the text as {labels}.", "Text", "Topic"),
    "emot": ("Classify the emotion of the text as {labels}.", "Text", "Emotion"),
}
SHOTS = 16
SELECTED = 4
"""Shots chosen by the question: no prompt begins like another, so that sixteen take ten times as long."""
BUDGET = 1000
CONSISTENT = 100
"""Rows that are asked again in other ways."""
FLIPS = tuple(f"flip_rate_{way}" for way in ("repeated", "shots", "labels", "case", "spaces", "punctuation"))
TABLED = ("article", "schema", "generated", "scored", "calibrated", "selected", "tuned")
HONEST = ("scored", "calibrated", "tuned")
RISKS = (1, 5, 10)
FULL = 500
"""Rows of a test set; a figure of fewer says so."""
WAYS = "majority,article,schema,generated,scored,calibrated,risk 1%,risk 5%,risk 10%"


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


def article(name: str, labels: list[str], rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ask as the article's function does: no shots, a chat, and the prose taken for the answer."""
    asked = task_for(name, labels).using(form="chat", k=0, scoring=False, max_tokens=10, max_repairs=0, cache=True)
    return _right(asked, rows, lambda value: value)


def schema(name: str, labels: list[str], rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ask for a JSON object whose one field is a label, which the server enforces; no shots."""
    model = create_model("Answer", label=(cast(Any, Literal[tuple(labels)]), ...))
    instruction, asked, _ = ASKING[name[:4]]
    template = (
        f"{{% block instruction %}}{instruction.replace('{labels}', ', '.join(labels))}{{% endblock %}}\n"
        f"{{% block input %}}{asked}: {{{{ text }}}}{{% endblock %}}\n"
        "{% block output %}{{ output }}{% endblock %}\n"
    )
    task: Task[BaseModel] = Task.of(template, model, name=name, model="local", form="chat", max_repairs=0, cache=True)
    return _right(task, rows, lambda value: getattr(value, "label", None))


def _right(task: Task[Any], rows: list[dict[str, Any]], read: Callable[[Any], Any]) -> dict[str, float]:
    started = time.monotonic()
    results = list(task.map({"text": row["text"]} for row in rows))
    pairs = [(row["output"], read(result.value)) for row, result in zip(rows, results, strict=True)]
    return {
        "accuracy": sum(truth == said for truth, said in pairs) / len(rows),
        "macro_f1": macro_f1(*zip(*pairs, strict=True)),
        "rows": len(rows),
        "no label": sum(r.error is not None for r in results) / len(rows),
        "seconds": time.monotonic() - started,
    }


def told(report: Report) -> dict[str, float]:
    """Give the figures of a report that the table shows."""
    found: dict[str, float] = {"rows": report.rows, "seconds": report.seconds}
    for name in ("accuracy", "macro_f1", "ece", "ece_by_chance", "coverage", "accuracy_given", *FLIPS):
        if name in report.metrics:
            figure = report.metrics[name]
            found |= {name: figure.value} | ({f"{name}_{end}": getattr(figure, end) for end in ("low", "high")})
    return found


def ways_of(name: str, folder: Path, limit: int | None) -> dict[str, Callable[[], dict[str, float]]]:
    """Give every way of asking one set, ready to be measured."""
    rows, pool = rows_of(folder / f"{name}.jsonl")[:limit], rows_of(folder / f"{name}.train.jsonl")
    labels = sorted({row["output"] for row in pool})
    random.Random(0).shuffle(labels)
    common: dict[str, Any] = {"pool": pool, "k": SHOTS}
    full = common | {"calibration_rows": len(pool)}
    task = task_for(name, labels).using(cache=True)
    plain = task.using(calibrate=False)
    few = rows[:CONSISTENT]
    most = Counter(row["output"] for row in rows).most_common(1)[0]

    def evaluated(task: Task[Any], rows: list[dict[str, Any]], **options: Any) -> Callable[[], dict[str, float]]:
        return lambda: told(task.evaluate(rows, **options))

    def tuned() -> dict[str, float]:
        found = task.tune(pool, budget=BUDGET, k=(4, 8, 16), forms=("text",), draws=5)
        print(found, flush=True)
        assert isinstance(found.task, Task)
        return told(found.task.using(cache=True).calibrate(pool).evaluate(rows))

    return {
        "majority": lambda: {"accuracy": most[1] / len(rows)},
        "article": lambda: article(name, labels, rows),
        "schema": lambda: schema(name, labels, rows),
        "generated": evaluated(plain.using(scoring=False, max_repairs=0), rows, calibrate=False, **common),
        "scored": evaluated(plain, rows, calibrate=False, **common),
        "calibrated": evaluated(task, rows, **full),
        "risk 1%": evaluated(task, rows, risk=0.01, **full),
        "risk 5%": evaluated(task, rows, risk=0.05, **full),
        "risk 10%": evaluated(task, rows, risk=0.1, **full),
        "selected": evaluated(task, rows, select="bm25", **full | {"k": SELECTED}),
        "tuned": tuned,
        "steady scored": evaluated(plain, few, calibrate=False, consistency=True, **common),
        "steady calibrated": evaluated(task, few, calibration_rows=200, consistency=True, **common),
    }


def tables(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Write what was found as tables in per cent: how right, how honest and how steady."""
    right = [(name, *(_rightness(ways.get(way)) for way in TABLED)) for name, ways in found.items()]
    honest = [
        (name, *(_error(ways.get(way)) for way in HONEST), *(_kept(ways.get(f"risk {risk}%")) for risk in RISKS))
        for name, ways in found.items()
    ]
    steady = [
        (f"{name}, {way.removeprefix('steady ')}", *(f"{100 * figures[flip]:.0f}" for flip in FLIPS))
        for name, ways in found.items()
        for way, figures in ways.items()
        if FLIPS[0] in figures
    ]
    heads = [
        ("accuracy / macro-F1", *TABLED),
        ("ECE (by chance)", *HONEST, *(f"{risk}% promised: answered / wrong" for risk in RISKS)),
        ("answers that change", *(flip.removeprefix("flip_rate_") for flip in FLIPS)),
    ]
    return "\n\n".join(_markdown(head, rows) for head, rows in zip(heads, (right, honest, steady), strict=True))


def _rightness(figures: dict[str, float] | None) -> str:
    if not figures:
        return "-"
    few = f" ({figures['rows']} rows)" if figures["rows"] < FULL else ""
    return f"{100 * figures['accuracy']:.1f} / {100 * figures['macro_f1']:.1f}{few}"


def _error(figures: dict[str, float] | None) -> str:
    if not figures:
        return "-"
    chance = f" ({figures['ece_by_chance']:.3f})" if "ece_by_chance" in figures else ""
    return f"{figures['ece']:.3f}{chance}"


def _kept(figures: dict[str, float] | None) -> str:
    if not figures:
        return "-"
    if not figures["coverage"]:
        return "none"
    return f"{100 * figures['coverage']:.0f} / {100 * (1 - figures['accuracy_given']):.1f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Measure the sets and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--ways", default=WAYS, help="besides these: selected, tuned, and steady scored or calibrated")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, metavar="FILE", help="print what --out wrote there as tables")
    args = parser.parse_args()
    if args.table:
        print(tables(json.loads(args.table.read_text())))
        return 0
    found: dict[str, dict[str, Any]] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for name in args.sets.split(","):
        ways = ways_of(name, args.folder, args.limit)
        for way in args.ways.split(","):
            started = time.monotonic()
            figures = found.setdefault(name, {})[way] = ways[way]()
            shown = "  ".join(f"{k} {v:.3f}" for k, v in figures.items() if not k.endswith(("_low", "_high")))
            print(f"{name:<20}{way:<20}{shown}  took {time.monotonic() - started:.0f} s", flush=True)
            if args.out:
                args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
