"""The figures have the values that one gets by hand, and those of scikit-learn."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.errors import InputError
from fewshot.evaluation import metrics
from fewshot.evaluation.intervals import Figure, average, bootstrap, compare, kappa

TRUTHS = ["a", "a", "a", "b", "b", "c"]
SAID = ["a", "a", "b", "b", "c", None]


def test_counting_figures_by_hand():
    # F1: a 2*2/(3+2) = 0.8, b 2*1/(2+2) = 0.5, c 0
    assert metrics.macro_f1(TRUTHS, SAID) == pytest.approx(1.3 / 3)
    assert metrics.confusion(TRUTHS, SAID) == {"a": {"a": 2, "b": 1}, "b": {"b": 1, "c": 1}, "c": {None: 1}}


def test_probability_figures_by_hand():
    assert metrics.nll_of("a", {"a": 0.8, "b": 0.2}) == pytest.approx(-math.log(0.8))
    assert metrics.brier_of("a", {"a": 0.4, "b": 0.6}) == pytest.approx(0.36 + 0.36)
    assert metrics.brier_of("z", {"a": 1.0}) == 2.0
    assert metrics.nll_of("z", {"a": 1.0}) == pytest.approx(27.63, abs=0.01)


def test_calibration_error_by_hand():
    # Ten rows at 0.8 of which 6 are right, ten at 0.3 of which 5 are: (10 * 0.2 + 10 * 0.2) / 20.
    confidences = [0.8] * 10 + [0.3] * 10
    correct = [True] * 6 + [False] * 4 + [True, False] * 5
    assert metrics.ece(confidences, correct) == pytest.approx(0.2)
    low, high = metrics.reliability(confidences, correct)
    assert (low.rows, low.confidence, low.accuracy) == pytest.approx((10, 0.3, 0.5))
    assert (high.low, high.high) == pytest.approx((11 / 15, 12 / 15))
    assert metrics.ece([1.0, 1.0, 0.0], [True, True, False]) == 0


def test_adaptive_bins_hold_equally_many_rows_and_rows_of_one_confidence_stay_together() -> None:
    right = [i % 10 < 7 for i in range(1000)]
    assert metrics.ece([0.7] * 1000, right, adaptive=True) == pytest.approx(0)
    assert metrics.ece([0.7] * 1000, sorted(right), adaptive=True) == pytest.approx(0)
    # Two bins of two rows each; of equal width, the first one holds three of them.
    confidences, correct = [0.1, 0.2, 0.3, 0.8], [True, False, False, True]
    gaps = abs(1 - 0.3) + abs(1 - 1.1)
    assert metrics.ece(confidences, correct, bins=2, adaptive=True) == pytest.approx(gaps / 4)
    assert metrics.ece(confidences, correct, bins=2) == pytest.approx((abs(1 - 0.6) + abs(1 - 0.8)) / 4)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_the_diagram_and_the_error_agree(pairs):
    confidences, correct = zip(*pairs, strict=True)
    bins = metrics.reliability(confidences, correct)
    gaps = sum(b.rows * abs(b.accuracy - b.confidence) for b in bins) / len(pairs)
    assert metrics.ece(confidences, correct) == pytest.approx(gaps, abs=1e-9)
    assert sum(b.rows for b in bins) == len(pairs)


def test_ranking_figures_by_hand():
    assert metrics.auroc([0.9, 0.8, 0.7, 0.6], [True, False, True, False]) == 0.75
    assert metrics.auroc([0.5, 0.5], [True, False]) == 0.5
    assert metrics.auroc([0.5, 0.6], [True, True]) == 0.5


def test_figures_agree_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = random.Random(0)
    truths = rng.choices("abcd", (5, 3, 1, 1), k=200)
    said = [t if rng.random() < 0.6 else rng.choice("abcd") for t in truths]
    assert metrics.macro_f1(truths, said) == pytest.approx(sk.f1_score(truths, said, average="macro"))
    confidences = [round(rng.random(), 1) for _ in truths]
    correct = [t == s for t, s in zip(truths, said, strict=True)]
    assert metrics.auroc(confidences, correct) == pytest.approx(sk.roc_auc_score(correct, confidences))
    binary = [rng.choice("ab") for _ in truths]
    ours = [metrics.brier_of(t, {"a": c, "b": 1 - c}) / 2 for t, c in zip(binary, confidences, strict=True)]
    assert sum(ours) / 200 == pytest.approx(sk.brier_score_loss([t == "a" for t in binary], confidences))


def test_an_interval_surrounds_its_value_and_shrinks_with_rows():
    figure = bootstrap([1.0] * 60 + [0.0] * 40)
    assert figure.value == 0.6
    # The normal approximation gives 0.6 ± 0.096.
    assert (figure.low, figure.high) == pytest.approx((0.504, 0.696), abs=0.02)
    wider = bootstrap([1.0] * 6 + [0.0] * 4)
    assert wider.low < figure.low < figure.high < wider.high
    assert bootstrap([1.0] * 60 + [0.0] * 40) == figure
    assert bootstrap([1.0]) == Figure(1.0, 1.0, 1.0)
    assert figure.to_dict() == {"value": 0.6, "low": figure.low, "high": figure.high}


@pytest.mark.parametrize("rows", [1, 24, 300, 5000])
@pytest.mark.parametrize("share", [0.0, 0.04, 0.5, 1.0])
def test_the_interval_of_a_share_is_the_exact_one(rows: int, share: float):
    binomtest = pytest.importorskip("scipy.stats").binomtest
    right = round(share * rows)
    exact = binomtest(right, rows).proportion_ci(0.95, method="exact")
    figure = average([1.0] * right + [0.0] * (rows - right))
    assert (figure.value, figure.low, figure.high) == pytest.approx((right / rows, exact.low, exact.high), abs=1e-6)
    assert average([0.5, 1.0, 0.0]) == bootstrap([0.5, 1.0, 0.0])


def test_two_runs_that_agree_on_every_row_may_differ_on_others():
    same = compare([1.0, 0.0] * 10, [1.0, 0.0] * 10)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert same.low < -0.1 < 0.1 < same.high
    more = compare([1.0, 0.0] * 500, [1.0, 0.0] * 500)
    assert -0.01 < more.low < 0 < more.high < 0.01


def test_any_metric_can_have_an_interval():
    rows = list(zip(TRUTHS * 20, SAID * 20, strict=True))
    figure = bootstrap(rows, metrics.over(metrics.macro_f1))
    assert figure.value == pytest.approx(1.3 / 3)
    assert figure.low < figure.value < figure.high


def test_a_comparison_of_runs_is_paired():
    rng = random.Random(0)
    first = [float(rng.random() < 0.7) for _ in range(300)]
    better = [max(value, float(rng.random() < 0.2)) for value in first]
    gain = compare(first, better)
    assert gain.difference == pytest.approx(sum(better) / 300 - sum(first) / 300)
    assert 0 < gain.low < gain.difference < gain.high
    assert gain.p_value < 0.01
    same = compare(first, first)
    assert (same.difference, same.p_value) == (0, 1)
    assert -0.01 < same.low < 0 < same.high < 0.01
    assert compare(first, list(reversed(first))).p_value > 0.05


def test_unpaired_rows_are_refused():
    with pytest.raises(InputError):
        metrics.macro_f1(["a"], [])
    with pytest.raises(InputError):
        metrics.ece([], [])
    with pytest.raises(InputError):
        compare([1.0], [])


def test_kappa_is_that_of_scikit_learn_with_an_interval_that_few_rows_do_not_make_certain():
    sk = pytest.importorskip("sklearn.metrics")
    ours, theirs = list("aaabbbcccaab"), list("aabbbbccaaab")
    found = kappa(list(zip(ours, theirs, strict=True)))
    assert found is not None
    assert found.value == pytest.approx(sk.cohen_kappa_score(ours, theirs))
    assert found.low < found.value < found.high <= 1
    same = kappa([("a", "a"), ("b", "b")] * 10)
    assert same == Figure(1.0, pytest.approx(0.663, abs=0.001), 1.0)
    assert kappa([("a", "b"), ("b", "a")] * 20).value == -1.0
    assert kappa([]) is kappa([("a", "a")] * 9) is None
