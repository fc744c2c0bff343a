"""What can be given to a task in code, for type checkers: from it they infer what calls give.

Only imported while types are checked. `TypeForm` (PEP 747) is what lets a `Literal` say its own values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from typing_extensions import TypeForm

from fewshot.outputs.kinds import Output

__all__ = ["AsGiven", "AsLabels", "AsNumber", "AsSchema", "AsText", "AsType", "F", "Frame"]

T = TypeVar("T")

AsText: TypeAlias = Literal["text"]
AsNumber: TypeAlias = type[float] | Literal["number"]
AsType: TypeAlias = TypeForm[T]
"""A `Literal` or an enum, whose values are the labels, or a type that pydantic validates."""
AsGiven: TypeAlias = Output[T] | list[T] | tuple[T, ...]
"""Labels as a list or tuple, or an output that is made already."""
AsLabels: TypeAlias = type[T] | list[T] | tuple[T, ...] | Mapping[T, str] | Mapping[str, list[T]]
"""Labels as an enum, `bool`, a list, tuple or a mapping to descriptions; from a `Literal` mypy infers nothing here."""
AsSchema: TypeAlias = Mapping[str, Any]


class Frame(Protocol):
    """A series or data frame of pandas or Polars."""

    def to_numpy(self) -> Any:
        """Give the values as an array."""
        ...


F = TypeVar("F", bound=Frame)
"""What goes through `map` whole, and comes back as the same kind of thing."""
