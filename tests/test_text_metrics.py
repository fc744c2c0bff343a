"""Open answers are matched by the published rules, in any script."""

import sys
from decimal import Decimal

import pytest

from fewshot.errors import ConfigError, InputError
from fewshot.evaluation import text_metrics
from fewshot.evaluation.text_metrics import answered, chrf, exact_match, numeric_match, rouge, token_f1


@pytest.mark.parametrize(
    ("said", "references", "right"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], True),
        ("Eiffel  Tower", ["Louvre", "an Eiffel tower"], True),
        ("theatre", ["atre"], False),
        ("서울", ["서울"], True),
        ("서울.", ["서울"], True),
        ("「東京」", ["東京"], True),
        ("\u1109\u1165\u110b\u116e\u11af", ["서울"], True),  # decomposed Hangul
        ("parís", ["paris"], False),
        (None, [], True),
        ("", [], True),
        ("something", [], False),
        (None, ["Paris"], False),
    ],
)
def test_exact_match_follows_squad(said, references, right):
    assert exact_match(said, references) is right


def test_token_f1_counts_shared_words_with_the_best_reference():
    assert token_f1("in Paris France", ["Paris"]) == pytest.approx(0.5)
    assert token_f1("in Paris France", ["London", "Paris, France"]) == pytest.approx(0.8)
    assert token_f1("the the cat cat", ["cat"]) == pytest.approx(2 / 3)
    assert token_f1("대한민국 서울", ["서울"]) == pytest.approx(2 / 3)
    assert token_f1("東京都", ["東京"]) == pytest.approx(0.8)
    assert token_f1(None, []) == 1.0
    assert token_f1("x", []) == 0.0
    assert token_f1(None, ["x"]) == 0.0


def test_answered_compares_only_whether_there_is_an_answer():
    assert answered("wrong", ["right"])
    assert answered(None, [])
    assert not answered("x", [])
    assert not answered("", ["right"])


def test_numbers_match_however_written():
    assert numeric_match("1,000", 1000.0)
    assert numeric_match(Decimal("2.50"), "2.5")
    assert not numeric_match("2.5", "2.6")
    assert numeric_match("2.5", "2.6", tolerance=0.1)
    assert numeric_match("$4", 4)
    assert not any(numeric_match(odd, odd) for odd in (None, True, "nan", float("nan"), "many"))


def test_translations_are_scored_by_sacrebleu():
    pytest.importorskip("sacrebleu", reason="the extra eval is not installed")
    said = ["the cat sat on the mat", "a dog ran home today"] * 10
    perfect = chrf(said, [[text] for text in said])
    assert perfect.value == pytest.approx(100)
    half = chrf(said, [[said[0]], ["something else was said here"]] * 10)
    assert 0 < half.low <= half.value <= half.high < 100
    assert chrf(["안녕하세요"], [["안녕하세요", "안녕"]]).value == pytest.approx(100)
    with pytest.raises(InputError):
        chrf(["x"], [])


def test_summaries_are_scored_by_rouge_in_any_script():
    pytest.importorskip("rouge_score", reason="the extra eval is not installed")
    scores = rouge("the cat sat", ["the cat sat on the mat", "unrelated"])
    assert scores == pytest.approx({"rouge1": 2 / 3, "rouge2": 4 / 7, "rougeL": 2 / 3})
    assert rouge("안녕 세상", ["안녕 세상"])["rouge2"] == 1.0


def test_a_missing_extra_is_named(monkeypatch):
    text_metrics._rouge_scorer.cache_clear()
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(ConfigError, match=r"pip install 'fewshot\[eval\]'"):
        rouge("x", ["x"])
