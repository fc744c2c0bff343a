"""How a task is asked: everything that may be overridden for one call, with its default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict

from fewshot._checks import check_count, did_you_mean
from fewshot.errors import InputError
from fewshot.types import Form

__all__ = ["Options", "Settings", "TaskOptions"]

_COUNTS = {"k": 0, "max_tokens": 1, "max_retries": 0, "max_repairs": 0, "votes": 1}
"""Settings that are whole numbers, each with its least."""
_OPTIONAL = ("k", "max_tokens")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a task. None means: the default that suits the task and the endpoint."""

    model: str | None = None
    """Model name; `"local"` or a path to a GGUF file means the embedded model."""
    base_url: str | None = None
    """An OpenAI-compatible server."""
    api_key: str | None = field(default=None, repr=False)
    client: Any = field(default=None, repr=False, compare=False)
    """Your own `openai.OpenAI`, `openai.AsyncOpenAI`, or anything with our `complete` method."""
    form: Form | None = None
    """`"chat"` or `"text"`; by default text for the embedded model and chat for services."""
    k: int | None = None
    """How many shots; by default all examples that fit."""
    select: str = "first"
    """Which shots: `"first"`, `"random"`, `"balanced"`, `"bm25"` or `"embedding"`."""
    embedding_model: str | None = None
    """The model for `select="embedding"`; by default OpenAI's small one there, and elsewhere the model itself."""
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int | None = None
    """Longest answer, in tokens; by default enough for the labels, or 512."""
    stop: tuple[str, ...] = ()
    reasoning_effort: str | None = None
    timeout: float | None = None
    """Seconds for one call as a whole, retries and repairs included; by default 60, and without end for the embedded
    model, which is as fast as the machine and never silent."""
    max_retries: int = 5
    """How often a failing service is asked again."""
    max_repairs: int = 2
    """How often the model is asked again after an answer that is not valid."""
    scoring: bool = True
    """Read label probabilities from log-probabilities where the endpoint gives them."""
    decisions: bool | None = None
    """Ask the decisions endpoint for label probabilities; by default only `gpt-6-luna` at OpenAI, which has one."""
    calibrate: bool | None = None
    """Calibrate from the task's own examples at first use of a model; by default only the embedded one."""
    votes: int = 1
    """Sample this many answers and take the majority (self-consistency)."""
    min_confidence: float | None = None
    """Abstain below this probability (0 to 1); infinity abstains always."""
    cache: bool = False
    """Keep answers on disk and give them again for the same request."""
    redact: Any = field(default=None, compare=False)
    """Replace private data before sending: True, names of patterns, or detectors; see `fewshot.inference.redaction`."""

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                check_count(name, value, least=least)
        self._check("timeout", self.timeout is None or self.timeout > 0, "must be above 0 seconds")
        self._check("temperature", 0 <= self.temperature <= 2, "must be from 0 to 2")
        confidence = self.min_confidence
        sensible = confidence is None or 0 <= confidence <= 1 or confidence == math.inf
        self._check("min_confidence", sensible, "must be from 0 to 1")
        self._check("form", self.form in (None, "chat", "text"), "must be 'chat' or 'text'")

    def updated(self, options: Mapping[str, Any]) -> Settings:
        """Give these settings with some of them replaced; raises InputError for an unknown name or a bad value."""
        if not options:
            return self
        names = [f.name for f in fields(self)]
        for name in options:
            if name not in names:
                raise InputError(f"unknown option {name!r}{did_you_mean(name, names)}", field=name)
        try:
            return replace(self, **options)
        except TypeError as error:
            raise InputError(f"an option has a wrong type: {error}; given: {sorted(options)}") from error

    @property
    def deciding_the_prompt(self) -> list[Any]:
        """The settings on which the prompt depends: what a calibration is fitted for."""
        return [self.k, self.select, self.seed, self.form, self.embedding_model]

    def _check(self, name: str, good: bool, problem: str) -> None:
        if not good:
            raise InputError(f"{name}={getattr(self, name)!r}: {problem}", field=name)


class Options(TypedDict, total=False):
    """Keyword options that every task function takes; see `Settings` for what each means."""

    model: str | None
    base_url: str | None
    api_key: str | None
    client: Any
    form: Form | None
    k: int | None
    select: Literal["first", "random", "balanced", "bm25", "embedding"]
    embedding_model: str | None
    temperature: float
    seed: int
    max_tokens: int | None
    stop: tuple[str, ...]
    reasoning_effort: str | None
    timeout: float | None
    max_retries: int
    max_repairs: int
    scoring: bool
    decisions: bool | None
    calibrate: bool | None
    votes: int
    min_confidence: float | None
    cache: bool
    redact: Any


class TaskOptions(Options, total=False):
    """Keyword options that make a task in code: besides how it is asked, what it is called and what it takes."""

    name: str
    inputs: Sequence[str] | Mapping[str, Any] | None
    """Names of the inputs, or each with its default (`...` for none); by default what the template uses."""
    parameters: Mapping[str, Any] | None
    """What stays the same over many calls, with its value."""
