"""What an error reply is about: this text, this request, this model, this account. Read from code and words first."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

from fewshot.errors import ServiceError
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.response import Reply
from fewshot.models.wire.retry import wait_asked, wait_is_over

__all__ = [
    "MORE_ROOM",
    "SHORTEST",
    "Complaint",
    "as_answer",
    "failure",
    "may_teach",
    "named",
    "read_complaint",
    "redacted",
    "room_left",
    "too_long",
]  # fmt: skip

_LONGEST_QUOTE = 300
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance")
_NO_CREDIT = re.compile(
    r"exceeded your current quota|(?:insufficient|not enough|out of|no) (?:account )?(?:balance|credits?|quota|funds)"
    r"|credit balance|billing|payment required|top up|quota (?:is |has been )?(?:exhausted|exceeded|used up)",
    re.IGNORECASE,
)
_FILTERS = (
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
    "data_inspection_failed",
    "moderation_blocked",
)
_FLAGGED = re.compile(
    r"\bflagged\b|requires moderation|content[ _-](?:management|filter|policy|moderation)|safety (?:system|filter)"
    r"|safety polic|responsible ai|violat\w* .{0,60}\bpolic|usage polic"
    r"|(?:sensitive|inappropriate|prohibited|harmful) content",
    re.IGNORECASE,
)
_WHOSE = re.compile(
    r"\b(?:api[ _-]?)?keys?\b|permission|region|country|territory|project|\baccounts?\b|organi[sz]ation|unauthori[sz]ed"
    r"|credential|subscription|\bplan\b|\bip\b|not authorized|access (?:is )?denied|forbidden",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|too long|too many tokens|maximum.{0,20}tokens|prompt is too large",
    re.IGNORECASE,
)
_LONG = ("context_length_exceeded", "exceed_context_size_error")
_TOO_LARGE = re.compile(r"request too large|limit:? (\d{1,15})\b.{0,40}\brequested:? (\d{1,15})\b", re.IGNORECASE)
_WAIT = re.compile(
    r"(?:try again|retry|wait)\D{0,20}?(?:(\d+)\s*m(?:in\w*)?(?!s))?\s*(?:(\d+(?:\.\d+)?)\s*(ms|millis\w*|s\b|sec\w*))",
    re.IGNORECASE,
)
MORE_ROOM = re.compile(
    r"could not finish the message|higher max_tokens|max_\w*tokens\W.{0,40}(?:below|at least|minimum|>=|greater than)",
    re.IGNORECASE,
)
"""How models say that they were given too few tokens to write even one."""
_URL_SAFE = str.maketrans("+/", "-_")
_WINDOW = re.compile(
    r"(?:context[ _-](?:length|window|size|limit)s?|must be <=|> )\D{0,20}?`?(\d{1,9})\b(?! [-+])"
    r"|\b(\d{1,9}) (?:tokens? )?(?:max\w* )?context", re.IGNORECASE
)  # fmt: skip
_READ = re.compile(
    r"\b(\d{1,9}) (?:tokens? )?(?:(?:in|from|of) (?:the|your) )?`?(?:input|prompt|messages)"
    r"|\b(\d{1,9}) \+ \d+ > |- (\d{1,9})\)"
    r"|(?:input|prompt)\w*`?(?: \w+)? (?:contains|has|is|of) (?:at least )?(\d{1,9}) ",
    re.IGNORECASE,
)
"""How servers tell the tokens that a model holds in all, and those of the prompt."""
_TOO_MANY = re.compile(r"max_\w*tokens\W{1,3}(?:must|should|can(?:not| only)|exceeds|\d+ >|value)", re.IGNORECASE)
"""How they say that more tokens were asked for than an answer may have, whatever the prompt."""
SHORTEST = 8
"""Tokens that there must be for an answer, or the text is too long."""
_TEMPLATE = re.compile(r"template|jinja|grammar|\broles?\b|schema", re.IGNORECASE)
_LOOKS_LIKE_KEY = re.compile(r"\bsk-[\w*.-]{4,}|[\w-]*\*{4,}[\w-]*|(?<=Bearer )\S+")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an error reply says, in whichever of the usual shapes it says it."""

    message: str = field(default="", repr=False)  # may hold the key that is refused
    code: str | None = None
    param: str | None = None
    flagged: bool = False
    """It says what in the text was flagged."""
    wait: float | None = None
    """Seconds that it asks to wait."""
    generated: str | None = field(default=None, repr=False)
    """An answer that the service itself found not to fit the schema."""
    passes: bool = False
    """The service says that the same request may succeed later (`x-should-retry`)."""


def read_complaint(reply: Reply) -> Complaint:
    """Read an error body: OpenAI's shape, a list of one, FastAPI's `detail`, a bare message, or plain text."""
    from pydantic_core import from_json

    try:
        value: Any = from_json(reply.body)
    except (ValueError, RecursionError):
        text = re.sub(r"<[^>]*>", " ", reply.body[:2000].decode("utf-8", "replace"))
        return Complaint(" ".join(text.split()))
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    error = value.get("error") or value if isinstance(value, Mapping) else value
    whole = json.dumps(value, ensure_ascii=False)
    if not isinstance(error, Mapping):
        code = value.get("code") if isinstance(value, Mapping) else None
        return Complaint(str(error or ""), code if isinstance(code, str) else None, wait=_wait_in(whole))
    message = error.get("message") or error.get("detail") or error.get("msg") or error.get("error") or ""
    code, kind, param, inner = (error.get(key) for key in ("code", "type", "param", "innererror"))
    metadata: Any = error.get("metadata") if isinstance(error.get("metadata"), Mapping) else {}
    generated = error.get("failed_generation")
    return Complaint(
        message if isinstance(message, str) else json.dumps(message, ensure_ascii=False),
        code if isinstance(code, str) and not code.isdigit() else kind if kind in (*_QUOTA, *_FILTERS) else None,
        param if isinstance(param, str) else None,
        flagged=bool(metadata.get("reasons") or metadata.get("flagged_input") or inner),
        wait=_wait_in(whole),
        generated=generated if isinstance(generated, str) else None,
        passes=reply.headers.get("x-should-retry") == "true",
    )


def _wait_in(body: str) -> float | None:
    """Give the seconds that an error asks to wait in words, or in Google's `retryDelay`."""
    if (delay := re.search(r'"retryDelay": "(\d+(?:\.\d+)?)s"', body)) is not None:
        return float(delay[1])
    if (found := _WAIT.search(body)) is None:
        return None
    seconds = float(found[2]) / (1000 if found[3].lower().startswith("m") else 1)
    return 60 * float(found[1] or 0) + seconds or None


def as_answer(reply: Reply) -> Reply:
    """Give an error that is about one answer as that answer: a filtered text, or one that does not fit the schema."""
    if reply.status not in (400, 403, 422, 451):
        return reply
    complaint = read_complaint(reply)
    if complaint.code == "json_validate_failed":
        return _answered(reply, complaint.generated or "", "stop")
    return _answered(reply, complaint.message, "content_filter") if _is_filtered(complaint) else reply


def _answered(reply: Reply, text: str, reason: str) -> Reply:
    choice = {"message": {"content": text}, "text": text, "finish_reason": reason}
    return replace(reply, status=200, body=json.dumps({"choices": [choice]}).encode())


def _is_filtered(complaint: Complaint) -> bool:
    if complaint.code in _FILTERS or complaint.flagged:
        return True
    return bool(_FLAGGED.search(complaint.message)) and not re.search(r"account|organi[sz]ation", complaint.message)


def may_teach(status: int, complaint: Complaint, sent: Collection[str]) -> bool:
    """Tell whether a refusal may be about how it was asked, and not about the text, the account or the moment.

    A 403 is mostly about the account and a 404 about the model or the address: they must name what was sent.
    """
    if complaint.passes or _has_no_credit(status, complaint) or _is_too_long(status, complaint):
        return False
    if status in (403, 404) and complaint.code != "model_not_found":
        words = _TEMPLATE.search(complaint.message) and not _WHOSE.search(complaint.message)
        return bool(words) or bool(named(complaint, sent))
    return status in (400, 422) or (status == 500 and bool(_TEMPLATE.search(complaint.message)))


def named(complaint: Complaint, sent: Collection[str]) -> list[str]:
    """Give those of the parameters sent that a refusal names, in whatever words."""
    param = re.split(r"[.\[]", complaint.param or "")[0]
    if param in sent:
        return [param]
    return [name for name in sent if _names(name, complaint.message)]


def room_left(message: str) -> int | None:
    """Give the tokens that a refusal says a prompt leaves for the answer; None where it says nothing of that."""
    window, read = _told(_WINDOW, message), _told(_READ, message)
    return window - read if window and read else None


def too_long(error: ServiceError) -> int | None:
    """Give the tokens that a model holds, as a refusal of too long a text tells them, else 0; None for other errors."""
    return _told(_WINDOW, str(error)) if error.code in _LONG else None


def _told(what: re.Pattern[str], message: str) -> int:
    found = what.search(message)
    return next((int(n) for n in found.groups() if n), 0) if found else 0


def failure(reply: Reply, endpoint: Endpoint) -> ServiceError:
    """Give the error for a reply that is none of the good ones."""
    complaint = read_complaint(reply)
    status = reply.status
    asked = wait_asked(reply.headers) or (None if wait_is_over(reply.headers) else complaint.wait)
    should_retry = reply.headers.get("x-should-retry")
    quota = _has_no_credit(status, complaint)
    final = quota or _is_too_large(complaint)
    transient = (status in (408, 409, 425, 429) or (status >= 500 and status != 501)) and not final
    if should_retry in ("true", "false") and not final:
        transient = should_retry == "true"
    return ServiceError(
        _advice(status, complaint, endpoint, reply),
        status=status,
        code=_code(status, complaint),
        param=complaint.param,
        transient=transient,
        account=quota or status in (401, 407) or (status == 403 and _is_of_account(complaint)),
        retry_after=asked if status != 400 else wait_asked(reply.headers),
    )


def _code(status: int, complaint: Complaint) -> str | None:
    """Give the code of a complaint; one of too long a text has it whatever else it says (vLLM says 400)."""
    return _LONG[0] if complaint.code not in _LONG and _is_too_long(status, complaint) else complaint.code


def _has_no_credit(status: int, complaint: Complaint) -> bool:
    """Tell whether the account has nothing left; Google says the same of a limit for a minute, and how long to wait."""
    if status == 402 or complaint.code in _QUOTA:
        return True
    words = status in (400, 403, 429) and _NO_CREDIT.search(complaint.message)
    return bool(words) and complaint.wait is None


def _is_of_account(complaint: Complaint) -> bool:
    return not _is_filtered(complaint) and bool(_WHOSE.search(complaint.message) or not complaint.message)


def _is_too_large(complaint: Complaint) -> bool:
    """Tell whether one request is more than a limit allows in all, so that no wait helps."""
    found = _TOO_LARGE.search(complaint.message)
    return found is not None and (found[1] is None or int(found[2]) > int(found[1]))


def redacted(message: str, secrets: Collection[str]) -> str:
    """Take keys out of a message: those known, and what looks like one."""
    for secret in secrets:
        for form in _forms(str(secret)) if len(secret) >= 8 else ():
            message = message.replace(form, "[key]")
    return _LOOKS_LIKE_KEY.sub("[key]", message)


@lru_cache(maxsize=16)
def _forms(secret: str) -> tuple[str, ...]:
    """Give how a secret may be spelled: as it is, in an address, in hexadecimal, in base64 wherever it stands there."""
    data = secret.encode()
    coded = [b64encode(bytes(before) + data).decode() for before in range(3)]
    inside = [one[4 * (before > 0) : (before + len(data)) // 3 * 4] for before, one in enumerate(coded)]
    inside += [one.translate(_URL_SAFE) for one in inside]
    return tuple(
        dict.fromkeys((secret, quote(secret), quote(secret, safe=""), data.hex(), data.hex().upper(), *inside))
    )


def _names(name: str, message: str) -> bool:
    """Tell whether a message names a parameter; a name of one letter, or that is a word, counts only in quotes."""
    pattern = rf"['\"`]{name}['\"`]" if len(name) == 1 else rf"(?<![\w-]){name}(?![\w-])"
    return re.search(pattern, message, re.IGNORECASE) is not None


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _is_too_long(status: int, complaint: Complaint) -> bool:
    left = room_left(complaint.message)
    if left is None and _TOO_MANY.search(complaint.message):
        return False
    if MORE_ROOM.search(complaint.message) or (left or 0) >= SHORTEST:
        return False
    if complaint.code in _LONG:
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
    if _has_no_credit(status, complaint):
        return f"the account at {host} has no credit left (HTTP {status}): add credit or use another key{said}"
    if status == 401:
        return f"{host} refuses the API key (HTTP 401): check OPENAI_API_KEY or api_key{said}"
    if _is_filtered(complaint) and status != 401:
        return f"the content filter of {host} refuses this text (HTTP {status}): change the text or skip the row{said}"
    if status == 407:
        return f"the proxy before {host} wants a user name and password (HTTP 407): set them in HTTPS_PROXY{said}"
    if status == 403 and _is_of_account(complaint):
        return f"{host} refuses this account (HTTP 403): check its permissions, project and region{said}"
    if _is_too_long(status, complaint) or _is_too_large(complaint):
        return f"the text is too long for {model} (HTTP {status}): shorten it or use fewer shots (k){said}"
    if status == 404 and (complaint.code == "model_not_found" or "model" in complaint.message.lower()):
        return f"{host} has no model {model!r} (HTTP 404): set FEWSHOT_MODEL to one that `fewshot doctor` lists{said}"
    if status == 404:
        return f"{host} knows no such path (HTTP 404): check base_url, which usually ends in /v1{said}"
    if status == 429:
        return f"{host} limits the rate (HTTP 429): ask more slowly or later{said}"
    if status in (408, 409) or status >= 500:
        return f"{host} is in trouble (HTTP {status}): try again later{said}"
    return f"{host} refuses the request (HTTP {status}): check model and settings{said}"
