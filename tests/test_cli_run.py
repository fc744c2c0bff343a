"""`fewshot run` as it is typed: values on standard output, everything else on standard error, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from fewshot.cli.main import main


def judge(body: dict[str, Any]) -> str:
    text = body["messages"][-1]["content"]
    return "nonsense" if "nonsense" in text else "negative" if "hate" in text else "positive"


@pytest.fixture(scope="module")
def service() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.answer = judge
        yield server


@pytest.fixture
def run(service: FaultServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Give a function that runs the command and tells its exit code, output lines and complaints."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    service.requests.clear()

    def run_(*words: str, stdin: bytes | None = None, url: str = service.base_url) -> tuple[int, list[str], str]:
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            monkeypatch.setattr(sys, "stdin", nothing)
            if stdin is not None:
                reading, writing = os.pipe()
                os.write(writing, stdin)
                os.close(writing)
                monkeypatch.setattr(sys, "stdin", io.FileIO(reading))
            code = main(["run", *words, "--base-url", url, "--model", "m"])
            sys.stdin.close()
        told = capsys.readouterr()
        return code, told.out.split("\n")[:-1], told.err

    return run_


def write(path: Path, count: int = 20) -> Path:
    rows = [{"id": f"r{i}", "text": f"I {'hate' if i % 2 else 'love'} it {i}", "other": 1} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_one_input_gives_its_value_and_nothing_else(run: Any) -> None:
    assert run("sentiment", "I love it") == (0, ["positive"], "")


def test_several_inputs_give_a_line_each(run: Any) -> None:
    assert run("sentiment", "I love it", "I hate it") == (0, ["positive", "negative"], "")


def test_an_input_may_follow_an_option(run: Any) -> None:
    assert run("sentiment", "--k", "2", "I hate it")[:2] == (0, ["negative"])


def test_a_word_that_is_no_option_is_refused(run: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("sentiment", "x", "--no-such-option")


def test_json_has_everything_about_the_call(run: Any) -> None:
    code, (line,), _ = run("sentiment", "I love it", "--json")
    found = json.loads(line)
    assert (code, found["value"], found["model"], found["error"]) == (0, "positive", "m", None)
    assert {"probabilities", "confidence", "abstained", "usage", "cost", "cached"} <= found.keys()


def test_a_row_that_failed_is_named_and_its_line_stays_empty(run: Any) -> None:
    code, lines, complaints = run("sentiment", "I love it", "nonsense", "I hate it")
    assert (code, lines) == (1, ["positive", "", "negative"])
    assert "no valid answer" in complaints
    assert "Traceback" not in complaints


def test_lines_are_read_from_a_pipe(run: Any) -> None:
    code, lines, complaints = run("sentiment", stdin=b"I love it\n\nI hate it\n")
    assert (code, lines) == (0, ["positive", "negative"])
    assert complaints.startswith("2 rows in ")


def test_a_dash_stands_for_standard_input(run: Any) -> None:
    assert run("sentiment", "--file", "-", stdin=b'{"text": "I hate it"}\n')[:2] == (0, ["negative"])


def test_a_file_is_read_by_column(run: Any, tmp_path: Path) -> None:
    code, lines, _ = run("sentiment", "--file", str(write(tmp_path / "in.jsonl")))
    assert (code, lines) == (0, ["positive", "negative"] * 10)
    table = tmp_path / "in.csv"
    table.write_text("body,id\nI hate it,1\n", encoding="utf-8")
    code, _, complaints = run("sentiment", "--file", str(table))
    assert (code, "no column 'text'" in complaints) == (2, True)
    assert run("sentiment", "--file", str(table), "--map", "text=body")[:2] == (0, ["negative"])
    assert run("sentiment", "--file", str(table), "--input-column", "body")[:2] == (0, ["negative"])


def test_results_are_kept_and_asked_once(run: Any, tmp_path: Path, service: FaultServer) -> None:
    file, out = write(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    code, lines, complaints = run("sentiment", "--file", str(file), "--out", str(out))
    assert (code, lines) == (0, [])
    assert complaints.startswith("20 rows in ")
    kept = [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]]
    assert [(row["row"], row["id"], row["value"]) for row in kept[:2]] == [(0, "r0", "positive"), (1, "r1", "negative")]
    asked, before = len(service.requests), out.read_bytes()
    code, _, complaints = run("sentiment", "--file", str(file), "--out", str(out))
    assert (code, len(service.requests), out.read_bytes()) == (0, asked, before)
    assert "20 kept" in complaints


def test_the_input_is_never_the_output(run: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl")
    before = file.read_bytes()
    code, _, complaints = run("sentiment", "--file", str(file), "--out", str(tmp_path / "." / "in.jsonl"), "--fresh")
    assert (code, "is the input itself" in complaints, file.read_bytes()) == (2, True, before)


def test_another_file_or_model_is_not_mixed_in(run: Any, tmp_path: Path, service: FaultServer) -> None:
    file, out = write(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    run("sentiment", "--file", str(file), "--out", str(out))
    before, asked = out.read_bytes(), len(service.requests)
    code, _, complaints = run("sentiment", "--file", str(file), "--out", str(out), "--k", "2")
    assert (code, "k was" in complaints) == (2, True)
    write(file, 21)
    code, _, complaints = run("sentiment", "--file", str(file), "--out", str(out))
    assert (code, "input was" in complaints, "--fresh" in complaints) == (2, True, True)
    assert (out.read_bytes(), len(service.requests)) == (before, asked)
    code, _, _ = run("sentiment", "--file", str(file), "--out", str(out), "--fresh")
    assert (code, out.read_bytes().count(b"\n")) == (0, 21)


def test_failed_rows_are_asked_alone(run: Any, tmp_path: Path, service: FaultServer) -> None:
    file, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    file.write_text("I love it\nsome nonsense\nI hate it\n", encoding="utf-8")
    assert run("sentiment", "--file", str(file), "--out", str(out))[0] == 1
    service.requests.clear()
    service.answer = lambda _: "positive"
    try:
        code, _, _ = run("sentiment", "--file", str(file), "--out", str(out), "--retry-failed")
    finally:
        service.answer = judge
    assert code == 0
    assert len(service.requests) == 1
    kept = [json.loads(line)["value"] for line in out.read_bytes().split(b"\n")[:-1]]
    assert kept == ["positive", "positive", "negative"]


def test_rows_are_corrected_by_the_mean_of_those_before(run: Any, tmp_path: Path) -> None:
    stub = [sys.executable, str(Path(__file__).parent / "benchmarks" / "stub.py"), "0"]  # says the same of every text
    with subprocess.Popen(stub, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        there = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        words = ("sentiment", "--file", str(write(tmp_path / "in.jsonl")), "--recalibrate", "--json", "--quiet")
        code, lines, told = run(*words, url=there)
        server.kill()
    assert (code, told, len(lines)) == (0, "", 20)
    for result in map(json.loads, lines):
        assert result["calibration"] == "running"
        assert result["probabilities"] == pytest.approx(dict.fromkeys(("positive", "negative", "neutral"), 1 / 3))


def test_a_refused_key_stops_with_the_command_to_go_on(run: Any, tmp_path: Path, service: FaultServer) -> None:
    file, out = write(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    service.play("401")
    code, _, complaints = run("sentiment", "--file", str(file), "--out", str(out), "--concurrency", "1")
    assert code == 1
    assert len(service.requests) == 1
    assert "refuses the API key" in complaints
    assert f"go on with: fewshot run sentiment --file {file} --out {out} --concurrency 1" in complaints
    assert "sk-test" not in complaints
    assert run("sentiment", "--file", str(file), "--out", str(out), "--concurrency", "1")[0] == 0


def test_a_dry_run_sends_nothing(run: Any, tmp_path: Path, service: FaultServer) -> None:
    code, lines, _ = run("sentiment", "--file", str(write(tmp_path / "in.jsonl")), "--dry-run", "--json")
    assert (code, json.loads(lines[0])["rows"], json.loads(lines[0])["bad_rows"]) == (0, 20, 0)
    assert service.requests == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("sentiment", "x", "--file", "y"), "not both"),
        (("sentiment", "--file", "no-such-file.jsonl"), "No such file"),
        (("sentiment", "x", "--fresh"), "--out"),
        (("sentiment", "x", "--out", "y", "--recalibrate"), "run without --out"),
        (("translate", "x", "--recalibrate"), "does not give one label"),
        (("sentiment", "x", "--map", "text"), "NAME=COLUMN"),
        (("sentiment", "x", "--concurrency", "0"), "concurrency=0"),
        (("no-such-task", "x"), "no-such-task"),
    ],
)
def test_wrong_use_is_told_in_one_line(run: Any, words: tuple[str, ...], complaint: str) -> None:
    code, lines, complaints = run(*words)
    assert (code, lines, complaints.count("\n")) == (2, [], 1)
    assert complaint in complaints


def test_a_place_that_cannot_be_written_is_told_before_anything_is_asked(
    run: Any, tmp_path: Path, service: FaultServer
) -> None:
    code, _, complaints = run("sentiment", "x", "--out", str(tmp_path / "nowhere" / "out.jsonl"))
    assert (code, "cannot open" in complaints, service.requests) == (2, True, [])


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_ends_cleanly_and_the_run_goes_on(name: str, tmp_path: Path) -> None:
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip("this process ignores the signal, as one in a shell's background does, and so would what it starts")
    file, out = write(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    interrupts = [getattr(signal, name)]

    def answer(body: dict[str, Any]) -> str:
        if "it 20" in body["messages"][-1]["content"] and interrupts:
            process.send_signal(interrupts.pop())
        return judge(body)

    with FaultServer() as service:
        service.answer = answer
        words = ["run", "sentiment", "--file", str(file), "--out", str(out), "--base-url", service.base_url]
        words += ["--model", "m", "--concurrency", "2"]
        environment = {**os.environ, "OPENAI_API_KEY": "sk-test"}
        command = [sys.executable, "-m", "fewshot", *words]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"go on with: fewshot run sentiment" in complaints
        assert b"Traceback" not in complaints
        done = out.read_bytes().count(b"\n")
        assert 15 <= done < 30
        again = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert out.read_bytes().count(b"\n") == 30
        answers = [seen for seen in service.requests if "logprobs" not in seen.body]
        assert len(answers) <= 30 + 2, "what was in flight"
        assert b"kept" in again.stderr


def test_a_concise_line_leaves_out_what_is_not_so(run: Any) -> None:
    code, (line,), _ = run("sentiment", "I love it", "--concise")
    assert (code, json.loads(line)["value"]) == (0, "positive")
    assert "error" not in json.loads(line)
    code, (line,), _ = run("sentiment", "nonsense", "--concise")
    assert (code, json.loads(line)["value"], "no valid answer" in json.loads(line)["error"]) == (1, None, True)


def test_the_name_of_a_file_is_not_taken_for_a_text(run: Any, tmp_path: Path, service: FaultServer) -> None:
    path = write(tmp_path / "in.jsonl", 1)
    code, lines, complaints = run("sentiment", str(path))
    assert (code, lines) == (2, [])
    assert f"read the file with --file {path}" in complaints
    assert not service.requests
    code, _, complaints = run("sentiment", "missing.csv")
    assert (code, "missing.csv is taken as the text itself" in complaints) == (0, True)


def test_a_file_without_rows_is_told(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("text\n", encoding="utf-8")
    code, lines, complaints = run("sentiment", "--file", str(path))
    assert (code, lines) == (2, [])
    assert "holds no rows, so nothing was asked" in complaints
    code, _, complaints = run("sentiment", stdin=b"")
    assert (code, "standard input holds no rows" in complaints) == (0, True)
