"""Several draws of shots for one question: asked side by side, their label probabilities averaged.

What a few-shot prompt answers depends on which shots it has and in what order; the mean over some draws depends on it
less. Each draw also names the labels in another order (alphabetical, backwards, and so on), so that the order in
which they were given decides nothing. Averaged are the log-probabilities (a product of experts; so Min et al. 2022,
arXiv 2108.04106, join prompts of one shot each; Khalifa et al. 2023, arXiv 2308.08780, compare it with other means).
Calibrations are affine in these, so that one fitted on the mean takes the biases of all draws off at once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from itertools import chain, islice
from typing import TypeVar

from fewshot.calibration.calibration import normalise
from fewshot.types import Completion, Request

__all__ = ["mean_logprobs", "together"]

T = TypeVar("T")


def together(
    talks: Sequence[Generator[tuple[Request, ...], tuple[Completion, ...], T]],
) -> Generator[tuple[Request, ...], tuple[Completion, ...], list[T]]:
    """Hold several conversations as one: what they ask goes out side by side. Give what each came to."""
    came: dict[int, T] = {}
    asked: dict[int, tuple[Request, ...]] = {}

    def go_on(place: int, replies: tuple[Completion, ...] | None) -> None:
        try:
            asked[place] = next(talks[place]) if replies is None else talks[place].send(replies)
        except StopIteration as done:
            came[place] = done.value
            asked.pop(place, None)

    for place in range(len(talks)):
        go_on(place, None)
    while asked:
        replies = iter((yield tuple(chain.from_iterable(asked.values()))))
        for place, requests in list(asked.items()):
            go_on(place, tuple(islice(replies, len(requests))))
    return [came[place] for place in range(len(talks))]


def mean_logprobs(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average the natural-log probabilities of the labels over draws, and renormalise."""
    if len(draws) == 1:
        return dict(draws[0])
    return normalise({label: sum(draw[label] for draw in draws) / len(draws) for label in draws[0]})
