"""What a person sees of a bulk run: one line that moves in a terminal or a notebook, a line now and then in a log.

In a terminal and a notebook tqdm draws it, where the extra `bulk` is installed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from fewshot.bulk.tally import Tally

__all__ = ["Display", "shown", "summary"]

_EVERY = 0.1
_EVERY_IN_A_LOG = 30.0


class Display:
    """Shows a tally on a stream; call it as often as you like, and close it at the end."""

    def __init__(self, stream: TextIO | None = None, *, every: float | None = None) -> None:
        """Choose where to show it: as a bar where that is a terminal or a notebook, else as lines.

        Arguments:
            stream: by default standard error.
            every: seconds between two sights; by default what suits the stream.
        """
        self._stream = stream or sys.stderr
        self._every = every
        self._bar: Any = None
        self._tally: Tally | None = None
        self._last = 0.0

    def __call__(self, tally: Tally) -> None:
        """Show where the run is, unless that was done a moment ago."""
        now = time.monotonic()
        if self._tally is None:
            self._bar, self._last = _bar(self._stream), now
            self._every = self._every or (_EVERY_IN_A_LOG if self._bar is None else _EVERY)
        self._tally = tally
        if now - self._last >= (self._every or 0.0):
            self._last = now
            self._draw(tally)

    def close(self) -> None:
        """Leave the last state standing, and end the line of a bar."""
        if self._bar is not None and self._tally is not None:
            self._draw(self._tally)
            self._bar.close()
            self._bar = None

    def _draw(self, tally: Tally) -> None:
        if self._bar is None:
            print(told(tally), file=self._stream, flush=True)
            return
        self._bar.total, self._bar.n, self._bar.initial = tally.total, tally.done, tally.kept
        self._bar.set_postfix_str(_extras(tally), refresh=False)
        self._bar.refresh()


def shown(progress: bool | Callable[[Tally], None] | None) -> Callable[[Tally], None] | None:
    """Give what is to be called with the count: a display for True, nothing for False and None."""
    if progress is True:
        return Display()
    return progress or None


def told(tally: Tally) -> str:
    """Tell where a run is, in one line."""
    of = f" of {tally.total:,}" if tally.total is not None else ""
    left = "" if tally.seconds_left is None else f", {_duration(tally.seconds_left)} left"
    extras = _extras(tally)
    return f"{tally.done:,}{of} rows, {tally.rate:,.1f} a second{left}" + (f", {extras}" if extras else "")


_WARNINGS = 5
"""Kinds of warnings that a summary tells of."""


def summary(tally: Tally) -> str:
    """Tell what a run came to, in one line, and what rows came with, in one line for each kind of warning."""
    parts = [f"{tally.done:,} row{'s' * (tally.done != 1)} in {_duration(tally.seconds)}"]
    parts += [f"{count:,} {what}" for what, count in _counts(tally)]
    if tally.input_tokens:
        parts.append(f"{tally.input_tokens:,} tokens in, {tally.output_tokens:,} out")
    parts.append(_money(tally))
    warned = [f"{count:,} row{'s' * (count != 1)}: {text}" for text, count in tally.warned.most_common(_WARNINGS)]
    return "\n".join([", ".join(part for part in parts if part), *warned])


def _extras(tally: Tally) -> str:
    return ", ".join([f"{count:,} {what}" for what, count in _counts(tally)] + [m for m in [_money(tally)] if m])


def _counts(tally: Tally) -> list[tuple[str, int]]:
    counts = {"failed": tally.failed, "abstained": tally.abstained, "from cache": tally.cached, "kept": tally.kept}
    return [(what, count) for what, count in counts.items() if count]


def _money(tally: Tally) -> str:
    if tally.unpriced:
        return "price not known"
    return f"${tally.cost:.4f}" if tally.cost else ""


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if hours < 1 else f"{int(hours)} h {int(minutes % 60)} min"


def _bar(stream: TextIO) -> Any:
    notebook = _in_notebook()
    if not notebook and not stream.isatty():
        return None
    try:
        if notebook:
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
    except ImportError:
        return _Line(stream) if stream.isatty() else None
    return tqdm(file=stream, unit=" rows", dynamic_ncols=True, leave=True, mininterval=0)


def _in_notebook() -> bool:
    """Tell whether a kernel runs this code; that its package is loaded says little."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


class _Line:
    """One line that is written over, where tqdm is not installed."""

    total: int | None = None
    initial = 0
    n = 0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._extras = ""
        self._started = time.monotonic()
        self._length = 0

    def set_postfix_str(self, extras: str, *, refresh: bool) -> None:  # noqa: ARG002 - as tqdm has it
        """Set what stands at the end of the line."""
        self._extras = extras

    def refresh(self) -> None:
        """Write the line again."""
        tally = Tally(total=self.total, done=self.n, kept=self.initial, started=self._started)
        text = told(tally) + (f", {self._extras}" if self._extras else "")
        self._stream.write("\r" + text.ljust(self._length))
        self._stream.flush()
        self._length = len(text)

    def close(self) -> None:
        """End the line."""
        self._stream.write("\n")
        self._stream.flush()
