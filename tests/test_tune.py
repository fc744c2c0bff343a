"""Searching for a better prompt against models whose quality is known to depend on the prompt."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from fewshot import Completion, InputError, Request, ScriptedClient, ServiceError, Task, load
from fewshot.cli.main import main
from fewshot.folders.writer import with_settings
from fewshot.tuning.candidates import Candidate
from fewshot.tuning.successive_halving import Entry
from fewshot.types import TokenLogprob

WORDS = {"good": "yes", "great": "yes", "fine": "yes", "bad": "no", "awful": "no", "odd": "no"}
ROWS = [(f"a {word} day number {n}", label) for n in range(40) for word, label in WORDS.items()]
OWN = [("a bad apple", "no"), ("an awful pear", "no"), ("a good plum", "yes")]
FOLDER = {
    "task.toml": """\
# What people say.
description = "Is it nice?"
output = ["yes", "no"]

[inputs]
text = "what was said"

[settings]
# found by hand
k = 2  # not many
""",
    "prompt.jinja": """\
{# {% block instruction %} comes first {% endblock %} #}
{% block instruction %}Say {{ labels | join(" or ") }}.{% endblock %}
{% block input %}Text: {{ text }}{% endblock %}
{% block output %}Nice: {{ output }}{% endblock %}
""",
    "examples.jsonl": '{"text": "a bad apple", "output": "no"}\n{"text":"an awful pear",  "output":"no"}\n'
    '{"text": "a good plum", "output": "yes", "id": "plum"}\n',
}


def luck(request: Request) -> float:
    """Give a number from 0 to 1 that depends on the prompt alone."""
    return random.Random(repr(request.chat)).random()


class Learner(ScriptedClient):
    """Is right the more often the more different labels its shots show; without shots it guesses."""

    def __init__(self) -> None:
        super().__init__(self.answer)

    def answer(self, request: Request) -> str:
        shown = [turn.content for turn in request.chat if turn.role == "assistant"]
        balance = min(shown.count("yes"), shown.count("no"))
        right = next(label for word, label in WORDS.items() if word in request.chat[-1].content.split())
        wrong = "no" if right == "yes" else "yes"
        return right if luck(request) < 0.5 + min(balance, 4) / 8 else wrong


class Leaning(ScriptedClient):
    """Knows all, but leans to "no": only calibration helps; lists log-probabilities."""

    top_logprobs = 20

    def __init__(self) -> None:
        super().__init__(self.answer)

    def answer(self, request: Request) -> Completion:
        right = next(label for word, label in WORDS.items() if word in request.chat[-1].content.split())
        yes = 1 / (1 + math.exp(2.0 - (1.5 if right == "yes" else -1.5) - luck(request)))
        top = ((b"yes", math.log(yes)), (b"no", math.log(1 - yes)))
        best = max(top, key=lambda pair: pair[1])
        return Completion(text=best[0].decode(), tokens=(TokenLogprob(*best, top),))


def task(client: Any = None, **options: Any) -> Task[Any]:
    return Task.of("Is it nice?", ["yes", "no"], OWN, client=client or Learner(), **{"k": 2, **options})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nice").mkdir()
    for name, text in FOLDER.items():
        (tmp_path / "nice" / name).write_text(text)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": t, "output": o}) + "\n" for t, o in ROWS))
    return tmp_path / "nice"


def test_the_better_prompt_is_found_and_measured_on_rows_that_the_search_never_saw() -> None:
    client = Learner()
    tuned = task(client).tune(ROWS, budget=1000)
    assert tuned.changed
    assert tuned.after.metrics["accuracy"].value > 0.9 > 0.7 > tuned.before.metrics["accuracy"].value
    assert tuned.difference.low > 0
    assert tuned.rows["held_out"] == tuned.before.rows == tuned.after.rows
    assert tuned.requests == len(client.requests) <= 1000
    held_out = {p.inputs["text"] for p in tuned.after.predictions}
    shots = {example.inputs["text"] for example in tuned.task.examples}
    assert not held_out & shots
    asked = {request.chat[-1].content for request in client.requests[: -2 * len(held_out)]}
    assert not asked & {f"Input: {text}\nOutput:" for text in held_out}
    assert {request.chat[-1].content for request in client.requests} > asked
    assert tuned.task("a great new day") in ("yes", "no")


def test_the_same_seed_finds_the_same_and_another_parts_the_rows_otherwise() -> None:
    first, second = (task().tune(ROWS, budget=400, seed=3) for _ in range(2))
    assert {**first.to_dict(), "seconds": 0} == {**second.to_dict(), "seconds": 0}
    other = task().tune(ROWS, budget=400, seed=4)
    assert [p.inputs for p in other.after.predictions] != [p.inputs for p in first.after.predictions]


def test_no_request_is_sent_twice() -> None:
    client = Learner()
    task(client).tune(ROWS, budget=600)
    assert len(set(client.requests)) == len(client.requests)


def test_rungs_ask_more_rows_and_keep_the_better_half() -> None:
    tuned = task().tune(ROWS, budget=1000)
    start, *others = tuned.trials
    alive = [sum(len(trial.rungs) > n for trial in tuned.trials) for n in range(len(start.rungs))]
    assert alive == sorted(alive, reverse=True)
    assert alive[0] == len(tuned.trials)
    rows = [rung.rows for rung in start.rungs]
    assert rows == sorted(set(rows))
    assert rows[0] >= 10
    for n, rung in enumerate(start.rungs[:-1]):
        there = [trial.rungs[n] for trial in others if len(trial.rungs) > n]
        kept, dropped = ([r.score for r in there if r.kept is stays] for stays in (True, False))
        assert min(kept) >= max(dropped)
        assert rung.kept  # the start is there to the end
    assert [trial.rungs[-1].kept for trial in tuned.trials if trial.chosen] == [True]
    assert "dropped" in str(tuned)


def test_the_start_is_kept_when_nothing_beats_it() -> None:
    always = ScriptedClient(lambda request: "yes")
    tuned = task(always).tune(ROWS, budget=300)
    assert (tuned.changed, tuned.chosen) == (False, "start")
    assert tuned.task._fingerprint == task()._fingerprint
    assert tuned.difference.difference == 0
    assert "that of the start is kept" in str(tuned)
    with pytest.raises(InputError, match="made in code"):
        tuned.write()


def test_a_little_luck_is_no_better_prompt() -> None:
    def entry(*scores: float) -> Entry:
        return Entry(Candidate("", task()), task(), scores=scores)

    start = entry(*[1.0, 0.0] * 10)
    assert not entry(*[1.0, 0.0] * 9, 1.0, 1.0).beats(start)
    assert not entry(*[0.0, 1.0] * 9, 1.0, 1.0).beats(start)
    assert not start.beats(start)
    assert entry(*[1.0, 0.0] * 7, *[1.0] * 6).beats(start)
    assert entry(*[1.0] * 20).beats(start)


def test_with_log_probabilities_prompts_are_judged_after_calibration() -> None:
    tuned = task(Leaning()).tune(ROWS, budget=600)
    rung = tuned.trials[0].rungs[-1]
    assert rung.score == 1.0 > rung.uncalibrated
    assert not tuned.changed  # calibrated, the start is as good as any
    assert tuned.task.fitted is not None
    assert tuned.after.metrics["accuracy"].value == 1.0 > tuned.before.metrics["accuracy"].value
    raw = task(Leaning()).tune(ROWS, budget=600, calibrate=False)
    assert raw.task.fitted is None
    assert all(rung.score == rung.uncalibrated for trial in raw.trials for rung in trial.rungs)


def test_a_task_that_is_calibrated_already_can_be_tuned() -> None:
    tuned = task(Leaning()).calibrate(ROWS[:60]).tune(ROWS, budget=200)
    assert tuned.before.metrics["accuracy"].value == tuned.after.metrics["accuracy"].value == 1.0


def test_the_same_prompt_is_not_tried_under_two_names() -> None:
    bare = Task.of("Is it nice?", ["yes", "no"], client=Learner())
    tuned = bare.tune(ROWS, budget=300, k=[0], forms=["chat"])
    assert [trial.name for trial in tuned.trials] == ["start"]


def test_open_answers_are_searched_by_their_own_score() -> None:
    def answer(request: Request) -> str:
        number = request.chat[-1].content.split("\n")[0].split()[-1]
        return number if len(request.chat) > 5 else f"it is {number}, I think"

    rows = [(f"say {n}", f"{n}") for n in range(100, 200)]
    echo = Task.of("Repeat.", "text", [("say 1", "1")], client=ScriptedClient(answer))
    tuned = echo.tune(rows, budget=300)
    assert tuned.score == "token_f1"
    assert tuned.after.metrics["exact_match"].value == 1.0 > tuned.before.metrics["token_f1"].value
    echo = Task.of("Repeat.", "number", [("say 1", 1)], client=ScriptedClient(answer))
    assert echo.tune([(f"say {n}", n) for n in range(100, 200)], budget=100).score == "numeric_match"


def test_the_budget_holds_when_rows_take_more_than_one_request() -> None:
    client = ScriptedClient(lambda request: "maybe")  # asked again, twice, each time
    tuned = task(client).tune(ROWS, budget=600)
    assert tuned.requests == len(client.requests)
    assert len(client.requests) <= 660
    with pytest.raises(InputError, match="budget was spent before"):
        task(client, max_repairs=10).tune(ROWS, budget=50)


def test_a_refused_account_ends_the_search() -> None:
    with pytest.raises(ServiceError, match="no credit"):
        task(ScriptedClient(lambda request: ServiceError("no credit", account=True))).tune(ROWS)


@pytest.mark.parametrize(
    ("options", "field", "problem"),
    [
        ({"budget": 10}, "budget", "50 requests or more"),
        ({"draws": 0}, "draws", "1 or more"),
        ({"k": [-1]}, "k", "0 or more"),
        ({"forms": ["talk"]}, "forms", "not one of chat, text"),
    ],
)
def test_faulty_arguments_are_named(options: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        task().tune(ROWS, **options)
    assert caught.value.field == field


def test_a_budget_that_the_start_alone_would_use_up_is_refused() -> None:
    own = [(f"a bad pear {n}", "no") for n in range(30)]
    with pytest.raises(InputError, match="so give 94 or more") as caught:
        task(Leaning(), calibrate=True).using(examples=own).tune(ROWS, budget=50)
    assert caught.value.field == "budget"


def test_few_rows_are_refused_and_examples_and_copies_do_not_count() -> None:
    with pytest.raises(InputError, match=r"30 labelled rows or more.*here are 29"):
        task().tune([*ROWS[:29], *ROWS[:5], *OWN])
    assert "8 rows were left out" in " ".join(task().tune([*ROWS[:40], *ROWS[:5], *OWN], budget=60).notes)


def test_writing_puts_shots_first_and_keeps_lines_comments_and_copies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = load(folder, client=Learner()).tune(ROWS, budget=800, k=[8])
    assert tuned.changed
    done = tuned.write()
    assert done.task._fingerprint == tuned.task._fingerprint
    assert done.task.render("a day") == tuned.task.render("a day")
    spec = (folder / "task.toml").read_text()
    assert spec == FOLDER["task.toml"].replace("k = 2  # not many", "k = 8  # not many")
    lines = (folder / "examples.jsonl").read_text().splitlines()
    assert lines[8:] == FOLDER["examples.jsonl"].splitlines()
    assert all(json.loads(line)["id"].startswith("tuned:") for line in lines[:8])
    assert sorted(path.name for path in folder.iterdir()) == [
        "examples.jsonl", "examples.jsonl.bak", "prompt.jinja", "task.toml", "task.toml.bak",
    ]  # fmt: skip
    assert (folder / "task.toml.bak").read_text() == FOLDER["task.toml"]
    with pytest.raises(InputError, match="another template, output or examples"):
        tuned.write()


def test_a_task_given_other_examples_than_its_folder_is_not_written(folder: Path) -> None:
    tuned = load(folder, examples=OWN[:2], client=Learner()).tune(ROWS, budget=800)
    with pytest.raises(InputError, match="another template, output or examples"):
        tuned.write()
    assert (folder / "task.toml").read_text() == FOLDER["task.toml"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('output = "text"\n', 'output = "text"\n\n[settings]\nk = 4\nselect = "bm25"\n'),
        ("[settings]\nk=1 # one\n\n[words]\na = 'b'", "[settings]\nk=4 # one\nselect = \"bm25\"\n\n[words]\na = 'b'"),
        ("[settings]\r\nform = 'chat'\r\n", '[settings]\r\nk = 4\r\nselect = "bm25"\r\n'),
        ("settings = {k = 3}\n", 'settings = {k = 4,select = "bm25"}\n'),
    ],
)
def test_settings_are_edited_in_place(before: str, after: str) -> None:
    assert with_settings(before, {"k": 4, "select": "bm25", "form": None}) == after


def test_settings_that_cannot_be_edited_are_told() -> None:
    with pytest.raises(InputError, match="set yourself: k = 4"):
        with_settings("settings = 3\n[settings]\nk = 3\n", {"k": 4})


def command(folder: Path, *more: str) -> list[str]:
    return ["tune", str(folder), "--data", str(folder.parent / "rows.jsonl"), "--budget", "600", *more]


@pytest.fixture
def _learner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command line ask the scripted model."""
    from fewshot.cli import options

    monkeypatch.setattr(options, "load", lambda name: load(name, client=Learner()))


def test_answers_that_failed_are_told_and_the_exit_code_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fewshot.cli import options

    refusing = ScriptedClient(lambda request: ServiceError("bad request", status=400, code="content_filter"))
    monkeypatch.setattr(options, "load", lambda name: load(name, client=refusing))
    assert main(command(folder)) == 1
    shown = capsys.readouterr()
    assert re.search(r"note: (\d+) of \1 answers of the search failed .* mostly: ServiceError: bad request", shown.out)
    assert "answers on the rows held out failed: ServiceError: bad request" in shown.err


def test_numbers_of_shots_that_are_none_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tune", "sentiment", "--data", "x", "--k", "0,,4"])
    assert "'0,,4' must be whole numbers from 0 on, such as 4 or 0,4,8" in capsys.readouterr().err


@pytest.mark.usefixtures("_learner")
def test_the_command_shows_the_search_and_writes_only_when_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder)) == 0
    shown = capsys.readouterr()
    assert "rows that the search never saw" in shown.out
    assert "nothing was written; with --write" in shown.err
    assert {path.name: path.read_text() for path in folder.iterdir()} == FOLDER
    assert main(command(folder, "--json", "--write", "--k", "0,8")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["written"] == [str(folder / name) for name in ("examples.jsonl", "task.toml")]
    assert found["settings"]["k"] == load(folder).settings.k == 8
    assert found["held_out"]["chosen"]["value"] > found["held_out"]["start"]["value"]
    assert {rung["rows"] for trial in found["trials"] for rung in trial["rungs"]}


def test_the_command_writes_nothing_where_the_start_did_better_on_the_rows_held_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fewshot.cli import options

    rehearsed = load(folder, client=Learner()).tune(folder.parent / "rows.jsonl", budget=600)
    held_out = {p.inputs["text"] for p in rehearsed.after.predictions}

    def answer(request: Request) -> str:
        text = request.chat[-1].content.split("\n")[0].removeprefix("Text: ")
        shots = (len(request.chat) - 2) // 2
        right = next(label for word, label in WORDS.items() if word in text.split())
        return right if (shots > 2) != (text in held_out) else "no"

    monkeypatch.setattr(options, "load", lambda name: load(name, client=ScriptedClient(answer)))
    assert main(command(folder, "--write")) == 0
    shown = capsys.readouterr()
    assert "on these rows the start did better" in shown.out
    assert "nothing was written: on the rows held out the start did better" in shown.err
    assert main(command(folder)) == 0
    assert "with --write" not in capsys.readouterr().err  # which would not write it either
    assert {path.name: path.read_text() for path in folder.iterdir()} == FOLDER


def test_the_command_keeps_the_calibration_where_calls_of_the_written_task_find_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fewshot.cli import options

    monkeypatch.setattr(options, "load", lambda name: load(name, client=Leaning(), k=0))
    assert main(command(folder, "--write")) == 0
    assert "the calibration is kept" in capsys.readouterr().err
    assert load(folder, client=Leaning(), k=0).run("a fine day").calibration != "none"
    assert load(folder, client=Leaning(), k=1).run("a fine day").calibration == "none"


def test_the_command_refuses_to_write_into_a_task_that_ships(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "Fine.", "output": "positive"}\n', encoding="utf-8")
    assert main(["tune", "sentiment", "--data", str(data), "--labels", "positive,negative,neutral", "--write"]) == 2
    assert "ships with the package: copy its folder" in capsys.readouterr().err


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
def test_the_embedded_model_is_tuned_and_keeps_its_calibration(folder: Path) -> None:
    (folder / "task.toml").write_text(FOLDER["task.toml"].replace("[settings]", '[settings]\nmodel = "local"'))
    tuned = load(folder).tune(ROWS[:60], budget=80, k=[0, 4])
    assert tuned.requests <= 80
    assert tuned.task.fitted is not None
    assert tuned.after.calibration is not None
    assert tuned.after.metrics["accuracy"].value >= 0.5


def test_where_there_is_no_other_prompt_to_try_it_is_told() -> None:
    tuned = task().tune(ROWS, budget=400, k=[500])
    assert len(tuned.trials) == 1
    assert "there was no other prompt to try" in str(tuned)


def test_rows_that_differ_from_a_shot_by_an_optional_input_alone_are_searched_with() -> None:
    template = (
        "{% block input %}{% if context %}Context: {{ context }}\n{% endif %}Text: {{ text }}{% endblock %}"
        "{% block output %}Nice: {{ output }}{% endblock %}"
    )
    task = Task.of(template, ["yes", "no"], inputs={"text": ..., "context": None}, client=Leaning())
    rows = [{"text": text, "output": label} for text, label in ROWS[:60]]
    rows += [{"text": text, "context": "it rains", "output": label} for text, label in ROWS[:12]]
    for seed in range(3):
        assert task.tune(rows, budget=600, seed=seed, k=[0, 8, 32]).requests <= 600
