"""What a run would take, told beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from fewshot import Task
from fewshot.bulk.estimate import Estimate, Span, estimate
from fewshot.models.connection import Connection
from fewshot.models.endpoint import Endpoint
from fewshot.models.scripted import ScriptedClient

SHOTS = [("I love it.", "positive"), ("Awful.", "negative")]


def told(task: Task[Any], rows: list[Any], model: str = "gpt-6-luna", *, local: bool = False) -> Estimate:
    client = ScriptedClient()
    found = estimate(task, iter(rows), Connection(client, Endpoint(model=model, base_url="http://h/v1", local=local)))
    assert client.requests == []
    return found


def labels(*names: str, **options: Any) -> Task[Any]:
    return Task.of("Which?", list(names), [("a", names[0]), ("b", names[1])], **options)


def test_each_row_of_a_classifier_is_one_request_of_a_few_tokens() -> None:
    found = told(labels("positive", "negative"), ["one", "two", "three"])
    assert (found.rows, found.requests) == (3, Span(3, 3, 3))
    assert (found.output_tokens.low, found.output_tokens.high) == (3, 48)  # there is room for what stands round a label
    assert 3 <= found.output_tokens.likely < 9


def test_labels_that_begin_alike_may_take_more() -> None:
    assert told(labels("sport", "science", "other"), ["one"]).requests == Span(1, 1, 2)


def test_an_answer_may_have_to_be_asked_for_again() -> None:
    task = Task.of("Shorten.", "text", [("a long text", "a text")], max_tokens=50, max_repairs=2)
    found = told(task, ["one"])
    assert found.requests == Span(1, 1, 3)
    assert found.output_tokens.high == 150
    assert 1 <= found.output_tokens.likely < 5


def test_votes_are_requests() -> None:
    assert told(labels("yes", "no", votes=5, scoring=False), ["one"]).requests == Span(5, 5, 5)


def test_equal_rows_are_counted_once_and_unusable_ones_not_at_all() -> None:
    found = told(labels("yes", "no"), ["one", "two", "one", "", {"wrong": "x"}])
    assert (found.rows, found.equal_rows, found.bad_rows, found.requests.likely) == (5, 1, 2, 2)
    assert "2 of them not usable, 1 equal" in str(found)


def test_tokens_lie_where_tokenisers_of_this_day_put_them() -> None:
    prose = told(labels("yes", "no"), ["The quick brown fox jumps over the lazy dog. " * 100]).input_tokens
    assert prose.low < 1001 < prose.high  # 10 tokens a sentence in every common vocabulary
    korean = told(labels("yes", "no"), ["이 식당은 정말 맛있어요. 다시 오고 싶습니다. " * 100]).input_tokens
    assert korean.low < 5000 < korean.high  # 50 tokens a time in a small vocabulary, measured
    assert korean.low < 1800 < korean.high


def test_money_is_told_for_both_ways_to_ask() -> None:
    found = told(labels("yes", "no"), [f"row {i}" for i in range(1000)])
    assert found.cost is not None
    assert found.batch_cost is not None
    assert found.cost.likely == pytest.approx((found.input_tokens.likely * 0.1 + 1000 * 0.5) / 1e6, rel=0.01)
    assert found.batch_cost.likely == pytest.approx(found.cost.likely / 2)
    assert "cost, batch" in str(found)


def test_decisions_cost_their_input_and_a_batch_reads_one_token_instead() -> None:
    found = told(labels("yes", "no", decisions=True), [f"row {i}" for i in range(1000)])
    assert found.output_tokens == Span(0, 0, 0)
    assert found.cost is not None
    assert found.batch_cost is not None
    assert found.cost.likely == pytest.approx(found.input_tokens.likely * 0.1 / 1e6, rel=0.01)
    assert found.batch_cost.likely == pytest.approx((found.input_tokens.likely * 0.1 + 1000 * 0.5) / 2e6, rel=0.01)


def test_an_unknown_price_is_not_known_and_the_embedded_model_is_free() -> None:
    unknown = told(labels("yes", "no"), ["x"], model="who-knows")
    assert (unknown.cost, unknown.batch_cost) == (None, None)
    assert "not known" in str(unknown)
    assert told(labels("yes", "no"), ["x"], model="SmolLM2", local=True).cost == Span(0, 0, 0)


def test_it_is_plain_json_too() -> None:
    record = told(labels("yes", "no"), ["x"]).to_dict()
    assert record["requests"] == {"low": 1, "likely": 1, "high": 1}
    assert "estimated" in record["notes"][0]


def test_an_id_and_an_output_beside_the_inputs_are_let_be() -> None:
    found = told(labels("yes", "no"), [{"id": 1, "text": "one", "output": "yes"}, {"id": 2, "text": "two"}])
    assert (found.rows, found.bad_rows) == (2, 0)
