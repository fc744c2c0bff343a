"""`fewshot new`: what it writes works at once, from flags, from answers on a terminal, and from a file of rows."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from fewshot.authoring.check import check
from fewshot.cli.main import main
from fewshot.data.importing import examples_from
from fewshot.errors import InputError
from fewshot.models.scripted import ScriptedClient
from fewshot.task import load

CSV = """\
message,team,when
It crashes when I save.,bug,1
The window stays black.,bug,2
How do I export my data?,question,3
"Where, please, is the menu?",question,4
The button does nothing.,bug,5
Can I use it on two machines?,question,6
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


MAP = ("--map", "text=message", "--map", "output=team")


def new(*words: str) -> int:
    return main(["new", *words])


@pytest.mark.parametrize(
    ("flags", "said", "value"),
    [
        (["--labels", "bug, question"], "Bug.", "bug"),
        (["--output", "text", "--inputs", "passage,reader_age"], "Short.", "Short."),
        (["--output", "number"], "It is 7.", 7),
        (["--labels", "très bon,mauvais", "--description", 'Say "how" {{ was }}, in % {% too'], "mauvais", "mauvais"),
    ],
)
def test_the_folder_works_at_once(flags: list[str], said: str, value: object):
    assert new("mine", *flags) == 0
    found = check("mine")
    assert found.ok
    assert {f.code for f in found.findings} == {"placeholder"}
    task = load("mine", client=ScriptedClient(said))
    assert task(**dict.fromkeys(task.inputs, "something")) == value


def test_only_what_must_be_replaced_is_left_to_say(capsys: pytest.CaptureFixture[str]):
    new("mine", "--labels", "a,b")
    assert capsys.readouterr().out == "templates/mine\n"
    assert [f.path for f in check("mine").findings] == ["templates/mine/task.toml"] + [
        "templates/mine/examples.jsonl"
    ] * 2


def test_descriptions_of_labels_only_need_their_marks_removed():
    new("mine", "--labels", "bug,two words")
    path = Path("templates/mine/task.toml")
    text = (
        path.read_text(encoding="utf-8")
        .replace("# [descriptions]", "[descriptions]")
        .replace('# bug = "…"', 'bug = "It fails."')
    )
    path.write_text(text.replace('# "two words" = "…"', '"two words" = "Both."'), encoding="utf-8")
    shown = load("mine").render("x")[0].content
    assert "bug: It fails.\ntwo words: Both." in shown


def test_examples_come_from_a_file_with_its_columns_mapped():
    Path("tickets.csv").write_text(CSV, encoding="utf-8")
    assert (
        new(
            "tickets",
            "--from",
            "tickets.csv",
            "--map",
            "text=message",
            "--map",
            "output=team",
            "--description",
            "Sort.",
        )
        == 0
    )
    task = load("tickets")
    assert task.output.labels == ("bug", "question")
    assert [dict(e.inputs) for e in task.examples][3] == {"text": "Where, please, is the menu?"}
    assert (task.settings.k, task.settings.select) == (6, "balanced")
    assert check("tickets").findings == ()


def test_rows_can_be_kept_apart_for_evaluation():
    Path("tickets.csv").write_text(CSV, encoding="utf-8")
    assert new("t", "--from", "tickets.csv", *MAP, "--hold-out", "2") == 0
    tests = [json.loads(line) for line in Path("templates/t/test.jsonl").read_text(encoding="utf-8").splitlines()]
    shots = [{**e.inputs, "output": e.output} for e in load("t").examples]
    assert (len(tests), len(shots)) == (2, 4)
    assert not [row for row in tests if row in shots]
    assert {f.code for f in check("t").findings} == {"placeholder"}


@pytest.mark.parametrize(
    ("rows", "output", "inputs"),
    [
        ([("a", 1), ("b", 2), ("c", 3)], "number", ["text"]),
        ([("a", "x"), ("b", "y"), ("c", "z")], "text", ["text"]),
        ([("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")], ("x", "y"), ["text"]),
    ],
)
def test_the_kind_of_output_is_seen_from_the_rows(rows: list[tuple[str, Any]], output: object, inputs: list[str]):
    Path("rows.json").write_text(json.dumps([{"text": t, "label": o} for t, o in rows]), encoding="utf-8")
    assert new("mine", "--from", "rows.json") == 0
    task = load("mine")
    assert (task.output.labels or task.output.kind) == output
    assert list(task.inputs) == inputs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Mine", "--labels", "a,b"], "'Mine' is not a task name"),
        (["mine", "--labels", "a"], "at least two labels"),
        (["mine"], "--labels a,b,c, or --output text, or --output number"),
        (["mine", "--output", "text", "--inputs", "a b"], "cannot be named 'a b'"),
        (["mine", "--from", "none.csv"], "cannot be read"),
        (
            ["mine", "--from", "rows.csv"],
            "it has message, team, when: say which column holds the answer with --map output=COLUMN",
        ),
        (["mine", "--from", "rows.csv", "--map", "output=taem"], "no column 'taem' (did you mean 'team'?)"),
        (["mine", "--from", "rows.csv", "--map", "output"], "must be NAME=COLUMN"),
        (["mine", "--from", "rows.csv", *MAP, "--hold-out", "6"], "leaves no example"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    Path("rows.csv").write_text(CSV, encoding="utf-8")
    assert new(*words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("templates").exists()


def test_an_existing_folder_is_left_alone(capsys: pytest.CaptureFixture[str]):
    new("mine", "--labels", "a,b")
    before = {p: p.read_bytes() for p in Path("templates/mine").iterdir()}
    assert new("mine", "--output", "text") == 2
    assert "is there already" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in Path("templates/mine").iterdir()} == before
    assert [p.name for p in Path("templates").iterdir()] == ["mine"]


def test_asks_three_questions_on_a_terminal():
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fewshot", "new", "mine"],
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    os.write(outside, b"Tell bugs from questions.\nbug, question\n\n")
    out, err = process.communicate(timeout=60)
    os.close(outside)
    os.close(inside)
    assert process.returncode == 0, err.decode()
    assert b"templates/mine" in out
    task = load("mine")
    assert (task.description, task.output.labels, list(task.inputs)) == (
        "Tell bugs from questions.",
        ("bug", "question"),
        ["text"],
    )


# -- importing in code ------------------------------------------------------------------------------------------------


def test_parquet_is_read(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'bulk' is not installed")
    table = pytest.importorskip("pyarrow").table({"review": ["Lovely.", "Awful."], "stars": [5, 1]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    rows = examples_from(tmp_path / "rows.parquet", {"text": "review", "output": "stars"})
    assert rows == [{"text": "Lovely.", "output": 5}, {"text": "Awful.", "output": 1}]


class DataSet:
    """As much of a Hugging Face data set as is used: it iterates over rows and names its class labels."""

    features: ClassVar = {"text": SimpleNamespace(dtype="string"), "label": SimpleNamespace(names=["neg", "pos"])}

    def __iter__(self):
        yield from ({"text": "Lovely.", "label": 1}, {"text": "Awful.", "label": 0})


def test_class_labels_of_a_data_set_are_given_by_name():
    assert examples_from(DataSet(), {"text": "text", "output": "label"}, limit=1) == [
        {"text": "Lovely.", "output": "pos"}
    ]
    task = load("sentiment", examples=[("a", "neutral")])
    assert task.examples[0].output == "neutral"


def test_a_whole_data_set_must_name_its_split():
    with pytest.raises(InputError, match="one of train, test"):
        examples_from({"train": DataSet(), "test": DataSet()})


def test_rows_that_are_none_are_refused():
    with pytest.raises(InputError, match="rows must be a file, a data frame, or a list of dicts or pairs, not int"):
        examples_from(3)
    with pytest.raises(InputError, match="must be an object like"):
        examples_from([("a", "b")])


@pytest.mark.parametrize("name", ["문장", "été", "loop", "for", "名前"])
def test_an_input_may_have_a_name_in_any_script(name: str):
    assert new("mine", "--labels", "a,b", "--inputs", name) == 0
    assert check("mine").ok
    assert load("mine", client=ScriptedClient("a"))(**{name: "x"}) == "a"


@pytest.mark.parametrize("name", ["super", "True", "not", "output", "labels", "descriptions", "id", "_x"])
def test_a_name_that_cannot_be_an_input_is_refused_and_nothing_is_left(name: str, capsys: pytest.CaptureFixture[str]):
    assert new("mine", "--labels", "a,b", "--inputs", name) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(Path("templates").glob("*"))


@pytest.mark.parametrize("words", [["--lang", "ko"], ["--description", "은행 문의를 분류하세요."]])
def test_a_folder_is_written_in_korean(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert new("bank", "--labels", "조회,이체", *words) == 0
    assert "다음 단계: " in capsys.readouterr().err
    prompt = load("bank", client=ScriptedClient("조회")).render("잔액이 얼마예요?")
    assert "다음 중 하나로만 답하세요: 조회, 이체." in prompt[0].content
    assert check("bank").ok


def test_rows_kept_apart_are_drawn_from_each_label():
    rows = [{"text": f"{label} {i}", "label": label} for label in "abc" for i in range(4)]
    Path("rows.json").write_text(json.dumps(rows), encoding="utf-8")
    assert new("mine", "--from", "rows.json", "--hold-out", "6") == 0
    assert sorted(example.output for example in load("mine").examples) == ["a", "a", "b", "b", "c", "c"]
