"""Every service of the table, on both wires and in every way to ask: the right value, and few requests for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from batch_service import URL, Service
from conftest import forget_clients
from fault_server import FaultServer
from pydantic import BaseModel
from service_table import LABELS, REFUSALS, RIGHT, WAYS, Refusal, chat, fault, kind_of, listed, read_refusals

from fewshot import Task
from fewshot.bulk.batch_api.run import BatchRun

PAGE = Path(__file__).resolve().parents[1] / "docs" / "services.md"
FIRST, SECOND = 2, 1
"""Requests that a call may take when a model is asked for the first time, and from then on."""


class Coded(BaseModel):
    code: str


OUTPUTS: Mapping[str, Any] = {"label": list(LABELS), "text": "text", "number": "number", "record": Coded}
VALUES: Mapping[str, Any] = {"label": "negative", "text": "A phone.", "number": 4, "record": Coded(code="123")}


def task(kind: str, **options: Any) -> Task[Any]:
    source = (
        f"{{% block instruction %}}Task {kind}.{{% endblock %}}{{% block input %}}{{{{ text }}}}{{% endblock %}}"
        "{% block output %}Answer: {{ output }}{% endblock %}"
    )
    return Task.of(source, OUTPUTS[kind], timeout=60, **options)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(params=["direct", "plain"])
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FEWSHOT_WIRE", request.param)
    forget_clients()  # the same address is another service in each test
    return str(request.param)


def asked_in(way: str, server: FaultServer, text: str) -> tuple[list[Any], float]:
    """Ask in one way; give the values, and the requests that each of them took."""
    server.play()
    options: dict[str, Any] = {"base_url": server.base_url, "model": way}
    if way == "bulk":
        results = list(task("label", **options).map([f"{text} {i}" for i in range(4)], concurrency=1, progress=False))
        return [result.value for result in results], len(server.requests) / 4
    votes = 3 if way == "votes" else 1
    result = task("number" if way == "votes" else way, votes=votes, **options).run(text)
    assert result.error is None, result.error
    return [result.value], len(server.requests) / votes


def right(way: str) -> list[Any]:
    return ["negative"] * 4 if way == "bulk" else [VALUES["number" if way == "votes" else way]]


def usual(body: Mapping[str, Any]) -> Any:
    """Answer rightly, with log-probabilities where they are asked for."""
    text = RIGHT[kind_of(body)]
    return chat(text, logprobs=listed((text, -0.01), ("Well", -5.0)) if body.get("logprobs") else None)


def measure(refusal: Refusal, server: FaultServer) -> list[tuple[str, float, float]]:
    """Ask twice in every way; give the requests that a call took each time."""
    server.reply = lambda body: fault(refusal.status, refusal.body) if refusal.meets(body) else usual(body)
    found = []
    for way in WAYS:
        values, first = asked_in(way, server, "first")
        again, second = asked_in(way, server, "second")
        assert (values, again) == (right(way), right(way)), (way, values, again)
        found.append((way, first, second))
    return found


EACH = [pytest.param(one, marks=[pytest.mark.slow] * (n % 4 > 0), id=str(one)) for n, one in enumerate(REFUSALS)]
"""Of the services one in four where it must be fast, and all in the slow half."""


@pytest.mark.parametrize("refusal", EACH)
def test_what_a_service_refuses_costs_one_request_once_and_never_the_answer(
    refusal: Refusal, server: FaultServer, wire: str
) -> None:
    for way, first, second in measure(refusal, server):
        assert first <= FIRST, (way, first)
        assert second <= SECOND, (way, second)


@pytest.mark.slow
def test_the_refusals_of_the_shared_file_are_met(shared: Path, server: FaultServer, wire: str) -> None:
    for refusal in read_refusals(shared / "refusals.jsonl"):
        forget_clients()
        for kept in Path(os.environ["FEWSHOT_CACHE_DIR"]).glob("facts/*"):
            kept.unlink()
        for way, first, second in measure(refusal, server):
            assert (first <= FIRST, second <= SECOND) == (True, True), (str(refusal), way, first, second)


@pytest.mark.parametrize("refusal", EACH[:-1])
def test_in_a_batch_it_is_left_out_of_the_next_one(refusal: Refusal, tmp_path: Path) -> None:
    class Refusing(Service):
        def _complete(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            return (refusal.status, refusal.body) if refusal.meets(body) else super()._complete(body)

    service = Refusing()
    service.answer = lambda text, times: "negative"
    run = BatchRun(task("label", client=service.client(), model="m", base_url=URL), tmp_path / "run")
    run.submit(["one", "two"])
    run.fetch(wait=True, poll=0)
    assert [result.value for result in run.results()] == ["negative", "negative"]


def test_what_was_learnt_is_known_to_the_next_process(server: FaultServer, wire: str) -> None:
    refusal = REFUSALS[0]
    server.reply = lambda body: fault(refusal.status, refusal.body) if refusal.meets(body) else None
    server.answer = lambda body: "negative"
    assert asked_in("label", server, "first")[1] == 2
    forget_clients()  # a new process begins without clients, and with the same cache folder
    assert asked_in("label", server, "second")[1] == 1


def test_no_log_probabilities_are_sent_where_no_scoring_is_wanted(server: FaultServer, wire: str) -> None:
    server.reply = lambda body: None
    server.answer = lambda body: RIGHT[kind_of(body)]
    for kind in OUTPUTS:
        server.play()
        assert task(kind, base_url=server.base_url, model="plainly", scoring=False)("x") == VALUES[kind]
        assert not {"logprobs", "top_logprobs"} & server.requests[0].body.keys()


def test_what_the_caller_adds_is_sent_and_is_another_answer(server: FaultServer, wire: str) -> None:
    server.reply = usual
    server.play()
    own = {"top_p": 0.5, "service_tier": "flex", "extra_body": {"reasoning": {"enabled": False}}}
    plain = task("label", base_url=server.base_url, model="beside", cache=True)
    routed = plain.using(**own, extra_headers={"X-Route": "eu"}, extra_query={"v": "2"})
    assert [plain("x"), routed("x"), routed("x"), plain.using(top_p=0.4)("x")] == ["negative"] * 4
    first, second, third = server.requests
    assert (second.body["top_p"], second.body["service_tier"]) == (0.5, "flex")
    assert second.body["reasoning"] == {"enabled": False}
    assert (second.headers["x-route"], second.path) == ("eu", "/v1/chat/completions?v=2")
    assert (first.path, third.body["top_p"]) == ("/v1/chat/completions", 0.4)


WRAPPED = (
    '"{}"', "**{}**", "```\n{}\n```", "Answer: {}", "The answer is {}.", "1. {}", "({})", "- {}", "“{}”", "# {}",
    "<think>It says positive, 17 and 'B'.</think>\n\n{}", "<thinking>Hm, positive?</thinking>{}",
    "◁think▷positive◁/think▷{}", "[THINK]positive[/THINK]{}", "Positive, it seems.</think>{}",
    "<|channel|>analysis<|message|>positive?<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "analysisThe user says positive.assistantfinal{}", "<|START_THINKING|>positive<|END_THINKING|>{}",
)  # fmt: skip


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_however_an_answer_begins_it_is_the_one_that_was_written(wrapped: str, server: FaultServer, wire: str) -> None:
    start = wrapped[:1] if wrapped[0] != "{" else "x"
    for kind in OUTPUTS:
        if kind == "text" and "hink" not in wrapped and "final" not in wrapped and "nalysis" not in wrapped:
            continue  # a text may begin so
        if kind == "number" and wrapped[0] in "1-":
            continue  # another number
        text = wrapped.replace("{}", RIGHT[kind])
        server.reply = lambda body, text=text: chat(  # type: ignore[misc]
            text, logprobs=listed((start, -0.001), ("positive", -9.0)) if body.get("logprobs") else None
        )
        result = task(kind, base_url=server.base_url, model=f"wrapping {kind}").run("x")
        assert result.value == VALUES[kind], (kind, result.value, result.error)
        assert result.method != "logprobs"
        assert "positive" not in wrapped.lower() or "ositive" in result.thinking


@pytest.mark.parametrize("reason", ["max_tokens", "MAX_TOKENS", "model_length", "some_new_word", "abort", "SAFETY"])
@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_answer_that_did_not_end_by_itself_is_no_value(
    kind: str, reason: str, server: FaultServer, wire: str
) -> None:
    server.reply = lambda body: chat(RIGHT[kind], reason)
    asked = task(kind, base_url=server.base_url, model="cut", max_repairs=0, max_retries=0)
    result = asked.run("x")
    assert (result.value, result.error is None) == (None, False)


@pytest.mark.parametrize(
    "tokens",
    [
        [("I", -0.0001), ("positive", -9.2)],
        [("<think>", -0.0001)],
        [("The", -0.2), ("It", -2.0)],
        [("positive", -3.0), ("negative", -3.1), ("Sentiment", -0.1)],
    ],
)
def test_labels_that_hold_little_of_the_probability_are_never_the_value(
    tokens: list[tuple[str, float]], server: FaultServer, wire: str
) -> None:
    server.reply = lambda body: chat("I cannot help with that.", logprobs=listed(*tokens))
    asked = task("label", base_url=server.base_url, model="declines")
    result = asked.run("x")
    assert (result.value, getattr(result.error, "reason", None)) == (None, "invalid")
    rows = list(asked.map(["a", "b"], progress=False))
    assert [row.value for row in rows] == [None, None]


def table() -> str:
    """Make the page: each service with what it refuses, what is sent instead, and what that costs."""
    lines = [
        "# Services and what they refuse",
        "",
        "Made by `python tests/test_services.py`: each refusal in `tests/refusals.jsonl` met in every way to ask",
        f"({', '.join(WAYS)}), on a model of its own. All values were right. The last two columns are the most",
        "HTTP requests that one call took when the model was asked for the first time, and for the second.",
        "",
        "| service | refuses | with | sent instead | first call | second call |",
        "|---|---|---|---|---|---|",
    ]
    with FaultServer() as server:
        for refusal in REFUSALS:
            forget_clients()
            for kept in (Path(os.environ["FEWSHOT_CACHE_DIR"]) / "facts").glob("*"):
                kept.unlink()
            found = measure(refusal, server)
            changes = {line for way in WAYS for line in _changed(way, server)}
            told = "; ".join(sorted(changes)) or "the same"
            first, second = max(f for _, f, _ in found), max(s for _, _, s in found)
            lines.append(
                f"| {refusal.service} | {refusal.what} | {refusal.status} | {told} | {first:.3g} | {second:.3g} |"
            )
    return "\n".join([*lines, ""])


def _changed(way: str, server: FaultServer) -> list[str]:
    """Tell what is sent to a model that is known, instead of what is sent to one that takes everything."""
    asked_in(way, server, "third")
    known = server.requests[-1].body
    refuses, server.reply = server.reply, usual
    server.play()
    votes = 3 if way == "votes" else 1
    kind = {"votes": "number", "bulk": "label"}.get(way, way)
    task(kind, votes=votes, base_url=server.base_url, model=f"new {way}").run("third")
    before, server.reply = server.requests[-1].body, refuses
    names = [name for name in before if name not in ("model", "messages") and before.get(name) != known.get(name)]
    told = [f"`{name}`: {known[name]}" if name in known else f"no `{name}`" for name in names]
    told += [f"`{name}`" for name in known if name not in before]
    if len(before["messages"]) > len(known["messages"]):
        told.append("the instruction in the first user turn")
    return told


def test_the_page_names_every_service_of_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert [(row[0].strip("| "), row[1], row[2]) for row in rows] == [
        (refusal.service, refusal.what, str(refusal.status)) for refusal in REFUSALS
    ]
    assert all(float(row[4]) <= FIRST and float(row[5].strip("| ")) <= SECOND for row in rows)


if __name__ == "__main__":
    PAGE.write_text(table(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
