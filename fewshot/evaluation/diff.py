"""Two runs of a task compared row by row: which answers changed, how sure they are, and what stood behind them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewshot.data.tables import read_results
from fewshot.errors import InputError

__all__ = ["Change", "Difference", "compared"]

_MOVED = 0.1
"""How far a confidence must go to be counted as moved."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row whose outcome is not the same in both runs."""

    row: str
    """The row's `id`, or its number, counted from 0."""
    before: str
    """The value as JSON, or `abstained`, or the kind of error."""
    after: str
    confidence: tuple[float | None, float | None]
    inputs: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What is different between run A and run B."""

    tasks: tuple[tuple[str, ...], tuple[str, ...]]
    """Tasks (`name@version#hash`) of either run."""
    models: tuple[tuple[str, ...], tuple[str, ...]]
    rows: int
    """Rows that are in both."""
    changes: tuple[Change, ...]
    only: tuple[int, int]
    """Rows that are in one run alone."""
    confidence: tuple[float, float] | None
    """Mean confidence, over the rows where both runs have one."""
    moved: tuple[int, int]
    """Rows whose confidence fell or rose by more than 0.1."""

    @property
    def agreement(self) -> float | None:
        """Share of rows with the same outcome, from 0 to 1; None where no row is in both."""
        return 1 - len(self.changes) / self.rows if self.rows else None

    def to_dict(self) -> dict[str, Any]:
        """Give the difference as plain JSON values."""
        moved = {"down": self.moved[0], "up": self.moved[1]}
        return asdict(self) | {"agreement": self.agreement, "moved": moved}


def compared(a: Path, b: Path) -> Difference:
    """Compare two files of results, as `fewshot run --json` and `--out` write them.

    Rows are matched by `id` where all have one, else by their inputs where these tell them apart, else by number.

    Raises:
        InputError: a file does not hold results. TaskError: it cannot be read.
    """
    before, after = read_results(a), read_results(b)
    if not (before and after):
        raise InputError(f"{a if not before else b} holds no results; give files that `fewshot run` has written")
    key = _key_for(before, after)
    old, new = ({key(row): row for row in rows} for rows in (before, after))
    both = [name for name in old if name in new]
    pairs = [(old[name], new[name]) for name in both]
    sure = [
        (x["confidence"], y["confidence"]) for x, y in pairs if None not in (x.get("confidence"), y.get("confidence"))
    ]
    return Difference(
        tasks=(_distinct(before, "task"), _distinct(after, "task")),
        models=(_distinct(before, "model"), _distinct(after, "model")),
        rows=len(both),
        changes=tuple(_change(x, y) for x, y in pairs if _outcome(x) != _outcome(y)),
        only=(len(old) - len(both), len(new) - len(both)),
        confidence=(_mean(x for x, _ in sure), _mean(y for _, y in sure)) if sure else None,
        moved=(sum(y < x - _MOVED for x, y in sure), sum(y > x + _MOVED for x, y in sure)),
    )


def _key_for(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Callable[[Mapping[str, Any]], str]:
    for name in ("id", "inputs"):
        sides = [Counter(_json(row[name]) for row in rows if row.get(name)) for rows in (before, after)]
        if all(len(side) == len(rows) for side, rows in zip(sides, (before, after), strict=True)):
            return lambda row: _json(row[name])
    return lambda row: _json(row["row"])


def _outcome(row: Mapping[str, Any]) -> str:
    """Say in a few words what came of a row."""
    if row["error"] is not None:
        return f"error {row['error']['type']}"
    return "abstained" if row["abstained"] else _json(_typed(row["value"]))


def _typed(value: Any) -> Any:
    """Give a value as JSON has it: a table holds numbers and records as texts."""
    if isinstance(value, str) and value[:1] in "-0123456789[{tfn":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    inputs = after.get("inputs") or before.get("inputs") or {}
    return Change(
        row=str(after.get("id", after["row"])),
        before=_outcome(before),
        after=_outcome(after),
        confidence=(before.get("confidence"), after.get("confidence")),
        inputs=" | ".join(" ".join(str(value).split()) for value in inputs.values() if value is not None),
    )


def _distinct(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(row[name]) for row in rows if row.get(name)))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
