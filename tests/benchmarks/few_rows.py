"""Accuracy by the number of labelled rows, defaults only, beside plain methods on the very same rows.

    python tests/benchmarks/few_rows.py DATA_FOLDER [--rows 8,64,all] [--draws 2] [--limit 100] [--sets a,b] [--out F]
    python tests/benchmarks/few_rows.py --table F [F ...]

DATA_FOLDER holds `NAME.jsonl` (test) and `NAME.train.jsonl` (pool), rows with `text` and `label`. Each draw shuffles
the pool and takes its first rows, balanced over the labels where the draw is even; the task is the plainest there is:
`Task.of("Classify ...", labels, rows, model="local")`. Answers are kept, so a run that was stopped goes on; what is
in F already is not measured again, but plain methods that it lacks are added, as they need no model. `--table` prints
means over sets, and the spread over draws; of several files each has a column of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from accuracy import SETS, rows_of

from fewshot import Task
from fewshot.evaluation.metrics import ece, macro_f1
from fewshot.models.local.encoder import encode, encoder
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
    return _figures(model, [row["text"] for row in test], test)


def encoded(rows: list[Row], test: list[Row]) -> dict[str, Any]:
    """Do the same on the vectors of the sentence encoder, from their mean and as long as 1 on average."""
    from sklearn.linear_model import LogisticRegression

    known, asked = (encode([row["text"] for row in some], keep=True) for some in (rows, test))
    mean = known.mean(axis=0)
    spread = float(((known - mean) ** 2).sum(axis=1).mean()) ** 0.5
    model = LogisticRegression(C=10, max_iter=1000).fit((known - mean) / spread, [row["output"] for row in rows])
    return _figures(model, (asked - mean) / spread, test)


def _figures(model: Any, asked: Any, test: list[Row]) -> dict[str, Any]:
    chances = model.predict_proba(asked)
    said = [str(model.classes_[row.argmax()]) for row in chances]
    right = [value == row["output"] for value, row in zip(said, test, strict=True)]
    return {
        "accuracy": sum(right) / len(right),
        "macro_f1": macro_f1([row["output"] for row in test], said),
        "ece": ece([float(row.max()) for row in chances], right),
    }


def table(paths: list[Path]) -> None:
    """Print accuracy by the number of rows, of each file ours, then the plain methods: means over sets and draws."""
    files = [json.loads(path.read_text()) for path in paths]
    keys = [key for key in files[0] if all(key in file for file in files)]
    columns = [(path.stem, file, "ours") for path, file in zip(paths, files, strict=True)]
    columns += [(what, files[0], what) for what in ("tfidf", "encoder")]
    print("| rows | draws | " + " | ".join(name for name, *_ in columns) + " |")
    print("|---:|---:|" + "---:|" * len(columns))
    for count in dict.fromkeys(key.split()[1] for key in keys):
        its = [key for key in keys if key.split()[1] == count]
        sets = {key.split()[0] for key in its}
        draws = [
            d for d in dict.fromkeys(k.split()[2] for k in its) if sum(k.endswith(f" {d}") for k in its) == len(sets)
        ]
        cells = []
        for _, file, what in columns:
            found = [[file[f"{name} {count} {d}"].get(what, {}) for name in sets] for d in draws]
            if not all(cell for of_draw in found for cell in of_draw):
                cells.append("")
                continue
            means = {
                figure: [fmean(cell[figure] for cell in of_draw) for of_draw in found]
                for figure in ("accuracy", "macro_f1", "ece")
            }
            spread = f" ± {stdev(means['accuracy']):.1%}" if len(draws) > 1 else ""
            cells.append(
                f"{fmean(means['accuracy']):.1%}{spread}, {fmean(means['macro_f1']):.1%}, {fmean(means['ece']):.3f}"
            )
        print(f"| {count} | {len(draws)} | " + " | ".join(cells) + " |")


def main() -> int:
    """Measure and print one line for each set, number of rows and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--table", type=Path, nargs="+")
    parser.add_argument("--rows", default="8,16,32,64,128,all")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.table:
        table(args.table)
        return 0
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for draw in range(args.draws):
        for count in args.rows.split(","):
            for name in args.sets.split(","):
                key = f"{name} {count} {draw}"
                if key in found and "encoder" in found[key]:
                    continue
                pool, test = rows_of(args.folder / f"{name}.train.jsonl"), rows_of(args.folder / f"{name}.jsonl")
                test = random.Random(7).sample(test, len(test))[: args.limit]
                labels = sorted({row["output"] for row in pool})
                rows = drawn(pool, draw)[: None if count == "all" else int(count)]
                if key not in found:
                    found[key] = {"ours": ours(name, labels, rows, test), "tfidf": plain(rows, test), "rows": len(test)}
                found[key] |= {"encoder": encoded(rows, test)} if encoder() else {}
                print(key, json.dumps(found[key]), flush=True)
                if args.out:
                    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
