"""The command line: data on standard output, the rest on standard error, exit codes that mean something."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer

from fewshot import cli, load
from fewshot.cli.main import parser_of
from fewshot.cli.options import setting_of, task_of
from fewshot.cli.terminal import painted, put


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert all(name in told.err for name in cli.COMMANDS)
    assert max(map(len, told.err.splitlines())) <= 80


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


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def test_doctor_tells_what_would_be_called_and_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FaultServer
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-123")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("FEWSHOT_MODEL", "m")
    assert cli.main(["doctor", "--json"]) == 0
    told = capsys.readouterr().out
    facts = json.loads(told)
    assert (facts["would call"], facts["because of"]) == (f"m at {server.base_url}", "OPENAI_BASE_URL")
    assert (facts["models there"], facts["problem"]) == ("m", "none")
    assert "canary" not in told


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, str]]:
    code = cli.main(["doctor", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("model", "there", "says"),
    [
        (None, ["qwen3-8b"], "lists no model 'gpt-6-luna': set FEWSHOT_MODEL=qwen3-8b, the only one there"),
        ("qwen3-8", ["phi-4", "qwen3-8b"], "no model 'qwen3-8' (did you mean 'qwen3-8b'?): set FEWSHOT_MODEL to one"),
        ("phi-4", ["phi-4:latest"], "none"),
        ("gemini-3", ["models/gemini-3"], "none"),
    ],
)
def test_doctor_asks_the_server_which_models_it_has(
    model: str | None, there: list[str], says: str, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.models = tuple(there)
    named = ["--model", model] if model else []
    code, facts = doctor(capsys, "--base-url", server.base_url, *named)
    assert (code, says in facts["problem"]) == (0 if says == "none" else 2, True), facts["problem"]
    assert facts["models there"] == ", ".join(there)


def test_doctor_tells_what_a_server_says_instead(server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--base-url", server.base_url, "--model", "m")
    server.play("401")
    code, facts = doctor(capsys, *at)
    assert (code, "refuses the API key" in facts["problem"]) == (2, True)
    server.play("404_path")
    assert doctor(capsys, *at)[1]["models there"] == "the server lists none (HTTP 404)"
    code, facts = doctor(capsys, "--base-url", "http://127.0.0.1:9/v1", "--model", "m")
    assert (code, "is the server up" in facts["problem"]) == (2, True)


def test_doctor_sends_one_tiny_request_when_asked_to(server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.play()
    server.models, server.answer = ("other",), lambda _: "Yes."
    code, facts = doctor(capsys, "--ping", "--base-url", server.base_url, "--model", "m")
    assert (code, facts["problem"]) == (0, "none")
    assert facts["answers"].startswith("'Yes.' in ")
    assert facts["answers"].endswith(" s, without log-probabilities")
    assert [(seen.method, seen.body.get("max_completion_tokens", 16)) for seen in server.requests] == [
        ("GET", 16), ("POST", 16),
    ]  # fmt: skip
    server.play("ok", "401")
    code, facts = doctor(capsys, "--ping", "--base-url", server.base_url, "--model", "m")
    assert (code, "refuses the API key" in facts["problem"]) == (2, False)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("OPENAI_BASEURL", "OPENAI_BASE_URL"), ("OPENAI_APIKEY", "OPENAI_API_KEY"), ("OPENAI_KEY", "OPENAI_API_KEY"),
        ("OPENAI_API_BASE", "OPENAI_BASE_URL"), ("OPENAI_MODEL", "FEWSHOT_MODEL"), ("OPENAPI_KEY", "OPENAI_API_KEY"),
        ("FEWSHOT_MODELL", "FEWSHOT_MODEL"), ("FEW_SHOT_MODEL", "FEWSHOT_MODEL"), ("FEWSHOT_API_KEY", "OPENAI_API_KEY"),
        ("FEWSHOT_BASEURL", "FEWSHOT_BASE_URL"), ("openai_api_key", "OPENAI_API_KEY"), ("OPENAI_LOG", None),
        ("OPENAI_WEBHOOK_SECRET", None), ("FEWSHOT_NOTHING", ""),
    ],
)  # fmt: skip
def test_doctor_names_variables_that_are_misspelt(
    name: str, means: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "x")
    _, facts = doctor(capsys)
    wanted = f"not read (did you mean {means!r}?)" if means else "not read: no such variable is known"
    assert facts.get(name) == (None if means is None else wanted)


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
        (["show", "sentiment", "--set", "votes=5"], 2, "it has none; votes is a setting: -o votes=5"),
        (["show", "sentiment", "-o", "votes"], 2, "-o 'votes' must be NAME=VALUE"),
        (["show", "sentiment", "-o", "voots=5"], 2, "unknown setting 'voots' (did you mean 'votes'?)"),
        (["show", "sentiment", "-o", "api_key=sk-x"], 2, "set it in the environment"),
        (["show", "sentiment", "--k", "four"], 2, "k='four': must be a whole number"),
        (["show", "sentiment", "-o", "votes=0"], 2, "votes=0: must be from 1 to 1000"),
        (["show", "summarize", "--labels", "a,b"], 2, "summarize has no labels"),
        (["show", "extract", "--schema", "none.json"], 2, "--schema none.json cannot be read"),
        (["run", "classify", "Where is it?"], 2, "give --labels, as --labels bug,question,refund"),
        (["run", "pattern", "Rust"], 2, "give --examples, as --examples pairs.jsonl"),
        (["show", "../x"], 2, "no task.toml"),
    ],
)
def test_a_mistake_is_one_line_without_traceback(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if says.startswith("give --"):  # told when the task is asked, for which there must be a model
        pytest.importorskip("xllamacpp")
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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rnu", "sentiment"], "fewshot: there is no command 'rnu' (did you mean 'run'?); see `fewshot --help`"),
        (["run", "--votess"], "fewshot run: unknown option '--votess'"),
        (
            ["run", "sentiment", "x", "--jsno"],
            "unknown option '--jsno' (did you mean '--json'?); see `fewshot run --help`",
        ),
        (["run", "sentiment", "--input", "ok.csv"], "unknown option '--input' (did you mean '--input-column'?)"),
    ],
)
def test_a_mistyped_command_or_option_is_told_in_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    told = capsys.readouterr()
    assert says in told.err
    assert len(told.err.splitlines()) == 1
    assert told.out == ""


def test_any_setting_is_read_as_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    task = load("sentiment").using(k=2, stop=("\n", "END"), scoring=False, select="bm25", model="12")
    words = ["k=2", 'stop=["\\n", "END"]', "scoring=false", "select=bm25", "model=12"]
    given = {word.partition("=")[0]: setting_of(*word.split("=", 1)) for word in words}
    assert load("sentiment").using(**given).settings == task.settings
    assert cli.main(["show", "sentiment", "Fine.", "-o", "k=1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["chat"]) == 4


def test_labels_and_a_schema_are_given_from_a_shell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["show", "classify", "Where is it?", "--labels", "delivery,refund", "--form", "text"]) == 0
    assert "one of: delivery, refund." in capsys.readouterr().out
    schema = tmp_path / "order.json"
    schema.write_text('{"type": "object", "properties": {"count": {"type": "integer"}}}', encoding="utf-8")
    assert cli.main(["show", "extract", "Three.", "--schema", str(schema), "--form", "text"]) == 0
    assert "count" in capsys.readouterr().out
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"query": "Java", "output": "Gosling"}\n', encoding="utf-8")
    assert cli.main(["show", "pattern", "Rust", "--examples", str(pairs), "--form", "text"]) == 0
    assert "Input: Java\nOutput: Gosling" in capsys.readouterr().out


def test_the_configuration_of_a_folder_is_used_where_nothing_else_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[tool.fewshot]\nform = "chat"\nk = 3\n', encoding="utf-8")
    assert cli.main(["show", "pattern", "x", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["chat"]) == 2 * 3 + 1
    assert cli.main(["show", "pattern", "x", "--json", "--k", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)["chat"]) == 2 + 1
    Path("fewshot.toml").write_text('model = "fast"\n[aliases]\nfast = "gpt-6-luna"\n', encoding="utf-8")
    args = parser_of("run").parse_args(["run", "sentiment", "x"])
    assert task_of(args).settings.model == "gpt-6-luna"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("k = -1", "fewshot.toml: k=-1: must be 0 or more"),
        ("kk = 1", "fewshot.toml: unknown option 'kk'"),
        ('base_url = "http://x/v1"', "fewshot.toml: 'base_url' has no place in a file of the folder"),
        ("k = ", "fewshot.toml cannot be read as TOML"),
        ("[aliases]\nfast = 3", "[aliases] must be names of models"),
    ],
)
def test_a_wrong_configuration_is_told_in_one_line(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fewshot.toml").write_text(text, encoding="utf-8")
    assert cli.main(["show", "sentiment"]) == 2
    assert says in capsys.readouterr().err


def test_a_task_that_hides_one_that_ships_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("xllamacpp")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "sentiment", "--labels", "x,y"]) == 0
    assert "hides the task that ships" in capsys.readouterr().err
    assert cli.main(["tasks", "--json"]) == 0
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (rows["sentiment"]["ships"], rows["sentiment"]["path"]) == (False, "templates/sentiment")
    assert rows["sentiment"]["hides"].endswith("sentiment")
    assert (rows["answer"]["ships"], rows["answer"]["hides"]) == (True, None)
    assert cli.main(["doctor"]) == 0
    assert "sentiment  (templates/sentiment, hides the task that ships)" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_is_for_terminals_that_want_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert painted("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert painted("x", "red", io.StringIO()) == "\033[31mx\033[0m"
    monkeypatch.setenv(name, value)
    assert painted("x", "red", io.StringIO()) == "x"


def test_a_shell_completes_commands_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    asked = 'source "$1"; COMP_WORDS=(fewshot run --vo); COMP_CWORD=2; _shtab_fewshot; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", asked, "-", str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "--votes\n"


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_help_says_first_what_must_be_given_and_names_an_option_once(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    first, *rest = said.splitlines()
    assert first.startswith(f"usage: fewshot {command} ")
    assert first.endswith("[options]")
    assert not rest[0]
    listed = re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z-]+)", said, re.MULTILINE)
    assert len(listed) == len({*listed})
    assert max(map(len, rest)) <= 80


def test_lines_end_at_words_where_a_terminal_is_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "30")
    narrow, piped = Terminal(), io.StringIO()
    for stream in (narrow, piped):
        put("tag       any number of the labels fit\n  note: a row was held back by the limit", stream)
    assert narrow.getvalue().splitlines() == [
        "tag       any number of the",
        "          labels fit",
        "  note: a row was held back by",
        "    the limit",
    ]
    assert len(piped.getvalue().splitlines()) == 2
