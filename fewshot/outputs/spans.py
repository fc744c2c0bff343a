"""Spans: what an answer names in a text, with where it stands there.

A model cannot count characters: it writes label and text, and the place is looked up here. What stands nowhere is left
out and counted, so that the text reads at the place of a span as the span says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Generic, cast, get_args, get_origin

from typing_extensions import TypeVar

from fewshot.errors import InputError, OutputError
from fewshot.outputs.mentions import Mentions, Place
from fewshot.outputs.output import json_text
from fewshot.result import plain

__all__ = ["Finder", "Span", "mapped", "moved", "not_there", "source_text", "span_labels", "with_texts"]

L = TypeVar("L", default=str)  # without a bound: pydantic before 2.11 takes one or the other
_NOWHERE: Any = object()


@dataclass(frozen=True, slots=True)
class Span(Generic[L]):
    """A part of a text with its label: `text[start:end]` is the part, counted in characters (code points) from 0.

    `Span[Literal["person", "place"]]` has one of these labels. An example's span may be without its place: it is then
    looked up in the example's text.
    """

    label: L
    text: str
    start: int = -1
    end: int = -1

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        """Describe what a model is asked for, which is not a place."""
        described = handler.resolve_ref_schema(handler(core_schema))
        described["properties"] = {name: described["properties"][name] for name in ("label", "text")}
        described.pop("description", None)  # the docstring, which is for people
        return described


def with_texts(value: Any, text: str) -> Any:
    """Give a person's spans, as label tools write them, as this package does: each with its label, text and place.

    Raises:
        InputError: one has no text of its own, and tools differ in how they count the characters before it.
    """
    if not isinstance(value, list):
        return value
    return [_with_text(one, text) for one in value]


def _with_text(span: Any, text: str) -> Any:
    if isinstance(span, list | tuple) and len(span) == 3:  # doccano, spaCy; Argilla 1 has the label first
        label, start, end = span if isinstance(span[0], str) else (span[2], *span[:2])
    elif isinstance(span, Mapping) and "label" in span and "text" not in span:
        label = span["label"]
        start, end = (span.get(name, span.get(f"{name}_offset")) for name in ("start", "end"))
    else:
        return span
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)):
        raise InputError(f"the span {span!r:.80} is not in its text: give its label, text, start and end")
    if any(sign > "\uffff" for sign in text[:end]):
        what = f"the span {span!r:.80} stands after a character that some tools count as two"
        raise InputError(f"{what}: give it its text, too")
    return {"label": label, "text": text[start:end], "start": start, "end": end}


def span_labels(model: Any) -> tuple[str, ...]:
    """Give the labels of a type that is a list of spans with labels of a closed set; none for any other."""
    of = get_args(model)[0] if get_origin(model) is list else None
    return get_args(get_args(of)[0]) if get_origin(of) is Span else ()


def source_text(inputs: Mapping[str, Any]) -> str:
    """Give the text that spans are looked up in: the input `text`, else the first that is a text."""
    return next((value for value in (inputs.get("text"), *inputs.values()) if isinstance(value, str)), "")


def not_there(texts: Sequence[str]) -> str:
    """Tell a model which spans stand nowhere."""
    listed = ", ".join(dict.fromkeys(f"{text!r:.80}" for text in texts[:10]))
    return f"not in the text: {listed}; copy each text as it stands there, or leave it out"


class Finder:
    """Places the spans of values in one text.

    Attributes:
        exact: spans are a person's: they must stand as they are written, and where they say.
        left_out: the spans that stand nowhere.
    """

    def __init__(self, text: str, *, exact: bool = False) -> None:
        self.exact = exact
        self.left_out: list[Span[Any]] = []
        self._text = text
        self._mentions = Mentions(text)

    def placed(self, value: Any) -> Any:
        """Give a value with all its spans in place, without the list items that a span which stands nowhere is in.

        Raises:
            OutputError: the value cannot do without such a span. InputError: one of a person's is not there.
        """
        (found,) = self._together([value])
        if found is _NOWHERE:
            raise OutputError(not_there([span.text for span in self.left_out]))
        return found

    def _together(self, values: Sequence[Any]) -> list[Any]:
        """Place what is in one list or record.

        Of equal names the first has the first mention, and so on; long ones come first, so that a name that stands also
        within another has a mention of its own, if there is one.
        """
        found = list(values)
        covered, taken = bytearray(len(self._text) if len(values) > 1 else 0), dict[Place, set[str]]()
        spans = [n for n, value in enumerate(values) if isinstance(value, Span)]
        for n in sorted(spans, key=lambda n: (not self._stands(values[n]), -len(values[n].text))):
            span = values[n]
            place = self._place(span, covered, taken)
            if place is None:
                self.left_out.append(span)
                found[n] = _NOWHERE
                continue
            start, end = place
            taken.setdefault(place, set()).add(span.label)
            if covered:
                covered[start:end] = b"\1" * (end - start)
            found[n] = replace(span, text=self._text[start:end], start=start, end=end)
        return [value if n in spans else self._inside(value) for n, value in enumerate(found)]

    def _stands(self, span: Span[Any]) -> bool:
        return 0 <= span.start < span.end and self._text[span.start : span.end] == span.text

    def _place(self, span: Span[Any], covered: bytearray, taken: Mapping[Place, set[str]]) -> Place | None:
        """Choose a mention: one of its own, else one within another, else one that has another label already."""
        if self._stands(span):
            return span.start, span.end
        if self.exact and span.start >= 0:
            there = self._text[span.start : span.end]
            message = f"the text has {there!r:.60} from {span.start} to {span.end}, and not {span.text!r:.60}"
            raise InputError(f"{message}; count characters from 0, or leave start and end out")
        within = shared = last = None
        for place in self._mentions.of(span.text, exact=self.exact):
            if not any(covered[slice(*place)]):
                return place
            within = within or (place if place not in taken else None)
            shared = shared or (place if span.label not in taken.get(place, ()) else None)
            last = place
        if last is None and self.exact:
            raise InputError(f"{span.text!r:.60} does not stand in the text; write it as it stands there")
        return within or shared or last

    def _inside(self, value: Any) -> Any:
        """Place the spans inside a value; one that cannot do without a span that stands nowhere is nowhere itself."""
        before = len(self.left_out)
        if isinstance(value, list | set | frozenset):
            items = [item for item in self._together(list(value)) if item is not _NOWHERE]
            if items and all(isinstance(item, Span) for item in items):
                items = sorted(dict.fromkeys(items), key=lambda span: (span.start, -span.end))
            return type(value)(items)
        if isinstance(value, Mapping | tuple):
            items = self._together(list(value.values()) if isinstance(value, Mapping) else value)
            if len(self.left_out) > before and any(item is _NOWHERE for item in items):
                return _NOWHERE
            if isinstance(value, Mapping):
                return dict(zip(value, items, strict=True))
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        names, kind = _fields(value), cast("Any", type(value))
        if not names:
            return value
        items = self._together([getattr(value, name) for name in names])
        changes = {name: None if item is _NOWHERE else item for name, item in zip(names, items, strict=True)}
        try:
            copied = _with(value, changes)
            if len(self.left_out) > before:  # None, or a shorter list, may be no value there
                _adapter(kind).validate_json(json_text(plain(copied)), strict=True)
        except (ValueError, TypeError):
            return _NOWHERE
        return copied


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Give a value with every text and every span in it changed, in whatever lists, dicts and records they stand."""
    if isinstance(value, str | Span):
        return change(value)
    if isinstance(value, Mapping):
        return {mapped(name, change): mapped(inner, change) for name, inner in value.items()}
    if isinstance(value, list | set | frozenset | tuple):
        items = [mapped(inner, change) for inner in value]
        return cast("Any", type(value))(*items) if hasattr(value, "_fields") else type(value)(items)
    changes = {name: mapped(getattr(value, name), change) for name in _fields(value)}
    return _with(value, changes) if changes else value


def moved(value: Any, by: int) -> Any:
    """Give a value with every span in it further on in the text."""
    return mapped(
        value, lambda one: replace(one, start=one.start + by, end=one.end + by) if isinstance(one, Span) else one
    )


def _with(record: Any, changes: Mapping[str, Any]) -> Any:
    return record.model_copy(update=changes) if hasattr(record, "model_copy") else replace(record, **changes)


def _fields(value: Any) -> list[str]:
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value) if field.init]
    return list(getattr(type(value), "model_fields", ()))


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
