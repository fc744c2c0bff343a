"""Put an interval round every figure, and tell whether two runs really differ: the bootstrap, seeded."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeVar

from fewshot.calibration.abstention import error_bound
from fewshot.errors import InputError
from fewshot.types import Plain

__all__ = ["Comparison", "Figure", "average", "bootstrap", "compare", "kappa", "mean", "t_quantile"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure(Plain):
    """A measured value and its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Comparison(Plain):
    """How much a second run is above a first on the same rows, with a two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def mean(values: Sequence[float]) -> float:
    """Average numbers (or truths); none gives 0."""
    return sum(values) / len(values) if values else 0.0


def bootstrap(
    rows: Sequence[T],
    statistic: Callable[[Sequence[T]], float] = mean,  # type: ignore[assignment]
    *,
    samples: int = 1000,
) -> Figure:
    """Measure a statistic of rows with its percentile interval (Efron 1979) over resampled rows, widened for few."""
    value = statistic(rows)
    if len(rows) < 2:
        return Figure(value, value, value)
    draw = random.Random(0).choices  # noqa: S311
    values = sorted(statistic(draw(rows, k=len(rows))) for _ in range(samples))
    cut = _cut(values, len(rows))
    return Figure(value, min(values[cut], value), max(values[-1 - cut], value))


def average(scores: Sequence[float], *, samples: int = 1000) -> Figure:
    """Average scores from 0 to 1, with the interval of `bootstrap`, or the exact one where each is right or wrong.

    That is Clopper and Pearson's (1934, Biometrika 26(4)): 24 rows right out of 24 say no more than 0.858 or above.
    """
    if not scores or not all(score in (0, 1) for score in scores):
        return bootstrap(scores, samples=samples)
    rows, right = len(scores), int(sum(scores))
    high, low = (error_bound(count, rows, confidence=0.975) for count in (right, rows - right))
    return Figure(right / rows, 1 - low, high)


def kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> Figure | None:
    """Measure how far two judges of the same rows agree beyond chance (Cohen 1960, Educ. Psychol. Meas. 20(1)).

    The interval is the exact one of their agreement, with the agreement by chance held as it was found: resampling says
    [1, 1] where few rows agree, and held the true value in 59 to 95% of simulated sets of 20 to 200 rows; this in 93%
    and more.

    Returns:
        None where there are no rows, or both give one and the same label to all, so that chance explains everything.
    """
    ours, theirs = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(count * theirs[label] for label, count in ours.items()) / max(len(pairs), 1) ** 2
    if not pairs or chance == 1:
        return None
    agreed = average([float(one == other) for one, other in pairs])
    value, low, high = ((share - chance) / (1 - chance) for share in (agreed.value, agreed.low, agreed.high))
    return Figure(value, max(low, -1.0), high)


def _cut(values: Sequence[float], rows: int) -> int:
    """Tell how many values to cut from either end.

    Few rows spread less than what they come from: reach as far as Student's t would (Hesterberg 2015, section 5).
    """
    if rows < 2:
        return 0
    far = t_quantile(0.975, rows - 1) * math.sqrt(rows / (rows - 1))
    return int(len(values) * NormalDist().cdf(-far))


def t_quantile(share: float, freedom: int) -> float:
    """Approximate a quantile of Student's t (Abramowitz and Stegun 1964, 26.7.5)."""
    z = NormalDist().inv_cdf(share)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def compare(
    first: Sequence[T],
    second: Sequence[T],
    statistic: Callable[[Sequence[T]], float] = mean,  # type: ignore[assignment]
    *,
    samples: int = 1000,
) -> Comparison:
    """Compare two runs row by row: resample the rows of both together (Koehn 2004, EMNLP, section 5)."""
    if len(first) != len(second):
        raise InputError(f"A paired comparison needs the same rows in both runs, got {len(first)} and {len(second)}.")
    difference = statistic(second) - statistic(first)
    if not first:
        return Comparison(0.0, 0.0, 0.0, 1.0)
    draw = random.Random(0).choices  # noqa: S311
    pairs = list(zip(first, second, strict=True))
    values = []
    for _ in range(samples):
        ours, theirs = zip(*draw(pairs, k=len(pairs)), strict=True)
        values.append(statistic(theirs) - statistic(ours))
    values.sort()
    cut = _cut(values, len(pairs))
    below = sum(value <= 0 for value in values)
    above = sum(value >= 0 for value in values)
    p_value = min(1.0, 2 * (min(below, above) + 1) / (samples + 1))
    low, high = values[cut], values[-1 - cut]
    if statistic is mean and all(pair in _OUTCOMES for pair in pairs):
        low, high = _paired(pairs)
    return Comparison(difference, min(low, difference), max(high, difference), p_value)


_OUTCOMES = ((0, 0), (0, 1), (1, 0), (1, 1))


def _paired(pairs: Sequence[tuple[Any, Any]]) -> tuple[float, float]:
    """Bound the difference of two shares of the same rows (Bonett and Price 2012, J. Educ. Behav. Stat. 37(4)).

    Resampling rows of which all agree would say that there is no difference for certain.
    """
    rows = len(pairs) + 2
    gained, lost = ((pairs.count(pair) + 1) / rows for pair in ((0, 1), (1, 0)))
    reach = NormalDist().inv_cdf(0.975) * math.sqrt((gained + lost - (gained - lost) ** 2) / rows)
    return max(-1.0, gained - lost - reach), min(1.0, gained - lost + reach)
