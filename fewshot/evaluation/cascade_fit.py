"""When a task of a cascade is sure enough to answer, by what the next task or a person answered."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fewshot.bulk.map import amap
from fewshot.data.labelled import Labelled, read_labelled
from fewshot.errors import InputError, OutputError
from fewshot.evaluation.calibrate import calibrated, unheld, unlabelled_rows
from fewshot.inference.predictor import Predictor
from fewshot.models.connection import connect
from fewshot.result import Result, label_of
from fewshot.types import Example

__all__ = ["fitted_in_turn"]

_log = logging.getLogger("fewshot")


async def fitted_in_turn(
    task: Predictor[Any],
    rows: Any,
    *,
    target: str | None = None,
    encoding: str | None = None,
    confidence: float = 0.95,
    **others: Any,
) -> Predictor[Any]:
    """Fit how sure a task must be to answer as the one that follows it would, or rightly; that one is fitted first.

    Arguments:
        rows: texts, dicts or a file without labels for `agree`, which both tasks are asked (those that the next one
            cannot answer are left out); labelled rows for `right`.
        target, encoding, confidence: as for `calibrate`.

    Raises:
        InputError: a row or an argument is not valid. Others as for a call.
    """
    for name in others:
        raise InputError(f"{task.name} is fitted to what `then` promised: leave {name}= out", field=name)
    if rows is None:
        raise InputError(
            "there is nothing to fit on: give rows for both tasks, or labelled ones for right=", field="rows"
        )
    step, started = task.fallback, time.monotonic()
    assert step is not None  # noqa: S101 - only such come here
    following = step.task
    if following.fallback is not None and following.fallback.promises:
        following = await fitted_in_turn(following, rows, target=target, encoding=encoding, confidence=confidence)
    task = replace(task, fallback=replace(step, task=following))
    asked: list[Result[Any]] = []
    if step.agree is None:
        labelled: Sequence[Labelled] = read_labelled(task, rows, target=target, encoding=encoding)
    else:
        given = unlabelled_rows(rows, encoding)
        if not isinstance(rows, str | os.PathLike) and all(
            isinstance(row, tuple | Labelled | Example) for row in given
        ):
            given = [dict(row.inputs) for row in read_labelled(task, given)]
        plain = following if following.fallback is not None else unheld(following)
        asked = [result async for result in amap(plain, given)]
        labelled = [_as_labelled(task, result) for result in asked if result.error is None and not result.abstained]
        for result in asked:
            if result.error is not None and not (labelled and isinstance(result.error, OutputError)):
                raise result.error
        if left := len(asked) - len(labelled):
            message = "%s: the promise leaves out the rows that %s does not answer, %d of %d here"
            _log.warning(message, task.name, following.name, left, len(asked))
    found = await calibrated(task, labelled, await connect(task.settings), **step.promises, confidence=confidence)
    fitted = found.fitted
    costs = [fitted.cost, *(result.cost for result in asked)]
    fitted = replace(
        fitted,
        usage=sum((result.usage for result in asked), fitted.usage),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        seconds=time.monotonic() - started,
    )
    if fitted.threshold is not None and fitted.threshold.reason:
        _log.warning("%s: every row will be asked of %s: %s", task.name, following.name, fitted.threshold.reason)
    return replace(found, fitted=fitted)


def _as_labelled(task: Predictor[Any], result: Result[Any]) -> Labelled:
    """Take an answer for the right one."""
    value, kind = result.value, task.output.kind
    if kind in ("labels", "label_set"):
        value = label_of(value) if kind == "labels" else [label_of(each) for each in value or ()]
    inputs = {name: given for name, given in result.inputs.items() if given is not None}
    return Labelled(inputs, value, (value,) if kind == "text" and value is not None else (), str((result.row or 0) + 1))
