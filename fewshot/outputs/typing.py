"""What can be given as the output of a task in code, for type checkers: from it they infer what calls give.

Only imported while types are checked. `TypeForm` (PEP 747) is what lets a `Literal` say its own values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from typing_extensions import TypeForm

from fewshot.outputs.kinds import Output

__all__ = ["AsGiven", "AsLabels", "AsNumber", "AsSchema", "AsText", "AsType"]

T = TypeVar("T")

AsText: TypeAlias = Literal["text"]
AsNumber: TypeAlias = type[float] | Literal["number"]
AsType: TypeAlias = TypeForm[T]
"""A `Literal` or an enum, whose values are the labels, or a type that pydantic validates."""
AsGiven: TypeAlias = Output[T] | list[T] | tuple[T, ...]
"""Labels as a list or tuple, or an output that is made already."""
AsLabels: TypeAlias = type[T] | list[T] | tuple[T, ...] | Mapping[T, str]
"""Labels as an enum, `bool`, a list, tuple or a mapping to descriptions; from a `Literal` mypy infers nothing here."""
AsSchema: TypeAlias = Mapping[str, Any]
