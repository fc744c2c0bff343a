"""JSON schemas as outputs: validated by `jsonschema` after draft 2020-12, exactly, with the formats checked.

A keyword is in force or refused by name when the schema is made; only annotations (`title`, `description`, `default`,
`examples` …) are without effect. OpenAPI's `nullable` and `discriminator`, and the wrapper `{"name", "schema",
"strict"}` of OpenAI's `response_format`, are understood.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from typing import Any

from fewshot.errors import InputError, OutputError

__all__ = ["ANNOTATIONS", "Validator", "json_schema"]

Json = Any
ANNOTATIONS = frozenset(
    "title description default examples deprecated readOnly writeOnly $schema $id $comment $defs definitions".split()  # noqa: SIM905
)
_CONTAINED = frozenset({"then", "else", "minContains", "maxContains", "$anchor", "$dynamicAnchor", "discriminator"})
_NEEDS: dict[str, tuple[str, ...]] = {
    "then": ("if",),
    "else": ("if",),
    "minContains": ("contains",),
    "maxContains": ("contains",),
}
_NEEDS["discriminator"] = ("oneOf", "anyOf")
_ONE = (
    "items additionalProperties not if then else contains propertyNames unevaluatedItems unevaluatedProperties".split()  # noqa: SIM905
)
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_MAX_EXPONENT = 400
_SHOWN = 20


def json_schema(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give a schema as it is enforced: without a wrapper, `nullable` written as a choice.

    Raises:
        InputError: it is not JSON, not a schema, or uses a keyword or a format that cannot be enforced; with its place.
    """
    try:
        schema: Json = json.loads(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the output schema is not JSON: {error}") from error
    schema = schema.get("json_schema", schema) if schema.get("type") == "json_schema" else schema
    if isinstance(schema.get("schema"), dict) and schema.keys() <= {"name", "description", "schema", "strict"}:
        schema = schema["schema"]
    if not schema.keys() - ANNOTATIONS:
        raise InputError("the output schema allows anything; give a `type`, `properties` or `enum`")
    made: dict[str, Any] = _rewritten(schema, "#")
    _check(made)
    return made


class Validator:
    """Checks JSON texts against one schema.

    Arguments:
        schema: as `json_schema` gives it.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = _validator(_exact(json.dumps(schema)))

    def load(self, source: str, *, null_as_absent: bool = False) -> Json:
        """Give the value of a JSON text that fits.

        Arguments:
            null_as_absent: leave out keys that are null and may be left out, which is how strict schemas have them.

        Raises:
            OutputError: it does not fit; one line for each fault.
        """
        try:
            value, exact = json.loads(source), _exact(source)
            faults = self._faults(exact)
            if faults and null_as_absent:
                for fault in faults:
                    _drop_null(exact, fault.absolute_path)
                    _drop_null(value, fault.absolute_path)
                faults = self._faults(exact) and faults
        except RecursionError:
            raise OutputError("the answer is nested too deep", raw=source) from None
        except (ValueError, OverflowError) as error:
            raise OutputError(f"the answer is not valid JSON: {error}", raw=source) from None
        if faults:
            lines = [f"{'.'.join(map(str, fault.absolute_path)) or 'the answer'}: {_said(fault)}" for fault in faults]
            raise OutputError("the answer does not fit the schema:\n" + "\n".join(lines[:_SHOWN]), raw=source)
        return value

    def _faults(self, exact: Json) -> list[Any]:
        from jsonschema.exceptions import best_match

        found = [best_match([fault]) for fault in self._validator.iter_errors(exact)]
        return sorted(found, key=lambda fault: [str(step) for step in fault.absolute_path])


def _said(fault: Any) -> str:
    """Give the message of a fault, cut where it quotes a long value."""
    message = str(fault.message)
    return message if len(message) <= 200 else f"{message[:120]} … {message[-60:]}"


def _drop_null(value: Json, path: Any) -> None:
    *way, last = path or (None,)
    for step in way:
        value = value[step]
    if isinstance(value, dict) and last in value and value[last] is None:
        del value[last]


def _exact(source: str) -> Json:
    """Read JSON with its fractions as they are written, since 1.1 is a multiple of 0.01 only as a decimal."""
    return json.loads(source, parse_float=_decimal)


def _decimal(digits: str) -> Decimal:
    number = Decimal(digits)
    if abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError("a number is out of range")
    return number


def _rewritten(schema: Json, place: str) -> Json:
    """Check the keywords of a schema and all in it, and write `nullable` as a choice."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for keyword in schema:
        where = f"{place}/{keyword}"
        if keyword in _ONE:
            made[keyword] = _rewritten(schema[keyword], where)
        elif keyword in _LISTS and isinstance(schema[keyword], list):
            made[keyword] = [_rewritten(part, f"{where}/{n}") for n, part in enumerate(schema[keyword])]
        elif keyword in _MAPS and isinstance(schema[keyword], dict):
            made[keyword] = {name: _rewritten(part, f"{where}/{name}") for name, part in schema[keyword].items()}
    nullable = made.pop("nullable", False)
    unknown = next((keyword for keyword in made if not _in_force(keyword, made, place)), None)
    if unknown is not None:
        raise InputError(f"the output schema uses `{unknown}` at {place}, which is not supported here; leave it out")
    if isinstance(made.get("format"), str) and made["format"] not in _FORMATS:
        raise InputError(f"the output schema has the format {made['format']!r} at {place}, which cannot be checked")
    if nullable is True:
        kept = {name: made.pop(name) for name in ("$defs", "definitions", "$schema", "$id") if name in made}
        return {"anyOf": [made, {"type": "null"}], **kept}
    return made


def _in_force(keyword: str, schema: Mapping[str, Any], place: str) -> bool:
    if keyword in _NEEDS and not any(other in schema for other in _NEEDS[keyword]):
        return False
    if keyword == "$id":
        return place == "#"
    return keyword in ANNOTATIONS or keyword in _CONTAINED or keyword in _dialect().VALIDATORS


def _check(schema: Mapping[str, Any]) -> None:
    """Refuse what is not a schema, and what points to nothing or round in a circle."""
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        _dialect().check_schema(schema)
        resource = DRAFT202012.create_resource(schema)
        place = resource.id() or ""
        resolver = Registry[Any]().with_resource(place, resource).resolver(place)
        for part in _parts(schema):
            for reference in (part[keyword] for keyword in ("$ref", "$dynamicRef") if keyword in part):
                resolver.lookup(reference)
        _validator(schema).is_valid(None)
    except SchemaError as error:
        place = "/".join(("#", *map(str, error.absolute_path)))
        raise InputError(f"the output schema is not valid at {place}: {_said(error)}") from error
    except Unresolvable as error:
        raise InputError(f"the output schema points to {error.ref!r}, which it does not hold") from error
    except RecursionError as error:
        raise InputError("the output schema points to itself without end") from error


def _parts(schema: Json) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        inner = [schema[name] for name in _ONE if name in schema]
        inner += [part for name in _LISTS for part in schema.get(name, ())]
        inner += [part for name in _MAPS for part in schema.get(name, {}).values()]
        for part in inner:
            yield from _parts(part)


@cache
def _dialect() -> Any:
    """Give the validator of draft 2020-12 with decimals for fractions and patterns in linear time."""
    from jsonschema import Draft202012Validator, validators

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: _is_whole(value))
    return validators.extend(
        Draft202012Validator, {"multipleOf": _multiple_of, "pattern": _pattern}, type_checker=types
    )


@cache
def _formats() -> Any:
    from jsonschema import FormatChecker

    formats = FormatChecker(())
    for name, read in _FORMATS.items():
        formats.checks(name, ValueError)(partial(_reads, read))
    return formats


def _validator(schema: Mapping[str, Any]) -> Any:
    """Make a validator that fetches nothing from the network."""
    from referencing import Registry

    return _dialect()(schema, registry=Registry(), format_checker=_formats())


def _is_whole(value: object) -> bool:
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _multiple_of(_: Any, step: Any, value: Any, __: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if number and (Fraction(value) / Fraction(step)).denominator != 1:
        yield ValidationError(f"{value} is not a multiple of {step}")


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(value, str) and not _matcher(pattern)(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


@cache
def _matcher(pattern: str) -> Callable[[str], object]:
    """Search by pydantic's engine, whose time is linear; Python's where a pattern looks ahead."""
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern)).isinstance_python
    except SchemaError:
        return re.compile(pattern).search


# Formats --------------------------------------------------------------------------------------------------------------


def _reads(read: Callable[[str], object], value: object) -> bool:
    """Tell whether a text is in a format; any other value is."""
    return not isinstance(value, str) or read(value) is not None


def _like(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.ASCII | re.IGNORECASE).fullmatch


def _after(pattern: str, read: Callable[[str], object]) -> Callable[[str], object]:
    """Make a check of the digits, then of what they say: `2026-02-30` is not a date."""
    return lambda text: read(text.upper()) if re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE) else None


def _uuid(version: int | None) -> Callable[[str], object]:
    shape = _like(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    return lambda text: shape(text) and (version is None or uuid.UUID(text).version == version or None)


_ZONE = r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_TIME = r"\d\d:\d\d:\d\d(?:\.\d{1,6}\d*)?"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


def _in_micros(text: str) -> str:
    return re.sub(r"(\.\d{6})\d+", r"\1", text)


_FORMATS: dict[str, Callable[[str], object]] = {
    "date": _after(r"\d{4}-\d\d-\d\d", date.fromisoformat),
    "date-time": _after(rf"\d{{4}}-\d\d-\d\d[T ]{_TIME}{_ZONE}", lambda text: datetime.fromisoformat(_in_micros(text))),
    "time": _after(rf"{_TIME}{_ZONE}?", lambda text: time.fromisoformat(_in_micros(text))),
    "duration": _like(r"P(?=.)(?:\d+W|(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?)"),
    # As HTML has it: https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address
    "email": _like(rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*"),
    "hostname": _like(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*"),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": lambda text: ipaddress.IPv6Address(text) if "%" not in text else None,
    "ipv4network": ipaddress.IPv4Network,
    "ipv6network": ipaddress.IPv6Network,
    "ipv4interface": ipaddress.IPv4Interface,
    "ipv6interface": ipaddress.IPv6Interface,
    "ipvanyaddress": ipaddress.ip_address,
    "ipvanynetwork": ipaddress.ip_network,
    "ipvanyinterface": ipaddress.ip_interface,
    "uuid": _uuid(None),
    **{f"uuid{version}": _uuid(version) for version in (1, 3, 4, 5, 6, 7, 8)},
    "uri": _like(r"[a-z][a-z0-9+.-]*:(?:[a-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9a-f]{2})+"),
    "regex": lambda text: re.compile(text) if _compiles(text) else None,
    "json-pointer": _like(r"(?:/(?:[^~/]|~[01])*)*"),
    "json-string": lambda text: (json.loads(text),),
    "base64url": lambda text: base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)),
}


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
