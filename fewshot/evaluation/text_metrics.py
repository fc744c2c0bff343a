"""Figures for open answers: matching by the rules of SQuAD, numbers by value, translations and summaries by overlap.

Matching works on one row and needs nothing; chrF and ROUGE come from sacrebleu and rouge-score (extra `eval`).
"""

from __future__ import annotations

import importlib
import json
import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from fewshot._environment import missing
from fewshot.errors import InputError
from fewshot.evaluation.intervals import Figure
from fewshot.outputs.numbers import literal_number

__all__ = ["answered", "chrf", "exact_match", "numeric_match", "rouge", "token_f1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def exact_match(prediction: str | None, references: Sequence[str]) -> bool:
    """Tell whether an answer equals one of the references under SQuAD's rules (Rajpurkar et al. 2016, 1606.05250).

    Case, punctuation, the articles a, an, the and runs of white space do not count; punctuation of every script does
    not, as in MLQA (arXiv 1910.07475). With no references (unanswerable) only no answer is right.
    """
    said = _normal(prediction)
    return any(said == _normal(reference) for reference in references) if references else not said


def token_f1(prediction: str | None, references: Sequence[str]) -> float:
    """Give the F1 of the words shared with the best reference, normalised like `exact_match`, from 0 to 1.

    A Chinese or Japanese character counts as a word. If either side is empty, 1 when both are, else 0 (SQuAD 2.0).
    """
    said = _tokens(prediction)
    return max((_overlap(said, _tokens(reference)) for reference in references), default=float(not said))


def answered(prediction: str | None, references: Sequence[str]) -> bool:
    """Tell whether a question was answered just if it has an answer."""
    return bool(_normal(prediction)) == bool(references)


def numeric_match(prediction: object, reference: object, *, tolerance: float = 0.0) -> bool:
    """Tell whether two numbers have the same value, however written; `tolerance` is absolute."""
    said, true = _number(prediction), _number(reference)
    return said is not None and true is not None and abs(said - true) <= Decimal(str(tolerance))


def _number(value: object) -> Decimal | None:
    """Give a number, or a text that is one as a whole, exactly; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    read = literal_number(value) if isinstance(value, str) else value
    return Decimal(str(read)) if isinstance(read, int | float | Decimal) and math.isfinite(read) else None


def chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Figure:
    """Measure corpus chrF2 (0 to 100) with a bootstrap interval, by sacrebleu (Popović 2015, W15-3049)."""
    if len(predictions) != len(references) or not predictions or not all(references):
        raise InputError(f"{len(predictions)} predictions do not pair up with {len(references)} lists of references.")
    most = max(map(len, references))  # sacrebleu wants the references as columns, padded with None
    columns = [[row[place] if place < len(row) else None for row in references] for place in range(most)]
    metric = _library("sacrebleu.metrics", "chrF").CHRF()
    score = metric.corpus_score(predictions, columns, n_bootstrap=1000)
    figures = json.loads(score.format(width=6, signature=str(metric.get_signature()), is_json=True))
    value = float(score.score)
    middle, spread = figures.get("confidence_mean", value), figures.get("confidence_var", 0.0)  # none for one row
    return Figure(value, min(value, middle - spread), max(value, middle + spread))


def rouge(prediction: str, references: Sequence[str]) -> dict[str, float]:
    """Give the F-measures rouge1, rouge2 and rougeL of one row against its best reference, from 0 to 1.

    Computed by rouge-score without stemming, with words of all scripts (its own rule keeps only a-z and 0-9).
    """
    best = _rouge_scorer().score_multi(list(references), prediction)
    return {name: float(score.fmeasure) for name, score in best.items()}


def _normal(text: str | None) -> str:
    """Bring an answer into the form in which SQuAD compares."""
    kept = "".join(c for c in unicodedata.normalize("NFC", text or "").lower() if not _is_punctuation(c))
    return " ".join(_ARTICLES.sub(" ", kept).split())


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _tokens(text: str | None) -> list[str]:
    return _UNSPACED.sub(r" \1 ", _normal(text)).split()


def _overlap(said: Sequence[str], true: Sequence[str]) -> float:
    if not said or not true:
        return float(said == true)
    shared = sum((Counter(said) & Counter(true)).values())
    return 2 * shared / (len(said) + len(true))


@lru_cache(maxsize=1)
def _rouge_scorer() -> Any:
    scorer = _library("rouge_score.rouge_scorer", "ROUGE").RougeScorer
    return scorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Words())


def _library(module: str, purpose: str) -> Any:
    """Import a library of the extra `eval` at its first use."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(f"{purpose} needs the extra `eval`", "eval") from error


class _Words:
    """Words for rouge-score: letters and digits of any script."""

    def tokenize(self, text: str) -> Iterable[str]:
        return _WORD.findall(unicodedata.normalize("NFC", text).lower())
