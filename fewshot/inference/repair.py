"""What to do about an answer that is none: refused, filtered, cut off, or not valid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fewshot.errors import OutputError
from fewshot.inference.question import Answer, left_out
from fewshot.outputs.kinds import Output
from fewshot.outputs.spans import source_text
from fewshot.types import Completion, Message, Request

if TYPE_CHECKING:
    from fewshot.inference.question import Question
    from fewshot.inference.redaction import Redacted

__all__ = ["refuse_unfinished", "repaired", "restored"]

_THINKING = 2048
"""Tokens that a model is given which thinks before it answers; only those that it takes are paid."""
_LOOP = 120
"""Characters at the end of a cut answer that are looked at for what repeats."""
_ITEM, _ITEMS = re.compile(r"\{[^{}]+\}"), 8


def restored(
    found: Answer, private: Redacted, output: Output[Any], sent: Mapping[str, Any], given: Mapping[str, Any]
) -> Answer:
    """Put private data back into an answer to inputs that were sent without it; its spans stand in those given."""
    if not private.originals:
        return found
    value, cut = output.placed(private.restore(found.value, source_text(sent)), given)
    return replace(found, value=value, warnings=(*found.warnings, *left_out(cut)))


def refuse_unfinished(question: Question, completion: Completion, *, cut_is_fine: bool = False) -> None:
    """Raise OutputError for a completion that is not an answer: refused, filtered or cut off."""
    reason = completion.finish_reason
    seen = tuple(question.completions)
    if reason == "refusal":
        raise OutputError("the model refused to answer", reason="refusal", raw=completion.text, completions=seen)
    if reason == "content_filter":
        message = "the provider's content filter stopped the answer"
        raise OutputError(message, reason="content_filter", raw=completion.text, completions=seen)
    if reason == "length" and not cut_is_fine:
        if _loops(completion.text):
            message = "the model repeats itself without end: give it more examples, or use a larger model"
            raise OutputError(message, reason="loop", raw=completion.text, completions=seen)
        message = "the answer was cut off; raise max_tokens"
        raise OutputError(message, reason="length", raw=completion.text, completions=seen)
    if reason == "tool_calls":
        raise OutputError("the model called a tool instead of answering", raw=completion.text, completions=seen)
    if reason not in ("stop", "length"):
        message = f"the answer ended with {reason!r}, which does not say that it is whole"
        raise OutputError(message, raw=completion.text, completions=seen)


def _loops(text: str) -> bool:
    """Tell whether a text that was cut off ends in the same few characters over and over; more room is of no use."""
    tail = text.rstrip("\N{REPLACEMENT CHARACTER}")[-_LOOP:]
    items = _ITEM.findall(text)[-_ITEMS:]  # a list of records repeats itself by whole ones
    if len(items) == _ITEMS and len({*items}) <= 2:
        return True
    return len(tail) == _LOOP and any(tail[length:] == tail[:-length] for length in range(1, _LOOP // 4))


def repaired(question: Question, request: Request, error: OutputError) -> Request:
    """Ask again, with the error told to the model; after a cut answer, with more room."""
    if error.reason == "length":
        more = replace(request, max_tokens=(request.max_tokens or 16) * 4)
        if error.raw:
            return more
        # Nothing was written: the room went on thinking, which is asked to stop where a server can be asked.
        return replace(
            more, max_tokens=max(4 * (more.max_tokens or 0), _THINKING), extra=question.extra_without_thinking
        )
    shown = error.raw.strip()[:500]
    wanted = _wanted(question.output)
    told = f"That is not a valid answer: {error}. {wanted}"
    if request.text is not None:
        return replace(request, text=f"{request.text} {' '.join(shown.split())}\n({told})\n{question.prompt.cue}")
    turns = (Message("assistant", shown), Message("user", told)) if shown else (Message("user", told),)
    return replace(request, messages=(*request.messages, *turns))


def _wanted(output: Output[Any]) -> str:
    if output.several:
        return f"Answer with those of these that fit: {', '.join(output.words_of_labels.values())}."
    if output.labels is not None:
        return f"Answer with exactly one of: {', '.join(map(output.render, output.labels))}."
    if output.kind == "number":
        return "Answer with the number alone."
    return "Answer with valid JSON alone." if output.kind == "schema" else "Answer again."
