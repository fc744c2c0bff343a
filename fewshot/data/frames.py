"""Data frames in, data frames out: columns of pandas or Polars go through a task whole, and come back aligned.

Neither library is imported here before the caller has.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fewshot._checks import REQUIRED
from fewshot.errors import InputError
from fewshot.result import Result, plain

if TYPE_CHECKING:
    from fewshot.inference.predictor import Predictor

__all__ = ["COLUMNS", "frame_records", "is_frame", "map_frame", "renamed_frame"]

COLUMNS = (
    "value",
    "probabilities",
    "confidence",
    "abstained",
    "error",
    "method",
    "model",
    "input_tokens",
    "output_tokens",
    "cost",
    "cached",
)
"""The columns of a frame of results."""

_log = logging.getLogger("fewshot")


def is_frame(rows: object) -> bool:
    """Tell whether this is a pandas or Polars series or data frame."""
    return _library(rows) is not None


def map_frame(task: Any, frame: Any, **options: Any) -> Any:
    """Run a task over a series or a data frame.

    Arguments:
        frame: a series holds the task's one input; in a data frame the columns named like inputs and parameters of
            the task are used, and others left alone.
        options: as for `task.map`.

    Returns:
        For a series a series of values, missing where a row failed or was abstained from (what failed is told as a
        warning in the log). For a data frame one of results, with `COLUMNS`. Both have the index of what came in.

    Raises:
        InputError: the frame lacks an input; other errors as for `task.map`.
    """
    library = _library(frame)
    if library is None:
        raise InputError(f"a series or a data frame of pandas or Polars is wanted, not {type(frame).__name__}")
    columns = _columns(task, frame, library)
    results: Iterator[Result[Any]] = iter(task.map(_rows(columns), **options))
    if not hasattr(frame, "columns"):
        return _series(task, frame, results, library)
    found = _collected(results)
    if library == "pandas":
        import pandas as pd

        return pd.DataFrame(found, index=frame.index, columns=list(COLUMNS))
    import polars as pl

    known = _polars_types(pl) | {"value": _polars_value(pl, task)}
    return pl.DataFrame({name: _polars_series(pl, name, found[name], known.get(name)) for name in COLUMNS})


def frame_records(frame: Any) -> list[Mapping[str, Any]]:
    """Give the rows of a data frame as dicts; an empty cell is None.

    Raises:
        InputError: this is no data frame of pandas or Polars.
    """
    library = _library(frame)
    if library is None or not hasattr(frame, "columns"):
        raise InputError(f"a data frame of pandas or Polars is wanted, not a {type(frame).__name__}")
    return list(_rows({str(name): _values(frame[name], library) for name in frame.columns}))


def renamed_frame(frame: Any, columns: Mapping[str, str]) -> Any:
    """Give a data frame whose columns have the names that a task has for them.

    Raises:
        InputError: the frame has no such column.
    """
    if not hasattr(frame, "columns"):
        raise InputError("a series has no columns: leave columns= out, or give the data frame", field="columns")
    for column in columns.values():
        if column not in frame.columns:
            there = ", ".join(map(str, frame.columns))
            raise InputError(f"the data frame has no column {column!r}; it has {there}", field=column)
    apart = frame[[name for name in frame.columns if name not in columns]]
    names = {column: name for name, column in columns.items()}
    return apart.rename(columns=names) if _library(frame) == "pandas" else apart.rename(names)


def _library(rows: object) -> str | None:
    """Give the name of the library that this object is a series or data frame of."""
    for name in ("pandas", "polars"):
        module = sys.modules.get(name)
        if module is not None and isinstance(rows, module.Series | module.DataFrame):
            return name
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(rows, polars.LazyFrame):
        raise InputError("a LazyFrame has no rows yet: give frame.collect()")
    return None


def _columns(task: Predictor[Any], frame: Any, library: str) -> Mapping[str, list[Any]]:
    """Take the columns that the task wants as lists; what is missing in them is None."""
    required = [name for name, default in task.inputs.items() if default is REQUIRED]
    if not hasattr(frame, "columns"):
        if len(required) > 1:
            raise InputError(f"{task.name} needs {', '.join(required)}: give a data frame with these columns")
        return {next(iter([*required, *task.inputs])): _values(frame, library)}
    wanted = [name for name in (*task.inputs, *task.parameters) if name in frame.columns]
    for name in required:
        if name not in wanted:
            message = f"the data frame has no column {name!r}; {task.name} needs {', '.join(required)}"
            raise InputError(message, field=name)
    return {name: _values(frame[name], library) for name in wanted}


def _values(series: Any, library: str) -> list[Any]:
    if library == "polars":
        return list(series.to_list())
    return list(series.astype(object).where(series.notna(), None).tolist())


def _rows(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    names = list(columns)
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(names, values, strict=True))


def _series(task: Predictor[Any], frame: Any, results: Iterable[Result[Any]], library: str) -> Any:
    values, failed = [], 0
    for result in results:
        values.append(plain(result.value))
        failed += result.error is not None
    if failed:
        _log.warning("%d of %d rows failed: give a data frame instead of a series to see why", failed, len(values))
    if library == "pandas":
        import pandas as pd

        return pd.Series(values, index=frame.index, name=task.name, dtype=object)
    import polars as pl

    return _polars_series(pl, task.name, values, _polars_value(pl, task))


def _collected(results: Iterable[Result[Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for result in results:
        about = result.to_dict()
        facts = (
            about["value"],
            about["probabilities"],
            result.confidence,
            result.abstained,
            None if result.error is None else f"{type(result.error).__name__}: {result.error}",
            result.method,
            result.model,
            result.usage.input_tokens,
            result.usage.output_tokens,
            result.cost,
            result.cached,
        )
        for name, fact in zip(COLUMNS, facts, strict=True):
            columns[name].append(fact)
    return columns


def _polars_series(pl: Any, name: str, values: list[Any], dtype: Any) -> Any:
    return pl.Series(name, values, dtype=dtype, strict=False)


def _polars_value(pl: Any, task: Predictor[Any]) -> Any:
    """Name the type of the values of a closed set; None leaves it to what comes."""
    kinds = {type(plain(task.output.value(label))) for label in task.output.labels or ()}
    return {bool: pl.Boolean, int: pl.Int64, str: pl.String}[kinds.pop()] if len(kinds) == 1 else None


def _polars_types(pl: Any) -> dict[str, Any]:
    """Name the types that do not depend on the answers, so that frames of different runs fit together."""
    types = {"confidence": pl.Float64, "cost": pl.Float64, "abstained": pl.Boolean, "cached": pl.Boolean}
    types |= dict.fromkeys(("error", "method", "model"), pl.String)
    return types | dict.fromkeys(("input_tokens", "output_tokens"), pl.Int64)
