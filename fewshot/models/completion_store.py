"""Completions kept on disk: one SQLite file, private to the user, bounded, safe for many threads and processes.

Nothing in the file is trusted: an entry that does not read as a completion, or that belongs to another request, is no
entry. Whatever is wrong with the disk, the worst that happens is a warning, and that the model is asked again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from fewshot._storage import open_sqlite
from fewshot.errors import ConfigError
from fewshot.types import Completion

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["Answers", "Info", "answers_in", "from_json", "to_json"]

_FILE = "answers-1.sqlite"
_MAX_BYTES = 1 << 30
_CHECK_EVERY = 500
_EVICTED_SHARE = 0.1
_TOUCH_AFTER = 3600.0
"""Seconds after which a hit counts as a new use: writing down every hit would make reads as dear as writes."""
_BUSY_SECONDS = 5.0
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLE = (
    "create table if not exists answers (key text primary key, request blob not null, answer blob not null,"
    " made real not null, used real not null) without rowid"
)

_SIZES = ("page_count", "freelist_count", "page_size")

_log = logging.getLogger("fewshot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What is in the file: times are seconds since 1970, None when it is empty."""

    path: Path
    entries: int
    bytes: int
    max_bytes: int
    oldest: float | None
    newest: float | None


class Answers:
    """Completions by the key of their request; may be used from any thread, and in forked children."""

    def __init__(self, folder: Path, *, max_bytes: int = _MAX_BYTES) -> None:
        """Use the file in a folder; it is made at first use.

        Arguments:
            max_bytes: when the file grows beyond this, the entries that were used longest ago are deleted.
        """
        self._store: sqlite3.Connection | None = None
        self.path = folder / _FILE
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._puts = 0
        _all.add(self)

    def get(self, key: str, content: str) -> Completion | None:
        """Give the answer to a request, marked as cached; None when there is none that is sound."""
        row = self.read(key)
        return None if row is None else _read(*row, content)

    def put(self, key: str, content: str, completion: Completion) -> None:
        """Keep the answer to a request."""
        self.write(key, _packed(content), _packed(to_json(completion)))

    def read(self, key: str) -> tuple[bytes, bytes] | None:
        """Give what was written under a key: of what, and the answer."""
        row = None
        with self._going_on_without(), self._lock:
            store = self._open()
            row = store.execute("select request, answer, used from answers where key = ?", (key,)).fetchone()
            if row is not None and time.time() - row[2] > _TOUCH_AFTER:
                store.execute("update answers set used = ? where key = ?", (time.time(), key))
        return None if row is None else row[:2]

    def write(self, key: str, request: bytes, answer: bytes) -> None:
        """Keep an answer under a key."""
        now = time.time()
        with self._going_on_without(), self._lock:
            store = self._open()
            store.execute("insert or replace into answers values (?, ?, ?, ?, ?)", (key, request, answer, now, now))
            if self._puts % _CHECK_EVERY == 0:
                _evict(store, self.max_bytes)
            self._puts += 1

    def latest(self, most: int) -> list[tuple[float, str, Completion]]:
        """Give the answers that were kept last, the newest first: when (seconds since 1970), the request, the answer.

        An entry that cannot be read is left out.

        Raises:
            ConfigError: the file cannot be read.
        """
        with self._telling(), self._lock:
            rows = (
                self._open()
                .execute("select made, request, answer from answers order by made desc limit ?", (most,))
                .fetchall()
            )
        sound = []
        for made, request, answer in rows:
            with contextlib.suppress(zlib.error, UnicodeDecodeError):
                content = zlib.decompress(request).decode()
                if (completion := _read(request, answer, content)) is not None:
                    sound.append((made, content, completion))
        return sound

    def info(self) -> Info:
        """Tell how much is kept.

        Raises:
            ConfigError: the file cannot be read.
        """
        with self._telling(), self._lock:
            store = self._open()
            entries, oldest, newest = store.execute("select count(*), min(made), max(made) from answers").fetchone()
            size = _bytes(store)
        return Info(path=self.path, entries=entries, bytes=size, max_bytes=self.max_bytes, oldest=oldest, newest=newest)

    def clear(self) -> int:
        """Delete everything; gives how many answers there were.

        Raises:
            ConfigError: the file cannot be written.
        """
        with self._telling(), self._lock:
            store = self._open()
            count = store.execute("delete from answers").rowcount
            _shrink(store)
            store.execute("pragma wal_checkpoint(truncate)")
        return count

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        with self._lock:
            if self._store is not None:
                self._store.close()
            self._store = None

    def __del__(self) -> None:
        """Close the file with its owner: from Python 3.13 on SQLite's module warns where nobody does."""
        if self._store is not None:
            self._store.close()

    def forked(self) -> None:
        """Begin anew in a forked child: SQLite forbids to use, and even to close, what came through a fork."""
        self._lock = threading.Lock()
        if self._store is not None:
            _inherited.append(self._store)
        self._store = None

    def _open(self) -> sqlite3.Connection:
        if self._store is None:
            try:
                self._store = _connected(self.path)
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                _set_aside(self.path, error)
                self._store = _connected(self.path)
        return self._store

    @contextlib.contextmanager
    def _going_on_without(self) -> Iterator[None]:
        """Where the disk is of no use, say so; a damaged file is set aside, and the next call begins a new one."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if _is_broken(error):
                self.close()
                _set_aside(self.path, error)
            else:
                _log.warning("answers are not cached just now: %s: %s", self.path, error)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"the cache {self.path} cannot be used ({error}): set FEWSHOT_CACHE_DIR") from error


@lru_cache(maxsize=16)
def answers_in(folder: str) -> Answers:
    """Give the answers kept in a folder; the same object for the same folder."""
    return Answers(Path(folder))


_all: WeakSet[Answers] = WeakSet()
_inherited: list[object] = []


def _after_fork() -> None:
    for answers in list(_all):
        answers.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _connected(path: Path) -> sqlite3.Connection:
    """Open the file, made for the user alone if it is not there."""
    # synchronous = normal: a power cut may take the last answers, never the file
    pragmas = ("auto_vacuum = incremental", "journal_mode = wal", "synchronous = normal")
    store = open_sqlite(path, *pragmas, timeout=_BUSY_SECONDS)
    try:
        store.execute(_TABLE)
    except BaseException:
        store.close()
        raise
    return store


def _is_broken(error: BaseException) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BROKEN


def _set_aside(path: Path, error: BaseException) -> None:
    """Keep a damaged file under another name, so that a new one can be begun."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        path.rename(aside)
    _log.warning("the cache %s is damaged (%s): it was moved to %s, and a new one is begun", path, error, aside.name)


def _bytes(store: sqlite3.Connection) -> int:
    """Give the bytes in use, free pages not counted."""
    pages, free, size = (store.execute(f"pragma {name}").fetchone()[0] for name in _SIZES)
    return int((pages - free) * size)


def _evict(store: sqlite3.Connection, max_bytes: int) -> None:
    while _bytes(store) > max_bytes:
        (count,) = store.execute("select count(*) from answers").fetchone()
        oldest = "delete from answers where key in (select key from answers order by used limit ?)"
        if not store.execute(oldest, (1 + int(count * _EVICTED_SHARE),)).rowcount:
            break
        _shrink(store)


def _shrink(store: sqlite3.Connection) -> None:
    store.execute("pragma incremental_vacuum").fetchall()


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode(), 1)


def _read(request: bytes, answer: bytes, content: str) -> Completion | None:
    """Read an entry; None unless it belongs to this request and is sound."""
    try:
        if zlib.decompress(request).decode() != content:
            return None
        return from_json(zlib.decompress(answer))
    except (zlib.error, ValueError):
        return None


@lru_cache(maxsize=1)
def _kept() -> TypeAdapter[Completion]:
    from pydantic import TypeAdapter

    return TypeAdapter(Completion)


def to_json(completion: Completion) -> str:
    """Write a completion as JSON; the bytes of tokens in Base64."""
    return json.dumps(_kept().dump_python(completion, mode="json"), separators=(",", ":"))


def from_json(text: str | bytes) -> Completion:
    """Read what `to_json` wrote, as an answer that costs nothing; raises ValueError for anything else."""
    completion = _kept().validate_json(text)
    if json.loads(text).keys() != Completion.__dataclass_fields__.keys():  # pydantic fills in what is missing
        raise ValueError("not a whole completion")
    return replace(completion, cached=True, attempts=0)
