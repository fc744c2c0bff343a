"""What is on disk: in order, whole, never of two runs, and put right after whatever happened to it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fewshot
from fewshot._storage import use_digests
from fewshot.bulk.checkpoint import Checkpoint, Saved, record_of
from fewshot.bulk.records import facts_of, json_bytes, key_of_row, line_of, result_of
from fewshot.errors import ConfigError, ServiceError
from fewshot.models.scripted import ScriptedClient
from fewshot.result import Result
from fewshot.task import Task
from fewshot.types import Completion, Usage

FACTS = {"task": "sentiment@1", "model": "m"}


def saved(position: int, text: str = "", *, failed: bool = False, cost: float = 0.0) -> Saved:
    line = json.dumps({"row": position, "text": text}).encode()
    return Saved(position, f"key {position}".encode(), line, failed, cost)


def lines(path: Path) -> list[int]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    return [json.loads(line)["row"] for line in data.split(b"\n")[:-1]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_rows_finished_out_of_turn_wait_for_theirs(out: Path) -> None:
    checkpoint = Checkpoint(out, FACTS)
    checkpoint.save([saved(1), saved(3)])
    assert lines(out) == []
    checkpoint.save([saved(0)])
    assert lines(out) == [0, 1]
    checkpoint.save([saved(4), saved(2)])
    assert lines(out) == [0, 1, 2, 3, 4]
    checkpoint.close()


def test_a_run_is_gone_on_with_where_it_was(out: Path) -> None:
    first = Checkpoint(out, FACTS)
    first.save([saved(0, cost=0.5), saved(2, cost=0.25)])
    first.close()
    second = Checkpoint(out, FACTS)
    done, equal = second.find(0, [b"key 0", b"key 1", b"key 2", b"key 3"])
    assert sorted(done) == [0, 2]
    assert equal == {}
    assert second.spent == 0.75
    second.save([saved(1)])
    second.close()
    assert lines(out) == [0, 1, 2]


def test_a_good_answer_to_an_equal_row_is_found(out: Path) -> None:
    checkpoint = Checkpoint(out, FACTS)
    checkpoint.save([saved(0), saved(1, failed=True)])
    _, equal = checkpoint.find(2, [b"key 0", b"key 1", *[f"other {i}".encode() for i in range(2000)]])
    assert sorted(equal) == [b"key 0"]
    checkpoint.close()


@pytest.mark.parametrize("tail", [b'{"row": 2, "te', b"\0" * 40, b'{"row": 7}\n', b"\n"])
def test_a_tail_that_is_torn_or_foreign_is_cut(out: Path, tail: bytes) -> None:
    first = Checkpoint(out, FACTS)
    first.save([saved(0), saved(1)])
    first.close()
    with out.open("ab") as file:
        file.write(tail)
    second = Checkpoint(out, FACTS)
    assert lines(out) == [0, 1]
    second.save([saved(2)])
    second.close()
    assert lines(out) == [0, 1, 2]


@pytest.mark.parametrize("left", [b"", b'{"row": 0', None])
def test_an_output_that_lost_its_end_is_made_whole(out: Path, left: bytes | None) -> None:
    first = Checkpoint(out, FACTS)
    first.save([saved(i) for i in range(5)])
    first.close()
    whole = out.read_bytes()
    out.unlink()
    if left is not None:
        out.write_bytes(left)
    Checkpoint(out, FACTS).close()
    assert out.read_bytes() == whole


def test_another_run_is_refused_and_what_changed_is_named(out: Path) -> None:
    Checkpoint(out, FACTS).close()
    with pytest.raises(ConfigError, match=r"model was m, is other.*--fresh"):
        Checkpoint(out, {**FACTS, "model": "other"})
    with pytest.raises(ConfigError, match="k was not given, is 3"):
        Checkpoint(out, {**FACTS, "k": "3"})


def test_other_rows_are_refused(out: Path) -> None:
    checkpoint = Checkpoint(out, FACTS)
    checkpoint.save([saved(0), saved(1)])
    with pytest.raises(ConfigError, match="row 2 of the input is not what it was"):
        checkpoint.find(0, [b"key 0", b"another"])
    checkpoint.close()


def test_starting_over_forgets_everything(out: Path) -> None:
    first = Checkpoint(out, FACTS)
    first.save([saved(0), saved(1)])
    first.close()
    second = Checkpoint(out, {**FACTS, "model": "other"}, fresh=True)
    assert (lines(out), second.find(0, [b"key 0"])) == ([], ({}, {}))
    second.close()


def test_a_file_that_is_not_ours_is_left_alone(out: Path) -> None:
    out.write_text("precious\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is there already"):
        Checkpoint(out, FACTS)
    assert out.read_text(encoding="utf-8") == "precious\n"
    assert not record_of(out).exists()


def test_a_record_that_is_none_is_named(out: Path) -> None:
    record_of(out).write_bytes(b"not a database, by far not a database" * 100)
    with pytest.raises(ConfigError, match="is not a run record"):
        Checkpoint(out, FACTS)


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        Checkpoint(tmp_path, FACTS)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot open .*nowhere.*see that the folder is there"):
        Checkpoint(tmp_path / "nowhere" / "out.jsonl", FACTS)


def test_two_processes_do_not_write_one_output(out: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fewshot.bulk.checkpoint import Checkpoint;"
        f"c = Checkpoint(Path({str(out)!r}), {FACTS!r}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError, match="another process is writing"):
            Checkpoint(out, FACTS)
        other.kill()  # and the lock of a dead process is no lock
    Checkpoint(out, FACTS).close()


def test_failed_rows_are_done_unless_they_are_wanted_again(out: Path) -> None:
    first = Checkpoint(out, FACTS)
    first.save([saved(0), saved(1, failed=True), saved(2)])
    assert sorted(first.find(0, [b"key 0", b"key 1", b"key 2"])[0]) == [0, 1, 2]
    first.close()
    again = Checkpoint(out, FACTS, retry=True)
    assert sorted(again.find(0, [b"key 0", b"key 1", b"key 2"])[0]) == [0, 2]
    again.save([saved(1, "right now")])
    again.finish()
    again.close()
    assert lines(out) == [0, 1, 2]
    assert b"right now" in out.read_bytes()


class FullDisk(sqlite3.Connection):
    """Fails at the nth statement from now on, as a disk does that is full."""

    left = 10_000

    def execute(self, *args: Any) -> Any:
        self._count()
        return super().execute(*args)

    def executemany(self, *args: Any) -> Any:
        self._count()
        return super().executemany(*args)

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise sqlite3.OperationalError("database or disk is full")


def _save_one_by_one(checkpoint: Checkpoint, positions: range) -> None:
    for position in positions:
        checkpoint.save([saved(position)])


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_full_disk_is_told_and_nothing_saved_is_lost(out: Path, nth: int) -> None:
    checkpoint = Checkpoint(out, FACTS)
    checkpoint.save([saved(0), saved(1)])
    checkpoint._store.close()
    full = sqlite3.connect(record_of(out), isolation_level=None, factory=FullDisk)
    use_digests(full)
    checkpoint._store = full
    full.left = nth
    with pytest.raises(ConfigError, match="disk is full"):
        _save_one_by_one(checkpoint, range(2, 6))
    checkpoint.close()
    again = Checkpoint(out, FACTS)
    done, _ = again.find(0, [f"key {i}".encode() for i in range(6)])
    assert {0, 1} <= done.keys()
    assert lines(out) == list(range(len(done)))
    again.close()


def test_an_output_that_cannot_grow_is_told(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(out, FACTS)

    def full(self: Checkpoint) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Checkpoint, "_append", full)
    with pytest.raises(ConfigError, match="No space left"):
        checkpoint.save([saved(0)])
    monkeypatch.undo()
    checkpoint.close()
    Checkpoint(out, FACTS).close()
    assert lines(out) == [0], "it was safe in the record"


# -- lines ----------------------------------------------------------------------------------------------------------


def task(**options: Any) -> Task[Any]:
    return fewshot.load("sentiment", client=ScriptedClient(lambda _: "positive"), **options)


def test_a_line_gives_its_result_back() -> None:
    (result,) = task().map(["I love it"])
    again = result_of(line_of(result, {"id": 7}), task())
    for name in (
        "value",
        "probabilities",
        "method",
        "model",
        "usage",
        "cost",
        "cached",
        "task",
        "inputs",
        "row",
        "error",
    ):
        assert getattr(again, name) == getattr(result, name)
    assert again.examples == result.examples
    assert json.loads(line_of(result, {"id": 7}))["id"] == 7


def test_a_failed_row_keeps_its_reason() -> None:
    result: Result[str] = Result(error=ServiceError("x.test is down: try later", transient=True), row=3)
    again = result_of(line_of(result, "text"), task())
    assert isinstance(again.error, ServiceError)
    assert str(again.error) == "x.test is down: try later"


def test_half_a_character_does_not_stop_the_writer() -> None:
    assert json.loads(json_bytes({"value": "a\ud800b"})) == {"value": "a\ufffdb"}
    assert json.loads(json_bytes({"value": "\u2028\x00"})) == {"value": "\u2028\x00"}
    assert b"\n" not in json_bytes({"value": "a\nb"})


def test_a_row_is_known_by_all_that_it_asks() -> None:
    translate = fewshot.load("translate")
    french, german = translate.using(target="French"), translate.using(target="German")
    keys = {key_of_row(t, {"text": text}) for t in (french, german) for text in ("a", "b", "\ud800")}
    assert len(keys) == 6
    assert key_of_row(french, {"text": "a"}) == key_of_row(translate.using(target="French"), {"text": "a"})


def test_every_setting_that_changes_answers_is_a_fact() -> None:
    from fewshot.models.connection import connect

    def facts(t: Task[Any]) -> dict[str, str]:
        return facts_of(t, asyncio.run(connect(t.settings)))

    plain = facts(task())
    for changed in ({"k": 2}, {"temperature": 0.5}, {"model": "x"}, {"seed": 3}, {"max_tokens": 5}, {"votes": 3}):
        assert facts(task(**changed)) != plain  # type: ignore[arg-type]
    for same in ({"timeout": 3.0}, {"max_retries": 1}):
        assert facts(task(**same)) == plain  # type: ignore[arg-type]
    assert facts(task().using(examples=[("I like it", "positive")]))["examples"] != plain["examples"]
    assert "sk-secret" not in str(facts(task(api_key="sk-secret")))


# -- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_ends_in_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"id": i, "text": f"I love row {i % 40}"} for i in range(60)]
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    client = ScriptedClient(lambda _: "positive")
    t = fewshot.load("sentiment", client=client)
    assert len(list(t.map(rows, out=whole))) == 60
    assert len(client.requests) == 40
    client.requests.clear()
    for _ in range(4):
        results = t.map(rows, out=parts, concurrency=2)
        for _ in range(5):
            next(results)
        results.close()  # type: ignore[attr-defined]
    assert [r.row for r in t.map(rows, out=parts)] == list(range(60))
    assert parts.read_bytes() == whole.read_bytes()
    assert len(client.requests) == 40


def test_closing_early_saves_what_was_in_flight(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    client = ScriptedClient(lambda _: "positive")
    t = fewshot.load("sentiment", client=client)
    results = t.map([f"row {i}" for i in range(1000)], out=out, concurrency=8)
    next(results)
    results.close()  # type: ignore[attr-defined]
    asked = len(client.requests)
    again = Checkpoint(out, facts_of(t, asyncio.run(_connected(t))))
    assert len(list(again.saved())) == asked
    again.close()


async def _connected(t: Task[Any]) -> Any:
    from fewshot.models.connection import connect

    return await connect(t.settings)


def test_a_row_that_failed_is_kept_and_asked_again_when_wanted(tmp_path: Path) -> None:
    out, good = tmp_path / "out.jsonl", False
    client = ScriptedClient(lambda r: "positive" if good or "row 3" not in r.messages[-1].content else "who knows")
    t = fewshot.load("sentiment", client=client, max_repairs=0)
    rows = [f"row {i}" for i in range(6)]
    assert [r.row for r in t.map(rows, out=out) if r.error] == [3]
    asked, good = len(client.requests), True
    assert [r.row for r in t.map(rows, out=out) if r.error] == [3], "a failed row is a result, too"
    assert len(client.requests) == asked
    assert [r.error for r in t.map(rows, out=out, retry_failed=True)] == [None] * 6
    assert len(client.requests) == asked + 1
    assert [json.loads(line)["value"] for line in out.read_bytes().split(b"\n")[:-1]] == ["positive"] * 6


def test_a_refused_account_is_no_result_and_the_same_call_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    refused = ServiceError("no credit left", status=429, code="insufficient_quota", account=True)
    pays = False
    client = ScriptedClient(lambda r: "positive" if pays or "row 1" not in r.messages[-1].content else refused)
    t = fewshot.load("sentiment", client=client)
    rows = [f"row {i}" for i in range(30)]
    with pytest.raises(ServiceError, match="the same call goes on"):
        list(t.map(rows, out=out, concurrency=1))
    pays = True
    assert [r.value for r in t.map(rows, out=out)] == ["positive"] * 30


def test_half_a_character_in_an_answer_is_saved_after_it_was_paid(tmp_path: Path) -> None:
    t = fewshot.load("summarize", client=ScriptedClient(lambda _: "so\ud800 what"))
    (result,) = t.map(["A long text."], out=tmp_path / "out.jsonl")
    assert result.error is None
    assert json.loads((tmp_path / "out.jsonl").read_bytes())["value"] == "so what"


def test_a_disk_that_fails_stops_the_run_and_reports_nothing_unsaved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, plain, calls = tmp_path / "out.jsonl", Checkpoint.save, []

    def save(self: Checkpoint, rows: Any, **more: Any) -> None:
        calls.append(rows)
        if len(calls) == 3:
            raise ConfigError("cannot write: No space left on device; see that there is room")
        plain(self, rows, **more)

    monkeypatch.setattr(Checkpoint, "save", save)
    t = task()
    seen: list[Result[Any]] = []
    with pytest.raises(ConfigError, match="No space left"):
        seen.extend(t.map([f"row {i}" for i in range(100)], out=out, concurrency=2))
    monkeypatch.undo()
    there = [json.loads(line)["row"] for line in out.read_bytes().split(b"\n")[:-1]]
    assert [r.row for r in seen] == there[: len(seen)]
    assert len(list(t.map([f"row {i}" for i in range(100)], out=out))) == 100


def test_the_bill_of_earlier_parts_counts(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    checkpoint = Checkpoint(out, FACTS)
    result: Result[str] = Result(value="x", row=0, cost=0.125, usage=Usage(5, 1))
    checkpoint.save([Saved(0, b"k", line_of(result, "x"), False, 0.125)])
    assert checkpoint.spent == 0.125
    checkpoint.close()


def test_a_row_that_is_asked_again_has_cost_both_times(out: Path) -> None:
    for retry, cost in ((False, 1.0), (True, 0.25)):
        checkpoint = Checkpoint(out, FACTS, retry=retry)
        checkpoint.save([Saved(0, b"k", b"{}", True, cost)])
        checkpoint.close()
    checkpoint = Checkpoint(out, FACTS)
    assert checkpoint.spent == 1.25
    checkpoint.close()


def test_a_budget_holds_over_all_parts_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prices.json").write_text('{"models": {"m": {"input": 0, "output": 1000000}}}')  # a dollar a token
    monkeypatch.setenv("FEWSHOT_PRICES", str(tmp_path / "prices.json"))
    client = ScriptedClient(lambda r: Completion(text="rubbish", usage=Usage(0, r.max_tokens or 0), model="m"))
    options: dict[str, Any] = {"client": client, "model": "m", "scoring": False, "max_tokens": 1, "max_repairs": 5}
    t = fewshot.Task.of("Which?", ["yes", "no"], **options)
    for _ in range(3):
        with pytest.raises(ServiceError, match=r"the budget of \$3 is spent"):
            list(t.map(["a"], out=tmp_path / "out.jsonl", max_cost=3))
    assert len(client.requests) == 3
