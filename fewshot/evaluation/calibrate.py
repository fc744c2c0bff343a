"""A task whose probabilities are calibrated on labelled rows, and which abstains where a risk was promised."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict

from fewshot._background_loop import side_by_side
from fewshot._checks import check_kind
from fewshot.calibration.calibration import Calibration, check_prior
from fewshot.calibration.drift import figures_of
from fewshot.calibration.fitting import Fitted, judged_rows
from fewshot.calibration.goal import Goal, Judged
from fewshot.calibration.outcome import Calibrated
from fewshot.calibration.promise import Promise, scripts_of, text_of
from fewshot.calibration.set_fitting import fit_fields
from fewshot.data.labelled import Labelled, read_labelled
from fewshot.data.readers import read
from fewshot.errors import ConfigError, InputError
from fewshot.evaluation.predictions import Prediction, judge
from fewshot.evaluation.rows_to_judge import digest, distinct, rows_to_judge
from fewshot.inference.answerable import verdict
from fewshot.inference.field_scoring import chances_by_json, refitted
from fewshot.inference.first_use import fit_answerable, fit_calibration
from fewshot.inference.fits import keep
from fewshot.inference.joining import with_members
from fewshot.inference.own_questions import own_questions
from fewshot.inference.predictor import Predictor
from fewshot.inference.question import Answer
from fewshot.models.connection import Connection, connect
from fewshot.models.pricing import cost_of
from fewshot.outputs.kinds import Kind
from fewshot.result import Result, plain
from fewshot.types import Completion, Usage

_IN_FLIGHT = 8

__all__ = ["CalibrateOptions", "Calibrated", "answered", "calibrate", "calibrated", "kept_calibration", "unheld"]


class CalibrateOptions(TypedDict, total=False):
    """How `Task.calibrate` fits."""

    target: str | None
    """The column that holds the answer; by default `output`, or what is usual."""
    encoding: str | None
    """Of files that are not UTF-8."""
    prior: Mapping[str, float] | None
    """How frequent each label will be in use ("answer" and "none" for answers that may be missing), where the rows do
    not show it; sums to 1."""
    risk: float | Mapping[str, float] | None
    """The share of errors among accepted answers to promise, of a record also for fields by name; sets
    `min_confidence`."""
    average_risk: float | None
    """Instead of `risk`: the share of errors to promise in expectation, as the mean over many fits."""
    recall: Mapping[str, float] | None
    """One label and the share of those that have it to find, instead of `risk`; the label is answered wherever it is
    probable enough for that, be another more so."""
    precision: Mapping[str, float] | None
    """One label and the share of its answers that shall be right, instead of `risk`; less sure ones are held back."""
    confidence: float
    """The chance with which the promise holds, 0.95 by default; that of `average_risk` has none."""
    unlabelled: Any
    """Further inputs without an answer (a file, texts or dicts), which tell of the prompt's bias where labelled rows
    are few. About thirty do; where the labels are not about even among them, give `prior` too."""


async def calibrate(
    task: Predictor[Any],
    rows: str | os.PathLike[str] | Iterable[Any] | None = None,
    *,
    target: str | None = None,
    encoding: str | None = None,
    unlabelled: Any = None,
    **options: Any,
) -> Predictor[Any]:
    """Give the task calibrated on labelled rows; its `fitted` tells what was tried and chosen.

    A closed set gets a calibration of its probabilities, of a set of labels or a record one for each label or closed
    field. A text that may be missing gets one of whether there is an answer, and is None where there more likely is
    none. Other open answers keep their confidence. All get with `risk` or `average_risk` the threshold below which they
    are held back; what it was not fitted for is held back as well.

    Arguments:
        rows: a file, dicts or pairs, like those to come; about a hundred do, more are better for a low risk. Without
            any, a closed set is calibrated on the task's own examples and on `unlabelled`.
        target, encoding, unlabelled, options: see `CalibrateOptions`.

    Raises:
        InputError: a row or an argument is not valid. ConfigError: the endpoint gives no log-probabilities.
        ServiceError, OutputError: as for a call.
    """
    if rows is None and unlabelled is None:
        raise InputError("there is nothing to calibrate on: give labelled rows, or unlabelled=", field="rows")
    labelled = [] if rows is None else read_labelled(task, rows, target=target, encoding=encoding)
    if isinstance(unlabelled, str | os.PathLike):
        unlabelled = unlabelled_rows(unlabelled, encoding)
    connection = await connect(task.settings)
    return await calibrated(task, labelled, connection, unlabelled=unlabelled, **options)


async def calibrated(
    task: Predictor[Any],
    rows: Sequence[Labelled],
    connection: Connection,
    *,
    prior: Mapping[str, float] | None = None,
    unlabelled: Any = None,
    **promise: Any,
) -> Predictor[Any]:
    """Calibrate over an open connection; see `calibrate`. The promise is that of a `Goal`."""
    if task.members:
        return await _each_calibrated(task, rows, connection, promise, alone=prior or unlabelled is not None)
    goal = Goal(**promise)
    _check(task, prior, goal)
    if unlabelled is not None and (task.output.kind != "labels" or (goal.given and not rows)):
        message = "unlabelled rows tell of one label's probability only, and a risk is promised on labelled ones"
        raise InputError(message, field="unlabelled")
    further = [] if unlabelled is None else [task._bind_row(row) for row in unlabelled_rows(unlabelled)]
    judged = rows_to_judge(task, rows) if rows or not further else []
    once = distinct(task, rows)
    if task.output.classes is None or not _reads(task, connection):
        return await _thresholded(task, judged, connection, goal, rows)
    started = time.monotonic()
    more = [await one._question_for(inputs, connection) for one, inputs in further]
    if judged:
        asked = [(one, inputs) for one, inputs, _ in judged]
        questions, simple = [await one._question_for(inputs, connection) for one, inputs in asked], False
        truths = [row.truth for *_, row in judged]
    else:
        asked = further[:1]
        pairs, simple = await own_questions(task, further[0][1], task._prompts.offline(further[0][1]), connection)
        questions, truths = [question for question, _ in pairs], [answer for _, answer in pairs]
    if task.output.labels is None:
        fitting = await fit_answerable(questions, truths, connection)
        if fitting is None:
            return await _thresholded(task, judged, connection, goal, rows)
        fit = fitting[0]
        outcomes = _outcomes_of_answers(task.output.kind, *fitting, [row for *_, row in judged])
    else:
        fit, known = await fit_calibration(questions, truths, connection, goal=goal, unlabelled=more, simple=simple)
        outcomes = _outcomes(fit, truths, known)
    calibration = fit.calibration if prior is None else _for_prior(fit, prior)
    usage = sum((c.usage for q in (*questions, *more) for c in q.completions if not c.cached), Usage())
    fitted = Calibrated(
        keys=tuple(dict.fromkeys(one._calibration_key(connection, inputs) for one, inputs in asked)),
        calibration=calibration,
        fit=fit,
        threshold=None if task.output.several and (goal.recall or goal.precision) else goal.threshold(outcomes),
        rows=len(questions),
        shots_left_out=len(once) - len(judged) if judged else 0,
        repeats_left_out=len(rows) - len(once),
        usage=usage,
        cost=0.0 if connection.local else cost_of(connection.model, usage, own=task.settings.price),
        seconds=time.monotonic() - started,
        model=connection.model,
        scripts=scripts_of(text_of(question.inputs) for question in (*questions, *more)),
        data=digest(rows),
        figures=figures_of(outcomes) if judged and prior is None else None,
    )
    return _with(task, fitted, connection, [c for question in (*questions, *more) for c in question.completions])


async def _each_calibrated(
    task: Predictor[Any], rows: Sequence[Labelled], connection: Connection, promise: Mapping[str, Any], *, alone: Any
) -> Predictor[Any]:
    """Calibrate each of several tasks on its own column; a risk by name is each task's own."""
    if alone or promise.get("recall") or promise.get("precision"):
        raise InputError(f"{task.name} is several tasks: calibrate each by itself for that", field="prior")
    each, risk = [], promise.get("risk")
    by_name = isinstance(risk, Mapping) and risk.keys() <= task.output.parts.keys()
    for member in task.members:
        truths = [row.truth[member.name] for row in rows]
        accepted = [(truth,) if isinstance(truth, str) else () for truth in truths]
        own = [replace(r, truth=t, references=a) for r, t, a in zip(rows, truths, accepted, strict=True)]
        its = {"risk": risk.get(member.name)} if by_name and isinstance(risk, Mapping) else {}
        each.append(await calibrated(member, own, connection, **{**promise, **its}))
    return with_members(task, each)  # type: ignore[no-any-return]


def unlabelled_rows(given: Any, encoding: str | None = None) -> list[Any]:
    """Give inputs without an answer: of a file each row, or the lines of a text file."""
    if isinstance(given, str | os.PathLike):
        return [record for _, record in read(Path(given), encoding=encoding)]
    check_kind("unlabelled", given, Iterable, what="a file or a list of inputs")
    found = list(given)
    if not found:
        raise InputError("there are no unlabelled rows", field="unlabelled")
    return found


def _reads(task: Predictor[Any], connection: Connection) -> bool:
    """Tell whether probabilities are read from tokens, or given; where answers are voted on, only those of labels."""
    settings = task.settings
    if task.output.labels is not None and connection.decides(settings.decisions):
        return True
    listed = settings.scoring and connection.top_logprobs(settings.form) is not None
    return listed and (task.output.labels is not None or settings.votes == 1)


async def _thresholded(
    task: Predictor[Any],
    judged: Sequence[tuple[Predictor[Any], Mapping[str, Any], Labelled]],
    connection: Connection,
    goal: Goal,
    given: Sequence[Labelled],
) -> Predictor[Any]:
    """Find the confidence from which on open answers are right as often as was promised; fit fields of records."""
    closed = task.output.closed_fields
    if not goal.given and not closed:
        message = (
            "nothing can be calibrated without log-probabilities; give risk= for the agreement that votes must have"
        )
        raise ConfigError(message)
    started = time.monotonic()
    plain_one = [(unheld(one)._uncalibrated() if closed else unheld(one), inputs, row) for one, inputs, row in judged]
    predictions, found = await answered(plain_one, connection)
    once = distinct(task, given)
    if all(prediction.confidence is None for prediction in predictions):
        raise ConfigError("this endpoint gives no log-probabilities, so an answer has no confidence; try votes=5")
    fit, held_out = _fit_of_fields(judged, found) if closed else (None, [])
    if fit is not None:  # judged as answers to come will be given
        again = [refitted(task.output, r, new) if r.fields else r for r, new in zip(found, held_out, strict=True)]
        predictions = [judge("schema", n, row, r) for n, ((*_, row), r) in enumerate(zip(judged, again, strict=True))]
    elif not goal.given:
        raise ConfigError("too few rows had probabilities of a field: give ten, and an endpoint that lists them")
    costs, outcomes = [result.cost for result in found], [prediction.judged for prediction in predictions]
    fitted = Calibrated(
        keys=tuple(dict.fromkeys(one._calibration_key(connection, inputs) for one, inputs, _ in judged)),
        calibration=None if fit is None else fit.calibration,
        fit=fit,
        threshold=goal.threshold(outcomes),
        rows=len(judged),
        shots_left_out=len(once) - len(judged),
        repeats_left_out=len(given) - len(once),
        usage=sum((result.usage for result in found), Usage()),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        seconds=time.monotonic() - started,
        model=connection.model,
        scripts=scripts_of(text_of(inputs) for _, inputs, _ in judged),
        data=digest(given),
        figures=figures_of(outcomes),
    )
    return _with(task, fitted, connection, [c for result in found for c in result.completions])


def _fit_of_fields(
    judged: Sequence[tuple[Predictor[Any], Mapping[str, Any], Labelled]], found: Sequence[Result[Any]]
) -> tuple[Fitted | None, list[dict[str, Mapping[str, float]]]]:
    """Fit each closed field on the records that were given, if enough have probabilities; see `fit_fields`."""
    truths = [{name: json.dumps(value) for name, value in plain(row.truth).items()} for *_, row in judged]
    fit, held_out = fit_fields([chances_by_json(result.fields) for result in found], truths)
    return fit if fit.calibration.parts else None, held_out


async def answered(
    judged: Sequence[tuple[Predictor[Any], Mapping[str, Any], Labelled]], connection: Connection
) -> tuple[list[Prediction], list[Result[Any]]]:
    """Answer rows that are fit to judge on as calls would, but without a row among its own shots, and judge them."""
    gate = asyncio.Semaphore(1 if connection.local else _IN_FLIGHT)

    async def one(task: Predictor[Any], inputs: Mapping[str, Any]) -> Result[Any]:
        async with gate:
            deadline = connection.deadline(task.settings.timeout)
            return await task._answer(inputs, connection, deadline=deadline, leave_out=True)

    found = await side_by_side(one(task, inputs) for task, inputs, _ in judged)
    pairs = zip(judged, found, strict=True)
    return [judge(one.output.kind, n, row, result) for n, ((one, _, row), result) in enumerate(pairs)], found


def _with(
    task: Predictor[Any], fitted: Calibrated, connection: Connection, replies: Iterable[Completion]
) -> Predictor[Any]:
    """Give the task with what was fitted in force, for the models that the replies named."""
    promise = Promise(
        keys=fitted.keys,
        asked=task.settings.asked_as,
        scripts=fitted.scripts,
        calibration=fitted.calibration,
        threshold=fitted.threshold,
        about=json.dumps(
            {
                "task": task.name,
                **task._fitted_for(connection),
                "answered": sorted({reply.model for reply in replies if reply.model}),
                "rows": fitted.rows,
                "rows_hash": fitted.data,
                "figures": None if fitted.figures is None else asdict(fitted.figures),
                "fit": None if fitted.fit is None else fitted.fit.to_dict(),
            }
        ),
    )
    return replace(task._with_fit(promise), fitted=fitted)


def unheld(task: Predictor[Any]) -> Predictor[Any]:
    """Give the task with nothing promised and nothing held back."""
    return replace(task, promise=None, settings=replace(task.settings, min_confidence=None))


def kept_calibration(task: Predictor[Any]) -> None:
    """Keep what `calibrate` fitted in the cache folder, where the same task on the same model finds it again.

    Raises:
        InputError: the task has not been calibrated.
    """
    for member in task.members:
        kept_calibration(member)
    if task.members:
        return
    if task.fitted is None or task.fitted.calibration is None:
        raise InputError("nothing was fitted that could be kept: keep what `calibrate` returned for labels")
    for key in task.fitted.keys:
        about = {"task": task.name, "by": "calibrate", **task.fitted.to_dict(), "rows_hash": task.fitted.data}
        keep(key, task.fitted.calibration, {**about, "key": key})


def _check(task: Predictor[Any], prior: Mapping[str, float] | None, goal: Goal) -> None:
    goal.check_parts(task.output.labels, [field.name for field in task.output.fields], several=task.output.several)
    labels = task.output.classes
    if labels is None and (not (goal.given or task.output.closed_fields) or prior is not None):
        message = f"{task.name} has no labels: only probabilities of labels, or of an answer at all, can be calibrated"
        raise InputError(f"{message}; give risk= for the confidence that open answers must have")
    if labels is None or prior is None:
        return
    if task.output.several:
        raise InputError(
            "labels of a set have no prior together, since any of them may hold: leave it out", field="prior"
        )
    check_prior(prior, labels)
    if goal.given:
        message = "a risk is promised for rows like those given, so it cannot be combined with another prior"
        raise InputError(message, field="risk")


def _for_prior(fit: Fitted, prior: Mapping[str, float]) -> Calibration:
    """Correct for labels that will be differently frequent (Saerens et al. 2002, Neural Computation 14(1), eq. 2.4)."""
    bias = {label: math.log(share / fit.shares[label]) for label, share in prior.items()}
    return fit.calibration.biased(bias, name=f"{fit.calibration.name}+prior")


def _outcomes(fit: Fitted, truths: Sequence[Any], known: Sequence[bool]) -> list[Judged]:
    """Judge all rows of a fit; one without an answer is wrong at 0."""
    found = iter(judged_rows(fit, [truth for truth, has in zip(truths, known, strict=True) if has]))
    return [next(found) if has else Judged(0.0, False, None, truth) for truth, has in zip(truths, known, strict=True)]


def _outcomes_of_answers(
    kind: Kind, fit: Fitted, given: Sequence[Answer | None], rows: Sequence[Labelled]
) -> list[Judged]:
    """Do the same for answers that may be missing."""
    held_out = iter(fit.held_out)
    judged = []
    for number, (row, answer) in enumerate(zip(rows, given, strict=True)):
        if answer is None:
            judged.append(Judged(0.0, False))
            continue
        value, sure = verdict(answer.value, next(held_out), answer.sure)
        judged.append(Judged(*judge(kind, number, row, Result(value=value, confidence=sure)).chance))
    return judged
