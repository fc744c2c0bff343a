"""The few calls of OpenAI's Batch API that a run needs, through the official client.

Replies are read from their bytes, as for live calls: what says HTTP 200 and holds rubbish is an error of ours, and is
tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fewshot.endpoint import Endpoint
from fewshot.errors import ConfigError, ServiceError
from fewshot.failures import failure, redacted
from fewshot.reply import Reply, read_json, rubbish
from fewshot.retry import retrying
from fewshot.wire import lost, official, unreachable

if TYPE_CHECKING:
    import openai

__all__ = ["Batch", "BatchApi", "batch_api"]

T = TypeVar("T")

_PATIENCE = 600.0
"""Seconds that one step may take, tries included: 200 MB go up."""
_PAGE = 100
_CLOCKS_APART = 3600
"""Seconds by which our clock and the service's may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as the service tells of it."""

    id: str
    status: str
    created_at: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    problems: tuple[tuple[str, str], ...] = ()
    """Code and message of each reason why the whole batch was refused."""
    metadata: Mapping[str, str] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("completed", "failed", "expired", "cancelled")


class BatchApi:
    """Uploads, creates, finds, looks at and downloads batches."""

    def __init__(self, client: openai.OpenAI | openai.AsyncOpenAI, endpoint: Endpoint, *, max_retries: int = 5) -> None:
        self._client = client
        self._endpoint = endpoint
        self._max_retries = max_retries

    async def upload(self, path: Path) -> str:
        """Upload a file of requests; gives its id."""

        async def once() -> str:
            # `files` reads the file itself; a path, so that each try begins at its first byte
            made = await self._json(lambda c: c.files.with_raw_response.create(file=path, purpose="batch"))
            return _id_of(made, "a file")

        return await self._persist(once)

    async def create(self, file_id: str, url: str, metadata: dict[str, str], *, since: float, first: bool) -> Batch:
        """Create a batch, but never a second one with the same metadata.

        Arguments:
            since: when the batch was first wanted, in seconds since 1970.
            first: nothing can have been created yet, so there is no need to look.
        """

        async def once() -> Batch:
            nonlocal first
            look, first = not first, False
            if look and (found := await self._find(metadata, since)) is not None:
                return found
            made = await self._json(
                lambda c: c.batches.with_raw_response.create(
                    input_file_id=file_id,
                    endpoint=url,
                    completion_window="24h",
                    metadata=metadata,
                )
            )
            return _batch(made)

        return await self._persist(once)

    async def look(self, batch_id: str) -> Batch:
        """Tell how far a batch has come."""

        async def once() -> Batch:
            return _batch(await self._json(lambda c: c.batches.with_raw_response.retrieve(batch_id)))

        return await self._persist(once)

    async def download(self, file_id: str, path: Path) -> None:
        """Write a file of the service's to the disk; one that was only just made may not be there at once."""

        async def once() -> None:
            try:
                await self._download(file_id, path)
            except ServiceError as error:
                error.transient = error.transient or error.status == 404
                raise

        await self._persist(once)

    async def _find(self, metadata: dict[str, str], since: float) -> Batch | None:
        """Look for a batch with this metadata among those made since then: the reply to its creation may be lost."""
        after: dict[str, str] = {}
        while True:
            page = await self._json(partial(_page, **after))
            found = page.get("data")
            if not isinstance(found, list):
                rubbish("a list of batches without data")
            for record in found:
                if isinstance(record, dict) and record.get("metadata") == metadata:
                    return _batch(record)
            made = [_batch(record).created_at for record in found]
            if not page.get("has_more") or not found or min(made) < since - _CLOCKS_APART:
                return None
            after = {"after": _batch(found[-1]).id}

    async def _json(self, call: Callable[[Any], Any]) -> dict[str, Any]:
        """Make one call of the official client; gives the JSON object that came back."""
        response = (await self._call(call)).http_response
        reply = Reply(response.status_code, dict(response.headers), response.content)
        return read_json(reply)

    async def _call(self, call: Callable[[Any], Any]) -> Any:
        import openai

        client: Any = self._client.with_options(max_retries=0)
        failed: ServiceError
        try:
            if isinstance(self._client, openai.AsyncOpenAI):
                return await call(client)
            return await asyncio.to_thread(call, client)
        except openai.APIStatusError as error:
            reply = Reply(error.response.status_code, dict(error.response.headers), error.response.content)
            failed = failure(reply, self._endpoint)
        except openai.APITimeoutError:
            failed = lost(f"{self._endpoint.host} gave no answer in time: try again later")
        except openai.APIConnectionError as error:
            failed = unreachable(self._endpoint.host, error.__cause__ or error)
        except openai.OpenAIError as error:
            failed = lost(f"the openai client refuses to send: {error}", transient=False)
        failed.args = (redacted(str(failed), (self._endpoint.api_key,)),)
        raise failed  # here, so that no frame of the official client, with the key in it, hangs on the error

    async def _download(self, file_id: str, path: Path) -> None:
        import httpx2
        import openai

        async def from_async(client: Any) -> None:
            async with client.files.with_streaming_response.content(file_id) as response:
                with path.open("wb") as file:
                    async for chunk in response.iter_bytes():
                        file.write(chunk)

        def from_sync(client: Any) -> None:
            with client.files.with_streaming_response.content(file_id) as response, path.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)

        try:
            await self._call(from_async if isinstance(self._client, openai.AsyncOpenAI) else from_sync)
        except httpx2.HTTPError as error:
            raise lost(f"the download from {self._endpoint.host} broke off ({type(error).__name__})") from None

    async def _persist(self, once: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + _PATIENCE
        async for attempt in retrying(max_retries=self._max_retries, deadline=deadline):
            with attempt:
                return await once()
        raise AssertionError  # the loop returns or raises


@asynccontextmanager
async def batch_api(endpoint: Endpoint, client: Any = None, *, max_retries: int = 5) -> AsyncIterator[BatchApi]:
    """Give the Batch API of an endpoint, through the caller's own openai client where there is one.

    Raises:
        ConfigError: the endpoint is the embedded model or a client without a Batch API.
    """
    if endpoint.local or endpoint.base_url is None:
        raise ConfigError("the Batch API is a service's: set OPENAI_API_KEY, or base_url for a server that has one")
    if client is not None:
        yield BatchApi(client, endpoint, max_retries=max_retries)
        return
    async with official(endpoint) as own:
        yield BatchApi(own, endpoint, max_retries=max_retries)


def _page(client: Any, **after: str) -> Any:
    return client.batches.with_raw_response.list(limit=_PAGE, **after)


def _batch(record: Mapping[str, Any]) -> Batch:
    errors = record.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    status, made = record.get("status"), record.get("created_at")
    if not isinstance(status, str):
        rubbish("a batch without a status")
    return Batch(
        id=_id_of(record, "a batch"),
        status=status,
        created_at=made if isinstance(made, int) else 0,
        output_file_id=_name(record.get("output_file_id")),
        error_file_id=_name(record.get("error_file_id")),
        problems=tuple((str(e.get("code")), str(e.get("message"))) for e in listed or () if isinstance(e, dict)),
        metadata=record.get("metadata"),
    )


def _id_of(record: Mapping[str, Any], what: str) -> str:
    return _name(record.get("id")) or rubbish(f"{what} without an id")


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
