"""Write a JSON schema in the strict subset that services enforce while they generate.

The rules are OpenAI's (https://platform.openai.com/docs/guides/structured-outputs): a root object, every key required,
no further keys, no defaults, few keywords. What the subset cannot say, such as a length, is dropped here and checked
when the answer is parsed. What cannot be narrowed to it, such as free keys, has no strict schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["answer_schema", "model_schema", "outline", "root_type", "strict_schema"]

Json = dict[str, Any]

_KEPT = frozenset(
    "type enum const description minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minItems maxItems".split()  # noqa: SIM905
)
_DROPPED = frozenset(
    "title default examples deprecated readOnly writeOnly discriminator minLength maxLength uniqueItems $schema $id "  # noqa: SIM905
    "$comment $defs definitions required additionalProperties contentEncoding contentMediaType".split()
)
_READ = frozenset({"properties", "items", "prefixItems", "anyOf", "oneOf", "allOf", "$ref", "pattern", "format"})
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_LOOKAROUND = re.compile(r"\(\?(?:[=!]|<[=!])")

_MAX_PROPERTIES = 5000
_MAX_DEPTH = 10
_MAX_ENUM = 1000
_MAX_CHARACTERS = 120_000
_MAX_LONG_ENUM = 15_000
"""Characters in all values of an enum of more than 250."""


class _NotStrictError(Exception):
    """The schema needs something that the strict subset does not have."""


def answer_schema(name: str, value: Json) -> Json | None:
    """Make the strict schema of an object with one key; None when the value goes beyond the limits."""
    schema = _object_of(name, value)
    return schema if _within_limits(schema) else None


def _object_of(name: str, value: Json) -> Json:
    return {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}


def root_type(schema: Mapping[str, Any]) -> str:
    """Give the type at the root of a JSON schema, past a reference; empty where there are several or none."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    root = schema.get("$defs", schema.get("definitions", {})).get(name, schema)
    kind = root.get("type", "object" if "properties" in root else "")
    return kind if isinstance(kind, str) else ""


def strict_schema(schema: Mapping[str, Any], *, absent_as_null: bool = False) -> Json | None:
    """Give the strict form of a JSON schema; None when the strict subset cannot express it.

    Every key is required there. With `absent_as_null` the keys that may be left out may be null instead.
    """
    try:
        strict = _Builder(schema, absent_as_null).build()
    except _NotStrictError:
        return None
    return strict if _within_limits(strict) else None


def outline(schema: Mapping[str, Any]) -> str:
    """Write the shape of a record in one line, for a prompt: `{"name": string, "tags": [string]}`."""
    definitions = schema.get("$defs", {})

    def shape(part: Mapping[str, Any], depth: int) -> str:
        name = str(part.get("$ref", "")).rpartition("/")[2]
        if name in definitions and depth < _MAX_DEPTH:
            return shape(definitions[name], depth + 1)
        if "properties" in part and depth < _MAX_DEPTH:
            inner = (f'"{key}": {shape(value, depth + 1)}' for key, value in part["properties"].items())
            return "{" + ", ".join(inner) + "}"
        if part.get("type") == "array":
            return f"[{shape(part.get('items') or {}, depth + 1)}]"
        choices = part.get("anyOf") or part.get("oneOf")
        if choices:
            return " or ".join(dict.fromkeys(shape(choice, depth + 1) for choice in choices))
        if "enum" in part:
            return " or ".join(f'"{value}"' for value in part["enum"])
        return str(part.get("format") or part.get("type") or "anything")

    return shape(schema, 0)


def model_schema(adapter: TypeAdapter[Any]) -> Json | None:
    """Give the JSON schema of what pydantic reads; None when one of its types has none."""
    from pydantic.errors import PydanticInvalidForJsonSchema
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as pydantic types it

    try:
        return adapter.json_schema(schema_generator=Quiet)
    except PydanticInvalidForJsonSchema:
        return None


class _Builder:
    """Rewrites one schema; definitions are rewritten once, when something points to them."""

    def __init__(self, root: Mapping[str, Any], absent_as_null: bool) -> None:
        self._root = root
        self._absent_as_null = absent_as_null
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Json] = {}
        self._inlined: list[str] = []

    def build(self) -> Json:
        strict = self._strict(self._inline(self._root))
        if strict.get("type") != "object":  # a list, say, stands in one key
            strict = _object_of("answer", strict)
        elif "properties" not in strict:
            raise _NotStrictError
        return {**strict, "$defs": self._definitions} if self._definitions else strict

    def _strict(self, schema: Any) -> Json:
        if not isinstance(schema, Mapping) or schema.keys() - _KEPT - _DROPPED - _READ:
            raise _NotStrictError
        if "allOf" in schema:
            return self._strict(self._merged(schema))
        if "$ref" in schema:
            return self._reference(schema)
        strict = {key: value for key, value in schema.items() if key in _KEPT}
        if not _LOOKAROUND.search(schema.get("pattern", "(?=")):
            strict["pattern"] = schema["pattern"]
        if schema.get("format") in _FORMATS:
            strict["format"] = schema["format"]
        variants = schema.get("anyOf", schema.get("oneOf"))
        if variants is not None:
            strict["anyOf"] = [self._strict(variant) for variant in variants]
        types = schema.get("type", "")
        if "array" in types:
            strict |= self._items(schema)
        if "object" in types or "properties" in schema:
            strict |= self._properties(schema)
        if not strict.keys() & {"type", "anyOf", "enum", "const"}:
            raise _NotStrictError  # anything at all is allowed here
        return strict

    def _properties(self, schema: Mapping[str, Any]) -> Json:
        properties = schema.get("properties", {})
        extra = schema.get("additionalProperties", False)
        if extra is not False and not properties:
            raise _NotStrictError  # free keys
        required = schema.get("required", ())
        return {
            "type": schema.get("type", "object"),
            "properties": {key: self._property(value, key in required) for key, value in properties.items()},
            "required": list(properties),
            "additionalProperties": False,
        }

    def _property(self, schema: Any, required: bool) -> Json:
        strict = self._strict(schema)
        if required or not self._absent_as_null or _nullable(strict):
            return strict
        return {"anyOf": [strict, {"type": "null"}]}

    def _items(self, schema: Mapping[str, Any]) -> Json:
        """Rewrite the items of an array; a tuple becomes an array of its length with any of its types."""
        fixed = schema.get("prefixItems")
        if not fixed:
            return {"items": self._strict(schema.get("items"))}
        kinds: list[Json] = []
        for kind in map(self._strict, fixed):
            if kind not in kinds:
                kinds.append(kind)
        return {
            "items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds},
            "minItems": len(fixed),
            "maxItems": len(fixed),
        }

    def _reference(self, schema: Mapping[str, Any]) -> Json:
        """Point to a definition, or put it in place where the reference says more than where it points."""
        reference = schema["$ref"]
        if schema.keys() & (_KEPT - {"type"}) and reference not in self._inlined:
            self._inlined.append(reference)
            try:
                return self._strict(self._inline(schema))
            finally:
                self._inlined.pop()
        if reference not in self._names:
            name = re.sub(r"[^a-zA-Z0-9_-]", "_", reference.rpartition("/")[2])[:50] or "root"
            name = name if name not in self._names.values() else f"{name}_{len(self._names)}"
            self._names[reference] = name
            self._definitions[name] = {}
            self._definitions[name].update(self._strict(self._inline({"$ref": reference})))
        return {"$ref": f"#/$defs/{self._names[reference]}"}

    def _inline(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace a reference by what it points to; what stands beside the reference wins."""
        seen: list[str] = []
        while "$ref" in schema:
            reference = schema["$ref"]
            if reference in seen:
                raise _NotStrictError
            seen.append(reference)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**self._target(reference), **beside}
        return schema

    def _merged(self, schema: Mapping[str, Any]) -> Json:
        if len(schema["allOf"]) != 1:
            raise _NotStrictError
        return {**schema["allOf"][0], **{key: value for key, value in schema.items() if key != "allOf"}}

    def _target(self, reference: str) -> Mapping[str, Any]:
        target: Any = self._root
        if not reference.startswith("#"):
            raise _NotStrictError
        for step in reference.lstrip("#/").split("/") if reference != "#" else ():
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            raise _NotStrictError
        return target


def _nullable(schema: Json) -> bool:
    return (
        "null" in schema.get("type", "")
        or None in schema.get("enum", ())
        or any(_nullable(variant) for variant in schema.get("anyOf", ()))
    )


def _within_limits(schema: Json) -> bool:
    parts = list(_parts(schema, 1))
    enums = [[str(value) for value in part["enum"]] for part, _ in parts if "enum" in part]
    names = [name for part, _ in parts for name in part.get("properties", ())]
    characters = sum(map(len, names)) + sum(len(value) for values in enums for value in values)
    return (
        max(depth for _, depth in parts) <= _MAX_DEPTH
        and len(names) <= _MAX_PROPERTIES
        and sum(map(len, enums)) <= _MAX_ENUM
        and characters <= _MAX_CHARACTERS
        and all(len(values) <= 250 or sum(map(len, values)) <= _MAX_LONG_ENUM for values in enums)
    )


def _parts(schema: Json, depth: int) -> Iterable[tuple[Json, int]]:
    """Give every schema in a schema, with its depth."""
    yield schema, depth
    for value in schema.get("properties", {}).values():
        yield from _parts(value, depth + 1)
    if "items" in schema:
        yield from _parts(schema["items"], depth + 1)
    for value in schema.get("anyOf", ()):
        yield from _parts(value, depth)
    for value in schema.get("$defs", {}).values():
        yield from _parts(value, 1)
