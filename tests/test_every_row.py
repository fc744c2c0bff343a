"""Every row of a file is once in what comes of it, in its place, or an error that names it: all kinds, in and out."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fewshot
from fewshot import ConfigError, InputError, ScriptedClient, Task
from fewshot.bulk.records import json_bytes
from fewshot.cli.main import main
from fewshot.data.columns import Columns, Stream
from fewshot.data.tables import read_results

TASK = Task.of("Which?", ["good", "bad"], client=ScriptedClient(lambda _: "good"), scoring=False)
ODD = ["=1+1", "-3", "007", '"', '""', "a,b", "a;b", "a\tb", "a|b", "x\ny", "x\r\ny", "x\ry", "\ufeffx", "\u2028", "'",
       "'=x", "\\", '\\"', '{"a": 1}', "[x]", "NaN", "null", "True", "😀", "é", "ﷺ", " x ", "sep=;", "text",
       "__label__x y"]  # fmt: skip
TEXTS = st.sampled_from(ODD) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
CELLS = TEXTS | st.just("")
NAMES = st.sampled_from(
    "value error row fewshot_value abstained output names inputs columns model x,y =z été".split()  # noqa: SIM905
)
INTO = ("csv", "tsv", "psv", "jsonl", "json", "csv.gz", "parquet", "xlsx")
OUT = ("jsonl", "csv", "tsv", "parquet")


def write(path: Path, kind: str, rows: list[dict[str, str]]) -> bool:
    """Write rows as others do; tells whether this kind of file can hold them."""
    names = list(rows[0])
    if kind.startswith(("csv", "tsv", "psv")):
        file = io.StringIO(newline="")
        table = csv.writer(file, delimiter={"c": ",", "t": "\t", "p": "|"}[kind[0]], quoting=csv.QUOTE_ALL)
        table.writerows([names, *(row.values() for row in rows)])
        content = file.getvalue().encode()
        path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="an extra is not installed")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        openpyxl = pytest.importorskip("openpyxl", reason="nothing here writes Excel files")
        pytest.importorskip("python_calamine", reason="an extra is not installed")
        if any(
            "\r" in cell or not cell.isprintable() or cell[:1] == "="
            for row in rows
            for pair in row.items()
            for cell in pair
        ):
            return False  # Excel keeps these otherwise
        book = openpyxl.Workbook()
        for cells in [names, *(list(row.values()) for row in rows)]:
            book.active.append(cells)
        for cells in book.active.iter_rows():
            for cell in cells:
                cell.data_type = "s"
        book.save(path)
    return True


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(TEXTS, CELLS, CELLS), min_size=1, max_size=6),
    st.tuples(NAMES, NAMES).filter(lambda names: names[0] != names[1]),
    st.sampled_from(INTO), st.sampled_from(OUT), st.integers(0, 3), st.booleans(),
)  # fmt: skip
def test_every_row_is_once_in_what_comes_of_a_file(
    tmp_path_factory: pytest.TempPathFactory,
    cells: list[tuple[str, str, str]], names: tuple[str, str], kind: str, ending: str, stop: int, retry: bool,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("rows")
    rows = [
        {"id": f"r{n}", "text": text, **dict(zip(names, more, strict=True))} for n, (text, *more) in enumerate(cells)
    ]
    if not write(folder / f"f.{kind}", kind, rows):
        return
    out = folder / f"o.{ending}"
    begun = TASK.map(folder / f"f.{kind}", out=out, progress=False)
    for _, _ in zip(begun, range(stop), strict=False):
        pass
    begun.close()
    found = list(TASK.map(folder / f"f.{kind}", out=out, retry_failed=retry, progress=False))
    assert [result.row for result in found] == list(range(len(rows)))
    kept = read_results(out)
    assert [line["row"] for line in kept] == list(range(len(rows)))
    for row, result, line in zip(rows, found, kept, strict=True):
        if result.error is not None:
            assert f"row {result.row + 1}: " in str(result.error)
            assert line["error"]["message"] == str(result.error)
            assert line["value"] is None
            continue
        assert result.inputs == {"text": row["text"]}
        assert (line["id"], line["value"], line["error"]) == (row["id"], "good", None)
        wanted = {name: cell for name, cell in row.items() if name != "id" and cell}
        assert line["inputs"] == wanted


def through_a_pipe(content: bytes, **named: str) -> list[object]:
    async def rows() -> list[object]:
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        stream, found = Stream(reading, Columns(fewshot.load("sentiment"), named), "standard input"), list[object]()
        while taken := await stream.take(100):
            found += taken
        os.close(reading)
        return found

    return asyncio.run(rows())


def test_what_is_packed_is_read_from_a_pipe_and_one_that_is_cut_is_told() -> None:
    packed = gzip.compress(b"I love it\nI hate it\n")
    assert through_a_pipe(packed) == ["I love it", "I hate it"]
    with pytest.raises(InputError, match="standard input: cannot be read: Compressed file ended"):
        through_a_pipe(packed[:-9])


def test_a_column_that_is_named_makes_a_table_of_lines_and_is_missed_in_others() -> None:
    assert through_a_pipe(b"comment,stars\nI love it,5\n", text="comment") == [{"text": "I love it"}]
    assert through_a_pipe(b"text\nI love it\n", text="text") == [{"text": "I love it"}]
    with pytest.raises(
        InputError, match="standard input holds plain lines, and no column comment: leave that name out"
    ):
        through_a_pipe(b"I love it\nI hate it\n", text="comment")


@pytest.mark.parametrize("ending", OUT)
def test_results_of_a_longer_input_are_not_given_for_a_shorter_one(ending: str, tmp_path: Path) -> None:
    assert len(list(TASK.map(["a", "b", "c"], out=tmp_path / f"o.{ending}"))) == 3
    with pytest.raises(ConfigError, match="has 3 rows, and the input only 2: give the same input"):
        list(TASK.map(["a", "b"], out=tmp_path / f"o.{ending}"))
    assert len(list(TASK.map(["a", "b", "c", "d"], out=tmp_path / f"o.{ending}"))) == 4


def test_a_run_that_is_closed_has_let_go_of_its_output(tmp_path: Path) -> None:
    for taken in range(12):
        begun = TASK.map([f"{taken} {n}" for n in range(3)], out=tmp_path / f"{taken}.jsonl")
        for _, _ in zip(begun, range(taken % 4), strict=False):
            pass
        begun.close()
        assert len(list(TASK.map([f"{taken} {n}" for n in range(3)], out=tmp_path / f"{taken}.jsonl"))) == 3


def test_numbers_that_json_does_not_have_are_not_written() -> None:
    odd = {"a": [float("nan"), float("inf"), (-float("inf"),)], "b": 1.5}
    assert json_bytes(odd) == b'{"a": [null, "Infinity", ["-Infinity"]], "b": 1.5}'


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "eval sentiment --data rows.csv --out rows.csv",
            "--out rows.csv: a report is JSON with all rows: name it .json",
        ),
        ("eval sentiment --data rows.json --out ./rows.json", "./rows.json is what is read"),
        ("eval sentiment --data rows.csv --pool rows.json --out rows.json", "rows.json is what is read"),
        ("eval sentiment --data rows.csv --out -", "a report goes to a file"),
        ("run sentiment --file rows.csv --out -", "results go to a file"),
        ("run sentiment --file rows.csv --out rows.csv", "is the input itself"),
        ("share sentiment --data rows.csv --labelled rows.json --out -", "results go to a file"),
        ("share sentiment --data rows.csv --labelled rows.json --out rows.json", "is there already"),
        ("label sentiment --data rows.csv --figures --out rows.csv", "rows.csv:1: is not a label"),
        ("label sentiment --data rows.csv --figures --out rows.json", "rows.json:1: is not a label"),
        ("label sentiment --data rows.csv --figures --out notes", "notes:1: is not a label"),
        ("new it --from rows.csv --into rows.csv", "cannot be written: Not a directory"),
        ("new it --from empty.csv", "empty.csv holds no rows"),
        ("diff empty.csv empty.csv", "empty.csv holds no results"),
    ],
)
def test_what_is_read_is_never_written_over(
    words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"I {'love' if n % 2 else 'hate'} it {n}", "label": "positive"} for n in range(12)]
    write(Path("rows.csv"), "csv", rows)
    Path("rows.json").write_text(json.dumps(rows), encoding="utf-8")  # in one line, without an end
    Path("notes").write_text("mine", encoding="utf-8")
    Path("empty.csv").write_text("", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    monkeypatch.setenv("FEWSHOT_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("FEWSHOT_MODEL", "m")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert main(words.split()) == 2
    assert told in capsys.readouterr().err
    assert {name: Path(name).read_bytes() for name in before} == before
