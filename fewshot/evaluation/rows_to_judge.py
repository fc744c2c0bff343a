"""Which labelled rows a fit, a search or a figure may be judged on: each once, and none that the prompt shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fewshot.data.labelled import Labelled
from fewshot.errors import InputError
from fewshot.inference.predictor import Predictor
from fewshot.prompts.prompt import check_characters

__all__ = ["apart", "asked", "digest", "distinct", "remarks", "rows_to_judge"]


def rows_to_judge(
    task: Predictor[Any], rows: Sequence[Labelled]
) -> list[tuple[Predictor[Any], Mapping[str, Any], Labelled]]:
    """Bind the rows that a fit or a promise may be judged on: each once, and none that the prompt shows.

    Where the question chooses its shots, a row that is an example must still be asked without itself (`leave_out`).

    Raises:
        InputError: a row is not valid, or all are shots.
    """
    bound = [(*_bound(task, row), row) for row in distinct(task, rows)]
    shown: dict[int, set[Hashable]] = {}
    usable = [(one, inputs, row) for one, inputs, row in bound if not _is_shot(one, inputs, shown)]
    if not usable:
        raise InputError("all labelled rows are shots of the prompt: give rows that it does not show")
    return usable


def distinct(task: Predictor[Any], rows: Iterable[Labelled]) -> list[Labelled]:
    """Keep the first of the rows that ask the same: what a row was fitted on tells nothing about its twin."""
    first: dict[Hashable, Labelled] = {}
    for row in rows:
        first.setdefault(asked(task, row.inputs), row)
    return list(first.values())


def apart(task: Predictor[Any], rows: Sequence[Labelled], others: Iterable[Mapping[str, Any]]) -> list[Labelled]:
    """Leave out the rows that ask the same as others, given by their inputs."""
    taken = {asked(task, inputs) for inputs in others}
    return [row for row in rows if asked(task, row.inputs) not in taken]


def remarks(task: Predictor[Any], rows: Sequence[Labelled], *, shown: bool) -> Iterator[str]:
    """Tell of rows that figures are measured on and that say less than others.

    Arguments:
        shown: whether the task's own examples are its shots, or calibrate it.
    """
    own = len(rows) - len(apart(task, rows, (example.inputs for example in task.examples))) if shown else 0
    if own:
        yield f"{own} of {len(rows)} rows are examples of the task itself, so the figures flatter it"
    if twice := len(rows) - len(distinct(task, rows)):
        yield f"{twice} of {len(rows)} rows ask the same as one before, so the intervals are too narrow"


def digest(rows: Sequence[Labelled]) -> str:
    """Hash labelled rows, whatever their order."""
    lines = sorted(json.dumps([dict(row.inputs), str(row.truth)], sort_keys=True, default=str) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def asked(task: Predictor[Any], inputs: Mapping[str, Any]) -> Hashable:
    """Give what two rows have in common when they ask the same: inputs and parameters, white space round them aside."""
    try:
        one, bound = task._bind(dict(inputs))
    except InputError:  # it is told of where it is asked
        return frozenset((name, str(value).strip()) for name, value in inputs.items())
    fixed = {name: str(value).casefold() for name, value in one.parameters.items()}
    return frozenset((name, str(value).strip()) for name, value in {**fixed, **bound}.items() if value is not None)


def _bound(task: Predictor[Any], row: Labelled) -> tuple[Predictor[Any], Mapping[str, Any]]:
    """Bind a row, or name the one that cannot be asked before others are."""
    try:
        for value in row.inputs.values():
            check_characters(str(value))
        return task._bind(dict(row.inputs))
    except InputError as error:
        raise InputError(f"row {row.id}: {error}", field=error.field) from error


def _is_shot(task: Predictor[Any], inputs: Mapping[str, Any], shown: dict[int, set[Hashable]]) -> bool:
    """Tell whether every prompt of a question shows it; where the question chooses its shots, none does.

    `shown` keeps what each prompt shows.
    """
    if task._prompts.by_question(inputs):
        return False
    prompt = task._prompts.offline(inputs)  # the same object for the same shots, which lives as long as the task
    if id(prompt) not in shown:
        shown[id(prompt)] = {asked(task, shot.inputs) for shot in prompt.examples}
    return asked(task, inputs) in shown[id(prompt)]
