"""Ray Data on a real local cluster: two workers, one of them killed; and the rate of one worker by itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fewshot import ConfigError, InputError, ScriptedClient, ServiceError, Task
from fewshot.integrations.partition import COLUMNS, Partition, inputs_of, record_of
from fewshot.integrations.ray import TaskRunner, _limited
from fewshot.models.client import ClientWrapper
from fewshot.models.connection import Connection
from fewshot.models.endpoint import Endpoint
from fewshot.models.rate_limits import Limits
from fewshot.result import Result

ROOT = Path(__file__).resolve().parents[1]
TASK = Task.of("Which?", ["positive", "negative", "neutral"])


def test_an_answer_has_the_same_columns_of_the_same_types_whatever_came_of_it() -> None:
    outcomes: list[Result[Any]] = [
        Result(value="positive", confidence=0.5, probabilities={"positive": 0.5}, cost=0.1),
        Result(value={"a": [1]}),
        Result(value=3.5),
        Result(abstained=True),
        Result(error=ServiceError("no")),
    ]
    for outcome in outcomes:
        record = record_of(outcome)
        assert {name: type(value) for name, value in record.items()} == dict(COLUMNS)
    assert record_of(outcomes[1], "x_")["x_value"] == '{"a": [1]}'
    assert record_of(outcomes[4])["error"] == "ServiceError: no"


def test_inputs_are_pythons_own_and_missing_ones_are_none() -> None:
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    row = {"text": np.str_("a"), "id": 3}
    assert inputs_of(TASK, row) == {"text": "a"}
    assert inputs_of(TASK, {"text": float("nan")}) == {"text": None}


def test_what_travels_holds_no_secret() -> None:
    for options in ({"api_key": "sk-secret-1"}, {"client": ScriptedClient()}):
        with pytest.raises(ConfigError, match="environment of the workers"):
            Partition(TASK.using(**options))


def test_a_bad_row_is_a_row_with_an_error() -> None:
    answered = asyncio.run(TaskRunner(TASK)({"id": "7", "text": ""}))
    assert (answered["id"], answered["answer_value"]) == ("7", "")
    assert answered["answer_error"].startswith(InputError.__name__)


def test_each_worker_keeps_to_its_share_of_the_rate() -> None:
    async def one_row() -> tuple[str, float, int]:
        runner = TaskRunner(TASK.using(client=ScriptedClient("positive"), scoring=False), rpm=30)
        answered = await runner({"text": "Fine."})
        assert runner._connected is not None
        _, limits = await runner._connected
        return answered["answer_value"], limits._seconds_to_wait(), limits.busy

    value, seconds, busy = asyncio.run(one_row())
    assert (value, busy) == ("positive", 0)
    assert 0 < seconds <= 60 / 30


def test_the_rates_of_a_cascade_are_those_of_one_worker() -> None:
    limits = Limits(rpm=30)
    second = Connection(ScriptedClient(), Endpoint(model="b"), "b")
    found = _limited(Connection(ScriptedClient(), Endpoint(model="a"), "a", further=second), limits)
    assert found.further is not None
    assert all(isinstance(one.client, ClientWrapper) for one in (found, found.further))


def test_a_partition_of_frames_and_of_dicts(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    monkeypatch.syspath_prepend(str(shared / "servers"))
    from chaos import spawn

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with spawn() as server:
        task = Task.of("Say it.", "text", base_url=server.base_url, model="chaos-1")  # its answers are not labels
        partition = Partition(task)
        frame = pd.DataFrame({"text": ["It is fine.", ""], "n": [1, 2]}, index=[5, 3])
        found = partition(frame)
        [again] = partition.over_frames([frame])
        rows = list(partition.over_rows([{"text": "It is fine.", "n": 1}, {"text": "", "n": 2}]))
    assert list(found.index) == [5, 3]
    assert list(found.columns) == ["text", "n", *partition.columns]
    assert found.loc[5, "answer_value"] == again.loc[5, "answer_value"] == rows[0]["answer_value"] != ""
    assert found.loc[3, "answer_error"] == rows[1]["answer_error"]
    assert rows[1]["answer_error"].endswith("text is empty; give it some text")


# -- a real cluster ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    module = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    environment = {
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": "sk-test",
        "FEWSHOT_CACHE_DIR": str(tmp_path_factory.mktemp("c")),
    }
    module.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env={"env_vars": environment},
    )
    yield module
    module.shutdown()


@pytest.fixture
def chaos(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(shared / "servers"))
    from chaos import spawn

    with spawn(seed=2, plan={"latency_ms": 40}) as server:
        yield server
    sys.modules.pop("chaos", None)


def table(folder: Path, count: int) -> Path:
    rows = [{"id": f"r{i:04d}", "text": "" if i == 5 else f"Review number {i}."} for i in range(count)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def workers() -> list[int]:
    """Find the processes of our own cluster that answer rows."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ray::") and b"TaskRunner" in command and _is_ours(int(folder.name)):
            found.append(int(folder.name))
    return found


def _is_ours(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the worker")
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_costs_one_block_and_no_row(ray: Any, chaos: Any, tmp_path: Path) -> None:
    from fewshot.integrations.ray import label

    task = TASK.using(base_url=chaos.base_url, model="chaos-1")
    rows = ray.data.read_json(str(table(tmp_path, 600)), lines=True)
    answers = label(rows, task, workers=2, checkpoint=str(tmp_path / "checkpoint"))
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            if chaos.stats()["good_answers_sent"] >= 150 and (pids := workers()):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    answers.write_parquet(str(tmp_path / "out"))
    killer.join()
    assert len(killed) == 1
    found = {row["id"]: row for row in ray.data.read_parquet(str(tmp_path / "out")).take_all()}
    assert sorted(found) == [f"r{i:04d}" for i in range(600)]
    assert ray.data.read_parquet(str(tmp_path / "out")).count() == 600
    assert [name for name, row in found.items() if row["answer_error"]] == ["r0005"]
    assert {row["answer_value"] for name, row in found.items() if name != "r0005"} <= {
        "positive",
        "negative",
        "neutral",
    }
    paid = chaos.stats(detail=True)["per_text"].values()
    assert sum(text["billed"] for text in paid) <= 599 + 2 * 25


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_rate_is_shared_by_the_workers(ray: Any, chaos: Any, tmp_path: Path) -> None:
    from fewshot.integrations.ray import label

    task = TASK.using(base_url=chaos.base_url, model="chaos-1")
    rows = ray.data.read_json(str(table(tmp_path, 120)), lines=True)
    context = ray.data.DataContext.get_current()
    context.checkpoint_config = None
    answers = label(rows, task, workers=2, rpm=1200, rows_per_block=10).take_all()
    assert len(answers) == 120
    times = sorted(entry["t"] for entry in chaos.log() if entry.get("path", "").endswith("completions"))
    busiest = max(sum(start <= t < start + 2 for t in times) for start in times)
    assert busiest <= 2 * 20 + 15
    assert times[-1] - times[0] >= 119 / 20 - 1.5
