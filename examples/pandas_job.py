"""Label a column of a CSV file, and say in new columns how sure each label is.

pip install '.[local]' pandas          (in a checkout; 'fewshot[local]' from an index)
python pandas_job.py reviews.csv labelled.csv --column text

The columns of the file stay as they are. A row that failed has its reason in `error`; the exit code is then 1. A row
without a text is not asked about and stays empty.
"""

from __future__ import annotations

import argparse
import sys

from fewshot import load


def main() -> int:
    import pandas as pd

    parser = argparse.ArgumentParser(description="Label a column of a CSV file.")
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--column", default="text")
    parser.add_argument("--task", default="sentiment")
    args = parser.parse_args()

    frame = pd.read_csv(args.source)
    task = load(args.task, min_confidence=0.5)  # below that the label is left empty
    (name,) = task.inputs
    results = task.map(frame[[args.column]].rename(columns={args.column: name}))
    frame["label"], frame["confidence"], frame["error"] = results["value"], results["confidence"], results["error"]
    if not (frame["confidence"].notna() | frame["error"].notna()).any():
        why = "this endpoint gives no confidence, so no label can be told from a guess: load the task with votes=5"
        print(f"nothing was written: {why}", file=sys.stderr)
        return 2
    frame.to_csv(args.target, index=False)

    failed, held = int(frame["error"].notna().sum()), int(results["abstained"].sum())
    empty = int(frame[args.column].isna().sum())
    told = f"{len(frame)} rows, {failed} failed, {empty} without a text, {held} held back as too unsure"
    print(told, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
