"""Records: what is asked for in strict schemas, and what is read out of answers."""

from __future__ import annotations

import datetime as dt
import enum
import importlib.util
import json
import pickle
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from fewshot.errors import InputError, OutputError
from fewshot.outputs.kinds import Labels, Number, Schema, Text


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]


class Part(BaseModel):
    """A part."""

    count: int = Field(ge=0, le=10, description="how many")


class Order(BaseModel):
    title: str = Field(min_length=1, max_length=10)
    day: dt.date
    color: Color
    pet: Cat | Dog = Field(discriminator="kind")
    pair: tuple[int, str]
    tags: set[str] = Field(default_factory=set)
    part: Part = Field(description="the main part")
    spare: Part | None = None
    price: Decimal


class Node(BaseModel):
    name: str
    next: Node | None = Field(default=None, description="the one behind it")
    children: list[Node] = []


class Free(BaseModel):
    counts: dict[str, int]


class Anything(BaseModel):
    value: Any


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Ratio(BaseModel):
    value: float


ORDER = {
    "title": "a",
    "day": "2026-01-02",
    "color": "red",
    "pet": {"kind": "cat"},
    "pair": [1, "b"],
    "part": {"count": 1},
    "price": "1.10",
}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "first-name": {"type": "string", "minLength": 1},
        "model_config": {"enum": ["a", "b"]},
        "age": {"type": ["integer", "null"], "minimum": 0},
        "height": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "boss": {"$ref": "#/$defs/Boss"},
    },
    "required": ["first-name", "tags"],
    "$defs": {
        "Boss": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "boss": {"$ref": "#/$defs/Boss"}},
            "required": ["name"],
        }
    },
}


@pytest.fixture(scope="module")
def service() -> ModuleType:
    """The fault server, whose checker knows which schemas OpenAI refuses."""
    path = Path(__file__).resolve().parents[2] / "shared" / "servers" / "chaos.py"
    if not path.exists():
        pytest.skip("shared/servers/chaos.py is not beside the checkout")
    spec = importlib.util.spec_from_file_location("chaos", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("wrapped", ["{}", "```json\n{}\n```", "Here: {}"])
def test_an_object_that_gives_one_key_two_values_is_refused(wrapped: str) -> None:
    output = Schema({"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]})
    assert output.parse(wrapped.replace("{}", '{"code": "1", "code": "1"}')) == {"code": "1"}
    with pytest.raises(OutputError, match="not valid JSON"):
        output.parse(wrapped.replace("{}", '{"code": "1", "code": "2"}'))


@pytest.mark.parametrize(
    "output",
    [*map(Schema, (Order, Node, Part, Open, Ratio)), Schema(PERSON), Labels(("a", "b")), Number()],
    ids=lambda output: getattr(getattr(output, "model", None), "__name__", output.kind),
)
def test_the_service_accepts_the_strict_schema(output: Schema[Any], service: ModuleType) -> None:
    text = output.schema()
    assert text is not None
    service.check_strict(json.loads(text))


@pytest.mark.parametrize("output", [Schema(Free), Schema(Anything), Text(), Labels(tuple(map(str, range(2000))))])
def test_what_strict_schemas_cannot_say_has_none(output: Schema[Any]) -> None:
    assert output.schema() is None


def test_strict_schemas_keep_what_helps_the_model_and_drop_the_rest() -> None:
    schema = json.loads(Schema(Order).schema() or "")
    assert schema["properties"]["title"] == {"type": "string"}
    assert schema["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert schema["properties"]["part"]["description"] == "the main part"
    assert schema["properties"]["part"]["properties"]["count"] == {
        "description": "how many",
        "type": "integer",
        "minimum": 0,
        "maximum": 10,
    }
    assert schema["required"] == list(Order.model_fields)


def test_keys_that_may_be_left_out_may_be_null_in_the_strict_form_of_a_json_schema() -> None:
    schema = json.loads(Schema(PERSON).schema() or "")
    assert schema["properties"]["height"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    assert schema["properties"]["age"] == {"type": ["integer", "null"], "minimum": 0}


def test_the_words_of_labels_are_asked_for() -> None:
    schema = json.loads(Labels(("positive", "negative"), words={"positive": "good"}).schema() or "")
    assert schema["properties"] == {"label": {"type": "string", "enum": ["good", "negative"]}}


@pytest.mark.parametrize(
    "answer",
    [
        '{"count": 3}',
        '\ufeff{"count": 3}',
        '```json\n{"count": 3}\n```',
        'Here is the JSON you asked for: {"count": 3} Let me know if you need anything else!',
        'I use {braces} and "quotes" first. {"count": 3}',
        '{"count": 3}\n{"count": 3}',
        '{"count": 3, "note": "extra"}',
    ],
)
def test_one_object_is_found_in_prose_and_fences(answer: str) -> None:
    assert Schema(Part).parse(answer) == Part(count=3)
    assert Schema(Part).parse_json(answer) == Part(count=3)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        ("no", "invalid"),
        ("null", "invalid"),
        ("[3]", "invalid"),
        ('{"count": "3"}', "invalid"),
        ('{"count": -1}', "invalid"),
        ('{"count": 3', "invalid"),
        ("{'count': 3}", "invalid"),
        ("{}", "invalid"),
        ("{" * 100_000, "invalid"),
        ('{"count": ' + "[" * 100_000, "invalid"),
        ('{"count": 3} {"count": 4}', "ambiguous"),
    ],
)
def test_what_is_no_record_is_refused(answer: str, reason: str) -> None:
    for parse in (Schema(Part).parse, Schema(Part).parse_json):
        with pytest.raises(OutputError) as caught:
            parse(answer)
        assert (caught.value.reason, caught.value.raw) == (reason, answer)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_numbers_are_finite(number: str) -> None:
    with pytest.raises(OutputError):
        Schema(Ratio).parse(f'{{"value": {number}}}')


def test_the_error_tells_the_model_what_to_mend() -> None:
    with pytest.raises(OutputError) as caught:
        Schema(Order).parse(json.dumps({**ORDER, "color": "green", "part": {"count": 11}}))
    assert str(caught.value).splitlines() == [
        "the answer does not fit the schema:",
        "color: Input should be 'red' or 'blue'",
        "part.count: Input should be less than or equal to 10",
    ]


def test_records_are_read_back_from_the_prompt() -> None:
    output: Schema[Order] = Schema(Order)
    order = output.check(ORDER)
    assert order.price == Decimal("1.10")
    assert output.parse(output.render(order)) == order
    assert output.render(order) == output.render(ORDER)


def test_a_record_that_would_not_be_read_back_is_no_example() -> None:
    with pytest.raises(InputError):
        Schema(Ratio).check(Ratio(value=float("inf")))
    with pytest.raises(InputError, match="count: Field required"):
        Schema(Part).check({})


def test_a_json_schema_makes_dicts() -> None:
    output: Schema[Any] = Schema(PERSON)
    person = {"first-name": "Ada", "tags": ["x"], "boss": {"name": "B", "boss": {"name": "C"}}, "height": 2}
    assert output.check(person) == person
    assert output.parse(output.render(person)) == person
    copy = pickle.loads(pickle.dumps(output))
    assert (copy, hash(copy)) == (output, hash(output))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": []}, "tags: \\[\\] should be non-empty"),
        ({"first-name": ""}, "first-name: '' should be non-empty"),
        ({"age": -1}, "age"),
        ({"height": "2"}, "height"),
    ],
)
def test_a_json_schema_is_enforced(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schema(PERSON).check({"first-name": "Ada", "tags": ["x"], **change})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "allows anything"),
        ({"title": "x"}, "allows anything"),
        ({"type": "object", "properties": {"a": {"nott": {}}}}, "uses `nott` at #/properties/a"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "not valid at #/properties/a"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/X"}}}, "points to '/\\$defs/X'"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "points to 'https"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, "is not a 'regex'"),
        ({"type": "string", "format": "iri"}, "the format 'iri'"),
        ({"type": "object", "then": {}}, "uses `then`"),
        ({"$ref": "#"}, "without end"),
    ],
)
def test_a_json_schema_that_is_not_understood_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schema(schema)


@given(
    st.builds(Part, count=st.integers(0, 10))
    | st.builds(Node, name=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
)
def test_every_record_is_read_back_from_the_prompt(record: BaseModel) -> None:
    output: Schema[Any] = Schema(type(record))
    assert output.parse(output.render(record)) == record


@given(st.text() | st.lists(st.sampled_from([*'{}[]":,\\', "count", "3", "\n", "```"])).map("".join))
def test_only_output_errors_come_out_of_any_text(answer: str) -> None:
    for parse in (Schema(Part).parse, Schema(Part).parse_json, Schema(PERSON).parse):
        with suppress(OutputError):
            parse(answer)
