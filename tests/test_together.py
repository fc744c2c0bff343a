"""Several tasks over one text in one call: one request where an endpoint decides, their own side by side elsewhere."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any, Literal

import pytest
from batch_service import Service
from fault_server import Fault, FaultServer
from pydantic import BaseModel

from fewshot import (
    InputError,
    OutputError,
    Request,
    ScriptedClient,
    Task,
    TaskError,
    classify_sentiment,
    estimate,
    load,
    together,
)
from fewshot.authoring.check import check
from fewshot.bulk.batch_api.run import BatchRun
from fewshot.cli.main import main


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


# -- a task folder with several outputs -------------------------------------------------------------------------------

TOML = """
description = "Sort what customers write."

[inputs]
text = "what the customer wrote"

[outputs.topic]
description = "what it is about"
output = ["bug", "praise"]

[outputs.urgent]
description = "whether somebody has to act today"
output = [true, false]

[outputs.moods]
description = "which moods it shows"
output = { any_of = ["joy", "anger"] }

[settings]
k = 2
"""
PROMPT = """
{% block instruction %}Tell {{ output_description }}{% if labels %}: {{ labels | join(", ") }}{% endif %}.{% endblock %}
{% block input %}Text: {{ text }}{% endblock %}
{% block output %}{{ output_name | capitalize }}: {{ output }}{% endblock %}
"""
ROWS = [
    {"text": "It broke.", "topic": "bug", "urgent": True, "moods": ["anger"]},
    {"text": "Thanks!", "topic": "praise", "urgent": False, "moods": ["joy"]},
    {"text": "It is noon.", "topic": "praise", "urgent": False, "moods": []},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "triage"
    place.mkdir()
    (place / "task.toml").write_text(TOML)
    (place / "prompt.jinja").write_text(PROMPT)
    (place / "examples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return place


def sorting(request: Request) -> str:
    asked = str(request.chat[0].content)
    broken = "broke" in request.chat[-1].content
    if "about" in asked:
        return "bug" if broken else "praise"
    return str(broken).lower() if "act today" in asked else "anger" if broken else "joy"


def test_a_folder_with_several_outputs_is_several_tasks_together(folder: Path) -> None:
    client = ScriptedClient(sorting)
    task = load(folder, client=client)
    found = task("It broke again!")
    assert {name: r.value for name, r in found.items()} == {"topic": "bug", "urgent": True, "moods": ["anger"]}
    first = client.requests[0].chat
    assert [turn.content for turn in first] == [
        "Tell what it is about: bug, praise.", "Text: It broke.\nTopic:", "bug", "Text: Thanks!\nTopic:", "praise",
        "Text: It broke again!\nTopic:",
    ]  # fmt: skip
    assert [turn.content for turn in task.render("It broke again!")[:6]] == [turn.content for turn in first]
    assert "Urgent:" in task.render("x", form="text")
    assert repr(task) == "<Task triage: text -> schema, 3 examples>"
    result = task.run("Fine.")
    assert result.task.startswith("triage@1#")
    assert result.usage.input_tokens == sum(r.usage.input_tokens for r in (result.value or {}).values())
    held = task.using(min_confidence={"topic": 0.5})("It broke again!")
    assert (held["topic"].abstained, held["urgent"].abstained) == (True, False)


def test_a_folder_with_several_outputs_is_one_request_where_an_endpoint_decides(folder: Path, tmp_path: Path) -> None:
    with FaultServer() as server:
        server.reply = decided
        task = load(folder, base_url=server.base_url, model="m", decisions=True)
        rows = list(task.map(["a", "b", "a"], out=tmp_path / "o.jsonl"))
        assert len(server.requests) == 2
        assert rows[0].value is not None
        assert (rows[0].value["topic"].value, rows[0].value["moods"].value) == ("bug", ["anger"])
        again = list(task.map(["a", "b", "a"], out=tmp_path / "o.jsonl"))
        assert len(server.requests) == 2
        assert again[0].value is not None
        assert again[0].value["topic"].probabilities == rows[0].value["topic"].probabilities


def test_a_folder_with_several_outputs_is_evaluated_and_fitted_output_by_output(folder: Path) -> None:
    task = load(folder, client=ScriptedClient(sorting), scoring=False)
    rows = [
        {"text": "It broke, too.", "topic": "bug", "urgent": True, "moods": ["anger"]},
        {"text": "It broke a bit.", "topic": "bug", "urgent": False, "moods": ["anger"]},
        {"text": "Lovely.", "topic": "praise", "urgent": False, "moods": ["joy"]},
    ]
    report = task.evaluate(rows)
    assert report.by_field is not None
    assert {name: about["accuracy"] for name, about in report.by_field.items()} == {
        "topic": 1.0, "urgent": pytest.approx(2 / 3), "moods": 1.0,
    }  # fmt: skip
    assert report.metrics["exact_match"].value == pytest.approx(2 / 3)
    pairs = [(row["text"], {name: value for name, value in row.items() if name != "text"}) for row in rows]
    assert task.evaluate(pairs).by_field == report.by_field
    with pytest.raises(InputError, match="row 1 has no 'urgent'"):
        task.evaluate([{"text": "x", "topic": "bug"}])
    with FaultServer() as server:
        server.reply = decided
        fitted = load(folder, base_url=server.base_url, model="m", decisions=True).calibrate(
            [{**rows[n % 3], "text": f"{rows[n % 3]['text']} {n}"} for n in range(24)]
        )
        assert [m.promise.threshold for m in fitted.members if m.promise] == [None] * 3
        risky = load(folder, base_url=server.base_url, model="m", decisions=True).calibrate(
            [{**rows[n % 3], "text": f"{rows[n % 3]['text']} {n}"} for n in range(12)], risk={"moods": 0.1}
        )
        assert [m.name for m in risky.members if m.promise and m.promise.threshold] == ["moods"]
        found = fitted("It broke again!")
        assert all(r.fit.startswith("24 rows") for r in found.values())
        assert found["urgent"].probabilities is not None
        assert found["urgent"].probabilities[True] == pytest.approx(1 / 3, abs=0.1)  # as often as among the rows


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('description = "Sort', 'output = "text"\ndescription = "Sort'), "has 'output' and [outputs]"),
        (('output = ["bug", "praise"]', ""), "[outputs.topic] has no 'output'"),
        (('output = ["bug", "praise"]', 'output = ["bug"]'), "one label leaves nothing to choose"),
        (('output = ["bug", "praise"]', 'output = ["bug", "praise"]\nwrods = {}'), "did you mean 'words'"),
        (("[outputs.topic]", "[outputs.text]"), "'text' cannot be the name of an output"),
        (('["bug", "praise"]', '["bug", "joke"]'), "the example's topic is not valid"),
        (("[outputs.topic]", "[outputs.subject]"), "the example has no 'subject'"),
    ],
)
def test_what_is_wrong_with_several_outputs_is_told_with_its_line(
    folder: Path, change: tuple[str, str], told: str
) -> None:
    (folder / "task.toml").write_text(TOML.lstrip().replace(*change, 1))
    with pytest.raises(TaskError, match=re.escape(told)) as error:
        load(folder)
    assert error.value.line is not None
    assert any(told in f.message for f in check(folder).findings)


def test_the_command_line_runs_checks_shows_and_evaluates_several_outputs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(folder).findings == ()
    with FaultServer() as server:
        server.reply = decided
        who = ["--base-url", server.base_url, "--model", "m", "-o", "decisions=true"]
        assert main(["run", str(folder), "It broke!", *who]) == 0
        assert json.loads(capsys.readouterr().out) == {"topic": "bug", "urgent": True, "moods": ["anger"]}
        (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
        told = ["--file", str(tmp_path / "rows.jsonl"), *who, "--quiet"]
        assert main(["run", str(folder), "--out", str(tmp_path / "o.csv"), *told]) == 0
        assert '{""topic"": ""bug"", ""urgent"": true, ""moods"": [""anger""]}' in (tmp_path / "o.csv").read_text()
        assert main(["eval", str(folder), "--data", str(tmp_path / "rows.jsonl"), "--json", *who]) == 0
        assert json.loads(capsys.readouterr().out)["by_field"]["topic"]["accuracy"] == pytest.approx(1 / 3)
        assert main(["show", str(folder), "--json"]) == 0
        assert [json.loads(line)["output"] for line in capsys.readouterr().out.splitlines()] == [
            "topic", "urgent", "moods",
        ]  # fmt: skip
    for refused in (["tune", str(folder), "--data", str(tmp_path / "rows.jsonl")],):
        assert main(refused) == 2
        assert "each by itself" in capsys.readouterr().err


def test_a_batch_asks_every_output_of_a_row_in_one_round(folder: Path, tmp_path: Path) -> None:
    service = Service()
    replies = {"Topic:": "bug", "Urgent:": "true", "Moods:": "anger, joy"}
    service.answer = lambda text, _: next(said for cue, said in replies.items() if text.endswith(cue))
    task = load(folder, client=service.client(), model="gpt-6-luna", scoring=False)
    run = BatchRun(task, tmp_path / "run")
    run.submit(["It broke.", "It broke.", "Hm."])
    assert run.fetch(wait=True, poll=0).finished
    assert len(service.batches) == 1
    assert len(service.asked) == 6
    results = list(run.results())
    assert [{name: r.value for name, r in (result.value or {}).items()} for result in results] == [
        {"topic": "bug", "urgent": True, "moods": ["joy", "anger"]}
    ] * 3
    assert results[0].cost is not None
    again = [json.loads(line) for line, _ in run.lines()]
    assert again[2]["value"]["urgent"]["value"] is True
