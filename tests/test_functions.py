"""Functions and tasks have one face, show what they take, and mean the same wherever the process runs."""

from __future__ import annotations

import inspect
import pydoc
import typing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel

import fewshot
from fewshot import InputError, Task, answer, classify, classify_sentiment, complete_pattern, extract, load, translate
from fewshot.cli.main import main
from fewshot.functions import Function
from fewshot.testing import answers

FUNCTIONS = [value for name in fewshot.__all__ if isinstance(value := getattr(fewshot, name), Function)]
each = pytest.mark.parametrize("function", FUNCTIONS, ids=[function.__name__ for function in FUNCTIONS])


class Order(BaseModel):
    product: str


def test_there_are_ten_functions() -> None:
    assert len(FUNCTIONS) == 10


@each
def test_help_shows_the_signature_the_options_and_the_other_ways_to_call(function: Any) -> None:
    shown = pydoc.plain(pydoc.render_doc(function))
    assert f"{function.__name__}({next(iter(inspect.signature(function).parameters))}" in shown
    for part in ("min_confidence", ".run", ".map", ".acall", ".render"):
        assert part in shown


@each
def test_the_signature_names_every_setting_for_who_completes_it(function: Any) -> None:
    parameters = inspect.signature(function).parameters
    assert {"model", "k", "min_confidence", "votes", "client"} <= set(parameters)
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters.values())


@each
def test_type_hints_can_be_read_while_the_program_runs(function: Any) -> None:
    assert "return" in typing.get_type_hints(function)


def test_the_hint_of_what_is_given_is_the_value_and_no_call() -> None:
    assert typing.get_type_hints(classify_sentiment)["return"] == typing.Literal["positive", "negative", "neutral"]


PUBLIC = [
    (f"{name}.{member}", value)
    for name in fewshot.__all__
    for member, value in inspect.getmembers(getattr(fewshot, name))
    if inspect.isfunction(value) and not member.startswith("_") and value.__module__.startswith("fewshot")
]


@pytest.mark.parametrize("method", [value for _, value in PUBLIC], ids=[name for name, _ in PUBLIC])
def test_type_hints_of_every_public_method_can_be_read(method: Any) -> None:
    assert isinstance(typing.get_type_hints(method), dict)


def test_functions_are_saved_as_folders(tmp_path: Any) -> None:
    folder = classify.save(tmp_path / "kind", ["bug", "question"], k=2)
    assert load(folder).output.labels == ("bug", "question")
    assert load(folder).settings.k == 2
    assert load(classify_sentiment.save(tmp_path / "mood")).examples == classify_sentiment.task().examples
    with pytest.raises(InputError, match="cannot be written as a folder"):
        extract.save(tmp_path / "order", Order)


def test_functions_give_their_task_without_an_input() -> None:
    assert classify_sentiment.task(k=2).settings.k == 2
    assert classify.task(["bug", "question"]).output.labels == ("bug", "question")
    assert extract.task(Order).output.kind == "schema"
    assert translate.using(target="German", k=1).parameters["target"] == "German"
    assert [dict(e.inputs) for e in complete_pattern.task([("a", "b")]).examples] == [{"query": "a"}]
    assert answer.task().inputs == {"question": ..., "context": None}
    with pytest.raises(InputError, match="give all but the inputs"):
        classify_sentiment.task("a text")


def test_functions_answer_many_rows() -> None:
    with answers(lambda request: "bug" if "crash" in request.messages[-1].content else "question"):
        found = classify.map(["It crashes.", "How?"], ["bug", "question"], concurrency=2, max_retries=0)
        assert [result.value for result in found] == ["bug", "question"]
        found = classify.map(["It crashes."], labels=["bug", "question"])
        assert [result.value for result in found] == ["bug"]
    with answers("eins", "zwei") as client:
        assert [r.value for r in translate.map(["one", "two"], target="German", k=0)] == ["eins", "zwei"]
    assert "German" in str(client.requests[0].chat)


def test_functions_are_measured_as_tasks_are() -> None:
    rows = [("Lovely.", "positive"), ("Broken.", "negative")]
    with answers(lambda request: "positive"):
        reports = [
            classify_sentiment.evaluate(rows, calibrate=False),
            classify.evaluate(rows, ["positive", "negative"], calibrate=False),
        ]
    assert [report.metrics["accuracy"].value for report in reports] == [0.5, 0.5]


def test_the_prompt_is_shown_in_both_forms() -> None:
    assert classify_sentiment.render("Fine.", form="text").endswith("Text: Fine.\nSentiment:")
    assert classify_sentiment.render("Fine.")[-1].content == "Text: Fine.\nSentiment:"


def test_settings_may_be_given_in_a_call_of_a_task() -> None:
    task = Task.of("Sort.", ["bug", "question"], [("It crashes.", "bug"), ("How?", "question")])
    assert len(task.render("x", k=1)) == 2 * 1 + 2
    with answers("bug"):
        assert task("x", k=0, max_retries=0) == "bug"
    with pytest.raises(InputError, match=r"unknown input 'kk'.*task takes text"):
        task("x", kk=1)


def test_an_input_named_as_a_setting_is_an_input() -> None:
    task = Task.of(
        "{% block input %}Model: {{ model }}{% endblock %}{% block output %}{{ output }}{% endblock %}", "text"
    )
    assert "Model: T1" in task.render(model="T1", form="text")


def test_settings_and_options_of_a_run_may_stand_together() -> None:
    task = Task.of("Sort.", ["bug", "question"])
    with answers("bug") as client:
        assert [result.value for result in task.map(["x"], concurrency=1, model="other", temperature=0.5)] == ["bug"]
    assert (client.requests[0].model, client.requests[0].temperature) == ("other", 0.5)
    with pytest.raises(InputError, match=r"unknown option 'concurency' \(did you mean 'concurrency'\?\)"):
        task.map(["x"], concurency=2)


def test_rows_come_from_a_file_and_columns_of_other_names(tmp_path: Path) -> None:
    task = Task.of("Sort.", ["bug", "question"])
    path = tmp_path / "rows.csv"
    path.write_text("id,body,text\n1,It crashes.,no\n", encoding="utf-8")
    with answers("bug", "bug", "bug", "bug") as client:
        assert [r.value for r in task.map(path, columns={"text": "body"})] == ["bug"]
        assert [r.value for r in task.map(str(path), columns={"text": "body"})] == ["bug"]
        assert [r.value for r in task.map([{"body": "It crashes."}], columns={"text": "body"})] == ["bug"]
        frame = pd.DataFrame({"body": ["It crashes."], "text": ["no"]}, index=["r1"])
        assert task.map(frame, columns={"text": "body"}).loc["r1", "value"] == "bug"
    assert all("It crashes." in request.messages[-1].content for request in client.requests)
    with pytest.raises(InputError, match="has no column 'boddy'; it has body, text"):
        task.map(frame, columns={"text": "boddy"})
    with pytest.raises(InputError, match="must be many rows"):
        task.map("no such file.csv")


def test_a_function_means_the_shipped_task_whatever_folder_it_is_called_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "sentiment", "--labels", "x,y"]) == 0
    assert load("sentiment").output.labels == ("x", "y")
    assert classify_sentiment.task().output.labels == ("positive", "negative", "neutral")


def test_a_task_and_a_result_are_shown_in_a_line() -> None:
    task = load("sentiment")
    assert repr(task) == "<Task sentiment: text -> positive | negative | neutral, 63 examples>"
    assert repr(extract.task(Order)).startswith("<Task extract: text -> Order")
    with answers("positive"):
        result = task.run("Lovely.", max_retries=0)
    assert repr(result) == "Result(value='positive', method='answer')"
    with answers("nonsense"):
        failed = task.run("Lovely.", max_repairs=0, max_retries=0)
    assert repr(failed).startswith("Result(error=OutputError(")
    assert len(repr(failed)) < 300


def test_notebooks_show_a_result_as_a_table_with_nothing_unescaped() -> None:
    with answers("<b>positive</b> &"):
        html = Task.of("Say.", "text").run("Lovely.")._repr_html_()
    assert "&lt;b&gt;positive&lt;/b&gt; &amp;" in html
    assert html.count("<tr>") >= 4
    assert "sentiment" in load("sentiment")._repr_html_()
