"""What a wire is, what its errors say, and the official client that knows an endpoint's headers."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from fewshot.errors import ConfigError, ServiceError
from fewshot.models.deadline import Deadline
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.response import Reply

__all__ = [
    "MAX_REPLY",
    "NO_FILES",
    "StaleConnectionError",
    "Wire",
    "lost",
    "official",
    "too_long",
    "unreachable",
    "unsendable",
]

MAX_REPLY = 32 * 2**20
"""Bytes that a reply may hold, unpacked."""
NO_FILES = "too_many_open_files"
"""The `code` of the ServiceError for a connection that this process may not open."""
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_OTHERS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID")


class StaleConnectionError(ServiceError):
    """A kept connection broke before a byte of the reply came: the request goes out again at once."""


class Wire(Protocol):
    """Sends one request and gives the reply to it, whatever its status."""

    async def post(self, path: str, body: bytes, *, deadline: Deadline, fresh: bool = False) -> Reply:
        """Send a JSON body to a path below the base URL.

        Arguments:
            deadline: the caller cancels then; this is for what cannot be cancelled.
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


def official(endpoint: Endpoint, *, blocking: bool = False, proxied: bool = True) -> Any:
    """Give the official client for an endpoint: it knows the headers, and reads `OPENAI_ORG_ID` and the like.

    Arguments:
        blocking: the blocking client.
        proxied: let it read proxies and certificates from the environment, too.
    """
    import openai

    for name in _CERTIFICATES:
        place = Path(os.environ.get(name, ""))
        if place.exists() and not (place.is_file() or place.is_dir()):  # a device may have no end
            raise ConfigError(f"{name} is not a file or folder of certificates: name one, or unset it")
    parts = urlsplit(endpoint.base_url or "")
    made, http = openai.AsyncOpenAI, openai.DefaultAsyncHttpxClient
    if blocking:
        made, http = openai.OpenAI, openai.DefaultHttpxClient  # type: ignore[assignment]
    return made(
        api_key=endpoint.api_key,
        base_url=parts._replace(query="").geturl(),
        default_query={**dict(parse_qsl(parts.query)), **dict(endpoint.query)},
        default_headers=dict(endpoint.headers),
        max_retries=0,
        http_client=http(follow_redirects=False, trust_env=proxied and not endpoint.local),
    )


def lost(what: str, *, transient: bool = True) -> ServiceError:
    """Give the error for a request to which no usable reply came."""
    return ServiceError(what, transient=transient)


def too_long() -> ServiceError:
    """Give the error for a reply beyond `MAX_REPLY`."""
    return lost(f"the reply is longer than {MAX_REPLY >> 20} MiB, which no answer is: try again")


def unsendable(error: Exception, host: str) -> ConfigError:
    """Give the error for what failed before anything was sent: something that is set cannot be used.

    It is raised away from the frames of what failed, which hold the key.
    """
    asked = _CERTIFICATES if isinstance(error, OSError) else _OTHERS
    names = [name for name in os.environ if name.upper() in asked and os.environ[name]]
    why = f"{type(error).__name__}: {error}"
    for name in names:
        why = why.replace(os.environ[name], f"${name}")
    if "socksio" in why:
        why = "a SOCKS proxy needs `pip install socksio`"
    return ConfigError(f"nothing can be sent to {host} ({why:.300}): check {', '.join(names) or 'base_url and client'}")


def unreachable(host: str, cause: BaseException) -> ServiceError:
    """Give the error for a connection that could not be made or broke."""
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return lost(f"the TLS certificate of {host} is not trusted ({cause}): set SSL_CERT_FILE", transient=False)
    told, inner = str(cause), cause.__cause__ or cause.__context__
    while inner is not None:
        told, inner = f"{told} {inner}", inner.__cause__ or inner.__context__
    if any(os.strerror(code) in told for code in (errno.EMFILE, errno.ENFILE)):
        advice = "ask fewer rows at once (concurrency), or raise the limit (`ulimit -n`)"
        return ServiceError(f"no file is free for a connection to {host} ({cause}): {advice}", code=NO_FILES)
    return lost(f"the connection to {host} failed ({cause}): is the server up, and base_url right?")
