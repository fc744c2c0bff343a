"""A finished row as it stands on disk: from a result to its line, back again, and what a run is of.

All of a line but `usage`, `cost` and `cached` is the same bytes in every run of a task on the same input, however
often the run was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from fewshot.data.columns import Row
from fewshot.errors import FewshotError, InputError, OutputError, ServiceError
from fewshot.inference.fits import kept
from fewshot.inference.predictor import Predictor
from fewshot.models.cache import place_of
from fewshot.models.connection import Connection
from fewshot.result import Field, Result, as_text, label_of
from fewshot.types import Usage

__all__ = ["facts_of", "given_again", "key_of_row", "line_of", "result_of", "said_by"]

_VOLATILE = ("attempts", "usage", "cost", "cached")
_AS_WRITTEN = (
    "confidence abstained method calibration fit coverage parts thinking model temperature seed cost cached group "  # noqa: SIM905
    "groups task inputs row".split()
)
"""What stands in a line as it does in a result."""
_SAID = tuple(f.name for f in fields(Result) if f.name not in ("row", "usage", "cached", "attempts", "completions"))
_as_json = json.JSONEncoder(default=str).encode  # made once: `json.dumps` makes one for each row
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 60
_ERRORS: Mapping[str, type[FewshotError]] = {e.__name__: e for e in (InputError, OutputError, ServiceError)}


def line_of(result: Result[Any], row: object) -> bytes:
    """Write a result as the line of its row: one JSON object, without the end of line.

    Arguments:
        row: the row as it was given; its `id` and the columns that are not inputs go into the line.
    """
    about = result.to_dict()
    line: dict[str, Any] = {"row": about.pop("row")}
    if isinstance(row, Mapping) and "id" in row:
        line["id"] = row["id"]
    paid = {name: about.pop(name) for name in _VOLATILE}
    del paid["attempts"]
    line |= about | {"inputs": dict(result.inputs)} | _besides(result, row) | paid
    return json_bytes(line)


def _besides(result: Result[Any], row: object) -> dict[str, Any]:
    """Give the columns of a row that are not inputs, and the names of those that are under another one."""
    names = dict(row.names) if isinstance(row, Row) else {}
    record = row.record if isinstance(row, Row) else row if isinstance(row, Mapping) else {}
    taken = {"id", *names.values(), *(name for name in result.inputs if name not in names)}
    columns = {name: value for name, value in record.items() if name not in taken}
    return {name: found for name, found in (("columns", columns), ("names", names)) if found}


def json_bytes(value: object) -> bytes:
    """Write JSON as UTF-8; half a character, which models do send, becomes U+FFFD before it can stop the writer."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, default=str)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


def _finite(value: Any) -> Any:
    """Give a value without the numbers that JSON does not have: NaN stands for no value, and infinity as its name."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else as_text(value)
    return value


def result_of(line: bytes, task: Predictor[Any]) -> Result[Any]:
    """Read a line back into the result that it was written from; what only the live call knew is left empty.

    Raises:
        InputError: its value is not one of the task's output.
    """
    about = json.loads(line)
    value = about["value"]
    if value is not None:
        try:
            value = _each(task, value) if task.members else task.output.value(task.output.check(value))
        except InputError as error:
            what = f"row {about['row'] + 1} of the saved results is not what this task gives ({error})"
            raise InputError(f"{what}: name another output, or start over with --fresh", row=about["row"]) from error
    shots = task._prompts.by_id
    return Result(
        **{name: about[name] for name in _AS_WRITTEN if name in about},
        value=value,
        probabilities=task.output.by_value(about["probabilities"]),
        fields=_fields(task, about.get("fields")),
        error=_error(about["error"]),
        warnings=tuple(about["warnings"]),
        usage=Usage(**about["usage"]),
        dropped=tuple(about["dropped"]),
        candidates=tuple(task.output.label_value(label) for label in about.get("candidates", ())),
        examples=tuple(shots[name] for name in about["examples"] if name in shots),
    )


def _each(task: Predictor[Any], value: Mapping[str, Any]) -> dict[str, Result[Any]]:
    if value.keys() != task.output.parts.keys():
        raise InputError(f"there must be one of each of {', '.join(task.output.parts)}")
    return {m.name: result_of(json.dumps({**value[m.name], "inputs": {}}).encode(), m) for m in task.members}


said_by: Callable[[Result[Any]], tuple[Any, ...]] = attrgetter(*_SAID)
"""Gives what of a result an equal row has too, without what was paid and came for it: small enough to remember."""


def given_again(said: tuple[Any, ...], position: int) -> Result[Any]:
    """Make of `said_by` the result of an equal row: nothing was asked for it, so nothing was paid."""
    about = dict(zip(_SAID, said, strict=True))
    return Result(**about | {"cost": None if about["cost"] is None else 0.0, "row": position, "cached": True})


def key_of_row(task: Predictor[Any], inputs: Mapping[str, Any]) -> bytes:
    """Give the digest of everything in which one row of a run can differ from another: 16 bytes."""
    return hashlib.blake2b(_as_json([task._fingerprint, inputs]).encode(), digest_size=16).digest()


def facts_of(task: Predictor[Any], connection: Connection) -> dict[str, str]:
    """Name everything that decides the answers, part by part, so that a change can be told."""
    parts = {
        "task": f"{task.name}@{task.version}",
        "model": connection.model,
        "endpoint": connection.place or place_of(connection.endpoint, connection.client),
        "template": _digest(task.template.source),
        "output": repr(task.output),
        "examples": _digest(json.dumps([[dict(e.inputs), task.output.render(e.output)] for e in task.examples])),
        "parameters": json.dumps(dict(task.parameters), ensure_ascii=True, default=str),
        "calibration": _digest(repr(fits)) if (fits := _fits(task, connection)) else "none",
        **task.settings.deciding_the_answer,
    }
    if task.fallback is not None and connection.further is not None:
        parts["then"] = json.dumps(facts_of(task.fallback.task, connection.further))
    return {
        name: fact if len(fact) <= _SHOWN else f"{fact[:_SHOWN]}… ({_digest(fact)})" for name, fact in parts.items()
    }


def _fields(task: Predictor[Any], about: Mapping[str, Any] | None) -> dict[str, Field] | None:
    """Read what a line tells of a record's fields; a value is found again by its name."""
    if about is None:
        return None
    named = {f.name: {label_of(value): value for value in f.values} for f in task.output.fields}
    return {
        name: Field(
            **{**f, "probabilities": f["probabilities"] and {named[name][v]: p for v, p in f["probabilities"].items()}}
        )
        for name, f in about.items()
    }


def _fits(task: Predictor[Any], connection: Connection) -> list[Any]:
    """Give the fits in force; one that is kept was made on purpose, while first use makes the same again."""
    found = kept(task._calibration_key(connection)) if task.settings.calibrate is not False else None
    ours = [found.calibration] if found is not None and found.about.get("by") == "calibrate" else []
    return sorted(task.calibrations.items()) or ours


def _error(about: Mapping[str, str] | None) -> FewshotError | None:
    return None if about is None else _ERRORS.get(about["type"], FewshotError)(about["message"])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
