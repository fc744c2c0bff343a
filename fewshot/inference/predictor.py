"""From inputs to an answer: what a task is below its doors. A `fewshot.Task` adds `map`, `evaluate` and so on.

It is a frozen value: it binds inputs, makes the question, has it answered, and gives the result.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from fewshot._checks import REQUIRED, brief, by_name, check_shots, checked_input
from fewshot._options import check_changes, meant, table
from fewshot.calibration.calibration import Calibration
from fewshot.calibration.promise import FIT_FILE, Promise, text_of
from fewshot.data.columns import Columns, Row
from fewshot.data.examples import check_examples, example_of
from fewshot.errors import InputError, OutputError, ServiceError, TaskError
from fewshot.inference.conversation import lessons
from fewshot.inference.field_scoring import as_given
from fewshot.inference.fits import failed, kept, key_of, place_of
from fewshot.inference.joining import Fallback, answer_in_turn, answer_together, changed_together, connected
from fewshot.inference.long_text import answered, sized
from fewshot.inference.own_questions import calibration_for
from fewshot.inference.question import Answer, Question
from fewshot.inference.redaction import detectors_of, redact
from fewshot.inference.repair import restored
from fewshot.inference.shots import Prompts
from fewshot.models.connection import Connection, connect
from fewshot.models.drive import drive
from fewshot.models.pricing import cost_of_all
from fewshot.narrowing.likeness import kind_of_head
from fewshot.narrowing.prompt import narrows
from fewshot.outputs.kinds import Output
from fewshot.prompts.prompt import Prompt
from fewshot.prompts.template import Template
from fewshot.result import Result, table_html
from fewshot.settings import Settings
from fewshot.types import Completion, Example, Usage

__all__ = ["Predictor"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, repr=False)
class Predictor(Generic[T]):
    """A template, examples, an output and settings, from which questions are made and answered.

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
    """Fitted calibrations, each under its key, so that none is applied to another prompt or model."""
    promise: Promise | None = None
    """The fit that `calibrate` made or that stands in `fit.json`: where it is for something else, that is told."""
    fitted: Any = field(default=None, repr=False, compare=False)
    """What `calibrate` tried and chose, on a task that it returned."""
    members: tuple[Predictor[Any], ...] = ()
    """Of several tasks over one input these; its value is then a result of each under its name."""
    fallback: Fallback | None = None
    """What is asked where this one abstains; made by `Task.then`."""
    _variants: dict[Any, Self] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        labels = " | ".join(self.output.labels or self.output.span_labels)
        gives = labels if 0 < len(labels) <= 80 else self.output.gives_what
        shape = f"{', '.join(self.inputs)} -> {gives}"
        return f"<{type(self).__name__} {self.name}: {shape}, {len(self.examples)} examples>"

    def _repr_html_(self) -> str:
        """Show the task as a table in a notebook."""
        facts = {
            "task": self.name,
            "description": self.description,
            "inputs": ", ".join(self.inputs),
            "gives": self.output.gives_what,
            "labels": ", ".join(self.output.labels or self.output.span_labels),
            "examples": len(self.examples),
            **{f"parameter {name}": value for name, value in self.parameters.items()},
        }
        return table_html({name: what for name, what in facts.items() if what or what == 0})

    def using(
        self, *, examples: Iterable[Any] | None = None, output: Output[Any] | None = None, **changes: Any
    ) -> Self:
        """Give the same task with other options, parameters, examples or output.

        Raises:
            InputError: an unknown option, a bad value, or an example that is not valid.
        """
        if examples is not None:
            check_shots(examples)
        if output is not None and not hasattr(output, "check"):
            raise InputError(f"output={brief(output)}: give what `outputs.kinds.output_of` makes", field="output")
        shots = None if examples is None else tuple(examples)
        key = (shots, output, tuple(sorted(changes.items(), key=itemgetter(0))))
        try:
            known = self._variants.get(key)
        except TypeError:  # an example is a dict, say: not a key, so make the task anew
            return self._changed(shots, output, changes)
        if known is None:
            if len(self._variants) >= 64:
                self._variants.clear()
            known = self._variants[key] = self._changed(shots, output, changes)
        return known

    def _changed(
        self, examples: tuple[Any, ...] | None, output: Output[Any] | None, changes: Mapping[str, Any]
    ) -> Self:
        if self.members:
            return changed_together(self, examples, output, changes)  # type: ignore[no-any-return]
        parameters = {name: value for name, value in changes.items() if name in self.parameters}
        check_changes(changes, table(Settings), self.parameters)
        task = replace(
            self,
            parameters={**self.parameters, **parameters},
            settings=self.settings.updated({k: v for k, v in changes.items() if k not in self.parameters}),
            output=output or self.output,
        )
        if changes.get("calibrate") is False:
            task = task._uncalibrated()
        if "min_confidence" in changes:  # a threshold of the caller's own promises nothing
            task = replace(task, promise=None)
        if examples is None:
            return task
        rows = [example_of(shot, self.inputs) for shot in examples]
        try:
            return replace(task, examples=check_examples(rows, self.inputs, self.parameters, task.output))
        except TaskError as error:  # the caller's mistake here, not an author's
            raise InputError(str(error), field="examples", row=error.line) from error

    def _with_fit(self, promise: Promise) -> Self:
        """Give the same with a fit in force, and with the threshold that was promised with it."""
        fitted = {} if promise.calibration is None else dict.fromkeys(promise.keys, promise.calibration)
        least = self.settings.min_confidence if promise.threshold is None else promise.threshold.least
        settings = replace(self.settings, min_confidence=least)
        return replace(self, calibrations={**self.calibrations, **fitted}, promise=promise, settings=settings)

    def _uncalibrated(self) -> Self:
        """Give the same with probabilities as they come, whatever was fitted; what was promised is off."""
        return replace(self, calibrations={}, settings=replace(self.settings, calibrate=False))

    async def arun(self, *args: Any, **inputs: Any) -> Result[T]:
        """Give the result for an input, without blocking; see `run`."""
        task, bound = self._bind(*args, **inputs)
        if task.fallback is not None:
            return await answer_in_turn(task, bound, await connected(task))
        connection = await connect(task.settings)  # fetching and loading the embedded model is not charged to the call
        return await task._answer(bound, connection, deadline=connection.deadline(task.settings.timeout))

    async def _answer(
        self, inputs: Mapping[str, Any], connection: Connection, *, deadline: float, leave_out: bool = False
    ) -> Result[T]:
        """Answer bound inputs over an open connection: the one path of single calls and bulk runs.

        Arguments:
            leave_out: where the question chooses its shots, an example with these inputs is none of them.
        """
        if self.members:
            return await answer_together(self, inputs, connection, deadline=deadline, leave_out=leave_out)
        given, private = inputs, None
        if self.settings.redact:
            inputs, private = redact(inputs, detectors_of(self.settings.redact))
        started = time.monotonic()
        try:
            prompt = await self._prompts.chosen(inputs, connection, deadline=deadline, leave_out=leave_out)
        except ServiceError as error:
            return self._failed(error, self._question(inputs, self._prompts.of(()), connection), connection)
        key = self._calibration_key(connection, inputs)
        calibration = await calibration_for(self, key, inputs, prompt, connection)
        deadline += time.monotonic() - started  # fitting at first use is not charged to the call that comes first
        question = await sized(self._question(inputs, prompt, connection, calibration), connection)
        if calibration is not None and calibration.encoder:
            await asyncio.to_thread(getattr, question, "vector")  # takes long enough to hold up other calls
        try:
            found = await drive(answered(question), connection.client, deadline=deadline)
            found = restored(found, private, self.output, inputs, given) if private else found
        except (ServiceError, OutputError) as error:
            connection.facts.learn(**lessons(question))
            return self._failed(error, question, connection)
        if (learnt := lessons(question, found)) or calibration is not None:
            connection.facts.learn(**learnt)
            key = self._calibration_key(connection, inputs)  # what was learnt of the model meanwhile may change it
        missing = self._promise_missing(key, question, connection, found)
        least = self.settings.min_confidence
        abstains = found.held_back or (least is not None and found.falls_short(least))
        if self.promise is not None and self.promise.threshold is not None:
            said, held = self.promise.threshold.decide(found.value, found.probabilities)
            abstains = abstains or held or bool(missing)
            if said != found.value:
                found = replace(found, value=said, confidence=(found.probabilities or {}).get(said))
        held_below = (math.inf if found.held_back or least is None else least) if abstains else None
        return self._result(
            question,
            connection,
            parts=found.parts,
            value=None if abstains else self.output.value(found.value),
            abstained=abstains,
            probabilities=self.output.by_value(found.probabilities),
            confidence=found.confidence,
            group=self.output.group_for(found.value, found.probabilities, held_below),
            groups=self.output.by_group(found.probabilities),
            fields=found.fields and as_given(found.fields, found.value),
            method=found.method,
            calibration=found.calibration,
            coverage=found.coverage,
            fit=self._fit_told(key) if (self.promise or calibration) and not missing and found.parts == 1 else "",
            warnings=(*found.warnings, *missing, *self._unfitted(key, connection, found.calibration)),
        )

    @cached_property
    def _head(self) -> str:
        """The kind of head that draws candidates among the labels; empty where all are asked about."""
        return kind_of_head() if narrows(self.output, self.examples, self.settings) else ""

    @cached_property
    def _fingerprint(self) -> str:
        """Content hash of everything that decides the prompt and the reading of answers: 12 hex digits."""
        shots = [[dict(e.inputs), self.output.render(e.output)] for e in self.examples]
        narrowed = [self.settings.candidates, head] if (head := self._head) else []
        decided = [repr(self.output), dict(self.parameters), shots, self.settings.deciding_the_prompt, *narrowed]
        content = json.dumps([self.template.source, *decided], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def _bind_row(self, row: Any) -> tuple[Self, Mapping[str, Any]]:
        """Bind a row of many, which may have other columns beside its inputs. Raises as `_bind`."""
        if isinstance(row, Mapping):
            row = row if isinstance(row, Row) else self._columns.row(row)
            row = {name: value for name, value in row.items() if name in self.inputs or name in self.parameters}
        return self._bind(row)

    @cached_property
    def _columns(self) -> Columns:
        """Finds the inputs among the columns of a row."""
        return Columns(self)

    def _bind(self, *args: Any, **given: Any) -> tuple[Self, Mapping[str, Any]]:
        """Check the inputs of a call and fill in defaults; parameters and settings among them make a task with those.

        Raises:
            InputError: a missing, unknown or unusable input; names the field.
        """
        if len(args) == 1 and isinstance(args[0], Mapping) and not given:
            given, args = dict(args[0]), ()
        names = list(self.inputs)
        if len(args) == 1 and isinstance(args[0], tuple) and len(args[0]) == len(names) > 1:
            args = args[0]
        if len(args) > len(names):
            raise InputError(f"{self.name} takes {len(names)} input(s) ({', '.join(names)}), not {len(args)}")
        given = by_name(names, args, given)
        known, settings = [*names, *self.parameters], table(Settings)
        for name in given:
            if name not in known and name not in settings:
                near = meant(name, settings, known)
                raise InputError(f"unknown input {name!r}{near}; {self.name} takes {', '.join(known)}", field=name)
        changes = {name: given.pop(name) for name in list(given) if name not in names}
        task = self.using(**changes) if changes else self
        return task, {
            name: checked_input(self.name, name, given.get(name, default), optional=default is None)
            for name, default in self.inputs.items()
        }

    @cached_property
    def _prompts(self) -> Prompts:
        """The prompts of this task, made when they are first needed."""
        return Prompts(self.template, self.output, self.parameters, self.inputs, self.examples, self.settings)

    def _question(
        self, inputs: Mapping[str, Any], prompt: Prompt, connection: Connection, calibration: Calibration | None = None
    ) -> Question:
        """Join inputs, prompt, settings and endpoint to what a conversation needs."""
        return Question(
            prompt=prompt,
            inputs=inputs,
            settings=self.settings,
            model=connection.model,
            form=self.settings.form or connection.form,
            top_logprobs=connection.top_logprobs(self.settings.form),
            decides=self.output.is_decided and connection.decides(self.settings.decisions),
            continues=connection.local,
            extra=connection.extra,
            room=connection.facts.room,
            thinks=connection.facts.thinks,
            calibration=calibration,
        )

    async def _question_for(self, inputs: Mapping[str, Any], connection: Connection) -> Question:
        """Make a question of labelled inputs, which are never among its own shots where the question chooses them."""
        until = connection.deadline(self.settings.timeout)
        prompt = await self._prompts.chosen(inputs, connection, deadline=until, leave_out=True)
        return self._question(inputs, prompt, connection)

    def _calibration_key(self, connection: Connection, inputs: Mapping[str, Any] | None = None) -> str:
        """Name what a calibration is for: content, which optional inputs are given, model, address and way.

        An optional input that is given chooses other shots, and what an endpoint decides is not what tokens tell.
        """
        filled = [n for n in sorted(self.inputs) if self.inputs[n] is None and (inputs or {}).get(n) is not None]
        decides = self.output.is_decided and connection.decides(self.settings.decisions)
        return key_of(self._fingerprint, filled, self.settings, connection, decides=decides)

    def _unfitted(self, key: str, connection: Connection, calibration: str) -> tuple[str, ...]:
        """Say why the fit that was wanted is not there, or is one on fewer examples; another call may not want one."""
        if key not in failed:
            return ()
        wanted = self.settings.fits_at_first_use(local=connection.local) or calibration != "none" or kept(key)
        return (failed[key],) if wanted else ()

    def _fit_told(self, key: str) -> str:
        """Say which fit is in force for a question: on how many rows, by what, and where; nothing without one."""
        if self.promise is not None and key in self.promise.keys:
            told = self.promise.told
            return told if self.fitted is None else told.replace(FIT_FILE, "in this process")
        known = kept(key) if self.output.classes and self.settings.calibrate is not False else None
        return known.told if known else ""

    def _promise_missing(self, key: str, question: Question, connection: Connection, found: Answer) -> tuple[str, ...]:
        """Tell why what was fitted and promised does not hold for a question; mostly there is nothing to tell."""
        if self.promise is None:
            return ()
        return self.promise.missing(
            key,
            self._fitted_for(connection),
            asked=self.settings.asked_as,
            text=text_of(question.inputs),
            calibration=question.calibration,
            scored=found.method in ("logprobs", "decisions", "head") or not (self.output.labels or question.decides),
            parts=found.parts,
            answered={completion.model for completion in question.completions if completion.model},
        )

    def _fitted_for(self, connection: Connection) -> dict[str, Any]:
        """Give what a fit is for, as plain JSON values, so that what differs later can be named."""
        labels, place = self.output.labels and list(self.output.labels), place_of(connection, self.settings)
        return {
            "labels": labels,
            "model": connection.model,
            "prompt": self._fingerprint,
            "place": place,
            "head": self._head,
        }

    def _result(self, question: Question, connection: Connection, **answered: Any) -> Result[T]:
        completions = tuple(completion.brief() for completion in question.completions)
        last = completions[-1] if completions else Completion(text="")
        sent = question.of_parts[0] if question.of_parts else question.plain
        return Result(
            **answered,
            raw=last.text,
            thinking=question.thoughts[-1] if question.thoughts else "",
            model=last.model or connection.model,
            usage=sum((c.usage for c in completions if not c.cached), Usage()),
            cost=0.0 if connection.local else cost_of_all(connection.model, completions, own=self.settings.price),
            cached=bool(completions) and all(c.cached for c in completions),
            attempts=sum(c.attempts for c in completions),
            dropped=tuple(dict.fromkeys(name for c in completions for name in c.dropped)),
            request=sent,
            temperature=sent.temperature,
            seed=sent.seed,
            completions=completions,
            candidates=tuple(map(self.output.label_value, question.reading.candidates)) if question.reading else (),
            examples=question.prompt.examples,
            task=f"{self.name}@{self.version}#{self._fingerprint}",
            inputs=question.inputs,
        )

    def _failed(self, error: ServiceError | OutputError, question: Question, connection: Connection) -> Result[T]:
        question.completions.extend(getattr(error, "beside", ()))
        result = self._result(question, connection)
        return replace(result, error=error, attempts=result.attempts + getattr(error, "attempts", 0))
