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
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fewshot._environment import missing
from fewshot.errors import FewshotError
from fewshot.inference.joining import answer_in_turn, connected
from fewshot.integrations.partition import inputs_of, portable, record_of
from fewshot.models.connection import Connection
from fewshot.models.rate_limits import Limits, limited
from fewshot.result import Result
from fewshot.task import Task

if TYPE_CHECKING:
    import ray.data

__all__ = ["TaskRunner", "label"]


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
        rpm: requests a minute of all workers together, retries included: each has an equal share.
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
    # Before the map: otherwise a small data set is one block, so that one worker does all, and saves once, at the end.
    return dataset.repartition(target_num_rows_per_block=rows_per_block).map(
        TaskRunner,
        fn_constructor_args=[portable(task), prefix, rpm and rpm / workers],
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=num_cpus,
    )


class TaskRunner:
    """What runs in each actor: rows in, rows with answers out, never an exception."""

    def __init__(self, task: Task[Any], prefix: str = "answer_", rpm: float | None = None) -> None:
        self._task = task
        self._prefix = prefix
        self._rpm = rpm
        self._connected: asyncio.Task[tuple[Connection, Limits]] | None = None

    async def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a row, which keeps to the limits of this actor as a row of a bulk run does to those of its run."""
        try:
            task, inputs = self._task._bind(inputs_of(self._task, row))
            if self._connected is None:
                self._connected = asyncio.ensure_future(self._connect())
            connection, limits = await self._connected
            ticket = await limits.admit()
            try:
                result = await answer_in_turn(task, inputs, connection)
            finally:
                limits.release(ticket)
        except FewshotError as error:  # one exception would fail the block, and in the end the job
            result = Result(error=error)
        return {**row, **record_of(result, self._prefix)}

    async def _connect(self) -> tuple[Connection, Limits]:
        """Open this actor's own connection, on the event loop that Ray gives it."""
        connection = await connected(self._task)
        limits = Limits(rpm=self._rpm, local=connection.local)
        return _limited(connection, limits), limits


def _limited(connection: Connection, limits: Limits) -> Connection:
    """Put a connection and those of the tasks that follow under the same limits."""
    if connection.further is not None:
        connection = replace(connection, further=_limited(connection.further, limits))
    return limited(connection, limits)
