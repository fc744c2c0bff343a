"""Data frames in, data frames out: columns go through a task whole, and come back aligned.

Series and frames of pandas and Polars, Arrow tables and arrays, DuckDB relations: all that narwhals reads. None of
these libraries is imported here before the caller has.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fewshot.data.columns import Columns
from fewshot.errors import InputError
from fewshot.result import Result, plain

__all__ = ["COLUMNS", "cells", "facts", "frame_records", "is_frame", "map_frame", "own_value", "renamed_frame"]

COLUMNS: Mapping[str, type | None] = {
    "value": None,
    "confidence": float,
    "abstained": bool,
    "error": str,
    "warnings": str,
    "probabilities": None,
    "method": str,
    "model": str,
    "task": str,
    "input_tokens": int,
    "output_tokens": int,
    "cost": float,
    "cached": bool,
}
"""What tables tell of a result, in this order, and the types; None where the type depends on the task."""

_LIBRARIES = ("pandas", "polars", "pyarrow", "duckdb", "modin", "cudf", "ibis")
_log = logging.getLogger("fewshot")


def is_frame(rows: object) -> bool:
    """Tell whether this is a series, a data frame, a table or a relation."""
    return _opened(rows) is not None


def map_frame(task: Any, frame: Any, **options: Any) -> Any:
    """Run a task over a series or a data frame.

    Arguments:
        task: a `fewshot.Task`.
        frame: a series holds the task's one input; in a data frame the columns named like inputs and parameters of
            the task are used, and others left alone.
        options: as for `task.map`.

    Returns:
        For a series a series of values, missing where a row failed or was abstained from (what failed is told as a
        warning in the log). For a data frame one of results, with `COLUMNS`; for a DuckDB relation an Arrow table. Both
        have the index of what came in. Where an input is missing, so is the value, which is not a failure.

    Raises:
        InputError: the frame lacks an input; other errors as for `task.map`.
    """
    given = _opened(frame)
    if given is None:
        raise InputError(f"a series or a data frame is wanted, not {type(frame).__name__}")
    needed = Columns(task).needed
    if hasattr(given, "columns"):
        places = Columns(task).places(dict.fromkeys(given.columns), "the data frame")
        columns = {name: _values(given[place]) for name, place in places.items()}
    elif len(needed) > 1:
        raise InputError(f"{task.name} needs {', '.join(needed)}: give a data frame with these columns")
    else:
        columns = {next(iter([*needed, *task.inputs])): _values(given)}
    missing = (any(row[name] is None for name in needed if name in row) for row in _rows(columns))
    pairs = zip(task.map(_rows(columns), **options), missing, strict=True)
    results = (_unasked(result) if none else result for result, none in pairs)
    library, native = given.implementation, given.to_native()
    if not hasattr(given, "columns"):
        return _series(library, task, results, getattr(native, "index", None))
    found: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for result in results:
        for name, fact in facts(result).items():
            found[name].append(fact)
    if library.is_pandas_like():
        return library.to_native_namespace().DataFrame(found, index=native.index, columns=list(COLUMNS))
    made = {name: _column(library, name, found[name], _kind(task, name)) for name in COLUMNS}
    if library.is_polars():
        return library.to_native_namespace().DataFrame(made)
    return library.to_native_namespace().table(made)


def frame_records(frame: Any) -> list[Mapping[str, Any]]:
    """Give the rows of a data frame as dicts; an empty cell is None.

    Raises:
        InputError: this is not a data frame.
    """
    given = _opened(frame)
    if given is None or not hasattr(given, "columns"):
        raise InputError(f"a data frame is wanted, not a {type(frame).__name__}")
    return list(_rows({name: _values(given[name]) for name in given.columns}))


def renamed_frame(frame: Any, columns: Mapping[str, str]) -> Any:
    """Give a data frame whose columns have the names that a task has for them.

    Raises:
        InputError: the frame has no such column.
    """
    given = _opened(frame)
    if not hasattr(given, "columns"):
        raise InputError("a series has no columns: leave columns= out, or give the data frame", field="columns")
    for column in columns.values():
        if column not in given.columns:
            there = ", ".join(given.columns)
            raise InputError(f"the data frame has no column {column!r}; it has {there}", field=column)
    covered = [name for name in columns if name in given.columns and name not in columns.values()]
    return given.drop(covered).rename({column: name for name, column in columns.items()}).to_native()


def facts(result: Result[Any]) -> dict[str, Any]:
    """Give what `COLUMNS` tell of a result."""
    about = cells(result.to_dict())
    return {name: about[name] for name in COLUMNS}


def cells(line: Mapping[str, Any]) -> dict[str, Any]:
    """Write what a line of results holds in parts (see `Result.to_dict`) as one cell each: error, warnings, usage."""
    error = line["error"] and f"{line['error']['type']}: {line['error']['message']}"
    warnings = "; ".join(line.get("warnings") or ()) or None
    return {**line, **(line.get("usage") or {}), "error": error, "warnings": warnings}


def own_value(value: Any) -> Any:
    """Give a value as Python's own; what says that it is missing (NaN, NaT, NA) does not equal itself, and is None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    try:
        return value if bool(value == value) else None
    except TypeError:
        return None


def _opened(rows: Any) -> Any:
    """Open what narwhals reads as its data frame or series; None for anything else."""
    library = type(rows).__module__.partition(".")[0].lstrip("_")
    if library not in _LIBRARIES:
        return None
    import narwhals

    if library == "pyarrow":
        arrow = sys.modules["pyarrow"]
        if isinstance(rows, arrow.Array):
            rows = arrow.chunked_array([rows])
        elif isinstance(rows, arrow.RecordBatch):
            rows = arrow.Table.from_batches([rows])
    try:
        found: Any = narwhals.from_native(rows, allow_series=True)
    except TypeError:
        return None
    except ValueError as error:
        raise InputError(f"the data frame cannot be read: {error}; rename its columns") from error
    if isinstance(found, narwhals.LazyFrame):
        if found.implementation.is_polars():
            raise InputError("a LazyFrame has no rows yet: give frame.collect()")
        found = found.collect()
    if hasattr(found, "columns") and len({*found.columns}) < len(found.columns):
        raise InputError("the data frame has two columns of one name: rename one of them")
    return found


def _values(series: Any) -> list[Any]:
    return [own_value(value) for value in series.to_list()]


def _rows(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    names = list(columns)
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(names, values, strict=True))


def _unasked(result: Result[Any]) -> Result[Any]:
    """Give what comes of a row without an input, as data frames have it: nothing in, nothing out."""
    return replace(result, error=None, warnings=("an input is missing, so nothing was asked",))


def _series(library: Any, task: Any, results: Iterable[Result[Any]], index: Any) -> Any:
    values, failed, warned = [], 0, Counter[str]()
    for result in results:
        values.append(plain(result.value))
        failed += result.error is not None
        warned.update(set(result.warnings))
    if failed:
        _log.warning("%d of %d rows failed: give a data frame instead of a series to see why", failed, len(values))
    for warning, count in warned.items():
        _log.warning("%d of %d rows: %s", count, len(values), warning)
    if library.is_pandas_like():
        return library.to_native_namespace().Series(values, index=index, name=task.name, dtype=object)
    return _column(library, task.name, values, _kind(task, "value"))


def _column(library: Any, name: str, values: list[Any], kind: type | None) -> Any:
    """Make a column of Polars or Arrow; `kind` None leaves its type to what comes."""
    import narwhals as nw

    if kind is None and library.is_polars():  # which may be of several types
        return library.to_native_namespace().Series(name, values, strict=False)
    types: dict[Any, Any] = {list: nw.List(nw.String()), str: nw.String(), bool: nw.Boolean()}
    types |= {int: nw.Int64(), float: nw.Float64()}
    return nw.new_series(name, values, types.get(kind), backend=library).to_native()


def _kind(task: Any, name: str) -> type | None:
    """Name the type of a column that does not depend on the answers, so that frames of different runs fit together."""
    if name == "value" and task.output.several:
        return list
    if name == "value":
        kinds = {type(plain(task.output.value(label))) for label in task.output.labels or ()}
        return kinds.pop() if len(kinds) == 1 else None
    return COLUMNS[name]
