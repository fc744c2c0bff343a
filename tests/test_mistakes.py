"""What newcomers get wrong: what is typed, and what is said. Each message says what to do, and none has a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
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
    find,
    judge,
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
    (lambda: classify_sentiment(["a", "b"], client=ScriptedClient()), InputError, "many texts go through `map`"),
    (lambda: TASK("x", text="y"), InputError, "text is given twice"),
    (lambda: translate("x", target=None), InputError, "target=None: give target a value"),
    (lambda: translate("x", traget="German"), InputError, "did you mean 'target'?"),
    (lambda: classify("x", None), InputError, "labels=None: give a list of labels"),
    (lambda: classify("x", 3), InputError, "labels=3: give a list of labels"),
    (lambda: classify("x", ["a", "b"], examples="rows.jsonl"), InputError, "`examples_from`"),
    (lambda: classify("x", ["a", "b"], examples={"x": "a"}), InputError, "examples is a dict: give pairs"),
    (lambda: classify("x", ["a", "b"], examples=pd.DataFrame({"x": ["a"]})), InputError, "a DataFrame: give pairs"),
    (lambda: complete_pattern("a -> b", "c"), InputError, "examples is a str: give pairs"),
    (lambda: TASK.using(output=["a", "b"]), InputError, "output_of"),
    (lambda: extract("x", "Order"), InputError, "schema must be a pydantic model class"),
    (lambda: find("x", "person"), InputError, "a list of texts"),
    (lambda: classify("x", ["a", "b"], several="yes"), InputError, "several='yes': give True or False"),
    (lambda: find("x", []), InputError, "spans need a list of labels"),
    (lambda: judge([("Why?", "a", "b")]), InputError, "row 1=('Why?', 'a', 'b'): give a dict"),
    (lambda: judge(["a", "b"]), InputError, "give a dict"),
    (lambda: judge([{"request": "x", "first": "a", "second": "b"}], "judge"), InputError, "task='judge': give a task"),
    (lambda: TASK.then(TASK, agree=95), InputError, "agree=95: must lie between 0 and 1, as 0.95"),
    (lambda: TASK.then(TASK, agree="most"), InputError, "agree='most'"),
    (lambda: TASK.calibrate([("x", "bug")], risk=5), InputError, "risk=5: must lie between 0 and 1, as 0.05"),
    (lambda: classify_sentiment("x", client=ScriptedClient), InputError, "is a type, which cannot be asked"),
    (lambda: TASK.map(pd.DataFrame({"body": ["x"]})), InputError, "columns="),
    (lambda: TASK.evaluate([{"text": "x", "kind": "bug"}]), InputError, "it has text, kind: name the column"),
    (lambda: load("./rows.csv"), TaskError, "is a file: give the path of its folder"),
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
    Path("rows.csv").write_text("text\nx\n", encoding="utf-8")
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
    ("run classify x --labels bug question", "a comma between"),
    ("run classify x --labels bug;question", "a comma between"),
    ("run sentiment x --labels=", "a comma between"),
    ("run sentiment --file .", "is a folder"),
    ("run sentiment x --json --concise", "give one of them"),
    ("run translate x --target German", "--set target=…"),
    ("run sentiment --file moods.csv --input-column txt", "it has body, mood"),
    ("--model m run sentiment x", "options stand after the command"),
    ("sentiment x", "did you mean 'run sentiment'?"),
    ("help", "did you mean '--help'?"),
    ("cache", "info|clear"),
    ("check ./rows.csv", "is a file: give the path of its folder"),
    ("show nowhere", "no task 'nowhere'; see"),
    ("eval sentiment --data moods.csv --map text=body", "it has body, mood: name the column"),
    ("new mine --from rows.csv", "it has text: say which column holds the answer"),
    ("calibrate sentiment --data labels.csv --risk 2", "risk=2.0: must lie between 0 and 1"),
    ("share translate --data rows.csv --labelled labels.csv", "take a task with labels"),
]


@pytest.mark.parametrize(("command", "says"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_wrong_command_is_told_in_a_line(
    command: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    Path("rows.csv").write_text("text\nLovely.\n", encoding="utf-8")
    Path("labels.csv").write_text("text,label\nLovely.,positive\nBad.,negative\n", encoding="utf-8")
    Path("moods.csv").write_text("body,mood\nLovely.,positive\n", encoding="utf-8")
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


WRITTEN = [
    ("output = [bug, question]", 'a text stands in quotes, as "bug"'),
    ('output = "labels"', 'give a list of labels, "text", "number" or "schema.json"'),
    ('[output]\nbug = "a defect"\nquestion = "asks how"', "descriptions of labels stand in [descriptions]"),
    ('[output]\napp = ["bug", "crash"]\nmoney = "refund"', "give a list of labels"),
    ('output = ["bug", "question"]\n[setting]\nk = 2', "did you mean 'settings'?"),
    ('output = ["bug", "question"]\n[settings]\napi_key = "sk-x"', "set it in the environment"),
]


@pytest.mark.parametrize(("toml", "says"), WRITTEN, ids=[toml.splitlines()[-1] for toml, _ in WRITTEN])
def test_a_mistake_in_a_task_folder_is_named_with_its_fix(
    toml: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    TASK.save(folder)
    (folder / "task.toml").write_text(toml, encoding="utf-8")
    assert main(["check", str(folder)]) == 1
    assert says in capsys.readouterr().out
