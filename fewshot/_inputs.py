"""What the inputs of a task may be."""

from __future__ import annotations

import math
from typing import Any

from fewshot.errors import InputError

__all__ = ["REQUIRED", "check_input"]

REQUIRED = ...
"""Stands for "no default" among the inputs of a task."""
_MAX_INPUT = 2_000_000


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
