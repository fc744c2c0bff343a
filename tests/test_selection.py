"""Choosing shots: who is taken, in what order, within which limits."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewshot import Example, ScriptedClient, ServiceError, Task
from fewshot._storage import cache_dir
from fewshot.errors import ConfigError, InputError
from fewshot.models.tokens import estimated_tokens
from fewshot.prompts import similarity
from fewshot.prompts.selection import Shelf, choose
from fewshot.prompts.similarity import Bm25, Vectors, words
from fewshot.settings import Settings

ANIMALS = (
    ("the cat sat on the mat", "pet"),
    ("a wolf howled in the woods", "wild"),
    ("the cat chased a mouse", "pet"),
    ("dogs bark at the moon", "pet"),
    ("a bear fished for salmon", "wild"),
)
EXAMPLES = tuple(Example({"text": text}, label, str(i), i) for i, (text, label) in enumerate(ANIMALS))


def shelf(**settings: Any) -> Shelf:
    return Shelf(EXAMPLES, ["text"], Settings(**settings))


def ids(shots: Sequence[Example]) -> str:
    return "".join(shot.id for shot in shots)


def chosen(question: str, *, leave_out: bool = False, **settings: Any) -> str:
    found = shelf(**settings)
    return ids(found.arranged(found.candidates({"text": question}, leave_out=leave_out)))


def test_fixed_choices_do_not_look_at_the_question() -> None:
    assert ids(choose(EXAMPLES, 3, "first")) == "012"
    assert ids(choose(EXAMPLES, 4, "balanced")) == "0124"
    assert ids(choose(EXAMPLES, None, "first")) == "01234"
    assert choose(EXAMPLES, 0, "random") == ()
    drawn = {ids(choose(EXAMPLES, 3, "random", seed=seed)) for seed in range(9)}
    assert len(drawn) > 1
    assert ids(choose(EXAMPLES, 3, "random", seed=1)) in drawn


def test_an_unknown_selector_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="'best' is not one of first, random, balanced, bm25, embedding"):
        shelf(select="best")


def test_bm25_ranks_alike_in_every_process() -> None:
    code = """
from fewshot.prompts.similarity import Bm25
texts = [f"{one} {other}" for one in "abcdefgh" for other in "ijklmnop"]
print(Bm25(texts).rank("a b c d e f g h i j", 30))
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(said) == 1


def test_bm25_takes_the_examples_that_share_rare_words_the_most_similar_last() -> None:
    assert chosen("a cat and a mouse", select="bm25", k=2) == "02"


def test_examples_that_share_nothing_fill_up_in_file_order() -> None:
    assert chosen("xyzzy", select="bm25", k=3) == "210"
    assert chosen("bear", select="bm25") == "32104"


def test_an_example_can_be_asked_about_without_seeing_itself() -> None:
    assert chosen("the cat chased a mouse", select="bm25", k=1) == "2"
    assert chosen("the cat chased a mouse", select="bm25", k=1, leave_out=True) == "0"


def test_korean_and_chinese_are_compared_by_pairs_of_characters() -> None:
    assert words("영화가 좋다 GREAT") == ["영화", "화가", "좋다", "great"]
    index = Bm25(["영화가 재미없다", "배우가 훌륭하다"])
    assert index.rank("영화는 별로", 1)[0][0] == 0


def test_vowel_signs_and_odd_forms_of_letters_are_parts_of_words() -> None:
    assert words("हिन्दी भाषा।") == ["हिन्दी", "भाषा"]
    assert words("مُحَمَّد ｃａｆé cafe\u0301") == ["مُحَمَّد", "café", "café"]
    assert words("ไทย") == ["ไท", "ทย"]


def test_texts_that_are_as_alike_come_in_their_order_in_every_process() -> None:
    texts = [f"{word} x" for word in ("fox", "bear", "cat", "ant", "wolf", "owl")]
    assert [place for place, _ in Bm25(texts).rank("owl ant cat wolf bear fox", 6)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("numpy", [True, False])
def test_an_index_of_many_texts_is_kept_on_disk_and_chooses_as_one_of_few(
    numpy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if numpy:
        pytest.importorskip("numpy", reason="an extra")
    draw = random.Random(3)
    animals = ["ant", "bear", "cat", "dog", "elk", "fox", "고양이", "é", "x", "y", "z"]
    texts = [" ".join(draw.choices(animals, k=draw.randint(0, 9))) for _ in range(300)]
    few = Bm25(texts)
    monkeypatch.setattr(similarity, "_MANY", 100)
    monkeypatch.setattr(similarity, "find_spec", lambda _: numpy or None)
    many, again = Bm25(texts), Bm25(texts)
    for question in (*texts[:60], "", "nothing of it", "cat"):
        for count in (1, 64, 1000):
            assert few.rank(question, count) == many.rank(question, count) == again.rank(question, count)
    [file] = cache_dir("bm25").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    Bm25([*texts, "one more"])
    assert len(list(cache_dir("bm25").iterdir())) == 2


def test_a_damaged_index_is_told_and_one_that_cannot_be_kept_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(similarity, "_MANY", 3)
    texts = [text for text, _ in ANIMALS]
    kept = Bm25(texts)
    [file] = cache_dir("bm25").iterdir()
    with contextlib.closing(sqlite3.connect(file)) as store, store:
        store.execute("update words set places = x'01000000' where word = 'cat'")
    with pytest.raises(ConfigError, match="damaged: delete its folder bm25"):
        kept.rank("cat", 1)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path / "file"))
    assert Bm25(texts).rank("mat", 1)[0][0] == 0
    assert "the index of 5 examples is not kept" in caplog.text


def test_vectors_are_compared_from_their_mean_and_many_are_first_sifted_by_sign() -> None:
    few = Vectors([[10, 1], [10, -1], [11, 0]])
    assert [place for place, _ in few.rank([10, 0.9], 2)] == [0, 2]
    grid = [[float(x), float(y)] for x in range(-20, 21) for y in range(-20, 21)]
    many = Vectors(grid)
    best, likeness = many.rank([7.0, 7.0], 1)[0]
    assert grid[best][0] == grid[best][1] > 0
    assert likeness == pytest.approx(1.0, abs=1e-6)


class Embedder(ScriptedClient):
    """Gives each text the vector (cats, dogs) by counting."""

    def __init__(self) -> None:
        super().__init__(lambda request: "pet")
        self.embedded: list[str] = []

    async def embed(
        self, texts: Sequence[str], *, model: str | None = None, deadline: float | None = None
    ) -> list[list[float]]:
        self.embedded += texts
        return [[text.count("cat") + 0.1, text.count("dog") + 0.1, 1.0] for text in texts]


def animals(client: Any, **options: Any) -> Task[Any]:
    return Task.of("Pet or wild?", ["pet", "wild"], ANIMALS, client=client, **options)


def test_shots_by_vectors_are_named_in_the_result_and_each_text_is_embedded_once() -> None:
    client = Embedder()
    task = animals(client, select="embedding", k=1)
    assert [e.inputs["text"] for e in task.run("dog dog dog").examples] == ["dogs bark at the moon"]
    assert "cat" in task.run("cat").examples[0].inputs["text"]
    assert client.embedded == [text for text, _ in ANIMALS] + ["dog dog dog", "cat"]
    animals(client, select="embedding", k=2).run("cat")
    assert client.embedded[-1] == "cat", "the examples' vectors were on disk"


def test_the_kept_vectors_are_private() -> None:
    animals(Embedder(), select="embedding").run("cat")
    path = cache_dir("embeddings") / "answers-1.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    with contextlib.closing(sqlite3.connect(path)) as store:
        assert store.execute("select count(*) from answers").fetchone() == (len(ANIMALS),)


def test_a_broken_store_is_said_and_gone_without(caplog: pytest.LogCaptureFixture) -> None:
    (cache_dir("embeddings") / "answers-1.sqlite").write_bytes(b"this is no database, far from it" * 100)
    assert animals(Embedder(), select="embedding").run("cat").value == "pet"
    assert "is damaged" in caplog.text


def test_without_vectors_the_error_says_what_to_use() -> None:
    with pytest.raises(ConfigError, match="use select='bm25'"):
        animals(ScriptedClient("pet"), select="embedding").run("cat")
    with pytest.raises(InputError, match="nothing can be shown without a call"):
        animals(Embedder(), select="embedding").render("cat")


def test_a_service_that_fails_to_embed_is_the_results_error() -> None:
    class Failing(Embedder):
        async def embed(self, texts: Sequence[str], **_: Any) -> list[list[float]]:
            raise ServiceError("no vectors today", transient=True)

    result = animals(Failing(), select="embedding").run("cat")
    assert str(result.error) == "no vectors today"


def test_bm25_shots_can_be_shown_without_a_call() -> None:
    turns = animals(ScriptedClient(), select="bm25", k=1).render("the wolf")
    assert "wolf howled" in turns[1].content


def test_a_fixed_prefix_stays_the_same_object() -> None:
    task = animals(ScriptedClient(lambda r: "pet"), k=2)
    assert task.run("a").request.prefix is task.run("b").request.prefix  # type: ignore[union-attr]


def test_estimates_err_on_the_long_side() -> None:
    assert estimated_tokens("a" * 35) == 14
    assert estimated_tokens("영화") == 6


def test_what_decides_the_prompt_decides_the_fingerprint() -> None:
    task = animals(ScriptedClient())
    others = [task.using(k=1), task.using(seed=9), task.using(select="bm25")]
    assert len({t._fingerprint for t in [task, *others]}) == 4
    assert task.using(timeout=5.0)._fingerprint == task._fingerprint


@pytest.mark.parametrize("bad", [{"k": -1}, {"votes": 0}, {"timeout": 0}, {"form": "prose"}])
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        replace(Settings(), **bad)


@pytest.mark.parametrize(
    ("count", "plan"),
    [
        (3, "3 rows: 3 shots"),
        (8, "8 rows: 8 shots, each also calibrated on, without itself"),
        (47, "47 rows: 47 shots, each also calibrated on, without itself"),
        (64, "64 rows: 16 shots, 48 calibrated on"),
        (1000, "1000 rows: 16 shots, 500 calibrated on"),
    ],
)
def test_what_examples_are_used_for_depends_on_their_number(count: int, plan: str) -> None:
    rows = [(f"text {n}", "yes" if n < count - 2 else "no") for n in range(count)]
    task = Task.of("Nice?", ["yes", "no"], rows)
    assert task._prompts.plan({"input": "x"}) == plan
    shots = task._prompts.offline({"input": "x"}).examples
    assert {shot.output for shot in shots} == {"yes", "no"}  # though those of one label stand at the end


def test_examples_that_do_not_fit_the_context_are_no_shots() -> None:
    texts = [(f"{n} " + "word " * 400, f"said {n}") for n in range(40)]
    shots = Task.of("Repeat.", "text", texts)._prompts.offline({"input": "x"}).examples
    assert 5 < len(shots) < 15
    assert len(Task.of("Repeat.", "text", texts, k=30)._prompts.offline({"input": "x"}).examples) == 30
