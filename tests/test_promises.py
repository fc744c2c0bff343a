"""A promise holds for what it was fitted on, for this prompt on this model: not on shots, and no further."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from known_clients import OWN, ROWS, Copying, Leaning
from pydantic import BaseModel

from fewshot import Completion, InputError, Request, Result, Task, load
from fewshot import _background_loop as loop
from fewshot.calibration.abstention import average_threshold_for, threshold_for
from fewshot.data.labelled import read_labelled
from fewshot.evaluation.calibrate import calibrated
from fewshot.evaluation.summary import calibration_error
from fewshot.models.connection import Connection
from fewshot.models.endpoint import Endpoint
from fewshot.models.local.server import digest_of
from fewshot.outputs.kinds import Text


class Number(BaseModel):
    """A record that holds a number."""

    n: int


OUTPUTS = [
    pytest.param(["1", "2", "3"], lambda n: str(n % 3 + 1), "1", id="labels"),
    pytest.param("number", lambda n: n + 100, "7", id="number"),
    pytest.param("text", lambda n: f"word{n}", "nothing", id="text"),
    pytest.param(Number, lambda n: {"n": n + 100}, '{"n": 7}', id="record"),
    pytest.param(bool, lambda n: n % 2 == 0, "false", id="truth"),
    pytest.param(int, lambda n: n + 100, "7", id="whole number"),
    pytest.param(Text(optional="I don't know"), lambda n: f"word{n}", "nothing", id="text that may be missing"),
    pytest.param(list[str], lambda n: [f"word{n}"], '["nothing"]', id="list"),
    pytest.param({"any_of": ["1", "2", "3"]}, lambda n: [str(n % 3 + 1)], "1", id="set of labels"),
    pytest.param({"spans": ["thing"]}, lambda n: [{"label": "thing", "text": f"item {n}"}], "[]", id="spans"),
]


@pytest.mark.parametrize("votes", [1, 3])
@pytest.mark.parametrize("select", ["first", "random", "balanced", "bm25", "embedding"])
@pytest.mark.parametrize(("output", "right", "wrong"), OUTPUTS)
def test_a_client_that_copies_shots_never_gets_a_finite_threshold(
    output: Any, right: Any, wrong: str, select: str, votes: int
) -> None:
    rows = [(f"item {n} of the list", right(n)) for n in range(50)]  # as if they were not shots, a fifth would be wrong
    options: dict[str, Any] = {"select": select, "votes": votes, "scoring": votes == 1}
    task = Task.of("Say it.", output, rows[:40], client=Copying(wrong), k=40, calibrate=False, **options)
    fitted = task.calibrate([*rows, *rows[:5]], **({"risk": 0.5} if votes == 1 else {"average_risk": 0.4}))
    assert fitted.settings.min_confidence == math.inf
    assert fitted.run("item 5 of the list").abstained


@pytest.mark.parametrize("label", ["1", "2"])
def test_a_client_that_copies_shots_is_promised_no_recall_or_precision(label: str) -> None:
    rows = [(f"item {n} of the list", str(n % 3 + 1)) for n in range(120)]
    task = Task.of("Say it.", ["1", "2", "3"], rows[:60], client=Copying("3"), k=60, calibrate=False)
    assert task.calibrate(rows, precision={label: 0.7}).run(rows[3][0]).value != label
    found = task.calibrate(rows, recall={label: 0.7}).promise
    assert found is not None
    assert found.threshold is not None
    assert found.threshold.rows == 20  # those that have it and are no shots


@pytest.mark.parametrize("select", ["first", "bm25"])
def test_what_is_measured_on_shots_is_told(select: str) -> None:
    rows = [(f"item {n} of the list", str(n % 3 + 1)) for n in range(30)]
    task = Task.of("Say it.", ["1", "2", "3"], rows[:20], client=Copying("3"), select=select, calibrate=False)
    report = task.evaluate([*rows, rows[29]])
    assert "20 of 31 rows are examples of the task itself, so the figures flatter it" in report.notes
    assert "1 of 31 rows ask the same as one before, so the intervals are too narrow" in report.notes
    blank = task.using(examples=[])
    assert blank.evaluate(rows[20:], pool=rows).metrics["accuracy"].value == pytest.approx(0.3)
    tuned = task.tune([*rows, *((f"thing {n}", str(n % 3 + 1)) for n in range(30))], k=[0, 4], budget=200)
    assert "20 rows were left out: the task's own examples, or duplicates" in tuned.notes
    assert tuned.before.metrics["accuracy"].value < 0.7


def promised(**options: Any) -> Task[Any]:
    task = Task.of("Is it nice?", ["yes", "no"], OWN, **{"client": Leaning(), "k": 2, "model": "m", **options})
    return task.calibrate(ROWS, risk=0.2)


@pytest.fixture(scope="module")
def nice() -> Task[Any]:
    return promised()


def test_what_was_promised_is_answered_where_it_was_promised(nice: Task[Any]) -> None:
    result = nice.run("a good new day")
    assert (result.value, result.abstained, result.warnings) == ("yes", False, ())


A_PROMPT, LABELS = "another prompt (template", "other labels, or another order of them"
ADDRESS, SETTINGS, MODEL = (
    "another address, other fields",
    "other settings (defaults, not ",
    "another model (m, not other)",
)
UNCALIBRATED, SCRIPT = "the calibration that it was fitted with", "inputs in LATIN and"


def using(**changes: Any) -> Callable[[Task[Any]], Task[Any]]:
    return lambda task: task.using(**changes)


def made(instruction: str, labels: Any, **options: Any) -> Callable[[Task[Any]], Task[Any]]:
    """Give another task the fit of this one."""

    def changed(task: Task[Any]) -> Task[Any]:
        assert task.promise is not None
        there: dict[str, Any] = {"client": Leaning(), "k": 2, "model": "m", **options}
        return Task.of(instruction, labels, OWN, **there)._with_fit(task.promise)

    return changed


class At(Leaning):
    """The same at an address of its own."""

    def __init__(self, **endpoint: Any) -> None:
        super().__init__()
        self.endpoint = Endpoint(model="m", **endpoint)


MUTATIONS: list[tuple[str, Callable[[Task[Any]], Task[Any]], str]] = [
    ("host", using(client=At(base_url="https://elsewhere.example/v1")), ADDRESS),
    ("organisation or project", using(client=At(route="other")), ADDRESS),
    ("fields of the request", using(client=At(extra=(("reasoning_effort", "high"),))), ADDRESS),
    ("model", using(model="other"), MODEL),
    ("k, one fewer", using(k=1), A_PROMPT),
    ("k, one more", using(k=3), A_PROMPT),
    ("k, all examples", using(k=None), A_PROMPT),
    ("k, no shots", using(k=0), A_PROMPT),
    ("select, random", using(select="random"), A_PROMPT),
    ("select, balanced", using(select="balanced"), A_PROMPT),
    ("select, by the question", using(select="bm25"), A_PROMPT),
    ("seed of the shots", using(select="random", seed=5), A_PROMPT),
    ("another shot", using(examples=[("a good pie", "yes"), *OWN[1:]]), A_PROMPT),
    ("an example less", using(examples=OWN[:3]), A_PROMPT),
    ("an example more", using(examples=[*OWN, ("a good pie", "yes")]), A_PROMPT),
    ("order of the examples", using(examples=OWN[::-1]), A_PROMPT),
    ("a label corrected", using(examples=[(OWN[0][0], "no"), *OWN[1:]]), A_PROMPT),
    ("no examples", using(examples=[]), A_PROMPT),
    ("form", using(form="chat"), A_PROMPT),
    ("embedding model", using(embedding_model="e"), A_PROMPT),
    ("template", made("Is it fine?", ["yes", "no"]), A_PROMPT),
    ("language of the template", made("좋은가?", ["yes", "no"]), A_PROMPT),
    ("order of the labels", made("Is it nice?", ["no", "yes"]), LABELS),
    ("one label more", made("Is it nice?", ["yes", "no", "so"]), LABELS),
    ("what the endpoint is asked for", using(decisions=True), SETTINGS),
    ("scoring", using(scoring=False), SETTINGS),
    ("votes", using(votes=3), SETTINGS),
    ("temperature", using(temperature=0.5), ADDRESS),
    ("longest answer", using(max_tokens=3), SETTINGS),
    ("stop", using(stop=("x",)), SETTINGS),
    ("repairs", using(max_repairs=0), SETTINGS),
    ("effort of reasoning", using(reasoning_effort="low"), ADDRESS),
    ("further fields", using(extra_body={"seed": 3}), ADDRESS),
    ("calibration", using(calibrate=False), UNCALIBRATED),
    ("headers", using(extra_headers={"x-route": "secret-b"}), SETTINGS),
    ("query", using(extra_query={"deployment": "b"}), SETTINGS),
    ("private data taken out", using(redact=["email"]), SETTINGS),
]


@pytest.mark.parametrize(("change", "reason"), [m[1:] for m in MUTATIONS], ids=[m[0] for m in MUTATIONS])
def test_a_promise_is_off_for_anything_else_and_says_why(
    change: Callable[[Task[Any]], Task[Any]], reason: str, nice: Task[Any]
) -> None:
    assert len(MUTATIONS) >= 30
    result = change(nice).run("a good new day")
    assert (result.value, result.abstained, result.fit) == (None, True, "")
    [told] = [warning for warning in result.warnings if warning.startswith("held back, since the promise is off: ")]
    assert reason in told


class Named(Leaning):
    """A service that says which model answered."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def answer(self, request: Request) -> Completion:
        return replace(super().answer(request), model=self.model)


DOORS: dict[str, Callable[[Task[Any], Path], Result[Any]]] = {
    "run": lambda task, _: task.run("a good new day"),
    "arun": lambda task, _: asyncio.run(task.arun("a good new day")),
    "map": lambda task, _: next(iter(task.map(["a good new day"]))),
    "pickled": lambda task, _: pickle.loads(pickle.dumps(task)).run("a good new day"),
    "saved": lambda task, there: load(task.save(there / "x"), client=task.settings.client).run("a good new day"),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_promise_is_off_once_the_replies_name_another_model(door: str, tmp_path: Path) -> None:
    task = promised(client=Named("m-2026-01"))
    assert DOORS[door](task, tmp_path / "same").value == "yes"
    result = DOORS[door](task.using(client=Named("m-2026-09")), tmp_path / "other")
    told = "answers of m-2026-01, and m-2026-09 answered: calibrate again"
    assert (result.value, result.abstained, told in result.warnings[0]) == (None, True, True)


def test_what_a_promise_says_of_headers_is_no_secret(nice: Task[Any]) -> None:
    [told] = nice.using(extra_headers={"x-route": "secret-b"}).run("a good new day").warnings
    assert "extra_headers=" in told
    assert "secret-b" not in told


@pytest.mark.parametrize("text", ["아주 좋은 날이다", "очень хороший день", "とても良い日だ", "يوم جميل"])
def test_a_promise_is_off_for_inputs_in_another_script(text: str, nice: Task[Any]) -> None:
    result = nice.run(text)
    assert result.abstained
    assert f"{SCRIPT} this one is in " in result.warnings[0]


def test_a_promise_is_off_for_a_model_file_of_other_content_and_holds_wherever_the_same_lies(tmp_path: Path) -> None:
    for name, content in (("a.gguf", b"one"), ("b.gguf", b"two"), ("c.gguf", b"one")):
        (tmp_path / name).write_bytes(content)
    one, two, same = (f"gguf:{digest_of(path, 3, n)}" for n, path in enumerate(sorted(tmp_path.iterdir())))
    plain = Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning(), k=2, calibrate=False)

    async def answered(*places: str) -> list[Result[Any]]:
        at = [Connection(Leaning(), Endpoint(model="own", local=True), place) for place in places]
        rows = read_labelled(plain, ROWS)
        fitted = await calibrated(plain, rows, at[0], risk=0.2)
        return [await fitted._answer({"text": "a good new day"}, there, deadline=math.inf) for there in at]

    first, second, third = loop.run(answered(one, two, same))
    assert (first.value, second.value, third.value) == ("yes", None, "yes")
    assert "another model file" in second.warnings[0]
    assert third.probabilities == first.probabilities


def test_a_threshold_of_the_callers_own_is_no_promise(nice: Task[Any]) -> None:
    result = nice.using(k=1, min_confidence=0.0).run("a good new day")
    assert (result.value, result.warnings) == ("no", ()) or result.value == "yes"


def test_a_fit_made_on_purpose_is_used_where_none_is_made_at_first_use() -> None:
    fitted = Task.of("Is it nice?", ["yes", "no"], OWN, client=Leaning(), k=2, calibrate=False).calibrate(ROWS)
    result = fitted.run("a good new day")
    assert (result.value, result.calibration != "none") == ("yes", True)


ELSEWHERE = """
import json, sys
from known_clients import ROWS, Leaning
from fewshot import load
task = load(sys.argv[1], client=Leaning())
found = [task.run(text) for text, _ in ROWS[:10]]
print(json.dumps([[result.value, {k: p.hex() for k, p in result.probabilities.items()}] for result in found]))
print(task.settings.min_confidence.hex(), load(sys.argv[1], client=Leaning(), k=1).run("a good new day").abstained)
"""


def test_a_fit_is_a_file_that_gives_the_same_probabilities_to_the_last_bit_for_another_user_elsewhere(
    tmp_path: Path, nice: Task[Any]
) -> None:
    there = nice.save(tmp_path / "here" / ".." / "nice")
    moved = Path(shutil.copytree(there, tmp_path / "other" / "home" / "nice"))
    record = json.loads((moved / "fit.json").read_text(encoding="utf-8"))
    assert (record["rows"], record["labels"], record["model"]) == (len(ROWS), ["yes", "no"], "m")
    assert record["figures"]["rows"] == len(ROWS)
    assert str(tmp_path) not in json.dumps(record)
    home = tmp_path / "other" / "home"
    tests = str(Path(__file__).parent)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FEWSHOT_", "XDG_", "HOME", "USER"))
    }
    changed = {"HOME": str(home), "USER": "somebody", "LOGNAME": "somebody", "PYTHONPATH": tests, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(moved)], cwd=home, env=kept | changed, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    values, threshold = done.stdout.splitlines()
    here = [nice.run(text) for text, _ in ROWS[:10]]
    assert json.loads(values) == [[r.value, {k: p.hex() for k, p in (r.probabilities or {}).items()}] for r in here]
    assert threshold == f"{(nice.settings.min_confidence or 0.0).hex()} True"


def test_a_fit_that_cannot_be_read_is_named(tmp_path: Path, nice: Task[Any]) -> None:
    folder = nice.save(tmp_path / "nice")
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


def test_answers_that_are_equally_sure_can_be_promised_a_risk_all_together() -> None:
    found = threshold_for(0.1, [0.6] * 150, [n % 50 != 0 for n in range(150)])
    assert (found.threshold, found.coverage, found.error) == (0.0, 1.0, 0.02)
    votes = [1.0 if n % 2 else 0.6 for n in range(300)]
    found = threshold_for(0.1, votes, [vote == 1.0 or n % 4 == 0 for n, vote in enumerate(votes)])
    assert (0.6 < found.threshold <= 1.0, found.coverage) == (True, 0.5)
