"""What `fuzz.py` breaks: each reader of what others wrote, with good samples of what it reads."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import csv
import io
import json
import shutil
import tempfile
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h11
from pydantic import BaseModel

from fewshot import FewshotError, Task, load
from fewshot.authoring.check import check
from fewshot.bulk.batch_api.files import lines_of
from fewshot.data.columns import Columns, read_rows
from fewshot.errors import InputError, OutputError, ServiceError
from fewshot.inference.fits import _read as read_calibration
from fewshot.inference.redaction import detectors_of, redact
from fewshot.models.completion_store import from_json, to_json
from fewshot.models.endpoint import Endpoint
from fewshot.models.token_bucket import asked_to_wait
from fewshot.models.wire.decisions import read_decision
from fewshot.models.wire.http11 import _Connection
from fewshot.models.wire.request import Dialect
from fewshot.models.wire.response import Reply, read_completion
from fewshot.models.wire.response import read_vectors as vectors_in
from fewshot.models.wire.service_errors import failure, read_complaint
from fewshot.outputs.kinds import Output, output_of
from fewshot.prompts.template import Template
from fewshot.types import Completion, Message, Request, TokenLogprob, Usage

__all__ = ["TARGETS", "Target"]

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


@dataclass(frozen=True)
class Target:
    """A reader, what it may raise, and good samples."""

    read: Callable[[bytes], object]
    samples: list[bytes]
    errors: tuple[type[Exception], ...] = (FewshotError,)


@lru_cache(maxsize=1)
def folder() -> Path:
    """Give a folder for files that are made and read here; in memory where there is one."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="fewshot-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def write(name: str, data: bytes) -> Path:
    """Write a file below the folder."""
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# -- what authors write ---------------------------------------------------------------------------------------------


def read_template(data: bytes) -> None:
    template = Template.read(write("prompt.jinja", data))
    template.check(["text"], ["style"])
    values = {"text": "a\nb", "style": "x", "labels": ["a", "b"], "descriptions": {"a": "b"}}
    template.instruction(values)
    template.input(values)
    template.cue(values)


def task_folder(name: str) -> Callable[[bytes], None]:
    """Read a task folder of which one file is broken, with the reader and with the linter."""

    def read(data: bytes) -> None:
        for source in (TEMPLATES / "extract" if name == "schema.json" else TEMPLATES / "sentiment").iterdir():
            write(f"task-{name}/{source.name}", source.read_bytes())
        if name.startswith("examples."):
            write(f"task-{name}/examples.jsonl", b"").unlink()
        path = write(f"task-{name}/{name}", data).parent
        assert check(path).to_dict()
        task = load(path)
        task.render(dict.fromkeys(task.inputs, "some text"))
        task.render(dict.fromkeys(task.inputs, "some text"), form="text")

    return read


SHOTS = (TEMPLATES / "sentiment" / "examples.jsonl").read_bytes().split(b"\n")
TEMPLATE = b"""\
{% block instruction %}Sort as {{ labels | join(", ") }}.
{% for label in labels %}{{ loop.index }}. {{ label | upper }}{% if not loop.last %}; {% endif %}{% endfor %}
{% for k, v in descriptions | items %}{{ k ~ ": " ~ v }}{% endfor %}{% endblock %}
{% block input %}{% macro line(x) %}{{ x | trim }}{% endmacro %}
{% set y = style %}Text: {{ line(text) }} {{ y if y else 0 }} {{ text[0:3] }}
{% endblock %}
{% block output %}Sentiment: {{ output }}{% endblock %}
"""
TOML = b"""\
description = "Sort."
version = "2"
output = ["positive", "negative", "neutral"]
[inputs]
text = "the text"
[parameters]
style = { default = "plain", description = "how" }
[settings]
k = 3
temperature = 0.5
select = "balanced"
min_confidence = 0.2
stop = ["a"]
[descriptions]
positive = "glad"
[words]
positive = "good"
"""

# -- what a service says --------------------------------------------------------------------------------------------

CHAT = Request(model="m", messages=(Message("user", "x"),))
REQUESTS = (CHAT, Request(model="m", text="x"), Request(model="m", messages=CHAT.messages, n=2))
CHOICES = Request(model="m", messages=CHAT.messages, choices=(("a", ""), ("b", "")))
TOKEN = {"token": "po", "logprob": -0.1, "bytes": [112, 111], "top_logprobs": [{"token": "p", "logprob": -1.5}]}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
OLD = {"tokens": ["a", "bytes:\\xe2"], "token_logprobs": [-1, -2], "top_logprobs": [{"a": -1.5}, None]}
TURN = {"role": "assistant", "content": "positive"}
FIRST = {"index": 0, "finish_reason": "stop", "message": TURN, "logprobs": {"content": [TOKEN]}}
SECOND = {"index": 1, "finish_reason": "stop", "message": {"content": [{"text": "b"}], "refusal": None}}
SHARES = [{"value": "a", "probability": 0.25}, {"value": "b", "probability": 0.75}]
REPLIES: list[Any] = [
    {"id": "x", "model": "m", "usage": USAGE, "system_fingerprint": "f", "choices": [FIRST, SECOND]},
    {"model": "m", "usage": {"input_tokens": 1}, "choices": [{"text": "positive", "logprobs": OLD}]},
    {"error": {"message": "no", "code": None}},
    {"model": "m", "answers": [{"type": "choice", "probabilities": SHARES}]},
]


def read_reply(data: bytes) -> None:
    reply = Reply(200, {}, data)
    for request in REQUESTS:
        try:
            completion = read_completion(reply, request)
        except ServiceError:
            continue
        for text in (completion.text, *completion.texts):
            text.encode()
    with contextlib.suppress(ServiceError):
        read_decision(reply, CHOICES, attempts=1)


def read_vectors(data: bytes) -> None:
    for vector in vectors_in(Reply(200, {}, data), 2):
        array("f", vector)


VECTORS = {"data": [{"index": 1, "embedding": [0.5, -1]}, {"index": 0, "embedding": [1, 2]}], "usage": USAGE}


def read_refusal(data: bytes) -> None:
    """Read what a service says instead of an answer: a status, headers and a body, here in one piece of JSON."""
    try:
        told = json.loads(data)
        status, headers, body = int(told["status"]), dict(told["headers"]), json.dumps(told["body"]).encode()
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        status, headers, body = 400, {}, data
    reply = Reply(status, {str(name): str(value)[:4000] for name, value in headers.items()}, body)
    error = failure(reply, Endpoint(model="m", base_url="http://localhost/v1", api_key="sk-secret-secret"))
    assert isinstance(error, ServiceError)
    asked_to_wait(reply.headers)
    sent = {"temperature": 0, "max_tokens": 5, "top_logprobs": 5, "logprobs": True, "response_format": {}}
    dialect = Dialect()
    while dialect.learn(status, read_complaint(reply), sent, CHAT) and dialect.known < 20:
        sent, _ = dialect.apply(sent, "{}")


COMPLAINTS = [
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
    "top_logprobs: must be at most 5", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
    "messages[0].role: developer is not supported", "Invalid schema for response_format",
]  # fmt: skip
TOLD = {"retry-after": "3", "retry-after-ms": "1500", "x-should-retry": "true", "location": "http://[::1]/v1"}
TOLD |= {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}
TOLD |= {"x-ratelimit-reset-requests": "1m30.5s"}
REFUSALS = [
    json.dumps({"status": status, "headers": TOLD, "body": {"error": {"message": said, "type": "x", "code": None}}})
    for status, said in zip((400, 429, 400, 422, 307), COMPLAINTS, strict=True)
]


class Wire:
    """A transport that takes everything."""

    def write(self, data: bytes) -> None:
        """Take it."""

    def abort(self) -> None:
        """Do nothing."""

    def get_write_buffer_size(self) -> int:
        """Say that all has been sent."""
        return 0

    def get_extra_info(self, _name: str) -> io.StringIO:
        """Give something for a socket, with a descriptor that nobody looks at."""
        return _Socket()


class _Socket(io.StringIO):
    def fileno(self) -> int:
        return 0


def read_http(data: bytes) -> None:
    def head(target: str, length: int) -> h11.Request:
        return h11.Request(method="POST", target=target, headers=[("Host", "host"), ("Content-Length", str(length))])

    async def exchange() -> Reply:
        connection = _Connection("host", head, None)
        connection.connection_made(Wire())  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(connection.exchange("/v1", b"{}"))
        await asyncio.sleep(0)
        for start in range(0, len(data), 97):
            connection.data_received(data[start : start + 97])
        connection.eof_received()
        connection.connection_lost(None)
        return await waiting

    asyncio.run(exchange())


BODY = json.dumps(REPLIES[0]).encode()
HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY),
    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY),
    b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00",
]
HTTP = [head + BODY + b"\r\n0\r\n\r\n" * (b"chunked" in head) for head in HEADS]


def read_batch(data: bytes) -> None:
    for line in lines_of(write("batch.jsonl", data)):
        if line is not None and line.reply is not None:
            try:
                read_completion(line.reply, CHAT)
            except ServiceError:
                continue


BATCH_LINES = [{"custom_id": f"r{i}", "response": {"status_code": 200, "body": REPLIES[i]}} for i in range(3)]
BATCH = b"\n".join(json.dumps(line).encode() for line in BATCH_LINES)

# -- what a model says ----------------------------------------------------------------------------------------------


class Person(BaseModel):
    """A record with a list in it."""

    name: str
    age: int | None
    tags: list[str]


RECORD = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"enum": ["x", None]}}, "required": ["a"]}
OUTPUTS: list[Output[Any]] = [load("answer").output]
OUTPUTS += [output_of(spec) for spec in (["positive", "negative", "not sure", "1"], "number", "text", Person, RECORD)]


def read_answer(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for output in OUTPUTS:
        for read in (lambda text, o=output: o.parse(text, cue="Sentiment:"), output.parse_json):
            try:
                value = read(text)
            except OutputError:
                continue
            if value is not None:
                try:
                    output.render(value)
                except InputError:
                    assert output.kind in ("text", "number"), f"{value!r} was read and cannot be written"


ANSWERS = [
    text.encode()
    for text in (
        "positive", "Sentiment: positive", "**Negative.**", "I would say it is positive, not negative.",
        '{"label": "positive"}', '```json\n{"name": "Ada", "age": 36, "tags": ["a"]}\n```', "The answer is 1,234.50.",
        "3/4 + 1 = 1.75", "-5 °C", "12 % of 300 is 36.", "1. first\n2. second\nAnswer: 42", '"quoted" text',
        '{"answer": 4.5e3}', "٣٤ is ３４, 三十", 'Here: {"a": 1, "b": "x"} and {"a": 2}', "<think>2</think> 17",
        "I don't know.",
    )
]  # fmt: skip


def read_schema(data: bytes) -> None:
    try:
        schema = json.loads(data)
    except (ValueError, RecursionError):
        return
    output = output_of(schema)
    output.schema()
    try:
        output.parse('{"a": 1, "b": "x", "c": {"d": [1]}}')
    except OutputError:
        return


MADE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": ["number", "null"], "minimum": 0},
        "b": {"enum": ["x", 1]},
        "c": {"$ref": "#/$defs/c"},
        "e": {"anyOf": [{"type": "string", "pattern": "^a+$"}, {"type": "null"}]},
    },
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"c": {"type": "object", "properties": {"d": {"type": "array", "items": {"type": "integer"}}}}},
}
SCHEMAS = [(TEMPLATES / "extract" / "schema.json").read_bytes(), json.dumps(MADE).encode()]

# -- what users and other processes write ---------------------------------------------------------------------------


@lru_cache(maxsize=1)
def sentiment() -> Task[Any]:
    """Give a task with one input."""
    return load("sentiment")


def rows_in(suffix: str) -> Callable[[bytes], None]:
    """Read rows from a file of one kind, and render those that are rows."""

    def read(data: bytes) -> None:
        before = csv.field_size_limit()
        try:
            rows = list(read_rows(write(f"rows{suffix}", data), Columns(sentiment())))
        finally:
            csv.field_size_limit(before)
        for row in rows[:20]:
            if isinstance(row, Exception):
                assert isinstance(row, InputError), repr(row)
                continue
            given: Mapping[str, Any] = row if isinstance(row, Mapping) else {"text": row}  # type: ignore[assignment]
            try:
                sentiment().render({name: value for name, value in given.items() if name != "id"})
            except InputError:
                continue

    return read


def read_redacted(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    inputs, private = redact({"text": text}, detectors_of(True))
    if "[" not in text:
        assert private.restore(inputs["text"]) == text


CACHED: dict[str, Any] = json.loads(
    to_json(Completion(text="a", tokens=(TokenLogprob(b"a", -0.5, ((b"b", -1.0),)),), usage=Usage(1, 2, 3), model="m"))
)
WEIGHTS = {"a": {"bias": 0.5, "weights": {"a": 1, "b": -1}}}
CALIBRATION = {"about": {}, "calibration": {"name": "platt", "outputs": WEIGHTS}}
PRIVATE = b"Ada <ada@example.org>, +44 20 7946 0958, 4111 1111 1111 1111, 10.0.0.1, DE89370400440532013000"

TARGETS: dict[str, Target] = {
    "template": Target(read_template, [TEMPLATE, *((t / "prompt.jinja").read_bytes() for t in TEMPLATES.iterdir())]),
    "task.toml": Target(task_folder("task.toml"), [TOML, *(f.read_bytes() for f in TEMPLATES.glob("*/task.toml"))]),
    "schema.json": Target(task_folder("schema.json"), SCHEMAS),
    "examples.jsonl": Target(task_folder("examples.jsonl"), [b"\n".join(SHOTS[:12])]),
    "examples.json": Target(task_folder("examples.json"), [b"[" + b",".join(SHOTS[:12]) + b"]"]),
    "examples.csv": Target(task_folder("examples.csv"), [b'text,output\nI love it,positive\n"a, ""b""\nc",negative\n']),
    "reply": Target(read_reply, [json.dumps(reply).encode() for reply in REPLIES]),
    "vectors": Target(read_vectors, [json.dumps(VECTORS).encode()]),
    "refusal": Target(read_refusal, [text.encode() for text in REFUSALS]),
    "http": Target(read_http, HTTP),
    "batch": Target(read_batch, [BATCH]),
    "answer": Target(read_answer, ANSWERS),
    "schema": Target(read_schema, SCHEMAS),
    "rows.jsonl": Target(rows_in(".jsonl"), [b'{"text": "a", "id": 1}\n{"text": "b"}\n"c"\n', b"\n".join(SHOTS[:5])]),
    "rows.csv": Target(rows_in(".csv"), [b'text,id\nI love it,1\n"a, ""b""\nc",2\n', b'id,text,x\n"1",a,b\n']),
    "rows.tsv": Target(rows_in(".tsv"), [b"text\tid\na\t1\nb\t2\n"]),
    "rows.txt": Target(rows_in(".txt"), [b"one\ntwo\n\nthree\n", b'{"text": "a"}\n']),
    "redaction": Target(read_redacted, [PRIVATE]),
    "cached answer": Target(from_json, [json.dumps(CACHED).encode()], (ValueError,)),
    "calibration": Target(lambda data: read_calibration(write("c.json", data)), [json.dumps(CALIBRATION).encode()]),
}
