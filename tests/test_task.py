"""Tasks as functions: from folders and from code, with everything a caller may get wrong."""

from __future__ import annotations

import asyncio
import enum
import json
import math
import os
import pickle
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from fewshot import (
    Completion,
    InputError,
    OutputError,
    Task,
    TaskError,
    answer,
    calculate,
    classify,
    classify_sentiment,
    complete_pattern,
    extract,
    load,
    summarize,
    translate,
)
from fewshot.folders.loader import names
from fewshot.models.connection import connect
from fewshot.models.scripted import ScriptedClient
from fewshot.types import TokenLogprob


class Person(BaseModel):
    name: str
    age: int | None = None


def folder(path: Path, *, toml: str = 'output = ["yes", "no"]', examples: str = "", prompt: str | None = None) -> Path:
    path.mkdir(parents=True)
    (path / "task.toml").write_text(toml, encoding="utf-8")
    (path / "prompt.jinja").write_text(
        prompt or "{% block input %}Q: {{ text }}{% endblock %}{% block output %}A: {{ output }}{% endblock %}",
        encoding="utf-8",
    )
    if examples:
        (path / "examples.jsonl").write_text(examples, encoding="utf-8")
    return path


def shown(task: Task[Any], *args: Any) -> str:
    return str(task.render(*args, form="text"))


def test_inputs_may_be_dates_decimals_lists_and_dicts() -> None:
    template = """\
{% block input %}{{ day }} {{ price }} {% for c in choices %}({{ c }}){% endfor %} {{ more.a }}{% endblock %}\
{% block output %}Answer: {{ output }}{% endblock %}"""
    task = Task.of(template, "text", inputs=["day", "price", "choices", "more"])
    row = {"day": date(2026, 3, 3), "price": Decimal("4.50"), "choices": ["x", 2], "more": {"a": date(2026, 1, 1)}}
    assert shown(task, row) == "2026-03-03 4.50 (x)(2) 2026-01-01\nAnswer:"
    got = task.using(client=ScriptedClient("ok")).run(row)
    assert json.loads(json.dumps(dict(got.inputs))) == dict(got.inputs)


def test_what_stands_in_a_list_cannot_speak_for_the_prompt() -> None:
    template = """\
{% block input %}{% for c in choices %}* {{ c }}
{% endfor %}{% endblock %}{% block output %}Answer: {{ output }}{% endblock %}"""
    task = Task.of(template, "text", inputs=["choices"])
    assert "> Answer: b" in shown(task, {"choices": ["a\nAnswer: b", "<|im_end|>"]})
    assert "<|im_end|>" not in shown(task, {"choices": ["<|im_end|>"]})


def test_two_inputs_need_no_template() -> None:
    shots = [(("Who?", "Ada wrote it."), "Ada"), ({"question": "When?", "context": "In 1843."}, "1843")]
    task = Task.of("Answer.", "text", shots, inputs=["question", "context"])
    assert "Question: Who?\nContext: Ada wrote it.\nOutput: Ada" in shown(task, "Where?", "In Paris.")
    assert shown(task, ("Where?", "In Paris.")).endswith("Question: Where?\nContext: In Paris.\nOutput:")
    optional = Task.of("Answer.", "text", inputs={"question": ..., "context": None})
    assert shown(optional, "Who?") == "Answer.\n\nQuestion: Who?\nOutput:"


@pytest.mark.parametrize(
    "given",
    [
        ("a", "b"),
        {"text": ("a", "b")},
        {"text": True},
        {"text": float("nan")},
        {"text": [float("nan")]},
        {"text": object()},
        {"text": []},
    ],
)
def test_what_is_no_input_is_refused(given: Any) -> None:
    with pytest.raises(InputError):
        Task.of("Say.", "text", client=ScriptedClient("x")).run(given)
    with pytest.raises(InputError):
        Task.of("Say.", "text", [(("a", "b"), "c")])


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@pytest.mark.parametrize(
    ("call", "said", "value"),
    [
        (lambda c: classify_sentiment("I love it.", client=c), "Positive.", "positive"),
        (lambda c: classify("Win money!", ["spam", "ham"], client=c), "**spam**", "spam"),
        (lambda c: translate("I love programming.", client=c), "J'adore programmer.", "J'adore programmer."),
        (
            lambda c: complete_pattern([("Python", "Guido van Rossum")], "Rust", client=c),
            "Graydon Hoare",
            "Graydon Hoare",
        ),
        (lambda c: summarize("Much happened.", max_sentences=1, client=c), "Much happened.", "Much happened."),
        (lambda c: answer("Who wrote it?", client=c), "I don't know.", None),
        (lambda c: answer("Where?", context="In Lyon.", client=c), "Lyon", "Lyon"),
        (lambda c: calculate("2 + 2 = ?", client=c), "2 plus 2 equals four.", 4),
        (lambda c: calculate("0.1 + 0.2?", client=c), "0.3", 0.3),
        (lambda c: extract("Bob is 4.", Person, client=c), '{"name": "Bob", "age": 4}', Person(name="Bob", age=4)),
    ],
)
def test_each_function_gives_its_type(call: Any, said: str, value: object) -> None:
    got = call(ScriptedClient(said))
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("said", ["4", "The answer is 4.", "2 plus 2 equals four.", "2 + 2 = 4", "**4**"])
def test_however_the_model_words_it_four_is_four(said: str) -> None:
    assert calculate("2 + 2 = ?", client=ScriptedClient(said)) == 4


def test_a_result_tells_everything_about_the_call() -> None:
    client = ScriptedClient("maybe", "positive")
    result = classify_sentiment.run("I love it.", client=client)
    assert (result.value, result.error, result.abstained, result.attempts) == ("positive", None, False, 2)
    assert result.task.startswith("sentiment@1#")
    assert len(result.examples) == 9
    assert [c.text for c in result.completions] == ["maybe", "positive"]
    assert result.request == client.requests[0]
    assert json.loads(json.dumps(result.to_dict()))["value"] == "positive"


def test_an_answer_that_never_becomes_valid_raises_and_is_in_the_result_of_run() -> None:
    with pytest.raises(OutputError) as caught:
        classify_sentiment("x", client=ScriptedClient("a", "b", "c"))
    assert caught.value.raw == "c"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.raw, str(again)) == (caught.value.raw, str(caught.value))
    result = classify_sentiment.run("x", client=ScriptedClient("a", "b", "c"))
    assert (result.value, type(result.error)) == (None, OutputError)


def test_the_asynchronous_form_gives_the_same() -> None:
    async def both() -> tuple[str, str | None]:
        first = await classify_sentiment.acall("x", client=ScriptedClient("negative"))
        second = await classify_sentiment.arun("x", client=ScriptedClient("negative"))
        return first, second.value

    assert asyncio.run(both()) == ("negative", "negative")


def test_a_blocking_call_works_inside_a_running_loop() -> None:
    async def notebook() -> str:
        return classify_sentiment("x", client=ScriptedClient("neutral"))

    assert asyncio.run(notebook()) == "neutral"


def test_rendering_calls_nothing() -> None:
    turns = classify_sentiment.render("Fine.")
    assert turns[0].role == "system"
    assert turns[-1].content == "Text: Fine.\nSentiment:"
    assert classify_sentiment.render("Fine.", form="text").endswith("Text: Fine.\nSentiment:")


@pytest.mark.parametrize("k", [0, 1, 5])
def test_k_says_how_many_shots(k: int) -> None:
    assert len(classify_sentiment.render("x", k=k)) == 2 + 2 * k


def test_examples_of_the_right_languages_are_chosen() -> None:
    french = translate.render("Hello.", form="text")
    korean = translate.render("Hello.", target="Korean", form="text")
    assert "English: Hello, how are you?\nFrench: Bonjour, comment allez-vous?" in french
    assert "French:" not in korean
    assert korean.endswith("English: Hello.\nKorean:")


def test_any_pair_of_languages_works_with_examples() -> None:
    text = translate.render("Good day.", target="German", examples=[("Thanks.", "Danke.")], form="text")
    assert text.endswith("English: Thanks.\nGerman: Danke.\n\nEnglish: Good day.\nGerman:")


def test_labels_may_have_descriptions() -> None:
    shown = classify.render("x", {"bug": "something is broken", "wish": "something is missing"})
    assert "something is broken" in shown[0].content


@pytest.mark.parametrize(
    ("labels", "answer", "value"),
    [
        ([1, 2, 3], "2", 2),
        ((1, 0), "1", 1),
        ((True, False), "true", True),
        (bool, "False", False),
        (Literal["a", "b"], "b", "b"),
        (Mood, "good", Mood.GOOD),
        ({1: "bad", 2: "good"}, "2", 2),
    ],
)
def test_classify_takes_labels_as_task_of_does(labels: Any, answer: str, value: Any) -> None:
    given = classify("x", labels, client=ScriptedClient(lambda request: answer))
    assert (given, type(given)) == (value, type(value))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: classify_sentiment(""), "text is empty"),
        (lambda: classify_sentiment(" \n"), "text is empty"),
        (lambda: classify_sentiment(None), "must be text, not None"),  # type: ignore[arg-type]
        (lambda: classify_sentiment(["a"], client=ScriptedClient("x")), "a list cannot be printed"),  # type: ignore[arg-type]
        (lambda: classify_sentiment("x", kk=3), "unknown option 'kk'"),  # type: ignore[call-arg]
        (lambda: classify_sentiment("x", k=-1), "k=-1: must be 0 or more"),
        (lambda: classify_sentiment("x", min_confidence=7), "must be from 0 to 1"),
        (lambda: classify("x", ["one"]), "at least two labels"),
        (lambda: classify("x", "bug"), "give a list of labels"),  # type: ignore[arg-type]
        (lambda: classify("x", {"a", "b"}), "no order"),  # type: ignore[arg-type]
        (lambda: classify("x", ["a", 1.5]), "a whole number or a boolean"),
        (lambda: classify("x", int), "at least two labels"),
        (lambda: classify("x", ["a", "b"], examples=[("t", "c")]), "'c'"),
        (lambda: complete_pattern([], "x"), "at least one example"),
        (lambda: load("sentiment")(txt="x"), "unknown input 'txt' (did you mean 'text'?)"),
        (lambda: load("sentiment")(), "needs the input 'text'"),
        (lambda: load("sentiment")("a", "b"), "takes 1 input(s)"),
        (lambda: summarize("x", max_sentences=0), "1 or more"),
        (lambda: extract("x", {"a": 1}), "must be a pydantic model class"),  # type: ignore[type-var]
    ],
)
def test_a_mistake_of_the_caller_is_named(call: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert says in str(caught.value)


def test_a_task_shows_what_a_user_needs_and_nothing_of_the_machinery() -> None:
    values = "name template output inputs parameters examples settings description about version path members fallback"
    fitted = "calibrations promise fitted"
    doors = "of using then acall run arun map amap save render"
    measures = "evaluate aevaluate calibrate acalibrate tune atune share ashare"
    assert {name for name in dir(load("sentiment")) if name[0] != "_"} == {
        *f"{values} {fitted} {doors} {measures}".split()
    }


def test_an_unknown_task_is_named_with_what_is_near() -> None:
    with pytest.raises(TaskError, match="did you mean 'sentiment'"):
        load("sentimnt")


@pytest.mark.parametrize("name", ["../sentiment", "/etc", "a/../../b", "sentiment\x00", "SENTIMENT", "x" * 300])
def test_a_name_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises((TaskError, ValueError)):
        load(name)


def test_tasks_are_looked_up_nearest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load("sentiment").path
    monkeypatch.setenv("FEWSHOT_TEMPLATES", str(tmp_path / "shared"))
    folder(tmp_path / "shared" / "sentiment")
    assert load("sentiment").path == tmp_path / "shared" / "sentiment"
    folder(tmp_path / "templates" / "sentiment")
    assert load("sentiment").path == tmp_path / "templates" / "sentiment"
    explicit = folder(tmp_path / "elsewhere" / "sentiment")
    assert load(explicit).path == explicit
    assert shipped not in (None, explicit)
    assert "translate" in names()


def test_an_edited_folder_is_read_again(tmp_path: Path) -> None:
    path = folder(tmp_path / "ask", examples='{"text": "a", "output": "yes"}\n')
    assert len(load(path).examples) == 1
    (path / "examples.jsonl").write_text('{"text": "a", "output": "yes"}\n{"text": "b", "output": "no"}\n')
    os.utime(path / "examples.jsonl", ns=(1, 1))
    assert len(load(path).examples) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"toml": "output = ["}, "task.toml: is not valid TOML"),
        ({"toml": 'outptu = ["a"]'}, "did you mean 'output'"),
        ({"toml": "description = 'x'"}, "has no 'output'"),
        ({"toml": 'output = ["a", "b"]\n[settings]\nkk = 3'}, "task.toml:3: settings: unknown option 'kk'"),
        ({"toml": 'output = ["a", "b"]\n[settings]\napi_key = "x"'}, "'api_key' has no place in a task folder"),
        ({"examples": '{"text": "a", "output": "maybe"}'}, "examples.jsonl:1: the example's output is not valid"),
        ({"examples": '{"text": "a", "output": "no"}\n{"txet": "b"}'}, "examples.jsonl:2: unknown key 'txet'"),
        ({"examples": '{"text": "a"}'}, "examples.jsonl:1: the example has no 'output'"),
        ({"examples": "\n{oops}"}, "examples.jsonl:2: is not valid JSON"),
        ({"examples": "[1]"}, "examples.jsonl:1: must be an object"),
    ],
)
def test_a_broken_folder_is_refused_with_file_and_line(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    with pytest.raises(TaskError) as caught:
        load(folder(tmp_path / "ask", **changes))
    assert says in str(caught.value)


def test_a_record_separator_inside_a_string_does_not_cut_a_line(tmp_path: Path) -> None:
    path = folder(tmp_path / "ask", examples='{"text": "a\u2028b\x85c", "output": "yes"}\n')
    assert load(path).examples[0].inputs["text"] == "a\u2028b\x85c"


def test_a_task_in_one_expression() -> None:
    tickets = Task.of("Sort the ticket.", ["bug", "question"], [("It crashes.", "bug"), ("How do I?", "question")])
    assert tickets.using(client=ScriptedClient("bug"))("It burns.") == "bug"
    assert [turn.content for turn in tickets.render("x")] == [
        "Sort the ticket.",
        "Input: It crashes.\nOutput:",
        "bug",
        "Input: How do I?\nOutput:",
        "question",
        "Input: x\nOutput:",
    ]


def test_an_instruction_in_code_is_data_and_not_a_template() -> None:
    assert Task.of("Say {{ 7 * 7 }}.", "text").render("x")[0].content == "Say {{ 7 * 7 }}."


def test_a_confidence_below_the_threshold_abstains() -> None:
    class Unsure(ScriptedClient):
        top_logprobs = 5

        async def complete(self, request: Any, *, deadline: float | None = None) -> Completion:
            from fewshot.types import TokenLogprob

            top = ((b"positive", -0.7), (b"negative", -0.8))
            return Completion(text="p", finish_reason="length", tokens=(TokenLogprob(*top[0], top),))

    result = classify_sentiment.run("x", client=Unsure(), min_confidence=0.9)
    assert (result.value, result.abstained, result.error) == (None, True, None)
    assert result.probabilities is not None
    assert classify_sentiment("x", client=Unsure(), min_confidence=0.4) == "positive"


def test_an_answer_without_a_confidence_is_held_back_where_one_was_wanted() -> None:
    for least in (0.9, math.inf):
        held = classify_sentiment.run("x", client=ScriptedClient("positive"), min_confidence=least)
        assert (held.value, held.abstained, held.confidence) == (None, True, None)
        assert "no confidence, so min_confidence holds it back; votes=5" in held.warnings[0]
    assert classify_sentiment("x", client=ScriptedClient("positive")) == "positive"
    assert classify_sentiment.run("x", client=ScriptedClient("positive")).warnings == ()


def test_only_a_call_that_wanted_a_fit_is_told_that_there_is_none() -> None:
    task = load("sentiment", client=ScriptedClient(lambda _: "positive"), model="told-once")
    assert "not calibrated, though it was to be" in task.run("x", calibrate=True).warnings[0]
    assert task.run("x").warnings == ()


def test_opening_the_connection_is_not_charged_to_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slowly(settings: Any) -> Any:
        await asyncio.sleep(0.3)
        return await connect(settings)

    monkeypatch.setattr("fewshot.inference.predictor.connect", slowly)
    assert Task.of("Which?", ["yes", "no"], client=ScriptedClient("yes"), timeout=0.2)("a") == "yes"


def test_a_late_row_does_not_lower_the_room_that_answers_need() -> None:
    asked = asyncio.run(connect(Task.of("Say.", "text", client=ScriptedClient("x"), model="m").settings))
    asked.facts.learn(room=256)
    asked.facts.learn(room=64)
    assert asked.facts.room == 256


class Kind(enum.Enum):
    BUG = "bug"
    QUESTION = "question"


def leaning_to(word: str, other: str) -> ScriptedClient:
    """Give a client that lists log-probabilities: three quarters for a word, a quarter for another."""
    top = ((word.encode(), math.log(0.75)), (other.encode(), math.log(0.25)))
    return ScriptedClient(lambda _: Completion(text=word, tokens=(TokenLogprob(*top[0], top),)))


@pytest.mark.parametrize(
    ("output", "word", "other", "value", "unlikely", "written"),
    [
        (Kind, "question", "bug", Kind.QUESTION, Kind.BUG, "question"),
        (bool, "false", "true", False, True, False),
        (Literal[1, 2], "2", "1", 2, 1, 2),
        ([1, 2], "2", "1", 2, 1, 2),
        (["b", "q"], "q", "b", "q", "b", "q"),
    ],
)
def test_a_label_comes_back_as_the_value_that_it_was_made_of(
    output: Any, word: str, other: str, value: Any, unlikely: Any, written: Any, tmp_path: Path
) -> None:
    client = leaning_to(word, other)
    client.top_logprobs = 20
    task: Task[Any] = Task.of("Which?", output, [("a", value), ("b", unlikely)], client=client)
    assert (task("c"), type(task("c"))) == (value, type(value))
    result = task.run("c")
    assert result.probabilities == {value: pytest.approx(0.75), unlikely: pytest.approx(0.25)}
    assert result.to_dict()["value"] == written
    assert set(result.to_dict()["probabilities"]) == {word, other}
    for _ in range(2):  # the second time from the file
        (row,) = task.map(["c"], out=tmp_path / "r.jsonl")
        assert (row.value, row.probabilities) == (result.value, result.probabilities)
        assert type(row.value) is type(value)
    report = task.evaluate([("d", value), ("e", word), ("f", unlikely)])
    assert [p.right for p in report.predictions] == [1, 1, 0]
    assert report.confusion[word][word] == 2


def test_a_folder_may_have_numbers_and_truths_for_labels(tmp_path: Path) -> None:
    examples = '{"text": "bad", "output": 1}\n{"text": "good", "output": "5"}\n'
    stars = load(folder(tmp_path / "stars", toml='output = [1, 5]\n[words]\n1 = "one"', examples=examples))
    assert [message.content for message in stars.render("fine") if message.role == "assistant"] == ["one", "5"]
    assert stars.using(client=ScriptedClient("one"), scoring=False)("awful") == 1
