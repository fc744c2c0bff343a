"""Fitting a head on a task's own examples, once, and keeping it in the cache folder.

With NumPy it is kernel ridge regression with exact leave-one-out scores; whether an encoder's vectors count is chosen
by the leave-one-out log-likelihood. Without it, it is the mean likeness to each label's examples.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from fewshot._storage import cache_dir, write_atomic
from fewshot.calibration.ridge import can_fit
from fewshot.errors import ConfigError
from fewshot.narrowing.head import Head, Scores, logs
from fewshot.narrowing.likeness import Likeness, raised

__all__ = ["fit_head"]

_SHARE, _PENALTY = 4.0, 0.4
"""How much vectors count beside n-grams, and the penalty: twice or half as much changes little."""
_SHARPNESS = tuple(0.5 * 2 ** (step / 2) for step in range(7))
_DIGITS = 9
"""Decimals of what is fitted: how many threads the machine has would change some of the sixteen."""
_log = logging.getLogger("fewshot")

Fitted = tuple[float, float, Any, Sequence[Scores]]
"""The share of vectors, sharpness, weights, and the scores of each example from a head fitted without it."""


@lru_cache(maxsize=8)
def fit_head(
    texts: tuple[str, ...], answers: tuple[str, ...], labels: tuple[str, ...], names: tuple[str, ...], kind: str
) -> Head:
    """Fit a head on examples; one that was fitted on these before is read from the cache folder, the same to the bit.

    Arguments:
        texts, answers: the text and the label of each example; each label has some.
        labels: all labels, in their order.
        names: a text for each label, its name or description, which counts as one more example.
        kind: what `kind_of_head` says.
    """
    content = json.dumps([sys.byteorder, kind, texts, answers, labels, names])
    key, column = sha256(content.encode()).hexdigest()[:32], {label: place for place, label in enumerate(labels)}
    golds, all_texts = [column[answer] for answer in answers], [*texts, *names]
    fitted = _read(key, len(golds), len(labels))
    likeness = Likeness(all_texts, vectors=fitted is None or bool(fitted[0]))
    if fitted is None:
        fitted = (_fitted if can_fit() else _fitted_without_numpy)(likeness, golds, len(labels))
        _keep(key, fitted)
    share, sharpness, weights, held_out = fitted
    return Head(
        labels=labels,
        golds=golds,
        likeness=likeness,
        share=share,
        weights=weights,
        sharpness=sharpness,
        held_out=held_out,
    )


def _fitted(likeness: Likeness, golds: Sequence[int], width: int) -> Fitted:
    """Fit with vectors and without, where there are any: what is likelier, held out."""
    import numpy as np

    (alike, near), count = likeness.matrices(), len(golds)
    wanted = np.eye(width)[[*golds, *range(width)]]

    def tried() -> Iterator[tuple[float, Any]]:
        for share in (0.0,) if near is None else (0.0, _SHARE):
            kernel = raised(alike) if near is None else raised(alike) + share * near
            weights, scores = _ridge(kernel, wanted, likeness.groups(count))
            right, top = scores[range(count), golds], scores[:count].max(axis=1)
            for sharpness in _SHARPNESS:
                sums = np.exp(sharpness * (scores[:count] - top[:, None])).sum(axis=1)
                lost = np.log(sums) - sharpness * (right - top)
                yield float(lost.mean()), (share, sharpness, weights, scores[:count])

    _, (share, sharpness, weights, held_out) = min(tried(), key=itemgetter(0))
    return share, sharpness, weights.round(_DIGITS), held_out.round(_DIGITS).tolist()


def _ridge(kernel: Any, wanted: Any, groups: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    """Give weights and held-out scores, which vary by 1.

    Arguments:
        groups: rows that say the same, and are left out together.
    """
    import numpy as np

    inverse, centred = np.linalg.inv(kernel + _PENALTY * np.eye(len(kernel))), wanted - 1 / wanted.shape[1]
    weights = inverse @ centred
    held_out = centred - weights / inverse.diagonal()[:, None]
    for group in map(list, groups):
        held_out[group] = centred[group] - np.linalg.solve(inverse[np.ix_(group, group)], weights[group])
    spread = held_out.std() or 1.0
    return weights / spread, held_out / spread


def _fitted_without_numpy(likeness: Likeness, golds: Sequence[int], width: int) -> Fitted:
    """Give the same from the mean likeness to each label's examples, which is not quite as accurate."""
    columns = [*golds, *range(width)]
    counts, own = Counter(columns), {row: [row] for row in range(len(golds))}
    own |= {row: group for group in likeness.groups(len(golds)) for row in group}
    held_out = []
    for row in range(len(golds)):
        sums, left = [0.0] * width, counts.copy()
        alike = likeness.ngrams.alike_to(likeness.ngrams.rows[row])
        for place, (value, column) in enumerate(zip(alike, columns, strict=True)):
            if place in own[row]:
                left[column] -= 1
            else:
                sums[column] += value * value
        held_out.append([total / max(left[c], 1) for c, total in enumerate(sums)])
    spread = math.sqrt(math.fsum(s * s for row in held_out for s in row) / (len(held_out) * width)) or 1.0
    held_out = [[score / spread for score in row] for row in held_out]

    def surprise(sharpness: float) -> float:
        return -math.fsum(logs(scores, sharpness)[gold] for scores, gold in zip(held_out, golds, strict=True))

    weights = [1 / counts[column] / spread for column in columns]
    return 0.0, min(_SHARPNESS, key=surprise), weights, held_out


def _place(key: str) -> Path:
    return cache_dir("heads") / key


def _keep(key: str, fitted: Fitted) -> None:
    """Write a line of JSON and the numbers after it."""
    share, sharpness, weights, held_out = fitted
    flat = weights.ravel().tolist() if hasattr(weights, "ravel") else weights
    numbers = array("d", [*flat, *chain.from_iterable(held_out)]).tobytes()
    about = {"share": share, "sharpness": sharpness, "digest": sha256(numbers).hexdigest()}
    try:
        with write_atomic(_place(key), private=True) as scratch:
            scratch.write_bytes(json.dumps(about).encode() + b"\n" + numbers)
    except (OSError, ConfigError) as error:
        _log.warning("the head of the examples is not kept (%s), so each process fits it anew", error)


def _read(key: str, count: int, width: int) -> Fitted | None:
    """Read what `_keep` wrote; None where there is nothing, or it is damaged, which is logged."""
    try:
        line, _, numbers = _place(key).read_bytes().partition(b"\n")
        about, found = json.loads(line), array("d")
        if sha256(numbers).hexdigest() != about["digest"]:
            raise ValueError("its digest is another")
        found.frombytes(numbers)
        held_out = [found[at : at + width].tolist() for at in range(len(found) - count * width, len(found), width)]
        weights: Any = found[: len(found) - count * width]
        if len(weights) > count + width:
            import numpy as np

            weights = np.array(weights).reshape(count + width, width)
        return float(about["share"]), float(about["sharpness"]), weights, held_out
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        _log.warning("the head that was kept cannot be read (%s): it is fitted again", error)
        return None
