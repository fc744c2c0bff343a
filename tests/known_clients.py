"""Clients of which the right behaviour is known beforehand, and rows for them."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from fewshot import Completion, Request, ScriptedClient
from fewshot.types import TokenLogprob

WORDS = {"good": "yes", "great": "yes", "bad": "no", "awful": "no"}
ROWS = [(f"a {word} day number {n}", label) for n in range(40) for word, label in WORDS.items()]
OWN = [("a good plum", "yes"), ("a bad pear", "no"), ("a great fig", "yes"), ("an awful nut", "no")]


def listed(text: str, chance: float) -> Completion:
    top = ((text.encode(), math.log(chance)), (b"~", math.log(1 - chance)))
    return Completion(text=text, tokens=(TokenLogprob(*top[0], top),))


class Copying(ScriptedClient):
    """Gives the shot whose input is the question's, sure of itself; what it was not shown it gets wrong, as sure."""

    top_logprobs = 20

    def __init__(self, wrong: str) -> None:
        self._wrong = wrong
        super().__init__(self.answer)

    def answer(self, request: Request) -> Completion:
        *shots, question = request.chat
        shown = {shots[n].content: shots[n + 1].content for n in range(len(shots) - 1) if shots[n].role == "user"}
        return listed(shown.get(question.content, self._wrong), 0.95)

    async def embed(self, texts: list[str], **_: Any) -> list[list[float]]:
        """Give a vector that only the very same text has."""
        return [[byte / 255 for byte in hashlib.sha256(text.encode()).digest()] for text in texts]


class Leaning(ScriptedClient):
    """Knows all, but leans to "no"; lists log-probabilities."""

    top_logprobs = 20

    def __init__(self) -> None:
        super().__init__(self.answer)

    def answer(self, request: Request) -> Completion:
        text = request.chat[-1].content
        right = next((label for word, label in WORDS.items() if word in text.split()), "no")
        yes = 1 / (1 + math.exp(2.0 - (1.5 if right == "yes" else -1.5) - len(text) % 7 / 10))
        top = tuple(sorted(((b"yes", math.log(yes)), (b"no", math.log(1 - yes))), key=lambda pair: -pair[1]))
        return Completion(text=top[0][0].decode(), tokens=(TokenLogprob(*top[0], top),))
