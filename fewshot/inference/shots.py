"""The prompts of one task: shots chosen as its settings say, with the endpoint's help; each prompt made once."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from fewshot.data.examples import matching
from fewshot.errors import InputError, ServiceError
from fewshot.models.connection import Connection
from fewshot.models.embeddings import embed
from fewshot.models.endpoint import Endpoint
from fewshot.outputs.kinds import Output
from fewshot.prompts.prompt import Prompt
from fewshot.prompts.selection import Shelf
from fewshot.prompts.template import Template
from fewshot.settings import Settings
from fewshot.types import Example

__all__ = ["Prompts", "estimated_tokens"]

_log = logging.getLogger("fewshot")


@dataclass(frozen=True, eq=False)
class Prompts:
    """Makes and keeps the prompts of a task."""

    template: Template
    output: Output[Any]
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    examples: tuple[Example, ...]
    settings: Settings
    draw: int = 0
    """Which draw of shots these are of; see `fewshot.prompts.selection.Shelf`."""
    _shelves: dict[frozenset[str], Shelf] = field(default_factory=dict, init=False, repr=False)
    _kept: dict[object, Prompt] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.settings.ensemble > 1 and self.output.labels is None:
            message = f"ensemble={self.settings.ensemble} averages label probabilities, and this output has no labels"
            raise InputError(f"{message}; for open answers use votes=", field="ensemble")

    @cached_property
    def draws(self) -> tuple[Prompts, ...]:
        """The prompts of every draw of shots, these first."""
        others = (replace(self, draw=draw) for draw in range(1, self.settings.ensemble))
        return (self, *others)

    def of(self, shots: Sequence[Example]) -> Prompt:
        """Give the prompt with these shots."""
        return Prompt(self.template, self.output, self.parameters, tuple(shots), self._named)

    @cached_property
    def _named(self) -> tuple[str, ...] | None:
        """Where draws are averaged, every draw names the labels in another order, whatever order they were given in."""
        if self.settings.ensemble == 1 or not self.output.labels:
            return None
        labels = sorted(self.output.labels)
        start = self.draw // 2 % len(labels)
        turned = labels[start:] + labels[:start]
        return tuple(turned[::-1] if self.draw % 2 else turned)

    def offline(self, inputs: Mapping[str, Any]) -> Prompt:
        """Choose shots without asking anybody, and give the prompt; the same object for the same fixed shots.

        Raises:
            InputError: only the endpoint can tell the shots (`select="embedding"`).
        """
        shelf = self.shelf(inputs)
        known = self._kept.get(shelf)
        if known is None:
            candidates = shelf.candidates(inputs)
            lengths = [estimated_tokens(text) for text in map(self._text, candidates)]
            known = self.of(shelf.arranged(candidates, lengths))
            if not shelf.by_question:
                self._kept[shelf] = known
        return known

    async def chosen(
        self, inputs: Mapping[str, Any], connection: Connection, *, deadline: float, leave_out: bool = False
    ) -> Prompt:
        """Choose shots with the endpoint's vectors and tokenizer where they are wanted, and give the prompt.

        Arguments:
            leave_out: where the question decides, do not show an example with these very inputs.

        Raises:
            ServiceError: the endpoint gave no vectors. ConfigError: it has none to give.
        """
        shelf = self.shelf(inputs)
        if not shelf.by_question:
            if self.settings.shot_tokens is None:
                return self.offline(inputs)
            known = self._kept.get((shelf, connection.model))
            if known is None:
                candidates = shelf.candidates(inputs)
                lengths = await self._lengths(candidates, connection)
                known = self._kept[shelf, connection.model] = self.of(shelf.arranged(candidates, lengths))
            return known
        vector = await self._vector(shelf, inputs, connection, deadline)
        candidates = shelf.candidates(inputs, vector, leave_out=leave_out)
        if self.settings.shot_tokens is None:
            return self.of(shelf.arranged(candidates))
        return self.of(shelf.arranged(candidates, await self._lengths(candidates, connection)))

    async def drawn(
        self, inputs: Mapping[str, Any], connection: Connection, *, deadline: float, leave_out: bool = False
    ) -> list[Prompt]:
        """Give the prompt of every draw of shots, the usual one first; arguments and errors as for `chosen`."""
        return [await draw.chosen(inputs, connection, deadline=deadline, leave_out=leave_out) for draw in self.draws]

    def shelf(self, inputs: Mapping[str, Any]) -> Shelf:
        """Give the examples that fit these inputs, ready to be chosen from; the same object for all of one kind."""
        filled = frozenset(name for name, value in inputs.items() if value is not None)
        known = self._shelves.get(filled)
        if known is None:
            fitting = matching(self.examples, inputs, self.parameters)
            known = self._shelves.setdefault(filled, Shelf(fitting, self.inputs, self.settings, self.draw))
        return known

    async def _vector(
        self, shelf: Shelf, inputs: Mapping[str, Any], connection: Connection, deadline: float
    ) -> Sequence[float] | None:
        """Give the question's vector, where one is wanted, after those of the examples."""
        if not shelf.wants_vectors or not shelf.examples:
            return None
        async with _lock_of(shelf):  # the first question has the examples indexed, the others wait for it
            if shelf.wants_index:
                shelf.index(await embed(shelf.texts, connection, self.settings))
        [vector] = await embed([shelf.query(inputs)], connection, self.settings, deadline=deadline, keep=False)
        return vector

    async def _lengths(self, shots: Sequence[Example], connection: Connection) -> list[int]:
        """Count tokens with the endpoint's tokenizer; where it has none, estimate, and say so."""
        texts = [self._text(shot) for shot in shots]
        count = getattr(connection.client, "count_tokens", None)
        if count is not None:
            return list(await count(texts))
        if connection.local:
            return await asyncio.to_thread(_counted, texts, connection.endpoint)
        if connection.model not in _told:
            _told.add(connection.model)
            _log.warning("shot_tokens is kept by an estimate: %s has no tokenizer to count with", connection.model)
        return [estimated_tokens(text) for text in texts]

    def _text(self, shot: Example) -> str:
        return self.of((shot,)).shots_text


def estimated_tokens(text: str) -> int:
    """Estimate a text's tokens from above: one for 3.5 ASCII characters or for one of any other script."""
    ascii_characters = sum(map(str.isascii, text))
    return round(ascii_characters / 3.5) + len(text) - ascii_characters + 4


def _counted(texts: Sequence[str], endpoint: Endpoint) -> list[int]:
    """Count tokens by the embedded server's tokenizer."""
    lengths = []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback goes through no proxy
    for text in texts:
        url = f"{(endpoint.base_url or '').removesuffix('/v1')}/tokenize"
        headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps({"content": text}).encode(), headers)  # noqa: S310
        try:
            with opener.open(request, timeout=60) as reply:
                lengths.append(len(json.load(reply)["tokens"]))
        except (OSError, ValueError, KeyError) as error:
            raise ServiceError(f"the embedded server did not count tokens ({error}): try again") from error
    return lengths


_told: set[str] = set()
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Shelf, asyncio.Lock]] = WeakKeyDictionary()


def _lock_of(shelf: Shelf) -> asyncio.Lock:
    of_loop = _locks.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
    return of_loop.setdefault(shelf, asyncio.Lock())
