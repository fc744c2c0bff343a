"""How alike two texts are: BM25 over words, and vectors of a model.

BM25 is written out here because the kept libraries for it (bm25s, rank-bm25) need NumPy, which the core does not, know
no words of Korean or Thai, and round to 32 bits; see `tests/benchmarks/pool.py`.
"""

from __future__ import annotations

import logging
import math
import re
import sqlite3
import sys
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from heapq import nlargest
from importlib.util import find_spec
from operator import itemgetter, mul
from typing import Any
from weakref import finalize
from zlib import crc32

from fewshot._storage import cache_dir, open_sqlite, write_atomic
from fewshot.errors import ConfigError

__all__ = ["Bm25", "Ranked", "Vectors", "words"]

Ranked = list[tuple[int, float]]
"""Positions with how alike each is to the question, the most similar first."""

# The vowel signs of Arabic, the scripts of India and Thai belong to a word, and are not letters to `\w`.
_WORD = re.compile(r"[\w\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e\u200c\u200d]+")
_UNSPACED = re.compile(r"[\u0e00-\u0e4f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")
_MANY = 5000
"""From so many texts on an index is kept on disk: it takes longer to make than a call."""
_log = logging.getLogger("fewshot")
_FEW = 1000
"""Up to so many vectors are compared exactly at once; beyond, a rough comparison goes first."""


def words(text: str) -> list[str]:
    """Cut a text into lower-case words; Chinese, Japanese, Korean and Thai into pairs of neighbouring characters."""
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        if not word.isascii() and len(word) > 1 and _UNSPACED.search(word):
            found += [word[i : i + 2] for i in range(len(word) - 1)]
        else:
            found.append(word)
    return found


Posting = tuple[Any, Any]
"""The places of the texts that have a word, and the weight that it has in each: buffers of 32 and of 64 bits."""


class Bm25:
    """An index of texts by their words (Okapi BM25; Robertson and Zaragoza 2009, section 3.4; k1 = 1.2, b = 0.75).

    One of many texts is made once and kept in the cache folder, under a digest of the texts; of it only the words of a
    question are read. With NumPy at hand the weights of many texts are added up by it, in the same order.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._many = len(texts) >= _MANY
        self._count = len(texts)
        found = _kept(texts) if self._many else dict(_indexed(texts))
        self._posting: Callable[[str], Posting | None] = found.get

    def rank(self, query: str, count: int) -> Ranked:
        """Give the texts that share words with the query, from 1 (most alike) down to 0; equals in their order."""
        asked = dict.fromkeys(words(query))  # a set has another order in each process, and sums differ by it
        found = [posting for word in asked if (posting := self._posting(word)) is not None]
        add_up = _added if self._many and find_spec("numpy") else _summed
        best = add_up(found, self._count, count)
        return [(position, score / best[0][1]) for position, score in best]


def _summed(found: Sequence[Posting], size: int, count: int) -> Ranked:  # noqa: ARG001 - as for the other
    scores: dict[int, float] = defaultdict(float)
    for places, weights in found:
        for place, weight in zip(places, weights, strict=True):
            scores[place] += weight
    return nlargest(count, sorted(scores.items()), key=itemgetter(1))


def _added(found: Sequence[Posting], size: int, count: int) -> Ranked:
    import numpy as np

    scores = np.zeros(size)
    for places, weights in found:
        scores[np.frombuffer(places, dtype=np.uint32)] += np.frombuffer(weights)
    least = np.partition(scores, -count)[-count] if count < size else 0.0
    near = np.flatnonzero((scores >= least) & (scores > 0))
    order = near[np.argsort(-scores[near], kind="stable")][:count]
    return list(zip(order.tolist(), scores[order].tolist(), strict=True))


def _indexed(texts: Iterable[str]) -> Iterator[tuple[str, Posting]]:
    """Give each word with its posting; words in the order in which they come first."""
    lengths = array("I")
    found: dict[str, tuple[array[int], array[int]]] = {}
    for place, text in enumerate(texts):
        counts = Counter(words(text))
        lengths.append(counts.total())
        for word, n in counts.items():
            places, times = found.setdefault(word, (array("I"), array("I")))
            places.append(place)
            times.append(n)
    size, mean = len(lengths), sum(lengths) / max(len(lengths), 1) or 1.0
    damping = array("d", (1.2 * (0.25 + 0.75 * length / mean) for length in lengths))
    for word, (places, times) in found.items():
        rarity = math.log1p((size - len(places) + 0.5) / (len(places) + 0.5))
        weights = (rarity * n * 2.2 / (n + damping[place]) for place, n in zip(places, times, strict=True))
        yield word, (places, array("d", weights))


def _kept(texts: Sequence[str]) -> Kept | dict[str, Posting]:
    """Give the index of many texts from the cache folder, made there at first; in memory where it cannot be kept."""
    digest = sha256(f"1 {sys.byteorder} {len(texts)}".encode())
    for text in texts:
        digest.update(f"\0{len(text)}\0{text}".encode("utf-8", "replace"))
    try:
        path = cache_dir("bm25") / f"{digest.hexdigest()[:32]}.sqlite"
        if not path.exists():
            with (
                write_atomic(path, private=True) as scratch,
                closing(open_sqlite(scratch, "synchronous = off", timeout=60)) as store,
            ):
                store.execute("create table words (word primary key, places, weights, sum) without rowid")
                store.execute("begin")
                rows = ((word, *map(bytes, posting), _sum(*posting)) for word, posting in _indexed(texts))
                store.executemany("insert into words values (?, ?, ?, ?)", rows)
                store.execute("commit")
        return Kept(open_sqlite(path, "query_only = on", timeout=60))
    except (OSError, sqlite3.Error, ConfigError) as error:
        _log.warning("the index of %d examples is not kept (%s), so each process makes it anew", len(texts), error)
        return dict(_indexed(texts))


def _sum(places: Any, weights: Any) -> int:
    return crc32(weights, crc32(places))


class Kept:
    """An index in a file."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store
        finalize(self, store.close)

    def get(self, word: str) -> Posting | None:
        """Read the posting of a word."""
        row = self._store.execute("select places, weights, sum from words where word = ?", (word,)).fetchone()
        if row is None:
            return None
        if _sum(*row[:2]) != row[2]:
            raise ConfigError("the index of examples in the cache folder is damaged: delete its folder bm25")
        return memoryview(row[0]).cast("I"), memoryview(row[1]).cast("d")


class Vectors:
    """An index of texts by vectors that a model gave for them, compared by the angle from their common mean.

    A model's vectors often share one strong direction, so that all look alike until the mean is taken off.
    """

    def __init__(self, vectors: Sequence[Sequence[float]]) -> None:
        self._mean = [math.fsum(column) / len(vectors) for column in zip(*vectors, strict=True)]
        self._rows = [self._unit(vector) for vector in vectors]
        self._signs = [_signs(row) for row in self._rows] if len(vectors) > _FEW else []

    def rank(self, query: Sequence[float], count: int) -> Ranked:
        """Give the most similar texts, from 1 (alike) to -1.

        Among many, the signs of the components choose the candidates and the angle decides between them.
        """
        row = self._unit(query)
        near: Sequence[int] = range(len(self._rows))
        if self._signs and count < len(self._rows):
            signs = _signs(row)
            distances = [(signs ^ other).bit_count() for other in self._signs]
            near = sorted(near, key=distances.__getitem__)[: max(4 * count, 200)]
        return nlargest(count, [(place, _dot(row, self._rows[place])) for place in near], key=itemgetter(1))

    def _unit(self, vector: Sequence[float]) -> array[float]:
        centred = [x - m for x, m in zip(vector, self._mean, strict=True)]
        length = math.hypot(*centred) or 1.0
        return array("f", [x / length for x in centred])


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    total: float = sum(map(mul, one, other))
    return total


def _signs(row: Sequence[float]) -> int:
    return int("".join("1" if x > 0 else "0" for x in row), 2)
