"""Searching for a better prompt, honestly: what is chosen on some rows is measured on others, beside the start.

tuned = load("triage").tune("labelled.jsonl", budget=1000)
print(tuned)
better = tuned.task
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypedDict, get_args

from fewshot._checks import brief, check_count, check_function, check_kind, counts, did_you_mean
from fewshot.calibration.fitting import folds
from fewshot.data.labelled import Labelled, read_labelled
from fewshot.errors import InputError
from fewshot.evaluation.evaluate import evaluate
from fewshot.evaluation.rows_to_judge import apart, distinct
from fewshot.evaluation.run import Progress, Run
from fewshot.inference.predictor import Predictor
from fewshot.inference.shots import ENOUGH, MOST
from fewshot.models.connection import Connection, connect
from fewshot.models.pricing import cost_of_all
from fewshot.models.request_quota import Allowance
from fewshot.settings import Settings
from fewshot.tuning.candidates import Candidate, Space, candidates
from fewshot.tuning.result import Trial, Tuned
from fewshot.tuning.successive_halving import Entry, halve, overhead, rungs_for
from fewshot.types import Form, Usage

__all__ = ["TuneOptions", "tune"]

Rows = str | os.PathLike[str] | Iterable[Any]

_KS = (0, 1, 2, 4, 8, 16)
_FEWEST, _FEWEST_ROWS, _LEAST_BUDGET = 2, 30, 50
_FIRST_RUNG = 10
"""Rows that every prompt is asked before the first are dropped, at least: fewer would be a lottery."""
_BOTH = 2
"""Prompts that are asked the rows held out: the start and the chosen one."""
_HELD_OUT = 0.3
"""The share of the rows, and of the budget, for the figures at the end."""


class TuneOptions(TypedDict, total=False):
    """How `Task.tune` searches; see `tune`."""

    target: str | None
    budget: int
    k: int | Sequence[int] | None
    forms: Sequence[Form] | None
    draws: int
    calibrate: bool
    seed: int
    concurrency: int | None
    progress: Progress | None


@dataclass(frozen=True)
class _Split:
    """The labelled rows by what they are for."""

    pool: list[Labelled]
    search: list[Labelled]
    held_out: list[Labelled]


async def tune(
    task: Predictor[Any],
    rows: Rows,
    *,
    target: str | None = None,
    budget: int = 1000,
    k: int | Sequence[int] | None = None,
    forms: Sequence[Form] | None = None,
    draws: int = 3,
    calibrate: bool = True,
    seed: int = 0,
    concurrency: int | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Search for a better prompt than the task has, by successive halving within a number of requests.

    The rows are parted first: some may become shots, the search chooses by others, and the rest is only for the figures
    at the end, where the chosen prompt and the start are asked the same rows. On the search rows a closed set is judged
    after calibration, by cross-validation, where the endpoint gives log-probabilities. A prompt takes the place of the
    start only when it is better on all rows that both were asked, by more than the standard error of the difference.

    Arguments:
        rows: a file, a data frame, dicts or pairs (see `evaluate`); 30 or more, and 200 or more to find small
            differences.
        target: the column that holds the answer; by default `output`, or what is usual.
        budget: requests that may be sent, those for the figures at the end included.
        k: how many shots to try; by default 0, 1, 2, 4, 8, 16 and the task's own number. They are drawn from the rows,
            balanced over the labels of a closed set.
        forms: `"chat"` and `"text"`; by default both on the embedded model, and elsewhere the one in use.
        draws: how many draws of shots to try for each number of them.
        calibrate: False to judge the answers as they come, and not to calibrate what is chosen.
        seed: decides how rows are parted, what is drawn and which combinations come first.
        concurrency: how many rows are asked at a time.

    Raises:
        InputError: a row or an argument is not valid; names the field. ConfigError: as for a call.
        ServiceError: the account is refused. Other failures of a row count as wrong.
    """
    started = time.monotonic()
    _check(budget, draws, forms)
    check_function("progress", progress, 3)
    given = read_labelled(task, rows, target=target)
    usable = apart(task, distinct(task, given), (example.inputs for example in task.examples))
    connection = await connect(task.settings)
    split = _parted(task, usable, budget, seed)
    plain = task if calibrate else task._uncalibrated()
    allowance = Allowance(connection.client)
    space = Space(ks=_counts(k, task), forms=_forms(forms, task, connection), draws=draws, seed=seed)
    own = _own_calibration(plain, connection)
    allowance.limit = _for_search(budget, _BOTH * len(split.held_out) + own)
    start = replace(_through(plain._uncalibrated(), connection, allowance, calibrate=False), fitted=None, promise=None)
    tried = _affordable(candidates(start, split.pool, space), allowance.limit)
    run = Run(
        rows=split.search,
        pool=split.pool,
        connection=await connect(start.settings),
        calibrate=calibrate,
        calibration_rows=len(split.search),
        risk=None,
        concurrency=concurrency,
        progress=progress or (lambda *_: None),
    )
    if len(tried) == 1:
        run.note("there was no other prompt to try: more rows, or another k or form, would give some")
    if len(usable) < len(given):
        run.note(f"{len(given) - len(usable)} rows were left out: the task's own examples, or duplicates")
    best, entries = await halve(run, tried, split.search, allowance)
    _note_failures(run, entries)
    chosen = _home(best.ready, plain)
    held_out = split.held_out[: _left(allowance, entries, budget - own, _BOTH * task.settings.votes)]
    allowance.limit = None
    reports = [
        await evaluate(
            _through(one, connection, allowance, calibrate=one.settings.calibrate),
            held_out,
            concurrency=concurrency,
            progress=progress,
        )
        for one in (plain, chosen)
    ]
    return Tuned(
        task=chosen,
        start=task,
        chosen=best.candidate.name,
        trials=tuple(Trial(e.candidate.name, e.rungs, e.candidate is best.candidate) for e in entries),
        before=reports[0],
        after=reports[1],
        rows={"shots": len(split.pool), "search": len(best.results), "held_out": len(held_out)},
        requests=allowance.sent,
        budget=budget,
        usage=sum((completion.usage for completion in allowance.paid), Usage()),
        cost=0.0 if connection.local else cost_of_all(connection.model, allowance.paid, own=task.settings.price),
        seconds=time.monotonic() - started,
        notes=tuple(dict.fromkeys([*run.notes, *reports[0].notes, *reports[1].notes])),
    )


def _check(budget: int, draws: int, forms: Sequence[str] | None) -> None:
    check_count("budget", budget, least=1)
    if budget < _LEAST_BUDGET:
        raise InputError(f"budget={budget}: a search takes {_LEAST_BUDGET} requests or more", field="budget")
    check_count("draws", draws, least=1, most=1000)
    known = get_args(Form)
    check_kind("forms", forms, list, tuple, type(None), what=f"a list of {', '.join(known)}")
    for name in forms or ():
        if name not in known:
            message = f"forms: {brief(name)} is not one of {', '.join(known)}{did_you_mean(brief(name), known)}"
            raise InputError(message, field="forms")


def _counts(k: int | Sequence[int] | None, task: Predictor[Any]) -> list[int]:
    if k is None:
        own = task.settings.k
        return [*_KS, *([] if own is None else [own])]
    return counts("k", k, least=0)


def _forms(forms: Sequence[Form] | None, task: Predictor[Any], connection: Connection) -> list[Form | None]:
    """List the forms to try; the one that the endpoint would take anyway stays unnamed, as in the start."""
    own = task.settings.form
    wanted: Sequence[Form] = forms or (get_args(Form) if connection.local else (own or connection.form,))
    return [None if own is None and form == connection.form else form for form in wanted]


def _parted(task: Predictor[Any], rows: Sequence[Labelled], budget: int, seed: int) -> _Split:
    """Part the rows at random, each label alike: those to measure on, those to search on, and the rest for shots."""
    if len(rows) < _FEWEST_ROWS:
        message = f"a search needs {_FEWEST_ROWS} labelled rows or more that are not examples of the task, to have some"
        raise InputError(f"{message} for shots, some to choose by and some to measure on; here are {len(rows)}")
    truths = [str(row.truth) if task.output.labels is not None else "" for row in rows]
    parts = folds(truths, 10, seed=seed)
    shuffler = random.Random(f"{seed} parted")  # noqa: S311 - a search is not secret

    def mixed(places: Iterable[int]) -> list[Labelled]:
        found = list(places)
        return [rows[place] for place in shuffler.sample(found, len(found))]

    held_out, search, pool = (mixed(chain.from_iterable(some)) for some in (parts[:3], parts[3:7], parts[7:]))
    measured = min(len(held_out), int(_HELD_OUT * budget / _BOTH))
    searched = min(len(search), (budget - _BOTH * measured) // 2)
    return _Split(pool + search[searched:] + held_out[measured:], search[:searched], held_out[:measured])


def _affordable(found: Iterable[Candidate], limit: int) -> list[Candidate]:
    """Take as many prompts as can each be asked enough rows in the first rung, two at least."""
    tried: list[Candidate] = []
    for candidate in found:
        prices = sum(one.price for one in (*tried, candidate))
        if len(tried) >= _FEWEST and prices * rungs_for(len(tried) + 1) * _FIRST_RUNG > limit:
            break
        tried.append(candidate)
    return tried


def _own_calibration(task: Predictor[Any], connection: Connection) -> int:
    """Tell how many requests the start may take at most to calibrate itself from its own examples."""
    wanted = connection.local if task.settings.calibrate is None else task.settings.calibrate
    if not wanted or task.output.labels is None:
        return 0
    return min(MOST, max(ENOUGH, 2 * len(task.examples)))  # a shot is asked with and without itself


def _for_search(budget: int, reserved: int) -> int:
    """Tell how many requests the search may send; raises InputError where that would be none to speak of."""
    least = reserved + 2 * _FIRST_RUNG
    if budget < least:
        message = f"budget={budget}: {reserved} requests are for the figures at the end and the start's own calibration"
        raise InputError(f"{message}, so give {least} or more", field="budget")
    return budget - reserved


def _note_failures(run: Run, entries: Sequence[Entry]) -> None:
    """Tell of answers that failed, since prompts that were judged by those were judged by the service."""
    results = [result for entry in entries for result in entry.results]
    errors = Counter(f"{type(r.error).__name__}: {r.error}" for r in results if r.error is not None)
    if errors:
        most = errors.most_common(1)[0][0]
        run.note(f"{errors.total()} of {len(results)} answers of the search failed and count as wrong, mostly: {most}")


def _left(allowance: Allowance, entries: Sequence[Entry], budget: int, both: int) -> int:
    """Tell how many rows both prompts can still be asked, at so many requests a row and by what was sent so far."""
    return max(10, int((budget - allowance.sent) / both / overhead(allowance, entries)))


def _through(
    task: Predictor[Any], connection: Connection, allowance: Allowance, *, calibrate: bool | None
) -> Predictor[Any]:
    """Give the task with all that it asks counted, and answers that were had before given again."""
    own: dict[str, Any] = {"client": allowance, "model": connection.model, "cache": False, "calibrate": calibrate}
    return replace(task, settings=replace(task.settings, **own))


def _home(task: Predictor[Any], start: Predictor[Any]) -> Predictor[Any]:
    """Give the task with the client and all else that is the start's own again."""
    own: Settings = start.settings
    kept = {name: getattr(own, name) for name in ("client", "model", "cache", "calibrate")}
    return replace(task, settings=replace(task.settings, **kept))
