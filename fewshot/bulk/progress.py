"""The running count of a bulk run, and what a person sees of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from fewshot._progress import Bar, duration
from fewshot.result import Result

__all__ = ["Display", "Tally", "shown", "summary"]

_WARNINGS = 5
"""Kinds of warnings that a summary tells of."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of one run so far."""

    total: int | None = None
    """Rows in all, where that is known beforehand."""
    done: int = 0
    """Rows reported, failed ones and those of an earlier run included."""
    failed: int = 0
    abstained: int = 0
    cached: int = 0
    """Rows answered by the cache or by an equal row."""
    kept: int = 0
    """Rows that an earlier run had done."""
    cost: float = 0.0
    """US dollars that this run has paid."""
    unpriced: int = 0
    """Rows whose price is not known."""
    input_tokens: int = 0
    output_tokens: int = 0
    refusals: int = 0
    """Requests that the service refused for their rate."""
    warned: Counter[str] = field(default_factory=Counter)
    """How many rows came with each warning."""
    in_flight: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, result: Result[object], *, kept: bool) -> None:
        """Count a reported row; one that an earlier run did costs nothing now."""
        self.done += 1
        self.failed += result.error is not None
        self.abstained += result.abstained
        self.warned.update(set(result.warnings))
        if kept:
            self.kept += 1
            return
        self.cached += result.cached
        self.unpriced += result.cost is None and result.attempts > 0
        self.cost += result.cost or 0.0
        self.input_tokens += result.usage.input_tokens
        self.output_tokens += result.usage.output_tokens

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Rows a second, those of an earlier run aside."""
        return (self.done - self.kept) / max(self.seconds, 1e-9)


class Display:
    """Shows a tally on a stream; call it as often as you like, and close it at the end."""

    def __init__(self, stream: TextIO | None = None, *, every: float | None = None, stays: bool = True) -> None:
        """Choose where to show it: as a bar where that is a terminal or a notebook, else as lines.

        Arguments:
            stream: by default standard error.
            every: seconds between two updates; by default what suits the stream.
            stays: leave a bar standing at the end, where no summary follows.
        """
        self._bar = Bar(stream=stream, every=every, stays=stays)

    def __call__(self, tally: Tally) -> None:
        """Show where the run is, unless that was done a moment ago."""
        self._bar.show(tally.done, tally.total, kept=tally.kept, seconds=tally.seconds, extras=_extras(tally))

    def close(self) -> None:
        """Leave the last state standing, and end the line of a bar."""
        self._bar.close()


def shown(progress: bool | Callable[[Tally], None] | None) -> Callable[[Tally], None] | None:
    """Give what is to be called with the count: a display for True, nothing for False and None."""
    if progress is True:
        return Display()
    return progress or None


def summary(tally: Tally) -> str:
    """Tell what a run came to, in one line, and what rows came with, in one line for each kind of warning."""
    parts = [f"{tally.done:,} row{'s' * (tally.done != 1)} in {duration(tally.seconds)}"]
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
