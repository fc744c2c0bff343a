"""A task: a template, examples, an output and settings, made into a function.

A `Task` is a frozen value. It comes from a folder (`load("sentiment")`) or from code (`Task.of(...)`); calling it asks
a model and gives the value. Changing an option makes another task: `task.using(k=4)`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from fewshot import _background_loop as loop
from fewshot._checks import REQUIRED, check_input, did_you_mean
from fewshot.data.examples import check_examples, example_of
from fewshot.errors import InputError, OutputError, ServiceError, TaskError
from fewshot.inference.conversation import ask, drive
from fewshot.inference.first_use import calibration_for, calibration_key
from fewshot.inference.question import Question
from fewshot.inference.redaction import detectors_of, redact
from fewshot.inference.shots import Prompts
from fewshot.models.connection import Connection, connect
from fewshot.models.pricing import cost_of_all
from fewshot.outputs.kinds import Output, output_of
from fewshot.prompts.prompt import Prompt
from fewshot.prompts.template import Template
from fewshot.result import Result
from fewshot.settings import Settings, TaskOptions
from fewshot.types import Completion, Example, Form, Message, Usage

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fewshot.bulk.map import BulkOptions
    from fewshot.calibration.calibration import Calibration
    from fewshot.evaluation.calibrate import Calibrated, CalibrateOptions
    from fewshot.evaluation.evaluate import EvaluateOptions
    from fewshot.evaluation.report import Report
    from fewshot.outputs.numerals import Value
    from fewshot.outputs.typing import AsGiven, AsNumber, AsSchema, AsText, AsType
    from fewshot.tuning.result import Tuned
    from fewshot.tuning.tune import TuneOptions

__all__ = ["Task"]

T = TypeVar("T")
U = TypeVar("U")
Shots = Iterable[Any]
_MAX_VARIANTS = 64


@dataclass(frozen=True, kw_only=True)
class Task(Generic[T]):
    """A function learned from examples.

    Attributes:
        name: short name, as in `fewshot run NAME`.
        template: how one example looks.
        output: what an answer must be.
        inputs: the inputs with their defaults; `...` where there is none.
        parameters: what stays the same over many calls (a target language), with the values in force.
        examples: all shots that there are; `settings.k` and `settings.select` choose from them.
    """

    name: str
    template: Template
    output: Output[T]
    inputs: Mapping[str, Any] = field(default_factory=lambda: {"text": REQUIRED})
    parameters: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    settings: Settings = field(default_factory=Settings)
    description: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    """What each input and parameter means."""
    version: str = "1"
    path: Path | None = None
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    """Fitted calibrations, each under its `calibration_key`, so that none is applied to another prompt or model."""
    fitted: Calibrated | None = field(default=None, repr=False, compare=False)
    """What `calibrate` tried and chose, on a task that it returned."""
    _variants: dict[Any, Task[T]] = field(default_factory=dict, init=False, repr=False, compare=False)

    # -- making ---------------------------------------------------------------------------------------------------

    @overload
    @staticmethod
    def of(template: str, output: type[bool], examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[bool]: ...
    @overload
    @staticmethod
    def of(template: str, output: AsText, examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[str]: ...
    @overload
    @staticmethod
    def of(template: str, output: AsNumber, examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[Value]: ...
    @overload
    @staticmethod
    def of(template: str, output: AsGiven[U], examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[U]: ...
    @overload
    @staticmethod
    def of(template: str, output: AsType[U], examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[U]: ...
    @overload
    @staticmethod
    def of(template: str, output: AsSchema, examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[Any]: ...
    @staticmethod
    def of(template: str, output: Any, examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[Any]:
        """Make a task in code.

        Arguments:
            template: the three blocks as text, or just an instruction: then an input looks like `Input: …` and an
                output like `Output: …`.
            output: a list of labels, `"text"`, `"number"`, a type (such as a `Literal`), a pydantic model, or a JSON
                schema. Type checkers infer from it what calls give.
            examples: pairs (input, output) or dicts with an `output`.
            more: `name`, `inputs` (by default what the template uses), `parameters`, and options (see `Settings`).

        Raises:
            TaskError: the template is not valid. InputError: an option or an example is not.
        """
        name = more.pop("name", "task")
        inputs, parameters = more.pop("inputs", None), more.pop("parameters", None) or {}
        compiled = Template.of(template, name)
        declared = compiled.free(parameters) if inputs is None else inputs
        declared = dict(declared) if isinstance(declared, Mapping) else dict.fromkeys(declared, REQUIRED)
        compiled.check(declared, parameters)
        options = Settings().updated(more)
        task: Task[Any] = Task(
            name=name, template=compiled, output=output_of(output), inputs=declared, settings=options
        )
        return replace(task, parameters=dict(parameters)).using(examples=examples)

    @overload
    def using(self, *, examples: Shots | None = None, output: None = None, **changes: Any) -> Task[T]: ...
    @overload
    def using(self, *, examples: Shots | None = None, output: Output[U], **changes: Any) -> Task[U]: ...
    def using(self, *, examples: Shots | None = None, output: Output[Any] | None = None, **changes: Any) -> Task[Any]:
        """Give the same task with other options, parameters, examples or output.

        Raises:
            InputError: an unknown option, a bad value, or an example that is not valid.
        """
        shots = None if examples is None else tuple(examples)
        key = (shots, output, tuple(sorted(changes.items(), key=itemgetter(0))))
        try:
            known = self._variants.get(key)
        except TypeError:  # an example is a dict, say: not a key, so make the task anew
            return self._changed(shots, output, changes)
        if known is None:
            if len(self._variants) >= _MAX_VARIANTS:
                self._variants.clear()
            known = self._variants[key] = self._changed(shots, output, changes)
        return known

    def _changed(
        self, examples: tuple[Any, ...] | None, output: Output[Any] | None, changes: Mapping[str, Any]
    ) -> Task[Any]:
        parameters = {name: value for name, value in changes.items() if name in self.parameters}
        task: Task[Any] = replace(
            self,
            parameters={**self.parameters, **parameters},
            settings=self.settings.updated({k: v for k, v in changes.items() if k not in self.parameters}),
            output=output or self.output,
        )
        if examples is None:
            return task
        rows = [example_of(shot, self.inputs) for shot in examples]
        try:
            return replace(task, examples=check_examples(rows, self.inputs, self.parameters, task.output))
        except TaskError as error:  # the caller's mistake here, not an author's
            raise InputError(str(error), field="examples", row=error.line) from error

    # -- asking ---------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **inputs: Any) -> T:
        """Give the value for an input.

        Raises:
            InputError: the input is not what the task takes. ServiceError: the service failed.
            OutputError: no answer became valid. Abstaining gives None.
        """
        return _value(self.run(*args, **inputs))

    async def acall(self, *args: Any, **inputs: Any) -> T:
        """Give the value for an input, without blocking; errors as for a call."""
        return _value(await self.arun(*args, **inputs))

    def run(self, *args: Any, **inputs: Any) -> Result[T]:
        """Give the value with everything about the call; what the service or the model did wrong is in `error`.

        Raises:
            InputError, TaskError or ConfigError: the call itself is wrong.
        """
        return loop.run(self.arun(*args, **inputs))

    async def arun(self, *args: Any, **inputs: Any) -> Result[T]:
        """Give the result for an input, without blocking; see `run`."""
        task, bound = self.bind(*args, **inputs)
        connection = await connect(task.settings)  # fetching and loading the embedded model is not charged to the call
        return await task.answer(bound, connection, deadline=connection.deadline(task.settings.timeout))

    async def answer(self, inputs: Mapping[str, Any], connection: Connection, *, deadline: float) -> Result[T]:
        """Answer bound inputs over an open connection: the one path of single calls and bulk runs."""
        inputs, private = redact(inputs, detectors_of(self.settings.redact))
        started = time.monotonic()
        try:
            prompt = await self.prompts.chosen(inputs, connection, deadline=deadline)
        except ServiceError as error:
            return self._failed(error, self.question(inputs, self.prompts.of(()), connection), connection)
        calibration = await calibration_for(self, inputs, prompt, connection)
        deadline += time.monotonic() - started  # fitting at first use is not charged to the call that comes first
        question = self.question(inputs, prompt, connection, calibration)
        try:
            found = await drive(ask(question), connection.client, deadline=deadline)
        except (ServiceError, OutputError) as error:
            return self._failed(error, question, connection)
        if question.decides and found.method != "decisions":
            connection.gives_no_decisions()
        if question.found_silent and found.method not in ("logprobs", "decisions"):
            connection.gives_no_logprobs()
        if found.room:
            connection.needs_room(found.room)
        abstains = found.falls_short(self.settings.min_confidence)
        return replace(
            self._result(question, connection),
            value=None if abstains else self.output.value(private.restore(found.value)),
            abstained=abstains,
            probabilities=found.probabilities and {self.output.value(la): p for la, p in found.probabilities.items()},
            confidence=found.confidence,
            method=found.method,
            calibration=found.calibration,
            coverage=found.coverage,
            warnings=found.warnings,
        )

    # -- many rows ------------------------------------------------------------------------------------------------

    def map(self, rows: Any, **options: Unpack[BulkOptions]) -> Iterator[Result[T]]:
        """Answer many rows, results in their order; a series or frame gives one back. See `fewshot.bulk.map.map`."""
        from fewshot.bulk import map as bulk

        return bulk.map(self, rows, **options)

    def amap(self, rows: Any, **options: Unpack[BulkOptions]) -> AsyncIterator[Result[T]]:
        """Answer many rows without blocking; see `fewshot.bulk.map.amap`."""
        from fewshot.bulk import map as bulk

        return bulk.amap(self, rows, **options)

    # -- judging --------------------------------------------------------------------------------------------------

    def evaluate(self, rows: Any, **options: Unpack[EvaluateOptions]) -> Report:
        """Measure the task on labelled rows (a file, pairs); see `fewshot.evaluation.evaluate.evaluate`."""
        return loop.run(self.aevaluate(rows, **options))

    async def aevaluate(self, rows: Any, **options: Unpack[EvaluateOptions]) -> Report:
        """Measure the task on labelled rows, without blocking; see `fewshot.evaluation.evaluate.evaluate`."""
        from fewshot.evaluation.evaluate import evaluate

        return await evaluate(self, rows, **options)

    def calibrate(self, rows: Any, **options: Unpack[CalibrateOptions]) -> Task[T]:
        """Give the task calibrated on labelled rows (a file, pairs); see `fewshot.evaluation.calibrate.calibrate`."""
        return loop.run(self.acalibrate(rows, **options))

    async def acalibrate(self, rows: Any, **options: Unpack[CalibrateOptions]) -> Task[T]:
        """Give the task calibrated on labelled rows, without blocking; see `fewshot.evaluation.calibrate.calibrate`."""
        from fewshot.evaluation.calibrate import calibrate

        return await calibrate(self, rows, **options)

    def tune(self, rows: Any, **options: Unpack[TuneOptions]) -> Tuned:
        """Search for a better prompt on labelled rows (a file, dicts or pairs); see `fewshot.tuning.tune.tune`."""
        return loop.run(self.atune(rows, **options))

    async def atune(self, rows: Any, **options: Unpack[TuneOptions]) -> Tuned:
        """Search for a better prompt on labelled rows, without blocking; see `fewshot.tuning.tune.tune`."""
        from fewshot.tuning.tune import tune

        return await tune(self, rows, **options)

    # -- looking --------------------------------------------------------------------------------------------------

    @overload
    def render(self, *args: Any, form: Literal["chat"] = "chat", **inputs: Any) -> list[Message]: ...
    @overload
    def render(self, *args: Any, form: Literal["text"], **inputs: Any) -> str: ...
    def render(self, *args: Any, form: Form = "chat", **inputs: Any) -> list[Message] | str:
        """Give exactly what would be sent, and send nothing: messages for a chat, one string for a completion."""
        task, bound = self.bind(*args, **inputs)
        prompt = task.prompt(bound)
        return prompt.text(bound) if form == "text" else [*prompt.prefix.messages, prompt.turn(bound)]

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of everything that decides the prompt and the reading of answers: 12 hex digits."""
        shots = [[dict(e.inputs), self.output.render(e.output)] for e in self.examples]
        settings = self.settings.deciding_the_prompt
        content = [self.template.source, repr(self.output), dict(self.parameters), shots, settings]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]

    @cached_property
    def shots_by_id(self) -> Mapping[str, Example]:
        """The examples, each under its id."""
        return {example.id: example for example in self.examples}

    # -- parts ----------------------------------------------------------------------------------------------------

    def bind_row(self, row: Any) -> tuple[Task[T], Mapping[str, Any]]:
        """Bind a row of many: an `id` and an `output` beside its inputs are let be. Raises as `bind`."""
        if isinstance(row, Mapping):
            known = (*self.inputs, *self.parameters)
            row = {name: value for name, value in row.items() if name in known or name not in ("id", "output")}
        return self.bind(row)

    def bind(self, *args: Any, **given: Any) -> tuple[Task[T], Mapping[str, Any]]:
        """Check the inputs of a call and fill in defaults; parameters among them make a task with those set.

        Raises:
            InputError: a missing, unknown or unusable input; names the field.
        """
        if len(args) == 1 and isinstance(args[0], Mapping) and not given:
            given, args = dict(args[0]), ()
        names = list(self.inputs)
        if len(args) > len(names):
            raise InputError(f"{self.name} takes {len(names)} input(s) ({', '.join(names)}), not {len(args)}")
        given = {**dict(zip(names, args, strict=False)), **given}
        known = [*names, *self.parameters]
        for name in given:
            if name not in known:
                message = f"unknown input {name!r}{did_you_mean(name, known)}; {self.name} takes {', '.join(known)}"
                raise InputError(message, field=name)
        parameters = {name: given.pop(name) for name in list(given) if name in self.parameters}
        task = self.using(**parameters) if parameters else self
        inputs = {name: given.get(name, default) for name, default in self.inputs.items()}
        for name, value in inputs.items():
            check_input(self.name, name, value, optional=self.inputs[name] is None)
        return task, inputs

    def prompt(self, inputs: Mapping[str, Any]) -> Prompt:
        """Give the constant part of the prompt for these inputs; the same object whenever the shots are the same."""
        return self.prompts.offline(inputs)

    @cached_property
    def prompts(self) -> Prompts:
        """The prompts of this task, made when they are first needed."""
        return Prompts(self.template, self.output, self.parameters, self.inputs, self.examples, self.settings)

    def question(
        self,
        inputs: Mapping[str, Any],
        prompt: Prompt,
        connection: Connection,
        calibration: Calibration | None = None,
    ) -> Question:
        """Join inputs, prompt, settings and endpoint to what a conversation needs."""
        return Question(
            prompt=prompt,
            inputs=inputs,
            settings=self.settings,
            model=connection.model,
            form=self.settings.form or connection.form,
            top_logprobs=connection.top_logprobs(self.settings.form),
            decides=self.output.labels is not None and connection.decides(self.settings.decisions),
            continues=connection.local,
            extra=connection.extra,
            room=connection.room,
            calibration=calibration,
        )

    async def question_for(self, inputs: Mapping[str, Any], connection: Connection) -> Question:
        """Make a question of labelled inputs, which are never among its own shots where the question chooses them."""
        deadline = connection.deadline(self.settings.timeout)
        prompt = await self.prompts.chosen(inputs, connection, deadline=deadline, leave_out=True)
        return self.question(inputs, prompt, connection)

    def calibration_key(self, connection: Connection, inputs: Mapping[str, Any] | None = None) -> str:
        """Name what a calibration of this task is for: its content, the kind of question, the model and the way."""
        return calibration_key(self, inputs or {}, connection)

    def _result(self, question: Question, connection: Connection) -> Result[T]:
        completions = tuple(completion.brief() for completion in question.completions)
        usage = sum((c.usage for c in completions if not c.cached), Usage())
        last = completions[-1] if completions else Completion(text="")
        return Result(
            raw=last.text,
            model=last.model or connection.model,
            usage=usage,
            cost=0.0 if connection.local else cost_of_all(connection.model, completions),
            cached=bool(completions) and all(c.cached for c in completions),
            attempts=sum(c.attempts for c in completions),
            dropped=tuple(dict.fromkeys(name for c in completions for name in c.dropped)),
            request=question.request(),
            completions=completions,
            examples=question.prompt.examples,
            task=f"{self.name}@{self.version}#{self.fingerprint}",
            inputs=question.inputs,
        )

    def _failed(self, error: ServiceError | OutputError, question: Question, connection: Connection) -> Result[T]:
        question.completions.extend(error.beside if isinstance(error, ServiceError) else ())
        result = self._result(question, connection)
        attempts = result.attempts + (error.attempts if isinstance(error, ServiceError) else 0)
        return replace(result, error=error, attempts=attempts)


def _value(result: Result[T]) -> T:
    if result.error is not None:
        raise result.error
    return result.value  # type: ignore[return-value]  # None only where the task abstains
