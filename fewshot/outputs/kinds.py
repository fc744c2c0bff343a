"""The kinds of output that a task can have: one of some labels, a text, a number, or a record with a schema.

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
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

from fewshot._wording import distinct_fold, enclosed, excerpt, json_in, json_objects, tidy
from fewshot.errors import InputError, OutputError
from fewshot.outputs.labels import LabelReader
from fewshot.outputs.numbers import literal_number, read_number
from fewshot.outputs.numerals import MAX_DIGITS, Value
from fewshot.outputs.text import no_answer, quoted, read_text
from fewshot.result import label_of, plain

__all__ = ["Kind", "Labels", "Number", "Output", "Schema", "Text", "labels_of", "output_of"]

T = TypeVar("T")
Kind = Literal["labels", "text", "number", "schema"]


class Output(ABC, Generic[T]):
    """What a task gives back: how to ask for it, read it and check it."""

    kind: ClassVar[Kind]
    labels: tuple[str, ...] | None = None
    """The labels, in their order, where the output is a closed set."""

    @abstractmethod
    def parse(self, text: str, *, cue: str = "") -> T:
        """Read the value out of an answer, past a repeated `cue`; raises OutputError when it is not plainly there."""

    @abstractmethod
    def render(self, value: object) -> str:
        """Write a value the way it stands in a prompt, as the output of a shot; raises InputError for a wrong value."""

    @abstractmethod
    def check(self, value: object) -> T:
        """Give the value that an example's output stands for; raises InputError (a ValueError) when it is none."""

    def value(self, found: Any) -> Any:
        """Give what a call gives for a value that was read."""
        return found

    def schema(self) -> str | None:
        """Give the strict JSON schema to send as `response_format`, as JSON text; None when there is none."""
        return None

    def parse_json(self, text: str) -> T:
        """Read the answer to a request that had the strict schema; the model may have ignored it."""
        return self.parse(text)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields only: what is worked out from them is worked out again."""
        return {
            name: value for name, value in self.__dict__.items() if name in getattr(self, "__dataclass_fields__", ())
        }


@dataclass(frozen=True)
class Labels(Output[str]):
    """One of a closed set of labels.

    Attributes:
        labels: the labels, in the order in which they are shown.
        words: for a label the word that stands for it in the prompt and in the answer (its verbalizer).
        descriptions: for a label what it means.
        values: for a label what a call gives, where that is not the label itself: an enum's member, a number, a truth.
    """

    labels: tuple[str, ...]
    words: Mapping[str, str] = field(default_factory=dict, hash=False)
    descriptions: Mapping[str, str] = field(default_factory=dict, hash=False)
    values: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    kind: ClassVar[Kind] = "labels"

    def __post_init__(self) -> None:
        # A frozen value keeps its own copies.
        object.__setattr__(self, "labels", tuple(self.labels))
        for name in ("words", "descriptions", "values"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        if not self.labels:
            raise InputError("an output needs at least one label")
        for label in self.labels:
            if not isinstance(label, str) or not tidy(label):
                raise InputError(f"a label must be a text that is not blank, not {label!r}")
        for name in ("words", "descriptions", "values"):
            unknown = next((key for key in getattr(self, name) if key not in self.labels), None)
            if unknown is not None:
                raise InputError(f"`{name}` names {unknown!r}, which is none of the labels: {_listed(self.labels)}")
        shown = [self.word(label) for label in self.labels]
        twice = next((word for word in shown if not word or shown.count(word) > 1), None)
        if twice is not None:
            raise InputError(f"two labels cannot be told apart: {twice!r}" if twice else "a label's word is blank")

    def word(self, label: str) -> str:
        """Give the word that stands for a label in the prompt: without blanks round it, its characters composed."""
        return tidy(self.words.get(label, label))

    @cached_property
    def _reader(self) -> LabelReader:
        return LabelReader({label: self.word(label) for label in self.labels})

    def parse(self, text: str, *, cue: str = "") -> str:
        """Read a label; raises OutputError for none, several, or one that is denied."""
        literal = self._reader.literal.get(text)
        return self._reader.read(text, cue) if literal is None else literal

    def render(self, value: object) -> str:
        """Give the word of a label."""
        return self.word(self.check(value))

    def check(self, value: object) -> str:
        """Take a label, the value that it was made of, or either as a file or a data frame writes it.

        Case and spacing do not count where the labels stay distinct without them (`POSITIVE `), nor does a fraction of
        zero (`5.0`); for the labels true and false the words that pydantic reads as booleans count too (`1`, `no`).
        """
        value = value.item() if hasattr(value, "item") else value  # a scalar of NumPy
        if isinstance(value, str | int | float | Decimal | enum.Enum) and value == value:  # not NaN
            label = label_of(value)
            if label in self.labels:
                return label
            by_form, same = self._forms
            whole = re.sub(r"(?<=\d)\.0+$", "", same(tidy(label)))
            found = by_form.get(same(tidy(label)), by_form.get(whole))
            if found is None and by_form.keys() == {"true", "false"}:
                found = by_form.get(_truth_of(whole))
            if found is not None:
                return found
        raise InputError(f"{plain(value)!r} is none of the labels: {_listed(self.labels)}")

    @cached_property
    def _forms(self) -> tuple[dict[str, str], Callable[[str], str]]:
        """The labels by the form in which they are compared, and what brings a text into that form."""
        same = distinct_fold(map(tidy, self.labels))
        return {same(tidy(label)): label for label in self.labels}, same

    def value(self, found: Any) -> Any:
        """Give the value that a label stands for."""
        return self.values.get(found, found)

    def schema(self) -> str | None:
        """Give the schema of `{"label": …}` with the words as its enum."""
        from fewshot.outputs.strict_schema import answer_schema

        words = [self.word(label) for label in self.labels]
        return _json_text(answer_schema("label", {"type": "string", "enum": words}))

    def parse_json(self, text: str) -> str:
        """Read `{"label": …}`, or whatever else the answer is."""
        value = json_in(text)
        named = value.get("label") if isinstance(value, dict) else None
        label = self._reader.literal.get(named) if isinstance(named, str) else None
        return self.parse(text) if label is None else label


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
    """A number: an `int`, a `Decimal` where a fraction was written, or a `float` where it has an exponent."""

    kind: ClassVar[Kind] = "number"

    def parse(self, text: str, *, cue: str = "") -> Value:
        """Read the number that the answer comes to; see `fewshot.outputs.numbers`."""
        return read_number(text, cue)

    def render(self, value: object) -> str:
        """Write the number with all its digits and without an exponent that it does not need."""
        number = self.check(value)
        return f"{number:f}" if isinstance(number, Decimal) else str(number)

    def check(self, value: object) -> Value:
        """Take a finite number, or a text that is one."""
        number = literal_number(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
            raise InputError(f"the output must be a number, not {value!r}")
        if not math.isfinite(number) if not isinstance(number, int) else abs(number) >= 10**MAX_DIGITS:
            raise InputError("the output must be a finite number of a sensible size")
        if isinstance(number, Decimal) and not -MAX_DIGITS < number.adjusted() < MAX_DIGITS:
            raise InputError("the output must be a finite number of a sensible size")
        # 0.1 stands in a prompt as "0.1", which is the Decimal and not quite the float.
        written = repr(number)
        return Decimal(written) if isinstance(number, float) and "e" not in written else number

    def schema(self) -> str | None:
        """Give the schema of `{"answer": …}`."""
        from fewshot.outputs.strict_schema import answer_schema

        return _json_text(answer_schema("answer", {"type": "number"}))

    def parse_json(self, text: str) -> Value:
        """Read `{"answer": …}` with all its digits, or whatever else the answer is."""
        asked = _ANSWER.fullmatch(text)
        number = literal_number(asked[1]) if asked else None
        return self.parse(text) if number is None else number


_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*([^\s"{},]+)\s*\}\s*')


M = TypeVar("M")


@dataclass(frozen=True)
class Schema(Output[M]):
    """A record, validated by pydantic.

    Attributes:
        model: a pydantic model, whose instances are the values; or a JSON schema, and then the values are dicts.
    """

    model: type[M] | Mapping[str, Any]
    kind: ClassVar[Kind] = "schema"

    def __post_init__(self) -> None:
        if isinstance(self.model, Mapping):
            object.__setattr__(self, "model", json.loads(json.dumps(self.model)))
            _ = self._model  # refuses a schema that is not understood

    def __hash__(self) -> int:
        return hash(json.dumps(self.model, sort_keys=True) if isinstance(self.model, dict) else self.model)

    @cached_property
    def _model(self) -> type[Any]:
        from fewshot.outputs.json_schema import model_of

        return model_of(self.model) if isinstance(self.model, Mapping) else self.model

    def parse(self, text: str, *, cue: str = "") -> M:  # noqa: ARG002 - an object is found wherever it stands
        """Read the one JSON object of the answer and validate it strictly."""
        return self._validated(_one_json(text), text)

    def _validated(self, source: str, raw: str) -> M:
        from pydantic import ValidationError

        try:
            record: Any = self._model.model_validate_json(source, strict=True)
        except ValidationError as error:
            raise OutputError(_complaints(error), raw=raw) from None
        value: M = record.model_dump(by_alias=True, exclude_unset=True) if isinstance(self.model, Mapping) else record
        return value

    def render(self, value: object) -> str:
        """Write the record as one line of JSON."""
        return self._source(self.check(value))

    def _source(self, value: Any) -> str:
        from pydantic_core import to_json

        if isinstance(self.model, Mapping):
            return to_json(value).decode()
        text: str = value.model_dump_json(by_alias=True, round_trip=True)
        return text

    def check(self, value: object) -> M:
        """Take an instance, a mapping, or JSON text, as pydantic validates it."""
        from pydantic import ValidationError
        from pydantic_core import PydanticSerializationError, to_json

        try:
            if isinstance(value, str):
                return self.parse(value)
            if isinstance(self.model, type) and isinstance(value, self.model):
                source = self._source(value)
            else:
                source = to_json(value).decode()
            return self._validated(source, source)
        except OutputError as error:
            raise InputError(str(error)) from None
        except (PydanticSerializationError, ValidationError, ValueError) as error:
            raise InputError(f"the output cannot be written as JSON: {error}") from None

    def schema(self) -> str | None:
        """Give the strict schema of the model; None where it needs what strict schemas lack, such as free keys."""
        return self._strict

    @cached_property
    def _strict(self) -> str | None:
        from fewshot.outputs.strict_schema import model_schema, strict_schema

        if isinstance(self.model, Mapping):
            return _json_text(strict_schema(self.model, absent_as_null=True))
        schema = model_schema(self._model)
        return None if schema is None else _json_text(strict_schema(schema))


def _one_json(raw: str) -> str:
    """Find the one JSON value of an answer, past fences and prose."""
    if json_in(raw) is not None:
        return raw
    answer = tidy(raw)
    if not answer:
        raise OutputError("the answer is empty; answer with one JSON object", reason="empty", raw=raw)
    block = enclosed(answer)
    if block and json_in(block[1]) is not None:
        return block[1]
    found = json_objects(answer)
    if len(found) == 1:
        return found[0][0]
    if found:
        message = f"the answer holds {len(found)} different JSON objects; answer with one JSON object only"
        raise OutputError(message, reason="ambiguous", raw=raw)
    raise OutputError(f"the answer is no valid JSON: {excerpt(answer)}; answer with one JSON object only", raw=raw)


def _complaints(error: Any) -> str:
    """Say what is wrong with a record, one line for each field."""
    lines = [
        f"{'.'.join(map(str, one['loc'])) or 'the answer'}: {one['msg']}"
        for one in error.errors(include_url=False, include_context=False, include_input=False)[:20]
    ]
    return "the answer does not fit the schema:\n" + "\n".join(lines)


def output_of(spec: Any) -> Output[Any]:
    """Make an output of what a task says: labels, a type, a model, a JSON schema, `"text"` or `"number"`.

    Labels come as a list or tuple, a `Literal`, an enum class or `bool`: a call then gives one of the values listed, a
    member, or a truth, and the model is shown the texts, numbers, member's values, or "true" and "false".
    Raises InputError when the specification is none of these.
    """
    if isinstance(spec, Output):
        return spec
    spec = getattr(spec, "__value__", spec)  # `type Team = Literal[…]`
    if isinstance(spec, list | tuple):
        return labels_of(spec)
    if get_origin(spec) is Literal:
        return labels_of(get_args(spec))
    if inspect.isclass(spec) and issubclass(spec, enum.Enum):
        return labels_of(tuple(spec))
    if spec is bool:
        return labels_of((True, False))
    if spec == "text" or spec is str:
        return Text()
    if spec == "number" or (inspect.isclass(spec) and spec in (int, float, Decimal)):
        return Number()
    if inspect.isclass(spec) and hasattr(spec, "model_json_schema"):
        model: Any = spec
        return Schema(model)
    if isinstance(spec, Mapping):
        return _of_schema(spec)
    raise InputError(
        f"cannot make an output of {spec!r}; give a list of labels, 'text', 'number', a Literal, an enum, "
        "a pydantic model or a JSON schema"
    )


def _of_schema(schema: Mapping[str, Any]) -> Output[Any]:
    """Make an output of a JSON schema, which may be one of a plain value."""
    if "enum" in schema:
        return labels_of(schema["enum"])
    plain = {"string": Text, "number": Number, "integer": Number}.get(str(schema.get("type")))
    return plain() if plain else Schema(schema)


def labels_of(values: Sequence[object]) -> Labels:
    """Make labels of the values that a call is to give; raises InputError for one that is no text, number or truth."""
    for value in values:
        if not isinstance(value.value if isinstance(value, enum.Enum) else value, str | int):
            raise InputError(f"a label must be a text, a whole number or a boolean, not {value!r}")
    return Labels(tuple(map(label_of, values)), values={label_of(v): v for v in values if type(v) is not str})


def _truth_of(word: str) -> str:
    """Give `true` or `false` for a word that pydantic reads as a boolean, else nothing."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return label_of(TypeAdapter(bool).validate_python(word))
    except ValidationError:
        return ""


def _listed(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")


def _json_text(schema: dict[str, Any] | None) -> str | None:
    return None if schema is None else json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
