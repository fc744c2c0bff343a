"""The same task asked in other ways: with other shots, in another order, with harmless changes to the input."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fewshot.data.labelled import Labelled, as_examples
from fewshot.inference.predictor import Predictor
from fewshot.outputs.kinds import Labels
from fewshot.prompts.selection import BY_QUESTION, choose

__all__ = ["HARMLESS", "drawn", "labels_permuted", "reworded", "shots_permuted"]

_SHOTS = 8
"""How many shots are drawn from a pool when nobody says how many."""


def drawn(
    task: Predictor[Any],
    pool: Sequence[Labelled],
    *,
    k: int | None,
    draw: int,
    select: str | None = None,
    seed: int = 0,
) -> tuple[Predictor[Any], list[Labelled]]:
    """Give the task with a draw of shots, and the rows of the pool that are none of them.

    From a pool the shots are drawn at random, balanced over the labels of a closed set; `select` may say otherwise.
    Without one, the first draw is what the task itself would choose, and the others shuffle its examples first.
    """
    k = task.settings.k if k is None else k
    if not pool and draw == 0:
        return _set(task, k=k, select=select or task.settings.select), []
    shuffler = random.Random(f"{seed} {draw}")  # noqa: S311 - shots are not secret
    if not pool:
        own = shuffler.sample(task.examples, len(task.examples))
        return _set(replace(task, examples=tuple(own)), k=k, select=_fair(task)), []
    k = _SHOTS if k is None else k
    rows = list(pool) if select == "first" else shuffler.sample(list(pool), len(pool))
    examples = as_examples(rows)
    if select in BY_QUESTION:
        return _set(replace(task, examples=examples), k=k, select=select), rows
    ways = {None: _fair(task), "random": "first"}
    shots = choose(examples, k, ways.get(select) or select or "first")
    taken = {shot.line for shot in shots}
    rest = [row for line, row in enumerate(rows, start=1) if line not in taken]
    return _set(replace(task, examples=shots), k=len(shots), select="first"), rest


def shots_permuted(task: Predictor[Any], inputs: Mapping[str, Any], *, seed: int) -> Predictor[Any] | None:
    """Give the task with the very same shots in another order; None where there is none, or the question chooses it."""
    if task.settings.select in BY_QUESTION or len(task.examples) < 2:
        return None
    shots = _shuffled(task._prompts.offline(inputs).examples, seed)
    rest = [example for example in task.examples if not any(example is shot for shot in shots)]
    return _set(replace(task, examples=(*shots, *rest)), k=len(shots), select="first")


def labels_permuted(task: Predictor[Any], *, seed: int) -> Predictor[Any] | None:
    """Give the task with its labels named in another order; None where there is no other."""
    output = task.output
    if not isinstance(output, Labels) or len(output.labels) < 2:
        return None
    labels = output.labels[::-1] if seed == 0 else tuple(_shuffled(output.labels, seed))
    return None if labels == output.labels else replace(task, output=replace(output, labels=labels))


def reworded(row: Labelled, change: Callable[[str], str], names: Sequence[str]) -> Labelled:
    """Give the row with a change to each of its text inputs."""
    changed = {n: change(v) for n, v in row.inputs.items() if n in names and isinstance(v, str)}
    return replace(row, inputs={**row.inputs, **changed})


def _without_case(text: str) -> str:
    return text.lower() if text.lower() != text else text[:1].upper() + text[1:]


def _spaced(text: str) -> str:
    return "  " + text.replace(" ", "  ", 1) + "\n"


def _punctuated(text: str) -> str:
    bare = text.rstrip()
    return bare[:-1].rstrip() if bare.endswith(".") and bare[:-1].strip() else f"{bare}."


HARMLESS: Mapping[str, Callable[[str], str]] = {"case": _without_case, "spaces": _spaced, "punctuation": _punctuated}
"""Changes to an input that should not change the answer: small letters, more white space, a full stop more or less."""


def _fair(task: Predictor[Any]) -> str:
    return "balanced" if task.output.labels is not None else "first"


def _set(task: Predictor[Any], **settings: Any) -> Predictor[Any]:
    return replace(task, settings=replace(task.settings, **settings))


def _shuffled(things: Sequence[Any], seed: int) -> tuple[Any, ...]:
    """Shuffle so that the order does change, where it can."""
    shuffler = random.Random(seed)  # noqa: S311
    order = shuffler.sample(range(len(things)), len(things))
    if order == sorted(order):
        order = order[1:] + order[:1]
    return tuple(things[place] for place in order)
