"""Rows from files and standard input: JSONL, CSV, Parquet and plain lines of text.

Records are cut at line feeds only: U+2028 and the like are a part of the text. A line that cannot be read is a row with
an error, and the rest go on.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fewshot._inputs import REQUIRED
from fewshot.errors import ConfigError, InputError
from fewshot.prompts.template import did_you_mean
from fewshot.task import Task

__all__ = ["Columns", "Stream", "digest_of", "is_stream", "read_rows"]

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 16
_BLOCKS_AHEAD = 8
_GROUP = 1024
_LONGEST_FIELD = 8_000_000


@dataclass(frozen=True)
class Columns:
    """Which columns of a file are which inputs of a task."""

    task: Task[Any]
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The column for an input, where their names differ."""

    def __post_init__(self) -> None:
        known = [*self.task.inputs, *self.task.parameters]
        for name in self.renamed:
            if name not in known:
                raise ConfigError(
                    f"{self.task.name} has no input {name!r}{did_you_mean(name, known)}; it takes {', '.join(known)}"
                )

    def check(self, names: Sequence[str], where: str) -> None:
        """Refuse a file that lacks an input, before anything is asked.

        Raises:
            ConfigError: names the input that is missing and the columns that there are.
        """
        for name in self.needed:
            column = self.renamed.get(name, name)
            if column not in names:
                raise ConfigError(
                    f"{where} has no column {column!r}, which {self.task.name} needs; it has {', '.join(names)}. "
                    f"Say which one it is with --map {name}=COLUMN"
                )

    @property
    def needed(self) -> list[str]:
        """The inputs that every row must have."""
        return [name for name, default in self.task.inputs.items() if default is REQUIRED]

    def row(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take the task's inputs and parameters out of a record, and its `id`."""
        wanted = {name: self.renamed.get(name, name) for name in (*self.task.inputs, *self.task.parameters)}
        row = {name: record[column] for name, column in wanted.items() if record.get(column) is not None}
        if "id" not in row and record.get("id") is not None:
            row["id"] = record["id"]
        return row


class Lines:
    """Reads one line after the other: JSON objects or texts, as the first line that is not blank shows."""

    def __init__(self, columns: Columns, where: str, *, is_json: bool | None = None) -> None:
        self._columns = columns
        self._where = where
        self._is_json = is_json
        self._number = 0
        self._checked = False

    def read(self, line: bytes) -> list[object]:
        """Give the row of a line; none for a blank one."""
        self._number += 1
        line = line.removeprefix(_BOM) if self._number == 1 else line
        line = line.strip(b" \t\r\n")
        if not line:
            return []
        if self._is_json is None:
            self._is_json = line.startswith(b"{")
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return [InputError(f"line {self._number} is not UTF-8 text")]
        return [self._record(text) if self._is_json else self._text(text)]

    def _record(self, text: str) -> object:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            return InputError(f"line {self._number} is not JSON: {error}")
        if isinstance(record, str):
            return record
        if not isinstance(record, dict):
            return InputError(f"line {self._number} is neither a JSON object nor a string")
        if not self._checked:
            self._columns.check(list(record), self._where)
            self._checked = True
        return self._columns.row(record)

    def _text(self, text: str) -> object:
        if not self._checked:
            self._checked = True
            needed = self._columns.needed
            if len(needed) > 1:
                task = self._columns.task.name
                raise ConfigError(
                    f"{task} takes {', '.join(needed)}, and {self._where} holds plain lines: give JSONL or CSV"
                )
        return text


def read_rows(path: Path, columns: Columns) -> Iterator[object]:
    """Read the rows of a JSONL, CSV or Parquet file, or of a text file with one input a line.

    Raises:
        ConfigError: the file cannot be read, lacks an input, or wants an extra that is missing.
    """
    kind = path.suffix.lower()
    reader: Callable[[IO[bytes], Columns, str], Iterator[object]] = _READERS.get(kind, _sniffed)
    try:
        with path.open("rb") as file:
            yield from reader(file, columns, str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; give a file that is there") from error


def _jsonl(file: IO[bytes], columns: Columns, where: str) -> Iterator[object]:
    lines = Lines(columns, where, is_json=True)
    for line in file:
        yield from lines.read(line)


def _json(file: IO[bytes], columns: Columns, where: str) -> Iterator[object]:
    """Read a list of records, or a file that is JSONL by another name."""
    start = file.read(_BLOCK).removeprefix(_BOM).lstrip()
    file.seek(0)
    if not start.startswith(b"["):
        yield from _jsonl(file, columns, where)
        return
    try:
        records = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    lines = Lines(columns, where, is_json=True)
    for record in records:
        yield from lines.read(json.dumps(record).encode())


def _sniffed(file: IO[bytes], columns: Columns, where: str) -> Iterator[object]:
    lines = Lines(columns, where)
    for line in file:
        yield from lines.read(line)


def _csv(file: IO[bytes], columns: Columns, where: str) -> Iterator[object]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    # A byte that is no UTF-8 becomes half a character, which is an error of its row alone.
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.DictReader(text, delimiter="\t" if where.lower().endswith(".tsv") else ",")
        columns.check(list(reader.fieldnames or ()), where)
        while True:
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield InputError(f"line {reader.line_num}: {error}")
            else:
                yield columns.row(record)


def _parquet(file: IO[bytes], columns: Columns, where: str) -> Iterator[object]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ConfigError("Parquet files need an extra: pip install 'fewshot[bulk]'") from error
    try:
        table = parquet.ParquetFile(file)
        columns.check(table.schema_arrow.names, where)
        for group in table.iter_batches(batch_size=_GROUP):
            yield from map(columns.row, group.to_pylist())
    except ArrowException as error:
        raise ConfigError(f"{where} cannot be read as Parquet: {error}") from error


_READERS = {".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}


class Stream:
    """Rows from a pipe or a terminal, each as soon as its line is there. A `Source` for the engine."""

    def __init__(self, descriptor: int, columns: Columns, where: str) -> None:
        self._descriptor = descriptor
        self._lines = Lines(columns, where)
        self._rest = b""
        self._rows: deque[object] = deque()
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.BoundedSemaphore(_BLOCKS_AHEAD)
        self._started = self._ended = False

    async def take(self, most: int) -> Sequence[object]:
        """Give the rows that are there, at least one; none at the end."""
        if not self._started:
            self._started = True
            # A daemon: nothing else ends a thread that waits for a pipe.
            threading.Thread(target=self._read, args=(asyncio.get_running_loop(),), daemon=True).start()
        while not self._rows and not self._ended:
            block = await self._blocks.get()
            self._room.release()
            *lines, self._rest = (self._rest + block).split(b"\n")
            if not block:
                lines, self._ended = [self._rest], True
            for line in lines:
                self._rows += self._lines.read(line)
        return [self._rows.popleft() for _ in range(min(most, len(self._rows)))]

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        block = b"more"
        while block:
            self._room.acquire()
            try:
                block = os.read(self._descriptor, _BLOCK)
            except OSError:
                block = b""
            try:
                loop.call_soon_threadsafe(self._blocks.put_nowait, block)
            except RuntimeError:  # the loop is closed: nobody reads any more
                return


def is_stream(path: Path) -> bool:
    """Tell whether a path can be read only once, from its beginning to its end."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def digest_of(path: Path) -> tuple[str, int]:
    """Give what tells one content of a file from another, and the number of its lines.

    Raises:
        ConfigError: the file cannot be read.
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
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; give a file that is there") from error
    return f"{size:,} bytes, sha256 {digest.hexdigest()[:12]}", lines + (last != b"\n")
