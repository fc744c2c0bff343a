"""What a client is: whatever answers a request with a completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fewshot.types import Completion, Request

__all__ = ["Client", "Gate"]


class Client(Protocol):
    """Whatever answers requests."""

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer a request by a `time.monotonic()` deadline.

        Raises:
            ServiceError: no answer came, after every retry that made sense.
        """
        ...


class Gate(Protocol):
    """Stands before the wire: lets each HTTP request pass when it may, and hears how each one went."""

    async def enter(self, request: Request | None) -> None:
        """Wait until the next HTTP request may go; None for one that is no completion."""
        ...

    def leave(self, request: Request | None, status: int | None, headers: Mapping[str, str]) -> None:
        """Hear the status and headers of the reply; None when no reply came."""
        ...
