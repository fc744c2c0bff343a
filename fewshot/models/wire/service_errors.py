"""From an HTTP error reply to a `ServiceError` that says what to do, or to the parameter that the model refuses."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fewshot.errors import ServiceError
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.retry import wait_asked

if TYPE_CHECKING:
    from fewshot.models.wire.response import Reply

__all__ = ["AT_MOST", "Complaint", "failure", "read_complaint", "redacted", "refused_parameter"]

_LONGEST_QUOTE = 300
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance")
_REFUSES = re.compile(
    r"unsupported|not supported|n't support|not support|unrecognized|unknown|not permitted|unexpected|not allowed"
    r"|unavailable|not available|extra_forbidden|only the default|above maximum|deprecated|removed|not compatible"
    r"|no longer|must be (?:unset|omitted)|invalid schema",
    re.IGNORECASE,
)
AT_MOST = re.compile(
    r"(?:<=|at most|maximum(?: value)?(?: of| is)?|up to|between 0 and|less than or equal to|more than|max allowed:"
    r"|\[0,)\s*(\d+)",
    re.IGNORECASE,
)
"""How services say how many log-probabilities they list."""
_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|too long|too many tokens|maximum.{0,20}tokens", re.IGNORECASE
)
_LOOKS_LIKE_KEY = re.compile(r"\bsk-[\w*.-]{4,}|[\w-]*\*{4,}[\w-]*|(?<=Bearer )\S+")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an error reply says, in whichever of the usual shapes it says it."""

    message: str = ""
    code: str | None = None
    param: str | None = None


def read_complaint(reply: Reply) -> Complaint:
    """Read an error body: OpenAI's shape, FastAPI's `detail`, a bare message, or plain text."""
    from pydantic_core import from_json

    try:
        value: Any = from_json(reply.body)
    except (ValueError, RecursionError):
        text = re.sub(r"<[^>]*>", " ", reply.body[:2000].decode("utf-8", "replace"))
        return Complaint(" ".join(text.split()))
    error = value.get("error", value) if isinstance(value, Mapping) else value
    if not isinstance(error, Mapping):
        return Complaint(str(error or ""))
    message = error.get("message") or error.get("detail") or error.get("msg") or ""
    code, kind, param = error.get("code"), error.get("type"), error.get("param")
    return Complaint(
        message if isinstance(message, str) else str(message),
        code if isinstance(code, str) else kind if kind in _QUOTA else None,
        param if isinstance(param, str) else None,
    )


def failure(reply: Reply, endpoint: Endpoint) -> ServiceError:
    """Give the error for a reply that is none of the good ones."""
    complaint = read_complaint(reply)
    status, asked = reply.status, wait_asked(reply.headers)
    should_retry = reply.headers.get("x-should-retry")
    quota = status == 402 or (complaint.code in _QUOTA)
    transient = (status in (408, 409, 429) or (status >= 500 and status != 501)) and not quota
    if should_retry in ("true", "false") and not quota:
        transient = should_retry == "true"
    return ServiceError(
        _advice(status, complaint, endpoint, reply),
        status=status,
        code=complaint.code or ("context_length_exceeded" if _is_too_long(status, complaint) else None),
        param=complaint.param,
        transient=transient,
        account=quota or status == 401 or (status == 403 and complaint.code != "content_filter"),
        retry_after=asked,
    )


def refused_parameter(complaint: Complaint, sent: Collection[str]) -> str | None:
    """Tell which of the parameters sent a 400 or 422 refuses; None when it is about something else.

    Gateways drop `param` and `code`, so the message decides too.
    """
    too_many = "logprobs" in f"{complaint.param} {complaint.message}" and AT_MOST.search(complaint.message)
    if not too_many and not _REFUSES.search(complaint.message):
        return None
    named = re.split(r"[.\[]", complaint.param or "")[0]
    if named in sent:
        return named
    places = {name: _place(name, complaint.message) for name in sent}
    found = [name for name, place in places.items() if place >= 0]
    return min(found, key=lambda name: places[name]) if found else None


def redacted(message: str, secrets: Collection[str]) -> str:
    """Take keys out of a message: those known, and what looks like one."""
    for secret in secrets:
        if len(secret) >= 8:
            message = message.replace(secret, "[key]")
    return _LOOKS_LIKE_KEY.sub("[key]", message)


def _place(name: str, message: str) -> int:
    """Find a parameter's name in a message; a name of one letter counts only in quotes."""
    pattern = rf"['\"`]{name}['\"`]" if len(name) == 1 else rf"(?<![\w-]){name}(?![\w-])"
    found = re.search(pattern, message)
    return found.start() if found else -1


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _is_too_long(status: int, complaint: Complaint) -> bool:
    if complaint.code in ("context_length_exceeded", "exceed_context_size_error"):
        return True
    return status == 413 or (status == 400 and bool(_TOO_LONG.search(complaint.message)))


def _advice(status: int, complaint: Complaint, endpoint: Endpoint, reply: Reply) -> str:
    said = f": {complaint.message[:_LONGEST_QUOTE]}" if complaint.message else ""
    host, model = endpoint.host, endpoint.model
    if 300 <= status < 400:
        target = _host_of(reply.headers.get("location", "")) or "another address"
        return (
            f"{host} redirects to {target} (HTTP {status}), where the text was not sent: "
            "if you trust that address, set base_url to it"
        )
    if status == 402 or complaint.code in _QUOTA:
        return f"the account at {host} has no credit left (HTTP {status}): add credit or use another key{said}"
    if status == 401:
        return f"{host} refuses the API key (HTTP 401): check OPENAI_API_KEY or api_key{said}"
    if complaint.code == "content_filter":
        return f"the content filter of {host} refuses this text (HTTP {status}): change the text or skip the row{said}"
    if status == 403:
        return f"{host} refuses this account (HTTP 403): check its permissions, project and region{said}"
    if _is_too_long(status, complaint):
        return f"the text is too long for {model} (HTTP {status}): shorten it or use fewer shots (k){said}"
    if status == 404 and (complaint.code == "model_not_found" or "model" in complaint.message.lower()):
        return f"{host} has no model {model!r} (HTTP 404): set model or FEWSHOT_MODEL to one that it has{said}"
    if status == 404:
        return f"{host} knows no such path (HTTP 404): check base_url, which usually ends in /v1{said}"
    if status == 429:
        return f"{host} limits the rate (HTTP 429): ask more slowly or later{said}"
    if status in (408, 409) or status >= 500:
        return f"{host} is in trouble (HTTP {status}): try again later{said}"
    return f"{host} refuses the request (HTTP {status}): check model and settings{said}"
