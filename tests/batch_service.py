"""A small Batch API for tests: inside a transport, or behind real sockets, where each step may have any fault."""

from __future__ import annotations

import email
import email.policy
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
from fault_server import BODY, RESET, STATUS, Fault, FaultServer, Piece, Seen, http_reply, transport

URL = "http://127.0.0.1:9/v1"


class Crash(BaseException):
    """The process dies here."""


class Service:
    """A small Batch API, inside a transport: answers "positive" to what is good; every reply can be bent."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.gone: tuple[str, ...] = ()
        """Files and batches that are not there any more."""
        self.live = 0
        self.steps: list[str] = []
        self.crash: tuple[int, bool] | None = None
        self.answer: Callable[[str, int], Any] = lambda text, times: "positive" if "good" in text else "negative"
        self.bend: Callable[[list[bytes]], list[bytes]] = lambda lines: lines[::-1]
        self.end: Callable[[int], str] = lambda number: "completed"
        self.problem = "token_limit_exceeded"

    def client(self) -> openai.OpenAI:
        transport = httpx2.MockTransport(self._handle)
        return openai.OpenAI(api_key="sk-test", base_url=URL, http_client=httpx2.Client(transport=transport))

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        step, number = f"{request.method} {request.url.path}", len(self.steps)
        self.steps.append(step)
        if self.crash == (number, False):
            raise Crash
        status, body = self.reply(request)
        if self.crash == (number, True):
            raise Crash
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx2.Response(status, content=content)

    def reply(self, request: httpx2.Request) -> tuple[int, Any]:
        path = request.url.path.removeprefix("/v1")
        if path == "/files":
            return self._upload(request)
        if path == "/batches" and request.method == "POST":
            return 200, self._create(json.loads(request.content))
        if path == "/batches":
            return 200, {"object": "list", "data": list(self.batches.values())[::-1], "has_more": False}
        if path.startswith(("/batches/", "/files/")):
            known: Any = self.batches if path.startswith("/batches/") else self.files
            name = path.split("/")[2]
            if name not in known or name in self.gone:
                return error(404, f"there is no {name}")
            if known is self.files and not path.endswith("/content"):
                return 200, {"id": name, "object": "file", "bytes": len(known[name])}
            return 200, known[name]
        self.live += 1
        return self._complete(json.loads(request.content))

    def _upload(self, request: httpx2.Request) -> tuple[int, Any]:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + request.read(), policy=email.policy.HTTP)
        [file] = [part for part in form.walk() if part.get_filename()]
        assert str(file.get_filename()).endswith(".jsonl")
        name = f"file-{len(self.files)}"
        content = file.get_payload(decode=True)
        assert isinstance(content, bytes)
        self.files[name] = content
        return 200, {"id": name, "object": "file", "purpose": "batch"}

    def _create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        number = len(self.batches)
        name, status = f"batch_{number}", self.end(number)
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        lines = [json.loads(line) for line in self.files[wanted["input_file_id"]].split(b"\n") if line]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        if status in ("completed", "expired", "cancelled"):
            done = len(lines) if status == "completed" else len(lines) // 2
            for place, line in enumerate(lines):
                assert line["url"] == wanted["endpoint"]
                record: dict[str, Any] = {"custom_id": line["custom_id"], "response": None, "error": None}
                if place >= done and status == "cancelled":
                    continue
                if place >= done:
                    record["error"] = {"code": "batch_expired", "message": "too late"}
                    bad.append(record)
                    continue
                code, body = self._complete(line["body"])
                record["response"] = {"status_code": code, "request_id": f"r{place}", "body": body}
                (good if code == 200 else bad).append(record)
        output = self.bend([json.dumps(record).encode() + b"\n" for record in good])
        self.files[f"{name}-out"], self.files[f"{name}-err"] = b"".join(output), b"\n".join(map(_dumped, bad))
        refused = {"data": [{"code": self.problem, "message": "no"}]}
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


_STEPS = {
    "upload": r"POST /v1/files",
    "create": r"POST /v1/batches",
    "find": r"GET /v1/batches(\?.*)?",
    "status": r"GET /v1/batches/.*",
    "download": r"GET /v1/files/.*/content",
    "size": r"GET /v1/files/[^/]*",
}
BEFORE_WORK = [*STATUS, "reset_before", "close_before", "reset_mid_headers", "hang", "not_http"]
"""Faults at which the service has done nothing yet."""


class BatchServer(FaultServer):
    """The small Batch API behind real sockets; each step may have its own fault."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.tries: Counter[tuple[str, str]] = Counter()
        """Requests by step and by what they are about."""
        self._troubles: dict[str, tuple[str | Fault, int]] = {}
        super().__init__()

    def trouble(self, step: str, fault: str | Fault, times: int = 1) -> None:
        """Set what happens to the coming requests of a step: `upload`, `create`, `find`, `status` or `download`."""
        self.tries.clear()
        self._troubles[step] = fault, times

    def calm(self) -> None:
        """Let all be well from now on."""
        self._troubles.clear()

    def _pieces(self, seen: Seen) -> Iterator[Piece]:
        step = next(name for name, form in _STEPS.items() if re.fullmatch(form, f"{seen.method} {seen.path}"))
        self.tries[step, _about(seen)] += 1
        fault, times = self._troubles.get(step, ("ok", 0))
        self._troubles[step] = (fault, times - 1) if times > 1 else ("ok", 0)
        if isinstance(fault, tuple) or fault in BEFORE_WORK:
            return self._played(fault, seen, {})
        url = f"{self.base_url.removesuffix('/v1')}{seen.path}"
        status, told = self.service.reply(httpx2.Request(seen.method, url, headers=seen.headers, content=seen.raw))
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        if fault == "invalid_json":
            return iter([http_reply(body[:-20])])
        if fault == "reset_after_work":
            return iter([RESET])
        if fault in BODY:
            return self._played(fault, seen, {})
        return transport(fault, body) if status == 200 else iter([http_reply(body, status)])


def _about(seen: Seen) -> str:
    """Say what a request is about: the part that goes up, the file that a batch is made of, or the path."""
    part = re.search(rb"part-\d+", seen.raw)
    return part[0].decode() if part else str(seen.body.get("input_file_id", seen.path))
