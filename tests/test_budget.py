"""Budgets: never exceeded, used to the end, and honest about what is not known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fewshot.errors import ConfigError, ServiceError
from fewshot.models.budget import OVER_BUDGET, Budget, BudgetClient, with_budget
from fewshot.models.cache import CachedClient
from fewshot.models.completion_store import Answers
from fewshot.models.connection import Connection
from fewshot.models.endpoint import Endpoint
from fewshot.models.pricing import Price, cost_of, cost_of_all, price_of
from fewshot.models.scripted import ScriptedClient
from fewshot.types import Completion, Message, Prefix, Request, Usage

PRICE = Price(1.0, 10.0, cached_input=0.1, batch=0.5)
ASKED = Request(model="m", messages=(Message("user", "x" * 84),), max_tokens=10)  # 100 tokens in at most, 10 out
MOST = (100 * 1.0 + 10 * 10.0) / 1e6
SAID = Completion(text="yes", usage=Usage(30, 2))
PAID = (30 * 1.0 + 2 * 10.0) / 1e6


def ask(budget: Budget, client: ScriptedClient, times: int = 1) -> list[Completion | BaseException]:
    async def all_of_them() -> list[Completion | BaseException]:
        under = BudgetClient(client, budget)
        return await asyncio.gather(*(under.complete(ASKED) for _ in range(times)), return_exceptions=True)

    return asyncio.run(all_of_them())


def test_a_request_is_bounded_by_its_bytes() -> None:
    assert ASKED.most_tokens == 100
    assert Request(model="m", text="맛있다").most_tokens == 10
    assert Request(model="m", prefix=Prefix((Message("system", "shots"),))).most_tokens > 5


def test_what_was_set_aside_gives_way_to_what_was_paid() -> None:
    budget = Budget(1.0, PRICE)
    ask(budget, ScriptedClient(SAID))
    assert (budget.spent, budget.reserved) == (pytest.approx(PAID), 0.0)


def test_a_run_stops_before_the_budget_is_passed_and_after_it_is_used() -> None:
    budget = Budget(MOST + 3 * PAID, PRICE)
    found = ask(budget, ScriptedClient(lambda _: SAID), times=20)
    refused = [error for error in found if isinstance(error, ServiceError)]
    assert len(found) - len(refused) == 4
    assert budget.spent <= budget.max_cost
    assert {(error.code, error.account, error.transient) for error in refused} == {(OVER_BUDGET, True, False)}
    assert "higher max_cost" in str(refused[0])


def test_requests_wait_for_room_instead_of_being_refused() -> None:
    budget = Budget(1.5 * MOST, PRICE)  # room for one at a time
    found = ask(budget, ScriptedClient(lambda _: Completion(text="yes", usage=Usage(1, 1))), times=5)
    assert all(isinstance(completion, Completion) for completion in found)


def test_what_an_earlier_part_of_the_run_cost_counts() -> None:
    budget = Budget(1.0, PRICE, spent=1.0)
    [error] = ask(budget, ScriptedClient(SAID))
    assert isinstance(error, ServiceError)
    assert budget.spent == budget.max_cost


@pytest.mark.parametrize(
    ("outcome", "cost"),
    [
        (ServiceError("refused", status=400), 0.0),
        (ServiceError("the connection broke", transient=True), MOST),
        (Completion(text="no usage told"), MOST),
        (Completion(text="from the cache", usage=Usage(30, 2), cached=True), 0.0),
        (Completion(text="prompt cached", usage=Usage(30, 2, 20)), (10 * 1.0 + 20 * 0.1 + 2 * 10.0) / 1e6),
    ],
)
def test_what_each_outcome_counts(outcome: Completion | ServiceError, cost: float) -> None:
    budget = Budget(1.0, PRICE)
    ask(budget, ScriptedClient(outcome))
    assert (budget.spent, budget.reserved) == (pytest.approx(cost), 0.0)


def test_a_cancelled_request_counts_as_paid() -> None:
    async def cancelled() -> Budget:
        budget = Budget(1.0, PRICE)

        class Silent:
            async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
                await asyncio.Event().wait()
                raise AssertionError

        task = asyncio.create_task(BudgetClient(Silent(), budget).complete(ASKED))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return budget

    budget = asyncio.run(cancelled())
    assert (budget.spent, budget.reserved) == (pytest.approx(MOST), 0.0)


def test_a_decision_has_its_own_price() -> None:
    budget = Budget(1.0, PRICE, decisions=Price(2.0, 0.0))
    decided = Request(model="m", messages=ASKED.messages, choices=(("yes", ""), ("no", "")))
    asyncio.run(BudgetClient(ScriptedClient(SAID), budget).complete(decided))
    assert budget.spent == pytest.approx(30 * 2.0 / 1e6)
    completions = [SAID, Completion(text="yes", usage=Usage(1000), probabilities={"yes": 1.0})]
    assert cost_of_all("gpt-6-luna", completions) == pytest.approx((30 * 0.1 + 2 * 0.5 + 1000 * 0.1) / 1e6)
    assert cost_of_all("nobody-knows", completions) is None
    assert cost_of_all("nobody-knows", []) is None


def connection(model: str = "gpt-6-luna", client: object = None, *, local: bool = False) -> Connection:
    endpoint = Endpoint(model=model, base_url="https://host.example/v1", local=local)
    return Connection(client or ScriptedClient(SAID), endpoint)  # type: ignore[arg-type]


def test_a_budget_needs_a_price() -> None:
    with pytest.raises(ConfigError, match=r"price=.*--price"):
        with_budget(connection("nobody-knows"), 1.0)
    with pytest.raises(ConfigError, match="not an amount"):
        with_budget(connection(), -1.0)
    assert with_budget(connection("a.gguf", local=True), 0.0)[1].price.cost(Usage(5, 5)) == 0


def test_answers_from_the_cache_stay_free_when_the_budget_is_spent(tmp_path: Path) -> None:
    plain = connection()
    cached = CachedClient(plain.client, "p", plain.endpoint, Answers(tmp_path))
    asyncio.run(cached.complete(ASKED))
    under, budget = with_budget(connection(client=cached), 0.0)
    assert asyncio.run(under.client.complete(ASKED)).cached
    with pytest.raises(ServiceError, match="budget"):
        asyncio.run(under.client.complete(Request(model="m", text="another")))
    assert budget.spent == 0


def test_the_table_knows_what_it_was_told_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = Usage(1_000_000, 1_000_000, 500_000)
    assert cost_of("gpt-6-luna", usage) == pytest.approx(0.05 + 0.005 + 0.5)
    assert cost_of("gpt-6-luna-2026-10-06", usage, batch=True) == pytest.approx((0.05 + 0.005 + 0.5) / 2)
    assert cost_of("gpt-6-luna/decisions", usage) == pytest.approx(0.1)
    assert cost_of("gpt-6-luna/decisions", usage, batch=True) is None
    assert cost_of("another", usage) is None
    assert price_of("claude-haiku-4-5-20251001") == price_of("claude-haiku-4-5") == Price(1, 5)
    own = tmp_path / "prices.json"
    own.write_text(json.dumps({"models": {"another": {"input": 0.15, "output": 0.6}}}))
    monkeypatch.setenv("FEWSHOT_PRICES", str(own))
    assert price_of("another") == Price(0.15, 0.6)
    own.with_name("bad.json").write_text('{"models": {"another": {"input": -1, "output": 2}}}')
    monkeypatch.setenv("FEWSHOT_PRICES", str(own.with_name("bad.json")))
    with pytest.raises(ConfigError, match="not a price"):
        price_of("another")
