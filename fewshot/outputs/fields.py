"""The fields of a record: which of them hold one of a few values, and where each stands in the JSON of an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RecordField", "fields_of", "places_in"]

_MOST = 50
"""Values up to which a field is a closed one: of more, a service lists too few at a time."""
_BLANKS = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class RecordField:
    """A field at the top of a record.

    Attributes:
        values: what it can hold, as JSON has it; empty where that is anything.
        about: its description.
    """

    name: str
    values: tuple[Any, ...] = ()
    about: str = ""

    @property
    def ordered(self) -> bool:
        """Whether the values are numbers, so that there is an expected one."""
        return bool(self.values) and all(isinstance(v, int) and not isinstance(v, bool) for v in self.values)


def fields_of(schema: Mapping[str, Any]) -> tuple[RecordField, ...]:
    """Give the fields of the object that a JSON schema describes; none where it describes something else."""
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}

    def found(part: Any) -> Mapping[str, Any]:
        name = str(part.get("$ref", "")).rpartition("/")[2] if isinstance(part, Mapping) else ""
        return definitions.get(name, part) if isinstance(part, Mapping) else {}

    properties = found(schema).get("properties", {})
    return tuple(
        RecordField(name, _values(part, found), str(found(part).get("description", "")))
        for name, part in properties.items()
    )


def _values(part: Any, found: Any) -> tuple[Any, ...]:
    """Give the values that a part of a schema allows, where these are few."""
    part = found(part)
    ways = part.get("anyOf") or part.get("oneOf") or (part.get("allOf") if len(part.get("allOf", ())) == 1 else None)
    if ways:
        several = [_values(way, found) for way in ways]
        return tuple(value for values in several for value in values) if all(several) else ()
    kind = part.get("type")
    if "const" in part:
        values: tuple[Any, ...] = (part["const"],)
    elif "enum" in part:
        values = tuple(part["enum"])
    elif kind == "boolean":
        values = (True, False)
    elif kind == "null":
        values = (None,)
    elif kind == "integer" and isinstance(low := part.get("minimum"), int) and isinstance(part.get("maximum"), int):
        values = tuple(range(low, min(part["maximum"], low + _MOST) + 1))
    else:
        return ()
    plain = all(value is None or isinstance(value, str | int) for value in values)
    return values if plain and len(values) <= _MOST else ()


def places_in(text: str) -> dict[str, tuple[int, int]]:
    """Give for each key of the first JSON object of a text where its value begins and ends, in bytes; none for junk."""
    decoder = json.JSONDecoder()
    places: dict[str, tuple[int, int]] = {}

    def past_blanks(place: int) -> int:
        return _BLANKS.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing, too

    try:
        place = past_blanks(text.index("{") + 1)
        while text[place] == '"':
            key, place = decoder.raw_decode(text, place)
            start = past_blanks(text.index(":", place) + 1)
            _, end = decoder.raw_decode(text, start)
            places[key] = (len(text[:start].encode()), len(text[:end].encode()))
            place = past_blanks(end)
            place = past_blanks(place + 1) if text[place] == "," else place
    except (ValueError, IndexError, RecursionError):
        return {}
    return places
