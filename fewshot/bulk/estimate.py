"""What a run would take: requests, tokens and money, told before anything is sent.

Requests are counted by making them; tokens are estimated from characters, or, of a text that is read in parts, counted
by the embedded model. Nothing is sent to any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import starmap
from typing import Any

from fewshot import _background_loop as loop
from fewshot._checks import check_kind
from fewshot.errors import InputError
from fewshot.inference.conversation import ask
from fewshot.inference.joining import joined
from fewshot.inference.long_text import may_be_long, planned, sized
from fewshot.inference.predictor import Predictor
from fewshot.inference.question import Question
from fewshot.models.cache import canonical
from fewshot.models.connection import Connection, connect
from fewshot.models.pricing import Price, price_of
from fewshot.models.tokens import Span, request_tokens, text_tokens
from fewshot.outputs.output import json_text
from fewshot.prompts.prompt import Prompt
from fewshot.types import Request, Usage

__all__ = ["Estimate", "Span", "estimate"]

_NOTHING = Span()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run would take. Money is US dollars; None when the price is not known."""

    model: str
    rows: int
    bad_rows: int
    """Rows that the task cannot take; nothing is sent for them."""
    equal_rows: int
    """Rows equal to an earlier one, which are asked once."""
    requests: Span
    input_tokens: Span
    output_tokens: Span
    cost: Span | None
    batch_cost: Span | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the estimate as plain JSON values."""
        return {**asdict(self), "notes": list(self.notes)}

    def __str__(self) -> str:
        apart = {"of them not usable": self.bad_rows, "equal to an earlier one": self.equal_rows}
        lines = [
            f"{'model':<16}{self.model}",
            f"{'rows':<16}{self.rows:,}" + "".join(f", {n:,} {what}" for what, n in apart.items() if n),
            f"{'requests':<16}{_count(self.requests)}",
            f"{'input tokens':<16}{_count(self.input_tokens)}",
            f"{'output tokens':<16}{_count(self.output_tokens)}",
            f"{'cost, live':<16}{_dollars(self.cost)}",
            f"{'cost, batch':<16}{_dollars(self.batch_cost)}",
        ]
        return "\n".join([*lines, *self.notes])


def estimate(task: Predictor[Any], rows: Iterable[Any], connection: Connection | None = None) -> Estimate:
    """Estimate what a run over rows would take; nothing is sent.

    Arguments:
        rows: strings or dicts of the task's inputs, as for `map`; read one by one.
        connection: which model would answer; by default as the task's settings say.
    """
    check_kind("task", task, Predictor, what="a Task")
    check_kind("rows", rows, Iterable, what="many rows")
    check_kind("connection", connection, Connection, type(None), what="a Connection, or leave it out")
    if task.fallback is not None:
        raise InputError(f"how many rows {task.name} hands on is not known beforehand: estimate each task by itself")
    connection = connection or loop.run(connect(task.settings))
    members = task.members or (task,)
    seen: set[bytes] = set()
    total, bad, equal, cut, counted = 0, 0, 0, 0, 0
    live, batch, decided = _Load(), _Load(), False
    for total, row in enumerate(rows, start=1):  # noqa: B007 - it is counted
        try:
            questions = [planned(_question(member, row, connection)) for member in members]
        except InputError:
            bad += 1
            continue
        whole = [len(parts) == 1 for parts in questions]
        cut += not all(whole)
        counted += not all(whole) and all(parts[0].counted for parts in questions if len(parts) > 1)
        asked = [(question, next(ask(question), ())) for parts in questions for question in parts]
        if not all(first for _, first in asked):  # no model is asked
            continue
        content = "".join(canonical(first[0], connection.endpoint, "") for _, first in asked)
        key = hashlib.sha256(content.encode()).digest()
        if key in seen:
            equal += 1
            continue
        seen.add(key)
        if len(asked) > 1 and all(whole) and all(first[0].decides for _, first in asked):
            live += _load(asked[0][0], (joined([first[0] for _, first in asked]),))
        else:
            live = sum(starmap(_load, asked), live)
        for question, first in asked:
            if first[0].decides:  # decisions are live only: a batch reads log-probabilities instead
                decided, question = True, replace(question, decides=False)
                first = next(ask(question))
            batch += _load(question, first)
    own = task.settings.price
    price = Price(0.0, 0.0) if connection.local else price_of(connection.model, decisions=decided, own=own)
    in_batch = None if connection.local else price_of(connection.model, own=own)
    return Estimate(
        model=connection.model,
        rows=total,
        bad_rows=bad,
        equal_rows=equal,
        requests=live.requests,
        input_tokens=live.tokens_in,
        output_tokens=live.tokens_out,
        cost=None if price is None else _cost(price, live),
        batch_cost=None if in_batch is None or in_batch.batch is None else _cost(in_batch, batch, in_batch.batch),
        notes=_notes(task, connection, price, cut, counted),
    )


@dataclass(frozen=True, slots=True)
class _Load:
    """What some rows take."""

    requests: Span = _NOTHING
    tokens_in: Span = _NOTHING
    tokens_out: Span = _NOTHING

    def __add__(self, other: _Load) -> _Load:
        return _Load(
            self.requests + other.requests, self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out
        )


def _load(question: Question, first: tuple[Request, ...]) -> _Load:
    factors = len(first), len(first), len(first) * _most_rounds(question, first[0])
    tokens = Span(*[sum(question.counted)] * 3) if question.counted else request_tokens(first[0])
    return _Load(Span(*factors), tokens.times(*factors), _output_tokens(question, first[0]).times(*factors))


def _question(task: Predictor[Any], row: Any, connection: Connection) -> Question:
    task, inputs = task._bind_row(row)
    if task.settings.select == "embedding":  # only the endpoint could tell the shots: take others of the same number
        task = task.using(select="first")
    question = task._question(inputs, task._prompts.offline(inputs), connection)
    return loop.run(sized(question, connection)) if may_be_long(question) else question


def _most_rounds(question: Question, first: Request) -> int:
    """Give how often a row may be asked: again after an answer that is not valid, or for labels that begin alike."""
    if first.decides or question.settings.votes > 1:
        return 1
    if first.top_logprobs is None or question.output.kind != "labels":
        return 1 + question.settings.max_repairs
    openings = [question.output.render(label)[:1].casefold() for label in question.output.labels or ()]
    return 1 + (len(set(openings)) < len(openings))


def _output_tokens(question: Question, request: Request) -> Span:
    """Expect answers as long as those of the shots; at most `max_tokens`."""
    if request.decides:
        return Span()
    most = float(request.max_tokens or 512)
    if most <= 1:
        return Span(1, 1, 1)
    typical = _answer_tokens(question.prompt)
    return Span(1, min(max(1.0, typical.likely) if typical.likely else most / 2, most), most)


def _answer_tokens(prompt: Prompt) -> Span:
    """Give the mean length of the answers that the prompt shows, or of a record's values where all are known."""
    shown = [prompt.output.render(example.output) for example in prompt.examples]
    if not shown and prompt.output.is_decided and prompt.output.fields:
        written = {f.name: sorted(f.values, key=lambda v: len(json_text(v))) for f in prompt.output.fields}
        shown = [json_text({name: values[len(values) // 2] for name, values in written.items()})]
    answers = [text_tokens(text) for text in shown]
    return sum(answers, Span()).times(*[1 / len(answers)] * 3) if answers else Span()


def _cost(price: Price, load: _Load, share: float = 1.0) -> Span:
    def dollars(name: str) -> float:
        usage = Usage(round(getattr(load.tokens_in, name)), round(getattr(load.tokens_out, name)))
        return price.cost(usage) * share

    return Span(dollars("low"), dollars("likely"), dollars("high"))


def _notes(
    task: Predictor[Any], connection: Connection, price: Price | None, cut: int, counted: int
) -> tuple[str, ...]:
    notes = ["tokens are estimated from characters; (low to high) holds for ordinary text, cached prompts not counted"]
    if connection.local:
        notes.append("the embedded model costs nothing")
    elif price is None:
        notes.append(
            f"the price of {connection.model} is not known: give it as price=(0.10, 0.40) or --price 0.10,0.40"
        )
    if cut:
        parts = f"texts longer than the model holds, which are read in parts: {cut:,}"
        notes.append(parts + (f"; tokens counted for {counted:,}" if counted else ""))
    if task.settings.calibrate:
        notes.append("calibrating at first use asks one more request for each example that is not a shot")
    return tuple(notes)


def _count(span: Span) -> str:
    if span.low == span.high:
        return f"{span.likely:,.0f}"
    return f"{span.likely:,.0f}  ({span.low:,.0f} to {span.high:,.0f})"


def _dollars(span: Span | None) -> str:
    if span is None:
        return "not known"
    return f"${span.likely:,.4f}" + ("" if span.low == span.high else f"  (${span.low:,.4f} to ${span.high:,.4f})")
