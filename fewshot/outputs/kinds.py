"""The kinds of output that a task can have: labels, one or any of them, a text, a number, or a record with a schema.

Each kind knows how a value stands in a prompt (`render`), how to read it back out of what a model really says
(`parse`), whether an example's output is one (`check`), and the strict JSON schema to ask for (`schema`).
`parse(render(value)) == value` holds for every value that `check` gives back.
"""

from __future__ import annotations

import enum
import inspect
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal, cast, get_args, get_origin

from fewshot._checks import brief
from fewshot._wording import excerpt, tidy
from fewshot.errors import InputError, OutputError
from fewshot.outputs.closed import Labels, LabelSet, groups_of, labels_of
from fewshot.outputs.json_schema import ANNOTATIONS, Validator, json_schema
from fewshot.outputs.numbers import literal_number, read_number
from fewshot.outputs.numerals import MAX_DIGITS, Value
from fewshot.outputs.output import Kind, Output, json_text
from fewshot.outputs.schema import Schema, spans_of
from fewshot.outputs.strict_schema import answer_schema, strict_schema
from fewshot.outputs.text import no_answer, quoted, read_text
from fewshot.result import label_of

__all__ = [
    "Kind",
    "LabelSet",
    "Labels",
    "Number",
    "Output",
    "Schema",
    "Text",
    "is_tree",
    "labels_of",
    "output_of",
    "output_of_labels",
]


@dataclass(frozen=True)
class Text(Output[str | None]):
    """Any text.

    Attributes:
        optional: the text by which the model says that it has no answer, such as `"I don't know"`; read as None.
    """

    optional: str | None = None
    kind: ClassVar[Kind] = "text"

    def parse(self, text: str, *, cue: str = "") -> str | None:
        """Read a text as it stands, without the quotes, fence or cue that encloses the whole of it."""
        value = read_text(text, cue)
        return None if self.optional and no_answer(value, self.optional) else value

    def render(self, value: object) -> str:
        """Write the text as it is; one that would lose its own quotes when read back is enclosed."""
        text = self.check(value)
        return (self.optional or "") if text is None else quoted(text)

    def check(self, value: object) -> str | None:
        """Take a text that is not blank, without invisible characters; None where there may be no answer."""
        if value is None and self.optional:
            return None
        if not isinstance(value, str):
            raise InputError(f"the output must be a text, not {value!r}")
        text = tidy(value)
        if not text:
            raise InputError("the output is a blank text")
        return None if self.optional and no_answer(text, self.optional) else text


@dataclass(frozen=True)
class Number(Output[Value]):
    """A number.

    Attributes:
        of: the type of every value: `int` (an answer with a fraction is asked again), `float` or `Decimal`; None gives
            an `int` where no fraction was written, else a `float`.
        within: a JSON schema that the number must fit, such as `{"minimum": 1}`.
    """

    of: type[int] | type[float] | type[Decimal] | None = None
    within: Mapping[str, Any] | None = field(default=None, hash=False)
    kind: ClassVar[Kind] = "number"

    def parse(self, text: str, *, cue: str = "") -> Value:
        """Read the number that the answer comes to; see `fewshot.outputs.numbers`."""
        return self._answered(read_number(text, cue), text)

    def render(self, value: object) -> str:
        """Write the number with all its digits and without an exponent that it does not need."""
        number = self.check(value)
        digits = f"{number:f}" if isinstance(number, Decimal) else repr(number)
        return digits.removesuffix(".0") if self.of is float else digits

    def check(self, value: object) -> Value:
        """Take a finite number, or a text that is one."""
        value = value.item() if hasattr(value, "item") else value  # a scalar of NumPy
        number = literal_number(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
            raise InputError(f"the output must be a number, not {value!r}")
        try:
            return self._typed(number)
        except ValueError as error:
            raise InputError(f"the output {error}") from None

    def _answered(self, number: Value, raw: str) -> Value:
        try:
            return self._typed(number)
        except ValueError as error:
            raise OutputError(f"the answer {error}: {excerpt(raw)}", raw=raw) from None

    def _typed(self, number: Value) -> Value:
        """Give a number in the type of this output; raises ValueError where it has none, or is out of bounds."""
        if not math.isfinite(number) if not isinstance(number, int) else abs(number) >= 10**MAX_DIGITS:
            raise ValueError("must be a finite number of a sensible size")
        # 0.1 stands in a prompt as "0.1", which is the Decimal and not quite the float.
        exact = Decimal(repr(number)) if isinstance(number, float) else number
        if isinstance(exact, Decimal) and not -MAX_DIGITS < exact.adjusted() < MAX_DIGITS:
            raise ValueError("must be a finite number of a sensible size")
        if self._within is not None:
            try:
                self._within.load(f"{exact:f}" if isinstance(exact, Decimal) else str(exact))
            except OutputError as error:
                raise ValueError(f"is out of bounds ({str(error).rpartition(': ')[2]})") from None
        if self.of is Decimal:
            return Decimal(exact)
        written_whole = isinstance(exact, int) or exact.as_tuple().exponent == 0
        if self.of is int or (self.of is None and written_whole):
            if exact != int(exact):
                raise ValueError("must be a whole number")
            return int(exact)
        try:
            return float(exact)
        except OverflowError:
            raise ValueError("must be a finite number of a sensible size") from None

    @cached_property
    def _within(self) -> Validator | None:
        return None if self.within is None else Validator(self.within)

    def schema(self) -> str | None:
        """Give the schema of `{"answer": …}`."""
        kind = {"type": "integer" if self.of is int else "number"}
        strict = answer_schema("answer", kind) if self.within is None else strict_schema(self.within)
        return None if strict is None else json_text(strict)

    def parse_json(self, text: str) -> Value:
        """Read `{"answer": …}` with all its digits, or whatever else the answer is."""
        asked = _ANSWER.fullmatch(text)
        number = literal_number(asked[1]) if asked else None
        return self.parse(text) if number is None else self._answered(number, text)


_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*([^\s"{},]+)\s*\}\s*')


def output_of(spec: Any) -> Output[Any]:
    """Make an output of what a task says: labels, a type, a model, a JSON schema, `"text"` or `"number"`.

    Spans come as `{"spans": [labels]}`, or as `list[Span[Literal[labels]]]`.
    Labels in groups come as `{"group": [labels]}`.
    Labels come as a list or tuple, a `Literal`, an enum class or `bool`: a call then gives one of the values listed, a
    member, or a boolean, and the model is shown the texts, numbers, member's values, or "true" and "false". A `list` or
    `set` of a `Literal`, a `set` of an enum, and `{"any_of": […]}`, give any of them.
    Raises InputError when the specification is none of these.
    """
    if isinstance(spec, Output):
        return spec
    spec = getattr(spec, "__value__", spec)  # `type Team = Literal[…]`
    closed = _closed_set(spec)
    if closed is not None:
        return closed
    if spec is str or (isinstance(spec, str) and spec == "text"):
        return Text()
    if isinstance(spec, str) and spec == "number":
        return Number()
    if spec is int or spec is float or spec is Decimal:
        return Number(spec)
    if isinstance(spec, Mapping):
        if spec.keys() == {"spans"}:
            return spans_of(spec["spans"])
        return groups_of(spec) if is_tree(spec) else _of_schema(spec)
    if not isinstance(spec, str | bytes | int | float | None) and spec is not object and spec is not Any:
        return Schema(spec)
    raise InputError(
        f"cannot make an output of {spec!r}; give a list of labels, 'text', 'number', a Literal, an enum, "
        "a type such as a pydantic model or list[str], or a JSON schema"
    )


def output_of_labels(given: Any) -> Output[Any]:
    """Make the output of some labels, the same object for the same labels."""
    if isinstance(given, str | bytes | set | frozenset):
        what = "a set, which has no order" if isinstance(given, set | frozenset) else f"the text {brief(given)}"
        raise InputError(f"labels is {what}; give a list of labels", field="labels")
    if given is None or isinstance(given, int | float):
        raise InputError(f"labels={given!r}: give a list of labels", field="labels")
    if isinstance(given, Mapping) and is_tree(given):
        return output_of(given)
    descriptions = {label_of(label): text for label, text in given.items()} if isinstance(given, Mapping) else {}
    if isinstance(given, Iterable) and not isinstance(given, type) and get_origin(given) is None:
        given = tuple(given)
        if len(given) < 2:
            raise InputError(f"labels={brief(list(given))}: give at least two labels", field="labels")
    try:
        # 1, 1.0 and True are equal, and so one key of a cache, unless their types stand beside them.
        kinds = tuple(map(type, given)) if isinstance(given, tuple) else ()
        output = _output_of_labels(given, kinds, tuple(descriptions.items()))
    except (ValueError, TypeError) as error:
        raise InputError(f"labels: {error}", field="labels") from error
    if output.labels is None or len(output.labels) < 2:
        raise InputError(f"labels={brief(given)}: give at least two labels", field="labels")
    return output


@lru_cache(maxsize=256)
def _output_of_labels(given: Any, kinds: tuple[type, ...], descriptions: tuple[tuple[str, str], ...]) -> Output[Any]:  # noqa: ARG001 - a part of the cache's key
    output = output_of(given)
    return replace(output, descriptions=dict(descriptions)) if isinstance(output, Labels) else output


def _closed_set(spec: Any) -> Labels | LabelSet | None:
    """Make an output of labels, or of any of some; None where the specification is of something else."""
    if isinstance(spec, list | tuple):
        return labels_of(spec)
    if get_origin(spec) is Literal:
        return labels_of(get_args(spec))
    if inspect.isclass(spec) and issubclass(spec, enum.Enum):
        return labels_of(tuple(spec))
    if spec is bool:
        return labels_of((True, False))
    if get_origin(spec) in (list, set, frozenset):
        item = getattr(get_args(spec)[0], "__value__", get_args(spec)[0])
        listed = get_origin(item) is Literal or (get_origin(spec) is not list and inspect.isclass(item))
        of = _closed_set(item) if listed and item is not bool else None  # a list of an enum may hold one twice
        return LabelSet(of, cast("Any", get_origin(spec))) if isinstance(of, Labels) else None
    if not isinstance(spec, Mapping) or "any_of" not in spec:
        return None
    if spec.keys() != {"any_of"} or not isinstance(spec["any_of"], list | tuple):
        raise InputError(f"any of some labels is written any_of = ['one', 'two'], not {spec!r:.80}")
    return LabelSet(labels_of(spec["any_of"]))


def is_tree(spec: Mapping[str, Any]) -> bool:
    """Tell whether a mapping is of groups with their labels, and not a JSON schema or a description for each label."""
    return bool(spec) and not spec.keys() & _SCHEMA_LISTS and all(isinstance(v, list | tuple) for v in spec.values())


_SCHEMA_LISTS = {"allOf", "anyOf", "any_of", "enum", "examples", "oneOf", "prefixItems", "required", "spans", "type"}
"""Keys under which a schema or a specification of ours has a list."""


def _of_schema(given: Mapping[str, Any]) -> Output[Any]:
    """Make an output of a JSON schema, which may be one of a plain value."""
    schema = json_schema(given)
    said = schema.keys() - ANNOTATIONS
    kind = schema.get("type")
    if "enum" in said and said <= {"enum", "type"} and all(isinstance(value, str | int) for value in schema["enum"]):
        validator = Validator(schema)
        for value in schema["enum"]:
            validator.load(json.dumps(value))
        return labels_of(schema["enum"])
    if said == {"type"} and kind in ("string", "boolean"):
        return Text() if kind == "string" else labels_of((True, False))
    if kind in ("number", "integer"):
        return Number(int if kind == "integer" else None, within=schema if len(said) > 1 else None)
    return Schema(schema)
