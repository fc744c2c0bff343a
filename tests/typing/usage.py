"""How the package is typed: never run, only read by mypy, pyright and ty (see tests/test_typing.py).

An expected error stands behind `# type: ignore[…]`, which mypy reports when there is none; ty has its own.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any, Literal, assert_type

from pydantic import BaseModel

import fewshot
from fewshot import (
    Message,
    Result,
    Span,
    Task,
    answer,
    calculate,
    classify,
    classify_sentiment,
    extract,
    find,
    load,
    translate,
)
from fewshot.outputs.kinds import Labels, Number, Output, Schema, Text

Team = Literal["bug", "question"]
Sentiment = Literal["positive", "negative", "neutral"]


class Ticket(BaseModel):
    team: Team
    urgent: bool = False


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


# -- tasks in code, in one expression ---------------------------------------------------------------------------------

pairs = [("It crashes.", "bug"), ("How do I print?", "question")]

assert_type(Task.of("Sort the ticket.", ["bug", "question"], pairs), Task[str])
assert_type(Task.of("Sort the ticket.", Team, pairs), Task[Team])
assert_type(Task.of("Sort the ticket.", Literal["bug", "question"], pairs, k=2), Task[Literal["bug", "question"]])
assert_type(Task.of("Read the ticket.", Ticket), Task[Ticket])
assert_type(Task.of("Name the color.", Color), Task[Color])
assert_type(Task.of("How many stars?", Literal[1, 2, 3]), Task[Literal[1, 2, 3]])
assert_type(Task.of("How many stars?", [1, 2, 3]), Task[int])
assert_type(Task.of("Is it urgent?", bool), Task[bool])
assert_type(Task.of("Translate.", "text", name="translate", model="local"), Task[str])
assert_type(Task.of("Translate.", str), Task[str])
assert_type(Task.of("Count.", "number"), Task[float])
assert_type(Task.of("Count.", int), Task[int])
assert_type(Task.of("Weigh.", float), Task[float])
assert_type(Task.of("Weigh.", Decimal), Task[Decimal])
assert_type(Task.of("List.", list[Ticket]), Task[list[Ticket]])
assert_type(Task.of("Answer.", Text(optional="I don't know")), Task[str | None])
assert_type(Task.of("Read.", {"type": "object", "properties": {}}), Task[Any])


def teams(known: list[Team]) -> Task[Team]:
    return Task.of("Sort the ticket.", known, inputs={"text": ..., "product": None}, parameters={"tone": "calm"})


Task.of("Sort.", Team, temprature=0.1)  # type: ignore[call-overload]
Task.of("Sort.", Team, k="four")  # type: ignore[call-overload]  # ty: ignore[no-matching-overload]
Task.of(Team, "text")  # type: ignore[call-overload]  # ty: ignore[no-matching-overload]

# -- what a task gives ------------------------------------------------------------------------------------------------

team = Task.of("Sort the ticket.", Team, pairs)

assert_type(team("It crashes."), Team)
assert_type(team.run("It crashes."), Result[Team])
assert_type(team.run("It crashes.").value, Team | None)
assert_type(team.render("It crashes."), list[Message])
assert_type(team.render("It crashes.", form="text"), str)
assert_type(team.map(["a", "b"]), Iterator[Result[Team]])
assert_type(team.amap(["a", "b"]), AsyncIterator[Result[Team]])
assert_type(team.using(k=4), Task[Team])
assert_type(team.using(examples=pairs), Task[Team])
assert_type(team.using(output=Number()), Task[int | float | Decimal])
assert_type(team.calibrate([("a", "bug")]), Task[Team])


async def ask() -> None:
    assert_type(await team.acall("It crashes."), Team)
    assert_type(await team.arun("It crashes."), Result[Team])
    assert_type(await classify_sentiment.acall("Lovely."), Sentiment)
    assert_type(await classify.acall("Lovely.", ["good", "bad"]), str)
    assert_type(await classify.arun("Lovely.", ["good", "long"], several=True), Result[list[str]])
    assert_type(await extract.acall("It crashes.", Ticket), Ticket)
    assert_type(await classify_sentiment.acall("Lovely.", min_confidence=0.8), Sentiment | None)


# -- the functions that ship ------------------------------------------------------------------------------------------

assert_type(classify_sentiment("Lovely."), Sentiment)
assert_type(classify_sentiment("Lovely.", min_confidence=0.8), Sentiment | None)
assert_type(classify_sentiment.task()("Lovely.", min_confidence=0.8), Sentiment | None)
assert_type(classify_sentiment("Lovely.", k=3, min_confidence=None), Sentiment)
assert_type(classify_sentiment.run("Lovely.", k=3), Result[Sentiment])
assert_type(classify_sentiment.task(), Task[Sentiment])
assert_type(classify_sentiment.using(min_confidence=0.8), Task[Sentiment | None])
assert_type(classify_sentiment.task().using(min_confidence=0.8)("Lovely."), Sentiment | None)
assert_type(classify_sentiment.map(["Lovely."]), Iterator[Result[Sentiment]])
assert_type(classify("Lovely.", ["good", "bad"]), str)
assert_type(classify("Lovely.", {"good": "they like it", "bad": "they do not"}), str)
assert_type(translate("Hello.", target="French"), str)
assert_type(find("Ada slept.", ["person"]), list[Span])
assert_type(Task.of("Find.", list[Span[Sentiment]]), Task[list[Span[Sentiment]]])
assert_type(answer("Who?"), str | None)
assert_type(calculate("1 + 1"), float)
assert_type(extract("It crashes.", Ticket), Ticket)
assert_type(extract.run("It crashes.", Ticket).value, Ticket | None)
assert_type(fewshot.load("sentiment"), Task[Any])
assert_type(load("mine", output=Schema(Ticket)), Task[Ticket])


def of_teams(text: str, known: list[Team]) -> Team:
    assert_type(classify.run(text, known), Result[Team])
    return classify(text, known)


classify_sentiment("Lovely.", k="three")  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]
classify_sentiment("Lovely.", modle="x")  # type: ignore[call-overload]
assert_type(classify("Lovely.", [1, 2]), int)
assert_type(classify("Lovely.", ["good", "long"], several=True), list[str])
assert_type(classify("Lovely.", Color, several=True, k=3), list[Color])
assert_type(classify.run("Lovely.", ["good", "long"], several=True), Result[list[str]])
assert_type(classify("Lovely.", bool), bool)
assert_type(classify("Lovely.", [1, 2], min_confidence=0.8), int | None)
assert_type(classify("Lovely.", ["good", "long"], several=False, k=2, examples=pairs), str)
assert_type(classify.task(["good", "long"]), Task[str])
assert_type(classify.task(["good", "long"], several=True), Task[list[str]])
assert_type(extract("They crash.", list[Ticket]), list[Ticket])
assert_type(extract("It crashes.", Ticket, min_confidence=0.8), Ticket | None)
assert_type(extract.task(Ticket), Task[Ticket])
extract("It crashes.", dict)  # type: ignore[type-var]  # ty: ignore[invalid-argument-type]


def output_kinds() -> tuple[Output[str], Output[str | None], Output[Ticket]]:
    return Labels(("a", "b")), Text(), Schema(Ticket)
