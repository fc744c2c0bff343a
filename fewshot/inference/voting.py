"""Which of several sampled answers say the same, and what most of them say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from decimal import Decimal
from typing import Any

from fewshot._wording import squeeze

__all__ = ["majority"]

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


def _meaning(value: Any) -> Hashable:
    """Give what two values have in common that say the same."""
    if isinstance(value, str):
        return str, squeeze(value).strip(_ROUND).casefold() or value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Decimal, Decimal(str(value))
    return repr(value)
