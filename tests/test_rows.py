"""Rows from files and pipes: every record a row, what cannot be read an error in its place."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fewshot
from fewshot.bulk.records import json_bytes, line_of
from fewshot.data.columns import Columns, Stream, digest_of, is_stream, read_rows
from fewshot.data.tables import check_out, is_table, read_results, write_table
from fewshot.errors import ConfigError, InputError, OutputError
from fewshot.evaluation.diff import compared
from fewshot.result import Result

SENTIMENT = Columns(fewshot.load("sentiment"))


def rows_of(path: Path, content: str | bytes, columns: Columns = SENTIMENT) -> list[Any]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(path, columns))


def test_json_lines_are_cut_at_line_feeds_only(tmp_path: Path) -> None:
    records = [{"id": 3, "text": "a\u2028b\u0085c", "other": 1}, {"text": "d\ne"}]
    content = "\ufeff" + "\r\n\n".join(json.dumps(r, ensure_ascii=False) for r in records)
    assert rows_of(tmp_path / "f.jsonl", content) == [{"text": "a\u2028b\u0085c", "id": 3}, {"text": "d\ne"}]


def test_a_line_that_does_not_read_is_a_row_with_an_error(tmp_path: Path) -> None:
    content = b'{"text": "a"}\n{"text": \n[1]\n{"text": "\xff"}\n"just text"\n' + b'{"a":' * 5000 + b"\n"
    rows = rows_of(tmp_path / "f.jsonl", content)
    assert (rows[0], rows[4]) == ({"text": "a"}, "just text")
    for place, told in ((1, "f.jsonl:2: is not valid JSON: Expe"), (2, "f.jsonl:3: is neither an object"),
                        (3, "f.jsonl:4: is not UTF-8 text"), (5, "f.jsonl:6: is not valid JSON")):  # fmt: skip
        assert told in str(rows[place])
    assert all(isinstance(rows[i], InputError) for i in (1, 2, 3, 5))


def test_csv_reads_by_column_with_line_feeds_in_cells(tmp_path: Path) -> None:
    content = 'id,text,other\r\n1,"two\nlines, and ""quotes""",x\r\n2,long,\r\n3,,\r\n'
    rows = rows_of(tmp_path / "f.csv", content)
    assert rows == [
        {"text": 'two\nlines, and "quotes"', "id": "1"},
        {"text": "long", "id": "2"},
        {"text": "", "id": "3"},
    ]


def test_tabs_separate_in_tsv(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "f.tsv", "text\tother\na, b\tc\n") == [{"text": "a, b"}]


def test_parquet_reads_by_column(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'bulk' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["a", None, "c"], "n": [1, 2, 3]}), tmp_path / "f.parquet")
    assert list(read_rows(tmp_path / "f.parquet", SENTIMENT)) == [{"text": "a"}, {}, {"text": "c"}]
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        rows_of(tmp_path / "broken.parquet", b"PAR1 no")


def test_parquet_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'fewshot\[bulk\]'"):
        rows_of(tmp_path / "f.parquet", b"")


def test_any_other_file_holds_one_text_a_line(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "f.txt", "  I love it\n\nI hate it") == ["I love it", "I hate it"]


def test_a_text_file_of_json_lines_is_seen_as_that(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "f.txt", '{"text": "a"}\n{"text": "b"}\n') == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize(("name", "content"), [("f.csv", "body,id\na,1\n"), ("f.jsonl", '{"body": "a", "id": 1}\n')])
def test_a_column_that_is_missing_is_named_before_anything_is_asked(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(InputError, match=r"no column 'text'.*body, id.*--map text=COLUMN"):
        rows_of(tmp_path / name, content)
    renamed = Columns(SENTIMENT.task, {"text": "body"})
    assert [row["text"] for row in rows_of(tmp_path / name, content, renamed)] == ["a"]


def test_an_input_that_there_is_not_cannot_be_mapped() -> None:
    with pytest.raises(InputError, match=r"no input 'txt' \(did you mean 'text'\?\)"):
        Columns(SENTIMENT.task, {"txt": "body"})


def test_parameters_of_the_task_may_be_columns(tmp_path: Path) -> None:
    columns = Columns(fewshot.load("translate"))
    assert rows_of(tmp_path / "f.csv", "text,target,x\nHello,French,1\n", columns) == [
        {"text": "Hello", "target": "French"}
    ]


def test_plain_lines_do_not_do_for_several_inputs(tmp_path: Path) -> None:
    blocks = {"instruction": "Compare.", "input": "{{ one }} {{ two }}", "output": "{{ output }}"}
    template = "".join(f"{{% block {name} %}}{text}{{% endblock %}}" for name, text in blocks.items())
    task = fewshot.Task.of(template, ["same", "different"])
    with pytest.raises(InputError, match="takes one, two"):
        rows_of(tmp_path / "f.txt", "just text\n", Columns(task))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv: cannot be read: No such file"):
        list(read_rows(tmp_path / "nothing.csv", SENTIMENT))
    with pytest.raises(InputError, match="cannot be read"):
        digest_of(tmp_path / "nothing.csv")


def test_a_digest_tells_contents_apart_and_counts_lines(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"a\nb")
    other.write_bytes(b"a\nc\n")
    assert digest_of(one) != digest_of(other)
    assert (digest_of(one)[1], digest_of(other)[1]) == (2, 2)
    assert not is_stream(one)


def test_a_pipe_gives_each_row_as_soon_as_its_line_is_there() -> None:
    async def run() -> list[list[object]]:
        reading, writing = os.pipe()
        stream = Stream(reading, SENTIMENT, "a pipe")
        seen = []
        for piece in (b"I love it\nI ha", b"te it\n", b"last"):
            os.write(writing, piece)
            if piece != b"last":
                seen.append(list(await stream.take(10)))
        os.close(writing)
        seen += [list(await stream.take(10)), list(await stream.take(10))]
        os.close(reading)
        return seen

    assert asyncio.run(run()) == [["I love it"], ["I hate it"], ["last"], []]


def test_a_pipe_gives_no_more_rows_than_are_wanted() -> None:
    async def run() -> list[int]:
        reading, writing = os.pipe()
        os.write(writing, b"row\n" * 25)
        os.close(writing)
        stream = Stream(reading, SENTIMENT, "a pipe")
        sizes = []
        while taken := await stream.take(10):
            sizes.append(len(taken))
        os.close(reading)
        return sizes

    sizes = asyncio.run(run())
    assert (sum(sizes), max(sizes) <= 10) == (25, True)


LINES = [
    {"row": 0, "id": 7, "value": "=1+1", "confidence": 0.5, "abstained": False, "error": None,
     "probabilities": {"a": 1.0}, "model": "m", "cost": None, "cached": False, "inputs": {"text": "-x"}},
    {"row": 1, "value": None, "confidence": None, "abstained": False, "error": {"type": "OutputError", "message": "no"},
     "probabilities": None, "model": "m", "cost": 0.5, "cached": False, "inputs": {"text": "y"}},
]  # fmt: skip


def test_a_table_for_people_holds_no_formula(tmp_path: Path) -> None:
    write_table(tmp_path / "o.csv", lambda: map(json_bytes, LINES))
    found = (tmp_path / "o.csv").read_text(encoding="utf-8").split("\n")
    assert (
        found[0].strip() == "row,id,text,value,confidence,abstained,error,warnings,probabilities,model,task,cost,cached"
    )
    assert found[1].startswith("0,7,'-x,'=1+1,0.5,false,,,")
    assert found[2].startswith("1,,y,,,false,OutputError: no,,,m,,0.5,false")


def test_a_parquet_table_keeps_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'bulk' is not installed")
    write_table(tmp_path / "o.parquet", lambda: map(json_bytes, LINES))
    found = parquet.read_table(tmp_path / "o.parquet").to_pylist()
    assert [row["value"] for row in found] == ["=1+1", None]
    assert [row["cost"] for row in found] == [None, 0.5]
    assert is_table(tmp_path / "o.parquet")
    assert not is_table(tmp_path / "o.jsonl")


def test_a_json_file_may_hold_a_list(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "f.json", '\ufeff[\n {"text": "a", "n": 1},\n {"text": "b"}\n]') == [
        {"text": "a"},
        {"text": "b"},
    ]
    assert rows_of(tmp_path / "f.json", '{"text": "a"}\n{"text": "b"}\n') == [{"text": "a"}, {"text": "b"}]
    with pytest.raises(InputError, match="has no column 'text'"):
        rows_of(tmp_path / "f.json", '[{"review": "a"}]')
    with pytest.raises(InputError, match="is not valid JSON"):
        rows_of(tmp_path / "f.json", '[{"text": "a"}')


def test_a_table_that_cannot_be_written_is_told_as_the_callers_to_mend(tmp_path: Path) -> None:
    (tmp_path / "o.csv").mkdir()
    with pytest.raises(ConfigError, match=r"cannot write .*o\.csv"):
        write_table(tmp_path / "o.csv", list)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl"])
def test_results_keep_the_users_columns_and_come_back_the_same_from_every_form(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "in.csv").write_text(
        "id,Review,stars,value,error\n7,Lovely.,5,mine,none\n8,=1+1,1,,\n9,,2,x,y\n", encoding="utf-8"
    )
    task = fewshot.load("sentiment", client=fewshot.ScriptedClient(lambda _: "positive"))
    out = tmp_path / f"out.{kind}"
    given = read_rows(tmp_path / "in.csv", Columns(task, {"text": "review"}))
    list(task.map(given, out=out))
    if kind in ("csv", "tsv"):
        header = out.read_text(encoding="utf-8").split("\n")[0].strip().split("," if kind == "csv" else "\t")
        assert header[:6] == ["row", "id", "Review", "stars", "value", "error"]
        assert header[6:10] == ["fewshot_value", "confidence", "abstained", "fewshot_error"]
    found = read_results(out)
    assert [row["value"] for row in found] == ["positive", "positive", None]
    assert [row["id"] for row in found] == ["7", "8", "9"]
    assert found[0]["inputs"] == {"Review": "Lovely.", "stars": "5", "value": "mine", "error": "none"}
    assert found[1]["inputs"]["Review"] == "=1+1"
    assert found[2]["error"]["type"] == "InputError"


def test_a_file_in_another_encoding_goes_through_map_evaluate_and_calibrate(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes("text;label\ncafé;positive\nnaïf;negative\n".encode("cp1252"))
    client = fewshot.ScriptedClient(lambda r: "positive" if "café" in r.messages[-1].content else "negative")
    task = fewshot.load("sentiment", client=client)
    assert [result.value for result in task.map(path, encoding="cp1252")] == ["positive", "negative"]
    assert task.evaluate(path, encoding="cp1252", calibrate=False).metrics["accuracy"].value == 1.0
    with pytest.raises(InputError, match=r"in\.csv:2: is not utf-8"):
        task.evaluate(path)
    for wrong in (lambda: task.map(["a"], encoding="cp1252"), lambda: task.evaluate([("a", "b")], encoding="cp1252")):
        with pytest.raises(InputError, match="encoding= says how a file is read"):
            wrong()
    with pytest.raises(InputError, match=r"in\.csv:2: is not utf-8"):
        task.calibrate(path)
    with pytest.raises(ConfigError, match="no log-probabilities"):  # so the file was read
        task.calibrate(path, encoding="cp1252", risk=0.1)


def test_a_report_tells_how_many_annotations_were_left_out(tmp_path: Path) -> None:
    path = tmp_path / "prodigy.jsonl"
    about = [("a", "accept"), ("b", "reject"), ("c", "accept"), ("d", "ignore"), ("e", "reject")]
    rows = [{"text": text, "label": "positive", "answer": answer, "_task_hash": 1} for text, answer in about]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = fewshot.load("sentiment", client=fewshot.ScriptedClient(lambda _: "positive"))
    report = task.evaluate(path, calibrate=False)
    told = f"{path}: 2 of 5 rows are taken; left out: 2 rejected, 1 ignored"
    assert told in report.notes
    assert f"note: {told}" in str(report)
    assert report.rows == 2


def test_a_place_for_results_with_an_ending_that_is_not_known_is_refused() -> None:
    for name in ("o.xlsx", "o.txt"):
        with pytest.raises(InputError, match="results are not written as"):
            check_out(Path(name))
    for name in ("o.jsonl", "o.csv", "o"):
        check_out(Path(name))


def test_other_columns_never_break_a_row_and_a_path_is_a_file(tmp_path: Path) -> None:
    task = fewshot.load("sentiment", client=fewshot.ScriptedClient(lambda _: "positive"))
    assert [result.value for result in task.map([{"text": "Nice.", "label": "x", "stars": 5}])] == ["positive"]
    (tmp_path / "in.csv").write_text("Text,label\nNice.,x\n", encoding="utf-8")
    for path in (tmp_path / "in.csv", str(tmp_path / "in.csv")):
        assert [(result.value, result.inputs) for result in task.map(path)] == [("positive", {"text": "Nice."})]


# -- results, written and read back ------------------------------------------------------------------------------------


TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    st.text("'=+-@\t \n\r,;|\"\\a1", max_size=6),
)
NAMES = st.sampled_from(["Review", "stars", "row", "value", "error", "usage", "task", "fewshot_value", "inputs", "가"])
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(TEXTS, max_size=2),
    st.dictionaries(TEXTS, TEXTS, max_size=2),
)
RESULTS = st.builds(
    lambda kind, value, sure, warnings: Result(
        value=value if kind == "value" else None,
        abstained=kind == "abstained",
        error=OutputError(f"no: {value}") if kind == "error" else None,
        confidence=sure,
        warnings=tuple(warnings),
        model="m",
        task="t@1#abc",
    ),
    st.sampled_from(["value", "value", "abstained", "error"]),
    VALUES,
    st.none() | st.floats(0, 1),
    st.lists(TEXTS, max_size=2),
)
ROWS = st.fixed_dictionaries({"text": TEXTS}, optional={"id": st.integers() | st.text("ab1", min_size=1)}).flatmap(
    lambda row: st.dictionaries(NAMES, TEXTS | st.integers() | st.none(), max_size=3).map(lambda more: {**more, **row})
)


@settings(max_examples=20, deadline=None)
@example([({"Review": ",\\", "text": "x"}, Result(value=",0", model="m", task="t"))])
@given(st.lists(st.tuples(ROWS, RESULTS), min_size=1, max_size=4))
def test_any_result_comes_back_the_same_from_every_form(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[dict[str, Any], Result[Any]]]
) -> None:
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("forms")
    lines = [
        line_of(replace(result, row=n, inputs={"text": row["text"]}), SENTIMENT.row(row))
        for n, (row, result) in enumerate(pairs)
    ]
    (folder / "o.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    wanted = read_results(folder / "o.jsonl")
    assert [(row["row"], row["confidence"], row["abstained"]) for row in wanted] == [
        (n, result.confidence, result.abstained) for n, (_, result) in enumerate(pairs)
    ]
    names = ("row", "id", "confidence", "abstained", "error", "model", "task", "inputs")
    for ending in ("csv", "tsv", "parquet"):
        write_table(folder / f"o.{ending}", lambda: iter(lines))
        found = read_results(folder / f"o.{ending}")
        assert [{n: row.get(n) for n in names} for row in found] == [{n: row.get(n) for n in names} for row in wanted]
        difference = compared(folder / "o.jsonl", folder / f"o.{ending}")
        assert (difference.changes, difference.only) == ((), (0, 0))
