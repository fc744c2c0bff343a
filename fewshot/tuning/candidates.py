"""Which prompts a search tries: how many shots, which and in what order, in which form, with which instruction."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product, zip_longest
from typing import Any, NamedTuple

from fewshot.data.labelled import Labelled, as_examples
from fewshot.evaluation.perturb import drawn, shots_permuted
from fewshot.prompts.selection import BY_QUESTION
from fewshot.task import Task
from fewshot.tuning.instructions import with_instruction
from fewshot.types import Form

__all__ = ["Candidate", "Space", "candidates"]


@dataclass(frozen=True)
class Candidate:
    """One prompt to try, with what is different in it in words."""

    name: str
    task: Task[Any]

    @property
    def price(self) -> int:
        """How many requests a row takes, about: one for each vote or draw of shots."""
        return self.task.settings.votes * self.task.settings.ensemble


@dataclass(frozen=True, kw_only=True)
class Space:
    """What may be different from the prompt that a search starts from."""

    ks: Sequence[int]
    selectors: Sequence[str]
    """`"random"` and `"balanced"` draw from labelled rows, `"first"` takes the task's own examples, and those that look
    at the question (`"bm25"`, `"embedding"`) have both."""
    forms: Sequence[Form | None]
    """None leaves the form to the endpoint."""
    instructions: Sequence[str] = ()
    draws: int = 3
    ensembles: Sequence[int] = (1,)
    """How many draws of shots are averaged in one prompt; more than 1 only where half of all shots suffice for them."""
    seed: int = 0


class _Way(NamedTuple):
    """How shots come into the prompt."""

    select: str
    k: int
    draw: int = 0
    turned: bool = False
    """Whether the same shots stand in another order."""
    ensemble: int = 1


def candidates(start: Task[Any], pool: Sequence[Labelled], space: Space) -> Iterator[Candidate]:
    """Give prompts to try, each once: the start, the start with each instruction, then all combinations.

    Combinations come in random order, one of each selector in turn, so that any beginning is a fair sample.
    """
    inputs = start.bind(dict(pool[0].inputs))[1]
    seen = set()
    combined = _combined(start, pool, space, inputs)
    for candidate in chain([Candidate("start", start)], _instructed(start, space), combined):
        shown = _shown(candidate.task, inputs)
        if shown not in seen:
            seen.add(shown)
            yield candidate


def _instructed(start: Task[Any], space: Space) -> Iterator[Candidate]:
    for number, text in enumerate(space.instructions, start=1):
        yield Candidate(f"start, instruction {number}", with_instruction(start, text))


def _shown(task: Task[Any], inputs: Mapping[str, Any]) -> object:
    """Give what makes a prompt another one; where the question chooses shots, all that they are chosen by."""
    if task.settings.select in BY_QUESTION:
        return task.fingerprint
    return task.settings.form, *(draw.offline(inputs).prefix for draw in task.prompts.draws)


def _combined(
    start: Task[Any], pool: Sequence[Labelled], space: Space, inputs: Mapping[str, Any]
) -> Iterator[Candidate]:
    """Make the combinations one by one, since a search takes only the first few."""
    own = [("", start)]
    instructed = [(f"instruction {n}", with_instruction(start, t)) for n, t in enumerate(space.instructions, start=1)]
    shuffler = random.Random(space.seed)  # noqa: S311 - a search is no secret
    groups = defaultdict(list)
    for way, form, asked in product(_ways(start, len(pool), space), space.forms, own + instructed):
        groups["none" if way.k == 0 else way.select].append((way, form, asked))
    dealt = zip_longest(*(shuffler.sample(group, len(group)) for group in groups.values()))
    for combination in filter(None, chain.from_iterable(dealt)):
        way, form, (said, task) = combination
        made = _made(replace(task, settings=replace(task.settings, form=form)), pool, way, space.seed)
        if way.turned:
            made = shots_permuted(made, inputs, seed=space.seed)
        told = f"{form} form" if form != start.settings.form else ""
        yield Candidate(", ".join(filter(None, [_name(way), told, said])), made)


def _ways(start: Task[Any], pool: int, space: Space) -> Iterable[_Way]:
    """List the ways that there are shots for."""
    own = len(start.examples)
    for select, k in product(space.selectors, sorted(set(space.ks))):
        if k == 0:
            yield _Way("first", 0)
            continue
        there = own if select == "first" else own + pool if select in BY_QUESTION else pool
        draws = space.draws if select in ("random", "balanced") else 1
        for draw, ensemble in product(range(draws), sorted(set(space.ensembles))):
            if k > there or (ensemble > 1 and (select in BY_QUESTION or 2 * k * ensemble > there)):
                continue
            orders = (False, True) if k > 1 and ensemble == 1 else (False,)
            yield from (_Way(select, k, draw, turned, ensemble) for turned in orders)


def _made(task: Task[Any], pool: Sequence[Labelled], way: _Way, seed: int) -> Task[Any]:
    """Give the task with the shots of a way, its own examples kept behind those that are drawn."""
    select, k = way.select, way.k
    if select in BY_QUESTION:
        task = replace(task, examples=(*task.examples, *as_examples(pool)))
    else:
        task = replace(task, settings=replace(task.settings, diversity=0.0))  # means nothing without a question
    task = replace(task, settings=replace(task.settings, ensemble=way.ensemble))
    if select in ("random", "balanced"):
        shots = drawn(task, pool, k=k, draw=way.draw, select=select, seed=seed)[0].examples
        task, select = replace(task, examples=(*shots, *task.examples)), "first"
    return drawn(task, (), k=k, draw=0, select=select)[0]


def _name(way: _Way) -> str:
    if way.k == 0:
        return "k=0"
    draw = f"draw {way.draw + 1}" if way.select in ("random", "balanced") else ""
    order = "other order" if way.turned else ""
    averaged = f"{way.ensemble} averaged" if way.ensemble > 1 else ""
    return ", ".join(filter(None, [f"k={way.k} {way.select}", draw, order, averaged]))
