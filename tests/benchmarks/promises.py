"""Simulate promises: how often each is broken on rows to come, and which share of them is answered.

    python tests/benchmarks/promises.py [--runs N]

A perfectly calibrated model is drawn (right as often as it is sure), a threshold is found on labelled rows, and what it
accepts of all rows to come is known exactly. `risk`, `recall` and `precision` may be broken in 5% of the runs;
`average_risk` keeps its mean. For those of one label, which a third of the rows have, "answered" is the share of rows
that are given it, and "wrong" the share that is missed, or wrong among its answers.
A second table tells how often `fewshot check --fit` says that a fit has drifted.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fewshot.calibration.abstention import Threshold, average_threshold_for, threshold_for
from fewshot.calibration.drift import drift, figures_of
from fewshot.calibration.goal import Goal, Judged

CASES = [("risk", 0.05, 484), ("risk", 0.1, 484), ("risk", 0.1, 150), ("risk", 0.2, 150)]
CASES += [("average_risk", 0.05, 484), ("average_risk", 0.05, 100), ("average_risk", 0.1, 100)]
OF_LABELS = [("recall", 0.95, 484), ("recall", 0.95, 150), ("recall", 0.8, 150), ("precision", 0.9, 484)]
OF_LABELS += [("precision", 0.9, 150), ("precision", 0.8, 150)]
FINDS: dict[str, Callable[[float, Sequence[float], Sequence[bool]], Threshold]] = {
    "risk": threshold_for,
    "average_risk": average_threshold_for,
}
_TO_COME = 4_000
"""Rows to come, each with its exact chance of being wrong: no noise is added by drawing outcomes."""


@dataclass(frozen=True)
class Outcome:
    """What many runs came to; all are shares."""

    promised: float
    broken: float
    answered: float
    wrong: float
    """Mean over runs of the share of errors among the answered; a run that answers nothing has none."""


def sure(draw: random.Random) -> float:
    """Draw a confidence: two thirds of the rows are easy, so that about 88% are right."""
    return 0.5 + 0.5 * draw.betavariate(6, 1) if draw.random() < 0.7 else 0.5 + 0.5 * draw.betavariate(1.5, 1.2)


def simulated(kind: str, risk: float, rows: int, runs: int, *, seed: int = 0) -> Outcome:
    """Run one case many times."""
    draw = random.Random(seed)
    future = sorted((sure(draw) for _ in range(_TO_COME)), reverse=True)
    errors = [0.0]
    for value in future:
        errors.append(errors[-1] + 1 - value)
    promised = broken = answered = wrong = 0.0
    for _ in range(runs):
        confidences = [sure(draw) for _ in range(rows)]
        correct = [draw.random() < value for value in confidences]
        threshold = FINDS[kind](risk, confidences, correct).threshold
        accepted = sum(value >= threshold for value in future)
        error = errors[accepted] / accepted if accepted else 0.0
        promised += accepted > 0
        broken += error > risk
        answered += accepted / _TO_COME
        wrong += error
    return Outcome(promised / runs, broken / runs, answered / runs, wrong / runs)


def of_label(draw: random.Random) -> float:
    """Draw the probability of a label that about a third of the rows have."""
    return draw.betavariate(5, 1) if draw.random() < 0.35 else draw.betavariate(0.6, 5)


def simulated_of_label(kind: str, share: float, rows: int, runs: int, *, seed: int = 0) -> Outcome:
    """Run one case of a promise about one label many times."""
    draw = random.Random(seed)
    goal = Goal(recall={"a": share}) if kind == "recall" else Goal(precision={"a": share})
    future = [of_label(draw) for _ in range(_TO_COME)]
    promised = broken = answered = wrong = 0.0
    for _ in range(runs):
        judged = []
        for chance in (of_label(draw) for _ in range(rows)):
            said, truth = "a" if chance > 0.5 else "b", "a" if draw.random() < chance else "b"
            judged.append(Judged(max(chance, 1 - chance), said == truth, {"a": chance, "b": 1 - chance}, truth))
        found = goal.threshold(judged)
        assert found is not None
        decided = [found.decide("a" if p > 0.5 else "b", {"a": p, "b": 1 - p}) for p in future]
        given = [p for p, (label, held) in zip(future, decided, strict=True) if label == "a" and not held]
        if not given:
            continue
        error = 1 - sum(given) / (sum(future) if kind == "recall" else len(given))
        promised += 1
        broken += error > 1 - share
        answered += len(given) / _TO_COME
        wrong += error
    return Outcome(promised / runs, broken / runs, answered / runs, wrong / max(promised, 1))


def drifted(rows_then: int, rows_now: int, fallen: float, runs: int, *, seed: int = 0) -> float:
    """Tell how often a fit is said to have drifted, when accuracy has fallen by so much."""
    draw = random.Random(seed)

    def judged(count: int, fallen: float) -> list[Judged]:
        return [Judged(chance, draw.random() < chance - fallen) for chance in (sure(draw) for _ in range(count))]

    found = 0
    for _ in range(runs):
        then = judged(rows_then, 0.0)
        threshold = threshold_for(0.2, [row.sure for row in then], [row.right for row in then])
        found += drift(judged(rows_now, fallen), then=figures_of(then), threshold=threshold).drifted
    return found / runs


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    args = parser.parse_args()
    print("| promise | labelled rows | made in | broken in | answered | wrong on average |\n|---|---|---|---|---|---|")
    for kind, risk, rows in [*CASES, *OF_LABELS]:
        found = (simulated_of_label if kind in ("recall", "precision") else simulated)(kind, risk, rows, args.runs)
        cells = (found.promised, found.broken, found.answered, found.wrong)
        print(f"| {kind} {risk:.0%} | {rows} | {' | '.join(f'{100 * cell:.1f}%' for cell in cells)} |", flush=True)
    print("\n| rows of the fit | rows now | accuracy fallen by | drift told in |\n|---|---|---|---|")
    for rows, now in [(60, 100), (150, 100), (484, 100)]:
        for fallen in (0.0, 0.1, 0.2):
            print(f"| {rows} | {now} | {fallen:.0%} | {drifted(rows, now, fallen, args.runs):.1%} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
