"""Results as a table for people and data frames, made of the lines of a finished run; and results read back.

The user's columns come under their own names, and ours beside them. Where two are the same, ours gets a prefix.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot._environment import missing
from fewshot._storage import write_atomic
from fewshot.data.frames import COLUMNS, cells
from fewshot.data.readers import read
from fewshot.errors import ConfigError, InputError
from fewshot.result import as_text

__all__ = ["check_out", "is_table", "read_results", "write_table"]

_GROUP = 4096
_FORMULA = re.compile("'*[ \u00a0\u200b\ufeff]*[-=+@\t\r\n＝＋－＠]")
"""How a text begins that a spreadsheet takes for a formula: it passes over blanks. One that has the apostrophe against
that gets a further one, so that each text is read back as it was."""
_BEFORE = ("row",)
_AFTER = tuple(name for name in COLUMNS if name not in ("method", "input_tokens", "output_tokens"))
_LINES, _TABLES = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv", ".parquet")


def is_table(path: Path) -> bool:
    """Tell whether results go to this path as a table, which is made at the end, and not line by line."""
    return path.suffix.lower() in _TABLES


def check_out(path: Path) -> None:
    """Refuse a place that results cannot be written to, before anything is asked.

    Raises:
        InputError: its ending is not known. ConfigError: it is not a file, or an extra is missing.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # a folder has a message of its own
        raise ConfigError(f"{path} is not a regular file, and results are read again: name one, or leave it out")
    if path.name == "-":
        raise ConfigError("results go to a file, and without one to standard output: leave it out")
    ending = path.suffix.lower()
    if ending not in ("", *_LINES, *_TABLES):
        raise InputError(f"{path}: results are not written as {ending!r}: use .jsonl, {', '.join(_TABLES)}")
    if ending == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise missing("Parquet files need an extra", "bulk") from error


def own_names(theirs: Iterable[str]) -> dict[str, str]:
    """Give the name of each of our columns beside the user's: its own, or with a prefix where that is taken."""
    taken, found = set(theirs), {}
    for name in (*_BEFORE, *_AFTER):
        place = name
        while place in taken:
            place = f"fewshot_{place}"
        found[name] = place
    return found


def write_table(path: Path, lines: Callable[[], Iterable[bytes]]) -> None:
    """Write results as CSV, TSV or Parquet, all of it or nothing.

    In CSV a text that a spreadsheet would take for a formula gets a leading apostrophe.

    Arguments:
        lines: gives the JSON lines of the results; called twice, since the first of them may lack a column.

    Raises:
        ConfigError: the place cannot be written.
    """
    theirs = list(dict.fromkeys(name for line in lines() for name in _theirs(json.loads(line))))
    ours = own_names(theirs)
    columns = [*(ours[name] for name in _BEFORE), *theirs, *(ours[name] for name in _AFTER)]
    rows = (_flat(json.loads(line), ours) for line in lines())
    try:
        with write_atomic(path) as scratch:
            if path.suffix.lower() == ".parquet":
                _write_parquet(scratch, columns, rows, ours)
            else:
                _write_csv(scratch, columns, rows, "\t" if path.suffix.lower() == ".tsv" else ",")
    except OSError as error:
        advice = "see that the folder is there, can be written and has room, and run it again: nothing is asked anew"
        raise ConfigError(f"cannot write {path}: {error.strerror or error}; {advice}") from error


def _theirs(line: Mapping[str, Any]) -> dict[str, Any]:
    names = line.get("names") or {}
    found = {"id": line["id"]} if "id" in line else {}
    found |= {names.get(name, name): value for name, value in (line.get("inputs") or {}).items()}
    return found | (line.get("columns") or {})


def _flat(line: Mapping[str, Any], ours: Mapping[str, str]) -> dict[str, Any]:
    about = cells(line)
    if line.get("method") == "together" and about["value"]:  # each task's value, and not all about its call
        about["value"] = {name: result["value"] for name, result in about["value"].items()}
    return _theirs(line) | {place: about.get(name) for name, place in ours.items()}


def _write_csv(path: Path, columns: Sequence[str], rows: Iterator[dict[str, Any]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(map(_cell, columns))
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in columns])


def _cell(value: object) -> object:
    text = _text(value)
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(value) else text


def _text(value: object) -> str | None:
    return None if value is None else as_text(value)


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterator[dict[str, Any]], ours: Mapping[str, str]) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    kinds = {ours[name]: COLUMNS.get(name) for name in _AFTER} | {ours["row"]: int}
    known = {name: types[kind] for name, kind in kinds.items() if kind in types}
    schema = pyarrow.schema([(name, known.get(name, pyarrow.string())) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append({name: row.get(name) if name in known else _text(row.get(name)) for name in columns})
            if len(group) == _GROUP:
                writer.write_table(pyarrow.Table.from_pylist(group, schema))
                group = []
        writer.write_table(pyarrow.Table.from_pylist(group, schema))


# -- back -----------------------------------------------------------------------------------------------------------


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read a file of results in any form that one is written in.

    Returns:
        For each row its `row`, `id`, `value`, `confidence`, `abstained`, `error` (type and message), `model`, `task`,
        and as `inputs` what the user's row held, as texts.

    Raises:
        InputError: the file cannot be read, or does not hold results.
    """
    found = []
    for number, (_, row) in enumerate(read(path), start=1):
        if isinstance(row, InputError):
            raise row
        result = _result(row, number - 1, path.suffix.lower()) if isinstance(row, dict) else None
        if result is None:
            message = f"{path}: row {number} is not a result; give files that `fewshot run` has written"
            raise InputError(message, row=number)
        found.append(result)
    return found


def _result(row: dict[str, Any], place: int, ending: str) -> dict[str, Any] | None:
    is_line = isinstance(row.get("error"), dict) or isinstance(row.get("inputs"), dict) or "usage" in row
    if is_line and ending not in _TABLES:
        if not {"value", "error", "abstained"} <= row.keys():
            return None
        return {"row": place, **row, "inputs": _plain(_theirs(row))} | ({"id": str(row["id"])} if "id" in row else {})
    found = {name: [own for own in row if re.fullmatch(rf"(fewshot_)*{name}", own)] or [name] for name in own_names(())}
    ours = {name: named[0 if name in _BEFORE else -1] for name, named in found.items()}  # the user's stand between
    if not {ours["value"], ours["error"], ours["abstained"]} <= row.keys():
        return None
    guarded = ending in (".csv", ".tsv")
    about = {name: _read(row.get(column), name, guarded=guarded) for name, column in ours.items()}
    theirs = {_bare(name) if guarded else name: value for name, value in row.items() if name not in ours.values()}
    kind, _, message = (about["error"] or "").partition(": ")
    about["error"] = {"type": kind, "message": message} if kind else None
    about["row"] = place if about["row"] is None else about["row"]
    if about["value"] is None and not kind and not about["abstained"]:
        about["value"] = ""
    own = theirs.get("id")
    return about | ({} if own in (None, "") else {"id": str(own)}) | {"inputs": _plain(theirs, guarded=guarded)}


def _plain(theirs: Mapping[str, Any], *, guarded: bool = False) -> dict[str, str]:
    """Give a user's row as texts, since a table knows no other values."""
    texts = {name: _text(value) for name, value in theirs.items() if name != "id"}
    return {name: _bare(text) if guarded else text for name, text in texts.items() if text}


def _bare(text: str) -> str:
    """Take off the apostrophe that keeps a text in a CSV from being a formula."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def _read(cell: Any, name: str, *, guarded: bool) -> Any:
    if not isinstance(cell, str):
        return cell
    if not cell:
        return None
    if name in ("value", "error", "warnings", "model", "task"):
        return _bare(cell) if guarded else cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell
