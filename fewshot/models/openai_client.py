"""Asking a model: one request in, one checked completion out, or one error that says what to do.

`OpenAIClient` talks to any OpenAI-compatible service. Whatever has its `complete` method can stand in for it.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from fewshot import _background_loop as loop
from fewshot._checks import check_count, check_kind, check_number
from fewshot.errors import ConfigError, FewshotError, InputError, ServiceError
from fewshot.models.client import Gate, gate_at
from fewshot.models.deadline import Deadline
from fewshot.models.endpoint import OWN, Endpoint, Secret, offline, resolve
from fewshot.models.facts import ModelFacts, facts_of
from fewshot.models.wire import audit
from fewshot.models.wire.decisions import decision_body, read_decision
from fewshot.models.wire.model_list import model_names, read_window
from fewshot.models.wire.protocol import StaleConnectionError, Wire, unsendable
from fewshot.models.wire.request import Dialect, encode, parameters
from fewshot.models.wire.response import Reply, as_meant, read_completion, read_vectors
from fewshot.models.wire.retry import persist
from fewshot.models.wire.service_errors import as_answer, failure, may_teach, read_complaint, redacted
from fewshot.models.wire.transport import PlainWire, wire_for
from fewshot.models.wire.wrapped import switched
from fewshot.types import Completion, Form, Request

if TYPE_CHECKING:
    import openai

    from fewshot.models.local.slot import Slot

__all__ = ["OpenAIClient", "client_for"]

T = TypeVar("T")

_PATHS: Mapping[Form, str] = {"chat": "/chat/completions", "text": "/completions"}


class OpenAIClient:
    """Talks to an OpenAI-compatible service, with retries, deadlines and negotiation of parameters.

    May be used from any thread, event loop and forked process; connections are kept and reused in each.
    """

    asks_gate = True

    def __init__(
        self,
        endpoint: Endpoint | None = None,
        *,
        client: openai.OpenAI | openai.AsyncOpenAI | None = None,
        max_retries: int = 5,
        timeout: float | None = None,
        fast: bool | None = None,
        gate: Gate | None = None,
        slot: Slot | None = None,
    ) -> None:
        """Make a client; nothing is sent.

        Arguments:
            endpoint: where to ask; by default what the environment says.
            client: an openai client of your own, through which everything is then sent.
            max_retries: how often a failing request is sent again.
            timeout: seconds for a whole call when it is given no deadline; by default 60, embedded without end.
            fast: True for the direct wire, False for the plain one; by default direct where it works.
            gate: asked before and told after every HTTP request.
            slot: the embedded model's, which takes one request at a time.

        Raises:
            ConfigError: the settings contradict each other, or the endpoint may not be used.
        """
        check_kind("endpoint", endpoint, Endpoint, type(None), what="an Endpoint, or leave it out")
        if client is not None and not hasattr(client, "base_url"):
            raise InputError(f"client={type(client).__name__}: give an openai.OpenAI or AsyncOpenAI", field="client")
        check_count("max_retries", max_retries, least=0)
        if timeout is not None:
            check_number("timeout", timeout, "seconds")
        if endpoint is None:
            endpoint = resolve(base_url=str(client.base_url), api_key=OWN) if client else resolve()
        if offline() and not endpoint.local:
            raise ConfigError(f"FEWSHOT_OFFLINE is set, so nothing may be sent to {endpoint.host}: use model='local'")
        if endpoint.base_url is None:
            raise ConfigError("the embedded model is not started: fewshot.local.serve gives its base_url")
        self.endpoint = endpoint
        self.max_retries = max_retries
        self.timeout = endpoint.seconds(timeout)
        self.gate = gate
        self.heard: deque[Mapping[str, str]] = deque(maxlen=1)
        """The headers of the latest reply, which may announce a rate limit; copies of this client share it."""
        self._client, self._fast = client, fast
        self._wires: dict[type[Wire], Wire] = {}
        self._chosen = self._choose(now := switched())
        self._chosen_for = now
        own = getattr(client, "api_key", None)  # the client's own business, but nothing to show
        self._secrets = (Secret(own),) if isinstance(own, str) else (endpoint.api_key,)
        self._before = _azure_path(client)
        self._slot, self.tokens_of = slot, slot.tokens_of if slot else None
        self.is_ready = False
        self.facts: dict[str, ModelFacts] = {}
        """What was learnt of each model; copies of this client share it."""

    def __repr__(self) -> str:
        return f"OpenAIClient({self.endpoint!r})"

    @property
    def _wire(self) -> Wire:
        """The wire that suits now: a switch, a tracer or a mock may have come since the last request."""
        if (now := switched()) != self._chosen_for:
            self._chosen, self._chosen_for = self._choose(now), now
        return self._chosen

    def _choose(self, now: tuple[str, bool]) -> Wire:
        wire = wire_for(self.endpoint, self._client, fast=self._fast, now=now)
        return self._wires.setdefault(type(wire), wire)

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer a request.

        Parameters that the model refuses are left out or renamed, remembered, and named in `Completion.dropped`.

        Arguments:
            deadline: a `time.monotonic()` value by which everything is over.

        Raises:
            ServiceError: no answer came in time, after every retry that made sense.
            InputError: the request holds text that cannot be sent.
        """
        if request.decides:
            return await self._decide(request, deadline)
        facts = self._facts(request.model)
        dialect = facts.dialects[request.form]
        path = self._before(request.model) + _PATHS[request.form]

        async def once(tries: _Tries) -> Completion:
            trial: Dialect | None = None  # this call's own until it worked: other calls are not asked on suspicion
            suspected: ServiceError | None = None
            while True:
                known, spoken = dialect.known, trial or dialect
                sent, dropped = spoken.apply(parameters(request, self.endpoint), request.schema)
                reply = await self._post(path, encode(request, sent, spoken.roles), tries)
                reply = reply if reply.status == 200 else as_answer(reply)
                if reply.status == 200:
                    if trial is not None:
                        dialect.adopt(trial)
                        facts.keep()
                    if spoken.roles:
                        dropped += tuple(spoken.roles.keys() & {message.role for message in request.chat})
                    return read_completion(reply, request, dropped=dropped, attempts=tries.sent)
                complaint, error = read_complaint(reply), failure(reply, self.endpoint)
                if trial is None and dialect.known != known and may_teach(reply.status, complaint, sent):
                    continue  # another call has learned meanwhile
                if spoken.learn(reply.status, complaint, sent, request):
                    if trial is None:
                        facts.keep()
                    continue
                if trial is not None:
                    dialect.trials -= not error.transient
                    raise error if error.transient else suspected or error
                suspected, trial = error, dialect.suspect(reply.status, complaint, sent)
                if trial is None:
                    raise suspected

        return await self._persist(once, _Tries(request, self._deadline(deadline)))

    async def _decide(self, request: Request, deadline: float | None) -> Completion:
        """Ask for a distribution over choices (`/decisions`)."""
        path, body = self._before(request.model) + "/decisions", decision_body(request)

        async def once(tries: _Tries) -> Completion:
            came = await self._post(path, body, tries)
            reply = as_answer(came)
            if reply.status != 200:
                raise failure(reply, self.endpoint)
            read = read_decision if reply is came else read_completion
            return read(reply, request, attempts=tries.sent)

        return await self._persist(once, _Tries(request, self._deadline(deadline)))

    async def embed(
        self, texts: Sequence[str], *, model: str | None = None, deadline: float | None = None
    ) -> list[list[float]]:
        """Give a vector for each text, in their order (`/embeddings`).

        Raises:
            ServiceError: no vectors came in time, after every retry that made sense.
        """
        model = model or self.endpoint.model
        path = self._before(model) + "/embeddings"
        try:
            wanted = {"model": model, "input": list(texts), "encoding_format": "float"}
            body = json.dumps(wanted, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"a text holds {error.object[error.start]!r}, which is not a character") from None

        async def once(tries: _Tries) -> list[list[float]]:
            reply = await self._post(path, body, tries)
            if reply.status != 200:
                raise failure(reply, self.endpoint)
            return read_vectors(reply, len(texts))

        return await self._persist(once, _Tries(None, self._deadline(deadline)))

    async def models(self, *, timeout: float = 10.0) -> list[str]:  # noqa: ASYNC109 - one request, without retries
        """Name the models that the service lists (`/models`).

        Raises:
            ServiceError: it cannot be asked, or lists none.
        """
        reply = await PlainWire(self.endpoint, self._client).get("/models", timeout=timeout)
        if reply.status != 200:
            raise self._told(failure(reply, self.endpoint), _Tries(None, self._deadline(None), sent=1))
        return model_names(reply)

    async def window_of(self, model: str) -> int:
        """Give how many tokens a model holds, as the list of models says, else 0; raises ServiceError without one."""
        return read_window(await PlainWire(self.endpoint, self._client).get("/models", timeout=10.0), model)

    def refused(self, model: str | None = None, form: Form | None = None) -> frozenset[str]:
        """Give the parameters that a model is known to refuse altogether."""
        return self._facts(model or self.endpoint.model).dialects[form or self.endpoint.form].refused

    async def ready(self) -> None:
        """Do what the first request would otherwise wait for, before its clock starts: import openai, above all."""
        import tenacity  # noqa: F401 - what failed may be that no more files can be opened, tenacity's own included

        try:
            await self._wire.ready()
        except Exception as odd:
            error = odd if isinstance(odd, FewshotError) else unsendable(odd, self.endpoint.host)
        else:
            self.is_ready = True
            return
        raise error

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the client stays usable."""
        for wire in list(self._wires.values()):
            await wire.aclose()

    def close(self) -> None:
        """Close the connections of blocking calls; the client stays usable."""
        loop.run(self.aclose())

    def _facts(self, model: str) -> ModelFacts:
        return self.facts.get(model) or facts_of(self, self.endpoint, model)

    def _deadline(self, deadline: float | None) -> Deadline:
        return Deadline(time.monotonic() + self.timeout if deadline is None else deadline)

    async def _persist(self, once: Callable[[_Tries], Awaitable[T]], tries: _Tries) -> T:
        """Try until it works, cannot work, or time is up."""
        begun, host = time.monotonic(), self.endpoint.host
        try:
            return await persist(partial(once, tries), tries.deadline, host=host, max_retries=self.max_retries)
        except TimeoutError:
            allowed = max(0.0, tries.deadline.given - begun)
            waited = f"within the {allowed:.3g} s that the call had: give it a longer timeout, or ask later"
            error = tries.last or ServiceError(f"{host} gave no answer {waited}", transient=True)
        except ServiceError as failed:
            error = failed
        raise self._told(error, tries)

    async def _post(self, path: str, body: bytes, tries: _Tries) -> Reply:
        """Make one attempt; with the embedded model, when it is its turn."""
        if self._slot:
            async with self._slot.turn(tries.request):
                return await self._attempt(path, body, tries)
        return await self._attempt(path, body, tries)

    async def _attempt(self, path: str, body: bytes, tries: _Tries) -> Reply:
        """Send one request, and at once a second one when the kept connection turns out to be dead."""
        gate = self.gate or gate_at(self.endpoint.host)
        if gate:
            await gate.enter(tries.request)
        if not self.endpoint.local and (file := os.environ.get("FEWSHOT_AUDIT")):
            audit.sent(file, self.endpoint.host, path, body)
        reply: Reply | None = None
        error: FewshotError
        try:
            tries.sent += 1
            try:
                reply = await self._wire.post(path, body, deadline=tries.deadline, fresh=tries.found_stale)
            except StaleConnectionError:
                tries.sent += 1
                tries.found_stale = True  # once a call: who breaks off after the work would be paid for each
                reply = await self._wire.post(path, body, deadline=tries.deadline, fresh=True)
            self.heard.append(reply.headers)
            return as_meant(reply)
        except FewshotError as failed:
            error = failed
        except Exception as odd:
            error = unsendable(odd, self.endpoint.host)
        finally:
            if gate:
                headers = reply.headers if reply else {}
                gate.leave(tries.request, reply.status if reply else None, headers)
        if isinstance(error, ServiceError):
            tries.last = error
        raise error

    def _told(self, error: ServiceError, tries: _Tries) -> ServiceError:
        """Complete an error by what is known only at the end."""
        message = redacted(str(error), self._secrets)
        left = tries.deadline.left
        if error.transient and error.retry_after and error.retry_after >= left:
            message += f"; it asks to wait {error.retry_after:.3g} s, and the call has {max(0, left):.3g} s left"
        if tries.sent > 1:
            message += f" (after {tries.sent} requests)"
        error.args = (message,)
        error.code, error.param = (
            text and redacted(text, (self.endpoint.api_key,)) for text in (error.code, error.param)
        )
        error.__cause__ = error.__context__ = error.__traceback__ = None  # their frames hold the key and whole bodies
        error.request = tries.request
        error.attempts = tries.sent
        return error


@dataclass(slots=True)
class _Tries:
    """The state of one call: what is asked, until when, and how many HTTP requests it took so far."""

    request: Request | None
    deadline: Deadline
    sent: int = 0
    last: ServiceError | None = None
    found_stale: bool = False
    """A kept connection turned out to be dead: the others may be, too."""


@lru_cache(maxsize=128)
def client_for(endpoint: Endpoint, *, max_retries: int = 5, slot: Slot | None = None) -> OpenAIClient:
    """Give the client for an endpoint; the same one for the same settings, so that connections are reused."""
    return OpenAIClient(endpoint, max_retries=max_retries, slot=slot)


def _azure_path(client: Any) -> Callable[[str], str]:
    """Give what comes before a path: Azure's older API wants the deployment there, as its own client adds it."""
    kinds = {kind.__name__ for kind in type(client).__mro__}
    if kinds & {"AzureOpenAI", "AsyncAzureOpenAI"} and "/deployments" not in str(client.base_url):
        return lambda model: f"/deployments/{model}"
    return lambda _: ""
