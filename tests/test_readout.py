"""A readout finds the label in many features, and its left-out scores have not seen their own row."""

import random

import pytest

from fewshot.calibration.calibration import Calibration
from fewshot.calibration.fitting import fit
from fewshot.calibration.ridge import Features, Ridge, token_features, vocabulary

LABELS = ("a", "b")


def world(rows, *, features=20, seed=0, told=1.0):
    rng = random.Random(seed)
    answers = [rng.choice(LABELS) for _ in range(rows)]
    wide = [{f"f{i}": rng.gauss(told * (answer == "a") * (i < 5), 1) for i in range(features)} for answer in answers]
    return wide, answers


def score(readout, row):
    return [
        bias + sum(w * row[name] for name, w in zip(readout.features, weights, strict=True))
        for bias, weights in zip(readout.biases, readout.weights, strict=True)
    ]


def test_left_out_scores_are_those_of_a_fit_without_the_row(monkeypatch):
    monkeypatch.setattr("fewshot.calibration.ridge._PENALTIES", (1.0,))
    wide, answers = world(30)
    _, left_out = Ridge(Features(wide), answers, LABELS).fit()
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    x = numpy.array([list(row.values()) for row in wide])
    x -= x.mean(0)
    spread = (x**2).sum() / len(x)
    y = numpy.array([[answer == label for label in LABELS] for answer in answers], float)
    shares = y.mean(0)
    for row in range(30):
        kept = [other for other in range(30) if other != row]
        gram = x[kept] @ x[kept].T / spread + numpy.eye(29)
        expected = x[row] @ x[kept].T / spread @ numpy.linalg.solve(gram, y[kept] - shares) + shares
        assert left_out[row] == pytest.approx(list(expected), abs=1e-9)


def test_noise_teaches_nothing_and_signal_does():
    for told, low, high in ((0.0, 0.35, 0.65), (2.0, 0.95, 1.0)):
        wide, answers = world(120, told=told)
        _, left_out = Ridge(Features(wide), answers, LABELS).fit()
        right = sum((one > other) == (answer == "a") for (one, other), answer in zip(left_out, answers, strict=True))
        assert low <= right / 120 <= high


def test_more_rows_than_features_give_the_same_as_more_features_than_rows():
    wide, answers = world(60)
    padded = [{**row, **{f"none{i}": 0.0 for i in range(60)}} for row in wide]
    for part in ((), range(0, 60, 5)):
        readout, left_out = Ridge(Features(wide), answers, LABELS).fit(part)
        other, same = Ridge(Features(padded), answers, LABELS).fit(part)
        assert [value for row in left_out for value in row] == pytest.approx([value for row in same for value in row])
        assert score(readout, wide[5]) == pytest.approx(score(other, padded[5]))


def test_rows_left_out_tell_nothing_to_the_scores_of_any_row():
    wide, answers = world(60)
    part = range(0, 60, 3)
    turned = [LABELS[answer == "a"] if row in part else answer for row, answer in enumerate(answers)]
    block = Ridge(Features(wide), answers, LABELS)
    other = Ridge(Features(wide), turned, LABELS)
    other._penalty = block._penalty  # the one thing that is chosen on all rows
    for one, two in zip(block.fit(part)[1], other.fit(part)[1], strict=True):
        assert one == pytest.approx(two)
    readout, scores = block.fit(part)
    assert scores[3] == pytest.approx(score(readout, wide[3]))


def test_a_fit_on_wide_features_is_one_calibration_of_them():
    wide, answers = world(120, told=2.0)
    fitted = fit([{"a": -0.7, "b": -0.7}] * 120, answers, wide=[wide])
    assert fitted.calibration.name.startswith("features")
    assert set(fitted.calibration.features) == set(wide[0])
    again = Calibration.from_json(fitted.calibration.to_json())
    new, truths = world(300, seed=5, told=2.0)
    chances = [again.apply({"a": -0.7, "b": -0.7} | row) for row in new]
    assert sum(max(row, key=row.get) == truth for row, truth in zip(chances, truths, strict=True)) > 285


def test_tokens_become_features_that_no_label_can_be_mistaken_for():
    tops = [((b" good", -0.5), (b" bad", -1.5)), ((b" good", -1.0), (b"\xed", -2.0))] * 10
    names = vocabulary(tops)
    assert names == ("token: good", "token: bad", "token:\\xed")
    assert token_features(tops[0], names) == {"token: good": -0.5, "token: bad": -1.5, "token:\\xed": -2.0}
    assert vocabulary(tops, most=1) == ("token: good",)
    assert vocabulary([tops[0]]) == ()
