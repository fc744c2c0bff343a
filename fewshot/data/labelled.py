"""Labelled rows: inputs with the answer that is right, read from a file, dicts or pairs, each checked."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fewshot._checks import REQUIRED, brief, check_kind
from fewshot.data.columns import ANSWERS, Columns, Signature, column, names_in, value_at
from fewshot.data.documents import class_names, named
from fewshot.data.examples import answer_at, answer_column, answer_in, example_of
from fewshot.data.formats import gold, mark_of
from fewshot.data.frames import frame_records, is_frame
from fewshot.data.readers import read
from fewshot.errors import InputError
from fewshot.outputs.kinds import Output
from fewshot.types import Example

__all__ = ["GoldRows", "Labelled", "LabelledRows", "as_examples", "gold_rows", "in_file", "read_labelled", "target_of"]

_LABELS = ("label_text", "label_name", "label", "gold_label", "category", "class")
_OF_PERSON = (
    "annotation_id annotator created_at updated_at lead_time _session_id _annotator_id _timestamp".split()  # noqa: SIM905
)
"""Columns of label tools that tell who said something and when."""
_log = logging.getLogger("fewshot")


class LabelledSignature(Signature, Protocol):
    """What is known of a task here: what it takes, and what it gives."""

    @property
    def output(self) -> Output[Any]: ...


@dataclass(frozen=True)
class GoldRows:
    """Rows with an accepted answer, as they were read: each with its number from 1."""

    where: str
    """The file; empty for rows given in code."""
    rows: Sequence[tuple[int, Mapping[str, Any]]]
    left_out: str = ""
    """How many others there were, and why: rejected, ignored, drafts."""

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """The rows without their numbers."""
        return [row for _, row in self.rows]


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row: the task's inputs (and parameters) as given, and what is right."""

    inputs: Mapping[str, Any]
    truth: Any
    """The right value; of several accepted texts the first; None where no answer is right."""
    references: tuple[str, ...] = ()
    """For texts: all that are accepted; empty where the question has no answer."""
    id: str = ""


class LabelledRows(list[Labelled]):
    """The rows of one source, and what is to be told of those that were left out."""

    left_out: str = ""
    where: str = ""
    """The file; empty for rows given in code."""


def read_labelled(
    task: LabelledSignature,
    rows: str | os.PathLike[str] | Iterable[Any] | GoldRows,
    *,
    target: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> LabelledRows:
    """Read labelled rows for a task.

    Arguments:
        task: what the rows are for: its inputs, parameters and output.
        rows: a file of any kind that is read (see docs/data.md), a data frame, a data set of Hugging Face, or dicts,
            pairs (input, answer) or `Example`s. Other columns are not looked at. A list of `Labelled` has been read
            before and is given back.
        target: the column that holds the answer; by default `output`, or else the usual name for this kind of output
            (`label`, `answers`, `references`, …), which the log then tells.
        columns: for an input or parameter the column that holds it, where their names differ.
        encoding: of a file that is not UTF-8.

    Raises:
        InputError: the file cannot be read; or a row lacks an input or the answer, or the answer is not valid; names
            the row, counted from 1.
    """
    check_kind("target", target, str, type(None), what="the name of a column")
    check_kind("columns", columns, Mapping, type(None), what="a dict of names and columns")
    check_kind("encoding", encoding, str, type(None), what="the name of an encoding")
    if isinstance(rows, list) and rows and all(isinstance(row, Labelled) for row in rows):
        again = LabelledRows(rows)
        again.left_out, again.where = getattr(rows, "left_out", ""), getattr(rows, "where", "")
        return again
    given = rows if isinstance(rows, GoldRows) else gold_rows(rows, task.inputs, encoding=encoding)
    with in_file(given.where):
        if not given.rows:
            raise InputError("there are no labelled rows")
        if task.output.parts:
            read_rows = _of_parts(task, given, columns)
        else:
            target = target or target_of(task.output, given.records, [*task.inputs, *task.parameters])
            found = Columns(task, columns or {})
            read_rows = LabelledRows(_labelled(task, row, number, found, target) for number, row in given.rows)
        said: dict[str, Labelled] = {}
        for (number, row), one in zip(given.rows, read_rows, strict=True):
            mark = mark_of(row)
            if mark and (before := said.setdefault(f"{mark} {one.inputs}", one)).truth != one.truth:
                message = f"row {number}: the annotators disagree: {before.truth}, {one.truth}"
                raise InputError(message, row=number)
    read_rows.left_out, read_rows.where = given.left_out, given.where
    return read_rows


def _of_parts(task: LabelledSignature, given: GoldRows, columns: Mapping[str, str] | None) -> LabelledRows:
    """Read rows with an answer for each of several outputs, in a column of its name, or all under `output`."""
    flat = [(n, {**row, **row["output"]} if isinstance(row.get("output"), Mapping) else row) for n, row in given.rows]
    each = {
        name: read_labelled(
            _Part(name, task.inputs, task.parameters, output), GoldRows("", flat), target=name, columns=columns
        )
        for name, output in task.output.parts.items()
    }
    rows = zip(*each.values(), strict=True)
    return LabelledRows(
        replace(row[0], truth={name: one.truth for name, one in zip(each, row, strict=True)}, references=())
        for row in rows
    )


@dataclass(frozen=True)
class _Part:
    name: str
    inputs: Mapping[str, Any]
    parameters: Mapping[str, Any]
    output: Output[Any]


@contextmanager
def in_file(where: str) -> Iterator[None]:
    """Put a file's name before what is wrong with its rows; other rows have none."""
    try:
        yield
    except InputError as error:
        if not where:
            raise
        raise InputError(f"{where}: {error}", field=error.field, row=error.row) from error


def as_examples(rows: Sequence[Labelled]) -> tuple[Example, ...]:
    """Make shots of labelled rows."""
    return tuple(
        Example(row.inputs, row.truth, id=row.id or str(number), line=number) for number, row in enumerate(rows, 1)
    )


def gold_rows(source: Any, inputs: Mapping[str, Any] | None = None, *, encoding: str | None = None) -> GoldRows:
    """Read the rows of a source that have an accepted answer; what is left out is told.

    Arguments:
        source: see `read_labelled`.
        inputs: those of the task, for pairs (input, answer); None where only records will do.
        encoding: of a file that is not UTF-8.

    Raises:
        InputError: it cannot be read, or is none of these. ConfigError: it wants an extra that is missing.
    """
    where = ""
    if encoding is not None and not isinstance(source, str | os.PathLike):
        raise InputError("encoding= says how a file is read, and the rows are not one: leave it out", field="encoding")
    if isinstance(source, str | os.PathLike):
        where = os.fspath(source)
        records: Iterable[Any] = read(Path(source), encoding=encoding)
    elif is_frame(source):
        records = enumerate(frame_records(source), start=1)
    elif isinstance(source, Mapping) and source and hasattr(next(iter(source.values())), "features"):
        raise InputError(f"choose a split of the data set: one of {', '.join(map(str, source))}", field="rows")
    elif isinstance(source, Iterable) and not isinstance(source, Mapping):
        names = class_names(getattr(source, "features", None))
        listed = (row if isinstance(row, Mapping) or inputs is None else example_of(row, inputs) for row in source)
        records = ((n, named(row, names) if names else row) for n, row in enumerate(listed, start=1))
    else:
        message = f"rows must be a file, a data frame, or a list of dicts or pairs, not {type(source).__name__}"
        raise InputError(message, field="rows")
    left: list[str] = []
    found, said = [], set[str]()
    for number, _, row in gold(records, where or "the rows", tell=left.append):
        what = repr({name: value for name, value in row.items() if name not in _OF_PERSON})
        if mark_of(row) is None or what not in said:  # what another person says too is one row, as in other exports
            found.append((number, row))
            said |= {what} if mark_of(row) else set()
    for told in left:
        _log.warning(told)
    return GoldRows(where, found, "".join(left))


def target_of(output: Output[Any], rows: Sequence[Mapping[str, Any]], inputs: Sequence[str] = ()) -> str:
    """Find the column that holds the answer: `output`, or the usual name for this kind of output.

    Raises:
        InputError: there are no rows, or the first has none of these.
    """
    if not rows:
        raise InputError("there are no labelled rows")
    row = rows[0]
    others = [name for name in ANSWERS[1:] if name not in _LABELS]
    names = ["output", *_LABELS, *others] if output.kind == "labels" else ["output", *others, *_LABELS]
    if output.several:
        names[1:1] = ["labels", "tags"]
    found = answer_column(row, inputs, names)
    if found is None:
        there = names_in(row)
        example = next((name for name in there if name.split(".")[0] not in (*inputs, "id")), "")
        raise InputError(
            f"row 1 has no 'output'; it has {', '.join(there)}: name the column of the answer with target= (or --target"
            f"{example and f' {example}'})",
            field="target",
            row=1,
        )
    if (
        found in _LABELS[:2]
        and "label" in row
        and _is_valid(output, row["label"])
        and not _is_valid(output, row[found])
    ):
        found = "label"  # the labels of this task are numbers
    if found != "output":
        _log.info("the column %r is taken for the answer; name another with target=", found)
    return found


def _is_valid(output: Output[Any], value: Any) -> bool:
    try:
        output.check(answer_in(output, value))
    except ValueError:
        return False
    return True


def _labelled(task: LabelledSignature, row: Mapping[str, Any], number: int, columns: Columns, target: str) -> Labelled:
    place = column(row, target)
    if place is None:
        there = ", ".join(names_in(row))
        raise InputError(
            f"row {number} has no {target!r}; it has {there}: name the column with target= (or --target)",
            field=target,
            row=number,
        )
    where = columns.places(row, f"row {number}", besides=target)
    inputs = {name: value for name, at in where.items() if not _missing(value := value_at(row, at))}
    for name, default in task.inputs.items():
        if default is REQUIRED and name not in inputs:
            message = f"row {number}: {where[name]!r} is empty; fill it in, or leave the row out"
            raise InputError(message, field=name, row=number)
    answer, also = answer_at(row, place), row.get("accept") if target == "output" else None
    try:
        truth, references = _truth(task.output, answer, also, inputs)
    except ValueError as error:
        raise InputError(f"row {number}: {error}", field=target, row=number) from error
    return Labelled(inputs, truth, references, str(row.get("id", number)))


def _missing(value: object) -> bool:
    """Tell an empty cell: None, or the not-a-number that data frames have there."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _truth(output: Output[Any], answer: Any, also: Any, inputs: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """Check an answer; a list means that each of its texts is right."""
    answer = answer_in(output, answer)
    if output.kind != "text":
        return output.check_for(answer, inputs), ()
    if isinstance(answer, Mapping) and isinstance(answer.get("text"), list):  # as SQuAD has it on the hub
        answer = list(dict.fromkeys(answer["text"]))
    missing = _missing(answer) or (answer == "" and getattr(output, "optional", None) is not None)  # as CSV has it
    several = list(answer) if isinstance(answer, list | tuple) else [] if missing else [answer]
    several += [other for other in (also if isinstance(also, list) else []) if other not in several]
    for text in several:
        if text is None or isinstance(text, Mapping | list | tuple):
            raise InputError(f"the answer must be a text or a list of texts, not {brief(text)}")
    checked = [output.check(str(text)) for text in several]
    references = tuple(text for text in checked if text is not None)
    if not references:
        output.check(None)  # raises where a task must always answer
        return None, ()
    return references[0], references
