"""Blocking calls work anywhere, end when interrupted, and leave nothing open."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from fewshot import _background_loop as loop

ROOT = Path(__file__).resolve().parents[1]


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def broken() -> None:
    raise ValueError("inside")


def test_a_coroutine_runs_to_its_end() -> None:
    assert loop.run(double(4)) == 8
    with pytest.raises(ValueError, match="inside"):
        loop.run(broken())


def test_it_works_inside_a_running_loop_as_in_a_notebook() -> None:
    async def cell() -> int:
        return loop.run(double(4))

    assert asyncio.run(cell()) == 8


def test_waiting_for_oneself_is_an_error_and_not_for_ever() -> None:
    async def inside() -> int:
        return loop.run(double(4))

    with pytest.raises(RuntimeError, match="await the async form"):
        loop.run(inside())


def test_context_variables_are_those_of_the_caller() -> None:
    variable = contextvars.ContextVar("variable", default="none")

    async def read() -> str:
        return variable.get()

    variable.set("mine")
    assert loop.run(read()) == "mine"


def test_many_threads_use_one_loop() -> None:
    async def where() -> int:
        return id(asyncio.get_running_loop())

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(loop.run(where()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def python(code: str, *, interrupt: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if interrupt:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_cancels_the_work() -> None:
    done = python(
        """
        import asyncio, signal
        from fewshot import _background_loop as loop
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
        async def work():
            print("begun", flush=True)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("cancelled", flush=True)
                raise
        try:
            loop.run(work())
        except KeyboardInterrupt:
            async def nothing(): pass
            loop.run(nothing())
            print("interrupted")
        """,
        interrupt=True,
    )
    assert done.stdout.splitlines() == ["cancelled", "interrupted"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_a_loop_of_its_own() -> None:
    done = python(
        """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        from fewshot import _background_loop as loop
        async def two(): return 2
        assert loop.run(two()) == 2
        pid = os.fork()
        if not pid:
            os._exit(loop.run(two()))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), loop.run(two()))
        """
    )
    assert done.stdout == "2 2\n", done.stderr


def test_what_belongs_to_a_loop_is_made_once_there_and_closed_with_it() -> None:
    log: list[str] = []

    async def close(thing: str) -> None:
        log.append(f"closed {thing}")

    names = iter("abc")
    kept = loop.PerLoop(lambda: next(names), close)

    async def use() -> list[str]:
        return [await kept.get(), await kept.get()]

    assert [asyncio.run(use()), asyncio.run(use())] == [["a", "a"], ["b", "b"]]
    assert log == ["closed a", "closed b"]


def test_a_process_ends_quietly_with_its_connections_closed() -> None:
    done = python(
        """
        from fewshot import _background_loop as loop
        async def close(thing): print("closed", thing)
        kept = loop.PerLoop(lambda: "it", close)
        loop.run(kept.get())
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("closed it\n", "", 0)
