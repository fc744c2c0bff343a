"""Spans and metrics by the conventions for generative AI, without a word of the prompts unless asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fewshot import Completion, Message, Request, ScriptedClient, ServiceError, Task, Usage
from fewshot.models.endpoint import Endpoint

pytest.importorskip("opentelemetry.sdk", reason="the extra 'otel' and the OpenTelemetry SDK are not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from fewshot.integrations.otel import TracedClient, traced

ASKED = Request(
    model="gpt-6-luna", messages=(Message("system", "Be secret."), Message("user", "My name is Eve.")), max_tokens=5
)
SAID = Completion(
    text="Hello Eve.", usage=Usage(20, 3, 8), model="gpt-6-luna-2026-10-06", id="chatcmpl-1", request_id="req_1"
)
OPENAI = Endpoint(model="gpt-6-luna", base_url="https://api.openai.com/v1")


class Recorded:
    """What came of one request through a traced client."""

    def __init__(
        self, answer: Completion | Exception, request: Request = ASKED, endpoint: Endpoint = OPENAI, **options: Any
    ) -> None:
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers, meters = TracerProvider(), MeterProvider([reader])
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
        inner = ScriptedClient(answer)
        client = TracedClient(inner, endpoint, tracer_provider=tracers, meter_provider=meters, **options)
        self.error: Exception | None = None
        try:
            asyncio.run(client.complete(request))
        except ServiceError as error:
            self.error = error
        self.span: ReadableSpan = exporter.get_finished_spans()[0]
        self.points: dict[str, list[Any]] = {}
        for resource in json.loads(reader.get_metrics_data().to_json())["resource_metrics"]:
            for metric in resource["scope_metrics"][0]["metrics"]:
                self.points[metric["name"]] = metric["data"]["data_points"]

    @property
    def everything(self) -> str:
        return self.span.to_json() + json.dumps(self.points)


def test_a_request_is_a_span_with_the_conventions_names() -> None:
    span = Recorded(SAID).span
    assert (span.name, span.kind) == ("chat gpt-6-luna", SpanKind.CLIENT)
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-6-luna",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.seed": 0,
        "gen_ai.output.type": "text",
        "gen_ai.response.model": "gpt-6-luna-2026-10-06",
        "gen_ai.response.id": "chatcmpl-1",
        "fewshot.request_id": "req_1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "server.address": "api.openai.com",
        "server.port": 443,
        "fewshot.attempts": 1,
        "fewshot.cached": False,
    }


def test_duration_and_tokens_are_metrics() -> None:
    points = Recorded(SAID).points
    assert [point["count"] for point in points["gen_ai.client.operation.duration"]] == [1]
    tokens = {p["attributes"]["gen_ai.token.type"]: p["sum"] for p in points["gen_ai.client.token.usage"]}
    assert tokens == {"input": 20, "output": 3}
    assert points["gen_ai.client.token.usage"][0]["explicit_bounds"][:3] == [1, 4, 16]


def test_nothing_of_the_texts_is_recorded_unless_asked() -> None:
    assert "Eve" not in Recorded(SAID).everything
    assert "secret" not in Recorded(SAID).everything


def test_contents_are_recorded_when_asked() -> None:
    attributes = Recorded(SAID, contents=True).span.attributes or {}
    text = {"type": "text", "content": "My name is Eve."}
    assert json.loads(str(attributes["gen_ai.input.messages"])) == [{"role": "user", "parts": [text]}]
    assert json.loads(str(attributes["gen_ai.system_instructions"])) == [{"type": "text", "content": "Be secret."}]
    [said] = json.loads(str(attributes["gen_ai.output.messages"]))
    assert (said["parts"][0]["content"], said["finish_reason"]) == ("Hello Eve.", "stop")


def test_an_error_is_named_but_its_message_kept() -> None:
    found = Recorded(ServiceError("the text 'My name is Eve.' is refused", status=400))
    assert found.error is not None
    assert found.span.status.status_code is StatusCode.ERROR
    assert (found.span.attributes or {})["error.type"] == "400"
    assert found.points["gen_ai.client.operation.duration"][0]["attributes"]["error.type"] == "400"
    assert "Eve" not in found.everything
    assert (Recorded(ServiceError("no reply")).span.attributes or {})["error.type"] == "ServiceError"


@pytest.mark.parametrize(
    ("endpoint", "provider"),
    [
        (Endpoint(model="m", base_url="http://127.0.0.1:8080/v1", local=True), "llama.cpp"),
        (Endpoint(model="m", base_url="https://x.openai.azure.com/openai/v1"), "azure.ai.openai"),
        (Endpoint(model="m", base_url="http://10.0.0.5:8000/v1"), "openai-compatible"),
        (Endpoint(model="m"), "openai-compatible"),
    ],
)
def test_the_provider_is_named(endpoint: Endpoint, provider: str) -> None:
    request = Request(model="m", text="Once upon", max_tokens=3)
    attributes = Recorded(SAID, request, endpoint).span.attributes or {}
    assert (attributes["gen_ai.provider.name"], attributes["gen_ai.operation.name"]) == (provider, "text_completion")


def test_an_answer_from_the_cache_uses_no_tokens() -> None:
    found = Recorded(Completion(text="x", usage=Usage(5, 5), cached=True))
    assert "gen_ai.client.token.usage" not in found.points


def test_a_traced_task_answers_as_before() -> None:
    client = ScriptedClient("positive", "negative")
    task = traced(Task.of("Which?", ["positive", "negative"], client=client))
    assert task("Lovely.") == "positive"
    assert client.requests[0].messages[0].content.startswith("Input: Lovely.")


def test_a_traced_task_asks_the_same_endpoint_in_the_same_way() -> None:
    task = Task.of("Which?", ["positive", "negative"], model="gpt-6-luna", api_key="sk-test-1234")
    connection = asyncio.run(_connected(traced(task)))
    assert (connection.model, connection.endpoint.host) == ("gpt-6-luna", "api.openai.com")
    assert connection.extra == (("reasoning_effort", "none"),)
    assert connection.top_logprobs(None) == 20


async def _connected(task: Task[Any]) -> Any:
    from fewshot.models.connection import connect

    return await connect(task.settings)
