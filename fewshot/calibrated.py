"""A task whose probabilities are calibrated on labelled rows, and which abstains where a risk was promised."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from fewshot.abstention import Threshold, threshold_for
from fewshot.calibrate import fit_calibration, keep
from fewshot.calibration import Calibration
from fewshot.connection import Connection, connect
from fewshot.errors import InputError
from fewshot.fitting import Fitted
from fewshot.labelled import Labelled, read_labelled
from fewshot.price import cost_of
from fewshot.task import Task
from fewshot.types import Usage

__all__ = ["CalibrateOptions", "Calibrated", "calibrate", "calibrated", "kept_calibration"]


class CalibrateOptions(TypedDict, total=False):
    """How `Task.calibrate` fits."""

    target: str | None
    """The column that holds the answer; by default `output`, or what is usual."""
    prior: Mapping[str, float] | None
    """How frequent each label will be in use, where the rows do not show it; sums to 1."""
    risk: float | None
    """The share of errors among accepted answers to promise; sets `min_confidence`."""
    confidence: float
    """The chance with which the promise holds, 0.95 by default."""


@dataclass(frozen=True)
class Calibrated:
    """What was fitted, on what, and what it took."""

    key: str
    """What the calibration is for: a hash of prompt, shots, labels, settings and model."""
    calibration: Calibration
    fit: Fitted
    threshold: Threshold | None
    rows: int
    shots_left_out: int
    """Rows that are shots of the prompt, and so say nothing about it."""
    usage: Usage
    cost: float | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values, the calibration itself aside."""
        usage = self.usage
        return {
            **self.fit.to_dict(),
            "name": self.calibration.name,
            "key": self.key,
            "rows": self.rows,
            "shots_left_out": self.shots_left_out,
            "threshold": None if self.threshold is None else self.threshold.to_dict(),
            "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
                      "cached_tokens": usage.cached_tokens},
            "cost": self.cost,
            "seconds": self.seconds,
        }  # fmt: skip


async def calibrate(
    task: Task[Any],
    rows: str | os.PathLike[str] | Iterable[Any],
    *,
    target: str | None = None,
    prior: Mapping[str, float] | None = None,
    risk: float | None = None,
    confidence: float = 0.95,
) -> Task[Any]:
    """Give the task calibrated on labelled rows; its `fitted` tells what was tried and chosen.

    Arguments:
        rows: a file, dicts or pairs, like those to come; about a hundred do, more are better for a low risk.
        target, prior, risk, confidence: see `CalibrateOptions`.

    Raises:
        InputError: a row or an argument is not valid. ConfigError: the endpoint gives no log-probabilities.
        ServiceError, OutputError: as for a call.
    """
    labelled = read_labelled(task, rows, target=target)
    connection = await connect(task.settings)
    return await calibrated(task, labelled, connection, prior=prior, risk=risk, confidence=confidence)


async def calibrated(
    task: Task[Any],
    rows: Sequence[Labelled],
    connection: Connection,
    *,
    prior: Mapping[str, float] | None = None,
    risk: float | None = None,
    confidence: float = 0.95,
) -> Task[Any]:
    """Calibrate over an open connection; see `calibrate`."""
    _check(task, prior, risk)
    started = time.monotonic()
    bound = [(*task.bind(dict(row.inputs)), row.truth) for row in rows]
    fixed = not task.prompts.shelf(bound[0][1]).by_question
    shots = [shot.inputs for shot in task.prompt(bound[0][1]).examples] if fixed else []
    usable = [(one, inputs, truth) for one, inputs, truth in bound if not _is_shot(inputs, shots)]
    if not usable:
        raise InputError("all labelled rows are shots of the prompt: give rows that it does not show")
    questions = [await one.question_for(inputs, connection) for one, inputs, _ in usable]
    deadline = time.monotonic() + task.settings.timeout * max(2, len(questions) / 4)
    fit = await fit_calibration(questions, [t for *_, t in usable], connection.client, deadline=deadline)
    calibration = fit.calibration if prior is None else _for_prior(fit, prior)
    usage = sum((c.usage for q in questions for c in q.completions if not c.cached), Usage())
    key = task.calibration_key(connection)
    fitted = Calibrated(
        key=key,
        calibration=calibration,
        fit=fit,
        threshold=None if risk is None else _threshold(fit, [t for *_, t in usable], risk, confidence),
        rows=len(usable),
        shots_left_out=len(rows) - len(usable),
        usage=usage,
        cost=0.0 if connection.local else cost_of(connection.model, usage),
        seconds=time.monotonic() - started,
    )
    settings = task.settings
    if fitted.threshold is not None:
        settings = replace(settings, min_confidence=_reachable(fitted.threshold.threshold))
    calibrations = {**task.calibrations, key: calibration}
    return replace(task, calibrations=calibrations, settings=settings, fitted=fitted)


def kept_calibration(task: Task[Any]) -> None:
    """Keep what `calibrate` fitted in the cache folder, where the same task on the same model finds it again.

    Raises:
        InputError: the task has not been calibrated.
    """
    if task.fitted is None:
        raise InputError("nothing was fitted: keep what `calibrate` returned")
    keep(task.fitted.key, task.fitted.calibration, {"task": task.name, **task.fitted.to_dict()})


def _check(task: Task[Any], prior: Mapping[str, float] | None, risk: float | None) -> None:
    labels = task.output.labels
    if labels is None:
        raise InputError(f"{task.name} has no labels: only the probabilities of a closed set can be calibrated")
    if prior is None:
        return
    if set(prior) != set(labels) or not math.isclose(sum(prior.values()), 1, abs_tol=0.01) or min(prior.values()) <= 0:
        raise InputError(f"prior must give each of {', '.join(labels)} a share above 0, summing to 1", field="prior")
    if risk is not None:
        message = "a risk is promised for rows like those given, so it cannot be combined with another prior"
        raise InputError(message, field="risk")


def _is_shot(inputs: Mapping[str, Any], shots: Sequence[Mapping[str, Any]]) -> bool:
    return any(all(inputs.get(name) == value for name, value in shot.items() if name in inputs) for shot in shots)


def _for_prior(fit: Fitted, prior: Mapping[str, float]) -> Calibration:
    """Correct for labels that will be differently frequent (Saerens et al. 2002, Neural Computation 14(1), eq. 2.4)."""
    bias = {label: math.log(share / fit.shares[label]) for label, share in prior.items()}
    return fit.calibration.biased(bias, name=f"{fit.calibration.name}+prior")


def _threshold(fit: Fitted, truths: Sequence[str], risk: float, confidence: float) -> Threshold:
    """Find the threshold on predictions of rows that their calibration was not fitted on."""
    top = [max(row, key=row.__getitem__) for row in fit.held_out]
    confidences = [row[label] for row, label in zip(fit.held_out, top, strict=True)]
    right = [label == truth for label, truth in zip(top, truths, strict=True)]
    return threshold_for(risk, confidences, right, confidence=confidence)


def _reachable(threshold: float) -> float:
    """Above 1 lies only "abstain always"."""
    return threshold if threshold <= 1 else math.inf
