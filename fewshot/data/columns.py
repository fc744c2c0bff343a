"""Which columns of a file are which inputs of a task, and the rows that come of it, from files and from pipes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fewshot._checks import REQUIRED, brief, check_kind, did_you_mean
from fewshot.data.formats import flat, is_plain
from fewshot.data.readers import Record, read, read_open
from fewshot.errors import InputError

__all__ = [
    "ANSWERS",
    "INPUTS",
    "Columns",
    "Row",
    "Signature",
    "Stream",
    "column",
    "digest_of",
    "is_stream",
    "read_rows",
]

ANSWERS = tuple(
    "output label_text label_name label answers answer references reference accept target gold gold_label ideal "  # noqa: SIM905
    "expected completion category class labels summary response spans entities".split()
)
"""Names that hold the answer of a labelled row where none is named, the surest first."""
INPUTS = ("text", "input", "question", "query", "prompt", "sentence")
"""Names that hold the one input of a task where none is named so."""

_BLOCK = 1 << 16
_AHEAD = 4096
_SHAPES = 256
_log = logging.getLogger("fewshot")


class Signature(Protocol):
    """What is known of a task here: what it takes."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def parameters(self) -> Mapping[str, Any]: ...  # noqa: D102


class Row(dict[str, Any]):
    """The inputs of one row, and the record that they were taken from."""

    __slots__ = ("names", "record")
    record: Mapping[str, Any]
    names: Mapping[str, str]
    """For an input the name that its column has in the record, where that is another."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a file are which inputs of a task."""

    task: Signature
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The column for an input, where their names differ; a path such as `data.text` goes into a record."""
    _places: dict[tuple[str | None, tuple[str, ...]], dict[str, str]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        known = [*self.task.inputs, *self.task.parameters]
        for name, place in self.renamed.items():
            check_kind("columns", name, str, what="names that are texts")
            check_kind("columns", place, str, what="columns that are texts")
            if name not in known:
                raise InputError(
                    f"{self.task.name} has no input {name!r}{did_you_mean(name, known)}; it takes {', '.join(known)}",
                    field=name,
                )

    @property
    def needed(self) -> list[str]:
        """The inputs that every row must have."""
        return [name for name, default in self.task.inputs.items() if default is REQUIRED]

    def places(self, record: Mapping[str, Any], where: str, *, besides: str | None = None) -> dict[str, str]:
        """Find the column of each input and parameter that a record has.

        Arguments:
            besides: a column that holds the answer, so that it is not an input.

        Raises:
            InputError: a needed input has no column; names the columns and the option that says which it is.
        """
        found: dict[str, str] = {}
        known = self._places.get((besides, names := tuple(record)))
        if known is not None:
            return known
        for name in (*self.task.inputs, *self.task.parameters):
            if name in self.renamed:
                place = column(record, self.renamed[name])
            else:
                place = None if name == besides else column(record, name)
            if place is not None:
                found[name] = place
        needed = self.needed
        if len(needed) == 1 and needed[0] not in found and needed[0] not in self.renamed:
            usual = [place for name in INPUTS if (place := column(record, name)) and place != besides]
            if len(usual) == 1:
                found[needed[0]] = usual[0]
                _log.info("the column %r is taken for the input %r", usual[0], needed[0])
        for name in needed:
            if name not in found:
                raise InputError(self._lacking(name, record, where, besides), field=name)
        if len(self._places) < _SHAPES and all(place in record for place in found.values()):
            self._places[besides, names] = found
        return found

    def _lacking(self, name: str, record: Mapping[str, Any], where: str, besides: str | None) -> str:
        wanted = self.renamed.get(name, name)
        there = names_in(record)
        if wanted == besides:
            return f"{where}: {wanted!r} is the input, so it cannot be the answer; name another column with target="
        texts = [p for p in there if isinstance(value_at(record, p), str) and p not in (besides, "id", "value")]
        texts.sort(key=lambda place: place.split(".")[-1] not in (name, *INPUTS))
        example = f", as --map {name}={texts[0]}" if texts and texts[0] != wanted else ""
        if besides is not None:
            had = f"{where} has no {wanted!r}; it has {', '.join(there)}"
            return f"{had}: say which it is with columns= (or --map {name}=COLUMN{example})"
        return (
            f"{where} has no column {wanted!r}{did_you_mean(wanted, there)}, which {self.task.name} needs; "
            f"it has {', '.join(there)}. Say which one it is with columns= (or --map {name}=COLUMN{example})"
        )

    def row(self, record: Mapping[str, Any], where: str = "the row") -> Row:
        """Take the task's inputs and parameters out of a record, and its `id`; other columns are kept beside.

        Raises:
            InputError: a needed input has no column.
        """
        row = Row()
        row.record = record
        plain = record if is_plain(record) else flat(record)[0]
        places = self.places(plain, where)
        row.names = {name: place for name, place in places.items() if place != name}
        for name, place in (*places.items(), ("id", "id")) if "id" in plain and "id" not in places else places.items():
            value = plain[place] if place in plain else value_at(plain, place)
            if value is not None:
                row[name] = value
        return row

    def rows(self, records: Iterable[Record], where: str) -> Iterator[object]:
        """Give a row for each record, or what is wrong with it.

        Raises:
            InputError: the first record lacks an input, or several are wanted and there are plain lines.
        """
        checked = False
        for line, record in records:
            if isinstance(record, dict):
                try:
                    yield self.row(record, where)
                except InputError as error:
                    if not checked:
                        raise
                    yield InputError(str(error).replace(where, f"{where}:{line}", 1), field=error.field)
                checked = True
            elif isinstance(record, str):
                if not checked and self.renamed:
                    lacks = f"{where} holds plain lines, and no column {', '.join(self.renamed.values())}"
                    raise InputError(f"{lacks}: leave that name out, or give a table with a header")
                if not checked and len(self.needed) > 1:
                    needs = f"{self.task.name} takes {', '.join(self.needed)}, and {where} holds plain lines"
                    raise InputError(f"{needs}: give JSONL or CSV")
                checked = True
                yield record
            elif isinstance(record, InputError):
                yield record
            else:
                yield InputError(f"{where}:{line}: is neither an object like {{…}} nor a text: {brief(record)}")


def column(record: Mapping[str, Any], name: str) -> str | None:
    """Find a column by its name, without regard to case where it is plain which is meant; or by a path like `a.b`."""
    if name in record:
        return name
    alike = [key for key in record if key.strip().casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    return name if "." in name and value_at(record, name) is not None else None


def value_at(record: Mapping[str, Any], place: str) -> Any:
    """Give the value of a column, or at a path through the record, such as `data.text` or `answers.0`."""
    if place in record:
        return record[place]
    value: Any = record
    for part in place.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def names_in(record: Mapping[str, Any], before: str = "") -> list[str]:
    """Name the columns of a record, and those inside of them by their paths."""
    found: list[str] = []
    for name, value in record.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, Mapping) and inner and before.count(".") < 4:
            found += names_in(inner, f"{before}{name}.{'0.' if inner is not value else ''}")
        else:
            found.append(f"{before}{name}")
    return found


def read_rows(path: Path, columns: Columns, *, encoding: str | None = None) -> Iterator[object]:
    """Read the rows of a file of any kind that `fewshot.data.readers` knows: dicts, texts, or what is wrong with them.

    Raises:
        InputError: the file cannot be read, or lacks an input. ConfigError: an extra is missing.
    """
    return columns.rows(read(path, encoding=encoding, named=[*columns.renamed.values()]), str(path))


class Stream:
    """Rows from a pipe or a terminal, each as soon as its line is there. A `Source` for the engine."""

    def __init__(self, descriptor: int, columns: Columns, where: str, *, encoding: str | None = None) -> None:
        self._descriptor = descriptor
        self._columns = columns
        self._where = where
        self._encoding = encoding
        self._rows: deque[object] = deque()
        self._room = threading.BoundedSemaphore(_AHEAD)
        self._news = asyncio.Event()
        self._started = self._ended = False
        self._error: Exception | None = None

    async def take(self, most: int) -> Sequence[object]:
        """Give the rows that are there, at least one; none at the end."""
        if not self._started:
            self._started = True
            # A daemon: nothing else ends a thread that waits for a pipe.
            threading.Thread(target=self._read, args=(asyncio.get_running_loop(),), daemon=True).start()
        while not self._rows and not self._ended:
            self._news.clear()
            if not self._rows and not self._ended:
                await self._news.wait()
        taken = [self._rows.popleft() for _ in range(min(most, len(self._rows)))]
        for _ in taken:
            self._room.release()
        if not taken and self._error is not None:
            raise self._error
        return taken

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        def tell() -> None:
            try:
                loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:  # the loop is closed: nobody reads any more
                self._ended = True

        try:
            with os.fdopen(self._descriptor, "rb", closefd=False) as pipe:
                named = [*self._columns.renamed.values()]
                records = read_open(pipe, "", self._where, self._encoding, named)
                for row in self._columns.rows(records, self._where):
                    self._room.acquire()
                    self._rows.append(row)
                    tell()
                    if self._ended:
                        return
        except Exception as error:  # raised where the rows are taken
            self._error = error
        self._ended = True
        tell()


def is_stream(path: Path) -> bool:
    """Tell whether a path can be read only once, from its beginning to its end."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def digest_of(path: Path) -> tuple[str, int]:
    """Give what tells one content of a file from another, and the number of its lines.

    Raises:
        InputError: the file cannot be read.
    """
    digest, lines, size = hashlib.sha256(), 0, 0
    last = b"\n"
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                lines += block.count(b"\n")
                size += len(block)
                last = block[-1:]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}; give a file that is there") from error
    return f"{size:,} bytes, sha256 {digest.hexdigest()[:12]}", lines + (last != b"\n")
