"""Which texts there are, and in which random order they come: their hashes fix it, and what each becomes.

Whenever one stops, those that are labelled are a simple random sample, so that figures on them are unbiased. Choosing
by the model's doubt was tried, and took more labels to the same promise (`tests/benchmarks/choice_of_rows.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewshot._checks import brief
from fewshot.authoring.labelling.records import Text
from fewshot.bulk.map import many_rows, rows_of
from fewshot.data.columns import Row
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
    rows = rows_of(task, Path(rows) if isinstance(rows, str) else rows, columns, encoding)
    taken = {asked(task, example.inputs) for example in task.examples}
    found: list[Text] = []
    left: list[str] = []
    for number, row in enumerate(frame_records(rows) if is_frame(rows) else many_rows(task, rows), start=1):
        try:
            if isinstance(row, InputError):
                raise row
            if not isinstance(row, str | Mapping):
                raise InputError(f"it is neither a text nor a dict: {brief(row)}")
            row = {next(iter(task.inputs)): row} if isinstance(row, str) else row
            given = row if isinstance(row, Row) else task._columns.row(row)
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
