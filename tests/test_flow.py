"""Conversations, driven by hand: no client, no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewshot.errors import OutputError, ServiceError
from fewshot.inference.conversation import ask, lessons
from fewshot.inference.label_tree import LabelTree
from fewshot.inference.question import Answer, Question, Talk
from fewshot.models.scripted import ScriptedClient
from fewshot.outputs.kinds import output_of
from fewshot.prompts.prompt import Prompt
from fewshot.prompts.template import Template
from fewshot.settings import Settings
from fewshot.task import Task
from fewshot.types import Completion, Example, Request, TokenLogprob, Usage

SHOTS = (Example({"text": "I love it."}, "positive"), Example({"text": "Awful."}, "negative"))
SOURCE = "{% block input %}Text: {{ text }}{% endblock %}\n{% block output %}Answer: {{ output }}{% endblock %}"


def question(output: Any = ("positive", "negative"), *, shots: Sequence[Example] = SHOTS, **changes: Any) -> Question:
    prompt = Prompt(Template(SOURCE), output_of(output), {}, tuple(shots))
    asked = Question(
        prompt=prompt, inputs={"text": "Fine."}, settings=Settings(), model="m", form="chat", top_logprobs=None
    )
    return replace(asked, **changes)


def said(text: str, finish_reason: str = "stop", **tokens: float) -> Completion:
    top = tuple((token.replace("_", " ").encode(), math.log(p)) for token, p in tokens.items())
    positions = (TokenLogprob(*top[0], top),) if top else ()
    return Completion(text=text, finish_reason=finish_reason, tokens=positions)


def hold(talk: Talk, *answers: Completion) -> tuple[Answer, list[Request]]:
    """Run a conversation with these answers; give what it came to and what it asked."""
    asked: list[Request] = []
    rest = list(answers)
    try:
        requests = next(talk)
        while True:
            asked += requests
            requests = talk.send(tuple(rest.pop(0) for _ in requests))
    except StopIteration as done:
        assert not rest, "answers were left over"
        answer: Answer = done.value
        return answer, asked


def test_a_valid_answer_is_taken_at_once() -> None:
    answer, asked = hold(ask(question()), said("The answer is positive."))
    assert (answer.value, answer.method, len(asked)) == ("positive", "answer", 1)


def test_the_chat_holds_the_shots_as_turns_and_the_question_last() -> None:
    _, (request,) = hold(ask(question()), said("positive"))
    roles = [(turn.role, turn.content) for turn in request.chat]
    assert roles == [
        ("user", "Text: I love it.\nAnswer:"),
        ("assistant", "positive"),
        ("user", "Text: Awful.\nAnswer:"),
        ("assistant", "negative"),
        ("user", "Text: Fine.\nAnswer:"),
    ]


def test_the_text_form_goes_on_from_the_cue() -> None:
    _, (request,) = hold(ask(question(form="text")), said(" positive"))
    assert (
        request.text == "Text: I love it.\nAnswer: positive\n\nText: Awful.\nAnswer: negative\n\nText: Fine.\nAnswer:"
    )
    assert request.stop == ("\n",)


def test_an_invalid_answer_is_told_to_the_model_and_asked_again() -> None:
    answer, asked = hold(ask(question()), said("maybe"), said("negative"))
    assert answer.value == "negative"
    assert [turn.role for turn in asked[1].messages] == ["user", "assistant", "user"]
    assert "positive, negative" in asked[1].messages[-1].content


def test_after_the_last_repair_one_error_carries_the_raw_answer() -> None:
    with pytest.raises(OutputError, match="no valid answer in 3 tries") as caught:
        hold(ask(question()), said("maybe"), said("perhaps"), said("who knows"))
    assert caught.value.raw == "who knows"
    assert [c.text for c in caught.value.completions] == ["maybe", "perhaps", "who knows"]


@pytest.mark.parametrize("wire", ["positive or negative", "positive\n\nWait, actually negative", "positively awful"])
@pytest.mark.parametrize("form", ["chat", "text"])
def test_a_whole_reply_that_says_more_than_its_first_token_is_asked_again(wire: str, form: Any) -> None:
    asked = question(top_logprobs=5, form=form)
    answer, sent = hold(ask(asked), said(wire, positive=0.9, negative=0.05), said("negative"))
    assert (answer.value, answer.method, answer.confidence, len(sent)) == ("negative", "answer", None, 2)


def test_a_whole_reply_that_says_another_label_than_its_first_token_is_read_as_written() -> None:
    asked = question(top_logprobs=5)
    answer, sent = hold(ask(asked), said("negative", positive=0.9, negative=0.05))
    assert (answer.value, answer.method, len(sent)) == ("negative", "answer", 1)
    assert "other than its first token" in answer.warnings[0]
    for plain in ("positive", "Positive.", "**positive**", "positive, because it is good"):
        answer, sent = hold(ask(asked), said(plain, positive=0.9, negative=0.05))
        assert (answer.value, answer.method, len(sent)) == ("positive", "logprobs", 1)


def test_json_in_the_text_form_may_have_several_lines() -> None:
    shots = [Example({"text": "a"}, {"code": "1"})]
    schema = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    asked = question(schema, shots=shots, form="text")
    answer, (request,) = hold(ask(asked), said('{\n  "code": "2"\n}'))
    assert (answer.value, "\n" in request.stop, request.schema is not None) == ({"code": "2"}, False, True)


def test_a_log_probability_of_minus_zero_ranks_above_any_other() -> None:
    tree = LabelTree({"positive": "positive", "negative": "negative"})
    tree.add(TokenLogprob(b"positive", -0.0, ((b"positive", -0.0),)))
    sure = tree.logprobs()
    other = LabelTree({"positive": "positive", "negative": "negative"})
    other.add(TokenLogprob(b"positive", -1e-6, ((b"positive", -1e-6), (b"negative", -14.0))))
    assert sure["positive"] > other.logprobs()["positive"] > sure["negative"]


@pytest.mark.parametrize("reason", ["refusal", "content_filter"])
def test_a_refusal_is_not_an_answer_and_not_asked_again(reason: str) -> None:
    with pytest.raises(OutputError) as caught:
        hold(ask(question()), said("positive", reason))
    assert caught.value.reason == reason


def test_an_answer_that_was_cut_while_it_repeats_itself_gets_no_more_room() -> None:
    with pytest.raises(OutputError, match="repeats itself without end") as caught:
        hold(ask(question()), said("positive. " + "and so, " * 60 + "and\N{REPLACEMENT CHARACTER}", "length"))
    assert caught.value.reason == "loop"


def test_a_cut_answer_gets_more_room_and_is_never_a_value() -> None:
    answer, asked = hold(ask(question()), said("positive, beca", "length"), said("positive"))
    assert answer.value == "positive"
    assert asked[1].max_tokens is not None
    assert asked[0].max_tokens is not None
    assert asked[1].max_tokens > asked[0].max_tokens


def test_labels_are_scored_by_the_first_token_of_an_answer_where_the_endpoint_lists_logprobs() -> None:
    answer, (request,) = hold(ask(question(top_logprobs=20)), said("neg", "length", negative=0.6, pos=0.2))
    assert (answer.value, answer.method, request.max_tokens) == ("negative", "logprobs", 16)
    assert answer.probabilities == {"positive": pytest.approx(0.25), "negative": pytest.approx(0.75)}
    assert answer.confidence == pytest.approx(0.75)
    assert answer.coverage == pytest.approx(0.8)


def test_labels_that_hold_little_are_no_reading_and_the_written_answer_is() -> None:
    prose = said("The mood is negative.", The=0.95, positive=0.02, negative=0.01)
    answer, asked = hold(ask(question(top_logprobs=20)), prose)
    assert (answer.value, answer.method, answer.confidence, answer.probabilities) == ("negative", "answer", None, None)
    assert (answer.coverage, len(asked)) == (pytest.approx(0.03), 1)
    assert "hold too little of the probability" in answer.warnings[0]


def test_a_token_that_begins_a_label_is_not_it_where_other_words_follow() -> None:
    asked = question(("Information", "request"), shots=(), top_logprobs=20, settings=Settings(max_repairs=0))
    refusal = replace(said("I cannot help.", I=0.99, request=0.01), tokens=said("I", I=0.99, request=0.01).tokens)
    with pytest.raises(OutputError, match="no label"):
        hold(ask(asked), refusal)


def test_a_label_is_read_past_what_stands_round_it_with_the_share_that_this_has() -> None:
    listed = (*said("x", **{'"': 0.9, "Sure": 0.1}).tokens, *said("x", negative=0.8, positive=0.2).tokens)
    answer, asked = hold(ask(question(top_logprobs=20)), replace(said('"negative"'), tokens=listed))
    assert (answer.value, answer.method, len(asked)) == ("negative", "logprobs", 1)
    assert answer.coverage == pytest.approx(0.9)
    assert answer.probabilities == {"positive": pytest.approx(0.2), "negative": pytest.approx(0.8)}


def test_no_answer_is_surer_than_its_labels_hold_of_the_probability() -> None:
    answer, _ = hold(ask(question(top_logprobs=20)), said("negative", negative=0.59, Well=0.4, positive=0.01))
    assert answer.confidence == pytest.approx(0.6)


def test_thoughts_are_never_read_and_a_model_that_thinks_is_given_room_and_asked_not_to() -> None:
    cut = said("<think>Good, so positive, but", "length", **{"<think>": 0.99, "positive": 0.01})
    asked = question(top_logprobs=20)
    answer, (_, again) = hold(ask(asked), cut, said("<think>No: bad.</think>\n\nnegative"))
    assert (answer.value, answer.method, answer.confidence) == ("negative", "answer", None)
    assert (again.max_tokens, answer.room) == (2048, 2048)
    assert {"chat_template_kwargs", "reasoning_effort", "think"} <= dict(again.extra).keys()
    assert asked.thoughts == ["Good, so positive, but", "No: bad."]
    assert lessons(asked, answer)["thinks"] == "seen"


def test_an_endpoint_without_logprobs_gives_the_answer_itself_in_one_request() -> None:
    answer, asked = hold(ask(question(top_logprobs=20)), said("positive"))
    assert (answer.value, answer.method, answer.probabilities) == ("positive", "answer", None)
    assert len(asked) == 1


def test_a_shared_first_token_is_settled_by_a_following_request_in_the_text_form() -> None:
    labels = ("very good", "very bad")
    asked = question(labels, shots=(), form="text", top_logprobs=20)
    answer, requests = hold(ask(asked), said(" very", "length", _very=1.0), said(" bad", "length", _bad=0.9, _good=0.1))
    assert answer.value == "very bad"
    assert answer.probabilities == {"very good": pytest.approx(0.1), "very bad": pytest.approx(0.9)}
    assert requests[1].text is not None
    assert requests[1].text.endswith("Answer: very")


def test_a_shared_first_token_is_settled_by_reading_on_in_a_chat() -> None:
    asked = question(("very good", "very bad"), shots=(), top_logprobs=20)
    longer = Completion(
        text="very bad",
        tokens=(
            TokenLogprob(b"very", 0.0, ((b"very", 0.0),)),
            TokenLogprob(b" bad", math.log(0.8), ((b" bad", math.log(0.8)), (b" good", math.log(0.2)))),
        ),
    )
    answer, _ = hold(ask(asked), longer)
    assert answer.probabilities == {"very good": pytest.approx(0.2), "very bad": pytest.approx(0.8)}


def test_an_answer_that_ends_after_the_shorter_label_means_that_one() -> None:
    listed = said("1", **{"1": 0.9, "10": 0.1})  # most services do not list the end
    answer, requests = hold(ask(question(("1", "10"), shots=(), top_logprobs=20)), listed)
    assert answer.probabilities == {"1": pytest.approx(0.9), "10": pytest.approx(0.1)}
    assert (answer.value, len(requests)) == ("1", 1)
    assert "could not be told apart exactly" in answer.warnings[0]
    asked = question(("1", "10"), shots=(), form="text", top_logprobs=5)
    answer, _ = hold(ask(asked), said("1", "length", **{"1": 0.9, "10": 0.1}), said(""))
    assert (answer.value, answer.confidence) == ("1", pytest.approx(0.9))


def test_a_digit_that_comes_after_a_token_for_the_space_is_read_there() -> None:
    asked = question(("1", "2"), shots=(), form="text", top_logprobs=20)
    blank = said(" ", "length", **{" ": 0.9, "\n": 0.05, "1": 0.001})
    answer, (_, after) = hold(ask(asked), blank, said("2", "length", **{"2": 0.8, "1": 0.2}))
    assert after.text is not None
    assert after.text.endswith("Answer: ")
    assert (answer.value, answer.coverage) == ("2", pytest.approx(0.901))
    assert answer.confidence == pytest.approx(0.8, abs=0.01)


def test_an_empty_line_before_an_answer_in_a_chat_is_read_over() -> None:
    longer = replace(said("2"), tokens=(*said("x", **{"\n\n": 1.0}).tokens, *said("x", **{"2": 0.8, "1": 0.2}).tokens))
    longer = replace(longer, text="\n\n2")
    answer, requests = hold(ask(question(("1", "2"), shots=(), top_logprobs=20)), longer)
    assert answer.probabilities == {"1": pytest.approx(0.2), "2": pytest.approx(0.8)}
    assert (len(requests), answer.warnings) == (1, ())


def test_votes_are_counted_on_values_and_not_on_wordings() -> None:
    asked = question("number", shots=(), settings=Settings(votes=3))
    answer, requests = hold(ask(asked), said("4"), said("The answer is 4."), said("5"))
    assert (answer.value, answer.method, answer.confidence) == (4, "votes", pytest.approx(2 / 3))
    assert len({request.seed for request in requests}) == 3
    assert all(request.temperature == 0.7 for request in requests)


def test_votes_in_the_text_form_are_worded_as_the_shots_are() -> None:
    asked = question("number", shots=(), form="text", settings=Settings(votes=2))
    _, requests = hold(ask(asked), said("4"), said("4"))
    assert [request.schema for request in requests] == [None, None]


def test_an_answer_to_an_open_task_has_its_mean_token_probability_as_confidence() -> None:
    answer, _ = hold(ask(question("text", shots=(), top_logprobs=20)), said("Paris", Paris=0.5))
    assert (answer.value, answer.confidence) == ("Paris", pytest.approx(0.5))


def test_a_result_keeps_the_twenty_likeliest_tokens_of_hundreds() -> None:
    listed = tuple((f" w{n}".encode(), -float(n)) for n in range(300))
    told = Completion(text="w", tokens=(TokenLogprob(*listed[0], listed), TokenLogprob(b".", -0.1)))
    assert told.brief().tokens == (TokenLogprob(*listed[0], listed[:20]), told.tokens[1])
    assert told.brief(300) is told


def test_half_a_character_without_logprobs_is_asked_again_with_another_token_forced() -> None:
    asked = question(("긍정", "부정"), shots=(), top_logprobs=20, continues=True)
    half = replace(said("\ufffd", "length"), usage=Usage(40, 1))
    forced = replace(said(",", "length", 긍정=0.2, 부정=0.6), usage=Usage(41, 1))
    answer, requests = hold(ask(asked), half, forced)
    assert (answer.value, answer.method, answer.probabilities) == (
        "부정",
        "logprobs",
        {"긍정": pytest.approx(0.25), "부정": pytest.approx(0.75)},
    )
    assert [dict(request.extra) for request in requests] == [{}, {"logit_bias": ((",", 100.0),)}]
    assert len(set(requests)) == 2  # a search remembers answers by their requests
    (kept,) = asked.completions
    assert (kept.text, kept.usage, kept.attempts) == ("\ufffd", Usage(81, 2), 2)
    assert asked.top == forced.tokens[0].top


def test_half_a_character_does_not_tell_that_an_endpoint_lists_nothing() -> None:
    asked = question(top_logprobs=20)
    hold(ask(asked), said("\ufffd", "length"), said("positive"))
    assert not asked.found_silent
    asked = question(top_logprobs=20)
    hold(ask(asked), said("pos", "length"), said("positive"))
    assert asked.found_silent


def test_labels_that_share_more_than_can_be_asked_about_are_read_as_they_are_written() -> None:
    asked = question(("ABCDEFGHIJ1", "ABCDEFGHIJ2"), shots=(), form="text", top_logprobs=20)
    answer, requests = hold(ask(asked), said("ABCDEFGHIJ2", A=1.0), said("BCDEFGHIJ2", B=1.0))
    assert (len(requests), answer.value, answer.method, answer.coverage) == (2, "ABCDEFGHIJ2", "answer", 0.0)


@pytest.mark.parametrize("signs", range(1, 9))
def test_however_much_labels_share_two_requests_tell_them_apart(signs: int) -> None:
    shared = "ABCDEFGH"[:signs]
    asked = question((f"{shared}1", f"{shared}2", "Z"), shots=(), form="text", top_logprobs=20)
    first = said(f"{shared}2", A=0.9, Z=0.1)
    sure = tuple(TokenLogprob(sign.encode(), 0.0, ((sign.encode(), 0.0),)) for sign in shared[1:])
    last = TokenLogprob(b"2", math.log(0.75), ((b"2", math.log(0.75)), (b"1", math.log(0.25))))
    answer, requests = hold(ask(asked), first, Completion(text=f"{shared[1:]}2", tokens=(*sure, last)))
    assert (len(requests), answer.value, answer.method, answer.warnings) == (2, f"{shared}2", "logprobs", ())
    assert answer.probabilities == pytest.approx({f"{shared}1": 0.225, f"{shared}2": 0.675, "Z": 0.1})


def test_one_whole_answer_in_a_chat_serves_for_all_that_labels_share() -> None:
    asked = question(("very very good", "very very bad"), shots=(), top_logprobs=20)
    sure = [TokenLogprob(token, 0.0, ((token, 0.0),)) for token in (b"very", b" very")]
    last = TokenLogprob(b" bad", math.log(0.8), ((b" bad", math.log(0.8)), (b" good", math.log(0.2))))
    longer = Completion(text="very very bad", tokens=(*sure, last))
    answer, requests = hold(ask(asked), longer)
    assert answer.probabilities == {"very very good": pytest.approx(0.2), "very very bad": pytest.approx(0.8)}
    assert len(requests) == 1


def test_votes_that_say_the_same_count_together_however_they_are_written() -> None:
    asked = question("number", shots=(), settings=Settings(votes=5))
    answer, _ = hold(ask(asked), *map(said, ("5", "4", "4.0", "4.00", "5")))
    assert (answer.value, answer.confidence) == (4, pytest.approx(3 / 5))
    asked = question("text", shots=(), settings=Settings(votes=5))
    answer, _ = hold(ask(asked), *map(said, ("London", "paris", "Paris.", "Paris.", "London")))
    assert (answer.value, answer.confidence) == ("Paris.", pytest.approx(3 / 5))
    answer, _ = hold(ask(asked), *map(said, ("C", "C++", "C#", "C++", "-5")))
    assert (answer.value, answer.confidence) == ("C++", pytest.approx(2 / 5))


def test_labels_with_as_many_votes_are_decided_by_their_order_and_not_by_the_first_ballot() -> None:
    asked = question(settings=Settings(votes=2))
    answer, _ = hold(ask(asked), said("negative"), said("positive"))
    assert (answer.value, answer.probabilities) == ("positive", {"positive": 0.5, "negative": 0.5})


def test_votes_that_were_cast_before_one_failed_are_paid_for_and_counted() -> None:
    answers: list[Any] = [said("positive"), said("positive"), ServiceError("no", status=500, attempts=2)]
    client = ScriptedClient(*(replace(a, usage=Usage(40, 1)) if isinstance(a, Completion) else a for a in answers))
    result = Task.of("Judge.", ["positive", "negative"], client=client, votes=3).run("Fine.")
    assert isinstance(result.error, ServiceError)
    assert (result.usage, result.attempts, len(result.completions)) == (Usage(80, 2), 4, 2)


_NO_LABEL = st.text(min_size=1, max_size=8).filter(lambda token: not _SPELLED.begins(token.encode("utf-8", "replace")))
_SPELLED = LabelTree({"positive": "positive", "negative": "negative"})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(st.tuples(_NO_LABEL, st.floats(-12.0, 0.0)), min_size=1, max_size=6), min_size=1, max_size=4),
    st.sampled_from(["stop", "length"]),
    st.sampled_from(["chat", "text"]),
)
def test_a_list_of_tokens_without_labels_never_yields_a_value_by_log_probabilities(
    places: list[list[tuple[str, float]]], ended: str, form: Any
) -> None:
    tokens = tuple(
        TokenLogprob(
            top[0][0].encode("utf-8", "replace"), top[0][1], tuple((t.encode("utf-8", "replace"), p) for t, p in top)
        )
        for top in places
    )
    reply = Completion(text="".join(top[0][0] for top in places), finish_reason=ended, tokens=tokens)
    asked = question(top_logprobs=20, form=form, settings=Settings(max_repairs=0))
    try:
        answer, _ = hold(ask(asked), reply)
    except OutputError:
        return
    assert answer.method == "answer", "only a label that is written out is a value"
    assert answer.value in reply.text.casefold()
    assert answer.confidence is None
