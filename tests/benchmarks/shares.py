"""Simulate estimates of shares: how often the interval holds the truth, and how wide it is beside the labels alone.

    python tests/benchmarks/shares.py [--resamples N] [--labelled N] [--data FOLDER]

Synthetic corpora have one label of a given share and a model of a given accuracy; "by doubt" are rows chosen with a
chance that grows with the model's doubt. With `--data` (a folder of `NAME.jsonl` and `NAME.train.jsonl` with `text` and
`label`) the corpus is the rows of a set, the model a TF-IDF classifier of its training rows, and a label is drawn anew
in each resample. "few" counts the resamples in which fewer than five labelled rows break with the model: there a
discrete count covers more than it should.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fewshot.estimation.prediction_powered import LEAST, LabelledRow, Stratum, merged, share_in

SETS = ("topic_agnews", "topic_trec", "sent2_sst2", "sent2_mr", "sent3_fpb", "sent3_tweeteval", "emotion_tweeteval")
SYNTHETIC = [(share, signal) for share in (0.005, 0.03, 0.1, 0.3) for signal in (1.0, 2.0, 3.0)]


class Corpus:
    """Rows that have a label or not, and the model's probability of each."""

    def __init__(self, truth: Sequence[bool], model: Sequence[float], said: Sequence[bool]) -> None:
        self.truth, self.model, self.said = truth, model, said
        self.share = sum(truth) / len(truth)
        places = [[n for n, s in enumerate(said) if s is which] for which in (True, False)]
        self._whole = [(len(rows), sum(model[n] for n in rows)) for rows in places]

    def strata(self, chosen: Sequence[int], chances: Sequence[float] | None) -> list[Stratum]:
        """Give what `share` makes of labelled rows."""
        parts: list[list[LabelledRow]] = [[], []]
        for n in chosen:
            row = LabelledRow(self.truth[n], self.model[n], None if chances is None else chances[n])
            parts[not self.said[n]].append(row)
        found = [Stratum(*whole, rows) for whole, rows in zip(self._whole, parts, strict=True)]
        return found if all(s.rows and len(s.labelled) >= LEAST for s in found) else [merged(found)]


def synthetic(share: float, signal: float, rows: int = 5000) -> Corpus:
    """Draw a corpus whose model is calibrated, and the surer the stronger the signal."""
    from math import exp, log

    draw = random.Random(f"{share} {signal}")
    truth = [draw.random() < share for _ in range(rows)]
    seen = [draw.gauss(signal * has, 1) for has in truth]
    model = [1 / (1 + exp(-(log(share / (1 - share)) + signal * x - signal**2 / 2))) for x in seen]
    return Corpus(truth, model, [p >= 0.5 for p in model])


def of_data(folder: Path, name: str) -> dict[str, Corpus]:
    """Train a classifier on one half of a set, and give the other as a corpus for each label."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = ([json.loads(line) for line in (folder / f"{name}{end}.jsonl").open()] for end in (".train", ""))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    fitted = LogisticRegression(C=10, max_iter=500)
    fitted.fit(words.fit_transform([row["text"] for row in train]), [str(row["label"]) for row in train])
    chances = fitted.predict_proba(words.transform([row["text"] for row in test])).tolist()
    found = {}
    for place, label in enumerate(fitted.classes_):
        truth = [str(row["label"]) == label for row in test]
        found[str(label)] = Corpus(truth, [p[place] for p in chances], [max(p) == p[place] for p in chances])
    return found


def chosen(corpus: Corpus, count: int, draw: random.Random, *, by_doubt: bool) -> tuple[list[int], list[float] | None]:
    """Choose rows to label, at random or by doubt."""
    rows = len(corpus.truth)
    if not by_doubt:
        return draw.sample(range(rows), count), None
    doubt = [min(p, 1 - p) for p in corpus.model]
    mean = sum(doubt) / rows
    chances = [min(1.0, count / rows * (0.3 + 0.7 * one / mean)) for one in doubt]
    return [n for n in range(rows) if draw.random() < chances[n]], chances


def measured(corpora: Sequence[Corpus], count: int, resamples: int, *, by_doubt: bool) -> Iterator[str]:
    """Give the figures of one line."""
    draw = random.Random(count)
    covered = alone_covered = width = alone_width = few = 0.0
    for turn in range(resamples):
        corpus = corpora[turn % len(corpora)]
        rows, chances = chosen(corpus, count, draw, by_doubt=by_doubt)
        strata = corpus.strata(rows, chances)
        found = share_in(strata, inside=True)
        even = rows if not by_doubt else chosen(corpus, count, draw, by_doubt=False)[0]
        alone = share_in([merged(corpus.strata(even, None))], inside=True, powered=False)
        covered += found.low - 1e-12 <= corpus.share <= found.high + 1e-12
        alone_covered += alone.low <= corpus.share <= alone.high
        width, alone_width = width + found.high - found.low, alone_width + alone.high - alone.low
        few += sum(corpus.truth[n] != corpus.said[n] for n in rows) < 5
    yield f"{covered / resamples:8.1%} {alone_covered / resamples:8.1%}"
    yield f"{width / resamples:8.3f} {alone_width / resamples:8.3f} {width / alone_width - 1:+8.0%}"
    yield f"{few / resamples:6.0%}"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--labelled", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    cases = [(f"share {share}, signal {signal}", [synthetic(share, signal)]) for share, signal in SYNTHETIC]
    if args.data:
        cases = [(name, list(of_data(args.data, name).values())) for name in SETS]
    print(f"{'':26} {'rows':>5} {'covers':>8} {'alone':>8} {'width':>8} {'alone':>8} {'':8} {'few':>6}")
    for name, corpora in cases:
        for count in args.labelled:
            for by_doubt in (False, True):
                figures = " ".join(measured(corpora, count, args.resamples, by_doubt=by_doubt))
                print(f"{name + ', by doubt' * by_doubt:26.26} {count:5} {figures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
