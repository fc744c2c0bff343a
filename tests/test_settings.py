"""The table of settings: every field refuses every wrong type, and all that is made from the table agrees with it."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from fewshot import InputError, ScriptedClient, Task, TaskError, load
from fewshot._options import Setting, meant, table
from fewshot.bulk.map import BulkOptions
from fewshot.bulk.plan import Plan
from fewshot.cli.main import main
from fewshot.cli.options import setting_of
from fewshot.settings import Options, Settings

ROOT = Path(__file__).parent.parent
SETTINGS, BULK = table(Settings), table(Plan)
FIELDS = [(Settings, name) for name in SETTINGS] + [(Plan, name) for name in BULK]
GOOD: dict[str, list[Any]] = {
    "flag": [True, False],
    "whole": [1, 7],
    "flag or whole": [True, False, 7],
    "number": [1, 1.0],
    "text": ["x"],
    "texts": ["END", ["a", "b"], ("a",)],
    "json": [{"top_k": 3, "deep": {"list": [1, None]}}, {}],
    "texts by name": [{"X-Team": "a"}],
    "values by name": [{"api-version": "1", "n": 2}],
    "path": ["out.jsonl", Path("out.csv")],
    "price": [[0.1, 0.4], (0, 2)],
    "redact": [True, "email", ["email", len], len],
    "any": ["x", 1],
}
ODDITIES: list[Any] = [
    None, True, 0, 1, 2.5, math.nan, "", "yes", "1", b"x", [], ["x"], [1], [""], ("a", 2), {}, {"a": "b"}, {1: "b"},
    {"a": {1}}, {"a": "b\nc"}, {"a": [1]}, object(), len, 1j, {"x"}, Path("x"), 10**400, {"a": math.nan},
]  # fmt: skip
TAKEN: dict[str, Any] = {  # what each type takes among the oddities, by position
    "flag": lambda v: isinstance(v, bool),
    "whole": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "flag or whole": lambda v: isinstance(v, bool) or (isinstance(v, int) and v > 1),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300,
    "text": lambda v: isinstance(v, str),
    "texts": lambda v: v in ("yes", "1", [], ["x"], (), {}) and v != {},
    "json": lambda v: v in ({}, {"a": "b"}, {"a": "b\nc"}, {"a": [1]}),
    "texts by name": lambda v: v in ({}, {"a": "b"}),
    "values by name": lambda v: v in ({}, {"a": "b"}, {"a": "b\nc"}),
    "price": lambda v: False,
    "path": lambda v: (isinstance(v, str) and v) or isinstance(v, Path),
    "redact": lambda v: isinstance(v, bool | str) or v is len or v in ([], ["x"], {"x"}),
}  # fmt: skip

each_field = pytest.mark.parametrize(("options", "name"), FIELDS, ids=[name for _, name in FIELDS])


@each_field
def test_every_wrong_type_is_refused_in_our_words(options: type[Any], name: str) -> None:
    about = table(options)[name]
    refused = 0
    for value in ODDITIES:
        fine = value is None if about.default is None and value is None else TAKEN.get(about.kind, bool)(value)
        if about.kind == "any" or fine:
            continue
        with pytest.raises(InputError, match=r"must be|is not one of") as caught:
            options(**{name: value})
        assert caught.value.field == name
        assert not any(
            word in str(caught.value) for word in ("supported between", "NoneType", "object is not", "argument")
        )
        refused += 1
    assert refused >= 10 or about.kind == "any"


@each_field
def test_every_right_type_is_taken_and_kept_frozen(options: type[Any], name: str) -> None:
    about = table(options)[name]
    for value in about.choices or GOOD[about.kind]:
        kept = getattr(options(**{name: value}), name)
        assert kept == (tuple(value) if isinstance(value, list) else Path(value) if about.kind == "path" else kept)
        assert options(**{name: kept}) == options(**{name: value})
    assert getattr(options(), name) == about.default


@each_field
def test_a_number_out_of_its_range_is_refused(options: type[Any], name: str) -> None:
    about = table(options)[name]
    step = 1 if about.kind == "whole" else 0.01
    low = [about.above] if about.above is not None else [] if about.least is None else [about.least - step]
    for value in low + ([] if about.most is None else [about.most + step]):
        with pytest.raises(InputError, match=f"^{name}=.*must be {about.range}$"):
            options(**{name: int(value) if about.kind == "whole" else value})


def test_a_single_text_for_stop_is_one_text() -> None:
    client = ScriptedClient("hi")
    load("translate", client=client, stop="END").run("hello")
    assert client.requests[0].stop == ("END",)


@pytest.mark.parametrize("least", [{"a": None}, {"a": {"b": 0.5}}, {"a": 0.5, "b": None}])
def test_a_field_without_a_number_of_its_own_is_refused(least: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"min_confidence=.*: must be a number for each field"):
        Settings(min_confidence=least)


def test_infinity_abstains_always_and_numpy_like_numbers_are_kept_as_pythons() -> None:
    class Index:
        def __index__(self) -> int:
            return 3

    assert Settings(min_confidence=math.inf).min_confidence == math.inf
    assert repr(Settings(k=Index()).k) == "3"
    assert repr(Settings(temperature=1).temperature) == "1.0"


def test_settings_with_dicts_hash_pickle_and_do_not_change_with_what_was_given() -> None:
    body = {"provider": {"order": ["a"]}}
    settings = Settings(extra_body=body, extra_headers={"Authorization": "sk-secret"})
    body["provider"]["order"].append("b")
    assert settings.extra_body == {"provider": {"order": ["a"]}}
    assert hash(settings) == hash(pickle.loads(pickle.dumps(settings)))
    assert "sk-secret" not in repr(settings) + repr(settings.deciding_the_answer)
    assert settings.deciding_the_answer["extra_headers"] != Settings().deciding_the_answer["extra_headers"]


@pytest.mark.parametrize("name", ["api_key", "extra_headers", "extra_query"])
def test_what_may_hold_a_key_is_not_in_the_message(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: must be") as caught:
        Settings(**{name: ["sk-secret"]})
    assert "sk-secret" not in str(caught.value)


NEAR = {
    "shots": "k", "n_shots": "k", "threshold": "min_confidence", "temp": "temperature", "url": "base_url", "n": "votes",
    "max_new_tokens": "max_tokens", "retries": "max_retries", "headers": "extra_headers", "Temperature": "temperature",
    "timeuot": "timeout", "base-url": "base_url", "random_state": "seed", "logprobs": "scoring",
}  # fmt: skip


@pytest.mark.parametrize(("word", "option"), NEAR.items())
def test_a_near_name_tells_what_was_meant(word: str, option: str) -> None:
    with pytest.raises(InputError, match=rf"unknown option '{word}' \(did you mean '{option}'\?\)"):
        load("sentiment", **{word: 3})


def test_labels_are_said_to_be_the_output_and_nonsense_has_no_near_name() -> None:
    with pytest.raises(InputError, match="labels are the output of a task"):
        load("sentiment").using(labels=["a"])
    assert meant("qqqq", SETTINGS) == ""


def test_no_word_means_two_options() -> None:
    for known in (SETTINGS, BULK):
        words = [word for about in known.values() for word in about.near]
        assert len(set(words)) == len(words)
        assert not set(words) & set(known)


def test_a_bulk_option_has_near_names_too() -> None:
    with pytest.raises(InputError, match=r"unknown option 'workers' .did you mean 'concurrency'"):
        load("sentiment", client=ScriptedClient()).map(["x"], workers=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="progress='yes': give a function of one argument"):
        load("sentiment", client=ScriptedClient()).map(["x"], progress="yes")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"progress=<function .*: give a function of one argument"):
        load("sentiment", client=ScriptedClient()).map(["x"], progress=lambda: None)  # type: ignore[arg-type]


def test_a_progress_function_that_fails_is_named() -> None:
    def draw(_: Any) -> None:
        raise KeyError("width")

    with pytest.raises(InputError, match=r"^progress: draw failed \(KeyError: 'width'\)$"):
        list(load("sentiment", client=ScriptedClient(lambda _: "positive")).map(["x"], progress=draw))


@pytest.mark.parametrize("facts", ["a", Path("a"), {"a": 1}, {1: "a"}])
def test_what_else_a_run_is_of_are_texts_by_name(facts: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"facts=.*: give texts by name"):
        load("sentiment", client=ScriptedClient()).map(["x"], out=tmp_path / "out.jsonl", facts=facts)


def test_the_typed_options_are_those_of_the_table() -> None:
    assert list(get_type_hints(Options)) == list(SETTINGS)
    assert set(get_type_hints(BulkOptions)) == {*BULK, "facts", "progress"}
    for about in (*SETTINGS.values(), *BULK.values()):
        assert about.meaning[0].islower() or about.meaning.startswith("US")
        assert not about.meaning.endswith(".")


def test_the_command_line_reads_every_setting_by_the_table() -> None:
    typed = {
        "flag": "false", "whole": "3", "flag or whole": "3",
        "number": "1", "text": "x", "texts": '["a", "b"]', "json": '{"top_k": 5}',
        "texts by name": '{"a": "b"}', "values by name": '{"a": 1}', "redact": "email,phone", "price": "0.1,0.4",
    }  # fmt: skip
    for name, about in SETTINGS.items():
        if name in ("api_key", "client"):
            continue
        value = setting_of(name, about.choices[0] if about.choices else typed[about.kind])
        assert getattr(Settings(**{name: value}), name) == value
        if about.default is None and about.kind != "text":
            assert setting_of(name, "null") is None
    assert (setting_of("stop", "END"), setting_of("redact", "true")) == (("END",), True)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--k", "many"], "k='many': must be a whole number"),
        (["-o", "temperature=hot"], "temperature='hot': must be a number"),
        (["--select", "nearest"], "select='nearest' is not one of first, random, balanced, bm25, embedding"),
        (["-o", "extra_body={"], "extra_body='{': must be a dict"),
        (["--rpm", "0"], "rpm=0.0: must be 1 or more"),
    ],
)
def test_a_wrong_value_on_the_command_line_is_told_in_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "sentiment", "x", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fewshot: {complaint}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "near"), [("--shots", "--k"), ("--threshold", "--min-confidence"), ("--url", "--base-url")]
)
def test_an_unknown_flag_tells_what_was_meant(flag: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "sentiment", "x", flag, "3"])
    assert f"(did you mean '{near}'?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('select = "nearest"', "task.toml:3: settings: select='nearest' is not one of first"),
        ("scoring = 0", "task.toml:3: settings: scoring=0: must be True or False"),
        ('timeout = "60"', "task.toml:3: settings: timeout='60': must be a number"),
        ("shots = 3", "task.toml:3: settings: unknown option 'shots' (did you mean 'k'?)"),
        ("extra_headers = { a = 'b' }", "task.toml:3: 'extra_headers' has no place in a task folder"),
    ],
)
def test_a_task_folder_is_held_to_the_same_table(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "task.toml").write_text(f'output = "text"\n[settings]\n{line}\n')
    (tmp_path / "prompt.jinja").write_text(
        "{% block input %}{{ text }}{% endblock %}{% block output %}{{ output }}{% endblock %}"
    )
    with pytest.raises(TaskError) as caught:
        load(tmp_path)
    assert complaint in str(caught.value)
    (tmp_path / "task.toml").write_text('output = "text"\n[settings]\nstop = "END"\nextra_body = { top_k = 3 }\n')
    assert load(tmp_path).settings == Settings(stop=("END",), extra_body={"top_k": 3})


def test_a_task_made_in_code_is_held_to_the_same_table() -> None:
    with pytest.raises(InputError, match="scoring='no': must be True or False"):
        Task.of("Say.", "text", scoring="no")  # type: ignore[call-overload]


def rows_of(known: dict[str, Setting]) -> list[str]:
    """The table of the documentation, as it must stand there."""

    def takes(about: Setting) -> str:
        what = ", ".join(f"`{choice}`" for choice in about.choices) or about.type
        return f"{what}, {about.range}" if about.range else what

    def usual(about: Setting) -> str:
        return "" if about.default in (None, ()) else f"`{about.default!r}`"

    lines = [f"| `{name}` | {takes(a)} | {usual(a)} | {a.meaning} |" for name, a in known.items()]
    return ["| option | takes | by default | what it does |", "|---|---|---|---|", *lines]


@pytest.mark.parametrize(("page", "known"), [("tasks.md", SETTINGS), ("bulk.md", BULK)])
def test_the_documentation_has_the_table(page: str, known: dict[str, Setting]) -> None:
    wanted = "\n".join(rows_of(known))
    assert wanted in (ROOT / "docs" / page).read_text(encoding="utf-8"), f"docs/{page} must hold:\n{wanted}"
