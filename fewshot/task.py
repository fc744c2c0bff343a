"""A task: a template, examples, an output and settings, made into a function.

A `Task` is a frozen value. It comes from a folder (`load("sentiment")`) or from code (`Task.of(...)`); calling it asks
a model and gives the value. Changing an option makes another task: `task.using(k=4)`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from fewshot import _background_loop as loop
from fewshot._checks import REQUIRED, brief, check_kind
from fewshot.errors import InputError
from fewshot.folders.loader import read_folder
from fewshot.inference.joining import handing_on, made_together
from fewshot.inference.predictor import Predictor
from fewshot.outputs.kinds import Output, output_of
from fewshot.outputs.typing import AsGiven, AsNumber, AsSchema, AsText, AsType, F
from fewshot.prompts.template import Template
from fewshot.result import Result
from fewshot.settings import Settings, TaskOptions
from fewshot.types import Form, Message

if TYPE_CHECKING:
    from fewshot.estimation.shares import Shares
    from fewshot.evaluation.calibrate import CalibrateOptions
    from fewshot.evaluation.evaluate import EvaluateOptions
    from fewshot.evaluation.report import Report
    from fewshot.tuning.result import Tuned
    from fewshot.tuning.tune import TuneOptions
else:  # these modules are loaded when they are needed; who reads type hints while the program runs gets plain ones
    CalibrateOptions = EvaluateOptions = TuneOptions = dict[str, Any]
    Report = Shares = Tuned = Any

__all__ = ["Task", "load", "together", "value_of"]

T = TypeVar("T")
U = TypeVar("U")
Shots = Iterable[Any]


@dataclass(frozen=True, kw_only=True, repr=False)
class Task(Predictor[T]):
    """A function learned from examples: a `Predictor` with all that one does with it."""

    @overload
    @staticmethod
    def of(template: str, output: type[bool], examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[bool]: ...

    @overload
    @staticmethod
    def of(template: str, output: AsText, examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[str]: ...

    @overload
    @staticmethod
    def of(template: str, output: type[int], examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[int]: ...

    @overload
    @staticmethod
    def of(template: str, output: AsNumber, examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[float]: ...

    @overload
    @staticmethod
    def of(template: str, output: AsGiven[U], examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[U]: ...

    @overload
    @staticmethod
    def of(template: str, output: AsSchema, examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[Any]: ...

    @overload
    @staticmethod
    def of(template: str, output: AsType[U], examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[U]: ...

    @staticmethod
    def of(template: str, output: Any, examples: Shots = (), **more: Unpack[TaskOptions]) -> Task[Any]:
        """Make a task in code.

        Arguments:
            template: the three blocks as text, or just an instruction: then an input looks like `Input: …` (or, of
                `inputs=["question", "context"]`, like `Question: …`) and an output like `Output: …`.
            output: a list of labels, `"text"`, `"number"`, a JSON schema, or a type: a `Literal`, an enum, `bool`,
                `int`, `float`, `Decimal`, a pydantic model, a dataclass, or whatever pydantic can validate
                (`list[Item]`, `Item | None`, `date`). Type checkers infer from it what calls give.
            examples: pairs (input, output) or dicts with an `output`.
            more: `name`, `inputs` (by default what the template uses), `parameters`, and options (see `Settings`).

        Raises:
            TaskError: the template is not valid, or records of the output's type would not be read back as they
                were. InputError: an option or an example is not valid.
        """
        name = more.pop("name", "task")
        inputs, parameters = more.pop("inputs", None), more.pop("parameters", None) or {}
        check_kind("template", template, str, what="an instruction, or a template with blocks")
        check_kind("name", name, str, what="a text")
        check_kind(
            "inputs", inputs, Mapping, list, tuple, set, frozenset, type(None), what="names, or each with its default"
        )
        check_kind("parameters", parameters, Mapping, what="a dict of names and values")
        for each in (*(inputs or ()), *parameters):
            check_kind("inputs", each, str, what="names that are texts")
        declared = inputs if isinstance(inputs, Mapping) or inputs is None else dict.fromkeys(inputs, REQUIRED)
        compiled = Template.of(template, name, declared)
        declared = dict.fromkeys(compiled.free(parameters), REQUIRED) if declared is None else dict(declared)
        compiled.check(declared, parameters)
        options = Settings().updated(more)
        task: Task[Any] = Task(
            name=name, template=compiled, output=output_of(output), inputs=declared, settings=options
        )
        return replace(task, parameters=dict(parameters)).using(examples=examples)

    if TYPE_CHECKING:  # another output makes a task of another type

        @overload  # type: ignore[override, no-overload-impl]  # `Predictor.using` is what runs
        def using(self, *, min_confidence: float, **changes: Any) -> Task[T | None]: ...
        @overload
        def using(self, *, examples: Shots | None = None, output: None = None, **changes: Any) -> Task[T]: ...
        @overload
        def using(self, *, examples: Shots | None = None, output: Output[U], **changes: Any) -> Task[U]: ...

    @overload
    def __call__(self, *args: Any, min_confidence: float, **inputs: Any) -> T | None: ...
    @overload
    def __call__(self, *args: Any, **inputs: Any) -> T: ...
    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """Give the value for an input.

        Raises:
            InputError: the input is not what the task takes. ServiceError: the service failed.
            OutputError: no answer became valid. Abstaining gives None.
        """
        return value_of(self.run(*args, **inputs))

    @overload
    async def acall(self, *args: Any, min_confidence: float, **inputs: Any) -> T | None: ...
    @overload
    async def acall(self, *args: Any, **inputs: Any) -> T: ...
    async def acall(self, *args: Any, **inputs: Any) -> Any:
        """Give the value for an input, without blocking; errors as for a call."""
        return value_of(await self.arun(*args, **inputs))

    def run(self, *args: Any, **inputs: Any) -> Result[T]:
        """Give the value with everything about the call; what the service or the model did wrong is in `error`.

        Raises:
            InputError, TaskError or ConfigError: the call itself is wrong.
        """
        return loop.run(self.arun(*args, **inputs))

    @overload
    def map(
        self, rows: F, *, columns: Mapping[str, str] | None = None, encoding: str | None = None, **options: Any
    ) -> F: ...

    @overload
    def map(
        self, rows: Any, *, columns: Mapping[str, str] | None = None, encoding: str | None = None, **options: Any
    ) -> Iterator[Result[T]]: ...

    def map(
        self, rows: Any, *, columns: Mapping[str, str] | None = None, encoding: str | None = None, **options: Any
    ) -> Any:
        """Answer many rows, results in their order.

        Arguments:
            rows: texts, dicts of the task's inputs, the path of a file, or a series or data frame of pandas or Polars.
            columns: for an input the column of the file, frame or dicts that holds it, where the names differ.
            encoding: of a file that is not UTF-8.
            options: how many at a time and so on (`fewshot.bulk.map.BulkOptions`), and settings as for `using`.

        Returns:
            An iterator of results, which asks as they are taken. For a series a series of values, for a data frame one
            of results.

        Raises:
            InputError, ConfigError, ServiceError: see `fewshot.bulk.map.map`.
        """
        from fewshot.bulk import map as bulk

        task, given = bulk.prepared(self, options)
        return bulk.map(task, bulk.rows_of(task, rows, columns, encoding), **given)

    def amap(
        self, rows: Any, *, columns: Mapping[str, str] | None = None, encoding: str | None = None, **options: Any
    ) -> AsyncIterator[Result[T]]:
        """Answer many rows without blocking; see `map`."""
        from fewshot.bulk import map as bulk

        task, given = bulk.prepared(self, options)
        return bulk.amap(task, bulk.rows_of(task, rows, columns, encoding), **given)

    def evaluate(self, rows: Any, **options: Unpack[EvaluateOptions]) -> Report:
        """Measure the task on labelled rows (a file, pairs); see `fewshot.evaluation.evaluate.evaluate`."""
        return loop.run(self.aevaluate(rows, **options))

    async def aevaluate(self, rows: Any, **options: Unpack[EvaluateOptions]) -> Report:
        """Measure the task on labelled rows, without blocking; see `fewshot.evaluation.evaluate.evaluate`."""
        from fewshot.evaluation.evaluate import evaluate

        return await evaluate(self, rows, **options)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the task as a folder, with its fit where it was calibrated; see `fewshot.folders.writer.save`."""
        from fewshot.folders.writer import save

        self._of_one_output("saved")
        return save(self, folder)

    def calibrate(self, rows: Any = None, **options: Unpack[CalibrateOptions]) -> Task[T]:
        """Give the task calibrated on labelled rows (a file, pairs); see `fewshot.evaluation.calibrate.calibrate`."""
        return loop.run(self.acalibrate(rows, **options))

    async def acalibrate(self, rows: Any = None, **options: Unpack[CalibrateOptions]) -> Task[T]:
        """Give the task calibrated on labelled rows, without blocking; see `fewshot.evaluation.calibrate.calibrate`."""
        if self.fallback is not None and self.fallback.promises:
            from fewshot.evaluation.cascade_fit import fitted_in_turn

            return await fitted_in_turn(self, rows, **options)  # type: ignore[return-value]
        from fewshot.evaluation.calibrate import calibrate

        calibrated: Task[T] = await calibrate(self, rows, **options)  # type: ignore[assignment]  # it changes copies
        return calibrated

    def tune(self, rows: Any, **options: Unpack[TuneOptions]) -> Tuned:
        """Search for a better prompt on labelled rows (a file, dicts or pairs); see `fewshot.tuning.tune.tune`."""
        return loop.run(self.atune(rows, **options))

    async def atune(self, rows: Any, **options: Unpack[TuneOptions]) -> Tuned:
        """Search for a better prompt on labelled rows, without blocking; see `fewshot.tuning.tune.tune`."""
        from fewshot.tuning.tune import tune

        self._of_one_output("tuned")
        return await tune(self, rows, **options)

    def then(self, other: Task[T], *, agree: float | None = None, right: float | None = None) -> Task[T]:
        """Give a cascade: where this task is not sure enough, the other one is asked.

        Arguments:
            agree: the share of all rows whose answer shall be the one that the other task gives; `.calibrate(rows)`
                then finds how sure this one must be, on rows (without labels) that both answer.
            right: instead, the share of all rows that this task answers rightly or leaves to the other, so that the
                cascade is right on at most 1 - `right` fewer of them than the other alone; `.calibrate` then takes
                labelled rows, of which the other is not asked. For a share of errors among this task's own answers
                calibrate it with `risk=` first, and give neither.

        Raises:
            InputError: the tasks take or give different things, or nothing says when this one is sure enough.
        """
        return handing_on(self, other, agree, right)  # type: ignore[no-any-return]

    def _of_one_output(self, done: str) -> None:
        if self.members or self.fallback:
            raise InputError(f"{self.name} is several tasks, which can only be {done} each by itself")

    def share(self, corpus: Any, labelled: Any = None, **options: Any) -> Shares:
        """Estimate how frequent each label is among many rows, from a labelled few; see `fewshot.estimation.corpus`."""
        return loop.run(self.ashare(corpus, labelled, **options))

    async def ashare(self, corpus: Any, labelled: Any = None, **options: Any) -> Shares:
        """Estimate shares of labels without blocking; see `fewshot.estimation.corpus.share`."""
        from fewshot.estimation.corpus import share

        return await share(self, corpus, labelled, **options)

    @overload
    def render(self, *args: Any, form: Literal["chat"] = "chat", **inputs: Any) -> list[Message]: ...

    @overload
    def render(self, *args: Any, form: Literal["text"], **inputs: Any) -> str: ...

    def render(self, *args: Any, form: Form = "chat", **inputs: Any) -> list[Message] | str:
        """Give exactly what would be sent, and send nothing: messages for a chat, one string for a completion."""
        if not isinstance(form, str) or form not in ("chat", "text"):
            raise InputError(f"form={brief(form)}: give chat or text", field="form")
        task, bound = self._bind(*args, **inputs)
        prompts = [member._prompts.offline(bound) for member in task.members or (task,)]  # each in its own request
        if form == "text":
            return "\n\n".join(prompt.text(bound) for prompt in prompts)
        return [turn for prompt in prompts for turn in (*prompt.prefix.messages, prompt.turn(bound))]


@overload
def load(name: str | os.PathLike[str], *, examples: Any = None, output: None = None, **options: Any) -> Task[Any]: ...
@overload
def load(name: str | os.PathLike[str], *, examples: Any = None, output: Output[T], **options: Any) -> Task[T]: ...
def load(
    name: str | os.PathLike[str], *, examples: Any = None, output: Output[Any] | None = None, **options: Any
) -> Task[Any]:
    """Load a task by name or from a folder.

    Arguments:
        name: a task's name, or a path to its folder (anything with a path separator).
        examples: shots to use instead of the folder's own: pairs or dicts.
        output: what an answer must be, instead of what the folder says.
        options: see `Settings`; also values for the task's parameters.

    Raises:
        TaskError: there is no such task, or its folder is broken (with file and line).
        InputError: an option is not valid.
    """
    task: Task[Any] = read_folder(name, Task)
    if examples is None and output is None and not options:
        return task
    return task.using(examples=examples, output=output, **options)


def together(*tasks: Any, **options: Any) -> Task[dict[str, Result[Any]]]:
    """Ask several tasks of one text in one call, which gives a result of each under its name.

    Where an endpoint decides, those that it can decide on are one request a text; see docs/sets.md.

    Arguments:
        tasks: tasks, or functions of this package that need no further argument. All are asked of the same model.
        options: settings for all of them, as for `Task.using`; `min_confidence` by name for each.

    Raises:
        InputError: there are fewer than two, two have the same name, or they are asked of different models.
    """
    members = [t if isinstance(t, Predictor) else t.task() if hasattr(t, "task") else t for t in tasks]
    return made_together(Task, members, options)  # type: ignore[no-any-return]


_log = logging.getLogger("fewshot")
_told: set[str] = set()
"""Warnings that calls have told of: each is told once in a process."""


def value_of(result: Result[T]) -> T:
    """Give what a call gives of a result: its value, or its error raised; each warning is told once in a process."""
    if result.error is not None:
        raise result.error
    for warning in result.warnings:
        if warning not in _told:
            _told.add(warning)
            _log.warning("%s: %s (`.run` gives the whole result)", result.task.partition("@")[0], warning)
    return result.value  # type: ignore[return-value]  # None only where the task abstains
