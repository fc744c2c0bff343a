"""Calibrations give probabilities, whatever they are fed, and remove what they promise to remove."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.calibration.calibration import NONE, Calibration, Output, Running, batch, contextual, temperature
from fewshot.errors import ConfigError, InputError

LABELS = ("positive", "negative", "neutral")
logprob = st.one_of(st.floats(-1e6, 0), st.just(-math.inf), st.just(-1e-320))
scores = st.fixed_dictionaries(dict.fromkeys(LABELS, logprob))
calibrations = st.one_of(
    st.just(NONE),
    st.floats(0.01, 100).map(lambda t: temperature(LABELS, t)),
    st.lists(scores, min_size=1, max_size=5).map(batch),
    st.lists(scores, min_size=1, max_size=5).map(contextual),
)


def log(**chances: float) -> dict[str, float]:
    return {label: math.log(chance) for label, chance in chances.items()}


@given(calibrations, scores)
def test_any_calibration_gives_probabilities_for_any_scores(calibration, row):
    chances = calibration.apply(row)
    assert set(chances) == set(LABELS)
    assert math.isclose(sum(chances.values()), 1.0, abs_tol=1e-9)
    assert all(0 <= chance <= 1 for chance in chances.values())


@given(calibrations, scores)
def test_the_order_of_the_labels_does_not_matter(calibration, row):
    backwards = dict(reversed(row.items()))
    assert calibration.apply(backwards) == pytest.approx(calibration.apply(row), abs=1e-9)


@given(calibrations, scores, st.floats(-1e5, 1e5))
def test_scores_count_only_relative_to_each_other(calibration, row, by):
    moved = {label: value + by for label, value in row.items()}
    assert calibration.apply(moved) == pytest.approx(calibration.apply(row), abs=1e-6)


@given(calibrations)
def test_a_calibration_survives_json_and_pickle_exactly(calibration):
    assert Calibration.from_json(calibration.to_json()) == calibration
    assert pickle.loads(pickle.dumps(calibration)) == calibration
    assert hash(calibration) == hash(Calibration.from_json(calibration.to_json()))


def test_none_only_renormalises():
    assert NONE.apply({"a": math.log(0.2), "b": math.log(0.1)}) == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert NONE.apply({"a": -1000.0, "b": -1001.0})["a"] == pytest.approx(1 / (1 + math.exp(-1)))


def test_a_temperature_of_two_takes_square_roots():
    assert temperature(("a", "b"), 2).apply(log(a=0.8, b=0.2)) == pytest.approx({"a": 2 / 3, "b": 1 / 3})


def test_batch_calibration_divides_by_the_geometric_mean_of_the_predictions():
    calibration = batch([log(a=0.9, b=0.1), log(a=0.6, b=0.4)])
    weights = {"a": 0.7 / math.sqrt(0.9 * 0.6), "b": 0.3 / math.sqrt(0.1 * 0.4)}
    expected = {label: weight / sum(weights.values()) for label, weight in weights.items()}
    assert calibration.apply(log(a=0.7, b=0.3)) == pytest.approx(expected)


def test_batch_calibration_makes_an_input_like_the_average_undecided_or_as_frequent_as_the_prior():
    row = log(a=0.9, b=0.1)
    assert batch([row]).apply(row) == pytest.approx({"a": 0.5, "b": 0.5})
    assert batch([row], prior={"a": 0.2, "b": 0.8}).apply(row) == pytest.approx({"a": 0.2, "b": 0.8})


def test_contextual_calibration_divides_by_the_mean_prediction_for_empty_inputs():
    calibration = contextual([log(a=0.9, b=0.1), log(a=0.7, b=0.3)])
    weights = {"a": 0.5 / 0.8, "b": 0.5 / 0.2}
    expected = {label: weight / sum(weights.values()) for label, weight in weights.items()}
    assert calibration.apply(log(a=0.5, b=0.5)) == pytest.approx(expected)


def test_a_running_calibration_equals_the_batch_of_what_it_has_seen():
    rows = [log(a=0.9, b=0.1), log(a=0.6, b=0.4), log(a=0.5, b=0.5)]
    running, seen = Running(), []
    for row in rows:
        running.add(row)
        seen.append(running.calibration().apply(row))
    assert seen[0] == pytest.approx({"a": 0.5, "b": 0.5})
    assert seen[2] == pytest.approx(batch(rows).apply(rows[2]))
    assert running.rows == 3
    assert Running().calibration() is NONE


def test_features_beside_the_labels_are_weighted_too():
    calibration = Calibration("x", (Output("a", 1.0, (("vote", 2.0),)), Output("b", 0.0, ())))
    assert calibration.apply({"a": -1.0, "b": -1.0, "vote": 0.5})["a"] == pytest.approx(1 / (1 + math.exp(-2)))


def test_mistakes_are_named():
    with pytest.raises(InputError, match="'b'"):
        temperature(("a", "b")).apply({"a": -1.0})
    with pytest.raises(InputError, match="prior"):
        batch([log(a=0.5, b=0.5)], prior={"a": 1.0})
    with pytest.raises(InputError, match="temperature"):
        temperature(("a",), 0.0)
    with pytest.raises(InputError):
        batch([])
    for broken in ("", "[]", '{"name": "x"}', '{"name": "x", "outputs": {"a": 1}}'):
        with pytest.raises(ConfigError, match="not a calibration"):
            Calibration.from_json(broken)
