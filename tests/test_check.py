"""The linter: a folder made with all faults, and what it says about each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewshot.authoring.check import Checkup, check
from fewshot.cli.main import main
from fewshot.errors import TaskError
from fewshot.task import load

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"

GOOD_TOML = """\
description = "Tell which team a ticket is for."
output = ["bug", "question"]

[inputs]
text = "the ticket"
"""
GOOD_PROMPT = """\
{% block instruction %}Sort the ticket as {{ labels | join(" or ") }}.{% endblock %}
{% block input %}Ticket: {{ text }}{% endblock %}
{% block output %}Team: {{ output }}{% endblock %}
"""
GOOD_EXAMPLES = """\
{"text": "It crashes when I save.", "output": "bug"}
{"text": "How do I export my data?", "output": "question"}
"""


def folder(path: Path, *, toml: str = GOOD_TOML, prompt: str = GOOD_PROMPT, examples: str = GOOD_EXAMPLES) -> Path:
    path.mkdir(parents=True)
    (path / "task.toml").write_text(toml, encoding="utf-8")
    (path / "prompt.jinja").write_text(prompt, encoding="utf-8")
    if examples:
        (path / "examples.jsonl").write_text(examples, encoding="utf-8")
    return path


def codes(found: Checkup) -> set[str]:
    return {finding.code for finding in found.findings}


# -- one folder with every fault that can stand beside the others ---------------------------------------------------

BAD_TOML = """\
version = "2"
output = ["bug", "question", "praise", "other"]
optional = "none"
verison = 3

[inputs]
text = "the ticket"
product = "which product"
output = "a name with a meaning"
"the user" = "no name"

[parameters]
product = "clashes with the input"
tone = "used by nothing"

[descriptions]
question = "somebody wants to know something"

[settings]
k = 99
embedding_model = "x"
max_repairs = -1
votes = 3
temprature = 0.2
timeout = -1
api_key = "sk-secret"
"""
BAD_PROMPT = """\
Dear model,
{% set greeting = "Hello" %}
{% block input %}
{% set unused = 1 %}
{% macro never(x) %}{{ x }}{% endmacro %}
Read the following ticket with the greatest care, think about what its author wants, and then sort it as told above.
{{ greeting }} {{ txet }} {{ text | uper }} {{ output }}
{% for word in labels %}{{ word }}{% endfor %}
{% endblock %}
{% block instruction %}Sort the ticket {{ text }} as bug or question.{% endblock %}
{% block output %}{{ output }} is the team.{% endblock %}
{% block outro %}Thanks{% endblock %}
"""
LONG = "The second report of the month cannot be opened on any of my old machines"
BAD_EXAMPLES = [
    {"text": "It crashes when I save.", "product": "editor", "output": "bug"},
    {"text": "It crashes  when I SAVE.", "product": "editor", "output": "bug"},
    {"text": "It crashes when I save.", "product": "editor", "output": "question"},
    {"txt": "Misspelt key", "product": "editor", "output": "bug"},
    {"text": "Unknown label", "product": "editor", "output": "bugg"},
    {"text": "No output", "product": "editor"},
    {"text": "", "product": "editor", "output": "bug"},
    {"text": True, "product": "editor", "output": "bug"},
    "no object",
    None,
    {"text": "Write here. (replace me)", "product": "editor", "output": "bug"},
    {"text": f"{LONG} today", "product": "editor", "output": "bug"},
    {"text": f"{LONG}", "product": "editor", "output": "bug", "id": "same"},
    {"text": "Stands in the test file.", "product": "editor", "output": "bug", "id": "same"},
    {"text": "How do I export?", "product": "editor", "output": "question"},
    {"text": "How can one print in colour?", "product": "editor", "output": "other"},
]
ALL_FAULTS = [
    ("task.toml", None, "unknown-key", "unknown key 'verison' (did you mean 'version'?)"),
    ("task.toml", None, "no-description", "has no description"),
    ("task.toml", None, "idle-key", "`optional` does nothing"),
    ("task.toml", 9, "name", "'output' cannot be the name of an input"),
    ("task.toml", 10, "name", "'the user' cannot be the name of an input"),
    ("task.toml", 8, "name", "'product' is an input and a parameter"),
    ("task.toml", 24, "setting", "unknown option 'temprature' (did you mean 'temperature'?)"),
    ("task.toml", 25, "setting", "timeout=-1: must be above 0"),
    ("task.toml", 26, "setting", "'api_key' has no place in a task folder"),
    ("task.toml", 22, "setting", "max_repairs=-1"),
    ("task.toml", 21, "idle-setting", "embedding_model does nothing"),
    ("task.toml", 23, "idle-setting", "votes does nothing"),
    ("task.toml", 20, "idle-setting", "k does nothing: no question has more than"),
    ("task.toml", 14, "unused-parameter", "the parameter 'tone' is used by no block"),
    ("prompt.jinja", 1, "outside", "stands outside the blocks and is never sent"),
    ("prompt.jinja", 2, "outside", "stands outside the blocks and no block sees it"),
    ("prompt.jinja", 3, "block-order", "another order than they are sent"),
    ("prompt.jinja", 4, "unused-variable", "'unused' is set but not used"),
    ("prompt.jinja", 5, "unused-variable", "the macro 'never' is not called"),
    ("prompt.jinja", 6, "static-late", "characters that never change stand in the input block"),
    ("prompt.jinja", 7, "unknown-variable", "'greeting' is made outside the block 'input'"),
    ("prompt.jinja", 7, "unknown-variable", "unknown variable 'txet' (did you mean 'text'?)"),
    ("prompt.jinja", 7, "unknown-variable", "{{ output }} belongs in the output block"),
    ("prompt.jinja", 7, "not-allowed", "No filter named 'uper'"),
    ("prompt.jinja", 3, "unused-input", "the input 'product' is declared but not used"),
    ("prompt.jinja", 10, "not-constant", "'text' is an input and changes with every call"),
    ("prompt.jinja", 11, "no-cue", "nothing stands before {{ output }}"),
    ("prompt.jinja", 11, "after-output", "what stands after {{ output }} is never sent"),
    ("prompt.jinja", 12, "unknown-block", "unknown block 'outro'"),
    ("examples.jsonl", 2, "duplicate", "stands already in line 1"),
    ("examples.jsonl", 3, "conflict", "says 'question', but line 1 says 'bug'"),
    ("examples.jsonl", 4, "unknown-key", "unknown key 'txt' (did you mean 'text'?)"),
    ("examples.jsonl", 4, "missing-key", "the example has no 'text'"),
    ("examples.jsonl", 5, "unknown-label", "'bugg' is none of the labels"),
    ("examples.jsonl", 6, "missing-key", "the example has no 'output'"),
    ("examples.jsonl", 7, "invalid-input", "text is empty"),
    ("examples.jsonl", 8, "invalid-input", "text must be text, not a bool"),
    ("examples.jsonl", 9, "row", "must be an object"),
    ("examples.jsonl", 10, "row", "is not valid JSON"),
    ("examples.jsonl", 11, "placeholder", "is still as `fewshot new` wrote it"),
    ("examples.jsonl", 13, "near-duplicate", "hardly differs from line 12"),
    ("examples.jsonl", 14, "duplicate-id", "the id 'same' is also that of line 13"),
    ("examples.jsonl", 14, "leak", "also stands in the test file"),
    ("examples.jsonl", None, "no-example", "the label 'praise' has no example"),
    ("examples.jsonl", None, "imbalance", "'bug' has 6 examples and 'other' only 1"),
    ("example.json", None, "unread-file", "is not read (did you mean 'examples.json'?)"),
]


@pytest.fixture
def all_faults(tmp_path: Path) -> Checkup:
    lines = [json.dumps(row) if row is not None else '{"text": ' for row in BAD_EXAMPLES]
    bad = folder(tmp_path / "bad", toml=BAD_TOML, prompt=BAD_PROMPT, examples="\n".join(lines))
    (bad / "example.json").write_text("[]", encoding="utf-8")
    (tmp_path / "held_out.csv").write_text(
        "message,product,team\nstands in the TEST file.,Editor,bug\n", encoding="utf-8"
    )
    return check(bad, against=tmp_path / "held_out.csv")


@pytest.mark.parametrize(("file", "line", "code", "message"), ALL_FAULTS)
def test_finds_every_fault_in_one_run(all_faults: Checkup, file: str, line: int | None, code: str, message: str):
    said = [f for f in all_faults.findings if f.code == code and message in f.message]
    assert len(said) == 1, [str(f) for f in all_faults.findings]
    assert Path(said[0].path).name == file
    if line is not None:
        assert said[0].line == line


def test_says_no_more_than_that(all_faults: Checkup):
    expected = {(code, message) for _, _, code, message in ALL_FAULTS}
    others = [str(f) for f in all_faults.findings if not any(f.code == c and m in f.message for c, m in expected)]
    assert others == []


def test_shows_no_key(all_faults: Checkup):
    assert "sk-secret" not in "\n".join(map(str, all_faults.findings))


# -- faults that leave nothing else to look at, or need a folder of their own ----------------------------------------

THREE = [("a", "bug"), ("b", "bug"), ("c", "question")]
ALONE = [
    ("toml", 2, {"toml": 'description = "x"\noutput = [\n["a"'}, "is not valid TOML"),
    ("output", None, {"toml": 'description = "x"'}, "has no 'output'"),
    ("output", 2, {"toml": 'description = "x"\noutput = "labels"'}, "output is 'labels'"),
    ("output", 2, {"toml": 'description = "x"\noutput = "schema.json"'}, "No such file"),
    (
        "table",
        1,
        {"toml": 'settings = 1\ndescription = "x"\noutput = ["bug", "question"]'},
        "'settings' must be a table",
    ),
    ("duplicate-label", 1, {"toml": 'output = ["bug", "question", "bug"]'}, "the label 'bug' stands 2 times"),
    ("label", 1, {"toml": 'output = ["bug"]'}, "one label leaves nothing to choose"),
    ("label", 1, {"toml": 'output = ["bug", " "]'}, "a label must be a text that is not blank, not ' '"),
    (
        "unknown-label",
        3,
        {"toml": 'output = ["bug", "question"]\n[words]\nqestion = "Q"'},
        "(did you mean 'question'?)",
    ),
    (
        "idle-key",
        3,
        {"toml": GOOD_TOML + '[descriptions]\nbug = "it fails"'},
        "[descriptions] does nothing in the prompt",
    ),
    ("idle-key", 2, {"toml": 'output = "text"\n[words]\na = "b"'}, "[words] does nothing: there are no labels"),
    ("idle-setting", 3, {"toml": 'output = "text"\n[settings]\nmin_confidence = 0.5'}, "how likely the words are"),
    ("idle-setting", 3, {"toml": 'output = "number"\n[settings]\nscoring = false'}, "have probabilities"),
    ("idle-setting", 7, {"toml": GOOD_TOML + "[settings]\nseed = 7"}, "seed does nothing: nothing is drawn"),
    ("template", 1, {"prompt": "{% block input %}{{ text }{% endblock %}"}, "unexpected '}'"),
    ("missing-block", 1, {"prompt": "{% block input %}{{ text }}{% endblock %}"}, "no block 'output'"),
    (
        "no-output",
        2,
        {"prompt": "{% block input %}{{ text }}{% endblock %}\n{% block output %}Team:{% endblock %}"},
        "does not print the output",
    ),
    (
        "not-allowed",
        1,
        {"prompt": GOOD_PROMPT.replace("Sort", "{% include 'x' %}Sort")},
        "a template cannot load another one",
    ),
    ("labels-unsaid", 1, {"prompt": GOOD_PROMPT.replace('{{ labels | join(" or ") }}', "a bug or so")}, "'question'"),
    (
        "render",
        2,
        {
            "toml": GOOD_TOML + "about = { optional = true }\n",
            "prompt": GOOD_PROMPT.replace("{{ text }}", "{{ text }}\n{{ about }}"),
        },
        "guard it",
    ),
    (
        "round-trip",
        1,
        {"toml": 'output = "text"', "examples": '{"text": "a", "output": "Team: red"}'},
        "is read back as 'red'",
    ),
    (
        "blank-line",
        1,
        {"toml": 'output = "text"', "examples": '{"text": "a", "output": "one\\n\\ntwo"}'},
        "the text form would stop",
    ),
    (
        "invalid-output",
        1,
        {"toml": 'output = "number"', "examples": '{"text": "a", "output": "plenty"}'},
        "must be a number",
    ),
    (
        "not-shown",
        None,
        {
            "toml": GOOD_TOML + "[settings]\nk = 2",
            "examples": "".join(json.dumps({"text": t, "output": o}) + "\n" for t, o in THREE),
        },
        "have none of 'question'",
    ),
    (
        "long-prompt",
        None,
        {"prompt": GOOD_PROMPT.replace("Sort", "word " * 6000 + "Sort")},
        "tokens before the question",
    ),
]


@pytest.mark.parametrize(("code", "line", "files", "message"), ALONE)
def test_finds_a_fault_alone(tmp_path: Path, code: str, line: int | None, files: dict[str, str], message: str):
    found = check(folder(tmp_path / "bad", **files))
    assert [f for f in found.findings if f.code == code and message in f.message], [str(f) for f in found.findings]


def test_a_byte_order_mark_is_one_finding(tmp_path: Path):
    found = check(folder(tmp_path / "bad", toml="\ufeff" + GOOD_TOML))
    assert [(f.line, f.code) for f in found.findings] == [(1, "toml")]
    assert "byte order mark" in found.findings[0].message


def test_an_unknown_task_does_not_end_the_check_of_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    good = folder(tmp_path / "good")
    assert main(["check", "nowhere", str(good)]) == 2
    said = capsys.readouterr().err
    assert "no task 'nowhere'" in said
    assert "good: ok" in said


def test_a_good_folder_has_no_finding(tmp_path: Path):
    found = check(folder(tmp_path / "good"))
    assert (found.findings, found.ok) == ((), True)
    assert found.labels == {"bug": 1, "question": 1}
    assert list(found.tokens) == [0, 1, 2]
    assert found.tokens[0] < found.tokens[1] < found.tokens[2]
    assert found.longest is not None
    assert found.longest[0] == 2


@pytest.mark.parametrize(("listed", "label", "value"), [("[1, 2, 3]", 2, 2), ("[true, false]", "True", True)])
def test_whole_numbers_and_booleans_are_labels(tmp_path: Path, listed: str, label: object, value: object):
    toml = GOOD_TOML.replace('["bug", "question"]', listed)
    path = folder(tmp_path / "good", toml=toml, examples=json.dumps({"text": "a", "output": label}))
    assert not [f for f in check(path).findings if f.code in ("label", "output", "invalid-output")]
    task = load(path)
    given = task.output.value(task.examples[0].output)
    assert (given, type(given)) == (value, type(value))


def test_labels_of_which_several_fit_have_descriptions_too(tmp_path: Path):
    toml = GOOD_TOML.replace('["bug", "question"]', '{ any_of = ["bug", "question"] }')
    toml += '[descriptions]\nbug = "it fails"\n'
    prompt = GOOD_PROMPT.replace(".{% endblock", "{{ descriptions['bug'] }}.{% endblock", 1)
    found = check(folder(tmp_path / "good", toml=toml, prompt=prompt, examples=""))
    assert [str(f) for f in found.findings if f.code == "idle-key"] == []


def test_set_loops_and_macros_are_understood(tmp_path: Path):
    prompt = """\
{% block instruction %}
{% macro line(label) %}- {{ label | upper }}{% endmacro %}
{% set all = labels %}
Sort:
{% for label in all %}{{ line(label) }}{% if not loop.last %};{% endif %}
{% endfor %}
{% endblock %}
{% block input %}{% set shown = text %}Ticket: {{ shown }}{% endblock %}
{% block output %}Team: {{ output }}{% endblock %}
"""
    assert check(folder(tmp_path / "good", prompt=prompt)).findings == ()


@pytest.mark.parametrize("name", sorted(p.name for p in TEMPLATES.iterdir() if p.is_dir()))
def test_every_shipped_folder_passes(name: str):
    assert check(TEMPLATES / name).findings == ()


@pytest.mark.parametrize(("code", "line", "files", "message"), ALONE)
def test_what_cannot_be_loaded_is_an_error(
    tmp_path: Path, code: str, line: int | None, files: dict[str, str], message: str
):
    path = folder(tmp_path / "bad", **files)
    try:
        load(path)
    except TaskError:
        assert not check(path).ok


def test_rows_for_testing_in_the_folder_are_looked_at(tmp_path: Path):
    path = folder(tmp_path / "own")
    (path / "test.jsonl").write_text('{"text": "It crashes when I save.", "output": "bug"}\n', encoding="utf-8")
    assert codes(check(path)) == {"leak"}


def test_prints_place_message_and_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder(Path("templates") / "mine", examples='{"txt": "a", "output": "bug"}\n')
    assert main(["check", "mine"]) == 1
    said = capsys.readouterr()
    assert said.out.split("\n")[0] == (
        "templates/mine/examples.jsonl:1: error: unknown key 'txt' (did you mean 'text'?); "
        "the keys are text, output, id [unknown-key]"
    )
    assert "mine: 2 errors, 0 warnings" in said.err


def test_warnings_fail_only_when_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = folder(tmp_path / "mine", toml=GOOD_TOML.replace("description", "#"))
    assert main(["check", str(path)]) == 0
    assert main(["check", str(path), "--strict", "--json"]) == 1
    told = json.loads(capsys.readouterr().out.strip().split("\n")[-1])
    assert (told["ok"], [f["code"] for f in told["findings"]]) == (True, ["no-description"])


def test_a_missing_task_is_wrong_use(capsys: pytest.CaptureFixture[str]):
    assert main(["check", "sentimnt"]) == 2
    assert "did you mean 'sentiment'?" in capsys.readouterr().err
