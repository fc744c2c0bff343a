"""Accuracy by the number of labelled rows, defaults only, beside plain methods on the very same rows.

    python tests/benchmarks/few_rows.py DATA_FOLDER [--rows 8,64,all] [--draws 2] [--limit 100] [--sets a,b] [--out F]

DATA_FOLDER holds `NAME.jsonl` (test) and `NAME.train.jsonl` (pool), rows with `text` and `label`. Each draw shuffles
the pool and takes its first rows, balanced over the labels where the draw is even; the task is the plainest there is:
`Task.of("Classify ...", labels, rows, model="local")`. Answers are kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from accuracy import SETS, rows_of

from fewshot import Task
from fewshot.evaluation.metrics import ece, macro_f1
from fewshot.prompts.selection import choose
from fewshot.types import Example

ASKED = {"sent": "the sentiment", "topi": "the topic", "emot": "the emotion"}
Row = dict[str, Any]


def drawn(pool: list[Row], draw: int) -> list[Row]:
    """Shuffle the pool; in even draws the labels come in turn."""
    rows = random.Random(1000 + draw).sample(pool, len(pool))
    if draw % 2:
        return rows
    examples = [Example({"text": row["text"]}, row["output"], line=n) for n, row in enumerate(rows)]
    return [rows[example.line] for example in choose(examples, None, "balanced")]


def ours(name: str, labels: list[str], rows: list[Row], test: list[Row]) -> dict[str, Any]:
    """Answer the test rows with nothing but defaults."""
    instruction = f"Classify {ASKED[name[:4]]} of the text as {', '.join(labels)}."
    examples = [(row["text"], row["output"]) for row in rows]
    task = Task.of(instruction, labels, examples, model="local", cache=True)
    results = list(task.map(row["text"] for row in test))
    said = [result.value for result in results]
    right = [value == row["output"] for value, row in zip(said, test, strict=True)]
    return {
        "accuracy": sum(right) / len(right),
        "macro_f1": macro_f1([row["output"] for row in test], said),
        "ece": ece([result.confidence or 0.0 for result in results], right),
        "calibration": results[0].calibration,
        "errors": sum(result.error is not None for result in results),
    }


def plain(rows: list[Row], test: list[Row]) -> dict[str, Any]:
    """Do the same with a logistic regression on TF-IDF of words and pieces of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    model = make_pipeline(make_union(words, pieces), LogisticRegression(C=10, max_iter=1000))
    model.fit([row["text"] for row in rows], [row["output"] for row in rows])
    chances = model.predict_proba([row["text"] for row in test])
    said = [str(model.classes_[row.argmax()]) for row in chances]
    right = [value == row["output"] for value, row in zip(said, test, strict=True)]
    return {
        "accuracy": sum(right) / len(right),
        "macro_f1": macro_f1([row["output"] for row in test], said),
        "ece": ece([float(row.max()) for row in chances], right),
    }


def main() -> int:
    """Measure and print one line for each set, number of rows and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default="8,16,32,64,128,all")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for draw in range(args.draws):
        for count in args.rows.split(","):
            for name in args.sets.split(","):
                key = f"{name} {count} {draw}"
                if key in found:
                    continue
                pool, test = rows_of(args.folder / f"{name}.train.jsonl"), rows_of(args.folder / f"{name}.jsonl")
                test = random.Random(7).sample(test, len(test))[: args.limit]
                labels = sorted({row["output"] for row in pool})
                rows = drawn(pool, draw)[: None if count == "all" else int(count)]
                found[key] = {"ours": ours(name, labels, rows, test), "tfidf": plain(rows, test), "rows": len(test)}
                print(key, json.dumps(found[key]), flush=True)
                if args.out:
                    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
