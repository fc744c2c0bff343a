"""Examples as checked data: rows of a file or of code in, `Example`s out, each fault with its line.

A row holds the task's inputs and `output`, or the answer under another usual name. It may also name parameters of the
task (a translation example says which languages it is for) and carry an `id`; other columns are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot._checks import brief, did_you_mean, plain_input
from fewshot.data.columns import ANSWERS, column, value_at
from fewshot.data.formats import gold
from fewshot.data.readers import read
from fewshot.errors import InputError, TaskError
from fewshot.outputs.kinds import Output
from fewshot.types import Example

__all__ = [
    "answer_at",
    "answer_column",
    "answer_in",
    "check_examples",
    "each_row",
    "example_of",
    "made_example",
    "matching",
    "read_examples",
    "row_faults",
]


def each_row(path: Path) -> Iterator[tuple[int, dict[str, Any] | TaskError]]:
    """Read the rows of an example file one by one, and a broken one as its error.

    Raises:
        TaskError: the file cannot be read. ConfigError: it wants an extra that is missing.
    """
    try:
        for line, record in read(path):
            try:
                for _, _, row in gold([(line, record)], str(path), tell=None):
                    yield line, row
            except InputError as error:
                yield line, _of_author(error, path, line)
    except InputError as error:
        raise _of_author(error, path, None) from error


def _of_author(error: InputError, path: Path, line: int | None) -> TaskError:
    message = str(error).removeprefix(f"{path}").lstrip(": ")
    number, colon, rest = message.partition(":")
    if colon and number.isdecimal():
        message, line = rest.strip(), int(number)
    return TaskError(message, path=path, line=line)


def read_examples(
    path: Path, inputs: Mapping[str, Any], parameters: Iterable[str], output: Output[Any], target: str = ""
) -> tuple[Example, ...]:
    """Read and check an example file.

    Arguments:
        path: the file.
        inputs: the task's inputs; a value that is not None is a default, so the row may leave it out.
        parameters: names of the task's parameters, which a row may also carry.
        output: what the rows' `output` must be.
        target: the column of the answer, where it has no usual name.

    Raises:
        TaskError: a row is not what the task takes; with file and line.
    """
    rows, lines = [], []
    for line, row in each_row(path):
        if isinstance(row, TaskError):
            raise row
        rows.append(row)
        lines.append(line)
    return check_examples(rows, inputs, parameters, output, path=path, lines=lines, target=target)


def check_examples(
    rows: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Any],
    parameters: Iterable[str],
    output: Output[Any],
    *,
    path: Path | str | None = None,
    lines: Sequence[int] | None = None,
    target: str = "",
) -> tuple[Example, ...]:
    """Turn rows into examples; raises TaskError at the first one that does not fit."""
    parameters = tuple(parameters)
    found = []
    for position, row in enumerate(rows, start=1):
        line = lines[position - 1] if lines else position
        for _, message, fix in row_faults(row, inputs, parameters, output, target):
            raise TaskError(f"{message}; {fix}" if fix else message, path=path or "examples", line=line)
        found.append(made_example(row, line, inputs, parameters, output, target))
    return tuple(found)


def made_example(
    row: Mapping[str, Any],
    line: int,
    inputs: Iterable[str],
    parameters: Iterable[str],
    output: Output[Any],
    target: str = "",
) -> Example:
    """Make the example of a row with which nothing is wrong."""
    names = [*inputs, *parameters]
    given = _given(row, names)
    place = (column(row, target) if target else answer_column(row, names)) or "output"
    answer = answer_in(output, answer_at(row, place))
    return Example(given, output.check_for(answer, given), id=str(row.get("id", line)), line=line)


def _given(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    places = {name: place for name in names if (place := column(row, name)) is not None}
    return {name: plain_input(name, row[place]) for name, place in places.items() if row[place] is not None}


def answer_column(row: Mapping[str, Any], inputs: Iterable[str], names: Iterable[str] = ANSWERS) -> str | None:
    """Find the column of the answer by its usual names; None where there is none."""
    taken, answers = {*inputs}, getattr(row, "answers", row)
    return next((place for name in names if name not in taken and (place := column(answers, name)) is not None), None)


def answer_at(row: Mapping[str, Any], place: str) -> Any:
    """Give the answer in a column; of a label tool's row what people said, whatever its data hold under that name."""
    answers = getattr(row, "answers", row)
    return value_at(answers if place in answers else row, place)


def answer_in(output: Output[Any], value: Any) -> Any:
    """Give the one answer of a row for `output.check`: label tools write lists, mostly of one.

    Raises:
        InputError: there are several or none, or its annotations cannot be used.
    """
    if isinstance(value, InputError):
        raise value
    if hasattr(value, "tolist"):  # a cell of a data frame may hold an array
        value = value.tolist()
    if output.kind not in ("labels", "number") or not isinstance(value, list | tuple | set | frozenset):
        return value
    if len(value) == 1:
        return next(iter(value))
    if not value:
        raise InputError("has no label; leave the row out, or give it one")
    several = ", ".join(map(str, value))
    raise InputError(f"has several labels ({several}), and the task gives one: this is multi-label data")


def row_faults(
    row: Mapping[str, Any],
    inputs: Mapping[str, Any],
    parameters: Iterable[str],
    output: Output[Any] | None,
    target: str = "",
) -> Iterator[tuple[str, str, str]]:
    """Give all that is wrong with a row as an example: a code, the fault, and how to put it right (may be empty).

    Arguments:
        output: what the answer must be; None leaves that open.
        target: see `read_examples`.
    """
    known = [*inputs, *parameters, target or "output", "id"]
    answer = column(row, target) if target else answer_column(row, [*inputs, *parameters])
    missing = [name for name in (*inputs, *parameters) if column(row, name) is None]
    if answer is None:
        missing.append(target or "output")
    for key in row:
        if key not in known and key != answer and (meant := did_you_mean(key, missing)):
            yield "unknown-key", f"unknown key {key!r}{meant}", f"the keys are {', '.join(known)}"
    for key in missing:
        if key == (target or "output") or inputs.get(key) is ...:
            yield "missing-key", f"the example has no {key!r}", "add it"
    if answer is not None and output is not None:
        try:
            output.check_for(answer_in(output, answer_at(row, answer)), _given(row, inputs))
        except ValueError as error:
            message = f"the example's {target or 'output'} is not valid: {error}"
            if output.labels is None:
                yield "invalid-output", message, ""
            else:
                near = did_you_mean(str(answer_at(row, answer)), output.labels)
                yield "unknown-label", message, f"write one of them{near}, or add it to output"


def example_of(shot: Any, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read one example given in code as a row: an `Example`, a dict, or a pair (input, output).

    Raises:
        InputError: it is none of these, or has another number of inputs than the task.
    """
    if isinstance(shot, Example):
        return {**shot.inputs, "output": shot.output, "id": shot.id}
    if isinstance(shot, Mapping):
        return shot
    if isinstance(shot, Sequence) and not isinstance(shot, str) and len(shot) == 2:
        if isinstance(shot[0], Mapping):
            return {**shot[0], "output": shot[1]}
        several = isinstance(shot[0], tuple)
        if several and len(shot[0]) != len(inputs):
            message = f"an example gives {len(shot[0])} inputs, and the task takes {len(inputs)} ({', '.join(inputs)})"
            raise InputError(message, field="examples")
        return {**dict(zip(inputs, shot[0] if several else shot[:1], strict=False)), "output": shot[1]}
    raise InputError(
        f"an example must be a pair (input, output) or a dict with an 'output', not {brief(shot)}", field="examples"
    )


def matching(
    examples: Sequence[Example], inputs: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[Example, ...]:
    """Keep the examples made for these parameters and for the same inputs filled in.

    A row that names a parameter is used only where the parameter has that value (compared without case). Where the
    task has optional inputs, rows that fill the same ones are kept, if there are any.
    """
    fitting = [e for e in examples if all(_same(e.inputs[p], v) for p, v in parameters.items() if p in e.inputs)]
    filled = {name for name, value in inputs.items() if value is not None}
    alike = [e for e in fitting if {name for name in e.inputs if name not in parameters} == filled]
    return tuple(alike or fitting)


def _same(one: object, other: object) -> bool:
    return str(one).casefold() == str(other).casefold()
