"""Which texts there are, and in which random order they come: their hashes fix it, and what each becomes.

Whenever one stops, those that are labelled are a simple random sample, so that figures on them are unbiased. Choosing
by the model's doubt was tried, and took more labels to the same promise (`tests/benchmarks/choice_of_rows.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fewshot._checks import brief, check_kind
from fewshot.authoring.labelling.records import Text
from fewshot.data.columns import Columns, Row, read_rows
from fewshot.data.frames import frame_records, is_frame
from fewshot.errors import InputError
from fewshot.evaluation.rows_to_judge import asked
from fewshot.prompts.prompt import check_characters
from fewshot.task import Task

__all__ = ["text_of", "texts_of"]


def texts_of(
    task: Task[Any], rows: Any, columns: Mapping[str, str] | None = None, encoding: str | None = None
) -> tuple[list[Text], list[str]]:
    """Read the texts in their random order; those that ask the same as one before, or as an example, are left out.

    Returns:
        The texts, and for each row that was left out why.

    Raises:
        InputError: the file cannot be read or lacks an input, or there is nothing in it that can be asked.
    """
    check_kind("columns", columns, Mapping, type(None), what="a dict of names and columns")
    known = Columns(task, columns or {})
    if encoding is not None and not isinstance(rows, str | os.PathLike):
        raise InputError("encoding= says how a file is read, and the rows are not one: leave it out", field="encoding")
    if isinstance(rows, Mapping | bytes) or not (isinstance(rows, Iterable | os.PathLike) or is_frame(rows)):
        raise InputError(f"rows={brief(rows)}: give a file, texts, dicts or a data frame", field="rows")
    if isinstance(rows, str | os.PathLike):
        rows = read_rows(Path(rows), known, encoding=encoding)
    taken = {asked(task, example.inputs) for example in task.examples}
    found: list[Text] = []
    left: list[str] = []
    for number, row in enumerate(frame_records(rows) if is_frame(rows) else rows, start=1):
        try:
            if isinstance(row, InputError):
                raise row
            if not isinstance(row, str | Mapping):
                raise InputError(f"it is neither a text nor a dict: {brief(row)}")
            given = {next(iter(task.inputs)): row} if isinstance(row, str) else row
            given = given if isinstance(row, str | Row) else known.row(given)
            text = text_of(task, {n: value for n, value in given.items() if n != "id"}, given.get("id", number))
            task._bind_row(text.inputs)
            check_characters("".join(map(str, text.inputs.values())))
        except InputError as error:
            left.append(f"row {number} cannot be asked: {error}")
            continue
        if (same := asked(task, text.inputs)) in taken:
            left.append(f"row {number} asks the same as one before, or as an example of the task")
        else:
            taken.add(same)
            found.append(text)
    if not found:
        raise InputError(f"there is no text to label{''.join(f': {why}' for why in left[:1])}", field="rows")
    return sorted(found, key=lambda text: _digest("order", text.key)), left


def text_of(task: Task[Any], inputs: Mapping[str, Any], name: object) -> Text:
    """Give inputs as a text with its key."""
    pairs: Any = asked(task, inputs)
    return Text(key=_digest(*sorted(map(str, pairs))), id=str(name), inputs=dict(inputs))


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
