"""The command line: data on standard output, the rest on standard error, exit codes that mean something."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fewshot import cli


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert all(name in told.err for name in cli.COMMANDS)


def test_tasks_lists_what_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"sentiment", "translate", "answer"} <= {row["name"] for row in rows}
    assert all(row["description"] for row in rows)


def test_show_prints_both_forms_and_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "translate", "I love programming.", "--set", "target=Korean"]) == 0
    shown = capsys.readouterr().out
    assert "English: I love programming.\nKorean:" in shown
    assert shown.count("up to here") == 2
    assert cli.main(["show", "sentiment", "Fine.", "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["chat"][-1] == {"role": "user", "content": "Text: Fine.\nSentiment:"}
    assert both["text"].endswith("Text: Fine.\nSentiment:")


def test_doctor_tells_what_would_be_called_and_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-123")
    assert cli.main(["doctor", "--json"]) == 0
    told = capsys.readouterr().out
    facts = json.loads(told)
    assert facts["would call"].startswith("gpt-6-luna at https://")
    assert facts["because of"] == "OPENAI_API_KEY"
    assert "canary" not in told


def test_doctor_names_the_problem_and_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    assert cli.main(["doctor"]) == 2
    assert "FEWSHOT_OFFLINE is set" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["show", "sentimnt"], 2, "did you mean 'sentiment'"),
        (["show", "sentiment", "--k", "-1"], 2, "must be 0 or more"),
        (["show", "translate", "--set", "target"], 2, "must be NAME=VALUE"),
        (["show", "translate", "--set", "traget=Thai"], 2, "no parameter 'traget' (did you mean 'target'?); it has "),
        (["show", "sentiment", "--set", "votes=5"], 2, "sentiment has no parameter 'votes'; it has none"),
        (["show", "../x"], 2, "no task.toml"),
    ],
)
def test_a_mistake_is_one_line_without_traceback(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == code
    told = capsys.readouterr()
    assert says in told.err
    assert len(told.err.splitlines()) == 1
    assert told.out == ""


def test_the_module_is_the_command_and_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, runpy; sys.argv = ['fewshot', '--version']\n"
        "try: runpy.run_module('fewshot', run_name='__main__')\n"
        "except SystemExit: print([m for m in ('openai', 'jinja2', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("fewshot ")
    assert done.stdout.splitlines()[1] == "[]"
