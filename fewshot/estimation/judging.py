"""Judging answers where there is no right one: pairs are asked both ways, and a judge is held against people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewshot import _background_loop as loop
from fewshot._checks import brief, check_kind
from fewshot.bulk.map import amap, prepared
from fewshot.data.columns import Columns
from fewshot.data.labelled import read_labelled
from fewshot.errors import InputError
from fewshot.evaluation.calibrate import unlabelled_rows
from fewshot.evaluation.intervals import Comparison, Figure, average, bootstrap, compare, kappa
from fewshot.folders.loader import read_folder
from fewshot.inference.predictor import Predictor
from fewshot.result import Result, label_of
from fewshot.types import Plain

__all__ = ["Judgement", "Judgements", "ajudge", "judge"]

_SWAPPED = {"first": "second", "second": "first"}
_LEAST = 10
"""Ratings from which on their mean has an interval: fewer that are alike would have one without any width."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of two answers, or of one."""

    inputs: Mapping[str, Any]
    value: str | None
    """`first`, `second`, `tie`, or a rating; None where the judge failed, abstained, or contradicted itself without a
    `tie` to fall back on."""
    doubt: bool
    """Whether it said another one was better when their order was swapped."""
    people: str | None = None
    """What people say, where that is known."""


@dataclass(frozen=True, kw_only=True)
class Judgements(Plain):
    """All judgements, and how far the judge can be trusted; each figure has its 95% interval."""

    task: str
    judgements: tuple[Judgement, ...]
    shares: Mapping[str, Figure]
    """How often each was said."""
    steady: Figure | None
    """Of pairs the share that was judged the same both ways."""
    position: Comparison | None
    """Of pairs how many more went twice to the one shown first than to the one shown second; 0 where there is none."""
    agreement: Figure | None
    """The share judged as people do; None without their judgements."""
    kappa: Figure | None
    """Cohen's kappa with them: agreement beyond chance."""
    lean: Figure | None
    """Of ten ratings or more how much higher they are than people's, in the mean."""
    cost: float | None
    failed: str = ""
    """How many requests got no answer, and why the first did not; empty where none failed."""

    def __str__(self) -> str:
        names = ("steady", "position", "agreement", "kappa", "lean")
        figures = {**self.shares, **{name: figure for name in names if (figure := getattr(self, name)) is not None}}
        told = sum(j.value is not None for j in self.judgements)
        doubted = sum(j.doubt for j in self.judgements)
        lines = [f"{self.task}: {told} of {len(self.judgements)} judged, {doubted} in doubt"]
        for name, f in figures.items():
            value = f.difference if isinstance(f, Comparison) else f.value
            lines.append(f"  {name:<12}{value:6.3f}  [{f.low:.3f}, {f.high:.3f}]")
        return "\n".join([*lines, *[self.failed] * bool(self.failed)])


def _records(rows: Any, encoding: str | None) -> list[Any]:
    """Give the rows, which must be dicts: which text is which answer is not told by their order."""
    found = unlabelled_rows(rows, encoding)
    for number, row in enumerate(found, start=1):
        check_kind(f"row {number}", row, Mapping, what="a dict with the inputs of the task by name")
    return found


def judge(rows: Any, task: Predictor[Any] | None = None, **options: Any) -> Judgements:
    """Judge pairs of answers, or rate answers; see `ajudge`."""
    return loop.run(ajudge(rows, task, **options))


async def ajudge(
    rows: Any,
    task: Predictor[Any] | None = None,
    *,
    people: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    **options: Any,
) -> Judgements:
    """Judge pairs of answers, each asked both ways, or rate answers.

    A pair of which the judge says something else when the order is swapped is a tie, in doubt (after Zheng et al. 2023,
    arXiv 2306.05685, section 3.4).

    Arguments:
        rows: a file or dicts with the task's inputs.
        task: by default the one that ships as `judge`; any that takes `first` and `second` and gives these names as
            labels compares pairs, any other that gives labels (such as `rate`) rates.
        people: the column with people's judgements, against which the judge is measured.
        columns, encoding: as for `Task.map`.
        options: of the bulk run, and settings, as for `Task.map`.

    Raises:
        InputError: the task gives no labels, or a row is not valid. Others as for `Task.map`.
    """
    if task is not None and not isinstance(task, Predictor):
        raise InputError(f"task={brief(task)}: give a task, as `load` and `Task.of` make it", field="task")
    task, run = prepared(read_folder("judge", Predictor) if task is None else task, options)
    labels, paired = task.output.labels or (), _SWAPPED.keys() <= task.inputs.keys()
    if task.output.kind != "labels" or (paired and not _SWAPPED.keys() <= set(labels)):
        raise InputError(f"{task.name} gives {task.output.gives_what}: a judge gives labels, of pairs first and second")
    truths: list[str | None]
    if people is None:
        known = Columns(task, columns or {})
        found = [known.row(record, f"row {n}") for n, record in enumerate(_records(rows, encoding), start=1)]
        given, truths = [{name: row[name] for name in task.inputs if name in row} for row in found], [None] * len(found)
    else:
        labelled = read_labelled(task, rows, target=people, columns=columns, encoding=encoding)
        given, truths = [dict(row.inputs) for row in labelled], [row.truth for row in labelled]
    if paired and (lacking := [n for n, row in enumerate(given, 1) if not _SWAPPED.keys() <= row.keys()]):
        raise InputError(f"row {lacking[0]} does not hold two answers: give first and second", row=lacking[0])
    asked = [way for row in given for way in ((row, _turned(row)) if paired else (row,))]
    run["ordered"] = True
    results = [result async for result in amap(task, asked, **run)]
    said = [None if result.value is None else label_of(result.value) for result in results]
    judgements, twice = [], []
    for place, (row, truth) in enumerate(zip(given, truths, strict=True)):
        one, other = (said[2 * place], said[2 * place + 1]) if paired else (said[place], said[place])
        same = not paired or one == _SWAPPED.get(other or "", other)
        doubt = not same and None not in (one, other)
        judgements.append(Judgement(row, one if same else "tie" if doubt and "tie" in labels else None, doubt, truth))
        twice += [(one, other)] if paired and None not in (one, other) else []
    return _measured(task, judgements, twice, results)


def _turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give a pair in the other order."""
    return {**row, "first": row["second"], "second": row["first"]}


def _measured(
    task: Predictor[Any], judgements: list[Judgement], twice: list[tuple[Any, Any]], results: list[Result[Any]]
) -> Judgements:
    values = [judgement.value for judgement in judgements if judgement.value is not None]
    pairs = [(j.value, j.people) for j in judgements if j.value is not None and j.people is not None]
    rated = [float(one) - float(other) for one, other in pairs if one.isdecimal() and other.isdecimal()]
    costs, errors = [result.cost for result in results], [result.error for result in results if result.error]
    second, first = ([float(pair == (label, label)) for pair in twice] for label in ("second", "first"))
    return Judgements(
        task=f"{task.name}@{task.version}",
        judgements=tuple(judgements),
        shares={label: average([float(v == label) for v in values]) for label in task.output.labels or () if values},
        steady=average([float(one == _SWAPPED.get(two, two)) for one, two in twice]) if twice else None,
        position=compare(second, first) if twice else None,
        agreement=average([float(one == other) for one, other in pairs]) if pairs else None,
        kappa=kappa(pairs),
        lean=bootstrap(rated) if len(rated) >= _LEAST else None,
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        failed=f"{len(errors)} of {len(results)} requests got no answer, the first: {errors[0]}" if errors else "",
    )
