"""Whether there is an answer at all, read where the answer begins.

A text that may be missing has a fixed phrase for it, such as "I don't know". How likely the model was to begin with
that phrase tells what it cannot answer better than how sure it is of the words that it then invents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fewshot.inference.label_tree import LabelTree
from fewshot.outputs.kinds import Output
from fewshot.outputs.output import ANSWER, NONE
from fewshot.types import TokenLogprob

__all__ = ["ANSWER", "LISTED", "NONE", "chances", "class_of", "refusal_of", "verdict"]

LISTED = 100
"""How many log-probabilities are read at most: they are listed for every token of the answer."""
_LEAST = 1e-4


def refusal_of(output: Output[Any]) -> str | None:
    """Give the phrase that means "no answer"; None where there must be one."""
    phrase: str | None = getattr(output, "optional", None)
    return phrase


def class_of(output: Output[Any], value: Any) -> str:
    """Tell to which of its output's classes a value belongs."""
    if output.labels is not None:
        return str(value)
    return NONE if value is None else ANSWER


def chances(refusal: str, tokens: Sequence[TokenLogprob], value: object) -> dict[str, float] | None:
    """Give the natural-log probability that there is an answer and that there is none; None without log-probabilities.

    The likeliest tokens at the answer's place that begin the phrase count as "none". The one that was written counts
    for what became of it: "I" may begin a name, and "Sorry" the phrase.

    Arguments:
        refusal: the phrase that means "no answer".
        tokens: those of the answer.
        value: what the answer came to; None for none.
    """
    if not tokens or not tokens[0].top:
        return None
    none = _begins(refusal, tokens[0])
    written = TokenLogprob(tokens[0].token, tokens[0].logprob)
    mass = math.exp(written.logprob)
    counted = _begins(refusal, written) > 0.5 * mass
    none += mass * ((value is None) - counted)
    none = min(max(none, _LEAST), 1 - _LEAST)
    return {ANSWER: math.log(1 - none), NONE: math.log(none)}


def verdict(value: Any, probabilities: Mapping[str, float], sure: float | None) -> tuple[Any, float]:
    """Decide between an answer and none; give the value and the probability that it is right.

    What the model itself left open stays so.

    Arguments:
        probabilities: of both, calibrated or not.
        sure: the mean token probability of the answer.
    """
    if value is None or probabilities[NONE] > probabilities[ANSWER]:
        return None, probabilities[NONE]
    return value, probabilities[ANSWER] * (1.0 if sure is None else sure)


def _begins(phrase: str, position: TokenLogprob) -> float:
    tree = LabelTree({NONE: phrase})
    tree.add(position)
    return tree.coverage
