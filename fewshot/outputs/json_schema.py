"""Make a pydantic model of a JSON schema, so that a task folder can describe its output without any code.

The part of JSON Schema that describes records is understood: types, properties, arrays, enums, unions, bounds and
references, recursive ones too. Anything else is refused by name, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ForwardRef, Literal, Union

from fewshot.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["model_of"]

_TYPES: dict[str, Any] = {"string": str, "integer": int, "boolean": bool, "null": None}
_RANGE = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_BOUNDS: dict[str, dict[str, str]] = {
    "string": {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"},
    "integer": _RANGE,
    "number": _RANGE,
    "array": {"minItems": "min_length", "maxItems": "max_length"},
}
_SHAPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "properties": (Mapping, "an object"),
    "required": ((list, tuple), "a list of keys"),
    "enum": (list, "a list of values"),
    "anyOf": (list, "a list of schemas"),
    "oneOf": (list, "a list of schemas"),
    "$ref": (str, "a text"),
    "pattern": (str, "a text"),
}
_UNDERSTOOD = frozenset(
    "type properties required additionalProperties items enum const anyOf oneOf $ref "  # noqa: SIM905
    "title description default examples deprecated readOnly writeOnly format "  # said, and without effect
    "$schema $id $comment $defs definitions".split()
).union(*_BOUNDS.values())


def model_of(schema: Mapping[str, Any]) -> type[BaseModel]:
    """Make the model of a JSON schema whose root is an object; raises InputError with the place of what it lacks."""
    return _Maker(schema).make()


class _Maker:
    """Makes the models of one schema; references are linked when all are made."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._definitions: dict[str, Any] = {}
        self._made: list[type[BaseModel]] = []

    def make(self) -> type[BaseModel]:
        from pydantic import PydanticUserError
        from pydantic_core import SchemaError

        root = self._target(self._root["$ref"], "#") if "$ref" in self._root else self._root
        if root.get("type") != "object" or not root.get("properties"):
            raise InputError('an output schema needs `"type": "object"` and `properties` at its root')
        _check_shape(root, "#")
        try:
            model: type[BaseModel] = self._object(root, "#")
            for made in self._made:
                made.model_rebuild(_types_namespace=self._definitions)
        except (PydanticUserError, SchemaError, TypeError) as error:
            raise InputError(f"the output schema cannot be used: {str(error).strip().splitlines()[-1]}") from error
        return model

    def _object(self, schema: Mapping[str, Any], place: str) -> Any:
        """Make the model of an object with properties, or a plain mapping for one with free keys."""
        from pydantic import ConfigDict, Field, create_model

        properties, free = schema.get("properties"), schema.get("additionalProperties", True)
        if not properties:
            return dict[str, self._type(free, f"{place}/additionalProperties")]  # type: ignore[misc]
        fields: dict[str, Any] = {}
        for number, (name, value) in enumerate(properties.items()):
            kind = self._type(value, f"{place}/properties/{name}")
            # Fields are numbered, since a key may be no Python name, or one that pydantic keeps for itself.
            if name in schema.get("required", ()):
                fields[f"field_{number}"] = (kind, Field(alias=name))
            else:
                fields[f"field_{number}"] = (_union([kind, None]), Field(alias=name, default=None))
        made: type[BaseModel] = create_model(
            "Output", __config__=ConfigDict(extra="forbid", defer_build=True), __module__=__name__, **fields
        )
        self._made.append(made)
        return made

    def _type(self, schema: Any, place: str) -> Any:
        """Give the Python type of a schema."""
        if schema is True or schema == {}:
            return Any
        if not isinstance(schema, Mapping):
            raise InputError(f"{place} of the output schema must be an object")
        unknown = next((keyword for keyword in schema if keyword not in _UNDERSTOOD), None)
        if unknown is not None:
            raise InputError(f"the output schema uses `{unknown}` at {place}, which is not supported; leave it out")
        _check_shape(schema, place)
        if "$ref" in schema:
            return self._reference(schema["$ref"], place)
        if "const" in schema:
            return Literal[schema["const"]]
        if "enum" in schema:
            return Literal[tuple(schema["enum"])]
        variants = schema.get("anyOf", schema.get("oneOf"))
        if variants:
            return _union([self._type(variant, f"{place}/anyOf/{i}") for i, variant in enumerate(variants)])
        types = schema.get("type", "object" if "properties" in schema else None)
        kinds = types if isinstance(types, list) else [types]
        return _union([self._of_type(kind, schema, place) for kind in kinds])

    def _of_type(self, kind: Any, schema: Mapping[str, Any], place: str) -> Any:
        """Give the Python type for one JSON type, with the bounds that the schema sets for it."""
        from pydantic import Field

        bounds: Any = {name: schema[key] for key, name in _BOUNDS.get(str(kind), {}).items() if key in schema}
        limits = Field(**bounds)
        if kind == "object":
            return self._object(schema, place)
        if kind == "number":
            return _union([Annotated[int, limits], Annotated[float, limits]])
        if kind == "array":
            items = self._type(schema.get("items", {}), f"{place}/items")
            return Annotated[list[items], limits]  # type: ignore[valid-type]
        if kind not in _TYPES:
            known = ", ".join((*_TYPES, "number", "array", "object"))
            raise InputError(f"{place} of the output schema has the unknown type {kind!r}; use one of: {known}")
        return Annotated[_TYPES[kind], limits] if bounds else _TYPES[kind]

    def _reference(self, reference: str, place: str) -> Any:
        name = re.sub(r"\W", "_", reference)
        if name not in self._definitions:
            target = self._target(reference, place)
            self._definitions[name] = ForwardRef(name)  # stands in for itself while it is being made
            self._definitions[name] = self._type(target, reference)
        return self._definitions[name]

    def _target(self, reference: str, place: str) -> Mapping[str, Any]:
        target: Any = self._root if reference.startswith("#") else None
        for step in reference.strip("#/").split("/") if reference != "#" else ():
            target = target.get(step) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            raise InputError(f"the output schema points to {reference!r} at {place}, which it does not hold")
        return target


def _check_shape(schema: Mapping[str, Any], place: str) -> None:
    """Refuse a keyword whose value is not of its kind, or a choice among nothing."""
    for keyword, (kind, what) in _SHAPES.items():
        if keyword in schema and (not isinstance(schema[keyword], kind) or (kind is list and not schema[keyword])):
            raise InputError(f"`{keyword}` at {place} of the output schema must be {what}")
    choices = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
    if any(isinstance(choice, list | dict) for choice in choices):
        raise InputError(f"the output schema cannot be used: a choice at {place} is a list or an object")


def _union(kinds: list[Any]) -> Any:
    return Union[tuple(kinds)]  # noqa: UP007 - a union of as many as there are
