"""Many labels: a head on the examples draws the candidates, and only these are asked about."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from fewshot import Task, classify, load
from fewshot.bulk.records import line_of, result_of
from fewshot.errors import InputError, OutputError
from fewshot.models.scripted import ScriptedClient
from fewshot.narrowing import fitting, likeness
from fewshot.narrowing import head as heads
from fewshot.narrowing import prompt as prompts
from fewshot.narrowing.fitting import fit_head
from fewshot.narrowing.head import Head
from fewshot.narrowing.likeness import kind_of_head
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
    return fit_head(tuple(text for text, _ in pairs), tuple(label for _, label in pairs), labels, names, kind_of_head())


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


def without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fitting, likeness, prompts):
        monkeypatch.setattr(module, "can_fit", lambda: False)


@pytest.mark.parametrize("pure", [True, False])
def test_the_head_knows_texts_that_it_has_not_seen(pure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pure:
        without_numpy(monkeypatch)
    readings = {label: head().read(f"My {thing} is broken") for thing, label in zip(THINGS, LABELS, strict=True)}
    assert {label: reading.likeliest for label, reading in readings.items()} == {label: label for label in LABELS}
    for reading in readings.values():
        assert math.isclose(math.fsum(map(math.exp, reading.logprobs.values())), 1)
        assert reading.candidates[0] == reading.likeliest


def test_without_numpy_the_head_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    ridge, key = head(), task()._fingerprint
    without_numpy(monkeypatch)
    assert (hasattr(ridge.weights, "shape"), hasattr(head().weights, "shape")) == (True, False)
    assert task()._fingerprint != key


@pytest.mark.parametrize("pure", [True, False])
@pytest.mark.parametrize("text", ["?!?!", "12345", "😀", "완전히 다른 말", "Ωμέγα"])
def test_where_no_label_is_likelier_than_all_others_none_is_given(
    text: str, pure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pure:
        without_numpy(monkeypatch)
    result = task(candidate_rows=0).run(text)
    assert (result.value, result.abstained, result.method) == (None, True, "head")
    assert result.warnings[0] == "held back: by the examples no label is likelier than all others"


@pytest.mark.parametrize("pure", [True, False])
def test_examples_that_share_nothing_and_two_labels_with_the_same_examples_decide_nothing(
    pure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pure:
        without_numpy(monkeypatch)
    signs = [(sign, label) for sign, label in zip("😀😁😂🤣", "ppqq", strict=True)]
    twice = [(text, label) for text in ("one thing", "two things") for label in "pq"]
    for examples, text in ((signs, "🤣🤣"), (twice, "one thing"), (twice, "two things?")):
        asked = Task.of("Which?", ["p", "q"], examples, candidates=True, candidate_rows=0, client=ScriptedClient())
        result = asked.run(text)
        assert (result.abstained, result.value) == (True, None)
        assert result.probabilities == pytest.approx({"p": 0.5, "q": 0.5})


@pytest.mark.parametrize("pure", [True, False])
def test_what_differs_by_case_and_punctuation_is_left_out_together(pure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pure:
        without_numpy(monkeypatch)
    copies = [("Where is my apple?", "about_bread"), ("where is  my APPLE", "about_cheese")]
    asked = task().using(examples=[*EXAMPLES, *copies])
    shelf = asked._prompts.shelf({"text": "x"})
    found = asked._prompts._narrowing(shelf)
    assert found is not None
    for said in ("Where is my apple?", "WHERE is my apple!!"):
        reading = found.head.read(said, leave_out=True)
        assert [value for value in reading.alike if value < 0] == [-1.0] * 3
        assert reading.likeliest == "about_apple"


def test_a_head_is_fitted_once_and_the_next_process_has_the_same_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path))
    fits: list[int] = []

    def next_process() -> Head:
        fit_head.cache_clear()
        return head(LABELS[:4])

    for name in ("_fitted", "_fitted_without_numpy"):
        fit = getattr(fitting, name)
        monkeypatch.setattr(fitting, name, lambda *given, fit=fit: (fits.append(1), fit(*given))[1])
    texts = [text for text, _ in EXAMPLES[:9]] + ["Is the piano sold?", "완전히"]
    for pure in (False, True):
        fits.clear()
        if pure:
            without_numpy(monkeypatch)
        first = [next_process().read(text) for text in texts]
        assert (len(fits), [next_process().read(text) for text in texts]) == (1, first)
        [kept] = [path for path in (tmp_path / "heads").iterdir() if path.stat().st_mtime_ns]
        content = kept.read_bytes()
        for spoilt in (content[:-8], content[:-1] + bytes([content[-1] ^ 1]), b"", b"{}\n", content[:40]):
            kept.write_bytes(spoilt)
            caplog.clear()
            assert [next_process().read(text) for text in texts] == first
            assert "it is fitted again" in caplog.text
        kept.unlink()
    assert head(LABELS[1:5]).read(texts[0]) != first[0]


@pytest.mark.usefixtures("sentence_encoder")
def test_where_texts_share_no_words_the_vectors_of_an_encoder_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpy")
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path))
    said = {
        "food": ["Pizza tastes great", "Cooking soup tonight", "Delicious bread and cheese", "Hungry for noodles"],
        "money": ["Bank account balance", "Pay with credit card", "Interest on loans", "Transfer dollars abroad"],
        "sport": [
            "Football match yesterday",
            "She won the tennis final",
            "Running marathons",
            "Their goalkeeper scored",
        ],
    }
    pairs = [(text, label) for label, texts in said.items() for text in texts]
    given = (*map(tuple, zip(*pairs, strict=True)), tuple(said), tuple(said))
    found = fit_head(*given, kind_of_head())
    assert kind_of_head().endswith(f"ridge {likeness.encoder()}")
    with monkeypatch.context() as patched:
        patched.setattr(likeness, "encoder", lambda: None)
        plain = fit_head(*given, kind_of_head())
    assert (plain.share, found.share > 0) == (0.0, True)
    asked = {"Spaghetti with sauce": "food", "Mortgage rates": "money", "Basketball team": "sport"}
    readings = {text: found.read(text) for text in asked}
    assert {text: reading.likeliest for text, reading in readings.items()} == asked
    assert all(plain.read(text).logprobs[label] < readings[text].logprobs[label] for text, label in asked.items())
    fit_head.cache_clear()
    monkeypatch.setattr(fitting, "_fitted", None)
    assert {text: fit_head(*given, kind_of_head()).read(text) for text in asked} == readings


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
    client = Says(about_piano=0.9)
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


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        (["A", "a", "B"], "CDE"),
        (["ab", "abc", "b"], "ACD"),
        (["1xa", "1xb", "A", "b2"], "BCDE"),
        (["aa", "AA"], "AB"),
        (["yes", "no"], ""),
        ([f"label {n}" for n in range(36)], ""),
    ],
)
def test_the_letter_alone_stands_for_its_label_and_for_no_other(labels: list[str], codes: str) -> None:
    output = restricted(output_of(labels), labels)
    assert "".join(output.codes.values()) == codes
    for label, code in output.codes.items():
        assert [output.parse(said) for said in (code, f"({code})", f"{code}.", f"{code} {label}", label)] == 5 * [label]
        others = [other for other in labels if other != label and other.casefold() != label.casefold()]
        for said in (*(f"{code} {other}" for other in others), f"There are {code} of them"):
            with pytest.raises(OutputError):
                output.parse(said)
    for label in labels:
        assert output.parse(label) == label


def test_a_stated_letter_is_the_only_short_form() -> None:
    with pytest.raises(OutputError):
        output_of(["C: Cardiology", "D: Dermatology"]).parse("C")
    for form in ("chat", "text"):
        result = task(Says(B=0.8, A=0.1), candidates=3, form=form).run("Is the piano sold?")
        assert (result.value, result.method) == ("about_piano", "logprobs")
    result = task(ScriptedClient("A"), candidates=3).run("Is the piano sold?")
    assert result.value in result.candidates


def test_the_head_alone_reads_a_long_text_whole() -> None:
    result = task(candidate_rows=0, context_tokens=100).run("Is the piano sold? " * 100)
    assert (result.value, result.parts, result.attempts) == ("about_piano", 1, 0)


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
    for output, right in (
        ("text", "x"),
        (dict[str, int], {"a": 1}),
        (["one"], "one"),
        (list[Literal["one", "two"]], ["one"]),
    ):
        with pytest.raises(InputError, match="needs labels as output, two or more, one of which is given"):
            Task.of("What?", output, [("a", right), ("b", right)], candidates=3, client=ScriptedClient()).run("x")


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
