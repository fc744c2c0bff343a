"""From the bytes of a good HTTP reply to a `Completion`: nothing in them is believed before it is checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from fewshot.errors import ServiceError
from fewshot.types import Completion, Request, TokenLogprob, Usage

__all__ = ["Reply", "in_order", "read_completion", "read_json", "read_usage", "rubbish"]

_LEAST = 10**9
"""Below minus this an integer is no log-probability, and may be too long for a float."""
_SECOND_CHOICES = re.compile(rb'"choices"\s*:')


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply: header names in lower case, the first of several equal headers, the body decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)  # may hold the key that it refuses


def read_completion(reply: Reply, request: Request, *, dropped: tuple[str, ...] = (), attempts: int = 1) -> Completion:
    """Read what the service answered, to what was asked in so many attempts and without the dropped parameters.

    Raises:
        ServiceError: the reply is no answer, whatever its status says; another try may give one.
    """
    envelope = read_json(reply)
    choices = envelope.get("choices")
    if not isinstance(choices, list) or not choices:
        rubbish("no choices")
    if request.n > 1:
        choices = in_order(choices)
    read = _chat_answer if request.form == "chat" else _text_answer
    answers = [
        read(choice) if isinstance(choice, dict) else rubbish("a choice that is no object") for choice in choices
    ]
    text, finish_reason = answers[0]
    return Completion(
        text=text,
        finish_reason=finish_reason,
        texts=tuple(answer for answer, _ in answers),
        tokens=_tokens(choices[0].get("logprobs")),
        usage=read_usage(envelope),
        model=_text(envelope.get("model")),
        request_id=reply.headers.get("x-request-id"),
        fingerprint=_text(envelope.get("system_fingerprint")) or None,
        attempts=attempts,
        dropped=dropped,
    )


def read_json(reply: Reply) -> dict[str, Any]:
    """Read the body as a JSON object; lone surrogates become U+FFFD.

    Raises:
        ServiceError: the body is something else, or names its answer twice.
    """
    from pydantic_core import from_json

    body = reply.body
    try:
        value = from_json(body)
        if b'"choices"' in body and len(_SECOND_CHOICES.findall(body)) > 1:
            json.loads(body, object_pairs_hook=_once)
    except ValueError as error:
        value = _lenient(body, error)
    except RecursionError:
        rubbish("JSON nested too deep")
    if not isinstance(value, dict):
        rubbish(f"JSON {type(value).__name__} where an object belongs")
    if value.get("error"):
        told = value["error"]
        rubbish(f"an error: {_text(told.get('message') if isinstance(told, dict) else told)[:200]!r}")
    return value


def read_usage(envelope: Mapping[str, Any]) -> Usage:
    """Read the tokens used; what is missing counts as 0."""
    usage = envelope.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    return Usage(
        _count(usage.get("prompt_tokens") or usage.get("input_tokens")),
        _count(usage.get("completion_tokens") or usage.get("output_tokens")),
        _count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
    )


def in_order(items: list[Any]) -> list[Any]:
    """Sort what a service lists by the `index` that it gives; what has none comes first."""
    indices = [item.get("index") if isinstance(item, dict) else None for item in items]
    places = [index if isinstance(index, int | float) else 0 for index in indices]
    return [items[i] for i in sorted(range(len(items)), key=places.__getitem__)]


def rubbish(what: str) -> NoReturn:
    """Refuse a reply that says 200 and holds no answer."""
    raise ServiceError(
        f"the service replied with HTTP 200 but without an answer ({what}); if this stays, look at what stands "
        "between: a gateway, a log-in page, a wrong base_url",
        transient=True,
    )


def _lenient(body: bytes, error: ValueError) -> Any:
    """Read JSON whose strings hold lone surrogates, which are no characters and which the strict parser refuses."""
    if isinstance(error, _TwiceError):
        rubbish(f"the key {error} is there twice")
    if b"\\u" not in body:
        rubbish("not JSON" if body else "an empty body")
    try:
        return _mended(json.loads(body))
    except (ValueError, RecursionError):
        rubbish("not JSON")


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


class _TwiceError(ValueError):
    """An object names a key twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(repr(name) for name in names if names.count(name) > 1))
    return found


def _chat_answer(choice: Mapping[str, Any]) -> tuple[str, str]:
    """Give the text and how it ended; a refusal is its own way to end."""
    message = choice.get("message")
    if not isinstance(message, dict):
        rubbish("a choice without a message")
    content, finish_reason = message.get("content"), _finish_reason(choice)
    if isinstance(content, list):
        content = "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    if message.get("refusal") and not content:
        return _text(message["refusal"]), "refusal"
    if message.get("tool_calls") and not content:
        return "", "tool_calls"
    if content is None and finish_reason != "stop":
        return "", finish_reason
    if not isinstance(content, str):
        rubbish("no content")
    return content, finish_reason


def _text_answer(choice: Mapping[str, Any]) -> tuple[str, str]:
    text = choice.get("text")
    if not isinstance(text, str):
        rubbish("a choice without a text")
    return text, _finish_reason(choice)


def _finish_reason(choice: Mapping[str, Any]) -> str:
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason else "stop"


def _tokens(logprobs: object) -> tuple[TokenLogprob, ...]:
    """Read log-probabilities in either format: chat (and new llama.cpp) `content`, or the older lists of strings."""
    if not isinstance(logprobs, dict):
        return ()
    if isinstance(logprobs.get("content"), list):
        return tuple(_token(item) for item in logprobs["content"] if isinstance(item, dict))
    tokens, values, tops = (logprobs.get(key) or [] for key in ("tokens", "token_logprobs", "top_logprobs"))
    if not all(isinstance(part, list) for part in (tokens, values, tops)):
        rubbish("log-probabilities in an unknown format")
    tops = tops or [None] * len(tokens)
    return tuple(
        TokenLogprob(_old_bytes(token), _logprob(value), _old_top(top))
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def _token(item: Mapping[str, Any]) -> TokenLogprob:
    top = item.get("top_logprobs")
    likeliest = top if isinstance(top, list) else []
    return TokenLogprob(
        _bytes(item),
        _logprob(item.get("logprob")),
        tuple((_bytes(other), _logprob(other.get("logprob"))) for other in likeliest if isinstance(other, dict)),
    )


def _bytes(item: Mapping[str, Any]) -> bytes:
    given = item.get("bytes")
    if isinstance(given, list):
        try:
            return bytes(given)
        except (TypeError, ValueError):
            rubbish("token bytes that are no bytes")
    return _text(item.get("token")).encode("utf-8", "replace")


def _old_bytes(token: object) -> bytes:
    r"""Give a token's bytes; a part of a character is written as `bytes:\xe2\x80` by OpenAI's older endpoint."""
    text = _text(token)
    if text.startswith("bytes:\\x"):
        return bytes(int(pair, 16) for pair in re.findall(r"\\x([0-9a-fA-F]{2})", text))
    return text.encode("utf-8", "replace")


def _old_top(top: object) -> tuple[tuple[bytes, float], ...]:
    if not isinstance(top, dict):
        return ()
    return tuple((_old_bytes(token), _logprob(value)) for token, value in top.items())


def _logprob(value: object) -> float:
    if isinstance(value, int | float) and -_LEAST <= value <= 0:
        return float(value)
    if isinstance(value, float) and value < 1e-3:  # minus infinity, or rounding in a server's softmax
        return min(value, 0.0)
    return rubbish("a log-probability that is none")


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
