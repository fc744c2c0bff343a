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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args, get_origin

from fewshot._wording import distinct_fold, excerpt, json_in, tidy
from fewshot.errors import InputError, OutputError
from fewshot.outputs.json_schema import ANNOTATIONS, Validator, json_schema
from fewshot.outputs.labels import LabelReader
from fewshot.outputs.numbers import literal_number, read_number
from fewshot.outputs.numerals import MAX_DIGITS, Value
from fewshot.outputs.output import Kind, Output, json_text
from fewshot.outputs.schema import Schema
from fewshot.outputs.strict_schema import answer_schema, strict_schema
from fewshot.outputs.text import no_answer, quoted, read_text
from fewshot.result import label_of, plain

__all__ = ["Kind", "Labels", "Number", "Output", "Schema", "Text", "labels_of", "output_of"]


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
        words = [self.word(label) for label in self.labels]
        strict = answer_schema("label", {"type": "string", "enum": words})
        return None if strict is None else json_text(strict)

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
    if spec == "number":
        return Number()
    if spec is int or spec is float or spec is Decimal:
        return Number(spec)
    if isinstance(spec, Mapping):
        return _of_schema(spec)
    if not isinstance(spec, str | bytes | int | float | None) and spec is not object and spec is not Any:
        return Schema(spec)
    raise InputError(
        f"cannot make an output of {spec!r}; give a list of labels, 'text', 'number', a Literal, an enum, "
        "a type such as a pydantic model or list[str], or a JSON schema"
    )


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
