"""Which label an answer names, and which answers are refused."""

from __future__ import annotations

import pickle
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fewshot.errors import InputError, OutputError
from fewshot.outputs.kinds import Labels

SENTIMENT = Labels(("positive", "negative", "neutral"))
KOREAN = Labels(("긍정", "부정", "중립"))
TOPICS = Labels(("World", "Sports", "Business", "Sci/Tech"))
LANGUAGES = Labels(("C", "C++", "C#", "Java"))
DIGITS = Labels(("1", "10", "-1", "0"))
LETTERS = Labels(("A", "B", "C", "D"))
RELEVANCE = Labels(("relevant", "not relevant"))
YES_NO = Labels(("yes", "no"))
ARTS = Labels(("art", "art history", "sports"))


def refusal(output: Labels, answer: str, cue: str = "") -> str:
    with pytest.raises(OutputError) as caught:
        output.parse(answer, cue=cue)
    assert caught.value.raw == answer
    return caught.value.reason


@pytest.mark.parametrize(
    "answer",
    [
        "positive",
        " Positive. ",
        "POSITIVE",
        "ＰＯＳＩＴＩＶＥ",
        "**Positive**",
        "`positive`",
        '"positive"',
        "“positive”",
        "« positive »",
        "[positive]",
        "- positive",
        "<label>positive</label>",
        "positive\n\n",
        "The answer is positive.",
        "The sentiment of this text is positive.",
        "It's positive!",
        "this text can be classified as positive",
        "Sentiment: positive",
        "**Sentiment:** Positive",
        "sentiment:\npositive",
        "Label: positive",
        "positive 😊",
        "Positive, because nothing in it is bad.",
        "Positive. The writer never complains about the price.",
        "Let me think. One might hesitate, but overall I would say it is positive, given the wording.",
        "Some of it is positive, some negative.\n\nSentiment: positive",
        "I weighed negative and neutral as well.\nFinal answer: **positive**",
        '```json\n"positive"\n```',
        "```\npositive\n```",
        '{"label": "positive"}',
        '{"sentiment": "Positive", "confidence": 0.9}',
        '{"reason": "The word negative is used in jest.", "label": "positive"}',
        '["positive"]',
        "{'label': 'positive'}",
        'Sure! Here you go:\n\n```json\n{"label": "positive"}\n```\n\nHope this helps.',
        "positive\n\nText: I hate waiting.\nSentiment: negative",
        "\ufeffpositive",
        "\u202epositive\u202c",
        "po\u200bsitive\u200d",
        "positive\x00",
        "positive\ud800",
        "\x1b[31mpositive\x1b[0m\x1b]0;title\x07",
    ],
)
def test_one_label_is_read_through_everything_that_models_put_round_it(answer: str) -> None:
    assert SENTIMENT.parse(answer, cue="Sentiment:") == "positive"


@pytest.mark.parametrize(
    "answer",
    [
        "positive or negative",
        "positive/negative",
        "Positive and negative.",
        "- positive\n- negative",
        "positive\nnegative",
        '["positive", "negative"]',
        '{"first": "positive", "second": "negative"}',
        '{"label": "positive"} {"label": "negative"}',
        "I'd say neutral, not Positive",
        "Is it positive or negative? Positive.",
    ],
)
def test_several_labels_are_ambiguous(answer: str) -> None:
    assert refusal(SENTIMENT, answer, "Sentiment:") == "ambiguous"


@pytest.mark.parametrize(
    "answer",
    [
        "not Positive",
        "It is not positive",
        "It isn't positive.",
        "It isn’t positive.",
        "It isnt positive",
        "This is by no means positive.",
        "It is far from positive.",
        "anything but positive",
        "neither positive nor good",
        "I doubt it is positive.",
        "Positive? No.",
        "Is it positive?",
        "Positive, not!",
        "Positive would be wrong.",
        "Positive\nis wrong",
        "It is not... positive",
        "It is not. Positive.",
        "It is not\n\npositive",
        '{"label": "not positive"}',
        "Ce n'est pas positive.",
        "Es ist nicht positive.",
    ],
)
def test_a_label_that_is_denied_or_asked_for_is_refused(answer: str) -> None:
    assert refusal(SENTIMENT, answer) == "ambiguous"


@pytest.mark.parametrize(
    "answer",
    [
        "mixed",
        "non-positive",
        "positivity",
        "very_positive",
        "positive" + "x" * 5000,
        '{"label": "mixed"}',
        '{"label": null}',
        '{"positive": 0.9, "negative": 0.1}',
        "I cannot help with that.",
    ],
)
def test_an_answer_without_a_label_is_invalid(answer: str) -> None:
    assert refusal(SENTIMENT, answer) == "invalid"


@pytest.mark.parametrize("answer", ["", "  \n", "\ufeff\u200b", "Sentiment:"])
def test_nothing_is_empty(answer: str) -> None:
    assert refusal(SENTIMENT, answer, "Sentiment:") == "empty"


@pytest.mark.parametrize(
    ("output", "answer", "label"),
    [
        (KOREAN, "긍정입니다", "긍정"),
        (KOREAN, "이 문장은 긍정적입니다.", "긍정"),
        (KOREAN, "감정: 긍정", "긍정"),
        (Labels(("积极", "消极")), "情感是积极的。", "积极"),
        (Labels(("ポジティブ", "ネガティブ")), "ポジティブです。", "ポジティブ"),
        (TOPICS, "The topic is Sci/Tech.", "Sci/Tech"),
        (TOPICS, "sci/tech.", "Sci/Tech"),
        (LANGUAGES, "The language is C++.", "C++"),
        (LANGUAGES, "The language is C.", "C"),
        (LANGUAGES, "C#", "C#"),
        (DIGITS, "The answer is 10.", "10"),
        (DIGITS, "It's -1", "-1"),
        (DIGITS, '{"label": 1}', "1"),
        (LETTERS, "(A)", "A"),
        (LETTERS, "A. Paris", "A"),
        (LETTERS, "The answer is B.", "B"),
        (LETTERS, "Option A is right", "A"),
        (RELEVANCE, "It is not relevant.", "not relevant"),
        (RELEVANCE, "It is relevant.", "relevant"),
        (YES_NO, "No, it does not.", "no"),
        (YES_NO, "Yes, it is.", "yes"),
        (ARTS, "This is art history.", "art history"),
        (Labels(("👍", "👎")), "👍.", "👍"),
        (Labels(("true", "false")), '{"label": true}', "true"),
        (Labels(("positive", "very positive")), "It is very positive", "very positive"),
    ],
)
def test_labels_of_every_shape_are_found_as_whole_words(output: Labels, answer: str, label: str) -> None:
    assert output.parse(answer) == label


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (KOREAN, "긍정이 아닙니다"),
        (KOREAN, "긍정적이지 않습니다"),
        (KOREAN, "부정확"),
        (KOREAN, "비긍정"),
        (Labels(("积极", "消极")), "不是积极的"),
        (Labels(("ポジティブ", "ネガティブ")), "ポジティブではありません"),
        (TOPICS, "worldly"),
        (LANGUAGES, "JavaScript"),
        (Labels(("C", "Java")), "C++"),
        (DIGITS, "110"),
        (DIGITS, "1.5"),
        (DIGITS, "1,000"),
        (Labels(("0", "1")), "-1"),
        (LETTERS, "A man came in."),
        (LETTERS, "A or B"),
        (RELEVANCE, "It is not not relevant"),
        (YES_NO, "It is not"),
        (YES_NO, "I cannot say yes"),
        (YES_NO, "There is no doubt: yes"),
        (ARTS, "It is a part of it"),
        (ARTS, "art or art history"),
    ],
)
def test_a_part_of_a_word_or_number_is_no_label(output: Labels, answer: str) -> None:
    assert refusal(output, answer) in ("invalid", "ambiguous")


def test_case_counts_where_it_alone_tells_labels_apart() -> None:
    output = Labels(("US", "us"))
    assert [output.parse(answer) for answer in ("US", "us", "The answer is US.")] == ["US", "us", "US"]
    assert refusal(output, "Us") == "invalid"


def test_words_stand_for_labels_in_prompt_and_answer() -> None:
    output = Labels(("positive", "negative"), words={"positive": "good", "negative": "bad"})
    assert output.render("positive") == "good"
    assert [output.parse(answer) for answer in ("good", "It is bad.", "positive")] == [
        "positive",
        "negative",
        "positive",
    ]


def test_swapped_words_win_over_the_labels_they_look_like() -> None:
    output = Labels(("positive", "negative"), words={"positive": "negative", "negative": "positive"})
    assert output.parse("negative") == "positive"
    assert output.parse("It is negative.") == "positive"


def test_the_message_says_what_to_answer() -> None:
    with pytest.raises(OutputError, match="answer with exactly one of: positive, negative, neutral") as caught:
        SENTIMENT.parse("mixed")
    assert pickle.loads(pickle.dumps(caught.value)).reason == "invalid"


def test_a_megabyte_without_a_label_is_refused() -> None:
    for unit in ("x", "positive ", "not ", '"', "{", "```\n", ". ", "긍정", "a "):
        for output in (SENTIMENT, KOREAN, LETTERS):
            refusal(output, unit * (1_000_000 // len(unit)) + "?", "Sentiment:")


def test_the_strict_answer_is_read_and_prose_in_its_place_too() -> None:
    assert SENTIMENT.parse_json('{"label":"positive"}') == "positive"
    assert SENTIMENT.parse_json("The answer is positive.") == "positive"


def test_values_of_example_files_are_checked() -> None:
    assert DIGITS.check(10) == "10"
    assert Labels(("true", "false")).check(True) == "true"
    with pytest.raises(InputError, match="'Postive' is none of the labels: positive, negative, neutral"):
        SENTIMENT.check("Postive")


def test_blanks_and_the_composition_of_characters_are_no_other_label() -> None:
    apart = Labels((unicodedata.normalize("NFD", "긍정"), "réussi "))
    assert [apart.check("긍정"), apart.check(" réussi")] == list(apart.labels)
    assert [apart.render(label) for label in apart.labels] == ["긍정", "réussi"]
    assert apart.parse("réussi") == "réussi "


@pytest.mark.parametrize(
    ("labels", "words", "message"),
    [
        ((), {}, "at least one label"),
        (("a", " "), {}, "not blank"),
        (("a", "a"), {}, "cannot be told apart"),
        (("a", "b"), {"a": "b"}, "cannot be told apart"),
        (("a",), {"c": "d"}, "none of the labels"),
    ],
)
def test_label_sets_that_cannot_work_are_refused(labels: tuple[str, ...], words: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Labels(labels, words=words)


label_sets = st.lists(st.text(min_size=1), min_size=1, max_size=6)


@given(label_sets)
@example(["C", "C++", "c"])
@example(["a", "a ", "\ta"])
def test_every_label_is_read_back_from_the_prompt(labels: list[str]) -> None:
    try:
        output = Labels(tuple(labels))
    except InputError:
        return
    assert [output.parse(output.render(label)) for label in labels] == labels


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                *[
                    "positive",
                    "negative",
                    "not",
                    "A",
                    "B",
                    "1",
                    "긍정",
                    ".",
                    "?",
                    "!",
                    "{",
                    "}",
                    '"',
                    "```",
                    ",",
                    "\n",
                    ":",
                    "or",
                ]
            ]
        )
    )
)
def test_only_output_errors_come_out_of_any_text(answer: str | list[str]) -> None:
    text = answer if isinstance(answer, str) else " ".join(answer)
    for output in (SENTIMENT, KOREAN, LETTERS, DIGITS, RELEVANCE):
        with suppress(OutputError):
            assert output.parse(text, cue="Sentiment:") in output.labels


@given(st.sampled_from(["not", "never", "isn't", "hardly", "far from"]), st.text(alphabet="abc .,\n", max_size=20))
def test_a_denial_right_before_a_label_never_yields_it(denial: str, rest: str) -> None:
    assert refusal(SENTIMENT, f"It is {denial} positive {rest}".strip()) in ("ambiguous", "invalid")
