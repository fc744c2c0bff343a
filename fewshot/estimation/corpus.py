"""Estimate the shares of labels in a corpus: the model answers every row, people have labelled a few."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from fewshot._checks import brief, check_kind
from fewshot.bulk.map import amap, many_rows, prepared, rows_of
from fewshot.data.columns import Columns, Row, column, digest_of, read_rows, value_at
from fewshot.data.frames import frame_records, is_frame
from fewshot.data.labelled import gold_rows, in_file, read_labelled
from fewshot.errors import InputError
from fewshot.estimation.prediction_powered import LEAST, LabelledRow, Stratum, merged, share_in
from fewshot.estimation.shares import Share, Shares
from fewshot.evaluation.rows_to_judge import asked
from fewshot.inference.predictor import Predictor
from fewshot.result import Result, label_of
from fewshot.types import Usage

__all__ = ["share"]

_FILE = (str, os.PathLike)
_NEED = "label about 200 rows of the corpus, chosen at random"


_Place = tuple[str | None, Hashable]
"""The group of a row, and what it has in common with equal ones."""


class _Sampled(NamedTuple):
    """A labelled row."""

    id: str
    inputs: Mapping[str, Any]
    key: Hashable
    group: str | None
    labels: frozenset[str]
    chance: float | None


async def share(
    task: Predictor[Any],
    corpus: Any,
    labelled: Any = None,
    *,
    by: str | None = None,
    chance: str | None = None,
    target: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    **options: Any,
) -> Shares:
    """Estimate how frequent each label is in a corpus, with 95% intervals.

    The model's answers make the intervals narrow, and the labelled rows make them right: a model that errs gives wider
    ones, not wrong ones. The method is that of `fewshot.estimation.prediction_powered`.

    Arguments:
        corpus: a file, texts, dicts or a data frame, as for `Task.map`.
        labelled: rows of the corpus (or others like them) with the right label, chosen at random, or each with its
            `chance`. At least ten; 200 at random bound a share to 7 points or less either way, before the model helps.
        by: a column of both: shares of each of its values (groups, months), and differences between them.
        chance: the column of the labelled rows with each one's probability of being among them, where that was not the
            same for all.
        target, encoding: of the labelled rows as for `Task.evaluate`; `encoding` is that of both files.
        columns: for an input the column that holds it, where the names differ.
        options: of the bulk run, and settings, as for `Task.map`; with `out` a run that was stopped goes on.

    Raises:
        InputError: there are too few labelled rows, or a row or an argument is not valid; nothing was asked then.
        ConfigError, ServiceError: as for `Task.map`.
    """
    for name, given in (("by", by), ("chance", chance)):
        check_kind(name, given, str, type(None), what="the name of a column")
    task, run = prepared(task, options)
    if task.output.labels is None:
        message = f"{task.name} gives {task.output.gives_what}, and shares are those of labels: take a task with labels"
        raise InputError(message)
    if labelled is None:
        message = f"a model's own counts are wrong by nobody knows how much: {_NEED}"
        raise InputError(f"{message}, and give them as labelled= (or --labelled)", field="labelled")
    sample = _sampled(task, labelled, by, chance, target=target, columns=columns, encoding=encoding)
    shots = {asked(task, example.inputs) for example in task.examples}
    usable = [row for row in sample if row.key not in shots]
    if (lacking := LEAST - len(usable)) > 0:
        message = f"{len(usable)} labelled rows that are not shots of the prompt are too few: {_NEED}"
        raise InputError(f"{message}, and at least {lacking} more", field="labelled")
    rows, digest = _source(task, corpus, columns, encoding)
    places = _places(task, rows(), by, {row.key for row in usable})
    apart = _apart(usable, places)
    if not apart:
        _check_chances(usable, len(places))
    tally = _Tally(task, usable)
    every = [*places, *((row.group, row.key) for row in apart)]
    facts = {**run.get("facts", {}), "input": digest}
    options = {"total": len(every), **run, "ordered": True, "facts": facts}
    async for result in amap(task, chain(rows(), (dict(row.inputs) for row in apart)), **options):
        at = result.row or 0
        tally.add(result, every[at], inside=at < len(places))
    return tally.shares(by, usable, apart=len(apart), left_out=len(sample) - len(usable))


def _sampled(
    task: Predictor[Any], given: Any, by: str | None, chance: str | None, *, encoding: str | None, **how: Any
) -> list[_Sampled]:
    """Read the labelled rows, each with its group and its chance."""
    gold = gold_rows(given, task.inputs, encoding=encoding if isinstance(given, _FILE) else None)
    rows = read_labelled(task, gold, **how)
    found = []
    with in_file(gold.where):
        for row, (number, record) in zip(rows, gold.rows, strict=True):
            plain = record if isinstance(record, Mapping) else {}
            truth = row.truth if task.output.several else [row.truth]
            group, likely = _group(plain, by, f"row {number}"), _chance(plain, chance, f"row {number}")
            key, labels = asked(task, row.inputs), frozenset(map(label_of, truth))
            found.append(_Sampled(row.id, row.inputs, key, group, labels, likely))
    return found


def _source(
    task: Predictor[Any], corpus: Any, columns: Mapping[str, str] | None, encoding: str | None
) -> tuple[Callable[[], Iterable[Any]], str]:
    """Give what gives the rows of the corpus, as often as they are wanted, and what tells it from another."""
    if isinstance(corpus, _FILE):
        path = Path(corpus)
        return lambda: read_rows(path, Columns(task, columns or {}), encoding=encoding), digest_of(path)[0]
    given = rows_of(task, corpus, columns)
    kept = frame_records(given) if is_frame(given) else list(many_rows(task, given))
    return lambda: kept, f"{len(kept):,} rows"


def _places(task: Predictor[Any], rows: Iterable[Any], by: str | None, wanted: set[Hashable]) -> list[_Place | None]:
    """Give for each row its group, and its key where this is labelled; None for one that cannot be asked."""
    found: list[_Place | None] = []
    known: dict[Any, _Place] = {}  # one for all alike: there may be a million rows
    for number, row in enumerate(rows, start=1):
        try:
            if isinstance(row, InputError):
                raise row
            one, inputs = task._bind_row(row)
        except InputError:
            found.append(None)
            continue
        record = row.record if isinstance(row, Row) else row if isinstance(row, Mapping) else {}
        key = asked(one, inputs)
        place = (_group(record, by, f"row {number} of the corpus"), key if key in wanted else None)
        found.append(known.setdefault(place, place))
    if not known:
        raise InputError("the corpus holds no rows that can be asked: give a file or a list with some")
    return found


def _apart(sample: list[_Sampled], places: list[_Place | None]) -> list[_Sampled]:
    """Give the labelled rows that are not rows of the corpus.

    Raises:
        InputError: a row is labelled more often than it is there, or in a group that is not.
    """
    there, groups = Counter(places), {place[0] for place in places if place}
    for place, count in Counter((row.group, row.key) for row in sample).items():
        row = next(row for row in sample if (row.group, row.key) == place)
        if row.group not in groups:
            known = ", ".join(sorted(map(repr, groups))[:8])
            raise InputError(
                f"labelled row {row.id}: the corpus has no group {row.group!r}; it has {known}", field="by"
            )
        if 0 < there[place] < count:
            message = f"labelled row {row.id} has {count} labels, and is {there[place]} times in the corpus"
            raise InputError(f"{message}: keep one for each")
    return [row for row in sample if not there[row.group, row.key]]


def _group(record: Mapping[str, Any], by: str | None, where: str) -> str | None:
    """Read the group of a row; raises InputError where there is none."""
    if by is None:
        return None
    value = None if (place := column(record, by)) is None else value_at(record, place)
    if value is None or value != value or not str(value).strip():  # a number that is none is not itself
        there = ", ".join(record) or "no columns"
        raise InputError(f"{where} has nothing in {by!r}, the column of the groups; it has {there}", field="by")
    return str(value).strip()


def _chance(record: Mapping[str, Any], name: str | None, where: str) -> float | None:
    """Read the chance of a labelled row; raises InputError where there is none."""
    if name is None:
        return None
    value = None if (place := column(record, name)) is None else value_at(record, place)
    try:
        chance = float(value or 0)
    except (TypeError, ValueError):
        chance = 0.0
    if place is None:
        raise InputError(
            f"{where} has no {name!r}, the column of the chances; it has {', '.join(record)}", field="chance"
        )
    if not 0 < chance <= 1:
        message = f"{where}: a chance of being chosen is above 0 and at most 1, not {brief(value)}"
        raise InputError(f"{message} (column {name!r})", field="chance")
    return chance


def _check_chances(sample: Sequence[_Sampled], rows: int) -> None:
    """Raise InputError where the chances say of a corpus of a very different size that it was chosen from."""
    inverse = [1 / row.chance for row in sample if row.chance is not None]
    told, spread = sum(inverse), math.sqrt(sum(one * (one - 1) for one in inverse))
    if inverse and abs(told - rows) > 5 * spread + rows / 4:
        message = f"the chances of the {len(inverse)} labelled rows say that the corpus has about {told:,.0f} rows"
        raise InputError(
            f"{message}, and it has {rows:,}: give the probability of each of being labelled", field="chance"
        )


class _Tally:
    """All answers of a run summed up, and those on labelled rows."""

    def __init__(self, task: Predictor[Any], sample: Sequence[_Sampled]) -> None:
        self._task, self._labels = task, task.output.labels or ()
        self._wanted: dict[_Place | None, list[_Sampled]] = defaultdict(list)
        for row in sample:
            self._wanted[row.group, row.key].append(row)
        self._strata: dict[tuple[str | None, str, bool], Stratum] = defaultdict(Stratum)
        """For each group and label the rows of which the model said it, and the others."""
        self._judged = Counter(row.group for row in sample)
        self._failed = self._unread = self._abstained = 0
        self._usage, self._model = Usage(), ""
        self._cost: float | None = 0.0

    def add(self, result: Result[Any], place: _Place | None, *, inside: bool) -> None:
        """Take in the answer to one row, of the corpus or beside it."""
        self._usage += result.usage
        self._cost = None if self._cost is None or result.cost is None else self._cost + result.cost
        if place is None:
            self._unread += 1
            return
        self._failed += result.error is not None
        self._abstained += result.abstained
        self._model = self._model or result.model
        chances, said = _said(result, several=self._task.output.several)
        judged = self._wanted.pop(place, ())
        for label in self._labels:
            stratum, model = self._strata[place[0], label, label in said], chances.get(label, 0.0)
            stratum.rows += inside
            stratum.total += model * inside
            stratum.labelled += [LabelledRow(label in row.labels, model, row.chance) for row in judged]

    def shares(self, by: str | None, sample: Sequence[_Sampled], *, apart: int, left_out: int) -> Shares:
        """Estimate the shares of all labels, in the whole and in each group."""
        groups = sorted({group for group, _, _ in self._strata}, key=_in_order)
        bare = [str(group) for group in groups if not self._judged[group]]
        alike = all(self._judged[group] >= LEAST for group in groups)  # else one cannot stand for itself in the whole
        found: dict[str | None, list[Share]] = defaultdict(list)
        for label in self._labels:
            parts = {group: [self._strata[group, label, said] for said in (True, False)] for group in groups}
            for group in [] if by is None else groups:
                if self._judged[group]:
                    found[group].append(_share(label, group, _apart_enough(parts[group]), inside=not apart))
            every = [_apart_enough(part) for part in parts.values()] if alike else [[merged(chain(*parts.values()))]]
            found[None].append(_share(label, None, [*chain(*every)], inside=not apart))
        notes = {
            f"{left_out} labelled rows are examples of the task, and left out": left_out,
            f"{apart} labelled rows are not in the corpus: this holds if they are like those in it": apart,
            "this holds if the labelled rows were chosen at random: else give the chance of each": not sample[0].chance,
            "each labelled row counts by the inverse of its chance of being chosen": sample[0].chance,
            f"not estimated, for want of labelled rows: {', '.join(bare)}": bare,
            f"{self._unread} rows could not be read, and are not a part of the corpus": self._unread,
            f"{self._abstained} rows were abstained from: they count by the model's probabilities": self._abstained,
            f"{self._failed} rows got no answer: they count by what the labelled rows say": self._failed,
        }
        return Shares(
            task=f"{self._task.name}@{self._task.version}", model=self._model, by=by,
            shares=(*found.pop(None), *chain(*found.values())), labelled=len(sample), failed=self._failed,
            notes=tuple(note for note, holds in notes.items() if holds), usage=self._usage, cost=self._cost,
        )  # fmt: skip


def _apart_enough(strata: list[Stratum]) -> list[Stratum]:
    """Keep strata apart where each is labelled often enough."""
    return strata if all(one.rows and len(one.labelled) >= LEAST for one in strata) else [merged(strata)]


def _share(label: str, group: str | None, strata: list[Stratum], *, inside: bool) -> Share:
    whole = merged(strata)
    return Share(
        label=label, group=group, **share_in(strata, inside=inside).to_dict(), rows=whole.rows,
        labelled=len(whole.labelled), alone=share_in([whole], inside=inside, powered=False),
    )  # fmt: skip


def _said(result: Result[Any], *, several: bool) -> tuple[Mapping[str, float], frozenset[str]]:
    """Give the probability of each label, and what was answered; what was held back counts by its probabilities."""
    value = result.value if several or result.value is None else [result.value]
    said = frozenset(map(label_of, value or ()))
    if result.error is not None or not result.probabilities:
        return dict.fromkeys(said, 1.0), said
    chances = {label_of(label): chance for label, chance in result.probabilities.items()}
    if value is None:
        likely = [label for label, chance in chances.items() if chance >= 0.5]
        said = frozenset(likely if several else [max(chances, key=chances.__getitem__)])
    return chances, said


def _in_order(group: str | None) -> tuple[bool, float, str]:
    """Sort numbers by their size, before other names."""
    try:
        return False, float(group or ""), ""
    except ValueError:
        return True, 0.0, group or ""
