"""The decisions endpoint: our shots go in, a distribution comes out, and where there is none the next way is taken."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from fewshot import Completion, OutputError, ScriptedClient, ServiceError, Task, classify_sentiment
from fewshot.models.wire.decisions import decision_body, read_decision
from fewshot.models.wire.response import Reply
from fewshot.types import Message, Prefix, Request, TokenLogprob

REQUEST = Request(
    model="m",
    prefix=Prefix((Message("system", "Judge."), Message("user", "Nice."), Message("assistant", "good"))),
    messages=(Message("user", "Fine."),),
    choices=(("good", "praise"), ("bad", "")),
)


def reply(**answer: Any) -> Reply:
    body = {"model": "m", "answers": [answer], "usage": {"input_tokens": 9, "output_tokens": 1}}
    return Reply(200, {}, json.dumps(body).encode())


def test_the_body_holds_the_shots_as_turns_and_the_labels_as_choices() -> None:
    body = json.loads(decision_body(REQUEST))
    assert [turn["role"] for turn in body["input"]] == ["user", "assistant", "user"]
    (question,) = body["questions"]
    assert question["instructions"] == "Judge."
    assert question["choices"] == [{"value": "good", "description": "praise"}, {"value": "bad"}]


def test_the_distribution_is_read_and_sums_to_one() -> None:
    listed = [{"value": "good", "probability": 0.6}, {"value": "bad", "probability": 0.2}]
    completion = read_decision(reply(type="choice", choice="good", probabilities=listed), REQUEST, attempts=1)
    assert completion.probabilities == {"good": pytest.approx(0.75), "bad": pytest.approx(0.25)}
    assert (completion.text, completion.usage.input_tokens) == ("good", 9)


def test_a_refusal_is_no_answer() -> None:
    assert read_decision(reply(type="refusal", name=None), REQUEST, attempts=1).finish_reason == "refusal"


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "choice"},
        {"type": "choice", "probabilities": [{"value": "good", "probability": 0.6}]},
        {"type": "choice", "probabilities": [{"value": v, "probability": "x"} for v in ("good", "bad")]},
        {"type": "choice", "probabilities": [{"value": v, "probability": 0} for v in ("good", "bad")]},
    ],
)
def test_rubbish_is_a_service_error_that_another_try_may_mend(answer: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        read_decision(reply(**answer), REQUEST, attempts=1)
    assert caught.value.transient


def test_the_shared_server_decides_and_its_refusal_is_an_error(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(shared / "servers"))
    chaos = __import__("chaos")
    with chaos.spawn(seed=3) as server:
        options: dict[str, Any] = {"base_url": server.base_url, "model": "chaos-1", "decisions": True, "timeout": 10.0}
        result = classify_sentiment.run("I love it.", **options)
        assert (result.value, result.method, result.attempts) == ("positive", "decisions", 1)
        assert result.confidence == pytest.approx(0.9, abs=0.01)
        with pytest.raises(OutputError, match="refused"):
            classify_sentiment("I love it. [[chaos:refusal]]", **options)
    sys.modules.pop("chaos", None)


def test_a_server_without_decisions_is_asked_another_way_and_not_again() -> None:
    with FaultServer() as server:
        server.answer = lambda _: "positive"
        options: dict[str, Any] = {"base_url": server.base_url, "model": "m", "decisions": True, "timeout": 10.0}
        server.play("404_path")
        first = classify_sentiment.run("I love it.", **options)
        assert (first.value, first.method) == ("positive", "answer")
        asked = len(server.requests)
        again = classify_sentiment.run("I love it too.", **options)
        assert (again.value, len(server.requests) - asked) == ("positive", 1)


def test_a_probability_that_a_softmax_rounds_beyond_one_is_one() -> None:
    listed = [{"value": "good", "probability": 1.0000001192092896}, {"value": "bad", "probability": 0}]
    completion = read_decision(reply(type="choice", probabilities=listed), REQUEST, attempts=1)
    assert completion.probabilities == {"good": 1.0, "bad": 0.0}


def test_a_client_that_knows_of_no_decisions_is_asked_another_way() -> None:
    client = ScriptedClient(lambda _: "yes")
    task = Task.of("Nice?", ["yes", "no"], client=client, decisions=True)
    assert (task.run("a day").value, task.run("a night").method) == ("yes", "answer")
    assert [bool(request.choices) for request in client.requests] == [True, False, False]


class Both(ScriptedClient):
    """Decides, and lists log-probabilities too, which say something else; some have no decisions."""

    top_logprobs = 20

    def __init__(self, *, decides: bool = True) -> None:
        super().__init__(self.answer)
        self.decides = decides

    def answer(self, request: Request) -> Completion:
        good = 0.4 if "good" in request.chat[-1].content else 0.1
        if not request.choices:
            top = ((b"no", math.log(good)), (b"yes", math.log(1 - good)))
            return Completion(text="yes", tokens=(TokenLogprob(*top[1], top),))
        if not self.decides:
            raise ServiceError("no such path", status=404)
        return Completion(text="no", probabilities={"yes": good, "no": 1 - good})


ROWS = [(f"a {word} day {n}", "yes" if word == "good" else "no") for n in range(30) for word in ("good", "odd")]


def test_decisions_are_calibrated_by_decisions_and_nothing_else() -> None:
    task = Task.of("Nice?", ["yes", "no"], client=Both(), decisions=True)
    assert task("a good day") == "no"
    fitted = task.calibrate(ROWS)
    result = fitted.run("a good day")
    assert (result.value, result.method, result.calibration != "none") == ("yes", "decisions", True)
    other = fitted.using(decisions=False).run("a good day")
    assert (other.method, other.calibration) == ("logprobs", "none")


def test_where_there_are_no_decisions_log_probabilities_are_calibrated_and_it_is_asked_once() -> None:
    client = Both(decides=False)
    fitted = Task.of("Nice?", ["yes", "no"], client=client, decisions=True).calibrate(ROWS)
    assert sum(bool(request.choices) for request in client.requests) <= 4
    result = fitted.run("a good day")
    assert (result.value, result.method, result.calibration != "none") == ("yes", "logprobs", True)
