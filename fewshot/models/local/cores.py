"""How many processor cores are free for a model: measured, since a count knows nothing of quotas and neighbours."""

from __future__ import annotations

import hashlib
import os
import threading
import time

__all__ = ["free_cores"]

_MOST = 8
"""More threads than these do not make a small model faster."""
_WORK = bytes(1 << 25)
"""Hashed once by every thread: some 20 to 100 ms, longer than a scheduler's turn."""
_PATIENCE = 1.5
"""A core counts as free when its share of the work takes at most this many times what it took one thread alone."""


def free_cores() -> int:
    """Measure how many threads can work side by side without waiting for each other; takes a fraction of a second."""
    count = min(_MOST, _usable())
    alone = _slowest(1).processor
    while count > 1 and _slowest(count).wall > _PATIENCE * alone:
        count //= 2
    return count


def _usable() -> int:
    """Give the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Share(threading.Thread):
    """One thread's share of the work, and the seconds that it took."""

    wall = processor = 0.0

    def run(self) -> None:
        began, worked = time.perf_counter(), time.thread_time()
        hashlib.sha256(_WORK).digest()  # lets the other threads run meanwhile
        self.wall, self.processor = time.perf_counter() - began, time.thread_time() - worked


def _slowest(count: int) -> _Share:
    shares = [_Share(daemon=True) for _ in range(count)]
    for share in shares:
        share.start()
    for share in shares:
        share.join()
    return max(shares, key=lambda share: share.wall)
