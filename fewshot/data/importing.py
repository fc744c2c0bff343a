"""Examples from wherever they are kept: files, data frames and Hugging Face data sets, with a mapping of columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from fewshot.data.examples import read_rows
from fewshot.data.frames import is_frame, records
from fewshot.errors import InputError
from fewshot.prompts.template import did_you_mean

__all__ = ["examples_from"]


def examples_from(
    source: Any, columns: Mapping[str, str] | None = None, *, limit: int | None = None
) -> list[dict[str, Any]]:
    """Give rows that can be passed as `examples=`.

    >>> examples_from([{"review": "Lovely.", "stars": 5}], {"text": "review", "output": "stars"})
    [{'text': 'Lovely.', 'output': 5}]

    Arguments:
        source: a JSONL, JSON, CSV, TSV or Parquet file; a pandas or Polars data frame; a split of a Hugging Face
            data set, whose class labels are given by name; or dicts.
        columns: for each input, and for `output` (and `id`), the column that holds it. Other columns are left out;
            without a mapping all are taken under their own names.
        limit: take only so many rows, the first ones.

    Raises:
        InputError: a column is not there, or the source is none of these. TaskError: the file cannot be read.
    """
    names = _class_names(source)
    found = []
    for number, row in enumerate(islice(_rows(source), limit), start=1):
        named = {
            key: names[key][value] if key in names and isinstance(value, int) else value for key, value in row.items()
        }
        found.append(named if columns is None else _renamed(named, columns, number))
    return found


def _rows(source: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(source, str | os.PathLike):
        return [row for _, row in read_rows(Path(source))]
    if isinstance(source, Mapping):
        raise InputError(f"choose a split of the data set: one of {', '.join(map(str, source))}", field="source")
    if is_frame(source):
        return records(source)
    if isinstance(source, Iterable):
        return (_dict(row) for row in source)
    raise InputError(f"cannot read examples from a {type(source).__name__}; give a file, a data frame or dicts")


def _dict(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise InputError(f"a row must be a dict, not {row!r:.60}; pairs can be passed as examples without this")
    return row


def _class_names(source: Any) -> Mapping[str, list[str]]:
    """Give the label names of the columns that a Hugging Face data set keeps as numbers."""
    features = getattr(source, "features", None) or {}
    return {column: feature.names for column, feature in features.items() if hasattr(feature, "names")}


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str], number: int) -> dict[str, Any]:
    for column in columns.values():
        if column not in row:
            there = ", ".join(map(str, row))
            message = f"row {number} has no column {column!r}{did_you_mean(column, map(str, row))}; it has {there}"
            raise InputError(message, field=column, row=number)
    return {name: row[column] for name, column in columns.items() if row[column] is not None}
