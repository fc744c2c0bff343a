"""For tests of code that uses this package: answers that you wrote, also for tasks that were made elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fewshot.models.connection import STAND_INS
from fewshot.models.scripted import ScriptedClient

__all__ = ["answers"]


@contextmanager
def answers(*script: Any) -> Iterator[ScriptedClient]:
    """Answer every question of this process from a script, whatever model, server or client it was meant for.

    >>> from fewshot import classify_sentiment
    >>> with answers("positive") as client:
    ...     classify_sentiment("Lovely.")
    'positive'
    >>> len(client.requests)
    1

    Arguments:
        script: as for `ScriptedClient`: texts, completions or exceptions, each for one request, or a function that
            works out the answer from the request.

    Returns:
        The client that answers; its `requests` holds what was asked.
    """
    client = ScriptedClient(*script)
    STAND_INS.append(client)
    try:
        yield client
    finally:
        STAND_INS.remove(client)
