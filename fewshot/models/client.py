"""What a client is, whatever stands before one, and the gate that the requests of a bulk run pass.

The gate goes with the row that is asked, not with the client: whoever sends a request for it asks the gate, however
many wrappers stand before, and nobody has to know of what class they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from fewshot.errors import ServiceError
from fewshot.types import Completion, Request

__all__ = ["Client", "ClientWrapper", "Gate", "gate_at", "pass_through"]


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
        """Wait until the next HTTP request may go; None for one that is not a completion."""
        ...

    def leave(self, request: Request | None, status: int | None, headers: Mapping[str, str]) -> None:
        """Hear the status and headers of the reply; None when no reply came."""
        ...


_gate: ContextVar[tuple[Gate, str, asyncio.AbstractEventLoop]] = ContextVar("gate")


def pass_through(gate: Gate, host: str) -> None:
    """Let what the running task asks of a host from now on pass a gate."""
    _gate.set((gate, host, asyncio.get_running_loop()))


def gate_at(host: str | None = None) -> Gate | None:
    """Give the gate before a host, or before any; a gate belongs to one event loop."""
    gate, gated, event_loop = _gate.get((None, "", None))
    return gate if host in (None, gated) and event_loop is asyncio.get_running_loop() else None


class ClientWrapper:
    """Stands before another client; whatever else that client can do, this can too.

    One of your own overrides `complete` and asks the other client with `ask`.
    """

    asks_gate = True
    """Whether what is sent passes the gate of a bulk run request by request, with the headers of the replies."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        if name == "client":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.client, name)

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer a request by asking the other client; errors are its own."""
        return await self.ask(request, deadline)

    async def ask(self, request: Request, deadline: float | None) -> Completion:
        """Ask the other client; one that knows no gate passes it here, and a completion counts as one request."""
        gate = None if getattr(self.client, "asks_gate", False) else gate_at()
        if gate is None:
            return await self.client.complete(request, deadline=deadline)
        await gate.enter(request)
        status: int | None = None
        headers: dict[str, str] = {}
        try:
            completion = await self.client.complete(request, deadline=deadline)
            status = 200
            return completion
        except ServiceError as error:
            status = error.status
            headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
            raise
        finally:
            gate.leave(request, status, headers)

    async def ready(self) -> None:
        """Do what the first request would otherwise wait for."""
        if (ready := getattr(self.client, "ready", None)) is not None:
            await ready()

    def before(self, wrap: Callable[[Client], Client]) -> Client:
        """Put another wrapper where requests are sent off for good: beneath a cache, and otherwise before all."""
        return wrap(self)
