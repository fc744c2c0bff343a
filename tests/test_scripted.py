"""A script stands in for a model in tests."""

from __future__ import annotations

import asyncio

import pytest

from fewshot import Task, summarize
from fewshot.errors import ConfigError, ServiceError
from fewshot.models.scripted import ScriptedClient
from fewshot.testing import answers
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


def test_answers_reach_tasks_that_were_made_elsewhere() -> None:
    made_before = Task.of("Sort.", ["bug", "question"], model="gpt-6-luna", base_url="http://127.0.0.1:9/v1")
    with answers("bug", "a summary") as client:
        assert made_before("It crashes.") == "bug"
        assert summarize("A long text.") == "a summary"
    assert [request.model for request in client.requests] == ["gpt-6-luna", "scripted"]


def test_the_innermost_answers_count_and_end_with_their_block() -> None:
    task = Task.of("Sort.", ["bug", "question"], client=ScriptedClient("bug"))
    with answers(lambda _: "question"):
        with answers("bug"):
            assert task("x") == "bug"
        assert [result.value for result in task.map(["x", "y"])] == ["question", "question"]
    assert task("x") == "bug"


def test_an_error_can_be_an_answer() -> None:
    with answers(ServiceError("down")), pytest.raises(ServiceError, match="down"):
        summarize("A long text.", max_retries=0)
