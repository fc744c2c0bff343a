"""Texts longer than their model holds: cut into parts, and what the parts say made one answer."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from batch_service import Service
from fault_server import FaultServer, error
from pydantic import BaseModel

from fewshot import (
    InputError,
    OutputError,
    ScriptedClient,
    ServiceError,
    Task,
    answer,
    calculate,
    classify,
    classify_sentiment,
    detect_injection,
    extract,
    find,
    summarize,
    translate,
)
from fewshot.bulk.batch_api.run import BatchRun
from fewshot.bulk.estimate import estimate
from fewshot.models.tokens import request_tokens
from fewshot.outputs.spans import Span, moved
from fewshot.prompts.cutting import cut, sums_of
from fewshot.types import Completion, Request, TokenLogprob, Usage

DAYS = [
    f"On day {n} Ada Number{n} took the train to Paris. It was quiet, and nobody else came along." for n in range(1200)
]
LONG = " ".join(DAYS)[:96_000]
HOLDS = 8192
NAMES = [f"Ada Number{n}" for n in range(1200)]


def asked(request: Request) -> str:
    return request.messages[-1].content


def counting(say: Callable[[str], str]) -> ScriptedClient:
    """A client whose answers are worked out from the question, and that tells what they took."""

    def reply(request: Request) -> Completion:
        text = say(asked(request))
        return Completion(text=text, usage=Usage(round(request_tokens(request).likely), max(1, len(text) // 4)))

    return ScriptedClient(reply)


def weighing(chance: Callable[[str], float], one: str = "positive", other: str = "negative") -> ScriptedClient:
    """A client that lists how likely two labels are."""

    def reply(request: Request) -> Completion:
        p = chance(asked(request))
        chances = sorted([(p, one), (1 - p, other)], reverse=True)
        top = tuple((word.encode(), math.log(share)) for share, word in chances)
        return Completion(text=chances[0][1], tokens=(TokenLogprob(top[0][0], top[0][1], top),))

    client = ScriptedClient(reply)
    client.top_logprobs = 20  # type: ignore[attr-defined]  # how a client of one's own says that it lists any
    return client


def people(text: str) -> str:
    return json.dumps([{"label": "person", "text": name} for name in dict.fromkeys(re.findall(r"Ada Number\d+", text))])


@pytest.mark.parametrize("overlap", [True, False])
def test_parts_hold_every_character_and_none_holds_too_much(overlap: bool) -> None:
    draw = random.Random(1)
    words = ["alpha", "Beta.", "é", "한국어", "字", "👨‍👩‍👧", "end。", "x" * 90, "line\n", "e\u0301", "q?"]
    for _ in range(300):
        text = draw.choice(["", " "]).join(draw.choices(words, k=draw.randint(1, 200)))
        most = draw.choice([8, 40, 200])
        places = cut(text, most, overlap=overlap)
        assert (places[0][0], places[-1][1]) == (0, len(text))
        assert all(sums_of(text[start:end])[-1] <= most for start, end in places)
        for (first, end), (start, later) in itertools.pairwise(places):
            assert first < start <= end < later
            assert overlap or start == end


def test_a_text_is_cut_at_its_sentences() -> None:
    places = cut(LONG, 1000)
    assert all(LONG[:start].endswith((". ", "")) and LONG[start:].startswith(("On", "It")) for start, _ in places)
    assert max(end - start for start, end in places) < 1.3 * min(end - start for start, end in places)


def test_spans_stand_where_they_say_in_the_whole_text() -> None:
    client = counting(people)
    result = find.run(LONG, ["person"], client=client, context_tokens=HOLDS)
    assert result.parts == len(client.requests) > 4
    assert [LONG[s.start : s.end] for s in result.value or []] == [s.text for s in result.value or []]
    assert [s.start for s in result.value or []] == [found.start() for found in re.finditer(r"Ada Number\d+", LONG)]
    assert result.warnings == (f"read in {result.parts} parts, since the text is longer than the model holds",)
    assert result.to_dict()["parts"] == result.parts
    assert result.request is not None
    assert result.request.messages == client.requests[0].messages


def test_spans_inside_records_move_along() -> None:
    class Person(BaseModel):
        name: Span[str]
        others: list[Span[str]]

    one = Person(name=Span("n", "Ada", 1, 4), others=[Span("n", "Bob", 5, 8)])
    assert moved([one], 10)[0] == Person(name=Span("n", "Ada", 11, 14), others=[Span("n", "Bob", 15, 18)])
    assert moved({"a": (1, "x", None)}, 3) == {"a": (1, "x", None)}


@pytest.mark.parametrize(
    ("call", "say", "parts"),
    [
        (find.task(["person"]), people, 1),
        (summarize.task(), lambda _: "Someone takes a train every day, and it is always quiet there.", 1),
        (classify_sentiment.task(), lambda _: "neutral", 1),
    ],
)
def test_what_it_takes_is_told_before(call: Task[Any], say: Callable[[str], str], parts: int) -> None:
    task = call.using(client=counting(say), context_tokens=HOLDS, price=(1.0, 0.0))
    told = estimate(task, [LONG, "Short."])
    taken = [task.run(text) for text in (LONG, "Short.")]
    assert told.requests.low == sum(len(result.completions) for result in taken)
    cost = sum(result.cost or 0 for result in taken)
    assert told.cost is not None
    assert abs(told.cost.likely - cost) < 0.1 * cost
    assert told.notes[-1] == "texts longer than the model holds, which are read in parts: 1"
    assert [result.parts > 4 for result in taken] == [True, False]


class Counting(ScriptedClient):
    """A model with tokens of its own, which its server counts: a digit is one, a word, a sign; other ones are two."""

    def __init__(self, say: str) -> None:
        super().__init__(self.reply)
        self.say = say

    def reply(self, request: Request) -> Completion:
        return Completion(text=self.say, usage=Usage(sum(self.tokens(turn.content) + 5 for turn in request.chat), 1))

    def tokens(self, text: str) -> int:
        return len(re.findall(r"\d|[a-zA-Z]+|[^\s\w]", text)) + 2 * len(re.findall(r"[^\x00-\x7f]", text))

    async def tokens_of(self, request: Request, texts: Sequence[str]) -> list[int]:
        return [sum(self.tokens(turn.content) + 5 for turn in request.chat), *map(self.tokens, texts)]


SCRIPTS = {
    "English": LONG[:20_000],
    "Korean": "오늘은 날씨가 매우 좋아서 산책을 했다. " * 400,
    "code": "def f(x: int) -> list[int]:\n    return [x + 1, x ** 2]\n\n" * 300,
    "digits": " ".join(str(n * 7919 % 1_000_003) for n in range(2_000)),
}
SCRIPTS["all of them"] = "\n".join(text[:4_000] for text in SCRIPTS.values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_where_the_model_counts_the_price_is_told_and_the_parts_fill_what_it_holds(script: str) -> None:
    client = Counting("sport")
    task = Task.of("Which?", ["sport", "other"], client=client, scoring=False, context_tokens=2048)
    told = estimate(task, [SCRIPTS[script]])
    result = task.run(SCRIPTS[script])
    assert told.notes[-1].endswith("in parts: 1; tokens counted for 1")
    assert (told.requests.low, result.error) == (result.parts, None)
    assert told.input_tokens.likely == pytest.approx(result.usage.input_tokens, rel=0.1)
    sizes = [completion.usage.input_tokens for completion in result.completions]
    assert max(sizes) <= 2048 - 16
    assert sum(sizes) > 0.7 * 2048 * (len(sizes) - 1)


@pytest.mark.local
@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("script", ["English", "Korean", "code", "digits"])  # one block of text is of one density
def test_the_embedded_model_counts_what_its_price_is_told_from(script: str) -> None:
    text = SCRIPTS[script][:1_200]
    task = Task.of("Which?", ["sport", "other"], model="local", scoring=False, max_repairs=0, context_tokens=250)
    told = estimate(task, [text])
    result = task.run(text)
    sizes = [completion.usage.input_tokens for completion in result.completions]
    assert (told.requests.low, told.requests.low > 1) == (len(sizes), True)
    assert told.input_tokens.likely == pytest.approx(sum(sizes), rel=0.1)
    assert max(sizes) + 16 <= 250


def test_a_list_lacks_what_a_part_does_not_answer_and_says_so_as_it_is_held_back_where_confidence_is_wanted() -> None:
    loop = json.dumps([{"label": "person", "text": "Ada"}] * 12)[:-1]

    def reply(request: Request) -> Completion:
        stuck = "Ada Number5 " in asked(request)
        return Completion(text=loop if stuck else people(asked(request)), finish_reason="length" if stuck else "stop")

    task = find.task(["person"], client=ScriptedClient(reply), context_tokens=HOLDS)
    result = task.run(LONG)
    spans = result.value or []
    assert spans
    assert [LONG[s.start : s.end] for s in spans] == [s.text for s in spans]
    assert "no valid answer from 1 of the parts (from character 0 on): the model repeats itself" in result.warnings[1]
    assert result.confidence is None
    assert task.using(min_confidence=0.1).run(LONG).abstained
    nothing = find.run(LONG, ["person"], client=counting(lambda _: "rubbish"), context_tokens=HOLDS)
    assert isinstance(nothing.error, OutputError)


def test_labels_are_those_of_the_mean_of_log_odds_and_a_part_that_says_otherwise_is_told() -> None:
    run = lambda chance: classify.run(  # noqa: E731
        LONG, ["positive", "negative"], client=weighing(chance), context_tokens=HOLDS, calibrate=False
    )
    sure = run(lambda _: 0.9)
    assert (sure.value, sure.probabilities) == ("positive", pytest.approx({"positive": 0.9, "negative": 0.1}))
    assert sure.confidence == pytest.approx(0.9)
    torn = run(lambda text: 0.05 if "Number5 " in text else 0.9)
    assert torn.value == "positive"
    assert torn.confidence is not None
    assert torn.confidence < 0.55
    assert torn.warnings[1] == f"1 of {torn.parts} parts say another label"


@pytest.mark.parametrize(
    ("chance", "given"),
    [
        (lambda text: 0.8 if "Number5 " in text else 0.1, ("injection", 0.8, 0.8)),
        (lambda text: 0.4 if "Number5 " in text else 0.1, ("benign", 0.6, 0.4)),
        (lambda _: 0.1, ("benign", 0.9, 0.1)),
        (lambda _: 0.9, ("injection", 0.9, 0.9)),
    ],
)
def test_a_label_of_any_part_wins_as_soon_as_one_part_has_it(
    chance: Callable[[str], float], given: tuple[str, float, float]
) -> None:
    client = weighing(chance, "injection", "benign")
    result = detect_injection.run(LONG, client=client, context_tokens=HOLDS, calibrate=False)
    assert (result.value, result.parts > 1) == (given[0], True)
    assert (result.confidence, result.probabilities["injection"]) == pytest.approx(given[1:])
    written = counting(lambda text: "injection" if chance(text) > 0.5 else "benign")
    assert detect_injection(LONG, client=written, context_tokens=HOLDS) == given[0]


def test_a_label_of_any_part_must_be_one_of_the_labels() -> None:
    for call, message in (
        (lambda: classify("x", ["a", "b"], any_part="c", client=ScriptedClient("a")), "'c' is none of the labels"),
        (lambda: classify("x", ["a", "b"], several=True, any_part="a", client=ScriptedClient("a")), "needs labels"),
        (lambda: summarize("x", any_part="a", client=ScriptedClient("a")), "needs labels as output"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert classify("x", ["a", "b"], any_part="b", client=ScriptedClient("a")) == "a"


def test_labels_without_probabilities_are_those_of_most_parts() -> None:
    client = counting(lambda text: "negative" if "Number5 " in text else "positive")
    result = classify_sentiment.run(LONG, client=client, context_tokens=HOLDS)
    assert result.value == "positive"
    assert result.confidence == pytest.approx(1 - 1 / result.parts, abs=1e-5)


def test_a_set_has_every_label_that_a_part_has() -> None:
    client = counting(
        lambda text: "train" if "Number5 " in text else "quiet, alone" if "Number900 " in text else "none"
    )
    task = Task.of("Which?", {"any_of": ["alone", "quiet", "train", "war"]}, client=client, context_tokens=HOLDS)
    assert task(LONG) == ["alone", "quiet", "train"]


def test_a_number_is_that_of_the_part_that_has_it() -> None:
    result = calculate.run(LONG, client=counting(lambda t: "7" if "Number7 " in t else "none"), context_tokens=HOLDS)
    assert (result.value, result.parts > 3, len(result.completions)) == (7, True, result.parts)
    torn = calculate.run(LONG, client=counting(lambda t: "7" if "Number7 " in t else "8"), context_tokens=HOLDS)
    assert torn.confidence == pytest.approx(1 - 1 / torn.parts)
    assert torn.warnings[1] == "the parts say 2 different things: 7, 8"
    nothing = calculate.run(LONG, client=counting(lambda _: "none"), context_tokens=HOLDS)
    assert str(nothing.error) == "no part of the text says it"


class Trip(BaseModel):
    who: str
    days: int | None
    places: list[str]
    note: str = "none given"


def test_a_record_has_of_each_field_what_a_part_has_of_it() -> None:
    def say(text: str) -> str:
        who = "Ada" if "Number7 " in text else None
        places = dict.fromkeys(re.findall(r"Number5\b|Number901\b|Paris", text))
        return json.dumps({"who": who, "days": None, "places": [*places]})

    client = counting(say)
    result = extract.run(LONG, Trip, client=client, context_tokens=HOLDS)
    assert result.value == Trip(who="Ada", days=None, places=["Paris", "Number5", "Number901"])
    assert all("null" in request.prefix.messages[0].content for request in client.requests)
    lacking = extract.run(LONG, Trip, client=counting(lambda _: '{"who": null, "places": []}'), context_tokens=HOLDS)
    assert isinstance(lacking.error, OutputError)


@pytest.mark.parametrize(
    ("ask", "one", "other"),
    [
        (classify_sentiment.run, "positive", "negative"),
        (calculate.run, "7", "8"),
        (lambda text, **options: answer.run("Where to?", text, **options), "Paris", "London"),
        (
            lambda text, **options: extract.run(text, Trip, **options),
            '{"who": "Ada", "days": 2, "places": []}',
            '{"who": "Ada", "days": 3, "places": []}',
        ),
    ],
    ids=["label", "number", "text", "record"],
)
def test_of_parts_that_say_different_things_equally_surely_none_is_given(ask: Any, one: str, other: str) -> None:
    client = counting(lambda text: one if "Number5 " in text else other)
    result = ask(LONG[:40_000], client=client, context_tokens=HOLDS)
    assert (result.parts, result.value, result.abstained, result.error) == (2, None, True, None)
    assert "held back: the parts say different things" in result.warnings[1]


def test_an_answer_is_that_of_the_part_that_answers() -> None:
    client = counting(lambda text: "Paris" if "Number7 " in text else "I don't know")
    result = answer.run("Where to?", LONG, client=client, context_tokens=HOLDS)
    assert result.value == "Paris"
    assert all("Where to?" in asked(request) for request in client.requests)
    assert answer("Why?", LONG, client=counting(lambda _: "I don't know"), context_tokens=HOLDS) is None


def test_a_summary_is_one_of_the_summaries_and_a_translation_goes_along() -> None:
    client = counting(lambda text: "All of it." if "Some of it." in text else "Some of it.")
    result = summarize.run(LONG, client=client, context_tokens=HOLDS)
    assert (result.value, len(client.requests)) == ("All of it.", result.parts + 1)
    shout = counting(lambda text: text.rpartition("English: ")[2].partition("\nFrench:")[0].strip().upper())
    text = LONG[:40_000].rpartition(".")[0] + "."
    said = translate.run(text, client=shout, context_tokens=HOLDS)
    assert said.value == text.upper()


def test_a_text_that_fits_or_is_to_be_refused_is_asked_as_it_is() -> None:
    for options in ({"context_tokens": 40_000}, {"context_tokens": HOLDS, "long": "refuse"}):
        client = counting(lambda _: "neutral")
        result = classify_sentiment.run(LONG, client=client, **options)
        assert (result.value, result.parts, result.warnings, len(client.requests)) == ("neutral", 1, (), 1)


def limited(server: FaultServer, holds: int, told: str) -> str:
    """Let a server refuse what is longer than its model holds, at four characters a token; give its address."""

    def reply(body: dict[str, Any]) -> Any:
        count = sum(len(turn["content"]) for turn in body.get("messages", ())) // 4
        if count + 8 <= holds:
            return None
        return 400, {}, error(told.format(holds=holds, count=count), code="context_length_exceeded")

    server.reply = reply
    return server.base_url


OPENAI = "This model's maximum context length is {holds} tokens. However, your messages resulted in {count} tokens."


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.mark.parametrize("told", [OPENAI, "prompt is too long"])
def test_what_a_service_refuses_as_too_long_is_cut_and_remembered(server: FaultServer, told: str) -> None:
    server.answer = lambda body: people(body["messages"][-1]["content"])
    options: dict[str, Any] = {"base_url": limited(server, 4096, told), "api_key": "k", "model": "m"}
    task = find.task(["person"], **options)
    result = task.run(LONG)
    assert result.error is None
    assert [s.text for s in result.value or []] == re.findall(r"Ada Number\d+", LONG)
    before = len(server.requests)
    again = task.run(LONG)
    assert (again.value, again.parts) == (result.value, result.parts)
    assert told != OPENAI or len(server.requests) - before == again.parts
    refused = task.using(long="refuse").run(LONG)
    assert isinstance(refused.error, ServiceError)
    assert "too long" in str(refused.error)


def test_where_the_shots_alone_do_not_fit_nothing_is_cut(server: FaultServer) -> None:
    shots = [(f"{DAYS[n]} {n} " * 4, "x") for n in range(40)]
    url = limited(server, 2048, OPENAI)
    task = Task.of("Which?", ["x", "y"], shots, base_url=url, api_key="k", model="m", k=40, scoring=False)
    for text in ("Short.", LONG[:9000]):
        result = task.run(text)
        assert isinstance(result.error, ServiceError)
        assert "too long" in str(result.error)


def test_a_model_says_how_much_it_holds_where_its_service_lists_it(server: FaultServer) -> None:
    listed = {"data": [{"id": "m", "max_model_len": 8192}]}
    server.reply = lambda body: None if "messages" in body else (200, {}, json.dumps(listed).encode())
    server.answer = lambda _: "neutral"
    result = classify_sentiment.run(LONG, base_url=server.base_url, api_key="k", model="m", scoring=False)
    assert (result.value, result.parts > 3) == ("neutral", True)
    assert [seen.method for seen in server.requests].count("GET") == 1


def test_parts_are_rows_of_the_cache_and_of_bulk_runs(server: FaultServer) -> None:
    server.answer = lambda _: "neutral"
    task = classify_sentiment.task(base_url=server.base_url, api_key="k", model="m", scoring=False, cache=True)
    task = task.using(context_tokens=HOLDS)
    results = list(task.map([LONG, "Short.", LONG + " Another end."]))
    assert [(result.value, result.parts > 1) for result in results] == [("neutral", True), ("neutral", False)] * 1 + [
        ("neutral", True)
    ]
    posts = len(server.requests)
    again = task.run(LONG)
    assert (again.cached, len(server.requests)) == (True, posts)


def test_a_batch_has_all_parts_at_once(tmp_path: Path) -> None:
    service = Service()
    service.answer = lambda _text, _times: "positive"
    task = Task.of(
        "Which?", ["positive", "negative"], [("Fine.", "positive")], client=service.client(), model="gpt-6-luna"
    )
    run = BatchRun(task.using(scoring=False, context_tokens=HOLDS), tmp_path / "run")
    status = run.submit([LONG])
    assert run.fetch(wait=True, poll=0).finished
    [result] = run.results()
    assert (result.value, result.parts) == ("positive", status.requests)
    assert result.parts > 3


def test_a_promise_made_on_whole_texts_does_not_hold_for_parts() -> None:
    client = weighing(lambda text: 0.9 if "good" in text else 0.1)
    rows = [(f"It is {'good' if n % 2 else 'bad'}, number {n}.", ["negative", "positive"][n % 2]) for n in range(60)]
    task = Task.of("Which?", ["positive", "negative"], client=client, context_tokens=4096)
    fitted = task.calibrate(rows, risk=0.3)
    short, long = fitted.run("It is good."), fitted.run(LONG)
    assert (short.value, short.abstained) == ("positive", False)
    assert (long.value, long.abstained, long.fit) == (None, True, "")
    assert any("it was fitted for whole texts, and this one was read in" in warning for warning in long.warnings)
