"""Put an interval round every figure, and tell whether two runs really differ: the bootstrap, seeded."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from fewshot.errors import InputError

__all__ = ["Comparison", "Figure", "average", "bootstrap", "compare", "mean"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value and its 95% interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Give it as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much a second run is above a first on the same rows, with a two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float

    def to_dict(self) -> dict[str, float]:
        """Give it as plain JSON values."""
        return asdict(self)


def mean(values: Sequence[float]) -> float:
    """Average numbers (or truths); none gives 0."""
    return sum(values) / len(values) if values else 0.0


def bootstrap(
    rows: Sequence[T],
    statistic: Callable[[Sequence[T]], float] = mean,  # type: ignore[assignment]
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Figure:
    """Measure a statistic of rows with its percentile interval (Efron 1979) over resampled rows."""
    value = statistic(rows)
    if len(rows) < 2:
        return Figure(value, value, value)
    draw = random.Random(seed).choices  # noqa: S311
    values = sorted(statistic(draw(rows, k=len(rows))) for _ in range(samples))
    low, high = _middle(values, level)
    return Figure(value, min(low, value), max(high, value))


def average(scores: Sequence[float], *, samples: int = 1000) -> Figure:
    """Average scores from 0 to 1, with the interval of `bootstrap`, or an exact one where that would see no spread.

    Resampling rows that are all 1 (or all 0) gives nothing else, as if it were certain; the bound is then that of
    Clopper and Pearson 1934 (Biometrika 26(4)), which for 24 rows out of 24 begins at 0.858.
    """
    figure = bootstrap(scores, samples=samples)
    reach = 1 - 0.025 ** (1 / max(len(scores), 1))
    if scores and all(score == 1 for score in scores):
        return Figure(1.0, 1 - reach, 1.0)
    if scores and not any(scores):
        return Figure(0.0, 0.0, reach)
    return figure


def compare(
    first: Sequence[T],
    second: Sequence[T],
    statistic: Callable[[Sequence[T]], float] = mean,  # type: ignore[assignment]
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two runs row by row: resample the rows of both together (Koehn 2004, EMNLP, section 5)."""
    if len(first) != len(second):
        raise InputError(f"A paired comparison needs the same rows in both runs, got {len(first)} and {len(second)}.")
    difference = statistic(second) - statistic(first)
    if not first:
        return Comparison(0.0, 0.0, 0.0, 1.0)
    draw = random.Random(seed).choices  # noqa: S311
    pairs = list(zip(first, second, strict=True))
    values = []
    for _ in range(samples):
        ours, theirs = zip(*draw(pairs, k=len(pairs)), strict=True)
        values.append(statistic(theirs) - statistic(ours))
    values.sort()
    low, high = _middle(values, level)
    below = sum(value <= 0 for value in values)
    above = sum(value >= 0 for value in values)
    p_value = min(1.0, 2 * (min(below, above) + 1) / (samples + 1))
    return Comparison(difference, low, high, p_value)


def _middle(values: Sequence[float], level: float) -> tuple[float, float]:
    """Cut the same share from both ends of sorted values."""
    cut = int(len(values) * (1 - level) / 2)
    return values[cut], values[-1 - cut]
