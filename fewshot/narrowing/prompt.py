"""A prompt that holds only the candidates among many labels, with those of their shots that are nearest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fewshot.calibration.calibration import Calibration
from fewshot.calibration.ridge import can_fit
from fewshot.errors import InputError
from fewshot.narrowing.fitting import fit_head
from fewshot.narrowing.head import Head, Reading
from fewshot.narrowing.likeness import kind_of_head, plain
from fewshot.narrowing.weighing import pooled
from fewshot.outputs.closed import Labels
from fewshot.outputs.output import Output
from fewshot.prompts.prompt import Prompt
from fewshot.prompts.selection import choose
from fewshot.prompts.template import Template
from fewshot.settings import Settings
from fewshot.types import Example

__all__ = ["NarrowedPrompt", "Narrowing", "narrows", "restricted", "unfitted"]

_MANY, _FEWEST = 20, 2
"""Labels above which a task is narrowed by itself, and examples that each must have."""
_MOST, _MOST_WITHOUT_NUMPY = 3_000, 1_500
"""Examples that a head is fitted on at most, as many of each label as there are."""
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
    many = isinstance(output, Labels) and len(output.labels) > _MANY
    if not wants and (not many or settings.candidates is False):
        return False
    counts = Counter(str(example.output) for example in examples)
    lacking = next((label for label in output.labels or () if counts[label] < _FEWEST), None)
    if settings.candidates is False:
        why = "needs candidates, which are switched off"
    elif not isinstance(output, Labels) or len(output.labels) < 2:
        why = "needs labels as output, two or more, one of which is given"
    elif lacking is not None:
        why = f"needs {_FEWEST} examples of each label, and {lacking!r} has {counts[lacking]}"
    else:
        return True
    if not wants:
        return False
    wanted = ", ".join(f"{name}={value}" for name, value in wants.items())
    raise InputError(f"{wanted} {why}: change that, or leave it out", field=next(iter(wants)))


def unfitted(prompt: Prompt, settings: Settings) -> Calibration | None:
    """Give how head and model count where no rows told: alike, or the head alone; None for an ordinary prompt."""
    if not isinstance(prompt, NarrowedPrompt):
        return None
    return pooled(tuple(prompt.reading.logprobs), 0.5 if settings.candidate_rows else 0.0)


class Narrowing:
    """The head of some examples, which makes a prompt for each text.

    Arguments:
        texts: what each example is compared by.
    """

    def __init__(self, output: Output[Any], examples: Sequence[Example], texts: Sequence[str]) -> None:
        assert isinstance(output, Labels)  # noqa: S101 - `narrows` looked
        text_of = {id(example): text for example, text in zip(examples, texts, strict=True)}
        once = {(plain(text_of[id(example)]), example.output): example for example in reversed(examples)}
        most = _MOST if can_fit() else _MOST_WITHOUT_NUMPY
        self._examples = choose([*once.values()][::-1], most, "balanced")
        names = ((la, output.word(la), output.descriptions.get(la, "")) for la in output.labels)
        self.head: Head = fit_head(
            tuple(text_of[id(example)] for example in self._examples),
            tuple(str(example.output) for example in self._examples),
            output.labels,
            tuple(" ".join(dict.fromkeys(said)).replace("_", " ") for said in names),
            kind_of_head(),
        )
        self._output = output

    def prompt(
        self, template: Template, parameters: Mapping[str, Any], text: str, settings: Settings, *, leave_out: bool
    ) -> NarrowedPrompt:
        """Give the prompt for a text: the candidates, and the examples of these most like it, the nearest last.

        Arguments:
            leave_out: a text that is an example is read, and its shots chosen, without it.
        """
        wanted = settings.candidates
        most = None if wanted is None or isinstance(wanted, bool) else wanted
        reading = self.head.read(text, most=most, leave_out=leave_out)
        left = dict.fromkeys(reading.candidates, _SHOTS_A_LABEL)
        k, shots = len(reading.candidates) if settings.k is None else settings.k, list[Example]()
        for place in sorted(range(len(self._examples)), key=reading.alike.__getitem__, reverse=True):
            label = str(self._examples[place].output)
            if len(shots) < k and left.get(label) and reading.alike[place] >= 0:
                left[label] -= 1
                shots.append(self._examples[place])
        output = restricted(self._output, reading.candidates)
        return NarrowedPrompt(template, output, parameters, tuple(reversed(shots)), reading=reading)


def restricted(output: Labels, candidates: Sequence[str]) -> Labels:
    """Give the output with some of the labels only, in its own order.

    Where two begin alike, each gets a letter or a digit before it, so that one token of the answer tells them apart;
    none of these is a label itself.
    """
    labels = tuple(label for label in output.labels if label in set(candidates))
    words = {label: output.word(label) for label in labels}
    taken = {name.casefold() for name in (*output.labels, *words.values())}
    free = [code for code in _CODES if code.casefold() not in taken]
    alike = len({word[:_ALIKE].casefold() for word in words.values()}) < len(words) <= len(free)
    codes = dict(zip(labels, free, strict=False)) if alike else {}
    words |= {label: f"{code} {words[label]}" for label, code in codes.items()}
    descriptions, values = (
        {label: own[label] for label in labels if label in own} for own in (output.descriptions, output.values)
    )
    return Labels(labels, words, descriptions, values, codes=codes)
