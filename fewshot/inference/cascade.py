"""Tasks that are asked in turn: the first answers what it is known to get right often enough, the next one the rest.

How sure the first must be is fitted by `calibrate` like any promised risk, on rows that the next one has answered too
(`agree`) or that people have labelled (`right`). Where its promise does not hold, the next one is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fewshot.calibration.abstention import check_promise
from fewshot.calibration.promise import OFF
from fewshot.errors import InputError, OutputError
from fewshot.models.connection import Connection, connect
from fewshot.result import Result

__all__ = ["Fallback", "answer_in_turn", "connected", "handing_on"]


@dataclass(frozen=True)
class Fallback:
    """What is asked where a task abstains, and what was promised of the rows where it does not."""

    task: Any
    """A `Predictor`."""
    agree: float | None = None
    """The share of the first one's answers that shall be those of `task`."""
    right: float | None = None
    """The share of them that shall be right."""

    @property
    def risk(self) -> float | None:
        """The share of the first one's answers that may be others; None where the caller's own threshold decides."""
        kept = self.right if self.agree is None else self.agree
        return None if kept is None else 1 - kept


def handing_on(task: Any, other: Any, agree: float | None, right: float | None) -> Any:
    """Give a task that asks another one where it abstains; of one that does so already the last is followed by it.

    Raises:
        InputError: the other takes or gives something else, or nothing says when the first is sure enough.
    """
    if not hasattr(other, "fallback") or other.members or task.members:
        raise InputError(f"{other!r:.80} cannot follow {task.name}: give one task after another, as `load` makes them")
    if task.fallback is not None:
        following = handing_on(task.fallback.task, other, agree, right)
        return replace(task, fallback=replace(task.fallback, task=following))
    if missing := [name for name in other._columns.needed if name not in task.inputs]:
        raise InputError(f"{other.name} needs {', '.join(missing)}, which {task.name} does not take", field=missing[0])
    gives = [(o.kind, sorted(o.labels) if o.labels else repr(o)) for o in (task.output, other.output)]
    if gives[0] != gives[1]:
        raise InputError(
            f"{other.name} gives {other.output.gives_what} of its own: both must give the same, with the same labels"
        )
    if agree is not None and right is not None:
        raise InputError("agree= is about the next task's answers and right= about people's: give one of them")
    step = Fallback(other, agree, right)
    if step.risk is not None:
        check_promise(step.risk, 0.5)
    elif task.settings.min_confidence is None and (task.promise is None or task.promise.threshold is None):
        message = f"nothing says when {task.name} is sure enough: give agree=0.95 (or right=), or a min_confidence"
        raise InputError(f"{message}, or calibrate it with a risk first", field="agree")
    return replace(task, fallback=step)


async def connected(task: Any) -> Connection:
    """Open the connection of a call or a run, and those of the tasks that follow the first.

    Raises:
        InputError: answers were promised to be like those of the next task, and that was not fitted yet.
    """
    connection = await connect(task.settings)
    if task.fallback is None:
        return connection
    if task.fallback.risk is not None and (task.promise is None or task.promise.threshold is None):
        message = f"nothing is known yet of when {task.name} answers as {task.fallback.task.name} does"
        raise InputError(f"{message}: give rows to `.calibrate(rows)`, about 200, and call what it returns")
    return replace(connection, further=await connected(task.fallback.task))


async def answer_in_turn(task: Any, inputs: Mapping[str, Any], connection: Connection) -> Result[Any]:
    """Answer bound inputs; the next task is asked where one abstains or gets no valid answer, and all are paid for."""
    first: Result[Any] = await task._answer(inputs, connection, deadline=connection.deadline(task.settings.timeout))
    if task.fallback is None or not (first.abstained or isinstance(first.error, OutputError)):
        return first
    step = task.fallback.task
    given = {name: inputs[name] for name in step.inputs if name in inputs}
    last = await answer_in_turn(step, given, connection.further or await connected(step))
    told = tuple(warning for warning in first.warnings if warning.startswith(OFF))
    return replace(
        last,
        inputs=first.inputs,
        usage=first.usage + last.usage,
        cost=None if first.cost is None or last.cost is None else first.cost + last.cost,
        attempts=first.attempts + last.attempts,
        cached=first.cached and last.cached,
        warnings=(*told, *last.warnings),
    )
