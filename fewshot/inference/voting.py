"""Which of several answers say the same, what most of them say, and what the surest of them says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from decimal import Decimal
from typing import Any

from fewshot._wording import squeeze

__all__ = ["majority", "surest"]

_ROUND = " .,;:!?…。！？\"'“”‘’«»`*"


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


def surest(said: Sequence[tuple[Any, float | None]]) -> tuple[int, float | None, int]:
    """Choose among what several parts say: the place of the surest, how sure that is, and how many values there are.

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
        return place, said[place][1], 1
    return place, strength[best] / total * (1.0 if unknown else strength[best]) if total else 0.0, len(strength)


def _meaning(value: Any) -> Hashable:
    """Give what two values have in common that say the same."""
    if isinstance(value, str):
        return str, squeeze(value).strip(_ROUND).casefold() or value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Decimal, Decimal(str(value))
    return repr(value)
