"""What is sent, and what a model's refusals teach."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fewshot.errors import InputError
from fewshot.models.endpoint import Endpoint
from fewshot.models.wire.request import Dialect, encode, parameters
from fewshot.models.wire.service_errors import Complaint, named
from fewshot.types import Message, Prefix, Request

SCHEMA = '{"type": "object"}'
THEIRS = Endpoint(model="m", base_url="http://127.0.0.1:8000/v1")
OPENAI = Endpoint(model="m", base_url="https://api.openai.com/v1")
LOCAL = Endpoint(model="m", base_url="http://127.0.0.1:8000/v1", local=True)
CHAT = Request(
    model="m",
    prefix=Prefix((Message("system", "Judge."), Message("user", "a"), Message("assistant", "b"))),
    messages=(Message("user", "é\n\u2028\0"),),
)


def body(request: Request, endpoint: Endpoint = THEIRS) -> Any:
    return json.loads(encode(request, parameters(request, endpoint)))


def test_a_chat_is_sent_as_it_is_and_not_stored() -> None:
    assert body(CHAT) == {
        "model": "m",
        "messages": [{"role": m.role, "content": m.content} for m in CHAT.chat],
        "temperature": 0.0,
        "seed": 0,
        "store": False,
    }


def test_a_setting_that_is_none_is_left_out() -> None:
    assert set(body(replace(CHAT, temperature=None, seed=None))) == {"model", "messages", "store"}


def test_every_setting_has_its_place() -> None:
    full = replace(
        CHAT, max_tokens=5, stop=("\n",), top_logprobs=3, schema=SCHEMA, n=2, extra=(("reasoning_effort", "none"),)
    )
    sent = body(full)
    assert (sent["max_tokens"], sent["stop"], sent["n"], sent["reasoning_effort"]) == (5, ["\n"], 2, "none")
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 3)
    assert sent["response_format"]["json_schema"] == {"name": "answer", "strict": True, "schema": {"type": "object"}}
    assert body(full, OPENAI)["max_completion_tokens"] == 5
    assert "max_tokens" not in body(full, OPENAI)
    assert "top_logprobs" not in body(replace(full, top_logprobs=0))


def test_a_text_prompt_knows_fewer_settings() -> None:
    text = Request(model="m", text="English: a\nFrench:", max_tokens=5, top_logprobs=0, schema=SCHEMA)
    sent = {"model": "m", "prompt": text.text, "max_tokens": 5, "temperature": 0.0, "seed": 0, "logprobs": 1}
    taken = body(text)
    assert taken.pop("response_format")["json_schema"]["schema"] == {"type": "object"}
    assert taken == {**sent, "json_schema": {"type": "object"}}
    assert body(text, LOCAL) == {**sent, "json_schema": {"type": "object"}}


def test_nothing_is_said_of_storing_to_the_embedded_model() -> None:
    assert "store" not in body(CHAT, LOCAL)


def test_the_constant_part_comes_first_and_is_the_same_bytes() -> None:
    one = encode(CHAT, parameters(CHAT, THEIRS))
    other = encode(replace(CHAT, messages=(Message("user", "other"),)), parameters(CHAT, THEIRS))
    shared = one.index(CHAT.prefix.json) + len(CHAT.prefix.json)
    assert one[:shared] == other[:shared]


def test_a_chat_without_a_constant_part_or_without_settings_is_still_json() -> None:
    bare = replace(CHAT, prefix=Prefix(), temperature=None, seed=None)
    assert body(bare, LOCAL) == {"model": "m", "messages": [{"role": "user", "content": "é\n\u2028\0"}]}
    assert body(Request(model="m", text="x", temperature=None, seed=None)) == {"model": "m", "prompt": "x"}
    assert len(body(replace(CHAT, messages=()))["messages"]) == 3


@pytest.mark.parametrize(
    "request_", [replace(CHAT, messages=(Message("user", "a\ud800"),)), Request(model="m", text="\udfff")]
)
def test_half_a_surrogate_pair_is_the_callers_mistake(request_: Request) -> None:
    with pytest.raises(InputError, match="surrogate"):
        body(request_)


SENT = {
    "temperature": 0.0,
    "seed": 0,
    "max_tokens": 5,
    "logprobs": True,
    "top_logprobs": 20,
    "response_format": {"type": "json_schema"},
    "stop": ["\n"],
    "n": 2,
    "store": False,
    "reasoning_effort": "none",
}


@pytest.mark.parametrize(
    ("message", "param", "names"),
    [
        ("Unsupported value: 'temperature' does not support 0 with this model.", "temperature", ["temperature"]),
        ("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'.", None, ["max_tokens"]),
        ("Unrecognized request argument supplied: seed", None, ["seed"]),
        ("Invalid parameter: 'response_format' of type 'json_schema' is not supported", None, ["response_format"]),
        ("Invalid schema for response_format 'answer'", "response_format", ["response_format"]),
        (
            "[{'type': 'extra_forbidden', 'loc': ('body', 'store'), 'msg': 'Extra inputs are not permitted'}]",
            None,
            ["store"],
        ),
        ("top_logprobs is not allowed", None, ["top_logprobs"]),
        ("unknown field `n`", None, ["n"]),
        ("This model doesn't support stop sequences: stop", None, ["stop"]),
        ("Logprobs and SEED: not for this model", None, ["seed", "logprobs"]),
        ("Invalid request.", None, []),
        ("Unsupported: too many nouns in a sentence", None, []),
        ("maximum context length is 8192 tokens", "messages", []),
        ("max_tokens is too large: 5. This model supports at most 4", "max_tokens", ["max_tokens"]),
    ],
)
def test_a_refusal_names_parameters_in_whatever_words(message: str, param: str | None, names: list[str]) -> None:
    assert named(Complaint(message, None, param), SENT) == names


def refuse(dialect: Dialect, name: str, what: str = "is not supported", schema: str | None = None) -> bool:
    sent, _ = dialect.apply(dict(SENT), schema)
    return dialect.learn(400, Complaint(f"'{name}' {what}", None, name), sent, replace(CHAT, schema=schema))


def test_what_is_refused_is_left_out_from_then_on() -> None:
    dialect = Dialect()
    assert refuse(dialect, "seed")
    sent, dropped = dialect.apply(dict(SENT), None)
    assert ("seed" in sent, dropped, dialect.refused) == (False, ("seed",), {"seed"})


def test_the_longest_answer_goes_by_another_name_and_then_by_none() -> None:
    dialect = Dialect()
    assert refuse(dialect, "max_tokens")
    assert dialect.apply(dict(SENT), None)[0]["max_completion_tokens"] == 5
    assert dialect.refused == frozenset()
    assert refuse(dialect, "max_completion_tokens")
    sent, dropped = dialect.apply(dict(SENT), None)
    assert "max_tokens" not in sent
    assert "max_completion_tokens" not in sent
    assert dropped == ("max_tokens",)


def test_log_probabilities_go_together() -> None:
    dialect = Dialect()
    refuse(dialect, "logprobs")
    assert "top_logprobs" not in dialect.apply(dict(SENT), None)[0]


def test_a_smaller_number_of_log_probabilities_is_taken_when_offered() -> None:
    dialect = Dialect()
    refuse(dialect, "top_logprobs", "integer above maximum value. Expected a value <= 5, but got 20 instead.")
    assert dialect.apply(dict(SENT), None)[0]["top_logprobs"] == 5
    assert dialect.refused == frozenset()


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("Requested sample logprobs of 20, which is greater than max allowed: 5", None),
        ("Cannot request more than 5 logprobs.", None),
        ("Invalid value for 'top_logprobs': must be less than or equal to 5.", "top_logprobs"),
        ("Input should be less than or equal to 5", "top_logprobs"),
        ("Range of top_logprobs should be [0, 5]", None),
    ],
)
def test_a_number_of_log_probabilities_that_is_too_large_is_made_smaller_however_it_is_said(
    message: str, param: str | None
) -> None:
    dialect = Dialect()
    assert dialect.learn(400, Complaint(message, None, param), dict(SENT), CHAT)
    sent, changed = dialect.apply(dict(SENT), None)
    assert (sent["logprobs"], sent["top_logprobs"], changed) == (True, 5, ("top_logprobs",))
    older = Dialect()
    assert older.learn(400, Complaint(message.replace("top_", ""), None, param and "logprobs"), {"logprobs": 20}, CHAT)
    assert older.apply({"logprobs": 20}, None)[0] == {"logprobs": 5}


def test_the_least_effort_that_is_offered_is_taken() -> None:
    dialect = Dialect()
    refuse(dialect, "reasoning_effort", "does not support 'none'. Supported values are: 'low', 'medium', and 'high'.")
    assert dialect.apply(dict(SENT), None)[0]["reasoning_effort"] == "low"
    refuse(dialect, "reasoning_effort")
    assert "reasoning_effort" not in dialect.apply(dict(SENT), None)[0]


def test_a_schema_that_breaks_the_rules_does_not_speak_against_others() -> None:
    dialect = Dialect()
    assert dialect.learn(
        400,
        Complaint("Invalid schema for response_format 'answer': ...", None, "response_format"),
        dict(SENT),
        replace(CHAT, schema=SCHEMA),
    )
    assert dialect.apply(dict(SENT), SCHEMA)[1] == ("response_format",)
    assert "response_format" in dialect.apply(dict(SENT), '{"type": "array"}')[0]


def test_a_role_that_is_refused_is_replaced() -> None:
    dialect = Dialect()
    message = "Unsupported value: 'messages[0].role' does not support 'developer' with this model."
    assert dialect.learn(400, Complaint(message, None, "messages[0].role"), dict(SENT), CHAT)
    request = replace(CHAT, prefix=Prefix((Message("developer", "Judge."),)))
    roles = [m["role"] for m in json.loads(encode(request, {}, dialect.roles))["messages"]]
    assert roles == ["system", "user"]


def test_each_parameter_is_given_up_at_most_once_so_learning_ends() -> None:
    dialect = Dialect()
    lessons = 0
    while any(refuse(dialect, name) for name in dialect.apply(dict(SENT), None)[0]):
        lessons += 1
        assert lessons < 50
    assert dialect.apply(dict(SENT), None)[0] == {}


def test_a_bias_of_tokens_is_sent_in_both_forms_and_a_reasoning_effort_in_chats_alone() -> None:
    extra = (("logit_bias", {",": 100.0}), ("reasoning_effort", "low"))
    chat, text = (parameters(replace(CHAT, text=text, extra=extra), THEIRS) for text in (None, "Say:"))
    assert (chat["logit_bias"], chat["reasoning_effort"]) == ({",": 100.0}, "low")
    assert text["logit_bias"] == {",": 100.0}
    assert "reasoning_effort" not in text
