"""The one reader of files: records one after the other, each with its line, and a fault in the place of a broken one.

Every command reads through it, so that a file means the same to all of them. A file is opened, its compression, its
encoding and its kind are found, and what is not understood is refused before the first record is given. What is wrong
with one record is that record's fault, and the others go on; nothing is cut, merged or guessed.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

from fewshot.data import documents
from fewshot.errors import InputError

__all__ = ["Record", "read", "read_open"]

Record = tuple[int, Any]
"""A line (or the number of the record, where a file has no lines) and its row: a dict, a text, or an InputError."""

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
_JSON = (".jsonl", ".ndjson", ".json", ".jsonlines")
_LINES = ("", ".txt", ".text", ".md", ".lst", ".train", ".valid", ".test", ".ft")
_ENDINGS = (*_DELIMITERS, *_JSON, *_LINES[1:3], *documents.READERS)
_COMPRESSED: dict[bytes, tuple[str, Callable[..., Any]]] = {
    b"\x1f\x8b": (".gz", gzip.open),
    b"BZh": (".bz2", bz2.open),
    b"\xfd7zXZ": (".xz", lzma.open),
}
_ARROW = (b"PAR1", b"ARROW1")
_BINARY = {
    b"PK\x03\x04": "a ZIP archive, as Excel files are",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x28\xb5\x2f\xfd": "a file packed with zstd",
    b"Obj\x01": "an Avro file",
}
_BOMS = (  # the longer ones first: UTF-16's is how UTF-32's begins
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LIKELY = (
    ("cp932", "[ぁ-ヿ一-鿿。、]"),
    ("cp949", "[가-힣]"),
    ("gb18030", "[一-鿿]"),
    ("cp1251", "[А-яЁё]"),
    ("cp1252", "."),
)
"""Encodings that files have which are not UTF-8, with the characters that most of such a text then consists of."""
_BLOCK = 1 << 20
_LONGEST_FIELD = 8_000_000
_LONGEST_LINE = 2**27
_LONGEST_RECORD = 10_000
"""Lines that one record of a table may take."""
_ESCAPED = re.compile(r'(?<!\\)((?:\\\\)*)\\"')
_HALF = re.compile("[\ud800-\udfff]")
_NAMED = ("text", "label", "output", "input", "question", "answer", "query", "review", "sentence", "target")
"""A first line of a text file that has one of these between delimiters is the header of a table."""
_JSON_BEGINS = re.compile(r'[\[{]\s*(["\[{}\]]|$)')
_NOT_UTF8 = "holds bytes that are not UTF-8 text; save it as UTF-8, or name its encoding with --encoding"


def read(path: Path, *, encoding: str | None = None, named: Sequence[str] = ()) -> Iterator[Record]:
    """Give the records of a file.

    Arguments:
        path: JSON lines, JSON, CSV and its like, Parquet, Arrow, YAML, Excel, or lines of text; may be compressed.
        encoding: of a text that is not UTF-8 and has no byte order mark.
        named: columns that the caller names: lines of text whose first has one of these are a table.

    Raises:
        InputError: the file cannot be read, or is not what its name says; with file and line.
        ConfigError: it wants an extra that is missing.
    """
    with _told(str(path)), _opened(path) as file:
        yield from _records(file, path.name, str(path), encoding, named)


def read_open(
    file: IO[bytes], name: str, where: str, encoding: str | None = None, named: Sequence[str] = ()
) -> Iterator[Record]:
    """Give the records of an open file, or of a pipe, as soon as they are there; see `read`."""
    with _told(where):
        yield from _records(file, name, where, encoding, named)


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Tell what keeps a file from being read as the fault of the file."""
    try:
        yield
    except (OSError, EOFError, UnicodeError, zlib.error, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{where}: cannot be read: {reason}; give a file that is there and whole") from error


class _Once(io.BufferedReader):
    """What is unpacked of a pipe, which there is only once."""

    def seekable(self) -> bool:
        return False


class _Text(io.TextIOWrapper):
    """A text whose lines have an end: a pipe without line breaks would fill the memory."""

    def __next__(self) -> str:  # type: ignore[override]  # as TextIOWrapper has it
        line = self.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        if len(line) == _LONGEST_LINE:
            raise InputError(f"a line is longer than {_LONGEST_LINE:,} characters: give one record a line")
        return line


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except ValueError as error:  # a name with NUL or half a character
        raise InputError(f"{str(path)!r} cannot be the name of a file: {error}") from None


def _records(file: IO[bytes], name: str, where: str, encoding: str | None, named: Sequence[str]) -> Iterator[Record]:
    buffered: Any = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
    start = buffered.peek(16)[:16]
    packed = next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), None)
    if packed is not None:
        with packed[1](buffered, "rb") as inner:
            inside = re.sub(rf"\{packed[0]}$", "", name, flags=re.IGNORECASE)
            kind = io.BufferedReader if buffered.seekable() else _Once
            yield from _records(kind(inner), inside, where, encoding, named)
        return
    ending = Path(name).suffix.lower()
    if start.startswith(_ARROW):
        ending = ".parquet"
    if ending in (kind for kind, _ in _COMPRESSED.values()):
        raise InputError(f"{where} is not packed as its name says: give it whole, or under another name")
    if ending in documents.READERS:
        yield from documents.READERS[ending](buffered, where)
        return
    if ending not in (*_DELIMITERS, *_JSON, *_LINES):
        packed_so = ", or unpack it first" * (ending in (".zst", ".zip", ".7z", ".tar", ".rar", ".spacy"))
        kinds = ", ".join(_ENDINGS) + packed_so
        raise InputError(f"{where}: {ending!r} is not a kind of file that is read: give one of {kinds}")
    for magic, what in _BINARY.items():
        if start.startswith(magic):
            raise InputError(f"{where} is {what}, not text: give one of {', '.join(_ENDINGS)}")
    found = _encoding(buffered, where, encoding, lenient=ending in _JSON)
    newline = "\n" if ending in _JSON else ""
    with _Text(buffered, encoding=found, errors="surrogateescape", newline=newline) as text:
        if ending in _DELIMITERS:
            yield from _table(text, where, _DELIMITERS[ending])
        elif ending in _JSON:
            yield from documents.json_records(text, where, lines=ending != ".json")
        else:
            yield from _lines(text, where, named)


# -- encodings ------------------------------------------------------------------------------------------------------


def _encoding(file: Any, where: str, wanted: str | None, *, lenient: bool) -> str:
    """Find the encoding of a text, and see that all of it is in that, where the file can be read twice.

    Arguments:
        lenient: leave a broken line to be its record's fault, unless the whole file is in another encoding.
    """
    start = file.peek(4)
    encoding = next((name for bom, name in _BOMS if start.startswith(bom)), wanted or "utf-8")
    try:
        "a\n".encode(encoding).decode(encoding, "surrogateescape")  # what reads no text, such as hex or idna, raises
        decoder = codecs.getincrementaldecoder(encoding)()
    except (LookupError, ValueError) as error:
        raise InputError(f"{wanted!r} is not an encoding: give one such as cp1252, cp949 or utf-16") from error
    if not file.seekable():
        return encoding
    line = 1
    for block in chain(iter(lambda: file.read(_BLOCK), b""), (b"",)):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            if not isinstance(error, UnicodeDecodeError):  # UTF-16 that does not say which of the two
                raise InputError(f"{where}: is not {encoding} ({error}); name another with --encoding") from error
            line += block.count(b"\n", 0, error.start)
            if lenient and not _foreign(block):
                break
            raise InputError(f"{where}:{line}: is not {encoding}{_likely(block)}") from error
        if "\0" in text:
            line += text.count("\n", 0, text.index("\0"))
            raise InputError(f"{where}:{line}: holds NUL, which text does not{_likely(block)}")
        line += text.count("\n")
    file.seek(0)
    return encoding


def _foreign(block: bytes) -> bool:
    """Tell text in another encoding from UTF-8 with a broken line: several lines are broken, and not one is whole."""
    broken = whole = 0
    for line in block.split(b"\n"):
        if not line.isascii():
            try:
                line.decode()
            except UnicodeDecodeError:
                broken += 1
            else:
                whole += 1
    return broken > 1 and not whole


def _likely(block: bytes) -> str:
    """Say which encoding a text may have."""
    sample = block[: 1 << 16]
    for name, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if zeros.count(0) > len(zeros) / 3:
            return f"; it looks like {name}: say --encoding {name}"
    if b"\0" in sample:
        return ": give text"
    runs = re.findall(rb"[\x80-\xff]+", sample)
    alone = sum(len(run) == 1 for run in runs) > len(runs) / 2
    for name, own in _LIKELY[-1:] if alone else _LIKELY:
        try:
            signs = re.findall(r"[^\x00-\x7f]", codecs.getincrementaldecoder(name)().decode(sample))
        except UnicodeDecodeError:
            continue
        if sum(bool(re.match(own, sign)) for sign in signs) > 0.8 * len(signs):
            return f"; it looks like {name}: say --encoding {name}, or save it as UTF-8"
    return "; save it as UTF-8, or name its encoding with --encoding"


# -- tables ---------------------------------------------------------------------------------------------------------


def _table(text: io.TextIOWrapper, where: str, usual: str, first: str = "", number: int = 1) -> Iterator[Record]:
    """Read CSV and its like; the header tells the delimiter."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    number, start, delimiter = _start(text, usual, first, number)
    quoted = delimiter != "\t" or _is_quoted(text, number)
    checked = text.seekable()
    records = _cells(chain([start], text), delimiter, quoted, number - 1)
    header = next(records, None)
    if header is None:
        return
    line, cells, _ = header
    if isinstance(cells, str):
        raise InputError(f"{where}:{line}: {cells}")
    names = documents.header(cells, f"{where}:{line}")
    width = len(names)
    of_results = {"value", "abstained", "error"} <= {re.sub("^(fewshot_)+", "", name) for name in names}
    for line, cells, held in records:
        if checked and not held and len(cells) == width and cells[0]:
            yield line, dict(zip(names, cells))  # noqa: B905 - looked at
        else:  # a quote in a table of results means what it says, whatever stands before it
            yield from _named(_row(cells, () if of_results else held, delimiter, names), where, line, names)


def _named(row: list[str] | str, where: str, line: int, names: Sequence[str]) -> Iterator[Record]:
    if any(map(_HALF.search, row)):
        row = _NOT_UTF8
    if row:
        fault = isinstance(row, str)
        yield line, InputError(f"{where}:{line}: {row}") if fault else dict(zip(names, row, strict=True))


def _row(cells: list[str] | str, held: Sequence[str], delimiter: str, names: Sequence[str]) -> list[str] | str:
    """Look at a record that is not plainly one; give its cells, what is wrong with it, or nothing for a blank one."""
    if held:
        cells = _checked(cells, held, delimiter, len(names))
    if isinstance(cells, str) or (len(names) == 1 == len(cells)):
        return cells
    return documents.padded(cells, names)


def _start(text: io.TextIOWrapper, usual: str, first: str, number: int) -> tuple[int, str, str]:
    """Give the number of the header's line, the line, and the delimiter that it shows."""
    line = first or next(text, "")
    while line and not line.strip(" ,;\t\r\n"):
        number, line = number + 1, next(text, "")
    if line.startswith("sep=") and len(line.rstrip("\r\n")) == 5:  # as Excel reads and writes it
        return number + 1, next(text, ""), line[4]
    return number, line, _delimiter(line, usual)


def _cells(
    lines: Iterator[str], delimiter: str, quoted: bool, number: int
) -> Iterator[tuple[int, list[str] | str, Sequence[str]]]:
    """Give each record as its first line, its cells (or what is wrong with them), and its lines if it is not plain.

    After a record that cannot be read the next line begins a new one, so that an open quote costs one row.

    Arguments:
        number: how many lines came before.
    """
    form: Any = {"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, "strict": True}
    again: deque[str] = deque()
    held: list[str] = []
    while True:
        held = []
        try:
            for cells in csv.reader(_kept(lines, again, held), **form):
                first, number = number + 1, number + len(held)
                yield first, cells, held if len(held) > 1 or '\\"' in held[0] else ()
                held.clear()
        except csv.Error as error:
            fault = "a quote opens that is never closed" if "end of data" in str(error) else str(error)
            yield number + 1, f"is not valid CSV: {fault}; double the quotes inside a cell", held[:1]
            again.extendleft(reversed(held[1:]))
            number += 1
        else:
            return


def _kept(lines: Iterator[str], again: deque[str], held: list[str]) -> Iterator[str]:
    """Give the lines, first those to be read again, and keep those of the record at hand."""
    while len(held) <= _LONGEST_RECORD and (line := again.popleft() if again else next(lines, "")):
        held.append(line)
        yield line


def _checked(cells: list[str] | str, held: Sequence[str], delimiter: str, width: int) -> list[str] | str:
    """Look twice at a record in which quotes may mean something else than they say."""
    alike = len(held) > 1 and width > 1 and all(line.count(delimiter) == width - 1 for line in held)
    if alike and not any('""' in line for line in held):  # who doubles quotes writes them as they are meant
        return (
            "a quote opens here and closes lines later, and each line between is a row by itself: close it or double it"
        )
    if any('\\"' in line for line in held):
        mended = (_ESCAPED.sub(r'\1""', line) for line in held)
        other = [found for _, found, _ in _cells(iter(list(mended)), delimiter, True, 0)]
        if len(other) == 1 and isinstance(other[0], list) and len(other[0]) == width:
            if isinstance(cells, str) or len(cells) != width or cells == other[0]:
                return other[0]
            return 'it is not clear whether \\" is a quote inside a cell: double the quotes inside a cell'
    return cells


def _delimiter(header: str, usual: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    found: str = max((usual, *",;\t|"), key=bare.count)
    return found


def _is_quoted(text: io.TextIOWrapper, number: int) -> bool:
    """Tell a tab-separated file that quotes its cells from one where a quote is a sign like others (as in GLUE)."""
    if not text.seekable():
        return False
    text.seek(0)
    for _ in range(number - 1):
        text.readline()
    width, quoted = 0, True
    for _, cells, held in _cells(iter(text.readline, ""), "\t", True, 0):
        width = width or len(cells)
        together = len(held) > 1 and width > 1 and all(line.count("\t") == width - 1 for line in held)
        if isinstance(cells, str) or together or len(cells) not in (width, 0):
            quoted = False
            break
    text.seek(0)
    for _ in range(number):
        text.readline()
    return quoted


# -- lines ----------------------------------------------------------------------------------------------------------


def _lines(text: io.TextIOWrapper, where: str, named: Sequence[str]) -> Iterator[Record]:
    """Read lines of text: each an input; or JSON lines, a table or fastText, as the first line shows."""
    begun = False
    for number, line in enumerate(text, start=1):
        stripped = line.strip(" \t\r\n")
        if not stripped:
            continue
        if not begun and _JSON_BEGINS.match(stripped):
            yield from documents.json_records(chain(["\n"] * (number - 1), [line], text), where)
            return
        if not begun and _is_header(stripped, named):
            yield from _table(text, where, ",", line, number)
            return
        begun = True
        if not stripped.isascii() and _HALF.search(stripped):
            yield number, InputError(f"{where}:{number}: {_NOT_UTF8}")
        elif stripped.startswith("__label__"):
            words = stripped.split()
            labels = [word.removeprefix("__label__") for word in words if word.startswith("__label__")]
            text_of = stripped.split(maxsplit=len(labels))[len(labels) :]
            yield number, {"text": text_of[0] if text_of else "", "label": labels[0] if len(labels) == 1 else labels}
        else:
            yield number, stripped


def _is_header(line: str, named: Sequence[str]) -> bool:
    delimiter = _delimiter(line, ",")
    names = [cell.strip(' "').casefold() for cell in line.split(delimiter)]
    if {*names} & {name.casefold() for name in named}:
        return True
    prose = delimiter == "," and ", " in line and not {*names} <= {*_NAMED, "id"}
    return len(names) > 1 and bool({*names} & {*_NAMED}) and all(len(name) < 40 for name in names) and not prose
