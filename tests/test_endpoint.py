"""Arguments and environment decide which endpoint is meant, and nothing dangerous passes."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from typing import Any

import pytest

from fewshot.errors import ConfigError
from fewshot.models import endpoint
from fewshot.models.connection import Connection, connect
from fewshot.models.endpoint import Endpoint, resolve
from fewshot.settings import Settings

NAMES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "FEWSHOT_MODEL", "FEWSHOT_BASE_URL", "FEWSHOT_OFFLINE")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "FEWSHOT_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoint, "_announced", False)


def test_nothing_set_means_the_embedded_model_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fewshot"):
        found = resolve()
        resolve()
    assert (found.model, found.local, found.form, found.base_url) == ("local", True, "text", None)
    assert found.source == "embedded"
    assert len(caplog.messages) == 1
    assert endpoint.EMBEDDED_MODEL in caplog.messages[0]
    assert "trying" in caplog.messages[0]


def test_a_key_means_openai_with_its_default_model_not_thinking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-123456")
    found = resolve()
    assert (found.base_url, found.model, found.form) == ("https://api.openai.com/v1", "gpt-6-luna", "chat")
    assert found.extra == (("reasoning_effort", "none"),)
    assert (found.api_key, found.source) == ("sk-test-123456", "OPENAI_API_KEY")


def test_arguments_win_over_fewshot_variables_and_those_over_openai_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://openai.test/v1")
    assert (resolve().base_url, resolve().source) == ("https://openai.test/v1", "OPENAI_BASE_URL")
    monkeypatch.setenv("FEWSHOT_BASE_URL", "https://fewshot.test/v1/")
    monkeypatch.setenv("FEWSHOT_MODEL", "theirs")
    assert (resolve().base_url, resolve().model) == ("https://fewshot.test/v1", "theirs")
    mine = resolve(base_url="https://mine.test/v1", model="mine", api_key="my-key", form="text")
    assert (mine.base_url, mine.model, mine.api_key, mine.form) == ("https://mine.test/v1", "mine", "my-key", "text")
    assert mine.extra == ()


def test_a_server_without_a_key_is_sent_a_dummy() -> None:
    assert resolve(base_url="http://127.0.0.1:8000/v1").api_key == "none"


@pytest.mark.parametrize(
    ("model", "names"), [("local", "local"), ("local:/x/y.bin", "/x/y.bin"), ("m/a.gguf", "m/a.gguf")]
)
def test_local_always_means_the_embedded_model(monkeypatch: pytest.MonkeyPatch, model: str, names: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    found = resolve(model=model, base_url="https://elsewhere.test/v1")
    assert (found.local, found.model, found.base_url) == (True, names, None)


def test_a_model_without_a_service_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        resolve(model="gpt-6-luna")


def test_offline_refuses_every_other_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_OFFLINE", "yes")
    with pytest.raises(ConfigError, match=r"nothing may be sent to 127\.0\.0\.1:8000"):
        resolve(base_url="http://127.0.0.1:8000/v1")
    assert resolve().local


def test_offline_set_to_nonsense_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_OFFLINE", "perhaps")
    with pytest.raises(ConfigError, match="neither yes nor no"):
        resolve(base_url="https://x.test/v1")


def test_a_stray_line_break_round_a_key_is_taken_off() -> None:
    assert resolve(api_key="sk-abc\n").api_key == "sk-abc"


@pytest.mark.parametrize("key", ["sk-a\nbc", "sk-å", "sk a"])
def test_a_key_that_no_key_can_be_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="copy it again") as caught:
        resolve(api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.test",
        "https://",
        "x.test/v1",
        "https://x.test/v1#a",
        "https://x.test:port/v1",
        "https://x .test/",
        "http:",
        "http://host:/v1",
        "http://127.0.0.1:",
        "http://[::1]:/v1",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        resolve(base_url=url)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="user name or password") as caught:
        resolve(base_url="https://me:secret@x.test/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "192.168.0.9", "vllm", "gpu.internal"])
def test_plain_http_is_fine_on_ones_own_network(host: str) -> None:
    assert resolve(base_url=f"http://{host}:8000/v1").base_url == f"http://{host}:8000/v1"


@pytest.mark.parametrize(
    "host", ["134744072", "0x8080808", "010.8.8.8", "8.8.2056", "8.8.8.8", "[::ffff:8.8.8.8]", "[2001:4860:4860::8888]"]
)
def test_a_public_address_in_any_spelling_is_no_network_of_ones_own(host: str) -> None:
    with pytest.raises(ConfigError, match="unencrypted"):
        resolve(base_url=f"http://{host}/v1")


@pytest.mark.parametrize("host", ["127.1", "2130706433", "localhost.", "0x7f.1", "[::ffff:10.0.0.1]", "10.1"])
def test_a_private_address_in_any_spelling_is_fine(host: str) -> None:
    assert resolve(base_url=f"http://{host}:8000").base_url == f"http://{host}:8000"


@pytest.mark.parametrize(
    "query", ["key=AIzaSECRET", "api-version=1&api_key=SECRET", "sig=SECRET", "access_token=SECRET"]
)
def test_a_secret_in_the_query_of_an_address_is_refused_and_not_shown(query: str) -> None:
    with pytest.raises(ConfigError, match="secret in its query") as caught:
        resolve(base_url=f"https://x.test/v1?{query}")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"])
@pytest.mark.parametrize("value", ["org-1\n", "örg", "org\x7f"])
def test_a_header_of_the_environment_that_cannot_be_sent_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    if name == "OPENAI_CUSTOM_HEADERS" and value.endswith("\n"):
        assert resolve(api_key="sk-test").route  # one header a line
        return
    with pytest.raises(ConfigError, match=name):
        resolve(api_key="sk-test")


def test_plain_http_over_the_internet_needs_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="FEWSHOT_ALLOW_HTTP"):
        resolve(base_url="http://api.example.com/v1")
    monkeypatch.setenv("FEWSHOT_ALLOW_HTTP", "1")
    assert resolve(base_url="http://api.example.com/v1").base_url == "http://api.example.com/v1"


def test_the_key_shows_in_no_representation() -> None:
    found = resolve(api_key="sk-very-secret")
    assert "very-secret" not in repr(found) + repr(found.api_key) + repr({"key": found.api_key})
    assert f"Bearer {found.api_key}" == "Bearer sk-very-secret"


def test_the_embedded_model_has_no_deadline_of_its_own_and_messages_name_it() -> None:
    there = Endpoint(model="m", base_url="http://127.0.0.1:43221/v1", local=True)
    assert (there.seconds(None), there.seconds(5.0), there.host) == (math.inf, 5.0, "the embedded model")
    assert Endpoint(model="m", base_url="http://127.0.0.1:43221/v1").seconds(None) == 60.0


def connected(**options: Any) -> Connection:
    """Connect once, with nothing sent."""
    return asyncio.run(connect(Settings(**options)))


def test_a_connection_is_made_once_and_anew_when_anything_that_it_was_made_of_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there: dict[str, Any] = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "api_key": "k"}
    first = connected(**there)
    assert connected(**there, k=3, temperature=1.0) is first
    for name, value in {"base_url": "http://127.0.0.1:8/v1", "model": "n", "api_key": "l", "form": "text"}.items():
        assert connected(**{**there, name: value}) is not first
    for name, value in {"max_retries": 1, "reasoning_effort": "low", "top_p": 0.5, "extra_body": {"a": 1}}.items():
        assert connected(**there, **{name: value}) is not first
    for name in endpoint.READ:
        with monkeypatch.context() as patch:
            patch.setenv(name, "0" if name == "FEWSHOT_OFFLINE" else "other: x")
            assert connected(**there) is not first, name
    assert connected(**there) is first


def test_the_environment_that_decides_an_endpoint_is_named_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    real = os.environ.get

    def noting(name: str, default: Any = None) -> Any:
        read.add(name)
        return real(name, default)

    monkeypatch.setattr(os.environ, "get", noting)
    resolve(base_url="http://10.0.0.1/v1", model="m")
    resolve(model="ollama:m")
    resolve(api_key="k")
    resolve()
    assert read == set(endpoint.READ)
