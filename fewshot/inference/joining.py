"""Several tasks over one input: side by side, or in turn.

Side by side they are one request where an endpoint decides on all, else each its own. In turn the next one is asked
where one abstains, which makes a cascade of a cheap one and a strong one.

In the one request each task's instruction and shots become the instructions of its own questions, and the input is what
they are asked of.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fewshot._checks import REQUIRED, check_number
from fewshot.calibration.promise import OFF
from fewshot.errors import FewshotError, InputError, OutputError
from fewshot.inference.fits import kept
from fewshot.inference.long_text import may_be_long, planned, sized
from fewshot.models.client import Client, ClientWrapper
from fewshot.models.connection import Connection, connect
from fewshot.outputs.output import Kind, Output
from fewshot.result import Result, plain
from fewshot.types import Completion, Decision, Request, Usage

__all__ = [
    "Fallback",
    "JoiningClient",
    "Joint",
    "answer_in_turn",
    "answer_together",
    "changed_together",
    "connected",
    "handing_on",
    "joined",
    "made_together",
]

_ASKED = ("model", "base_url", "api_key", "client", "cache")
"""The settings that say who is asked, which must be the same for all."""


@dataclass(frozen=True)
class Joint(Output[dict[str, Result[Any]]]):
    """A result of each of some tasks, under their names."""

    members: tuple[Any, ...]
    kind: ClassVar[Kind] = "schema"

    def __repr__(self) -> str:
        return f"Joint({', '.join(f'{member.name}#{member._fingerprint}' for member in self.members)})"

    @property
    def parts(self) -> dict[str, Output[Any]]:
        """The output of each task."""
        return {member.name: member.output for member in self.members}

    def parse(self, text: str, *, cue: str = "") -> dict[str, Result[Any]]:  # noqa: ARG002
        """Read what `render` writes."""
        return self.check(json.loads(text))

    def render(self, value: object) -> str:
        """Write values as JSON."""
        return json.dumps(plain(value), ensure_ascii=False)

    def check(self, value: object) -> dict[str, Any]:
        """Take a right value of each; raises InputError for anything else."""
        if not isinstance(value, Mapping) or value.keys() != self.parts.keys():
            raise InputError(f"there must be one of each of {', '.join(self.parts)}")
        return {name: output.check(value[name]) for name, output in self.parts.items()}


def made_together(kind: Any, members: Sequence[Any], options: Mapping[str, Any] | None = None, **about: Any) -> Any:
    """Make one task, of a kind of `Predictor`, of several over the same input.

    Arguments:
        options: settings for all of them.
        about: its attributes that are not those of the tasks, such as its name.

    Raises:
        InputError: there are fewer than two, two have the same name, or they are asked of different models.
    """
    for member in members:
        if not hasattr(member, "members") or member.members or member.fallback:
            raise InputError(f"{member!r:.80} is not a task: give tasks, as `Task.of` and `load` make them")
    members = [member.using(**options) for member in members] if options else members
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
    own = {"name": "+".join(names), "template": members[0].template, "inputs": inputs, "settings": members[0].settings}
    return kind(**own | about, output=Joint(tuple(members)), members=tuple(members))


def changed_together(task: Any, examples: Any, output: Any, changes: Mapping[str, Any]) -> Any:
    """Give several tasks with other options; a `min_confidence` by name is each task's own.

    Raises:
        InputError: an option is not valid, or is one of a single task.
    """
    if examples is not None or output is not None:
        raise InputError("examples and outputs are those of each task: change them there")
    least = changes.get("min_confidence")
    own: Mapping[str, Any] = least if isinstance(least, Mapping) and least.keys() <= task.output.parts.keys() else {}
    shared = {name: value for name, value in changes.items() if not (own and name == "min_confidence")}
    members = [m.using(**shared, **({"min_confidence": own.get(m.name)} if own else {})) for m in task.members]
    parameters = {name: changes.get(name, value) for name, value in task.parameters.items()}
    return with_members(task, members, parameters=parameters, settings=members[0].settings)


def with_members(task: Any, members: Sequence[Any], **changes: Any) -> Any:
    """Give several tasks with others in their places."""
    return replace(task, members=tuple(members), output=Joint(tuple(members)), **changes)


async def answer_together(
    task: Any, inputs: Mapping[str, Any], connection: Connection, *, deadline: float, leave_out: bool = False
) -> Result[Any]:
    """Have every task answer over one connection: in one request where all are decided, else side by side.

    All come to their end, be it an error, so that what one wants from a batch run does not hide what another does.
    """
    joining: JoiningClient | None = None
    if all([_is_joined(m, connection) and not await _is_cut(m, inputs, connection) for m in task.members]):
        joining = JoiningClient(connection.client, len(task.members))
        connection = replace(connection, client=joining, learnt=connection.facts)

    async def one(member: Any) -> Result[Any]:
        given = {name: inputs[name] for name in member.inputs if name in inputs}
        try:
            result: Result[Any] = await member._answer(given, connection, deadline=deadline, leave_out=leave_out)
            return result
        finally:
            if joining is not None:
                await joining.leave()

    came = await asyncio.gather(*map(one, task.members), return_exceptions=True)
    for each in came:
        if isinstance(each, BaseException):
            raise each
    results = [each for each in came if isinstance(each, Result)]
    named = dict(zip((member.name for member in task.members), results, strict=True))
    failed = next(((name, r.error) for name, r in named.items() if r.error is not None), None)
    costs = [result.cost for result in results]
    return Result(
        value=None if failed else named,
        error=_of_task(*failed) if failed else None,
        method="together",
        parts=max(result.parts for result in results),
        warnings=tuple(f"{name}: {warning}" for name, r in named.items() for warning in r.warnings),
        model=results[0].model,
        usage=sum((result.usage for result in results), Usage()),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        cached=all(result.cached for result in results),
        attempts=sum(result.attempts for result in results),
        dropped=tuple(dict.fromkeys(name for result in results for name in result.dropped)),
        task=f"{task.name}@{task.version}#{task._fingerprint}",
        inputs=inputs,
    )


def _is_joined(member: Any, connection: Connection) -> bool:
    """Tell whether a task asks but one question of decisions, and has no fit, which is one for requests of its own."""
    if not member.output.is_decided or not connection.decides(member.settings.decisions):
        return False
    if member.settings.calibrate is False and not member.calibrations:
        return member.promise is None
    fitted = member.promise or member.calibrations or kept(member._calibration_key(connection))
    return not fitted and member.settings.calibrate is not True


async def _is_cut(member: Any, inputs: Mapping[str, Any], connection: Connection) -> bool:
    """Tell whether a task asks about parts of a text, so that its questions are not over one input."""
    given = {name: inputs[name] for name in member.inputs if name in inputs}
    question = member._question(given, member._prompts.of(member.examples), connection)
    return may_be_long(question) and len(planned(await sized(question, connection))) > 1


def _of_task(name: str, error: FewshotError) -> FewshotError:
    error.args = (f"{name}: {error}", *error.args[1:])
    return error


def joined(requests: Sequence[Request]) -> Request:
    """Make one request for decisions of several; the names of their questions begin with their places."""
    messages = tuple(dict.fromkeys(turn for request in requests for turn in request.messages))
    questions: list[Decision] = []
    for place, request in enumerate(requests):
        told = "\n".join(turn.content for turn in request.prefix.messages)
        questions += [Decision(f"{place}", told, request.choices)] if request.choices else []
        questions += [
            Decision(f"{place}.{q.name}", f"{told}\n{q.instructions}".lstrip(), q.choices) for q in request.questions
        ]
    return Request(model=requests[0].model, messages=messages, questions=tuple(questions))


def _parted(completion: Completion, requests: Sequence[Request]) -> list[Completion]:
    """Give each request its part of the answer, and an even share of what it took."""
    found: dict[str, Any] = dict(completion.probabilities or {})
    used, count = completion.usage, len(requests)
    parts = []
    for place, request in enumerate(requests):
        first = place == 0
        own = (
            found.get(str(place))
            if request.choices
            else {q.name: found.get(f"{place}.{q.name}") for q in request.questions}
        )
        share = Usage(
            *(
                total // count + (total % count if first else 0)
                for total in (used.input_tokens, used.output_tokens, used.cached_tokens)
            )
        )
        attempts = completion.attempts if first else 0
        parts.append(replace(completion, probabilities=own if found else None, usage=share, attempts=attempts))
    return parts


class JoiningClient(ClientWrapper):
    """Holds requests for decisions back until all that will come have come, and sends them as one.

    Arguments:
        expected: how many come, side by side.
    """

    def __init__(self, client: Client, expected: int) -> None:
        super().__init__(client)
        self._expected = expected
        self._deadline: float | None = None
        self._waiting: list[tuple[Request, asyncio.Future[Completion]]] = []

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer a request; one for decisions waits for the others."""
        if not request.decides or not self._expected:
            return await self.ask(request, deadline)
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._deadline = deadline
        if len(self._waiting) == self._expected:
            self._expected = 0
            await self._send()
        return await answer

    async def leave(self) -> None:
        """Wait no longer for one that has come to its end, be it without having asked."""
        if self._expected:
            self._expected -= 1
            if self._waiting and len(self._waiting) == self._expected:
                self._expected = 0
                await self._send()

    async def _send(self) -> None:
        requests = [request for request, _ in self._waiting]
        try:
            parts = _parted(await self.ask(joined(requests), self._deadline), requests)
        except BaseException as error:
            for _, answer in self._waiting:
                if not answer.done():  # a call that was cancelled waits no longer
                    answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), part in zip(self._waiting, parts, strict=True):
            if not answer.done():
                answer.set_result(part)


# -- in turn -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fallback:
    """What is asked where a task abstains, and what was promised of the rows where it does not.

    How sure the first must be is fitted by `calibrate` on rows that the next one has answered too (`agree`) or that
    people have labelled (`right`), so that of all rows no more than promised get an answer of the first that is another
    or wrong (the accuracy target of BARGAIN, Zeighami et al. 2026, SIGMOD, and of LOTUS). Where that promise does not
    hold, the next one is asked.
    """

    task: Any
    """A `Predictor`."""
    agree: float | None = None
    """The share of all rows that shall get the answer that `task` gives."""
    right: float | None = None
    """The share of all rows that shall be answered rightly by the first, or be left to `task`."""

    @property
    def promises(self) -> dict[str, Any]:
        """What is to be fitted; nothing where the caller's own threshold decides."""
        given = {"agree": self.agree, "right": self.right}
        return {name: share for name, share in given.items() if share is not None}


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
    for name, share in step.promises.items():
        check_number(name, share, "a share between 0 and 1, such as 0.95 for 95%")
        if not 0 < share < 1:
            raise InputError(f"{name}={share!r}: must lie between 0 and 1, as 0.95 for 95%", field=name)
    own = task.settings.min_confidence is not None or (task.promise is not None and task.promise.threshold is not None)
    if not step.promises and not own:
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
    if task.fallback.promises and (task.promise is None or task.promise.threshold is None):
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
