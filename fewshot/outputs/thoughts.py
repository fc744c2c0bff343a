"""Part what a model thought from what it answered: one step before every reader, so that no thought is ever read.

The marks are those of the chat templates and cards of today's models: `<think>` (Qwen, DeepSeek and most others),
`[THINK]` (Magistral), `◁think▷` (Kimi), `<seed:think>`, `<|START_THINKING|>` (Cohere), `<|channel>thought` (Gemma),
`<|channel|>analysis` (gpt-oss, https://cookbook.openai.com/articles/openai-harmony) and Granite's two sentences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["Parted", "part"]

_LEFT, _RIGHT = r"(?:[<\[◁]|&lt;)\|?\s?", r"\s?\|?(?:[>▷]|&gt;|\](?!\())"
_WORD = r"(?:\w+[:_])?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratch_?pad)"
_OPENING = re.compile(
    rf"{_LEFT}(?!end_){_WORD}{_RIGHT}|<\|channel>thought\b|\bHere is my thought process:", re.IGNORECASE
)
_CLOSING = re.compile(rf"{_LEFT}(?:/\s?|end_(?:of_)?){_WORD}{_RIGHT}|<channel\|>|\bHere is my response:", re.IGNORECASE)
_AT_FIRST = re.compile(
    r"\s*<(\w*(?:reason|analysis|rationale|monologue|cot|internal))>(.*?)(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL
)
"""What a reply begins with when a prompt has taught the model a tag for its thoughts; elsewhere it may be text."""
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_BARE_CHANNELS = re.compile(
    r"\A\s*(?:analysis|commentary)(?=[A-Z]|.*assistantfinal)(.*?)(?:assistantfinal(.*)|\Z)", re.DOTALL
)
"""Harmony whose signs were stripped on the way: `analysisThe user asks.assistantfinalpositive`."""
_SIGNS = re.compile(r"<\|(?:start|end|return|call|im_end|START_RESPONSE|END_RESPONSE)\|>(?:assistant)?", re.IGNORECASE)
_TURN_BEGINS = re.compile(
    r"(?:\s*(?:<\|\w+\|>|<start_of_turn>|<end_of_turn>|\[/INST\])(?:(?:assistant|model)(?=\s*(?:\n|<\|)))?\s*)+"
)
_TURN_ENDS = re.compile(r"<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end|return)\|>|<end_of_turn>|</s>\s*\Z")
"""What chat templates put round a turn; a server with the wrong one, or none, leaves it in the reply."""


@dataclass(frozen=True, slots=True)
class Parted:
    """A reply in its two parts."""

    answer: str
    thoughts: str = ""
    cut: bool = False
    """The thoughts do not end, so that no answer began."""


def part(text: str, asked: str = "") -> Parted:
    """Part the thoughts of a reply from its answer.

    Arguments:
        text: the reply as it came.
        asked: what the model was asked: a mark that stands there too and is not a block that opens the reply may be a
            part of the answer, and is left.
    """
    parted = _parted(text, asked)
    answer = _own_turn(parted.answer, asked)
    return parted if answer == parted.answer else replace(parted, answer=answer)


def _own_turn(text: str, asked: str) -> str:
    """Take the marks of a chat template off an answer, and what a model goes on to write after its turn."""
    begins = _TURN_BEGINS.match(text)
    if begins is not None and begins[0].strip() not in asked:
        text = text[begins.end() :]
    ends = _TURN_ENDS.search(text)
    return text if ends is None or ends[0] in asked else text[: ends.start()].rstrip()


def _parted(text: str, asked: str) -> Parted:
    if "<|channel|>" in text:
        return _channels(text)
    if (bare := _BARE_CHANNELS.match(text)) is not None:
        return Parted((bare[2] or "").strip(), bare[1].strip(), cut=bare[2] is None)
    thoughts: list[str] = []
    while (first := _AT_FIRST.match(text)) is not None and f"<{first[1]}>" not in asked:
        thoughts.append(first[2].strip())
        text = text[first.end() :]
    if thoughts and not text.strip():
        return Parted("", "\n".join(thoughts), cut=True)
    while (opened := _OPENING.search(text)) is not None:
        closed = _CLOSING.search(text, opened.end())
        if opened[0] in asked and (closed is None or (text[: opened.start()].strip() and closed[0] in asked)):
            return Parted(text.strip() if thoughts else text, "\n".join(thoughts))
        if closed is None:
            return Parted("", "\n".join([*thoughts, text[: opened.start()] + text[opened.end() :]]).strip(), cut=True)
        thoughts.append(text[opened.end() : closed.start()].strip())
        text = text[: opened.start()] + text[closed.end() :]
    lone = [mark for mark in _CLOSING.finditer(text) if mark[0] not in asked]
    if lone:
        thoughts.append(text[: lone[-1].start()].strip())
        text = text[lone[-1].end() :]
    return Parted(_SIGNS.sub("", text).strip() if thoughts else text, "\n".join(filter(None, thoughts)))


def _channels(text: str) -> Parted:
    """Part a reply in harmony's channels: what is in the last one called `final` is the answer."""
    marks = list(_CHANNEL.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    pieces = [
        (mark[1].lower(), _SIGNS.sub("", text[mark.end() : end]).strip()) for mark, end in zip(marks, ends, strict=True)
    ]
    thoughts = "\n".join(piece for channel, piece in pieces if channel != "final")
    finals = [piece for channel, piece in pieces if channel == "final"]
    return Parted(finals[-1], thoughts) if finals else Parted("", thoughts or text, cut=True)
