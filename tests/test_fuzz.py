"""Broken input never ends in a traceback from inside: a little fuzzing each time, and everything it ever found."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fuzz import fuzz, tried
from fuzz_targets import CACHED, CALIBRATION, FIRST, MADE, REPLIES, TARGETS, VECTORS

INPUTS = {"task.toml": 20, "schema.json": 20, "examples.jsonl": 20, "examples.json": 20, "examples.csv": 20}
"""Those that read a whole task folder are slow; the others get more."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A calibration that cannot be read is logged, rightly."""
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("name", TARGETS)
def test_good_samples_are_read(name: str) -> None:
    target = TARGETS[name]
    target.read(target.samples[0])


@pytest.mark.parametrize("name", TARGETS)
def test_broken_input_ends_in_a_value_or_an_error_of_ours(name: str) -> None:
    count, found = fuzz(name, seed=7, until=lambda done: done >= INPUTS.get(name, 150), cut=False)
    assert count
    assert [(one.how, one.data[:300], one.trace) for one in found] == []


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def schema(**changes: Any) -> bytes:
    return as_json(MADE | changes)


def properties(**changes: Any) -> bytes:
    return schema(properties=MADE["properties"] | changes)


LONG_NUMBER = -(10**400)
FOUND: list[tuple[str, bytes]] = [
    ("template", b"{% block input %}{{ " + b"1" * 5000 + b" }}{% endblock %}"),
    ("template", b"{% block " + b"1" * 5000),
    ("task.toml", b"output = " + b"[" * 100_000),
    ("schema.json", b"[" * 100_000),
    ("schema", schema(**{"$defs": {"c": {"type": "object", "properties": False}}})),
    ("schema", schema(**{"$defs": {"c": {"type": "object", "properties": [0]}}})),
    ("schema", properties(b={"enum": []})),
    ("schema", properties(b={"enum": " "})),
    ("schema", properties(b={"anyOf": 1})),
    ("schema", properties(b={"type": "object", "properties": {"x": {}}, "required": 1})),
    ("schema", properties(c={"$ref": ""})),
    ("schema", properties(c={"$ref": 1})),
    ("schema", properties(c={"$ref": "9" * 5000})),
    ("reply", as_json(REPLIES[3] | {"answers": [{"probabilities": [{"value": [], "probability": 1}]}]})),
    ("reply", as_json(REPLIES[0] | {"choices": [FIRST, FIRST | {"index": "x"}]})),
    ("reply", as_json(REPLIES[0] | {"choices": [FIRST | {"logprobs": {"content": [{"logprob": LONG_NUMBER}]}}]})),
    ("vectors", as_json(VECTORS | {"data": [{"index": "x", "embedding": [1]}, {"index": 0, "embedding": [1]}]})),
    ("vectors", as_json(VECTORS | {"data": [{"embedding": [10**400]}, {"embedding": [1]}]})),
    ("refusal", as_json({"status": 307, "headers": {"location": "//["}, "body": {}})),
    ("redaction", b"a" * 200_000),
    ("redaction", b"".join(b"%d.%d.%d.1 " % (i % 250, i // 250 % 250, i // 62500) for i in range(100_000))),
    ("answer", b"The answer is 1,234.50." + b"r is 1,234.50." * 4000),
    ("cached answer", as_json(CACHED | {"probabilities": []})),
    ("cached answer", as_json(CACHED | {"probabilities": {"a": 10**400}})),
    ("cached answer", as_json(CACHED | {"tokens": [{"token": "YQ==", "logprob": LONG_NUMBER, "top": []}]})),
    ("cached answer", as_json(CACHED | {"usage": {"input_tokens": 1e400}})),
    ("calibration", as_json(CALIBRATION | {"calibration": {"name": "x", "outputs": {"a": {"bias": 10**400}}}})),
    ("calibration", b"[" * 100_000),
]


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[f"{name} {i}" for i, (name, _) in enumerate(FOUND)])
def test_what_fuzzing_found_stays_mended(name: str, data: bytes) -> None:
    found = tried(name, TARGETS[name], data)
    assert found is None, f"{found.how}\n{found.trace}"
