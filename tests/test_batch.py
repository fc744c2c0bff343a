"""The Batch API: the same results in the same order as live, whatever the service or a crash does in between."""

from __future__ import annotations

import email
import email.policy
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from fewshot import ConfigError, InputError, ScriptedClient, ServiceError, Task
from fewshot.batch import BatchRun
from fewshot.cli import main
from fewshot.types import Result

URL = "http://127.0.0.1:9/v1"
ROWS = ["It is good.", "It is bad.", "", "It is good.", {"text": "A good one."}, "Hardly bad."]
VALUES = ["positive", "negative", None, "positive", "positive", "negative"]


class Crash(BaseException):
    """The process dies here."""


class Service:
    """A small Batch API, inside a transport: answers "positive" to what is good; every reply can be bent."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.live = 0
        self.steps: list[str] = []
        self.crash: tuple[int, bool] | None = None
        self.answer: Callable[[str, int], Any] = lambda text, times: "positive" if "good" in text else "negative"
        self.bend: Callable[[list[bytes]], list[bytes]] = lambda lines: lines[::-1]
        self.end: Callable[[int], str] = lambda number: "completed"

    def client(self) -> openai.OpenAI:
        transport = httpx2.MockTransport(self._handle)
        return openai.OpenAI(api_key="sk-test", base_url=URL, http_client=httpx2.Client(transport=transport))

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        step, number = f"{request.method} {request.url.path}", len(self.steps)
        self.steps.append(step)
        if self.crash == (number, False):
            raise Crash
        status, body = self._reply(request)
        if self.crash == (number, True):
            raise Crash
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx2.Response(status, content=content)

    def _reply(self, request: httpx2.Request) -> tuple[int, Any]:
        path = request.url.path.removeprefix("/v1")
        if path == "/files":
            return self._upload(request)
        if path == "/batches" and request.method == "POST":
            return 200, self._create(json.loads(request.content))
        if path == "/batches":
            return 200, {"object": "list", "data": list(self.batches.values())[::-1], "has_more": False}
        if path.startswith("/batches/"):
            return 200, self.batches[path.split("/")[2]]
        if path.endswith("/content"):
            return 200, self.files[path.split("/")[2]]
        self.live += 1
        return self._complete(json.loads(request.content))

    def _upload(self, request: httpx2.Request) -> tuple[int, Any]:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + request.read(), policy=email.policy.HTTP)
        [file] = [part for part in form.iter_parts() if part.get_filename()]  # type: ignore[attr-defined]
        assert file.get_filename().endswith(".jsonl")
        name = f"file-{len(self.files)}"
        self.files[name] = file.get_payload(decode=True)
        return 200, {"id": name, "object": "file", "purpose": "batch"}

    def _create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        number = len(self.batches)
        name, status = f"batch_{number}", self.end(number)
        good, bad = [], []
        lines = [json.loads(line) for line in self.files[wanted["input_file_id"]].split(b"\n") if line]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        if status in ("completed", "expired"):
            done = len(lines) if status == "completed" else len(lines) // 2
            for place, line in enumerate(lines):
                assert line["url"] == wanted["endpoint"]
                record: dict[str, Any] = {"custom_id": line["custom_id"], "response": None, "error": None}
                if place >= done:
                    record["error"] = {"code": "batch_expired", "message": "too late"}
                    bad.append(record)
                    continue
                code, body = self._complete(line["body"])
                record["response"] = {"status_code": code, "request_id": f"r{place}", "body": body}
                (good if code == 200 else bad).append(record)
        output = self.bend([json.dumps(record).encode() + b"\n" for record in good])
        self.files[f"{name}-out"], self.files[f"{name}-err"] = b"".join(output), b"\n".join(map(_dumped, bad))
        refused = {"data": [{"code": "token_limit_exceeded", "message": "too many"}]}
        self.batches[name] = {
            "id": name,
            "status": status,
            "created_at": 4_000_000_000,
            "metadata": wanted["metadata"],
            "output_file_id": f"{name}-out" if output else None,
            "error_file_id": f"{name}-err" if bad else None,
            "errors": refused if status == "failed" else None,
        }
        return self.batches[name]

    def _complete(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        text = body["messages"][-1]["content"]
        answer = self.answer(text, self.asked.count(text))
        self.asked.append(text)
        if isinstance(answer, tuple):
            return answer
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
        usage = {"prompt_tokens": 100, "completion_tokens": 2}
        return 200, {"choices": [choice], "usage": usage, "model": body["model"]}


def _dumped(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


def error(code: int, message: str = "no", **about: Any) -> tuple[int, dict[str, Any]]:
    return code, {"error": {"message": message, **about}}


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
        lambda lines: [],
        lambda lines: [*lines, lines[0].replace(b"positive", b"negative")],
        lambda lines: [lines[0].replace(b"-0-0", b"-999-0"), *lines],
        lambda lines: [lines[0].replace(b'"custom_id": "', b'"custom_id": "other-'), *lines],
        lambda lines: [*lines[:-1], lines[-1][:-30]],
        lambda lines: [b"null\n", b"[]\n", b'{"custom_id": 3}\n', b"\xff\n", *lines],
        lambda lines: [lines[0].replace(b'"choices"', b'"chances"'), *lines[1:]],
    ],
    ids=["missing", "none", "twice", "strange", "foreign", "torn", "rubbish", "no choices"],
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
    reply = service._reply

    def forgetful(request: httpx2.Request) -> tuple[int, Any]:
        status, body = reply(request)
        if request.method == "POST" and request.url.path.endswith("/batches") and next(lost, False):
            raise httpx2.ReadError("connection reset", request=request)
        return status, body

    service._reply = forgetful  # type: ignore[method-assign]
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
    rows = [f"Review {i}." for i in range(30)]
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
