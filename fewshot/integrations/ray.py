"""Ray Data: a data set on many machines answered by a pool of actors, each with its own connections.

    ray.init(runtime_env={"env_vars": {"OPENAI_API_KEY": "…"}})
    answers = label(ray.data.read_parquet(source), load("sentiment"), workers=8, rpm=600, checkpoint="/shared/run-1")
    answers.write_parquet(target)

When a worker is lost, Ray asks its block again: rows of one block may be paid twice, none is lost and none comes out
twice. With a checkpoint the same holds when the whole program is lost; the plan must then read, label and write, in
that order.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fewshot._environment import missing
from fewshot.errors import FewshotError
from fewshot.inference.joining import answer_in_turn, connected
from fewshot.integrations.partition import inputs_of, portable, record_of
from fewshot.models.connection import Connection
from fewshot.models.openai_client import OpenAIClient
from fewshot.models.wire.retry import wait_asked
from fewshot.result import Result
from fewshot.task import Task
from fewshot.types import Request

if TYPE_CHECKING:
    import ray.data

__all__ = ["RateKeeper", "TaskRunner", "label"]

_LEASE = 4
"""Permits fetched at once: enough to spare calls, few enough that a lost worker takes little with it."""
_VALID = 0.25
"""Seconds after its time for which a permit may be used; later it is void, or an idle worker would save them up."""

_prepaid: ContextVar[list[float]] = ContextVar("prepaid")
"""Until when the permit for a row's first request may be used."""


def label(
    dataset: ray.data.Dataset,
    task: Task[Any],
    *,
    workers: int = 2,
    rpm: float | None = None,
    rows_per_block: int = 25,
    checkpoint: str | None = None,
    id_column: str = "id",
    prefix: str = "answer_",
    num_cpus: float = 0.25,
) -> ray.data.Dataset:
    """Add the answers of a task to a data set, as columns; nothing is sent before the result is consumed.

    Arguments:
        dataset: its columns named like inputs and parameters of the task are used, all are kept.
        workers: actors; each keeps 16 rows in flight (`RAY_DATA_DEFAULT_ASYNC_ROW_UDF_MAX_CONCURRENCY`).
        rpm: requests a minute of all workers together, retries included.
        rows_per_block: how many rows are saved, and at worst asked again, together.
        checkpoint: folder or bucket that all machines see, where finished rows are noted.
        id_column: a column of texts, different in every row, that names rows in the checkpoint.
        prefix: what the names of the answer's columns begin with; see `fewshot.integrations.partition.COLUMNS`.
        num_cpus: how much of a processor Ray reserves for a worker, which mostly waits.

    Raises:
        ConfigError: Ray is not installed, or the task holds a key or a client.
    """
    try:
        import ray
        from ray.data.checkpoint import CheckpointConfig
    except ImportError as error:
        raise missing("Ray Data needs an extra", "ray") from error
    if checkpoint is not None:
        context = ray.data.DataContext.get_current()
        context.checkpoint_config = CheckpointConfig(id_column=id_column, checkpoint_path=checkpoint)
    keeper = None
    if rpm is not None:
        actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(RateKeeper)
        keeper = actor.remote(rpm)
    # Before the map: otherwise a small data set is one block, so that one worker does all, and saves once, at the end.
    return dataset.repartition(target_num_rows_per_block=rows_per_block).map(
        TaskRunner,
        fn_constructor_args=[portable(task), prefix, keeper],
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=num_cpus,
    )


class TaskRunner:
    """What runs in each actor: rows in, rows with answers out, never an exception."""

    def __init__(self, task: Task[Any], prefix: str = "answer_", keeper: Any = None) -> None:
        self._task = task
        self._prefix = prefix
        self._gate = None if keeper is None else _SharedRate(keeper)
        self._connected: asyncio.Task[Connection] | None = None

    async def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a row."""
        try:
            task, inputs = self._task._bind(inputs_of(self._task, row))
            if self._connected is None:
                self._connected = asyncio.ensure_future(self._connect())
            connection = await self._connected
            if self._gate is not None:
                await self._gate.prepay()
            result = await answer_in_turn(task, inputs, connection)
        except FewshotError as error:  # one exception would fail the block, and in the end the job
            result = Result(error=error)
        return {**row, **record_of(result, self._prefix)}

    async def _connect(self) -> Connection:
        """Open this actor's own connection, on the event loop that Ray gives it."""
        settings = self._task.settings
        connection = await connected(self._task)
        if self._gate is None or connection.local:
            return connection
        client = OpenAIClient(connection.endpoint, max_retries=settings.max_retries, gate=self._gate)
        return replace(connection, client=client)


class RateKeeper:
    """One for all workers: gives permits, each for its own moment, so that together they keep the rate."""

    def __init__(self, rpm: float) -> None:
        self._interval = 60.0 / rpm
        self._next = 0.0

    def lease(self, count: int) -> tuple[float, list[float]]:
        """Give the time that it is here, and from when each of some permits holds."""
        now = time.monotonic()
        first = max(self._next, now)
        self._next = first + count * self._interval
        return now, [first + i * self._interval for i in range(count)]

    def hold(self, seconds: float) -> None:
        """Give no permit for a while: the service asked one of the workers to wait."""
        self._next = max(self._next, time.monotonic() + seconds)


class _SharedRate:
    """A worker's side of the rate: a gate before every HTTP request."""

    def __init__(self, keeper: Any) -> None:
        self._keeper = keeper
        self._times: deque[float] = deque()
        self._asking = asyncio.Lock()
        self._ahead = 0.0
        """How far the keeper's clock is ahead of ours, as the quickest exchange showed it."""
        self._quickest = float("inf")

    async def prepay(self) -> None:
        """Wait for the permit of a row's first request, so that its time-out begins only then."""
        _prepaid.set([await self._permit()])

    async def enter(self, request: Request | None) -> None:  # noqa: ARG002 - every request counts the same
        """Wait until the next HTTP request may go."""
        paid = _prepaid.get([])
        if not paid or time.monotonic() > paid.pop():
            await self._permit()

    def leave(self, request: Request | None, status: int | None, headers: Mapping[str, str]) -> None:  # noqa: ARG002
        """Hear how a request went; let all workers wait when one is asked to."""
        wait = wait_asked(headers) if status == 429 else None
        if wait is not None:
            self._times.clear()
            self._keeper.hold.remote(wait)

    async def _permit(self) -> float:
        """Wait for a permit, and give the time until when it may be used."""
        while True:
            async with self._asking:
                if not self._times:
                    await self._fetch()
                since = self._times.popleft()
            await asyncio.sleep(max(0.0, since - time.monotonic()))
            if time.monotonic() <= since + _VALID:
                return since + _VALID

    async def _fetch(self) -> None:
        """Lease permits, and translate their times into those of our clock (as NTP does: half of the way each)."""
        asked = time.monotonic()
        there, times = await self._keeper.lease.remote(_LEASE)
        took = time.monotonic() - asked
        if took <= self._quickest:
            self._quickest, self._ahead = took, there - (asked + took / 2)
        self._quickest *= 1.05  # clocks drift: what was seen long ago gives way
        self._times.extend(since - self._ahead for since in times)
