"""The prompts of one task: shots chosen as its settings say, with the endpoint's help; each prompt made once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from fewshot.data.examples import matching
from fewshot.models.connection import Connection
from fewshot.models.embeddings import embed
from fewshot.models.tokens import estimated_tokens
from fewshot.narrowing.prompt import Narrowing, narrows
from fewshot.outputs.kinds import Output
from fewshot.prompts.prompt import Prompt
from fewshot.prompts.selection import BY_QUESTION, Shelf, choose
from fewshot.prompts.template import Template
from fewshot.settings import Settings
from fewshot.types import Example

__all__ = ["ENOUGH", "FEWEST", "FOR_SETS", "MOST", "Prompts"]

_SHOTS = 16
"""Shots of a closed set where examples are many: with more, the answers got no better on any set measured."""
_MANY = 48
"""Examples from which on a closed set has 16 shots and is calibrated on the rest: from about 64 on, that is more
accurate than all of them as shots."""
MOST = 500
"""Examples that a task is calibrated on at first use, at most."""
ENOUGH, FEWEST = 10, 4
"""Spare examples from which on a task is calibrated on these, and else shots from which on it is on those instead."""
FOR_SETS = 24
"""Spare examples from which on a set of labels is calibrated at first use: micro-F1 on GoEmotions was .40 then, and .20
as written."""
_SHOT_TOKENS = 6000
"""Tokens that shots may take where nobody said how many they are: the embedded model holds 8,192 with the question."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """Makes and keeps the prompts of a task."""

    template: Template
    output: Output[Any]
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    examples: tuple[Example, ...]
    settings: Settings
    _shelves: dict[frozenset[str], Shelf] = field(default_factory=dict, init=False, repr=False)
    _kept: dict[object, Prompt] = field(default_factory=dict, init=False, repr=False)
    _heads: dict[Shelf, Narrowing | None] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def by_id(self) -> Mapping[str, Example]:
        """The examples, each under its id."""
        return {example.id: example for example in self.examples}

    def of(self, shots: Sequence[Example]) -> Prompt:
        """Give the prompt with these shots."""
        return Prompt(self.template, self.output, self.parameters, tuple(shots))

    def offline(self, inputs: Mapping[str, Any]) -> Prompt:
        """Choose shots without asking anybody, and give the prompt; the same object for the same fixed shots.

        Raises:
            InputError: only the endpoint can tell the shots (`select="embedding"`).
        """
        shelf = self.shelf(inputs)
        if narrowed := self._narrowed(shelf, inputs):
            return narrowed
        return self.of(shelf.arranged(shelf.candidates(inputs))) if shelf.by_question else self._fixed(shelf, inputs)

    def by_question(self, inputs: Mapping[str, Any]) -> bool:
        """Tell whether each question has shots of its own."""
        shelf = self.shelf(inputs)
        return shelf.by_question or narrows(self.output, shelf.examples, self.settings)

    def _narrowing(self, shelf: Shelf) -> Narrowing | None:
        """Give what draws the candidates among many labels; None where all are asked about."""
        if shelf not in self._heads:
            narrow = narrows(self.output, shelf.examples, self.settings)
            self._heads[shelf] = Narrowing(self.output, shelf.examples, shelf.texts) if narrow else None
        return self._heads[shelf]

    def _narrowed(self, shelf: Shelf, inputs: Mapping[str, Any], *, leave_out: bool = False) -> Prompt | None:
        """Give the prompt that holds the candidates alone, where labels are many."""
        if (found := self._narrowing(shelf)) is None:
            return None
        query = shelf.query(inputs)
        return found.prompt(self.template, self.parameters, query, self.settings, leave_out=leave_out)

    def _fixed(self, shelf: Shelf, inputs: Mapping[str, Any]) -> Prompt:
        """Give the one prompt of all questions that have the same shots."""
        if shelf not in self._kept:
            self._kept[shelf] = self.of(shelf.arranged(shelf.candidates(inputs)))
        return self._kept[shelf]

    async def chosen(
        self, inputs: Mapping[str, Any], connection: Connection, *, deadline: float, leave_out: bool = False
    ) -> Prompt:
        """Choose shots with the endpoint's vectors where they are wanted, and give the prompt.

        Arguments:
            leave_out: where the question decides, do not show an example with these very inputs.

        Raises:
            ServiceError: the endpoint gave no vectors. ConfigError: it has none to give.
        """
        shelf = self.shelf(inputs)
        if shelf not in self._heads and narrows(self.output, shelf.examples, self.settings):
            async with _lock_of(shelf):  # the first question has the head fitted, the others wait for it
                await asyncio.to_thread(self._narrowing, shelf)
        if narrowed := self._narrowed(shelf, inputs, leave_out=leave_out):
            return narrowed
        if not shelf.by_question:
            return self._fixed(shelf, inputs)
        vector = await self._vector(shelf, inputs, connection, deadline)
        return self.of(shelf.arranged(shelf.candidates(inputs, vector, leave_out=leave_out)))

    def shelf(self, inputs: Mapping[str, Any]) -> Shelf:
        """Give the examples that fit these inputs, ready to be chosen from; the same object for all of one kind."""
        filled = frozenset(name for name, value in inputs.items() if value is not None)
        known = self._shelves.get(filled)
        if known is None:
            fitting = matching(self.examples, inputs, self.parameters)
            known = self._shelves.setdefault(filled, Shelf(fitting, self.inputs, self._counted(fitting)))
        return known

    def _counted(self, examples: Sequence[Example]) -> Settings:
        """Settle how many shots there are, where the settings do not say."""
        settings = self.settings
        if settings.k is not None:
            return settings
        count, select = len(examples), settings.select
        if self.output.labels is not None and count >= _MANY:  # in file order all could have one label
            count, select = max(_SHOTS, len(self.output.labels)), "balanced" if select == "first" else select
        lengths = [_length(e) for e in examples] if select in BY_QUESTION else []
        chosen = map(_length, choose(examples, count, select, seed=settings.seed)) if not lengths else ()
        left, fitting = _SHOT_TOKENS, 0
        for length in sorted(lengths, reverse=True)[:count] or chosen:
            left -= length
            fitting += left >= 0
        return replace(settings, k=fitting, select=select)

    def plan(self, inputs: Mapping[str, Any]) -> str:
        """Tell what the examples are used for, such as "64 rows: 16 shots, 48 calibrated on"."""
        shelf = self.shelf(inputs)
        rows, shots = len(shelf.examples), min(shelf.settings.k or 0, len(shelf.examples))
        told, spare = f"{rows} rows: {shots} shots", rows if shelf.by_question else rows - shots
        if self.output.labels is None or not self.settings.scoring or self.settings.calibrate is False:
            return told
        if spare >= (FOR_SETS if self.output.several else ENOUGH) or (shelf.by_question and not self.output.several):
            return f"{told}, {min(spare, MOST)} calibrated on"
        return told + ", each also calibrated on, without itself" * (shots >= FEWEST and not self.output.several)

    async def _vector(
        self, shelf: Shelf, inputs: Mapping[str, Any], connection: Connection, deadline: float
    ) -> Sequence[float] | None:
        """Give the question's vector, where one is wanted, after those of the examples."""
        if not shelf.wants_vectors or not shelf.examples:
            return None
        async with _lock_of(shelf):  # the first question has the examples indexed, the others wait for it
            if shelf.wants_index:
                shelf.index(await embed(shelf.texts, connection, self.settings))
        [vector] = await embed([shelf.query(inputs)], connection, self.settings, deadline=deadline, keep=False)
        return vector


def _length(example: Example) -> int:
    return estimated_tokens(" ".join(map(str, (*example.inputs.values(), example.output)))) + 8


_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Shelf, asyncio.Lock]] = WeakKeyDictionary()


def _lock_of(shelf: Shelf) -> asyncio.Lock:
    of_loop = _locks.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
    return of_loop.setdefault(shelf, asyncio.Lock())
