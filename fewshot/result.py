"""What a call gives: the value with everything about how it came."""

from __future__ import annotations

import enum
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from typing import Any, Generic, TypeVar

from fewshot.errors import FewshotError
from fewshot.types import Completion, Example, Request, Usage

__all__ = ["Field", "Result", "as_text", "label_of", "plain", "table_html"]

_LONGEST = 200
"""Characters of a value that a line shows."""
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What is known of one field of a record."""

    value: Any
    """As JSON has it."""
    probabilities: Mapping[Any, float] | None = None
    """Of each value that a closed field can hold (labels, booleans, whole numbers in bounds); sums to 1."""
    confidence: float | None = None
    """Probability of the value of a closed field; of an open one the mean probability of its tokens."""
    expected: float | None = None
    """The mean of a closed field whose values are numbers."""
    written: str | None = None
    """The JSON that the model wrote (or decided on), where a fit makes another value likelier, which is given."""

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        chances = self.probabilities
        return {
            "value": self.value,
            "probabilities": None if chances is None else {label_of(value): p for value, p in chances.items()},
            "confidence": self.confidence,
            "expected": self.expected,
            "written": self.written,
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Result(Generic[T_co]):
    """What came of one call.

    Exactly one of three: a `value`; `abstained` (value None, on purpose); an `error` (value None).
    """

    value: T_co | None = None
    probabilities: Mapping[Any, float] | None = None
    """Calibrated probability of each value that there can be (sums to 1), where the output is a closed set and can be
    scored; for a text that may be missing those of `"answer"` and `"none"`. Those of the labels of a set are each
    label's own, and do not sum to 1."""
    confidence: float | None = None
    """Probability that `value` is right, from 0 to 1; None when the endpoint offers no ground for one."""
    fields: Mapping[str, Field] | None = None
    """What is known of each field of a record, where log-probabilities came or a decisions endpoint answered."""
    group: str | None = None
    """Where labels stand in groups the group of the value; where that was held back the likeliest group, if it is as
    probable as `min_confidence` wants."""
    groups: Mapping[str, float] | None = None
    """Probability of each group: those of its labels together."""
    abstained: bool = False
    """Whether None was given on purpose: below `min_confidence`, or too unsure to answer."""
    error: FewshotError | None = None
    """What the service or the model did wrong."""
    method: str = "answer"
    """How the value was found: `"logprobs"`, `"decisions"`, `"votes"`, `"schema"`, `"answer"`, or `"head"` where no
    model was asked."""
    calibration: str = "none"
    """The calibration applied to the probabilities, by name."""
    fit: str = ""
    """On how many rows that was fitted, by what and where it is kept; empty where nothing was."""
    coverage: float | None = None
    """Probability mass that the labels held before renormalising."""
    parts: int = 1
    """How many parts the text was read in: more than one where it is longer than the model holds."""
    warnings: tuple[str, ...] = ()
    """What a reader of the value should know, such as that the labels held little of the probability."""
    raw: str = ""
    """The last answer as the model gave it."""
    thinking: str = ""
    """What the model thought before its last answer; never read for the value."""
    model: str = ""
    """The model that answered, as the service names it."""
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    """US dollars; None when a price is unknown."""
    cached: bool = False
    """Whether every answer came from our own cache, and so cost nothing."""
    attempts: int = 0
    """HTTP requests that it took."""
    dropped: tuple[str, ...] = ()
    """Parameters that the model refused, and that were left out or replaced."""
    request: Request | None = None
    """The question as it was sent first."""
    completions: tuple[Completion, ...] = ()
    """All that the model said, oldest first, with the 20 likeliest tokens at each place."""
    temperature: float | None = None
    seed: int | None = None
    """Those of the question as it was sent first; None where they were left to the service."""
    candidates: tuple[Any, ...] = ()
    """The values that the model was asked about, the likeliest first, where labels are many."""
    examples: tuple[Example, ...] = ()
    """The shots that the prompt held, in their order."""
    task: str = ""
    """`name@version` and content hash of the task, as `sentiment@1#3f2a9c`."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    row: int | None = None
    """Position of the row in a bulk run, counted from 0."""

    def __repr__(self) -> str:
        """Show what came in a line; all that there is to know is in the attributes, and in `to_dict`."""
        shown = {"value": self.value, "error": self.error, "abstained": self.abstained, "confidence": self.confidence}
        known = [
            f"{name}={_brief(what)}" for name, what in shown.items() if what or (name == "value" and what is not None)
        ]
        more = [f"method={self.method!r}"] + [f"warnings={len(self.warnings)}"] * bool(self.warnings)
        return f"Result({', '.join([*known, *more])})"

    def _repr_html_(self) -> str:
        """Show the result as a table in a notebook."""
        about = {name: what for name, what in self.to_dict().items() if what not in (None, [], False)}
        return table_html({"inputs": dict(self.inputs), **about})

    def to_dict(self) -> dict[str, Any]:
        """Give the result as plain JSON values: one line of `fewshot run --json`."""
        chances = self.probabilities
        fields = {} if self.fields is None else {"fields": {n: f.to_dict() for n, f in self.fields.items()}}
        more: dict[str, Any] = {"candidates": [*map(label_of, self.candidates)]} if self.candidates else {}
        more |= {"group": self.group, "groups": dict(self.groups)} if self.groups else {}
        return {
            "value": plain(self.value),
            "probabilities": None if chances is None else {label_of(value): chances[value] for value in chances},
            "confidence": self.confidence,
            **fields,
            **more,
            "abstained": self.abstained,
            "error": None if self.error is None else {"type": type(self.error).__name__, "message": str(self.error)},
            "method": self.method,
            "calibration": self.calibration,
            "fit": self.fit,
            "coverage": self.coverage,
            "parts": self.parts,
            "thinking": self.thinking,
            "warnings": list(self.warnings),
            "model": self.model,
            "k": len(self.examples),
            "temperature": self.temperature,
            "seed": self.seed,
            "usage": self.usage.to_dict(),
            "cost": self.cost,
            "cached": self.cached,
            "attempts": self.attempts,
            "dropped": list(self.dropped),
            "task": self.task,
            "examples": [e.id for e in self.examples],
            "row": self.row,
        }


def _brief(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def table_html(facts: Mapping[str, Any]) -> str:
    """Write facts as a table of two columns, with nothing of them read as HTML."""
    rows = (
        (escape(name), escape(_brief(what) if isinstance(what, float) else str(what))) for name, what in facts.items()
    )
    return f"<table>{''.join(f'<tr><th>{name}</th><td>{what}</td></tr>' for name, what in rows)}</table>"


def as_text(value: Any) -> str:
    """Write a plain value as one text: a text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def label_of(value: object) -> str:
    """Name the label that a value stands for: an enum's member by its value, a boolean as `true` or `false`."""
    if isinstance(value, enum.Enum):
        return label_of(value.value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def said(result: Result[Any]) -> Any:
    """Give the value of a result as JSON has it: of several tasks together the value of each."""
    value: Any = result.value
    several = result.method == "together" and isinstance(value, dict)
    return {name: plain(one.value) for name, one in value.items()} if several else plain(value)


def plain(value: object) -> Any:
    """Write a value as JSON has it, the one way for prompts, files and frames: a record under the names it is read by.

    Computed fields are left out, since no record is read with them; enums stand by their value, sets as lists, a
    Decimal as text.
    """
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, set | frozenset):  # in an order of their own, not in that of a run's hashes
        return sorted(map(plain, value), key=str)
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, dict) and any(isinstance(inner, Result) for inner in value.values()):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, Decimal):
        return str(value)
    from pydantic_core import to_jsonable_python

    return _as_read(value, to_jsonable_python(value, by_alias=False, round_trip=True))


def _as_read(value: Any, written: Any) -> Any:
    """Put fields under their validation names, walking a value and its JSON side by side."""
    fields = getattr(type(value), "__pydantic_fields__", {})
    if fields and getattr(type(value), "__pydantic_root_model__", False):
        return _as_read(value.root, written)
    if isinstance(written, dict):
        if isinstance(value, Mapping):
            pairs = zip(written.items(), value.values(), strict=True)
            return {name: _as_read(inner, part) for (name, part), inner in pairs}
        return {_read_name(fields, name): _as_read(getattr(value, name, None), part) for name, part in written.items()}
    if isinstance(written, list) and isinstance(value, Collection) and len(value) == len(written):
        return [_as_read(inner, part) for inner, part in zip(value, written, strict=True)]
    return written


def _read_name(fields: Mapping[str, Any], name: str) -> str:
    """Give the key from which a field is read: its validation alias, of several the first that is one key."""
    alias = fields[name].validation_alias if name in fields else None
    ways = getattr(alias, "choices", [alias])
    return next((way for way in ways if isinstance(way, str)), name)
