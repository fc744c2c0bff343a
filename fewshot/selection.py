"""Which examples become the shots of a prompt, and in what order."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, zip_longest

from fewshot.errors import InputError
from fewshot.types import Example

__all__ = ["SELECTORS", "choose"]

SELECTORS = ("first", "random", "balanced")


def choose(examples: Sequence[Example], k: int | None, select: str, *, seed: int = 0) -> tuple[Example, ...]:
    """Choose k shots.

    Arguments:
        examples: all that fit the question, in file order.
        k: how many; None for all.
        select: `"first"` in file order, `"random"` (seeded), or `"balanced"` (labels in turn, file order within each).

    Raises:
        InputError: no such selector.
    """
    if select == "first":
        chosen = list(examples)
    elif select == "random":
        chosen = random.Random(seed).sample(list(examples), len(examples))  # noqa: S311 - shots are no secret
    elif select == "balanced":
        chosen = _in_turn(examples)
    else:
        raise InputError(f"select={select!r} is not one of {', '.join(SELECTORS)}", field="select")
    return tuple(chosen if k is None else chosen[:k])


def _in_turn(examples: Sequence[Example]) -> list[Example]:
    """Deal one example of each output in turn, so that any beginning of the list is balanced."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[repr(example.output)].append(example)
    return [example for example in chain.from_iterable(zip_longest(*groups.values())) if example is not None]
