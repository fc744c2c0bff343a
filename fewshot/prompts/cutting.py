"""A long text cut into parts at its sentences, each with the end of the one before it. Pure."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["BLOCK", "cut", "sums_of"]

_SENTENCE = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)\s+|[。！？｡]+[」』”’）]*\s*|\n\s*")
BLOCK = 2_000
"""Characters of a text whose tokens are counted together."""
_WORD = re.compile(r"\s+")
_JOINED = re.compile("[\u0300-\u036f\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\udc00-\udfff\n]")
"""What does not begin a part of its own: it belongs to the character before it."""
_PLAIN, _OTHER = 37 / 128, 1.0
"""Tokens of a character, about as `estimated_tokens` has it: 1/3.5 of an ASCII one; binary, so that sums are exact."""
_OVERLAP = 10
"""A part begins with up to a tenth of what the one before it holds."""


def sums_of(text: str, counted: Sequence[float] = ()) -> list[float]:
    """Give the tokens before each character and before the end: estimated, or as counted of each block."""
    weights = [_PLAIN if character < "\x80" else _OTHER for character in text]
    for start, tokens in zip(range(0, len(text), BLOCK), counted, strict=False):
        share = tokens / math.fsum(weights[start : start + BLOCK])
        weights[start : start + BLOCK] = [weight * share for weight in weights[start : start + BLOCK]]
    return [0.0, *accumulate(weights)]


def cut(text: str, most: float, counted: Sequence[float] = (), *, overlap: bool = True) -> list[tuple[int, int]]:
    """Cut a text into about equal parts, at sentences where there are any, else between words, else anywhere.

    Arguments:
        most: the tokens that no part exceeds.
        counted: the tokens of each block of the text, where they need not be estimated.
        overlap: begin each part with the last sentences of the one before it, as far as a tenth of it holds them.

    Returns:
        Where each part begins and ends; together they hold every character.
    """
    sums = sums_of(text, counted)
    most = max(most, 4 * _OTHER)
    shared = most / _OVERLAP if overlap else 0.0
    sentences = [found.end() for found in _SENTENCE.finditer(text)]
    parts: list[tuple[int, int]] = []
    start = 0
    while True:
        if sums[-1] - sums[start] <= most:
            return [*parts, (start, len(text))]
        limit = max(start + 1, bisect_right(sums, sums[start] + most) - 1)
        wanted = bisect_right(sums, sums[start] + _even(sums[-1] - sums[start], most, shared)) - 1
        least = bisect_left(sums, sums[start] + most / 2)
        end = _nearest(sentences, wanted, least, limit) or _between_words(text, least, limit) or _whole(text, limit)
        parts.append((start, end))
        back = bisect_left(sums, sums[end] - shared)
        first = next(iter(sentences[bisect_left(sentences, back) :]), end)
        start = min(first if first < end else _after_blank(text, back, end), end) if shared else end


def _even(total: float, most: float, shared: float) -> float:
    """Give the size at which all parts are about as long as each other, none longer than it may be."""
    count = max(1, math.ceil((total - shared) / (most - shared)))
    return min(most, math.ceil((total - shared) / count) + shared)


def _nearest(places: list[int], wanted: int, least: int, limit: int) -> int | None:
    """Give the place nearest to the one wanted, between two others."""
    here = bisect_left(places, wanted)
    near = [place for place in places[max(0, here - 1) : here + 1] if least < place <= limit]
    return min(near, key=lambda place: abs(place - wanted), default=None)


def _between_words(text: str, least: int, limit: int) -> int | None:
    """Give the last place between two words, from one place to another."""
    return max((found.end() for found in _WORD.finditer(text, least, limit)), default=None)


def _after_blank(text: str, back: int, end: int) -> int:
    found = _WORD.search(text, back, end)
    return found.end() if found and found.end() < end else _whole(text, back)


def _whole(text: str, place: int) -> int:
    """Go back to where a character begins, past what only joins the one before it."""
    at = place
    while at > max(0, place - 32) and (_JOINED.match(text, at) or text[at - 1 : at] == "\u200d"):
        at -= 1
    return at if at > max(0, place - 32) else place
