"""The one reader of files: what each means, and what is refused before anything is asked."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
from collections.abc import Callable
from encodings.aliases import aliases
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewshot.data import readers
from fewshot.data.readers import read
from fewshot.errors import InputError

AB = [{"text": "a", "label": "b"}]
CD = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]


def rows_of(path: Path, content: str | bytes, encoding: str | None = None) -> list[Any]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row for _, row in read(path, encoding=encoding)]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("f.csv", "text;label\na;b\n", AB),
        ("f.csv", "text\tlabel\na\tb\n", AB),
        ("f.csv", "text|label\na|b\n", AB),
        ("f.tsv", "text,label\na,b\n", AB),
        ("f.csv", "\ufeffsep=;\r\ntext;label\r\na;b\r\n", AB),
        ("f.csv", "\n\ntext,label\n\na,b\n,\n", AB),
        ("f.csv", " text , label \na,b\n", AB),
        ("f.csv", "text,label,,\na,b,,\n", AB),
        ("f.csv", "text,label\na,b,,,\n", AB),
        ("f.csv", '"text","label"\r\n"a","b"\r\n', AB),
        ("f.csv", ",text\n0,a\n", [{"column 1": "0", "text": "a"}]),
        ("f.csv", 'text,label\n"two\n""lines"", so",b\n', [{"text": 'two\n"lines", so', "label": "b"}]),
        ("f.csv", 'text,label\n"say \\"a\\", \\"b\\"",b\n', [{"text": 'say "a", "b"', "label": "b"}]),
        ("f.csv", 'text,label\n"C:\\",b\n', [{"text": "C:\\", "label": "b"}]),
        ("f.csv", 'text,label\n"{""a"": ""x, \\""y\\""""}",b\n', [{"text": '{"a": "x, \\"y\\""}', "label": "b"}]),
        ("f.csv", 'text,label\n5" wide,b\n', [{"text": '5" wide', "label": "b"}]),
        ("f.tsv", 'text\tlabel\n"A good" one\tb\n"open\tb\n', [
            {"text": '"A good" one', "label": "b"}, {"text": '"open', "label": "b"}]),
        ("f.tsv", 'text\tlabel\n"tab\there"\tb\n', [{"text": "tab\there", "label": "b"}]),
        ("f.txt", "text,label\na,b\n", AB),
        ("f.txt", "  I love it\n\nI hate it", ["I love it", "I hate it"]),
        ("f.txt", "a\rb\r\nc", ["a", "b", "c"]),
        ("f.txt", "[laughs] so\n{name} too\n", ["[laughs] so", "{name} too"]),
        ("f.txt", '\n{"text": "a"}\n', [{"text": "a"}]),
        ("f.txt", "\n\ntext,label\na,b\n", AB),
        ("f.txt", "Question, why is it so\nIt is nice, but\n", ["Question, why is it so", "It is nice, but"]),
        ("f.txt", "text, label\na,b\n", AB),
        ("f.csv", "\ufeff\ufefftext,label\na,b\n", AB),
        ("f.jsonl", '{"tokens": ["a", "b"], "tags": ["x", "y"]}\n', [{"tokens": ["a", "b"], "tags": ["x", "y"]}]),
        ("f.json", '{"text": "a", "items": [{"x": 1}, {"x": 2}]}', [{"text": "a", "items": [{"x": 1}, {"x": 2}]}]),
        ("f.txt", "__label__b a\n", AB),
        ("f.txt", "__label__b __label__c a\n", [{"text": "a", "label": ["b", "c"]}]),
        ("f.jsonl", '{"text": "a"},\n\n{"text": NaN}\n"t"\n', [{"text": "a"}, {"text": None}, "t"]),
        ("f.jsonl", '{\n "text": "a"\n}\n{"text": "b"}\n', [{"text": "a"}, {"text": "b"}]),
        ("f.jsonl", '[{"text": "a"},\n{"text": "b"}]\n', [{"text": "a"}, {"text": "b"}]),
        ("f.jsonl", '{"text": "a", "spans": [{"start": 0}]}', [{"text": "a", "spans": [{"start": 0}]}]),
        ("f.json", '{"text": "a", "label": "b"}', AB),
        ("f.json", '{"version": 1, "data": [{"text": "a", "label": "b"}]}', AB),
        ("f.json", '{"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}', CD),
        ("f.json", '{"0": {"text": "a", "label": "x"}, "1": {"text": "b", "label": "y"}}', CD),
        ("f.json", '{"columns": ["text", "label"], "index": [7, 8], "data": [["a", "x"], ["b", "y"]]}', CD),
        ("f.json", '{"text": ["a", "b"], "label": ["x", "y"]}', CD),
        ("f.yaml", "- text: a\n  label: no\n- {text: 2024-01-01, label: 010}\n", [
            {"text": "a", "label": "no"}, {"text": "2024-01-01", "label": "010"}]),
        ("f.csv", "", []),
        ("f.csv", "text,label\n", []),
        ("f.json", "", []),
    ],
)  # fmt: skip
def test_a_file_means_what_it_says(tmp_path: Path, name: str, content: str, rows: list[Any]) -> None:
    assert rows_of(tmp_path / name, content) == rows


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["f.csv", "f.txt", "f.jsonl"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    content = '{"text": "좋아요", "label": "é"}\n' if name == "f.jsonl" else "text\tlabel\n좋아요\té\n"
    assert rows_of(tmp_path / name, content.encode(encoding)) == [{"text": "좋아요", "label": "é"}]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp949", "배송이 정말 빨라요"),
        ("cp932", "これはとても良いです"),
        ("gb18030", "这是一个很好的电影"),
        ("cp1251", "Очень хороший фильм"),
        ("cp1252", "Ärger über das Café, tr\u00e8s bien"),
        ("utf-16-le", "a plain text"),
        ("utf-16-be", "a plain text"),
    ],
)
def test_another_encoding_is_named_and_then_read(tmp_path: Path, encoding: str, text: str) -> None:
    content = f'label,text\nb,"{text}"\n'.encode(encoding)
    with pytest.raises(InputError, match=rf"f\.csv:\d: .*it looks like {encoding}: say --encoding {encoding}"):
        rows_of(tmp_path / "f.csv", content)
    assert rows_of(tmp_path / "f.csv", content, encoding) == [{"label": "b", "text": text}]


def test_json_lines_in_another_encoding_are_refused_and_one_broken_line_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it looks like cp1252"):
        rows_of(tmp_path / "f.jsonl", '{"text": "Café"}\n{"text": "a"}\n{"text": "très"}\n'.encode("cp1252"))
    rows = rows_of(tmp_path / "f.jsonl", b'{"text": "caf\xc3\xa9"}\n{"text": "\xff"}\n')
    assert rows[0] == {"text": "café"}
    assert "f.jsonl:2: is not UTF-8 text" in str(rows[1])


@pytest.mark.parametrize(
    ("content", "line", "fault", "others"),
    [
        ("text,label\nIt is nice, but late,b\na,b\n", 2, "has 3 cells where the header has 2", 1),
        ("text,label\na\nb,c\n", 2, "has 1 cells where the header has 2", 1),
        ('text,label\n"5 inch,b\na,b\nc,b\n', 2, "a quote opens that is never closed", 2),
        ('text,label\n"5 inch,b\na,b\n6",b\n', 2, "each line between is a row by itself", 0),
        ('text,label\n"a" b,c\na,b\n', 2, "not valid CSV", 1),
    ],
)
def test_a_broken_row_of_a_table_is_one_fault_with_its_line(
    tmp_path: Path, content: str, line: int, fault: str, others: int
) -> None:
    found = rows_of(tmp_path / "f.csv", content)
    assert f"f.csv:{line}: " in str(found[0])
    assert fault in str(found[0])
    assert len([row for row in found if isinstance(row, dict)]) == others


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("f.csv", "text,text,label\na,b,c\n", "f.csv:1: the column 'text' is there 2 times"),
        ("f.csv", "Text,text\na,b\n", "the column 'text' is there 2 times"),
        ("f.csv", "text,label\na\0,b\n", "f.csv:2: holds NUL"),
        ("f.csv", "PK\x03\x04", "a ZIP archive, as Excel files are, not text"),
        ("f.jsonl", "%PDF-1.7", "a PDF"),
        ("f.docx", "text", "'.docx' is not a kind of file that is read: give one of .csv"),
        ("f.html", "<p>", "'.html' is not a kind of file"),
        ("f.csv.zip", "PK\x03\x04", "'.zip' is not a kind of file"),
        ("f.csv.zst", "x", "or unpack it first"),
        ("f.csv.gz", "text\na\n", "f.csv.gz is not packed as its name says"),
        ("f.xlsx", "nope", "cannot be read as an Excel file"),
        ("f.parquet", "nope", "cannot be read as Parquet"),
        ("f.yaml", "a: 1\na: 2\n", "f.yaml:1: is not valid YAML: 'a' is there twice"),
        ("f.yaml", "- a\n b: [", "f.yaml:2: is not valid YAML"),
        ("f.json", '[{"text": "a"}', "f.json:1: is not valid JSON"),
        ("f.json", '{"train": [{"text": "a"}], "test": [{"text": "a"}]}', "holds train, test: put the one"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, name: str, content: str, fault: str) -> None:
    with pytest.raises(InputError) as told:
        rows_of(tmp_path / name, content)
    assert fault in str(told.value)


def test_a_file_that_is_not_there_or_a_folder_is_the_callers(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            list(read(path))


@pytest.mark.parametrize("name", ["klingon", "\0", "\ud800", "x" * 5000, "hex", "rot13", "bz2", "idna", "undefined"])
def test_an_encoding_that_there_is_not_or_that_reads_no_text_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is not an encoding: give one such as"):
        rows_of(tmp_path / "f.csv", "text\na\n", name)


def test_every_encoding_of_python_reads_a_table_or_is_refused(tmp_path: Path) -> None:
    refused = set()
    for name in {*aliases.values(), "utf-8-sig", "unicode_escape", "punycode", "charmap", "idna", "undefined"}:
        content = b"text,label\na,b\n"
        with contextlib.suppress(LookupError, UnicodeError):
            content = content.decode().encode(name)
        try:
            assert rows_of(tmp_path / "f.csv", content, name) == AB
        except InputError:
            refused.add(name)
        with contextlib.suppress(InputError):  # one that it is not in
            rows_of(tmp_path / "f.csv", "text,label\na,é\n", name)
    assert {"hex_codec", "rot_13", "idna", "punycode", "undefined"} <= refused
    assert not {"cp949", "cp1252", "utf_16", "utf_32", "cp037", "shift_jis", "latin_1", "utf_7"} & refused


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_is_read_and_a_cut_one_refused(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    ending = {"gzip": "gz", "bz2": "bz2", "lzma": "xz"}[packed.__module__]
    content = packed(b"text,label\na,b\n" * 1)
    assert rows_of(tmp_path / f"f.csv.{ending}", content) == AB
    with pytest.raises(InputError, match="cannot be read"):
        rows_of(tmp_path / f"f.csv.{ending}", content[:-9])


def test_excel_is_read_like_a_table(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="nothing here writes Excel files")
    pytest.importorskip("python_calamine", reason="the extra 'files' is not installed")
    book = openpyxl.Workbook()
    for row in (["text", "stars"], ["a", 5], [None, None], ["b", 2.5]):
        book.active.append(row)
    book.save(tmp_path / "f.xlsx")
    assert [row for _, row in read(tmp_path / "f.xlsx")] == [{"text": "a", "stars": 5}, {"text": "b", "stars": 2.5}]
    book.create_sheet("More").append(["text"])
    book.save(tmp_path / "f.xlsx")
    with pytest.raises(InputError, match="has several sheets"):
        list(read(tmp_path / "f.xlsx"))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)] * 2), min_size=1),
    st.sampled_from([",", ";", "\t", "|"]),
)
def test_what_a_writer_of_csv_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], delimiter: str
) -> None:
    """Each row comes back as it was; only where quotes have two readings is it told instead, and none is another's."""
    import csv

    path = tmp_path_factory.mktemp("csv") / "f.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *pairs])
    wanted = [{"text": one, "label": two} for one, two in pairs if (one + two).strip()]
    found = [row for _, row in read(path)]
    if not any('\\"' in cell or cell.endswith("\\") for pair in pairs for cell in pair):
        assert found == wanted
    rows = [row for row in found if isinstance(row, dict)]
    left = iter(wanted)
    assert all(row in left for row in rows), "a row that was not written, or in another order"
    assert len(rows) == len(wanted) or any(isinstance(row, InputError) for row in found)


@pytest.mark.parametrize(
    "content", ["a: &a [x, x]\nb: &b [*a, *a]\ntext: *b\n", "- &a [*a]\n", "- {<<: *x, text: hi}\n"]
)
def test_what_stands_for_something_elsewhere_in_yaml_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"f\.yaml:\d: is not valid YAML: \*\w stands for"):
        rows_of(tmp_path / "f.yaml", content)


@pytest.mark.parametrize("name", ["f.jsonl", "f.csv", "f.txt"])
def test_a_line_without_an_end_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_LONGEST_LINE", 100)
    with pytest.raises(InputError, match="longer than 100 characters"):
        rows_of(tmp_path / name, '"' + "x" * 5000)


@pytest.mark.parametrize("name", ["a\0b", "\ud800.csv", "x" * 300, "", ".", "/dev/zero", "/dev/urandom"])
def test_what_is_no_file_of_rows_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        list(read(Path(name)))
