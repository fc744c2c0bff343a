"""Figures for closed sets: how often the label is right, and how well its probability is known.

Each takes plain sequences. `bootstrap` puts an interval round any of them when its rows are zipped into one sequence:
`bootstrap(list(zip(truths, predictions)), over(macro_f1))`. A prediction of None (abstained, failed) is never right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fewshot.errors import InputError
from fewshot.types import Plain

__all__ = ["Bin", "auroc", "brier_of", "confusion", "ece", "macro_f1", "nll_of", "over", "reliability"]

Chances = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bin(Plain):
    """Rows whose confidence lies in (low, high]: how many, their mean confidence and their accuracy."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def over(metric: Callable[..., float]) -> Callable[[Sequence[Any]], float]:
    """Turn a metric of several sequences into one of a sequence of rows, as `bootstrap` and `compare` want."""

    def statistic(rows: Sequence[Any]) -> float:
        return metric(*zip(*rows, strict=True))

    return statistic


def macro_f1(truths: Sequence[Hashable], predictions: Sequence[Hashable | None]) -> float:
    """Give the unweighted mean of the labels' F1, over the labels that are a gold label or a prediction of some row."""
    _paired(truths, predictions)
    true, given = Counter(truths), Counter(predictions)
    hits = Counter(truth for truth, said in zip(truths, predictions, strict=True) if truth == said)
    labels = true.keys() | (given.keys() - {None})
    return sum(2 * hits[label] / (true[label] + given[label]) for label in labels) / len(labels)


def confusion(truths: Sequence[str], predictions: Sequence[str | None]) -> dict[str, dict[str | None, int]]:
    """Count the rows of each gold label by what was predicted; a prediction of None stays None."""
    _paired(truths, predictions)
    table: dict[str, dict[str | None, int]] = {truth: {} for truth in sorted(set(truths))}
    for (truth, said), count in sorted(Counter(zip(truths, predictions, strict=True)).items(), key=str):
        table[truth][said] = count
    return table


def nll_of(truth: str, probabilities: Chances) -> float:
    """Give the negative natural log of the probability of a row's gold label, at most 27.6 (a chance of 1e-12)."""
    return -math.log(max(probabilities.get(truth, 0.0), 1e-12))


def brier_of(truth: str, probabilities: Chances) -> float:
    """Give the sum over labels of the squared error of the probability, for one row."""
    missed = 0.0 if truth in probabilities else 1.0
    return missed + sum((chance - (label == truth)) ** 2 for label, chance in probabilities.items())


def ece(confidences: Sequence[float], correct: Sequence[bool], *, bins: int = 15, adaptive: bool = False) -> float:
    """Measure the expected calibration error (ECE).

    That is the mean distance of accuracy from confidence over bins, weighted by their rows. Confidence is the
    probability of the predicted label; bins are of equal width (Guo et al. 2017, arXiv 1706.04599, section 2), or hold
    about equally many rows when `adaptive`: rows of one confidence stay together, since no order parts them. On few
    rows even a perfectly calibrated model scores above 0.
    """
    _paired(confidences, correct)
    gaps = [0.0] * bins
    seen = 0
    for confidence, tied in groupby(sorted(zip(confidences, correct, strict=True)), key=lambda pair: pair[0]):
        outcomes = [right for _, right in tied]
        place = seen * bins // len(confidences) if adaptive else _bin(confidence, bins)
        gaps[place] += sum(outcomes) - confidence * len(outcomes)
        seen += len(outcomes)
    return sum(map(abs, gaps)) / len(confidences)


def reliability(confidences: Sequence[float], correct: Sequence[bool], *, bins: int = 15) -> list[Bin]:
    """Give the bins of a reliability diagram that hold rows, in rising order."""
    _paired(confidences, correct)
    pairs = sorted(zip(confidences, correct, strict=True))
    grouped = groupby(pairs, key=lambda pair: _bin(pair[0], bins))
    return [_summary(place / bins, (place + 1) / bins, list(group)) for place, group in grouped]


def auroc(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """Give the chance that a right answer has a higher confidence than a wrong one; a tie counts half."""
    _paired(confidences, correct)
    right = sum(correct)
    wrong = len(correct) - right
    if not right or not wrong:
        return 0.5
    below, wins = 0, 0.0
    for _, group in groupby(sorted(zip(confidences, correct, strict=True)), key=lambda pair: pair[0]):
        outcomes = [outcome for _, outcome in group]
        hits = sum(outcomes)
        wins += hits * (below + (len(outcomes) - hits) / 2)
        below += len(outcomes) - hits
    return wins / (right * wrong)


def _bin(confidence: float, bins: int) -> int:
    """Find the bin (low, high] of a confidence; 0 falls into the first."""
    return min(max(math.ceil(confidence * bins - 1e-9) - 1, 0), bins - 1)


def _summary(low: float, high: float, group: Sequence[tuple[float, bool]]) -> Bin:
    confidence = sum(value for value, _ in group) / len(group)
    return Bin(low, high, len(group), confidence, sum(right for _, right in group) / len(group))


def _paired(first: Sequence[Any], second: Sequence[Any]) -> None:
    if len(first) != len(second) or not first:
        raise InputError(
            f"A figure needs rows in pairs, got {len(first)} and {len(second)}; give one of each, at least one."
        )
