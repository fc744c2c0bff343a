"""What is set in the environment and cannot be used: one of our errors that names it, and never a key anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from conftest import forget_clients
from fault_server import FaultServer, error

from fewshot import Task, load
from fewshot._storage import write_atomic
from fewshot.cli.main import main
from fewshot.cli.terminal import shown
from fewshot.errors import ConfigError, FewshotError, InputError, ServiceError
from fewshot.models.scripted import ScriptedClient
from fewshot.models.wire import audit

KEY = "sk-canary-SECRETSECRET"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_clients()
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as served:
        yield served


def caught(base_url: str, kind: type[FewshotError] = FewshotError) -> FewshotError:
    """Ask once, and give the error, which holds the key nowhere."""
    task = Task.of("{{ text }}", output=str, base_url=base_url, api_key=KEY, model="m", max_retries=0, timeout=5)
    with pytest.raises(kind) as found:
        task("x")
    assert KEY not in told(found.value)
    return found.value


def told(problem: BaseException) -> str:
    """Give all that a traceback with locals shows of an error, and of what it hangs on."""
    shown = [str(problem), repr(problem), repr(vars(problem)), *traceback.format_exception(problem)]
    for each in (problem, problem.__cause__, problem.__context__):
        shown += [repr(value) for value in locals_of(each.__traceback__ if each else None)]
    return "\n".join(shown)


def locals_of(trace: TracebackType | None) -> Iterator[object]:
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            yield from trace.tb_frame.f_locals.values()
        trace = trace.tb_next


@pytest.mark.parametrize("wire", ["direct", "plain"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", "/tmp"),
        ("SSL_CERT_FILE", __file__),
        ("OPENAI_ORG_ID", "org-1\n"),
        ("OPENAI_ORG_ID", "örg"),
        ("OPENAI_CUSTOM_HEADERS", "Content-Length: 3"),
        ("OPENAI_CUSTOM_HEADERS", "Transfer-Encoding: chunked"),
    ],
)
def test_what_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, wire: str, name: str, value: str) -> None:
    monkeypatch.setenv("FEWSHOT_WIRE", wire)
    monkeypatch.setenv(name, value)
    found = caught("https://127.0.0.1:9/v1")
    assert isinstance(found, ConfigError | ServiceError)
    assert isinstance(found, ServiceError) or name in str(found)


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:9", "foo://x", "http://127.0.0.1:99999", "http://[::1", "http://u:p w@:0"]
)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_an_odd_proxy_is_named_and_its_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, proxy: str
) -> None:
    monkeypatch.setenv(name, proxy)
    found = caught("http://far.internal/v1")
    assert "proxy" in str(found).lower() or name in str(found)
    assert "p w" not in told(found)


def test_a_proxy_of_others_does_not_matter_to_a_host_that_needs_none(
    monkeypatch: pytest.MonkeyPatch, server: FaultServer
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    task = Task.of("{{ text }}", output=str, base_url=server.base_url, model="m")
    assert task("x").startswith("answer to")


def test_a_proxy_that_wants_a_password_ends_a_run(server: FaultServer) -> None:
    server.play((407, {}, b""))
    found = caught(server.base_url, ServiceError)
    assert isinstance(found, ServiceError)
    assert found.account
    assert "proxy" in str(found)


@pytest.mark.parametrize("status", [201, 202, 206])
def test_any_good_status_with_an_answer_is_an_answer(server: FaultServer, status: int) -> None:
    answer = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}], "id": f"of {status}"}
    server.play((status, {}, json.dumps(answer).encode()))
    task = Task.of("{{ text }}", output=str, base_url=server.base_url, model="m", max_retries=0)
    assert task("x") == "fine"
    assert len(server.requests) == 1


@pytest.mark.parametrize("wire", ["direct", "plain"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error("no", code=KEY, param=KEY)),
        (401, error(f"Incorrect API key provided: {KEY}", code=KEY)),
        (200, error(f"not with {KEY}")),
        (200, f"<html>{KEY}</html>".encode()),
        (200, b'{"choices": [{"message": {"content": 5, "x": "' + KEY.encode() + b'"}}]}'),
        (500, KEY.encode()),
    ],
)
def test_a_key_that_a_service_sends_back_is_nowhere(
    monkeypatch: pytest.MonkeyPatch, server: FaultServer, wire: str, status: int, body: bytes
) -> None:
    monkeypatch.setenv("FEWSHOT_WIRE", wire)
    server.play(*[(status, {}, body)] * 9)
    caught(server.base_url)


def test_a_device_or_a_pipe_is_no_output_and_nothing_is_asked(tmp_path: Path, server: FaultServer) -> None:
    server.play()
    task = Task.of("{{ text }}", output=str, base_url=server.base_url, model="m")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for out in (tmp_path / "pipe", Path("/dev/null"), tmp_path / "loop", ""):
        with pytest.raises((ConfigError, InputError)):
            list(task.map(["x"], out=out))
    assert server.requests == []


def test_two_names_of_one_output_are_one_run(tmp_path: Path, server: FaultServer) -> None:
    server.play()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    task = Task.of("{{ text }}", output=str, base_url=server.base_url, model="m")
    for name in ("link.jsonl", "real.jsonl"):
        assert [result.error for result in task.map(["x"], out=tmp_path / name)] == [None]
    assert len(server.requests) == 1
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text(encoding="utf-8").split("\n")) == 2


def test_a_request_that_is_refused_for_every_row_ends_the_run(server: FaultServer) -> None:
    server.play(*[(404, {}, b"<h1>nothing here</h1>")] * 500)
    task = Task.of("{{ text }}", output=str, base_url=server.base_url, model="m")
    with pytest.raises(ServiceError, match="every row seems to end so"):
        list(task.map(map(str, range(500)), concurrency=4))
    assert len(server.requests) < 40


@pytest.mark.parametrize("tokens", [10**12, 10**400, -5, 1e12])
def test_an_absurd_count_of_tokens_stops_nothing(server: FaultServer, tokens: float) -> None:
    usage = {"prompt_tokens": tokens, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99_999}}
    answer = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}], "usage": usage}
    server.play(*[(200, {}, json.dumps(answer).encode())] * 3)
    task = Task.of("{{ text }}", output=str, base_url=server.base_url, model="m")
    results = list(task.map(["a", "b", "c"], tpm=1_000_000, rpm=6000))
    assert [(result.value, result.usage.cached_tokens) for result in results] == [("fine", 0)] * 3


def test_what_works_unseen_on_a_terminal_is_written_out() -> None:
    text = "a\x1b]0;x\x07\x9b31m\u202eb\u2066\r\nc\t한"
    assert shown(text) == "a\\x1b]0;x\\x07\\x9b31m\\u202eb\\u2066\\r\nc\t한"


def test_an_audit_record_on_a_full_disk_is_whole_or_not_there(tmp_path: Path) -> None:
    file = str(tmp_path / "audit")
    audit.sent(file, "host", "/path", b"first")
    before = (tmp_path / "audit").read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, old[1]))
    try:
        with pytest.raises(ConfigError, match="nothing is sent"):
            audit.sent(file, "host", "/path", b"second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "audit").read_bytes() == before


ODD: tuple[Any, ...] = (
    None,
    "",
    "sk-abcdefghijkl",
    b"b",
    0,
    -1,
    1.5,
    10**400,
    [],
    {},
    [None],
    [[]],
    object(),
    "\ud800",
)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:12])
def test_an_argument_of_a_wrong_kind_is_an_error_of_ours(odd: Any) -> None:
    client = ScriptedClient(lambda _: "positive")
    labels: Any = ["positive", "negative"]
    tries: list[Callable[[], object]] = [
        lambda: load(odd),
        lambda: load("sentiment", examples=odd, client=client)("x"),
        lambda: load("sentiment", output=odd, client=client)("x"),
        lambda: Task.of(odd, output=str, client=client)("x"),
        lambda: Task.of("{{ text }}", output=odd, client=client)("x"),
    ]
    for name in ("examples", "name", "inputs", "parameters", "k", "timeout", "select", "form", "redact"):
        tries.append(lambda name=name: Task.of("{{ text }}", output=labels, client=client, **{name: odd})("x"))  # type: ignore[misc]
    for attempt in tries:
        with contextlib.suppress(FewshotError):  # any of ours; another one fails the test
            attempt()
    assert len(tries) == 14


@pytest.mark.parametrize("words", [["tasks"], ["show", "evil"], ["run", "evil", "--file", "\x1b[2J.csv"]])
def test_what_a_folder_or_a_name_holds_moves_no_cursor(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "templates" / "evil"
    folder.mkdir(parents=True)
    told = 'description = "\\u001b]0;x\\u0007\\u202e"\noutput = ["\\u001b[31myes", "\\u009bno"]\n'
    (folder / "task.toml").write_text(told, encoding="utf-8")
    prompt = "{% block instruction %}\x1b[2J{% endblock %}{% block input %}{{ text }}{% endblock %}"
    (folder / "prompt.jinja").write_text(prompt + "{% block output %}{{ output }}{% endblock %}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    main(words)
    seen = "".join(capsys.readouterr())
    assert "\\x1b" in seen
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(seen)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of Unix")
def test_an_audit_log_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "audit")
    with pytest.raises(ConfigError, match="nothing is sent"):
        audit.sent(str(tmp_path / "audit"), "host", "/chat", b"{}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of Unix")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_never_replaced_by_one(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "there"
    {"pipe": os.mkfifo, "device": lambda p: p.symlink_to("/dev/null"), "folder": Path.mkdir}[kind](place)
    before = place.stat().st_mode
    with pytest.raises(OSError, match="regular file"), write_atomic(place):
        raise AssertionError("this is not reached")
    assert place.stat().st_mode == before
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
