"""Which examples become the shots of a prompt, and in what order.

A fixed choice (`first`, `random`, `balanced`) makes the same prefix for every question, which a provider's prompt cache
keeps. A choice by the question (`bm25`, `embedding`) takes the examples most like it, and pays for a new prompt each
time.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice, zip_longest
from typing import Any, get_args

from fewshot.errors import InputError
from fewshot.prompts.similarity import Bm25, Vectors
from fewshot.settings import Select, Settings
from fewshot.types import Example

__all__ = ["BY_QUESTION", "SELECTORS", "Shelf", "choose"]

SELECTORS = get_args(Select)
BY_QUESTION = ("bm25", "embedding")
_CANDIDATES = 64
"""How many of the most similar examples are looked at, at least."""


def choose(examples: Sequence[Example], k: int | None, select: str, *, seed: int = 0) -> tuple[Example, ...]:
    """Choose k shots whatever the question is.

    Arguments:
        examples: all that fit the question, in file order.
        k: how many; None for all.
        select: `"first"` in file order, `"random"` (seeded), or `"balanced"` (labels in turn, file order within each).

    Raises:
        InputError: no such selector, or one that needs the question.
    """
    if select == "first":
        chosen = list(examples)
    elif select == "random":
        chosen = random.Random(seed).sample(list(examples), len(examples))  # noqa: S311 - shots are not secret
    elif select == "balanced":
        chosen = _in_turn(examples)
    else:
        raise InputError(f"select={select!r} is not one of {', '.join(SELECTORS)}", field="select")
    return tuple(chosen if k is None else chosen[:k])


class Shelf:
    """The examples of a task, to be chosen from as its settings say: made once, asked for every question.

    Arguments:
        examples: all that fit, in file order.
        names: the inputs by which examples and question are compared.
        settings: `k`, `select` and `seed` count.

    Raises:
        InputError: no such selector.
    """

    def __init__(self, examples: Sequence[Example], names: Iterable[str], settings: Settings) -> None:
        self.examples = tuple(examples)
        self.settings = settings
        self.by_question = settings.select in BY_QUESTION
        """Whether the choice depends on the question."""
        self.wants_vectors = settings.select == "embedding"
        """Whether texts are compared by a model's vectors."""
        self._names = tuple(names)
        self._vectors: Vectors | None = None
        self._fixed = () if self.by_question else choose(examples, None, settings.select, seed=settings.seed)

    @property
    def wants_index(self) -> bool:
        """Whether the vectors of the examples are still missing."""
        return self.wants_vectors and self._vectors is None and bool(self.examples)

    @cached_property
    def texts(self) -> list[str]:
        """What each example is compared by."""
        return [self.query(example.inputs) for example in self.examples]

    def query(self, inputs: Mapping[str, Any]) -> str:
        """Give the text by which inputs are compared."""
        return "\n".join(str(inputs[name]) for name in self._names if inputs.get(name) is not None)

    def index(self, vectors: Sequence[Sequence[float]]) -> None:
        """Take in the vectors of `texts`."""
        self._vectors = Vectors(vectors)

    def candidates(
        self, inputs: Mapping[str, Any], vector: Sequence[float] | None = None, *, leave_out: bool = False
    ) -> list[Example]:
        """Choose up to k shots for a question, the best first.

        Arguments:
            vector: the question's, where the settings want vectors.
            leave_out: never choose an example with these very inputs, so that an example can itself be asked about.

        Raises:
            InputError: a vector is wanted and missing.
        """
        query = self.query(inputs)
        found: Iterable[Example] = self._ranked(query, vector) if self.by_question else self._fixed
        if leave_out:
            found = (e for e in found if _bare(self.query(e.inputs)) != _bare(query))
        return list(islice(found, None if self.settings.k is None else min(self.settings.k, sys.maxsize)))

    def arranged(self, chosen: Sequence[Example]) -> tuple[Example, ...]:
        """Put chosen shots in order: those most like the question stand last, next to it."""
        return tuple(reversed(chosen) if self.by_question else chosen)

    def _ranked(self, query: str, vector: Sequence[float] | None) -> Iterator[Example]:
        """Give all examples, those most like the query first, the unlike in file order."""
        settings = self.settings
        wanted = len(self.examples) if settings.k is None else min(settings.k, len(self.examples))
        count = max(8 * wanted, _CANDIDATES)
        index: Bm25 | Vectors | None = self._vectors if self.wants_vectors else self._words
        if isinstance(index, Bm25):
            ranked = index.rank(query, count)
        elif index is not None and vector is not None:
            ranked = index.rank(vector, count)
        else:
            message = "select='embedding' asks the endpoint which shots to take, so nothing can be shown without a call"
            raise InputError(f"{message}; look at Result.examples after one, or use select='bm25'", field="select")
        best = [position for position, _ in ranked]
        taken = set(best)
        rest = (place for place in range(len(self.examples)) if place not in taken)
        return (self.examples[place] for place in chain(best, rest))

    @cached_property
    def _words(self) -> Bm25:
        return Bm25(self.texts)


def _in_turn(examples: Sequence[Example]) -> list[Example]:
    """Deal one example of each output in turn, so that any beginning of the list is balanced."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[repr(example.output)].append(example)
    return [example for example in chain.from_iterable(zip_longest(*groups.values())) if example is not None]


def _bare(text: str) -> list[str]:
    """Give the lines of a text without the white space round them, so that it is not asked beside its own copy."""
    return [line.strip() for line in text.strip().split("\n")]
