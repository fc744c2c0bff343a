"""Reading examples as checked data: JSONL, JSON or CSV in, `Example`s out, each fault with its line.

A row holds the task's inputs and `output`. It may also name parameters of the task (a translation example says
which languages it is for) and carry an `id`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot.errors import InputError, TaskError
from fewshot.output import Output
from fewshot.template import did_you_mean
from fewshot.types import Example

__all__ = ["check_examples", "example_of", "matching", "read_examples", "read_rows"]

_RESERVED = ("output", "id")


def read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read the rows of a JSONL, JSON (a list) or CSV file (with a header), each with its line number.

    Raises:
        TaskError: the file cannot be read, is not UTF-8, or a line is not an object; with the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TaskError(f"cannot read the examples: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise TaskError("not UTF-8 text; save the file as UTF-8", path=path) from error
    reader = {".csv": _csv_rows, ".json": _json_rows}.get(path.suffix.lower(), _jsonl_rows)
    return reader(text, path)


def read_examples(
    path: Path, inputs: Mapping[str, Any], parameters: Iterable[str], output: Output[Any]
) -> tuple[Example, ...]:
    """Read and check an example file.

    Arguments:
        path: the file.
        inputs: the task's inputs; a value that is not None is a default, so the row may leave it out.
        parameters: names of the task's parameters, which a row may also carry.
        output: what the rows' `output` must be.

    Raises:
        TaskError: a row is not what the task takes; with file and line.
    """
    rows = read_rows(path)
    return check_examples([row for _, row in rows], inputs, parameters, output, path=path, lines=[n for n, _ in rows])


def check_examples(
    rows: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Any],
    parameters: Iterable[str],
    output: Output[Any],
    *,
    path: Path | str | None = None,
    lines: Sequence[int] | None = None,
) -> tuple[Example, ...]:
    """Turn rows into examples; raises TaskError at the first one that does not fit."""
    known = [*inputs, *parameters, *_RESERVED]
    required = [name for name, default in inputs.items() if default is ...]
    found = []
    for position, row in enumerate(rows, start=1):
        line = lines[position - 1] if lines else position
        for key in row:
            if key not in known:
                message = f"unknown key {key!r}{did_you_mean(key, known)}; the keys are {', '.join(known)}"
                raise TaskError(message, path=path or "examples", line=line)
        for key in [*required, "output"]:
            if key not in row:
                raise TaskError(f"the example has no {key!r}", path=path or "examples", line=line)
        try:
            value = output.check(row["output"])
        except ValueError as error:
            raise TaskError(
                f"the example's output is not valid: {error}", path=path or "examples", line=line
            ) from error
        given = {key: row[key] for key in row if key not in _RESERVED and row[key] is not None}
        found.append(Example(given, value, id=str(row.get("id", line)), line=line))
    return tuple(found)


def example_of(shot: Any, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read one example given in code as a row: an `Example`, a dict, or a pair (input, output).

    Raises:
        InputError: it is none of these, or a pair for a task with several inputs.
    """
    if isinstance(shot, Example):
        return {**shot.inputs, "output": shot.output, "id": shot.id}
    if isinstance(shot, Mapping):
        return shot
    if isinstance(shot, Sequence) and not isinstance(shot, str) and len(shot) == 2:
        if isinstance(shot[0], Mapping):
            return {**shot[0], "output": shot[1]}
        first = next(iter(inputs))
        return {first: shot[0], "output": shot[1]}
    raise InputError(
        f"an example must be a pair (input, output) or a dict with an 'output', not {shot!r:.80}", field="examples"
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


def _jsonl_rows(text: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    # Not str.splitlines(): it also cuts at U+2028 and U+0085, which may stand inside a JSON string.
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            rows.append((number, _row(_parse(line, path, number), path, number)))
    return rows


def _json_rows(text: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = _parse(text, path, None)
    if not isinstance(rows, list):
        raise TaskError("must hold a list of objects", path=path)
    return [(number, _row(row, path, number)) for number, row in enumerate(rows, start=1)]


def _csv_rows(text: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise TaskError(f"has not {len(reader.fieldnames or [])} fields", path=path, line=reader.line_num)
            rows.append((reader.line_num, dict(row)))
    except csv.Error as error:
        raise TaskError(f"is not valid CSV: {error}", path=path, line=reader.line_num) from error
    return rows


def _parse(text: str, path: Path, line: int | None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        at = getattr(error, "colno", None)
        message = f"is not valid JSON: {getattr(error, 'msg', error)}" + (f" at column {at}" if at else "")
        raise TaskError(message, path=path, line=line or getattr(error, "lineno", None)) from error


def _row(row: Any, path: Path, line: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise TaskError(f'must be an object like {{"text": …, "output": …}}, not {row!r:.60}', path=path, line=line)
    return row
