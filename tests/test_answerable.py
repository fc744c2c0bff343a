"""Answers that may be missing: no answer is given where there is more likely none."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest

from fewshot import Completion, ConfigError, InputError, Request, Task
from fewshot.inference.answerable import chances, verdict
from fewshot.models.scripted import ScriptedClient
from fewshot.outputs.kinds import Text
from fewshot.types import TokenLogprob


def first(written: str, **shares: float) -> TokenLogprob:
    top = tuple((token.replace("_", " ").encode(), math.log(share)) for token, share in shares.items())
    return TokenLogprob(written.encode(), dict(top)[written.encode()], top)


def none(*tokens: TokenLogprob, value: Any) -> float:
    found = chances("I don't know", tokens, value)
    assert found is not None
    assert math.exp(found["answer"]) + math.exp(found["none"]) == pytest.approx(1)
    return math.exp(found["none"])


def test_every_listed_token_that_begins_the_phrase_counts() -> None:
    assert none(first(" Paris", _Paris=0.6, _I=0.2, i=0.1), value="Paris") == pytest.approx(0.3)


def test_the_token_that_was_written_counts_for_what_became_of_it() -> None:
    assert none(first(" I", _I=0.6, _It=0.3), value="I, Claudius") == pytest.approx(0.0, abs=0.001)
    assert none(first(" Sorry", _Sorry=0.6, _I=0.3), value=None) == pytest.approx(0.9)


def test_nothing_is_certain_of_what_is_not_listed() -> None:
    assert 0 < none(first(" Paris", _Paris=1.0), value="Paris") < 0.01


def test_without_listed_tokens_nothing_is_said() -> None:
    assert chances("none", (), "x") is None
    assert chances("none", (TokenLogprob(b"x", -0.1),), "x") is None


def test_no_answer_wins_where_it_is_more_probable_and_the_model_may_always_say_so() -> None:
    assert verdict("Oz", {"answer": 0.4, "none": 0.6}, 0.9) == (None, 0.6)
    assert verdict("Rome", {"answer": 0.8, "none": 0.2}, 0.5) == ("Rome", 0.4)
    assert verdict(None, {"answer": 0.8, "none": 0.2}, 0.5) == (None, 0.2)


class Inventing(ScriptedClient):
    """Answers every question, and hesitates a little where it invents."""

    top_logprobs = 20

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        self.requests.append(request)
        odd = int("".join(filter(str.isdigit, request.chat[-1].content))) % 2
        return Completion(text="Rome", tokens=(first("Rome", Rome=0.7, I=0.1 if odd else 0.25),))


ROWS = [(f"number {n}", "Rome" if n % 2 else None) for n in range(60)]


def asking(client: ScriptedClient | None = None, **options: Any) -> Task[Any]:
    task = Task.of("Answer.", "text", client=client or Inventing(), **options)
    return task.using(output=Text(optional="I don't know"))


def test_a_result_tells_how_probable_an_answer_is_at_all_in_one_request() -> None:
    client = Inventing()
    result = asking(client).run("number 2")
    assert (result.value, len(client.requests), client.requests[0].top_logprobs) == ("Rome", 1, 20)
    assert result.probabilities == {"answer": pytest.approx(0.75), "none": pytest.approx(0.25)}
    assert result.confidence == pytest.approx(0.75 * 0.7)


def test_a_text_that_must_be_there_is_asked_for_as_before() -> None:
    client = Inventing()
    result = Task.of("Answer.", "text", client=client).run("number 2")
    assert (result.probabilities, result.confidence) == (None, pytest.approx(0.7))
    assert client.requests[0].top_logprobs == 0


def test_calibrated_on_rows_it_gives_no_answer_where_it_would_invent_one() -> None:
    fitted = asking().calibrate(ROWS)
    assert (fitted("number 101"), fitted("number 102")) == ("Rome", None)
    result = fitted.run("number 102")
    assert result.probabilities is not None
    assert result.probabilities["none"] > 0.9
    assert (result.abstained, result.error, result.calibration) == (False, None, fitted.fitted.calibration.name)  # type: ignore[union-attr]


def test_a_risk_is_promised_for_answers_and_for_none() -> None:
    fitted = asking().calibrate(ROWS * 2, risk=0.1)
    assert fitted.fitted is not None
    assert fitted.fitted.threshold is not None
    assert fitted.fitted.threshold.error == 0
    assert fitted.settings.min_confidence == fitted.fitted.threshold.threshold


def test_a_row_whose_answer_never_becomes_valid_is_left_out_and_counts_as_wrong() -> None:
    class Silent(Inventing):
        async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
            found = await super().complete(request, deadline=deadline)
            blank = "number 13" in request.chat[-1].content
            return Completion(text="", finish_reason="refusal", tokens=found.tokens) if blank else found

    fitted = asking(Silent()).calibrate(ROWS, risk=0.2)
    assert fitted.fitted is not None
    assert fitted.fitted.fit is not None
    assert (fitted.fitted.rows, len(fitted.fitted.fit.held_out)) == (60, 59)


def test_the_share_of_questions_without_an_answer_can_be_told() -> None:
    rows = [(text, "Rome" if number % 3 else None) for number, (text, _) in enumerate(ROWS)]
    rare = asking().calibrate(rows, prior={"answer": 0.999, "none": 0.001}).run("number 3")
    often = asking().calibrate(rows, prior={"answer": 0.001, "none": 0.999}).run("number 3")
    assert (rare.value, often.value) == ("Rome", None)


def test_without_logprobs_votes_agree_as_before() -> None:
    words = cycle(["Rome", "Rome", "I don't know", "Rome", "Oz"])
    voting = asking(ScriptedClient(lambda _: next(words)), votes=5)
    result = voting.run("number 1")
    assert (result.value, result.method, result.confidence) == ("Rome", "votes", pytest.approx(0.6))
    assert voting.calibrate(ROWS, risk=0.4).fitted.calibration is None  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="give risk="):
        voting.calibrate(ROWS)


def test_a_prior_names_both_outcomes() -> None:
    with pytest.raises(InputError, match="answer, none"):
        asking().calibrate(ROWS, prior={"yes": 1.0})


def test_an_evaluation_tells_questions_with_and_without_an_answer_apart() -> None:
    report = asking().evaluate(ROWS[:20], pool=ROWS[20:], k=0)
    figures = {name: figure.value for name, figure in report.metrics.items()}
    assert figures["answerable_kept"] == figures["unanswerable_accuracy"] == figures["auroc_answerable"] == 1


def test_an_answer_that_is_cut_off_is_asked_again_without_the_lists_of_every_token() -> None:
    class Rambling(Inventing):
        async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
            completion = await super().complete(request, deadline=deadline)
            return replace(completion, finish_reason="length" if len(self.requests) == 1 else "stop")

    client = Rambling()
    result = asking(client).run("number 2")
    assert [request.top_logprobs for request in client.requests] == [20, 0]
    assert result.probabilities == {"answer": pytest.approx(0.75), "none": pytest.approx(0.25)}
    assert asking(client, max_tokens=10_000).run("number 3").value == "Rome"
    assert client.requests[-1].top_logprobs == 5
