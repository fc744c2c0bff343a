"""The running count of a bulk run: what a progress bar shows and a summary tells."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from fewshot.result import Result

__all__ = ["Tally"]


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

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at this rate; None where that cannot be told."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate
