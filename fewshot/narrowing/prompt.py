"""A prompt that holds only the candidates among many labels, with those of their shots that are nearest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fewshot.calibration.calibration import Calibration
from fewshot.errors import InputError
from fewshot.narrowing.head import FEWEST, MANY, Head, Reading, fit_head
from fewshot.narrowing.weighing import HEAD_ALONE, pooled
from fewshot.outputs.closed import Labels
from fewshot.outputs.output import Output
from fewshot.prompts.prompt import Prompt
from fewshot.settings import Settings
from fewshot.types import Example

__all__ = ["NarrowedPrompt", "head_of", "narrows", "nearest", "restricted", "unfitted"]

_SHOTS_A_LABEL = 2
_CODES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ123456789"
_ALIKE = 2
"""Characters that two labels share from which on they may begin with the same token."""


@dataclass(frozen=True)
class NarrowedPrompt(Prompt):
    """A prompt for one question: its output holds the candidates alone."""

    reading: Reading = field(kw_only=True)


def narrows(output: Output[Any], examples: Sequence[Example], settings: Settings) -> bool:
    """Tell whether a model is asked only about candidates: labels are many, and each has examples enough.

    Raises:
        InputError: `candidates` or `out_of_scope` wants it, and there are no labels, or too few examples of one.
    """
    wants = {name: getattr(settings, name) for name in ("candidates", "out_of_scope") if getattr(settings, name)}
    wanted = ", ".join(f"{name}={value}" for name, value in wants.items())
    if settings.out_of_scope is not None and settings.candidates is False:
        raise InputError(f"{wanted} needs candidates, which are switched off: leave one out", field="out_of_scope")
    if not isinstance(output, Labels):
        if wants:
            raise InputError(f"{wanted} needs labels as output, one of which is given", field=next(iter(wants)))
        return False
    if settings.candidates is False or (not wants and len(output.labels) <= MANY):
        return False
    counts = Counter(example.output for example in examples)
    lacking = next((label for label in output.labels if counts[label] < FEWEST), None)
    if lacking is not None and wants:
        message = f"{wanted} needs {FEWEST} examples of each label, and {lacking!r} has {counts[lacking]}"
        raise InputError(f"{message}: give more, or leave it out", field=next(iter(wants)))
    return lacking is None


def unfitted(prompt: Prompt, settings: Settings) -> Calibration | None:
    """Give how head and model count where no rows told: alike, or the head alone; None for an ordinary prompt."""
    if not isinstance(prompt, NarrowedPrompt):
        return None
    labels = tuple(prompt.reading.logprobs)
    return pooled(labels) if settings.candidate_rows else pooled(labels, 1.0, 0.0, HEAD_ALONE)


def head_of(output: Output[Any], examples: Sequence[Example], texts: Sequence[str]) -> Head:
    """Fit the head of a task's examples, or give the one that was fitted before."""
    assert isinstance(output, Labels)  # noqa: S101 - `narrows` looked
    names = tuple(
        f"{label} {output.word(label)} {output.descriptions.get(label, '')}".replace("_", " ")
        if output.word(label) != label or label in output.descriptions
        else label.replace("_", " ")
        for label in output.labels
    )
    return fit_head(tuple(texts), tuple(str(e.output) for e in examples), output.labels, names)


def restricted(output: Output[Any], candidates: Sequence[str]) -> Labels:
    """Give the output with some of the labels only, in its own order.

    Where two begin alike, each gets a letter or a digit before it, so that one token of the answer tells them apart.
    """
    assert isinstance(output, Labels)  # noqa: S101 - `narrows` looked
    labels = tuple(label for label in output.labels if label in set(candidates))
    words = {label: output.word(label) for label in labels}
    if len({word[:_ALIKE].casefold() for word in words.values()}) < len(words):
        words |= {label: f"{code} {words[label]}" for label, code in zip(labels, _CODES, strict=False)}
    descriptions, values = (
        {label: own[label] for label in labels if label in own} for own in (output.descriptions, output.values)
    )
    return Labels(labels, words, descriptions, values)


def nearest(reading: Reading, head: Head, examples: Sequence[Example], k: int | None) -> list[Example]:
    """Give the examples of the candidates that are most like the text, at most two a label, the nearest last."""
    left = dict.fromkeys(reading.candidates, _SHOTS_A_LABEL)
    chosen: list[Example] = []
    most = len(reading.candidates) if k is None else k
    for place in sorted(range(len(reading.alike)), key=reading.alike.__getitem__, reverse=True):
        example = examples[head.rows[place]]
        if len(chosen) >= most or reading.alike[place] < 0:
            break
        if left.get(str(example.output), 0):
            left[str(example.output)] -= 1
            chosen.append(example)
    return chosen[::-1]
