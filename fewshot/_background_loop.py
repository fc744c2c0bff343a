"""One event loop in the background, on which blocking calls run their coroutine.

So everything exists once, as a coroutine; deadlines are true; and a blocking call works inside a running event loop
(a notebook) as anywhere else. The thread is made at first use, once in a process; a forked child makes its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["PerLoop", "run", "side_by_side", "start"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_inherited: list[object] = []
"""What belongs to parent processes: kept, since closing it here would take sockets out of the parent's epoll set."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on the background loop and give what it returns.

    Raises:
        RuntimeError: called from that very loop, which would wait for itself for ever.
    """
    loop, over = _background(coroutine), threading.Lock()
    came: list[T] = []
    failed: list[BaseException] = []
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        try:
            came.append(await coroutine)
        except BaseException as error:  # raised where it is waited for
            failed.append(error)
        finally:
            over.release()

    over.acquire()
    loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(work())))
    try:
        over.acquire()  # a lock alone: a future of `concurrent.futures` doubles what it costs to change threads
    except BaseException:  # Ctrl-C reaches the waiting thread only: the work must end too
        loop.call_soon_threadsafe(lambda: tasks[0].cancel())
        raise
    if failed:
        raise failed.pop()
    return came[0]


def start(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin a coroutine on the background loop, to wait for from another thread; cancelling the future cancels it.

    Raises:
        RuntimeError: called from that very loop, which would wait for itself for ever.
    """
    return asyncio.run_coroutine_threadsafe(coroutine, _background(coroutine))


async def side_by_side(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await jobs together, results in order; the first error cancels the others and is raised itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


class PerLoop(Generic[T]):
    """Something that belongs to one event loop of one process: made at first use there, closed when the loop ends."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._pid = os.getpid()
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]]
        self._made = WeakKeyDictionary()

    async def get(self) -> T:
        """Give the one of the running loop."""
        if self._pid != os.getpid():
            _inherited.append(self._made)
            self._made, self._pid = WeakKeyDictionary(), os.getpid()
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None:
            thing = self._make()
            found = self._made[loop] = (thing, self._closing(loop, thing))
            await anext(found[1])
        return found[0]

    async def aclose(self) -> None:
        """Close the one of the running loop."""
        found = self._made.get(asyncio.get_running_loop())
        if found is not None:
            await found[1].aclose()

    async def _closing(self, loop: asyncio.AbstractEventLoop, thing: T) -> AsyncGenerator[None, None]:
        """Wait for the loop's end, which asyncio announces to nobody but the async generators begun on it."""
        try:
            yield
        finally:
            self._made.pop(loop, None)
            await self._close(thing)


def _background(coroutine: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
    """Give the loop for a coroutine that somebody waits for, which is not the loop itself."""
    global _loop
    if _loop is None:
        with _lock:
            if _loop is None:
                _loop = _start()
    if threading.current_thread() is _thread:
        coroutine.close()
        raise RuntimeError("a blocking call inside the background loop would wait for itself: await the async form")
    return _loop


def _start() -> asyncio.AbstractEventLoop:
    global _thread
    if not _inherited:  # a forked child has these already
        atexit.register(_stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget)
    loop = asyncio.new_event_loop()
    _thread = threading.Thread(target=loop.run_forever, name="fewshot", daemon=True)
    _thread.start()
    return loop


def _stop() -> None:
    """At the process's end: close what is open on the loop, then the loop."""
    if _loop is None or _thread is None:
        return
    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(_loop.shutdown_asyncgens(), _loop).result(timeout=1)
    _loop.call_soon_threadsafe(_loop.stop)
    _thread.join(timeout=1)


def _forget() -> None:
    """In a forked child: the thread is gone, and whoever held the lock is too, so begin anew."""
    global _loop, _lock
    _lock = threading.Lock()
    if _loop is not None:
        _inherited.append(_loop)
        _loop = None
