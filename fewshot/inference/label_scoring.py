"""Weighing labels with one prompt: one token is asked, and what follows it where labels begin alike.

A conversation without I/O, as in `flow`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from fewshot.inference.label_tree import LabelTree, Open
from fewshot.inference.repair import refuse_unfinished
from fewshot.types import Completion, Message, Request, TokenLogprob, Usage

if TYPE_CHECKING:
    from fewshot.inference.question import Question

__all__ = ["Weighed", "send", "weigh"]

_FOLLOW_UPS = 8
"""How often it is asked what follows; what labels share may be longer than that."""
_WHOLE_TOKEN = (("logit_bias", ((",", 100.0),)),)
_END = TokenLogprob(b"", 0.0)
"""What follows an answer that ends. Most services do not list how likely that was, and it was the likeliest."""

Asking = Generator[tuple[Request, ...], tuple[Completion, ...], Completion]
Weighed = tuple[LabelTree, bool]
"""The labels with their mass, and whether some could not be told apart."""


def weigh(question: Question) -> Generator[tuple[Request, ...], tuple[Completion, ...], Weighed | None]:
    """Read the probability mass of each label; None without log-probabilities."""
    output = question.output
    assert output.labels is not None  # noqa: S101 - `ask` looked
    words = {label: output.render(label) for label in output.labels}
    tree = LabelTree(words) if question.form == "chat" else LabelTree(words, blanks=_blanks(words.values()))
    request = question.request(max_tokens=1, top_logprobs=question.top_logprobs, stop=())
    completion = yield from _one_token(question, request)
    refuse_unfinished(question, completion, cut_is_fine=True)
    if not completion.tokens or not completion.tokens[0].top:
        return None
    tree.add(completion.tokens[0])
    unsettled = False
    whole: Completion | None = None
    for _ in range(_FOLLOW_UPS):
        if (shared := tree.next_open()) is None:
            break
        follower: TokenLogprob | None = None
        if request.text is not None or (question.continues and shared.text):
            shared, follower = yield from _continued(question, request, shared, tree)
        else:
            if whole is None:  # the endpoint begins every answer anew, so that one serves for all that is shared
                whole = yield from send(question, replace(request, max_tokens=question.longest_answer))
            follower = _after(whole, shared, tree)
        unsettled |= follower is None or follower is _END
        if follower is None:
            tree.spread(shared)
        else:
            tree.add(follower, shared)
    if (left := tree.next_open()) is not None:
        tree.spread(left)
        unsettled = True
    return tree, unsettled


def _blanks(words: Iterable[str]) -> bytes:
    """Tell what may stand before an answer in the text form: a token for the space where tokenizers part digits."""
    return b" " if any(word.strip()[:1].isdigit() for word in words) else b""


def send(question: Question, request: Request) -> Asking:
    """Ask one thing; what comes is kept in the question's completions."""
    replies = yield (request,)
    question.completions.extend(replies)
    return replies[0]


def _one_token(question: Question, request: Request) -> Asking:
    """Ask what the next token may be.

    llama.cpp lists nothing for a token that ends inside a character, as those of many scripts do. Asked again with
    another token forced, it lists the very same, since it does so before the bias.
    """
    completion = yield from send(question, request)
    if completion.tokens or not question.continues or not question.top_logprobs:
        return completion
    place = len(question.completions) - 1
    (again,) = yield (replace(request, extra=(*request.extra, *_WHOLE_TOKEN)),)
    question.completions[place] = _joined(completion, again)
    return question.completions[place]


def _joined(first: Completion, again: Completion) -> Completion:
    """Give the first completion with the tokens of the second, and what both took."""
    paid = [one.usage for one in (first, again) if not one.cached]
    return replace(
        first,
        tokens=again.tokens,
        usage=sum(paid, Usage()),
        cached=not paid,
        attempts=first.attempts + again.attempts,
    )


def _continued(
    question: Question, request: Request, shared: Open, tree: LabelTree
) -> Generator[tuple[Request, ...], tuple[Completion, ...], tuple[Open, TokenLogprob | None]]:
    """Have the model go on from a text that begins several labels; give the text gone on from, and what followed."""
    beginning = tree.as_written(shared.text)
    if beginning is None:
        return shared, None
    shared = Open(tree.fold(beginning.encode()), shared.mass)
    if request.text is not None:
        again = (*request.shared, len(request.text))
        request = replace(request, text=f"{request.text} {beginning}", shared=again)
    else:
        request = replace(request, messages=(*request.messages, Message("assistant", beginning)))
    completion = yield from _one_token(question, request)
    end = _END if completion.finish_reason == "stop" and not completion.text else None
    return shared, completion.tokens[0] if completion.tokens else end


def _after(whole: Completion, shared: Open, tree: LabelTree) -> TokenLogprob | None:
    """Find the token after a text that begins several labels; None when the answer does not begin so."""
    written = b""
    for token in whole.tokens:
        if written and tree.fold(written.lstrip()) == shared.text:
            return token
        written += token.token
    ends = whole.finish_reason == "stop" and tree.fold(written.lstrip()) == shared.text
    return _END if ends else None
