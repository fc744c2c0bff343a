"""Answers kept on disk: what is found again, what is not, and what happens when the file is hurt."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from fault_server import FaultServer

from fewshot import Task, load
from fewshot.cli.main import main
from fewshot.errors import ConfigError, ServiceError
from fewshot.models.cache import CachedClient, canonical, default_answers, is_complete, key_of, place_of
from fewshot.models.completion_store import Answers, to_json
from fewshot.models.connection import connect
from fewshot.models.endpoint import Endpoint
from fewshot.models.scripted import ScriptedClient
from fewshot.settings import Settings
from fewshot.types import Completion, Message, Prefix, Request, TokenLogprob, Usage

ENDPOINT = Endpoint(model="m", base_url="https://host.example/v1")
ASKED = Request(model="m", messages=(Message("user", "Is it good?"),), max_tokens=5)
SAID = Completion(
    text="ja\u2028",
    texts=("ja\u2028",),
    tokens=(TokenLogprob(b"\xe2\x80", -0.25, ((b"\xe2\x80", -0.25), (b" no", -1.5))),),
    usage=Usage(10, 1, 4),
    model="m-2026",
    request_id="r1",
    fingerprint="f",
    dropped=("seed",),
    probabilities={"a": 0.75, "b": 0.25},
)


def awaited(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Let a coroutine be a test."""

    @functools.wraps(test)
    def run(*args: object, **fixtures: object) -> None:
        asyncio.run(test(*args, **fixtures))

    return run


def cached(client: ScriptedClient, folder: Path, endpoint: Endpoint = ENDPOINT) -> CachedClient:
    return CachedClient(client, place_of(endpoint, client), endpoint, Answers(folder))


def entry(request: Request = ASKED, endpoint: Endpoint = ENDPOINT) -> tuple[str, str]:
    content = canonical(request, endpoint, place_of(endpoint))
    return key_of(content), content


@awaited
async def test_the_same_request_is_asked_once_and_costs_nothing_again(tmp_path: Path) -> None:
    client = ScriptedClient(SAID)
    first = await cached(client, tmp_path).complete(ASKED)
    again = await cached(client, tmp_path).complete(ASKED)
    assert len(client.requests) == 1
    assert (first.cached, again.cached, again.attempts) == (False, True, 0)
    assert replace(again, cached=False, attempts=1) == SAID


def test_an_answer_survives_the_disk_unchanged(tmp_path: Path) -> None:
    Answers(tmp_path).put(*entry(), SAID)
    assert Answers(tmp_path).get(*entry()) == replace(SAID, cached=True, attempts=0)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"messages": (Message("user", "Is it bad?"),)},
        {"messages": (Message("system", "Is it good?"),)},
        {"prefix": Prefix((Message("system", "Answer."),))},
        {"max_tokens": 6},
        {"temperature": 0.1},
        {"temperature": None},
        {"seed": 1},
        {"stop": ("\n",)},
        {"top_logprobs": 20},
        {"schema": '{"type": "object"}'},
        {"n": 2},
        {"extra": (("reasoning_effort", "none"),)},
        {"text": "Is it good?"},
        {"choices": (("yes", ""), ("no", ""))},
    ],
    ids=str,
)
def test_whatever_can_change_the_answer_changes_the_key(change: dict[str, object]) -> None:
    assert entry(replace(ASKED, **change))[0] != entry()[0]  # type: ignore[arg-type]


def test_the_choices_of_a_decision_and_their_descriptions_are_in_the_key() -> None:
    plain, told = (replace(ASKED, choices=(("yes", about), ("no", ""))) for about in ("", "it is good"))
    assert entry(plain)[0] != entry(told)[0]


def test_the_address_is_in_the_key_but_not_its_spelling_and_not_the_secret() -> None:
    def key(url: str, api_key: str = "k") -> str:
        return entry(endpoint=replace(ENDPOINT, base_url=url, api_key=api_key))[0]

    assert key("https://other.example/v1") != key("https://host.example/v1")
    assert key("https://HOST.example:443/v1/") == key("https://host.example/v1")
    assert key("https://host.example/v1", "another") == key("https://host.example/v1")


def test_where_the_shots_stand_in_our_objects_does_not_matter_only_what_is_sent() -> None:
    turn, question = Message("system", "Answer."), ASKED.messages[0]
    assert entry(replace(ASKED, prefix=Prefix((turn,)))) == entry(replace(ASKED, messages=(turn, question)))


@pytest.mark.parametrize(
    ("request_", "completion", "kept"),
    [
        (ASKED, SAID, True),
        (ASKED, replace(SAID, finish_reason="length"), False),
        (ASKED, replace(SAID, finish_reason="content_filter"), False),
        (ASKED, replace(SAID, finish_reason="refusal"), False),
        (ASKED, replace(SAID, finish_reason="tool_calls"), False),
        (ASKED, Completion(text=""), False),
        (replace(ASKED, max_tokens=1, top_logprobs=5), replace(SAID, finish_reason="length"), True),
        (replace(ASKED, max_tokens=1, top_logprobs=5), Completion(text="x", finish_reason="length"), False),
        (replace(ASKED, max_tokens=1), replace(SAID, finish_reason="length"), False),
        (replace(ASKED, n=3), replace(SAID, texts=("a", "b")), False),
    ],
)
def test_only_complete_answers_are_kept(request_: Request, completion: Completion, kept: bool) -> None:
    assert is_complete(request_, completion) is kept


@awaited
async def test_an_incomplete_answer_is_asked_for_again(tmp_path: Path) -> None:
    client = cached(ScriptedClient(replace(SAID, finish_reason="length"), SAID), tmp_path)
    assert (await client.complete(ASKED)).finish_reason == "length"
    assert (await client.complete(ASKED)).finish_reason == "stop"


class Slow:
    """A client that answers when told."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[Completion | Exception] = []
        self.go = asyncio.Event()

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        self.asked += 1
        await self.go.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def together(tmp_path: Path, *answers: Completion | Exception, cancel: bool = False) -> tuple[int, list[object]]:
    """Ask the same three times at once; give how often the service was asked and what came of each."""
    slow = Slow()
    slow.answers = list(answers)
    client = CachedClient(slow, "p", ENDPOINT, Answers(tmp_path))
    tasks = [asyncio.create_task(client.complete(ASKED)) for _ in range(3)]
    await asyncio.sleep(0)  # each starts, up to where it waits
    if cancel:
        tasks[0].cancel()
        for _ in range(4):  # the first ends, another notices and asks
            await asyncio.sleep(0)
    slow.go.set()
    return slow.asked, list(await asyncio.gather(*tasks, return_exceptions=True))


@awaited
async def test_equal_requests_in_flight_are_asked_once(tmp_path: Path) -> None:
    asked, found = await together(tmp_path, SAID)
    assert asked == 1
    assert [c.cached for c in found if isinstance(c, Completion)] == [False, True, True]


@awaited
async def test_when_the_first_is_cancelled_another_takes_over(tmp_path: Path) -> None:
    asked, found = await together(tmp_path, SAID, cancel=True)
    assert asked == 2
    assert isinstance(found[0], asyncio.CancelledError)
    assert [c.cached for c in found[1:] if isinstance(c, Completion)] == [False, True]


@awaited
async def test_a_lasting_error_is_told_to_all_and_asked_once(tmp_path: Path) -> None:
    asked, found = await together(tmp_path, ServiceError("no such model", status=404))
    assert asked == 1
    assert [str(error) for error in found] == ["no such model"] * 3
    assert len({id(error) for error in found}) == 3


@awaited
async def test_a_passing_error_is_the_first_callers_alone(tmp_path: Path) -> None:
    slow = ServiceError("too slow", transient=True)
    _, found = await together(tmp_path, slow, SAID)
    assert found[0] is slow
    assert [c.text for c in found[1:] if isinstance(c, Completion)] == [SAID.text] * 2


@awaited
async def test_a_follower_keeps_its_own_deadline(tmp_path: Path) -> None:
    client = CachedClient(Slow(), "p", ENDPOINT, Answers(tmp_path))
    leader = asyncio.create_task(client.complete(ASKED))
    await asyncio.sleep(0)
    with pytest.raises(ServiceError, match="not answered in time"):
        await client.complete(ASKED, deadline=0.0)
    leader.cancel()


def tamper(folder: Path, statement: str, *values: object) -> None:
    store = sqlite3.connect(folder / "answers-1.sqlite")
    with store:
        store.execute(statement, values)
    store.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"rubbish",
        zlib.compress(b"not json"),
        zlib.compress(b"[]"),
        zlib.compress(json.dumps({"text": "positive"}).encode()),
        zlib.compress(b"[" * 100_000),
        zlib.compress(to_json(replace(SAID, text="half a pair: \ud800")).encode()),
    ],
)
def test_an_entry_that_is_no_completion_is_no_entry(tmp_path: Path, answer: bytes) -> None:
    answers = Answers(tmp_path)
    answers.put(*entry(), SAID)
    tamper(tmp_path, "update answers set answer = ?", answer)
    assert answers.get(*entry()) is None


def test_an_entry_of_another_request_is_no_entry(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    answers.put(*entry(replace(ASKED, seed=9)), SAID)
    tamper(tmp_path, "update answers set key = ?", entry()[0])
    assert answers.get(*entry()) is None


@awaited
async def test_a_refusal_smuggled_into_the_file_is_not_given(tmp_path: Path) -> None:
    Answers(tmp_path).put(*entry(), replace(SAID, finish_reason="refusal"))
    assert (await cached(ScriptedClient(SAID), tmp_path).complete(ASKED)).cached is False


@pytest.mark.parametrize("while_open", [True, False])
def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, while_open: bool) -> None:
    answers = Answers(tmp_path)
    for seed in range(200):
        answers.put(*entry(replace(ASKED, seed=seed)), SAID)
    answers.close()
    if while_open:
        assert answers.get(*entry(replace(ASKED, seed=3))) is not None
    answers.path.write_bytes(b"no database at all" * 1000)
    with caplog.at_level(logging.WARNING):
        assert answers.get(*entry(replace(ASKED, seed=150))) is None
        answers.put(*entry(), SAID)
    assert "damaged" in caplog.text
    assert Answers(tmp_path).get(*entry()) is not None
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_where_nothing_can_be_written_the_model_is_asked_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "answers-1.sqlite").mkdir()
    client = cached(ScriptedClient(SAID, SAID), tmp_path)
    assert asyncio.run(client.complete(ASKED)).text == SAID.text
    assert "not cached" in caplog.text
    with pytest.raises(ConfigError, match="FEWSHOT_CACHE_DIR"):
        Answers(tmp_path).info()


def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    Answers(tmp_path).put(*entry(), SAID)
    modes = {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()}
    assert modes == {0o600}


def test_the_file_stays_within_its_bound_and_drops_what_is_oldest(tmp_path: Path) -> None:
    answers = Answers(tmp_path, max_bytes=300_000)
    texts = [os.urandom(1500).hex() for _ in range(1001)]
    for number, text in enumerate(texts):
        answers.put(str(number), "{}", replace(SAID, text=text))
    assert answers.info().bytes <= 310_000
    assert answers.get("0", "{}") is None
    assert answers.get("1000", "{}") is not None


def test_many_processes_and_threads_share_one_file(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from fewshot.models.completion_store import Answers\nfrom fewshot.types import Completion\n"
        "a = Answers(Path(sys.argv[1]))\n"
        "for i in range(100): a.put(f'{sys.argv[2]}-{i}', '{}', Completion(text=str(i)))\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)], stderr=subprocess.PIPE) for n in range(3)
    ]
    answers = Answers(tmp_path)
    threads = [
        threading.Thread(target=lambda n=n: [answers.put(f"t{n}-{i}", "{}", SAID) for i in range(50)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.communicate()[1] for run in runs] == [b"", b"", b""]
    assert answers.info().entries == 3 * 100 + 4 * 50
    assert (found := answers.get("2-99", "{}")) is not None
    assert found.text == "99"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_opens_the_file_for_itself(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    answers.put("parent", "{}", SAID)
    child = os.fork()
    if child == 0:
        answers.put("child", "{}", SAID)
        os._exit(0 if answers.get("parent", "{}") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert answers.get("child", "{}") is not None


def test_a_task_with_cache_true_says_where_its_answer_came_from() -> None:
    client = ScriptedClient(Completion(text="positive", usage=Usage(100, 2)))
    task = Task.of("Which?", ["positive", "negative"], client=client, cache=True)
    assert (task.run("Lovely.").cached, task.run("Lovely.").cached) == (False, True)
    assert task.run("Lovely.").usage == Usage()
    assert len(client.requests) == 1
    assert default_answers().info().entries == 1


@awaited
async def test_one_wrapper_serves_all_calls_and_passes_the_rest_through() -> None:
    inner = ScriptedClient(SAID)
    inner.top_logprobs = 7  # type: ignore[attr-defined]
    settings = Settings(client=inner, cache=True)
    first, second = await connect(settings), await connect(settings)
    assert first.client is second.client
    assert first.top_logprobs(None) == 7


def test_the_command_tells_and_deletes(capsys: pytest.CaptureFixture[str]) -> None:
    default_answers().put(*entry(), SAID)
    assert main(["cache", "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 1
    assert main(["cache", "clear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] == 1
    assert main(["cache", "info"]) == 0
    assert "entries     0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "decided"), [({}, None), ({"form": "text"}, None), ({}, {"positive": 0.9, "negative": 0.1})]
)
def test_the_log_shows_what_was_asked_and_answered(
    options: dict[str, Any], decided: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(*[Completion(text="positive", model="m-1")] * 2)
    task = load("sentiment", client=client, cache=True, scoring=False, **options)
    assert [task("It is \x1b[31mlovely.\nReally."), task("Very good.")] == ["positive", "positive"]
    if decided:
        answers = default_answers()
        (_, content, _), *_ = answers.latest(1)
        body = {"decide": {"input": [{"role": "user", "content": "Was it good?"}]}, "model": "m-1"}
        content = json.dumps({**json.loads(content), "body": body})
        answers.put("k", content, Completion(text="", probabilities=decided))
    assert main(["log"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + bool(decided)
    assert "m-1" in lines[0]
    assert "lovely. Really." in lines[0]
    assert "-> positive" in lines[1]
    assert "\x1b" not in "".join(lines)
    assert main(["log", "--count", "1", "LOVELY", "positive", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["answer"] == "positive"
    assert main(["log", "nothing of the kind"]) == 0
    said = capsys.readouterr()
    assert (said.out, "cache=True" in said.err) == ("", True)
    assert not decided or main(["log", "-n", "0"]) == 2


@pytest.mark.parametrize("kind", ["query", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "own"])
@pytest.mark.parametrize("kept", ["cache", "out"])
def test_another_deployments_answer_is_never_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, kept: str
) -> None:
    with FaultServer() as server:
        sent: list[str] = []
        server.answer = lambda _: sent[-1]

        def answered(deployment: str) -> str | None:
            sent.append(deployment)
            options: dict[str, Any] = {"base_url": server.base_url, "model": "m", "cache": kept == "cache"}
            if kind == "query":
                options["base_url"] += f"?deployment={deployment}"
            elif kind == "own":
                own = {"x-route": deployment}
                options["client"] = openai.OpenAI(api_key="k", base_url=server.base_url, default_headers=own)
            else:
                monkeypatch.setenv(kind, f"x-route: {deployment}")
            task = Task.of("Say: {{ text }}", output=str, **options)
            if kept == "cache":
                return task("a text")
            (result,) = task.map(["a text"], out=tmp_path / "out.jsonl")
            return result.value

        assert answered("A") == "A"
        assert answered("A") == "A"
        assert len(server.requests) == 1
        if kept == "cache":
            assert answered("B") == "B"
        else:
            with pytest.raises(ConfigError, match="belongs to another run"):
                answered("B")
