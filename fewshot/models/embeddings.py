"""Vectors of texts from the endpoint's own `/embeddings`, each asked for once and kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import sqlite3
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fewshot._progress import UNSHOWN, Bar
from fewshot._storage import cache_dir, open_sqlite
from fewshot.errors import ConfigError
from fewshot.models.connection import Connection
from fewshot.models.endpoint import resolve
from fewshot.models.openai_client import client_for
from fewshot.settings import Settings

__all__ = ["embed"]

_AT_ONCE = 128
"""Texts in one request; services allow 2,048 of them, but also limit their tokens together."""
_LONGEST_EMBEDDED = 2000
"""Bytes that the embedded model is given of a text: as no token is shorter, they fit in its batch."""
_PATIENCE = 600.0
"""Seconds that indexing all examples may take, once."""
_OPENAI_MODEL = "text-embedding-3-small"
_log = logging.getLogger("fewshot")


async def embed(
    texts: Sequence[str],
    connection: Connection,
    settings: Settings,
    *,
    deadline: float | None = None,
    keep: bool = True,
) -> list[array[float]]:
    """Give a vector for each text, in their order.

    Arguments:
        settings: `embedding_model` counts; by default OpenAI's small one at OpenAI, elsewhere the model that answers.
        deadline: a `time.monotonic()` value; by default in ten minutes; without end for the embedded model.
        keep: write new vectors to disk; those that are there are used in any case.

    Of a long text the embedded model reads the beginning, 2,000 bytes.

    Raises:
        ConfigError: the client has no `embed`. ServiceError: the endpoint gave no vectors.
    """
    ask = await _asker(connection, settings)
    model = settings.embedding_model
    model = model or (_OPENAI_MODEL if connection.endpoint.host == "api.openai.com" else connection.model)
    if connection.local:
        texts = [text.encode("utf-8", "replace")[:_LONGEST_EMBEDDED].decode("utf-8", "ignore") for text in texts]
    keys = [_key(text, model, "embedded" if connection.local else connection.endpoint.base_url or "") for text in texts]
    known = _read(keys)
    missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in known}.items())
    deadline = deadline or time.monotonic() + (math.inf if connection.local else _PATIENCE)
    with Bar("indexing", unit="texts", after=UNSHOWN) as bar:
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            vectors = await ask([text or " " for _, text in part], model=model, deadline=deadline)
            new = {key: array("f", vector) for (key, _), vector in zip(part, vectors, strict=True)}
            known |= new
            if keep:
                _write(new)
            bar.show(start + len(part), len(missing))
    return [known[key] for key in keys]


async def _asker(connection: Connection, settings: Settings) -> Callable[..., Awaitable[list[list[float]]]]:
    """Find who gives vectors: the client, or for the embedded model a second server, since one cannot do both."""
    client: Any = connection.client
    if connection.local:
        from fewshot.models.local import server as local

        server = await asyncio.to_thread(local.serve_embeddings, resolve(model=settings.model).model)
        endpoint = replace(connection.endpoint, base_url=server.base_url, api_key=server.api_key)
        client = client_for(endpoint, slot=server.slot)
    ask: Callable[..., Awaitable[list[list[float]]]] | None = getattr(client, "embed", None)
    if ask is None:
        raise ConfigError("this client gives no vectors (it has no `embed`): use select='bm25'")
    return ask


def _key(text: str, model: str, place: str) -> bytes:
    return hashlib.sha256("\0".join((place, model, text)).encode("utf-8", "replace")).digest()


def _read(keys: Sequence[bytes]) -> dict[bytes, array[float]]:
    found: dict[bytes, array[float]] = {}
    with _going_on_without(), _store() as store:
        for key in keys:
            row = store.execute("select vector from vectors where key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = array("f", row[0])
    return found


def _write(vectors: Mapping[bytes, array[float]]) -> None:
    rows = [(key, vector.tobytes()) for key, vector in vectors.items()]
    with _going_on_without(), _store() as store:
        store.executemany("insert or replace into vectors values (?, ?)", rows)


@contextlib.contextmanager
def _store() -> Iterator[sqlite3.Connection]:
    """Open the vectors kept on disk, and commit at the end."""
    path = cache_dir("embeddings") / "vectors.sqlite"
    with contextlib.closing(open_sqlite(path, timeout=10)) as store, store:
        store.execute("begin")
        store.execute("create table if not exists vectors (key blob primary key, vector blob) without rowid")
        yield store


@contextlib.contextmanager
def _going_on_without() -> Iterator[None]:
    """Where the disk is of no use, say so and ask the endpoint each time."""
    try:
        yield
    except (ConfigError, OSError, sqlite3.Error) as error:
        _log.warning("vectors are not kept on disk: %s", error)
