"""Which prompts a search tries: how many shots, which draw of them, and in which form."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any

from fewshot.data.labelled import Labelled
from fewshot.evaluation.perturb import drawn
from fewshot.inference.predictor import Predictor
from fewshot.types import Form

__all__ = ["Candidate", "Space", "candidates"]


@dataclass(frozen=True)
class Candidate:
    """One prompt to try, with what is different in it in words."""

    name: str
    task: Predictor[Any]

    @property
    def price(self) -> int:
        """How many requests a row takes, about: one for each vote."""
        return self.task.settings.votes


@dataclass(frozen=True, kw_only=True)
class Space:
    """What may be different from the prompt that a search starts from."""

    ks: Sequence[int]
    forms: Sequence[Form | None]
    """None leaves the form to the endpoint."""
    draws: int = 3
    """How many draws of shots from the labelled rows, for each number of them."""
    seed: int = 0


def candidates(start: Predictor[Any], pool: Sequence[Labelled], space: Space) -> Iterator[Candidate]:
    """Give prompts to try, each once: the start, then all combinations in random order."""
    inputs = start._bind(dict(pool[0].inputs))[1]
    ways = [
        (k, draw, form)
        for k, form in product(sorted(set(space.ks)), space.forms)
        if k <= len(pool)
        for draw in range(space.draws if k else 1)
    ]
    random.Random(space.seed).shuffle(ways)  # noqa: S311 - a search is not secret
    seen: set[object] = set()
    for candidate in chain([Candidate("start", start)], (_made(start, pool, *way, space.seed) for way in ways)):
        by_question = candidate.task._prompts.by_question(inputs)
        shown = candidate.task._fingerprint if by_question else candidate.task._prompts.offline(inputs).prefix
        if (candidate.task.settings.form, shown) not in seen:
            seen.add((candidate.task.settings.form, shown))
            yield candidate


def _made(
    start: Predictor[Any], pool: Sequence[Labelled], k: int, draw: int, form: Form | None, seed: int
) -> Candidate:
    """Give the start with other shots, its own examples kept behind those that are drawn."""
    task = replace(start, settings=replace(start.settings, form=form, select="first", k=k))
    told = f"{form} form" if form != start.settings.form else ""
    if k == 0:
        return Candidate(", ".join(filter(None, ["k=0", told])), task)
    shots = drawn(task, pool, k=k, draw=draw, seed=seed)[0].examples
    task = replace(task, examples=(*shots, *task.examples))
    return Candidate(", ".join(filter(None, [f"k={k}, draw {draw + 1}", told])), task)
