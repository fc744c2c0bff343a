"""The notebooks and scripts of `examples/` run, and what is kept of them can be read without running."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
_A_MACHINE = re.compile(r"(?<![\w.])/(?:root|home|Users|tmp|work|opt|var)/|\b[A-Z]:\\|simple/|\.ipynb_checkpoints")
"""Paths of somebody's machine, and addresses of package indexes."""

_A_BAR = re.compile(r"^[a-z ]+: +(\d+%\|.*\|)? *\d+(/\d+)?( [a-z]+)? \[.*\]")
"""A bar of progress, which the first use of a task shows where nothing is kept yet."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
@each_notebook
def test_a_notebook_runs_from_top_to_bottom_in_a_fresh_kernel(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra 'dev' is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra 'dev' is not installed")
    pytest.importorskip("matplotlib", reason="the extra 'dev' is not installed")
    before = {file.name for file in EXAMPLES.iterdir()}
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(EXAMPLES)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    said = "\n".join(s["text"] for cell in code(notebook) for s in cell["outputs"] if s.get("name") == "stderr")
    lines = [line for line in re.split(r"[\r\n]+", said) if line.strip()]
    assert [line for line in lines if not _A_BAR.search(line)] == []
    assert {file.name for file in EXAMPLES.iterdir()} == before


def test_the_nine_notebooks_are_there() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, 10)]


@each_notebook
def test_a_notebook_keeps_its_outputs_and_no_errors_or_warnings(path: Path) -> None:
    cells = code(json.loads(path.read_text(encoding="utf-8")))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [(said["output_type"], said.get("name")) for cell in cells for said in cell["outputs"]]
    assert ("stream", "stdout") in kinds
    assert ("display_data", None) in kinds, "a plot"
    assert not [kind for kind in kinds if kind[0] == "error" or kind[1] == "stderr"]
    assert path.stat().st_size < 300_000


@each_notebook
def test_a_notebook_tells_nothing_of_the_machine_that_made_it(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in code(notebook):
        for said in cell["outputs"]:
            said.get("data", {}).pop("image/png", None)
    assert not _A_MACHINE.findall(json.dumps(notebook, ensure_ascii=False))


@each_notebook
def test_a_notebook_says_first_what_it_shows_and_how_long_it_takes(path: Path) -> None:
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    assert first["cell_type"] == "markdown"
    text = "".join(first["source"])
    assert re.search(r"What it shows", text)
    assert re.search(r"(minute|second)", text)


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
def test_the_pipe_labels_lines_in_order(tmp_path: Path) -> None:
    done = script("pipe.py", "sentiment", given="I love it, it is wonderful.\n\nIt broke, terrible.\n")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["positive", "-", "negative"]
    assert (done.returncode, "row 2" in done.stderr) == (1, True)


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
def test_the_pandas_job_adds_columns(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="the extra 'dev' is not installed")
    (tmp_path / "in.csv").write_text("id,review\n7,It is wonderful.\n8,\n", encoding="utf-8")
    done = script("pandas_job.py", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), "--column", "review")
    found = pandas.read_csv(tmp_path / "out.csv")
    assert list(found.columns) == ["id", "review", "label", "confidence", "error"]
    assert list(found["label"].isna()) == [False, True]
    assert (done.returncode, "0 failed, 1 without a text" in done.stderr) == (0, True)


def test_the_web_endpoint_answers_and_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import fastapi_endpoint
    from fastapi import HTTPException

    from fewshot import ScriptedClient, load

    def asked(text: str, *replies: str, **options: Any) -> Any:
        task = load("sentiment", client=ScriptedClient(*replies), scoring=False, **options)
        monkeypatch.setattr(fastapi_endpoint, "load", lambda *_, **__: task)
        (route,) = [route for route in fastapi_endpoint.create_app().routes if route.path == "/sentiment"]
        return awaited(route.endpoint(fastapi_endpoint.Question(text=text)))

    assert asked("Lovely.", "positive", "positive", "positive", votes=3).label == "positive"
    for text, status in [("", 422), ("Lovely.", 501)]:  # 501: one answer without a confidence
        with pytest.raises(HTTPException) as refused:
            asked(text, "positive")
        assert refused.value.status_code == status


def awaited(call: Any) -> Any:
    import asyncio

    return asyncio.run(call)


def code(notebook: Any) -> list[Any]:
    """Give the code cells of a notebook."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def script(name: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script of the examples on the embedded model."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        input=given,
        capture_output=True,
        text=True,
        env={**os.environ, "FEWSHOT_MODEL": "local"},
    )
