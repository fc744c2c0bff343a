"""Private data stays: placeholders go out, originals come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from fewshot import InputError, extract, summarize
from fewshot.inference.redaction import Find, detectors_of, redact
from fewshot.models.scripted import ScriptedClient

TEXT = "Ada (ada@example.com, +44 20 7946 0958) paid with 4111 1111 1111 1111 from 10.0.0.7; write to ada@example.com."


class Contact(BaseModel):
    email: str
    notes: list[str] = []


def sent(client: ScriptedClient) -> str:
    return "\n".join(turn.content for request in client.requests for turn in request.chat)


def test_nothing_private_is_sent_and_the_answer_has_it_again() -> None:
    client = ScriptedClient("[EMAIL_1] paid by card [CARD_1].")
    summary = summarize(TEXT, client=client, redact=True)
    assert summary == "ada@example.com paid by card 4111 1111 1111 1111."
    for private in ("ada@example.com", "7946", "4111", "10.0.0.7"):
        assert private not in sent(client)
    assert sent(client).count("[EMAIL_1]") == 2


def test_a_record_is_restored_all_through() -> None:
    client = ScriptedClient('{"email": "[EMAIL_1]", "notes": ["write to [EMAIL_1]"]}')
    contact = extract(TEXT, Contact, client=client, redact=["email"])
    assert contact == Contact(email="ada@example.com", notes=["write to ada@example.com"])


def test_a_detector_of_ones_own() -> None:
    def names(text: str) -> list[Find]:
        return [Find(0, 3, "name")] if text.startswith("Ada") else []

    client = ScriptedClient("[NAME_1] paid.")
    assert summarize(TEXT, client=client, redact=[names, "email"]) == "Ada paid."
    assert "Ada" not in sent(client).rpartition("Text:")[2]


@pytest.mark.parametrize("text", ["version 1.2.3", "in 2024 and 2025", "4111 1111 1111 1112", "a@b", "12345"])
def test_ordinary_numbers_and_signs_are_left_alone(text: str) -> None:
    assert redact({"text": text}, detectors_of(["email", "card", "iban", "ip"]))[0] == {"text": text}


@pytest.mark.parametrize("wanted", ["emial", ["card", 7]])
def test_an_unknown_pattern_is_refused(wanted: Any) -> None:
    with pytest.raises(InputError, match="redact"):
        summarize("x", client=ScriptedClient("x"), redact=wanted)


def test_what_looks_like_a_placeholder_in_the_text_itself_stays_as_it_is() -> None:
    inputs, kept = redact({"text": "Template: reply to [EMAIL_1]. Contact: ada@example.com"}, detectors_of(["email"]))
    assert inputs["text"] == "Template: reply to [EMAIL_1]. Contact: [EMAIL_2]"
    assert kept.restore("Reply to [EMAIL_1] or [EMAIL_2]") == "Reply to [EMAIL_1] or ada@example.com"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("to DE89 3704 0044 0532 0130 00 AND soon", "to [IBAN_1] AND soon"),
        ("GB82WEST12345698765432.", "[IBAN_1]."),
        ("gb82-west-1234-5698-7654-32", "[IBAN_1]"),
        ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),  # a wrong check digit
        ("123-45-6789 and 000-12-3456", "[SSN_1] and 000-12-3456"),
        ("900101-1234568, 9001011234568, 9001011234567", "[RESIDENT_1], [RESIDENT_2], 9001011234567"),
        ("order 1234 4111 1111 1111 1111 2027", "order 1234 [CARD_1] 2027"),
        ("4111 1111 1111 1111 5500 0000 0000 0004", "[CARD_1] [CARD_2]"),
    ],
)
def test_numbers_are_known_by_their_check_digits(text: str, sent: str) -> None:
    assert redact({"text": text}, detectors_of(["iban", "ssn", "resident", "card"]))[0] == {"text": sent}


def raises(_: str) -> list[Find]:
    raise KeyError


@pytest.mark.parametrize(
    "detector",
    [
        raises,
        lambda _: None,
        lambda _: 3,
        lambda _: ["Ada"],
        lambda _: [(0, 3, "name")],
        lambda _: [Find("0", 3, "name")],  # type: ignore[arg-type]
        lambda _: [Find(0, 3, None)],  # type: ignore[arg-type]
        lambda _: [Find(0, 10**9, "name")],
        lambda _: [Find(3, 3, "name")],
        lambda _: [Find(-1, 3, "name")],
        list,
    ],
)
def test_a_detector_that_gives_something_else_is_the_callers_mistake(detector: Any) -> None:
    client = ScriptedClient("x")
    with pytest.raises(InputError, match="redact"):
        summarize(TEXT, client=client, redact=["email", detector])
    assert client.requests == []


class Pair(NamedTuple):
    """Two texts of one record."""

    one: str
    other: str


@pytest.mark.parametrize(
    "make",
    [lambda t: [t], lambda t: {t}, lambda t: (t, 1), lambda t: {"a": {t: t}}, lambda t: Pair(t, "x"), lambda t: t],
)
def test_private_data_comes_back_wherever_it_stands_in_a_value(make: Callable[[str], Any]) -> None:
    _, kept = redact({"text": "Write to ada@example.com."}, detectors_of(["email"]))
    assert kept.restore(make("[EMAIL_1]")) == make("ada@example.com")
