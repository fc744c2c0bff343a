"""From the bytes of a good HTTP reply to a `Completion`: nothing in them is believed before it is checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from fewshot.errors import ServiceError
from fewshot.types import Completion, Request, TokenLogprob, Usage

__all__ = ["PACKED", "Reply", "as_meant", "read_completion", "read_json", "read_usage", "read_vectors", "rubbish"]

_PUT_BEFORE = 4096
"""Tokens that a gateway may put before what was sent."""
_MOST_UNKNOWN = 2**22
"""Tokens that a request may have where only its reply is at hand, as in a batch."""
_MOST_WRITTEN = 2**18
"""Tokens of an answer, thoughts included, beyond those asked for: more is not believed."""
_LEAST = 10**9
"""Below minus this an integer is not a log-probability, and may be too long for a float."""
PACKED = ("gzip", "x-gzip", "deflate")
"""Encodings of a reply that are unpacked on the way."""
_EVENTS = re.compile(rb"\s*(?::[^\n]*\s+)*(?:data|event|id|retry):")
"""How a stream of events begins, perhaps with comments that keep the connection alive."""
_BETWEEN_WORDS = re.compile(r"\W+")
_SECOND_CHOICES = re.compile(rb'"choices"\s*:')
_BYTE_LEVEL = ("\u0120".encode(), "\u010a".encode())
_MARKS = (*_BYTE_LEVEL, "\u2581".encode(), b"token_id:", b"<0x")
"""What gives away that tokens are listed as the vocabulary spells them and not as text."""
_ENDED = {
    "stop": "stop eos eos_token eos_token_id end_turn stop_sequence complete completed finish finished end done normal "
    "endoftext end_of_text end_of_sequence stop_criteria_met eosfound stopstringfound",
    "length": "length max_tokens max_token max_length max_new_tokens max_output max_output_tokens token_limit context "
    "max_completion_tokens maximum_tokens model_length model_context_window_exceeded context_length_exceeded "
    "incomplete contextlengthreached maxpredictedtokensreached",
    "content_filter": "content_filter content_filtered filtered filter safety recitation sensitive error_toxic "
    "blocklist blocked prohibited_content spii image_safety guardrail_intervened guardrails moderation",
    "refusal": "refusal refused",
    "tool_calls": "tool_calls tool_call tool_use function_call malformed_function_call unexpected_tool_call",
    "error": "error abort aborted cancelled canceled failed failure network_error server_error timeout time_limit "
    "insufficient_system_resource overloaded engine_overloaded upstream_error user_cancel userstopped modelunloaded "
    "load unload",
}
_MEANS = {word: meant for meant, words in _ENDED.items() for word in words.split()}
"""How services say that an answer has ended, in lower case: as OpenAI, Anthropic, Gemini, Mistral, DeepSeek, vLLM, TGI,
OpenRouter, watsonx, LM Studio and others document it. A word that is not here does not say that the answer is whole."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply: header names in lower case, the first of several equal headers, the body decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)  # may hold the key that it refuses


def read_completion(reply: Reply, request: Request, *, dropped: tuple[str, ...] = (), attempts: int = 1) -> Completion:
    """Read what the service answered, to what was asked in so many attempts and without the dropped parameters.

    Raises:
        ServiceError: the reply is not an answer, whatever its status says; another try may give one.
    """
    envelope = read_json(reply)
    choices = envelope.get("choices")
    if not isinstance(choices, list) or not choices:
        rubbish("no choices")
    choices = _in_order(choices)
    answers = [
        _answer(choice) if isinstance(choice, dict) else rubbish("a choice that is not an object") for choice in choices
    ]
    text, finish_reason = answers[0]
    return Completion(
        text=text,
        thinking=_thinking(choices[0].get("message")),
        finish_reason=finish_reason,
        texts=tuple(answer for answer, _ in answers),
        tokens=_tokens(choices[0].get("logprobs")),
        model=_text(envelope.get("model")),
        id=_text(envelope.get("id")),
        request_id=reply.headers.get("x-request-id"),
        fingerprint=_text(envelope.get("system_fingerprint")) or None,
        attempts=attempts,
        dropped=dropped,
        usage=read_usage(envelope, request),
    )


def read_json(reply: Reply) -> dict[str, Any]:
    """Read the body as a JSON object; lone surrogates become U+FFFD.

    Raises:
        ServiceError: the body is something else, or names its answer twice.
    """
    from pydantic_core import from_json

    body = reply.body.removeprefix(b"\xef\xbb\xbf")
    if _EVENTS.match(body):
        message = "the service sends a stream of events where one JSON object was asked for: switch streaming off there"
        raise ServiceError(message)
    packed = reply.headers.get("content-encoding", "").strip().lower()
    if packed not in ("", "identity", *PACKED) and not body.lstrip().startswith(b"{"):
        raise ServiceError(
            f"the reply came packed as {packed!r}, which was not asked for: switch that off at its source"
        )
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


def as_meant(reply: Reply) -> Reply:
    """Give a reply with the status that it means: 200 where it says 201, and an error's own code where it says 200."""
    if 200 < reply.status < 300:
        return replace(reply, status=200)
    if reply.status != 200 or b'"choices"' in reply.body or b'"error"' not in reply.body[:200]:
        return reply
    found = re.search(rb'"(?:code|status)"\s*:\s*"?([45]\d\d)\b', reply.body[:2000])
    return replace(reply, status=int(found[1])) if found else reply


def read_usage(envelope: Mapping[str, Any], request: Request) -> Usage:
    """Read the tokens used; what is missing counts as 0, and what cannot be for this request as missing."""
    usage = envelope.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    sent = _count(usage.get("prompt_tokens") or usage.get("input_tokens"))
    written = _count(usage.get("completion_tokens") or usage.get("output_tokens"))
    most = _PUT_BEFORE
    if sent > most:  # only then is it worth counting what was sent
        most = request.most_tokens + _PUT_BEFORE if request.chat or request.text else _MOST_UNKNOWN
    if sent > most or written > request.n * ((request.max_tokens or 0) + _MOST_WRITTEN):
        return Usage()
    return Usage(sent, written, min(_count(details.get("cached_tokens")), sent) if isinstance(details, dict) else 0)


def read_vectors(reply: Reply, count: int) -> list[list[float]]:
    """Read so many vectors, in the order of what was asked.

    Raises:
        ServiceError: the reply holds something else.
    """
    data: Any = read_json(reply).get("data")
    if not isinstance(data, list) or len(data) != count or not all(isinstance(item, dict) for item in data):
        rubbish("not one vector for each text")
    vectors = [item.get("embedding") for item in _in_order(data)]
    if not all(isinstance(vector, list) and all(map(_is_small_number, vector)) for vector in vectors):
        rubbish("a vector that is not a list of numbers")
    return vectors


def _is_small_number(value: object) -> bool:
    return isinstance(value, int | float) and -1e38 < value < 1e38  # vectors are kept as 32-bit floats


def _in_order(items: list[Any]) -> list[Any]:
    """Sort what a service lists by the `index` that it gives; what has none comes first."""
    if len(items) == 1:
        return items
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
    """Read JSON whose strings hold lone surrogates, which are not characters and which the strict parser refuses."""
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


def _answer(choice: Mapping[str, Any]) -> tuple[str, str]:
    """Give the text and how it ended; a refusal is its own way to end, and no text is an empty one."""
    finish_reason, message = _finish_reason(choice), choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice["text"]} if "text" in choice else rubbish("a choice without a message or a text")
    given = message.get("content")
    if not isinstance(given, str | list | dict | None):
        rubbish("no content")
    content, refusal = _all_text(given), _text(message.get("refusal")) or _all_text(given, "refusal")
    if refusal and not content:
        return refusal, "refusal"
    if (message.get("tool_calls") or message.get("function_call")) and not content:
        return "", "tool_calls"
    return content, finish_reason


def _thinking(message: object) -> str:
    """Give the thoughts that come in a field of their own."""
    if not isinstance(message, dict):
        return ""
    own = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    return own or _all_text(message.get("content"), "thinking")


def _all_text(content: object, kind: str = "text") -> str:
    """Join what a content holds of one kind: `"text"`, `"thinking"` or `"refusal"`; a text alone is of the first."""
    if isinstance(content, list):
        return "".join(_all_text(part, kind) for part in content)
    if isinstance(content, dict):
        is_thought = "thinking" in content or content.get("type") == "reasoning"
        found = content.get(kind) or (content.get("text") if is_thought else None)
        return _all_text(found) if is_thought == (kind == "thinking") else ""
    return content if isinstance(content, str) and kind == "text" else ""


def _finish_reason(choice: Mapping[str, Any]) -> str:
    """Give how an answer ended in OpenAI's words; a word of which nothing is known as it is.

    Raises:
        ServiceError: the service broke off.
    """
    reason, told = choice.get("finish_reason"), choice.get("error")
    said = "" if reason is None else _BETWEEN_WORDS.sub("_", str(reason).strip().casefold())
    meant = _MEANS.get(said, said) or "stop"
    if meant == "error" or told:
        message = _text(told.get("message") if isinstance(told, dict) else told)[:200]
        raise ServiceError(
            f"the service broke off the answer ({message or said or 'an error'}): try again", transient=True
        )
    return meant


class _UnreadableError(ValueError):
    """Something in the log-probabilities is none: they are beside the answer, which stands without them."""


def _tokens(logprobs: object) -> tuple[TokenLogprob, ...]:
    """Read log-probabilities in either format: chat (and new llama.cpp) `content`, or the older lists of strings.

    What cannot be read is none at all.
    """
    if not isinstance(logprobs, dict):
        return ()
    try:
        return _as_text(_listed(logprobs))
    except _UnreadableError:
        return ()


def _listed(logprobs: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    if isinstance(logprobs.get("content"), list):
        return tuple(_token(item) for item in logprobs["content"] if isinstance(item, dict))
    tokens, values, tops = (logprobs.get(key) or [] for key in ("tokens", "token_logprobs", "top_logprobs"))
    if not all(isinstance(part, list) for part in (tokens, values, tops)):
        raise _UnreadableError
    tops = tops or [None] * len(tokens)
    return tuple(
        TokenLogprob(_old_bytes(token), _logprob(value), _old_top(top))
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def _token(item: Mapping[str, Any]) -> TokenLogprob:
    top = item.get("top_logprobs")
    likeliest = top if isinstance(top, list) else []
    return TokenLogprob(*_weighed(item), tuple(_weighed(other) for other in likeliest if isinstance(other, dict)))


def _weighed(item: Mapping[str, Any]) -> tuple[bytes, float]:
    """Give a token's bytes and its log-probability."""
    given, logprob = item.get("bytes"), _logprob(item.get("logprob"))
    if not (given and isinstance(given, list)):
        return _text(item.get("token")).encode("utf-8", "replace"), logprob
    try:
        return bytes(given), logprob
    except (TypeError, ValueError):
        raise _UnreadableError from None


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
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _UnreadableError
    if -_LEAST <= value <= 0:
        return float(value)
    if isinstance(value, float) and value < 1e-3:  # minus infinity, or rounding in a server's softmax
        return min(value, 0.0)
    raise _UnreadableError


def _as_text(tokens: tuple[TokenLogprob, ...]) -> tuple[TokenLogprob, ...]:
    """Give tokens as text that are listed as the vocabulary spells them: `Ġnegative`, `▁negative`, `<0x0A>`.

    No vocabulary spells a blank as a blank, so that a list with one is of text, in which these are letters.
    """
    listed = [token for place in tokens for token in (place.token, *(other for other, _ in place.top))]
    all_of_it = b"\n".join(listed)
    if b" " in all_of_it or not any(mark in all_of_it for mark in _MARKS):
        return tokens
    if any(token.startswith(b"token_id:") for token in listed):
        raise _UnreadableError
    read = _of_byte_level if any(mark in all_of_it for mark in _BYTE_LEVEL) else _of_pieces
    return tuple(TokenLogprob(read(t.token), t.logprob, tuple((read(o), p) for o, p in t.top)) for t in tokens)


def _of_pieces(token: bytes) -> bytes:
    """Read a token of SentencePiece."""
    if _BYTE_PIECE.fullmatch(token):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581".encode(), b" ")


_BYTE_PIECE = re.compile(rb"<0x[0-9a-fA-F]{2}>")


def _of_byte_level(token: bytes) -> bytes:
    """Read a token of byte-level BPE, where each byte is written as a character that can be seen."""
    found = bytearray()
    for letter in token.decode("utf-8", "replace"):
        byte = _BYTE_OF.get(letter)
        found += letter.encode("utf-8", "replace") if byte is None else bytes([byte])
    return bytes(found)


_SEEN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTE_OF = {chr(byte): byte for byte in _SEEN} | {
    chr(0x100 + place): byte for place, byte in enumerate(b for b in range(256) if b not in _SEEN)
}
"""The inverse of GPT-2's `bytes_to_unicode`: what can be seen stands for itself, the other bytes follow from U+0100."""


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
