"""The fields of a record: a probability for every closed one, a confidence for every open one."""

from __future__ import annotations

import enum
import json
import math
import re
from typing import Any, Literal

import pytest
from fault_server import Fault, FaultServer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, model_validator

from fewshot import Completion, ConfigError, InputError, Request, ScriptedClient, Task, estimate, extract
from fewshot.calibration.abstention import fields_threshold_for
from fewshot.calibration.promise import Promise
from fewshot.inference.field_scoring import read_fields
from fewshot.outputs.fields import fields_of, places_in
from fewshot.outputs.kinds import Schema
from fewshot.types import TokenLogprob, Usage


class Level(enum.Enum):
    LOW = "low"
    LOWER = "lower"


class Ticket(BaseModel):
    """A ticket."""

    team: Literal["billing", "bug"]
    urgent: bool
    score: int = Field(ge=1, le=5)
    summary: str


class Closed(BaseModel):
    """Five closed fields."""

    team: Literal["billing", "bug", "sales"] = Field(description="who does it")
    urgent: bool
    score: int = Field(ge=1, le=5)
    level: Level | None
    size: Literal[1, 2, 10]


def token(text: str, **others: float) -> TokenLogprob:
    """Give a token of what is left of the probability; keyword arguments are what else could have stood there."""
    top = ((text.encode(), 1 - sum(others.values())), *((name.encode(), p) for name, p in others.items()))
    listed = tuple((name, math.log(p)) for name, p in top)
    return TokenLogprob(*listed[0], listed)


def said(*tokens: TokenLogprob) -> Completion:
    text = b"".join(t.token for t in tokens).decode()
    return Completion(text=text, tokens=tokens, usage=Usage(30, len(tokens)))


TICKET = said(
    token('{"team":'), token(' "'), token("billing", bug=0.2), token('",'), token(' "urgent":'),
    token(" true", **{" false": 0.3}), token(', "score": '), token("4", **{"5": 0.25, "3": 0.25}),
    token(', "summary": "'), token("It", The=0.1), token(" broke", **{" fell": 0.5}), token('"}'),
)  # fmt: skip


class Listing(ScriptedClient):
    top_logprobs = 20


def test_every_closed_field_has_probabilities_and_every_open_one_a_confidence() -> None:
    client = Listing(TICKET)
    result = extract.run("It broke.", Ticket, client=client)
    assert result.value == Ticket(team="billing", urgent=True, score=4, summary="It broke")
    assert result.fields is not None
    fields = result.fields
    assert fields["team"].probabilities == {"billing": pytest.approx(0.8), "bug": pytest.approx(0.2)}
    assert fields["urgent"].probabilities == {True: pytest.approx(0.7), False: pytest.approx(0.3)}
    assert fields["urgent"].confidence == pytest.approx(0.7)
    assert fields["score"].expected == pytest.approx(4)
    assert fields["score"].probabilities is not None
    assert fields["score"].probabilities[1] < 1e-6
    assert (fields["summary"].probabilities, fields["summary"].expected) == (None, None)
    assert fields["summary"].confidence == pytest.approx((1.0 * 0.9 * 0.5 * 1.0) ** (1 / 4))
    assert client.requests[0].top_logprobs == 20
    assert json.loads(json.dumps(result.to_dict()))["fields"]["urgent"]["probabilities"]["true"] == pytest.approx(0.7)


def test_values_that_hold_too_little_or_are_not_listed_have_no_probability() -> None:
    odd = said(token('{"team": "'), token("b", x=0.7), token("ug"), token('"}'))
    output = Schema(Ticket)
    found = read_fields(output, odd)
    assert found is not None
    assert found["team"].probabilities is None
    assert read_fields(output, Completion(text='{"team": "bug"}')) is None
    plain = extract.run("It broke.", Ticket, client=ScriptedClient(TICKET.text))
    assert plain.value is not None
    assert plain.fields is None


def test_values_that_begin_alike_are_told_apart_where_they_part() -> None:
    lower = said(token('{"level": "'), token("low"), token("er", **{'"': 0.25}), token('"}'))
    shorter = said(token('{"size": '), token("1", **{"2": 0.25}), token("}", **{"0": 0.5}))
    output = Schema(Closed)
    found = read_fields(output, lower)
    assert found is not None
    assert found["level"].value == "lower"
    assert found["level"].probabilities is not None
    assert found["level"].probabilities["lower"] == pytest.approx(0.75, abs=0.001)
    found = read_fields(output, shorter)
    assert found is not None
    assert found["size"].probabilities is not None
    assert found["size"].probabilities == {
        p: pytest.approx(c, abs=0.001) for p, c in {1: 0.375, 2: 0.25, 10: 0.375}.items()
    }


def test_what_a_field_can_hold_is_found_past_references_and_null() -> None:
    values = {field.name: field.values for field in fields_of(Schema(Closed).described)}
    assert values == {
        "team": ("billing", "bug", "sales"), "urgent": (True, False), "score": (1, 2, 3, 4, 5),
        "level": ("low", "lower", None), "size": (1, 2, 10),
    }  # fmt: skip
    assert fields_of({"type": "array", "items": {"type": "string"}}) == ()
    assert fields_of({"properties": {"n": {"type": "integer", "minimum": 0, "maximum": 10**9}}})[0].values == ()


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text())), max_size=4))
def test_a_value_is_found_where_it_stands(record: dict[str, Any]) -> None:
    for text in (json.dumps(record), json.dumps(record, ensure_ascii=False, indent=2)):
        raw = text.encode("utf-8", "replace")
        if raw.decode() == text:
            assert {name: json.loads(raw[a:b]) for name, (a, b) in places_in(text).items()} == record


@given(st.text())
def test_junk_has_no_places_or_places_within_it(text: str) -> None:
    assert all(0 <= a < b <= len(text.encode("utf-8", "replace")) for a, b in places_in(text).values())


# -- decisions ------------------------------------------------------------------------------------------------------


def decided(body: dict[str, Any]) -> Fault | None:
    if "questions" not in body:
        return None
    answers = []
    for question in body["questions"]:
        values = [choice["value"] for choice in question["choices"]]
        shares = [0.6, *[0.4 / (len(values) - 1)] * (len(values) - 1)]
        listed = [{"value": value, "probability": share} for value, share in zip(values, shares, strict=True)]
        answers.append({"type": "choice", "name": question["name"], "choice": values[0], "probabilities": listed})
    return 200, {}, json.dumps({"answers": answers, "usage": {"input_tokens": 60, "output_tokens": 0}}).encode()


def test_a_record_of_closed_fields_is_one_request_a_row_on_a_decisions_endpoint() -> None:
    with FaultServer() as server:
        server.reply = decided
        task = Task.of("Sort the ticket.", Closed, base_url=server.base_url, model="m", decisions=True)
        results = list(task.map([f"ticket {n}" for n in range(4)]))
        assert len(server.requests) == 4
        assert all(r.value == Closed(team="billing", urgent=True, score=1, level=Level.LOW, size=1) for r in results)
        assert {r.method for r in results} == {"decisions"}
        assert results[0].fields is not None
        assert results[0].fields["score"].expected == pytest.approx(0.6 + 0.1 * (2 + 3 + 4 + 5))
        assert results[0].confidence == pytest.approx(0.6**5)
        (seen, *_) = server.requests
        assert [q["name"] for q in seen.body["questions"]] == ["team", "urgent", "score", "level", "size"]
        assert "who does it" in seen.body["questions"][0]["instructions"]
        assert estimate(task, ["a", "b"]).requests.likely == 2


def test_an_open_field_is_written_and_not_decided() -> None:
    with FaultServer() as server:
        server.answer = lambda _: TICKET.text
        task = Task.of("Sort the ticket.", Ticket, base_url=server.base_url, model="m", decisions=True)
        assert task("It broke.").summary == "It broke"
        assert [seen.path for seen in server.requests] == ["/v1/chat/completions"]


class Odd(BaseModel):
    """A record that no likeliest values make."""

    one: bool
    other: bool

    @model_validator(mode="after")
    def _differs(self) -> Odd:
        if self.one == self.other:
            raise ValueError("the two must differ")
        return self


def test_likeliest_values_that_are_no_record_together_are_not_given() -> None:
    with FaultServer() as server:
        server.reply = decided
        server.answer = lambda _: '{"one": true, "other": false}'
        result = Task.of("Which?", Odd, base_url=server.base_url, model="m", decisions=True).run("x")
        assert result.value == Odd(one=True, other=False)
        assert result.method in ("schema", "answer")


# -- evaluation and rows --------------------------------------------------------------------------------------------


def test_each_field_is_evaluated_and_the_order_of_a_list_does_not_count() -> None:
    class Tagged(BaseModel):
        tags: list[str]
        urgent: bool

    rows = [("a", {"tags": ["x", "y"], "urgent": True}), ("b", {"tags": ["x"], "urgent": True})]
    client = ScriptedClient(lambda _: '{"tags": ["y", "x"], "urgent": true}')
    report = Task.of("Tag.", Tagged, client=client).evaluate(rows)
    assert [p.scores["exact_match"] for p in report.predictions] == [1, 0]
    assert report.by_field is not None
    assert report.by_field["tags"]["accuracy"] == 0.5
    assert report.by_field["urgent"] == {"accuracy": 1.0, "auroc": None, "ece": None, "rows": 2}
    assert "'tags': accuracy 0.500" in str(report)
    assert "Each field" in report.to_html()


def test_the_confidence_of_a_field_is_judged_and_comes_back_from_a_file(tmp_path: Any) -> None:
    def answer(request: Request) -> Completion:
        sure = "sure" in request.chat[-1].content
        return said(token('{"one": '), token("true", false=0.1 if sure else 0.4), token(', "other": false}'))

    task = Task.of("Which?", Odd, client=Listing(answer))
    rows = [("sure", {"one": True, "other": False}), ("not", {"one": False, "other": True})]
    report = task.evaluate(rows)
    assert report.by_field is not None
    assert report.by_field["one"]["auroc"] == 1.0
    report.save(tmp_path / "r.json")
    assert report.load(tmp_path / "r.json").by_field == report.by_field
    first = list(task.map(["sure"], out=tmp_path / "o.jsonl"))
    again = list(task.map(["sure"], out=tmp_path / "o.jsonl"))
    assert again[0].fields == first[0].fields
    assert again[0].fields is not None
    assert again[0].fields["one"].probabilities == {True: pytest.approx(0.9), False: pytest.approx(0.1)}


def test_each_field_may_have_to_be_sure_enough() -> None:
    held = extract.run("It broke.", Ticket, client=Listing(TICKET), min_confidence={"urgent": 0.8, "team": 0.5})
    assert (held.value, held.abstained) == (None, True)
    assert held.warnings == ("held back: the field 'urgent' has a confidence of 0.700, and min_confidence wants 0.8",)
    given = extract.run("It broke.", Ticket, client=Listing(TICKET), min_confidence={"urgent": 0.6})
    assert given.value is not None
    unknown = extract.run("It broke.", Ticket, client=Listing(TICKET), min_confidence={"urgnt": 0.1})
    assert unknown.abstained
    assert "'urgnt' has no confidence" in unknown.warnings[0]
    with pytest.raises(InputError, match="min_confidence=2: must be from 0 to 1"):
        extract("It broke.", Ticket, client=Listing(TICKET), min_confidence={"urgent": 2})


def test_each_closed_field_is_calibrated_on_labelled_rows() -> None:
    def answer(request: Request) -> Completion:
        sure = "sure" in request.chat[-1].content
        return said(token('{"one": '), token("true", false=0.02 if sure else 0.1), token(', "other": false}'))

    rows = [
        (f"{'sure' if n % 2 else 'not'} {n}", {"one": (right := n % 5 > (0 if n % 2 else 2)), "other": not right})
        for n in range(100)
    ]
    task = Task.of("Which?", Odd, client=Listing(answer))
    fitted = task.calibrate(rows)
    plain, sure = task.run("not this"), fitted.run("not this")
    assert plain.fields is not None
    assert sure.fields is not None
    assert plain.fields["one"].confidence == pytest.approx(0.9)
    assert sure.value == plain.value  # likelier are two that are equal, which are no record together
    assert sure.fields["one"].confidence == pytest.approx(0.4, abs=0.1)
    assert sure.fields["other"].confidence == pytest.approx(0.6, abs=0.05)  # its tokens are as sure in every row
    assert (plain.calibration, sure.calibration) == ("none", "by field")
    report = task.evaluate(rows[:10], pool=rows[10:])
    assert report.by_field is not None
    assert report.by_field["one"]["ece"] < 0.4
    with pytest.raises(ConfigError, match="too few rows"):
        Task.of("Which?", Odd, client=Listing(answer)).calibrate(rows[:5])
    with pytest.raises(ConfigError, match="log-probabilities"):
        Task.of("Which?", Odd, client=ScriptedClient(lambda _: '{"one": true, "other": false}')).calibrate(rows)


class Sorted(BaseModel):
    topic: Literal["bug", "praise"]
    urgent: bool
    note: str


def sort(request: Request) -> Completion:
    """Take all for praise, with less doubt where there is a bug, and be unsure of what is urgent at every third."""
    text = request.chat[-1].content
    bug = 0.4 if "bug" in text else 0.1
    rest = token("true", false=0.4 if "odd" in text else 0.02), token(', "note": "'), token("n"), token('"}')
    return said(token('{"topic": "'), token("praise", bug=bug), token('", "urgent": '), *rest)


def sorted_rows(count: int) -> list[tuple[str, dict[str, Any]]]:
    return [
        (
            f"{'bug' if n % 2 else 'fine'} {'odd' if n % 3 == 0 else ''} {n}",
            {"topic": "bug" if (n % 2) != (n % 40 == 7) else "praise", "urgent": n % 6 != 0, "note": "n"},
        )
        for n in range(count)
    ]


def test_a_fit_gives_the_likelier_value_and_tells_what_was_written(tmp_path: Any) -> None:
    task = Task.of("Sort.", Sorted, client=Listing(sort))
    fitted = task.calibrate(sorted_rows(120))
    plain, found = task.run("bug odd x"), fitted.run("bug odd x")
    assert plain.value == Sorted(topic="praise", urgent=True, note="n")
    assert found.value is not None
    assert found.value.topic == "bug"
    assert found.fields is not None
    topic = found.fields["topic"]
    assert (topic.value, topic.written, found.fields["note"].written) == ("bug", '"praise"', None)
    assert topic.probabilities is not None
    assert topic.confidence == topic.probabilities["bug"] > 0.8
    assert found.confidence == pytest.approx(math.prod(f.confidence or 0 for f in found.fields.values()))
    (kept,) = fitted.map(["bug odd x"], out=tmp_path / "o.jsonl")
    (again,) = fitted.map(["bug odd x"], out=tmp_path / "o.jsonl")
    assert (again.value, again.fields) == (kept.value, kept.fields) == (found.value, found.fields)
    report = task.evaluate(sorted_rows(40), pool=[(f"{text} pool", truth) for text, truth in sorted_rows(120)])
    assert report.by_field is not None
    assert report.by_field["topic"]["accuracy"] == 39 / 40


def test_a_risk_is_promised_of_each_field_that_is_named() -> None:
    task = Task.of("Sort.", Sorted, client=Listing(sort))
    fitted = task.calibrate(sorted_rows(240), risk={"urgent": 0.05, "topic": 0.2})
    threshold = fitted.fitted.threshold
    assert threshold.sentence == (
        "of the answers given no more will have a field wrong than 'urgent' 5.0%, 'topic' 20.0%, "
        "with a confidence of 95%"
    )
    assert threshold.coverage == pytest.approx(2 / 3, abs=0.04)  # the odd ones are urgent half of the time
    given, held = fitted.run("bug x"), fitted.run("bug odd x")
    assert given.value == Sorted(topic="bug", urgent=True, note="n")
    assert (held.value, held.abstained) == (None, True)
    assert "the field 'urgent' has a confidence of" in held.warnings[0]
    loaded = Promise.from_json(fitted.promise.to_json())  # type: ignore[union-attr]
    assert loaded.threshold == threshold
    hopeless = task.calibrate(sorted_rows(40), risk={"topic": 0.01})
    assert hopeless.fitted.threshold.reason
    assert hopeless.run("bug x").abstained
    for risk in ({"topc": 0.1}, {}, {"topic": 2}):
        with pytest.raises(InputError, match=r"risk=|lie between"):
            task.calibrate(sorted_rows(20), risk=risk)
    with pytest.raises(InputError, match="gives no record"):
        Task.of("Sort.", ["a", "b"], client=Listing(sort)).calibrate([("x", "a")], risk={"topic": 0.1})


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0, 1), st.booleans()), min_size=20, max_size=60))
def test_a_field_is_held_to_its_risk_on_the_records_that_are_accepted(
    rows: list[tuple[float, bool, float, bool]],
) -> None:
    risks = {"one": 0.3, "two": 0.45}
    judged = [{"one": (a, b), "two": (c, d)} for a, b, c, d in rows]
    found = fields_threshold_for(risks, judged, confidence=0.8)
    assert isinstance(found.least, dict)
    least = found.least
    accepted = [row for row in judged if all(sure >= least[name] for name, (sure, _) in row.items())]
    assert len(accepted) == round(found.coverage * len(rows))
    for name, risk in risks.items():
        assert not accepted or sum(not row[name][1] for row in accepted) / len(accepted) <= risk


# -- what it takes --------------------------------------------------------------------------------------------------

PIECES = re.compile(r" ?[A-Za-z]{1,9}| ?[0-9]{1,3}| ?[^\sA-Za-z0-9]+|\s+")
"""About what the tokenisers of large vocabularies make of English and of JSON."""


def closed_record(request: Request) -> Completion:
    words = (part for turn in request.chat for part in (*PIECES.findall(turn.content), *["turn"] * 4))
    record = '{"team":"sales","urgent":true,"score":4,"level":"low","size":2}'
    tokens = tuple(token(piece, x=0.01) for piece in PIECES.findall(record))
    schema = PIECES.findall(request.schema or "")
    return Completion(text=record, tokens=tokens, usage=Usage(len([*words, *schema]), len(tokens)))


@pytest.mark.parametrize("shots", [0, 2])
def test_a_record_is_one_request_a_row_and_its_price_is_known_beforehand(shots: int) -> None:
    client = Listing(closed_record)
    record = {"team": "billing", "urgent": False, "score": 2, "level": None, "size": 10}
    task = Task.of(
        "Read the ticket of a customer and fill in what is asked for as JSON.",
        Closed,
        [(f"The invoice of last month came twice, number {n}.", record) for n in range(shots)],
        client=client,
        price=(1.0, 4.0),
    )
    rows = [f"Customer {n} writes that the export of all reports stops after a few pages." for n in range(12)]
    told = estimate(task, rows)
    found = list(task.map(rows))
    assert {len(result.fields or {}) for result in found} == {5}
    assert len(client.requests) == told.requests.likely == 12
    assert told.cost is not None
    assert told.cost.likely == pytest.approx(sum(result.cost or 0.0 for result in found), rel=0.1)
