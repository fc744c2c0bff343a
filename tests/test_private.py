"""What leaves the machine: nothing when offline, what was meant otherwise, and never a key where it can be read."""

from __future__ import annotations

import json
import pickle
import stat
import subprocess
import sys
import traceback
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest

from fewshot import ServiceError, classify_sentiment
from fewshot._storage import cache_dir
from fewshot.models.endpoint import resolve
from fewshot.models.openai_client import OpenAIClient
from fewshot.models.wire.service_errors import redacted

KEY = "sk-canary-0123456789abcdef"
WATCH = """
import sys
seen = []
def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        seen.append(args[1][0])
    if event == "socket.getaddrinfo":
        seen.append(args[0])
sys.addaudithook(watch)
from fewshot import ConfigError, classify_sentiment
print(classify_sentiment("I love this phone."))
try:
    classify_sentiment("x", base_url="https://example.test/v1", api_key="k")
except ConfigError as error:
    print("refused:", error)
outside = [host for host in seen if host not in ("127.0.0.1", "localhost", "::1", None)]
print("outside:", outside)
"""


def test_the_cache_folder_and_those_in_it_are_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path / "cache"))
    made = cache_dir("answers", "deep")
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (made, *made.parents[:2])] == [0o700] * 3


@pytest.mark.local
@pytest.mark.usefixtures("embedded")
def test_offline_opens_no_socket_to_anywhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, cwd=tmp_path, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] in ("positive", "negative", "neutral")
    assert lines[1].startswith("refused: FEWSHOT_OFFLINE is set")
    assert lines[2] == "outside: []"


def test_the_audit_log_holds_exactly_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "audit.jsonl"
    monkeypatch.setenv("FEWSHOT_AUDIT", str(log))
    options = {"base_url": "http://127.0.0.1:9/v1", "api_key": KEY, "model": "m", "max_retries": 0}
    with pytest.raises(ServiceError):
        classify_sentiment("My name is Ada.", **options)  # type: ignore[arg-type]
    (line, *_) = log.read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert (record["host"], record["path"]) == ("127.0.0.1:9", "/chat/completions")
    assert json.loads(record["body"])["messages"][-1]["content"] == "Text: My name is Ada.\nSentiment:"
    assert KEY not in line
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_key_shows_nowhere(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level("DEBUG")
    endpoint = resolve(base_url="http://127.0.0.1:9/v1", api_key=KEY, model="m")
    client = OpenAIClient(endpoint, max_retries=1, timeout=2)
    shown = [repr(endpoint), str(endpoint), repr(client), repr(vars(client))]
    result = classify_sentiment.run("x", base_url="http://127.0.0.1:9/v1", api_key=KEY, model="m", max_retries=0)
    assert isinstance(result.error, ServiceError)
    shown += [repr(result), str(result.to_dict()), repr(result.error)]
    try:
        raise result.error
    except ServiceError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown += list(told.format())
    shown += [record.getMessage() + repr(record.args) for record in caplog.records]
    shown += [p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file()]
    assert [text for text in shown if KEY in text] == []
    assert KEY.encode() not in pickle.dumps(result.error)


def test_the_functions_that_ship_are_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(classify_sentiment)) is classify_sentiment


@pytest.mark.parametrize("before", ["", "u", "u:", "key="])
@pytest.mark.parametrize("spelled", [b64encode, urlsafe_b64encode, lambda data: data.hex().encode(), quote_from_bytes])
def test_a_key_that_a_service_spells_otherwise_is_taken_out(before: str, spelled: Callable[[bytes], Any]) -> None:
    key = "canary/+0123456789??abcdef~~"
    coded = spelled((before + key).encode())
    coded = coded if isinstance(coded, str) else coded.decode()
    message = redacted(f"the header {coded} is wrong", (key,))
    kept = [coded[at : at + 6] for at in range(len(spelled(before.encode())) + 4, len(coded) - 9)]
    assert "[key]" in message
    assert not [part for part in kept if part in message]
