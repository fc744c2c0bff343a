"""Many labels: a head on the examples draws the candidates, and only these are asked about."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewshot import Task, classify, load
from fewshot.bulk.records import line_of, result_of
from fewshot.errors import InputError
from fewshot.models.scripted import ScriptedClient
from fewshot.narrowing import head as heads
from fewshot.narrowing.head import Head, fit_head
from fewshot.narrowing.prompt import restricted
from fewshot.narrowing.weighing import HEAD_ALONE, fit_weights, pooled
from fewshot.outputs.kinds import output_of
from fewshot.types import Completion, Request, TokenLogprob

THINGS = [
    *("apple", "bread", "cheese", "dress", "engine", "flute", "garden", "hammer", "island", "jacket", "kettle"),
    *("lemon", "mirror", "needle", "onion", "piano", "quilt", "river", "saddle", "tunnel", "umbrella", "violin"),
    *("window", "yacht"),
]
SAID = ("Where is my {}?", "I lost the {} again.", "Please send a new {}.", "How old is this {}?")
LABELS = tuple(f"about_{thing}" for thing in THINGS)
EXAMPLES = [(said.format(thing), label) for thing, label in zip(THINGS, LABELS, strict=True) for said in SAID]


def head(labels: tuple[str, ...] = LABELS) -> Head:
    pairs = [pair for pair in EXAMPLES if pair[1] in labels]
    names = tuple(label.replace("_", " ") for label in labels)
    return fit_head(tuple(text for text, _ in pairs), tuple(label for _, label in pairs), labels, names)


class Says(ScriptedClient):
    """Says the likeliest of its words, or the answer of a shot that begins so; lists how probable each is."""

    top_logprobs = 20

    def __init__(self, **chances: float) -> None:
        super().__init__()
        self.asked: list[Request] = []
        self.top = tuple((word.encode(), math.log(p)) for word, p in chances.items())

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        self.asked.append(request)
        word = self.top[0][0].decode()
        shown = [turn.content for turn in request.chat if turn.role == "assistant" and turn.content.startswith(word)]
        return Completion(text=(shown or [word])[0], tokens=(TokenLogprob(*self.top[0], self.top),))


def task(client: Any = None, **options: Any) -> Task[str]:
    return Task.of("What is it about?", LABELS, EXAMPLES, client=client or ScriptedClient(), **options)


@pytest.fixture(autouse=True)
def _fitted_anew_without_numpy(request: pytest.FixtureRequest) -> Iterator[None]:
    if "monkeypatch" in request.fixturenames:
        fit_head.cache_clear()
    yield
    if "monkeypatch" in request.fixturenames:
        fit_head.cache_clear()


@pytest.mark.parametrize("pure", [True, False])
def test_the_head_knows_texts_that_it_has_not_seen(pure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pure:
        monkeypatch.setattr(heads, "can_fit", lambda: False)
    readings = {label: head().read(f"My {thing} is broken") for thing, label in zip(THINGS, LABELS, strict=True)}
    assert {label: reading.likeliest for label, reading in readings.items()} == {label: label for label in LABELS}
    for reading in readings.values():
        assert math.isclose(math.fsum(map(math.exp, reading.logprobs.values())), 1)
        assert reading.candidates[0] == reading.likeliest


def test_without_numpy_the_head_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    ridge = head()
    fit_head.cache_clear()
    monkeypatch.setattr(heads, "can_fit", lambda: False)
    assert isinstance(head().weights, list)
    assert not isinstance(ridge.weights, list)


def test_held_out_the_right_label_is_among_the_candidates_in_98_percent() -> None:
    found = head()
    held = [label in found.read(text, leave_out=True).candidates for text, label in EXAMPLES]
    assert sum(held) / len(held) >= heads.COVERAGE


def test_an_example_read_without_itself_is_less_sure_of_its_label() -> None:
    text, label = EXAMPLES[0]
    assert head().read(text, leave_out=True).logprobs[label] < head().read(text).logprobs[label]


def test_the_limit_is_the_one_that_98_of_100_do_not_exceed_and_of_few_rows_there_is_none() -> None:
    assert heads._limit([float(n) for n in range(100)]) == 98.0
    assert heads._limit([float(n) for n in range(30)]) == math.inf


def test_only_the_candidates_and_their_nearest_shots_are_asked_about() -> None:
    client = Says(**{f"{letter} about_piano": 0.3 for letter in "ABC"})
    result = task(client, candidates=3, scoring=False).run("Is the piano sold?")
    assert (result.value, result.method, len(result.candidates)) == ("about_piano", "answer", 3)
    assert "about_piano" in result.candidates
    assert {shot.output for shot in result.examples} <= set(result.candidates)
    assert result.examples[-1].output == "about_piano"
    assert len(client.asked) == 1


def test_candidates_that_begin_alike_get_a_letter_that_one_token_tells_apart() -> None:
    output = restricted(output_of(LABELS), LABELS[5:8])
    assert [*output.words_of_labels.values()] == ["A about_flute", "B about_garden", "C about_hammer"]
    assert [output.parse(said) for said in ("B about_garden", "about_garden", "**b about_garden**")] == 3 * [LABELS[6]]
    assert [*restricted(output_of(["yes", "no", "perhaps"]), ["no", "yes"]).words_of_labels.values()] == ["yes", "no"]
    client = Says(A=0.7, B=0.2)
    result = task(client, candidates=3).run("Is the piano sold?")
    assert (len(client.asked), result.method, len({word[0] for word in output.words_of_labels.values()})) == (
        1,
        "logprobs",
        3,
    )


def test_labels_are_narrowed_by_themselves_only_where_they_are_many_with_examples_of_each() -> None:
    few = [pair for pair in EXAMPLES if pair[1] in LABELS[:20]]
    assert task()._prompts.by_question({"text": "x"})
    assert not Task.of("What?", LABELS[:20], few)._prompts.by_question({"text": "x"})
    assert not task().using(candidates=False)._prompts.by_question({"text": "x"})
    assert not Task.of("What?", LABELS, EXAMPLES[1::4])._prompts.by_question({"text": "x"})
    assert Task.of("What?", LABELS[:5], few[:20], candidates=True)._prompts.by_question({"text": "x"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": True}, "candidates=True needs 2 examples of each label, and 'about_apple' has 1"),
        ({"out_of_scope": 0.1}, "out_of_scope=0.1 needs 2 examples of each label"),
        ({"out_of_scope": 0.1, "candidates": False}, "needs candidates, which are switched off"),
    ],
)
def test_what_cannot_be_narrowed_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Task.of("What?", LABELS, EXAMPLES[::4], client=ScriptedClient(), **options).run("Is the piano sold?")
    with pytest.raises(InputError, match="needs labels as output"):
        Task.of("What?", "text", candidates=3, client=ScriptedClient()).run("Is the piano sold?")


def test_with_no_rows_to_weigh_the_model_on_the_head_answers_alone_and_says_so() -> None:
    client = Says(about_apple=0.9)
    result = task(client, candidate_rows=0).run("Is the piano sold?")
    assert (result.value, result.method, result.calibration) == ("about_piano", "head", HEAD_ALONE)
    assert (client.asked, result.attempts, result.error) == ([], 0, None)
    assert "about_piano" in result.candidates


def test_what_is_like_no_label_is_held_back_with_the_reason_and_nothing_is_asked() -> None:
    client = Says(about_apple=0.9)
    asked = task(client, out_of_scope=0.05)
    result = asked.run("Quantum chromodynamics")
    assert (result.value, result.abstained, client.asked) == (None, True, [])
    assert "out of scope" in result.warnings[0]
    assert asked.run("Please send a new apple.").value == "about_apple"


def test_held_out_no_more_of_the_examples_are_held_back_than_was_promised() -> None:
    found = head()
    held = [found.read(text, leave_out=True).scope <= 0.1 for text, _ in EXAMPLES]
    assert sum(held) / len(held) <= 0.1


def test_a_model_that_knows_more_is_weighed_in_and_one_that_guesses_is_not() -> None:
    found, draw = head(), random.Random(0)
    rows = EXAMPLES[::2]
    vague = [found.read("Where did it go again?") for _ in rows]
    readings = [found.read(text, leave_out=True) for text, _ in rows]
    answers = [label for _, label in rows]
    knows = [{la: math.log(0.9 if la == right else 0.1 / 23) for la in LABELS} for right in answers]
    guesses = [{la: math.log(0.9 if la == draw.choice(LABELS) else 0.1 / 23) for la in LABELS} for _ in answers]
    assert fit_weights(knows, vague, answers).calibration.name == "head and model"
    assert fit_weights(guesses, readings, answers).calibration == pooled(LABELS, 0.0)


def test_at_first_use_the_model_is_weighed_on_so_many_examples_and_then_asked_no_more_if_it_adds_nothing() -> None:
    client = Says(A=0.9, B=0.05)
    asked = task(client, calibrate=True, candidate_rows=12, candidates=24)
    first, second = asked.run("Is the piano sold?"), asked.run("Is the violin sold?")
    assert (first.value, second.value, first.method) == ("about_piano", "about_violin", "head")
    assert len(client.asked) == 12
    assert "12 rows, by first use" in second.fit


def test_an_example_is_never_a_shot_of_its_own_question() -> None:
    pairs = task(Says(about_apple=0.9)).evaluate([{"text": text, "output": label} for text, label in EXAMPLES[:3]])
    assert pairs.rows == 3
    for text, _ in EXAMPLES[:3]:
        reading = head().read(text, leave_out=True)
        assert reading.alike[[t for t, _ in EXAMPLES].index(text)] == -1.0


TREE = {"payments": ["card_declined", "double_charge"], "delivery": ["late_parcel", "lost_parcel"]}


def grouped(**options: Any) -> Task[Any]:
    chances = {"card_declined": 0.45, "double_charge": 0.4, "late_parcel": 0.1, "lost_parcel": 0.05}
    return Task.of("What is wrong?", TREE, client=Says(**chances), **options)


def test_a_group_is_as_probable_as_its_labels_together() -> None:
    result = grouped().run("I paid")
    assert (result.value, result.group) == ("card_declined", "payments")
    assert result.groups == pytest.approx({"payments": 0.85, "delivery": 0.15})
    assert result.to_dict()["group"] == "payments"


@pytest.mark.parametrize(("least", "group"), [(0.4, "payments"), (0.8, "payments"), (0.9, None), (math.inf, None)])
def test_where_the_label_is_held_back_the_group_is_the_answer_if_it_is_probable_enough(
    least: float, group: str | None
) -> None:
    result = grouped(min_confidence=least).run("I paid")
    assert (result.abstained, result.value is None, result.group) == (least > 0.45, least > 0.45, group)


def test_a_question_out_of_scope_has_no_group() -> None:
    tree = {"early": list(LABELS[:12]), "late": list(LABELS[12:])}
    asked = Task.of("What?", tree, EXAMPLES, client=Says(about_apple=0.9), out_of_scope=0.05, candidate_rows=0)
    assert asked.run("Is the piano sold?").group == "late"
    outside = asked.run("Quantum chromodynamics")
    assert (outside.abstained, outside.group) == (True, None)


@pytest.mark.parametrize(
    "tree", [{"a": ["x", "y"], "b": ["y"]}, {"a": ["x"], "b": []}, {"a": ["x"], " ": ["y"]}, {"a": [["x"]], "b": ["y"]}]
)
def test_groups_that_make_no_tree_are_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Task.of("What?", tree)


def test_a_tree_of_labels_is_saved_and_loaded_and_read_back_from_results(tmp_path: Path) -> None:
    saved = grouped(candidates=False, min_confidence=0.8)
    again = load(saved.save(tmp_path / "wrong"), client=saved.settings.client)
    assert (again.output, getattr(again.output, "groups", None)) == (
        saved.output,
        {"payments": ("card_declined", "double_charge"), "delivery": ("late_parcel", "lost_parcel")},
    )
    assert again.settings.candidates is False
    result = saved.run("I paid")
    assert result_of(line_of(replace(result, row=0), "I paid"), saved).group == "payments"
    assert classify("I paid", TREE, client=saved.settings.client) == "card_declined"
