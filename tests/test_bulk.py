"""Many rows: every one accounted for in its place, asked once, with a bounded number in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import fewshot
from fewshot.bulk.estimate import estimate
from fewshot.bulk.progress import Tally
from fewshot.errors import ConfigError, FewshotError, InputError, ServiceError
from fewshot.result import Result
from fewshot.task import Task
from fewshot.types import Completion, Request, Usage


class Service:
    """Answers as told, counts what was asked and how much at once, and can be held up."""

    def __init__(self, answer: Callable[[str], str | Exception] | None = None, *, holds: bool = False) -> None:
        self.asked: list[str] = []
        self.in_flight = self.most = 0
        self.go_on = asyncio.Event()
        self._answer = answer or (lambda text: "negative" if "hate" in text else "positive")
        if not holds:
            self.go_on.set()

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        text = request.messages[-1].content
        self.asked.append(text)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(0)
            await self.go_on.wait()
            answer = self._answer(text)
        finally:
            self.in_flight -= 1
        if isinstance(answer, Exception):
            raise answer
        return Completion(text=answer, model=request.model, usage=Usage(10, 1))


def sentiment(service: object, **options: Any) -> Task[Any]:
    return fewshot.load("sentiment", client=service, max_repairs=0, **options)


def texts(count: int) -> list[str]:
    return [f"I {'hate' if i % 3 == 0 else 'love'} row {i}" for i in range(count)]


def right(count: int) -> list[str]:
    return ["negative" if i % 3 == 0 else "positive" for i in range(count)]


def test_results_come_in_the_order_of_the_rows() -> None:
    results = list(sentiment(Service()).map(texts(500)))
    assert [r.value for r in results] == right(500)
    assert [r.row for r in results] == list(range(500))
    assert results[7].inputs == {"text": "I love row 7"}


def test_async_gives_the_same() -> None:
    async def run() -> list[Result[Any]]:
        return [result async for result in sentiment(Service()).amap(texts(100))]

    assert [r.value for r in asyncio.run(run())] == right(100)


def test_rows_may_come_from_an_async_iterable() -> None:
    async def rows() -> AsyncIterator[str]:
        for text in texts(30):
            await asyncio.sleep(0)
            yield text

    async def run() -> list[Any]:
        return [result.value async for result in sentiment(Service()).amap(rows())]

    assert asyncio.run(run()) == right(30)


def test_a_blocking_run_works_inside_a_running_loop() -> None:
    async def notebook() -> list[Any]:
        return [result.value for result in sentiment(Service()).map(texts(10))]

    assert asyncio.run(notebook()) == right(10)


def test_no_rows_give_no_results() -> None:
    assert list(sentiment(Service()).map([])) == []


def test_one_text_is_not_many_rows() -> None:
    with pytest.raises(InputError, match="give a list"):
        sentiment(Service()).map("one text")


def test_an_option_that_is_not_known_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="concurency"):
        sentiment(Service()).map([], concurency=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="concurrency=0"):
        sentiment(Service()).map([], concurrency=0)
    with pytest.raises(InputError, match="max_errors"):
        sentiment(Service()).map([], max_errors=-1)


def test_a_bad_row_has_its_error_and_the_rest_go_on() -> None:
    rows: list[Any] = ["I love it", "", {"txt": "x"}, None, ("a", "b"), {"text": "I hate it", "id": 7, "output": "x"}]
    results = list(sentiment(Service()).map(rows))
    assert [r.value for r in results] == ["positive", None, None, None, None, "negative"]
    errors = [r.error for r in results]
    assert all(isinstance(e, InputError) and e.row == i for i, e in enumerate(errors[1:5], start=1))
    assert str(errors[1]) == "row 2: text is empty; give it some text"


def test_an_answer_that_is_not_valid_fails_its_row_alone() -> None:
    service = Service(lambda text: "I cannot say" if "row 5" in text else "positive")
    results = list(sentiment(service).map(texts(10)))
    assert [r.row for r in results if r.error] == [5]


def test_equal_rows_are_asked_once_in_flight_and_afterwards() -> None:
    service = Service()
    results = list(sentiment(service).map(["I love it"] * 50 + texts(200) + ["I love it", "I hate row 0"]))
    assert len(service.asked) == 201
    assert len(results) == 252
    assert [r.cached for r in results[:2]] == [False, True]
    assert sum(r.usage.input_tokens for r in results) == 201 * 10
    assert results[-1].value == "negative"


def test_in_flight_never_goes_beyond_what_is_allowed() -> None:
    service = Service()
    list(sentiment(service).map(texts(300), concurrency=5))
    assert service.most == 5


def test_without_a_cap_the_level_rises_as_long_as_all_goes_well() -> None:
    service = Service()
    list(sentiment(service).map(texts(2000)))
    assert 32 <= service.most <= 256


def test_one_slow_row_does_not_hold_up_the_others() -> None:
    service = Service()
    late = asyncio.Event()

    async def run() -> None:
        task = sentiment(service)
        plain = service.complete

        async def complete(request: Request, *, deadline: float | None = None) -> Completion:
            if "row 0" in request.messages[-1].content:
                await late.wait()
            return await plain(request)

        service.complete = complete  # type: ignore[method-assign]
        seen = 0
        async with aclosing(task.amap(texts(600), concurrency=4)) as results:  # type: ignore[type-var]
            first = asyncio.ensure_future(anext(results))
            while len(service.asked) < 599:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert not first.done()
            late.set()
            await first
            async for _ in results:
                seen += 1
        assert seen == 599

    asyncio.run(run())


def test_unordered_gives_what_is_ready() -> None:
    service = Service()
    results = list(sentiment(service).map(texts(50), ordered=False, concurrency=7))
    assert sorted(r.row or 0 for r in results) == list(range(50))


def test_rows_are_read_only_as_results_are_taken() -> None:
    read = 0

    def rows() -> Iterator[str]:
        nonlocal read
        for read in range(1_000_000):
            yield f"I love {read}"

    results = sentiment(Service()).map(rows(), concurrency=4)
    assert read == 0
    for _ in range(100):
        next(results)
    assert read < 4000
    results.close()  # type: ignore[attr-defined]


def test_rows_are_read_by_the_callers_own_thread(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "rows.db") as store:  # which may be used by the thread that made it, only
        store.execute("create table t (text)")
        store.executemany("insert into t values (?)", [(text,) for text in texts(20)])
        rows = ({"text": text} for (text,) in store.execute("select text from t order by rowid"))
        assert [r.value for r in sentiment(Service()).map(rows)] == right(20)
    store.close()


@pytest.mark.parametrize("count", [0, 1, 20, 25, 137])
def test_an_error_of_the_callers_iterable_comes_after_the_results(count: int) -> None:
    def rows() -> Iterator[str]:
        yield from texts(count)
        raise OSError("the disk is gone")

    seen: list[Result[Any]] = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(sentiment(Service()).map(rows()))
    assert [r.value for r in seen] == right(count)


def test_closing_early_ends_everything() -> None:
    async def run() -> Service:
        service = Service(holds=True)
        results = sentiment(service).amap(texts(100), concurrency=3)
        waiting = asyncio.ensure_future(anext(results))
        while service.in_flight < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert len(asyncio.all_tasks()) == 1
        return service

    service = asyncio.run(run())
    assert (service.in_flight, len(service.asked)) == (0, 3)


@pytest.mark.parametrize("concurrency", [1, 8, 32])
def test_a_refused_account_stops_the_run_within_one_round(concurrency: int) -> None:
    refusal = ServiceError("no credit left: add some", status=429, code="insufficient_quota", account=True)
    service = Service(lambda text: refusal if "row 4" in text else "positive")
    seen: list[Result[Any]] = []
    with pytest.raises(ServiceError, match=r"no credit left.*The run stopped after \d+ rows") as caught:
        seen.extend(sentiment(service).map(texts(1000), concurrency=concurrency))
    assert caught.value.account
    assert [r.row for r in seen] == sorted(r.row or 0 for r in seen)
    assert len(service.asked) <= len(seen) + 2 * concurrency


def test_a_service_that_is_down_stops_the_run() -> None:
    down = ServiceError("x.test is in trouble (HTTP 503): try again later", status=503, transient=True)
    service = Service(lambda text: down)
    with pytest.raises(ServiceError, match="20 rows failed one after the other"):
        list(sentiment(service).map(texts(1000), concurrency=4))
    assert len(service.asked) < 40


def test_max_errors_stops_a_run_that_goes_wrong() -> None:
    service = Service(lambda text: "who knows")
    seen: list[Result[Any]] = []
    with pytest.raises(FewshotError, match="6 rows failed, more than max_errors=5"):
        seen.extend(sentiment(service).map(texts(1000), concurrency=2, max_errors=5))
    assert 6 <= len(seen) <= 8


def test_a_row_refused_for_its_rate_is_asked_again_and_not_lost() -> None:
    refused = {"n": 0}

    def answer(text: str) -> str | Exception:
        if "row 3" in text and refused["n"] < 3:
            refused["n"] += 1
            return ServiceError("slow down", status=429, transient=True, retry_after=0.01)
        return "positive"

    results = list(sentiment(Service(answer)).map(texts(10)))
    assert [r.value for r in results] == ["positive"] * 10


def test_who_asks_to_wait_for_an_hour_fails_that_row() -> None:
    hint = ServiceError("come back in an hour", status=429, transient=True, retry_after=3600.0)
    results = list(sentiment(Service(lambda text: hint if "row 3" in text else "positive")).map(texts(10)))
    assert [r.row for r in results if r.error] == [3]


def test_parameters_in_a_row_make_another_question() -> None:
    service = Service(lambda text: "x")
    task = fewshot.load("translate", client=service)
    rows = [{"text": "Good day", "target": "French"}, {"text": "Good day", "target": "German"}, "Good day"]
    assert [r.error for r in task.map(rows)] == [None] * 3
    assert len(service.asked) >= 2


def test_progress_is_told_to_whoever_asks() -> None:
    seen: list[tuple[int, int | None]] = []

    def watch(tally: Tally) -> None:
        seen.append((tally.done, tally.total))

    list(sentiment(Service()).map(texts(40), progress=watch))
    assert seen[-1] == (40, 40)


def test_a_price_of_ones_own_is_what_results_and_estimates_count_with() -> None:
    task = sentiment(Service(), model="m")
    assert task.run("fine 1").cost is None
    with pytest.raises(ConfigError, match=r"price=.*--price"):
        list(task.map(["fine 1"], max_cost=1.0))
    priced = task.using(price=(2, 10))
    result = priced.run("fine 1")
    assert result.usage.input_tokens > 0
    assert result.cost == pytest.approx((result.usage.input_tokens * 2 + result.usage.output_tokens * 10) / 1e6)
    told = estimate(priced, ["fine 1"])
    assert told.cost is not None
    assert told.cost.likely == pytest.approx(
        (round(told.input_tokens.likely) * 2 + round(told.output_tokens.likely) * 10) / 1e6
    )
    for bad in ("2", (1,), (1, -1), (1, float("inf")), {1: 2, 3: 4}):
        with pytest.raises(InputError, match="two numbers"):
            task.using(price=bad)


def test_a_budget_stops_the_run_and_it_goes_on_with_more(tmp_path: Path) -> None:
    service = Service()
    task, out = sentiment(service, model="m", price=(1000, 1000)), tmp_path / "out.jsonl"
    with pytest.raises(ServiceError, match=r"max_cost.*the same call goes on"):
        list(task.map(texts(200), max_cost=3.0, out=out))
    asked = len(service.asked)
    assert 0 < asked * 0.011 <= 3.0
    results = list(task.map(texts(200), max_cost=30.0, out=out))
    assert [r.value for r in results] == right(200)
    assert len(service.asked) == 200


def test_two_runs_side_by_side_do_not_mix() -> None:
    first, second = Service(), Service(lambda text: "neutral")
    pairs = list(zip(sentiment(first).map(texts(200)), sentiment(second).map(texts(200)), strict=True))
    assert [one.value for one, _ in pairs] == right(200)
    assert {other.value for _, other in pairs} == {"neutral"}
