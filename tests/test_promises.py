"""A promise holds for what it was fitted on, for this prompt on this model: not on shots, and no further."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from known_clients import OWN, ROWS, Copying, Leaning
from pydantic import BaseModel

from fewshot import InputError, Task, load
from fewshot.calibration.abstention import average_threshold_for
from fewshot.evaluation.summary import automated, calibration_error


class Number(BaseModel):
    """A record that holds a number."""

    n: int


OUTPUTS = [
    pytest.param(["1", "2", "3"], lambda n: str(n % 3 + 1), "1", id="labels"),
    pytest.param("number", lambda n: n + 100, "7", id="number"),
    pytest.param("text", lambda n: f"word{n}", "nothing", id="text"),
    pytest.param(Number, lambda n: {"n": n + 100}, '{"n": 7}', id="record"),
]


@pytest.mark.parametrize("select", ["first", "random", "balanced", "bm25"])
@pytest.mark.parametrize(("output", "right", "wrong"), OUTPUTS)
def test_a_client_that_copies_shots_never_gets_a_finite_threshold(
    output: Any, right: Any, wrong: str, select: str
) -> None:
    rows = [(f"item {n} of the list", right(n)) for n in range(90)]
    task = Task.of("Say it.", output, rows[:60], client=Copying(wrong), select=select, k=30, calibrate=False)
    fitted = task.calibrate(rows, risk=0.3)
    assert fitted.settings.min_confidence == math.inf
    assert fitted.run("item 5 of the list").abstained


def promised(**options: Any) -> Task[Any]:
    task = Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning(), **{"k": 2, "model": "m", **options})
    return task.calibrate(ROWS, risk=0.2)


def test_what_was_promised_is_answered_where_it_was_promised() -> None:
    result = promised().run("a good new day")
    assert (result.value, result.abstained, result.warnings) == ("yes", False, ())


MUTATIONS: dict[str, dict[str, Any]] = {
    "k": {"k": 1},
    "more shots": {"k": 3}, "all shots": {"k": None}, "no shots": {"k": 0}, "select": {"select": "random"},
    "by the question": {"select": "bm25"}, "balanced": {"select": "balanced"}, "seed": {"select": "random", "seed": 5},
    "form": {"form": "chat"}, "model": {"model": "other"}, "no scoring": {"scoring": False}, "votes": {"votes": 3},
    "temperature": {"temperature": 0.5}, "max_tokens": {"max_tokens": 3}, "stop": {"stop": ("x",)},
    "max_repairs": {"max_repairs": 0}, "not calibrated": {"calibrate": False}, "effort": {"reasoning_effort": "low"},
    "other shots": {"examples": [("a good pie", "yes"), *OWN[1:]]}, "one shot fewer": {"examples": OWN[:3]},
    "order of shots": {"examples": OWN[::-1]}, "a label corrected": {"examples": [(OWN[0][0], "no"), *OWN[1:]]},
    "one shot more": {"examples": [*OWN, ("a good pie", "yes")]}, "no examples": {"examples": []},
    "embedding model": {"embedding_model": "e"},
}  # fmt: skip


@pytest.mark.parametrize("change", MUTATIONS.values(), ids=MUTATIONS)
def test_a_promise_is_off_for_anything_else_and_says_why(change: dict[str, Any]) -> None:
    result = promised().using(**change).run("a good new day")
    assert (result.value, result.abstained) == (None, True)
    assert any(warning.startswith("held back, since the promise is off: ") for warning in result.warnings)


@pytest.mark.parametrize("text", ["아주 좋은 날이다", "очень хороший день", "とても良い日だ"])
def test_a_promise_is_off_for_inputs_in_another_script(text: str) -> None:
    result = promised().run(text)
    assert result.abstained
    assert "inputs in LATIN and this one is in " in result.warnings[0]


def test_a_promise_is_off_for_another_template_another_label_set_and_another_order_of_labels() -> None:
    promise = promised().promise
    assert promise is not None
    for instruction, labels in (("Is it fine?", ["yes", "no"]), ("Is it nice?", ["no", "yes"])):
        task = Task.of(instruction, labels, OWN, client=Leaning(), k=2, model="m").with_fit(promise)
        assert task.run("a good new day").abstained
    task = Task.of("Is it nice?", ["yes", "no", "so"], OWN, client=Leaning(), k=2, model="m").with_fit(promise)
    assert task.run("a good new day").abstained


def test_a_threshold_of_the_callers_own_is_no_promise() -> None:
    result = promised().using(k=1, min_confidence=0.0).run("a good new day")
    assert (result.value, result.warnings) == ("no", ()) or result.value == "yes"


def test_a_fit_made_on_purpose_is_used_where_none_is_made_at_first_use() -> None:
    fitted = Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning(), k=2, calibrate=False).calibrate(ROWS)
    result = fitted.run("a good new day")
    assert (result.value, result.calibration != "none") == ("yes", True)


def test_a_fit_is_a_file_that_gives_the_same_probabilities_to_the_last_bit_elsewhere(tmp_path: Path) -> None:
    fitted = promised()
    there = fitted.save(tmp_path / "here" / ".." / "nice")
    moved = Path(shutil.copytree(there, tmp_path / "other" / "home" / "nice"))
    record = json.loads((moved / "fit.json").read_text(encoding="utf-8"))
    assert (record["rows"], record["labels"], record["model"]) == (len(ROWS), ["yes", "no"], "m")
    elsewhere = load(moved, client=Leaning())
    for text, _ in ROWS[:10]:
        assert elsewhere.run(text).probabilities == fitted.run(text).probabilities
    assert elsewhere.settings.min_confidence == fitted.settings.min_confidence
    assert load(moved, client=Leaning(), k=1).run("a good new day").abstained


def test_a_fit_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = promised().save(tmp_path / "nice")
    (folder / "fit.json").write_text("{}", encoding="utf-8")
    with pytest.raises(Exception, match=r"fit\.json.*calibrate again"):
        load(folder)


def test_two_promises_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="give one of them"):
        Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning()).calibrate(ROWS, risk=0.1, average_risk=0.1)


def test_an_average_risk_answers_more_than_a_risk_does() -> None:
    confidences = [1 - n / 400 for n in range(200)]
    correct = [n % 25 != 24 for n in range(200)]
    found = average_threshold_for(0.05, confidences, correct)
    assert (found.coverage, found.error) == (1.0, pytest.approx(0.04))
    assert average_threshold_for(0.01, confidences[:50], correct[:50]).threshold == math.inf


def test_a_promised_recall_answers_the_label_where_it_is_probable_enough() -> None:
    task = Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning(), k=2, model="m", calibrate=False)
    missing = [("a stinking day number 1", "yes"), ("a stinking day number 22", "yes")]  # the client says "no" to these
    found = task.calibrate([*ROWS, *missing], recall={"yes": 0.9})
    threshold = found.promise and found.promise.threshold
    assert threshold is not None
    assert (threshold.promise, threshold.label, threshold.rows) == ("recall", "yes", 82)
    assert threshold.sentence.startswith("at least 90.0% of those that are 'yes' will be answered so")
    said = [found.run(text) for text, _ in [*ROWS, *missing]]
    assert not any(result.abstained for result in said)
    for result in said:
        assert (result.probabilities or {})[result.value] == result.confidence
        assert result.value == "yes" or (result.probabilities or {})["yes"] < threshold.threshold
    assert sum(r.value == "yes" for r in said) >= 0.9 * 82


def test_a_promised_precision_holds_back_that_label_alone() -> None:
    task = Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning(), k=2, model="m", calibrate=False)
    few = task.calibrate(ROWS[:24], precision={"yes": 0.95})
    assert few.fitted is not None
    assert few.fitted.threshold is not None
    assert few.fitted.threshold.reason.startswith("of the answers 'yes'")
    assert few.run("a good new day").abstained
    assert few.run("a bad new day").value == "no"
    assert task.calibrate(ROWS, precision={"yes": 0.9}).run("a good new day").value == "yes"


def test_what_was_promised_of_a_label_is_off_elsewhere_and_kept_in_the_file(tmp_path: Path) -> None:
    task = Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning(), k=2, model="m", calibrate=False)
    folder = task.calibrate(ROWS, recall={"yes": 0.9}).save(tmp_path / "nice")
    assert load(folder, client=Leaning()).run("a good new day").value == "yes"
    assert load(folder, client=Leaning(), k=1).run("a good new day").abstained


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"recall": {"maybe": 0.9}}, "recall of 'maybe' cannot be promised: its labels are yes, no"),
        ({"recall": 0.9}, "names one label and its share"),
        ({"precision": {"yes": 0.9, "no": 0.9}}, "names one label and its share"),
        ({"precision": {"yes": 1.0}}, "between 0 and 1"),
        ({"recall": {"yes": 0.9}, "risk": 0.1}, "risk and recall are 2 promises: give one of them"),
    ],
)
def test_what_cannot_be_promised_of_a_label_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning(), k=2).calibrate(ROWS, **options)


def test_promises_are_kept_in_simulation() -> None:
    path = Path(__file__).parent / "benchmarks" / "promises.py"
    spec = importlib.util.spec_from_file_location("promises", path)
    assert spec is not None
    assert spec.loader is not None
    promises = importlib.util.module_from_spec(spec)
    sys.modules["promises"] = promises
    spec.loader.exec_module(promises)
    risk = promises.simulated("risk", 0.1, 150, 60)
    assert risk.broken <= 0.05
    assert risk.answered > 0.1
    assert promises.simulated("average_risk", 0.1, 100, 60).wrong <= 0.1
    for kind in ("recall", "precision"):
        kept = promises.simulated_of_label(kind, 0.8, 200, 60)
        assert kept.broken <= 0.1
        assert kept.promised > 0.5


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_the_interval_of_a_calibration_error_holds_the_true_one(gap: float) -> None:
    draw = random.Random(5)
    held = 0
    for _ in range(30):
        sure = [0.5 + 0.5 * draw.random() for _ in range(60)]
        figure = calibration_error([(chance, draw.random() < chance - gap) for chance in sure])
        held += figure.low <= gap <= figure.high
    assert held >= 28


def test_the_share_that_could_be_automated_is_judged_on_other_rows_than_its_cut_was_chosen_on() -> None:
    draw = random.Random(3)
    shares = []
    for _ in range(50):  # nothing tells right from wrong: a cut chosen on the very rows finds a tenth of them
        accepted = automated([(draw.random(), draw.random() < 0.8) for _ in range(40)], 0.01)
        shares.append(sum(accepted) / 40)
    assert 0 < sum(shares) / 50 < 0.2
    assert automated([(0.9, True)] * 10 + [(0.1, False)] * 10, 0.0)[:10] == [1.0] * 10
