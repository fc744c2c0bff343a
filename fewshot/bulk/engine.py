"""The engine of bulk runs: rows in, results out, a bounded number of both in memory.

A feeder takes rows from the source and sorts them: done in an earlier run, equal to another, not valid, or to be asked.
Workers ask, each one row at a time, when the limits let them. What is finished is saved before it is reported.

Order and memory: rows go out in the order in which they came, from a window much wider than the number in flight, so
that one slow row does not hold up the others. The source is asked for more only when the consumer has taken results.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from fewshot._checks import called
from fewshot.bulk.checkpoint import Saved
from fewshot.bulk.plan import Plan
from fewshot.bulk.progress import Display, Tally
from fewshot.bulk.records import facts_of, given_again, key_of_row, result_of, said_by
from fewshot.bulk.saver import Finished, Keeper
from fewshot.data.columns import Row
from fewshot.errors import ConfigError, FewshotError, InputError, ServiceError
from fewshot.inference.joining import answer_in_turn, connected
from fewshot.inference.predictor import Predictor
from fewshot.models.budget import Budget, with_budget
from fewshot.models.connection import Connection
from fewshot.models.rate_limits import LONGEST_HOLD, Limits, limited
from fewshot.models.wire.protocol import NO_FILES
from fewshot.result import Result

__all__ = ["Run", "Source"]

T = TypeVar("T")

_WINDOW, _LEAST_WINDOW = 16, 1024
"""Rows between the oldest that is not reported and the newest that was read: so many times the rows in flight."""
_AHEAD = 4
_REMEMBERED = 10_000
"""Finished rows whose equals get the same answer, where no record on disk remembers all of them."""
_BREAKER = 20
"""So many rows in a row that the service failed mean that it is down."""
_HOLDS = 8
"""How often a row that was refused for its rate is asked again, each time when the whole run may go on."""
_HELD = 0.25
"""A row that stood before the gate for more than this share of its time has not had its chance."""
_PATIENCE = 60.0
"""Seconds that rows in flight are waited for when a run stops, where no timeout says it."""
_GRACE = 1.5
"""Seconds that rows in flight have to end when a run is interrupted."""


class Source(Protocol):
    """Where rows come from."""

    async def take(self, most: int) -> Sequence[object]:
        """Give the next rows, as many as are there and at least one; none at the end."""
        ...


@dataclass(slots=True, eq=False)
class _Row:
    """One row on its way."""

    position: int
    given: object
    key: bytes
    task: Predictor[Any]
    inputs: Mapping[str, Any]
    error: InputError | None = None
    equals: list[_Row] = field(default_factory=list)
    """Equal rows that wait for the answer to this one."""


class Run(Generic[T]):
    """One run of a task over a source of rows. Belongs to one event loop, and runs once."""

    def __init__(self, task: Predictor[T], source: Source, plan: Plan) -> None:
        self.tally = Tally(total=plan.total)
        self._task = task
        self._source = source
        self._plan = plan
        self._patience = task.settings.timeout or _PATIENCE
        self._keeper: Keeper[T] = Keeper(self._report)
        self._limits: Limits
        self._connection: Connection
        self._jobs: set[asyncio.Task[None]] = set()
        self._workers = self._idle = 0
        self._queue: asyncio.Queue[_Row] = asyncio.Queue()
        self._flights: dict[bytes, _Row] = {}
        self._remembered: dict[bytes, tuple[Any, ...]] = {}
        self._ready: dict[int, Result[T]] = {}
        self._moved = asyncio.Event()
        self._news = asyncio.Event()
        self._fed = self._gone = self._failed = self._streak = 0
        self._fed_all = self._stopping = self._stopped = False
        self._error: BaseException | None = None
        self._source_error: BaseException | None = None

    async def batches(self) -> AsyncGenerator[list[Result[T]], None]:
        """Give results as they come, some at a time.

        Raises:
            FewshotError: what stopped the run, after the results that there are.
        """
        try:
            await self._open()
            self._start(self._keeper.work())
            self._start(self._feed())
            self._spawn()
            while not self._complete:
                self._news.clear()
                if batch := self._collect():
                    self._moved.set()
                    self._show()
                    yield batch
                elif self._stopped:
                    break
                else:
                    await self._news.wait()
            if error := self._error or self._source_error:
                raise error
            await self._keeper.finish(self._fed)
        finally:
            await self._close()

    @property
    def _complete(self) -> bool:
        return self._fed_all and self._gone == self._fed

    # -- beginning and end ----------------------------------------------------------------------------------------

    async def _open(self) -> None:
        plan = self._plan
        connection = await connected(self._task)
        self._limits = Limits(concurrency=plan.concurrency, rpm=plan.rpm, tpm=plan.tpm, local=connection.local)
        if plan.out is not None:
            facts = {**facts_of(self._task, connection), **plan.facts}
            await self._keeper.open(plan.out, facts, resume=plan.resume, retry_failed=plan.retry_failed)
        self._connection = self._bounded(self._task, connection)

    def _bounded(self, task: Predictor[Any], connection: Connection, budget: Budget | None = None) -> Connection:
        """Put a connection, and those of the tasks that follow, under the limits and the one budget of the run."""
        if (most := self._plan.max_cost) is not None:
            own = task.settings.price
            connection, budget = with_budget(connection, most, spent=self._keeper.spent, own=own, shared=budget)
        if task.fallback is None or connection.further is None:
            return limited(connection, self._limits)
        further = self._bounded(task.fallback.task, connection.further, budget)
        return limited(replace(connection, further=further), self._limits)

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        """Run a part of the engine beside the others; when it fails, the run does."""
        task = asyncio.get_running_loop().create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._job_ended)

    def _job_ended(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stop(error, grace=0 if isinstance(error, ConfigError) else self._patience)

    def _stop(self, error: BaseException, *, grace: float) -> None:
        """Begin nothing more; what is in flight may end, and then the run raises this error."""
        if self._error is None and not self._stopping:
            self._error = error
            self._stopping = True
            self._limits.close()
            self._start(self._end(grace))

    async def _end(self, grace: float) -> None:
        await self._drain(grace)
        self._stopped = True
        self._news.set()

    async def _drain(self, grace: float) -> None:
        """Wait until nothing is on the wire and all that came is saved, but no longer than this."""
        end = time.monotonic() + grace
        while time.monotonic() < end:
            await asyncio.sleep(0.01)  # a reply that has come takes some turns of the loop to be a result
            if not (self._limits.sending or self._keeper.busy):
                return

    async def _close(self) -> None:
        """End everything; when the run is cut short, what is in flight gets a moment to be saved."""
        if self._plan.out is not None and self._jobs and not (self._complete or self._stopping):
            self._stopping = True
            self._limits.close()
            await self._drain(_GRACE)
        self._stopping = True
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await self._keeper.close()
        if isinstance(self._plan.watch, Display):
            self._plan.watch.close()

    # -- in -------------------------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Take rows from the source as there is room for them."""
        while not self._stopping:
            limit = self._limits.limit
            window = max(_LEAST_WINDOW, _WINDOW * limit)
            most = min(2 * limit + _AHEAD - self._queue.qsize(), window - self._fed + self._gone)
            if most <= 0:
                self._moved.clear()
                await self._moved.wait()
                continue
            try:
                taken = await self._source.take(most)
            except Exception as error:  # raised when the rows that came before it are done
                self._source_error = error
                break
            rows = [self._row(position, given) for position, given in enumerate(taken, self._fed)]
            if not rows:
                break
            done, equal = await self._keeper.find(self._fed, [row.key for row in rows])
            self._fed += len(rows)
            for row in rows:
                self._sort(row, done.get(row.position), equal.get(row.key))
        self._fed_all = not self._stopping
        self._news.set()

    def _row(self, position: int, given: object) -> _Row:
        """Check a row; what is wrong with it becomes its result."""
        try:
            if isinstance(given, InputError):
                raise given
            if isinstance(given, Mapping) and not isinstance(given, Row):
                given = self._task._columns.row(given)
            task, inputs = self._task._bind_row(given)
            return _Row(position, given, key_of_row(task, inputs), task, inputs)
        except InputError as problem:
            error = _in_row(position, problem)
        inputs = given if isinstance(given, Mapping) else {} if isinstance(given, InputError) else {"given": given}
        return _Row(position, given, key_of_row(self._task, {"problem": str(error)}), self._task, inputs, error)

    def _sort(self, row: _Row, done: Saved | None, equal: Saved | None) -> None:
        """Send a row where it belongs: out, to the disk, to an equal row, or to be asked."""
        if done is not None:
            self._report(result_of(done.line, row.task), kept=True)
        elif row.error is not None:
            self._settle(row, Result(error=row.error, inputs=row.inputs, row=row.position, task=self._task.name))
        elif (known := self._remembered.get(row.key)) is not None:
            self._keeper.keep([_finished(row, given_again(known, row.position))])
        elif equal is not None:
            said = said_by(result_of(equal.line, row.task))
            self._keeper.keep([_finished(row, given_again(said, row.position))])
        elif (ahead := self._flights.get(row.key)) is not None:
            ahead.equals.append(row)
        else:
            self._flights[row.key] = row
            self._queue.put_nowait(row)

    # -- asking ---------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        """Keep one worker more than there are busy ones, as far as that makes sense."""
        if not self._idle and self._workers <= 2 * self._limits.most and not self._stopping:
            self._workers += 1
            self._idle += 1
            self._start(self._work())

    async def _work(self) -> None:
        """Ask one row after the other, and hold the ticket of each until its answer is safe."""
        while True:
            row = await self._queue.get()
            if self._queue.qsize() <= self._limits.limit:
                self._moved.set()
            ticket = await self._limits.admit()
            self._idle -= 1
            self._spawn()
            result: Result[T] | None = None
            try:
                result = await self._answer(row)
                for _ in range(_HOLDS):
                    if not self._is_held(result.error, ticket.waited / self._patience):
                        break
                    await self._limits.again(ticket)
                    result = await self._answer(row)
                self._settle(row, result)
                await self._keeper.safe()
            finally:
                self._limits.release(ticket, None if result is None else result.usage)
            self._idle += 1

    async def _answer(self, row: _Row) -> Result[T]:
        task = row.task
        try:
            result = await answer_in_turn(task, row.inputs, self._connection)
        except InputError as problem:
            result = Result(error=_in_row(row.position, problem), inputs=row.inputs, task=task.name)
        object.__setattr__(result, "row", row.position)  # nobody else has it yet, and a copy of 30 fields costs
        return result

    def _is_held(self, error: FewshotError | None, waited: float) -> bool:
        """Tell whether a row failed only since the run was held up: by the rate, by files, or it `waited` too long."""
        if not isinstance(error, ServiceError):
            return False
        if error.code == NO_FILES:
            self._limits.crowded()
            return True
        refused = error.status == 429 and (error.retry_after is None or error.retry_after <= LONGEST_HOLD)
        return error.transient and (refused or waited > _HELD)

    def _settle(self, row: _Row, result: Result[T]) -> None:
        """A row has its answer, or failed for good, and its equals with it."""
        error = result.error
        self._flights.pop(row.key, None)
        if isinstance(error, ServiceError) and error.account:  # nobody's result: every other row would end the same
            self._keeper.pay(result.cost or 0.0)
            self._stop(self._told(error, ""), grace=self._patience)
            return
        if error is None:
            self._remember(row.key, said_by(result))
        equals = [_finished(r, given_again(said_by(result), r.position)) for r in row.equals]
        self._keeper.keep([_finished(row, result), *equals])
        self._judge(error)

    def _judge(self, error: FewshotError | None) -> None:
        """Stop the run when too many rows failed, or the service failed too many one after the other."""
        most = self._plan.max_errors
        self._failed += error is not None
        if error is None:
            self._streak = 0
            return
        if most is not None and self._failed > most:
            message = f"{self._failed:,} rows failed, more than max_errors={most}; the last: {error}"
            self._stop(FewshotError(message), grace=self._patience)
        if isinstance(error, ServiceError) and (error.transient or _is_of_every_row(error)):
            self._streak += 1
            if self._streak >= _BREAKER:
                down = "the service seems to be down" if error.transient else "every row seems to end so"
                why = f"{self._streak} rows failed one after the other, so {down}; the last: "
                self._stop(self._told(error, why), grace=_GRACE)

    def _told(self, error: ServiceError, why: str) -> ServiceError:
        """Say in an error that it ended the run, and how to go on."""
        told = copy.copy(error)
        go_on = "; the same call goes on from there" if self._plan.out else ""
        told.args = (f"{why}{error}. The run stopped after {self.tally.done:,} rows{go_on}",)
        return told

    def _remember(self, key: bytes, said: tuple[Any, ...]) -> None:
        if len(self._remembered) >= _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[key] = said

    # -- out ------------------------------------------------------------------------------------------------------

    def _report(self, result: Result[T], *, kept: bool = False) -> None:
        assert result.row is not None  # noqa: S101 - all rows are numbered
        self.tally.add(result, kept=kept)
        self._ready[result.row] = result
        self._news.set()

    def _collect(self) -> list[Result[T]]:
        """Take what may go out now: the next ones in order, or whatever is ready; after a stop, all that is left."""
        ready = self._ready
        batch: list[Result[T]] = []
        if self._plan.ordered:
            while (result := ready.pop(self._gone + len(batch), None)) is not None:
                batch.append(result)
        if not batch and (self._stopped or not self._plan.ordered):
            batch = [ready[position] for position in sorted(ready)]
            ready.clear()
        self._gone += len(batch)
        return batch

    def _show(self) -> None:
        if self._plan.watch is not None:
            self.tally.in_flight, self.tally.refusals = self._limits.busy, self._limits.refusals
            called("progress", self._plan.watch, self.tally)


def _is_of_every_row(error: ServiceError) -> bool:
    """Tell whether the request as such was refused, and not the text of one row."""
    return error.status in (400, 404, 407, 413, 422) and error.code != "content_filter"


def _in_row(position: int, problem: InputError) -> InputError:
    return InputError(f"row {position + 1}: {problem}", field=problem.field, row=position)


def _finished(row: _Row, result: Result[T]) -> Finished[T]:
    return row.key, row.given, result
