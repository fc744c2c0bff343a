"""How the bytes of a request reach a service and those of a reply come back. Nothing here is tried twice.

There are two wires, which send the same bytes and give the same replies:

- the direct one speaks HTTP/1.1 over asyncio itself (`fewshot.models.wire.http11`), at a tenth of the processor time;
- the plain one goes through the official client's public `post`: for a client of the caller's own (Azure, custom
  transports, workload identity), for proxies, for who sets `FEWSHOT_WIRE=plain` or `fast=False`, and wherever somebody
  has wrapped that client or its transport (`fewshot.models.wire.wrapped`), then through `chat.completions.create`.

The plain wire asks the service to close each connection, because httpcore2 keeps bytes that nobody asked for and reads
them as the answer to the next request.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from fewshot._background_loop import PerLoop
from fewshot.errors import ConfigError, ServiceError
from fewshot.models.deadline import Deadline
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.protocol import MAX_REPLY, Wire, lost, official, too_long, unreachable
from fewshot.models.wire.response import Reply
from fewshot.models.wire.wrapped import arguments, create_of, mocks_blocking_client, switched

if TYPE_CHECKING:
    import openai

__all__ = ["PlainWire", "is_proxied", "wire_for"]


def wire_for(
    endpoint: Endpoint, client: Any = None, *, fast: bool | None = None, now: tuple[str, bool] | None = None
) -> Wire:
    """Choose the wire: direct, unless the caller's client, a proxy, a switch or a wrapper asks for the plain one.

    Raises:
        ConfigError: `fast=True` where only the plain wire works.
    """
    switch, wrapped = now or switched()
    if switch not in ("", "plain", "direct"):
        raise ConfigError(f"FEWSHOT_WIRE={switch!r}: set it to plain or direct, or leave it unset")
    wanted = fast if fast is not None else {"plain": False, "direct": True}.get(switch)
    if wanted is None and wrapped and not endpoint.local:
        wanted = False
    needs_plain = "a client of your own" if client is not None else "a proxy" if is_proxied(endpoint) else ""
    if fast and needs_plain:
        raise ConfigError(f"fast=True does not work with {needs_plain}: leave it out")
    if wanted is False or needs_plain:
        return PlainWire(endpoint, client)
    try:
        from fewshot.models.wire.http11 import DirectWire
    except ImportError:  # h11 comes with openai's HTTP client, which may change it for another
        return PlainWire(endpoint, client)
    return DirectWire(endpoint)


def is_proxied(endpoint: Endpoint) -> bool:
    """Tell whether the environment names a proxy for this endpoint; the embedded model never has one."""
    parts = urlsplit(endpoint.base_url or "")
    if endpoint.local or not parts.hostname:
        return False
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname)


class PlainWire:
    """Sends through the official client, or through one of the caller's own, blocking or not."""

    def __init__(self, endpoint: Endpoint, client: openai.OpenAI | openai.AsyncOpenAI | None = None) -> None:
        self._endpoint = endpoint
        self._client = client
        self._own = PerLoop(lambda: official(endpoint), _close)
        self._blocking = PerLoop(lambda: official(endpoint, blocking=True), _close)

    async def post(self, path: str, body: bytes, *, deadline: Deadline, fresh: bool = False) -> Reply:  # noqa: ARG002
        """Send a JSON body to a path below the base URL; every connection is a fresh one."""
        timeout = deadline.left
        client = self._client or await (self._blocking if mocks_blocking_client() else self._own).get()
        create = create_of(client, path)
        if create is not None:
            return await self._reply(_created(create, arguments(json.loads(body), timeout, self._endpoint)), timeout)
        return await self._reply(self._sent(client, client.post, path, timeout, content=body), timeout)

    async def get(self, path: str, *, timeout: float) -> Reply:  # noqa: ASYNC109
        """Ask for what stands at a path below the base URL."""
        client = self._client or await self._own.get()
        return await self._reply(self._sent(client, client.get, path, timeout), timeout)

    async def _sent(self, client: Any, send: Any, path: str, limit: float, **given: Any) -> Any:
        import httpx2
        import openai

        options: Any = {
            "max_retries": 0,
            "follow_redirects": False,
            "timeout": limit,
            "headers": {"Accept-Encoding": "identity", "Connection": "close", **dict(self._endpoint.headers)},
            "params": dict(self._endpoint.query),
        }
        given |= {"cast_to": httpx2.Response, "options": options}
        if isinstance(client, openai.AsyncOpenAI):
            if "content" in given:
                options["timeout"] = None  # the caller cancels, and knows of pauses
            return await send(path, **given)
        return await asyncio.to_thread(send, path, **given)

    async def _reply(self, asking: Coroutine[Any, Any, Any], limit: float) -> Reply:
        """Give what comes of asking through the official client, with errors of our own."""
        import openai

        failed: ServiceError | None = None
        try:
            response = await asking
        except openai.APIStatusError as error:
            response = error.response
        except openai.APITimeoutError:
            failed = lost(f"{self._endpoint.host} gave no answer within {limit:.3g} s: try again later")
        except openai.APIConnectionError as error:
            failed = self._unreachable(error.__cause__ or error)
        except openai.OpenAIError as error:
            failed = lost(f"the openai client refuses to send: {error}", transient=False)
        if failed:  # raised here, so that no frame of the official client, with the key in it, hangs on the error
            raise failed
        if isinstance(response, Reply):
            return response
        if len(response.content) > MAX_REPLY:
            raise too_long()
        return Reply(response.status_code, dict(reversed(response.headers.multi_items())), response.content)

    def _unreachable(self, cause: BaseException) -> ServiceError:
        host = self._endpoint.host
        if self._client is not None or not is_proxied(self._endpoint):
            return unreachable(host, cause)
        if "407" in str(cause):
            return ServiceError(f"the proxy before {host} wants a user name and password", status=407, account=True)
        return lost(f"the connection to {host} through the proxy failed ({cause}): is the proxy up?")

    async def ready(self) -> None:
        """Import openai and make our own client."""
        if self._client is None:
            await asyncio.to_thread(__import__, "openai")
            await self._own.get()

    async def aclose(self) -> None:
        """Close our own client on the running loop; the caller's is the caller's."""
        await self._own.aclose()


async def _created(create: Any, given: dict[str, Any]) -> Any:
    """Ask through `create`, for who has wrapped it: a response, or as a reply what a mock gives in its place."""
    if inspect.iscoroutinefunction(inspect.unwrap(create)):
        found = await create(**given)
    else:  # the blocking client's, or a mock
        found = await asyncio.to_thread(create, **given)
        found = await found if inspect.isawaitable(found) else found
    if hasattr(found, "http_response"):
        return found.http_response
    if hasattr(found, "model_dump_json"):
        return Reply(200, {}, found.model_dump_json(exclude_unset=True).encode())
    what = type(found).__name__
    raise lost(f"what stands in for the official client gave a {what}: give an openai ChatCompletion", transient=False)


async def _close(client: openai.AsyncOpenAI | openai.OpenAI) -> None:
    closing = client.close()
    if closing is not None:
        await closing
