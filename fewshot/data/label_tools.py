"""Texts, guesses and labels as Label Studio and Argilla import them; `fewshot.data.formats` reads them back.

The shapes are those of https://labelstud.io/guide/predictions and of Argilla 2's `dataset.records.from_json`. Beside
what the tool shows, each row carries its whole record in its metadata, so that nothing is lost there and back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args
from xml.sax.saxutils import quoteattr

from fewshot.errors import InputError
from fewshot.outputs.kinds import Kind, Output

__all__ = ["Exported", "Tool", "exported", "labelling_config"]

Tool = Literal["label-studio", "argilla"]
_SHAPES: Mapping[Kind, tuple[str, str]] = {
    "labels": ("Choices", "choices"), "label_set": ("Choices", "choices"), "number": ("Number", "number"),
    "text": ("TextArea", "text"),
}  # fmt: skip
"""Label Studio's tag for each kind of output, and the name under which its result holds the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One text to export."""

    id: str
    inputs: Mapping[str, Any]
    guess: Mapping[str, Any] | None = None
    """`value`, `confidence` and `model`."""
    value: Any = None
    """The label; None where there is none."""
    cancelled: bool = False
    """Whether somebody could not tell."""
    annotator: str = ""
    record: Mapping[str, Any] | None = None
    """All that is known of the label, as JSON values."""


def exported(tool: Tool, output: Output[Any], rows: Iterable[Exported]) -> list[dict[str, Any]]:
    """Give the records that a label tool imports.

    Raises:
        InputError: the tool is not known, or has no question for outputs of this kind.
    """
    if tool not in get_args(Tool):
        raise InputError(f"{tool!r} is not a label tool that is exported to: choose {' or '.join(get_args(Tool))}")
    if output.kind not in _SHAPES or (output.kind == "number" and tool == "argilla"):
        raise InputError(f"{tool} has no question for {output.gives_what}: labels and texts are exported")
    return [_label_studio(output.kind, row) if tool == "label-studio" else _argilla(row) for row in rows]


def labelling_config(output: Output[Any], inputs: Iterable[str]) -> str:
    """Write the configuration of a Label Studio project that shows what was exported."""
    tag = _SHAPES[output.kind][0]
    names = list(inputs)
    choices = "".join(f"<Choice value={quoteattr(label)}/>" for label in output.labels or ())
    several = f' choice="{"multiple" if output.several else "single"}"' if choices else ""
    shown = "".join(f'<Text name="{name}" value="${name}"/>' for name in names)
    return f'<View>{shown}<{tag} name="label" toName="{names[0]}"{several}>{choices}</{tag}></View>'


def _label_studio(kind: Kind, row: Exported) -> dict[str, Any]:
    tag, held = _SHAPES[kind]

    def result(value: Any) -> list[dict[str, Any]]:
        value = value if isinstance(value, list) or kind == "number" else [value]
        return [{"from_name": "label", "to_name": next(iter(row.inputs)), "type": tag.lower(), "value": {held: value}}]

    found: dict[str, Any] = {"data": {**row.inputs, "id": row.id}, "predictions": [], "annotations": []}
    if row.guess is not None and row.guess["value"] is not None:
        score = {} if row.guess["confidence"] is None else {"score": row.guess["confidence"]}
        found["predictions"] = [{"model_version": row.guess["model"], **score, "result": result(row.guess["value"])}]
    if row.value is not None or row.cancelled:
        found["annotations"] = [{"was_cancelled": row.cancelled, "result": [] if row.cancelled else result(row.value)}]
    return found | {"meta": _meta(row)}


def _argilla(row: Exported) -> dict[str, Any]:
    found: dict[str, Any] = {"id": row.id, "fields": dict(row.inputs), "suggestions": {}, "responses": {}}
    if row.guess is not None and row.guess["value"] is not None:
        guess = row.guess
        score = None if isinstance(guess["value"], list) else guess["confidence"]  # of a set it wants one for each
        found["suggestions"] = {"label": {"value": guess["value"], "score": score, "agent": guess["model"] or None}}
    if row.value is not None or row.cancelled:
        user = str(uuid.uuid5(uuid.NAMESPACE_DNS, row.annotator or "fewshot"))
        status = "discarded" if row.cancelled else "submitted"
        found["responses"] = {"label": [{"value": row.value, "user_id": user, "status": status}]}
    return found | {"metadata": _meta(row), "vectors": {}}


def _meta(row: Exported) -> dict[str, str]:
    return {} if row.record is None else {"fewshot": json.dumps(row.record, ensure_ascii=False, sort_keys=True)}
