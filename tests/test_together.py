"""Several tasks over one text in one call: one request where an endpoint decides, their own side by side elsewhere."""

from __future__ import annotations

import json
import threading
from typing import Any, Literal

import pytest
from fault_server import Fault, FaultServer
from pydantic import BaseModel

from fewshot import InputError, OutputError, Request, ScriptedClient, Task, classify_sentiment, estimate, together


class Urgency(BaseModel):
    urgent: bool
    level: Literal["low", "high"]


def tasks(**options: Any) -> tuple[Task[Any], ...]:
    shots = [("It broke.", "bug"), ("Thanks!", "praise")]
    return (
        Task.of("Sort it.", ["bug", "praise"], shots, name="topic", **options),
        Task.of("Moods?", {"any_of": ["joy", "anger"]}, [("Grr", ["anger"])], name="moods", **options),
        Task.of("How urgent?", Urgency, name="urgency", **options),
    )


def answer(request: Request) -> str:
    asked = str(request.chat[0].content)
    return "bug" if "Sort" in asked else "anger" if "Moods" in asked else '{"urgent": true, "level": "high"}'


def decided(body: dict[str, Any]) -> Fault | None:
    if "questions" not in body:
        return None
    answers: list[dict[str, Any]] = []
    for question in body["questions"]:
        if question["type"] == "predicate":
            answers.append({"type": "predicate", "probability": 0.8 if "anger" in question["name"] else 0.1})
        else:
            values = [choice["value"] for choice in question["choices"]]
            listed = [{"value": v, "probability": 0.7 if n == 0 else 0.3} for n, v in enumerate(values)]
            answers.append({"type": "choice", "choice": values[0], "probabilities": listed})
    return 200, {}, json.dumps({"answers": answers, "usage": {"input_tokens": 100}}).encode()


def test_each_task_has_its_own_result() -> None:
    client = ScriptedClient(answer)
    found = together(*tasks(client=client))("It broke!")
    assert list(found) == ["topic", "moods", "urgency"]
    assert found["topic"].value == "bug"
    assert found["moods"].value == ["anger"]
    assert found["urgency"].value == Urgency(urgent=True, level="high")
    assert len(client.requests) == 3


def test_a_decisions_endpoint_is_asked_once_for_all() -> None:
    with FaultServer() as server:
        server.reply = decided
        asked = together(*tasks(base_url=server.base_url, model="m", decisions=True))
        result = asked.run("It broke!")
        assert len(server.requests) == 1
        body = server.requests[0].body
        assert [q["type"] for q in body["questions"]] == ["choice", "predicate", "predicate", "choice", "choice"]
        assert [turn["content"] for turn in body["input"]] == ["Input: It broke!\nOutput:"]
        assert "It broke.\nOutput:\nbug" in body["questions"][0]["instructions"]
        assert result.value is not None
        assert {name: r.method for name, r in result.value.items()} == dict.fromkeys(result.value, "decisions")
        assert result.value["topic"].probabilities == {"bug": pytest.approx(0.7), "praise": pytest.approx(0.3)}
        assert result.value["moods"].probabilities == {"joy": 0.1, "anger": 0.8}
        assert result.value["urgency"].value == Urgency(urgent=True, level="low")
        assert (result.usage.input_tokens, result.attempts) == (100, 1)
        assert [r.value is not None for r in asked.map(["a", "b", "a"])] == [True] * 3
        assert len(server.requests) == 3
        told = estimate(asked, ["one", "two"])
        assert told.requests.likely == 2
        assert told.input_tokens.likely > 100


def test_a_task_with_a_fit_is_asked_as_it_was_when_it_was_fitted() -> None:
    with FaultServer() as server:
        server.reply = decided
        topic, moods, _ = tasks(base_url=server.base_url, model="m", decisions=True)
        fitted = topic.calibrate([(f"It broke {n}", "bug" if n % 3 else "praise") for n in range(30)])
        server.requests.clear()
        result = together(fitted, moods).run("It broke!")
        assert [len(request.body["questions"]) for request in server.requests] == [1, 2]
        assert result.value is not None
        assert result.value["topic"].fit == fitted.run("It broke!").fit != ""


def test_a_server_without_decisions_is_asked_by_each_task_in_its_own_way() -> None:
    with FaultServer() as server:
        server.reply = lambda body: (404, {}, b"{}") if "questions" in body else None
        server.answer = lambda body: "bug" if "Sort" in str(body) else "anger" if "Moods" in str(body) else "{}"
        asked = together(*tasks(base_url=server.base_url, model="m", decisions=True)[:2])
        found = asked("It broke!")
        assert (found["topic"].value, found["moods"].value) == ("bug", ["anger"])
        assert [seen.path.rpartition("/")[2] for seen in server.requests].count("decisions") == 1


def test_a_task_that_gets_no_answer_is_told_with_its_name() -> None:
    client = ScriptedClient(lambda request: "well" if "Sort" in request.chat[0].content else "anger")
    asked = together(*tasks(client=client)[:2])
    result = asked.run("x")
    assert (result.value, type(result.error)) == (None, OutputError)
    assert str(result.error).startswith("topic: ")
    with pytest.raises(OutputError, match="topic: "):
        asked("x")


def test_rows_are_saved_resumed_and_asked_once_each(tmp_path: Any) -> None:
    client = ScriptedClient(answer)
    asked = together(*tasks(client=client))
    first = list(asked.map(["a", "b", "a"], out=tmp_path / "o.jsonl"))
    assert len(client.requests) == 6
    again = list(asked.map(["a", "b", "a"], out=tmp_path / "o.jsonl"))
    assert len(client.requests) == 6
    assert first[0].value is not None
    assert again[0].value is not None
    assert {n: r.value for n, r in again[0].value.items()} == {n: r.value for n, r in first[0].value.items()}
    assert json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])["value"]["moods"]["value"] == ["anger"]


def test_options_hold_for_all_and_inputs_are_joined() -> None:
    client = ScriptedClient(lambda request: "positive" if "sentiment" in request.chat[0].content else "bug")
    pair = Task.of("Sort it.\n", ["bug", "praise"], name="topic", inputs=["text", "title"])
    asked = together(classify_sentiment, pair, client=client, scoring=False)
    found = asked(text="It broke.", title="Crash")
    assert {name: r.value for name, r in found.items()} == {"sentiment": "positive", "topic": "bug"}
    with pytest.raises(InputError, match="title"):
        asked(text="It broke.")


def test_calls_from_many_threads_are_not_mixed() -> None:
    with FaultServer() as server:
        server.reply = decided
        asked = together(*tasks(base_url=server.base_url, model="m", decisions=True))
        found: list[Any] = []
        threads = [threading.Thread(target=lambda n=n: found.append(asked(f"text {n}"))) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(found) == 6
        assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ((), "there are 0"),
        ((tasks()[0],), "there are 1"),
        ((tasks()[0], tasks()[0]), "two have the name 'topic'"),
        ((tasks()[0], "sentiment"), "is not a task"),
        ((tasks(model="a")[0], tasks(model="b")[1]), "different models"),
    ],
)
def test_what_cannot_be_asked_together_is_refused(members: tuple[Any, ...], told: str) -> None:
    with pytest.raises(InputError, match=told):
        together(*members)
