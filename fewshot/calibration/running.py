"""Batch calibration of a stream: results of a bulk run in, results corrected by the mean of all rows so far out.

Zhou et al. 2023 (arXiv 2309.17249) divide by the mean prediction over a batch of unlabelled inputs, and allow a running
estimate of it where inputs come one after the other. What a row gets then depends on the rows before it, so this is
never done unasked. It is a pure function of the results in their order: the same rows give the same, whatever the
concurrency was, and a run that was resumed (`out=`) gives all its rows again and so comes to the same.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from fewshot._checks import check_kind, check_number
from fewshot.calibration.calibration import Calibration, Running
from fewshot.errors import ConfigError, InputError
from fewshot.result import Result

__all__ = ["Lean", "arecalibrated", "recalibrated"]

T = TypeVar("T")

_ENOUGH = 10
"""Rows whose mean is first trusted: about ten do (arXiv 2309.17249)."""
_FAR = 0.2
"""How far above an even share a label's mean must be for the prompt to be suspected of a bias."""


def recalibrated(
    results: Iterable[Result[T]], *, prior: Mapping[str, float] | None = None, min_confidence: float | None = None
) -> Generator[Result[T], None, None]:
    """Correct label probabilities by their running mean, and choose the labels anew.

    The first ten rows are held back and corrected by their own mean; from then on each row by the mean of all so far,
    itself included. With fewer rows in all, nothing is corrected, and a warning says so. Rows that failed pass through.

    Arguments:
        results: of `task.using(calibrate=False).map(rows)`, in the order of the rows.
        prior: how frequent each label is; by default all are supposed to be equally frequent.
        min_confidence: abstain below this probability; what the task itself held back is decided anew.

    Raises:
        InputError: results are out of order, or calibrated already. ConfigError: a row has no label probabilities.
    """
    check_kind("results", results, Iterable, what="the results of a map, in their order")
    stream = _Stream(prior, min_confidence)
    for result in results:
        yield from stream.take(result)
    yield from stream.rest()


async def arecalibrated(
    results: AsyncIterable[Result[T]], *, prior: Mapping[str, float] | None = None, min_confidence: float | None = None
) -> AsyncGenerator[Result[T], None]:
    """Correct the results of `task.using(calibrate=False).amap(rows)`; see `recalibrated`."""
    check_kind("results", results, AsyncIterable, what="the results of an amap, in their order")
    stream = _Stream(prior, min_confidence)
    async for result in results:
        for ready in stream.take(result):
            yield ready
    for ready in stream.rest():
        yield ready


class Lean:
    """The mean of label probabilities that came uncalibrated, to tell where it is far from even."""

    def __init__(self) -> None:
        self._running = Running()

    def add(self, result: Result[Any]) -> None:
        """Take in one more result; one without such probabilities counts for nothing."""
        if result.calibration == "none" and result.probabilities and result.method in ("logprobs", "decisions"):
            self._running.add(_logs(result))

    @property
    def told(self) -> str:
        """Say for a person how far the mean is from even; nothing where it is near, or there are too few rows."""
        if self._running.rows < _ENOUGH:
            return ""
        mean = self._running.mean
        if max(mean.values()) < _FAR + 1 / len(mean):
            return ""
        shares = ", ".join(f"{label} {share:.2f}" for label, share in sorted(mean.items(), key=lambda m: -m[1])[:3])
        return f"the mean probabilities of {self._running.rows} rows are far from even ({shares})"


class _Stream:
    """The mean so far, and the first rows until there is one."""

    def __init__(self, prior: Mapping[str, float] | None, min_confidence: float | None) -> None:
        if min_confidence is not None:
            check_number("min_confidence", min_confidence, "a number from 0 to 1")
        if min_confidence is not None and not (isinstance(min_confidence, int | float) and 0 <= min_confidence <= 1):
            raise InputError(f"min_confidence={min_confidence!r}: must be from 0 to 1", field="min_confidence")
        self._running = Running(prior=prior)
        self._least = min_confidence
        self._held: list[Result[Any]] | None = []
        self._last = -1

    def take(self, result: Result[Any]) -> list[Result[Any]]:
        """Take the next result; give those that are ready."""
        check_kind("results", result, Result, what="the results of a map, in their order")
        self._check(result)
        if result.error is None:
            self._running.add(_logs(result))
        if self._held is None:
            return [self._corrected(result, self._running.calibration())]
        self._held.append(result)
        if self._running.rows < _ENOUGH:
            return []
        ready, self._held = self._held, None
        return [self._corrected(one, self._running.calibration()) for one in ready]

    def rest(self) -> list[Result[Any]]:
        """Give what is still held back: rows too few to correct."""
        warning = f"not calibrated: {self._running.rows} rows are too few for a mean, it takes {_ENOUGH}"
        return [one if one.error else replace(one, warnings=(*one.warnings, warning)) for one in self._held or ()]

    def _check(self, result: Result[Any]) -> None:
        position = self._last + 1 if result.row is None else result.row
        if position != self._last + 1:
            message = (
                f"row {position + 1} came after row {self._last + 1}: a running mean needs all rows in their order"
            )
            raise InputError(f"{message}, so leave ordered=True", row=position)
        self._last = position
        if result.error is not None:
            return
        several = isinstance(result.value, list | set | frozenset)
        if several or result.method not in ("logprobs", "decisions") or not result.probabilities:
            raise ConfigError(
                f"row {position + 1} has no label probabilities to calibrate: its answer came by {result.method}"
            )
        if result.calibration != "none":
            message = f"row {position + 1} is calibrated already ({result.calibration}): map with calibrate=False"
            raise InputError(message, row=position)

    def _corrected(self, result: Result[Any], calibration: Calibration) -> Result[Any]:
        if result.error is not None:
            return result
        probabilities = calibration.apply(_logs(result))
        value = max(probabilities, key=probabilities.__getitem__)
        confidence = probabilities[value]
        abstains = self._least is not None and confidence < self._least
        return replace(
            result,
            value=None if abstains else value,
            abstained=abstains,
            probabilities=probabilities,
            confidence=confidence,
            calibration=calibration.name,
        )


def _logs(result: Result[Any]) -> dict[str, float]:
    shares = result.probabilities or {}
    return {label: math.log(share) if share > 0 else -math.inf for label, share in shares.items()}
