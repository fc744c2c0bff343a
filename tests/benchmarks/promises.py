"""Simulate promises: how often each is broken on rows to come, and which share of them is answered.

    python tests/benchmarks/promises.py [--runs N]

A perfectly calibrated model is drawn (right as often as it is sure), a threshold is found on labelled rows, and what it
accepts of all rows to come is known exactly. `risk` may be broken in 5% of the runs; `average_risk` keeps its mean.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fewshot.calibration.abstention import Threshold, average_threshold_for, threshold_for

CASES = [("risk", 0.05, 484), ("risk", 0.1, 484), ("risk", 0.1, 150), ("risk", 0.2, 150)]
CASES += [("average_risk", 0.05, 484), ("average_risk", 0.05, 100), ("average_risk", 0.1, 100)]
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


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    args = parser.parse_args()
    print("| promise | labelled rows | made in | broken in | answered | wrong on average |\n|---|---|---|---|---|---|")
    for kind, risk, rows in CASES:
        found = simulated(kind, risk, rows, args.runs)
        cells = (found.promised, found.broken, found.answered, found.wrong)
        print(f"| {kind} {risk:.0%} | {rows} | {' | '.join(f'{100 * cell:.1f}%' for cell in cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
