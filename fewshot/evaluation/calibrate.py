"""A task whose probabilities are calibrated on labelled rows, and which abstains where a risk was promised."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from fewshot._checks import REQUIRED
from fewshot.bulk.asking import answers
from fewshot.calibration.abstention import Threshold, check_promise, threshold_for
from fewshot.calibration.calibration import Calibration, check_prior
from fewshot.calibration.fitting import Fitted
from fewshot.data.labelled import Labelled, distinct, read_labelled
from fewshot.errors import ConfigError, InputError
from fewshot.evaluation.predictions import judge
from fewshot.inference.answerable import classes_of, verdict
from fewshot.inference.first_use import fit_answerable, fit_calibration, keep
from fewshot.inference.predictor import Predictor
from fewshot.inference.question import Answer
from fewshot.models.connection import Connection, connect
from fewshot.models.pricing import cost_of
from fewshot.outputs.kinds import Kind
from fewshot.prompts.prompt import check_characters
from fewshot.result import Result
from fewshot.types import Usage

__all__ = ["CalibrateOptions", "Calibrated", "calibrate", "calibrated", "kept_calibration"]


class CalibrateOptions(TypedDict, total=False):
    """How `Task.calibrate` fits."""

    target: str | None
    """The column that holds the answer; by default `output`, or what is usual."""
    prior: Mapping[str, float] | None
    """How frequent each label will be in use ("answer" and "none" for answers that may be missing), where the rows do
    not show it; sums to 1."""
    risk: float | None
    """The share of errors among accepted answers to promise; sets `min_confidence`."""
    confidence: float
    """The chance with which the promise holds, 0.95 by default."""


@dataclass(frozen=True)
class Calibrated:
    """What was fitted, on what, and what it took."""

    keys: tuple[str, ...]
    """What the calibration is for: hashes of prompt, shots, labels, settings and model, one for each kind of question
    among the rows (other parameters, or other optional inputs given)."""
    calibration: Calibration | None
    """None for open answers, whose confidence stays as it is."""
    fit: Fitted | None
    threshold: Threshold | None
    rows: int
    shots_left_out: int
    """Rows that are shots of the prompt, and so say nothing about it."""
    repeats_left_out: int
    """Rows that ask the same as one before, and so are no evidence of their own."""
    usage: Usage
    cost: float | None
    seconds: float

    @property
    def key(self) -> str:
        """The first of the keys: mostly there is one."""
        return self.keys[0]

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values, the calibration itself aside."""
        return {
            **({} if self.fit is None else self.fit.to_dict()),
            "name": "none" if self.calibration is None else self.calibration.name,
            "key": self.key,
            "rows": self.rows,
            "shots_left_out": self.shots_left_out,
            "repeats_left_out": self.repeats_left_out,
            "threshold": None if self.threshold is None else self.threshold.to_dict(),
            "usage": self.usage.to_dict(),
            "cost": self.cost,
            "seconds": self.seconds,
        }


async def calibrate(
    task: Predictor[Any],
    rows: str | os.PathLike[str] | Iterable[Any],
    *,
    target: str | None = None,
    prior: Mapping[str, float] | None = None,
    risk: float | None = None,
    confidence: float = 0.95,
) -> Predictor[Any]:
    """Give the task calibrated on labelled rows; its `fitted` tells what was tried and chosen.

    A closed set gets a calibration of its probabilities. A text that may be missing gets one of whether there is an
    answer, and is None where there more likely is none. Other open answers keep their confidence. All get with `risk`
    the threshold below which they are held back.

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
    task: Predictor[Any],
    rows: Sequence[Labelled],
    connection: Connection,
    *,
    prior: Mapping[str, float] | None = None,
    risk: float | None = None,
    confidence: float = 0.95,
) -> Predictor[Any]:
    """Calibrate over an open connection; see `calibrate`."""
    _check(task, prior, risk, confidence)
    given, rows = rows, distinct(rows)
    repeats = len(given) - len(rows)
    if classes_of(task.output) is None or not _reads(task, connection):
        return await _thresholded(task, rows, connection, risk, confidence, repeats)
    started = time.monotonic()
    asked = _asked(task, rows)
    questions = [await one.question_for(inputs, connection) for one, inputs, _ in asked]
    usable = [row for *_, row in asked]
    truths = [row.truth for row in usable]
    if task.output.labels is None:
        fitting = await fit_answerable(questions, truths, connection)
        if fitting is None:
            return await _thresholded(task, rows, connection, risk, confidence, repeats)
        fit = fitting[0]
        outcomes = _outcomes_of_answers(task.output.kind, *fitting, usable)
    else:
        fit, known = await fit_calibration(questions, truths, connection)
        outcomes = _outcomes(fit, truths, known)
    calibration = fit.calibration if prior is None else _for_prior(fit, prior)
    usage = sum((c.usage for q in questions for c in q.completions if not c.cached), Usage())
    fitted = Calibrated(
        keys=tuple(dict.fromkeys(one.calibration_key(connection, inputs) for one, inputs, _ in asked)),
        calibration=calibration,
        fit=fit,
        threshold=None if risk is None else threshold_for(risk, *outcomes, confidence=confidence),
        rows=len(usable),
        shots_left_out=len(rows) - len(usable),
        repeats_left_out=repeats,
        usage=usage,
        cost=0.0 if connection.local else cost_of(connection.model, usage),
        seconds=time.monotonic() - started,
    )
    return _with(task, fitted)


def _reads(task: Predictor[Any], connection: Connection) -> bool:
    """Tell whether probabilities are read from tokens: always for labels, and not where answers are voted on."""
    if task.output.labels is not None:
        return True
    settings = task.settings
    return settings.scoring and settings.votes == 1 and connection.top_logprobs(settings.form) is not None


def _asked(task: Predictor[Any], rows: Sequence[Labelled]) -> list[tuple[Predictor[Any], Mapping[str, Any], Labelled]]:
    """Bind the rows to calibrate on: those that the prompt does not show."""
    bound = [(*_bound(task, row), row) for row in rows]
    usable = [(one, inputs, row) for one, inputs, row in bound if not _is_shot(one, inputs)]
    if not usable:
        raise InputError("all labelled rows are shots of the prompt: give rows that it does not show")
    return usable


def _bound(task: Predictor[Any], row: Labelled) -> tuple[Predictor[Any], Mapping[str, Any]]:
    """Bind a row, or name the one that cannot be asked before others are."""
    try:
        for value in row.inputs.values():
            check_characters(str(value))
        return task.bind(dict(row.inputs))
    except InputError as error:
        raise InputError(f"row {row.id}: {error}", field=error.field) from error


def _shots(task: Predictor[Any], inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give the inputs of the shots that every such question has; none where the question chooses them."""
    by_question = task.prompts.shelf(inputs).by_question
    return [] if by_question else [shot.inputs for shot in task.prompts.offline(inputs).examples]


async def _thresholded(
    task: Predictor[Any],
    rows: Sequence[Labelled],
    connection: Connection,
    risk: float | None,
    confidence: float,
    repeats: int,
) -> Predictor[Any]:
    """Find the confidence from which on open answers are right as often as was promised."""
    if risk is None:
        message = (
            "nothing can be calibrated without log-probabilities; give risk= for the agreement that votes must have"
        )
        raise ConfigError(message)
    started = time.monotonic()
    found = await answers(_held_back_below(task, None), rows)
    judged = [judge(task.output.kind, n, *pair) for n, pair in enumerate(zip(rows, found, strict=True))]
    if all(prediction.confidence is None for prediction in judged):
        raise ConfigError("this endpoint gives no log-probabilities, so an answer has no confidence; try votes=5")
    sure, right = zip(*(prediction.chance for prediction in judged), strict=True)
    costs = [result.cost for result in found]
    fitted = Calibrated(
        keys=(task.calibration_key(connection),),
        calibration=None,
        fit=None,
        threshold=threshold_for(risk, sure, right, confidence=confidence),
        rows=len(rows),
        shots_left_out=0,
        repeats_left_out=repeats,
        usage=sum((result.usage for result in found), Usage()),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        seconds=time.monotonic() - started,
    )
    return _with(task, fitted)


def _with(task: Predictor[Any], fitted: Calibrated) -> Predictor[Any]:
    """Give the task with what was fitted in force."""
    calibrations = dict(task.calibrations)
    if fitted.calibration is not None:
        calibrations |= dict.fromkeys(fitted.keys, fitted.calibration)
    if fitted.threshold is not None:
        # Above 1 lies only "abstain always".
        least = fitted.threshold.threshold
        task = _held_back_below(task, least if least <= 1 else math.inf)
    return replace(task, calibrations=calibrations, fitted=fitted)


def _held_back_below(task: Predictor[Any], confidence: float | None) -> Predictor[Any]:
    return replace(task, settings=replace(task.settings, min_confidence=confidence))


def kept_calibration(task: Predictor[Any]) -> None:
    """Keep what `calibrate` fitted in the cache folder, where the same task on the same model finds it again.

    Raises:
        InputError: the task has not been calibrated.
    """
    if task.fitted is None or task.fitted.calibration is None:
        raise InputError("nothing was fitted that could be kept: keep what `calibrate` returned for labels")
    for key in task.fitted.keys:
        keep(key, task.fitted.calibration, {"task": task.name, **task.fitted.to_dict(), "key": key})


def _check(task: Predictor[Any], prior: Mapping[str, float] | None, risk: float | None, confidence: float) -> None:
    if risk is not None:
        check_promise(risk, confidence)
    labels = classes_of(task.output)
    if labels is None and (risk is None or prior is not None):
        message = f"{task.name} has no labels: only probabilities of labels, or of an answer at all, can be calibrated"
        raise InputError(f"{message}; give risk= for the confidence that open answers must have")
    if labels is None or prior is None:
        return
    check_prior(prior, labels)
    if risk is not None:
        message = "a risk is promised for rows like those given, so it cannot be combined with another prior"
        raise InputError(message, field="risk")


def _is_shot(task: Predictor[Any], inputs: Mapping[str, Any]) -> bool:
    """Tell whether every prompt of a question shows it: with the same optional inputs, which make it another one."""
    defaults = {name: None if default is REQUIRED else default for name, default in task.inputs.items()}
    return any(all(({**defaults, **shot}).get(n) == inputs[n] for n in inputs) for shot in _shots(task, inputs))


def _for_prior(fit: Fitted, prior: Mapping[str, float]) -> Calibration:
    """Correct for labels that will be differently frequent (Saerens et al. 2002, Neural Computation 14(1), eq. 2.4)."""
    bias = {label: math.log(share / fit.shares[label]) for label, share in prior.items()}
    return fit.calibration.biased(bias, name=f"{fit.calibration.name}+prior")


def _outcomes(fit: Fitted, truths: Sequence[str], known: Sequence[bool]) -> tuple[list[float], list[bool]]:
    """Give confidence and rightness of predictions by calibrations that were fitted without their row.

    A row that got no answer is wrong at 0.
    """
    held_out = iter(fit.held_out)
    rows = [next(held_out) if has else {} for has in known]
    top = [max(row, key=row.__getitem__, default="") for row in rows]
    confidences = [row.get(label, 0.0) for row, label in zip(rows, top, strict=True)]
    return confidences, [label == truth for label, truth in zip(top, truths, strict=True)]


def _outcomes_of_answers(
    kind: Kind, fit: Fitted, given: Sequence[Answer | None], rows: Sequence[Labelled]
) -> tuple[list[float], list[bool]]:
    """Do the same for answers that may be missing; a row that got no answer is wrong at 0."""
    held_out = iter(fit.held_out)
    judged = []
    for number, (row, answer) in enumerate(zip(rows, given, strict=True)):
        if answer is None:
            judged.append((0.0, False))
            continue
        value, sure = verdict(answer.value, next(held_out), answer.sure)
        judged.append(judge(kind, number, row, Result(value=value, confidence=sure)).chance)
    return [sure for sure, _ in judged], [right for _, right in judged]
