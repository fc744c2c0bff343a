"""Asking many labelled rows side by side, each result in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fewshot.bulk.map import amap
from fewshot.data.labelled import Labelled
from fewshot.inference.predictor import Predictor
from fewshot.result import Result

__all__ = ["answers"]


async def answers(
    task: Predictor[Any],
    rows: Sequence[Labelled],
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
    results: list[Result[Any]] = []
    async for result in amap(task, [dict(row.inputs) for row in rows], concurrency=concurrency):
        results.append(result)
        if progress:
            progress(len(results), len(rows))
    return results
