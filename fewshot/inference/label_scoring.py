"""Weighing labels with one prompt, by the likeliest tokens of an answer, and what follows where labels begin alike.

A conversation without I/O, as in `conversation`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from fewshot._wording import cue_name
from fewshot.inference.label_tree import LabelTree, Open
from fewshot.inference.question import Answer
from fewshot.inference.repair import refuse_unfinished
from fewshot.narrowing.weighing import HEAD_ALONE
from fewshot.outputs.thoughts import part
from fewshot.types import Completion, Message, Request, TokenLogprob, Usage

if TYPE_CHECKING:
    from fewshot.inference.question import Question

__all__ = ["Weighed", "count_all", "known_answer", "received", "rest_of", "send", "settle", "tree_of", "weigh"]

_WHOLE_TOKEN = (("logit_bias", ((",", 100.0),)),)
_END = TokenLogprob(b"", 0.0)
"""What follows an answer that ends. Most services do not list how likely that was, and it was the likeliest."""
_SIGNS = rb"(?:[\s\"'`*_#>(\[{<:=\-]|\xe2\x80[\x98-\x9f]|\xc2\xab|\xe3\x80[\x8c-\x8f]|\xef\xbc\x9a)*"
_NAMES = rb"(?:final )?answer|label|output|result|category|class|json|text|assistant|final"

Asking = Generator[tuple[Request, ...], tuple[Completion, ...], Completion]


@dataclass(frozen=True, slots=True)
class Weighed:
    """What weighing the labels with one prompt came to."""

    tree: LabelTree | None
    """The labels with their mass; None where no log-probabilities came."""
    unsettled: bool = False
    """Some labels could not be told apart."""
    said: tuple[Request, Completion] | None = None
    """The request and the reply, where that had the room of a written answer."""
    chances: Mapping[str, float] | None = None
    """Of a set of labels the probability of each; None where they could not be read."""
    written: tuple[str, ...] | None = None
    """The labels of the set that was written; None where the reply is not a list of labels."""


def weigh(question: Question) -> Generator[tuple[Request, ...], tuple[Completion, ...], Weighed]:
    """Read the probability mass of each label, past what the model put round its answer.

    A service is asked for the answer itself, whose first tokens are what counts: it costs a token or two more than one
    token, some models refuse to write only one, and an answer that is not read from tokens is there to be read.
    """
    output = question.output
    assert output.labels is not None  # noqa: S101 - `ask` looked
    tree = tree_of(question, output.words_of_labels)
    alone = question.continues and question.thinks == ""
    request = question.request(**({"max_tokens": 1, "stop": ()} if alone else {}), top_logprobs=question.listed)
    completion = yield from _one_token(question, request)
    said = None if alone else (request, completion)
    if completion.finish_reason not in ("stop", "length"):
        refuse_unfinished(question, completion)
    if not completion.tokens or not completion.tokens[0].top:
        return Weighed(None, said=said)
    place = 0 if alone else count_all(completion, tree, question.prompt.cue)
    if alone:
        tree.add(completion.tokens[0])
    if (shared := tree.next_open()) is None:
        return Weighed(tree, said=said)
    begun: bytes | None = None
    if request.text is not None or (question.continues and shared.text):
        shared, begun, completion = yield from _continued(question, request, shared, tree)
    elif alone:  # the endpoint begins every answer anew
        completion = yield from send(question, replace(request, max_tokens=question.longest_answer))
    return Weighed(tree, settle(completion, place, tree, shared, begun), said)


def tree_of(question: Question, words: Mapping[str, str]) -> LabelTree:
    """Give what collects the mass of some words; where tokenizers part digits, a text has a blank before them."""
    codes = getattr(question.output, "codes", {})
    if question.form == "chat":
        return LabelTree(words, codes=codes)
    blanks = b" " if any(word.strip()[:1].isdigit() for word in words.values()) else b""
    return LabelTree(words, blanks=blanks, codes=codes)


def settle(
    completion: Completion, place: int, tree: LabelTree, shared: Open | None = None, begun: bytes | None = None
) -> bool:
    """Tell labels that begin alike apart by what was written after a place; give whether some could not be.

    Arguments:
        shared: the heaviest of their beginnings, where it was taken off the tree already.
        begun: what the model was made to go on from, where it did not write that itself.
    """
    unsettled = False
    while (shared := shared or tree.next_open()) is not None:
        follower, rest = _after(completion, place, shared, tree, begun)
        unsettled |= follower is None or follower is _END
        if follower is None:
            tree.spread(shared)
        else:
            tree.add(follower, shared, rest=rest, cut=completion.finish_reason == "length")
        shared = None
    return unsettled


def count_all(completion: Completion, tree: LabelTree, cue: str) -> int:
    """Count the likeliest tokens where the answer begins; give that place.

    Where the reply begins with what begins no label, such as a quote, a fence or the cue, the labels after that have
    the mass that it had.
    """
    tokens, cut = completion.tokens, completion.finish_reason == "length"
    tree.add(tokens[0], rest=rest_of(completion, 0), cut=cut)
    place = _place(completion, cue)
    if not place or tree.begins(tokens[0].token):
        return 0
    tree.blank = 0.0  # what follows a blank is here to be read
    mass = math.exp(math.fsum(token.logprob for token in tokens[:place]))
    tree.add(tokens[place], Open(b"", mass), rest=rest_of(completion, place), cut=cut)
    return place


def _place(completion: Completion, cue: str) -> int | None:
    """Find the token with which the answer begins, past its wrapping; None where all is wrapping."""
    written = b"".join(token.token for token in completion.tokens)
    found = _wrapping(cue).match(written)
    end = found.end() if found else 0
    reached = 0
    for place, token in enumerate(completion.tokens):
        reached += len(token.token)
        if reached > end:
            return place
    return None


@lru_cache(maxsize=64)
def _wrapping(cue: str) -> re.Pattern[bytes]:
    """Give what may stand before an answer: signs, an empty block of thoughts, the cue or a key."""
    name = cue_name(cue)
    names = _NAMES + (b"|" + re.escape(name.encode()) if name else b"")
    return re.compile(
        rb"(?:\s*<think>\s*</think>)?(?:" + _SIGNS + rb"(?:<\|[^|>]*\|>|(?:" + names + rb")(?=[^\w]))){0,4}" + _SIGNS,
        re.IGNORECASE,
    )


def rest_of(completion: Completion, place: int) -> bytes:
    """Give what was written after a token; a service may list fewer tokens than it wrote."""
    before = b"".join(token.token for token in completion.tokens[: place + 1])
    written = completion.text.encode("utf-8", "replace")
    if written.startswith(before):
        return written[len(before) :]
    return b"".join(token.token for token in completion.tokens[place + 1 :])


def send(question: Question, request: Request) -> Asking:
    """Ask one thing; what comes is kept in the question's completions, and given without its thoughts."""
    (completion,) = yield (request,)
    return received(question, request, completion)


def received(question: Question, request: Request, completion: Completion) -> Completion:
    """Keep a completion as it came; give it as it is to be read: without thoughts, and without their tokens."""
    question.completions.append(completion)
    asked = request.messages[-1].content if request.messages else request.text or ""
    parted = part(completion.text, asked)
    thoughts = "\n".join(filter(None, (completion.thinking, parted.thoughts)))
    question.thoughts.append(thoughts)
    return (
        replace(
            completion,
            text=parted.answer,
            finish_reason="length" if parted.cut or (thoughts and not parted.answer) else completion.finish_reason,
            tokens=() if thoughts else completion.tokens,
        )
        if thoughts or parted.cut or parted.answer != completion.text
        else completion
    )


def _one_token(question: Question, request: Request) -> Asking:
    """Ask what the next token may be.

    llama.cpp lists nothing for a token that ends inside a character, as those of many scripts do. Asked again with
    another token forced, it lists the very same, since it does so before the bias.
    """
    completion = yield from send(question, request)
    if completion.tokens or not question.continues or not question.top_logprobs or question.thoughts[-1]:
        return completion
    place = len(question.completions) - 1
    (again,) = yield (replace(request, extra=(*request.extra, *_WHOLE_TOKEN)),)
    question.completions[place] = _joined(completion, again)
    return question.completions[place]


def _joined(first: Completion, again: Completion) -> Completion:
    """Give the first completion with the tokens of the second, and what both took."""
    paid = [one.usage for one in (first, again) if not one.cached]
    return replace(
        first, tokens=again.tokens, usage=sum(paid, Usage()), cached=not paid, attempts=first.attempts + again.attempts
    )


def _continued(
    question: Question, request: Request, shared: Open, tree: LabelTree
) -> Generator[tuple[Request, ...], tuple[Completion, ...], tuple[Open, bytes | None, Completion]]:
    """Have the model go on from a text that begins several labels, to the end of one.

    Returns:
        The text gone on from, that text as it was written, and what followed; None for it where it cannot be written.
    """
    beginning = tree.as_written(shared.text)
    if beginning is None:
        return shared, None, Completion(text="")
    shared = Open(tree.fold(beginning.encode()), shared.mass)
    if request.text is not None:
        again = (*request.shared, len(request.text))
        request = replace(request, text=f"{request.text} {beginning}", shared=again)
    else:
        request = replace(request, messages=(*request.messages, Message("assistant", beginning)))
    stop = question.settings.stop or ((question.prompt.stop,) if request.text is not None else ())
    request = replace(request, max_tokens=question.longest_answer, stop=stop)
    return shared, beginning.encode(), (yield from _one_token(question, request))


def _after(
    whole: Completion, place: int, shared: Open, tree: LabelTree, begun: bytes | None
) -> tuple[TokenLogprob | None, bytes | None]:
    """Find the token after a text that begins several labels, and what follows that; None where another was written."""
    written = begun or b""
    for number in range(0 if begun is not None else place, len(whole.tokens)):
        if (written or begun is not None) and tree.spells(written, shared.text):
            return whole.tokens[number], None if begun is not None else rest_of(whole, number)
        written += whole.tokens[number].token
    ends = whole.finish_reason == "stop" and tree.spells(written, shared.text)
    return (_END if ends else None), b""


def known_answer(question: Question) -> Answer | None:
    """Give what the head says where the model adds nothing to it or the question is out of scope; else None."""
    reading, least = question.reading, question.settings.out_of_scope
    if reading is None:
        return None
    alone = question.calibration is not None and question.calibration.name == HEAD_ALONE
    outside, tied = least is not None and reading.scope <= least, alone and reading.tied
    if not (outside or alone):
        return None
    chances = {label: math.exp(logprob) for label, logprob in reading.logprobs.items()}
    why = f"out of scope: only {reading.scope:.1%} of the examples are as unlike every label, held out"
    if tied:
        why = "by the examples no label is likelier than all others"
    return Answer(
        value=reading.likeliest,
        method="head",
        probabilities=chances,
        confidence=chances[reading.likeliest],
        calibration=HEAD_ALONE,
        held_back=outside or tied,
        warnings=(f"held back: {why}",) if outside or tied else (),
    )
