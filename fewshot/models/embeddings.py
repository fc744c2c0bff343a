"""Vectors of texts from the endpoint's own `/embeddings`, each asked for once and kept on disk."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from fewshot._progress import UNSHOWN, Bar
from fewshot._storage import cache_dir
from fewshot.errors import ConfigError
from fewshot.models.completion_store import Answers, answers_in
from fewshot.models.connection import Connection
from fewshot.models.endpoint import resolve
from fewshot.models.openai_client import client_for
from fewshot.settings import Settings

__all__ = ["embed", "vector_store"]

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
    store = vector_store()
    kept = {key: store.read(key) for key in dict.fromkeys(keys)} if store is not None else {}
    known = {key: array("f", row[1]) for key, row in kept.items() if row is not None}
    missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in known}.items())
    deadline = deadline or time.monotonic() + (math.inf if connection.local else _PATIENCE)
    with Bar("indexing", unit="texts", after=UNSHOWN) as bar:
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            vectors = await ask([text or " " for _, text in part], model=model, deadline=deadline)
            new = {key: array("f", vector) for (key, _), vector in zip(part, vectors, strict=True)}
            known |= new
            if store is not None and keep:
                for key, vector in new.items():
                    store.write(key, b"", vector.tobytes())
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


def _key(text: str, model: str, place: str) -> str:
    return hashlib.sha256("\0".join((place, model, text)).encode("utf-8", "replace")).hexdigest()


def vector_store() -> Answers | None:
    """Give what keeps vectors on disk; where there is no place for it, say so and ask the endpoint each time."""
    try:
        return answers_in(str(cache_dir("embeddings")))
    except ConfigError as error:
        _log.warning("vectors are not kept on disk: %s", error)
        return None
