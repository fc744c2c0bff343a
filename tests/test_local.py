"""The embedded server: one for each model and process, behind a key, the same bits each time, and a quiet end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fewshot import ConfigError
from fewshot.models.local import server as local

embedded = pytest.mark.usefixtures("embedded")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="forking a process with threads is for Linux")

PRELUDE = """
import json, os, signal, sys, threading, time, urllib.request
from fewshot.models.local import server as local

def ask(server, prompt, tokens):
    body = json.dumps({"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}).encode()
    headers = {"Authorization": "Bearer " + server.api_key, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(server.base_url + "/completions", body, headers)) as reply:
        return json.load(reply)["choices"][0]["text"]

def work_on_something_long(server):
    def work():
        try:
            ask(server, "Once upon a time", 8000)
        except OSError:
            pass
    threading.Thread(target=work, daemon=True).start()
    slots = urllib.request.Request(server.base_url[:-3] + "/slots")
    slots.add_header("Authorization", "Bearer " + server.api_key)
    while not json.load(urllib.request.urlopen(slots))[0]["is_processing"]:
        time.sleep(0.02)
"""


def ask(server: local.LocalServer, path: str, body: dict[str, Any] | None = None, *, key: str | None = None) -> Any:
    """Send a request as any client would."""
    request = urllib.request.Request(server.base_url + path, None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {server.api_key if key is None else key}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def run(code: str, *, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a program that uses the embedded model, to its end."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.mark.local
@embedded
def test_a_server_is_started_once_also_by_many_threads_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        servers = list(pool.map(lambda _: local.serve(), range(8)))
    assert all(server is servers[0] for server in servers)
    assert servers[0].base_url.startswith("http://127.0.0.1:")
    assert servers[0].model == ask(servers[0], "/models")["data"][0]["id"] == "SmolLM2-135M-Instruct"


@pytest.mark.local
@embedded
def test_the_key_is_needed_and_does_not_show() -> None:
    server = local.serve()
    assert server.api_key not in repr(server)
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        ask(server, "/completions", {"prompt": "x"}, key="guessed")
    refused.value.close()


@pytest.mark.local
@embedded
def test_a_second_server_gives_embeddings() -> None:
    server = local.serve_embeddings()
    assert server is local.serve_embeddings()
    assert server.base_url != local.serve().base_url
    vectors = [
        row["embedding"] for row in ask(server, "/embeddings", {"input": ["a good film", "a great movie"]})["data"]
    ]
    assert [sum(x * x for x in vector) for vector in vectors] == pytest.approx([1, 1], abs=1e-3)


@pytest.mark.local
@embedded
def test_a_program_that_ends_while_the_model_works_ends_at_once_and_quietly() -> None:
    done = run("work_on_something_long(local.serve()); print('done')")
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.local
@embedded
@on_linux
def test_ctrl_c_ends_a_program_while_the_model_works() -> None:
    done = run("work_on_something_long(local.serve()); os.kill(os.getpid(), signal.SIGINT); time.sleep(60)")
    assert done.returncode == -signal.SIGINT
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"


@pytest.mark.local
@embedded
@on_linux
@pytest.mark.parametrize("child", ["pass", "assert ask(local.serve(), 'a', 1); work_on_something_long(local.serve())"])
def test_a_forked_child_has_a_server_of_its_own_and_ends_with_its_own_exit_code(child: str) -> None:
    done = run(f"""
before = local.serve()
if not (pid := os.fork()):
    {child}
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), local.serve() is before, bool(ask(before, "a", 1)))
""")
    assert (done.stdout, done.stderr, done.returncode) == ("7 True True\n", "", 0)


@pytest.mark.local
@embedded
def test_a_program_that_ends_as_soon_as_the_model_is_there_ends_quietly() -> None:
    done = run("local.serve(); print(os.environ.get('OMP_WAIT_POLICY'))", timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("None\n", "", 0)


@pytest.mark.local
@pytest.mark.parametrize(
    ("content", "complaint"), [(b"not a model", "is not a GGUF model file"), (b"GGUF and rubbish", "cannot load")]
)
def test_a_file_that_is_no_model_is_named(
    content: bytes, complaint: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("xllamacpp", reason="the extra 'local' is not installed")
    file = tmp_path / "mine.gguf"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{file}.*{complaint}|{complaint} {file}"):
        local.serve(str(file))
    assert capfd.readouterr() == ("", "")


@pytest.mark.local
@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra 'local' is not installed")
    with pytest.raises(ConfigError, match="cannot be read"):
        local.serve(str(tmp_path / name))


@pytest.mark.parametrize(
    ("error", "advice"),
    [("ModuleNotFoundError('no')", r"pip install 'fewshot\[local\]'"), ("ImportError('libgomp.so.1')", "libgomp1")],
)
def test_a_missing_extra_is_told_from_one_that_cannot_be_loaded(
    error: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xllamacpp.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    monkeypatch.setattr(local, "_running", {})
    with pytest.raises(ConfigError, match=advice):
        local.serve()
