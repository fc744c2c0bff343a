"""A task as a plain callable for partition functions: Dask, Spark, or anything that hands out pieces of a table.

    ddf.map_partitions(Partition(task), meta=…)                      # Dask: a data frame in, one out
    df.mapInPandas(Partition(task).over_frames, schema=…)            # Spark: an iterator of data frames
    rdd.mapPartitions(Partition(task).over_rows)                     # anything that gives dicts

It holds the task alone and opens its connections where it runs. A failed row has its reason in a column: an exception
would cost the whole partition, and with it what was paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fewshot.data import frames
from fewshot.data.frames import facts, own_value
from fewshot.errors import ConfigError
from fewshot.result import Result, as_text
from fewshot.task import Task

__all__ = ["COLUMNS", "Partition", "inputs_of", "portable", "record_of"]

COLUMNS: Mapping[str, type] = {
    name: kind or str for name, kind in frames.COLUMNS.items() if name not in ("task", "cached")
}
"""The columns of an answer, every one in every row: texts are empty and numbers NaN where there is nothing to tell."""


class Partition:
    """Answers the rows of one partition after the other."""

    def __init__(self, task: Task[Any], *, prefix: str = "answer_", concurrency: int | None = None) -> None:
        """Wrap a task.

        Arguments:
            prefix: what the names of the answer's columns begin with.
            concurrency: rows of one partition in flight; by default what the service bears.

        Raises:
            ConfigError: the task holds a key or a client, neither of which may travel.
        """
        self.task = portable(task)
        self.prefix = prefix
        self._concurrency = concurrency

    @property
    def columns(self) -> dict[str, type]:
        """The columns that are added, with their types."""
        return {self.prefix + name: kind for name, kind in COLUMNS.items()}

    def __call__(self, frame: Any) -> Any:
        """Give a pandas data frame with the columns of the answers added."""
        import pandas as pd

        rows = frame.to_dict("records")
        answers = pd.DataFrame(list(self._answers(rows)), index=frame.index, columns=list(self.columns))
        return frame.join(answers.astype({name: kind for name, kind in self.columns.items() if kind is not str}))

    def over_frames(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Give each of the data frames with the answers added."""
        return map(self, frames)

    def over_rows(self, rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Give each row as a dict with the answer added."""
        kept: list[dict[str, Any]] = []

        def remembered() -> Iterator[dict[str, Any]]:
            for row in rows:
                kept.append(row.asDict() if hasattr(row, "asDict") else dict(row))  # Spark's Row is a tuple
                yield kept[-1]

        for answer in self._answers(remembered()):
            yield {**kept.pop(0), **answer}

    def _answers(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        for result in self.task.map((inputs_of(self.task, row) for row in rows), concurrency=self._concurrency):
            yield record_of(result, self.prefix)


def portable(task: Task[Any]) -> Task[Any]:
    """Give the task if it may be sent to other machines.

    Raises:
        ConfigError: it holds a key or a client.
    """
    if task.settings.api_key is not None or task.settings.client is not None:
        raise ConfigError(
            "a task that travels to other machines must not hold a key or a client: "
            "set OPENAI_API_KEY in the environment of the workers instead"
        )
    return task


def inputs_of(task: Task[Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Take what the task wants from a row: Python's own values, and None for what is missing."""
    wanted = (name for name in (*task.inputs, *task.parameters) if name in row)
    return {name: own_value(row[name]) for name in wanted}


def record_of(result: Result[Any], prefix: str = "") -> dict[str, Any]:
    """Give an answer as flat columns whose types do not depend on it; see `COLUMNS`."""
    found = facts(result)
    return {prefix + name: _fixed(found[name], kind) for name, kind in COLUMNS.items()}


def _fixed(value: Any, kind: type) -> Any:
    """Give a fact as the type of its column, a text or a float where there is nothing to tell."""
    if kind is str:
        return "" if value is None else as_text(value)
    return float("nan") if value is None else value
