"""Many rows through OpenAI's Batch API, at half the price, with the same answers in the same order as live.

A conversation is not cut up for this: every row goes down the one path of an answer (`_answer`), with a client
that knows the replies which have come so far. What it does not know yet goes into the next batch. So one round
answers most rows; a row that needs another question (after an invalid answer, or for labels that begin alike) is asked
in the next round, or live at the end, which costs the full price and saves a day.

The Batch API has no decisions endpoint, so label probabilities come from log-probabilities: the results are those of
live calls with `decisions=False`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from fewshot import _background_loop as loop
from fewshot._checks import check_count, check_kind
from fewshot.bulk.batch_api.service import batch_api
from fewshot.bulk.batch_api.session import Session
from fewshot.bulk.batch_api.store import BatchStore
from fewshot.bulk.records import facts_of, line_of
from fewshot.errors import ConfigError, InputError, ServiceError
from fewshot.inference.predictor import Predictor
from fewshot.models.connection import Connection, connect
from fewshot.result import Result

__all__ = ["MAX_BYTES", "MAX_REQUESTS", "BatchRun", "BatchStatus"]

T = TypeVar("T")

MAX_REQUESTS = 50_000
MAX_BYTES = 200_000_000
"""The service's limits for one batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """How far a run is."""

    rows: int
    requests: int
    replied: int
    failed: int
    """Requests that ended with an error; their rows have it in their results."""
    batches: tuple[tuple[str, str, int], ...]
    """Id, status and number of requests of each batch, oldest first."""
    finished: bool
    """Whether the results can be read."""

    def to_dict(self) -> dict[str, Any]:
        """Give the status as plain JSON values."""
        return asdict(self) | {"batches": [list(batch) for batch in self.batches]}

    def __str__(self) -> str:
        lines = [
            f"{self.replied:,} of {self.requests:,} requests for {self.rows:,} rows answered, {self.failed:,} failed"
        ]
        lines += [f"{name}  {status}  {count:,} requests" for name, status, count in self.batches]
        return "\n".join([*lines, "finished" if self.finished else "not finished"])


class BatchRun(Generic[T]):
    """One run of a task over many rows; its state is a folder, so that any later process can go on with it.

    Every method may be called again at any time, after a crash too: nothing is sent, and so paid, twice, save for
    requests whose replies the service lost.
    """

    def __init__(
        self,
        task: Predictor[T],
        folder: str | os.PathLike[str],
        *,
        max_requests: int = MAX_REQUESTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Name a run; nothing is read or sent.

        Arguments:
            folder: where the state is kept; it is made by `submit`.
            max_requests: requests in one batch, at most.
            max_bytes: bytes in one batch, at most.
        """
        check_kind("task", task, Predictor, what="a Task")
        check_kind("folder", folder, str, os.PathLike, what="the path of a folder")
        check_count("max_requests", max_requests, least=1)
        check_count("max_bytes", max_bytes, least=1)
        if task.fallback is not None:
            raise InputError(f"{task.name} hands rows on, which a batch cannot: run it live, or each task by itself")
        self.task = task.using(decisions=False)
        self.folder = Path(folder)
        self._limits = (max_requests, max_bytes)

    def submit(self, rows: Iterable[Any] | None = None, *, retry_failed: bool = False) -> BatchStatus:
        """Send the rows off, or go on with sending them.

        Arguments:
            rows: strings or dicts of the task's inputs; may be left out when they are already in the folder.
            retry_failed: ask again what has ended with an error, and what is in a batch whose replies are gone.

        Raises:
            ConfigError: the folder holds a run of another task, model, settings or rows, or is in use.
            ServiceError: the service did not take it; call again to go on.
        """
        return loop.run(self.asubmit(rows, retry_failed=retry_failed))

    def status(self) -> BatchStatus:
        """Ask how far the batches are; errors as for `submit`."""
        return loop.run(self.astatus())

    def fetch(self, *, wait: bool = False, live: bool = False, poll: float = 30.0) -> BatchStatus:
        """Read what has come, and send off what is still needed: expired and failed requests, and further questions.

        Arguments:
            wait: do not return before the run is finished.
            live: when no batch is under way, ask for the rest live instead of by another batch.
            poll: seconds between looks.

        Raises:
            ServiceError: a batch was refused as a whole, or cancelled; `submit` goes on. Or the service gave no answer
                within the timeout: call again. Or the replies of a batch are gone: `submit` with `retry_failed` asks
                for them again.
        """
        return loop.run(self.afetch(wait=wait, live=live, poll=poll))

    def results(self) -> Iterator[Result[T]]:
        """Give the result of every row, in order; one by one, so that any number fits into memory.

        Raises:
            ConfigError: the run is not finished.
        """
        return (result for _, result in self._answered())

    def lines(self) -> Iterator[tuple[bytes, bool]]:
        """Give each row as a bulk run writes it, without the end of line, and whether it failed; see `results`."""
        return ((line_of(result, row), result.error is not None) for row, result in self._answered())

    async def asubmit(self, rows: Iterable[Any] | None = None, *, retry_failed: bool = False) -> BatchStatus:
        """Send the rows off without blocking; see `submit`."""
        check_kind("rows", rows, Iterable, type(None), what="many rows")
        if rows is None and not self._is_there:
            raise InputError(f"there is no batch run in {self.folder} yet: give its rows", field="rows")
        async with self._session() as session:
            if rows is not None:
                _store_rows(session.store, rows)
            if retry_failed:
                await session.give_up_lost()
                session.store.forget_errors()
            session.store.note("finished", value=False)
            session.store.note("stopped", None)
            await session.plan()
            await session.send()
            return _status(session.store)

    async def astatus(self) -> BatchStatus:
        """Ask how far the batches are, without blocking; see `status`."""
        async with self._known_session() as session:
            for part in session.store.parts("created"):
                await session.look(part)
            return _status(session.store)

    async def afetch(self, *, wait: bool = False, live: bool = False, poll: float = 30.0) -> BatchStatus:
        """Read what has come, without blocking; see `fetch`."""
        async with self._known_session() as session:
            while not session.store.fact("finished"):
                under_way = await session.collect()
                stopped = session.store.fact("stopped")
                if stopped and not live:
                    raise ServiceError(f"{stopped}: put that right, then `submit` goes on with what is missing")
                if under_way:
                    await session.send()
                elif live:
                    await session.finish_live()
                elif await session.plan():
                    await session.send()
                if not wait:
                    break
                if session.under_way:
                    await asyncio.sleep(poll)
            return _status(session.store)

    def _answered(self) -> Iterator[tuple[Any, Result[T]]]:
        connection = loop.run(connect(self.task.settings))
        with self._store(connection) as store:
            if not store.fact("finished"):
                raise ConfigError("the batch run is not finished: fetch it first")
            session = Session(self.task, connection, None, store, *self._limits)
            for position, row in store.rows():
                yield row, loop.run(session.result(position, row))

    @property
    def _is_there(self) -> bool:
        return (self.folder / "state.sqlite").is_file()

    def _known_session(self) -> Any:
        if not self._is_there:
            raise InputError(f"there is no batch run in {self.folder}: submit one first")
        return self._session()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """Open the service and the folder, and check that they belong to this task."""
        settings = self.task.settings
        connection = await connect(settings)
        own = None if hasattr(settings.client, "complete") else settings.client
        async with batch_api(
            connection.endpoint,
            own,
            max_retries=settings.max_retries,
            timeout=connection.endpoint.seconds(settings.timeout),
        ) as api:
            with self._store(connection) as store:
                yield Session(self.task, connection, api, store, *self._limits)

    @contextmanager
    def _store(self, connection: Connection) -> Iterator[BatchStore]:
        with BatchStore(self.folder) as store:
            _check_same(store, facts_of(self.task, connection), self.folder)
            yield store


def _check_same(store: BatchStore, facts: dict[str, Any], folder: Path) -> None:
    """Write down what the run is about; later, refuse to mix it with anything else."""
    known = store.fact("about")
    if known is None:
        with store.transaction():
            store.note("about", facts)
            store.note("run", os.urandom(6).hex())
        return
    changed = [name for name in facts if name in known and known[name] != facts[name]]
    if changed:
        was = ", ".join(f"{name} was {known[name]!r:.80} and is {facts[name]!r:.80}" for name in changed)
        raise ConfigError(f"{folder} holds a batch run of something else ({was}): use another folder")


def _store_rows(store: BatchStore, rows: Iterable[Any]) -> None:
    """Keep the rows beside the state; a second time, only check that they are the same."""
    known = store.fact("rows")
    with store.transaction():
        digest = store.add_rows(rows)
        if known is None:
            store.note("rows", digest)
        elif known != digest:  # what was written is undone with the transaction
            raise ConfigError("the rows are not those that this batch run was begun with: use another folder")


def _status(store: BatchStore) -> BatchStatus:
    batches = [(p.batch_id or f"part {p.number}", p.status or p.state, p.requests) for p in store.parts()]
    return BatchStatus(
        rows=store.count(),
        requests=store.count("1"),
        replied=store.count("reply is not null"),
        failed=store.count("error is not null"),
        batches=tuple(batches),
        finished=bool(store.fact("finished")),
    )
