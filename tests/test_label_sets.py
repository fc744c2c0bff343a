"""Sets of labels: any of some may hold, each with a probability of its own, and none of them is an answer too."""

from __future__ import annotations

import enum
import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from batch_service import Service
from fault_server import Fault, FaultServer
from hypothesis import given
from hypothesis import strategies as st

from fewshot import (
    Completion,
    ConfigError,
    InputError,
    OutputError,
    Request,
    ScriptedClient,
    Task,
    TaskError,
    classify,
    estimate,
    load,
)
from fewshot.bulk.batch_api.run import BatchRun
from fewshot.calibration.calibration import Calibration, both_ways
from fewshot.calibration.goal import Goal
from fewshot.calibration.set_fitting import fit_set
from fewshot.cli import main
from fewshot.data.tables import write_table
from fewshot.evaluation.parts import micro_f1
from fewshot.outputs.kinds import LabelSet, output_of
from fewshot.types import TokenLogprob, Usage

MOODS = ["joy", "sadness", "anger"]
SHOTS = [("Hooray!", ["joy"]), ("Alas, you fool.", ["anger", "sadness"]), ("It is noon.", [])]


class Mood(enum.Enum):
    JOY = "joy"
    ANGER = "anger"


def token(**shares: float) -> TokenLogprob:
    """Give a token, the first, with what else could have stood there; an underscore stands for a blank."""
    top = tuple((name.replace("_", " ").encode(), math.log(p)) for name, p in shares.items())
    return TokenLogprob(*top[0], top)


def said(*tokens: TokenLogprob) -> Completion:
    text = b"".join(t.token for t in tokens).decode()
    return Completion(text=text, tokens=tokens, usage=Usage(20, len(tokens)))


class Listing(ScriptedClient):
    """Lists log-probabilities: a text has joy by how often it says "yay", and sadness by "alas"."""

    top_logprobs = 20

    def __init__(self, answer: Callable[[Request], Completion] | None = None) -> None:
        super().__init__(answer or self.answer)

    def answer(self, request: Request) -> Completion:
        text = request.chat[-1].content
        joy, sad = ("yay" in text) * 0.5 + 0.2, ("alas" in text) * 0.5 + 0.1
        comma = TokenLogprob(b",", math.log(0.9))
        if joy < 0.5 and sad < 0.5:
            return said(token(none=0.6, joy=joy, sad=sad))
        if joy < 0.5:
            return said(token(sad=sad, joy=joy, none=0.05), TokenLogprob(b"ness", 0.0))
        if sad < 0.5:
            return said(token(joy=joy, sad=sad, none=0.05))
        return said(token(joy=joy, sad=0.2, none=0.05), comma, token(_sad=0.9, _anger=0.1), TokenLogprob(b"ness", 0.0))


def task(client: Any, **options: Any) -> Task[Any]:
    output = options.pop("output", {"any_of": MOODS})
    return Task.of("Which moods?", output, SHOTS, client=client, **options)


# -- the output -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"any_of": MOODS}, ["joy", "anger"]),
        (list[Literal["joy", "sadness", "anger"]], ["joy", "anger"]),
        (set[Literal["joy", "sadness", "anger"]], {"joy", "anger"}),
        (frozenset[Mood], frozenset({Mood.JOY, Mood.ANGER})),
    ],
)
def test_what_is_given_has_the_type_that_was_asked_for(spec: Any, value: Any) -> None:
    shots = [("Hooray!", ["joy"])]
    assert Task.of("Moods?", spec, shots, client=ScriptedClient("anger, joy"))("Ha!") == value


@given(st.sets(st.sampled_from(["a", "b, c", "d;e", "none", "1", "two words"])))
def test_what_is_written_is_read_back(labels: set[str]) -> None:
    output = output_of({"any_of": ["a", "b, c", "d;e", "none", "1", "two words"]})
    assert set(output.parse(output.render(labels))) == labels


@pytest.mark.parametrize("written", ["joy;anger", "anger | joy", '["anger", "joy"]', "JOY, Anger"])
def test_a_file_may_list_labels_in_its_own_way(written: str) -> None:
    assert output_of({"any_of": MOODS}).check(written) == ("joy", "anger")


@pytest.mark.parametrize("answer", ["- joy\n- anger", '{"labels": ["anger", "joy"]}', "Joy, anger.", "joy, joy, anger"])
def test_the_order_and_the_form_of_an_answer_do_not_count(answer: str) -> None:
    assert task(ScriptedClient(answer))("Ha!") == ["joy", "anger"]


@pytest.mark.parametrize("answer", ["happy", "joy, happy", "not joy", "joy, none", "joy and anger", ""])
def test_what_is_not_a_list_of_the_labels_is_asked_again_and_never_guessed(answer: str) -> None:
    client = ScriptedClient(answer, "anger")
    assert task(client)("Ha!") == ["anger"]
    assert len(client.requests) == 2
    with pytest.raises(OutputError):
        task(ScriptedClient(lambda _: answer))("Ha!")


def test_no_label_is_an_answer() -> None:
    result = task(ScriptedClient("none")).run("It is noon.")
    assert (result.value, result.error, result.probabilities) == ([], None, None)


# -- task folders ---------------------------------------------------------------------------------------------------


def folder(tmp_path: Path, output: str, examples: str = "") -> Path:
    (tmp_path / "task.toml").write_text(f'description = "Moods."\noutput = {output}\n')
    prompt = (
        '{% block instruction %}Which of {{ labels | join(", ") }}, or {{ no_label }}?{% endblock %}'
        "{% block input %}Text: {{ text }}{% endblock %}{% block output %}Moods: {{ output }}{% endblock %}"
    )
    (tmp_path / "prompt.jinja").write_text(prompt)
    (tmp_path / "examples.jsonl").write_text(examples)
    return tmp_path


@pytest.mark.parametrize(
    "output",
    [
        "{ any_of = [] }", '{ any_of = ["a", "a"] }', "{ any_of = [1.5] }", '{ any_of = "a" }', '{ any_of = [""] }',
        '{ any_of = ["a", "b"], more = 1 }',
    ],
)  # fmt: skip
def test_an_output_that_is_not_a_set_of_labels_names_file_and_line(tmp_path: Path, output: str) -> None:
    with pytest.raises(TaskError, match=r"task.toml:2"):
        load(folder(tmp_path, output))


def test_a_folder_is_checked_shown_run_and_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": f"{mood}!", "output": [mood]} for mood in MOODS] + [{"text": "Noon.", "output": []}]
    made = folder(
        tmp_path, json.dumps({"any_of": MOODS}).replace('"any_of":', "any_of ="), "\n".join(map(json.dumps, rows))
    )
    assert main(["check", str(made)]) == 0
    assert main(["show", str(made)]) == 0
    assert "joy, sadness, anger, or none" in load(made).render("x")[0].content
    with FaultServer() as server:
        server.answer = lambda _: "anger, joy"
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        capsys.readouterr()
        assert main(["run", str(made), "--model", "m", "Ha!", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == ["joy", "anger"]
    again = load(load(made).save(tmp_path / "again"))
    assert again.output == load(made).output
    assert [e.output for e in again.examples] == [e.output for e in load(made).examples]


def test_a_label_that_no_row_may_have_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"examples.jsonl:1.*'happy' is none of the labels"):
        load(folder(tmp_path, '{ any_of = ["joy"] }', '{"text": "a", "output": ["happy"]}\n'))


# -- log-probabilities ----------------------------------------------------------------------------------------------


def test_each_label_has_a_probability_of_its_own_from_one_request() -> None:
    client = Listing()
    result = task(client).run("yay alas")
    assert (result.value, result.method, len(client.requests)) == (["joy", "sadness"], "logprobs", 1)
    assert result.probabilities is not None
    assert result.probabilities["joy"] == pytest.approx(0.7 / 0.95, abs=0.002)
    assert result.probabilities["sadness"] == pytest.approx(1 - (1 - 0.2 / 0.95) * (1 - 0.9 * 0.9), abs=0.002)
    assert sum(result.probabilities.values()) > 1.2
    expected = math.prod(p if la in result.value else 1 - p for la, p in result.probabilities.items())
    assert result.confidence == pytest.approx(expected)


def test_labels_that_hold_too_little_are_not_read_as_no() -> None:
    client = Listing(lambda _: said(token(joy=0.2, well=0.8)))
    result = task(client).run("yay")
    assert (result.value, result.method, result.probabilities) == (["joy"], "answer", None)
    assert "too little of the probability" in result.warnings[0]


def test_a_reply_that_is_not_a_list_is_asked_again_and_has_no_made_up_probability() -> None:
    odd = said(token(joy=0.9, anger=0.1), TokenLogprob(b", ride", 0.0))
    answers = iter([odd, Completion(text="joy")])
    result = task(Listing(lambda _: next(answers))).run("yay")
    assert (result.value, result.probabilities, result.confidence) == (["joy"], None, None)
    assert "not a list of the labels" in result.warnings[0]


def test_votes_give_each_label_its_share() -> None:
    answers = iter(["joy", "joy, anger", "joy, anger"])
    result = task(ScriptedClient(lambda _: next(answers)), votes=3, scoring=False).run("Ha!")
    assert (result.value, result.confidence) == (["joy", "anger"], pytest.approx(2 / 3))
    assert result.probabilities == {"joy": 1.0, "sadness": 0.0, "anger": pytest.approx(2 / 3)}


# -- decisions ------------------------------------------------------------------------------------------------------


def decided(body: dict[str, Any]) -> Fault | None:
    """Answer each predicate: likely where its label stands in the text."""
    if "questions" not in body:
        return None
    text = body["input"][-1]["content"]
    answers = [
        {"type": "predicate", "name": q["name"], "probability": 0.9 if q["name"] in text else 0.2}
        for q in body["questions"]
    ]
    return 200, {}, json.dumps({"answers": answers, "model": "m", "usage": {"input_tokens": 50}}).encode()


def test_a_decisions_endpoint_is_asked_all_labels_in_one_request() -> None:
    with FaultServer() as server:
        server.reply = decided
        asked = task(None, base_url=server.base_url, model="m", decisions=True)
        result = asked.run("joy and anger")
        assert len(server.requests) == 1
        kinds = [(q["type"], q["name"]) for q in server.requests[0].body["questions"]]
        assert kinds == [("predicate", mood) for mood in MOODS]
        assert (result.value, result.method) == (["joy", "anger"], "decisions")
        assert result.probabilities == {"joy": 0.9, "sadness": 0.2, "anger": 0.9}
        assert [r.value for r in asked.map(["joy", "noon", "joy"])] == [["joy"], [], ["joy"]]
        told = estimate(asked, ["joy", "noon"])
        assert (told.requests.likely, told.output_tokens.high) == (2, 0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_decisions_are_told_apart_by_their_names(order: tuple[int, ...]) -> None:
    chances = dict(zip(MOODS, (0.9, 0.2, 0.6), strict=True))
    answers = [{"type": "predicate", "name": MOODS[n], "probability": chances[MOODS[n]]} for n in order]
    with FaultServer() as server:
        server.reply = lambda body: (200, {}, json.dumps({"answers": answers}).encode())
        result = task(None, base_url=server.base_url, model="m", decisions=True).run("joy")
    assert (result.value, result.probabilities) == (["joy", "anger"], chances)


def _named(*names: Any) -> list[dict[str, Any]]:
    return [{"type": "predicate", "name": name, "probability": 0.9} for name in names]


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [{"type": "predicate", "probability": 2}] * 3,
        [{"type": "predicate"}] * 3,
        _named("joy", "joy", "anger"),
        _named("joy", "sadness", "hope"),
        _named("joy", None, None),
        _named("joy", "sadness", ["anger"]),
    ],
)
def test_rubbish_decisions_are_an_error_and_not_a_no(answers: list[Any]) -> None:
    with FaultServer() as server:
        server.reply = lambda body: (200, {}, json.dumps({"answers": answers}).encode())
        result = task(None, base_url=server.base_url, model="m", decisions=True, timeout=1.0).run("joy")
        assert result.value is None
        assert result.error is not None


# -- calibration ----------------------------------------------------------------------------------------------------


def rows(count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    draw = random.Random(seed)
    found = []
    for number in range(count):
        joy, sad = draw.random() < 0.4, draw.random() < 0.3
        words = ["yay"] * (draw.random() < (0.9 if joy else 0.1)) + ["alas"] * (draw.random() < (0.9 if sad else 0.1))
        found.append((f"{number} {' '.join(words)}", ["joy"] * joy + ["sadness"] * sad))
    return found


def test_each_label_is_calibrated_and_has_a_threshold_of_its_own() -> None:
    fitted = task(Listing()).calibrate(rows(120))
    result = fitted.run("yay")
    assert result.value == ["joy"]
    assert result.calibration == "by label"
    assert result.probabilities is not None
    assert result.probabilities["joy"] == pytest.approx(0.85, abs=0.1)
    assert result.probabilities["sadness"] == pytest.approx(0.05, abs=0.1)
    assert result.probabilities["anger"] < 0.01  # no row has it
    report = fitted.evaluate(rows(100, seed=1))
    assert report.metrics["micro_f1"].value > 0.75
    assert report.metrics["label_ece"].value < 0.08
    assert report.by_label is not None
    assert report.by_label["joy"]["recall"] > 0.75
    assert {"micro_f1", "macro_f1", "exact_match", "row_f1", "label_ece"} <= report.metrics.keys()
    assert "'joy': precision" in str(report)
    assert "Each label" in report.to_html()
    assert json.loads(json.dumps(report.to_dict()))["by_label"]["joy"]["rows"] > 0


def test_a_fit_is_the_same_after_it_was_written_and_read(tmp_path: Path) -> None:
    fitted = task(Listing()).calibrate(rows(60))
    (found,) = {c.to_json(): c for c in fitted.calibrations.values()}.values()
    assert Calibration.from_json(found.to_json()) == found
    again = load(fitted.save(tmp_path / "moods")).using(client=Listing())
    assert again.run("yay alas").probabilities == fitted.run("yay alas").probabilities


def test_what_is_promised_of_a_label_decides_its_threshold_or_is_refused() -> None:
    truths = [["joy"] if n % 10 < 5 else [] for n in range(200)]
    chances = [both_ways({"joy": 0.9 - (n % 10) * 0.08}) for n in range(200)]
    plain, lax = (
        fit_set(chances, truths, ["joy"], goal=goal).calibration.outputs[0].least
        for goal in (None, Goal(recall={"joy": 0.95}))
    )
    assert 0 < lax <= 1
    assert 0 < plain <= 1
    with pytest.raises(InputError, match="nothing can be promised of 'joy'"):
        fit_set(chances[:20], truths[:20], ["joy"], goal=Goal(precision={"joy": 0.99}))


def test_a_risk_holds_back_sets_that_are_less_sure() -> None:
    fitted = task(Listing()).calibrate(rows(120), risk=0.3)
    results = list(fitted.map([text for text, _ in rows(60, seed=2)]))
    assert any(r.abstained for r in results) or all(r.value is not None for r in results)
    assert all((r.value is None) == r.abstained for r in results)
    with pytest.raises(InputError, match="no prior"):
        task(Listing()).calibrate(rows(40), prior={"joy": 0.5, "sadness": 0.3, "anger": 0.2})


# -- functions, frames, rows, evaluation ------------------------------------------------------------------------------


def test_classify_several_gives_a_list_and_shows_descriptions() -> None:
    client = ScriptedClient(lambda _: "billing, crash")
    labels = {"billing": "about money", "crash": "it stops"}
    found: Any = classify("It crashes when I pay.", labels, several=True, client=client)
    assert found == ["billing", "crash"]
    assert "billing: about money" in client.requests[0].chat[0].content
    assert "answer: none" in client.requests[0].chat[0].content
    single: Any = classify("It crashes.", list(labels), client=ScriptedClient("crash"))
    assert single == "crash"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_has_a_column_of_lists(library: str) -> None:
    frames = pytest.importorskip(library)
    column = task(Listing()).map(frames.Series(["yay", "noon", "yay alas"]))
    assert [list(cell) for cell in column.to_list()] == [["joy"], [], ["joy", "sadness"]]


def test_a_run_is_resumed_with_the_same_sets(tmp_path: Path) -> None:
    client = Listing()
    asked = task(client, output=set[Literal["joy", "sadness", "anger"]])
    first = [r.value for r in asked.map(["yay alas", "noon"], out=tmp_path / "o.jsonl")]
    again = list(asked.map(["yay alas", "noon"], out=tmp_path / "o.jsonl"))
    assert first == [r.value for r in again] == [{"joy", "sadness"}, set()]
    assert len(client.requests) == 2
    assert again[0].probabilities is not None
    assert again[0].probabilities.keys() == set(MOODS)


def test_order_does_not_count_and_the_columns_of_label_tools_are_found(tmp_path: Path) -> None:
    asked = task(ScriptedClient("anger, joy", "none", "joy"), scoring=False)
    (tmp_path / "t.csv").write_text('text,labels\nHa!,"anger;joy"\nNoon.,none\nWell.,anger\n')
    report = asked.evaluate(tmp_path / "t.csv", concurrency=1)
    assert [p.scores["exact_match"] for p in report.predictions] == [1, 1, 0]
    assert report.metrics["micro_f1"].value == pytest.approx(2 * 2 / (3 + 3))
    assert micro_f1([["a", "b"]], [["b", "a"]]) == 1


def test_what_corrects_one_label_by_a_running_mean_refuses_sets() -> None:
    from fewshot import recalibrated

    with pytest.raises(ConfigError):
        list(recalibrated(task(Listing()).map(["yay"])))


def test_a_set_keeps_its_labels_when_its_values_are_others() -> None:
    output = output_of(set[Mood])
    assert isinstance(output, LabelSet)
    result = Task.of("Moods?", output, client=Listing(lambda _: said(token(anger=0.8, joy=0.1, none=0.1)))).run("Grr")
    assert result.value == {Mood.ANGER}
    assert result.probabilities is not None
    assert result.probabilities[Mood.ANGER] == pytest.approx(0.8)
    assert result.to_dict()["value"] == ["anger"]


def test_a_batch_gives_the_sets_of_live_calls_and_a_table_brings_them_back(tmp_path: Path) -> None:
    service = Service()
    service.answer = lambda _text, _times: "anger, joy"
    asked = Task.of(
        "Which moods?", {"any_of": MOODS}, SHOTS, client=service.client(), model="gpt-6-luna", scoring=False
    )
    run = BatchRun(asked, tmp_path / "run")
    run.submit(["Ha!", "Ha!"])
    assert run.fetch(wait=True, poll=0).finished
    assert [r.value for r in run.results()] == [["joy", "anger"]] * 2
    write_table(tmp_path / "o.csv", lambda: (line for line, _ in run.lines()))
    assert '["joy", "anger"]' in (tmp_path / "o.csv").read_text().replace('""', '"')


def test_the_command_line_takes_labels_for_the_shipped_task(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer() as server:
        server.answer = lambda _: "anger, joy"
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        assert main(["run", "tag", "--labels", "joy,anger", "--model", "m", "Ha!"]) == 0
    assert json.loads(capsys.readouterr().out) == ["joy", "anger"]


@pytest.mark.local
@pytest.mark.usefixtures("embedded")
def test_the_embedded_model_gives_each_label_a_probability_from_one_request() -> None:
    shots = [
        ("I love it.", ["joy"]),
        ("Go away!", ["anger"]),
        ("I lost her.", ["sadness"]),
        ("You fool, alas.", ["sadness", "anger"]),
    ]
    result = Task.of("Which moods?", {"any_of": MOODS}, shots, model="local").run("What a lovely day!")
    assert result.method == "logprobs"
    assert len(result.completions) == 1
    assert result.probabilities is not None
    assert all(0 < p < 1 for p in result.probabilities.values())


# -- at first use ---------------------------------------------------------------------------------------------------


def test_a_set_is_calibrated_at_first_use_on_the_examples_that_are_not_shots() -> None:
    client = Listing()
    moods = Task.of("Moods?", {"any_of": MOODS}, rows(60), client=client, calibrate=True)
    result = moods.run("yay")
    assert result.calibration == "by label"
    assert result.fit.startswith("44 rows, by first use")  # 16 of the 60 are shots
    assert len(client.requests) == 45
    assert moods.run("alas").calibration == "by label"
    assert len(client.requests) == 46
    assert moods.using(calibrate=False).run("yay").calibration == "none"


def test_a_set_with_too_few_examples_for_a_fit_says_so_where_one_was_wanted() -> None:
    client = Listing()
    moods = Task.of("Moods?", {"any_of": MOODS}, rows(20), client=client, calibrate=True)
    result = moods.run("yay")
    assert result.warnings == ("not calibrated: sets of labels take 24 examples beside the shots",)
    assert (result.fit, len(client.requests)) == ("", 1)
    assert Task.of("Moods?", {"any_of": MOODS}, rows(20), client=client).run("alas").warnings == ()


def test_all_labels_of_a_set_share_what_solves_their_regressions(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    wide = [{f"f{n}": float(v) for n, v in enumerate(row)} for row in rng.normal(size=(48, 60))]
    truths = [[label for label, f in zip(MOODS, row.values(), strict=False) if f > 0] for row in wide]
    chances = [both_ways(dict.fromkeys(MOODS, 0.5 + row["f0"] / 20)) for row in wide]
    sizes: list[int] = []
    inverse = np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda m: sizes.append(len(m)) or inverse(m))  # type: ignore[func-returns-value]
    shared = fit_set(chances, truths, MOODS, wide=[wide])
    assert sizes.count(48) == 3  # one for each penalty, whatever the number of labels
    assert max(size for size in sizes if size < 48) <= 10
    for place, label in enumerate(MOODS):
        alone = fit_set(chances, [[la for la in row if la == label] for row in truths], [label], wide=[wide])
        one, other = alone.calibration.outputs[0], shared.calibration.outputs[place]
        assert one.bias == pytest.approx(other.bias)
        assert dict(one.weights) == pytest.approx(dict(other.weights))
