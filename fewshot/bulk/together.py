"""Several tasks over one text, in one call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from fewshot import _background_loop as loop
from fewshot._checks import REQUIRED
from fewshot.bulk import map as bulk
from fewshot.bulk.records import result_of
from fewshot.errors import FewshotError, InputError
from fewshot.inference.conversation import side_by_side
from fewshot.inference.fits import kept
from fewshot.inference.joining import JoiningClient
from fewshot.inference.predictor import Predictor
from fewshot.models.connection import Connection
from fewshot.outputs.output import Kind, Output
from fewshot.result import Result, plain
from fewshot.types import Usage

__all__ = ["Together", "together"]

_ASKED = ("model", "base_url", "api_key", "client", "cache")
"""The settings that say who is asked, which must be the same for all."""


@dataclass(frozen=True)
class Results(Output[dict[str, Result[Any]]]):
    """A result of each of some tasks, under their names."""

    members: tuple[Predictor[Any], ...]
    kind: ClassVar[Kind] = "schema"

    def __repr__(self) -> str:
        return f"Results({', '.join(f'{member.name}#{member._fingerprint}' for member in self.members)})"

    def parse(self, text: str, *, cue: str = "") -> dict[str, Result[Any]]:  # noqa: ARG002
        """Read what `render` writes."""
        return self.check(json.loads(text))

    def render(self, value: object) -> str:
        """Write results as JSON."""
        return json.dumps(plain(value), ensure_ascii=False)

    def check(self, value: object) -> dict[str, Result[Any]]:
        """Take results as they stand in a saved row; raises InputError for anything else."""
        if not isinstance(value, Mapping) or value.keys() != {member.name for member in self.members}:
            raise InputError(f"there must be a result of each of {', '.join(m.name for m in self.members)}")
        lines = [json.dumps({**value[member.name], "inputs": {}}).encode() for member in self.members]
        return {m.name: result_of(line, m) for line, m in zip(lines, self.members, strict=True)}


@dataclass(frozen=True, kw_only=True, repr=False)
class Together(Predictor[dict[str, Result[Any]]]):
    """Tasks that are asked of the same input; made by `together`."""

    members: tuple[Predictor[Any], ...] = field(default=())

    def __call__(self, *args: Any, **inputs: Any) -> dict[str, Result[Any]]:
        """Give a result of each task under its name.

        Raises:
            InputError: the input is not what the tasks take. ServiceError, OutputError: a task got no valid answer.
        """
        return _results_in(self.run(*args, **inputs))

    async def acall(self, *args: Any, **inputs: Any) -> dict[str, Result[Any]]:
        """Give the results without blocking; errors as for a call."""
        return _results_in(await self.arun(*args, **inputs))

    def run(self, *args: Any, **inputs: Any) -> Result[dict[str, Result[Any]]]:
        """Give one result whose value is that of a call, and which tells what all took; a failure is its `error`."""
        return loop.run(self.arun(*args, **inputs))

    def map(self, rows: Any, **options: Any) -> Iterator[Result[dict[str, Result[Any]]]]:
        """Ask all tasks of many rows, results in their order; options as for `Task.map`."""
        task, given = bulk.prepared(self, options)
        return bulk.map(task, bulk.rows_of(task, rows, None), **given)

    def amap(self, rows: Any, **options: Any) -> AsyncIterator[Result[dict[str, Result[Any]]]]:
        """Ask all tasks of many rows without blocking; see `map`."""
        task, given = bulk.prepared(self, options)
        return bulk.amap(task, bulk.rows_of(task, rows, None), **given)

    @property
    def parts(self) -> tuple[Predictor[Any], ...]:
        """The tasks that are asked."""
        return self.members

    def _changed(self, examples: Any, output: Any, changes: Mapping[str, Any]) -> Self:
        if examples is not None or output is not None:
            raise InputError("examples and outputs are those of each task: change them there")
        members = tuple(member.using(**changes) for member in self.members)
        return replace(self, members=members, output=Results(members), settings=members[0].settings)

    async def _answer(
        self, inputs: Mapping[str, Any], connection: Connection, *, deadline: float, leave_out: bool = False
    ) -> Result[dict[str, Result[Any]]]:
        """Have every task answer over one connection: in one request where all are decided, else side by side."""
        joining: JoiningClient | None = None
        if all(_is_joined(member, connection) for member in self.members):
            joining = JoiningClient(connection.client, len(self.members))
            connection = replace(connection, client=joining, learnt=connection.facts)

        async def one(member: Predictor[Any]) -> Result[Any]:
            given = {name: inputs[name] for name in member.inputs if name in inputs}
            try:
                return await member._answer(given, connection, deadline=deadline, leave_out=leave_out)
            finally:
                if joining is not None:
                    await joining.leave()

        return self._joint(await side_by_side(map(one, self.members)), inputs)

    def _joint(self, results: list[Result[Any]], inputs: Mapping[str, Any]) -> Result[dict[str, Result[Any]]]:
        named = dict(zip((member.name for member in self.members), results, strict=True))
        failed = next(((name, r.error) for name, r in named.items() if r.error is not None), None)
        costs = [result.cost for result in results]
        return Result(
            value=None if failed else named,
            error=_of_task(*failed) if failed else None,
            method="together",
            warnings=tuple(f"{name}: {warning}" for name, r in named.items() for warning in r.warnings),
            model=results[0].model,
            usage=sum((result.usage for result in results), Usage()),
            cost=None if None in costs else sum(cost for cost in costs if cost is not None),
            cached=all(result.cached for result in results),
            attempts=sum(result.attempts for result in results),
            dropped=tuple(dict.fromkeys(name for result in results for name in result.dropped)),
            task=f"{self.name}@{self.version}#{self._fingerprint}",
            inputs=inputs,
        )


def together(*tasks: Any, **options: Any) -> Together:
    """Ask several tasks of one text in one call.

    >>> together(load("sentiment"), classify.task(["bug", "praise"]))("It crashed!")  # doctest: +SKIP
    {'sentiment': Result(value='negative', …), 'classify': Result(value='bug', …)}

    On a decisions endpoint tasks whose outputs it can decide (labels, sets of labels, records of closed fields) are one
    request a text. Elsewhere each task asks its own question, side by side, with what they share cached.

    Arguments:
        tasks: tasks, or functions of this package that need no further argument. All are asked of the same model.
        options: settings for all of them, as for `Task.using`.

    Raises:
        InputError: there are fewer than two, two have the same name, or they are asked of different models.
    """
    members = tuple(t if isinstance(t, Predictor) else t.task() if hasattr(t, "task") else t for t in tasks)
    for member in members:
        if not isinstance(member, Predictor) or isinstance(member, Together):
            raise InputError(f"{member!r:.80} is not a task: give tasks, as `Task.of` and `load` make them")
    members = tuple(member.using(**options) for member in members) if options else members
    names = [member.name for member in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if len(members) < 2 or twice is not None:
        why = f"two have the name {twice!r}: give each its own name=" if twice else f"there are {len(members)}"
        raise InputError(f"at least two tasks with names of their own can be asked together, and {why}")
    for setting in _ASKED:
        if any(getattr(m.settings, setting) != getattr(members[0].settings, setting) for m in members):
            raise InputError(f"the tasks have different {setting}s: give one for all, as together(…, {setting}=…)")
    inputs: dict[str, Any] = {}
    for member in members:
        for name, default in member.inputs.items():
            inputs[name] = REQUIRED if default is REQUIRED else inputs.get(name, default)
    return Together(
        name="+".join(names),
        template=members[0].template,
        output=Results(members),
        inputs=inputs,
        settings=members[0].settings,
        members=members,
    )


def _is_joined(member: Predictor[Any], connection: Connection) -> bool:
    """Tell whether a task asks but one question of decisions, and has no fit, which is one for requests of its own."""
    if not member.output.is_decided or not connection.decides(member.settings.decisions):
        return False
    if member.settings.calibrate is False and not member.calibrations:
        return member.promise is None
    fitted = member.promise or member.calibrations or kept(member._calibration_key(connection))
    return not fitted and member.settings.calibrate is not True


def _results_in(result: Result[dict[str, Result[Any]]]) -> dict[str, Result[Any]]:
    if result.error is not None:
        raise result.error
    return result.value or {}


def _of_task(name: str, error: FewshotError) -> FewshotError:
    """Say in an error of which task it is."""
    error.args = (f"{name}: {error}", *error.args[1:])
    return error
