"""The embedded model's one slot: brought to the same state before every request, from disk where it was there before.

llama.cpp rounds by how many tokens it computes at a time. So that the same request gets the same log-probabilities to
the last bit, whatever was asked before and in whatever process, each begins at the state of its constant beginning
(the instruction and the shots), which llama.cpp itself saves and restores.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fewshot._background_loop import PerLoop
from fewshot.models.deadline import Deadline
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.http11 import DirectWire
from fewshot.types import Message, Request

__all__ = ["Slot"]

_MOST_BYTES = 2**30
"""Disk space for states: some 23 kB a token of the embedded model, so a hundred prompts of usual length."""
_SUFFIX = ".state"
_UNFINISHED = ".unfinished"
_ABANDONED = 3600
"""Seconds after which a state that a killed process was writing is removed."""
_OTHER_LOOP = 0.005
"""Seconds between two looks whether the event loop that has the slot is done."""
_CONNECT = 60.0

_log = logging.getLogger("fewshot")


class Slot:
    """Gives the slot to one request at a time, over all event loops of the process."""

    def __init__(self, address: str, api_key: str, about: str, folder: Path) -> None:
        """Take over the slot of a server that nobody else asks.

        Arguments:
            about: names everything besides the text that makes a state what it is: model, version, sizes, machine.
            folder: where the server saves states; private to the user.
        """
        self._wire = DirectWire(Endpoint(model="", base_url=address, api_key=api_key, local=True))
        self._about = about
        self._folder = folder
        self._lock = threading.Lock()
        self._turns = PerLoop(_one_at_a_time, _nothing_to_close)
        self._holds: str | None = None
        """The text that the slot has computed, where it is known to the token."""
        self._question: str | None = None
        """The text of a question whose state is saved for what else is asked after it."""
        self._scratch = f"{secrets.token_hex(8)}{_UNFINISHED}"
        self._known: dict[str, Path] = {}
        """States by key that were found sound in this process."""

    async def tokens_of(self, request: Request, texts: Sequence[str]) -> list[int]:
        """Count the tokens of a request and of some texts, out of turn; nothing is given where the server will not."""
        asked = await self._chat([*request.chat]) if request.text is None else request.text
        replies = [await self._ask("/tokenize", {"content": text, "parse_special": True}) for text in (asked, *texts)]
        return [len(reply["tokens"]) for reply in replies if reply] if all(replies) else []

    @contextlib.asynccontextmanager
    async def turn(self, request: Request | None) -> AsyncIterator[None]:
        """Have the slot to yourself, at the state at which this request begins; None for what is not a completion."""
        async with await self._turns.get():
            while not self._lock.acquire(blocking=False):  # noqa: ASYNC110 - an Event belongs to one loop
                await asyncio.sleep(_OTHER_LOOP)
            try:
                held, self._holds = self._holds, None
                if request is not None:
                    await self._bring(request, held)
                yield
                if request is not None and request.max_tokens == 1:  # a longer answer stands in the slot as well
                    self._holds = request.text
            finally:
                self._lock.release()

    async def _bring(self, request: Request, held: str | None) -> None:
        if request.text is None:
            turns = [turn for length in request.shared[:1] for turn in request.chat[:length]]
            stages = [await self._chat(turns)] if turns else []
        else:
            stages = [request.text[:length] for length in request.shared if length]
        if not stages:
            await self._do("erase")
            return
        if stages[1:] and stages[-1] == self._question and await self._do("restore", self._scratch):
            return
        if not stages[1:] or held != stages[-1]:
            await self._begin(stages[0])
            for stage in stages[1:]:
                await self._compute(stage)
        if stages[1:]:  # what follows a label's beginning is often asked of several beginnings
            self._question = stages[-1] if await self._do("save", self._scratch) else None

    async def _chat(self, turns: list[Message]) -> str:
        """Write turns as the model's own template does; what it puts after them is not in a request and is dropped."""
        reply = await self._ask("/apply-template", {"messages": [dataclasses.asdict(turn) for turn in turns]})
        return str((reply or {}).get("prompt", ""))

    async def _begin(self, text: str) -> None:
        """Restore the state of a text; where there is none, or it cannot be trusted, compute it and save it."""
        key = hashlib.sha256(f"{self._about}\0{text}".encode("utf-8", "replace")).hexdigest()
        kept = self._known.get(key) or await asyncio.to_thread(self._sound, key)
        if kept is not None and await self._do("restore", kept.name):
            self._known[key] = kept
            return
        self._known.pop(key, None)
        await self._do("erase")
        await self._compute(text)
        unfinished = self._folder / f"{secrets.token_hex(8)}{_UNFINISHED}"
        try:
            if await self._do("save", unfinished.name):
                self._known[key] = await asyncio.to_thread(self._keep, key, unfinished)
        except OSError as error:
            _log.warning("the prompt is computed anew each time, as its state cannot be kept: %s", error)
        finally:
            unfinished.unlink(missing_ok=True)

    async def _compute(self, text: str) -> None:
        await self._ask("/completion", {"prompt": text, "n_predict": 0, "cache_prompt": True, "temperature": 0})

    async def _do(self, action: str, filename: str = "") -> bool:
        return await self._ask(f"/slots/0?action={action}", {"filename": filename}) is not None

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Ask the server for something of its own; None where it will not, as the request itself will then say."""
        connect = Deadline(time.monotonic() + _CONNECT)
        reply = await self._wire.post(path, json.dumps(body).encode("utf-8", "replace"), deadline=connect)
        return json.loads(reply.body) if reply.status == 200 else None

    # -- states on disk ---------------------------------------------------------------------------------------------

    def _sound(self, key: str) -> Path | None:
        """Find a state whose name holds the hash of its bytes and its key, as ours do; remove others of that key."""
        for found in self._folder.glob(f"{key}-*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                if found.name == self._named(key, found):
                    os.utime(found)
                    return found
                found.unlink()
        return None

    def _keep(self, key: str, unfinished: Path) -> Path:
        unfinished.chmod(0o600)
        kept = self._folder / self._named(key, unfinished)
        unfinished.replace(kept)
        self._tidy(kept)
        return kept

    def _named(self, key: str, file: Path) -> str:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256")
        return f"{key}-{hashlib.sha256(key.encode() + content.digest()).hexdigest()[:32]}{_SUFFIX}"

    def _tidy(self, newest: Path) -> None:
        """Remove the states that were used longest ago beyond the space there is, and what was never finished."""
        sizes: dict[Path, os.stat_result] = {}
        for file in self._folder.iterdir():
            with contextlib.suppress(OSError):  # another process tidies too
                sizes[file] = file.stat()
        total = sum(status.st_size for status in sizes.values())
        for file, status in sorted(sizes.items(), key=lambda each: each[1].st_mtime):
            abandoned = file.suffix == _UNFINISHED and time.time() - status.st_mtime > _ABANDONED
            if abandoned or (file.suffix == _SUFFIX and file != newest and total > _MOST_BYTES):
                total -= status.st_size
                file.unlink(missing_ok=True)


def _one_at_a_time() -> asyncio.Semaphore:
    return asyncio.Semaphore(1)


async def _nothing_to_close(_: object) -> None:
    """Close what needs no closing."""
