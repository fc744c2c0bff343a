"""Measuring tasks against a scripted model, from rows to report."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import math
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fewshot import Completion, ConfigError, OutputError, Request, ScriptedClient, ServiceError, Task
from fewshot.cli.eval import with_labels
from fewshot.cli.main import main
from fewshot.cli.options import relabelled
from fewshot.data.labelled import read_labelled
from fewshot.errors import InputError
from fewshot.evaluation.perturb import HARMLESS
from fewshot.evaluation.report import Report, comparison_table
from fewshot.models.connection import connect
from fewshot.outputs.kinds import Labels, Text
from fewshot.types import TokenLogprob

WORDS = {"good": 1.5, "great": 2.0, "fine": 0.5, "bad": -1.5, "awful": -2.0, "odd": -0.5}
POOL = [(f"a {word} day number {n}", "yes" if score > 0 else "no") for n in range(12) for word, score in WORDS.items()]
ROWS = [(f"one {word} thing {n}", "yes" if score > 0 else "no") for n in range(5) for word, score in WORDS.items()]


def question_of(request: Request) -> str:
    return request.chat[-1].content


class Leaning(ScriptedClient):
    """Knows the words, but leans to "no" by two nats; lists log-probabilities as a service does."""

    top_logprobs = 20

    def __init__(self, lean: float = 2.0) -> None:
        super().__init__(self.answer)
        self.lean = lean

    def answer(self, request: Request) -> Completion:
        asked = question_of(request).lower()
        score = sum(weight for word, weight in WORDS.items() if word in asked) * 1.2 - self.lean
        yes = 1 / (1 + math.exp(-score))
        top = ((b"yes", math.log(yes)), (b"no", math.log(1 - yes)))
        best = max(top, key=lambda pair: pair[1])
        return Completion(text=best[0].decode(), model="leaning", tokens=(TokenLogprob(*best, top),))


def task(client: Any = None, examples: Sequence[Any] = (), **options: Any) -> Task[Any]:
    return Task.of("Is it nice?", ["yes", "no"], examples, client=client or Leaning(), **options)


def text_task(script: dict[str, str], *, optional: str | None = None) -> Task[Any]:
    client = ScriptedClient(lambda request: next(a for q, a in script.items() if q in question_of(request)))
    return Task.of("Answer.", "text", client=client).using(output=Text(optional=optional))


def test_without_calibration_the_lean_shows_and_with_pool_rows_it_is_gone() -> None:
    raw = task().evaluate(ROWS, pool=POOL, k=2, calibrate=False)
    fitted = task().evaluate(ROWS, pool=POOL, k=2)
    assert raw.metrics["accuracy"].value == pytest.approx(4 / 6)
    assert fitted.metrics["accuracy"].value == 1.0
    assert fitted.metrics["nll"].value < raw.metrics["nll"].value
    assert fitted.calibration is not None
    assert fitted.calibration["rows"] == len(POOL) - 2
    assert raw.calibration == {"applied": "none"}
    assert raw.confusion == {"yes": {"yes": 5, "no": 10}, "no": {"yes": 0, "no": 15}}


def test_what_was_always_right_or_never_changed_is_not_certain() -> None:
    report = task().evaluate(ROWS, pool=POOL, k=[0, 2], draws=2, consistency=True)
    assert report.metrics["accuracy"].low == pytest.approx(0.025 ** (1 / 30))
    assert report.metrics["flip_rate_repeated"].high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert report.curve[1].score.low == report.metrics["accuracy"].low
    (one,) = task().evaluate([("a good day", "yes")], calibrate=False).curve
    assert (one.score.low, one.score.high) == pytest.approx((0, 0.975))


def test_every_figure_lies_inside_its_interval() -> None:
    report = task().evaluate(ROWS, pool=POOL, k=2, calibrate=False, consistency=True)
    for name, figure in report.metrics.items():
        assert figure.low <= figure.value <= figure.high, name
    expected = {"accuracy", "macro_f1", "nll", "brier", "ece", "ece_by_chance", "auroc"}
    assert expected <= report.metrics.keys()
    assert {n for n in report.metrics if n.startswith("flip_rate_")} == {
        f"flip_rate_{what}" for what in ("repeated", "shots", "labels", "case", "spaces", "punctuation")
    }
    assert report.metrics["flip_rate_repeated"].value == 0.0


def test_the_calibration_error_of_right_confidences_is_told_beside_the_one_measured() -> None:
    def unsure(request: Request) -> Completion:
        top = ((b"yes", math.log(0.75)), (b"no", math.log(0.25)))
        return Completion(text="yes", tokens=(TokenLogprob(*top[0], top),))

    client = ScriptedClient(unsure)
    client.top_logprobs = 20
    rows = [(f"day {n}", "no" if n % 4 == 0 else "yes") for n in range(400)]
    metrics = task(client).evaluate(rows, calibrate=False).metrics
    assert metrics["ece"].value == pytest.approx(0.0, abs=1e-9)
    assert metrics["ece_by_chance"].value == pytest.approx(math.sqrt(2 * 0.75 * 0.25 / math.pi / 400), rel=0.1)
    assert metrics["ece_by_chance"].high == pytest.approx(2.24 * math.sqrt(0.75 * 0.25 / 400), rel=0.1)


def test_a_failed_row_counts_as_wrong_and_is_shown() -> None:
    def answer(request: Request) -> Any:
        return ServiceError("gone", status=500) if "awful" in question_of(request) else "yes"

    report = task(ScriptedClient(answer)).evaluate([("good", "yes"), ("awful", "no"), ("fine", "yes"), ("   ", "yes")])
    assert (report.rows, report.failed) == (4, 2)
    assert report.metrics["accuracy"].value == 0.5
    assert report.confusion == {"yes": {"yes": 2, "no": 0, "(failed)": 1}, "no": {"yes": 0, "no": 0, "(failed)": 1}}
    assert {error for error, _ in report.errors} == {
        "ServiceError: gone",
        "InputError: row 4: text is empty; give it some text",
    }
    assert "2 failed (counted as wrong)" in str(report)
    assert "ServiceError: gone" in report.to_html()


def test_the_same_failure_after_more_tries_is_counted_with_the_others() -> None:
    def answer(request: Request) -> Any:
        return ServiceError(f"gone (after {len(question_of(request))} requests)", status=500)

    report = task(ScriptedClient(answer)).evaluate([("good", "yes"), ("awful", "no")])
    assert report.errors == [("ServiceError: gone", 2)]


def test_a_refused_account_ends_the_evaluation() -> None:
    client = ScriptedClient(lambda request: ServiceError("no credit", account=True))
    with pytest.raises(ServiceError, match="no credit"):
        task(client).evaluate(ROWS)


def test_several_k_make_a_curve_and_the_figures_are_the_last_ones() -> None:
    report = task().evaluate(ROWS[:6], pool=POOL, k=[0, 2, 4], draws=2, calibrate=False)
    assert [(point.k, len(point.draws)) for point in report.curve] == [(0, 1), (2, 2), (4, 2)]
    assert report.k == 4
    assert "Score by number of shots" in report.to_html()


def test_shots_from_a_pool_are_balanced_and_never_among_the_rows() -> None:
    client = Leaning()
    task(client).evaluate(ROWS[:2], pool=[*POOL, *ROWS[:2]], k=4, calibrate=False)
    shots = [turn.content for turn in client.requests[0].chat if turn.role == "assistant"]
    assert sorted(shots) == ["no", "no", "yes", "yes"]
    asked = {turn.content for request in client.requests for turn in request.chat[:-1]}
    assert not any("one good thing 0" in turn for turn in asked)
    with pytest.raises(InputError, match="pool of other rows"):
        task().evaluate(ROWS, pool=ROWS)


def test_a_promised_risk_holds_answers_back_and_is_kept() -> None:
    noisy = [(text, "no" if n % 9 == 0 and "odd" not in text else label) for n, (text, label) in enumerate(POOL * 4)]
    report = task().evaluate(ROWS, pool=noisy, k=2, risk=0.3, calibration_rows=280)
    assert report.promise is not None
    assert report.promise["risk"] == 0.3
    assert report.abstentions["error"] <= 0.3
    never = task().evaluate(ROWS, pool=POOL[:14], k=2, risk=0.01)
    assert never.metrics["coverage"].value == 0.0
    assert "too few" in never.abstentions["promise"]["reason"]
    with pytest.raises(InputError, match="give pool="):
        task().evaluate(ROWS, risk=0.05)
    with pytest.raises(InputError, match="leave out calibrate=False"):
        task().evaluate(ROWS, pool=POOL, risk=0.05, calibrate=False)
    with pytest.raises(ConfigError, match="gives no log-probabilities"):  # not an evaluation without a promise
        task(ScriptedClient(lambda request: "yes")).evaluate(ROWS, pool=POOL, k=2, risk=0.3)


def test_a_task_that_sees_its_own_rows_is_flattered_and_says_so() -> None:
    report = task(examples=ROWS[:4]).evaluate(ROWS)
    assert "flatter" in report.notes[0]


def test_answers_are_matched_by_the_rules_of_squad_and_unanswerable_ones_apart() -> None:
    answering = text_task(
        {"capital": "The Paris!", "river": "the Rhine river", "life": "I don't know", "luck": "seven"},
        optional="I don't know",
    )
    rows = [
        {"text": "capital?", "answers": ["Paris", "Lutetia"]},
        {"text": "river?", "answers": ["Rhine"]},
        {"text": "life?", "answers": []},
        {"text": "luck?", "answers": []},
    ]
    metrics = {name: figure.value for name, figure in answering.evaluate(rows).metrics.items()}
    assert metrics["exact_match"] == 0.5
    assert metrics["exact_match_answerable"] == 0.5
    assert metrics["token_f1_answerable"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["unanswerable_accuracy"] == 0.5
    assert metrics["answerability"] == 0.75


def test_translations_are_measured_by_their_wording() -> None:
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    rows = [
        {"text": "cat", "references": ["le chat dort", "un chat dort"]},
        {"text": "dog", "references": ["le chien"]},
    ]
    report = text_task({"cat": "un chat dort", "dog": "le chien"}).evaluate(rows)
    assert report.metrics["chrf"].value == pytest.approx(100)
    assert report.metrics["rougeL"].value == 1.0
    assert "ece" not in report.metrics
    korean = text_task({"cat": "고양이가 잔다"}).evaluate([{"text": "cat", "output": "고양이가 잔다"}])
    assert korean.metrics["chrf"].value > 0


def test_numbers_match_by_value() -> None:
    client = ScriptedClient("The answer is 1,234.", "8")
    report = Task.of("Add.", "number", client=client).evaluate([("a", "1234"), ("b", 7)], concurrency=1)
    assert report.metrics["numeric_match"].value == 0.5
    assert report.predictions[1].truth == 7


def test_records_match_by_field() -> None:
    from pydantic import BaseModel

    class Pet(BaseModel):
        name: str
        age: int

    client = ScriptedClient('{"name": "Rex", "age": 3}')
    report = Task.of("Read.", Pet, client=client).evaluate([("Rex is 4", {"name": "Rex", "age": 4})])
    assert report.metrics["exact_match"].value == 0.0
    assert report.metrics["field_accuracy"].value == 0.5


def test_a_report_comes_back_from_json_whole(tmp_path: Path) -> None:
    report = task().evaluate(ROWS, pool=POOL, k=[0, 2])
    report.save(tmp_path / "r.json")
    again = Report.load(tmp_path / "r.json")
    assert again.to_dict() == json.loads(json.dumps(report.to_dict()))
    assert set(report.to_dict(predictions=False)) >= {"metrics", "rows", "k", "model", "usage", "cost", "seconds"}


def test_two_runs_are_compared_row_by_row(tmp_path: Path) -> None:
    raw = task().evaluate(ROWS, pool=POOL, k=2, calibrate=False)
    fitted = task().evaluate(ROWS, pool=POOL, k=2)
    raw.save(tmp_path / "raw.json")
    difference = fitted.compare(tmp_path / "raw.json")["accuracy"]
    assert difference.difference == pytest.approx(2 / 6)
    assert difference.low > 0
    assert difference.p_value < 0.01
    assert "p=" in comparison_table(raw.compare(raw))
    with pytest.raises(InputError, match="different rows"):
        fitted.compare(task().evaluate(ROWS[:3]))


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"metrics": {}}')
    with pytest.raises(InputError, match="not a report"):
        Report.load(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot be read"):
        Report.load(tmp_path / "y.json")


def test_a_damaged_report_is_refused_by_name(tmp_path: Path) -> None:
    report = task().evaluate(ROWS[:2])
    whole = json.loads(json.dumps(report.to_dict()))
    row = whole["predictions"][0]
    for damaged, problem in (
        ({**whole, "format": 9}, "another version"),
        ({**whole, "predictions": [{**row, "scores": {"accuracy": "x"}}]}, "not a report"),
        ({**whole, "predictions": [{**row, "scores": {}}]}, "not a report"),
        ([whole], "not a report"),
    ):
        (tmp_path / "x.json").write_text(json.dumps(damaged))
        with pytest.raises(InputError, match=rf"x\.json: .*{problem}"):
            Report.load(tmp_path / "x.json")


def test_half_a_character_in_a_row_does_not_keep_a_report_from_being_saved(tmp_path: Path) -> None:
    report = task().evaluate([("good \ud83d", "yes"), ("bad", "no")], calibrate=False)
    assert report.failed == 1
    report.save(tmp_path / "r.json")
    report.save(tmp_path / "r.html")
    assert Report.load(tmp_path / "r.json").to_dict() == report.to_dict()
    with pytest.raises(ConfigError, match="cannot be written: it is not a regular file; name another place"):
        report.save(tmp_path)


def test_the_page_escapes_what_rows_and_labels_say() -> None:
    evil = "<script>alert(1)</script>"
    client = ScriptedClient(lambda request: "<i>no</i>")
    report = Task.of("Judge.", ["<i>yes</i>", "<i>no</i>"], client=client).evaluate([(evil, "<i>yes</i>")])
    page = report.to_html()
    assert "<script" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "srcdoc" in report._repr_html_()


def test_the_curve_over_k_is_a_picture_of_its_own(tmp_path: Path) -> None:
    task().evaluate(ROWS, pool=POOL, k=[0, 2, 4], calibrate=False).save(tmp_path / "k.svg")
    root = ElementTree.parse(tmp_path / "k.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{*}circle")) == 3
    assert "fill" in (root.findtext("{*}style") or "")
    with pytest.raises(InputError, match="several"):
        task().evaluate(ROWS, pool=POOL, calibrate=False).save(tmp_path / "one.svg")


def test_the_surest_mistakes_come_with_their_prompts() -> None:
    report = task(Leaning(0)).evaluate([("a great day", "no"), ("a fine day", "no"), ("a good day", "yes")])
    assert [mistake.row for mistake in report.mistakes] == [0, 1]
    assert "a great day" in report.mistakes[0].prompt


def test_harmless_changes_change_something() -> None:
    for name, change in HARMLESS.items():
        for text in ("Well done.", "well"):
            assert change(text) != text, name
            assert change(text).strip(), name


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"text": "a"}], "row 1 has no 'output'; it has text: name the column of the answer with target="),
        ([{"text": "a", "output": "yes"}, {"text": "b"}], "row 2 has no 'output'"),
        ([{"text": "a", "output": "maybe"}], "row 1: 'maybe' is none of the labels"),
        ([{"txt": "a", "output": "yes"}], "row 1 has no 'text'; it has txt, output"),
        ([], "there are no labelled rows"),
        (["text"], "must be a pair"),
    ],
)
def test_faulty_rows_are_named(rows: list[Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_labelled(task(), rows)


def test_what_is_wrong_with_a_row_of_a_file_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "pool.csv"
    for content, problem in (
        ("text,output\ngood,yes\nbad,maybe\n", "pool.csv: row 2: 'maybe' is none of the labels"),
        ("text,output\n", "pool.csv: there are no labelled rows"),
        ("text;output\n'good';'yes'\n", "pool.csv: row 1: \"'yes'\" is none of the labels"),
        ("text,output\nbad, really,no\n", "pool.csv:2: has 3 cells where the header has 2: quote"),
    ):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=problem):
            task().evaluate(ROWS, pool=file)
    with pytest.raises(InputError, match="row 1: 'text' is the input, so it cannot be the answer"):
        read_labelled(task(), [{"text": "good", "label": "yes"}], target="text")
    with pytest.raises(InputError, match="row 1: 'text' is empty; fill it in"):
        read_labelled(task(), [{"text": None, "label": "yes"}])


def test_accepted_answers_are_texts_and_an_empty_cell_is_no_answer_where_there_may_be_none(tmp_path: Path) -> None:
    careful = text_task({}, optional="I don't know")
    (row,) = read_labelled(careful, [{"text": "Where?", "answers": {"text": ["Paris"], "answer_start": [3]}}])
    assert row.references == ("Paris",)
    for strange in ({"start": 3}, ["Paris", None]):
        with pytest.raises(InputError, match="row 1: the answer must be a text or a list of texts"):
            read_labelled(careful, [{"text": "Where?", "answers": strange}])
    (tmp_path / "r.csv").write_text("text,answer\nWho?,Bob\nWhat?,\n", encoding="utf-8")
    assert [row.references for row in read_labelled(careful, tmp_path / "r.csv")] == [("Bob",), ()]
    with pytest.raises(InputError, match="row 2: the output is a blank text"):
        read_labelled(text_task({}), tmp_path / "r.csv")
    numpy = pytest.importorskip("numpy")
    (row,) = read_labelled(careful, [{"text": "Who?", "answers": numpy.array(["Bob", "Rob"])}])
    assert row.references == ("Bob", "Rob")


def test_usual_columns_are_found_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fewshot"):
        (row,) = read_labelled(task(), [{"question": "ok?", "label": "yes", "source": "x"}])
    assert (row.inputs, row.truth) == ({"text": "ok?"}, "yes")
    assert "'label' is taken for the answer" in caplog.text
    assert "'question' is taken for the input 'text'" in caplog.text


def test_further_accepted_answers_count_too() -> None:
    rows = read_labelled(text_task({}), [{"text": "C", "output": "Ritchie", "accept": ["Ritchie", "Thompson"]}])
    assert rows[0].references == ("Ritchie", "Thompson")


def test_rows_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("text,output\ngood,yes\n")
    assert read_labelled(task(), tmp_path / "r.csv")[0].truth == "yes"
    with pytest.raises(InputError, match="cannot be read"):
        read_labelled(task(), tmp_path / "none.jsonl")


def test_calibrating_gives_a_task_that_is_calibrated_for_its_prompt_alone() -> None:
    plain = task()
    fitted = plain.calibrate(POOL)
    assert plain.run("an odd good thing fine").value == "no"
    result = fitted.run("an odd good thing fine")
    assert (result.value, result.calibration) == ("yes", fitted.fitted.calibration.name)  # type: ignore[union-attr]
    assert fitted.using(examples=POOL[:2]).run("good").calibration == "none"
    assert plain.calibrations == {}


def test_shots_are_left_out_of_the_fit() -> None:
    fitted = task(examples=POOL[:3]).calibrate(POOL)
    assert fitted.fitted is not None
    assert (fitted.fitted.rows, fitted.fitted.shots_left_out) == (len(POOL) - 3, 3)
    with pytest.raises(InputError, match="all labelled rows are shots"):
        task(examples=POOL[:3]).calibrate(POOL[:3])


def test_a_row_given_twice_is_fitted_on_once() -> None:
    fitted = task().calibrate([*POOL, *POOL[:5], (f"{POOL[0][0]} ", "no")]).fitted
    assert fitted is not None
    assert (fitted.rows, fitted.repeats_left_out) == (len(POOL), 6)
    assert fitted.calibration == task().calibrate(POOL).fitted.calibration  # type: ignore[union-attr]


def test_a_row_that_the_service_refuses_is_left_out_of_a_fit_and_others_end_it() -> None:
    class Picky(Leaning):
        status = 400

        def answer(self, request: Request) -> Completion:
            if "number 7" in question_of(request):
                raise ServiceError("this text is too long", status=self.status, transient=self.status == 503)
            return super().answer(request)

    picky = Picky()
    fitted = task(picky).calibrate(POOL).fitted
    assert fitted is not None
    assert fitted.fit is not None
    assert (fitted.rows, len(fitted.fit.held_out)) == (len(POOL), len(POOL) - len(WORDS))
    picky.status = 503
    with pytest.raises(ServiceError, match="too long"):
        task(picky).calibrate(POOL)
    picky.status = 400
    with pytest.raises(ServiceError, match="too long"):
        task(picky).calibrate([row for row in POOL if "number 7" in row[0]])


def test_shots_chosen_by_the_question_are_never_the_question() -> None:
    client = Leaning()
    task(client, POOL[:20], select="bm25", k=1).calibrate(POOL[:20])
    for request in client.requests:
        assert request.chat[1].content != request.chat[-1].content


def test_a_known_prior_moves_the_probabilities() -> None:
    even = task().calibrate(POOL).run("an odd fine thing")
    rare = task().calibrate(POOL, prior={"yes": 0.1, "no": 0.9}).run("an odd fine thing")
    assert even.probabilities is not None
    assert rare.probabilities is not None
    assert rare.probabilities["yes"] < even.probabilities["yes"] / 2
    assert rare.calibration.endswith("+prior")
    for bad in ({"yes": 1.0}, {"yes": 0.5, "no": 0.6}, {"yes": 0.0, "no": 1.0}, {"yes": "half", "no": 0.5}):
        with pytest.raises(InputError, match="prior must"):
            task().calibrate(POOL, prior=bad)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot be combined"):
        task().calibrate(POOL, prior={"yes": 0.5, "no": 0.5}, risk=0.1)


def test_a_risk_sets_the_confidence_that_is_asked_for() -> None:
    fitted = task().calibrate([(f"{text} of {year}", nice) for text, nice in POOL for year in (1, 2, 3)], risk=0.1)
    assert fitted.fitted is not None
    assert fitted.fitted.threshold is not None
    assert fitted.settings.min_confidence == fitted.fitted.threshold.threshold
    hopeless = task().calibrate(POOL[:20], risk=0.01)
    assert hopeless.settings.min_confidence == math.inf
    assert hopeless.run("a great day").abstained


def test_only_labels_with_logprobs_can_be_calibrated() -> None:
    with pytest.raises(InputError, match="no labels"):
        text_task({}).calibrate(POOL)
    with pytest.raises(ConfigError, match="without log-probabilities"):
        task(ScriptedClient(lambda request: "yes")).calibrate(POOL)
    report = task(ScriptedClient(lambda request: "yes")).evaluate(ROWS, pool=POOL)
    assert "not calibrated" in report.notes[0]


def test_open_answers_get_the_confidence_they_must_have() -> None:
    def answer(request: Request) -> Completion:
        number = int("".join(filter(str.isdigit, question_of(request))))
        sure = 0.9 if number % 2 else 0.3
        return Completion(text="Rome" if number % 2 else "Oz", tokens=(TokenLogprob(b"x", math.log(sure)),))

    client = ScriptedClient(answer)
    client.top_logprobs = 5  # type: ignore[attr-defined]
    asking = Task.of("Answer.", "text", client=client).using(output=Text(optional="I don't know"))
    fitted = asking.calibrate([(f"number {n}", "Rome") for n in range(200)], risk=0.1)
    assert fitted.settings.min_confidence == pytest.approx(0.3, abs=1e-6)
    assert (fitted.settings.min_confidence or 0) > 0.3
    assert [fitted.run(f"number {n}").value for n in (1, 2)] == ["Rome", None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "nice"
    made.mkdir()
    (made / "task.toml").write_text('output = ["yes", "no"]\n[inputs]\ntext = "a text"\n')
    (made / "prompt.jinja").write_text(
        "{% block input %}{{ text }}{% endblock %}{% block output %}Nice: {{ output }}{% endblock %}"
    )
    for name, rows in (("pool", POOL), ("rows", ROWS)):
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    return made


@pytest.fixture
def _leaning_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line ask the scripted model."""
    from fewshot.task import load

    monkeypatch.setattr("fewshot.cli.options.load", lambda name: load(name).using(client=Leaning(), model="leaning"))


@pytest.mark.usefixtures("_leaning_service")
def test_eval_prints_one_object_and_writes_both_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = folder.parent
    words = ["eval", str(folder), "--data", str(at / "rows.jsonl"), "--pool", str(at / "pool.jsonl"), "--k", "0,2"]
    files = ["--out", str(at / "r.json"), "--report", str(at / "r.html")]
    assert main([*words, *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert (found["rows"], found["k"], found["model"]) == (30, 2, "leaning")
    assert [point["k"] for point in found["curve"]] == [0, 2]
    assert "<svg" in (at / "r.html").read_text()
    assert main([*words, "--against", str(at / "r.json"), "--no-calibrate"]) == 0
    assert "difference to" in capsys.readouterr().out


@pytest.mark.usefixtures("_leaning_service")
def test_calibrate_keeps_what_later_calls_find(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(folder.parent / "pool.jsonl")
    assert main(["calibrate", str(folder), "--data", data, "--risk", "0.2"]) == 0
    said = capsys.readouterr().out
    assert "fitted on 72 rows" in said
    from fewshot.task import load

    promised = load(folder, client=Leaning(), model="leaning").calibrate(data, risk=0.2).settings.min_confidence
    assert f"--min-confidence {promised} accepts" in said  # with all digits: a little less would promise nothing

    assert load(folder, client=Leaning(), model="leaning").run("a fine odd good day").calibration != "none"


@pytest.mark.usefixtures("_leaning_service")
def test_a_cache_folder_that_cannot_be_made_is_told_before_anything_is_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(folder.parent / "pool.jsonl")
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", data)  # a file stands in its place
    assert main(["calibrate", str(folder), "--data", data]) == 2
    captured = capsys.readouterr()
    assert "cannot be made: File exists; name one that can be written in FEWSHOT_CACHE_DIR" in captured.err
    assert not captured.out
    assert main(["eval", str(folder), "--data", data, "--limit", "3", "--json"]) == 0  # which keeps nothing
    assert json.loads(capsys.readouterr().out)["failed"] == 0


@pytest.mark.usefixtures("_leaning_service")
def test_a_fit_that_cannot_be_kept_is_shown_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache" / "calibrations").mkdir(parents=True)
    monkeypatch.setattr("pathlib.Path.replace", _full)
    assert main(["calibrate", str(folder), "--data", str(folder.parent / "pool.jsonl")]) == 2
    captured = capsys.readouterr()
    assert "fitted on 72 rows" in captured.out
    assert "kept:" not in captured.out
    assert "cannot be written: No space left" in captured.err


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_calibrating_at_first_use_goes_on_where_nothing_can_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path / "file"))
    asked = task(examples=POOL[:20], k=2, calibrate=True, model="a model of this test")
    assert asked.run("a fine odd good day").calibration != "none"
    assert "the calibration is not kept for later" in caplog.text


def test_a_kept_calibration_that_is_broken_is_not_used_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = task(k=0, model="another model of this test")
    key = asked._calibration_key(asyncio.run(connect(asked.settings)))
    (tmp_path / "cache" / "calibrations").mkdir(parents=True)
    (tmp_path / "cache" / "calibrations" / f"{key}.json").write_text('{"broken')
    assert asked.run("a good day").calibration == "none"
    assert "so it is not used: calibrate again" in caplog.text


def test_a_row_that_cannot_be_calibrated_on_is_named_before_any_is_asked() -> None:
    client = Leaning()
    for text, problem in (("  ", "text is empty"), ("good \ud83d", "the text holds a lone surrogate")):
        with pytest.raises(InputError, match=f"row 3: {problem}"):
            task(client).calibrate([*POOL[:2], (text, "yes"), *POOL[2:]])
    assert not client.requests


@pytest.mark.usefixtures("_leaning_service")
def test_wrong_use_is_one_line_and_code_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(folder.parent / "rows.jsonl")
    assert main(["eval", str(folder), "--data", data, "--target", "answer"]) == 2
    assert "row 1 has no 'answer'" in capsys.readouterr().err
    assert main(["calibrate", str(folder), "--data", data, "--prior", "yes"]) == 2
    assert "LABEL=SHARE" in capsys.readouterr().err


@pytest.mark.usefixtures("_leaning_service")
def test_a_task_without_examples_takes_its_labels_from_the_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "task.toml").write_text('output = ["this", "that"]\n[inputs]\ntext = "a text"\n')
    assert main(["eval", str(folder), "--data", str(folder.parent / "rows.jsonl"), "--json"]) == 0
    captured = capsys.readouterr()
    assert "the labels are those of the data: no, yes" in captured.err
    assert json.loads(captured.out)["labels"] == ["no", "yes"]


@pytest.mark.usefixtures("_leaning_service")
def test_a_report_says_when_how_and_of_what_it_was_made_and_what_its_figures_mean(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, page, out = (folder.parent / name for name in ("rows.jsonl", "r.html", "r.json"))
    words = ["eval", str(folder), "--data", str(data), "--report", str(page), "--out", str(out)]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "\n  nll: negative log-likelihood in nats; lower is better\n" in table
    assert "\n  ece_by_chance: the ece of confidences that are exactly right: few rows never give 0" in table
    made = Report.load(out).made
    assert (made["data"], made["command"]) == (str(data), f"fewshot {' '.join(words)}")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made["date"])
    assert made["endpoint"]
    for fact in made.values():
        assert fact in page.read_text(encoding="utf-8")


def test_rows_that_are_held_back_are_counted_with_the_reason() -> None:
    unsure = task().using(min_confidence=0.9).evaluate(ROWS, calibrate=False)
    held = sum(prediction.abstained for prediction in unsure.predictions)
    assert 0 < held < len(ROWS)
    assert f"note: {held} rows are held back: {held} are less sure than the threshold\n" in str(unsure)
    silent = task(ScriptedClient(lambda _: "yes")).using(min_confidence=0.5).evaluate(ROWS[:4])
    assert "4 rows are held back: 0 are less sure than the threshold, 4 for a reason told below" in silent.notes
    assert any("has no confidence" in note and note.startswith("4 rows") for note in silent.notes)
    assert "There is no plot of confidence" in silent.to_html()
    assert any("has no confidence" in line for line in silent.to_html().splitlines())


def test_where_a_report_goes_is_looked_at_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "Fine.", "output": "positive"}\n', encoding="utf-8")
    report = tmp_path / "nowhere" / "r.html"
    assert main(["eval", "sentiment", "--data", str(data), "--report", str(report), "--base-url", "http://x"]) == 2
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--report", "r.pdf"], "a report is a page (.html) or a picture (.svg)"),
        (["--out", "r.html"], "this is JSON with all rows"),
        (["--out", "folder"], "it is a folder, so name a file in it"),
        (["--against", "other.json"], "the runs have different rows (1 and 30)"),
    ],
)
def test_what_could_not_be_written_or_compared_costs_no_request(
    folder: Path, words: list[str], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fewshot.task import load

    client = Leaning()
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr("fewshot.cli.options.load", lambda name: load(name).using(client=client))
    Path("folder").mkdir(exist_ok=True)
    task().evaluate(ROWS[:1]).save("other.json")
    assert main(["eval", str(folder), "--data", "rows.jsonl", *words]) == 2
    assert problem in capsys.readouterr().err
    assert not client.requests


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.usefixtures("_leaning_service")
def test_labelled_rows_may_come_from_a_pipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = folder.parent / "pipe"
    os.mkfifo(pipe)
    rows = (folder.parent / "rows.jsonl").read_bytes()
    threading.Thread(target=pipe.write_bytes, args=(rows,), daemon=True).start()
    assert main(["eval", str(folder), "--data", str(pipe), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 30


def test_a_vote_is_as_sure_as_its_share_of_all_ballots_those_that_are_no_answer_included() -> None:
    client = ScriptedClient(*["no", "hm", "hm", "no"] * 2)
    report = task(client, votes=4).evaluate([("one", "no"), ("two", "yes")])
    assert [p.chance for p in report.predictions] == [(0.5, True), (0.5, False)]
    assert report.metrics["ece"].value == 0.0


PRODUCT = """{% block instruction %}Is the {{ product }} nice? {{ labels | join(" or ") }}{% endblock %}
{% block input %}{% if context %}About: {{ context }}
{% endif %}Text: {{ text }}{% endblock %}
{% block output %}Nice: {{ output }}{% endblock %}"""


def test_a_calibration_is_for_the_parameters_and_optional_inputs_of_its_rows_alone() -> None:
    shots = [{"text": "good", "output": "yes"}, {"text": "bad", "context": "a film", "output": "no"}]
    options: dict[str, Any] = {"inputs": {"text": ..., "context": None}, "parameters": {"product": "tea"}}
    plain = Task.of(PRODUCT, ["yes", "no"], shots, client=Leaning(), **options)
    rows = [{"text": text, "output": output} for text, output in POOL]

    def calibrated(task: Task[Any], **inputs: str) -> bool:
        return task.run("a great day", **inputs).calibration != "none"

    fitted = plain.calibrate([{**row, "product": "coffee"} for row in rows])
    assert [calibrated(fitted, product=name) for name in ("tea", "coffee")] == [False, True]
    fitted = plain.calibrate(rows)
    assert [calibrated(fitted), calibrated(fitted, context="a play")] == [True, False]
    mixed = plain.calibrate([*rows, *({**row, "context": "a play"} for row in rows)])
    assert [calibrated(mixed), calibrated(mixed, context="a film")] == [True, True]
    assert mixed.fitted is not None
    assert len(mixed.fitted.keys) == 2


class Refusing(Leaning):
    """Has a provider that filters some rows."""

    def answer(self, request: Request) -> Completion:
        if "number 5" in question_of(request):
            return Completion(text="", finish_reason="content_filter")
        return super().answer(request)


def test_a_row_that_is_refused_does_not_stop_a_calibration_and_counts_against_a_promise() -> None:
    fitted = task(Refusing()).calibrate(POOL, risk=0.2).fitted
    assert fitted is not None
    assert fitted.threshold is not None
    assert fitted.fit is not None
    assert (fitted.rows, len(fitted.fit.held_out), fitted.threshold.rows) == (len(POOL), len(POOL) - 6, len(POOL))
    report = task(Refusing()).evaluate(ROWS, pool=POOL, k=2)
    assert report.calibration is not None
    assert report.calibration["applied"] != "none"
    with pytest.raises(OutputError, match="content filter"):
        task(Refusing()).calibrate([(f"{text} number 5", label) for text, label in POOL])


def test_a_data_frame_of_labelled_rows_is_read_and_its_empty_cells_are_missing() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["text", "label"])
    assert task().evaluate(frame, calibrate=False).rows == len(ROWS)
    assert task().calibrate(pandas.DataFrame(POOL, columns=["text", "label"])).fitted is not None
    frame.loc[2, "text"] = float("nan")
    with pytest.raises(InputError, match="row 3: 'text' is empty"):
        task().evaluate(frame)
    with pytest.raises(InputError, match="row 1: 'text' is empty"):
        task().evaluate([{"text": float("nan"), "label": "yes"}])
    with pytest.raises(InputError, match="a data frame is wanted, not a Series"):
        task().evaluate(frame["label"])


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"calibration_rows": 0}, {"draws": 0}])
def test_a_number_of_rows_below_one_is_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(InputError, match="must be 1 or more") as caught:
        task().evaluate(ROWS, pool=POOL, k=2, **options)
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("rows", "options", "problem"),
    [
        (ROWS, {"limit": "2"}, "limit='2': must be a whole number"),
        (ROWS, {"k": "2"}, "k='2': must be a whole number"),
        (ROWS, {"k": 2.5}, "k=2.5: must be a whole number"),
        (ROWS, {"k": [1, -1]}, "k=-1: must be 0 or more"),
        (ROWS, {"k": []}, "give one number or several"),
        (5, {}, "rows must be a file, a data frame, or a list of dicts or pairs, not int"),
        ({"text": "good"}, {}, "rows must be a file, a data frame, or a list of dicts or pairs, not dict"),
    ],
)
def test_what_is_no_number_or_no_rows_is_named(rows: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)):
        task().evaluate(rows, pool=POOL, **options)


def test_a_calibration_is_for_one_address_and_one_effort() -> None:
    def keys(**options: Any) -> str:
        service = {"client": None, "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key": "x"}
        asked = task().using(**{**service, **options})
        return asked._calibration_key(asyncio.run(connect(asked.settings)))

    assert keys() == keys(base_url="http://127.0.0.1:1/v1/", api_key="y", timeout=5, cache=True)
    assert len({keys(), keys(base_url="http://127.0.0.2:1/v1"), keys(reasoning_effort="low")}) == 3


def test_where_all_rows_of_the_pool_are_shots_the_rest_is_measured_and_it_is_told() -> None:
    report = task().evaluate(ROWS, pool=POOL, k=[2, 1000])
    assert report.k == len(POOL)
    assert any("not calibrated: all labelled rows are shots" in note for note in report.notes)
    assert any(f"only {len(POOL)} shots were there" in note for note in report.notes)
    with pytest.raises(InputError, match="all labelled rows are shots"):
        task().evaluate(ROWS, pool=POOL, k=1000, risk=0.2)


def test_a_bad_promise_is_refused_before_anything_is_asked() -> None:
    client = Leaning()
    for options in ({"risk": 5}, {"risk": 0.05, "confidence": 1.5}):
        with pytest.raises(InputError, match="lie between 0 and 1"):
            task(client).calibrate(POOL, **options)  # type: ignore[arg-type]
    assert not client.requests


def test_what_was_promised_or_why_nothing_could_be_is_printed() -> None:
    none = task().evaluate(ROWS, pool=POOL[:30], k=2, risk=0.01)
    assert none.metrics["coverage"].value == 0
    assert "accuracy_given" not in none.metrics
    assert "nothing was answered: 28 rows are too few to promise 1.0%" in str(none)
    kept = task().evaluate(ROWS, pool=POOL, k=2, risk=0.2)
    assert "at most 20.0% of the answers given will be wrong, with a confidence of 95%" in str(kept)
    assert str(Report.from_dict(kept.to_dict())) == str(kept)


def test_a_file_without_rows_is_told_as_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.jsonl").write_text("")
    assert main(["eval", "sentiment", "--data", str(tmp_path / "none.jsonl")]) != 0
    assert "there are no labelled rows" in capsys.readouterr().err


def test_columns_of_other_names_are_mapped_in_rows_and_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, pairs in (("rows", ROWS), ("pool", POOL)):
        lines = "".join(f"{text},{label}\n" for text, label in pairs)
        (tmp_path / f"{name}.csv").write_text(f"review,text\n{lines}")  # the answers' column is named as the input is
    folder = tmp_path / "nice"
    folder.mkdir()
    (folder / "task.toml").write_text('output = ["yes", "no"]\ninputs = {text = "x"}\n')
    (folder / "prompt.jinja").write_text(
        "{% block input %}{{ text }}{% endblock %}{% block output %}{{ output }}{% endblock %}"
    )
    (folder / "examples.jsonl").write_text("")
    data = ["--data", str(tmp_path / "rows.csv"), "--pool", str(tmp_path / "pool.csv"), "--target", "text"]
    assert main(["eval", str(folder), *data, "--model", "local", "--limit", "4", "--k", "0", "--json"]) == 2
    assert "row 1: 'text' is the input, so it cannot be the answer" in capsys.readouterr().err
    assert main(["eval", str(folder), *data, "--map", "text=reveiw", "--model", "local"]) == 2
    assert "row 1 has no 'reveiw'; it has review, text" in capsys.readouterr().err
    assert main(["eval", str(folder), *data, "--map", "txt=review", "--model", "local"]) == 2
    assert "nice has no input 'txt' (did you mean 'text'?)" in capsys.readouterr().err
    mapped = [*data[:-2], "--map", "text=review", "--map", "output=text", "--calibration-rows", "40"]
    assert main(["eval", str(folder), *mapped, "--model", "local", "--limit", "4", "--k", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 4


def test_labels_that_only_the_pool_has_are_labels_of_the_data() -> None:
    args = argparse.Namespace(task="x", labels=None, target=None)
    files = {"rows": [{"output": "b"}, {"output": "a"}], "pool": [{"label": "c"}]}
    assert with_labels(Task.of("Say.", ["x", "y"]), args, files).output == Labels(("a", "b", "c"))


def test_a_row_of_the_pool_without_text_is_named_before_anything_is_asked() -> None:
    client = Leaning()
    with pytest.raises(InputError, match="row 3: text is empty"):
        task(client=client).evaluate(ROWS, pool=[*POOL[:2], (" ", "yes"), *POOL[3:]], k=0)
    assert not client.requests


def test_rows_to_calibrate_on_need_a_pool() -> None:
    with pytest.raises(InputError, match="give pool="):
        task().evaluate(ROWS, calibration_rows=10)


def test_a_label_without_a_row_to_calibrate_on_is_told(caplog: pytest.LogCaptureFixture) -> None:
    task().calibrate([row for row in POOL if row[1] == "yes"])
    assert "no row to calibrate on is 'no': give some of every label" in caplog.text


def test_labels_named_on_the_command_line_keep_their_words_and_descriptions() -> None:
    output = Labels(("a", "b", "c"), {"a": "apple", "c": "cherry"}, {"a": "a fruit", "b": "another"})
    found = relabelled(Task.of("Say.", output), ["c", "a"]).output
    assert found == Labels(("c", "a"), {"c": "cherry", "a": "apple"}, {"a": "a fruit"})


OWN_ROWS = [(f"{text} indeed", label) for text, label in POOL[:20]]


def test_a_run_of_one_row_at_a_time_waits_for_no_slot_that_it_holds_itself() -> None:
    class Once(Leaning):
        def answer(self, request: Request) -> Any:
            return ServiceError("too long", status=400) if len(self.requests) == 1 else super().answer(request)

    asked = task(Once(), examples=OWN_ROWS, k=0, calibrate=True, timeout=5)
    assert [result.value for result in asked.map(["good", "bad"], concurrency=1)] == ["yes", "no"]


def test_a_calibration_that_cannot_be_fitted_is_tried_once(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(Leaning):
        def answer(self, request: Request) -> Any:
            return ServiceError("refused", status=400) if "indeed" in question_of(request) else super().answer(request)

    client = Refusing()
    asked = task(client, examples=OWN_ROWS, k=0, calibrate=True, model="one that refuses")
    for word in WORDS:
        assert asked.run(f"a {word} day").calibration == "none"
    assert len(client.requests) == len(OWN_ROWS) + len(WORDS)
    assert caplog.text.count("not calibrated: refused") == 1
