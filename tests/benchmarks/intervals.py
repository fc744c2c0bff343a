"""Simulate intervals: how often each that a report prints holds the true figure; 95% are meant.

    python tests/benchmarks/intervals.py [--runs N] [--samples N] [--rows 30,100,300]

Rows of three labels, of which one is rare, are drawn from a world that is known, and measured as a report measures
them; the true figure is that of 20,000 rows. Two runs of the same rows are compared, and draws of shots are averaged.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import defaultdict
from collections.abc import Callable

from fewshot.evaluation import summary
from fewshot.evaluation.intervals import Figure, compare
from fewshot.evaluation.metrics import macro_f1, over
from fewshot.evaluation.predictions import Prediction

LABELS = {"a": 0.5, "b": 0.4, "c": 0.1}
_WHOLE = 20_000


def predicted(draw: random.Random, row: int, truth: str, skill: float = 1.4) -> Prediction:
    """Answer a row as a model would that is somewhat too sure."""
    logits = {label: draw.gauss(skill * (label == truth), 1.0) for label in LABELS}
    total = sum(math.exp(1.3 * logit) for logit in logits.values())
    chances = {label: math.exp(1.3 * logit) / total for label, logit in logits.items()}
    said = max(chances, key=chances.__getitem__)
    scores = {"accuracy": float(said == truth)}
    return Prediction(
        row=row, id=str(row), inputs={}, truth=truth, value=said, scores=scores, confidence=chances[said],
        probabilities=chances,
    )  # fmt: skip


def truths(draw: random.Random, count: int) -> list[str]:
    """Draw the labels of rows."""
    return draw.choices(list(LABELS), list(LABELS.values()), k=count)


def reports(rows: int, runs: int) -> dict[str, float]:
    """Give for each figure of a report the share of runs whose interval holds the true one."""
    draw = random.Random(rows)
    found: dict[str, list[Figure]] = defaultdict(list)
    for _ in range(runs):
        sample = [predicted(draw, n, truth) for n, truth in enumerate(truths(draw, rows))]
        for name, figure in summary.figures("labels", sample)[0].items():
            found[name].append(figure)
    whole = [predicted(draw, n, truth) for n, truth in enumerate(truths(draw, _WHOLE))]
    true = {name: figure.value for name, figure in _plainly(whole).items()}
    left_out = ("ece_by_chance",)  # the range of chance, and no interval
    return {n: _held(figures, true[n]) for n, figures in found.items() if n not in left_out}


def _plainly(rows: list[Prediction]) -> dict[str, Figure]:
    samples, summary._samples = summary._samples, lambda _: 2  # type: ignore[assignment]  # only values are wanted
    try:
        return summary.figures("labels", rows)[0]
    finally:
        summary._samples = samples


def comparisons(rows: int, runs: int) -> dict[str, float]:
    """Do the same for the difference of two runs over the same rows: in accuracy, and in macro-F1."""
    draw = random.Random(rows)

    def pair(count: int) -> tuple[list[Prediction], list[Prediction]]:
        gold = truths(draw, count)
        first, second = ([predicted(draw, n, truth, skill) for n, truth in enumerate(gold)] for skill in (1.4, 1.7))
        return first, second

    def outcomes(run: list[Prediction]) -> list[float]:
        return [p.scores["accuracy"] for p in run]

    def labels(run: list[Prediction]) -> list[tuple[str, str]]:
        return [(p.truth, p.value) for p in run]

    one, other = pair(_WHOLE)
    score: Callable[..., float] = over(macro_f1)
    accuracy = (sum(outcomes(other)) - sum(outcomes(one))) / _WHOLE
    f1 = score(labels(other)) - score(labels(one))
    held = {"difference of accuracy": 0, "difference of macro_f1": 0}
    for _ in range(runs):
        one, other = pair(rows)
        difference = compare(outcomes(one), outcomes(other), samples=200)
        held["difference of accuracy"] += difference.low <= accuracy <= difference.high
        difference = compare(labels(one), labels(other), score, samples=200)
        held["difference of macro_f1"] += difference.low <= f1 <= difference.high
    return {name: count / runs for name, count in held.items()}


def draws(count: int, rows: int, runs: int) -> float:
    """Do the same for the mean over draws of shots, which differ by five points."""
    draw = random.Random(count)
    held = 0
    for _ in range(runs):
        hard = [draw.gauss(0, 0.2) for _ in range(rows)]
        shift = [draw.gauss(0, 0.05) for _ in range(count)]
        scores = [[float(draw.random() < 0.7 + h + s) for h in hard] for s in shift]
        figure = summary.of_draws(scores)
        held += figure.low <= 0.7 - 0.0041 <= figure.high  # chances above 1 are cut off
    return held / runs


def _held(figures: list[Figure], true: float) -> float:
    return sum(figure.low <= true <= figure.high for figure in figures) / len(figures)


def main() -> int:
    """Print the share of runs whose interval holds the true figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--samples", type=int, default=200, help="resamples; a report takes up to 1,000")
    parser.add_argument("--rows", default="30,100,300")
    args = parser.parse_args()
    summary._samples = lambda _: args.samples  # type: ignore[assignment]
    table: dict[str, dict[int, float]] = defaultdict(dict)
    counts = [int(count) for count in args.rows.split(",")]
    for rows in counts:
        for name, share in (reports(rows, args.runs) | comparisons(rows, args.runs)).items():
            table[name][rows] = share
        for count in (2, 3, 5):
            table[f"mean of {count} draws"][rows] = draws(count, rows, args.runs)
    print(f"| holds the true figure in | {' | '.join(f'{rows} rows' for rows in counts)} |")
    print("|---" * (len(counts) + 1) + "|")
    for name, shares in table.items():
        print(f"| `{name}` | {' | '.join(f'{100 * shares[rows]:.0f}%' for rows in counts)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
