"""A cheap task answers what it is known to answer as a strong one does; the strong one, or a person, gets the rest."""

from __future__ import annotations

import asyncio
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fewshot import ConfigError, InputError, Request, Result, ScriptedClient, ServiceError, Task, estimate, together
from fewshot.bulk.batch_api.run import BatchRun
from fewshot.types import Completion, Usage

LABELS = ["bug", "praise"]
SHOTS = [("It broke.", "bug"), ("Thanks!", "praise")]


def row(number: int, draw: random.Random) -> str:
    """Write a text that says what a strong task answers, what a cheap one answers, and how sure that is."""
    sure, right = draw.choice([0.99, 0.9, 0.6]), draw.choice(LABELS)
    other = LABELS[1 - LABELS.index(right)]
    return f"{number}|{right}|{right if draw.random() < sure else other}|{sure}"


def texts(count: int, *, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [row(number, draw) for number in range(count)]


def parts(request: Request) -> list[str]:
    return str(request.chat[-1].content).splitlines()[0].removeprefix("Input: ").split("|")[:4]


def cheap_answer(request: Request) -> Completion:
    _, _, said, sure = parts(request)
    chances = {label: float(sure) if label == said else 1 - float(sure) for label in LABELS}
    return Completion(text="", model="small", probabilities=chances, usage=Usage(100, 0, 0))


def strong_answer(request: Request) -> Completion:
    _, right, *_ = parts(request)
    chances = {label: 0.99 if label == right else 0.01 for label in LABELS}
    return Completion(text="", model="large", probabilities=chances, usage=Usage(200, 0, 0))


def cheap(answer: Any = cheap_answer, **options: Any) -> Task[str]:
    own: dict[str, Any] = {"client": ScriptedClient(answer), "model": "small", "decisions": True, "price": (1, 1)}
    return Task.of("Sort it.", LABELS, SHOTS, name="cheap", **own | options)


def strong(answer: Any = strong_answer, **options: Any) -> Task[str]:
    own: dict[str, Any] = {"client": ScriptedClient(answer), "model": "large", "decisions": True, "price": (10, 10)}
    own |= {"name": "strong", "calibrate": False}
    return Task.of("Sort it with care.", LABELS, SHOTS, **own | options)


def fitted(first: Task[str] | None = None, second: Task[str] | None = None, **promised: float) -> Task[str]:
    cascade = (first or cheap()).then(second or strong(), **promised or {"agree": 0.85})
    return cascade.calibrate(texts(120) if "right" not in promised else labelled(120))


@cache
def ready() -> Task[str]:
    """Give a fitted cascade that several tests ask."""
    return fitted()


def labelled(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    return [(text, text.split("|")[1]) for text in texts(count, seed=seed)]


def asked(task: Task[Any]) -> int:
    client: ScriptedClient = task.settings.client
    return len(client.requests)


@pytest.mark.parametrize("promised", [{"agree": 0.85}, {"right": 0.85}])
def test_the_strong_task_is_asked_only_where_the_cheap_one_is_not_sure_enough(promised: dict[str, float]) -> None:
    first, second = cheap(), strong()
    cascade = fitted(first, second, **promised)
    before, rows = asked(second), texts(200, seed=1)
    results = list(cascade.map(rows))
    by_cheap = [r for r in results if r.model == "small"]
    assert asked(second) - before == 200 - len(by_cheap) < 120
    assert all("|0.6" not in str(r.inputs["text"]) for r in by_cheap)
    wrong = sum(r.value != str(r.inputs["text"]).split("|")[1] for r in by_cheap)
    assert wrong / len(by_cheap) < 0.15
    assert {r.value == str(r.inputs["text"]).split("|")[1] for r in results if r.model == "large"} == {True}


def test_single_calls_and_those_that_are_awaited_go_the_same_way() -> None:
    cascade = ready()
    unsure, sure = "1|bug|praise|0.6", "2|bug|praise|0.99"
    assert cascade(unsure) == "bug"
    assert cascade(sure) == "praise"
    result: Result[str] = asyncio.run(cascade.arun(unsure))
    assert (result.model, result.task.partition("@")[0], dict(result.inputs)) == ("large", "strong", {"text": unsure})


def test_what_both_took_is_in_one_result_and_one_budget() -> None:
    cascade = ready()
    result = cascade.run("1|bug|praise|0.6")
    assert result.usage == Usage(300, 0, 0)
    assert result.cost == pytest.approx((100 * 1 + 200 * 10) / 1e6)
    with pytest.raises(ServiceError, match=r"the budget of .* is spent"):
        list(cascade.map([f"{n}|bug|praise|0.6" for n in range(50)], max_cost=0.07, concurrency=1))
    sure = list(cascade.map([f"{n}|bug|bug|0.99" for n in range(50)], max_cost=0.07, concurrency=1))
    assert all(one.error is None for one in sure)


def test_a_run_goes_on_where_it_was_and_not_with_another_strong_task(tmp_path: Path) -> None:
    first, second = cheap(), strong()
    cascade, rows, out = fitted(first, second), texts(60, seed=2), tmp_path / "out.jsonl"
    values = [result.value for result in cascade.map(rows, out=out)]
    count = asked(first), asked(second)
    again = list(cascade.map(rows, out=out))
    assert [result.value for result in again] == values
    assert (asked(first), asked(second)) == count
    other = first.then(strong(model="larger"), agree=0.85).calibrate(texts(120))
    with pytest.raises(ConfigError, match="then"):
        list(other.map(rows, out=out))


def test_without_a_fit_nothing_is_asked() -> None:
    first, second = cheap(), strong()
    cascade = first.then(second, agree=0.85)
    for ask in (lambda: cascade("a"), lambda: list(cascade.map(["a"])), lambda: asyncio.run(cascade.arun("a"))):
        with pytest.raises(InputError, match=r"give rows to `.calibrate\(rows\)`, about 200"):
            ask()
    assert (asked(first), asked(second)) == (0, 0)
    with pytest.raises(InputError, match="leave risk= out"):
        cascade.calibrate(texts(20), risk=0.1)


def test_too_few_rows_leave_all_to_the_strong_task_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    cascade = cheap().then(strong(), agree=0.95).calibrate(texts(30))
    assert "every row will be asked of strong: 30 rows are too few" in caplog.text
    assert {result.model for result in cascade.map(texts(20, seed=3))} == {"large"}


def test_a_promise_that_does_not_hold_leaves_the_row_to_the_strong_task() -> None:
    result = ready().run("1|bug|bug|0.99|" + "нет слов здесь " * 40)
    assert result.model == "large"
    assert any("inputs in LATIN" in warning for warning in result.warnings)


def test_a_person_gets_what_the_last_task_is_not_sure_of() -> None:
    def unsure(request: Request) -> Completion:
        done = strong_answer(request)
        return (
            done
            if "|bug|" in str(request.chat[-1].content)
            else Completion(text="", model="large", probabilities={"bug": 0.5, "praise": 0.5}, usage=done.usage)
        )

    cascade = fitted(second=strong(unsure, min_confidence=0.8), right=0.85)
    left = [result for result in cascade.map(texts(100, seed=4)) if result.abstained]
    assert left
    assert all(result.error is None and "|praise|" in str(result.inputs["text"]) for result in left)


def test_three_tasks_are_fitted_from_the_last_to_the_first() -> None:
    middle = strong(name="middle", model="medium", calibrate=None)
    cascade = cheap().then(middle, agree=0.85).then(strong(), right=0.85)
    found = cascade.calibrate(labelled(120))
    assert found.fallback is not None
    assert found.fallback.task.promise.threshold is not None
    assert found("1|bug|praise|0.6") == "bug"
    assert asked(found.fallback.task.fallback.task) == 0


def test_a_strong_task_that_fails_is_an_error_of_its_row() -> None:
    broken = strong(lambda _: ServiceError("down"))
    result = cheap(min_confidence=0.7).then(broken).run("1|bug|praise|0.6")
    assert (result.value, str(result.error)) == (None, "down")
    with pytest.raises(ServiceError, match="down"):
        cheap().then(broken, agree=0.85).calibrate(texts(20))


def test_what_cannot_follow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="both must give the same"):
        cheap().then(Task.of("Sort it.", ["bug", "other"], client=ScriptedClient("bug")), agree=0.85)
    with pytest.raises(InputError, match="nothing says when cheap is sure enough"):
        cheap().then(strong())
    with pytest.raises(InputError, match="give one of them"):
        cheap().then(strong(), agree=0.9, right=0.85)
    with pytest.raises(InputError, match="needs context"):
        cheap().then(Task.of("Sort it.", LABELS, inputs=["text", "context"], client=ScriptedClient("bug")), agree=0.85)
    cascade = ready()
    for refused in (
        lambda: cascade.save(tmp_path / "saved"),
        lambda: cascade.tune(texts(20)),
        lambda: estimate(cascade, ["a"]),
        lambda: BatchRun(cascade, tmp_path / "batch"),
        lambda: together(cascade, strong()),
    ):
        with pytest.raises(InputError):
            refused()


def test_a_cascade_is_evaluated_as_a_whole() -> None:
    report = ready().evaluate(labelled(60, seed=5))
    alone = cheap().evaluate(labelled(60, seed=5))
    assert report.metrics["accuracy"].value > alone.metrics["accuracy"].value + 0.05


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": "tiny"}, "it was fitted for another model (small, not tiny)"),
        ({"examples": SHOTS[:1]}, "it was fitted for another prompt"),
        ({"examples": [*SHOTS, ("It is fine.", "praise")]}, "it was fitted for another prompt"),
    ],
)
def test_a_fit_of_another_model_or_prompt_leaves_every_row_to_the_strong_task(
    changes: dict[str, Any], why: str
) -> None:
    changed = ready().using(**changes)
    single, awaited = changed.run("2|bug|bug|0.99"), asyncio.run(changed.arun("2|bug|bug|0.99"))
    for result in (single, awaited, *changed.map(["2|bug|bug|0.99", "3|bug|bug|0.99"])):
        assert (result.value, result.model) == ("bug", "large")
        assert any(why in warning for warning in result.warnings)


def test_rows_that_the_strong_task_does_not_answer_are_counted_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def picky(request: Request) -> Completion:
        number, *_ = parts(request)
        if int(number) % 10 == 0:
            return Completion(text="I will not say.", model="large", finish_reason="refusal")
        return strong_answer(request)

    cascade = fitted(second=strong(picky, max_repairs=0))
    assert "the promise leaves out the rows that strong does not answer, 12 of 120 here" in caplog.text
    assert cascade.fitted.rows == 108


def test_a_cheap_task_that_gives_no_valid_answer_is_followed() -> None:
    def mute(request: Request) -> Completion:
        return Completion(text="", model="small", finish_reason="refusal")

    first = ready()
    silent = first.using(client=ScriptedClient(mute))
    result = silent.run("1|bug|praise|0.99")
    assert (result.value, result.model) == ("bug", "large")
