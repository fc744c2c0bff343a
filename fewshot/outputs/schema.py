"""Records and other typed values, read by pydantic or, where a JSON schema describes them, by `jsonschema`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from fewshot._wording import enclosed, excerpt, fold, json_in, json_objects, tidy
from fewshot.errors import InputError, OutputError, TaskError
from fewshot.outputs.fields import RecordField, fields_of
from fewshot.outputs.json_schema import Validator, json_schema
from fewshot.outputs.numbers import literal_number, read_number
from fewshot.outputs.output import Kind, Output, json_text
from fewshot.outputs.spans import Finder, Span, source_text, span_labels, with_texts
from fewshot.outputs.strict_schema import model_schema, root_type, strict_schema
from fewshot.outputs.text import no_answer, quoted, read_text
from fewshot.result import plain

__all__ = ["OrNone", "Schema", "spans_of"]

M = TypeVar("M")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")
_INSTEAD = re.compile(
    r"\b(?:not|cannot|wrong|incorrect|an? example|for example|format (?:is|would)|template)\b|n't\b|\be\.g\.",
    re.IGNORECASE,
)
"""What says before some JSON that it is not the answer."""
_SPAN = {"label", "text", "start", "end"}


class _Reader(Protocol):
    def load(self, source: str, *, null_as_absent: bool = False) -> Any: ...


@dataclass(frozen=True)
class Schema(Output[M]):
    """A record, a list or another typed value, written as JSON.

    Attributes:
        model: what the values are: a pydantic model, a dataclass, a TypedDict, or any type that pydantic can validate
            (`list[Item]`, `Item | None`, `date`); or a JSON schema, and then the values are those of JSON.

    Raises:
        TaskError: the type hides or drops values when it is written, so that no record would be read back.
        InputError: the JSON schema is not valid, or says what cannot be enforced.
    """

    model: type[M] | Mapping[str, Any]
    kind: ClassVar[Kind] = "schema"

    def __post_init__(self) -> None:
        if isinstance(self.model, Mapping):
            object.__setattr__(self, "model", json_schema(self.model))
        else:
            _check_written(self._adapter, self.described)

    def __hash__(self) -> int:
        return hash(json.dumps(self.model, sort_keys=True) if isinstance(self.model, dict) else self.model)

    @cached_property
    def _adapter(self) -> Any:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            model: Any = self.model
            adapter: Any = TypeAdapter(model)
            adapter.rebuild(raise_errors=True)
        except (PydanticUserError, NameError, TypeError) as error:
            raise InputError(f"pydantic cannot read {self.model!r}: {str(error).splitlines()[0]}") from error
        return adapter

    @cached_property
    def _reader(self) -> _Reader:
        return Validator(self.model) if isinstance(self.model, Mapping) else _Typed(self._adapter)

    @cached_property
    def described(self) -> Mapping[str, Any]:
        """The JSON schema; empty where a type has none."""
        return self.model if isinstance(self.model, Mapping) else model_schema(self._adapter) or {}

    @cached_property
    def fields(self) -> tuple[RecordField, ...]:
        """The fields at the top of a record."""
        return fields_of(self.described)

    @cached_property
    def root(self) -> str:
        """The JSON type of a value; empty where there are several."""
        return root_type(self.described)

    def parse(self, text: str, *, cue: str = "") -> M:
        """Read the one JSON value of the answer, or the bare text or number, and validate it strictly."""
        source = self._source(text, cue)
        try:
            return self._loaded(source, text)
        except OutputError:
            inner = self._in_one_key(source)
            if inner is None:
                raise
            return self._loaded(inner, text)

    def parse_json(self, text: str) -> M:
        """Read the answer to a request with the strict schema, where any value but an object stands in one key."""
        inner = self._in_one_key(text)
        return self.parse(text) if inner is None else self._loaded(inner, text)

    def _in_one_key(self, source: str) -> str | None:
        """Give the JSON under the one key `answer`, where the strict schema has that; None for anything else."""
        held = None if self.root == "object" else json_in(source)
        if not isinstance(held, dict) or held.keys() != {"answer"}:
            return None
        return source.partition(":")[2].rstrip()[:-1].strip()

    def _source(self, text: str, cue: str) -> str:
        if self.root == "string":
            return json.dumps(read_text(text, cue))
        if self.root in ("integer", "number"):
            return _digits(read_number(text, cue))
        return _one_json(text, ("[",) if self.root == "array" else ("{",) if self.root == "object" else ("{", "["))

    def _loaded(self, source: str, raw: str) -> M:
        try:
            value: M = self._reader.load(source, null_as_absent=True)
        except OutputError as error:
            raise OutputError(str(error), raw=raw) from None
        if not isinstance(self.model, Mapping) and not _as_meant(json.loads(source, parse_float=Decimal), plain(value)):
            why = "a date or time is written as a bare number, or a number has more digits than can be kept"
            raise OutputError(f"the answer does not fit the schema: {why}", raw=raw)
        if not self._is_read_back(value):
            message = f"the output {self.model!r:.80} writes {value!r:.80} in a way that is read back as something else"
            raise TaskError(f"{message}; leave its serializers out, or change them")
        return value

    def _is_read_back(self, value: object) -> bool:
        """Tell whether what is written of a value, here and in every file, is read as the same value."""
        if isinstance(self.model, Mapping):
            return True
        try:
            return bool(self._reader.load(json_text(plain(value))) == value)
        except (OutputError, ValueError):
            return False

    def render(self, value: object) -> str:
        """Write the value as one line of JSON; a text that is not a record stands without its quotes."""
        written = plain(self.check(value))
        written = _without_places(written) if self.has_spans else written
        return quoted(written) if self.root == "string" else json_text(written)

    def check(self, value: object) -> M:
        """Take an instance, what JSON has for it, or JSON text, and see that it is read back as it is."""
        try:
            found = self._found(value)
        except OutputError as error:
            raise InputError(str(error)) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"the output cannot be written as JSON: {error}") from error
        same = found == value or type(found) is not type(value) or isinstance(value, str | dict | list)
        if not (same and self._is_read_back(found)):
            raise InputError(f"{value!r:.80} would be read back as something else from how it is written")
        return found

    @cached_property
    def has_spans(self) -> bool:
        """Whether a value may hold a `Span`."""
        return not isinstance(self.model, Mapping) and any(
            part.get("cls") is Span for part in _dicts(self._adapter.core_schema)
        )

    @property
    def span_labels(self) -> tuple[str, ...]:
        """The labels that spans can have, where the output is a list of spans."""
        return span_labels(self.model)

    def check_for(self, value: object, inputs: Mapping[str, Any]) -> M:
        """Take what `check` takes; spans must stand in the text, and where they say."""
        found: M = self.check(with_texts(value, source_text(inputs)) if self.span_labels else value)
        return Finder(source_text(inputs), exact=True).placed(found) if self.has_spans else found

    def placed(self, value: M, inputs: Mapping[str, Any]) -> tuple[M, tuple[str, ...]]:
        """Find where in the text the spans of an answer stand."""
        if not self.has_spans:
            return value, ()
        finder = Finder(source_text(inputs))
        found = finder.placed(value)
        if finder.left_out:  # a list may be too short without them
            found = self._loaded(json_text(plain(found)), "")
        return found, tuple(span.text for span in finder.left_out)

    def _found(self, value: object) -> M:
        """Read a value that is given in code or stands in a file, where a text may be the value or its JSON."""
        found: M
        if isinstance(value, str):
            with contextlib.suppress(OutputError):
                found = self._reader.load(json_text(value))
                return found
        found = self._reader.load(self._source_of(value))
        return found

    def _source_of(self, value: object) -> str:
        """Write as JSON what stands for a value."""
        if not isinstance(value, str) or self.root == "string":
            return json_text(plain(value))
        number = literal_number(value) if self.root in ("integer", "number") else None
        return _one_json(value, ("{", "[")) if number is None else _digits(number)

    def schema(self) -> str | None:
        """Give the strict schema; None where it needs what strict schemas lack, such as free keys."""
        return self._strict

    @cached_property
    def _strict(self) -> str | None:
        strict = strict_schema(self.described, absent_as_null=isinstance(self.model, Mapping))
        return None if strict is None else json_text(strict)


@dataclass(frozen=True)
class OrNone(Output[Any]):
    """What a part of a longer text says of an output: its value or None, or of a record, as JSON, what is there."""

    of: Output[Any]

    @property
    def kind(self) -> Kind:  # type: ignore[override]  # that of another output
        """The kind of the output that this is a part of."""
        return self.of.kind

    @property
    def fields(self) -> tuple[RecordField, ...]:
        """The fields of the record."""
        return self.of.fields

    @property
    def _is_record(self) -> bool:
        return isinstance(self.of, Schema) and self.of.root == "object"

    def parse(self, text: str, *, cue: str = "") -> Any:
        """Read a value, or None where the answer is "none"; of a record what is there, whatever lacks."""
        if no_answer(read_text(text, cue), "none") or text.strip() == "null":
            return None
        return json.loads(_one_json(text, ("{",))) if self._is_record else self.of.parse(text, cue=cue)

    def parse_json(self, text: str) -> Any:
        """Read the answer to a request that had the schema."""
        if self._is_record or json_in(text) == {"answer": None}:
            return self.parse(text) if self._is_record else None
        return self.of.parse_json(text)

    def render(self, value: object) -> str:
        """Write a whole value, as in a shot."""
        return self.of.render(value)

    def check(self, value: object) -> Any:
        """Take a whole value."""
        return self.of.check(value)

    def schema(self) -> str | None:
        """Give the strict schema with null beside what each field may be."""
        whole = json.loads(self.of.schema() or "null")
        if not whole or "properties" not in whole:
            return None
        may_lack = {name: {"anyOf": [about, {"type": "null"}]} for name, about in whole["properties"].items()}
        return json_text({**whole, "properties": may_lack})


def spans_of(labels: Sequence[str]) -> Schema[list[Span]]:
    """Make an output of the labels that spans can have; raises InputError where there are none, or one stands twice."""
    several = list(labels) if isinstance(labels, list | tuple) else []
    if not several or not all(isinstance(label, str) and label == tidy(label) != "" for label in several):
        raise InputError(f"spans need a list of labels, texts that are not blank, not {labels!r:.80}")
    if len({*map(fold, several)}) < len(several):
        raise InputError(f"two labels of spans cannot be told apart: {', '.join(several):.80}")
    kind: Any = Literal[tuple(several)]
    return Schema(list[Span[kind]])


class _Typed:
    """Reads JSON texts as pydantic validates a type, strictly."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def load(self, source: str, *, null_as_absent: bool = False) -> Any:  # noqa: ARG002 - a model has defaults
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(source, strict=True)
        except ValidationError as error:
            lines = [
                f"{'.'.join(map(str, one['loc'])) or 'the answer'}: {one['msg']}"
                for one in error.errors(include_url=False, include_context=False, include_input=False)[:20]
            ]
            raise OutputError("the answer does not fit the schema:\n" + "\n".join(lines), raw=source) from None


def _as_meant(given: Any, written: Any) -> bool:
    """Tell whether what was read of JSON says the same: pydantic reads "2024" as seconds, and decimals as floats."""
    if isinstance(given, dict) and isinstance(written, dict):
        return all(_as_meant(given[name], written[name]) for name in given.keys() & written.keys())
    if isinstance(given, list) and isinstance(written, list):
        return all(map(_as_meant, given, written))
    if isinstance(given, Decimal):
        return not isinstance(written, str) or (_NUMBER.fullmatch(written) is not None and Decimal(written) == given)
    of_time = isinstance(written, str) and not _NUMBER.fullmatch(written)
    return not (of_time and isinstance(given, str | int) and _NUMBER.fullmatch(str(given)))


def _check_written(adapter: Any, described: Mapping[str, Any]) -> None:
    """Refuse a type whose values are written as less than they are, or are read from where nothing is written."""
    for part in _dicts(adapter.core_schema):
        if part.get("serialization_exclude"):
            raise TaskError("the output has a field with exclude=True, which a record would lose; leave exclude out")
        ways = part.get("validation_alias")
        if isinstance(ways, list) and not any(isinstance(way, list) and len(way) == 1 for way in ways):
            raise TaskError(f"the output has a field read by the path {ways}; give it an alias that is one key")
    if any(part.get("writeOnly") is True and part.get("format") == "password" for part in _dicts(described)):
        raise TaskError("the output has a secret, which is written as asterisks; use str, and redact= for privacy")


def _dicts(value: Any) -> Any:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _dicts(inner)


def _without_places(written: Any) -> Any:
    """Take from JSON the places of spans, which no model can count."""
    if isinstance(written, dict):
        kept = [name for name in written if written.keys() != _SPAN or name not in ("start", "end")]
        return {name: _without_places(written[name]) for name in kept}
    return [_without_places(item) for item in written] if isinstance(written, list) else written


def _digits(number: int | float | Decimal) -> str:
    return f"{number:f}" if isinstance(number, Decimal) else str(number)


def _one_json(raw: str, openings: tuple[str, ...]) -> str:
    """Find the one JSON value of an answer, past fences and prose."""
    answer = tidy(raw)
    if answer == "null" or json_in(raw) is not None:
        return raw
    if not answer:
        raise OutputError("the answer is empty; answer with one JSON object", reason="empty", raw=raw)
    block = enclosed(answer)
    if block and (block[1].strip() == "null" or json_in(block[1]) is not None):
        return block[1]
    what = "list" if openings == ("[",) else "object"
    found = next((found for opening in openings if (found := json_objects(answer, opening))), [])
    if len(found) == 1 and _INSTEAD.search(answer.partition(found[0][0])[0].rpartition("\n\n")[2]):
        raise OutputError("the answer holds JSON and says that it is another; answer with JSON alone", raw=raw)
    if len(found) == 1:
        return found[0][0]
    if found:
        message = f"the answer holds {len(found)} different JSON {what}s; answer with one JSON {what} only"
        raise OutputError(message, reason="ambiguous", raw=raw)
    message = f"the answer is not valid JSON: {excerpt(answer)}; answer with one JSON {what} only"
    raise OutputError(message, raw=raw)
