"""What is sent: the bytes of a request body, in the dialect that the model is known to understand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from fewshot.errors import InputError
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.service_errors import AT_MOST, Complaint, refused_parameter
from fewshot.types import Message, Request

__all__ = ["Dialect", "encode", "parameters"]

_RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_OTHER_ROLE = {"developer": "system", "system": "user"}
_ROLE = re.compile(r"'(developer|system)'|\brole\b.{0,20}\b(developer|system)\b|\b([Ss]ystem|[Dd]eveloper) role\b")
_OFFERED = re.compile(r"supported values are:?\s*['\"`](\w+)", re.IGNORECASE)
_IN_BOTH_FORMS = ("logit_bias",)
"""Of the further parameters those that the completions endpoint knows too."""


def parameters(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """Give everything of a body but model and prompt; a setting that is None is left out."""
    chat = request.form == "chat"
    wanted: dict[str, Any] = {name: value for name, value in request.extra if chat or name in _IN_BOTH_FORMS}
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
        wanted["json_schema"] = json.loads(request.schema) if request.schema and endpoint.local else None
    return {name: value for name, value in wanted.items() if value is not None}


def encode(request: Request, settings: dict[str, Any], roles: dict[str, str] | None = None) -> bytes:
    """Give the body as JSON. The constant part of the prompt comes first and is the same bytes from call to call.

    Raises:
        InputError: the text holds a lone surrogate, which no JSON can carry.
    """
    rest = json.dumps(settings, ensure_ascii=False)[1:]
    head = '{"model": ' + json.dumps(request.model, ensure_ascii=False)
    tail = ", " + rest if settings else rest
    try:
        if request.text is not None:
            return f'{head}, "prompt": {json.dumps(request.text, ensure_ascii=False)}{tail}'.encode()
        if roles:
            return f'{head}, "messages": [{_turns(request.chat, roles)}]{tail}'.encode()
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

    @property
    def known(self) -> int:
        """How much has been learned; grows only."""
        return len(self.names) + len(self.values) + len(self.roles) + len(self.schemas)

    @property
    def refused(self) -> frozenset[str]:
        """Parameters that are left out altogether."""
        return frozenset(name for name, other in self.names.items() if other is None)

    def to_dict(self) -> dict[str, Any]:
        """Write it down as plain JSON values."""
        facts = {"names": self.names, "values": self.values, "roles": self.roles}
        return {**facts, "schemas": sorted(self.schemas)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Dialect:
        """Read what `to_dict` gave."""
        return cls(dict(record["names"]), dict(record["values"]), dict(record["roles"]), set(record["schemas"]))

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
            if name is not None:
                sent[name] = value
            if name != wished or value != wanted[wished]:
                changed.append(wished)
        if "logprobs" not in sent:
            sent.pop("top_logprobs", None)
        if schema in self.schemas and sent.pop("response_format", None):
            changed.append("response_format")
        return sent, tuple(changed)

    def learn(self, complaint: Complaint, sent: dict[str, Any], request: Request) -> bool:
        """Learn from a refusal; False when there is nothing to learn from it, so that asking again is no use."""
        if "role" in complaint.message + (complaint.param or "") and self._learn_role(complaint):
            return True
        name = refused_parameter(complaint, sent)
        if name is None:
            return False
        if name == "logprobs" and "top_logprobs" in sent and AT_MOST.search(complaint.message):
            name = "top_logprobs"  # in a chat that is where the number stands
        if (
            name == "response_format"
            and request.schema
            and re.search("invalid schema", complaint.message, re.IGNORECASE)
        ):
            self.schemas.add(request.schema)
            return True
        if name not in self.values and (value := _other_value(name, complaint.message, sent[name])) is not None:
            self.values[name] = value
            return True
        other = _RENAMED.get(name)
        self.names.setdefault(name, None if other in self.names or other in sent else other)
        return True

    def _learn_role(self, complaint: Complaint) -> bool:
        found = _ROLE.search(complaint.message)
        role = next((group.lower() for group in found.groups() if group), "") if found else ""
        if not role or role in self.roles:
            return False
        self.roles[role] = _OTHER_ROLE[role]
        return True


def _other_value(name: str, message: str, value: object) -> object:
    """Give a value that the refusal itself offers: the most log-probabilities it gives, the least effort it takes."""
    if name in ("top_logprobs", "logprobs") and (found := AT_MOST.search(message)):
        most = int(found[1])
        return most if isinstance(value, int) and not isinstance(value, bool) and 0 < most < value else None
    if name == "reasoning_effort" and (found := _OFFERED.search(message)):
        return found[1] if found[1] != value else None
    return None


def _turns(messages: tuple[Message, ...], roles: dict[str, str]) -> str:
    turns = []
    for message in messages:
        role: str = message.role
        while role in roles:
            role = roles[role]
        turns.append(json.dumps({"role": role, "content": message.content}, ensure_ascii=False))
    return ", ".join(turns)


@lru_cache(maxsize=64)
def _response_format(schema: str) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": json.loads(schema)}}
