"""What is accepted at a chosen risk is wrong no more often than was promised."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.calibration.abstention import (
    coverage_curve,
    coverage_table,
    error_bound,
    overall_threshold_for,
    recall_threshold_for,
    threshold_for,
)
from fewshot.errors import InputError

rows = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.7, 0.9, 0.99]), st.booleans()), min_size=1, max_size=60)


def draw(count, rng, *, honest=1.0):
    """Draw confidences, and outcomes that are right with chance confidence ** honest."""
    confidences = [rng.betavariate(4, 1) for _ in range(count)]
    return confidences, [rng.random() < c**honest for c in confidences]


def test_the_bound_is_that_of_clopper_and_pearson():
    assert error_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100), abs=1e-6)  # the rule of three
    assert error_bound(5, 100) == pytest.approx(0.10225, abs=1e-4)
    assert error_bound(10, 10) == 1.0
    assert error_bound(3, 50, confidence=0.99) > error_bound(3, 50, confidence=0.9) > 3 / 50


def test_the_bound_agrees_with_scipy():
    beta = pytest.importorskip("scipy.stats", reason="scipy is not installed").beta
    for wrong, count in ((0, 10), (1, 59), (7, 500), (499, 500)):
        assert error_bound(wrong, count) == pytest.approx(beta.ppf(0.95, wrong + 1, count - wrong), abs=1e-6)


def test_the_promise_is_kept_at_the_stated_confidence():
    broken, useful = 0, 0
    for seed in range(100):
        rng = random.Random(seed)
        chosen = threshold_for(0.1, *draw(500, rng, honest=1.1), confidence=0.9)
        future, right = draw(4000, rng, honest=1.1)
        accepted = [ok for c, ok in zip(future, right, strict=True) if c >= chosen.threshold]
        useful += bool(accepted)
        broken += bool(accepted) and 1 - sum(accepted) / len(accepted) > 0.1 + 0.01
    assert broken <= 10
    assert useful > 80


def test_the_threshold_describes_what_it_accepts():
    confidences, correct = draw(500, random.Random(1))
    chosen = threshold_for(0.1, confidences, correct)
    accepted = [ok for c, ok in zip(confidences, correct, strict=True) if c >= chosen.threshold]
    assert chosen.coverage == len(accepted) / 500
    assert chosen.error == pytest.approx(1 - sum(accepted) / len(accepted))
    assert chosen.error < chosen.bound <= 0.1
    assert threshold_for(0.3, confidences, correct).coverage >= chosen.coverage


def test_nothing_can_be_promised_on_few_rows_and_it_says_so():
    chosen = threshold_for(0.01, [0.99] * 50, [True] * 50)
    assert chosen.threshold == math.inf
    assert chosen.coverage == 0
    assert "too few" in chosen.reason
    assert chosen.to_dict()["threshold"] is None


def test_nothing_can_be_promised_when_the_confident_err():
    chosen = threshold_for(0.05, [0.99] * 500, [True, False] * 250)
    assert chosen.threshold == math.inf
    assert "allow more risk" in chosen.reason


def test_everything_is_accepted_when_nothing_is_wrong():
    chosen = threshold_for(0.05, [0.6, 0.9] * 250, [True] * 500)
    assert (chosen.threshold, chosen.coverage, chosen.reason) == (0.0, 1.0, "")


@given(rows)
def test_coverage_rises_as_the_threshold_falls(pairs):
    curve = coverage_curve(*zip(*pairs, strict=True))
    thresholds = [point.threshold for point in curve]
    coverages = [point.coverage for point in curve]
    assert thresholds == sorted(set(thresholds), reverse=True)
    assert coverages == sorted(set(coverages))
    assert coverages[-1] == 1.0


def test_the_table_gives_for_each_share_of_rows_the_first_point_that_accepts_so_many():
    confidences, correct = [0.9, 0.8, 0.7, 0.6], [True, True, False, True]
    assert [p.accuracy for p in coverage_table(confidences, correct, coverages=(0.5, 1.0))] == [1.0, 0.75]


def test_mistakes_are_named():
    with pytest.raises(InputError, match="between 0 and 1"):
        threshold_for(5, [0.5], [True])
    with pytest.raises(InputError, match="pair up"):
        threshold_for(0.05, [0.5], [])


def test_of_all_rows_no_more_are_answered_wrongly_than_promised():
    broken, coverage = 0, 0.0
    for seed in range(100):
        rng = random.Random(seed)
        chosen = overall_threshold_for(0.05, *draw(200, rng))
        future = [rng.betavariate(4, 1) for _ in range(1000)]
        broken += sum(1 - c for c in future if c >= chosen.threshold) / 1000 > 0.05
        coverage += chosen.coverage / 100
    assert broken <= 10  # 5% of 100, and two standard deviations
    assert coverage > 0.35


@given(rows, st.floats(0.02, 0.6))
def test_a_promise_over_all_rows_is_the_laxest_that_the_exact_bound_allows(pairs, risk):
    confidences, correct = zip(*pairs, strict=True)
    found = overall_threshold_for(risk, confidences, correct)
    wrong = sum(c >= found.threshold and not right for c, right in pairs)
    if found.threshold == math.inf:
        assert found.reason
    else:
        assert error_bound(wrong, len(pairs)) <= risk + 1e-9
        assert (found.coverage, found.error) == pytest.approx(
            (sum(c >= found.threshold for c in confidences) / len(pairs), wrong / len(pairs))
        )
    more = max((c for c in confidences if c < found.threshold), default=None)
    if more is not None:  # the next lower confidence would break it
        assert error_bound(sum(c >= more and not right for c, right in pairs), len(pairs)) > risk - 1e-9


@given(st.lists(st.tuples(st.floats(0, 1) | st.none(), st.booleans()), min_size=1, max_size=80), st.floats(0.5, 0.99))
def test_a_recall_is_promised_only_where_the_exact_bound_allows_it(rows, recall):
    found = recall_threshold_for(recall, "spam", *zip(*rows, strict=True))
    missed = sum(has and (p is None or p < found.threshold) for p, has in rows)
    assert found.rows == sum(has for _, has in rows)
    if found.threshold == math.inf:
        assert "'spam'" in found.reason
    else:
        assert error_bound(missed, found.rows) <= 1 - recall + 1e-9
        assert found.error == missed / found.rows


def test_a_recall_takes_the_highest_threshold_that_can_be_promised():
    probabilities = [n / 100 for n in range(100)]
    found = recall_threshold_for(0.9, "spam", probabilities, [True] * 100)
    assert (found.threshold, found.error) == (0.04, 0.04)  # 4 of 100 missed: at most 8.9%; 5 would be 10.2%
    assert recall_threshold_for(0.9, "spam", probabilities[:28], [True] * 28).threshold == math.inf
    assert recall_threshold_for(0.9, "spam", probabilities[:29], [True] * 29).threshold == 0.0
