"""Hold a judge against gold: pairs of a right answer and one that is known to be worse.

    python tests/benchmarks/judges.py DATA_FOLDER [--pairs 40] [--sets a,b] [--model local]

DATA_FOLDER holds `NAME.jsonl` with `text` or `question`, and `references` or `answers`. The pairs are constructed: the
worse answer is another row's or, for half of the summaries, the right one cut in the middle. The right answer stands
first in every other pair. Such pairs are easier than two answers of two systems: a judge that fails here is not one.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from fewshot import judge, load

ASKED = {"qa_webquestions": "{}", "trans_en_fr_tatoeba": "Translate into French: {}", "sum_dialogsum": "Summarize: {}"}


def worse(right: str, other: str, cut: bool) -> tuple[str, str]:
    """Give an answer that is worse than the right one, and how it was made."""
    words = right.rstrip(".").split()
    return (" ".join(words[: len(words) // 2]).rstrip("."), "cut") if cut else (other, "another's")


def pairs(path: Path, asked: str, count: int) -> list[dict[str, str]]:
    """Make pairs with the winner that people's answers make."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [(row.get("text") or row["question"], (row.get("references") or row["answers"])[0]) for row in rows]
    short = [pair for pair in texts if len(pair[0]) < 1000]
    drawn = random.Random(0).sample(short, min(2 * count, len(short)))
    found = []
    for n, ((text, right), (_, other)) in enumerate(zip(drawn[::2], drawn[1::2], strict=False)):
        wrong, made = worse(right, other, cut=n // 2 % 2 == 1 and path.stem.startswith("sum_"))
        first, second = (right, wrong) if n % 2 == 0 else (wrong, right)
        winner = ("first", "second")[n % 2]
        found.append({"request": asked.format(text), "first": first, "second": second, "winner": winner, "made": made})
    return found


def main() -> int:
    """Print what `judge` says of itself, for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--sets", default=",".join(ASKED))
    parser.add_argument("--model", default="local")
    args = parser.parse_args()
    task = load("judge").using(model=args.model, cache=True)
    for name in args.sets.split(","):
        rows = pairs(args.data / f"{name}.jsonl", ASKED[name], args.pairs)
        judged = judge(rows, task, people="winner", progress=False)
        print(name, judged, sep="\n")
        for way in dict.fromkeys(row["made"] for row in rows):
            said = [
                one.value == one.people for one, row in zip(judged.judgements, rows, strict=True) if row["made"] == way
            ]
            print(f"  {way}: {sum(said)} of {len(said)} right", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
