"""Results on disk before they are reported: a run that is killed at any moment goes on where it was.

Beside the output lies a run record, one SQLite file (`results.jsonl.run`): every finished row by its position, what the
run is of, and what it has cost. SQLite is trusted with what is hard: commits that survive a power cut, torn writes, one
writer at a time; each row has a digest, since it knows nothing of bits that flip. The output itself is derived from the
record, in input order: lines are appended when their turn has come, and put right when the record is opened, so that it
never holds more, less or other than the record says.
"""
# ruff: noqa: S608 - SQL is put together from names of our own

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fewshot._storage import digested, is_whole, open_sqlite, saying, transaction, write_atomic
from fewshot.errors import ConfigError

__all__ = ["Checkpoint", "Saved", "record_of"]

_FORMAT = "2"
_MANY = 500
_COLUMNS = "position, key, line, failed, cost"
_DIGEST = digested(*_COLUMNS.split(", "))
_ROWS = f"""create table if not exists {{}} (
    position integer primary key, key blob not null, line blob not null, failed integer not null, cost real not null,
    seal blob generated always as ({_DIGEST}) stored)"""
_TABLES = (
    "create table if not exists facts (name text primary key, fact text not null) without rowid",
    _ROWS.format("rows"),
    "create index if not exists answered on rows (key) where not failed",
    "create table if not exists besides (cost real not null)",
)
_OLD_COST = "insert into besides select cost from rows where position = ? and cost > 0"
_INSERT = f"insert or replace into rows ({_COLUMNS}) values (?, ?, ?, ?, ?)"
_SAVED = f"select {_COLUMNS} from rows where seal = {_DIGEST}"
_RESTORE = f"""insert or ignore into sound ({_COLUMNS}) select position, key, :line, failed, cost from rows
    where position = :position and seal = {_DIGEST.replace("line", ":line")}"""

_log = logging.getLogger("fewshot")


@dataclass(frozen=True, slots=True)
class Saved:
    """One finished row: its place in the input, and its line in the output."""

    position: int
    key: bytes
    """Digest of the row's inputs."""
    line: bytes
    """What stands in the output, without the end of line."""
    failed: bool
    cost: float = 0.0
    """US dollars, for the run's sum."""


def record_of(out: Path) -> Path:
    """Give the run record that lies beside an output."""
    return out.with_name(out.name + ".run")


class Checkpoint:
    """The run record of one output, held open by one process. May be used from any thread, by one at a time."""

    def __init__(
        self, out: Path, facts: Mapping[str, str], *, fresh: bool = False, lines: bool = True, retry: bool = False
    ) -> None:
        """Open or make the record, and bring the output in step with it.

        Arguments:
            out: the output.
            facts: what the run is of; a record of something else is refused.
            fresh: forget what there is and start over.
            lines: the output is the lines themselves, and grows as they come; False when `export` makes it at the end.
            retry: treat rows that failed as not done.

        Raises:
            ConfigError: the place cannot be written, another process holds it, or it belongs to another run; says
                what differs.
        """
        self.out = out
        self.path = record_of(out)
        self._lines = lines
        self._next = 0
        self._behind = False
        """A line whose turn has come is not in the output yet."""
        self._asks_failed = retry
        with self._telling("open"):
            if out.is_dir():
                raise ConfigError(f"{out} is a folder: name a file")
            is_new = not self.path.exists()
            if is_new and not fresh and out.exists() and out.stat().st_size:
                raise ConfigError(
                    f"{out} is there already and is not an output of this run: name another, or start over with --fresh"
                )
            self._store = open_sqlite(
                self.path,
                *("locking_mode = exclusive", "journal_mode = wal", "synchronous = full"),
                timeout=0,
                private=False,
                digests=hashlib.sha256(repr(sorted(facts.items())).encode()).digest(),
            )
            try:
                self._prepare(facts, fresh=fresh)
                self._sync_output()
            except BaseException:
                self._store.close()
                raise
            _sync_folder(out.parent)

    def find(self, first: int, keys: Sequence[bytes]) -> tuple[dict[int, Saved], dict[bytes, Saved]]:
        """Look up rows that follow each other: those done, by position, and good answers to equal rows, by key.

        Arguments:
            first: position of the first row.
            keys: digests of the rows' inputs.

        Raises:
            ConfigError: a row that is done had other inputs; or the record cannot be read.
        """
        with self._telling("read"):
            there = f"{_SAVED} and position >= ? and position < ?" + (" and not failed" if self._asks_failed else "")
            done = {row[0]: _saved(row) for row in self._store.execute(there, (first, first + len(keys)))}
            equal: dict[bytes, Saved] = {}
            for some in _batches([key for i, key in enumerate(keys) if first + i not in done]):
                like = f"{_SAVED} and not failed and key in ({','.join('?' * len(some))})"
                equal |= {row[1]: _saved(row) for row in self._store.execute(like, some)}
        for position, saved in done.items():
            if saved.key != keys[position - first]:
                raise ConfigError(
                    f"row {position + 1} of the input is not what it was when {self.out} was begun: "
                    "give the same input, another output, or start over with --fresh"
                )
        return done, equal

    def save(self, rows: Sequence[Saved], *, besides: float = 0.0) -> None:
        """Put rows on disk; when this returns they survive a kill and a power cut.

        Arguments:
            rows: a row that failed before and was asked again has cost both times.
            besides: US dollars for answers that no row keeps.

        Raises:
            ConfigError: the disk is full or cannot be written; what was saved before is safe.
        """
        with self._telling("write"):
            with transaction(self._store):
                values = [(r.position, r.key, r.line, r.failed, r.cost) for r in rows]
                self._store.executemany(_OLD_COST, [(row.position,) for row in rows])
                self._store.executemany(_INSERT, values)
                if besides:
                    self._store.execute("insert into besides values (?)", (besides,))
            self._behind = self._behind or any(row.position == self._next for row in rows)
            if self._lines and self._behind:
                try:
                    self._append()
                except OSError as error:  # the record has it, and the next rows bring the output in step
                    if error.errno not in (errno.EMFILE, errno.ENFILE):
                        raise

    @property
    def spent(self) -> float:
        """US dollars that the run has cost so far, this time and before."""
        with self._telling("read"):
            every = "select cost from rows union all select cost from besides"
            total: float = self._store.execute(
                f"select total(cost) from ({every}) where cost between 0 and 1e9"  # more is damage
            ).fetchone()[0]
        return total

    def saved(self) -> Iterator[Saved]:
        """Give all finished rows in input order."""
        with self._telling("read"):
            yield from map(_saved, self._store.execute(f"{_SAVED} order by position"))

    def finish(self, rows: int | None = None) -> None:
        """At the end of a complete run: the output is in step, in place and on disk.

        Arguments:
            rows: how many the input had.

        Raises:
            ConfigError: it cannot be written, or has rows of a longer input.
        """
        with self._telling("read"):
            held = self._store.execute("select coalesce(max(position) + 1, 0) from rows").fetchone()[0]
        if rows is not None and held > rows:
            raise ConfigError(
                f"{self.out} has {held:,} rows, and the input only {rows:,}: "
                "give the same input, another output, or start over with --fresh"
            )
        with self._telling("write"):
            if self._lines:
                self._sync_output()
                with self.out.open("rb") as file:
                    os.fsync(file.fileno())

    def close(self) -> None:
        """Let go of the record; another process may take it up."""
        with contextlib.suppress(sqlite3.Error):
            self._store.close()

    # -- the record -----------------------------------------------------------------------------------------------

    def _prepare(self, facts: Mapping[str, str], *, fresh: bool) -> None:
        """Take the lock, which ends with the process however it ends; then make tables and compare the facts."""
        self._store.text_factory = bytes  # damaged text may not be UTF-8
        with transaction(self._store):
            if fresh:
                for table in ("rows", "besides", "facts", "sound"):
                    self._store.execute(f"drop table if exists {table}")
            for statement in _TABLES:
                self._store.execute(statement)
            wanted = {"format": _FORMAT, **facts}
            stored = self._store.execute("select cast(name as blob), cast(fact as blob) from facts")
            known = {name.decode(errors="replace"): fact.decode(errors="replace") for name, fact in stored}
            if not known:
                self._store.executemany("insert into facts values (?, ?)", wanted.items())
            else:
                self._compare(known, wanted)
            damaged = self._store.execute(f"select 1 from rows where seal is not {_DIGEST} limit 1").fetchone()
            made = self._store.execute("select sql from sqlite_master where name = 'rows'").fetchone()[0]
            is_as_made = made.partition(b"(")[2] == _ROWS.partition("(")[2].encode()  # or new rows get other digests
            if damaged or not is_as_made or not is_whole(self._store):
                self._mend()

    def _mend(self) -> None:
        """Keep the rows whose digest is right, and those that the output still has; the others are asked again."""
        before = self._store.execute("select count(*) from rows").fetchone()[0]
        self._store.execute(_ROWS.format("sound"))
        self._store.execute(f"insert or replace into sound ({_COLUMNS}) {_SAVED}")
        if self._lines:
            with contextlib.suppress(FileNotFoundError), self.out.open("rb") as file:
                written = ({"position": i, "line": line.rstrip(b"\n")} for i, line in enumerate(file))
                self._store.executemany(_RESTORE, written)
        self._store.execute("drop table rows")
        self._store.execute("alter table sound rename to rows")
        self._store.execute(_TABLES[2])
        kept = self._store.execute("select count(*) from rows").fetchone()[0]
        _log.warning(
            "fewshot: %s was damaged; %d of its rows are sound, %d are asked again", self.path, kept, before - kept
        )

    def _compare(self, known: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        changed = [name for name in wanted if known.get(name) != wanted[name]]
        changed += [name for name in known if name not in wanted]
        if changed:
            told = "; ".join(
                f"{name} was {known.get(name, 'not given')}, is {wanted.get(name, 'not given')}" for name in changed
            )
            raise ConfigError(
                f"{self.out} belongs to another run, and results of different runs are not mixed: {told}. "
                "Name another output, or start over with --fresh"
            )

    def _telling(self, what: str) -> AbstractContextManager[None]:
        return saying(
            f"{what} {self.out} or its run record {self.path.name}",
            locked=f"another process is writing {self.out}: wait for it, or name another output",
            broken=lambda error: ConfigError(
                f"{self.path} is not a run record that can be read ({error}): "
                f"delete it and {self.out}, or name another output"
            ),
        )

    # -- the output -----------------------------------------------------------------------------------------------

    def _sync_output(self) -> None:
        """Bring the output in step with the record: keep what agrees, cut a torn or foreign tail, add what lacks."""
        if not self._lines:
            return
        self._next = 0
        agreed = 0
        with contextlib.suppress(FileNotFoundError), self.out.open("rb") as file:
            for line in self._in_order():
                if file.readline() != line:
                    break
                agreed += len(line)
                self._next += 1
        if self.out.exists() and self.out.stat().st_size == agreed:
            self._append()
        else:
            self._replace()

    def _in_order(self, first: int = 0) -> Iterator[bytes]:
        """Give the lines from a position on, as far as they follow each other without a gap."""
        for position, _, line, *_ in self._store.execute(f"{_SAVED} and position >= ? order by position", (first,)):
            if position != first:
                return
            first += 1
            yield line + b"\n"

    def _append(self) -> None:
        """Add the lines whose turn has come. They need no sync of their own: the record has them."""
        with self.out.open("ab") as file:
            for line in self._in_order(self._next):
                file.write(line)
                self._next += 1
        self._behind = False

    def _replace(self) -> None:
        """Write the output anew beside it and put it in its place, so that a kill leaves the old one or the new."""
        self._next = 0
        with write_atomic(self.out) as scratch, scratch.open("wb") as file:
            for line in self._in_order():
                file.write(line)
                self._next += 1
        _sync_folder(self.out.parent)


def _saved(row: tuple[int, bytes, bytes, int, float]) -> Saved:
    return Saved(row[0], row[1], row[2], bool(row[3]), row[4])


def _batches(keys: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    return (keys[i : i + _MANY] for i in range(0, len(keys), _MANY))


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder durable, where the system has that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
