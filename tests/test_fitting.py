"""A fitted calibration does what the literature says, and never harms what it was given."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fewshot.calibration import logistic
from fewshot.calibration.calibration import Calibration, temperature
from fewshot.calibration.fitting import fit, folds, regress
from fewshot.calibration.logistic import Widths
from fewshot.errors import InputError
from fewshot.evaluation.metrics import ece

LABELS = ("a", "b", "c")


def world(rows, *, seed=0, bias=0.0, sharp=1.0, shares=(1, 1, 1), signal=2.0):
    """Draw labels and scores whose true calibration is known: sharpened by `sharp` and `bias` added to "a"."""
    rng = random.Random(seed)
    scores, answers = [], []
    for _ in range(rows):
        answer = rng.choices(LABELS, shares)[0]
        honest = {label: rng.gauss(signal * (label == answer), 1) * signal for label in LABELS}
        scores.append({label: sharp * value + bias * (label == "a") for label, value in honest.items()})
        answers.append(answer)
    return scores, answers


def nll(calibration, scores, answers):
    return -sum(math.log(calibration.apply(s)[a]) for s, a in zip(scores, answers, strict=True)) / len(answers)


def test_a_bias_and_a_wrong_temperature_are_undone():
    fitted = fit(*world(300, bias=6.0, sharp=3.0))
    scores, answers = world(1000, seed=1, bias=6.0, sharp=3.0)
    chances = [fitted.calibration.apply(row) for row in scores]
    said = [max(row, key=row.get) for row in chances]
    right = [a == b for a, b in zip(said, answers, strict=True)]
    best = sum(max(row, key=row.get) == a for row, a in zip(*world(1000, seed=1), strict=True))
    assert sum(right) > best - 20
    assert ece([max(row.values()) for row in chances], right) < 0.04


def test_what_was_tried_is_reported_with_the_choice_best():
    fitted = fit(*world(100, bias=3.0))
    report = fitted.to_dict()
    tried = {trial["name"]: trial["nll"] for trial in report["tried"]}
    assert {"none", "temperature", "batch", "bias+temperature"} <= set(tried)
    assert tried[report["chosen"]] == min(tried.values())
    assert report["rows"] == len(fitted.held_out) == 100


def test_good_probabilities_are_left_about_as_they_are():
    scores, answers = world(400)
    fitted = fit(scores, answers)
    other = world(1000, seed=2)
    assert nll(fitted.calibration, *other) < nll(temperature(LABELS), *other) + 0.01


@settings(deadline=None, max_examples=10, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.data())
def test_a_fit_is_never_worse_than_none_on_the_rows_given(data):
    rows = data.draw(st.integers(1, 12))
    value = st.one_of(st.floats(-20, 0), st.just(-math.inf))
    scores = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(LABELS, value)), min_size=rows, max_size=rows))
    answers = data.draw(st.lists(st.sampled_from(LABELS), min_size=rows, max_size=rows))
    fitted = fit(scores, answers, labels=LABELS)
    plain, best = fitted.trials[0], next(t for t in fitted.trials if t.name == fitted.calibration.name)
    assert best.nll <= plain.nll
    assert best.accuracy >= plain.accuracy

    def right(calibrate):
        chances = [calibrate(row) for row in scores]
        return sum(max(row, key=row.get) == answer for row, answer in zip(chances, answers, strict=True))

    assert right(fitted.calibration.apply) >= right(temperature(LABELS).apply)
    assert all(math.isclose(sum(row.values()), 1, abs_tol=1e-9) for row in fitted.held_out)


def test_few_rows_do_no_harm_elsewhere():
    other = world(1000, seed=9, shares=(1, 8, 1))
    for seed in range(5):
        scores, answers = world(12, seed=seed, shares=(1, 8, 1))
        fitted = fit(scores, answers)
        assert nll(fitted.calibration, *other) < nll(temperature(LABELS), *other) + 0.15


def test_further_features_are_used_when_they_help():
    rng = random.Random(0)
    answers = [rng.choice(LABELS) for _ in range(200)]
    blind = [{label: rng.gauss(0, 1) for label in LABELS} for _ in answers]
    seeing = [row | {f"vote {la}": 0.5 * (la == a) for la in LABELS} for row, a in zip(blind, answers, strict=True)]
    fitted = fit(seeing, answers, labels=LABELS)
    assert fitted.calibration.name.startswith("features")
    assert max(trial.accuracy for trial in fitted.trials) > 0.95
    assert fitted.calibration.labels == LABELS


def test_the_same_rows_give_the_same_calibration():
    rows = world(60, bias=2.0)
    assert fit(*rows) == fit(*rows)


def test_folds_share_out_every_answer():
    answers = ["a"] * 50 + ["b"] * 10
    parts = folds(answers, 5)
    assert sorted(row for part in parts for row in part) == list(range(60))
    assert all(sum(answers[row] == "b" for row in part) == 2 for part in parts)
    assert folds(answers, 5, seed=1) != parts


def test_rows_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="'z'") as caught:
        fit([{"a": -1.0, "b": -1.0}] * 2, ["a", "z"])
    assert caught.value.row == 1
    with pytest.raises(InputError, match="pair"):
        fit([], [])


def test_minimise_finds_the_bottom_of_a_skewed_bowl():
    def bowl(point):
        x, y = point
        return (x - 3) ** 2 + 50 * (y + 1 + 0.1 * x) ** 2, [
            2 * (x - 3) + 10 * (y + 1 + 0.1 * x),
            100 * (y + 1 + 0.1 * x),
        ]

    assert logistic.minimise(bowl, [0.0, 0.0]) == pytest.approx([3.0, -1.3], abs=1e-3)


def test_the_regression_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    scores, answers = world(150, signal=0.7)
    features = [{**row, "u": math.sin(i), "v": math.cos(3 * i)} for i, row in enumerate(scores)]
    for row, answer in zip(features, answers, strict=True):
        row["u"] += answer == "a"
    flat = [{**row, **dict.fromkeys(LABELS, 0.0)} for row in features]
    ours = regress(flat, answers, labels=LABELS, features=("u", "v"), widths=Widths(bias=1e4, across=0.7))
    columns = [[row["u"] for row in flat], [row["v"] for row in flat]]
    scaled = []
    for column in columns:
        mean = sum(column) / len(column)
        spread = math.sqrt(sum((x - mean) ** 2 for x in column) / len(column))
        scaled.append([(x - mean) / spread for x in column])
    theirs = linear_model.LogisticRegression(C=0.7**2, tol=1e-8, max_iter=1000)
    theirs.fit(list(zip(*scaled, strict=True)), answers)
    expected = theirs.predict_proba(list(zip(*scaled, strict=True)))
    for row, chances in zip(flat, expected, strict=True):
        assert list(ours.apply(row).values()) == pytest.approx(list(chances), abs=2e-3)


@settings(max_examples=15, deadline=None, phases=(Phase.generate,))
@given(st.integers(3, 60), st.integers(0, 5), st.sampled_from([2, 3]), st.floats(0, 40))
def test_nothing_is_surer_than_so_many_rows_can_tell(rows, seed, labels, signal):
    names = LABELS[:labels]
    answers = [names[row % labels] for row in range(rows)]
    rng = random.Random(seed)
    scores = [{name: signal * (name == answer) + rng.gauss(0, 0.01) for name in names} for answer in answers]
    fitted = fit(scores, answers)
    most = (rows + 1 / labels) / (rows + 1) + 1e-12
    again = Calibration.from_json(fitted.calibration.to_json())
    for chances in (*map(again.apply, scores), *fitted.held_out):
        assert max(chances.values()) <= most
        assert sum(chances.values()) == pytest.approx(1)
    for row in scores:
        bounded, unbounded = again.apply(row), replace(again, rows=0).apply(row)
        assert sorted(bounded, key=bounded.get) == sorted(unbounded, key=unbounded.get)


@pytest.mark.parametrize(
    ("said_of_a", "said_of_b", "likelihood_decides"),
    [
        ((6.0, 5.9, 5.0, 4.9), (5.95, 5.85, 5.8, 4.95), True),  # 3 of 8 right where the prompt had 4: chance
        ((5.0, 5.0, 5.0, 5.0), (6.0, 6.0, 6.0, 6.0), False),  # none of 8 right: likelier, but not to be taken
    ],
)
def test_on_shots_alone_one_row_more_or_less_does_not_outweigh_the_likelihood(said_of_a, said_of_b, likelihood_decides):
    scores = [{"a": lead, "b": 0.0} for lead in (*said_of_a, *said_of_b)]
    fitted = fit(scores, ["a"] * 4 + ["b"] * 4, simple=True)
    tried = {trial.name: trial for trial in fitted.trials}
    assert tried["batch"].nll < tried["none"].nll
    assert tried["batch"].accuracy < tried["none"].accuracy
    assert (fitted.calibration.name == "batch") is likelihood_decides


@pytest.mark.parametrize("widths", [Widths(across=1.0), Widths(across=0.3, bias=2.0)])
def test_a_regression_over_features_has_the_same_weights_with_numpy_and_without(
    widths: Widths, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(5)
    targets = [draw.randrange(3) for _ in range(60)]
    scores = [[draw.gauss(target == label, 1) for target in targets] for label in range(3)]
    features = [[draw.gauss(target == n, 1) for target in targets] for n in range(4)]
    found = []
    for there in (object(), None):
        monkeypatch.setattr(logistic, "find_spec", lambda _name, there=there: there)
        weights = logistic.fit(scores, features, targets, widths)
        found.append([weights.sharpness, *weights.bias, *(w for row in weights.across for w in row)])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert max(map(abs, found[0][4:])) > 0.1
