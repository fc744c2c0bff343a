"""A fit measured again: on labelled rows that are asked anew, or on answers that were recorded."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot._checks import REQUIRED
from fewshot.calibration.drift import Drift, Figures, drift
from fewshot.calibration.promise import OFF, Promise
from fewshot.data.labelled import Labelled, read_labelled
from fewshot.data.tables import read_results
from fewshot.errors import InputError, OutputError
from fewshot.evaluation.calibrate import answered
from fewshot.evaluation.predictions import Prediction, judge
from fewshot.evaluation.report import Report
from fewshot.evaluation.rows_to_judge import asked, rows_to_judge
from fewshot.inference.fits import kept
from fewshot.inference.predictor import Predictor
from fewshot.models.connection import connect
from fewshot.result import Field, Result

__all__ = ["check_fit"]


async def check_fit(
    task: Predictor[Any],
    rows: Any,
    *,
    answers: str | os.PathLike[str] | None = None,
    target: str | None = None,
    encoding: str | None = None,
) -> Drift:
    """Measure the fit of a task again, as `fit.json` or the cache folder has it, and tell whether it has drifted.

    Arguments:
        rows: labelled rows (see `evaluate`), which are asked; or the path of a report that `fewshot eval --out` wrote,
            of which nothing is asked.
        answers: results of `fewshot run --json` for these rows, so that none is asked.
        target, encoding: see `evaluate`.

    Raises:
        InputError: the task has no fit, or a row or result is not valid. Others as for a call.
    """
    report = _report(rows) if answers is None else None
    if report is not None:
        promise = await _promise_of(task, [{n: "" for n, default in task.inputs.items() if default is REQUIRED}])
        return _recorded(promise, report.kind, report.predictions, Counter(_others(promise, report.task, report.model)))
    labelled = read_labelled(task, rows, target=target, encoding=encoding)
    judged = rows_to_judge(task, labelled)
    promise = await _promise_of(task, [inputs for _, inputs, _ in judged])
    left_out = len(labelled) - len(judged)
    if answers is not None:
        results = _results(task, [(inputs, row) for _, inputs, row in judged], Path(answers))
        predictions = [judge(task.output.kind, n, row, result) for n, (row, result) in enumerate(results)]
        off = Counter(why for _, r in results for why in (*_others(promise, r.task, r.model), *_off(r)))
        return _recorded(promise, task.output.kind, predictions, off, left_out)
    # What was promised is put aside, so that nothing is held back; whether the fit holds at all is still told.
    plain = [(_unheld(one, replace(promise, threshold=None)), inputs, row) for one, inputs, row in judged]
    predictions, found = await answered(plain, await connect(task.settings))
    return _measured(promise, predictions, Counter(why for result in found for why in _off(result)), left_out)


def _measured(promise: Promise, predictions: Sequence[Prediction], off: Mapping[str, int], left_out: int = 0) -> Drift:
    figures = promise.facts.get("figures")
    return drift(
        [p.judged for p in predictions],
        then=None if figures is None else Figures(**figures),
        threshold=promise.threshold,
        fit=promise.told,
        off=off,
        left_out=left_out,
    )


def _recorded(
    promise: Promise, kind: str, predictions: Sequence[Prediction], off: Mapping[str, int], left_out: int = 0
) -> Drift:
    """Measure answers that were recorded; an open one that was held back does not tell what it would have been."""
    given = [p for p in predictions if not p.abstained or kind == "labels"]
    if not given:
        raise InputError("every answer was held back, so there is nothing to measure: record some without a threshold")
    held = len(predictions) - len(given)
    told = promise if not held else replace(promise, about=json.dumps({**promise.facts, "figures": None}))
    return _measured(told, given, off, left_out + held)


async def _promise_of(task: Predictor[Any], rows: Sequence[Mapping[str, Any]]) -> Promise:
    """Give the fit of the task's folder, or the one that is kept for these kinds of question.

    Raises:
        InputError: there is none.
    """
    if task.promise is not None:
        return task.promise
    connection = await connect(task.settings)
    keys = dict.fromkeys(task._calibration_key(connection, inputs) for inputs in rows)
    found = {key: fit for key in keys if (fit := kept(key)) is not None}
    if not found:
        raise InputError(f"{task.name} has no fit for this prompt and model: make one with `fewshot calibrate`")
    first = next(iter(found.values()))
    about = json.dumps({**first.about, "told": first.told})
    same = tuple(key for key, fit in found.items() if fit.calibration == first.calibration)
    return Promise(same, task.settings.asked_as, (), first.calibration, about=about)


def _unheld(task: Predictor[Any], promise: Promise) -> Predictor[Any]:
    """Put a fit in force, without holding anything back."""
    return replace(task._with_fit(promise), settings=replace(task.settings, min_confidence=None))


def _off(result: Result[Any]) -> list[str]:
    """Give the reasons for which the fit did not hold for an answer."""
    return [warning.partition(": ")[2] for warning in result.warnings if warning.startswith(OFF)]


def _others(promise: Promise, task: str, model: str) -> list[str]:
    """Tell where recorded answers are of another prompt or model than the fit."""
    prompt = promise.facts.get("prompt")
    found = []
    if prompt and "#" in task and task.rpartition("#")[2] != prompt:
        found.append(f"the answers are of another prompt ({task}), and it was fitted for {prompt}")
    if promise.facts.get("model") not in (None, "", model) and model:
        found.append(f"the answers are of {model}, and it was fitted for {promise.facts['model']}")
    return found


def _report(rows: Any) -> Report | None:
    """Read a saved report; None where the rows are something else."""
    if not isinstance(rows, str | os.PathLike) or Path(rows).suffix.lower() != ".json":
        return None
    try:
        data = json.loads(Path(rows).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # what reads labelled rows tells what is wrong
    return Report.from_dict(data) if isinstance(data, dict) and "predictions" in data else None


def _results(
    task: Predictor[Any], rows: Sequence[tuple[Mapping[str, Any], Labelled]], path: Path
) -> list[tuple[Labelled, Result[Any]]]:
    """Find the recorded answer of each row.

    Raises:
        InputError: a row has none, or one that the task does not give.
    """
    names = [*task.inputs, *task.parameters]
    known = {}
    for record in read_results(path):
        inputs = {name: record["inputs"][name] for name in names if record["inputs"].get(name) is not None}
        known[asked(task, inputs)] = record
    found = []
    for bound, row in rows:
        answer = known.get(asked(task, row.inputs))
        if answer is None:
            raise InputError(f"{path} has no answer to row {row.id} ({bound!r:.80}): record answers to all rows")
        found.append((row, _result(task, answer, path)))
    return found


def _result(task: Predictor[Any], record: Mapping[str, Any], path: Path) -> Result[Any]:
    value, error = record["value"], record["error"]
    try:
        value = None if value is None else task.output.value(task.output.check(value))
    except InputError as problem:
        raise InputError(f"{path}: the answer of row {record['row'] + 1} is not this task's: {problem}") from problem
    return Result(
        value=value,
        probabilities=record.get("probabilities"),
        confidence=record.get("confidence"),
        fields={
            name: Field(value=f["value"], confidence=f["confidence"]) for name, f in record.get("fields", {}).items()
        },
        abstained=bool(record["abstained"]),
        error=None if error is None else OutputError(error["message"]),
        warnings=tuple(record.get("warnings") or ()),
        model=record.get("model") or "",
        task=record.get("task") or "",
    )
