"""Which fit is in force is told, only the same prompt on the same model finds it, and it is measured again."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from known_clients import OWN, ROWS, Leaning

from fewshot import ConfigError, InputError, Task, cli, load
from fewshot.calibration.drift import Drift, drift, figures_of
from fewshot.calibration.goal import Judged
from fewshot.evaluation.calibrate import kept_calibration
from fewshot.models.connection import STAND_INS

NEW = [(text.replace("day", "week"), label) for text, label in ROWS[:100]]


def nice(**options: Any) -> Task[Any]:
    return Task.of(
        "Is it nice?", ["yes", "no"], OWN, name="nice", **{"k": 2, "model": "m", "client": Leaning()} | options
    )


@pytest.fixture
def client() -> Iterator[Leaning]:
    client = Leaning()
    STAND_INS.append(client)
    yield client
    STAND_INS.remove(client)


@pytest.fixture(scope="module")
def fitted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nice().calibrate(ROWS, risk=0.2).save(tmp_path_factory.mktemp("fitted") / "nice")


@pytest.fixture
def folder(fitted_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted_folder, tmp_path / "nice"))


def written(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text("".join(json.dumps({"text": t, "output": o}) + "\n" for t, o in rows), encoding="utf-8")
    return str(path)


def turned(rows: list[tuple[str, str]], share: float) -> list[tuple[str, str]]:
    """Give rows of which a share has the other label."""
    draw = random.Random(1)
    other = {"yes": "no", "no": "yes"}
    return [(text, other[label] if draw.random() < share else label) for text, label in rows]


def test_a_fit_that_is_as_it_was_has_not_drifted(
    folder: Path, client: Leaning, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(folder), "--fit", written(tmp_path / "new.jsonl", NEW), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["rows"], found["drifted"], found["off"]) == ("nice", len(NEW), False, {})
    assert [check["name"] for check in found["checks"]] == [
        "accuracy", "confidence above accuracy", "wrong among the answered",
    ]  # fmt: skip
    assert found["fit"] == f"{len(ROWS)} rows, by calibrate, fit.json"
    assert len(client.requests) == len(NEW)


def test_a_fit_that_has_drifted_ends_with_1_and_says_by_how_much(
    folder: Path, client: Leaning, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "new.jsonl", turned(NEW, 0.4))
    assert cli.main(["check", str(folder), "--fit", data]) == 1
    told = capsys.readouterr().out
    assert "p<0.001  drift" in told
    assert "wrong among the answered: 0.200 before, 0.3" in told
    assert told.endswith("it has drifted: calibrate again on rows like those\n")
    assert client.requests


@pytest.mark.parametrize(("share", "code"), [(0.0, 0), (0.4, 1)])
def test_recorded_answers_are_measured_and_nothing_is_asked(
    folder: Path, client: Leaning, tmp_path: Path, share: float, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    data, report, answers = (str(tmp_path / name) for name in ("new.jsonl", "report.json", "answers.jsonl"))
    written(Path(data), turned(NEW, share))
    assert cli.main(["eval", str(folder), "--data", data, "--out", report, "--json"]) == 0
    assert cli.main(["run", str(folder), "--file", data, "--out", answers, "--quiet"]) == 0
    capsys.readouterr()
    client.requests.clear()
    found = []
    for way in (["--fit", report], ["--fit", data, "--answers", answers]):
        assert cli.main(["check", str(folder), *way, "--json"]) == code
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["checks"] == found[1]["checks"]
    assert client.requests == []


def test_a_fit_that_does_not_hold_any_more_has_drifted(
    folder: Path, client: Leaning, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "new.jsonl", NEW)
    assert cli.main(["check", str(folder), "--fit", data, "--model", "other"]) == 1
    assert (
        f"does not hold for {len(NEW)} rows: it was fitted for another model (m, not other)" in capsys.readouterr().out
    )
    examples = folder / "examples.jsonl"
    examples.write_text(examples.read_text(encoding="utf-8").replace("plum", "pie"), encoding="utf-8")
    assert cli.main(["check", str(folder), "--fit", data]) == 1
    assert client.requests


@pytest.mark.usefixtures("client")
def test_show_tells_of_a_fit_that_is_off_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", str(folder)]) == 0
    assert f"fit in use: {len(ROWS)} rows, by calibrate, fit.json" in capsys.readouterr().err
    assert cli.main(["show", str(folder), "--model", "other"]) == 0
    assert "it was fitted for another model (m, not other): calibrate again" in capsys.readouterr().err


def test_answers_that_are_missing_or_of_another_model_are_told(
    folder: Path, client: Leaning, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, answers = written(tmp_path / "new.jsonl", NEW), str(tmp_path / "answers.jsonl")
    run = ["run", str(folder), "--out", answers, "--quiet", "--model", "other", "--file"]
    assert cli.main([*run, written(tmp_path / "few.jsonl", NEW[:60])]) == 0
    assert cli.main(["check", str(folder), "--fit", data, "--answers", answers]) == 2
    assert "has no answer to row 61" in capsys.readouterr().err
    assert cli.main(["check", str(folder), "--fit", str(tmp_path / "few.jsonl"), "--answers", answers]) == 1
    assert "the answers are of other, and it was fitted for m" in capsys.readouterr().out
    assert client.requests


def test_without_a_fit_there_is_nothing_to_measure(
    client: Leaning, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = nice().save(tmp_path / "nice")
    assert cli.main(["check", str(folder), "--fit", written(tmp_path / "new.jsonl", NEW)]) == 2
    assert "nice has no fit for this prompt and model" in capsys.readouterr().err
    assert client.requests == []


def test_an_open_answer_is_measured_by_what_was_promised(tmp_path: Path, client: Leaning) -> None:
    rows = [(f"{word} number {n}", str(n)) for n in range(40) for word in ("good", "bad")]
    task = Task.of("Say it.", "text", name="said", client=client, model="m")
    with pytest.raises(InputError, match="has no fit"):
        check(task, rows)
    found = check(task.calibrate([(text, "yes" if "good" in text else "no") for text, _ in rows], risk=0.2), rows)
    assert (found.rows, found.checks[0].now, found.drifted) == (80, 0.0, True)


def check(task: Task[Any], rows: Any) -> Drift:
    from fewshot import _background_loop as loop
    from fewshot.evaluation.fit_check import check_fit

    return loop.run(check_fit(task, rows))


@pytest.mark.usefixtures("client")
def test_a_kept_fit_is_told_in_results_by_show_and_by_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FEWSHOT_TEMPLATES", str(tmp_path))
    plain = nice()
    plain.save(tmp_path / "nice")
    assert load("nice").run("a good new day").fit == ""
    fitted = plain.calibrate(ROWS)
    assert fitted.run("a good new day").fit == f"{len(ROWS)} rows, by calibrate, in this process"
    kept_calibration(fitted)
    assert fitted.fitted is not None
    told = f"{len(ROWS)} rows, by calibrate, kept as calibrations/{fitted.fitted.key}.json in the cache folder"
    result = plain.run("a good new day")
    assert (result.fit, result.to_dict()["fit"]) == (told, told)
    assert result.probabilities == fitted.run("a good new day").probabilities
    assert cli.main(["show", "nice"]) == 0
    assert f"fit in use: {told}" in capsys.readouterr().err
    assert cli.main(["doctor", "--json"]) in (0, 2)
    facts = json.loads(capsys.readouterr().out)
    assert facts["fits kept"] == f"1 in {tmp_path / 'cache' / 'calibrations'}; nice on m: {told}"
    assert facts["task nice"] == "4 rows: 2 shots"
    assert check(plain, NEW).fit == told


CHANGES: dict[str, dict[str, Any]] = {
    "k": {"k": 1}, "model": {"model": "other"}, "other shots": {"examples": OWN[1:]},
    "order of shots": {"examples": OWN[::-1]}, "select": {"select": "random"}, "no shots": {"k": 0},
    "not calibrated": {"calibrate": False},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_kept_fit_is_found_by_nothing_else(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path))
    kept_calibration(nice().calibrate(ROWS[:40]))
    assert nice().run("a good new day").fit.startswith("40 rows, by calibrate, kept as ")
    changed = nice().using(**change).run("a good new day")
    assert (changed.fit, changed.calibration) == ("", "none")
    for labels in (["no", "yes"], ["yes", "no", "so"]):
        other = Task.of("Is it nice?", labels, OWN, client=Leaning(), k=2, model="m").run("a good new day")
        assert (other.fit, other.calibration) == ("", "none")


def test_a_fit_that_is_as_it_was_is_seldom_said_to_have_drifted() -> None:
    draw = random.Random(2)

    def drawn(count: int, too_sure: float) -> list[Judged]:
        sure = [0.5 + 0.5 * draw.random() ** 0.5 for _ in range(count)]
        return [Judged(chance, draw.random() < chance - too_sure) for chance in sure]

    told = {
        gap: sum(drift(drawn(80, gap), then=figures_of(drawn(100, 0.0))).drifted for _ in range(100))
        for gap in (0, 0.3)
    }
    assert told[0] <= 8
    assert told[0.3] >= 90


def test_a_bulk_run_whose_raw_mean_is_far_from_even_offers_to_correct_it(
    tmp_path: Path, client: Leaning, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = nice().save(tmp_path / "nice")
    data = str(tmp_path / "rows.jsonl")
    Path(data).write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in NEW), encoding="utf-8")

    def ran(*more: str) -> tuple[float, str]:
        """Give the share of right answers, and what was told."""
        assert cli.main(["run", str(folder), "--file", data, "--json", *more]) == 0
        out, err = capsys.readouterr()
        values = [json.loads(line)["value"] for line in out.splitlines()]
        return sum(value == label for value, (_, label) in zip(values, NEW, strict=True)) / len(NEW), err

    raw, told = ran()
    assert "the mean probabilities of 100 rows are far from even (no 0." in told
    assert "--recalibrate corrects that" in told
    corrected, told = ran("--recalibrate")
    assert "far from even" not in told
    assert corrected > raw + 0.2
    assert ran("--recalibrate", "--prior", "yes=0.1,no=0.9")[0] < corrected
    assert cli.main(["run", str(folder), "x", "--prior", "yes=0.1,no=0.9"]) == 2
    assert "--prior says how frequent labels are" in capsys.readouterr().err
    assert client.requests


def test_rows_without_labels_tell_of_the_bias_of_few_shots_with_their_own_share_of_labels() -> None:
    texts = [text for text, _ in NEW]
    few = nice(calibrate=False)
    raw, plain = ([one.run(t).value for t in texts] for one in (few, few.calibrate(unlabelled=texts[:30])))
    right = [label for _, label in NEW]
    assert sum(map(str.__eq__, plain, right)) > sum(map(str.__eq__, raw, right)) + 20
    fitted = few.calibrate(unlabelled=texts[:30]).fitted
    assert fitted is not None
    assert (fitted.fit and fitted.fit.calibration.name, fitted.figures) == ("batch", None)
    skewed = few.calibrate(unlabelled=texts[:30], prior={"yes": 0.05, "no": 0.95})
    assert [skewed.run(t).value for t in texts].count("yes") < plain.count("yes")
    both = few.calibrate(ROWS[:12], unlabelled=texts[:30])
    assert both.fitted is not None
    assert both.fitted.rows == 12


@pytest.mark.parametrize(
    ("output", "options", "told"),
    [
        (["yes", "no"], {"unlabelled": []}, "there are no unlabelled rows"),
        (["yes", "no"], {"unlabelled": ["a"], "risk": 0.1}, "a risk is promised on labelled ones"),
        ("number", {"unlabelled": ["a"]}, "has no labels"),
        (["yes", "no"], {}, "nothing to calibrate on"),
        (["yes", "no"], {"unlabelled": [{"texxt": "a"}]}, "has no 'text'|'text'"),
    ],
)
def test_unlabelled_rows_that_are_of_no_use_are_refused(output: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Task.of("Is it nice?", output, client=Leaning()).calibrate(**options)


def test_the_command_takes_a_file_without_labels(
    tmp_path: Path, client: Leaning, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = nice().save(tmp_path / "nice")
    (tmp_path / "more.txt").write_text("\n".join(text for text, _ in NEW[:30]), encoding="utf-8")
    words = ["--unlabelled", str(tmp_path / "more.txt"), "--json", "--write"]
    assert cli.main(["calibrate", str(folder), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["chosen"], found["figures"]) == ("batch", None)
    assert load(folder).run("a good new day").value == "yes"
    data = written(tmp_path / "rows.jsonl", ROWS[:12])
    assert cli.main(["calibrate", str(folder), "--data", data, *words]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 12
    assert cli.main(["calibrate", str(folder), "--json"]) == 2
    assert client.requests


def test_a_run_is_not_gone_on_with_after_a_fit_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path / "cache"))
    texts, out = [text for text, _ in NEW[:6]], tmp_path / "out.jsonl"
    list(nice().map(texts, out=out))
    assert len(list(nice().map(texts, out=out))) == 6
    kept_calibration(nice().calibrate(ROWS[:40]))
    with pytest.raises(ConfigError, match="calibration"):
        list(nice().map(texts, out=out))
