"""What an estimate over a corpus came to: shares of labels and differences between groups, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fewshot.errors import InputError
from fewshot.estimation.prediction_powered import difference
from fewshot.evaluation.intervals import Figure
from fewshot.types import Usage

__all__ = ["Difference", "Share", "Shares"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How frequent a label is in the corpus, or in one group of it, from 0 to 1, with its 95% interval."""

    label: str
    group: str | None
    """None for the whole corpus."""
    value: float
    low: float
    high: float
    alone: Figure
    """What the labelled rows say without the model."""
    rows: int
    """Rows of the corpus, or of the group."""
    labelled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much more frequent a label is in one group than in another, with its 95% interval."""

    label: str
    group: str
    other: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The shares of all labels, and what they were estimated from."""

    task: str
    model: str
    by: str | None
    """The column of the groups."""
    shares: tuple[Share, ...]
    """Those of the whole corpus first."""
    labelled: int
    failed: int
    """Rows that got no answer; they count, by what the labelled rows say."""
    notes: tuple[str, ...]
    usage: Usage
    cost: float | None
    """US dollars; None when a price is unknown."""

    def of(self, label: str, group: str | None = None) -> Share:
        """Give the share of one label; raises InputError where there is none."""
        for share in self.shares:
            if share.label == label and share.group == group:
                return share
        there = ", ".join(dict.fromkeys(repr(s.label if group is None else s.group) for s in self.shares))
        raise InputError(
            f"there is no share of {label!r}{'' if group is None else f' in {group!r}'}; there are {there}"
        )

    def difference(self, label: str, group: str, other: str) -> Difference:
        """Tell how much more frequent a label is in `group` than in `other`; raises InputError for an unknown one."""
        one, two = (self.of(label, name) for name in (group, other))
        found = difference(*(Figure(share.value, share.low, share.high) for share in (two, one)))
        return Difference(label=label, group=group, other=other, **found.to_dict())

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Each group beside the one before it; `difference` gives any other pair."""
        groups = [group for group in dict.fromkeys(share.group for share in self.shares) if group is not None]
        labels = dict.fromkeys(share.label for share in self.shares)
        pairs = list(zip(groups[1:], groups, strict=False))
        return tuple(self.difference(label, *pair) for pair in pairs for label in labels)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return asdict(self) | {"differences": [asdict(found) for found in self.differences]}

    def __str__(self) -> str:
        about = f"{self.task}, {self.model}: {self.shares[0].rows:,} rows, {self.labelled:,} of them labelled"
        table: list[tuple[str, ...]] = [("group", "label", "share", "95% interval", "labels alone")]
        for s in self.shares:
            spans = (f"[{one.low:.3f}, {one.high:.3f}]" for one in (s, s.alone))
            table.append((s.group or "all", s.label, f"{s.value:.3f}", *spans))
        lines = [about, *_aligned(table, leave=self.by is None)]
        if self.differences:
            lines += [f"difference between groups of {self.by!r}, each to the one before"]
            changes = [
                (f"{d.group} - {d.other}", d.label, f"{d.value:+.3f}", f"[{d.low:+.3f}, {d.high:+.3f}]")
                for d in self.differences
            ]
            lines += _aligned(changes, leave=False)
        return "\n".join([*lines, *self.notes])


def _aligned(table: Sequence[tuple[str, ...]], *, leave: bool) -> list[str]:
    """Write rows as columns of text; `leave` leaves the first out."""
    rows = [row[leave:] for row in table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"  {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()}" for row in rows
    ]
