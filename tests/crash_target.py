"""What the crash harnesses run and kill: `crash_target.py IN OUT PORT CONCURRENCY [DEFECT]`.

It labels the rows of a JSONL file into a crash-safe output, says `ACK id` when a row that was asked now is reported,
and `DONE` at the end. With the name of a defect it makes that mistake, so that a harness can show that it would see it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fewshot
from fewshot.bulk import checkpoint, engine
from fewshot.bulk import saver as keeper
from fewshot.errors import ServiceError
from fewshot.types import Completion, Request, Usage


class Plain:
    """A client of a few lines, since a process that is killed a thousand times should start quickly."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        turns = [{"role": turn.role, "content": turn.content} for turn in request.chat]
        body = json.dumps({"model": request.model, "messages": turns, "max_tokens": request.max_tokens}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\n"
        head += f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        try:
            status, _, content = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        if b" 200 " not in status[:20]:
            raise ServiceError(f"refused: {status[:40]!r}", transient=True)
        found = json.loads(content)
        usage = Usage(found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"])
        return Completion(text=found["choices"][0]["message"]["content"], model=found["model"], usage=usage)


def main(inp: str, out: str, port: str, concurrency: str, defect: str = "") -> None:
    if defect:
        DEFECTS[defect]()
    task = fewshot.load("sentiment", client=Plain(int(port)), model="chaos-1", k=4)
    rows = [json.loads(line) for line in Path(inp).read_bytes().split(b"\n") if line]
    for result in task.map(rows, out=out, concurrency=int(concurrency), max_errors=0):
        if result.attempts:  # asked now, and not restored or equal to another
            assert result.row is not None
            os.write(1, f"ACK {rows[result.row]['id']}\n".encode())
    os.write(1, b"DONE\n")


# -- mistakes, each of which a harness must catch -------------------------------------------------------------------


def report_before_saving() -> None:
    plain_keep, plain_init = keeper.Keeper.keep, keeper.Keeper.__init__

    def init(self: Any, report: Any) -> None:
        plain_init(self, lambda _: None)
        self.report_now = report

    def keep(self: Any, rows: Sequence[Any]) -> None:
        plain_keep(self, rows)
        for _, _, result in rows:
            self.report_now(result)

    keeper.Keeper.__init__, keeper.Keeper.keep = init, keep  # type: ignore[method-assign]


def save_at_the_end() -> None:
    kept: list[Any] = []
    plain = checkpoint.Checkpoint.save

    def finish(self: Any) -> None:
        plain(self, kept)
        self._sync_output()

    checkpoint.Checkpoint.save = lambda self, rows: kept.extend(rows)  # type: ignore[method-assign]
    checkpoint.Checkpoint.finish = finish  # type: ignore[method-assign]


def moved(saved: checkpoint.Saved, position: int) -> checkpoint.Saved:
    line = json.dumps({**json.loads(saved.line), "row": position}).encode()
    return replace(saved, position=position, line=line)


def resume_by_count() -> None:
    def find(self: Any, first: int, keys: Sequence[bytes]) -> Any:
        if not hasattr(self, "before"):
            self.before = list(self.saved())
        wanted = range(first, min(first + len(keys), len(self.before)))
        return {position: moved(self.before[position], position) for position in wanted}, {}

    checkpoint.Checkpoint.find = find  # type: ignore[method-assign]


def resume_by_text() -> None:
    def find(self: Any, first: int, keys: Sequence[bytes]) -> Any:
        if not hasattr(self, "texts"):
            self.texts = {saved.key: saved for saved in self.saved()}
        rows = enumerate(keys, first)
        return {position: moved(self.texts[key], position) for position, key in rows if key in self.texts}, {}

    checkpoint.Checkpoint.find = find  # type: ignore[method-assign]


def forget_what_is_done() -> None:
    checkpoint.Checkpoint.find = lambda self, first, keys: ({}, {})  # type: ignore[method-assign,misc]


def ask_twice() -> None:
    plain = engine.Run._answer

    async def answer(self: Any, row: Any) -> Any:
        await plain(self, row)
        return await plain(self, row)

    engine.Run._answer = answer  # type: ignore[method-assign]


def run_ahead_of_the_disk() -> None:
    async def safe(self: Any) -> None: ...

    plain = checkpoint.Checkpoint.save

    def save(self: Any, rows: Sequence[Any]) -> None:
        time.sleep(0.2)
        plain(self, rows)

    keeper.Keeper.safe, checkpoint.Checkpoint.save = safe, save  # type: ignore[method-assign]


def lax(level: str) -> Callable[[], None]:
    def defect() -> None:
        plain = checkpoint.Checkpoint._prepare

        def prepare(self: Any, facts: Any, *, fresh: bool) -> None:
            plain(self, facts, fresh=fresh)
            self._store.execute(f"pragma synchronous = {level}")

        checkpoint.Checkpoint._prepare = prepare  # type: ignore[method-assign]

    return defect


def leave_a_torn_tail() -> None:
    def sync(self: Any) -> None:
        self._next = self.out.read_bytes().count(b"\n") if self.out.exists() else 0
        self._append()

    checkpoint.Checkpoint._sync_output = sync  # type: ignore[method-assign]


def write_the_output_first() -> None:
    plain = checkpoint.Checkpoint.save

    def save(self: Any, rows: Sequence[Any]) -> None:
        with self.out.open("ab") as file:
            file.writelines(row.line + b"\n" for row in rows)
        time.sleep(0.05)
        plain(self, rows)

    checkpoint.Checkpoint.save = save  # type: ignore[method-assign]


def lose_rows() -> None:
    plain = checkpoint.Checkpoint.save

    def save(self: Any, rows: Sequence[Any]) -> None:
        plain(self, [row for row in rows if row.position % 37])

    checkpoint.Checkpoint.save = save  # type: ignore[method-assign]


DEFECTS: dict[str, Callable[[], None]] = {
    "report before saving": report_before_saving,
    "save at the end": save_at_the_end,
    "resume by count": resume_by_count,
    "resume by text": resume_by_text,
    "forget what is done": forget_what_is_done,
    "ask twice": ask_twice,
    "run ahead of the disk": run_ahead_of_the_disk,
    "synchronous off": lax("off"),
    "synchronous normal": lax("normal"),
    "leave a torn tail": leave_a_torn_tail,
    "write the output first": write_the_output_first,
    "lose rows": lose_rows,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
