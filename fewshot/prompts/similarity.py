"""How alike two texts are: BM25 over words, and vectors of a model.

BM25 is written out here because the kept libraries for it (bm25s, rank-bm25) bring numpy, which the core does not need:
an index over 10,000 examples answers in a few milliseconds.
"""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from heapq import nlargest
from operator import itemgetter, mul

__all__ = ["Bm25", "Ranked", "Vectors", "words"]

Ranked = list[tuple[int, float]]
"""Positions with how alike each is to the question, the most similar first."""

# The vowel signs of Arabic, the scripts of India and Thai belong to a word, and are not letters to `\w`.
_WORD = re.compile(r"[\w\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e\u200c\u200d]+")
_UNSPACED = re.compile(r"[\u0e00-\u0e4f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")
_FEW = 1000
"""Up to so many vectors are compared exactly at once; beyond, a rough comparison goes first."""


def words(text: str) -> list[str]:
    """Cut a text into lower-case words; Chinese, Japanese, Korean and Thai into pairs of neighbouring characters."""
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        if len(word) > 1 and _UNSPACED.search(word):
            found += [word[i : i + 2] for i in range(len(word) - 1)]
        else:
            found.append(word)
    return found


class Bm25:
    """An index of texts by their words (Okapi BM25; Robertson and Zaragoza 2009, section 3.4; k1 = 1.2, b = 0.75)."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in texts]
        lengths = [counted.total() for counted in counts]
        mean = sum(lengths) / max(len(lengths), 1) or 1.0
        self._weights: list[dict[str, float]] = []
        self._places: dict[str, list[tuple[int, float]]] = defaultdict(list)
        found = Counter(word for counted in counts for word in counted)
        rarity = {word: math.log1p((len(texts) - n + 0.5) / (n + 0.5)) for word, n in found.items()}
        for position, (counted, length) in enumerate(zip(counts, lengths, strict=True)):
            damping = 1.2 * (0.25 + 0.75 * length / mean)
            weights = {word: rarity[word] * n * 2.2 / (n + damping) for word, n in counted.items()}
            self._weights.append(weights)
            for word, weight in weights.items():
                self._places[word].append((position, weight))

    def rank(self, query: str, count: int) -> Ranked:
        """Give the texts that share words with the query, from 1 (most alike) down to 0; equals in their order."""
        scores: dict[int, float] = defaultdict(float)
        for word in dict.fromkeys(words(query)):  # a set has another order in each process, and sums differ by it
            for position, weight in self._places.get(word, ()):
                scores[position] += weight
        best = nlargest(count, sorted(scores.items()), key=itemgetter(1))
        return [(position, score / best[0][1]) for position, score in best]


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
