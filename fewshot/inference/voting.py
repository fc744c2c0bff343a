"""Asking several times: which answers say the same, what most of them say, and what the surest of them says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from fewshot._wording import squeeze
from fewshot.errors import OutputError
from fewshot.inference.label_scoring import received
from fewshot.inference.question import Answer, Question, Talk, left_out
from fewshot.inference.repair import refuse_unfinished

__all__ = ["majority", "surest", "vote"]

_TEMPERATURE = 0.7
_ROUND = " .,;:!?…。！？\"'“”‘’«»`*"


def vote(question: Question) -> Talk:
    """Sample several answers and take the majority of their values (self-consistency, arXiv 2203.11171, section 2).

    Of labels with as many votes each, the one that is named first wins. Answers that are not valid abstain from the
    vote; the confidence is the winner's share of all that were asked.
    """
    votes, settings = question.settings.votes, question.settings
    temperature = settings.temperature or _TEMPERATURE
    # In the text form the shots show the wording, and a stop at the line's end would cut most JSON.
    wants_schema = question.form == "chat" or question.output.kind == "schema"
    request = question.request(temperature=temperature, schema=question.output.schema() if wants_schema else None)
    ballots = tuple(replace(request, seed=settings.seed + i) for i in range(votes))
    came = yield ballots
    replies = [received(question, request, completion) for completion in came]
    value: Any
    values: list[Any] = []
    missed: list[tuple[str, ...]] = []
    last: OutputError | None = None
    for completion in replies:
        try:
            refuse_unfinished(question, completion)
            value, missing = question.read(completion.text, sent_schema=request.schema is not None)
            values.append(value)
            missed.append(missing)
        except OutputError as error:
            last = error
    if not values:
        assert last is not None  # noqa: S101 - every ballot failed
        message = f"none of {votes} sampled answers was valid: {last}"
        raise OutputError(message, reason=last.reason, raw=last.raw, completions=tuple(question.completions)) from last
    labels = question.output.labels
    if question.output.several and labels is not None:
        shares = {label: sum(label in given for given in values) / len(values) for label in labels}
        value = tuple(label for label, share in shares.items() if share > 0.5)
        count = values.count(value)
    elif labels is None:
        value, count = majority(values)
        shares = None
    else:
        counts = Counter(values)
        value = max(labels, key=counts.__getitem__)
        count, shares = counts[value], {label: counts[label] / len(values) for label in labels}
    warnings = left_out(missed[values.index(value)])
    return Answer(value=value, method="votes", probabilities=shares, confidence=count / votes, warnings=warnings)


def majority(values: Sequence[Any]) -> tuple[Any, int]:
    """Give the value that most answers have, as most of these word it, and how many they are; of equals the first.

    Numbers say the same when they are equal, and texts when they differ by case, white space and the punctuation round
    them alone.
    """
    counts = Counter(map(_meaning, values))
    meant, count = counts.most_common(1)[0]
    wordings = Counter(repr(value) for value in values if _meaning(value) == meant)
    wording = wordings.most_common(1)[0][0]
    return next(value for value in values if repr(value) == wording), count


def surest(said: Sequence[tuple[Any, float | None]]) -> tuple[int, float | None, int, bool]:
    """Choose among what several parts say.

    Returns:
        The place of the surest, how sure that is, how many values there are, and whether another is just as sure.

    Where another value is about as sure, that halves it; where none has a confidence, it is the share that says so.
    """
    strength: dict[Any, float] = {}
    unknown = all(sure is None for _, sure in said)
    for value, sure in said:
        key = _meaning(value)
        strength[key] = strength.get(key, 0.0) + 1 if unknown else max(strength.get(key, 0.0), sure or 0.0)
    best = max(strength, key=strength.__getitem__)
    total = math.fsum(strength.values())
    places = [n for n, (value, _) in enumerate(said) if _meaning(value) == best]
    place = max(places, key=lambda n: said[n][1] or 0.0)
    if len(strength) == 1:
        return place, said[place][1], 1, False
    sure = strength[best] / total * (1.0 if unknown else strength[best]) if total else 0.0
    return place, sure, len(strength), sum(math.isclose(one, strength[best]) for one in strength.values()) > 1


def _meaning(value: Any) -> Hashable:
    """Give what two values have in common that say the same."""
    if isinstance(value, str):
        return str, squeeze(value).strip(_ROUND).casefold() or value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Decimal, Decimal(str(value))
    return repr(value)
