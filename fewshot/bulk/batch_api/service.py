"""The few calls of OpenAI's Batch API that a run needs, through the official client.

Replies are read from their bytes, as for live calls: what says HTTP 200 and holds rubbish is an error of ours, and is
tried again. Every connection is a fresh one, for the reason that `fewshot.models.wire.transport` gives. A step ends
within the timeout, tries included; one that moves a file has the time besides that a slow line needs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote

from fewshot.bulk.batch_api.files import lines_of
from fewshot.errors import ConfigError, ServiceError
from fewshot.models.deadline import Deadline
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.protocol import MAX_REPLY, lost, official, too_long, unreachable
from fewshot.models.wire.response import Reply, read_json, rubbish
from fewshot.models.wire.retry import persist
from fewshot.models.wire.service_errors import failure, redacted

if TYPE_CHECKING:
    import openai

__all__ = ["Batch", "BatchApi", "batch_api", "is_lost"]

T = TypeVar("T")

_SLOWEST = 250_000
"""Bytes a second that a file must move at, beyond the timeout of the step."""
_LINE = 5_000
"""Bytes that a line of replies is thought to hold, so that the time for a download is known beforehand."""
_LONGEST_LINE = 200_000
"""Bytes that the lines of a file may hold on average; what is beyond is not a file of replies."""
_PAGE = 100
_CLOCKS_APART = 3600
"""Seconds by which our clock and the service's may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as the service tells of it."""

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    problems: tuple[tuple[str, str], ...] = ()
    """Code and message of each reason why the whole batch was refused."""

    @property
    def files(self) -> list[str]:
        """The files of replies and of errors, as far as they are named."""
        return [file_id for file_id in (self.output_file_id, self.error_file_id) if file_id]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("completed", "failed", "expired", "cancelled")


class BatchApi:
    """Uploads, creates, finds, looks at and downloads batches."""

    def __init__(
        self,
        client: openai.OpenAI | openai.AsyncOpenAI,
        endpoint: Endpoint,
        *,
        max_retries: int = 5,
        timeout: float = 60.0,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._max_retries = max_retries
        self._timeout = timeout

    async def upload(self, path: Path) -> str:
        """Upload a file of requests; gives its id."""
        patience = self._timeout + path.stat().st_size / _SLOWEST  # noqa: ASYNC240 - it takes no time

        async def once() -> str:
            # the official client reads the file itself; a path, so that each try begins at its first byte
            made = await self._json("post", "/files", patience, body={"purpose": "batch"}, files={"file": path})
            return _id_of(made, "file")

        return await self._persist(once, patience)

    async def create(self, file_id: str, url: str, metadata: dict[str, str], *, since: float, first: bool) -> Batch:
        """Create a batch, but never a second one with the same metadata.

        Arguments:
            since: when the batch was first wanted, in seconds since 1970.
            first: nothing can have been created yet, so there is no need to look.
        """
        wanted = {"input_file_id": file_id, "endpoint": url, "completion_window": "24h", "metadata": metadata}

        async def once() -> Batch:
            nonlocal first
            look, first = not first, False
            if look and (found := await self._find(metadata, since)) is not None:
                return found
            return _batch(await self._json("post", "/batches", body=wanted))

        return await self._persist(once)

    async def look(self, batch_id: str, *, replies: bool = False) -> Batch:
        """Tell how far a batch has come; on request only once it names a file of replies."""

        async def once() -> Batch:
            batch = _batch(await self._json("get", f"/batches/{quote(batch_id, safe='')}"))
            if batch.id != batch_id:
                rubbish(f"batch {batch.id!r:.80} where {batch_id} was asked for")
            if replies and not batch.files:
                raise _no_replies(f"batch {batch_id} is {batch.status} and names no file of replies")
            return batch

        return await self._persist(once)

    async def download(self, file_id: str, path: Path, *, requests: int) -> None:
        """Write a file of replies to so many requests to the disk; one only just made may not be there at once.

        Raises:
            ServiceError: with status 404 or the code `no_replies` when there is nothing to be had.
        """
        patience = self._timeout + requests * _LINE / _SLOWEST

        async def once() -> None:
            try:
                await self._download(file_id, path, patience, MAX_REPLY + requests * _LONGEST_LINE)
            except ServiceError as error:
                error.transient = error.transient or error.status == 404
                raise
            if not any(lines_of(path)):
                raise _no_replies(f"file {file_id} holds no reply")

        await self._persist(once, patience)

    async def check_size(self, file_id: str, path: Path) -> None:
        """Check that a file came down whole, where the service tells how long it is.

        Raises:
            ServiceError: it is shorter or longer than it is there.
        """
        try:
            told = await self._persist(partial(self._json, "get", f"/files/{quote(file_id, safe='')}"))
        except ServiceError as error:
            if error.status in (404, 405):  # it gives files and does not tell of them
                return
            raise
        there, here = told.get("bytes"), path.stat().st_size  # noqa: ASYNC240 - it takes no time
        if isinstance(there, int) and there != here:
            raise lost(f"{here:,} of the {there:,} bytes of file {file_id} came: look at what stands between")

    async def _find(self, metadata: dict[str, str], since: float) -> Batch | None:
        """Look for a batch with this metadata among those made since then: the reply to its creation may be lost."""
        after: dict[str, str] = {}
        while True:
            page = await self._json("get", "/batches", params={"limit": _PAGE, **after})
            if not isinstance(page.get("data"), list):
                rubbish("a list of batches without data")
            records = [record for record in page["data"] if isinstance(record, dict)]
            for record in records:
                if record.get("metadata") == metadata:
                    return _batch(record)
            made = [_whole_number(record.get("created_at")) for record in records]
            too_old = all(made) and max(made, default=0) < since - _CLOCKS_APART
            if not page.get("has_more") or too_old:
                return None
            after = {"after": _id_of(records[-1], "batch")}

    async def _json(
        self,
        method: Literal["get", "post"],
        path: str,
        patience: float | None = None,
        *,
        params: Any = None,
        **sent: Any,
    ) -> dict[str, Any]:
        """Make one call of the official client; gives the JSON object that came back."""
        import httpx2

        headers = {"Accept-Encoding": "identity", "Connection": "close"}
        if "files" in sent:
            headers["Content-Type"] = "multipart/form-data"
        options: Any = {
            "follow_redirects": False,
            "timeout": patience or self._timeout,
            "headers": headers,
            "params": params or {},
        }
        response = await self._call(
            lambda c: getattr(c, method)(path, cast_to=httpx2.Response, options=options, **sent)
        )
        if len(response.content) > MAX_REPLY:
            raise too_long()
        return read_json(Reply(response.status_code, dict(response.headers), response.content))

    async def _call(self, call: Callable[[Any], Any]) -> Any:
        import httpx2
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
        except (openai.APITimeoutError, httpx2.TimeoutException):  # the second while a reply is being read
            failed = lost(f"{self._endpoint.host} gave no answer in time: try again later")
        except openai.APIConnectionError as error:
            failed = unreachable(self._endpoint.host, error.__cause__ or error)
        except openai.OpenAIError as error:
            failed = lost(f"the openai client refuses to send: {error}", transient=False)
        failed.args = (redacted(str(failed), (self._endpoint.api_key,)),)
        raise failed  # here, so that no frame of the official client, with the key in it, hangs on the error

    async def _download(self, file_id: str, path: Path, patience: float, most: int) -> None:
        import httpx2
        import openai

        options: Any = {"extra_headers": {"Connection": "close"}, "timeout": patience}
        deadline = time.monotonic() + patience

        def write(file: IO[bytes], chunk: bytes) -> None:
            if file.tell() + len(chunk) > most:
                raise _no_replies(f"file {file_id} is longer than {most >> 20} MiB, which no file of replies is")
            file.write(chunk)

        async def from_async(client: Any) -> None:
            async with client.files.with_streaming_response.content(file_id, **options) as response:
                with path.open("wb") as file:
                    async for chunk in response.iter_bytes():
                        write(file, chunk)

        def from_sync(client: Any) -> None:
            with client.files.with_streaming_response.content(file_id, **options) as response, path.open("wb") as file:
                for chunk in response.iter_bytes():
                    if time.monotonic() > deadline:  # nobody waits for this thread any more
                        return
                    write(file, chunk)

        try:
            await self._call(from_async if isinstance(self._client, openai.AsyncOpenAI) else from_sync)
        except httpx2.HTTPError as error:
            raise lost(f"the download from {self._endpoint.host} broke off ({type(error).__name__})") from None

    async def _persist(self, once: Callable[[], Awaitable[T]], patience: float | None = None) -> T:
        seconds = patience or self._timeout
        deadline = Deadline(time.monotonic() + seconds)
        try:
            return await persist(once, deadline, host=self._endpoint.host, max_retries=self._max_retries)
        except TimeoutError:
            raise lost(f"{self._endpoint.host} gave no answer within {seconds:.3g} s: try again later") from None


@asynccontextmanager
async def batch_api(
    endpoint: Endpoint,
    client: Any = None,
    *,
    max_retries: int = 5,
    timeout: float = 60.0,  # noqa: ASYNC109 - of each step, not of this call
) -> AsyncIterator[BatchApi]:
    """Give the Batch API of an endpoint, through the caller's own openai client where there is one.

    Raises:
        ConfigError: the endpoint is the embedded model or a client without a Batch API.
    """
    if endpoint.local or endpoint.base_url is None:
        raise ConfigError("the Batch API is a service's: set OPENAI_API_KEY, or base_url for a server that has one")
    if client is not None:
        yield BatchApi(client, endpoint, max_retries=max_retries, timeout=timeout)
        return
    async with official(endpoint) as own:
        yield BatchApi(own, endpoint, max_retries=max_retries, timeout=timeout)


def is_lost(error: ServiceError) -> bool:
    """Tell whether what was asked for is not at the service, rather than the service not answering."""
    return error.status == 404 or error.code == "no_replies"


def _no_replies(what: str) -> ServiceError:
    return ServiceError(f"{what}: try again later", code="no_replies", transient=True)


def _batch(record: Mapping[str, Any]) -> Batch:
    errors = record.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    status = record.get("status")
    if not isinstance(status, str):
        rubbish("a batch without a status")
    return Batch(
        id=_id_of(record, "batch"),
        status=status,
        output_file_id=_name(record.get("output_file_id")),
        error_file_id=_name(record.get("error_file_id")),
        problems=tuple((str(e.get("code")), str(e.get("message"))) for e in listed or () if isinstance(e, dict)),
    )


def _id_of(record: Mapping[str, Any], what: str) -> str:
    if record.get("object", what) != what:
        rubbish(f"a {str(record['object'])[:40]} where a {what} belongs")
    return _name(record.get("id")) or rubbish(f"a {what} without an id")


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole_number(value: object) -> int:
    return value if isinstance(value, int) else 0
