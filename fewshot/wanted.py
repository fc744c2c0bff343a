"""What can be given as the output of a task in code, for type checkers: from it they infer what calls give.

Only imported while types are checked. `TypeForm` (PEP 747) is what lets a `Literal` say its own values.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypeVar

from typing_extensions import TypeForm

from fewshot.output import Output

__all__ = ["AsGiven", "AsLabels", "AsNumber", "AsSchema", "AsType"]

T = TypeVar("T")

AsLabels: TypeAlias = type[enum.Enum] | type[bool] | Literal["text"]
"""Makes values that are any `str`: the enum's values, "true" and "false", or a text."""
AsNumber: TypeAlias = type[int] | type[float] | type[Decimal] | Literal["number"]
AsType: TypeAlias = TypeForm[T]
"""A `Literal`, whose values are the labels, or a pydantic model."""
AsGiven: TypeAlias = Output[T] | list[T] | tuple[T, ...]
"""Labels as a list or tuple, or an output that is made already."""
AsSchema: TypeAlias = Mapping[str, Any]
