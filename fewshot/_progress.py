"""Long work shows itself on standard error: as a bar in a terminal or a notebook, as a line now and then in a log."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

__all__ = ["UNSHOWN", "Bar", "duration", "in_words"]

UNSHOWN = 2.0
"""Seconds of work that nobody asked to see before it shows itself."""
_EVERY = 0.1
_EVERY_IN_A_LOG = 30.0


class Bar:
    """Shows how far one piece of work is; tell it as often as you like, and close it at the end."""

    def __init__(
        self,
        what: str = "",
        *,
        unit: str = "rows",
        stream: TextIO | None = None,
        every: float | None = None,
        after: float = 0.0,
        stays: bool = True,
    ) -> None:
        """Choose where to show it; nothing is shown yet.

        Arguments:
            what: names the work, as `calibrating`.
            stream: by default standard error.
            every: seconds between two updates; by default what suits the stream.
            after: seconds of work before which nothing is shown.
            stays: leave a bar standing at the end.
        """
        self._what = what
        self._unit = unit
        self._stream = stream or sys.stderr
        self._moves = _in_notebook() or self._stream.isatty()
        self._every = every or (_EVERY if self._moves else _EVERY_IN_A_LOG)
        self._began = self._last = time.monotonic()
        self._after = after
        self._state: tuple[int, int | None, int, float, str] | None = None
        self._stays = stays
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def show(
        self, done: int, total: int | None, *, kept: int = 0, seconds: float | None = None, extras: str = ""
    ) -> None:
        """Show where the work is, unless that was done a moment ago.

        Arguments:
            kept: how many of those done were done before this work began.
            seconds: how long it takes so far; by default since this bar was made.
            extras: what else to say, such as how many failed.
        """
        now = time.monotonic()
        self._state = (done, total, kept, now - self._began if seconds is None else seconds, extras)
        if now - self._last >= self._every and now - self._began >= self._after:
            self._last = now
            self._draw()

    def close(self) -> None:
        """Leave the last state standing, unless a bar is to go, and end its line."""
        if self._bar is not None:
            self._draw()
            self._bar.close()
            self._bar = None
            self._moves = False
            self._every = float("inf")

    def _draw(self) -> None:
        assert self._state is not None  # noqa: S101 - `show` has just set it
        done, total, kept, seconds, extras = self._state
        if not self._moves:
            what = f"{self._what}: " if self._what else ""
            told = in_words(done, total, seconds, kept=kept, unit=self._unit, extras=extras)
            print(f"{what}{told}", file=self._stream, flush=True)
            return
        if self._bar is None:
            self._bar = _tqdm(self._stream, self._what, self._unit, stays=self._stays)
            self._bar.start_t -= seconds
        self._bar.total, self._bar.n, self._bar.initial = total, done, kept
        self._bar.set_postfix_str(extras, refresh=False)
        self._bar.refresh()


def in_words(
    done: int, total: int | None, seconds: float, *, kept: int = 0, unit: str = "rows", extras: str = ""
) -> str:
    """Tell in one line: how many of how many, the rate of those done now, and how long the rest will take."""
    rate = (done - kept) / max(seconds, 1e-9)
    of = f" of {total:,}" if total is not None else ""
    left = f", {duration(max(0, total - done) / rate)} left" if total is not None and rate else ""
    return f"{done:,}{of} {unit}, {rate:,.1f} a second{left}" + (f", {extras}" if extras else "")


def duration(seconds: float) -> str:
    """Write a time as a person says it."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if hours < 1 else f"{int(hours)} h {int(minutes % 60)} min"


def _tqdm(stream: TextIO, what: str, unit: str, *, stays: bool) -> Any:
    wide = _in_notebook() and importlib.util.find_spec("ipywidgets") is not None  # which tqdm's bar of its own needs
    tqdm = importlib.import_module("tqdm.notebook" if wide else "tqdm").tqdm
    # With a delay nothing is drawn before the first figures are there.
    shape = {"desc": what or None, "unit": f" {unit}", "dynamic_ncols": True, "leave": stays}
    return tqdm(file=stream, **shape, mininterval=0, delay=1e-9)


def _in_notebook() -> bool:
    """Tell whether a kernel runs this code; that its package is loaded says little."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config
