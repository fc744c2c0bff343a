"""The embedded model's slot: the same bits whatever was asked before, and a prompt's state kept between processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fewshot.models.connection import connect
from fewshot.models.local import server as local
from fewshot.models.local import slot as slots
from fewshot.settings import Settings
from fewshot.types import Completion, Message, Prefix, Request

pytestmark = [pytest.mark.local, pytest.mark.usefixtures("embedded")]

COLOURS = [("the sky at noon", "blue"), ("fresh snow", "white"), ("a ripe tomato", "red"), ("coal", "black")]
SHOTS = "Tell the colour of the thing.\n\n" + "".join(f"Thing: {t}\nColour: {c}\n\n" for t, c in COLOURS * 6)
"""Long enough for the tiles and the split reading in which llama.cpp rounds otherwise."""
TURNS = Prefix((Message("system", "Tell the colour."), Message("user", "coal"), Message("assistant", "black")))


def about(thing: str, more: str = "", **changes: Any) -> Request:
    """Ask for the colour of a thing; with more of the answer, for what follows that."""
    asked = f"{SHOTS}Thing: {thing}\nColour:"
    shared = (len(SHOTS), len(asked)) if more else (len(SHOTS),)
    wanted = {"max_tokens": 1, "top_logprobs": 50, "text": asked + more, "shared": shared}
    return Request(model="SmolLM2-135M-Instruct", **(wanted | changes))


def ask(*requests: Request) -> list[Completion]:
    """Ask one after the other, on an event loop of its own."""

    async def all_of_them() -> list[Completion]:
        connection = await connect(Settings(model="local"))
        return [await connection.client.complete(request) for request in requests]

    return asyncio.run(all_of_them())


def bits(completion: Completion) -> list[tuple[bytes, float]]:
    return list(completion.tokens[0].top)


def in_a_new_process(cache: Path) -> list[Any]:
    """Ask for the colour of a lemon in another process, with this cache folder."""
    code = """
import json, test_slot
print(json.dumps([(token.hex(), p) for token, p in test_slot.bits(*test_slot.ask(test_slot.about("a lemon")))]))
"""
    environment = {**os.environ, "FEWSHOT_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found: list[Any] = json.loads(done.stdout)
    return found


def test_the_same_question_gets_the_same_bits_whatever_was_asked_before_or_is_meanwhile() -> None:
    lemon, plum = about("a lemon"), about("a plum", max_tokens=9)
    follow_up, other_one = about("a lemon", " ye"), about("a lemon", " bl")
    first, followed, other = ask(lemon, follow_up, other_one)
    chat = Request(model="m", prefix=TURNS, messages=(Message("user", "a lemon"),), max_tokens=1, shared=(3,))
    once = Request(model="m", text="Once upon a time", max_tokens=1)
    _, again, _, other_later, followed_later, _, _, after_chat = ask(
        about("a lemming"), lemon, plum, other_one, follow_up, chat, once, lemon
    )
    with ThreadPoolExecutor(3) as pool:
        one, crow, two = (bits(found[0]) for found in pool.map(ask, [lemon, about("a crow"), lemon]))
    assert [bits(again), bits(after_chat), one, two] == [bits(first)] * 4
    assert bits(other_later) == bits(other) != bits(followed)
    assert bits(followed_later) == bits(followed) != bits(first) != crow


def test_a_chat_begins_at_its_constant_turns() -> None:
    chat = [
        Request(model="m", prefix=TURNS, messages=(Message("user", thing),), max_tokens=1, top_logprobs=9, shared=(3,))
        for thing in ("a lemon", "grass", "a lemon")
    ]
    first, other, again = ask(*chat)
    assert bits(first) == bits(again) != bits(other)
    assert first.usage.cached_tokens == again.usage.cached_tokens > 10


@pytest.mark.slow
def test_a_process_with_a_state_on_disk_gives_the_bits_of_one_without(tmp_path: Path) -> None:
    here = [[token.hex(), p] for token, p in bits(*ask(about("a lemon")))]
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "other" / "models").symlink_to(tmp_path / "cache" / "models")
    without = in_a_new_process(tmp_path / "other")
    [state] = (tmp_path / "other" / "states").iterdir()
    before = state.stat().st_ino
    assert without == in_a_new_process(tmp_path / "other") == here
    assert state.stat().st_ino == before
    assert state.stat().st_mode & 0o777 == 0o600


def test_a_damaged_or_foreign_state_is_refused_and_made_anew(tmp_path: Path) -> None:
    server = local.serve()
    folder = tmp_path / "states"

    def anew() -> slots.Slot:
        return slots.Slot(server.base_url.removesuffix("/v1"), server.api_key, "this model", folder)

    folder.mkdir()
    assert anew()._sound("0" * 64) is None
    unfinished = folder / "x.unfinished"
    unfinished.write_bytes(b"what was computed")
    kept = anew()._keep("0" * 64, unfinished)
    assert anew()._sound("0" * 64) == kept
    foreign = folder / kept.name.replace("0" * 64, "1" * 64)
    foreign.write_bytes(kept.read_bytes())
    kept.write_bytes(b"what was c0mputed")
    assert (anew()._sound("0" * 64), anew()._sound("1" * 64)) == (None, None)
    assert list(folder.iterdir()) == []


def test_states_take_no_more_than_their_space_and_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = local.serve()
    folder = tmp_path / "states"
    folder.mkdir()
    slot = slots.Slot(server.base_url, server.api_key, "this model", folder)
    monkeypatch.setattr(slots, "_MOST_BYTES", 25)
    kept = []
    for key in "abc":
        unfinished = folder / "x.unfinished"
        unfinished.write_bytes(b"0123456789")
        kept.append(slot._keep(key * 64, unfinished))
        os.utime(kept[-1], (len(kept), len(kept)))
    assert sorted(file.name[0] for file in folder.glob("*.state")) == ["b", "c"]
