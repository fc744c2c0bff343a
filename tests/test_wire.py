"""Which way a request goes, and that the direct one trusts nobody more than the official client does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from fault_server import FAULTS, FaultServer, echo

from fewshot.errors import ConfigError, ServiceError
from fewshot.models.endpoint import Endpoint
from fewshot.models.openai_client import OpenAIClient
from fewshot.models.wire.http11 import DirectWire
from fewshot.models.wire.transport import PlainWire, is_proxied, wire_for
from fewshot.types import Message, Request

THERE = Endpoint(model="m", base_url="http://127.0.0.1:8000/v1")
ASK = Request(model="m", messages=(Message("user", "x"),))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "FEWSHOT_WIRE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_direct_wire_is_the_usual_one() -> None:
    assert isinstance(wire_for(THERE), DirectWire)


def test_a_switch_chooses_the_plain_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(wire_for(THERE, fast=False), PlainWire)
    monkeypatch.setenv("FEWSHOT_WIRE", "plain")
    assert isinstance(wire_for(THERE), PlainWire)
    assert isinstance(wire_for(THERE, fast=True), DirectWire)
    monkeypatch.setenv("FEWSHOT_WIRE", "copper")
    with pytest.raises(ConfigError, match="copper"):
        wire_for(THERE)


def test_a_client_of_ones_own_is_used() -> None:
    own = openai.OpenAI(base_url=THERE.base_url, api_key="x")
    assert isinstance(wire_for(THERE, own), PlainWire)
    with pytest.raises(ConfigError, match="a client of your own"):
        wire_for(THERE, own, fast=True)


def test_a_proxy_is_left_to_the_official_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    assert isinstance(wire_for(THERE), PlainWire)
    assert not is_proxied(Endpoint(model="m", base_url="https://api.openai.com/v1"))
    assert not is_proxied(Endpoint(model="local", base_url=THERE.base_url, local=True))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert isinstance(wire_for(THERE), DirectWire)


def test_requests_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        client = OpenAIClient(Endpoint(model="m", base_url="http://far.internal/v1"), max_retries=0)
        assert asyncio.run(client.complete(ASK)).text == echo("x")
        assert proxy.requests[0].path == "http://far.internal/v1/chat/completions"


def test_a_base_url_may_have_a_query() -> None:
    with FaultServer() as server:
        for fast in (True, False):
            there = Endpoint(model="m", base_url=f"{server.base_url}?api-version=1")
            assert asyncio.run(OpenAIClient(there, fast=fast).complete(ASK)).text == echo("x")
        assert [seen.path for seen in server.requests] == ["/v1/chat/completions?api-version=1"] * 2


@pytest.mark.parametrize("fast", [True, False])
def test_no_fault_leaves_a_connection_open(fast: bool) -> None:
    async def main(server: FaultServer) -> None:
        client = OpenAIClient(Endpoint(model="m", base_url=server.base_url), fast=fast, max_retries=0, timeout=0.3)
        for fault in FAULTS:
            server.play(fault)
            try:
                await client.complete(ASK)
            except ServiceError:
                continue

    with FaultServer() as server:
        asyncio.run(main(server))
    gc.collect()  # a socket left open would warn now, and warnings are errors


def test_the_direct_wire_works_on_another_event_loop() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def main(server: FaultServer) -> list[str]:
        client = OpenAIClient(Endpoint(model="m", base_url=server.base_url), fast=True, timeout=20)
        said = [(await client.complete(ASK)).text for _ in range(3)]
        for fault in ("truncated", "unsolicited", "reset_before", "drop_after", "gzip"):
            server.play(fault)
            said.append((await client.complete(ASK)).text)
        await client.aclose()
        return said

    with FaultServer() as server:
        assert uvloop.run(main(server)) == [echo("x")] * 8


def many(server: FaultServer, fast: bool, rows: int = 64) -> list[str]:
    """Ask so many different things, eight at a time."""

    async def main() -> list[str]:
        client = OpenAIClient(Endpoint(model="m", base_url=server.base_url), fast=fast)
        places = asyncio.Semaphore(8)

        async def one(number: int) -> str:
            async with places:
                request = Request(model="m", messages=(Message("user", f"row {number}"),))
                return (await client.complete(request)).text

        answers = await asyncio.gather(*map(one, range(rows)))
        await client.aclose()
        return answers

    return asyncio.run(main())


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("work", "delay"), [(0.02, 0.0), (0.02, 0.03), (0.05, 0.05), (0.03, 0.1)])
def test_a_copy_of_a_reply_never_becomes_another_rows_answer(fast: bool, work: float, delay: float) -> None:
    with FaultServer() as server:
        server.work, server.twice = work, lambda number: None if number % 6 else delay
        assert many(server, fast) == [echo(f"row {number}") for number in range(64)]


@pytest.mark.parametrize("reply_id", [None, "chatcmpl-1", ""])
def test_a_service_without_ids_of_its_own_gets_a_connection_for_each_request(reply_id: str | None) -> None:
    with FaultServer() as server:
        server.work, server.twice, server.ids = 0.02, lambda number: None if number % 6 else 0.02, lambda _: reply_id
        assert many(server, fast=True) == [echo(f"row {number}") for number in range(64)]
        assert len({seen.connection for seen in server.requests}) == len(server.requests) == 64


def test_ids_that_come_again_by_chance_cost_one_request_at_most_for_each_connection() -> None:
    with FaultServer() as server:
        server.ids = lambda number: f"chatcmpl-{number * number % 97}"
        assert many(server, fast=True, rows=200) == [echo(f"row {number}") for number in range(200)]
        assert len(server.requests) <= 208


def test_a_service_that_stutters_is_told_of_once_and_trusted_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    with FaultServer() as server:
        server.twice = lambda number: 0.0
        many(server, fast=True)
        assert sum("nobody asked for" in record.message for record in caplog.records) == 1
        assert len({seen.connection for seen in server.requests[-40:]}) == 40


def test_a_connection_whose_request_was_answered_before_it_was_read_is_not_kept() -> None:
    async def main(server: FaultServer) -> None:
        client = OpenAIClient(Endpoint(model="m", base_url=server.base_url), fast=True, max_retries=0)
        large = Request(model="m", messages=(Message("user", "x" * 100_000),))
        for _ in range(3):
            await client.complete(ASK)
        for _ in range(3):
            server.play("413")
            with pytest.raises(ServiceError, match="413"):
                await client.complete(large)
            await asyncio.sleep(0.02)  # a connection rests before it is used again
            assert (await client.complete(ASK)).text == echo("x")
            assert server.requests[0].connection != server.requests[1].connection
        await client.aclose()

    with FaultServer() as server:
        asyncio.run(main(server))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost that nobody trusts."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is needed to make a certificate")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return key, cert


@pytest.mark.parametrize("fast", [True, False])
def test_tls_works_when_the_certificate_is_trusted_and_only_then(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def ask(base_url: str) -> list[str]:
        client = OpenAIClient(Endpoint(model="m", base_url=base_url), fast=fast, max_retries=2)
        return [(await client.complete(ASK)).text for _ in range(3)]

    with FaultServer(tls=context) as server:
        with pytest.raises(ServiceError, match="not trusted") as caught:
            asyncio.run(ask(server.base_url))
        assert not caught.value.transient
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        assert asyncio.run(ask(server.base_url)) == [echo("x")] * 3
        server.play("truncated", "unsolicited", "reset_before")
        assert asyncio.run(ask(server.base_url)) == [echo("x")] * 3


@contextlib.contextmanager
def nobody_gets_in(host: str, port: int = 0) -> Iterator[int]:
    """Listen, with the queue full and nobody taken from it: whoever connects is left without an answer."""
    with contextlib.ExitStack() as stack:
        listener, *fillers = (stack.enter_context(socket.socket()) for _ in range(4))
        listener.bind((host, port))
        listener.listen(0)
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_host_with_a_dead_address_is_reached_at_its_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer() as server, nobody_gets_in("127.0.0.2", server.port):
        addresses = [(2, 1, 6, "", (host, server.port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        there = Endpoint(model="m", base_url=f"http://two.internal:{server.port}/v1")
        assert asyncio.run(OpenAIClient(there, max_retries=0, timeout=20).complete(ASK)).text == echo("x")


def test_connecting_has_the_time_of_the_call() -> None:
    with nobody_gets_in("127.0.0.1") as port:
        there = Endpoint(model="m", base_url=f"http://127.0.0.1:{port}/v1")
        with pytest.raises(ServiceError, match=r"within the 0\.3 s that the call had"):
            asyncio.run(OpenAIClient(there, max_retries=0, timeout=0.3).complete(ASK))
