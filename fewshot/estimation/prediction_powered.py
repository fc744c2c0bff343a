"""The share of a label from a model's answers on all rows and a person's on a few, with an interval.

Prediction-powered inference with the power-tuned lambda (PPI++; Angelopoulos et al. 2023, arXiv 2311.01453), within
strata of the model's answer; rows that were chosen unequally count by the inverse of their chance (Horvitz and Thompson
1952; for choice by confidence Gligorić et al. 2024, arXiv 2408.15204). A variance that comes of few errors is smoothed,
and the interval is that of a count of as many rows as would vary so much (`mid_p`): it lies in [0, 1], and a label that
nobody has seen keeps an upper bound. `tests/benchmarks/shares.py` holds all that against simulations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fewshot.calibration.abstention import beta_below
from fewshot.evaluation.intervals import Figure

__all__ = ["LEAST", "LabelledRow", "Stratum", "difference", "merged", "mid_p", "share_in"]

LEAST = 10
"""Labelled rows that a stratum must have to stand for itself."""
_FEWEST = 3
"""Rows with the label, and without it, from which on lambda is fitted."""
_MOST = 1e6
"""Rows beyond which an interval gets no narrower."""


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """What a person and a model say of one row."""

    has: bool
    """Whether it has the label."""
    model: float
    """The model's probability of the label, or 0 or 1 for what it answered."""
    chance: float | None = None
    """The probability with which the row was chosen; None where all were equally likely."""


@dataclass(slots=True)
class Stratum:
    """Some rows of a corpus: how many, the sum of the model's probabilities of one label, and the labelled of them."""

    rows: int = 0
    total: float = 0.0
    labelled: list[LabelledRow] = field(default_factory=list)


def merged(strata: Iterable[Stratum]) -> Stratum:
    """Make one of several."""
    parts = list(strata)
    return Stratum(
        sum(one.rows for one in parts), sum(one.total for one in parts), [r for one in parts for r in one.labelled]
    )


def share_in(strata: Sequence[Stratum], *, inside: bool, powered: bool = True) -> Figure:
    """Estimate the share of rows with the label, with its 95% interval.

    Arguments:
        strata: parts of the corpus, each with at least one row that is labelled.
        inside: whether the labelled rows are rows of the corpus, or others like them.
        powered: False leaves the model's answers out: what the labels alone say.
    """
    rows = sum(stratum.rows for stratum in strata)
    value = smoothed = variance = 0.0
    for stratum in strata:
        found, near, varies = _within(stratum, inside=inside, powered=powered)
        weight = stratum.rows / rows
        value, smoothed, variance = value + weight * found, smoothed + weight * near, variance + weight**2 * varies
    if variance <= 0:  # every row is labelled
        return Figure(value, value, value)
    like = min(_MOST, max(1.0, smoothed * (1 - smoothed) / variance))
    low, high = mid_p(value * like, like)
    return Figure(value, min(low, value), max(high, value))


def difference(first: Figure, second: Figure) -> Figure:
    """Give how much the second of two independent shares is above the first (Newcombe 1998, Stat. Med. 17(8))."""
    value = second.value - first.value
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return Figure(value, max(-1.0, value - below), min(1.0, value + above))


def mid_p(count: float, rows: float) -> tuple[float, float]:
    """Bound a share from below and above by the mid-P interval (Lancaster 1961, JASA 56(294)); counts may be fractions.

    Its coverage is nearer to 95% than that of Wilson's or the exact one where a label is rare.
    """
    count = min(max(count, 0.0), rows)

    def bound(tail: float, low: float, high: float) -> float:
        for _ in range(40):
            middle = (low + high) / 2
            more = beta_below(count + 1, rows - count, middle) if count < rows else 0.0
            least = beta_below(count, rows - count + 1, middle) if count > 0 else 1.0
            low, high = (middle, high) if (more + least) / 2 < tail else (low, middle)
        return (low + high) / 2

    here = count / rows
    return bound(0.025, 0.0, here) if count > 0 else 0.0, bound(0.975, here, 1.0) if count < rows else 1.0


def _within(stratum: Stratum, *, inside: bool, powered: bool) -> tuple[float, float, float]:
    """Give the share in one stratum, the same drawn in from 0 and 1, and the variance of the former."""
    labelled, rows = stratum.labelled, len(stratum.labelled)
    inverse = [1 / (row.chance or 1.0) for row in labelled]
    weights = [one * rows / sum(inverse) for one in inverse]
    has = sum(w for w, row in zip(weights, labelled, strict=True) if row.has) / rows
    said = sum(w * row.model for w, row in zip(weights, labelled, strict=True)) / rows
    # how much of its own variance each row brings: a corpus that is labelled whole has none left
    even = rows / stratum.rows
    left = [(max(0.0, 1 - (row.chance or even)) if inside else 1 + even) for row in labelled]
    squares = [w * w * part for w, part in zip(weights, left, strict=True)]
    half = sum(squares) / rows / 2  # half a row with the label and half a one without are added
    near = (has * rows + 0.5) / (rows + 1)
    with_it = half + sum(s for s, row in zip(squares, labelled, strict=True) if row.has)
    without = half + sum(s for s, row in zip(squares, labelled, strict=True) if not row.has)
    variance = (with_it * (1 - near) ** 2 + without * near**2) / (rows * (rows + 1))
    seen = sum(row.has for row in labelled)
    slope = 0.0
    if powered and min(seen, rows - seen) >= _FEWEST:
        spread = sum(w * (row.model - said) ** 2 for w, row in zip(weights, labelled, strict=True))
        joint = sum(w * (row.model - said) * (row.has - has) for w, row in zip(weights, labelled, strict=True))
        slope = min(1.0, max(0.0, joint / spread)) if spread > 1e-12 else 0.0
    if slope:
        miss = [row.has - has - slope * (row.model - said) for row in labelled]
        missed = sum(s * d * d for s, d in zip(squares, miss, strict=True)) + 2 * half  # one more, which is all wrong
        alone = sum(s * (row.has - has) ** 2 for s, row in zip(squares, labelled, strict=True)) + 2 * half
        variance *= min(1.0, missed / alone * (rows - 1) / (rows - 2)) if alone else 0.0
    value = has + slope * (stratum.total / stratum.rows - said)
    return min(1.0, max(0.0, value)), near, variance
