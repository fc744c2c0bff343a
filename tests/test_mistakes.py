"""What newcomers get wrong: what is typed, and what is said. Each message says what to do, and none has a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fewshot import (
    ConfigError,
    FewshotError,
    InputError,
    ScriptedClient,
    ServiceError,
    Task,
    TaskError,
    answer,
    calculate,
    classify,
    classify_sentiment,
    complete_pattern,
    examples_from,
    extract,
    load,
    summarize,
    translate,
)
from fewshot.cli.main import main
from fewshot.testing import answers


class Order(BaseModel):
    product: str


NOBODY = "http://127.0.0.1:9/v1"
TASK = Task.of("Sort.", ["bug", "question"], [("It crashes.", "bug"), ("How?", "question")])
PAIRS = [("a", "b")]

CALLS: list[tuple[Callable[[], Any], type[FewshotError], str]] = [
    # wrong names
    (lambda: classify_sentiment("x", shots=3), InputError, "'k'"),
    (lambda: classify_sentiment("x", temp=0.5), InputError, "'temperature'"),
    (lambda: classify_sentiment("x", url=NOBODY), InputError, "'base_url'"),
    (lambda: classify_sentiment("x", modle="m"), InputError, "'model'"),
    (lambda: classify_sentiment("x", key="sk-x"), InputError, "'api_key'"),
    (lambda: classify_sentiment("x", labels=["a", "b"]), InputError, "labels are the output of a task"),
    (lambda: TASK("x", kk=2), InputError, "task takes text"),
    (lambda: TASK.map(["x"], concurency=2), InputError, "'concurrency'"),
    (lambda: load("sentimnt"), TaskError, "'sentiment'"),
    (lambda: load("Sentiment Task"), TaskError, "lower-case letters"),
    (lambda: load("./nowhere"), TaskError, "fewshot new NAME"),
    (lambda: translate("x", traget="German"), InputError, "unknown option 'traget'"),
    # wrong types
    (lambda: classify_sentiment("x", k="four"), InputError, "k='four'"),
    (lambda: classify_sentiment("x", k=-1), InputError, "0 or more"),
    (lambda: classify_sentiment("x", timeout="5"), InputError, "timeout='5'"),
    (lambda: classify_sentiment("x", temperature=3), InputError, "from 0 to 2"),
    (lambda: classify_sentiment("x", min_confidence=90), InputError, "from 0 to 1"),
    (lambda: classify_sentiment("x", votes=0), InputError, "from 1 to 1000"),
    (lambda: classify_sentiment("x", votes=10**400), InputError, "from 1 to 1000"),
    (lambda: classify_sentiment("x", form="json"), InputError, "chat, text"),
    (lambda: classify_sentiment("x", select="best"), InputError, "bm25"),
    (lambda: classify_sentiment(None), InputError, "must be text, not None"),
    (lambda: classify_sentiment(["a", "b"]), InputError, "must be text, not a list"),
    (lambda: classify_sentiment("  "), InputError, "is empty; give it some text"),
    (lambda: classify_sentiment(float("nan")), InputError, "NaN"),
    (lambda: classify("x", "bug"), InputError, "give a list of labels"),
    (lambda: classify("x", ["bug"]), InputError, "at least two labels"),
    (lambda: classify("x", ["bug", "bug"]), InputError, "two labels cannot be told apart"),
    (lambda: classify("x", {"bug", "question"}), InputError, "no order"),
    (lambda: classify("x", ["bug", "question"], examples=[("y", "refund")]), InputError, "refund"),
    (lambda: classify("x", ["bug", "question"], examples=["y"]), InputError, "pair"),
    (lambda: complete_pattern([], "x"), InputError, "at least one example"),
    (lambda: summarize("x", max_sentences=0), InputError, "1 or more"),
    (lambda: extract("x", {"product": "str"}), InputError, "pydantic model"),
    (lambda: extract("x", Order(product="x")), FewshotError, "pydantic"),
    (lambda: Task.of("Sort.", []), InputError, "label"),
    (lambda: Task.of("Sort.", ["a", "b"], [("x", "c")]), InputError, "'c'"),
    (lambda: Task.of("{% block input %}", "text"), TaskError, "block"),
    (lambda: TASK.map("one text"), InputError, "give a list"),
    (lambda: TASK.map({"text": "x"}), InputError, "give a list"),
    (lambda: TASK.map(3), InputError, "give a list"),
    (lambda: TASK.evaluate([]), InputError, "row"),
    (lambda: TASK.evaluate([("x", "refund")]), InputError, "refund"),
    (lambda: TASK("a", "b"), InputError, "takes 1 input"),
    (lambda: classify_sentiment.task("a text"), InputError, "give all but the inputs"),
    (lambda: answer("Who?", context=3.5j), InputError, "context must be text"),
    (lambda: calculate(True), InputError, "must be text, not a bool"),
    # keys, servers and networks
    (lambda: classify_sentiment("x", model="gpt-6-luna"), ConfigError, "set OPENAI_API_KEY"),
    (lambda: classify_sentiment("x", base_url="localhost:8000"), ConfigError, "http"),
    (lambda: classify_sentiment("x", base_url=NOBODY, api_key="sk x"), ConfigError, "copy it again"),
    (lambda: classify_sentiment("x", client="sk-abc"), FewshotError, "client"),
    (lambda: classify_sentiment("x", base_url=NOBODY, model="m", max_retries=0), ServiceError, "is the server up"),
    (lambda: classify_sentiment("x", client=ScriptedClient()), ConfigError, "give ScriptedClient another"),
    (lambda: classify_sentiment("x", model="/nowhere/model.gguf"), ConfigError, "model.gguf"),
    # files
    (lambda: examples_from("nowhere.csv"), FewshotError, "give a file that is there"),
    (lambda: examples_from(3), InputError, "a data frame"),
    (lambda: list(TASK.map(Path("nowhere.csv"))), FewshotError, "nowhere.csv"),
    (lambda: TASK.evaluate("nowhere.csv"), FewshotError, "nowhere.csv"),
    (lambda: list(TASK.map(["x"], out="nowhere/out.jsonl", client=ScriptedClient("bug"))), FewshotError, "nowhere"),
]


@pytest.mark.parametrize(("call", "kind", "says"), CALLS, ids=[f"call {place}" for place in range(len(CALLS))])
def test_a_wrong_call_says_what_to_do(
    call: Callable[[], Any], kind: type[FewshotError], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "FEWSHOT_MODEL", "FEWSHOT_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(kind) as told:
        call()
    message = str(told.value)
    assert says in message
    assert not message.endswith(".")
    assert "\n" not in message.strip()


COMMANDS = [
    ("run", "TASK"),
    ("run sentiment", "give an INPUT"),
    ("rnu sentiment x", "did you mean 'run'?"),
    ("run sentiment x --vote 3", "did you mean '--votes'?"),
    ("run sentiment x --k four", "k='four'"),
    ("run sentiment rows.csv", "--file rows.csv"),
    ("run sentiment --file nowhere.csv", "nowhere.csv"),
    ("run sentiment --file empty.csv", "rows"),
    ("run sentiment --file rows.csv --out rows.csv", "name another file"),
    ("run classify x", "--labels"),
    ("run tag x", "--labels"),
    ("run pattern x", "--examples"),
    ("run translate x --set traget=German", "did you mean 'target'?"),
    ("run sentiment x -o temp=2", "did you mean 'temperature'?"),
    ("eval sentiment --data rows.csv", "column"),
    ("eval sentiment", "--data"),
    ("check nowhere", "no task"),
    ("new Bank --labels a,b", "lower-case letters"),
    ("new bank --labels a", "at least two labels"),
    ("diff a.jsonl b.jsonl", "a.jsonl"),
    ("completion fish", "invalid choice"),
]


@pytest.mark.parametrize(("command", "says"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_wrong_command_is_told_in_a_line(
    command: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    Path("rows.csv").write_text("text\nLovely.\n", encoding="utf-8")
    Path("empty.csv").write_text("text\n", encoding="utf-8")
    with answers("positive"):
        try:
            code = main(command.split())
        except SystemExit as stopped:
            code = int(str(stopped.code))
    told = capsys.readouterr().err
    assert code == 2
    assert says in told
    assert "Traceback" not in told
    assert len(told.splitlines()) == 1


def test_a_blocking_call_inside_a_running_loop_answers() -> None:
    async def inside() -> str:
        return TASK.using(client=ScriptedClient("bug"))("It crashes.")

    assert asyncio.run(inside()) == "bug"
