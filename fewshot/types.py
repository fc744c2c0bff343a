"""The values that flow through a call: prompt in, request out, completion in.

All are frozen. Nothing here does I/O or knows a template, a task or a client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

__all__ = [
    "Completion",
    "Decision",
    "Example",
    "Form",
    "Json",
    "Message",
    "Plain",
    "Prefix",
    "Request",
    "Role",
    "TokenLogprob",
    "Usage",
]


Role = Literal["system", "developer", "user", "assistant"]
Form = Literal["chat", "text"]


class Plain:
    """A dataclass that is given as plain JSON values just as it stands."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


class Json(str):
    """A JSON value as text, so that what holds it is a value, too."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class Prefix:
    """The part of a chat that stays the same from call to call: instruction and shots, first in the prompt.

    Kept as one object, so that it is rendered once and serialised once.
    """

    messages: tuple[Message, ...] = ()

    @cached_property
    def json(self) -> bytes:
        """The messages as comma-joined JSON objects, without the enclosing brackets."""
        turns = ({"role": m.role, "content": m.content} for m in self.messages)
        return ",".join(json.dumps(turn, ensure_ascii=False) for turn in turns).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Example:
    """One shot: the inputs of a task and the output wanted for them.

    `line` is the line in the example file (1-based), or the position in a list; 0 when neither is known.
    """

    inputs: Mapping[str, Any]
    output: Any
    id: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """One of several questions to the decisions endpoint: which of some choices fits, or without any, whether it does.

    A choice is a value with a description, which may be empty.
    """

    name: str
    instructions: str
    choices: tuple[tuple[str, str], ...] = ()


_TOKENS_A_TURN = 8
"""What a chat template puts round a turn, at most: signs for its beginning, role and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to one model: everything that can change the answer, and nothing else.

    Either a chat (`prefix` then `messages`) or, when `text` is given, a plain completion prompt.
    A setting that is None is left out of what is sent.
    """

    model: str
    prefix: Prefix = Prefix()
    messages: tuple[Message, ...] = ()
    text: str | None = None
    max_tokens: int | None = None
    temperature: float | None = 0.0
    seed: int | None = 0
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    """Ask for the log-probabilities of this many most likely tokens at each position."""
    schema: str | None = None
    """A strict JSON schema for the answer, as JSON text."""
    n: int = 1
    """How many answers to sample."""
    choices: tuple[tuple[str, str], ...] = ()
    """Ask the decisions endpoint to choose among these values, each with a description (may be empty)."""
    questions: tuple[Decision, ...] = ()
    """Ask the decisions endpoint several questions of one input instead."""
    extra: tuple[tuple[str, Any], ...] = ()
    """Further body parameters, such as `("reasoning_effort", "none")`; objects and lists as `Json`."""
    shared: tuple[int, ...] = field(default=(), compare=False)
    """How much of the beginning other requests have as well, shortest first: characters of `text`, or turns of a chat.
    The embedded model keeps what it computed of that."""

    form: Form = field(init=False, repr=False, compare=False)
    """Which endpoint this is for: chat completions or plain completions."""
    decides: bool = field(init=False, repr=False, compare=False)
    """Whether this is for the decisions endpoint."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "form", "chat" if self.text is None else "text")
        object.__setattr__(self, "decides", bool(self.choices or self.questions))

    @property
    def chat(self) -> tuple[Message, ...]:
        """All turns of the chat, the constant ones first."""
        return self.prefix.messages + self.messages

    @property
    def most_tokens(self) -> int:
        """A number of input tokens that it cannot exceed: its bytes, and the signs round its turns."""
        if self.text is not None:
            return len(self.text.encode("utf-8", "replace")) + 1
        own = sum(len(turn.content.encode("utf-8", "replace")) for turn in self.messages)
        told = [*self.choices, *((q.name, q.instructions) for q in self.questions)]
        told += [choice for question in self.questions for choice in question.choices]
        schema = len(self.schema or "") + sum(len(f"{v}{about}".encode()) + 16 for v, about in told)
        again = len(self.prefix.json) * max(0, len(self.questions) - 1)  # each question has the instructions
        return len(self.prefix.json) + again + own + schema + _TOKENS_A_TURN * (len(self.chat) + 1)


@dataclass(frozen=True, slots=True)
class Usage(Plain):
    """Tokens used. `cached_tokens` is the part of `input_tokens` that the provider read from its prompt cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token with its natural-log probability and the likeliest tokens at its place.

    Tokens are bytes, since a token may be a part of a character.
    """

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()

    __pydantic_config__: ClassVar[dict[str, str]] = {
        "ser_json_bytes": "base64", "val_json_bytes": "base64", "ser_json_inf_nan": "constants",
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer of a model to a `Request`, as the service gave it."""

    text: str
    thinking: str = ""
    """What the model thought before it answered, where that came in a field of its own."""
    finish_reason: str = "stop"
    """`"stop"`, `"length"`, `"content_filter"`, `"refusal"` or `"tool_calls"`; else what the service said."""
    texts: tuple[str, ...] = ()
    """All answers when several were sampled (`Request.n`), the first one included."""
    tokens: tuple[TokenLogprob, ...] = ()
    usage: Usage = Usage()
    model: str = ""
    """The model that the service says has answered."""
    id: str = ""
    """The completion's own, where the service gives it one."""
    request_id: str | None = None
    fingerprint: str | None = None
    cached: bool = False
    """Whether this came from our own cache, and so cost nothing."""
    attempts: int = 1
    """HTTP requests that it took."""
    dropped: tuple[str, ...] = ()
    """Parameters that the model refused, and that were left out or replaced."""
    probabilities: Mapping[str, Any] | None = None
    """A distribution over the choices, where the endpoint gives one itself (decisions); of several questions for each
    name such a distribution, or the probability that it is so."""

    def brief(self, most: int = 20) -> Completion:
        """Give it with at most so many likely tokens at each place: many rows with hundreds would fill the memory."""
        if all(len(token.top) <= most for token in self.tokens):
            return self
        return replace(self, tokens=tuple(replace(token, top=token.top[:most]) for token in self.tokens))
