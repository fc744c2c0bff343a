"""Simulate annotators: labels that it takes to promise a risk for half of the answers, by how rows are chosen.

    python tests/benchmarks/choice_of_rows.py score DATA_FOLDER ANSWERS_FOLDER [--limit 300] [--sets a,b]
    python tests/benchmarks/choice_of_rows.py simulate ANSWERS_FOLDER [--annotators 20] [--risk 0.1] [--sets a,b]

`score` asks the embedded model once about each row of a set, with eight shots from its pool, and keeps its
probabilities and listed tokens; all else is offline. The rows are labelled one by one; after each ten a ridge
regression learns from them, whose left-out predictions are held to the promise (`threshold_for`). A count is the mean
number of labels when it was first made for half of the answers, and how many annotators got there; one who did not
counts ten labels more than there are.

`random`: every label comes at random. `doubt`: every third is drawn by the doubt of the model as it comes, teaches, and
does not test. `learned`: the same by the doubt of what has been learned so far, of all rows. `shots`: the same as
`doubt`, but it teaches nothing here, for want of a new prompt. "off by" is the mean over 200 runs of the accuracy on 60
random rows, less that on all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import rows_of, task_for

from fewshot.calibration.abstention import threshold_for
from fewshot.inference.first_use import score_all
from fewshot.models.connection import connect
from fewshot.prompts.selection import choose
from fewshot.types import Example

SETS = "sent2_sst2,sent2_mr,topic_trec,emotion_tweeteval,sent3_fpb"
SHOTS, STEP, PENALTY = 8, 10, 0.7
WAYS = ("random", "doubt", "learned", "shots")


async def score(data: Path, out: Path, name: str, limit: int) -> None:
    """Keep what the model says of each row of a set."""
    pool, rows = rows_of(data / f"{name}.train.jsonl"), rows_of(data / f"{name}.jsonl")
    rows = random.Random(0).sample(rows, min(limit, len(rows)))
    some = random.Random(1).sample(pool, len(pool))
    shots = choose([Example({"text": r["text"]}, r["output"]) for r in some if len(r["text"]) < 200], SHOTS, "balanced")
    labels = sorted({row["output"] for row in pool})
    task = task_for(name, labels).using(examples=shots, calibrate=False, cache=True)
    connection = await connect(task.settings)
    questions = [await task._question_for({"text": row["text"]}, connection) for row in rows]
    answers = await score_all(questions, connection)
    with (out / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        for row, question, answer in zip(rows, questions, answers, strict=True):
            if answer is not None:
                scores = {label: math.log(max(p, 1e-12)) for label, p in (answer.probabilities or {}).items()}
                top = [(token.decode("latin-1"), logprob) for token, logprob in question.top]
                file.write(json.dumps({"label": row["output"], "scores": scores, "top": top}) + "\n")
    print(name, len(rows), "rows,", sum(answer is None for answer in answers), "without an answer", flush=True)


class Rows:
    """The rows of a set: what the model said as features, and what is right."""

    def __init__(self, path: Path) -> None:
        found = [json.loads(line) for line in path.open(encoding="utf-8")]
        self.labels = sorted({label for row in found for label in row["scores"]})
        scores = np.array([[row["scores"][label] for label in self.labels] for row in found])
        tokens = sorted({token for row in found for token, _ in row["top"]})
        places = {token: n for n, token in enumerate(tokens)}
        listed = np.full((len(found), len(tokens)), min(logprob for row in found for _, logprob in row["top"]))
        for n, row in enumerate(found):
            for token, logprob in row["top"]:
                listed[n, places[token]] = logprob
        blocks = [block - block.mean(0) for block in (scores, listed)]
        features = np.hstack([block / np.sqrt((block**2).sum(1).mean()) for block in blocks])
        self.kernel = features @ features.T
        self.truth = np.array([self.labels.index(row["label"]) for row in found])
        self.raw = np.exp(scores)

    def learned(self, taught: Sequence[int]) -> tuple[Any, Any]:
        """Fit a ridge regression; give scores of all rows, and of those that taught with each left out itself."""
        wanted = np.eye(len(self.labels))[self.truth[taught]]
        mean = wanted.mean(0)
        inverse = np.linalg.inv(self.kernel[np.ix_(taught, taught)] + PENALTY * np.eye(len(taught)))
        duals = inverse @ (wanted - mean)
        return self.kernel[:, taught] @ duals + mean, wanted - duals / np.diag(inverse)[:, None]


def margins(scores: Any) -> Any:
    """Tell how far the likeliest label is above the next."""
    best = np.sort(scores, axis=1)
    return best[:, -1] - best[:, -2]


def run(rows: Rows, way: str, risk: float, draw: random.Random) -> tuple[int, float]:
    """Label row after row; give when half can be answered at the risk, and the accuracy on the random rows then."""
    order = draw.sample(range(len(rows.truth)), len(rows.truth))
    fair: list[int] = []
    doubted: list[int] = []
    sure = margins(rows.raw)
    while len(fair) + len(doubted) < len(rows.truth):
        done = {*fair, *doubted}
        left = [n for n in order if n not in done]
        most = SHOTS * 4 if way == "shots" else len(order)
        if way != "random" and (len(fair) + len(doubted)) % 3 == 2 and len(doubted) < most:
            some = left[-24:] if way != "learned" else left
            doubts = [1e-4 + (1 - min(1.0, max(0.0, float(sure[n])))) ** 2 for n in some]
            doubted.append(draw.choices(some, doubts)[0])
        else:
            fair.append(left[0])
        count = len(fair) + len(doubted)
        if count % STEP or len(fair) < 2 * STEP:
            continue
        taught = fair + doubted * (way != "shots")
        scores, left_out = rows.learned(taught)
        if way == "learned":
            sure = margins(scores)
        own = left_out[: len(fair)]
        right = own.argmax(1) == rows.truth[fair]
        if threshold_for(risk, margins(own).tolist(), right.tolist()).coverage >= 0.5:
            return count, float(right.mean())
    return len(order) + STEP, float("nan")


def unbiased(rows: Rows, runs: int, count: int = 60) -> float:
    """Give the mean over runs of the accuracy on so many random rows, less that on all rows, for a fixed model."""
    right = rows.raw.argmax(1) == rows.truth
    draw = random.Random(0)
    means = [right[draw.sample(range(len(right)), count)].mean() for _ in range(runs)]
    return float(np.mean(means) - right.mean())


def main() -> int:
    """Score or simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["score", "simulate"])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--annotators", type=int, default=20)
    parser.add_argument("--risk", type=float, default=0.1)
    args = parser.parse_args()
    for name in args.sets.split(","):
        if args.what == "score":
            asyncio.run(score(*args.folders, name, args.limit))
            continue
        rows, told = Rows(args.folders[0] / f"{name}.jsonl"), []
        for way in WAYS:
            counts = [run(rows, way, args.risk, random.Random(f"{name} {n}"))[0] for n in range(args.annotators)]
            there = sum(count <= len(rows.truth) for count in counts)
            told.append(f"{way} {sum(counts) / len(counts):.0f} ({there})")
        print(f"{name:20}", "; ".join(told), f"; off by {100 * unbiased(rows, 200):+.2f} points", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
