"""Examples from wherever they are kept: files, data frames and Hugging Face data sets, with a mapping of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewshot._checks import check_kind, did_you_mean
from fewshot.data.columns import column, names_in, value_at
from fewshot.data.examples import answer_at
from fewshot.data.labelled import gold_rows
from fewshot.errors import InputError

__all__ = ["examples_from"]


def examples_from(
    source: Any, columns: Mapping[str, str] | None = None, *, limit: int | None = None, encoding: str | None = None
) -> list[dict[str, Any]]:
    """Give rows that can be passed as `examples=`; what a label tool has as rejected or skipped is left out, and told.

    >>> examples_from([{"review": "Lovely.", "stars": 5}], {"text": "review", "output": "stars"})
    [{'text': 'Lovely.', 'output': 5}]

    Arguments:
        source: a file of any kind that is read (see docs/data.md); a data frame or an Arrow table; a split of a Hugging
            Face data set, whose class labels are given by name; or dicts.
        columns: for each input, and for `output` (and `id`), the column that holds it. Other columns are left out;
            without a mapping all are taken under their own names.
        limit: take only so many rows, the first ones.
        encoding: of a file that is not UTF-8.

    Raises:
        InputError: a column is not there, the file cannot be read, or the source is none of these.
    """
    check_kind("columns", columns, Mapping, type(None), what="a dict of names and columns")
    check_kind("limit", limit, int, type(None), what="a number of rows")
    check_kind("encoding", encoding, str, type(None), what="the name of an encoding")
    found = []
    for number, row in gold_rows(source, encoding=encoding).rows[:limit]:
        found.append(_whole(row) if columns is None else _renamed(row, columns, number))
        for name, value in found[-1].items():
            if isinstance(value, InputError):
                raise InputError(f"row {number}: {value}", field=name, row=number)
            if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | int):
                found[-1][name] = value[0]  # as label tools write the one label of a row
    return found


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str], number: int) -> dict[str, Any]:
    found = {}
    for name, wanted in columns.items():
        check_kind("columns", wanted, str, what="columns that are texts")
        place = column(row, wanted)
        if place is None:
            there = names_in(row)
            message = f"row {number} has no column {wanted!r}{did_you_mean(wanted, there)}; it has {', '.join(there)}"
            raise InputError(message, field=wanted, row=number)
        if (value := answer_at(row, place) if name == "output" else value_at(row, place)) is not None:
            found[name] = value
    return found


def _whole(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give all columns of a row; an answer that a label tool has goes before one that its data hold."""
    only = getattr(row, "answers", {}).get("label")
    return {**row} if only is None or "output" not in row else {**row, "output": only}
