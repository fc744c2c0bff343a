"""What an answer comes with beside its value reaches whoever asks, through whichever door."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from service_table import chat, listed

import fewshot.task
from fewshot import Task, classify_sentiment, cli
from fewshot.data.frames import map_frame
from fewshot.integrations.partition import Partition

WARNING = "the labels hold too little of the probability, so the answer was read as it was written"


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """Serve a model that says `negative` in words, and does not list it as likely."""
    with FaultServer() as running:
        running.reply = lambda body: chat("negative", logprobs=listed(("Well", -0.1), ("positive", -4.0)))
        yield running


@pytest.fixture
def at(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the words that name the server on the command line."""
    monkeypatch.setattr(fewshot.task, "_told", set())
    return ["--base-url", server.base_url, "--model", "wordy"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nDreadful.,negative\nAwful.,negative\n", encoding="utf-8")
    return path


def test_calls_tell_each_kind_once_on_standard_error(server: FaultServer) -> None:
    program = (
        "from fewshot import classify_sentiment\n"
        f"for text in ('Dreadful.', 'Awful.'): print(classify_sentiment(text, base_url={server.base_url!r}, model='w'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["negative", "negative"]
    assert done.stderr.splitlines() == [f"sentiment: {WARNING} (`.run` gives the whole result)"]


def test_a_result_holds_them(server: FaultServer) -> None:
    result = classify_sentiment.run("Dreadful.", base_url=server.base_url, model="wordy")
    assert (result.value, result.confidence, result.warnings) == ("negative", None, (WARNING,))
    assert result.coverage == pytest.approx(0.0183, abs=1e-4)
    assert result.to_dict()["warnings"] == [WARNING]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_line_tells_them_of_one_text(
    form: list[str], at: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "sentiment", "Dreadful.", *at, *form]) == 0
    said = capsys.readouterr()
    assert WARNING in said.err
    assert (json.loads(said.out)["warnings"] == [WARNING]) if form else (said.out == "negative\n")


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_files_of_results_have_them_and_the_summary_counts_them(
    ending: str, at: list[str], rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = rows.with_name(f"out.{ending}")
    assert cli.main(["run", "sentiment", "--file", str(rows), "--out", str(out), *at]) == 0
    assert f"2 rows: {WARNING}" in capsys.readouterr().err
    assert [row["warnings"] for row in read(out)] == [[WARNING] if ending == "jsonl" else WARNING] * 2


def read(out: Path) -> list[dict[str, Any]]:
    if out.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'bulk' is not installed")
        return list(parquet.read_table(out).to_pylist())
    text = out.read_text(encoding="utf-8-sig")
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(text.splitlines(), delimiter="," if out.suffix == ".csv" else "\t"))


def test_an_evaluation_and_its_report_count_them(at: list[str], rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, whole = rows.with_name("page.html"), rows.with_name("whole.json")
    words = ["eval", "sentiment", "--data", str(rows), "--report", str(page), "--out", str(whole), *at]
    assert cli.main(words) == 0
    assert f"note: 2 rows: {WARNING}" in capsys.readouterr().out
    assert f"2 rows: {WARNING}" in json.loads(whole.read_text())["notes"]
    assert f"Note: 2 rows: {WARNING}" in page.read_text()


def test_frames_and_partitions_have_a_column_of_them(server: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    task = Task.of("Which?", ["positive", "negative"], base_url=server.base_url, model="wordy")
    frame = pandas.DataFrame({"text": ["Dreadful.", "Awful."]})
    assert list(map_frame(task, frame)["warnings"]) == [WARNING] * 2
    assert list(Partition(task)(frame)["answer_warnings"]) == [WARNING] * 2
    with caplog.at_level(logging.WARNING):
        assert list(map_frame(task, frame["text"])) == ["negative"] * 2
    assert f"2 of 2 rows: {WARNING}" in caplog.text
