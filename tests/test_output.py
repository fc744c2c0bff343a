"""What an output is made of, and how texts are read; labels, numbers and schemas have files of their own."""

from __future__ import annotations

import enum
import pickle
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from fewshot.errors import InputError, OutputError
from fewshot.outputs.kinds import Labels, Number, Output, Schema, Text, output_of

TEXT = Text()
ANSWER = Text(optional="I don't know")


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Person(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("spec", "output"),
    [
        (["a", "b"], Labels(("a", "b"))),
        (("a", 1), Labels(("a", "1"), values={"1": 1})),
        (Literal["a", "b"], Labels(("a", "b"))),
        (Mood, Labels(("good", "bad"), values={"good": Mood.GOOD, "bad": Mood.BAD})),
        (bool, Labels(("true", "false"), values={"true": True, "false": False})),
        ({"enum": ["a", "b"]}, Labels(("a", "b"))),
        ("text", Text()),
        (str, Text()),
        ({"type": "string"}, Text()),
        ("number", Number()),
        (int, Number(int)),
        (float, Number(float)),
        (Decimal, Number(Decimal)),
        (Person, Schema(Person)),
        (Text(optional="?"), Text(optional="?")),
    ],
)
def test_an_output_is_made_of_what_a_task_says(spec: Any, output: Output[Any]) -> None:
    assert output_of(spec) == output
    assert pickle.loads(pickle.dumps(output)) == output
    assert hash(output_of(spec)) == hash(output)


@pytest.mark.parametrize(
    ("labels", "written", "label"),
    [
        (["positive", "negative"], "Positive", "positive"),
        (["positive", "negative"], " NEGATIVE ", "negative"),
        (["Positive", "positive"], " positive", "positive"),
        (["not  so", "so"], "Not so", "not  so"),
        ([True, False], "True", "true"),
        ([True, False], "FALSE", "false"),
        ([True, False], 1, "true"),
        ([True, False], "0", "false"),
        ([True, False], 1.0, "true"),
        ([True, False], "no", "false"),
        (["True", "False"], True, "True"),
        ([1, 2, 3], 2.0, "2"),
        ([1, 2, 3], "3.0", "3"),
        ([1, 2, 3], Decimal("3.00"), "3"),
        (["1", "1.0"], "1.0", "1.0"),
        (Mood, "GOOD", "good"),
        (Mood, Mood.BAD, "bad"),
    ],
)
def test_a_label_is_known_in_another_dress(labels: Any, written: object, label: str) -> None:
    assert output_of(labels).check(written) == label


@pytest.mark.parametrize(
    ("labels", "written"),
    [
        (["Positive", "positive"], "POSITIVE"),
        (["nan", "b"], float("nan")),
        ([1, 2], 1.5),
        ([1, 2], "1.50"),
        ([1, 10], "10.0.0"),
        (["yes", "no"], True),
        ([True, False], 2),
        ([True, False], None),
        (["a", "b"], ["a"]),
    ],
)
def test_what_is_another_label_or_none_is_refused(labels: Any, written: object) -> None:
    with pytest.raises(InputError, match="none of the labels"):
        output_of(labels).check(written)


@pytest.mark.parametrize("spec", ["texts", [], None, 3, [["a"]], {"a": 1}, ["a", "a"], object])
def test_what_makes_no_output_is_refused(spec: Any) -> None:
    with pytest.raises(InputError):
        output_of(spec)


def test_an_output_that_was_used_still_pickles() -> None:
    for output, answer in ((Labels(("a", "b")), "a"), (Schema(Person), '{"name":"x"}')):
        value = output.parse(answer)
        copy = pickle.loads(pickle.dumps(output))
        assert (copy, copy.parse(answer)) == (output, value)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Bonjour, comment allez-vous ?", "Bonjour, comment allez-vous ?"),
        ("Comment allez-vous\u202f?", "Comment allez-vous\u202f?"),
        ("  Bonjour.\n", "Bonjour."),
        ('"Bonjour."', "Bonjour."),
        ("« Bonjour »", "Bonjour"),
        ("“Bonjour”", "Bonjour"),
        ("**Graydon Hoare**", "Graydon Hoare"),
        ('"A" and "B"', '"A" and "B"'),
        ("'tis so", "'tis so"),
        ("**a** and **b**", "**a** and **b**"),
        ('"He said \\"hi\\"."', 'He said "hi".'),
        ("French: Bonjour", "Bonjour"),
        ("**French:** Bonjour.", "Bonjour."),
        ("Here you are.\n\nFrench: Bonjour", "Bonjour"),
        ("Bonjour\n\nEnglish: Bye.\nFrench: Au revoir.", "Bonjour"),
        ("```\nBonjour\n```", "Bonjour"),
        ('```json\n"Bonjour"\n```', "Bonjour"),
        ('Sure!\n\n```json\n{"label": "Bonjour"}\n```\n\nHope this helps.', "Bonjour"),
        ('{"French": "Bonjour"}', "Bonjour"),
        ('{"a": "b"}', '{"a": "b"}'),
        ("See:\n```\nx = 1\n```", "See:\n```\nx = 1\n```"),
        ("a\r\nb", "a\nb"),
        ("\ufeffBon\u200bjour\x00\ud800", "Bonjour"),
        ("e\u0301te\u0301", "été"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_a_text_keeps_what_is_its_own(answer: str, text: str) -> None:
    assert TEXT.parse(answer, cue="French:") == text


@pytest.mark.parametrize("answer", ["", " \n", "\u200b", "French:"])
def test_an_empty_text_is_no_answer(answer: str) -> None:
    with pytest.raises(OutputError) as caught:
        TEXT.parse(answer, cue="French:")
    assert caught.value.reason == "empty"


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know",
        "I don’t know.",
        '"I don\'t know."',
        "I do not know.",
        "I don't know who wrote it.",
        "Sorry, I don't know.",
        "I don't know. The text does not say.",
    ],
)
def test_the_phrase_for_no_answer_is_none(answer: str) -> None:
    assert ANSWER.parse(answer) is None


def test_other_answers_are_not_none() -> None:
    assert ANSWER.parse("Paris. I don't know more.") == "Paris. I don't know more."
    assert Text(optional="None").parse("None of them") == "None of them"


def test_no_answer_is_rendered_as_its_phrase() -> None:
    assert ANSWER.render(None) == "I don't know"
    assert ANSWER.check("I don't know.") is None
    with pytest.raises(InputError):
        TEXT.check(None)


@pytest.mark.parametrize("value", [4, ["a"], {}, "", " ", "\u200b"])
def test_what_is_no_text_is_no_example(value: object) -> None:
    with pytest.raises(InputError):
        TEXT.check(value)


texts = st.text() | st.lists(
    st.sampled_from(
        ['"', "“", "”", "«", "»", "```", "~~~", "`", "**", "\n", "json", "{", "}", ":", '"', "'", "answer", "x"]
    )
).map("".join)


@given(texts)
@example('"Hello"')
@example('“"Hello"”')
@example("```\nx\n```")
@example('```json\n"x"\n```')
@example('{"answer": "x"}')
@example("“I don't know”")
def test_every_text_is_read_back_from_the_prompt(value: str) -> None:
    for output in (TEXT, ANSWER):
        try:
            checked = output.check(value)
        except InputError:
            continue
        assert output.parse(output.render(value)) == checked


@given(texts)
def test_only_output_errors_come_out_of_any_text(answer: str) -> None:
    with suppress(OutputError):
        assert TEXT.parse(answer, cue="answer:")
