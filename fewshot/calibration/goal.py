"""What is to be promised of answers to come, and the threshold that promises it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fewshot._checks import brief
from fewshot.calibration.abstention import (
    Threshold,
    average_threshold_for,
    check_promise,
    fields_threshold_for,
    overall_threshold_for,
    recall_threshold_for,
    threshold_for,
)
from fewshot.errors import InputError

__all__ = ["Goal", "Judged"]


_PROMISES = ("risk", "average_risk", "recall", "precision", "agree", "right")


@dataclass(frozen=True, slots=True)
class Judged:
    """What a labelled row came to: how sure the answer was (0 where there was none) and whether it was right.

    For labels also their probabilities, None where there was no answer, and the row's own label.
    """

    sure: float
    right: bool
    probabilities: Mapping[str, float] | None = None
    truth: str | None = None
    fields: Mapping[str, tuple[float | None, bool]] = field(default_factory=dict)
    """Of a record how sure each field was and whether it was right."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise at most; see `CalibrateOptions`."""

    risk: float | Mapping[str, float] | None = None
    average_risk: float | None = None
    recall: Mapping[str, float] | None = None
    precision: Mapping[str, float] | None = None
    agree: float | None = None
    right: float | None = None
    """Of a cascade; see `Fallback`."""
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for risk in (*(self.risk.values() if isinstance(self.risk, Mapping) else [self.risk]), self.average_risk):
            if risk is not None:
                check_promise(risk, self.confidence)
        given = [name for name in _PROMISES if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are {len(given)} promises: give one of them", field=given[-1])
        for name in given:
            if name in ("recall", "precision"):
                self._check_label(name, getattr(self, name))

    def _check_label(self, name: str, share: Mapping[str, float]) -> None:
        if not isinstance(share, Mapping) or not share or not all(isinstance(s, int | float) for s in share.values()):
            message = f'{name} names one label and its share, such as {{"spam": 0.95}}, not {brief(share)}'
            raise InputError(message, field=name)
        for each in share.values():
            check_promise(1 - each, self.confidence)

    @property
    def given(self) -> bool:
        """Whether anything is to be promised."""
        return any(getattr(self, name) is not None for name in _PROMISES)

    def check_parts(self, labels: Sequence[str] | None, fields: Collection[str], *, several: bool = False) -> None:
        """Raise `InputError` where the label or field of which something is to be promised is not one of the task's.

        Arguments:
            several: any of the labels may be given at once, and of each something may be promised.
        """
        if isinstance(self.risk, Mapping) and (not self.risk or not self.risk.keys() <= {*fields}):
            there = f"its fields are {', '.join(fields)}" if fields else "the task gives no record"
            raise InputError(
                f"risk={dict(self.risk)!r} must give a share for each of some fields: {there}", field="risk"
            )
        for name in ("recall", "precision"):
            share = getattr(self, name) or {}
            for label in share:
                if label not in (labels or ()):
                    there = f"its labels are {', '.join(labels)}" if labels else "the task has no labels"
                    raise InputError(f"{name} of {label!r} cannot be promised: {there}", field=name)
            if len(share) > 1 and not several:
                raise InputError(f"{name} names one label and its share, not {share!r}", field=name)

    def threshold(self, rows: Sequence[Judged]) -> Threshold | None:
        """Find the threshold on rows that are fit to judge on; None where nothing is to be promised."""
        if self.recall is not None:
            ((label, share),) = self.recall.items()
            found = [None if row.probabilities is None else row.probabilities.get(label, 0.0) for row in rows]
            has = [row.truth == label for row in rows]
            return recall_threshold_for(share, label, found, has, confidence=self.confidence)
        if self.precision is not None:
            ((label, share),) = self.precision.items()
            said = [row for row in rows if row.probabilities and _top(row.probabilities) == label]
            sure, right = [row.sure for row in said], [row.right for row in said]
            least = threshold_for(1 - share, sure, right, confidence=self.confidence)
            why = least.reason and f"of the answers {label!r}: {least.reason}"
            return replace(least, promise="precision", label=label, reason=why)
        if isinstance(self.risk, Mapping):
            return fields_threshold_for(self.risk, [row.fields for row in rows], confidence=self.confidence)
        sure, right = [row.sure for row in rows], [row.right for row in rows]
        for name in ("agree", "right"):
            if (share := getattr(self, name)) is not None:
                return replace(overall_threshold_for(1 - share, sure, right, confidence=self.confidence), promise=name)
        if self.average_risk is not None:
            return average_threshold_for(self.average_risk, sure, right)
        return None if self.risk is None else threshold_for(self.risk, sure, right, confidence=self.confidence)


def _top(probabilities: Mapping[str, float]) -> str:
    return max(probabilities, key=probabilities.__getitem__)
