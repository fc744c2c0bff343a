"""Between a running bulk run and the disk: finished rows are saved, many in one commit, and only then reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from fewshot.bulk.checkpoint import Checkpoint, Saved
from fewshot.bulk.records import line_of
from fewshot.data.tables import check_out, is_table, write_table
from fewshot.errors import ConfigError, FewshotError
from fewshot.result import Result

__all__ = ["Finished", "Keeper"]

T = TypeVar("T")
R = TypeVar("R")

Finished = tuple[bytes, object, Result[T]]
"""A finished row: the digest of its inputs, the row as it was given, and its result."""


class Keeper(Generic[T]):
    """Keeps what is finished; without an output, hands it on at once."""

    def __init__(self, report: Callable[[Result[T]], None]) -> None:
        self.spent = 0.0
        """US dollars that earlier parts of the run have cost."""
        self._report = report
        self._checkpoint: Checkpoint | None = None
        self._disk: ThreadPoolExecutor | None = None
        self._unsaved: list[Finished[T]] = []
        self._besides = 0.0
        self._commit: asyncio.Future[None] | None = None
        self._wanted = asyncio.Event()
        self._saving = False

    async def open(self, out: Path, facts: Mapping[str, str], *, resume: bool, retry_failed: bool) -> None:
        """Open the run record of an output; errors as for `Checkpoint`."""
        out = _real(out)
        check_out(out)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="fewshot-disk")

        def opened() -> float:
            self._checkpoint = Checkpoint(out, facts, fresh=not resume, lines=not is_table(out), retry=retry_failed)
            return self._checkpoint.spent

        self.spent = await self._on_disk(opened)

    async def find(self, first: int, keys: Sequence[bytes]) -> tuple[dict[int, Saved], dict[bytes, Saved]]:
        """Look up which rows are done, and which have an equal that is; see `Checkpoint.find`."""
        if self._checkpoint is None:
            return {}, {}
        checkpoint = self._checkpoint
        return await self._on_disk(lambda: checkpoint.find(first, keys))

    def keep(self, rows: Sequence[Finished[T]]) -> None:
        """Have rows saved and then reported."""
        if self._checkpoint is None:
            for _, _, result in rows:
                self._report(result)
            return
        self._unsaved += rows
        self._have_saved()

    def pay(self, cost: float) -> None:
        """Have it saved what an answer cost, in US dollars, that is nobody's result."""
        if self._checkpoint is not None and cost:
            self._besides += cost
            self._have_saved()

    def _have_saved(self) -> None:
        self._commit = self._commit or asyncio.get_running_loop().create_future()
        self._wanted.set()

    async def safe(self) -> None:
        """Wait until everything that was handed in so far is on disk."""
        if self._commit is not None:
            await self._commit

    @property
    def busy(self) -> bool:
        """Whether something is not saved yet."""
        return self._saving or self._commit is not None

    async def work(self) -> None:
        """Save what is handed in, for ever: all that came while the last rows were written goes into one commit.

        Raises:
            ConfigError: the disk does not take it; what was not saved is not reported.
        """
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            rows, besides, commit = self._unsaved, self._besides, self._commit
            if self._checkpoint is None or commit is None:
                continue
            self._unsaved, self._besides, self._commit, self._saving = [], 0.0, None, True
            save = partial(self._checkpoint.save, besides=besides)
            await self._on_disk(lambda: save([_saved(*row) for row in rows]))  # noqa: B023 - awaited here
            self._saving = False
            for _, _, result in rows:
                self._report(result)
            commit.set_result(None)

    async def finish(self, rows: int) -> None:
        """At the end of a complete run of so many rows: put the output in its final form and place."""
        if self._checkpoint is None:
            return
        checkpoint = self._checkpoint

        def finished() -> None:
            checkpoint.finish(rows)
            if is_table(checkpoint.out):
                write_table(checkpoint.out, lambda: (saved.line for saved in checkpoint.saved()))

        await self._on_disk(finished)

    async def close(self) -> None:
        """Let go of the output, also where this is cancelled: whoever goes on with the run may do so at once."""
        if self._disk is not None:
            try:
                if self._checkpoint is not None:
                    await self._on_disk(self._checkpoint.close)
            finally:
                self._disk.shutdown(wait=True)
                if self._checkpoint is not None:
                    self._checkpoint.close()

    async def _on_disk(self, job: Callable[[], R]) -> R:
        """Do something in the one thread that may touch the disk, to its end even when the run is cancelled."""
        assert self._disk is not None  # noqa: S101 - opened with the output
        return await asyncio.get_running_loop().run_in_executor(self._disk, job)


def _real(out: Path) -> Path:
    """Give the file that an output is, links followed once, so that two names of one file have one run record."""
    try:
        real = out.resolve()
        real.with_name(real.name).exists()  # which raises where there is no name, or one that is too long
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links is a RuntimeError
        raise ConfigError(f"{str(out)!r} cannot be an output: {error}; name a file") from None
    return real


def _saved(key: bytes, given: object, result: Result[Any]) -> Saved:
    assert result.row is not None  # noqa: S101 - the engine numbers them
    failed = isinstance(result.error, FewshotError)
    return Saved(result.row, key, line_of(result, given), failed, result.cost or 0.0)
