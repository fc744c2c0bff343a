"""What a batch run knows, in one SQLite file: rows, requests, replies, and how far each uploaded part has come.

Every step is on the disk before the next is taken, so a run goes on after a crash at any moment. The file is locked
while it is open, so that two processes cannot pay for the same run.
"""
# ruff: noqa: S608 - SQL is put together from names of our own

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fewshot._storage import digested, is_whole, open_sqlite, saying, transaction
from fewshot.data.columns import Row
from fewshot.errors import ConfigError, InputError

__all__ = ["Asked", "BatchStore", "Part", "State"]

State = Literal["written", "uploaded", "creating", "created", "done", "refused"]
"""How far a part has come: on disk, uploaded, perhaps created, certainly created, read, or refused by the service."""

_PAGE = 1000
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_COLUMNS = {
    "facts": ("name", "value"),
    "rows": ("position", "row", "done"),
    "asked": ("key", "name", "row", "part", "tries", "problem", "dropped", "reply", "error", "live"),
    "parts": ("number", "state", "requests", "known", "file_id", "batch_id", "status", "problem"),
}
_DIGEST = {table: digested(*columns) for table, columns in _COLUMNS.items()}
_SEAL = {table: f"seal blob generated always as ({digest}) stored" for table, digest in _DIGEST.items()}
_ROW = f"select position, row, seal is {_DIGEST['rows']} from rows"
_TABLES = f"""
create table if not exists facts (name text primary key, value text not null, {_SEAL["facts"]}) without rowid;
create table if not exists rows (
    position integer primary key, row text not null, done integer not null default 0, {_SEAL["rows"]}
);
create table if not exists asked (
    key text primary key, name text not null unique, row integer not null, part integer,
    tries integer not null default 0, problem text, dropped text not null default '[]',
    reply text, error text, live integer not null default 0, {_SEAL["asked"]}
) without rowid;
create index if not exists asked_row on asked (row);
create index if not exists asked_part on asked (part);
create table if not exists parts (
    number integer primary key, state text not null, requests integer not null, known integer not null,
    file_id text, batch_id text, status text, problem text, {_SEAL["parts"]}
);
"""

_FORMAT = 2
"""Counts the ways in which rows, requests and replies were written."""

_log = logging.getLogger("fewshot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: who wants it, and what became of it so far."""

    key: str
    name: str
    """The custom id."""
    row: int
    """The first row that wants it."""
    part: int | None
    """The part that it is in, as long as that is under way."""
    tries: int
    dropped: tuple[str, ...]
    reply: str | None
    """The completion as JSON."""
    error: str | None
    """Why there will be none, as JSON."""
    live: bool
    """Whether it was asked live, at the full price."""

    @property
    def settled(self) -> bool:
        """Whether nothing more will come."""
        return self.reply is not None or self.error is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One batch at the service: some of the requests."""

    number: int
    state: State
    requests: int
    known: int
    """How much was known of the model's dialect when it was written."""
    file_id: str | None
    batch_id: str | None
    status: str | None
    """What the service last said of it."""
    problem: str | None


class BatchStore:
    """The state of one batch run, in a folder; open it for one operation, with `with`."""

    def __init__(self, folder: Path) -> None:
        """Open the state, made if it is not there.

        Raises:
            ConfigError: another process has it open, or it cannot be made or read.
        """
        self.folder = folder
        pragmas = ("locking_mode = exclusive", "journal_mode = wal", "synchronous = full")
        with self._telling("open"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = open_sqlite(folder / "state.sqlite", *pragmas, timeout=0.5, digests=b"")
            try:
                self._db.execute("begin exclusive")
                self._db.execute("commit")
                self._check_format()
                self._db.executescript(_TABLES)
                self._mend()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> BatchStore:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._db.close()
        of_disk = isinstance(error, OSError) and (error.errno in _NO_ROOM or str(self.folder) in str(error.filename))
        if error is not None and (of_disk or isinstance(error, (sqlite3.Error, MemoryError, UnicodeDecodeError))):
            with self._telling("write"):
                raise error

    def _telling(self, what: str) -> contextlib.AbstractContextManager[None]:
        locked = f"another process works on the batch run in {self.folder}: let it finish first"
        return saying(f"{what} the batch run in {self.folder}", locked=locked, broken=self._unreadable)

    def _unreadable(self, why: object) -> ConfigError:
        return ConfigError(f"the batch run in {self.folder} cannot be read ({why}): begin another in a new folder")

    def _check_format(self) -> None:
        """Refuse the state of a version that wrote replies otherwise: they are paid, and would be asked again."""
        (begun,) = self._db.execute("select count(*) from sqlite_master").fetchone()
        if begun and self._db.execute("pragma user_version").fetchone() != (_FORMAT,):
            message = f"the batch run in {self.folder} was begun by another version of fewshot"
            raise ConfigError(f"{message}: finish it with that one, or begin another in a new folder")
        self._db.execute(f"pragma user_version = {_FORMAT}")

    def _mend(self) -> None:
        """Have everything asked again whose digest is wrong; without sound facts and parts there is no way on."""
        if not is_whole(self._db):
            self._db.execute("reindex")
            if not is_whole(self._db):
                raise self._unreadable("its file is damaged")
        for table, digest in _DIGEST.items():
            damaged = f"from {table} where seal is not {digest}"
            (count,) = self._db.execute(f"select count(*) {damaged}").fetchone()
            if count and table in ("facts", "parts"):
                raise self._unreadable(f"its {table} are damaged")
            if count and table == "asked":
                _log.warning("fewshot: %d requests of the batch run in %s are damaged: asked again", count, self.folder)
                with self.transaction():
                    self._db.execute(f"delete {damaged}")
                    self._db.execute(f"update rows set done = 0 where seal is {_DIGEST['rows']}")
                    self.note("finished", value=False)

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """Make everything inside durable together, or nothing of it."""
        return transaction(self._db)

    def begin(self) -> None:
        """Begin what is to be durable together."""
        self._db.execute("begin")

    def commit(self) -> None:
        """Make durable what was done since `begin`."""
        self._db.execute("commit")

    def roll_back(self) -> None:
        """Undo what was done since `begin`."""
        if self._db.in_transaction:
            self._db.execute("rollback")

    # -- facts and rows -------------------------------------------------------------------------------------------

    def fact(self, name: str) -> Any:
        """Give a fact about the run; None when it is not there."""
        found = self._db.execute("select value from facts where name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def note(self, name: str, value: Any) -> None:
        """Write down a fact about the run, as JSON."""
        self._db.execute("insert or replace into facts values (?, ?)", (name, json.dumps(value)))

    def add_rows(self, rows: Iterable[Any]) -> str:
        """Store the rows, all of them or none; gives a digest of them."""
        digest = hashlib.sha256()

        def numbered() -> Iterator[tuple[int, str]]:
            for position, row in enumerate(map(_stored, rows)):
                digest.update(row.encode() + b"\n")
                yield position, row

        self._db.execute("delete from rows")
        self._db.executemany("insert into rows (position, row) values (?, ?)", numbered())
        return digest.hexdigest()

    def rows(self, *, undone: bool = False) -> Iterator[tuple[int, Any]]:
        """Give the rows with their positions, in order; on request only those not marked as done."""
        condition, last = "and done = 0" if undone else "", -1
        query = f"{_ROW} where position > ? {condition} order by position limit {_PAGE}"
        while page := self._db.execute(query, (last,)).fetchall():
            for position, row, is_sound in page:
                yield position, self._given(position, row, is_sound)
            last = page[-1][0]

    def mark_done(self, position: int) -> None:
        """Note that nothing is missing for a row."""
        self._db.execute("update rows set done = 1 where position = ?", (position,))

    def row(self, position: int) -> Any:
        """Give one row."""
        return self._given(*self._db.execute(f"{_ROW} where position = ?", (position,)).fetchone())

    def _given(self, position: int, stored: str, is_sound: int) -> Any:
        if not is_sound:
            raise self._unreadable(f"its row {position + 1} is damaged")
        record = json.loads(stored)
        if "fault" in record:
            return InputError(record["fault"])
        if "columns" not in record:
            return record["row"]
        row = Row(record["row"])
        row.record, row.names = record["columns"], record["names"]
        return row

    def count(self, condition: str = "") -> int:
        """Count rows or, with a condition on `asked`, requests."""
        table = f"asked where {condition}" if condition else "rows"
        return int(self._db.execute(f"select count(*) from {table}").fetchone()[0])

    # -- requests -------------------------------------------------------------------------------------------------

    def asked(self, *, key: str | None = None, name: str | None = None) -> Asked | None:
        """Give a request by its key or by its custom id."""
        column, value = ("key", key) if name is None else ("name", name)
        names = Asked.__dataclass_fields__
        row = self._db.execute(f"select {', '.join(names)} from asked where {column} = ?", (value,)).fetchone()
        if row is None:
            return None
        found = dict(zip(names, row, strict=True))
        return Asked(**found | {"dropped": tuple(json.loads(found["dropped"])), "live": bool(found["live"])})

    def name_for(self, run: str, row: int) -> str:
        """Give the next custom id for a request that a row wants first."""
        (count,) = self._db.execute("select count(*) from asked where row = ?", (row,)).fetchone()
        return f"{run}-{row}-{count}"

    def put(self, key: str, name: str, row: int, part: int | None, dropped: tuple[str, ...] = ()) -> None:
        """Write down that a request is in a part, perhaps again."""
        self._db.execute(
            "insert into asked (key, name, row, part, dropped) values (?, ?, ?, ?, ?)"
            " on conflict (key) do update set part = excluded.part, dropped = excluded.dropped",
            (key, name, row, part, json.dumps(dropped)),
        )

    def settle(self, key: str, *, reply: str | None = None, error: str | None = None, live: bool = False) -> None:
        """Write down what came of a request."""
        self._db.execute(
            "update asked set part = null, reply = ?, error = ?, live = ? where key = ?", (reply, error, live, key)
        )

    def release(self, key: str, problem: str, *, counts: bool) -> None:
        """Take a request out of its part, to be asked again; `problem` is the error to end with when tries run out."""
        self._db.execute(
            "update asked set part = null, problem = ?, tries = tries + ? where key = ?", (problem, counts, key)
        )

    def release_part(self, number: int, problem: str, *, counts: bool) -> int:
        """Take whatever has no outcome out of a part, to be asked again; gives how many there were."""
        where = "part = ? and reply is null and error is null"
        return self._db.execute(
            f"update asked set part = null, problem = ?, tries = tries + ? where {where}", (problem, counts, number)
        ).rowcount

    def give_up(self, most: int) -> int:
        """Let every request that was tried so often end with its last problem; gives how many there were."""
        condition = "part is null and reply is null and error is null and tries >= ?"
        return self._db.execute(f"update asked set error = problem where {condition}", (most,)).rowcount

    def forget_errors(self) -> int:
        """Let every request that ended with an error be asked again; gives how many there were."""
        self._db.execute("update rows set done = 0")
        return self._db.execute("update asked set error = null, tries = 0 where error is not null").rowcount

    # -- parts ----------------------------------------------------------------------------------------------------

    def parts(self, *states: State) -> list[Part]:
        """Give the parts in these states, or all, in order."""
        names = Part.__dataclass_fields__
        found = self._db.execute(f"select {', '.join(names)} from parts order by number").fetchall()
        parts = [Part(**dict(zip(names, values, strict=True))) for values in found]
        return [part for part in parts if not states or part.state in states]

    def new_part(self) -> int:
        """Give the number for the next part."""
        return 1 + int(self._db.execute("select coalesce(max(number), 0) from parts").fetchone()[0])

    def add_part(self, number: int, requests: int, known: int) -> None:
        """Write down a part whose file is on the disk."""
        self._db.execute(
            "insert into parts (number, state, requests, known) values (?, 'written', ?, ?)", (number, requests, known)
        )

    def move(self, number: int, state: State, **changes: str | None) -> None:
        """Write down that a part has come further."""
        columns = "".join(f", {name} = ?" for name in changes)
        self._db.execute(f"update parts set state = ?{columns} where number = ?", (state, *changes.values(), number))

    def part_file(self, number: int) -> Path:
        """Name the file of a part that is to be uploaded."""
        return self.folder / f"part-{number:05d}.jsonl"


def _stored(row: Any) -> str:
    """Write a row as JSON, with its columns that are not inputs; one that could not be read is kept with its fault."""
    try:
        if isinstance(row, InputError):
            return json.dumps({"fault": str(row)})
        if not isinstance(row, Row) or (row.record.keys() == row.keys() and not row.names):
            return json.dumps({"row": row})
        taken = {*row.names.values(), *(name for name in row if name not in row.names)}
        others = {name: value for name, value in row.record.items() if name not in taken}
        columns = json.loads(json.dumps(others, default=str))
        return json.dumps({"row": row, "columns": columns, "names": dict(row.names)})
    except TypeError as error:
        raise InputError(f"a row must be a text or a dict of texts and numbers: {error}") from error
