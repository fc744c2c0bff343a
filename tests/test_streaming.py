"""Batch calibration of a stream: results in, corrected results out, the same for the same order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewshot import Completion, ConfigError, InputError, Request, Task
from fewshot.calibration.calibration import batch
from fewshot.calibration.running import Lean, arecalibrated, recalibrated
from fewshot.errors import ServiceError
from fewshot.models.scripted import ScriptedClient
from fewshot.result import Result
from fewshot.types import TokenLogprob

SHARES = [0.6, 0.9, 0.7, 0.95, 0.8, 0.65, 0.9, 0.85, 0.75, 0.7, 0.9, 0.6]


def scored(row: int, yes: float, **changes: Any) -> Result[str]:
    value = "yes" if yes > 0.5 else "no"
    found: dict[str, Any] = {"value": value, "probabilities": {"yes": yes, "no": 1 - yes}, "method": "logprobs"}
    return Result(row=row, **found | changes)


def logs(yes: float) -> dict[str, float]:
    return {"yes": math.log(yes), "no": math.log(1 - yes)}


def yes(result: Result[Any]) -> float:
    assert result.probabilities is not None
    return result.probabilities["yes"]


def test_each_row_is_corrected_by_the_mean_of_all_so_far_and_the_first_ten_by_theirs() -> None:
    found = list(recalibrated(scored(row, share) for row, share in enumerate(SHARES)))
    rows = [logs(share) for share in SHARES]
    first, second, last = batch(rows[:10]), batch(rows[:11]), batch(rows)
    wanted = [first.apply(row)["yes"] for row in rows[:10]]
    wanted += [second.apply(rows[10])["yes"], last.apply(rows[11])["yes"]]
    assert [yes(result) for result in found] == pytest.approx(wanted)
    assert {result.calibration for result in found} == {"running"}
    assert [result.value for result in found][:2] == ["no", "yes"], "what was the likelier label for all is no more so"


def test_the_labels_frequencies_may_be_known() -> None:
    skewed = recalibrated((scored(n, s) for n, s in enumerate(SHARES)), prior={"yes": 0.9, "no": 0.1})
    assert sum(result.value == "yes" for result in skewed) == 12
    with pytest.raises(InputError, match="prior"):
        list(recalibrated((scored(n, s) for n, s in enumerate(SHARES)), prior={"yes": 1.0}))


def test_an_unsure_label_is_held_back() -> None:
    found = list(recalibrated((scored(n, s) for n, s in enumerate(SHARES)), min_confidence=0.7))
    assert [(r.value is None, r.abstained) for r in found] == [(max(yes(r), 1 - yes(r)) < 0.7,) * 2 for r in found]
    assert any(r.abstained for r in found)


def test_too_few_rows_are_let_be_with_a_warning() -> None:
    found = list(recalibrated([scored(0, 0.6), scored(1, 0.9)]))
    assert [(yes(r), r.calibration) for r in found] == [(0.6, "none"), (0.9, "none")]
    assert all("too few" in r.warnings[0] for r in found)


def test_a_failed_row_keeps_its_place_and_counts_for_nothing() -> None:
    failed: Result[str] = Result(row=3, error=ServiceError("down"))
    rows = [scored(n, s) for n, s in enumerate(SHARES[:3])] + [failed]
    rows += [scored(n, s) for n, s in enumerate(SHARES[3:], start=4)]
    found = list(recalibrated(rows))
    assert found[3] is failed
    plain = list(recalibrated(scored(n, s) for n, s in enumerate(SHARES)))
    assert [yes(r) for r in found if r.error is None] == [yes(r) for r in plain]


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        ([scored(1, 0.6)], InputError, "ordered=True"),
        ([scored(0, 0.6, calibration="batch")], InputError, "calibrate=False"),
        ([scored(0, 0.6, method="votes")], ConfigError, "no label probabilities"),
        ([scored(0, 0.6, probabilities=None)], ConfigError, "no label probabilities"),
    ],
)
def test_what_cannot_be_corrected_is_refused(rows: list[Result[str]], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        list(recalibrated(rows))


def test_the_asynchronous_form_gives_the_same() -> None:
    rows = [scored(n, s) for n, s in enumerate(SHARES)]

    async def stream() -> AsyncIterator[Result[str]]:
        for row in rows:
            yield row

    async def collected() -> list[Result[str]]:
        return [result async for result in arecalibrated(stream())]

    assert asyncio.run(collected()) == list(recalibrated(rows))


class Leaning(ScriptedClient):
    """Prefers "yes", and replies in no particular order."""

    top_logprobs = 20

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        self.requests.append(request)
        number = int("".join(filter(str.isdigit, request.chat[-1].content)))
        for _ in range(number * 7 % 5):
            await asyncio.sleep(0)
        share = SHARES[number % 12]
        top = ((b"yes", math.log(share)), (b"no", math.log(1 - share)))
        return Completion(text="y", finish_reason="length", tokens=(TokenLogprob(*top[0], top),))


def told(results: Any) -> list[Any]:
    return [(r.row, r.value, r.probabilities, r.calibration) for r in results]


def test_a_run_that_is_gone_on_with_comes_to_the_same_whatever_the_concurrency(tmp_path: Path) -> None:
    task = Task.of("Judge.", ["yes", "no"], client=Leaning(), calibrate=False)
    texts = [f"text {n}" for n in range(40)]
    whole = told(recalibrated(task.map(texts, concurrency=1)))
    assert told(recalibrated(task.map(texts, concurrency=8))) == whole
    cut = recalibrated(task.map(texts, out=tmp_path / "out.jsonl"))
    assert told(next(cut) for _ in range(25)) == whole[:25]
    cut.close()
    assert told(recalibrated(task.map(texts, out=tmp_path / "out.jsonl"))) == whole
    assert "running" not in (tmp_path / "out.jsonl").read_text(), "what is kept are the plain results"


def test_a_bad_prior_or_confidence_is_refused() -> None:
    rows = list(Task.of("Judge.", ["yes", "no"], client=Leaning(), calibrate=False).map(["1", "2"]))
    with pytest.raises(InputError, match="min_confidence=9: must be from 0 to 1"):
        list(recalibrated(rows, min_confidence=9))
    with pytest.raises(InputError, match="prior must give each of yes, no a share"):
        list(recalibrated(rows, prior={"yes": "often", "no": 0.5}))  # type: ignore[dict-item]


def test_a_mean_that_is_far_from_even_is_told_and_one_that_was_corrected_or_is_near_is_not() -> None:
    lean, near, few, corrected = Lean(), Lean(), Lean(), Lean()
    for row in range(20):
        lean.add(scored(row, 0.95))
        near.add(scored(row, 0.55))
        corrected.add(replace(scored(row, 0.95), calibration="running"))
    few.add(scored(0, 0.95))
    assert lean.told == "the mean probabilities of 20 rows are far from even (yes 0.95, no 0.05)"
    assert [near.told, few.told, corrected.told] == ["", "", ""]
