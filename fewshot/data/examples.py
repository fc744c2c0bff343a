"""Reading examples as checked data: JSONL, JSON, CSV or Parquet in, `Example`s out, each fault with its line.

A row holds the task's inputs and `output`. It may also name parameters of the task (a translation example says
which languages it is for) and carry an `id`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot.errors import ConfigError, InputError, TaskError
from fewshot.outputs.kinds import Output
from fewshot.prompts.template import did_you_mean
from fewshot.types import Example

__all__ = ["check_examples", "each_row", "example_of", "matching", "read_examples", "read_rows", "row_faults"]

_RESERVED = ("output", "id")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}

Row = tuple[int, dict[str, Any]]


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a JSONL, JSON (a list), CSV or TSV (with a header) or Parquet file, each with its line number.

    Raises:
        TaskError: the file cannot be read, is not UTF-8, or a line is not an object; with the line.
        ConfigError: it is a Parquet file, and the extra that reads those is missing.
    """
    rows = []
    for line, row in each_row(path):
        if isinstance(row, TaskError):
            raise row
        rows.append((line, row))
    return rows


def each_row(path: Path) -> Iterator[tuple[int, dict[str, Any] | TaskError]]:
    """Read the rows one by one, and a broken one as its error, so that the others can be looked at too."""
    kind = path.suffix.lower()
    try:
        content = path.read_bytes()
        if kind == ".parquet":
            yield from _parquet_rows(content, path)
            return
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise TaskError(f"cannot be read: {error.strerror}; give a file that is there", path=path) from error
    except UnicodeDecodeError as error:
        raise TaskError("not UTF-8 text; save the file as UTF-8", path=path) from error
    yield from {".csv": _csv_rows, ".tsv": _csv_rows, ".json": _json_rows}.get(kind, _jsonl_rows)(text, path)


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
    parameters = tuple(parameters)
    found = []
    for position, row in enumerate(rows, start=1):
        line = lines[position - 1] if lines else position
        for _, message, fix in row_faults(row, inputs, parameters, output):
            raise TaskError(f"{message}; {fix}" if fix else message, path=path or "examples", line=line)
        given = {key: row[key] for key in row if key not in _RESERVED and row[key] is not None}
        found.append(Example(given, output.check(row["output"]), id=str(row.get("id", line)), line=line))
    return tuple(found)


def row_faults(
    row: Mapping[str, Any], inputs: Mapping[str, Any], parameters: Iterable[str], output: Output[Any]
) -> Iterator[tuple[str, str, str]]:
    """Give all that is wrong with a row as an example: a code, the fault, and how to put it right (may be empty)."""
    known = [*inputs, *parameters, *_RESERVED]
    for key in row:
        if key not in known:
            yield "unknown-key", f"unknown key {key!r}{did_you_mean(key, known)}", f"the keys are {', '.join(known)}"
    for key in [*(name for name, default in inputs.items() if default is ...), "output"]:
        if key not in row:
            yield "missing-key", f"the example has no {key!r}", "add it"
    if "output" in row:
        try:
            output.check(row["output"])
        except ValueError as error:
            yield "invalid-output", f"the example's output is not valid: {error}", ""


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


def _jsonl_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any] | TaskError]]:
    # Not str.splitlines(): it also cuts at U+2028 and U+0085, which may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, _row(_parse(line, path, number), path, number)
            except TaskError as error:
                yield number, error


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any] | TaskError]]:
    rows = _parse(text, path, None)
    if not isinstance(rows, list):
        raise TaskError("must hold a list of objects", path=path)
    for number, row in enumerate(rows, start=1):
        try:
            yield number, _row(row, path, number)
        except TaskError as error:
            yield number, error


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any] | TaskError]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    header = text.partition("\n")[0]
    other = next((name for mark, name in _DELIMITERS.items() if mark in header), None)
    if other and delimiter not in header:  # what a spreadsheet writes where the comma is a decimal point
        wanted = _DELIMITERS[delimiter]
        raise TaskError(f"its columns are parted by {other}: save it with {wanted} between them", path=path, line=1)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        for row in reader:
            line = reader.line_num
            if None in row or None in row.values():
                fields = len(reader.fieldnames or [])
                message = f"has not {fields} fields like the first line; quote a text that holds commas"
                yield line, TaskError(message, path=path, line=line)
            else:
                yield line, dict(row)
    except csv.Error as error:
        raise TaskError(f"is not valid CSV: {error}", path=path, line=reader.line_num) from error


def _parquet_rows(content: bytes, path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, BufferReader, parquet
    except ImportError as error:
        raise ConfigError("Parquet files need an extra: pip install 'fewshot[bulk]'") from error
    try:
        yield from enumerate(parquet.read_table(BufferReader(content)).to_pylist(), start=1)
    except ArrowException as error:
        raise TaskError(f"cannot be read as Parquet: {error}", path=path) from error


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
