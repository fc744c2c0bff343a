"""Part what a model thought from what it answered: one step before every reader, so that no thought is ever read.

The marks are those of the chat templates and cards of today's models: `<think>` (Qwen, DeepSeek and most others),
`[THINK]` (Magistral), `◁think▷` (Kimi), `<seed:think>`, `<|START_THINKING|>` (Cohere), `<|channel>thought` (Gemma),
`<|channel|>analysis` (gpt-oss, https://cookbook.openai.com/articles/openai-harmony) and Granite's two sentences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Parted", "part"]

_WORD = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)"
_OPENING = re.compile(
    rf"[<\[◁]\|?(?:begin_of_|start_)?{_WORD}\|?[>\]▷]|<\|channel>thought\b|\bHere is my thought process:", re.IGNORECASE
)
_CLOSING = re.compile(rf"[<\[◁]\|?(?:/|end_of_|end_){_WORD}\|?[>\]▷]|<channel\|>|\bHere is my response:", re.IGNORECASE)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_BARE_CHANNELS = re.compile(r"\A\s*analysis(?=[A-Z])(.*?)(?:assistantfinal(.*)|\Z)", re.DOTALL)
"""Harmony whose signs were stripped on the way: `analysisThe user asks.assistantfinalpositive`."""
_SIGNS = re.compile(r"<\|(?:start|end|return|call|im_end|START_RESPONSE|END_RESPONSE)\|>(?:assistant)?", re.IGNORECASE)


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
    if "<|channel|>" in text:
        return _channels(text)
    if (bare := _BARE_CHANNELS.match(text)) is not None:
        return Parted((bare[2] or "").strip(), bare[1].strip(), cut=bare[2] is None)
    thoughts: list[str] = []
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
