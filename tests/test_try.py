"""`fewshot try`: a loop that answers line by line, over files that may be edited meanwhile."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from fewshot.cli.main import main

TOML = 'description = "Sort."\noutput = ["bug", "question"]\n[parameters]\ntone = "calm"\n'
PROMPT = """\
{% block instruction %}Sort: {{ labels | join(" or ") }}, {{ tone }}.{% endblock %}
{% block input %}Text: {{ text }}{% endblock %}
{% block output %}Team: {{ output }}{% endblock %}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with FaultServer() as running:
        running.answer = lambda body: "bug" if "crash" in body["messages"][-1]["content"] else "question"
        monkeypatch.setenv("FEWSHOT_BASE_URL", running.base_url)
        monkeypatch.setenv("FEWSHOT_MODEL", "scripted")
        yield running


@pytest.fixture
def task(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "task.toml").write_text(TOML, encoding="utf-8")
    (folder / "prompt.jinja").write_text(PROMPT, encoding="utf-8")
    return folder


class Typed(io.StringIO):
    """Lines that are typed one after the other; a function among them is what the author does in between."""

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.steps = list(steps)

    def readline(self, size: int = -1, /) -> str:
        while self.steps and callable(self.steps[0]):
            self.steps.pop(0)()
        return self.steps.pop(0) + "\n" if self.steps else ""


def typed(monkeypatch: pytest.MonkeyPatch, folder: Path, *steps: Any) -> int:
    monkeypatch.setattr("sys.stdin", Typed(*steps))
    return main(["try", str(folder)])


def test_answers_every_line_until_the_end(server, task, monkeypatch, capsys):
    assert typed(monkeypatch, task, "It crashes.", "", "How do I print?") == 0
    said = capsys.readouterr()
    assert said.out == "bug\nquestion\n"


def test_quit_ends_it(server, task, monkeypatch, capsys):
    assert typed(monkeypatch, task, "It crashes.", ":quit", "How do I print?") == 0
    assert capsys.readouterr().out == "bug\n"


def test_the_prompt_is_shown_on_demand(server, task, monkeypatch, capsys):
    typed(monkeypatch, task, ":prompt", "It crashes.", ":prompt")
    said = capsys.readouterr()
    assert said.out == "bug\n[system] Sort: bug or question, calm.\n[user] Text: It crashes.\nTeam:\n"
    assert "nothing has been asked yet" in said.err


def test_edited_files_are_used_for_the_next_answer(server, task, monkeypatch, capsys):
    def edit() -> None:
        (task / "prompt.jinja").write_text(PROMPT.replace("Sort:", "Please sort into:"), encoding="utf-8")

    typed(monkeypatch, task, "It crashes.", edit, "It crashes again.", ":prompt")
    assert "[system] Please sort into: bug or question, calm." in capsys.readouterr().out


def test_a_broken_edit_is_told_in_a_line_and_the_loop_goes_on(server, task, monkeypatch, capsys):
    def spoil() -> None:
        (task / "prompt.jinja").write_text(PROMPT.replace("{{ text }}", "{{ txt }}"), encoding="utf-8")

    def mend() -> None:
        (task / "prompt.jinja").write_text(PROMPT + "\n", encoding="utf-8")

    assert typed(monkeypatch, task, spoil, "It crashes.", mend, "It crashes.") == 0
    said = capsys.readouterr()
    assert said.out == "bug\n"
    assert "prompt.jinja:2: unknown variable 'txt' (did you mean 'text'?)" in said.err
    assert said.err.count("\n") == 1


def test_a_failed_call_is_told_in_a_line_and_the_loop_goes_on(server, task, monkeypatch, capsys):
    server.play("401")
    assert typed(monkeypatch, task, "It crashes.", "It crashes.") == 0
    said = capsys.readouterr()
    assert said.out == "bug\n"
    assert said.err.count("\n") == 1


def test_parameters_are_set_for_all_further_answers(server, task, monkeypatch, capsys):
    typed(monkeypatch, task, ":set tone=merry", "It crashes.", ":prompt", ":set tune=merry", ":set tone")
    said = capsys.readouterr()
    assert "merry." in said.out
    assert said.err.count("the parameters are tone") == 1
    assert ":set 'tone' must be NAME=VALUE" in said.err


def test_rows_of_several_inputs_come_as_json(server, task, monkeypatch, capsys):
    (task / "task.toml").write_text(TOML + '[inputs]\ntext = "x"\nplace = "y"\n', encoding="utf-8")
    (task / "prompt.jinja").write_text(PROMPT.replace("{{ text }}", "{{ text }} in {{ place }}"), encoding="utf-8")
    row = json.dumps({"text": "crash", "place": "Oslo"})
    typed(monkeypatch, task, row, ":prompt", "crash", '{"text": "a", "plaice": "b"}')
    said = capsys.readouterr()
    assert "Text: crash in Oslo" in said.out
    assert "give each line as a JSON object" in said.err
    assert "unknown input 'plaice' (did you mean 'place'?)" in said.err


@pytest.mark.local
def test_probabilities_are_drawn_as_bars(embedded, monkeypatch, capsys):
    monkeypatch.setenv("FEWSHOT_MODEL", "local")
    monkeypatch.setattr("sys.stdin", Typed("I love it, it is wonderful."))
    assert main(["try", "sentiment", "--k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "positive"
    assert lines[1].split()[0] == "positive"
    assert lines[1].split()[1].endswith("%")
    assert len(lines) == 4
