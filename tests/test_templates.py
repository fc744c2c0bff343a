"""The tasks that ship: every folder loads, reads its own answers back, and renders the same way in both forms."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from fewshot._wording import sentences
from fewshot.task import Task, load
from fewshot.types import Example, Form

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NAMES = sorted(folder.name for folder in TEMPLATES.iterdir() if folder.is_dir())
SHIPPED = [
    "answer",
    "calculate",
    "classify",
    "detect_injection",
    "extract",
    "find",
    "judge",
    "pattern",
    "rate",
    "sentiment",
    "sentiment_ko",
    "summarize",
    "tag",
    "translate",
]
CLOSED = ["detect_injection", "judge", "rate", "sentiment", "sentiment_ko"]
LANGUAGES = [("English", "French"), ("English", "Korean"), ("Korean", "English"), ("French", "English")]

every_task = pytest.mark.parametrize("name", NAMES)


def shipped(name: str) -> Task:
    return load(TEMPLATES / name)


def an_input(task: Task, text: str = "zebra") -> dict[str, str]:
    """Fill the inputs that a task cannot do without."""
    return {name: text for name, default in task.inputs.items() if default is ...}


def shots_of(task: Task, **inputs: str) -> tuple[Example, ...]:
    return task._prompts.offline({**dict.fromkeys(task.inputs), **an_input(task), **inputs}).examples


def test_all_tasks_ship():
    assert NAMES == SHIPPED


@every_task
def test_has_what_a_reviewer_needs(name):
    task = shipped(name)
    assert task.description
    assert task.description.endswith(".")
    assert all(task.about.values())


@every_task
def test_every_answer_is_read_back(name):
    task = shipped(name)
    for example in task.examples:
        rendered = task.output.render(example.output)
        for cue in ("", task._prompts.offline(an_input(task)).cue):
            back, _ = task.output.placed(task.output.parse(rendered, cue=cue), example.inputs)
            assert back == example.output, example.line


@every_task
def test_no_example_stands_twice(name):
    inputs = [json.dumps(dict(e.inputs), sort_keys=True).casefold() for e in shipped(name).examples]
    assert [i for i, count in Counter(inputs).items() if count > 1] == []


@every_task
def test_there_are_k_examples(name):
    task = shipped(name)
    assert len(shots_of(task)) == (task.settings.k or len(task.examples))


@every_task
def test_examples_are_trimmed_one_line_outputs(name):
    task = shipped(name)
    for example in task.examples:
        rendered = task.output.render(example.output)
        assert rendered == rendered.strip(), example.line
        assert "\n" not in rendered, example.line
        assert all(v == v.strip() for v in example.inputs.values() if isinstance(v, str)), example.line
    # JSON may go over several lines, so its end is not the line's.
    assert task._prompts.offline(an_input(task)).stop == ("\n\n" if task.output.kind == "schema" else "\n")


@every_task
def test_chat_is_instruction_then_pairs_then_question(name):
    task = shipped(name)
    roles = [message.role for message in task.render(an_input(task))]
    instruction = ["system"] if task._prompts.offline(an_input(task)).instruction else []
    assert roles == [*instruction, *["user", "assistant"] * len(shots_of(task)), "user"]


@every_task
def test_text_ends_in_the_bare_cue(name):
    task = shipped(name)
    text = task.render(an_input(task), form="text")
    cue = task._prompts.offline(an_input(task)).cue
    assert cue.endswith(":")
    assert text.endswith(f"\n{cue}")
    assert text.count(f"\n{cue}") == len(shots_of(task)) + 1
    assert "\n\n\n" not in text


@every_task
@pytest.mark.parametrize("form", ["chat", "text"])
def test_only_the_question_changes(name, form: Form):
    task = shipped(name)
    one, other = (task.render(an_input(task, text), form=form) for text in ("first words", "другие слова"))
    if isinstance(one, str) and isinstance(other, str):
        prefix = task._prompts.offline(an_input(task)).text_prefix
        assert one.startswith(prefix)
        assert other.startswith(prefix)
        assert "first words" not in prefix
    else:
        assert one[:-1] == other[:-1]
        assert one[-1] != other[-1]


@every_task
def test_renders_without_any_shot(name):
    task = shipped(name).using(k=0)
    assert [m.role for m in task.render(an_input(task))][-1] == "user"
    assert task.render(an_input(task), form="text").count("zebra") == len(an_input(task))


@every_task
def test_instruction_is_short(name):
    task = shipped(name)
    assert len(task._prompts.offline(an_input(task)).instruction) <= 200


@every_task
def test_examples_are_our_own(name):
    if not DATA.is_dir():
        pytest.skip("needs the data sets beside the checkout (shared/data)")
    asked_for = {"hello, how are you?", "what is your name?"}  # named in the project's requirements
    ours = {text for e in shipped(name).examples for text in long_texts(e)} - asked_for
    copied = {text for file in DATA.glob("*.jsonl") for text in theirs(file) if text in ours}
    assert copied == set()


def long_texts(example: Example) -> set[str]:
    return {v.casefold() for v in example.inputs.values() if isinstance(v, str) and len(v.split()) >= 4}


def theirs(file: Path) -> set[str]:
    rows = (json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip())
    return {value.strip().casefold() for row in rows for value in row.values() if isinstance(value, str)}


@pytest.mark.parametrize("name", CLOSED)
def test_labels_are_balanced(name):
    task = shipped(name)
    k = task.settings.k
    shots, rest = task.examples[:k], task.examples[k:]
    for part in (task.examples, shots, rest):
        counts = Counter(example.output for example in part)
        assert set(counts) == set(task.output.labels)
        assert max(counts.values()) == min(counts.values())


@pytest.mark.parametrize("name", CLOSED)
def test_labels_come_in_no_fixed_turn(name):
    task = shipped(name)
    count = len(task.output.labels)
    outputs = [example.output for example in task.examples]
    turns = {tuple(outputs[i : i + count]) for i in range(0, len(outputs), count)}
    assert len(turns) > 1
    assert max(len(run) for run in re.findall(r"(.)\1*", "".join(o[0] + o[-1] for o in outputs))) <= 2


def test_sentiment_leaves_enough_to_calibrate_on():
    task = shipped("sentiment")
    assert len(task.examples) - task.settings.k >= 50


def test_sentiment_golden_text():
    task = shipped("sentiment").using(k=1)
    assert task.render("Fine.", form="text") == (
        "Classify the sentiment of the text as positive, negative, neutral.\n\n"
        f"Text: {task.examples[0].inputs['text']}\nSentiment: positive\n\n"
        "Text: Fine.\nSentiment:"
    )


def test_classify_lists_the_callers_labels():
    from fewshot.outputs.kinds import Labels

    labels = Labels(("billing", "bug"), descriptions={"bug": "something does not work"})
    task = load(TEMPLATES / "classify", output=labels, examples=[("I was charged twice.", "billing")])
    assert task.render("It crashes.", form="text") == (
        "Classify the text as one of: billing, bug.\nbug: something does not work\n\n"
        "Text: I was charged twice.\nLabel: billing\n\nText: It crashes.\nLabel:"
    )


@pytest.mark.parametrize(("source", "target"), LANGUAGES)
def test_translate_has_examples_of_each_pair(source, target):
    task = shipped("translate").using(source=source, target=target)
    shots = shots_of(task)
    assert len(shots) == task.settings.k
    assert {(e.inputs["source"], e.inputs["target"]) for e in shots} == {(source, target)}


def test_translate_to_another_language_has_no_wrong_examples():
    task = shipped("translate").using(target="Welsh")
    assert task.render("Good morning.", form="text") == "Translate English to Welsh.\n\nEnglish: Good morning.\nWelsh:"


def test_translate_golden_text():
    task = shipped("translate").using(k=2)
    assert task.render("I love programming.", form="text") == (
        "Translate English to French.\n\n"
        "English: Hello, how are you?\nFrench: Bonjour, comment allez-vous?\n\n"
        "English: What is your name?\nFrench: Comment vous appelez-vous?\n\n"
        "English: I love programming.\nFrench:"
    )


def test_translate_is_written_in_the_right_script():
    for example in shipped("translate").examples:
        for language, text in (
            (example.inputs["source"], example.inputs["text"]),
            (example.inputs["target"], example.output),
        ):
            assert bool(re.search("[가-힣]", text)) == (language == "Korean"), example.line


def test_what_people_try_first_is_not_among_the_shots():
    texts = {str(v).casefold() for name in NAMES for e in shipped(name).examples for v in e.inputs.values()}
    assert not texts & {"i love programming.", "2 + 2 = ?", "i love this phone, the battery lasts forever.", "rust"}


def test_pattern_takes_the_callers_pairs_only():
    task = load(TEMPLATES / "pattern", examples=[("Python", "Guido van Rossum"), ("Java", "James Gosling")])
    assert task.render("Rust", form="text").endswith(
        "Input: Python\nOutput: Guido van Rossum\n\nInput: Java\nOutput: James Gosling\n\nInput: Rust\nOutput:"
    )


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_summaries_keep_to_max_sentences(most):
    shots = shots_of(shipped("summarize").using(max_sentences=most))
    lengths = [len(sentences(shot.output)) for shot in shots]
    assert len(shots) >= 2
    assert max(lengths) <= most
    assert most > 3 or max(lengths) == most


def test_summaries_are_short():
    for example in shipped("summarize").examples:
        assert len(example.output) < 0.6 * len(example.inputs["text"]), example.line


@pytest.mark.parametrize("context", [None, "The shop opens at nine."])
def test_answer_shows_both_kinds_in_equal_parts(context):
    task = shipped("answer")
    shots = shots_of(task, context=context)
    assert len(shots) == task.settings.k
    assert sum(shot.output is None for shot in shots) == len(shots) // 2
    assert all(("context" in shot.inputs) == (context is not None) for shot in shots)


def test_answers_stand_in_their_context():
    grounded = [e for e in shipped("answer").examples if "context" in e.inputs]
    for example in grounded:
        assert example.output is None or example.output in example.inputs["context"], example.line


def test_answer_renders_with_and_without_a_context():
    task = shipped("answer").using(k=0)
    assert task.render("When?", form="text").endswith("\n\nQuestion: When?\nAnswer:")
    with_context = task.render("When?", "At nine.", form="text")
    assert with_context.endswith("\n\nContext: At nine.\nQuestion: When?\nAnswer:")


def test_sums_are_right():
    signs = {"plus": "+", "minus": "-", "times": "*", "x": "*"}
    checked = 0
    for example in shipped("calculate").examples:
        found = re.fullmatch(
            r"(?:What is )?([\d.,]+) (plus|minus|times|[-+x/]) ([\d.,]+)(?: = )?\?", example.inputs["question"]
        )
        if found:
            one, sign, other = (part.replace(",", "") for part in found.groups())
            assert eval(f"{one} {signs.get(sign, sign)} {other}") == pytest.approx(float(example.output))
            checked += 1
    assert checked >= 8


def test_calculate_shows_what_numbers_can_be():
    answers = [float(e.output) for e in shipped("calculate").examples]
    assert min(answers) < 0
    assert any(answer != int(answer) for answer in answers)


def test_extract_takes_the_callers_schema():
    task = load(TEMPLATES / "extract", examples=(), fields="name, price")
    assert task.render("A pen for 2 euros.", form="text").startswith("Extract from the text as JSON: name, price.")
