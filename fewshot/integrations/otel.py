"""OpenTelemetry: a span and metrics for every request to a model, by the conventions for generative AI.

    from fewshot.integrations.otel import traced
    task = traced(load("sentiment"))

Names follow https://opentelemetry.io/docs/specs/semconv/gen-ai/ (status: development). Prompts and answers are private
and not recorded unless asked for; error messages, which may quote them, never are. What is done with spans and metrics
is for the program to say: without an SDK set up, nothing is recorded and next to nothing is spent.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from fewshot import _background_loop as loop
from fewshot._environment import missing
from fewshot.errors import ServiceError
from fewshot.models.client import ClientWrapper
from fewshot.models.connection import connect
from fewshot.models.endpoint import Endpoint
from fewshot.task import Task
from fewshot.types import Completion, Message, Request

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise missing("tracing needs an extra", "otel") from error

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from fewshot.models.client import Client

__all__ = ["TracedClient", "traced"]

T = TypeVar("T")

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The bucket boundaries that the conventions advise."""
_PROVIDERS = {"api.openai.com": "openai", "openai.azure.com": "azure.ai.openai", "api.mistral.ai": "mistral_ai"}


def traced(task: Task[T], *, contents: bool = False) -> Task[T]:
    """Give the same task with every request traced.

    Arguments:
        contents: record prompts and answers too.

    Raises:
        ConfigError: a key, a model or an extra is missing.
    """
    connection = loop.run(connect(replace(task.settings, cache=False)))
    client = TracedClient(connection.client, connection.endpoint, contents=contents)
    return task.using(client=client, model=connection.model)


class TracedClient(ClientWrapper):
    """Asks another client and records a span and metrics."""

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        *,
        contents: bool = False,
        tracer_provider: Any = None,
        meter_provider: Any = None,
    ) -> None:
        """Wrap a client.

        Arguments:
            endpoint: where the client asks.
            contents: record prompts and answers too.
            tracer_provider, meter_provider: by default the program's own.
        """
        super().__init__(client)
        self.endpoint = endpoint
        self.contents = contents
        self._tracer = trace.get_tracer("fewshot", tracer_provider=tracer_provider)
        meter = metrics.get_meter("fewshot", meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer a request by asking the other client; errors are its own."""
        about = self._about(request)
        name = f"{about['gen_ai.operation.name']} {request.model}"
        started = time.perf_counter()
        with self._tracer.start_as_current_span(
            name,
            kind=trace.SpanKind.CLIENT,
            attributes=about | _settings(request),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if self.contents and span.is_recording():
                span.set_attributes(_asked(request))
            try:
                completion = await self.ask(request, deadline)
            except BaseException as error:
                about["error.type"] = _kind(error)
                span.set_attribute("error.type", about["error.type"])
                span.set_status(trace.StatusCode.ERROR)
                raise
            else:
                if completion.model:
                    about["gen_ai.response.model"] = completion.model
                self._told(span, completion, about)
                return completion
            finally:
                self._duration.record(time.perf_counter() - started, about)

    def _about(self, request: Request) -> dict[str, Any]:
        parts = urlsplit(self.endpoint.base_url or "")
        about: dict[str, Any] = {
            "gen_ai.operation.name": _operation(request),
            "gen_ai.provider.name": _provider(self.endpoint),
            "gen_ai.request.model": request.model,
        }
        if parts.hostname:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            about |= {"server.address": parts.hostname, "server.port": port}
        return about

    def _told(self, span: Span, completion: Completion, about: dict[str, Any]) -> None:
        usage = completion.usage
        if not completion.cached:
            for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
                self._tokens.record(count, about | {"gen_ai.token.type": kind})
        if not span.is_recording():
            return
        facts = {
            "gen_ai.response.model": completion.model or None,
            "gen_ai.response.id": completion.id or None,
            "gen_ai.response.finish_reasons": [completion.finish_reason],
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "fewshot.request_id": completion.request_id,
            "fewshot.attempts": completion.attempts,
            "fewshot.cached": completion.cached,
            "fewshot.dropped": list(completion.dropped) or None,
        }
        span.set_attributes({name: value for name, value in facts.items() if value is not None})
        if self.contents:
            said = [_message("assistant", text) for text in completion.texts or (completion.text,)]
            ended = [message | {"finish_reason": completion.finish_reason} for message in said]
            span.set_attribute("gen_ai.output.messages", json.dumps(ended, ensure_ascii=False))


def _settings(request: Request) -> dict[str, Any]:
    facts = {
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.seed": request.seed,
        "gen_ai.request.stop_sequences": list(request.stop) or None,
        "gen_ai.request.choice.count": request.n if request.n > 1 else None,
        "gen_ai.output.type": "json" if request.schema else "text",
    }
    return {name: value for name, value in facts.items() if value is not None}


def _asked(request: Request) -> dict[str, str]:
    if request.text is not None:
        return {"gen_ai.input.messages": json.dumps([_message("user", request.text)], ensure_ascii=False)}
    turns = request.chat
    system = [_part(turn) for turn in turns if turn.role in ("system", "developer")]
    rest = [_message(turn.role, turn.content) for turn in turns if turn.role not in ("system", "developer")]
    asked = {"gen_ai.input.messages": json.dumps(rest, ensure_ascii=False)}
    return asked | ({"gen_ai.system_instructions": json.dumps(system, ensure_ascii=False)} if system else {})


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _part(turn: Message) -> dict[str, str]:
    return {"type": "text", "content": turn.content}


def _operation(request: Request) -> str:
    if request.decides:
        return "decisions"  # the conventions have no name for it
    return "chat" if request.form == "chat" else "text_completion"


def _provider(endpoint: Endpoint) -> str:
    if endpoint.local:
        return "llama.cpp"
    host = urlsplit(endpoint.base_url or "").hostname or ""
    return next((name for end, name in _PROVIDERS.items() if host.endswith(end)), "openai-compatible")


def _kind(error: BaseException) -> str:
    """Name an error by its HTTP status or code, else by its class; never by its message."""
    if isinstance(error, ServiceError) and (error.status or error.code):
        return str(error.status or error.code)
    return type(error).__qualname__
