"""The Batch API: the same results in the same order as live, whatever the service or a crash does in between."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from batch_service import BatchServer, Crash, Service, error
from fault_server import Fault

from fewshot import ConfigError, InputError, ScriptedClient, ServiceError, Task
from fewshot.bulk.batch_api.files import lines_of
from fewshot.bulk.batch_api.run import BatchRun
from fewshot.bulk.batch_api.store import BatchStore
from fewshot.cli.main import main
from fewshot.data.columns import Columns, read_rows
from fewshot.data.tables import read_results, write_table
from fewshot.result import Result

ROWS = ["It is good.", "It is bad.", "", "It is good.", {"text": "A good one."}, "Hardly bad."]
VALUES = ["positive", "negative", None, "positive", "positive", "negative"]


@pytest.fixture
def service() -> Service:
    return Service()


def sentiment(service: Service, **options: Any) -> Task[str]:
    common: dict[str, Any] = {"client": service.client(), "model": "gpt-6-luna", "scoring": False, "max_retries": 0}
    return Task.of("Which?", ["positive", "negative"], [("Fine.", "positive")], **(common | options))


def finish(run: BatchRun[Any], **options: Any) -> list[Result[Any]]:
    assert run.fetch(wait=True, poll=0, **options).finished
    return list(run.results())


def test_every_row_has_its_result_in_its_place(service: Service, tmp_path: Path) -> None:
    run = BatchRun(sentiment(service), tmp_path / "run")
    status = run.submit(iter(ROWS))
    assert (status.rows, status.requests, status.finished) == (6, 4, False)
    results = finish(run)
    assert [result.value for result in results] == VALUES
    assert [result.row for result in results] == [0, 1, 2, 3, 4, 5]
    assert isinstance(results[2].error, InputError)
    assert service.live == 0


def test_results_are_those_of_live_calls_at_half_the_price(service: Service, tmp_path: Path) -> None:
    task = sentiment(service)
    run = BatchRun(task, tmp_path / "run")
    run.submit(["It is good."])
    [result] = finish(run)
    live = task.run("It is good.")
    kept = {"value", "probabilities", "confidence", "method", "raw", "model", "usage", "attempts", "task", "request"}
    assert {name: getattr(result, name) for name in kept} == {name: getattr(live, name) for name in kept}
    assert result.cost == pytest.approx((live.cost or 0) / 2)
    assert result.cost == pytest.approx((100 * 0.1 + 2 * 0.5) / 1e6 / 2)


def test_equal_rows_are_asked_and_paid_once(service: Service, tmp_path: Path) -> None:
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit(ROWS)
    results = finish(run)
    assert len(service.asked) == 4
    assert [(results[i].cached, results[i].cost) for i in (0, 3)] == [(False, pytest.approx(5.5e-6)), (True, 0.0)]


def test_a_run_is_split_at_the_limits(service: Service, tmp_path: Path) -> None:
    run = BatchRun(sentiment(service), tmp_path / "count", max_requests=2)
    assert [count for _, _, count in run.submit([f"good {i}" for i in range(5)]).batches] == [2, 2, 1]
    assert [result.value for result in finish(run)] == ["positive"] * 5
    line = min(len(data) for name, data in service.files.items() if name.startswith("file-"))
    small = BatchRun(sentiment(service), tmp_path / "bytes", max_bytes=2 * line + 1)
    assert [count for _, _, count in small.submit([f"good {i}" for i in range(5)]).batches] == [2, 2, 1]


def test_an_invalid_answer_is_asked_again_in_the_next_round(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, times: "positive" if "valid answer" in text or "bad" in text else "perhaps"
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit(["one", "bad two"])
    results = finish(run)
    assert [(result.value, len(result.completions)) for result in results] == [("positive", 2), ("positive", 1)]
    assert len(service.batches) == 2


def test_what_is_left_can_be_asked_live_at_the_full_price(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, times: "positive" if "valid answer" in text else "perhaps"
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit(["one"])
    [result] = finish(run, live=True)
    assert (result.value, service.live, len(service.batches)) == ("positive", 1, 1)
    assert result.cost == pytest.approx(11e-6 * 1.5)


def test_votes_go_into_the_same_batch(service: Service, tmp_path: Path) -> None:
    run = BatchRun(sentiment(service, votes=3), tmp_path / "run")
    assert run.submit(["good"]).requests == 3
    [result] = finish(run)
    assert (result.method, result.confidence, len(service.batches)) == ("votes", 1.0, 1)


def test_a_parameter_that_the_model_refuses_is_left_out_of_the_next_batch(service: Service, tmp_path: Path) -> None:
    refusal = error(400, "Unsupported parameter: 'seed' is not supported with this model.", param="seed")
    service.answer = lambda text, times: "positive" if times else refusal
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit(["one", "two"])
    assert [(result.value, result.dropped) for result in finish(run)] == [("positive", ("seed",))] * 2
    assert len(service.batches) == 2


def test_what_the_service_refuses_for_good_is_an_error_of_its_row(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, times: error(400, "no such thing") if "bad" in text else "positive"
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit(["good", "bad"])
    good, bad = finish(run)
    assert (good.value, good.error) == ("positive", None)
    assert isinstance(bad.error, ServiceError)
    assert (bad.error.status, bad.error.transient) == (400, False)
    service.answer = lambda text, times: "negative"
    run.submit(retry_failed=True)
    assert [result.value for result in finish(run)] == ["positive", "negative"]


def test_failures_that_may_pass_are_asked_again_and_end_at_some_time(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, times: error(500) if "bad" in text or not times else "positive"
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit(["good", "bad"])
    good, bad = finish(run)
    assert good.value == "positive"
    assert isinstance(bad.error, ServiceError)
    assert bad.error.status == 500
    assert len(service.batches) == 6


def test_an_expired_batch_is_sent_again_without_what_was_answered(service: Service, tmp_path: Path) -> None:
    service.end = lambda number: "completed" if number else "expired"
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit([f"good {i}" for i in range(4)])
    assert [result.value for result in finish(run)] == ["positive"] * 4
    assert len(service.asked) == 4


@pytest.mark.parametrize(
    "bend",
    [
        lambda lines: lines[1:],
        lambda lines: [*lines, lines[0].replace(b"positive", b"negative")],
        lambda lines: [lines[0].replace(b"-0-0", b"-999-0"), *lines],
        lambda lines: [lines[0].replace(b'"custom_id": "', b'"custom_id": "other-'), *lines],
        lambda lines: [*lines[:-1], lines[-1][:-30]],
        lambda lines: [b"null\n", b"[]\n", b'{"custom_id": 3}\n', b"\xff\n", *lines],
        lambda lines: [lines[0].replace(b'"choices"', b'"chances"'), *lines[1:]],
    ],
    ids=["missing", "twice", "strange", "foreign", "torn", "rubbish", "no choices"],
)
def test_hostile_files_lose_and_change_nothing(
    service: Service, tmp_path: Path, bend: Callable[[list[bytes]], list[bytes]]
) -> None:
    rounds = iter([bend])
    service.bend = lambda lines: next(rounds, lambda same: same)(lines)
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit([f"good {i}" for i in range(3)])
    assert [result.value for result in finish(run)] == ["positive"] * 3
    assert len(service.asked) <= 6


def test_a_batch_beyond_the_accounts_limit_is_made_smaller(service: Service, tmp_path: Path) -> None:
    service.end = lambda number: "completed" if number else "failed"
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit([f"good {i}" for i in range(5)])
    assert [result.value for result in finish(run)] == ["positive"] * 5
    assert [status[2] for status in run.status().batches] == [5, 2, 2, 1]


def test_a_cancelled_batch_stays_so_until_submit_is_called_again(service: Service, tmp_path: Path) -> None:
    service.end = lambda number: "completed" if number else "cancelled"
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit(["good"])
    for _ in range(2):
        with pytest.raises(ServiceError, match="cancelled"):
            run.fetch()
    run.submit()
    assert [result.value for result in finish(run)] == ["positive"]


def test_a_lost_reply_to_a_creation_does_not_create_a_second_batch(service: Service, tmp_path: Path) -> None:
    lost = iter([True])
    reply = service.reply

    def forgetful(request: httpx2.Request) -> tuple[int, Any]:
        status, body = reply(request)
        if request.method == "POST" and request.url.path.endswith("/batches") and next(lost, False):
            raise httpx2.ReadError("connection reset", request=request)
        return status, body

    service.reply = forgetful  # type: ignore[method-assign]
    run = BatchRun(sentiment(service, max_retries=2), tmp_path / "run")
    run.submit(["good"])
    assert [result.value for result in finish(run)] == ["positive"]
    assert len(service.batches) == 1


def crashing(service: Service, tmp_path: Path, place: int, after: bool) -> list[str | None]:
    """Run to the end, crashing once: before or after the service has done its n-th step."""
    run = BatchRun(sentiment(service), tmp_path / "run", max_requests=2)
    service.crash = (place, after)
    service.end = lambda number: "expired" if number == 1 else "completed"
    for step in (lambda: run.submit([f"good {i}" for i in range(4)]), lambda: run.fetch(wait=True, poll=0)):
        try:
            step()
        except Crash:
            step()
    return [result.value for result in run.results()]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", range(13))
def test_a_crash_at_any_step_loses_nothing_and_pays_nothing_twice(
    service: Service, tmp_path: Path, place: int, after: bool
) -> None:
    assert crashing(service, tmp_path, place, after) == ["positive"] * 4
    assert len(service.batches) == 3
    assert len(service.asked) == 4


def test_the_crashes_reach_every_step(service: Service, tmp_path: Path) -> None:
    crashing(service, tmp_path, 99, after=False)
    assert len(service.steps) == 13
    assert {step.split("/")[2] for step in service.steps} == {"files", "batches"}


def test_a_run_is_not_mixed_with_another(service: Service, tmp_path: Path) -> None:
    BatchRun(sentiment(service), tmp_path / "run").submit(["good"])
    with pytest.raises(ConfigError, match="temperature was"):
        BatchRun(sentiment(service, temperature=0.5), tmp_path / "run").submit(["good"])
    with pytest.raises(ConfigError, match="model was"):
        BatchRun(sentiment(service, model="other"), tmp_path / "run").fetch()
    with pytest.raises(ConfigError, match="rows are not those"):
        BatchRun(sentiment(service), tmp_path / "run").submit(["bad"])
    assert BatchRun(sentiment(service), tmp_path / "run").submit(["good"]).rows == 1
    assert len(service.batches) == 1


def test_an_id_is_kept_and_a_line_that_cannot_be_read_is_a_row_that_failed(service: Service, tmp_path: Path) -> None:
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit([{"text": "good", "id": "a7"}, InputError("line 2 is not JSON"), {"text": "bad", "output": "negative"}])
    finish(run)
    lines = [(json.loads(line), failed) for line, failed in run.lines()]
    assert [failed for _, failed in lines] == [False, True, False]
    assert (lines[0][0]["id"], lines[0][0]["row"], lines[0][0]["value"]) == ("a7", 0, "positive")
    assert lines[1][0]["error"] == {"type": "InputError", "message": "row 2: line 2 is not JSON"}


def test_two_processes_cannot_work_on_one_run(service: Service, tmp_path: Path) -> None:
    run = BatchRun(sentiment(service), tmp_path / "run")
    run.submit(["good", "bad"])
    finish(run)
    reading = run.results()
    next(reading)
    with pytest.raises(ConfigError, match="another process"):
        run.status()
    reading.close()
    assert run.status().finished


def test_a_run_of_another_version_is_refused_before_anything_is_asked(service: Service, tmp_path: Path) -> None:
    BatchRun(sentiment(service), tmp_path).submit(ROWS)
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as state:
        state.execute("pragma user_version = 1")
    with pytest.raises(ConfigError, match="another version of fewshot: finish it with that one"):
        BatchRun(sentiment(service), tmp_path).fetch()


def fill(folder: Path) -> None:
    """Store more rows than there is room for."""
    with BatchStore(folder) as store, store.transaction():
        store._db.execute("pragma max_page_count = 20")
        store.add_rows("a text that fills the disk" for _ in range(10_000))


def test_a_place_that_cannot_be_and_a_disk_that_is_full_are_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot open the batch run in .*file.run: Not a directory; see that"):
        BatchStore(tmp_path / "file" / "run")
    with pytest.raises(ConfigError, match=r"cannot write the batch run .*disk is full; see that .* has room"):
        fill(tmp_path / "run")
    with BatchStore(tmp_path / "run") as store:  # which can be gone on with
        assert store.count() == 0


def test_what_cannot_be_batched_is_said(tmp_path: Path, service: Service) -> None:
    scripted = Task.of("Which?", ["a", "b"], client=ScriptedClient())
    with pytest.raises(ConfigError, match="Batch API is a service's"):
        BatchRun(scripted, tmp_path / "a").submit(["x"])
    with pytest.raises(InputError, match="submit one first"):
        BatchRun(sentiment(service), tmp_path / "b").fetch()
    with pytest.raises(InputError, match="give its rows"):
        BatchRun(sentiment(service), tmp_path / "b").submit()
    with pytest.raises(InputError, match="a row must be"):
        BatchRun(sentiment(service), tmp_path / "c").submit([b"bytes"])
    run = BatchRun(sentiment(service), tmp_path / "d")
    run.submit(["good"])
    with pytest.raises(ConfigError, match="not finished"):
        next(run.results())


# -- behind real sockets: each step of a run has its own fault ---------------------------------------------------------

SUBMITS, FETCHES = ("upload", "create"), ("status", "download")
GOOD = [f"good {i}" for i in range(4)]


@pytest.fixture
def server(service: Service) -> Iterator[BatchServer]:
    with BatchServer(service) as serving:
        yield serving


def run_on(server: BatchServer, tmp_path: Path, **options: Any) -> BatchRun[str]:
    """A run of four rows in two batches."""
    common: dict[str, Any] = {"client": None, "base_url": server.base_url, "api_key": "sk-test", "max_retries": 3}
    if options.get("client") is not None:
        common["api_key"] = None  # it has its own
    return BatchRun(sentiment(server.service, **(common | options)), tmp_path / "run", max_requests=2)


def meet(server: BatchServer, run: BatchRun[str], step: str, fault: str | Fault, times: int = 1) -> None:
    """Make the call that meets the fault on this step."""
    if step in FETCHES:
        run.submit(GOOD)
    server.trouble(step, fault, times)
    if step in FETCHES:
        run.fetch(wait=True, poll=0)
    else:
        run.submit(GOOD)


def all_is_right_and_paid_once(service: Service, run: BatchRun[str]) -> bool:
    values = [result.value for result in finish(run)]
    return (
        values == ["positive"] * 4 and len(service.asked) == len(set(service.asked)) == 4 and len(service.batches) == 2
    )


@pytest.mark.parametrize("fault", ["html_200", "empty_body", "null_body", "error_200", "no_choices", "invalid_json"])
def test_what_says_200_and_is_no_file_of_replies_is_fetched_again_and_not_asked_again(
    service: Service, server: BatchServer, tmp_path: Path, fault: str
) -> None:
    run = run_on(server, tmp_path)
    meet(server, run, "download", fault)
    assert all_is_right_and_paid_once(service, run)


def test_a_file_that_is_cut_off_on_the_way_every_time_is_not_asked_again(
    service: Service, server: BatchServer, tmp_path: Path
) -> None:
    run = run_on(server, tmp_path)
    with pytest.raises(ServiceError, match="bytes of file batch_0-out came"):
        meet(server, run, "download", "invalid_json", times=9)
    server.calm()
    assert all_is_right_and_paid_once(service, run)


def test_a_service_that_does_not_tell_the_length_of_files_is_believed_the_second_time(
    service: Service, server: BatchServer, tmp_path: Path
) -> None:
    rounds = iter([lambda lines: lines[1:]])
    service.bend = lambda lines: next(rounds, lambda same: same)(lines)
    server.trouble("size", "404_path")
    run = run_on(server, tmp_path)
    run.submit(GOOD)
    assert [result.value for result in finish(run)] == ["positive"] * 4
    assert len(service.asked) == 5


@pytest.mark.parametrize("fault", ["unsolicited", "late_unsolicited"])
@pytest.mark.parametrize("step", [*SUBMITS, *FETCHES])
def test_a_reply_that_nobody_asked_for_is_not_taken_for_that_to_the_next_request(
    service: Service, server: BatchServer, tmp_path: Path, step: str, fault: str
) -> None:
    run = run_on(server, tmp_path)
    meet(server, run, step, fault, times=9)
    assert all_is_right_and_paid_once(service, run)


def test_what_the_service_tells_of_another_batch_is_not_believed(
    service: Service, server: BatchServer, tmp_path: Path
) -> None:
    run = run_on(server, tmp_path)
    other = {"id": "batch_1", "object": "batch", "status": "completed", "output_file_id": "batch_1-out"}
    meet(server, run, "status", (200, {}, json.dumps(other).encode()))
    assert all_is_right_and_paid_once(service, run)


@pytest.mark.parametrize("own_client", [False, True], ids=["", "own client"])
@pytest.mark.parametrize("fault", ["hang", "hang_after_headers", "slowloris"])
@pytest.mark.parametrize("step", [*SUBMITS, *FETCHES])
def test_a_service_that_is_silent_ends_the_call_at_its_deadline_and_the_next_call_goes_on(
    service: Service, server: BatchServer, tmp_path: Path, step: str, fault: str, own_client: bool
) -> None:
    client = openai.OpenAI(base_url=server.base_url, api_key="sk-test") if own_client else None
    run = run_on(server, tmp_path, timeout=0.5, client=client)
    with pytest.raises(ServiceError, match=r"no answer") as refused:
        meet(server, run, step, fault)
    assert refused.value.transient
    server.calm()
    run = run_on(server, tmp_path, client=client)
    run.submit()
    assert all_is_right_and_paid_once(service, run)


def test_a_clients_redirects_are_not_followed_with_the_texts(
    service: Service, server: BatchServer, tmp_path: Path
) -> None:
    run = run_on(server, tmp_path, client=openai.OpenAI(base_url=server.base_url, api_key="sk-test"))
    with pytest.raises(ServiceError) as refused:
        meet(server, run, "upload", "redirect")
    assert refused.value.status == 307
    assert server.tries.total() == 1
    assert service.files == {}


def test_a_batch_is_found_again_in_a_list_of_other_things(
    service: Service, server: BatchServer, tmp_path: Path
) -> None:
    run = run_on(server, tmp_path)
    others = [None, "batch", {"id": "batch_x", "created_at": 4_000_000_000}, {"id": "batch_y"}]
    page = json.dumps({"data": others, "has_more": True}).encode()
    server.trouble("find", (200, {}, page), times=2)
    meet(server, run, "create", "reset_after_work")
    assert all_is_right_and_paid_once(service, run)


@pytest.mark.parametrize("lost", ["file", "batch", "no file is named"])
def test_replies_that_are_gone_are_asked_for_again_only_on_request(
    service: Service, server: BatchServer, tmp_path: Path, lost: str
) -> None:
    service.gone = ("batch_0-out",) if lost == "file" else ("batch_0",) if lost == "batch" else ()
    rounds = iter([lambda lines: []]) if lost == "no file is named" else iter([])
    service.bend = lambda lines: next(rounds, lambda same: same)(lines)
    run = run_on(server, tmp_path, max_retries=0)
    run.submit(GOOD)
    for _ in range(2):
        with pytest.raises(ServiceError, match="retry_failed"):
            run.fetch()
        assert run.submit().replied == 2  # those of the other batch
    assert len(service.batches) == 2
    run.submit(retry_failed=True)
    assert [result.value for result in finish(run)] == ["positive"] * 4
    assert (len(service.asked), len(set(service.asked))) == (6, 4)


def test_replies_that_are_there_again_are_not_asked_for_again(
    service: Service, server: BatchServer, tmp_path: Path
) -> None:
    service.gone = ("batch_0-out",)
    run = run_on(server, tmp_path, max_retries=0)
    run.submit(GOOD)
    with pytest.raises(ServiceError, match="retry_failed"):
        run.fetch()
    service.gone = ()
    run.submit(retry_failed=True)
    assert all_is_right_and_paid_once(service, run)


def test_a_file_that_is_too_long_is_cut_off(service: Service, server: BatchServer, tmp_path: Path) -> None:
    run = run_on(server, tmp_path)
    meet(server, run, "download", "huge")
    assert all_is_right_and_paid_once(service, run)


def test_a_line_that_is_nested_too_deep_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    bodies = ["[" * depth + "]" * depth for depth in range(100, 3000, 25)]
    path.write_text("".join(f'{{"custom_id": "a", "response": {{"status_code": 200, "body": {b}}}}}\n' for b in bodies))
    assert len(list(lines_of(path))) == len(bodies)


# -- against the fault server, which is not a part of this checkout ---------------------------------------------------


@pytest.fixture
def chaos(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(shared / "servers"))
    from chaos import spawn  # type: ignore[import-not-found,unused-ignore]

    with spawn(seed=5) as server:
        yield server
    sys.modules.pop("chaos", None)


HOSTILE = [
    {"p_fail": 0.3},
    {"p_fail": 0.3, "fail_status": 429},
    {"expire": 0.5},
    {"drop": 0.3},
    {"dup": 0.5},
    {"foreign": 5},
    {"truncate_output": True},
    {"content_404": 2},
    {"p_fail": 0.1, "expire": 0.1, "drop": 0.1, "dup": 0.2, "foreign": 2, "truncate_output": True, "content_404": 1},
]


@pytest.mark.parametrize("trouble", HOSTILE, ids=lambda trouble: ",".join(trouble))
def test_the_results_are_those_of_live_calls_whatever_the_service_does(
    chaos: Any, tmp_path: Path, trouble: dict[str, Any]
) -> None:
    chaos.plan({"batch": {"polls_in_progress": 1, **trouble}})
    task = Task.of(
        "Which?", ["positive", "negative", "neutral"], base_url=chaos.base_url, api_key="sk-t", model="chaos-1"
    )
    rows = [f"I {'love' if i % 2 else 'hate'} it. Review {i}." for i in range(30)]
    run = BatchRun(task, tmp_path / "run", max_requests=20)
    run.submit(rows)
    chaos.plan({"batch": {"content_404": trouble.get("content_404", 0)}})  # a batch keeps the trouble it began with
    results = finish(run)
    chaos.plan({})
    wanted = [task.run(row) for row in rows]
    assert [(r.value, r.probabilities, r.error) for r in results] == [(w.value, w.probabilities, None) for w in wanted]
    assert results[0].cost is None  # nobody told a price


def test_the_command_goes_from_file_to_file(
    chaos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(json.dumps({"review": f"Review {i}.", "id": i}) + "\n" for i in range(5)))
    words = ["sentiment", "--base-url", chaos.base_url, "--model", "chaos-1", "--out", str(out)]
    assert main(["batch", "submit", *words, "--file", str(rows), "--map", "text=review", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 5
    assert main(["batch", "status", *words]) == 0
    assert main(["batch", "fetch", *words]) == 1
    for _ in range(5):
        code = main(["batch", "fetch", *words])
        if code == 0:
            break
    assert code == 0
    records = [json.loads(line) for line in out.read_text().split("\n") if line]
    assert [record["row"] for record in records] == [0, 1, 2, 3, 4]
    assert {record["error"] for record in records} == {None}


def test_results_of_a_batch_keep_the_columns_of_the_file(service: Service, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,Review,stars\n7,It is good.,5\n8,It is bad.,1\n", encoding="utf-8")
    task = sentiment(service)
    run = BatchRun(task, tmp_path / "run")
    run.submit(read_rows(tmp_path / "in.csv", Columns(task, {"text": "review"})))
    finish(run)
    write_table(tmp_path / "out.csv", lambda: (line for line, _ in run.lines()))
    found = read_results(tmp_path / "out.csv")
    assert [(row["id"], row["value"]) for row in found] == [("7", "positive"), ("8", "negative")]
    assert [row["inputs"] for row in found] == [
        {"Review": "It is good.", "stars": "5"},
        {"Review": "It is bad.", "stars": "1"},
    ]


def test_a_batch_refuses_results_with_an_ending_that_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", "submit", "sentiment", "--file", "rows.csv", "--out", str(tmp_path / "o.txt")]) == 2
    assert "results are not written as '.txt'" in capsys.readouterr().err
