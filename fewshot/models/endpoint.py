"""Which model answers, where it is, and how it is reached: arguments and environment resolved to one value.

Nothing here touches the network. What is given in code wins over `FEWSHOT_MODEL` and `FEWSHOT_BASE_URL`, those over
`OPENAI_BASE_URL` and `OPENAI_API_KEY`; when nothing is set, the embedded model answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from fewshot.errors import ConfigError
from fewshot.types import Form

__all__ = [
    "DEFAULT_MODEL",
    "EMBEDDED_CONTEXT",
    "EMBEDDED_MODEL",
    "OWN",
    "READ",
    "SERVERS",
    "TIMEOUT",
    "Endpoint",
    "Secret",
    "addressed",
    "offline",
    "resolve",
    "route_of",
    "routed_by",
]

DEFAULT_MODEL = "gpt-6-luna"
EMBEDDED_MODEL = "SmolLM2-135M-Instruct"
EMBEDDED_CONTEXT = 8192
"""Tokens that a prompt may hold: what the embedded model was trained for."""
_OPENAI = "https://api.openai.com/v1"
SERVERS = {"ollama:": "http://127.0.0.1:11434/v1", "lmstudio:": "http://127.0.0.1:1234/v1"}
"""How the name of a model begins that a server on this machine has, and where that server listens by default."""
_NO_KEY = "none"
OWN = "the client's own"
"""Stands for the key of a client of the caller's own, which may be none, or made anew for each request."""
TIMEOUT = 60.0
"""Seconds that a call to a service has when the caller does not say."""
_REASONS = re.compile(r"(^|/)gpt-[5-9]")
"""Model names (also behind a gateway's `openai/`) that think before they answer unless told not to."""
_ROUTES = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
"""What the official client reads besides address and key, and sends as headers."""
READ = (
    "FEWSHOT_MODEL",
    "FEWSHOT_BASE_URL",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "FEWSHOT_OFFLINE",
    "FEWSHOT_ALLOW_HTTP",
    *_ROUTES,
)
"""All that `resolve` reads of the environment: while it is the same, so is what it gives."""
_SECRET = re.compile(r"key|token|secret|password|signature|\bsig\b|\bcode\b|credential|auth", re.IGNORECASE)
_ON, _OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")

_log = logging.getLogger("fewshot")
_announced = False


class Secret(str):
    """Text that works as any other but does not show in representations, and so in no traceback or log of them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One model at one place, and what it wants to be sent."""

    model: str
    """The model's name; for the embedded one `"local"`, the path of a GGUF file or `"hf:OWNER/REPO"`."""
    base_url: str | None = None
    """Where the API begins, as `https://api.openai.com/v1`; None while the embedded model is not started."""
    api_key: str = field(default=Secret(_NO_KEY), repr=False)
    form: Form = "chat"
    local: bool = False
    """This is the embedded model, in this very process."""
    extra: tuple[tuple[str, Any], ...] = ()
    """Body parameters that the model wants, such as `("reasoning_effort", "none")`."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """HTTP headers that every request has besides the usual ones."""
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What stands in the address of every request besides the base URL's own query."""
    route: str = ""
    """A digest of what else decides where a request goes: organisation, project, headers of one's own."""
    source: str = "argument"
    """What decided: `"argument"`, the name of an environment variable, or `"embedded"`."""

    @cached_property
    def host(self) -> str:
        """Host and port, for messages; the embedded model's port says nothing to anybody."""
        return urlsplit(self.base_url).netloc if self.base_url and not self.local else "the embedded model"

    def seconds(self, timeout: float | None) -> float:
        """Give the seconds that a call may take: those asked for, else 60, or without end for the embedded model."""
        return timeout or (math.inf if self.local else TIMEOUT)


def resolve(
    *, model: str | None = None, base_url: str | None = None, api_key: str | None = None, form: Form | None = None
) -> Endpoint:
    """Tell which endpoint these arguments and the environment mean.

    Raises:
        ConfigError: a key or an address that cannot work, or an endpoint that `FEWSHOT_OFFLINE` forbids.
    """
    api_key = Secret(api_key) if isinstance(api_key, str) else api_key  # before anything can go wrong
    name, named_by = _first(("argument", model), ("FEWSHOT_MODEL", None))
    if name and _is_local(name):
        return _embedded(name, form, named_by)
    served = next((prefix for prefix in SERVERS if name.startswith(prefix)), "")
    name = name.removeprefix(served)
    if served:  # the key in the environment is for another service
        url, source = _first(("argument", base_url or SERVERS[served]))
        key, keyed_by = _first(("argument", api_key))
    else:
        url, source = _first(("argument", base_url), ("FEWSHOT_BASE_URL", None), ("OPENAI_BASE_URL", None))
        key, keyed_by = _first(("argument", api_key), ("OPENAI_API_KEY", None))
    if not url and not key:
        if name:
            raise ConfigError(
                f"model {name!r} needs a service: set OPENAI_API_KEY, or base_url / FEWSHOT_BASE_URL for a server of "
                "your own, or use model='local' for the embedded model"
            )
        _announce()
        return _embedded("local", form, "embedded")
    url = _checked_url(url or _OPENAI)
    if offline():
        raise ConfigError(
            f"FEWSHOT_OFFLINE is set, so nothing may be sent to {urlsplit(url).netloc}: "
            "use model='local' (or FEWSHOT_MODEL=local) for the embedded model, or unset FEWSHOT_OFFLINE"
        )
    name = name or DEFAULT_MODEL
    return Endpoint(
        model=name,
        base_url=url,
        api_key=Secret(key) if key == OWN else _checked_key(key or _NO_KEY),
        form=form or "chat",
        extra=(("reasoning_effort", "none"),) if _REASONS.search(name) else (),
        route=route_of(_routes()),
        source=source or keyed_by,
    )


def route_of(parts: Mapping[str, object]) -> str:
    """Give a digest of what decides where a request goes, which may hold secrets; empty for nothing."""
    if not parts:
        return ""
    return hashlib.sha256(json.dumps(sorted(parts.items()), default=str).encode()).hexdigest()[:16]


def routed_by(client: Any) -> dict[str, object]:
    """Give the query and the headers of its own with which an openai client routes its requests."""
    headers = {name.lower(): value for name, value in client.default_headers.items() if isinstance(value, str)}
    usual = ("accept", "content-type", "user-agent", "authorization", "api-key")
    own = {name: value for name, value in headers.items() if name not in usual and not name.startswith("x-stainless-")}
    return own | {f"?{name}": value for name, value in client.default_query.items()}


def addressed(endpoint: Endpoint, headers: Mapping[str, Any], query: Mapping[str, Any]) -> Endpoint:
    """Give an endpoint with headers and a query of the caller's own; both decide where a request goes."""
    if not headers and not query:
        return endpoint
    for name, value in headers.items():
        if not (f"{name}{value}".isascii() and f"{name}{value}".isprintable() and name):
            raise ConfigError(f"the header {name!r} holds characters that no header has (line breaks or non-ASCII)")
    query = {name: str(value) for name, value in query.items()}
    own = {"route": endpoint.route, **headers, **{f"?{name}": value for name, value in query.items()}}
    return replace(endpoint, headers=tuple(headers.items()), query=tuple(query.items()), route=route_of(own))


def _routes() -> dict[str, str]:
    found = {name: value for name in _ROUTES if (value := os.environ.get(name))}
    for name, value in found.items():
        lines = value.split("\n") if name == "OPENAI_CUSTOM_HEADERS" else [value]
        if not all(line.isascii() and line.strip("\r\t ").isprintable() for line in lines):
            raise ConfigError(f"{name} holds characters that no header has (line breaks or non-ASCII): set it again")
    return found


def offline() -> bool:
    """Tell whether `FEWSHOT_OFFLINE` forbids every endpoint but the embedded one.

    Raises:
        ConfigError: it is set to something that is neither yes nor no.
    """
    value = os.environ.get("FEWSHOT_OFFLINE", "").strip().lower()
    if value not in _ON + _OFF:
        raise ConfigError(f"FEWSHOT_OFFLINE={value!r} means neither yes nor no: set it to 1 or to 0")
    return value in _ON


def _first(*sources: tuple[str, str | None]) -> tuple[str, str]:
    """Give the first value that is set, and where it came from: the argument given, else environment variables."""
    for source, given in sources:
        value = (given if source == "argument" else os.environ.get(source)) or ""
        if not isinstance(value, str):
            raise ConfigError(f"model, base_url and api_key are texts, not {type(value).__name__}")
        if value.strip():
            return Secret(value.strip()) if isinstance(
                value, Secret
            ) or source == "OPENAI_API_KEY" else value.strip(), source
    return "", ""


def _is_local(model: str) -> bool:
    return model == "local" or model.startswith(("local:", "hf:")) or model.endswith(".gguf")


def _embedded(model: str, form: Form | None, source: str) -> Endpoint:
    return Endpoint(model=model.removeprefix("local:"), form=form or "text", local=True, source=source)


def _announce() -> None:
    """Say once in a process that only the small embedded model answers, since nobody asked for it by name."""
    global _announced
    if not _announced:
        _announced = True
        _log.warning(
            "fewshot: no OPENAI_API_KEY and no base URL is set, so the embedded %s answers: it is small and for trying "
            "things out (FEWSHOT_MODEL=local silences this line)",
            EMBEDDED_MODEL,
        )


def _checked_key(key: str) -> Secret:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            "the API key holds characters that no key has (spaces, line breaks or non-ASCII): copy it again"
        )
    return Secret(key)


def _checked_url(url: str) -> str:
    """Give the address without a closing slash; refuse what would send text or key where it should not go."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ConfigError(f"base_url is not an address: {error}") from None
    wanted = "give it as https://host/v1"
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"base_url for {parts.hostname} holds a user name or password: give the key as api_key instead"
        )
    if secret := next((name for name, _ in parse_qsl(parts.query) if _SECRET.search(name)), None):
        raise ConfigError(
            f"base_url for {parts.hostname} holds a secret in its query ({secret}=), which logs would show: give the "
            "key as api_key, or a client of your own as client=openai.OpenAI(default_query={…})"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine or parts.netloc.endswith(":"):
        raise ConfigError(
            f"base_url {url!r} is not an http(s) address with a host and, after a colon, a port: {wanted}"
        )
    if not url.isascii() or not url.isprintable() or " " in url or parts.fragment:
        raise ConfigError(f"base_url {url!r} holds characters that an address cannot have: {wanted}")
    if parts.scheme == "http" and not _may_be_plain(parts):
        raise ConfigError(
            f"base_url {url!r} would send texts and key unencrypted over the internet: use https, "
            "or set FEWSHOT_ALLOW_HTTP=1 if that network is yours"
        )
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def _may_be_plain(parts: SplitResult) -> bool:
    """Allow plain http to this machine, to private addresses and to names without a public domain (as in Docker)."""
    if os.environ.get("FEWSHOT_ALLOW_HTTP", "").strip().lower() in _ON:
        return True
    host = (parts.hostname or "").removesuffix(".")
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ip_address(socket.inet_aton(host))  # 134744072, 0x7f.1 and the like, as the system reads them
        except OSError:
            return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan"))
    return (getattr(address, "ipv4_mapped", None) or address).is_private
