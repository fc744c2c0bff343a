"""What tokens cost, from a dated table in `prices.json` that the user can extend. An unknown price is None, never 0."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fewshot.errors import ConfigError
from fewshot.types import Usage

__all__ = ["Price", "cost_of", "price_of"]


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens of one model."""

    input: float
    output: float
    cached_input: float | None = None
    batch: float = 0.5
    """What the Batch API takes of the live price."""

    def cost(self, usage: Usage, *, batch: bool = False) -> float:
        """Give the price of a usage in US dollars."""
        cached_rate = self.input if self.cached_input is None else self.cached_input
        fresh = usage.input_tokens - usage.cached_tokens
        dollars = fresh * self.input + usage.cached_tokens * cached_rate + usage.output_tokens * self.output
        return dollars / 1e6 * (self.batch if batch else 1.0)


def cost_of(model: str, usage: Usage, *, batch: bool = False) -> float | None:
    """Give the cost of a usage in US dollars; None when the model's price is not known."""
    price = price_of(model)
    return None if price is None else price.cost(usage, batch=batch)


def price_of(model: str) -> Price | None:
    """Look a model up by its name, or by its name without a trailing date (`-2026-10-06`)."""
    table = _table(os.environ.get("FEWSHOT_PRICES"))
    return table.get(model) or table.get(_undated(model))


def _undated(model: str) -> str:
    parts = model.rsplit("-", 3)
    dated = len(parts) == 4 and all(p.isdigit() for p in parts[1:]) and len(parts[1]) == 4
    return parts[0] if dated else model


@lru_cache(maxsize=8)
def _table(own: str | None) -> Mapping[str, Price]:
    """Read the shipped table, then the user's own file (`FEWSHOT_PRICES`), which wins."""
    table = _read(Path(__file__).with_name("prices.json"))
    return {**table, **_read(Path(own))} if own else table


def _read(path: Path) -> dict[str, Price]:
    try:
        models: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["models"]
        known = ("input", "output", "cached_input", "batch")
        return {name: Price(**{k: float(v[k]) for k in known if k in v}) for name, v in models.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"the price table {path} cannot be read ({error}); it must look like "
        raise ConfigError(message + '{"models": {"NAME": {"input": 0.1, "output": 0.5}}}') from error
