"""Which number an answer comes to, and which answers are refused."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.errors import InputError, OutputError
from fewshot.outputs.kinds import Number

NUMBER = Number()
EXACT = Number(Decimal)


def refusal(answer: str) -> str:
    with pytest.raises(OutputError) as caught:
        NUMBER.parse(answer)
    assert caught.value.raw == answer
    return caught.value.reason


@pytest.mark.parametrize(
    "answer",
    [
        "4",
        " 4\n",
        "4.",
        "+4",
        "**4**",
        '"4"',
        "`4`",
        "four",
        "Four.",
        "= 4",
        "The answer is 4.",
        "Answer: 4",
        "It's four!",
        "2 plus 2 equals four.",
        "2 plus 2 is 4",
        "2 + 2 = 4",
        "2 + 2 = **4**",
        "2+2=4",
        "2 + 2 = ?\n4",
        "The sum of 2 and 2 is 4.",
        "4 apples",
        "$4",
        "4 €",
        "4%",
        "4kg",
        "The answer is 4 because 2 and 2 are two pairs.",
        "Answer: 2 + 2 = 4",
        "First, 2 + 1 = 3. Then 3 + 1 = 4.",
        "He had 5 apples and ate 1. So he has 4 left.",
        "There were 12 in 3 rows. Each row holds 12 / 3 = 4 of them.\n#### 4",
        "We get \\(x = \\boxed{4}\\) from 8 / 2.",
        "```json\n4\n```",
        '{"answer": 4}',
        '{"answer": 4, "confidence": 0.9}',
        '```json\n{"answer": "four"}\n```',
        "4\n\nQuestion: 3 + 3 = ?\nAnswer: 6",
        "답은 4입니다.",
        "答案是4",
        "\ufeff4\u200b",
        "٤",
    ],
)
def test_every_wording_of_four_is_four(answer: str) -> None:
    value = NUMBER.parse(answer, cue="Answer:")
    assert value == 4
    assert isinstance(value, int)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("-3", -3),
        ("−3", -3),
        ("minus three", -3),
        ("negative 3", -3),
        ("The answer is minus 3.", -3),
        ("x = - 3", -3),
        ("-$5", -5),
        ("$-5", -5),
        ("zero", 0),
        ("The answer is 0, not that 5 - 5 = 0 is hard.".partition(",")[0], 0),
        ("2 + 3 - 5 = 0", 0),
        ("twenty-one", 21),
        ("a hundred", 100),
        ("one hundred and five", 105),
        ("two thousand and twenty", 2020),
        ("one hundred twenty-three thousand, four hundred fifty-six", 123_456),
        ("12%", 12),
        ("1,234", 1234),
        ("1.234.567", 1_234_567),
        ("12,34,567", 1_234_567),
        ("1 234 567", 1_234_567),
        ("1\u202f234", 1234),
        ("1{,}234", 1234),
        ("4 million", 4_000_000),
        ("5k", 5000),
        ("6/3", 2),
        ("The first one is 7.", 7),
        ("So 1.2 * 60 = 72. It swings 72 * 30 = 2,160 meters in 30 minutes.", 2160),
        ("5 + 3 = 8\n8 * 2 = 16\nTotal = 16", 16),
    ],
)
def test_whole_numbers_are_ints(answer: str, value: int) -> None:
    number = NUMBER.parse(answer)
    assert (number, type(number)) == (value, int)


@pytest.mark.parametrize(
    ("answer", "digits"),
    [
        ("0.1", "0.1"),
        (".5", "0.5"),
        ("3,5", "3.5"),
        ("0,125", "0.125"),
        ("1.234", "1.234"),
        ("$1,234.50", "1234.50"),
        ("1.234,50 €", "1234.50"),
        ("4.0", "4.0"),
        ("2.5 million", "2500000"),
        ("three point one four", "3.14"),
        ("½", "0.5"),
        ("2½", "2.5"),
        ("3/4", "0.75"),
        ("1 1/2", "1.5"),
        ("\\boxed{\\frac{3}{4}}", "0.75"),
        ("-0.1" + "3" * 60, "-0.1" + "3" * 60),
    ],
)
def test_written_fractions_keep_their_digits(answer: str, digits: str) -> None:
    number = EXACT.parse(answer)
    assert isinstance(number, Decimal)
    assert f"{number:f}" == digits


@pytest.mark.parametrize(("answer", "value"), [("1e3", 1000.0), ("3 × 10^8", 3e8), ("2.5e-3", 0.0025), ("1/3", 1 / 3)])
def test_exponents_and_endless_fractions_are_floats(answer: str, value: float) -> None:
    number = NUMBER.parse(answer)
    assert (number, type(number)) == (value, float)


@pytest.mark.parametrize(
    "answer",
    [
        "4 or 5",
        "It could be 4. It could be 5.",
        "John is 5 and Mary is 6",
        "x = 4 or x = 5",
        "He lost 100 - 90 = 10 marbles\nEach game was worth 10, so that is 1 game",
        "x = 4, y = 5",
        "x = 4. Y = 5.",
        "2 + 2 = 4 is not right, 5 is",
        "9 = 4 + 5",
        "The answer is 4. The answer is 5.",
        "The answer is 4 to 5.",
        "10-15",
        "5 - 3",
        "4\n5",
        "4:30",
        "- 4",
        "The answer is not 4.",
        "It isn't 4",
        "4, not 5",
        '{"low": 4, "high": 5}',
        "\\boxed{4} or \\boxed{5}",
    ],
)
def test_numbers_without_a_clear_result_are_ambiguous(answer: str) -> None:
    assert refusal(answer) == "ambiguous"


@pytest.mark.parametrize(
    "answer",
    [
        "nan",
        "inf",
        "Infinity",
        "I don't know.",
        "A4",
        "GPT-4",
        "4th",
        "3/4/2024",
        "1.2.3",
        "5²",
        "1/0",
        "1e999",
        "one of them",
    ],
)
def test_what_is_no_number_is_invalid(answer: str) -> None:
    assert refusal(answer) == "invalid"


def test_nothing_is_empty() -> None:
    assert refusal("") == refusal(" \n") == "empty"


def test_more_digits_than_python_prints_are_refused_in_words() -> None:
    with pytest.raises(OutputError, match="more than 1,000 digits"):
        NUMBER.parse("1" * 5000)
    with pytest.raises(InputError, match="sensible size"):
        NUMBER.check(10**5000)


@pytest.mark.parametrize(
    ("of", "answer", "value"),
    [
        (int, "4", 4),
        (int, "4.0", 4),
        (int, "2.5 million", 2_500_000),
        (float, "4", 4.0),
        (float, "0.1", 0.1),
        (Decimal, "4", Decimal(4)),
        (Decimal, "0.10", Decimal("0.10")),
        (None, "4", 4),
        (None, "4.5", 4.5),
    ],
)
def test_a_number_has_the_type_that_was_asked_for(of: Any, answer: str, value: object) -> None:
    given = Number(of).parse(answer)
    assert (given, type(given), str(given)) == (value, type(value), str(value))
    assert Number(of).parse(Number(of).render(value)) == value


@pytest.mark.parametrize(("of", "answer"), [(int, "4.5"), (int, "1e-3"), (float, "1" + "0" * 400)])
def test_a_number_of_another_type_is_asked_again(of: Any, answer: str) -> None:
    with pytest.raises(OutputError, match="must be a"):
        Number(of).parse(answer)


def test_a_megabyte_is_refused() -> None:
    for unit in ("1", "1 ", "1,234,", "answer is 4 ", "= 1 ", "one ", "½", "\\boxed{", "minus ", "1 × 10^"):
        refusal(unit * (1_000_000 // len(unit)) + "?")


def test_the_strict_answer_keeps_all_its_digits() -> None:
    assert EXACT.parse_json('{"answer": 0.12345678901234567890123}') == Decimal("0.12345678901234567890123")
    assert NUMBER.parse_json("The answer is 4.") == 4


@pytest.mark.parametrize(("value", "checked"), [(4, 4), ("4,374", 4374), (0.1, 0.1), ("-1539", -1539), (1e300, 1e300)])
def test_values_of_example_files_are_checked(value: object, checked: object) -> None:
    assert NUMBER.check(value) == checked


@pytest.mark.parametrize("value", [True, None, "4 apples", "x", float("nan"), float("inf"), Decimal("NaN"), [4]])
def test_what_is_no_number_is_no_example(value: object) -> None:
    with pytest.raises(InputError):
        NUMBER.check(value)


@given(
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**300), max_value=10**300)
)
def test_every_number_is_read_back_from_the_prompt(value: float | Decimal) -> None:
    for output in (EXACT, NUMBER):
        with suppress(InputError):  # a float ends at 1e308
            checked = output.check(value)
            assert output.parse(output.render(value)) == checked


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                "1",
                "2.5",
                "1,234",
                "four",
                "hundred",
                "minus",
                "-",
                "+",
                "=",
                "/",
                "(",
                ")",
                ".",
                ",",
                "$",
                "%",
                "is",
                "answer",
                "\n",
                "e5",
                "or",
            ]
        )
    )
)
def test_only_output_errors_come_out_of_any_text(answer: str | list[str]) -> None:
    text = answer if isinstance(answer, str) else " ".join(answer)
    with suppress(OutputError):
        assert isinstance(NUMBER.parse(text, cue="Answer:"), int | float | Decimal)


def test_digits_in_json_are_all_kept() -> None:
    answer = '{"answer": 1234567890.123456789, "unit": "m"}'
    assert EXACT.parse(answer) == Decimal("1234567890.123456789")


@pytest.mark.parametrize("start", ["1", "1.5"])
def test_scale_words_without_end_are_refused(start: str) -> None:
    with pytest.raises(OutputError, match="more than 1,000 digits"):
        NUMBER.parse(start + " trillion" * 500)


@pytest.mark.parametrize(
    "answer",
    [
        "4?",
        "maybe 4",
        "Perhaps 4.",
        "more than 4",
        "at least 4",
        "up to 4",
        "≥ 4",
        "> 4",
        "4+",
        "4 or more",
        "4 or fewer",
    ],
)
def test_a_number_that_is_asked_for_doubted_or_a_bound_is_not_the_answer(answer: str) -> None:
    with pytest.raises(OutputError) as caught:
        Number().parse(answer)
    assert caught.value.reason == "ambiguous"


@pytest.mark.parametrize("answer", ["<b>4</b>", "= 4", "-> 4", "It is 4 more.", "There are 4 over.", "~4", "(4)"])
def test_a_number_that_only_stands_near_such_signs_is_the_answer(answer: str) -> None:
    assert Number().parse(answer) == 4
