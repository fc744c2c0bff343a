"""`fewshot diff`: what is different between two files of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fewshot import InputError, OutputError, Result, load
from fewshot.cli.main import main
from fewshot.evaluation.diff import compared
from fewshot.models.scripted import ScriptedClient

A, B = "sentiment@1#aaaaaaaaaaaa", "sentiment@2#bbbbbbbbbbbb"


def line(value: object = None, confidence: float | None = None, *, task: str = A, **changes: Any) -> dict[str, Any]:
    return Result(value=value, confidence=confidence, task=task, model="m", **changes).to_dict()


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    return path


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    before = write(
        tmp_path / "a.jsonl",
        line("positive", 0.9, row=0),
        line("negative", 0.6, row=1),
        line("neutral", 0.5, row=2),
        line(error=OutputError("no"), row=3),
        line("positive", 0.8, row=4),
    )
    after = write(
        tmp_path / "b.jsonl",
        line("neutral", 0.5, task=B, row=2),
        line("positive", 0.95, task=B, row=0),
        line("neutral", 0.4, task=B, row=1),
        line("negative", 0.9, task=B, row=3),
        line(abstained=True, confidence=0.3, task=B, row=5),
    )
    return before, after


def test_rows_are_matched_and_changes_counted(runs: tuple[Path, Path]):
    found = compared(*runs)
    assert (found.rows, found.only) == (4, (1, 1))
    assert found.agreement == 0.5
    assert [(c.row, c.before, c.after) for c in found.changes] == [
        ("1", '"negative"', '"neutral"'),
        ("3", "error OutputError", '"negative"'),
    ]
    assert found.tasks == ((A,), (B,))
    assert found.confidence == pytest.approx(((0.9 + 0.6 + 0.5) / 3, (0.95 + 0.4 + 0.5) / 3))
    assert found.moved == (1, 0)


def test_a_run_agrees_with_itself(runs: tuple[Path, Path]):
    found = compared(runs[0], runs[0])
    assert (found.agreement, found.changes, found.only) == (1.0, (), (0, 0))


def test_rows_in_another_order_are_matched_by_id_or_by_inputs(tmp_path: Path):
    one, two = line("a", row=0), line("b", row=1)
    for name, values in (("id", ["x", "y"]), ("inputs", [{"text": "x"}, {"text": "y"}])):
        before = write(tmp_path / "a.jsonl", one | {name: values[0]}, two | {name: values[1]})
        after = write(tmp_path / "b.jsonl", line("b", row=0) | {name: values[1]}, line("a", row=1) | {name: values[0]})
        assert compared(before, after).agreement == 1.0


def test_results_of_a_real_run_are_compared(tmp_path: Path):
    rows = ["Lovely.", "Awful.", "It is there."]
    for name, answers in (("a", ["positive", "negative", "neutral"]), ("b", ["positive", "neutral", "neutral"])):
        task = load("sentiment", client=ScriptedClient(*answers), k=0 if name == "b" else 3)
        results = [task.run(row).to_dict() | {"row": n, "inputs": {"text": row}} for n, row in enumerate(rows)]
        write(tmp_path / f"{name}.jsonl", *results)
    found = compared(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert [(c.row, c.inputs) for c in found.changes] == [("1", "Awful.")]
    assert found.tasks[0] != found.tasks[1]


def test_prints_what_changed(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    assert main(["diff", *map(str, runs)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[2:] == [
        "the tasks differ, the same model",
        "2 of 4 rows agree (50.0%)",
        "left out: 1 rows that only A has, 1 that only B has",
        "mean confidence 0.667 → 0.617; 0 rows rose by more than 0.1, 1 fell",
        '  row 1: "negative" 0.60 → "neutral" 0.40',
        '  row 3: error OutputError → "negative" 0.90',
    ]
    assert said[0].endswith(f"a.jsonl: {A}, m")


def test_little_agreement_can_fail_a_build(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    a, b = map(str, runs)
    assert main(["diff", a, b, "--agree", "0.5"]) == 0
    assert main(["diff", a, b, "--agree", "0.6", "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["agreement"] == 0.5
    assert main(["diff", a, b, "--limit", "1"]) == 0
    assert "… and 1 more" in capsys.readouterr().out


def test_files_of_something_else_are_refused(tmp_path: Path):
    rows = write(tmp_path / "rows.jsonl", {"text": "no result"})
    with pytest.raises(InputError, match=r"row 1 is not a result; give files that `fewshot run`"):
        compared(rows, rows)
