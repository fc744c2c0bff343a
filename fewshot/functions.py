"""The functions that ship: `classify_sentiment(text)` and its siblings.

Each is a `Function`: calling it gives the value; `.run` gives everything about the call, `.acall` and `.arun` do the
same without blocking, `.render` shows the prompt and calls nothing, `.task` gives the task for bulk runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, get_origin

from fewshot.errors import InputError
from fewshot.outputs.kinds import Labels, Output, Schema, output_of
from fewshot.outputs.strict_schema import outline
from fewshot.result import Result, label_of
from fewshot.settings import Options
from fewshot.task import Task, load
from fewshot.types import Form, Message

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import Unpack

    from fewshot.outputs.typing import AsLabels

__all__ = [
    "Call",
    "Function",
    "answer",
    "calculate",
    "classify",
    "classify_sentiment",
    "complete_pattern",
    "detect_injection",
    "extract",
    "summarize",
    "translate",
]

P = ParamSpec("P")
T = TypeVar("T")
Label = TypeVar("Label")
Model = TypeVar("Model", bound="BaseModel")
Sentiment = Literal["positive", "negative", "neutral"]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A task and one input for it, not asked yet."""

    task: Task[T]
    inputs: Mapping[str, Any]


class Function(Generic[P, T]):
    """A typed function learned from examples; made from a plain function that says which task and input it means."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        update_wrapper(self, build)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Give the value; raises InputError, ServiceError or OutputError. An abstention gives None."""
        call = self._build(*args, **kwargs)
        return call.task(call.inputs)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Give the value without blocking."""
        call = self._build(*args, **kwargs)
        return await call.task.acall(call.inputs)

    def run(self, *args: P.args, **kwargs: P.kwargs) -> Result[T]:
        """Give the value and everything about the call; a failed service or answer is in `error`."""
        call = self._build(*args, **kwargs)
        return call.task.run(call.inputs)

    async def arun(self, *args: P.args, **kwargs: P.kwargs) -> Result[T]:
        """Give the result without blocking."""
        call = self._build(*args, **kwargs)
        return await call.task.arun(call.inputs)

    def render(self, *args: P.args, **kwargs: P.kwargs) -> list[Message]:
        """Give the exact chat that would be sent, and send nothing; `render_text` gives the completion prompt."""
        return self._rendered(self._build(*args, **kwargs), "chat")  # type: ignore[return-value]

    def render_text(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Give the exact completion prompt, and send nothing."""
        return self._rendered(self._build(*args, **kwargs), "text")  # type: ignore[return-value]

    def task(self, *args: P.args, **kwargs: P.kwargs) -> Task[T]:
        """Give the task behind the function, for `map`, `evaluate` and `calibrate`."""
        return self._build(*args, **kwargs).task

    @staticmethod
    def _rendered(call: Call[T], form: Form) -> list[Message] | str:
        return call.task.render(call.inputs, form=form)

    def __reduce__(self) -> str:
        return self.__name__  # type: ignore[attr-defined,no-any-return]  # pickled by name, as plain functions are

    def __repr__(self) -> str:
        return f"<fewshot function {self.__name__}>"  # type: ignore[attr-defined]


@Function
def classify_sentiment(text: str, **options: Unpack[Options]) -> Call[Sentiment]:
    """Tell whether a text is positive, negative or neutral.

    >>> classify_sentiment("I love this phone.")  # doctest: +SKIP
    'positive'
    """
    return Call(load("sentiment", **options), {"text": text})


@Function
def classify(
    text: str,
    labels: AsLabels[Label],
    *,
    examples: Iterable[Any] = (),
    **options: Unpack[Options],
) -> Call[Label]:
    """Tell which of your labels fits a text.

    Arguments:
        labels: the labels as `Task.of` takes them: a list of texts, whole numbers or booleans, a `Literal`, an enum
            or `bool`; a mapping gives each label a description that the model is shown.
        examples: pairs (text, label), as many as you have.

    Raises:
        InputError: `labels` is a text, or has fewer than two labels or two that are the same; or an example's label is
            not among them.
    """
    output: Output[Any] = _labels(labels)
    return Call(load("classify", output=output, examples=examples, **options), {"text": text})


@Function
def translate(
    text: str,
    target: str = "French",
    source: str = "English",
    *,
    examples: Iterable[Any] | None = None,
    **options: Unpack[Options],
) -> Call[str]:
    """Translate a text.

    Ships with examples for English to French and English to and from Korean; give pairs for any other.

    Arguments:
        target: the language to translate into.
        source: the language of the text.
        examples: pairs (text, translation) to use instead of the shipped ones.
    """
    return Call(load("translate", target=target, source=source, examples=examples, **options), {"text": text})


@Function
def complete_pattern(examples: Iterable[Any], query: str, **options: Unpack[Options]) -> Call[str]:
    """Give the output that goes on with a pattern: pairs in, the next output out.

    >>> complete_pattern([("Python", "Guido van Rossum"), ("Java", "James Gosling")], "Rust")  # doctest: +SKIP
    'Graydon Hoare'

    Raises:
        InputError: no examples, so there is no pattern.
    """
    pairs = list(examples.items()) if isinstance(examples, Mapping) else list(examples)
    if not pairs:
        raise InputError("a pattern needs at least one example pair", field="examples")
    return Call(load("pattern", examples=pairs, **options), {"query": query})


@Function
def summarize(text: str, max_sentences: int = 2, **options: Unpack[Options]) -> Call[str]:
    """Summarize a text in at most so many sentences."""
    if max_sentences < 1:
        raise InputError("max_sentences must be 1 or more", field="max_sentences")
    return Call(load("summarize", max_sentences=max_sentences, **options), {"text": text})


@Function
def answer(question: str, context: str | None = None, **options: Unpack[Options]) -> Call[str | None]:
    """Answer a question, from the context only when one is given; None means "I don't know"."""
    return Call(load("answer", **options), {"question": question, "context": context})


@Function
def calculate(question: str, **options: Unpack[Options]) -> Call[float]:
    """Give the number that answers a question, however the model words it: an `int` where no fraction was written."""
    return Call(load("calculate", **options), {"question": question})


@Function
def extract(text: str, schema: type[Model], *, examples: Iterable[Any] = (), **options: Unpack[Options]) -> Call[Model]:
    """Read an instance of your pydantic model out of a text, or of another type of records such as `list[Model]`.

    Arguments:
        schema: the model class; it may be nested.
        examples: pairs (text, instance or dict).
    """
    output, fields = _schema(schema) if not isinstance(schema, Mapping) else (None, "")
    if not isinstance(output, Schema):
        message = f"schema must be a pydantic model class, or another type of records, not {schema!s:.60}"
        raise InputError(message, field="schema")
    return Call(load("extract", output=output, examples=examples, fields=fields, **options), {"text": text})


@Function
def detect_injection(text: str, **options: Unpack[Options]) -> Call[Literal["injection", "benign"]]:
    """Tell whether a text tries to give the model instructions (prompt injection)."""
    return Call(load("detect_injection", **options), {"text": text})


def _labels(given: Any) -> Output[Any]:
    """Make the output of some labels, the same object for the same labels."""
    if isinstance(given, str | bytes | set | frozenset):
        what = "a set, which has no order" if isinstance(given, set | frozenset) else f"the text {given!r:.60}"
        raise InputError(f"labels is {what}; give a list of labels", field="labels")
    descriptions = {label_of(label): text for label, text in given.items()} if isinstance(given, Mapping) else {}
    if isinstance(given, Iterable) and not isinstance(given, type) and get_origin(given) is None:
        given = tuple(given)
        if len(given) < 2:
            raise InputError(f"labels={list(given)!r}: give at least two labels", field="labels")
    try:
        # 1, 1.0 and True are equal, and so one key of a cache, unless their types stand beside them.
        kinds = tuple(map(type, given)) if isinstance(given, tuple) else ()
        output = _output_of_labels(given, kinds, tuple(descriptions.items()))
    except (ValueError, TypeError) as error:
        raise InputError(f"labels: {error}", field="labels") from error
    if output.labels is None or len(output.labels) < 2:
        raise InputError(f"labels={given!r:.60}: give at least two labels", field="labels")
    return output


@lru_cache(maxsize=256)
def _output_of_labels(given: Any, kinds: tuple[type, ...], descriptions: tuple[tuple[str, str], ...]) -> Output[Any]:  # noqa: ARG001 - a part of the cache's key
    output = output_of(given)
    return replace(output, descriptions=dict(descriptions)) if isinstance(output, Labels) else output


@lru_cache(maxsize=256)
def _schema(schema: type[Model]) -> tuple[Output[Model], str]:
    """Give the output of a model, and its shape for the prompt."""
    output = output_of(schema)
    return output, outline(output.described if isinstance(output, Schema) else {})
