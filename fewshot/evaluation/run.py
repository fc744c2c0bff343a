"""Asking all rows of an evaluation with one task: calibrated before, judged after, and again in other words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fewshot._checks import called
from fewshot.bulk.map import amap
from fewshot.data.labelled import Labelled
from fewshot.errors import ConfigError, InputError, OutputError, ServiceError
from fewshot.evaluation.calibrate import calibrated
from fewshot.evaluation.intervals import Figure, average
from fewshot.evaluation.perturb import HARMLESS, labels_permuted, reworded, shots_permuted
from fewshot.evaluation.predictions import Prediction, judge
from fewshot.inference.predictor import Predictor
from fewshot.models.connection import Connection
from fewshot.result import Result, label_of
from fewshot.types import Usage

__all__ = ["Arm", "Progress", "Run"]

Progress = Callable[[str, int, int], None]
"""Called with what is being asked, how many rows are done, and how many there are."""


@dataclass(frozen=True)
class Arm:
    """One way of asking all rows, and what came of it."""

    plain: Predictor[Any]
    ready: Predictor[Any]
    """`plain`, calibrated where that is wanted and possible."""
    spare: Sequence[Labelled]
    results: Sequence[Result[Any]]
    predictions: Sequence[Prediction]
    seconds: float


@dataclass
class Run:
    """One evaluation: what is asked of whom, and what it has taken so far."""

    rows: list[Labelled]
    pool: list[Labelled]
    connection: Connection
    calibrate: bool
    calibration_rows: int
    risk: float | Mapping[str, float] | None
    concurrency: int | None
    progress: Progress
    notes: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    cost: float | None = 0.0
    started: float = field(default_factory=time.monotonic)

    async def arm(self, task: Predictor[Any], spare: Sequence[Labelled], what: str) -> Arm:
        """Ask all rows with a task, calibrated on the spare rows."""
        ready = await self.prepared(task, spare)
        started = time.monotonic()
        results = await self.answers(ready, self.rows, what)
        seconds = time.monotonic() - started
        kind = task.output.kind
        judged = [judge(kind, row, *pair) for row, pair in enumerate(zip(self.rows, results, strict=True))]
        return Arm(task, ready, spare, results, judged, seconds)

    async def prepared(self, task: Predictor[Any], spare: Sequence[Labelled]) -> Predictor[Any]:
        """Calibrate a task on spare rows of the pool, where it has probabilities or a risk is promised."""
        if task.fallback is not None:
            return task
        if not self.calibrate:
            return task.using(calibrate=False)
        if not self.pool or (not (task.output.classes or task.output.closed_fields) and self.risk is None):
            return task
        try:
            used = spare[: self.calibration_rows]
            ready = await calibrated(task, used, self.connection, risk=self.risk)
        except (ConfigError, InputError, OutputError, ServiceError) as error:
            if isinstance(error, ServiceError) and error.account:
                raise
            if isinstance(error, InputError) and error.field is not None:  # a row of the pool is to be mended
                raise
            if self.risk is not None:  # what was asked for is a promise, and without a fit there is none
                raise
            self.note(f"not calibrated: {error}")
            return task.using(calibrate=False)
        assert ready.fitted is not None  # noqa: S101 - `calibrated` has just set it
        self._count(ready.fitted.usage, ready.fitted.cost)
        return ready

    async def answers(self, task: Predictor[Any], rows: Sequence[Labelled], what: str) -> list[Result[Any]]:
        """Ask all rows; a row that fails is a result with its error."""
        found: list[Result[Any]] = []
        async for result in amap(task, [dict(row.inputs) for row in rows], concurrency=self.concurrency):
            found.append(result)
            self._count(result.usage, result.cost)
            called("progress", self.progress, what, len(found), len(rows))
        return found

    async def steadiness(self, arm: Arm) -> dict[str, Figure]:
        """Measure how often an answer changes when nothing that matters does."""
        inputs = arm.ready._bind(dict(self.rows[0].inputs))[1]
        names = list(arm.ready.inputs)
        asked: dict[str, list[tuple[Predictor[Any], Sequence[Labelled]]]] = {"repeated": [(arm.ready, self.rows)]}
        orders = [shots_permuted(arm.plain, inputs, seed=seed) for seed in (0, 1)]
        relabelled = [labels_permuted(arm.plain, seed=seed) for seed in (0, 1)]
        for name, tasks in (("shots", orders), ("labels", relabelled)):
            if any(tasks):
                asked[name] = [(await self.prepared(t, arm.spare), self.rows) for t in tasks if t is not None]
        for name, change in HARMLESS.items():
            asked[name] = [(arm.ready, [reworded(row, change, names) for row in self.rows])]
        closed = arm.ready.output.kind == "labels"
        first = [_said(result, closed) for result in arm.results]
        found = {}
        for name, ways in asked.items():
            again = [await self.answers(task, rows, f"consistency: {name}") for task, rows in ways]
            changed = [[_said(r, closed) != said for r, said in zip(results, first, strict=True)] for results in again]
            found[f"flip_rate_{name}"] = average([sum(row) / len(row) for row in zip(*changed, strict=True)])
        return found

    def _count(self, usage: Usage, cost: float | None) -> None:
        self.usage += usage
        self.cost = None if cost is None or self.cost is None else self.cost + cost

    def note(self, note: str) -> None:
        """Have something said in the report, once."""
        if note not in self.notes:
            self.notes.append(note)


def _said(result: Result[Any], closed: bool) -> str:
    """Give the answer of a result so that two can be compared, whether or not it was held back."""
    if result.error is not None:
        return "failed"
    if closed and result.probabilities:
        return label_of(max(result.probabilities, key=result.probabilities.__getitem__))
    return repr(result.value)
