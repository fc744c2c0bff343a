"""What was learnt of a model at an endpoint: one record, shared by all calls and kept between processes."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

from fewshot._storage import cache_dir, write_private
from fewshot.errors import ConfigError, ServiceError
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.request import Dialect
from fewshot.types import Form

__all__ = ["ModelFacts", "Thinks", "facts_of"]

Thinks = Literal["", "seen", "always"]

_FORMAT = 1
_KEPT_FOR = 7 * 86_400.0
"""Seconds after which it is learnt anew: servers are updated, and accounts are given what they were refused."""

_log = logging.getLogger("fewshot")


@dataclass(slots=True, kw_only=True)
class ModelFacts:
    """What one model at one endpoint takes and does."""

    dialects: defaultdict[Form, Dialect] = field(default_factory=lambda: defaultdict(Dialect))
    """What it takes, in each form."""
    silent: bool = False
    """It lists no log-probabilities although asked. Not kept: to ask again costs nothing, and it may have been once."""
    undecided: bool = False
    """It has no decisions endpoint."""
    thinks: Thinks = ""
    """It was seen to think before it answers, and then that to ask it not to is in vain."""
    room: int = 0
    """Tokens that its answers were seen to need; 0 where the task's own limit was enough."""
    window: int | None = None
    """Tokens that it holds, question and answer together; 0 where nobody says, None where nobody was asked."""
    path: Path | None = None
    """Where it is kept, if anywhere."""

    def learn(
        self, *, silent: bool = False, undecided: bool = False, thinks: Thinks = "", room: int = 0, window: int = 0
    ) -> None:
        """Take in what a call has shown; what is known already is not forgotten."""
        before = (self.undecided, self.thinks, self.room, self.window)
        self.silent |= silent
        self.undecided |= undecided
        self.thinks = thinks or self.thinks
        self.room = max(room, self.room)
        self.window = window or self.window
        if (self.undecided, self.thinks, self.room, self.window) != before:
            self.keep()

    async def holds(self, client: Any, model: str) -> int:
        """Give how many tokens it holds; its service is asked once where that is not known, and may not say (0)."""
        if self.window is None:
            ask = getattr(client, "window_of", None)
            with suppress(ServiceError):  # it lists no models: a refusal of too long a text will tell
                self.learn(window=await ask(model) if ask else 0)
            self.window = self.window or 0
        return self.window

    def keep(self) -> None:
        """Write it down for later processes, where there is a place for it."""
        if self.path is None:
            return
        dialects = {form: dialect.to_dict() for form, dialect in self.dialects.items()}
        record = {"format": _FORMAT, "time": time.time(), "dialects": dialects, "undecided": self.undecided}
        record |= {"thinks": self.thinks, "room": self.room, "window": self.window or None}
        try:
            write_private(self.path, json.dumps(record))
        except ConfigError as error:
            _log.debug("what was learnt of the model is not kept: %s", error)


def facts_of(client: Any, endpoint: Endpoint, model: str) -> ModelFacts:
    """Give what is known of a model through a client; the same record each time, read from disk at first."""
    inner = _innermost(client)
    known: Any = getattr(inner, "facts", None)
    if not isinstance(known, dict):  # a client of the caller's own
        known = _known.setdefault(inner, {})
    if model not in known:
        known[model] = _read(_path(endpoint, model))
    facts: ModelFacts = known[model]
    return facts


_known: WeakKeyDictionary[Any, dict[str, ModelFacts]] = WeakKeyDictionary()


def _innermost(client: Any) -> Any:
    """Give the client that talks to the model, behind those that stand before it."""
    while hasattr(inner := getattr(client, "__dict__", {}).get("client"), "complete"):
        client = inner
    return client


def _path(endpoint: Endpoint, model: str) -> Path | None:
    if endpoint.base_url is None or endpoint.local:  # the embedded model has another address in each process
        return None
    name = hashlib.sha256(f"{endpoint.base_url.rstrip('/')}|{endpoint.route}|{model}".encode()).hexdigest()[:32]
    try:
        return cache_dir("facts") / f"{name}.json"
    except ConfigError:
        return None


def _read(path: Path | None) -> ModelFacts:
    facts = ModelFacts(path=path)
    try:
        record = json.loads(path.read_bytes()) if path else {}
        if not record or record["format"] != _FORMAT or not 0 <= time.time() - record["time"] < _KEPT_FOR:
            return facts
        dialects: defaultdict[Form, Dialect] = defaultdict(Dialect)
        dialects.update({form: Dialect.from_dict(found) for form, found in record["dialects"].items()})
        thinks: Thinks = "always" if record["thinks"] == "always" else "seen" if record["thinks"] else ""
        return ModelFacts(
            dialects=dialects,
            undecided=bool(record["undecided"]),
            thinks=thinks,
            room=int(record["room"]),
            window=record.get("window") and int(record["window"]),
            path=path,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return facts
