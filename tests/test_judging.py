"""Answers judged where there is no right one: both ways, and beside people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fewshot import InputError, Request, ScriptedClient, Task, judge, load

PAIRS = [{"request": f"Question {n}", "first": f"good {n}", "second": f"bad {n}"} for n in range(12)]


def shown(request: Request) -> tuple[str, str]:
    lines = str(request.chat[-1].content).splitlines()
    first, second = (next(x for x in lines if x.startswith(name)).partition(": ")[2] for name in ("First", "Second"))
    return first, second


def fair(request: Request) -> str:
    return "first" if "good" in shown(request)[0] else "second"


def judging(answer: Any, name: str = "judge") -> Task[Any]:
    return load(name, client=ScriptedClient(answer), scoring=False)


def test_a_pair_is_asked_both_ways_and_a_fair_judge_says_the_same() -> None:
    task = judging(fair)
    found = judge(PAIRS, task)
    assert len(task.settings.client.requests) == 24
    assert {(j.value, j.doubt) for j in found.judgements} == {("first", False)}
    assert found.shares["first"].value == 1
    assert found.steady is not None
    assert found.steady.low > 0.7
    assert found.position is not None
    assert found.position.difference == 0
    assert found.position.low < 0 < found.position.high
    assert (found.agreement, found.kappa) == (None, None)


def test_who_prefers_the_first_place_gives_ties_in_doubt_and_is_told_so() -> None:
    found = judge(PAIRS, judging(lambda _: "first"))
    assert {(j.value, j.doubt) for j in found.judgements} == {("tie", True)}
    assert found.position is not None
    assert found.position.difference == 1
    assert found.position.low > 0.5
    assert found.steady is not None
    assert found.steady.value == 0
    assert "12 judged, 12 in doubt" in str(found)


def test_a_judge_is_held_against_people() -> None:
    people = [{**row, "winner": "second" if n < 3 else "first"} for n, row in enumerate(PAIRS)]
    swapped = [{**row, "first": row["second"], "second": row["first"], "winner": "second"} for row in PAIRS]
    found = judge([*people, *swapped], judging(fair), people="winner")
    assert found.agreement is not None
    assert found.kappa is not None
    assert found.agreement.value == pytest.approx(21 / 24)
    assert found.kappa.value == pytest.approx(0.75, abs=0.01)
    assert 0.3 < found.kappa.low < 0.75 < found.kappa.high < 1
    json.dumps(found.to_dict())


def test_a_failed_answer_is_no_judgement(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in PAIRS), encoding="utf-8")
    task = judging(lambda r: "who knows" if shown(r) == ("bad 3", "good 3") else fair(r)).using(max_repairs=0)
    found = judge(file, task)
    assert [(j.value, j.doubt) for j in found.judgements if j.value != "first"] == [(None, False)]
    assert found.shares["first"].value == 1
    assert "11 of 12 judged, 0 in doubt" in str(found)
    assert "1 of 24 requests got no answer, the first: " in str(found)
    none = judge(PAIRS, judging(lambda _: "who knows").using(max_repairs=0), people=None)
    assert (none.shares, none.steady, none.position) == ({}, None, None)
    assert "0 of 12 judged" in str(none)


def test_ratings_lean_as_far_above_peoples_as_they_are() -> None:
    rows = [{"request": "Say hello.", "answer": f"Hello {n}", "stars": "45"[n % 2]} for n in range(10)]
    found = judge(rows, judging(lambda _: "5", "rate"), people="stars")
    assert found.lean is not None
    assert found.lean.value == 0.5
    assert 0 < found.lean.low < found.lean.high < 1
    assert found.position is None
    assert found.agreement is not None
    assert found.agreement.value == 0.5
    assert judge(rows[:9], judging(lambda _: "5", "rate"), people="stars").lean is None


def test_a_task_that_cannot_judge_is_refused() -> None:
    with pytest.raises(InputError, match="a judge gives labels"):
        judge(PAIRS, Task.of("Say.", "text", inputs=["first", "second"], client=ScriptedClient("x")))
    both = Task.of("Which?", ["first", "second"], inputs={"first": ..., "second": ""}, client=ScriptedClient("first"))
    with pytest.raises(InputError, match="row 1 does not hold two answers"):
        judge([{"first": "a"}], both)
    with pytest.raises(InputError, match="row 1 has no column 'request'"):
        judge([{"first": "a", "second": "b"}], judging(fair))
