"""Labelling: what comes next, what is kept, what it buys, two people, label tools, and the page in a real browser."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from pydantic import create_model
from test_lab import EXAMPLES, PROMPT, TOML, Moody, ask

from fewshot import ConfigError, FewshotError, InputError, ServiceError, Task, examples_from, load
from fewshot.authoring.lab.desk import Desk
from fewshot.authoring.lab.server import LabServer
from fewshot.authoring.lab.workbench import Workbench
from fewshot.authoring.labelling.labelling import Labelling
from fewshot.authoring.labelling.records import agreement, read_labels
from fewshot.authoring.labelling.rows import texts_of
from fewshot.cli.main import main
from fewshot.models.scripted import ScriptedClient

THINGS = ["tea", "rain", "cats", "boats", "snow", "bread", "maps", "clay", "ink", "moss", "salt", "wool"]
ROWS = [
    {"id": f"r{n}", "text": f"I {'love' if n % 3 else 'hate'} {THINGS[n % 12]} and {THINGS[n % 11]}, {n} times"}
    for n in range(150)
]


@pytest.fixture
def mood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task[Any]:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "templates" / "mood"
    folder.mkdir(parents=True)
    for name, text in {"task.toml": TOML, "prompt.jinja": PROMPT, "examples.jsonl": EXAMPLES}.items():
        (folder / name).write_text(text, encoding="utf-8")
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return load("mood").using(client=Moody())


def right(work: Labelling) -> str:
    now = work.next()
    assert now is not None
    return "good" if "love" in now.inputs["text"] else "bad"


def labelled(task: Task[Any], count: int, path: str = "labels.jsonl", **options: Any) -> Labelling:
    work = Labelling(task, ROWS, path, **options)
    for _ in range(count):
        work.label(right(work))
    return work


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_each_label_is_in_a_private_file_before_the_next_text_comes(mood: Task[Any]):
    work = Labelling(mood, ROWS, "labels.jsonl", annotator="ann")
    for count in range(1, 6):
        before = work.next()
        work.label(right(work), note=f"no {count}")
        kept = list(read_labels(Path("labels.jsonl")).values())
        assert [len(kept), kept[-1].key, kept[-1].note, kept[-1].annotator] == [count, before.key, f"no {count}", "ann"]
        assert (kept[-1].by, kept[-1].chance) == (before.by, before.chance)
    if os.name == "posix":
        assert stat.S_IMODE(Path("labels.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", [1, 30, None])
def test_goes_on_where_it_was_killed_in_the_middle_of_a_line(mood: Task[Any], cut: int | None):
    work, whole = labelled(mood, 7), Path("labels.jsonl").read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    Path("labels.jsonl").write_bytes(whole + (last[: cut or -1]))
    again = Labelling(mood, ROWS, "labels.jsonl")
    assert dict(again.labels) == dict(work.labels)
    assert again.next() == work.next()
    again.label(right(again))
    assert len(read_labels(Path("labels.jsonl"))) == 8


def test_undo_skip_and_cannot_tell(mood: Task[Any]):
    work = Labelling(mood, ROWS[:6], "labels.jsonl")
    first = work.next()
    work.label(status="skip", note="later")
    second = work.next()
    work.label(status="cannot_tell")
    third = work.next()
    work.label("bad")
    assert work.undo() == third == work.next()
    work.label("good")
    again = Labelling(mood, ROWS[:6], "labels.jsonl")
    assert [(label.key, label.status, label.value) for label in again.labels.values()] == [
        (first.key, "skip", None), (second.key, "cannot_tell", None), (third.key, "label", "good"),
    ]  # fmt: skip
    while (now := again.next()) != first:
        assert now is not None
        again.label("good")
    again.label("good")
    assert again.next() is None
    with pytest.raises(InputError, match="no text left"):
        again.label("good")
    for _ in range(6):
        again.undo()
    with pytest.raises(InputError, match="nothing to take back"):
        again.undo()


@pytest.mark.parametrize("value", ["god", "", None, 3, ["good", "bad"], {"a": 1}])
def test_what_the_task_cannot_answer_is_no_label(mood: Task[Any], value: Any):
    work = Labelling(mood, ROWS, "labels.jsonl")
    now = work.next()
    with pytest.raises((InputError, ValueError)):
        work.label(value)
    with pytest.raises(InputError, match="another text is to be labelled now"):
        work.label("good", key="0" * 16)
    with pytest.raises(InputError, match="lone surrogate"):
        work.label("good", note="\ud800")
    assert (work.next(), dict(work.labels)) == (now, {})


@pytest.mark.parametrize(
    "line",
    ['{"text": "x"}', "[]", "{", '{"undo": "ab"}', '{"key": "a", "id": "1", "inputs": {}, "status": "odd"}',
     '{"key": "xyz", "id": "1", "inputs": {}, "status": "skip"}', "[" * 100_000],
)  # fmt: skip
def test_a_file_of_something_else_is_named_with_its_line_and_left_as_it_is(mood: Task[Any], line: str):
    labelled(mood, 1)
    with Path("labels.jsonl").open("a") as file:
        file.write(line + "\n")
    before = Path("labels.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"labels.jsonl:2: is not a label"):
        Labelling(mood, ROWS, "labels.jsonl")
    assert Path("labels.jsonl").read_bytes() == before


def test_two_who_write_to_one_file_are_told_apart(mood: Task[Any]):
    one, other = Labelling(mood, ROWS, "labels.jsonl"), Labelling(mood, ROWS, "labels.jsonl")
    one.label("good")
    with pytest.raises(InputError, match="written to by somebody else: give each a name with --annotator"):
        other.label("bad")
    assert len(read_labels(Path("labels.jsonl"))) == 1
    with pytest.raises(ConfigError, match="cannot be written"):
        Labelling(mood, ROWS, "nowhere/labels.jsonl")


def test_of_two_who_write_at_once_one_is_told_and_no_label_is_lost(mood: Task[Any]):
    for turn in range(20):
        path, kept = Path(f"{turn}.jsonl"), []
        works = [Labelling(mood, ROWS[:8], path) for _ in range(4)]
        both = threading.Barrier(4)

        def label(work: Labelling, both: threading.Barrier = both, kept: list[Any] = kept) -> None:
            both.wait()
            try:
                kept.append(work.label("good"))
            except InputError as error:
                assert "written to by somebody else" in str(error)

        threads = [threading.Thread(target=label, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [*read_labels(path).values()] == kept
        assert len(kept) == 1


def test_a_label_that_came_since_is_not_taken_back_unseen(mood: Task[Any]):
    work = labelled(mood, 3)
    with pytest.raises(InputError, match="another label has been given since: load the page again"):
        work.undo(2)
    work.undo(3)
    assert len(work.labels) == 2


@pytest.mark.parametrize("labels", [["fine", "poor"], ["good"], "number"])
def test_labels_that_the_task_cannot_answer_are_named(mood: Task[Any], labels: Any):
    first = next(iter(labelled(mood, 2).labels.values()))
    other = Task.of("Which?", labels, inputs=["text"], client=ScriptedClient())
    with pytest.raises(InputError, match=rf"labels.jsonl: the label of row {first.id} is not one that task can answer"):
        Labelling(other, ROWS, "labels.jsonl")


def test_a_value_goes_through_the_page_as_it_was_typed(tmp_path: Path):
    large = 12345678901234567890
    record = Task.of("What?", create_model("Found", n=(int, ...)), client=ScriptedClient())
    desk = Desk(Labelling(record, [{"text": "x", "id": 1}, "y"], tmp_path / "r.jsonl"))
    key = desk.state()["text"]["key"]
    desk.say(key, status="label", value=json.dumps({"n": large}))
    assert next(iter(read_labels(tmp_path / "r.jsonl").values())).value == {"n": large}
    maybe = Task.of("What?", str | None, inputs=["n"], client=ScriptedClient())
    desk = Desk(Labelling(maybe, [{"n": large}], tmp_path / "m.jsonl"))
    assert desk.state()["text"]["inputs"] == {"n": str(large)}
    assert desk.say(desk.state()["text"]["key"], status="label", value=None)["said"] == 1


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX's")
def test_where_the_disk_is_full_no_label_is_taken_and_none_is_lost(mood: Task[Any]):
    before = dict(labelled(mood, 3).labels)
    code = """
import resource, signal, sys
from fewshot import ConfigError, ScriptedClient, Task
from fewshot.authoring.labelling import Labelling
work = Labelling(Task.of("?", ["good", "bad"], inputs=["text"], client=ScriptedClient()), "texts.jsonl", "labels.jsonl")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = work._file.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))
for act in (lambda: work.label("good"), lambda: work.undo()):
    try:
        act()
    except ConfigError as error:
        assert "so nothing was labelled" in str(error), error
    else:
        sys.exit("it was taken")
assert len(work.labels) == 3 and work._file.path.stat().st_size == size
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_labels("labels.jsonl") == before


def test_answers_of_other_kinds_are_labelled_too(tmp_path: Path):
    client = ScriptedClient(lambda _: "3")
    number = Task.of("How many?", "number", client=client)
    work = Labelling(number, ["three", "four"], tmp_path / "n.jsonl")
    assert work.label("3").value == 3
    tags = Task.of("Which?", {"any_of": ["a", "b"]}, client=client)
    assert Labelling(tags, ["x"], tmp_path / "s.jsonl").label(["b", "a"]).value == ["a", "b"]
    assert Labelling(tags, ["x"], tmp_path / "e.jsonl").label([]).value == []


# -- which comes next -------------------------------------------------------------------------------------------------


def test_a_text_becomes_one_thing_and_equal_texts_are_asked_once(mood: Task[Any]):
    texts, left = texts_of(
        mood, [*ROWS, {"text": f" {ROWS[0]['text']} "}, {"text": "Lovely."}, {"text": ""}, {"text": "\ud800"}]
    )
    assert [len(texts), len(left)] == [150, 4]
    assert left[2].startswith("row 153 cannot be asked")
    assert {text.key: text.part for text in texts} == {text.key: text.part for text in texts_of(mood, ROWS[::-1])[0]}
    assert min(Counter(text.part for text in texts).values()) > 30
    assert [text.key for text in texts] == [text.key for text in texts_of(mood, ROWS[::-1])[0]]


def test_texts_come_in_the_random_order_and_shots_until_there_are_enough(mood: Task[Any]):
    work = labelled(mood, 90)
    order = [text.key for text in work.texts]
    taken = list(work.labels.values())
    shots = [label for label in taken if label.part == "shot"]
    assert len(shots) == 8
    first = taken.index(shots[-1]) + 1
    assert [label.key for label in taken[:first]] == order[:first]
    assert [label.chance for label in taken[:first]] == [1 / (150 - place) for place in range(first)]
    rest = [text.key for text in work.texts[first:] if text.part != "shot"]
    assert [label.key for label in taken[first:]] == rest[: 90 - first]
    assert {label.by for label in taken} == {"random"}


def test_a_random_order_has_the_mean_of_all_texts():
    task = Task.of("Good or bad?", ["good", "bad"], client=ScriptedClient())
    shares = []
    for turn in range(200):
        rows = [f"run {turn} text {n} {'good' if n % 4 else 'bad'}" for n in range(120)]
        drawn = [text for text in texts_of(task, rows)[0] if text.part == "test"][:20]
        shares.append(sum("good" in str(text.inputs) for text in drawn) / 20)
    assert sum(shares) / 200 == pytest.approx(0.75, abs=0.01)


def test_labelling_goes_on_where_the_model_cannot_be_asked(mood: Task[Any]):
    def refuse(_: Any) -> Any:
        raise ServiceError("the service is down")

    client = ScriptedClient(refuse)
    work = labelled(mood.using(client=client), 12)
    assert [len(work.labels), len(client.requests)] == [12, 0]
    assert [work.guess(), work.problem] == [None, "the service is down"]
    work.label(right(work))
    assert len(work.labels) == 13


# -- what it buys -----------------------------------------------------------------------------------------------------


def test_figures_are_those_of_eval_on_what_is_written(
    mood: Task[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    work = labelled(mood, 90, risk=0.2)
    found = work.figures()
    written = work.write()
    assert [path.name for path in written] == ["examples.jsonl", "calibration.jsonl", "test.jsonl", "fit.json"]
    rows = {path.stem: examples_from(path) for path in written[:3]}
    ids = [row["id"].removeprefix("labelled:") for part in rows.values() for row in part if "id" in row]
    assert [len(ids), len({*ids})] == [90, 90] == [found["labelled"], sum(found["parts"].values())]
    assert {part: len(rows[file]) for part, file in (("calibration", "calibration"), ("test", "test"))} == {
        part: found["parts"][part] for part in ("calibration", "test")
    }
    monkeypatch.setattr("fewshot.cli.options.load", lambda name: load(name).using(client=Moody()))
    assert main(["eval", "mood", "--data", str(written[2]), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metrics"]["accuracy"] == found["accuracy"]
    assert found["coverage"]["value"] == report["metrics"].get("coverage", {"value": 1.0})["value"]
    assert "at most 20.0% of the answers given will be wrong" in found["told"][0]
    assert found["more"] == 0
    again = Labelling(load("mood").using(client=Moody()), ROWS, "labels.jsonl", risk=0.2)
    assert again.figures()["accuracy"] == found["accuracy"]


def test_too_few_rows_promise_nothing_and_hold_nothing_back(mood: Task[Any], caplog: pytest.LogCaptureFixture):
    work = Labelling(mood, ROWS, "labels.jsonl", risk=0.1)
    assert work.figures()["told"] == ["there is no test row yet"]
    for _ in range(40):
        work.label(right(work))
    found = work.figures()
    assert found["coverage"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert "rows are too few to promise 10.0%" in found["told"][0]
    assert 0 < found["more"] < 200
    work.write()
    assert "the fit promises nothing: " in caplog.text
    assert load("mood").using(client=Moody())("I love it") == "good"


def test_wrong_answers_are_told_to_want_more_than_labels(mood: Task[Any]):
    work = Labelling(mood, ROWS, "labels.jsonl", risk=0.1)
    luck = random.Random(0)
    for _ in range(40):
        work.label(luck.choice(["good", "bad"]))
    found = work.figures()
    assert found["more"] is None
    assert any("more labels alone will not do" in text for text in found["told"])


def test_a_shipped_task_is_written_to_only_as_a_copy(mood: Task[Any]):
    task = load("sentiment").using(client=ScriptedClient(lambda _: "positive"), scoring=False)
    work = Labelling(task, [row["text"] for row in ROWS], "labels.jsonl")
    for _ in range(12):
        work.label("positive" if right(work) == "good" else "negative")
    with pytest.raises(InputError, match="sentiment ships with a package: give a name"):
        work.write()
    for bad in ("../x", "Mine", ""):
        with pytest.raises(InputError, match="is not a task name"):
            work.write(bad)
    written = work.write("tone")
    assert {path.parent for path in written} == {Path.cwd() / "templates" / "tone"}
    assert len(load("tone").examples) > len(task.examples)
    assert {shot.output for shot in load("tone").examples[: task.settings.k]} == {"positive", "negative", "neutral"}
    assert main(["check", "tone", "--strict"]) == 0
    with pytest.raises(InputError, match="is there already"):
        work.write("tone")


def test_placeholders_of_a_new_task_give_way_and_a_task_of_code_becomes_a_folder(mood: Task[Any]):
    assert main(["new", "fresh", "--labels", "good,bad"]) == 0
    work = labelled(load("fresh").using(client=ScriptedClient(lambda _: "good"), scoring=False), 20, "fresh.jsonl")
    work.write()
    assert {example.id.partition(":")[0] for example in load("fresh").examples} == {"labelled"}
    made = Task.of(
        "Good or bad?", ["good", "bad"], inputs=["text"], client=ScriptedClient(lambda _: "good"), scoring=False
    )
    coded = labelled(made, 20, "coded.jsonl")
    with pytest.raises(InputError, match="was made in code: give a name"):
        coded.write()
    coded.write("coded")
    assert len(load("coded").examples) == coded.figures()["parts"]["shot"] > 0


def test_an_authors_rows_are_kept_beside_the_new_ones(mood: Task[Any]):
    own = '{"text": "My own.", "output": "good"}\n'
    Path("templates/mood/test.jsonl").write_text(own)
    work = labelled(mood, 12)
    work.write()
    work.write()
    for _ in range(6):
        work.label(right(work))
    before = work.figures()
    work.write()
    kept = sorted(path.name for path in Path("templates/mood").glob("*.bak*"))
    assert kept == ["examples.jsonl.bak", "examples.jsonl.bak1", "test.jsonl.bak"]
    report = load("mood").using(client=Moody()).evaluate("templates/mood/test.jsonl")
    assert report.metrics["accuracy"].to_dict() == before["accuracy"]
    assert Path("templates/mood/test.jsonl.bak").read_text() == own


# -- two people, and label tools --------------------------------------------------------------------------------------


def test_two_peoples_labels_meet(mood: Task[Any], capsys: pytest.CaptureFixture[str]):
    ann, bob = (
        labelled(mood, 30, "texts.labels.ann.jsonl", annotator="ann"),
        Labelling(mood, ROWS, "texts.labels.bob.jsonl", annotator="bob"),
    )
    other = {"good": "bad", "bad": "good"}
    for place in range(30):
        bob.label(status="cannot_tell") if place == 29 else bob.label(
            other[right(bob)] if place in (3, 4) else right(bob)
        )
    (found,) = agreement(Path("texts.labels.ann.jsonl"), Path("texts.labels.bob.jsonl"))
    both = [key for key, label in bob.labels.items() if label.status == "label" and key in ann.labels]
    differ = [key for key in both if ann.labels[key].value != bob.labels[key].value]
    assert differ
    assert [found["who"], found["rows"], found["cannot_tell"]] == [["ann", "bob"], 29, 1]
    assert [row["id"] for row in found["differ"]] == [bob.labels[key].id for key in ann.labels if key in differ]
    assert found["agreement"]["value"] == 1 - len(differ) / 29
    assert found["kappa"]["low"] < found["kappa"]["value"] < found["kappa"]["high"]
    assert main(["label", "mood", "--data", "texts.jsonl", "--agreement"]) == 0
    told = capsys.readouterr().out
    assert "ann and bob: 29 texts labelled by both; of 1 others only one could tell" in told
    assert f'row {found["differ"][0]["id"]}: "good" / "bad"' in told
    with pytest.raises(InputError, match="at least two"):
        agreement(Path("texts.labels.ann.jsonl"))
    with pytest.raises(InputError, match="there is no such file, or no label in it"):
        agreement(Path("texts.labels.ann.jsonl"), Path("nobody.jsonl"))


@pytest.mark.parametrize("tool", ["label-studio", "argilla"])
def test_an_export_comes_back_as_it_was(
    mood: Task[Any], tool: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fewshot.cli.options.load", lambda name: load(name).using(client=Moody()))
    work = labelled(mood, 20, "texts.labels.ann.jsonl", annotator="ann")
    work.label(status="cannot_tell", note="which “one”?")
    work.label(status="skip")
    given = ["label", "mood", "--data", "texts.jsonl"]
    assert main([*given, "--annotator", "ann", "--export", tool]) == 0
    text = capsys.readouterr().out
    Path("export.json").write_text(text, encoding="utf-8")
    assert {row["output"] for row in examples_from("export.json", {"text": "text", "output": "label"})} == {
        "good",
        "bad",
    }
    assert len(read_labelled_rows := examples_from("export.json")) == 20
    assert {row["id"] for row in read_labelled_rows} == {la.id for la in work.labels.values() if la.status == "label"}
    assert main([*given, "--import", "export.json"]) == 0
    assert read_labels(Path("texts.labels.jsonl")) == dict(work.labels)
    exported = json.loads(text)
    assert len(exported) == 150
    scores = [
        row["predictions"][0]["score"] if tool == "label-studio" else row["suggestions"]["label"]["score"]
        for row in exported
    ]
    assert scores == pytest.approx([0.9] * 150)


def test_labels_that_were_changed_in_the_tool_are_taken_over(mood: Task[Any]):
    work = labelled(mood, 6)
    rows = work.export("label-studio")
    done = next(row for row in rows if row["annotations"])
    done["annotations"][0]["result"][0]["value"]["choices"] = ["bad"]
    new = next(row for row in rows if not row["annotations"])
    new["annotations"] = [{"result": [{"from_name": "label", "type": "choices", "value": {"choices": ["good"]}}]}]
    Path("back.json").write_text(json.dumps(rows))
    assert work.read("back.json") == 7
    found = {label.id: label for label in work.labels.values()}
    assert found[done["data"]["id"]].value == "bad"
    assert (found[new["data"]["id"]].by, found[new["data"]["id"]].chance) == ("import", None)
    assert work.figures()["waiting"] + sum(work.figures()["parts"].values()) == 7


def studio(*rows: tuple[str, str], **more: Any) -> list[dict[str, Any]]:
    made = [("s", choice) for _, choice in rows]
    results = [[{"from_name": name, "type": "choices", "value": {"choices": [choice]}}] for name, choice in made]
    return [
        {"id": n, "data": {"review": text}, "annotations": [{"result": result}], **more}
        for n, ((text, _), result) in enumerate(zip(rows, results, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (studio(("a", "good"), (" a", "bad")), "rows 1 and 2 ask the same and differ: keep one of them"),
        (studio(("a", "great")), "back.json: row 1: 'great' is none of the labels"),
        (studio(("a", "good"), meta={"fewshot": "{}"}), "back.json: the record `fewshot` beside a row is not as it"),
        ([], "back.json: there are no labelled rows"),
        ([studio(("a", "good"))[0] | {"annotations": [*studio(("a", "good"), ("a", "bad"))[0]["annotations"],
          *studio(("a", "bad"))[0]["annotations"]]}], "back.json: row 1: the annotators disagree: good, bad"),
    ],
)  # fmt: skip
def test_an_import_in_doubt_changes_nothing(mood: Task[Any], rows: list[Any], says: str):
    Path("back.json").write_text(json.dumps(rows))
    work = Labelling(mood, [{"review": "a"}], "labels.jsonl", columns={"text": "review"})
    with pytest.raises(InputError, match=re.escape(says)):
        work.read("back.json")
    assert read_labels("labels.jsonl") == {}


def test_an_import_takes_the_columns_and_the_question_that_are_named(mood: Task[Any]):
    (row,) = studio(("a", "good"))
    row["annotations"][0]["result"] += [{"from_name": "t", "type": "choices", "value": {"choices": ["bad"]}}]
    Path("back.json").write_text(json.dumps([row]))
    Path("texts.csv").write_text("review\na\nb\n")
    given = ["label", "mood", "--data", "texts.csv", "--map", "text=review", "--import", "back.json"]
    assert main(given) == 2
    assert main([*given, "--target", "t"]) == 0
    assert [one.value for one in read_labels("texts.labels.jsonl").values()] == ["bad"]


def test_an_export_without_any_label_comes_back_too(mood: Task[Any]):
    work = Labelling(mood, ROWS, "labels.jsonl")
    work.label(status="cannot_tell", note="?")
    Path("back.json").write_text(json.dumps(work.export("argilla")))
    again = Labelling(mood, ROWS, "again.jsonl")
    assert again.read("back.json") == 1
    assert dict(again.labels) == dict(work.labels)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--annotator", "../x"], "--annotator '../x' must be"),
        (["--as", "x"], "--as names the copy that --write makes"),
        (["--risk", "2"], "risk=2.0: must lie between 0 and 1"),
        (["--data", "none.csv"], "none.csv: cannot be read"),
        (["--agreement", "a.jsonl"], "at least two people"),
    ],
)
def test_wrong_use_is_told_in_a_line(mood: Task[Any], words: list[str], says: str, capsys: pytest.CaptureFixture[str]):
    assert main(["label", "mood", "--data", "texts.jsonl", "--no-browser", *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("odd", [5, None, b"x", {"text": "x"}, [], [3], [None], "\0", object()])
def test_what_is_of_another_kind_is_refused_in_words(mood: Task[Any], odd: Any):
    work = labelled(mood, 1)
    for call in (
        lambda: Labelling(mood, odd, "other.jsonl"),
        lambda: Labelling(mood, ROWS, odd),
        lambda: Labelling(mood, ROWS, "other.jsonl", risk=odd),
        lambda: Labelling(mood, ROWS, "other.jsonl", columns=odd or 1),
        lambda: Labelling(odd, ROWS, "other.jsonl"),
        lambda: work.label(odd),
        lambda: work.label("good", note=odd or 1),
        lambda: work.label("good", key=odd or 1),
        lambda: work.label("good", status=odd),
        lambda: work.read(odd),
        lambda: work.write(odd or 1),
        lambda: work.export(odd),
        lambda: agreement(odd, odd),
        lambda: read_labels(odd),
    ):
        try:
            call()
        except FewshotError:
            continue
        assert odd == "\0", "it was taken"
    assert len(work.labels) == 1 + (odd == "\0")  # a note may hold it


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_has_the_defences_of_the_lab(mood: Task[Any]):
    bench = Workbench("mood", client=Moody())
    server = LabServer(bench, desk=Desk(Labelling(mood, ROWS, "labels.jsonl")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        status, page, reply = ask(server, "/label", "GET")
        assert (status, server.token in page, "unsafe" in reply.headers["Content-Security-Policy"]) == (
            200,
            False,
            False,
        )
        assert not re.findall(r"https?://|//cdn|@import|url\(", page)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/label#[\w-]{32}", server.url)
        assert ask(server, "/api/tasks")[1]["labels"] is True
        key = ask(server, "/api/label/state")[1]["text"]["key"]
        said = {"key": key, "status": "label", "value": "good"}
        for change in ({"Authorization": "Bearer x"}, {"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            assert ask(server, "/api/label/say", body=json.dumps(said).encode(), **change)[0] in (401, 403)
        odd = [None, 0, {}, [], True, "\x00", "x" * 300, ["a"], {"a": 1}]
        for name in ("key", "status", "value", "note"):
            for value in odd:
                body = json.dumps(said | {name: value}).encode()
                status, told, _ = ask(server, "/api/label/say", body=body)
                if (name, status) == ("note", 200):
                    ask(server, "/api/label/undo", body=b'{"said": 1}')
                else:
                    assert status in (400, 422), (name, value, told)
        assert ask(server, "/api/label/_choose")[0] == 404
        assert read_labels(Path("labels.jsonl")) == {}
        assert ask(server, "/api/label/say", body=json.dumps(said).encode())[1]["said"] == 1
        assert ask(server, "/api/label/say", body=json.dumps(said).encode())[0] == 422
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        bench.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # selenium's own connection to its driver
def test_twenty_texts_are_labelled_by_keys_and_none_is_lost_when_it_is_killed(
    mood: Task[Any], browser: Any, tmp_path: Path
):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    hostile = "I love <img src=x onerror=alert(1)>"
    texts = Path("texts.jsonl")
    texts.write_text(texts.read_text() + json.dumps({"id": "hostile", "text": hostile}) + "\n")

    def until(seen: Callable[[], Any]) -> None:
        WebDriverWait(browser, 30, poll_frequency=0.05).until(lambda _: seen())

    def find(selector: str) -> Any:
        return browser.find_element("css selector", selector)

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    def kept() -> dict[str, Any]:
        return read_labels(tmp_path / "texts.labels.ann.jsonl")

    def started() -> subprocess.Popen[str]:
        words = ["label", "mood", "--data", "texts.jsonl", "--annotator", "ann", "--no-browser"]
        words += ["--base-url", model.base_url, "--model", "m"]
        process = subprocess.Popen(
            [sys.executable, "-m", "fewshot", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OPENAI_API_KEY": "sk-test"}, start_new_session=True,
        )  # fmt: skip
        browser.get("about:blank")
        browser.get(process.stdout.readline().strip())
        until(lambda: "all is on disk" in find("#status").text)
        return process

    def label(count: int) -> None:
        for _ in range(count):
            said = len(kept())
            press("1" if "love" in find("#text").text else "2")
            until(lambda said=said: find("#progress").text.startswith(f"{said + 1} of "))
            assert len(kept()) == said + 1

    with FaultServer() as model:
        model.answer = lambda body: "good" if "love" in str(body["messages"][-1]) else "bad"
        process = started()
        try:
            assert find("#guess").is_displayed() is False
            label(9)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            press("1")
            until(lambda: "nothing answers" in find("#status").text)
            assert len(kept()) == 9
            process.stdout.close()
            process = started()
            assert find("#progress").text.startswith("9 of 151")
            label(1)
            until(lambda: "10" in find("#figures strong").text)
            press("/")
            ActionChains(browser).send_keys("a note 12").perform()
            press(Keys.ENTER)
            press(".")
            until(lambda: "The model says" in find("#guess").text)
            label(1)
            assert [list(kept().values())[-1].note, list(kept().values())[-1].seen] == ["a note 12", True]
            press(".")
            press("0")
            until(lambda: find("#progress").text.startswith("12 of "))
            press(Keys.ARROW_RIGHT)
            until(lambda: find("#progress").text.startswith("13 of "))
            press(Keys.BACKSPACE)
            until(lambda: find("#progress").text.startswith("12 of "))
            label(8)
            until(lambda: "accuracy" in find("#figures").text and "19" in find("#figures strong").text)
            until(lambda: find("#bought-title").text == "What it has bought")
            statuses = Counter(one.status for one in kept().values())
            assert statuses == {"label": 19, "cannot_tell": 1}
            assert all(
                one.value == ("good" if "love" in one.inputs["text"] else "bad") for one in kept().values() if one.value
            )
            shown = find("#figures").text
            work = Labelling(
                load("mood").using(base_url=model.base_url, model="m", api_key="sk-test"),
                "texts.jsonl",
                "texts.labels.ann.jsonl",
            )
            assert f"{100 * work.figures()['accuracy']['low']:.1f}% to" in shown
            press(".")
            until(lambda: "The model says" in find("#guess").text)
            for width in (1280, 400):
                for scheme in ("light", "dark"):
                    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
                    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                    features = [{"name": "prefers-color-scheme", "value": scheme}]
                    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
                    inner, outer = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
                    assert inner <= outer == width
                    assert browser.save_screenshot(str(tmp_path / f"label-{width}-{scheme}.png"))
            asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
            assert asked
            assert all(re.match(r"http://127\.0\.0\.1:\d+/api/label/", url) for url in asked)
            severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
            assert all("ERR_CONNECTION_REFUSED" in text for text in severe)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
