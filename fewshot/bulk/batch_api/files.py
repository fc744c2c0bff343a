"""The lines that go up to the Batch API and those that come down. Nothing in the latter is believed unchecked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fewshot.bulk.batch_api.store import BatchStore
from fewshot.errors import ServiceError
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.request import Dialect, encode, parameters
from fewshot.models.wire.response import Reply
from fewshot.models.wire.service_errors import failure, redacted
from fewshot.types import Request

__all__ = [
    "Line",
    "PartWriter",
    "error_from_json",
    "error_to_json",
    "lines_of",
    "look_whole",
    "problem_to_json",
    "reason",
]

_PATHS = {"chat": "/v1/chat/completions", "text": "/v1/completions"}
_FACTS = ("status", "code", "param", "transient", "account")


@dataclass(kw_only=True)
class PartWriter:
    """Writes requests into parts, each within the service's limits; a part is in the store once it is on the disk."""

    store: BatchStore
    endpoint: Endpoint
    run: str
    dialect: Dialect
    max_requests: int
    max_bytes: int
    _file: IO[bytes] | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)
    _requests: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    def add(self, row: int, key: str, request: Request) -> None:
        """Put a request of a row into the part at hand, or into the next one where this is full."""
        known = self.store.asked(key=key)
        name = self.store.name_for(self.run, row) if known is None else known.name
        sent, dropped = self.dialect.apply(parameters(request, self.endpoint), request.schema)
        body = encode(request, sent, self.dialect.roles)
        head = {"custom_id": name, "method": "POST", "url": _PATHS[request.form]}
        line = json.dumps(head)[:-1].encode() + b', "body": ' + body + b"}\n"
        if self._file and (self._requests >= self.max_requests or self._bytes + len(line) > self.max_bytes):
            self.close()
        if self._file is None:
            self._begin()
        assert self._file is not None  # noqa: S101 - `_begin` opened it
        self._file.write(line)
        self._requests += 1
        self._bytes += len(line)
        self.store.put(key, name, row, self._number, dropped)

    def close(self) -> None:
        """Make the part at hand durable, if there is one."""
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        self.store.add_part(self._number, self._requests, self.dialect.known)
        self.store.commit()

    def abandon(self) -> None:
        """Forget the part at hand: nothing of it was promised to anybody."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self.store.roll_back()

    def _begin(self) -> None:
        self._number = self.store.new_part()
        self._requests = self._bytes = 0
        self.store.begin()
        self._file = self.store.part_file(self._number).open("wb")


@dataclass(frozen=True, slots=True)
class Line:
    """One line that came down: the custom id, and the reply or the reason why there is none."""

    name: str
    reply: Reply | None
    error: ServiceError | None = None


def lines_of(path: Path) -> Iterator[Line | None]:
    """Read a file of replies; None stands for a line that is none, as the last one of a torn file."""
    with path.open("rb") as file:
        for raw in file:
            if raw.strip():
                yield _line(raw)


def look_whole(paths: Iterable[Path], requests: int) -> bool:
    """Tell whether files may hold a line for each of so many requests, the last ones not torn."""
    count = 0
    for path in paths:
        last = b""
        with path.open("rb") as file:
            for raw in file:
                if raw.strip():
                    count, last = count + 1, raw
        if last and _line(last) is None:
            return False
    return count >= requests


def _line(raw: bytes) -> Line | None:
    try:
        record: Any = json.loads(raw)
        name, response, error = record["custom_id"], record.get("response"), record.get("error")
        body = json.dumps(response.get("body")).encode() if isinstance(response, dict) else b""
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(name, str):
        return None
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        headers = {"x-request-id": str(response.get("request_id") or "")}
        return Line(name, Reply(response["status_code"], headers, body))
    told = error if isinstance(error, dict) else {}
    code, message = told.get("code"), str(told.get("message") or "it gave neither a response nor a reason")[:300]
    error = ServiceError(f"the batch did not answer: {message}", code=str(code) if code else None, transient=True)
    return Line(name, None, error)


def reason(reply: Reply, endpoint: Endpoint) -> ServiceError:
    """Give the error for a request that was refused inside a batch."""
    error = failure(reply, endpoint)
    error.args = (redacted(str(error), (endpoint.api_key,)),)
    return error


def error_to_json(error: ServiceError) -> str:
    """Write an error down, to be raised again when its row is read."""
    return json.dumps({"message": str(error), **{name: getattr(error, name) for name in _FACTS}})


def problem_to_json(message: str) -> str:
    """Write down what may be gone at the next try."""
    return error_to_json(ServiceError(message, transient=True))


def error_from_json(text: str, request: Request) -> ServiceError:
    """Give the error that was written down."""
    record = json.loads(text)
    return ServiceError(record.pop("message"), request=request, attempts=1, **record)
