"""A script stands in for a model in tests."""

from __future__ import annotations

import asyncio

import pytest

from fewshot.errors import ConfigError, ServiceError
from fewshot.models.scripted import ScriptedClient
from fewshot.types import Completion, Request


def test_a_script_answers_in_turn_and_remembers_what_was_asked() -> None:
    scripted = ScriptedClient("a", Completion(text="b"), ServiceError("down"))
    request = Request(model="m", text="x")
    assert [asyncio.run(scripted.complete(request)).text for _ in range(2)] == ["a", "b"]
    with pytest.raises(ServiceError, match="down"):
        asyncio.run(scripted.complete(request))
    with pytest.raises(ConfigError, match="no answer to request 4"):
        asyncio.run(scripted.complete(request))
    assert scripted.requests == [request] * 4


def test_a_script_may_be_a_function() -> None:
    scripted = ScriptedClient(lambda request: f"{request.text}!")
    assert [asyncio.run(scripted.complete(Request(model="m", text=text))).text for text in "ab"] == ["a!", "b!"]
