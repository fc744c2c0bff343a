"""Shares of labels in a corpus: what a model says of all rows, made right by what people say of a few."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from fewshot import Completion, InputError, Request, ScriptedClient, ServiceError, Task
from fewshot.cli.main import main
from fewshot.estimation.prediction_powered import LabelledRow, Stratum, difference, mid_p, share_in
from fewshot.estimation.shares import Shares
from fewshot.evaluation.intervals import Figure
from fewshot.testing import answers

SHOTS = [("It broke.", "bug"), ("Thanks!", "praise")]


def said(request: Request) -> str:
    """Answer by what the text says, which is wrong for one row in ten."""
    text = str(request.chat[-1].content)
    return "bug" if "bug" in text or "like a fault" in text else "praise"


def task(answer: Any = said) -> Task[str]:
    client = answer if isinstance(answer, ScriptedClient) else ScriptedClient(answer)
    return Task.of("Sort it.", ["bug", "praise"], SHOTS, client=client, scoring=False)


def population(rows: int = 400, *, seed: int = 0) -> list[dict[str, str]]:
    """Draw rows of which three in ten are bugs, more of them in June; some praise looks like a fault."""
    draw, found = random.Random(seed), []
    for number in range(rows):
        month = ("2026-05", "2026-06")[number % 2]
        label = "bug" if draw.random() < (0.2, 0.4)[number % 2] else "praise"
        words = "like a fault" if label == "praise" and draw.random() < 0.15 else label
        found.append({"text": f"row {number} {words}", "month": month, "label": label})
    return found


def sample(rows: list[dict[str, str]], count: int = 100, *, seed: int = 1) -> list[dict[str, str]]:
    return random.Random(seed).sample(rows, count)


def unlabelled(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "label"} for row in rows]


def true_share(rows: list[dict[str, str]], label: str = "bug") -> float:
    return sum(row["label"] == label for row in rows) / len(rows)


def test_a_share_is_put_right_where_the_model_errs_to_one_side() -> None:
    rows = population()
    found = task().share(unlabelled(rows), sample(rows))
    counted = sum("bug" in row["text"] or "like a fault" in row["text"] for row in rows) / len(rows)
    bug = found.of("bug")
    assert bug.low <= true_share(rows) <= bug.high < counted
    assert bug.high - bug.low < bug.alone.high - bug.alone.low
    assert bug.value + found.of("praise").value == pytest.approx(1)
    assert (bug.rows, bug.labelled, found.failed) == (400, 100, 0)


def test_without_labelled_rows_no_count_is_given_and_nothing_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    client = ScriptedClient(said)
    with pytest.raises(InputError, match=r"label about 200 rows of the corpus, chosen at random"):
        task(client).share(["a bug", "praise"])
    with pytest.raises(InputError, match=r"4 labelled rows .* are too few: .* at least 6 more"):
        task(client).share(["a bug", "praise"], [(f"text {n}", "bug") for n in range(4)])
    assert not client.requests
    assert main(["share", "sentiment", "--data", "corpus.csv"]) == 2
    assert "a model's own counts are wrong" in capsys.readouterr().err


def test_groups_have_shares_of_their_own_and_differ_by_what_they_differ() -> None:
    rows = population(500)
    found = task().share(unlabelled(rows), sample(rows, 250), by="month")
    may, june = ([row for row in rows if row["month"] == month] for month in ("2026-05", "2026-06"))
    (rise,) = (one for one in found.differences if one.label == "bug")
    assert (rise.group, rise.other) == ("2026-06", "2026-05")
    assert 0 < rise.low <= true_share(june) - true_share(may) <= rise.high
    assert found.of("bug", "2026-05").low <= true_share(may) <= found.of("bug", "2026-05").high
    assert found.of("bug").low <= true_share(rows) <= found.of("bug").high
    assert "2026-06 - 2026-05" in str(found)


def test_a_group_without_labelled_rows_is_named_and_not_estimated() -> None:
    rows = population()
    found = task().share([*unlabelled(rows), {"text": "a late bug", "month": "2026-07"}], sample(rows), by="month")
    assert {share.group for share in found.shares} == {None, "2026-05", "2026-06"}
    assert "not estimated, for want of labelled rows: 2026-07" in found.notes
    with pytest.raises(InputError, match="no share of 'bug' in '2026-07'"):
        found.of("bug", "2026-07")


def test_rows_chosen_unequally_count_by_the_inverse_of_their_chance() -> None:
    rows = population(600)
    draw = random.Random(3)
    chances = [0.6 if row["label"] == "bug" else 0.1 for row in rows]
    chosen = [{**row, "chance": p} for row, p in zip(rows, chances, strict=True) if draw.random() < p]
    found = task().share(unlabelled(rows), chosen, chance="chance").of("bug")
    blind = task().share(unlabelled(rows), chosen).of("bug").alone
    assert found.low <= true_share(rows) <= found.high
    assert blind.low > true_share(rows)


@pytest.mark.parametrize("chance", [0, 1.5, "often", None])
def test_a_chance_that_is_none_is_refused_by_its_row(chance: Any) -> None:
    rows = [{**row, "chance": 0.5} for row in sample(population(), 20)]
    rows[6]["chance"] = chance
    with pytest.raises(InputError, match=r"row 7: a chance of being chosen is above 0 and at most 1"):
        task().share(unlabelled(population()), rows, chance="chance")


@pytest.mark.parametrize(("chance", "rows", "told"), [(1, 30, 30), (0.05, 60, 1200), (0.9, 40, 44)])
def test_chances_that_belong_to_another_corpus_are_refused(chance: float, rows: int, told: int) -> None:
    corpus = [{"text": f"a bug {n}"} for n in range(90)]
    sample = [{**row, "output": "bug", "p": chance} for row in corpus[:rows]]
    first = task()
    with pytest.raises(InputError, match=f"about {told:,} rows, and it has 90"):
        first.share(corpus, sample, chance="p")
    assert first.settings.client.requests == []


def test_rows_that_were_abstained_from_are_counted() -> None:
    def torn(request: Request) -> Completion:
        sure = 0.55 if "3" in str(request.chat[-1].content) else 0.95
        return Completion(text="", probabilities={"bug": sure, "praise": 1 - sure})

    corpus = [{"text": f"a bug {n}"} for n in range(40)]
    first = task(torn).using(decisions=True, scoring=True, calibrate=False, min_confidence=0.9)
    found = first.share(corpus, [{**row, "output": "bug"} for row in corpus[:20]])
    held = sum("3" in row["text"] for row in corpus)
    assert f"{held} rows were abstained from: they count by the model's probabilities" in found.notes


def test_a_group_that_is_missing_or_unknown_is_named() -> None:
    corpus = [{"text": f"a bug {n}", "month": float("nan") if n == 7 else 1} for n in range(30)]
    sample = [{"text": f"a bug {n}", "month": 2, "output": "bug"} for n in range(15)]
    with pytest.raises(InputError, match="row 8 of the corpus has nothing in 'month'"):
        task().share(corpus, sample, by="month")
    with pytest.raises(InputError, match="the corpus has no group '2'; it has '1'"):
        task().share([row for n, row in enumerate(corpus) if n != 7], sample, by="month")


def test_a_row_that_failed_counts_by_what_people_said() -> None:
    def at_times(request: Request) -> Any:
        return ServiceError("down") if " 3" in str(request.chat[-1].content) else said(request)

    rows = population()
    found = task(at_times).share(unlabelled(rows), sample(rows), max_errors=None)
    assert found.failed == sum(" 3" in row["text"] for row in rows)
    assert found.of("bug").low <= true_share(rows) <= found.of("bug").high
    assert any("got no answer" in note for note in found.notes)


def test_labelled_rows_beside_the_corpus_are_asked_too() -> None:
    rows, others = population(100), population(100, seed=5)
    for row in others:
        row["text"] = f"other {row['text']}"
    client = ScriptedClient(said)
    beside = task(client).share([row["text"] for row in rows], others[:50])
    assert len(client.requests) == 150
    assert beside.of("bug").low <= true_share(rows) <= beside.of("bug").high
    assert "50 labelled rows are not in the corpus" in str(beside)


def test_a_corpus_that_is_labelled_whole_is_known() -> None:
    rows = population(40)
    found = task().share(unlabelled(rows), rows).of("bug")
    assert found.low == found.value == found.high == true_share(rows)


def test_two_labels_for_one_row_are_refused() -> None:
    rows = population(40)
    with pytest.raises(InputError, match="labelled row 21 has 2 labels, and is 1 times in the corpus"):
        task().share(unlabelled(rows), [*rows[:20], {**rows[3], "id": "21"}, rows[4]][:21][::-1])


def test_the_command_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = population(60)
    corpus, labelled, out = tmp_path / "corpus.jsonl", tmp_path / "labelled.csv", tmp_path / "answers.jsonl"
    corpus.write_text("\n".join(json.dumps(row) for row in unlabelled(rows)), encoding="utf-8")
    lines = [f"{row['text']},{row['month']},{row['label']}" for row in rows[:30]]
    labelled.write_text("\n".join(["text,month,label", *lines]), encoding="utf-8")
    first, again = ScriptedClient(said), ScriptedClient(said)
    for client in (first, again):
        found = task(client).share(corpus, labelled, by="month", out=out)
        assert isinstance(found, Shares)
        assert found.of("bug").labelled == 30
    assert (len(first.requests), len(again.requests)) == (60, 0)
    assert main(["share", "sentiment", "--data", str(corpus), "--labelled", str(labelled), "--by", "week"]) == 2
    assert "label" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_tells_each_share_with_its_interval(
    form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = population(60)
    corpus, labelled, out = tmp_path / "corpus.csv", tmp_path / "labelled.csv", tmp_path / "answers.jsonl"
    corpus.write_text("\n".join(["text,month", *(f"{row['text']},{row['month']}" for row in rows)]), encoding="utf-8")
    lines = [f"{row['text']},{row['month']},{row['label']}" for row in rows[:30]]
    labelled.write_text("\n".join(["text,month,label", *lines]), encoding="utf-8")
    files = ["--data", str(corpus), "--labelled", str(labelled), "--out", str(out)]
    with answers(said):
        assert main(["share", "classify", "--labels", "bug,praise", *files, "--by", "month", "--quiet", *form]) == 0
    said_so = capsys.readouterr().out
    if form:
        found = {(each["label"], each["group"]): each for each in json.loads(said_so)["shares"]}
        assert found["bug", None]["low"] <= true_share(rows) <= found["bug", None]["high"]
        assert {group for _, group in found} == {None, "2026-05", "2026-06"}
    else:
        assert all(word in said_so for word in ("bug", "praise", "2026-05", "2026-06", "95%"))
    assert out.read_bytes().count(b"\n") == 60


def test_the_interval_of_a_rare_label_is_neither_empty_nor_outside() -> None:
    assert mid_p(0, 100) == pytest.approx((0, 0.02951), abs=1e-5)
    assert mid_p(100, 100) == pytest.approx((0.97049, 1), abs=1e-5)
    never = share_in([Stratum(10_000, 1.0, [LabelledRow(False, 0.0001)] * 100)], inside=True)
    assert (never.value, never.low) == (0, 0)
    assert never.high > 0.025
    always = share_in([Stratum(10_000, 9_990.0, [LabelledRow(True, 0.999)] * 30)], inside=True)
    assert always.low < 0.93
    assert always.high == 1


@pytest.mark.parametrize("seed", range(20))
def test_an_interval_holds_its_value_and_stays_between_none_and_all(seed: int) -> None:
    draw = random.Random(seed)
    strata = []
    for _ in range(draw.choice([1, 2])):
        labelled = [
            LabelledRow(draw.random() < 0.1, draw.random(), draw.choice([None, 0.01, 0.9]) and draw.random() + 0.01)
            for _ in range(draw.randint(1, 40))
        ]
        rows = draw.randint(len(labelled), 500)
        strata.append(Stratum(rows, draw.random() * rows, labelled))
    found = share_in(strata, inside=draw.random() < 0.5)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_half_a_corpus_labelled_tells_more_of_it_than_as_many_rows_beside_it() -> None:
    stratum = Stratum(100, 30.0, [LabelledRow(n < 15, 0.3) for n in range(50)])
    inside, beside = (share_in([stratum], inside=inside) for inside in (True, False))
    assert beside.high - beside.low > 1.5 * (inside.high - inside.low)


def test_a_difference_stays_between_its_ends() -> None:
    found = difference(Figure(0.0, 0.0, 0.03), Figure(1.0, 0.97, 1.0))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(1 - 0.0424, abs=1e-4)


def test_a_task_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="shares are those of labels"):
        Task.of("Sum it up.", "text", [("a", "b")], client=ScriptedClient("x")).share(["a"], [("a", "b")])
