"""What tokens cost, from a dated table in `prices.json` that the user can extend. An unknown price is None, never 0."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fewshot.errors import ConfigError
from fewshot.types import Completion, Usage

__all__ = ["Price", "cost_of", "cost_of_all", "price_of", "spending"]

_SHIPPED = Path(__file__).with_name("prices.json")
_DATED = re.compile(r"-\d{4}-?\d{2}-?\d{2}(?=$|/decisions$)")
_KNOWN = ("input", "output", "cached_input", "batch")

Own = tuple[float, float] | None
"""US dollars for a million tokens of input and of output, as `settings.price` has them; None for those of the table."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens of one model."""

    input: float
    output: float
    cached_input: float | None = None
    batch: float | None = None
    """What the Batch API takes of the live price; None when that is not known."""

    def __post_init__(self) -> None:
        for name in _KNOWN:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}, which is not a price")

    def cost(self, usage: Usage) -> float:
        """Give the price of a usage in US dollars, asked live."""
        cached_rate = self.input if self.cached_input is None else self.cached_input
        fresh = max(0, usage.input_tokens - usage.cached_tokens)
        return (fresh * self.input + usage.cached_tokens * cached_rate + usage.output_tokens * self.output) / 1e6


def cost_of(model: str, usage: Usage, *, batch: bool = False, own: Own = None) -> float | None:
    """Give the cost of a usage in US dollars, live or by the Batch API; None when the price is not known."""
    price = price_of(model, own=own)
    if price is None:
        return None
    if not batch:
        return price.cost(usage)
    return None if price.batch is None else price.cost(usage) * price.batch


def cost_of_all(model: str, completions: Iterable[Completion], *, own: Own = None) -> float | None:
    """Give the live cost of a model's completions in US dollars; None when a price is not known.

    Cached ones are free, and decisions have a price of their own.
    """
    if price_of(model, own=own) is None and price_of(model, decisions=True) is None:
        return None
    total = 0.0
    for completion in completions:
        if not completion.cached:
            decided = completion.probabilities is not None
            price = price_of(model, decisions=decided, own=own)
            if price is None:
                return None
            if completion.usage == Usage():  # the service told nothing, which is not the same as nothing used
                return None
            total += price.cost(completion.usage)
    return total


def price_of(model: str, *, decisions: bool = False, own: Own = None) -> Price | None:
    """Look a model up by its name, or by its name without a trailing date (`-2026-10-06`, `-20261006`).

    Arguments:
        decisions: its price at the decisions endpoint, which stands in the table under `NAME/decisions`.
        own: the price that the caller gave, which holds instead of the table.

    Raises:
        ConfigError: the user's own table cannot be read.
    """
    if own is not None:
        return Price(*own)
    return _listed(f"{model}/decisions" if decisions else model, os.environ.get("FEWSHOT_PRICES"))


@lru_cache(maxsize=256)
def _listed(name: str, own: str | None) -> Price | None:
    """Find a name in the table, as it is or without its date."""
    table = _table(own)
    return table.get(name) or table.get(_DATED.sub("", name))


@lru_cache(maxsize=8)
def _table(own: str | None) -> Mapping[str, Price]:
    """Read the shipped table, then the user's own file (`FEWSHOT_PRICES`), which wins."""
    shipped = _read(_SHIPPED)
    return {**shipped, **_read(Path(own))} if own else shipped


def _read(path: Path) -> dict[str, Price]:
    try:
        path = path.expanduser()
        if path.exists() and not path.is_file():
            raise ValueError("it is not a regular file")
        models: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["models"]
        return {name: Price(**{k: float(v[k]) for k in _KNOWN if k in v}) for name, v in models.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        message = f"the price table {path} cannot be read ({error}); it must look like "
        raise ConfigError(message + '{"models": {"NAME": {"input": 0.1, "output": 0.5}}}') from error


def spending(usage: Usage, cost: float | None, seconds: float) -> str:
    """Tell tokens, money (US dollars) and time in one line."""
    money = "price not known" if cost is None else f"${cost:.4f}"
    tokens = f"{usage.input_tokens:,} tokens in ({usage.cached_tokens:,} cached), {usage.output_tokens:,} out"
    return f"{tokens}; {money}; {seconds:.1f} s"
