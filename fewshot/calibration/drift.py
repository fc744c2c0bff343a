"""Whether a fit is still what it was: its figures on new labelled rows beside those on the rows it was fitted on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fewshot.calibration.abstention import Threshold, at_most
from fewshot.calibration.goal import Judged

__all__ = ["Check", "Drift", "Figures", "drift", "figures_of"]

_LEVEL = 0.05
"""The chance that a fit that is as it was is said to have drifted, over all its checks together."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How right and how sure a fit was on rows that it was not fitted on."""

    rows: int
    right: int
    confidence: float
    """Mean over the rows, from 0 to 1."""
    noise: float
    """Variance of a row's being right, less its confidence."""

    @property
    def gap(self) -> float:
        """How far confidence is above accuracy."""
        return self.confidence - self.right / self.rows


@dataclass(frozen=True, slots=True)
class Check:
    """One figure then and now; `p_value` is the chance to see so much, or more, of a fit that is as it was."""

    name: str
    then: float
    now: float
    rows: int
    """How many rows the new figure is of."""
    p_value: float
    drifted: bool

    def __str__(self) -> str:
        told = "p<0.001" if self.p_value < 0.001 else f"p={self.p_value:.3f}"
        verdict = "  drift" if self.drifted else ""
        return f"{self.name}: {self.then:.3f} before, {self.now:.3f} of {self.rows} rows now, {told}{verdict}"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What a fit came to when it was measured again."""

    fit: str
    """On what it was fitted, and where it is kept."""
    rows: int
    checks: tuple[Check, ...]
    off: Mapping[str, int]
    """Why the fit does not hold for rows, each reason with its number of rows."""
    left_out: int = 0
    """Rows that are shots of the prompt, or duplicates."""

    @property
    def drifted(self) -> bool:
        """Whether any check says so, or the fit does not hold for some row."""
        return bool(self.off) or any(check.drifted for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "fit": self.fit,
            "rows": self.rows,
            "left_out": self.left_out,
            "drifted": self.drifted,
            "off": dict(self.off),
            "checks": [asdict(check) for check in self.checks],
        }


def figures_of(rows: Sequence[Judged]) -> Figures:
    """Sum up rows that a fit was judged on; at least one."""
    gaps = [row.right - row.sure for row in rows]
    mean = sum(gaps) / len(rows)
    expected = sum(row.sure * (1 - row.sure) for row in rows) / len(rows)
    noise = max(expected, sum((gap - mean) ** 2 for gap in gaps) / len(rows))
    return Figures(len(rows), sum(row.right for row in rows), sum(row.sure for row in rows) / len(rows), noise)


def drift(
    rows: Sequence[Judged],
    *,
    then: Figures | None,
    threshold: Threshold | None = None,
    fit: str = "",
    off: Mapping[str, int] | None = None,
    left_out: int = 0,
) -> Drift:
    """Measure a fit on rows that it has not seen, as they would be answered without holding any back.

    Accuracy is compared by Fisher's exact test (is it lower now?), the distance of confidence from accuracy by a
    two-sided z-test, and what was promised by the exact binomial one (are more wrong than promised?). A check tells
    drift where its p-value is below 5% shared by all checks (Bonferroni).

    Arguments:
        rows: at least one.
        then: the figures at the time of the fit; without any, confidence is held against accuracy alone.
        threshold: what was promised.
    """
    now = figures_of(rows)
    found: list[tuple[str, float, float, int, float]] = []
    if then is not None:
        lower = _fisher(now.right, now.rows, then.right, then.rows)
        found.append(("accuracy", then.right / then.rows, now.right / now.rows, now.rows, lower))
    variance = now.noise / now.rows + (0.0 if then is None else then.noise / then.rows)
    before = 0.0 if then is None else then.gap
    far = math.erfc(abs(now.gap - before) / math.sqrt(2 * max(variance, 1e-12)))
    found.append(("confidence above accuracy", before, now.gap, now.rows, far))
    if threshold is not None:
        for name, risk in (threshold.fields or {"": threshold.risk}).items():
            if counted := _held_to(rows, threshold, name):
                wrong, count = sum(counted), len(counted)
                more = 1.0 - (at_most(wrong - 1, count, risk) if wrong else 0.0)
                what = "missed" if threshold.promise == "recall" else f"{name} wrong among the answered".lstrip()
                found.append((what, risk, wrong / count, count, more))
    checks = tuple(Check(*one, drifted=one[-1] < _LEVEL / len(found)) for one in found)
    return Drift(fit=fit, rows=len(rows), checks=checks, off=off or {}, left_out=left_out)


def _held_to(rows: Sequence[Judged], threshold: Threshold, name: str) -> list[bool]:
    """Tell of each row that the promise is about whether it breaks it, of a record in the field of that name."""
    label, least = threshold.label, threshold.least
    if isinstance(least, dict):
        sure = [{n: -1.0 if s is None else s for n, (s, _) in row.fields.items()} for row in rows]
        short = [any(own.get(n, -1.0) < most for n, most in least.items()) for own in sure]
        return [not row.fields[name][1] for row, out in zip(rows, short, strict=True) if not out]
    if label is None:
        return [not row.right for row in rows if row.sure >= threshold.threshold]
    counted = []
    for row in rows:
        said = max(row.probabilities, key=row.probabilities.__getitem__) if row.probabilities else None
        given, held = threshold.decide(said, row.probabilities)
        if threshold.promise == "recall" and row.truth == label:
            counted.append(given != label or held)
        elif threshold.promise == "precision" and given == label and not held:
            counted.append(row.truth != label)
    return counted


def _fisher(right: int, rows: int, right_then: int, rows_then: int) -> float:
    """Give the chance of so few right now, or fewer, were all right ones dealt at random (Fisher 1935)."""
    total, all_right = rows + rows_then, right + right_then
    least = max(0, all_right - rows_then)
    ways = [_ways(all_right, k) + _ways(total - all_right, rows - k) for k in range(least, right + 1)]
    return min(1.0, math.fsum(math.exp(way - _ways(total, rows)) for way in ways))


def _ways(things: int, chosen: int) -> float:
    """Give the natural log of a binomial coefficient."""
    return math.lgamma(things + 1) - math.lgamma(chosen + 1) - math.lgamma(things - chosen + 1)
