"""Records come back as they were from the prompt, a file of results and a frame; JSON schemas bite to the last word."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
)
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from fewshot import ScriptedClient, Task
from fewshot.errors import InputError, OutputError, TaskError
from fewshot.outputs.kinds import Labels, Number, Schema, Text, output_of
from fewshot.result import plain


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str
    count: int = 1


class Aliased(BaseModel):
    name: str = Field(alias="fullName")


class ReadAs(BaseModel):
    name: str = Field(validation_alias="full_name", serialization_alias="FULL")


class ReadAsOneOf(BaseModel):
    name: str = Field(validation_alias=AliasChoices(AliasPath("n", 0), "full_name", "name"))


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)
    first_name: str
    items: list[Aliased] = []


class Named(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    name: str = Field(alias="n")


class Box(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int
    height: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width * self.height


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    tags: frozenset[str]


class Times(BaseModel):
    day: dt.date
    at: dt.datetime
    hour: dt.time
    lasts: dt.timedelta


class Kinds(BaseModel):
    color: Color
    price: Decimal
    id: uuid.UUID
    address: IPv4Address
    raw: bytes
    pair: tuple[int, str]
    colors: dict[Color, int]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(alias="dogName")


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")
    others: dict[str, Cat | Dog] = {}


class Node(BaseModel):
    name: str = Field(alias="n")
    children: list[Node] = Field(default=[], alias="c")


class Constrained(BaseModel):
    age: int = Field(ge=0, le=150)
    code: str = Field(pattern=r"^[A-Z]{3}$")
    note: str | None = None


class ItemList(RootModel[list[Item]]):
    pass


class ByName(RootModel[dict[str, Aliased]]):
    pass


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]
    total: int


@dataclasses.dataclass
class Point:
    x: int
    label: str = "a"


@dataclasses.dataclass(frozen=True)
class Line:
    points: tuple[Point, ...]
    item: Aliased


@pydantic_dataclass
class Visit:
    day: dt.date
    place: str = Field(alias="at")


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    key: str
    value: int


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
INTS = st.integers(-(10**9), 10**9)
ITEMS = st.builds(Item, name=TEXTS, count=INTS)
ALIASED = TEXTS.map(lambda text: Aliased(fullName=text))
CATS = st.builds(Cat, kind=st.just("cat"), lives=INTS)
DOGS = TEXTS.map(lambda text: Dog(kind="dog", dogName=text))
DAYS = st.dates()
POINTS = st.builds(Point, x=INTS, label=TEXTS)
MODELS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Item, ITEMS),
    (Aliased, ALIASED),
    (ReadAs, TEXTS.map(lambda text: ReadAs(full_name=text))),
    (ReadAsOneOf, TEXTS.map(lambda text: ReadAsOneOf(full_name=text))),
    (Camel, st.builds(lambda name, items: Camel(firstName=name, items=items), TEXTS, st.lists(ALIASED, max_size=2))),
    (Named, TEXTS.map(lambda text: Named(n=text))),
    (Box, st.builds(Box, width=INTS, height=INTS)),
    (Open, TEXTS.map(lambda text: Open(name=text, more=[text]))),  # type: ignore[call-arg]
    (Frozen, st.builds(Frozen, tags=st.frozensets(TEXTS, max_size=3))),
    (
        Times,
        st.builds(
            Times,
            day=DAYS,
            at=st.datetimes(timezones=st.just(dt.UTC)),
            hour=st.times(),
            lasts=st.timedeltas(dt.timedelta(), dt.timedelta(days=1000)),
        ),
    ),
    (
        Kinds,
        st.builds(
            Kinds,
            color=st.sampled_from(Color),
            price=st.decimals(-1000, 1000, places=2),
            id=st.uuids(),
            address=st.ip_addresses(v=4),
            raw=TEXTS.map(str.encode),
            pair=st.tuples(INTS, TEXTS),
            colors=st.dictionaries(st.sampled_from(Color), INTS),
        ),
    ),
    (Owner, st.builds(Owner, pet=CATS | DOGS, others=st.dictionaries(TEXTS, CATS | DOGS, max_size=2))),
    (Node, st.recursive(TEXTS, st.lists, max_leaves=3).map(lambda nest: _node(nest))),
    (Constrained, st.builds(Constrained, age=st.integers(0, 150), code=st.just("ABC"), note=st.none() | TEXTS)),
    (ItemList, st.lists(ITEMS, max_size=3).map(ItemList)),
    (ByName, st.dictionaries(TEXTS, ALIASED, max_size=2).map(ByName)),
    (Page[Item], st.builds(Page[Item], items=st.lists(ITEMS, max_size=2), total=INTS)),
    (Page[Aliased], st.builds(Page[Aliased], items=st.lists(ALIASED, max_size=2), total=INTS)),
    (Point, POINTS),
    (Line, st.builds(Line, points=st.lists(POINTS, max_size=2).map(tuple), item=ALIASED)),
    (Visit, st.builds(lambda day, place: Visit(day=day, at=place), DAYS, TEXTS)),
    (Movie, st.fixed_dictionaries({"title": TEXTS}, optional={"year": INTS})),
    (Pair, st.builds(Pair, key=TEXTS, value=INTS)),
    (list[Item], st.lists(ITEMS, max_size=3)),
    (list[Aliased], st.lists(ALIASED, max_size=3)),
    (list[str], st.lists(TEXTS, max_size=3)),
    (set[str], st.sets(TEXTS, max_size=3)),
    (tuple[int, str], st.tuples(INTS, TEXTS)),
    (tuple[Aliased, ...], st.lists(ALIASED, max_size=2).map(tuple)),
    (dict[str, int], st.dictionaries(TEXTS, INTS, max_size=3)),
    (dict[str, Aliased], st.dictionaries(TEXTS, ALIASED, max_size=2)),
    (Item | None, st.none() | ITEMS),
    (list[int] | None, st.none() | st.lists(INTS, max_size=2)),
    (Cat | Dog, CATS | DOGS),
    (Annotated[Cat | Dog, Field(discriminator="kind")], CATS | DOGS),
    (str | int, TEXTS | INTS),
    (dt.date, DAYS),
    (dt.date | None, st.none() | DAYS),
    (dt.datetime, st.datetimes(timezones=st.just(dt.UTC))),
    (dt.timedelta, st.timedeltas(dt.timedelta(), dt.timedelta(days=1000))),
    (uuid.UUID, st.uuids()),
    (Annotated[int, Field(ge=1, le=5)], st.integers(1, 5)),
    (Annotated[str, Field(max_length=3)], st.text("abc", min_size=1, max_size=3)),
    (list[Movie], st.lists(st.fixed_dictionaries({"title": TEXTS}), max_size=2)),
    (list[dt.date], st.lists(DAYS, max_size=2)),
    (list[Color], st.lists(st.sampled_from(Color), max_size=3)),
]
IDS = [getattr(model, "__name__", str(model)) for model, _ in MODELS]


def _node(nest: Any) -> Node:
    return Node(n=nest) if isinstance(nest, str) else Node(n="", c=[_node(inner) for inner in nest])


@pytest.mark.parametrize(("model", "values"), MODELS, ids=IDS)
def test_any_record_comes_back_from_the_prompt_and_from_what_is_written(model: Any, values: Any) -> None:
    output = output_of(model)

    @settings(max_examples=5, deadline=None)
    @given(values)
    def comes_back(value: Any) -> None:
        assert output.check(value) == value
        back = output.parse(output.render(value))
        assert (back, type(back)) == (value, type(value))
        written = json.loads(json.dumps(plain(value)))
        assert output.check(written) == value
        if output.schema() is not None:
            answer = {"answer": written} if _in_one_key(output) else written
            assert output.parse_json(json.dumps(answer)) == value

    comes_back()


def _in_one_key(output: Any) -> bool:
    strict = json.loads(output.schema() or "{}")
    return list(strict.get("properties", {})) == ["answer"]


@pytest.mark.parametrize("model", [Aliased, Box, ReadAs, Owner, Visit, list[Aliased], Item | None, dt.date])
def test_a_bulk_run_gives_the_same_value_again(model: Any, tmp_path: Path) -> None:
    values = dict(MODELS)[model]

    @settings(max_examples=1, deadline=None)
    @given(values)
    def again(value: Any) -> None:
        out = tmp_path / "out.jsonl"
        output = output_of(model)
        written = output.render(value)
        task: Task[Any] = Task.of("Get it.", model, name="records").using(client=ScriptedClient(lambda _: written))
        (first,), (second,) = (list(task.map(["abc"], out=out)) for _ in range(2))
        assert (first.value, second.value, second.error) == (value, value, None)
        assert type(second.value) is type(value)
        assert json.loads(out.read_text(encoding="utf-8"))["value"] == plain(value)

    again()


def test_saved_results_of_another_type_are_refused(tmp_path: Path) -> None:
    from fewshot.bulk.records import line_of, result_of

    task: Task[Any] = Task.of("Get it.", Item).using(client=ScriptedClient('{"name": "a"}'))
    line = line_of(next(task.map(["x"])), "x")
    assert result_of(line, task).value == Item(name="a")
    with pytest.raises(InputError, match="row 1 of the saved results"):
        result_of(line.replace(b'"name": "a"', b'"name": 3'), task)


class Secret(BaseModel):
    password: SecretStr


class Excluded(BaseModel):
    name: str
    note: str = Field(default="", exclude=True)


class Deep(BaseModel):
    name: str = Field(validation_alias=AliasPath("person", "name"))


class Nested(BaseModel):
    items: list[Excluded]


@pytest.mark.parametrize(
    ("model", "says"),
    [(Secret, "asterisks"), (Excluded, "exclude"), (Deep, "path"), (Nested, "exclude"), (list[Secret], "asterisks")],
)
def test_a_model_that_would_lose_values_is_refused(model: Any, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        Task.of("Get it.", model)


class Rounded(BaseModel):
    price: float

    @field_serializer("price")
    def short(self, price: float) -> float:
        return round(price)


def test_a_value_that_is_written_as_another_is_never_given() -> None:
    output: Schema[Rounded] = Schema(Rounded)
    assert output.parse('{"price": 2.0}') == Rounded(price=2.0)
    with pytest.raises(TaskError, match="serializers"):
        output.parse('{"price": 2.5}')
    with pytest.raises(InputError, match="something else"):
        output.check(Rounded(price=2.5))


class Unknown:
    pass


def test_what_pydantic_cannot_read_is_refused() -> None:
    with pytest.raises(InputError, match="pydantic cannot read"):
        output_of(Unknown)


# -- JSON schemas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "values"), MODELS, ids=IDS)
def test_the_schemas_that_pydantic_writes_take_the_same_values(model: Any, values: Any) -> None:
    from pydantic import TypeAdapter

    schema = TypeAdapter(model).json_schema()
    if "binary" in json.dumps(schema):
        with pytest.raises(InputError, match="format 'binary'"):
            output_of(schema)
        return
    output = output_of(schema)

    @settings(max_examples=3, deadline=None)
    @given(values)
    def takes(value: Any) -> None:
        written = json.loads(json.dumps(plain(value)))
        assert output.check(written) == written
        assert output.parse(output.render(written)) == written

    takes()


# For each keyword of draft 2020-12 a schema, a value that fits and one that does not.
BITES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "type": ({"type": ["array", "null"]}, [1], {"a": 1}),
    "enum": ({"enum": [1.5, [2]]}, [2], [3]),
    "const": ({"const": {"a": 1}}, {"a": 1}, {"a": 2}),
    "multipleOf": ({"type": "number", "multipleOf": 0.01}, 1.1, 1.105),
    "maximum": ({"type": "number", "maximum": 0.5}, 0.5, 0.51),
    "exclusiveMaximum": ({"type": "integer", "exclusiveMaximum": 5}, 4, 5),
    "minimum": ({"type": "integer", "minimum": 1}, 1, 0),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": 0.5}, 0.51, 0.5),
    "maxLength": ({"type": "string", "maxLength": 3}, "abc", "abcd"),
    "minLength": ({"type": "string", "minLength": 3}, "abc", "ab"),
    "pattern": ({"type": "string", "pattern": "^a+$"}, "aa", "ab"),
    "format": ({"type": "string", "format": "date"}, "2026-03-03", "3 March 2026"),
    "maxItems": ({"type": "array", "maxItems": 1}, [1], [1, 2]),
    "minItems": ({"type": "array", "minItems": 2}, [1, 2], [1]),
    "uniqueItems": ({"type": "array", "uniqueItems": True}, [1, 2], [1, 1]),
    "items": ({"type": "array", "items": {"type": "integer"}}, [1, 2], [1, "a"]),
    "prefixItems": ({"type": "array", "prefixItems": [{"type": "integer"}]}, [1, "a"], ["a"]),
    "contains": ({"type": "array", "contains": {"const": 3}}, [1, 3], [1]),
    "minContains": ({"type": "array", "contains": {"const": 3}, "minContains": 2}, [3, 3], [3]),
    "maxContains": ({"type": "array", "contains": {"const": 3}, "maxContains": 1}, [3], [3, 3]),
    "unevaluatedItems": ({"type": "array", "prefixItems": [True], "unevaluatedItems": False}, [1], [1, 2]),
    "properties": ({"properties": {"a": {"type": "integer"}}}, {"a": 1}, {"a": "1"}),
    "required": ({"type": "object", "required": ["a"]}, {"a": 1}, {}),
    "additionalProperties": ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
    "patternProperties": ({"patternProperties": {"^n": {"type": "integer"}}}, {"n1": 1}, {"n1": "a"}),
    "propertyNames": ({"type": "object", "propertyNames": {"maxLength": 2}}, {"ab": 1}, {"abc": 1}),
    "unevaluatedProperties": ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"a": 1}, {"b": 1}),
    "maxProperties": ({"type": "object", "maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}),
    "minProperties": ({"type": "object", "minProperties": 1}, {"a": 1}, {}),
    "dependentRequired": ({"dependentRequired": {"a": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
    "dependentSchemas": ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1, "b": 1}, {"a": 1}),
    "if": ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"c": 1}, {"a": 1}),
    "then": ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
    "else": ({"if": {"required": ["a"]}, "else": {"required": ["b"]}}, {"b": 1}, {"c": 1}),
    "allOf": ({"allOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1}, {"a": 1}),
    "anyOf": ({"anyOf": [{"type": "array"}, {"required": ["b"]}]}, {"b": 1}, {"a": 1}),
    "oneOf": ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1}, {"a": 1, "b": 1}),
    "not": ({"not": {"required": ["a"]}}, {"b": 1}, {"a": 1}),
    "$ref": ({"$ref": "#/$defs/A", "$defs": {"A": {"required": ["a"]}}}, {"a": 1}, {"b": 1}),
    "$anchor": ({"$ref": "#x", "$defs": {"A": {"$anchor": "x", "required": ["a"]}}}, {"a": 1}, {"b": 1}),
    "$dynamicRef": ({"$dynamicRef": "#x", "$defs": {"A": {"$dynamicAnchor": "x", "required": ["a"]}}}, {"a": 1}, {}),
    "$dynamicAnchor": ({"$dynamicRef": "#x", "$defs": {"A": {"$dynamicAnchor": "x", "required": ["a"]}}}, {"a": 1}, {}),
    "nullable": ({"type": "object", "required": ["a"], "nullable": True}, {"a": 1}, {}),
}
REFUSED = {"contentEncoding", "contentMediaType", "contentSchema", "$vocabulary"}
WITHOUT_EFFECT = {
    "title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples",
    "$schema", "$id", "$comment", "$defs",
}  # fmt: skip


def _keywords() -> set[str]:
    from jsonschema import Draft202012Validator

    found: set[str] = set()
    for part in Draft202012Validator.META_SCHEMA["allOf"]:
        import jsonschema_specifications

        found |= set(jsonschema_specifications.REGISTRY.contents(
            "https://json-schema.org/draft/2020-12/" + part["$ref"])["properties"])  # fmt: skip
    return found


def test_every_keyword_of_the_draft_is_in_one_of_the_lists() -> None:
    assert _keywords() - BITES.keys() - WITHOUT_EFFECT == REFUSED


@pytest.mark.parametrize("keyword", BITES)
def test_every_keyword_bites(keyword: str) -> None:
    schema, fits, fails = BITES[keyword]
    for made, good, bad in (
        (schema, fits, fails),
        ({"type": "object", "properties": {"x": schema}, "$defs": schema.get("$defs", {})}, {"x": fits}, {"x": fails}),
    ):
        output = output_of(made)
        assert output.check(good) == good
        assert output.parse(output.render(good)) == good
        with pytest.raises(InputError):
            output.check(bad)
        with pytest.raises(OutputError):
            output.parse(json.dumps(bad))


@pytest.mark.parametrize("keyword", [*REFUSED, "dependencies", "additionalItems", "$recursiveRef", "requird"])
def test_what_cannot_be_enforced_is_refused_by_name(keyword: str) -> None:
    for schema in ({keyword: {}, "type": "object"}, {"properties": {"a": {keyword: {}, "type": "string"}}}):
        with pytest.raises(InputError, match=keyword.replace("$", r"\$")):
            output_of(schema)


FORMATS = {
    "date": ("2026-02-28", "2026-02-30"),
    "date-time": ("2026-02-28T10:00:00.123Z", "2026-02-28"),
    "time": ("10:00:00+09:00", "25:00:00"),
    "duration": ("P1DT2H", "1 day"),
    "email": ("a.b@example.com", "a@b@c"),
    "hostname": ("www.example.com", "-a.com"),
    "ipv4": ("127.0.0.1", "256.0.0.1"),
    "ipv6": ("::1", "1.2.3.4"),
    "uuid": ("12345678-1234-5678-1234-567812345678", "1234"),
    "uri": ("https://example.com/a?b#c", "example.com"),
    "regex": ("^a$", "("),
    "json-pointer": ("/a/0", "a/0"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_checked(name: str) -> None:
    output = output_of({"type": "string", "format": name})
    good, bad = FORMATS[name]
    assert output.parse(good) == good
    with pytest.raises(OutputError):
        output.parse(bad)


@pytest.mark.parametrize("name", ["iri", "idn-email", "uri-template", "relative-json-pointer", "color"])
def test_a_format_that_cannot_be_checked_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"format '{name}'"):
        output_of({"properties": {"a": {"type": "string", "format": name}}})


def test_wrappers_of_a_schema_are_taken_off() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wrapped = {"name": "answer", "strict": True, "schema": schema}
    assert output_of(wrapped) == output_of({"type": "json_schema", "json_schema": wrapped}) == Schema(schema)


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        ({"type": "boolean"}, Labels(("true", "false"), values={"true": True, "false": False})),
        ({"type": "string", "enum": ["a", "b"]}, Labels(("a", "b"))),
        ({"type": "string", "title": "x"}, Text()),
        ({"type": "number"}, Number()),
        ({"type": "integer"}, Number(int)),
    ],
)
def test_plain_values_have_the_plain_outputs(schema: dict[str, Any], output: object) -> None:
    assert output_of(schema) == output


def test_an_optional_key_that_is_null_in_an_answer_is_left_out() -> None:
    output = output_of({"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"]})
    assert output.parse_json('{"a": 1, "b": null}') == {"a": 1}
    with pytest.raises(OutputError, match="b: None is not of type"):
        output.parse_json('{"a": null, "b": null}')
