"""Many rows through one task: `map` and `amap`, results as a stream, in input order, with flat memory.

With `out` a run is crash-safe: a row is on disk before it is reported, and after a kill the same call goes on where it
was. A row is paid at most once, save for the rows in flight at a crash and replies that were lost on the wire: no
service lets a client do better. Equal rows are asked once: while one of them is in flight, afterwards from the run
record or from the last 10,000 rows, and over runs with `cache=True`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypedDict, TypeVar, Unpack

from fewshot import _background_loop as loop
from fewshot._checks import brief, check_function, check_kind
from fewshot._options import meant, table
from fewshot.bulk.engine import Run
from fewshot.bulk.plan import Plan
from fewshot.bulk.progress import Tally, shown
from fewshot.data.columns import Columns, Stream, read_rows
from fewshot.data.frames import is_frame, map_frame, renamed_frame
from fewshot.errors import InputError
from fewshot.inference.predictor import Predictor
from fewshot.result import Result
from fewshot.settings import Settings

__all__ = ["BulkOptions", "amap", "many_rows", "map", "prepared", "rows_of"]

T = TypeVar("T")

_PROMPT = 0.01
"""Seconds for which rows are gathered from an iterable that gives them slowly."""
_LONGEST_CLOSE = 5.0


class BulkOptions(TypedDict, total=False):
    """How many rows are answered; all may be left out. `Plan` says what each means."""

    concurrency: int | None
    ordered: bool
    rpm: float | None
    tpm: float | None
    max_errors: int | None
    max_cost: float | None
    out: str | os.PathLike[str] | None
    resume: bool
    retry_failed: bool
    facts: Mapping[str, str]
    """With `out`: what else the run is of, such as a digest of the input; a run of other facts is refused."""
    total: int | None
    progress: bool | Callable[[Tally], None] | None
    """True to show it on standard error, or a function that is called with the count."""


def map(task: Predictor[T], rows: Iterable[Any], **options: Unpack[BulkOptions]) -> Iterator[Result[T]]:  # noqa: A001
    """Answer many rows.

    Nothing is asked before the first result is wanted, and rows are read only as results are taken. Closing the
    iterator ends the run; with `out`, what is in flight then gets a moment to be saved.

    Arguments:
        rows: strings, dicts that hold the task's inputs (other columns are kept for the results), or the path of a file
            of any kind that is read (docs/data.md); for series, data frames and Arrow tables see `fewshot.data.frames`.
        options: see `BulkOptions`.

    Returns:
        Results, one for each row; `Result.row` counts from 0. A row that failed has its `error`.

    Raises:
        ServiceError: the account is refused or the service is down, so the run stopped after the results given.
        ConfigError: `out` cannot be written, or belongs to another task, model, settings or rows.
        FewshotError: more than `max_errors` rows failed.
    """
    if is_frame(rows):
        frame: Iterator[Result[T]] = map_frame(task, rows, **options)
        return frame
    return _results(task, iter(many_rows(task, rows)), _plan(rows, options))


def amap(
    task: Predictor[T], rows: Iterable[Any] | AsyncIterable[Any] | Stream, **options: Unpack[BulkOptions]
) -> AsyncGenerator[Result[T], None]:
    """Answer many rows without blocking; rows may come from an async iterable too. See `map`.

    To end a run early, close the iterator: `async with contextlib.aclosing(task.amap(rows)) as results: …`.
    """
    plan = _plan(rows, options)
    if isinstance(rows, AsyncIterable):
        return _stream(Run(task, _Awaited(rows), plan))
    if isinstance(rows, Stream):
        return _stream(Run(task, rows, plan))
    return _stream(Run(task, _Iterated(iter(many_rows(task, rows))), plan))


def prepared(task: Predictor[T], options: Mapping[str, Any]) -> tuple[Predictor[T], BulkOptions]:
    """Part the options of a run from the settings among them, and give the task with these.

    Raises:
        InputError: an option is neither.
    """
    bulk, known = {*table(Plan), "facts", "progress"}, {**table(Plan), **table(Settings)}
    settings = {name: value for name, value in options.items() if name not in bulk}
    for name in settings:
        if name not in known and name not in task.parameters:
            raise InputError(f"unknown option {name!r}{meant(name, known, (*bulk, *task.parameters))}", field=name)
    run: Any = {name: value for name, value in options.items() if name in bulk}
    return (task.using(**settings) if settings else task), run


def rows_of(task: Predictor[Any], rows: Any, columns: Mapping[str, str] | None, encoding: str | None = None) -> Any:
    """Give the rows as they come, or with `columns` under the names that the task has for them.

    Raises:
        InputError: `encoding` is given, and the rows are not a file.
    """
    check_kind("columns", columns, Mapping, type(None), what="a dict of names and columns")
    check_kind("encoding", encoding, str, type(None), what="the name of an encoding")
    if encoding is not None and not _is_path(rows):
        raise InputError("encoding= says how a file is read, and the rows are not one: leave it out", field="encoding")
    if not columns and encoding is None:
        return rows
    if is_frame(rows):
        return renamed_frame(rows, columns or {})
    known = Columns(task, columns or {})
    if _is_path(rows):
        return read_rows(Path(rows), known, encoding=encoding)
    return (known.row(row) if isinstance(row, Mapping) else row for row in many_rows(task, rows))


def _is_path(rows: Any) -> bool:
    return isinstance(rows, os.PathLike) or (isinstance(rows, str) and bool(Path(rows).suffix) and Path(rows).is_file())


def many_rows(task: Predictor[Any], rows: Any) -> Iterable[Any]:
    """Give the rows of a file, or others as they come; raises InputError for what is not many rows."""
    if _is_path(rows):
        return read_rows(Path(rows), task._columns)
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise InputError(f"rows must be many rows, not one {type(rows).__name__}: give a list", field="rows")
    return rows


def _plan(rows: object, options: BulkOptions) -> Plan:
    given: dict[str, Any] = {"total": len(rows) if isinstance(rows, Sized) else None, **options}
    progress = given.pop("progress", None)
    known = table(Plan)
    for name in given:
        if name not in known and name != "facts":
            raise InputError(f"unknown option {name!r}{meant(name, known, ('facts', 'progress'))}", field=name)
    if not (progress is None or isinstance(progress, bool)):
        check_function("progress", progress, 1)
    facts = given.get("facts", {})
    if not isinstance(facts, Mapping) or not all(isinstance(text, str) for fact in facts.items() for text in fact):
        raise InputError(f"facts={brief(facts)}: give texts by name, as a dict", field="facts")
    return Plan(**given, watch=shown(progress))


async def _stream(run: Run[T]) -> AsyncGenerator[Result[T], None]:
    async with aclosing(run.batches()) as batches:
        async for batch in batches:
            for result in batch:
                yield result


# -- where rows come from ---------------------------------------------------------------------------------------------


class _Iterated:
    """Rows of an iterable, some at a time, fewer when they come slowly; read where `pull` is called."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self._error: Exception | None = None

    async def take(self, most: int) -> Sequence[object]:
        """Give the next rows."""
        return self.pull(most)

    def pull(self, most: int) -> list[object]:
        """Give the next rows; an error of the iterable only after the rows that came before it."""
        taken: list[object] = []
        end = time.perf_counter() + _PROMPT
        try:
            if self._error is not None:
                raise self._error
            for row in self._rows:
                taken.append(row)
                if len(taken) == most or time.perf_counter() > end:
                    break
        except Exception as error:
            if not taken:
                raise
            self._error = error
        return taken


class _Awaited:
    """Rows of an async iterable, one at a time."""

    def __init__(self, rows: AsyncIterable[Any]) -> None:
        self._rows = aiter(rows)

    async def take(self, most: int) -> Sequence[object]:  # noqa: ARG002 - there may be a long wait for a second one
        """Give the next row."""
        try:
            return [await anext(self._rows)]
        except StopAsyncIteration:
            return []


class _Handed:
    """Rows that the caller's thread reads when the engine asks for them: its iterable may belong to that thread."""

    def __init__(self, inbox: SimpleQueue[Any]) -> None:
        self._inbox = inbox

    async def take(self, most: int) -> Sequence[object]:
        """Ask the caller for rows; the wish waits its turn behind the results that were not taken yet."""
        wish: Future[list[object]] = Future()
        self._inbox.put((most, wish))
        return await asyncio.wrap_future(wish)


# -- blocking: the engine runs on the background loop -----------------------------------------------------------------


def _results(task: Predictor[T], rows: Iterator[Any], plan: Plan) -> Iterator[Result[T]]:
    inbox: SimpleQueue[list[Result[T]] | tuple[int, Future[list[object]]] | None] = SimpleQueue()
    source = _Iterated(rows)
    job = loop.start(_relay(Run(task, _Handed(inbox), plan), inbox))
    try:
        while (message := inbox.get()) is not None:
            if isinstance(message, list):
                yield from message
                continue
            most, wish = message
            if wish.set_running_or_notify_cancel():
                try:
                    wish.set_result(source.pull(most))
                except Exception as error:  # it ends the run, which raises it
                    wish.set_exception(error)
        job.result()
    finally:
        if not job.done():
            job.cancel()
            _wait_for_end(inbox)


async def _relay(run: Run[T], inbox: SimpleQueue[Any]) -> None:
    try:
        async with aclosing(run.batches()) as batches:
            async for batch in batches:
                inbox.put(batch)
    finally:
        inbox.put(None)


def _wait_for_end(inbox: SimpleQueue[Any]) -> None:
    """Wait until the engine has saved what it could and let go of the output."""
    end = time.monotonic() + _LONGEST_CLOSE
    try:
        while inbox.get(timeout=max(0.0, end - time.monotonic())) is not None:
            pass
    except Empty:
        return
