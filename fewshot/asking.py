"""Asking many labelled rows side by side, each result in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from fewshot.connection import Connection
from fewshot.errors import InputError, ServiceError
from fewshot.flow import side_by_side
from fewshot.labelled import Labelled
from fewshot.task import Task
from fewshot.types import Result

__all__ = ["answers"]

_IN_FLIGHT = 16
_IN_FLIGHT_LOCALLY = 2


async def answers(
    task: Task[Any],
    rows: Sequence[Labelled],
    connection: Connection,
    *,
    concurrency: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result[Any]]:
    """Ask all rows, several at a time; a row that fails is a result with its error.

    Arguments:
        progress: called with the number of rows done and of all.

    Raises:
        ServiceError: the whole account is refused. ConfigError: as for a call.
    """
    results: dict[int, Result[Any]] = {}
    waiting = iter(enumerate(rows))

    async def work() -> None:
        for place, row in waiting:
            results[place] = result = await _answer(task, row, connection)
            if isinstance(result.error, ServiceError) and result.error.account:
                raise result.error
            if progress:
                progress(len(results), len(rows))

    workers = concurrency or (_IN_FLIGHT_LOCALLY if connection.local else _IN_FLIGHT)
    await side_by_side(work() for _ in range(min(workers, len(rows))))
    return [results[place] for place in range(len(rows))]


async def _answer(task: Task[Any], row: Labelled, connection: Connection) -> Result[Any]:
    try:
        bound, inputs = task.bind(dict(row.inputs))
        return await bound.answer(inputs, connection, deadline=time.monotonic() + task.settings.timeout)
    except InputError as error:
        return Result(error=error, cost=0.0, inputs=row.inputs)
