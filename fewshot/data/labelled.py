"""Labelled rows: inputs with the answer that is right, read from a file, dicts or pairs, each checked."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot._inputs import REQUIRED
from fewshot.data.examples import example_of, read_rows
from fewshot.data.frames import is_frame, records
from fewshot.errors import InputError
from fewshot.outputs.kinds import Output
from fewshot.task import Task
from fewshot.types import Example

__all__ = ["Labelled", "apart", "as_examples", "distinct", "identity", "in_file", "read_labelled", "target_of"]

_USUAL_TARGETS: Mapping[str, tuple[str, ...]] = {
    "labels": ("label",),
    "text": ("answers", "answer", "references", "reference", "accept", "summary"),
    "number": ("answer",),
    "schema": ("answer",),
}
"""Columns that are taken for the answer where there is no `output` and none is named."""
_USUAL_INPUTS = ("text", "input", "question", "query")
_log = logging.getLogger("fewshot")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row: the task's inputs (and parameters) as given, and what is right."""

    inputs: Mapping[str, Any]
    truth: Any
    """The right value; of several accepted texts the first; None where no answer is right."""
    references: tuple[str, ...] = ()
    """For texts: all that are accepted; empty where the question has no answer."""
    id: str = ""


def read_labelled(
    task: Task[Any],
    rows: str | os.PathLike[str] | Iterable[Any],
    *,
    target: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[Labelled]:
    """Read labelled rows for a task.

    Arguments:
        rows: a JSONL, JSON, CSV, TSV or Parquet file, a data frame, or dicts, pairs (input, answer) or
            `Example`s. Other columns are let be. A list of `Labelled` has been read before and is given back.
        target: the column that holds the answer; by default `output`, or else the usual name for this kind of output
            (`label`, `answers`, `references`, …), which the log then tells.
        columns: for an input or parameter the column that holds it, where their names differ.

    Raises:
        InputError: a row lacks an input or the answer, or the answer is not valid; names the row, counted from 1.
        TaskError: the file cannot be read.
    """
    if isinstance(rows, list) and rows and all(isinstance(row, Labelled) for row in rows):
        return list(rows)
    given = _given(task, rows)
    with in_file(rows):
        if not given:
            raise InputError("there are no labelled rows")
        target = target or target_of(task.output, given)
        columns = {**_usual(task, list(given[0])), **(columns or {})}
        return [_labelled(task, row, number, target, columns) for number, row in enumerate(given, start=1)]


@contextmanager
def in_file(rows: object) -> Iterator[None]:
    """Put a file's name before what is wrong with its rows; other rows have none."""
    try:
        yield
    except InputError as error:
        if not isinstance(rows, str | os.PathLike):
            raise
        raise InputError(f"{os.fspath(rows)}: {error}", field=error.field, row=error.row) from error


def as_examples(rows: Sequence[Labelled]) -> tuple[Example, ...]:
    """Make shots of labelled rows."""
    return tuple(
        Example(row.inputs, row.truth, id=row.id or str(number), line=number) for number, row in enumerate(rows, 1)
    )


def apart(rows: Sequence[Labelled], others: Iterable[Mapping[str, Any]]) -> list[Labelled]:
    """Leave out the rows whose inputs are among those of others."""
    seen = {identity(inputs) for inputs in others}
    return [row for row in rows if identity(row.inputs) not in seen]


def distinct(rows: Iterable[Labelled]) -> list[Labelled]:
    """Keep the first of the rows that ask the same: what a row was fitted on tells nothing about its twin."""
    first: dict[object, Labelled] = {}
    for row in rows:
        first.setdefault(identity(row.inputs), row)
    return list(first.values())


def identity(inputs: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Give what two rows have in common when they ask the same, white space round the values aside."""
    return frozenset((name, str(value).strip()) for name, value in inputs.items())


def _given(task: Task[Any], rows: str | os.PathLike[str] | Iterable[Any]) -> list[Mapping[str, Any]]:
    if isinstance(rows, str | os.PathLike):
        return [row for _, row in read_rows(Path(rows))]
    if is_frame(rows):
        return records(rows)
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        message = f"rows must be a file, a data frame, or a list of dicts or pairs, not {type(rows).__name__}"
        raise InputError(message, field="rows")
    return [row if isinstance(row, Mapping) else example_of(row, task.inputs) for row in rows]


def target_of(output: Output[Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Find the column that holds the answer: `output`, or the usual name for this kind of output.

    Raises:
        InputError: there are no rows, or the first has none of these.
    """
    if not rows:
        raise InputError("there are no labelled rows")
    columns = list(rows[0])
    if "output" in columns:
        return "output"
    usual = next((name for name in _USUAL_TARGETS[output.kind] if name in columns), None)
    if usual is None:
        raise InputError(
            f"row 1 has no 'output'; name the column of the answer with target= (or --target): {', '.join(columns)}",
            field="target",
            row=1,
        )
    _log.info("the column %r is taken for the answer; name another with target=", usual)
    return usual


def _usual(task: Task[Any], names: Sequence[str]) -> Mapping[str, str]:
    """Where the one input that the task needs is missing, find the column usually meant."""
    required = [name for name, default in task.inputs.items() if default is REQUIRED]
    if len(required) == 1 and required[0] not in names:
        meant = next((name for name in _USUAL_INPUTS if name in names), None)
        if meant is not None:
            _log.info("the column %r is taken for the input %r", meant, required[0])
            return {required[0]: meant}
    return {}


def _labelled(
    task: Task[Any], row: Mapping[str, Any], number: int, target: str, columns: Mapping[str, str]
) -> Labelled:
    if target not in row:
        there = ", ".join(map(str, row))
        raise InputError(
            f"row {number} has no {target!r}; name the column with target= (or --target): {there}",
            field=target,
            row=number,
        )
    places = {name: columns.get(name, name) for name in (*task.inputs, *task.parameters)}
    inputs = {name: row[at] for name, at in places.items() if at != target and not _missing(row.get(at))}
    for name, default in task.inputs.items():
        if default is REQUIRED and name not in inputs:
            raise InputError(_lacking(row, number, places[name], target), field=name, row=number)
    try:
        truth, references = _truth(task.output, row[target], row.get("accept") if target == "output" else None)
    except ValueError as error:
        raise InputError(f"row {number}: {error}", field=target, row=number) from error
    return Labelled(inputs, truth, references, str(row.get("id", number)))


def _lacking(row: Mapping[str, Any], number: int, column: str, target: str) -> str:
    """Say what keeps a row from having an input, and what to do."""
    if column == target:
        return f"row {number}: {column!r} is the input, so it cannot be the answer; name another column with target="
    if column in row:
        return f"row {number}: {column!r} is empty; fill it in, or leave the row out"
    there = ", ".join(map(str, row))
    return f"row {number} has no {column!r}; it has {there}: rename the column that is meant, or name it with --map"


def _missing(value: object) -> bool:
    """Tell an empty cell: None, or the not-a-number that data frames have there."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _truth(output: Output[Any], answer: Any, also: Any) -> tuple[Any, tuple[str, ...]]:
    """Check an answer; a list means that each of its texts is right."""
    if output.kind != "text":
        return output.check(answer), ()
    if hasattr(answer, "tolist"):  # a cell of a data frame may hold an array
        answer = answer.tolist()
    missing = _missing(answer) or (answer == "" and getattr(output, "optional", None) is not None)  # as CSV has it
    several = list(answer) if isinstance(answer, list | tuple) else [] if missing else [answer]
    several += [other for other in (also if isinstance(also, list) else []) if other not in several]
    for text in several:
        if text is None or isinstance(text, Mapping | list | tuple):
            raise InputError(f"the answer must be a text or a list of texts, not {text!r:.60}")
    checked = [output.check(str(text)) for text in several]
    references = tuple(text for text in checked if text is not None)
    if not references:
        output.check(None)  # raises where a task must always answer
        return None, ()
    return references[0], references
