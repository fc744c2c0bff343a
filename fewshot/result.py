"""What a call gives: the value with everything about how it came."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar

from fewshot.errors import FewshotError
from fewshot.types import Completion, Example, Request, Usage

__all__ = ["Result", "label_of", "plain"]

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Generic[T_co]):
    """What came of one call.

    Exactly one of three: a `value`; `abstained` (value None, on purpose); an `error` (value None).
    """

    value: T_co | None = None
    probabilities: Mapping[Any, float] | None = None
    """Calibrated probability of each value that there can be (sums to 1), where the output is a closed set and can be
    scored; for a text that may be missing those of `"answer"` and `"none"`."""
    confidence: float | None = None
    """Probability that `value` is right, from 0 to 1; None when the endpoint offers no ground for one."""
    abstained: bool = False
    error: FewshotError | None = None
    method: str = "answer"
    """How the value was found: `"logprobs"`, `"decisions"`, `"votes"`, `"schema"` or `"answer"`."""
    """Over how many draws of shots the probabilities are averaged."""
    calibration: str = "none"
    """The calibration applied to the probabilities, by name."""
    coverage: float | None = None
    """Probability mass that the labels held before renormalising."""
    warnings: tuple[str, ...] = ()
    raw: str = ""
    """The last answer as the model gave it."""
    thinking: str = ""
    """What the model thought before its last answer; never read for the value."""
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    """US dollars; None when a price is unknown."""
    cached: bool = False
    attempts: int = 0
    dropped: tuple[str, ...] = ()
    request: Request | None = None
    completions: tuple[Completion, ...] = ()
    """All that the model said, oldest first, with the 20 likeliest tokens at each place."""
    examples: tuple[Example, ...] = ()
    """The shots that the prompt held, in their order."""
    task: str = ""
    """`name@version` and content hash of the task, as `sentiment@1#3f2a9c`."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    row: int | None = None
    """Position of the row in a bulk run, counted from 0."""

    def to_dict(self) -> dict[str, Any]:
        """Give the result as plain JSON values: one line of `fewshot run --json`."""
        chances = self.probabilities
        return {
            "value": plain(self.value),
            "probabilities": None if chances is None else {label_of(value): chances[value] for value in chances},
            "confidence": self.confidence,
            "abstained": self.abstained,
            "error": None if self.error is None else {"type": type(self.error).__name__, "message": str(self.error)},
            "method": self.method,
            "calibration": self.calibration,
            "coverage": self.coverage,
            "thinking": self.thinking,
            "warnings": list(self.warnings),
            "model": self.model,
            "k": len(self.examples),
            "temperature": None if self.request is None else self.request.temperature,
            "seed": None if self.request is None else self.request.seed,
            "usage": self.usage.to_dict(),
            "cost": self.cost,
            "cached": self.cached,
            "attempts": self.attempts,
            "dropped": list(self.dropped),
            "task": self.task,
            "examples": [e.id for e in self.examples],
            "row": self.row,
        }


def label_of(value: object) -> str:
    """Name the label that a value stands for: an enum's member by its value, a truth as `true` or `false`."""
    if isinstance(value, enum.Enum):
        return label_of(value.value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def plain(value: object) -> Any:
    """Write a value as JSON has it, the one way for prompts, files and frames: a record under the names it is read by.

    Computed fields are left out, since no record is read with them; enums stand by their value, sets as lists, a
    Decimal as text.
    """
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
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
