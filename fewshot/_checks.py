"""What a caller gives, checked where it comes in: inputs, whole numbers, names."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any, SupportsIndex

from fewshot.errors import InputError

__all__ = ["REQUIRED", "check_count", "check_input", "counts", "did_you_mean"]

REQUIRED = ...
"""Stands for "no default" among the inputs of a task."""
_MAX_INPUT = 2_000_000


def check_count(name: str, value: Any, *, least: int) -> None:
    """Raise `InputError` for anything but a whole number of at least so many; numpy's are as good as Python's."""
    if not isinstance(value, SupportsIndex):
        raise InputError(f"{name}={value!r}: must be a whole number", field=name)
    if operator.index(value) < least:
        raise InputError(f"{name}={value!r}: must be {least} or more", field=name)


def counts(name: str, value: Any, *, least: int) -> list[int]:
    """Give one whole number or several as a list; raises `InputError` where one is no such number, or none is given."""
    several = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    if not several:
        raise InputError(f"{name}={value!r}: give one number or several", field=name)
    for one in several:
        check_count(name, one, least=least)
    return several


def check_input(task: str, name: str, value: Any, *, optional: bool) -> None:
    """Raise InputError for a value that cannot be the input `name`."""
    if value is REQUIRED:
        raise InputError(f"{task} needs the input {name!r}", field=name)
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        what = "None" if value is None else f"a {type(value).__name__}"
        raise InputError(f"{name} must be text, not {what}", field=name)
    if isinstance(value, float) and math.isnan(value):  # what data frames have in empty cells
        raise InputError(f"{name} must be text, not NaN", field=name)
    if isinstance(value, str):
        if not value.strip():
            raise InputError(f"{name} is empty; give it some text", field=name)
        if len(value) > _MAX_INPUT:
            raise InputError(f"{name} has {len(value):,} characters; the limit is {_MAX_INPUT:,}", field=name)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Give ` (did you mean 'x'?)` for a near miss, else nothing."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
