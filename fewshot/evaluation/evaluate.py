"""Measuring a task on labelled rows: how right, how sure, how steady, and at what price.

report = load("sentiment").evaluate("test.jsonl", pool="train.jsonl", k=[0, 4, 8])
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypedDict

from fewshot._checks import check_count, check_function, counts
from fewshot.data.labelled import LabelledRows, read_labelled
from fewshot.errors import InputError
from fewshot.evaluation.intervals import Figure
from fewshot.evaluation.perturb import drawn
from fewshot.evaluation.predictions import CURVE
from fewshot.evaluation.report import Mistake, Point, Report
from fewshot.evaluation.rows_to_judge import apart, remarks
from fewshot.evaluation.run import Arm, Progress, Run
from fewshot.evaluation.summary import figures, of_draws
from fewshot.inference.predictor import Predictor
from fewshot.models.cache import place_of
from fewshot.models.connection import connect
from fewshot.result import Result
from fewshot.types import Request, Usage

__all__ = ["EvaluateOptions", "evaluate"]

Rows = str | os.PathLike[str] | Iterable[Any]

_WARNINGS = 10
"""Kinds of warnings of rows that are told."""
_MISTAKES = 10
"""How many confident mistakes are shown with their prompts."""
_CALIBRATED_ON, _ON_EACH_OF_SEVERAL = 500, 100
"""Rows of the pool. On the embedded model 390 gave two points more accuracy than 200, in the mean of four pools."""


class EvaluateOptions(TypedDict, total=False):
    """How `Task.evaluate` measures; see `evaluate`."""

    target: str | None
    encoding: str | None
    k: int | Sequence[int] | None
    pool: Rows | None
    select: str | None
    draws: int
    limit: int | None
    calibrate: bool
    calibration_rows: int | None
    risk: float | Mapping[str, float] | None
    consistency: bool
    seed: int
    concurrency: int | None
    progress: Progress | None


async def evaluate(
    task: Predictor[Any],
    rows: Rows,
    *,
    target: str | None = None,
    encoding: str | None = None,
    k: int | Sequence[int] | None = None,
    pool: Rows | None = None,
    select: str | None = None,
    draws: int = 1,
    limit: int | None = None,
    calibrate: bool = True,
    calibration_rows: int | None = None,
    risk: float | Mapping[str, float] | None = None,
    consistency: bool = False,
    seed: int = 0,
    concurrency: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure a task on labelled rows.

    Arguments:
        rows: a JSONL, JSON, CSV, TSV or Parquet file, a data frame, dicts or pairs.
        target: the column that holds the answer; by default `output`, or what is usual.
        encoding: of files that are not UTF-8, the pool's too.
        k: how many shots; with several, a curve over them, and all other figures for the last.
        pool: labelled rows to take the shots from, instead of the task's own examples; its other rows calibrate
            a closed set. A row that is also to be evaluated is left out.
        select: how shots are chosen (`Settings.select`); from a pool at random, balanced over labels, by default.
        draws: how many draws of shots each point of the curve is measured with.
        limit: evaluate only so many rows, the first.
        calibrate: False for the probabilities as they come.
        calibration_rows: at most so many rows of the pool are calibrated on; by default 500, and 100 for each
            draw where there are several.
        risk: the share of errors among accepted answers to promise, of a record also for fields by name; makes the
            task abstain. Needs a pool.
        consistency: ask again, with shots and labels in other orders and with harmless changes to the inputs, and
            measure how often the answer changes.
        seed: decides which shots are drawn.
        concurrency: how many rows are asked at a time.

    Raises:
        InputError: a row or an argument is not valid. ConfigError: as for a call.
        ServiceError: the account is refused. Other failures of a row are counted in the report.
    """
    check_count("draws", draws, least=1, most=1000)
    for name, number in (("limit", limit), ("calibration_rows", calibration_rows)):
        if number is not None:
            check_count(name, number, least=1)
    check_function("progress", progress, 3)
    shot_counts = [None] if k is None else counts("k", k, least=0)
    if risk is not None and pool is None:
        message = "a risk is promised from labelled rows that are not evaluated: give pool= (or --pool)"
        raise InputError(message, field="risk")
    if calibration_rows is not None and pool is None:
        message = "the rows that are calibrated on are those of a pool: give pool= (or --pool)"
        raise InputError(message, field="calibration_rows")
    if risk is not None and not calibrate:
        message = "a risk is promised by calibrating: leave out calibrate=False (or --no-calibrate), or the risk"
        raise InputError(message, field="risk")
    given = read_labelled(task, rows, target=target, encoding=encoding)
    others = LabelledRows() if pool is None else _of_pool(task, pool, target, encoding)
    wanted = given[:limit]
    if calibration_rows is None:
        calibration_rows = _CALIBRATED_ON if len(shot_counts) * draws == 1 else _ON_EACH_OF_SEVERAL
    run = Run(
        rows=wanted,
        pool=apart(task, others, (row.inputs for row in wanted)),
        connection=await connect(task.settings),
        calibrate=calibrate,
        calibration_rows=calibration_rows,
        risk=risk,
        concurrency=concurrency,
        progress=progress or (lambda *_: None),
        notes=list(filter(None, (given.left_out, others.left_out))),
    )
    if pool is not None and not run.pool:
        raise InputError("every row of the pool is also evaluated: give a pool of other rows", field="pool")
    for remark in remarks(task, wanted, shown=pool is None):
        run.note(remark)
    task = replace(task, settings=replace(task.settings, cache=False)) if consistency else task
    points = []
    for count in shot_counts:
        arms = []
        for draw in range(1 if count == 0 else draws):
            drawn_task, spare = drawn(task, run.pool, k=count, draw=draw, select=select, seed=seed)
            arms.append(await run.arm(drawn_task, spare, "asking" if count is None else f"asking, k={count}"))
        points.append(_point(arms))
        if count is not None and points[-1].k < count:
            run.note(f"k={count} was asked for, but only {points[-1].k} shots were there")
    steadiness = await run.steadiness(arms[0]) if consistency else {}
    report = _report(run, arms[0], tuple(points), steadiness)
    connection = run.connection
    endpoint = "embedded" if connection.local else place_of(connection.endpoint, connection.client)
    made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "data": given.where, "endpoint": endpoint}
    return replace(report, made={name: what for name, what in made.items() if what})


def _of_pool(task: Predictor[Any], pool: Rows, target: str | None, encoding: str | None) -> LabelledRows:
    """Read the pool; where it is not a file, the encoding is that of the rows."""
    return read_labelled(task, pool, target=target, encoding=encoding if isinstance(pool, str | os.PathLike) else None)


def _report(run: Run, arm: Arm, points: tuple[Point, ...], steadiness: Mapping[str, Figure]) -> Report:
    """Put everything together."""
    task, results = arm.ready, arm.results
    kind = task.output.kind
    optional = kind == "text" and getattr(task.output, "optional", None) is not None
    measured, notes = figures(kind, arm.predictions, optional=optional)
    costs = [result.cost for result in results]
    fitted = task.fitted
    warnings = Counter(warning for result in results for warning in result.warnings)
    return Report(
        task=next((result.task for result in results if result.task), task.name),
        kind=kind,
        model=_model(run, results),
        form=task.settings.form or run.connection.form,
        select="drawn from the pool" if run.pool and task.settings.select == "first" else task.settings.select,
        k=_shot_count(results),
        labels=task.output.labels or (),
        metrics={**measured, **steadiness},
        predictions=tuple(arm.predictions),
        usage=sum((result.usage for result in results), Usage()),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        seconds=arm.seconds,
        spent={**run.usage.to_dict(), "cost": run.cost, "seconds": time.monotonic() - run.started},
        methods=dict(Counter(result.method for result in results if result.error is None)),
        curve=points,
        calibration=_calibration(arm),
        promise=None if fitted is None or fitted.threshold is None else fitted.threshold.to_dict(),
        mistakes=_mistakes(arm),
        notes=(
            *run.notes,
            *notes,
            *_held_back(results),
            *(f"{count} rows: {text}" for text, count in warnings.most_common(_WARNINGS)),
        ),
    )


def _held_back(results: Sequence[Result[Any]]) -> list[str]:
    """Tell how many rows have no answer on purpose, and how many of these for want of confidence alone."""
    held = [result for result in results if result.abstained]
    unsure = sum(not any("held back" in text or "holds it back" in text for text in r.warnings) for r in held)
    other = f", {len(held) - unsure} for a reason told below" if unsure < len(held) else ""
    return [f"{len(held)} rows are held back: {unsure} are less sure than the threshold{other}"] if held else []


def _point(arms: Sequence[Arm]) -> Point:
    """Sum up the draws of shots with one k."""
    name = CURVE[arms[0].plain.output.kind]
    scores = [[p.scores[name] for p in arm.predictions] for arm in arms]
    return Point(_shot_count(arms[0].results), of_draws(scores), tuple(sum(s) / len(s) for s in scores))


def _calibration(arm: Arm) -> dict[str, Any] | None:
    """Tell what the probabilities went through."""
    names = Counter(r.calibration for r in arm.results if r.probabilities)
    if not names:
        return None
    applied = names.most_common(1)[0][0]
    return {"applied": applied, **({} if arm.ready.fitted is None else arm.ready.fitted.to_dict())}


def _model(run: Run, results: Sequence[Result[Any]]) -> str:
    """Name the model as the service does; the embedded one calls itself by its file."""
    if run.connection.local:
        return run.connection.model
    return next((result.model for result in results if result.model), run.connection.model)


def _mistakes(arm: Arm) -> tuple[Mistake, ...]:
    """Find the wrong answers with the highest confidence."""
    wrong = [p for p in arm.predictions if p.error is None and not p.right]
    wrong.sort(key=lambda p: (-(p.confidence or 0.0), p.row))
    return tuple(Mistake(p.row, _prompt_text(arm.results[p.row].request)) for p in wrong[:_MISTAKES])


def _prompt_text(request: Request | None) -> str:
    if request is None:
        return ""
    if request.text is not None:
        return request.text
    return "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in request.chat)


def _shot_count(results: Sequence[Result[Any]]) -> int:
    return max(len(result.examples) for result in results)
