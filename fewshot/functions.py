"""The functions that ship: `classify_sentiment(text)` and its siblings.

Each is a `Function`: calling it gives the value, `.run` everything about the call, and so on as for a task.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, update_wrapper
from inspect import Parameter, cleandoc, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from fewshot._checks import brief, check_count, check_kind
from fewshot._options import table
from fewshot.errors import InputError
from fewshot.folders.loader import shipped
from fewshot.outputs.kinds import Labels, LabelSet, Output, Schema, output_of, output_of_labels
from fewshot.outputs.schema import spans_of
from fewshot.outputs.spans import Span
from fewshot.outputs.strict_schema import outline
from fewshot.outputs.typing import AsLabels as As
from fewshot.outputs.typing import F
from fewshot.result import Result
from fewshot.settings import Options, Settings
from fewshot.task import Task, load, value_of
from fewshot.types import Form, Message

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import BaseModel

__all__ = [
    "Call", "Function", "answer", "calculate", "classify", "classify_sentiment", "complete_pattern",
    "detect_injection", "extract", "find", "summarize", "translate", "with_span_labels",
]  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")
Shots = Iterable[Any]
L = TypeVar("L")
M = TypeVar("M", bound="BaseModel | DataclassInstance | list[Any]")
Sentiment = Literal["positive", "negative", "neutral"]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A task and one input for it, not asked yet."""

    task: Task[T]
    inputs: Mapping[str, Any]


class Function(Generic[P, T]):
    """A typed function learned from examples; made from a plain function that says which task and input it means.

    It has what a `Task` has. What a call takes beside its inputs comes after the rows: `classify.map(rows, labels)`.
    """

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        update_wrapper(self, build)
        given = signature(build)
        self._inputs = [p for p in given.parameters.values() if p.name in _INPUTS]
        self._others = given.replace(parameters=[p for p in given.parameters.values() if p.name not in _INPUTS])
        gives = str(build.__annotations__["return"]).removeprefix("Call[").removesuffix("]")
        self.__annotations__ = {**build.__annotations__, "return": gives}
        settings = table(Settings).items()
        options = [Parameter(name, Parameter.KEYWORD_ONLY, default=about.default) for name, about in settings]
        own = (p for p in given.parameters.values() if p.kind is not p.VAR_KEYWORD)
        self.__signature__ = given.replace(parameters=[*own, *options], return_annotation=gives)
        self.__doc__ = f"{cleandoc(build.__doc__ or '')}\n\n{_ABOUT}"

    def __get__(self, _instance: object, _owner: object = None) -> Function[P, T]:
        return self  # as of a static method: `help` takes it for the function that it is

    @overload
    def __call__(self, *args: Any, min_confidence: float, **kwargs: Any) -> T | None: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Give the value; raises InputError, ServiceError or OutputError. An abstention gives None."""
        call = self._build(*args, **kwargs)
        return value_of(call.task.run(call.inputs))

    @overload
    async def acall(self, *args: Any, min_confidence: float, **kwargs: Any) -> T | None: ...
    @overload
    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Give the value without blocking."""
        call = self._build(*args, **kwargs)
        return value_of(await call.task.arun(call.inputs))

    def run(self, *args: P.args, **kwargs: P.kwargs) -> Result[T]:
        """Give the value and everything about the call; a failed service or answer is in `error`."""
        call = self._build(*args, **kwargs)
        return call.task.run(call.inputs)

    async def arun(self, *args: P.args, **kwargs: P.kwargs) -> Result[T]:
        """Give the result without blocking."""
        call = self._build(*args, **kwargs)
        return await call.task.arun(call.inputs)

    @overload
    def render(self, *args: Any, form: Literal["chat"] = "chat", **kwargs: Any) -> list[Message]: ...
    @overload
    def render(self, *args: Any, form: Literal["text"], **kwargs: Any) -> str: ...
    def render(self, *args: Any, form: Form = "chat", **kwargs: Any) -> list[Message] | str:
        """Give exactly what would be sent, and send nothing: messages for a chat, one string for a completion."""
        call: Call[T] = self._build(*args, **kwargs)
        return call.task.render(call.inputs, form=form)

    def task(self, *args: Any, **kwargs: Any) -> Task[T]:
        """Give the task behind the function; arguments as for a call, without its inputs: `classify.task(labels)`."""
        try:
            given = self._others.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise InputError(f"{self.__name__}.task: {error}; give all but the inputs") from error  # type: ignore[attr-defined]
        inputs: Any = {parameter.name: "…" for parameter in self._inputs if parameter.default is parameter.empty}
        build: Callable[..., Call[T]] = self._build
        return build(**inputs, **given.pop("options", {}), **given).task

    @overload
    def using(self, *args: Any, min_confidence: float, **options: Any) -> Task[T | None]: ...
    @overload
    def using(self, *args: Any, **options: Any) -> Task[T]: ...
    def using(self, *args: Any, **options: Any) -> Task[Any]:
        """Give the task with other options, as `Task.using` does; what a call takes beside its inputs comes first."""
        return self.task(*args, **options)

    @overload
    def map(self, rows: F, *args: Any, **options: Any) -> F: ...
    @overload
    def map(self, rows: Any, *args: Any, **options: Any) -> Iterator[Result[T]]: ...
    def map(self, rows: Any, *args: Any, **options: Any) -> Any:
        """Answer many rows, as `Task.map` does."""
        return self._task(args, options).map(rows, **options)

    def amap(self, rows: Any, *args: Any, **options: Any) -> AsyncIterator[Result[T]]:
        """Answer many rows without blocking, as `Task.amap` does."""
        return self._task(args, options).amap(rows, **options)

    def evaluate(self, rows: Any, *args: Any, **options: Any) -> Any:
        """Measure on labelled rows, as `Task.evaluate` does."""
        return self._task(args, options).evaluate(rows, **options)

    def calibrate(self, rows: Any, *args: Any, **options: Any) -> Task[T]:
        """Give the task calibrated on labelled rows, as `Task.calibrate` does."""
        return self._task(args, options).calibrate(rows, **options)

    def save(self, folder: str | os.PathLike[str], *args: Any, **options: Any) -> Path:
        """Write the task behind the function as a folder, as `Task.save` does: `classify.save("kind", labels)`."""
        return self._task(args, options).using(**options).save(folder)

    def tune(self, rows: Any, *args: Any, **options: Any) -> Any:
        """Search for a better prompt on labelled rows, as `Task.tune` does."""
        return self._task(args, options).tune(rows, **options)

    def _task(self, args: tuple[Any, ...], options: dict[str, Any]) -> Task[T]:
        """Give the task, and take out of the options those that are arguments of the function."""
        own = [name for name in options if name in self._others.parameters]
        return self.task(*args, **{name: options.pop(name) for name in own})

    def __reduce__(self) -> str:
        return self.__name__  # type: ignore[attr-defined,no-any-return]  # pickled by name, as plain functions are

    def __repr__(self) -> str:
        return f"<fewshot function {self.__name__}>"  # type: ignore[attr-defined]


class Shown(Options, total=False):
    """Options beside the examples that the model is shown."""

    examples: Shots


class OfLabels(Function[..., Any]):
    """`classify`, whose labels say what type it gives."""

    if TYPE_CHECKING:

        @overload  # type: ignore[override, no-overload-impl]
        def __call__(self, text: str, labels: As[L], *, several: Literal[True], **more: Any) -> list[L]: ...
        @overload
        def __call__(self, text: str, labels: As[L], *, min_confidence: float, **more: Any) -> L | None: ...
        @overload
        def __call__(self, text: str, labels: As[L], *, several: bool = ..., **more: Unpack[Shown]) -> L: ...
        @overload  # type: ignore[override, no-overload-impl]
        async def acall(self, text: str, labels: As[L], *, several: Literal[True], **more: Any) -> list[L]: ...
        @overload
        async def acall(self, text: str, labels: As[L], *, min_confidence: float, **more: Any) -> L | None: ...
        @overload
        async def acall(self, text: str, labels: As[L], *, several: bool = ..., **more: Unpack[Shown]) -> L: ...
        @overload  # type: ignore[no-overload-impl]
        def run(self, text: str, labels: As[L], *, several: Literal[True], **more: Any) -> Result[list[L]]: ...
        @overload
        def run(self, text: str, labels: As[L], *, several: bool = ..., **more: Unpack[Shown]) -> Result[L]: ...
        @overload  # type: ignore[no-overload-impl]
        async def arun(self, text: str, labels: As[L], *, several: Literal[True], **more: Any) -> Result[list[L]]: ...
        @overload
        async def arun(self, text: str, labels: As[L], *, several: bool = ..., **more: Unpack[Shown]) -> Result[L]: ...
        @overload  # type: ignore[no-overload-impl]
        def task(self, labels: As[L], *, several: Literal[True], **more: Any) -> Task[list[L]]: ...
        @overload
        def task(self, labels: As[L], *, several: bool = ..., **more: Unpack[Shown]) -> Task[L]: ...


class OfModel(Function[..., Any]):
    """`extract`, whose schema is the type of what it gives."""

    if TYPE_CHECKING:

        @overload  # type: ignore[override, no-overload-impl]
        def __call__(self, text: str, schema: type[M], *, min_confidence: float, **more: Any) -> M | None: ...  # type: ignore[overload-overlap]
        @overload
        def __call__(self, text: str, schema: type[M], **more: Unpack[Shown]) -> M: ...
        @overload  # type: ignore[override, no-overload-impl]
        async def acall(self, text: str, schema: type[M], *, min_confidence: float, **more: Any) -> M | None: ...  # type: ignore[overload-overlap]
        @overload
        async def acall(self, text: str, schema: type[M], **more: Unpack[Shown]) -> M: ...
        def run(self, text: str, schema: type[M], **more: Unpack[Shown]) -> Result[M]: ...
        async def arun(self, text: str, schema: type[M], **more: Unpack[Shown]) -> Result[M]: ...
        def task(self, schema: type[M], **more: Unpack[Shown]) -> Task[M]: ...


_INPUTS = ("text", "question", "context", "query")
"""What changes from call to call; the other parameters of a function say which task it is."""
_ABOUT = """Options, as keywords: `model`, `base_url`, `client` (who answers), `k`, `select` (which shots), `timeout`,
`min_confidence` (None below this probability), `votes`, `cache`, `redact`, and all of `fewshot.settings.Settings`.

`.run` gives a `Result` with everything about the call, `.acall` and `.arun` do not block, `.render` shows the exact
prompt and sends nothing, `.map` answers many rows, `.evaluate` measures, and `.task` gives the task itself."""


_loaded = lru_cache(lambda name: load(shipped(name)))  # once in a process: its files are not the user's to edit


def _own(name: str, **options: Any) -> Task[Any]:
    """Give a task of this package, whatever folder of that name stands where the process runs."""
    return _loaded(name).using(**options) if options else _loaded(name)


@Function
def classify_sentiment(text: str, **options: Unpack[Options]) -> Call[Sentiment]:
    """Tell whether a text is positive, negative or neutral.

    >>> classify_sentiment("I love this phone.")  # doctest: +SKIP
    'positive'
    """
    return Call(_own("sentiment", **options), {"text": text})


@OfLabels
def classify(
    text: str, labels: As[L], *, several: bool = False, examples: Shots = (), **options: Unpack[Options]
) -> Call[L]:
    """Tell which of your labels fits a text, or with `several` all that fit.

    Arguments:
        labels: the labels as `Task.of` takes them: a list of texts, whole numbers or booleans, a `Literal`, an enum
            or `bool`; a mapping gives each label a description that the model is shown, or each group its labels.
        several: give a list of all the labels that fit, which may be empty; examples then have lists of labels.
        examples: pairs (text, label), as many as you have.

    Raises:
        InputError: `labels` is a text, or has fewer than two labels or two that are the same; or an example's label is
            not among them.
    """
    check_kind("several", several, bool, what="True or False")
    output: Output[Any] = output_of_labels(labels)
    if several and isinstance(output, Labels):
        output = LabelSet(output)
    task = _own("tag" if output.several else "classify", output=output, examples=examples, **options)
    return Call(task, {"text": text})


@Function
def translate(
    text: str,
    target: str = "French",
    source: str = "English",
    *,
    examples: Shots | None = None,
    **options: Unpack[Options],
) -> Call[str]:
    """Translate a text.

    Ships with examples for English to French and English to and from Korean; give pairs for any other.

    Arguments:
        target: the language to translate into.
        source: the language of the text.
        examples: pairs (text, translation) to use instead of the shipped ones.
    """
    return Call(_own("translate", target=target, source=source, examples=examples, **options), {"text": text})


@Function
def complete_pattern(examples: Shots, query: str, **options: Unpack[Options]) -> Call[str]:
    """Give the output that goes on with a pattern: pairs in, the next output out.

    >>> complete_pattern([("Python", "Guido van Rossum"), ("Java", "James Gosling")], "Rust")  # doctest: +SKIP
    'Graydon Hoare'
    """
    check_kind("examples", examples, Iterable, what="pairs of input and output")
    task = _own("pattern", examples=examples.items() if isinstance(examples, Mapping) else examples, **options)
    if not task.examples:
        raise InputError("a pattern needs at least one example pair", field="examples")
    return Call(task, {"query": query})


@Function
def summarize(text: str, max_sentences: int = 2, **options: Unpack[Options]) -> Call[str]:
    """Summarize a text in at most so many sentences."""
    check_count("max_sentences", max_sentences, least=1)
    return Call(_own("summarize", max_sentences=max_sentences, **options), {"text": text})


@Function
def answer(question: str, context: str | None = None, **options: Unpack[Options]) -> Call[str | None]:
    """Answer a question, from the context only when one is given; None means "I don't know"."""
    return Call(_own("answer", **options), {"question": question, "context": context})


@Function
def calculate(question: str, **options: Unpack[Options]) -> Call[float]:
    """Give the number that answers a question, however the model words it: an `int` where no fraction was written."""
    return Call(_own("calculate", **options), {"question": question})


@OfModel
def extract(text: str, schema: type[M], *, examples: Shots = (), **options: Unpack[Options]) -> Call[M]:
    """Read an instance of your pydantic model out of a text, or of another type of records such as `list[Model]`.

    Arguments:
        schema: the model class; it may be nested.
        examples: pairs (text, instance or dict).
    """
    output, fields = _schema(schema) if isinstance(schema, Hashable) and not isinstance(schema, str) else (None, "")
    if not isinstance(output, Schema):
        message = f"schema must be a pydantic model class, or another type of records, not {brief(schema)}"
        raise InputError(message, field="schema")
    return Call(_own("extract", output=output, examples=examples, fields=fields, **options), {"text": text})


@Function
def find(
    text: str, labels: Sequence[str], *, examples: Shots | None = None, **options: Unpack[Options]
) -> Call[list[Span]]:
    """Find in a text what your labels name: people, places, products, parts of a contract.

    What the model names is looked up in the text, so that `text[span.start:span.end]` is `span.text`; what does not
    stand there is left out, and counted in the result's `warnings`.

    Arguments:
        labels: one or more, such as `["person", "place"]`.
        examples: pairs (text, spans), where a span is a `Span("person", "Ada")` or a dict with `label` and `text`; by
            default those that ship, where the labels are among `person`, `organization` and `place`, else none.

    Raises:
        InputError: `labels` is not a list of texts that differ; or an example's span does not stand in its text.
    """
    check_kind("labels", labels, list, tuple, what="a list of texts, as ['person', 'place']")
    try:
        task = _finding(tuple(labels))
    except (InputError, TypeError) as error:
        raise InputError(f"labels: {error}", field="labels") from error
    return Call(task.using(examples=examples, **options), {"text": text})


@Function
def detect_injection(text: str, **options: Unpack[Options]) -> Call[Literal["injection", "benign"]]:
    """Tell whether a text tries to give the model instructions (prompt injection)."""
    return Call(_own("detect_injection", **options), {"text": text})


@lru_cache(maxsize=256)
def _finding(labels: tuple[str, ...]) -> Task[list[Span]]:
    return with_span_labels(_own("find"), labels)


def with_span_labels(task: Task[Any], labels: Sequence[str]) -> Task[list[Span]]:
    """Give a task that finds spans with these labels; its shots stay only where they show every one of them."""
    output, shots = spans_of(labels), []
    if {*labels} <= {*task.output.span_labels}:
        shots = [replace(each, output=[span for span in each.output if span.label in labels]) for each in task.examples]
    return task.using(output=output, examples=shots)


@lru_cache(maxsize=256)
def _schema(schema: type[M]) -> tuple[Output[M], str]:
    """Give the output of a model, and its shape for the prompt."""
    output = output_of(schema)
    return output, outline(output.described if isinstance(output, Schema) else {})
