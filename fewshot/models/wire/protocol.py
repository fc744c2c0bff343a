"""What a wire is, what its errors say, and the official client that knows an endpoint's headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from fewshot.errors import ServiceError
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.response import Reply

if TYPE_CHECKING:
    pass

__all__ = ["MAX_REPLY", "StaleConnectionError", "Wire", "lost", "official", "too_long", "unreachable"]

MAX_REPLY = 32 * 2**20
"""Bytes that a reply may hold, unpacked."""


class StaleConnectionError(ServiceError):
    """A kept connection broke before a byte of the reply came: the request goes out again at once."""


class Wire(Protocol):
    """Sends one request and gives the reply to it, whatever its status."""

    async def post(self, path: str, body: bytes, *, timeout: float, fresh: bool = False) -> Reply:  # noqa: ASYNC109
        """Send a JSON body to a path below the base URL.

        Arguments:
            timeout: seconds; the caller cancels then, this is for what cannot be cancelled.
            fresh: do not use a connection that has served before.

        Raises:
            ServiceError: no reply came; transient unless trying again is no use.
        """
        ...

    async def ready(self) -> None:
        """Do what the first request would wait for and no deadline should pay for: imports, above all."""
        ...

    async def aclose(self) -> None:
        """Close what is open on the running loop."""
        ...


def official(endpoint: Endpoint, *, blocking: bool = False) -> Any:
    """Give the official client for an endpoint: it knows the headers, and reads `OPENAI_ORG_ID` and the like."""
    import openai

    parts = urlsplit(endpoint.base_url or "")
    made, http = openai.AsyncOpenAI, openai.DefaultAsyncHttpxClient
    if blocking:
        made, http = openai.OpenAI, openai.DefaultHttpxClient  # type: ignore[assignment]
    return made(
        api_key=endpoint.api_key,
        base_url=parts._replace(query="").geturl(),
        default_query=dict(parse_qsl(parts.query)),
        max_retries=0,
        http_client=http(follow_redirects=False, trust_env=not endpoint.local),
    )


def lost(what: str, *, transient: bool = True) -> ServiceError:
    """Give the error for a request to which no usable reply came."""
    return ServiceError(what, transient=transient)


def too_long() -> ServiceError:
    """Give the error for a reply beyond `MAX_REPLY`."""
    return lost(f"the reply is longer than {MAX_REPLY >> 20} MiB, which no answer is: try again")


def unreachable(host: str, cause: BaseException) -> ServiceError:
    """Give the error for a connection that could not be made or broke."""
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return lost(f"the TLS certificate of {host} is not trusted ({cause}): set SSL_CERT_FILE", transient=False)
    return lost(f"the connection to {host} failed ({cause}): is the server up, and base_url right?")
