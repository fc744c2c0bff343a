"""Models by name: from a small hub on loopback, checked, kept, and used without it afterwards."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fewshot.errors import ConfigError
from fewshot.models.endpoint import resolve
from fewshot.models.local import hub

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra 'hub' is not installed")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = b"GGUF and then the weights"


@dataclass
class Hub:
    """A hub with one model of two files."""

    files: dict[str, bytes] = field(default_factory=lambda: {"m-Q8_0.gguf": MODEL, "m-Q4_0.gguf": b"GGUF, smaller"})
    announced: str = ""
    """A hash to name for every file instead of the right one."""
    cut: bool = False
    """Break off in the middle of a file."""
    status: int = 200
    requests: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(there: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            there.requests.append(f"{self.command} {self.path}")
            if there.status != 200:
                self.send_response(there.status)
                self.send_header("X-Error-Code", "GatedRepo" if there.status == 403 else "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path.startswith("/api/models/"):
                siblings = [
                    {"rfilename": name, "size": len(data), "blobId": "0", "lfs": self.lfs(data)}
                    for name, data in there.files.items()
                ]
                about = {"id": "owner/m", "sha": COMMIT, "siblings": siblings, "cardData": {"license": "apache-2.0"}}
                self.reply(json.dumps(about).encode())
            else:
                data = there.files[self.path.rpartition("/")[2]]
                self.reply(data, etag=self.lfs(data)["sha256"])

        def lfs(self, data: bytes) -> dict[str, object]:
            return {"sha256": there.announced or sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}

        def reply(self, data: bytes, etag: str = "x") -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[:5] if there.cut and etag != "x" else data)
            self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        there.url = f"http://127.0.0.1:{server.server_port}"
        yield there
        server.shutdown()
        thread.join()


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub()) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", TEMPLATE.format(running.url))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield running


TEMPLATE = "{}/{{repo_id}}/resolve/{{revision}}/{{filename}}"


@pytest.mark.parametrize(
    ("name", "file"),
    [("owner/m", "m-Q8_0.gguf"), ("owner/m:q4_0", "m-Q4_0.gguf"), ("owner/m:m-Q4_0.gguf", "m-Q4_0.gguf")],
)
def test_a_model_is_fetched_once_and_then_used_without_the_hub(
    name: str, file: str, there: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub.fetched(name)
    assert path.read_bytes() == there.files[file]
    asked = len(there.requests)
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    assert hub.fetched(name) == path
    assert len(there.requests) == asked
    [found] = hub.known()
    assert (found.name, found.commit, found.file, found.licence) == (name, COMMIT, file, "apache-2.0")
    assert found.sha256 == sha256(there.files[file]).hexdigest()


def test_a_file_that_is_gone_is_fetched_again(there: Hub) -> None:
    path = hub.fetched("owner/m")
    path.resolve().unlink()
    assert hub.known() == []
    assert hub.fetched("owner/m").read_bytes() == MODEL


def test_a_file_with_another_hash_is_refused_and_removed(there: Hub, tmp_path: Path) -> None:
    there.announced = "0" * 64
    with pytest.raises(ConfigError, match="wrong hash"):
        hub.fetched("owner/m")
    assert [file for file in (tmp_path / "hub").rglob("*") if file.is_file() and file.read_bytes() == MODEL] == []
    there.announced = ""
    assert hub.fetched("owner/m").read_bytes() == MODEL


def test_a_download_that_breaks_off_is_told_and_can_be_tried_again(there: Hub) -> None:
    there.cut = True
    with pytest.raises(ConfigError, match=r"hf:owner/m cannot be fetched .* try again"):
        hub.fetched("owner/m")
    assert hub.known() == []
    there.cut = False
    assert hub.fetched("owner/m").read_bytes() == MODEL


@pytest.mark.parametrize(
    ("status", "advice"), [(403, "accepted its terms.*HF_TOKEN"), (404, "no model owner/m, or it is private")]
)
def test_a_model_that_may_not_be_had_says_what_to_do(status: int, advice: str, there: Hub) -> None:
    there.status = status
    with pytest.raises(ConfigError, match=advice):
        hub.fetched("owner/m")


def test_a_name_that_fits_several_files_lists_them(there: Hub) -> None:
    with pytest.raises(ConfigError, match=r"one of m-Q4_0\.gguf, m-Q8_0\.gguf"):
        hub.fetched("owner/m:gguf")
    with pytest.raises(ConfigError, match="does not name a model"):
        hub.fetched("owner")


def test_without_a_network_the_error_says_so(there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"cannot be fetched .*check the network"):
        hub.fetched("owner/m")


def test_offline_and_without_the_extra_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    with pytest.raises(ConfigError, match="FEWSHOT_OFFLINE is set: run once without it"):
        hub.fetched("owner/m")
    monkeypatch.delenv("FEWSHOT_OFFLINE")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install 'fewshot\[hub\]'"):
        hub.fetched("owner/m")


def test_a_name_of_a_hub_or_of_a_server_on_this_machine_is_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_MODEL", "hf:owner/m:Q8_0")
    assert (resolve().model, resolve().local) == ("hf:owner/m:Q8_0", True)
    served = resolve(model="ollama:qwen2.5:1.5b")
    assert (served.model, served.base_url, served.local) == ("qwen2.5:1.5b", "http://127.0.0.1:11434/v1", False)
    assert resolve(model="lmstudio:qwen").base_url == "http://127.0.0.1:1234/v1"
    assert resolve(model="ollama:m", base_url="http://gpu.internal:1/v1").base_url == "http://gpu.internal:1/v1"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    assert resolve(model="ollama:m").api_key == "none"
