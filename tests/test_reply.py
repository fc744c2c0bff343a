"""A reply is believed only as far as it has been checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fewshot.errors import ServiceError
from fewshot.models.wire.response import Reply, read_completion, read_json
from fewshot.types import Completion, Message, Request, TokenLogprob, Usage

CHAT = Request(model="m", messages=(Message("user", "x"),))
TEXT = Request(model="m", text="x")


def reply(value: object, **headers: str) -> Reply:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Reply(200, headers, body)


def chat(content: object = "hi", finish_reason: object = "stop", logprobs: object = None, **message: Any) -> Completion:
    choice = {"message": {"content": content, **message}, "finish_reason": finish_reason, "logprobs": logprobs}
    return read_completion(reply({"choices": [choice]}), CHAT)


def test_everything_that_is_used_is_read() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}}
    choices = [{"message": {"content": "hi"}, "finish_reason": "stop"}]
    envelope = {"choices": choices, "usage": usage, "model": "m-1", "system_fingerprint": "fp"}
    found = read_completion(reply(envelope, **{"x-request-id": "r"}), CHAT, dropped=("seed",), attempts=3)
    assert found == Completion(
        text="hi", texts=("hi",), usage=Usage(9, 2, 8), model="m-1", request_id="r", fingerprint="fp", attempts=3,
        dropped=("seed",),
    )  # fmt: skip


@pytest.mark.parametrize("used", [10**12, 10**6, 10**400, 1e12, "7", True, -3])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "cached_tokens"])
def test_a_count_is_believed_within_what_was_sent(name: str, used: object) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}}
    (usage["prompt_tokens_details"] if name == "cached_tokens" else usage)[name] = used
    found = read_completion(reply({"choices": [{"message": {"content": "hi"}}], "usage": usage}), CHAT).usage
    assert 0 <= found.cached_tokens <= found.input_tokens <= 9
    assert found.output_tokens in (0, 1, 2)


@pytest.mark.parametrize("usage", [None, "x", {}, {"prompt_tokens": None, "completion_tokens": -1}])
def test_missing_usage_counts_as_nothing(usage: object) -> None:
    body = {"choices": [{"message": {"content": "hi"}}], "usage": usage}
    assert read_completion(reply(body), CHAT).usage == Usage()


def test_several_answers_are_given_in_their_order() -> None:
    choices = [{"index": i, "message": {"content": str(i)}} for i in (2, 0, 1)]
    found = read_completion(reply({"choices": choices}), Request(model="m", messages=CHAT.messages, n=3))
    assert (found.text, found.texts) == ("0", ("0", "1", "2"))
    assert read_completion(reply({"choices": choices}), CHAT).text == "0"


def test_how_it_ended_is_told() -> None:
    assert chat("cut", "length").finish_reason == "length"
    assert (chat(None, "length").text, chat(None, "content_filter").finish_reason) == ("", "content_filter")
    assert chat("hi", None).finish_reason == "stop"
    assert [chat("hi", r).finish_reason for r in ("MAX_TOKENS", "model_length", "SAFETY", "EOS", "odd_word")] == [
        "length", "length", "content_filter", "stop", "odd_word",
    ]  # fmt: skip
    assert (chat(None).text, chat(None, reasoning_content="Hm.").thinking) == ("", "Hm.")
    refusal = chat(None, refusal="I cannot")
    assert (refusal.finish_reason, refusal.text) == ("refusal", "I cannot")
    assert chat(None, tool_calls=[{"id": "1"}]).finish_reason == "tool_calls"
    assert chat([{"type": "refusal", "refusal": "I cannot"}]).finish_reason == "refusal"
    assert chat(None, function_call={"name": "f"}).finish_reason == "tool_calls"


def test_a_content_may_come_in_parts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    for content in (
        [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], ["a", "b"], {"type": "text", "text": "ab"},
        [thought, {"type": "text", "text": "ab"}], [{"type": "reasoning", "text": "Hm."}, "ab"],
    ):  # fmt: skip
        found = chat(content)
        assert (found.text, found.thinking) == ("ab", "Hm." if "Hm." in str(content) else "")


def test_an_answer_in_the_other_endpoints_shape_is_read_and_no_text_is_an_empty_one() -> None:
    other = {"choices": [{"text": "hi", "finish_reason": "stop"}]}
    assert read_completion(reply(other), CHAT).text == "hi"
    assert read_completion(reply({"choices": [{"message": {"content": "hi"}}]}), TEXT).text == "hi"
    assert read_completion(reply({"choices": [{"text": None, "finish_reason": "length"}]}), TEXT).text == ""


ENDS = {
    "stop": "stop STOP eos_token COMPLETE end_turn stop_sequence eosFound FINISHED endoftext end_of_text",
    "length": "length MAX_TOKENS model_length max-tokens contextLengthReached maximum_tokens",
    "content_filter": "content-filter SAFETY RECITATION sensitive ERROR_TOXIC guardrail_intervened",
    "tool_calls": "tool_use function_call UNEXPECTED_TOOL_CALL",
}


@pytest.mark.parametrize(("means", "said"), [(means, word) for means, words in ENDS.items() for word in words.split()])
def test_each_services_word_for_the_end_is_known(means: str, said: str) -> None:
    assert chat("hi", said).finish_reason == means


@pytest.mark.parametrize("said", ["other", "LANGUAGE", "pause_turn", 2, True, {"reason": "stop"}])
def test_an_end_of_which_nothing_is_known_is_not_taken_for_a_whole_answer(said: object) -> None:
    assert chat("hi", said).finish_reason not in ("stop", "length")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"<html>",
        b'{"choices": [{"message": {"content": "hi"',
        b"\xff\xfe",
        b'{"choices":' + b"[" * 100_000,
        b'{"choices":' + b"[" * 100_000 + rb'"\ud800"' + b"]" * 100_000 + b"}",
        {"error": {"message": "upstream"}},
        {"error": "upstream"},
        {"choices": None},
        {"choices": "nope"},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"content": "a"}, "finish_reason": "error"}]},
        {"choices": [{"message": {"content": "a"}, "error": {"message": "upstream died"}}]},
        b'{"choices": [{"message": {"content": "a"}}], "choices": [{"message": {"content": "b"}}]}',
    ],
)
def test_rubbish_is_an_error_of_the_service_that_may_pass(body: object) -> None:
    with pytest.raises(ServiceError) as caught:
        read_completion(reply(body), CHAT)
    assert caught.value.transient
    assert caught.value.status is None


def test_a_text_that_speaks_of_choices_is_no_second_answer() -> None:
    assert chat('{"choices": [], "choices": 2}').text == '{"choices": [], "choices": 2}'
    assert chat("choices").text == "choices"


def test_half_a_surrogate_pair_becomes_a_replacement_character_and_a_pair_one_character() -> None:
    assert chat("a\ud800b").text == "a\ufffdb"
    assert read_json(reply(rb'{"x": "\ud83d\ude00 \udc00"}')) == {"x": "\U0001f600 \ufffd"}


def test_numbers_that_are_none_do_no_harm_where_they_are_not_used() -> None:
    body = b'{"score": NaN, "inf": -Infinity, "choices": [{"message": {"content": "hi"}}]}'
    assert read_completion(reply(body), CHAT).text == "hi"


@pytest.mark.parametrize("logprob", ["x", 0.7, None, "-Infinity", float("nan"), True])
def test_log_probabilities_that_cannot_be_read_are_none_and_void_no_answer(logprob: object) -> None:
    found = chat("a", logprobs={"content": [{"token": "a", "logprob": logprob}]})
    assert (found.text, found.tokens) == ("a", ())


@pytest.mark.parametrize("spelled", ["\u0120negative", "\u2581negative", " negative"])
def test_tokens_that_are_listed_as_a_vocabulary_spells_them_are_read_as_text(spelled: str) -> None:
    for given in ({"bytes": list(spelled.encode())}, {"bytes": []}, {}):
        (token,) = chat("a", logprobs={"content": [{"token": spelled, "logprob": -0.1, **given}]}).tokens
        assert token.token == b" negative"
    assert chat("a", logprobs={"tokens": ["token_id:5"], "token_logprobs": [-0.1]}).tokens == ()


def test_a_mark_before_the_json_is_read_over() -> None:
    assert read_json(reply(b'\xef\xbb\xbf{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize("before", [b"", b"\n", b": OPENROUTER PROCESSING\n\n", b"event: message\n", b"id: 1\r\n"])
def test_a_stream_of_events_is_told_of_at_once(before: bytes) -> None:
    with pytest.raises(ServiceError, match="stream") as caught:
        read_json(reply(before + b'data: {"choices": []}\n\n'))
    assert not caught.value.transient


def test_logprobs_of_chat_are_bytes() -> None:
    top = [{"token": "\ufffd", "bytes": [226, 130], "logprob": -0.5}, {"token": "no", "bytes": None, "logprob": -2}]
    content = [{**top[0], "top_logprobs": top}]
    assert chat(logprobs={"content": content}).tokens == (
        TokenLogprob(b"\xe2\x82", -0.5, ((b"\xe2\x82", -0.5), (b"no", -2.0))),
    )


def test_logprobs_of_the_older_endpoint_come_in_two_formats() -> None:
    def text(logprobs: object) -> tuple[TokenLogprob, ...]:
        body = {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": logprobs}]}
        return read_completion(reply(body), TEXT).tokens

    lists = {"tokens": [" a"], "token_logprobs": [-0.1], "top_logprobs": [{" a": -0.1, r"bytes:\xe2\x80": -3}]}
    assert text(lists) == (TokenLogprob(b" a", -0.1, ((b" a", -0.1), (b"\xe2\x80", -3.0))),)
    assert text({"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": None}) == (TokenLogprob(b"a", -1.0),)
    assert text({"content": [{"token": "a", "bytes": [97], "logprob": -1, "top_logprobs": []}]}) == (
        TokenLogprob(b"a", -1.0),
    )
    assert text(None) == ()
