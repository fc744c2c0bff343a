"""What is sent: the bytes of a request body, in the dialect that the model is known to understand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from fewshot.errors import InputError
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.service_errors import MORE_ROOM, SHORTEST, Complaint, may_teach, named, room_left
from fewshot.types import Json, Message, Request

__all__ = ["Dialect", "encode", "parameters"]

_RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_OTHER_ROLE = {"developer": "system", "system": "user"}
_ROLE = re.compile(
    r"'(developer|system)'|\broles?\b.{0,20}\b(developer|system)\b"
    r"|\b(system|developer) (?:role|message|prompt|instruction)",
    re.IGNORECASE,
)
_ALTERNATE = re.compile(r"alternat|only user and assistant|template", re.IGNORECASE)
_OFFERED = re.compile(
    r"(?:supported|allowed|valid|permitted) values are:?\s*['\"`](\w+)|one of:?\W+(\w+)", re.IGNORECASE
)
_AT_MOST = re.compile(
    r"(?:<=|at most|maximum(?: value)?(?: of| is)?|up to|between [01] and|from [01] to|less than or equal to|more than"
    r"|max allowed:|\[[01],|\b[01] (?:to|-)|\d >) ?['\"`]?(\d{1,9})(?!\d)( ?\(?exclusive)?",
    re.IGNORECASE,
)
"""How services say how many log-probabilities they list, or tokens they write."""
_AT_LEAST = re.compile(
    r"(?:>=|at least|greater than or equal to|minimum(?: value)?(?: of| is)?) ?(\d{1,9})(?!\d)", re.IGNORECASE
)
_ONLY = re.compile(r"only (?:the default \()?(\d+(?:\.\d+)?)\b", re.IGNORECASE)
_ABOVE_ZERO = re.compile(
    r"strictly positive|greater than 0|> ?0\b|\(0(?:\.0)?,|above 0|larger than 0|positive", re.IGNORECASE
)
_SCHEMA = re.compile(r"schema|grammar|additionalProperties|\$ref|unimplemented keys|regex|\bpattern\b", re.IGNORECASE)
_UNNAMED = re.compile(r"json_schema|response[_ ]format", re.IGNORECASE)
_SCHEMAS = ("response_format", "json_schema")
"""Where a schema goes: in a completion in both, of which a service takes one."""
_LONGEST = ("max_tokens", "max_completion_tokens")
_LEAST_ROOM = 16
_OPTIONAL = (
    "logprobs", "top_logprobs", "seed", "store", "temperature", "reasoning_effort", "response_format", "json_schema",
    "chat_template_kwargs", "think", "logit_bias",
)  # fmt: skip
"""What is left out where a refusal names nothing: the rest says what is asked, or was set by the caller."""
_NEEDED = ("model", "messages", "prompt")
"""What is refused in one of these is not asked otherwise by leaving something else out."""
_TRIALS = 2
_IN_CHATS_ALONE = ("reasoning_effort", "chat_template_kwargs", "think")
"""Of the further parameters those that the completions endpoint does not know."""


_json = json.JSONEncoder(ensure_ascii=False).encode  # made once: `json.dumps` makes one for each call


def parameters(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """Give everything of a body but model and prompt; a setting that is None is left out."""
    chat = request.form == "chat"
    wanted: dict[str, Any] = {
        name: json.loads(value) if isinstance(value, Json) else value
        for name, value in request.extra
        if chat or name not in _IN_CHATS_ALONE
    }
    longest = "max_completion_tokens" if chat and endpoint.host.endswith("api.openai.com") else "max_tokens"
    wanted |= {longest: request.max_tokens, "temperature": request.temperature, "seed": request.seed}
    wanted["stop"] = list(request.stop) or None
    wanted["n"] = request.n if request.n > 1 else None
    if chat:
        wanted["store"] = None if endpoint.local else False
        wanted["logprobs"] = None if request.top_logprobs is None else True
        wanted["top_logprobs"] = request.top_logprobs or None
        wanted["response_format"] = request.schema and _response_format(request.schema)
    else:
        wanted["logprobs"] = None if request.top_logprobs is None else max(1, request.top_logprobs)
        wanted["json_schema"] = request.schema and json.loads(request.schema)  # as llama.cpp takes it
        if not endpoint.local:  # as vLLM does; what a service refuses is left out from then on
            wanted["response_format"] = request.schema and _response_format(request.schema)
    return {name: value for name, value in wanted.items() if value is not None}


def encode(request: Request, settings: dict[str, Any], roles: dict[str, str] | None = None) -> bytes:
    """Give the body as JSON. The constant part of the prompt comes first and is the same bytes from call to call.

    Raises:
        InputError: the text holds a lone surrogate, which no JSON can carry.
    """
    rest = _json(settings)[1:]
    head = '{"model": ' + _json(request.model)
    tail = ", " + rest if settings else rest
    try:
        if request.text is not None:
            return f'{head}, "prompt": {_json(request.text)}{tail}'.encode()
        if roles:
            return f'{head}, "messages": [{_turns(request.chat, roles, merged=True)}]{tail}'.encode()
        turns = _turns(request.messages, {}).encode()
        constant = request.prefix.json
        between = b", " if constant and turns else b""
        return b"".join((head.encode(), b', "messages": [', constant, between, turns, b"]", tail.encode()))
    except UnicodeEncodeError as error:
        found = error.object[error.start]
        raise InputError(
            f"the text holds {found!r}, half of a surrogate pair and no character: "
            "read it again with the right encoding, or pass text.encode('utf-8', 'replace').decode()"
        ) from None


@dataclass(slots=True)
class Dialect:
    """What one model at one endpoint takes, learned from what it refuses. Each parameter is given up at most once."""

    names: dict[str, str | None] = field(default_factory=dict)
    """Parameters refused, with the name to use instead; None to leave it out."""
    values: dict[str, Any] = field(default_factory=dict)
    """Parameters of which only the value was refused, with the value to use instead."""
    roles: dict[str, str] = field(default_factory=dict)
    schemas: set[str] = field(default_factory=set)
    """Schemas that were refused; others may be taken."""
    room: int = 0
    """Tokens below which the longest answer is refused."""
    known: int = 0
    """How much has been learned; grows only."""
    trials: int = _TRIALS
    """How often everything optional may still be left out on suspicion."""

    @property
    def refused(self) -> frozenset[str]:
        """Parameters that are left out altogether."""
        return frozenset(name for name, other in self.names.items() if other is None)

    def to_dict(self) -> dict[str, Any]:
        """Write it down as plain JSON values."""
        return {**asdict(self), "schemas": sorted(self.schemas)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Dialect:
        """Read what `to_dict` gave; raises TypeError for anything else."""
        found = cls(**{"known": sum(map(len, record.values())) if "known" not in record else 0, **record})
        found.schemas = set(found.schemas)
        return found

    def apply(self, wanted: dict[str, Any], schema: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Give the parameters to send, and the names of those left out or replaced."""
        if not self.known:
            return wanted, ()
        sent: dict[str, Any] = {}
        changed: list[str] = []
        for wished, value in wanted.items():
            name: str | None = wished
            while name in self.names:
                name = self.names[name]
            if name in self.values:
                value = self.values[name]
            if name in _LONGEST:  # bounds, and not values to use instead
                value = max(min(wanted[wished], value), self.room)
            if name is not None:
                sent[name] = value
            if name != wished or (value != wanted[wished] and name not in _LONGEST):
                changed.append(wished)
        if "logprobs" not in sent:
            sent.pop("top_logprobs", None)
        if schema is not None:
            for name in _SCHEMAS if schema in self.schemas else ():
                sent.pop(name, None)
            if changed or schema in self.schemas:
                lost = any(name in wanted for name in _SCHEMAS) and not any(name in sent for name in _SCHEMAS)
                changed = [name for name in changed if name not in _SCHEMAS] + ["response_format"] * lost
        return sent, tuple(changed)

    def learn(self, status: int, complaint: Complaint, sent: dict[str, Any], request: Request) -> bool:
        """Learn from a refusal; False when there is nothing to learn from it, so that asking again is no use."""
        if not may_teach(status, complaint, sent):
            return False
        learned = (
            self._room(complaint, sent) or self._turn(complaint, request) or self._schema(complaint, sent, request)
        )
        if not learned and status != 500:
            learned = sum(self._parameter(name, complaint, sent) for name in named(complaint, sent)) > 0  # all of them
        self.known += learned
        return learned

    def suspect(self, status: int, complaint: Complaint, sent: dict[str, Any]) -> Dialect | None:
        """Give a dialect without everything optional, to try where a refusal names nothing; None if that is no use."""
        optional = [name for name in _OPTIONAL if name in sent]
        if (complaint.param or "").startswith(_NEEDED) or not optional or self.trials <= 0:
            return None
        if status not in (400, 422) or not may_teach(status, complaint, sent):
            return None
        trial = deepcopy(self)
        trial.names.update(dict.fromkeys(optional))
        trial.known += 1
        return trial

    def adopt(self, trial: Dialect) -> None:
        """Take over what a trial that worked has shown; where another has shown it already, nothing new is known."""
        before = self._extent
        self.names |= trial.names
        self.values |= trial.values
        self.roles |= trial.roles
        self.schemas |= trial.schemas
        self.room = max(self.room, trial.room)
        self.known += self._extent != before

    @property
    def _extent(self) -> tuple[int, ...]:
        return len(self.names), len(self.values), len(self.roles), len(self.schemas), self.room

    def _room(self, complaint: Complaint, sent: dict[str, Any]) -> bool:
        """Learn how many tokens a model must be given, or how many its context has left for an answer."""
        name = next((name for name in _LONGEST if name in sent), None)
        if name is None:
            return False
        given, left = sent[name], room_left(complaint.message)
        if left is not None and max(self.room, SHORTEST) <= left < given:
            self.values[name] = left
            return True
        if not MORE_ROOM.search(complaint.message):
            return False
        least = _AT_LEAST.search(complaint.message)
        room = int(least[1]) if least else max(_LEAST_ROOM, 4 * given)
        grows = self.room < room and given < room <= 65_536
        self.room = room if grows else self.room
        return grows

    def _turn(self, complaint: Complaint, request: Request) -> bool:
        """Learn which roles are not taken; where some are replaced, turns of one role that meet are sent as one."""
        text = f"{complaint.message} {complaint.param or ''}"
        found = _ROLE.search(text)
        role = next((group.lower() for group in found.groups() if group), "") if found else ""
        if role and role not in self.roles:
            self.roles[role] = _OTHER_ROLE[role]
            return True
        if not _ALTERNATE.search(text) or "system" in self.roles or request.form == "text":
            return False
        self.roles |= _OTHER_ROLE
        return True

    def _schema(self, complaint: Complaint, sent: dict[str, Any], request: Request) -> bool:
        """Learn that this schema is not taken, though others may be."""
        if request.schema is None or request.schema in self.schemas or not sent.keys() & set(_SCHEMAS):
            return False
        if not _SCHEMA.search(_UNNAMED.sub("", complaint.message)):
            return False
        self.schemas.add(request.schema)
        return True

    def _parameter(self, name: str, complaint: Complaint, sent: dict[str, Any]) -> bool:
        """Learn that a parameter is not taken, or not with this value."""
        if name == "logprobs" and "top_logprobs" in sent and _AT_MOST.search(complaint.message):
            name = "top_logprobs"  # in a chat that is where the number stands
        if name not in self.values and (value := _other_value(name, complaint.message, sent[name])) is not None:
            self.values[name] = value
            return True
        if name in self.names:
            return False
        other = _RENAMED.get(name)
        self.names[name] = None if other in self.names or other in sent else other
        return True


def _other_value(name: str, message: str, value: object) -> object:
    """Give a value that the refusal itself offers: the most that it takes, the one that it takes, the least effort."""
    if name in ("top_logprobs", "logprobs", *_LONGEST) and (found := _AT_MOST.search(message)):
        most = int(found[1]) - bool(found[2])
        return most if isinstance(value, int) and not isinstance(value, bool) and 0 < most < value else None
    if name in ("temperature", "top_p") and (found := _ONLY.search(message)):
        return float(found[1]) if float(found[1]) != value else None
    if name == "temperature" and value == 0 and _ABOVE_ZERO.search(message):
        return 0.01
    if name == "reasoning_effort" and (found := _OFFERED.search(message)):
        offered = found[1] or found[2]
        return offered if offered != value else None
    return None


def _turns(messages: tuple[Message, ...], roles: dict[str, str], *, merged: bool = False) -> str:
    turns: list[dict[str, str]] = []
    for message in messages:
        role: str = message.role
        while role in roles:
            role = roles[role]
        if merged and turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{message.content}"
        else:
            turns.append({"role": role, "content": message.content})
    return ", ".join(f'{{"role": {_json(turn["role"])}, "content": {_json(turn["content"])}}}' for turn in turns)


@lru_cache(maxsize=64)
def _response_format(schema: str) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": json.loads(schema)}}
