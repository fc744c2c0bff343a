"""Whole numbers that a caller gives, checked where they come in."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, SupportsIndex

from fewshot.errors import InputError

__all__ = ["check_count", "counts"]


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
