"""Sets of labels: the probability of each label, read where a label may stand in the one list that is written.

The shots show lists in the order of the labels, and so the first place tells how likely each label is to be the first
one, the place after a sign how likely it is to be the next one, should the list go on. A label is left out of the list
only where it is at none of these places. Everything comes of one request; a decisions endpoint is asked one question a
label in one request instead.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from fewshot.calibration.calibration import both_ways
from fewshot.errors import OutputError
from fewshot.inference.field_scoring import decisions_of_fields
from fewshot.inference.label_scoring import Weighed, count_all, rest_of, send, settle, tree_of
from fewshot.inference.repair import refuse_unfinished
from fewshot.types import Completion, Decision, Request

if TYPE_CHECKING:
    from fewshot.inference.question import Answer, Question
    from fewshot.outputs.closed import LabelSet

__all__ = ["decided", "decisions_of", "judged_set", "weigh_set"]

_NONE = ""
"""Stands for the word that means that no label fits: no label is blank."""
_LEAST = 0.4
"""Share of the probability that labels must hold at a place after the first for it to be read."""


def weigh_set(question: Question) -> Generator[tuple[Request, ...], tuple[Completion, ...], Weighed]:
    """Have the list of labels written, and read each label's probability at every place where one may stand."""
    output: LabelSet = question.output  # type: ignore[assignment]  # `several` says that it is one
    request = question.request(top_logprobs=question.listed)
    completion = yield from send(question, request)
    if completion.finish_reason != "length":  # small models write the same label again and again
        refuse_unfinished(question, completion)
    said = (request, completion)
    if not completion.tokens or not completion.tokens[0].top:
        return Weighed(None, said=said)
    tree = tree_of(question, {**output.words_of_labels, _NONE: output.no_label})
    place = count_all(completion, tree, question.prompt.cue)
    unsettled = settle(completion, place, tree)
    written = None
    if completion.finish_reason == "stop":
        with contextlib.suppress(OutputError):
            written = output.parse(completion.text, cue=question.prompt.cue)
    first = {label: math.exp(p) for label, p in tree.logprobs().items()}
    left_out = {label: 1 - first[label] for label in output.words_of_labels}
    places = _later_places(completion, place, output.sign.encode())
    for goes_on, number in islice(places, _before_repeated(completion.text.split(output.sign)) - 1):
        next_one = tree_of(question, output.words_of_labels)
        next_one.add(
            completion.tokens[number], rest=rest_of(completion, number), cut=completion.finish_reason != "stop"
        )
        unsettled |= settle(completion, number, next_one)
        if next_one.coverage < _LEAST:
            return Weighed(tree, unsettled, said)
        left_out = {label: left * (1 - min(1.0, goes_on * next_one.mass[label])) for label, left in left_out.items()}
    return Weighed(tree, unsettled, said, {label: 1 - left for label, left in left_out.items()}, written)


def _before_repeated(parts: Sequence[str]) -> int:
    """Count the parts of a list before the first that stands there already."""
    seen = [part.strip().casefold() for part in parts]
    return next((place for place, part in enumerate(seen) if part in seen[:place]), len(seen))


def _later_places(completion: Completion, first: int, sign: bytes) -> Iterator[tuple[float, int]]:
    """Give the tokens with which a further label begins, and how likely the list was to go on there."""
    goes_on: float | None = None
    for number, token in enumerate(completion.tokens[first + 1 :], start=first + 1):
        text = token.token
        if goes_on is None and sign in text:
            goes_on, text = math.exp(token.logprob), text.partition(sign)[2]
        if b"\n" in text and not text.strip():
            return
        if goes_on is not None and text.strip():
            yield goes_on, number
            goes_on = None


def judged_set(
    question: Question,
    chances: Mapping[str, float],
    written: tuple[str, ...] | None,
    *,
    method: str,
    top: Sequence[tuple[bytes, float]] = (),
) -> Answer:
    """Calibrate each label, and give those that are probable enough; without a fit those that were written, if any.

    The confidence is the probability that the set is right as a whole, should its labels be independent.
    """
    from fewshot.inference.question import Answer

    calibration = question.calibration
    name, given = "none", written or ()
    if calibration is not None:
        chances = calibration.apply({**question.features(top), **both_ways(chances)})
        name, given = calibration.name, calibration.given(chances)
    confidence = math.prod(p if label in given else 1 - p for label, p in chances.items())
    return Answer(value=given, method=method, probabilities=dict(chances), confidence=confidence, calibration=name)


def decided(question: Question) -> Generator[tuple[Request, ...], tuple[Completion, ...], dict[str, Any]]:
    """Ask for the probability of each label, or of each value of each field; empty where none came."""
    output: Any = question.output
    words = {word: label for label, word in output.words_of_labels.items()}
    prompt = question.prompt
    asked: Any = {"model": question.model, "prefix": prompt.prefix, "messages": (prompt.turn(question.inputs),)}
    if output.several or output.fields:
        questions = decisions_of(output) if output.several else decisions_of_fields(output)
        request = Request(**asked, questions=questions)
    else:
        request = Request(**asked, choices=tuple((w, output.descriptions.get(la, "")) for w, la in words.items()))
    completion = yield from send(question, request)
    refuse_unfinished(question, completion)
    return {words.get(word, word): p for word, p in (completion.probabilities or {}).items()}


def decisions_of(output: LabelSet) -> tuple[Decision, ...]:
    """Ask for each label whether it fits, in one request."""
    about = output.descriptions
    return tuple(
        Decision(word, f"Does {word!r} fit the last message?" + (f" {word}: {about[la]}" if about.get(la) else ""))
        for la, word in output.words_of_labels.items()
    )
