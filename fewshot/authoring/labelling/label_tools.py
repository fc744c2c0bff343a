"""Texts, guesses and labels as Label Studio and Argilla import them; `fewshot.data.formats` reads them back.

The shapes are those of https://labelstud.io/guide/predictions and of Argilla 2's `dataset.records.from_json`. Beside
what the tool shows, each row carries its whole record in its metadata, so that nothing is lost there and back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Literal, get_args

from fewshot.authoring.labelling.records import Label, Text
from fewshot.errors import InputError
from fewshot.outputs.kinds import Kind, Output

__all__ = ["Tool", "exported"]

Tool = Literal["label-studio", "argilla"]
Guess = Mapping[str, Any] | None
_SHAPES: Mapping[Kind, tuple[str, str]] = {
    "labels": ("choices", "choices"), "label_set": ("choices", "choices"), "number": ("number", "number"),
    "text": ("textarea", "text"),
}  # fmt: skip
"""Label Studio's type for each kind of output, and the name under which its result holds the value."""


def exported(tool: Tool, output: Output[Any], rows: Iterable[tuple[Text, Guess]]) -> list[dict[str, Any]]:
    """Give the records that a label tool imports.

    Arguments:
        rows: texts and labels, each with the model's answer (`value`, `confidence`, `model`) where there is one.

    Raises:
        InputError: the tool is not known, or has no question for outputs of this kind.
    """
    if tool not in get_args(Tool):
        raise InputError(f"{tool!r} is not a label tool that is exported to: choose {' or '.join(get_args(Tool))}")
    if output.kind not in _SHAPES or (output.kind == "number" and tool == "argilla"):
        raise InputError(f"{tool} has no question for {output.gives_what}: labels and texts are exported")
    found = []
    for text, guess in rows:
        said = None if guess is None or guess["value"] is None else guess
        label = text if isinstance(text, Label) and text.status != "skip" else None
        if label is not None and label.value is None and label.status == "label":
            label = None  # that no answer is right stands in the record alone
        meta = {"fewshot": json.dumps(asdict(text), ensure_ascii=False)} if isinstance(text, Label) else {}
        if tool == "label-studio":
            found.append(_label_studio(*_SHAPES[output.kind], text, said, label) | {"meta": meta})
        else:
            found.append(_argilla(text, said, label) | {"metadata": meta, "vectors": {}})
    return found


def _label_studio(kind: str, held: str, text: Text, guess: Guess, label: Label | None) -> dict[str, Any]:
    def result(value: Any) -> list[dict[str, Any]]:
        value = value if isinstance(value, list) or kind == "number" else [value]
        return [{"from_name": "label", "to_name": next(iter(text.inputs)), "type": kind, "value": {held: value}}]

    predictions, annotations = [], []
    if guess is not None:
        score = {} if guess["confidence"] is None else {"score": guess["confidence"]}
        predictions = [{"model_version": guess["model"], **score, "result": result(guess["value"])}]
    if label is not None:
        cancelled = label.status == "cannot_tell"
        annotations = [{"was_cancelled": cancelled, "result": [] if cancelled else result(label.value)}]
    return {"data": {**text.inputs, "id": text.id}, "predictions": predictions, "annotations": annotations}


def _argilla(text: Text, guess: Guess, label: Label | None) -> dict[str, Any]:
    suggestions, responses = {}, {}
    if guess is not None:
        score = None if isinstance(guess["value"], list) else guess["confidence"]  # of a set it wants one for each
        suggestions = {"label": {"value": guess["value"], "score": score, "agent": guess["model"] or None}}
    if label is not None:
        user = str(uuid.uuid5(uuid.NAMESPACE_DNS, label.annotator or "fewshot"))
        status = "discarded" if label.status == "cannot_tell" else "submitted"
        responses = {"label": [{"value": label.value, "user_id": user, "status": status}]}
    return {"id": text.id, "fields": dict(text.inputs), "suggestions": suggestions, "responses": responses}
