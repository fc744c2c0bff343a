"""How a task is asked: everything that may be overridden for one call, as one table.

Each field of `Settings` says once what it takes and what it means. From that come the checks of calls, `Task.using`,
`task.toml` and the command line, its options, the table in the documentation, and what is meant by a near name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal, TypedDict, get_args

from fewshot._options import check_all, meant, setting, table
from fewshot.errors import InputError
from fewshot.types import Form

__all__ = ["Options", "Select", "Settings", "TaskOptions"]

Select = Literal["first", "random", "balanced", "bm25", "embedding"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a task. None means: the default that suits the task and the endpoint."""

    model: str | None = setting(
        "text", None, "model name; `local` or a path to a GGUF file means the embedded model",
        near=("model_name", "engine", "llm", "deployment", "model_id"), decides=False,
    )  # fmt: skip
    base_url: str | None = setting(
        "text", None, "where an OpenAI-compatible server is, as `https://host/v1`",
        near=("url", "endpoint", "api_base", "server", "host", "base", "address", "baseurl"),
        decides=False, in_folder=False,
    )  # fmt: skip
    api_key: str | None = setting(
        "text", None, "the key for that server; by default `OPENAI_API_KEY`",
        near=("key", "token", "apikey", "openai_api_key"), secret=True, decides=False, in_folder=False,
    )  # fmt: skip
    client: Any = setting(
        "any", None, "your own `openai.OpenAI`, `openai.AsyncOpenAI`, or anything with our `complete` method",
        near=("openai", "openai_client"), decides=False, in_folder=False,
    )  # fmt: skip
    form: Form | None = setting(
        "text", None, "chat turns or plain completion; by default text for the embedded model and chat for services",
        choices=get_args(Form), near=("mode", "format", "prompt_form", "chat", "completion"),
    )  # fmt: skip
    k: int | None = setting(
        "whole", None, "how many shots; by default all that fit, and 16 of 48 or more that have labels", least=0,
        near=("shots", "n_shots", "num_shots", "nshots", "shot", "n_examples", "num_examples", "num_fewshot"),
    )  # fmt: skip
    select: str = setting(
        "text", "first", "which shots; bm25 and embedding look at the question", choices=get_args(Select),
        near=("selector", "selection", "strategy", "shot_selection", "retriever", "sampling"),
    )  # fmt: skip
    embedding_model: str | None = setting(
        "text", None, "the model for `select='embedding'`; by default OpenAI's small one there, and elsewhere the "
        "model itself", near=("embedder", "embeddings", "embed_model"),
    )  # fmt: skip
    candidates: bool | int | None = setting(
        "flag or whole", None, "ask only about the labels that a head on the examples holds possible, or this many; "
        "by default of more than 20 labels with 2 examples each",
        near=("narrow", "top_labels", "n_candidates", "shortlist"),
    )  # fmt: skip
    candidate_rows: int = setting(
        "whole", 40, "of how many examples the model is asked at first use, to weigh it against that head; 0 leaves "
        "it unasked", least=0, near=("head_rows",),
    )  # fmt: skip
    out_of_scope: float | None = setting(
        "number", None, "abstain from what is less like any label than this share of the examples; needs candidates",
        least=0, most=1, near=("oos", "scope", "out_of_domain"),
    )  # fmt: skip
    temperature: float = setting("number", 0.0, "how freely tokens are drawn", least=0, most=2, near=("temp",))
    top_p: float | None = setting(
        "number", None, "draw among the likeliest tokens that hold this probability together",
        least=0, most=1, near=("nucleus", "topp"),
    )  # fmt: skip
    seed: int = setting(
        "whole", 0, "decides what is drawn: shots, votes, and tokens where the service lets it",
        near=("random_state", "random_seed"),
    )  # fmt: skip
    max_tokens: int | None = setting(
        "whole", None, "longest answer, in tokens; by default enough for the labels, or 512", least=1,
        near=("max_completion_tokens", "max_new_tokens", "max_output_tokens", "max_length", "num_predict", "length"),
    )  # fmt: skip
    stop: tuple[str, ...] = setting(
        "texts", (), "texts that end an answer",
        near=("stop_sequences", "stop_words", "stops", "stop_sequence", "until"),
    )  # fmt: skip
    reasoning_effort: str | None = setting(
        "text", None, "how long a reasoning model thinks, as `low`", near=("effort", "reasoning", "thinking")
    )
    service_tier: str | None = setting(
        "text", None, "at which tier a service answers, as `flex`", near=("tier", "priority"), decides=False
    )
    extra_body: dict[str, Any] | None = setting(
        "json", None, "further fields of the request, as the service names them",
        near=("body", "params", "model_kwargs", "extra", "extra_params"),
    )  # fmt: skip
    extra_headers: dict[str, str] | None = setting(
        "texts by name", None, "further HTTP headers of the request",
        near=("headers", "default_headers", "http_headers"), secret=True, in_folder=False,
    )  # fmt: skip
    extra_query: dict[str, Any] | None = setting(
        "values by name", None, "further parameters in the address of the request",
        near=("query", "query_params", "default_query"), secret=True, in_folder=False,
    )  # fmt: skip
    timeout: float | None = setting(
        "number", None, "seconds for one call as a whole, retries and repairs included; by default 60, and as long as "
        "it takes for the embedded model", above=0, decides=False,
        near=("request_timeout", "time_limit", "deadline", "max_time"),
    )  # fmt: skip
    max_retries: int = setting(
        "whole", 5, "how often a failing service is asked again", least=0, decides=False,
        near=("retries", "num_retries", "n_retries", "attempts"),
    )  # fmt: skip
    max_repairs: int = setting(
        "whole",
        2,
        "how often the model is asked again after an answer that is not valid",
        least=0,
        most=100,
        near=("repairs",),
    )
    scoring: bool = setting(
        "flag", True, "read label probabilities from log-probabilities where the endpoint gives them",
        near=("logprobs", "score", "use_logprobs", "probabilities"),
    )  # fmt: skip
    decisions: bool | None = setting(
        "flag", None, "ask the decisions endpoint for label probabilities; by default only `gpt-6-luna` at OpenAI, "
        "which has one", near=("decide",),
    )  # fmt: skip
    calibrate: bool | None = setting(
        "flag", None, "calibrate from the task's own examples at first use of a model; by default only the embedded "
        "one", near=("calibration", "calibrated"),
    )  # fmt: skip
    votes: int = setting(
        "whole", 1, "sample this many answers and take the majority (self-consistency)", least=1, most=1000,
        near=("n", "samples", "n_samples", "num_samples", "self_consistency", "voting", "n_votes", "best_of"),
    )  # fmt: skip
    min_confidence: float | Mapping[str, float] | None = setting(
        "number", None, "abstain below this probability, of the answer or of fields by name; infinity abstains always",
        by_field=True, least=0, most=1, also=(math.inf,),
        near=("threshold", "confidence", "confidence_threshold", "min_probability", "cutoff", "min_prob", "abstain"),
    )  # fmt: skip
    price: tuple[float, float] | None = setting(
        "price", None, "US dollars for a million tokens of input and of output, as `0.10,0.40`; by default from the "
        "table of prices", near=("prices", "cost", "rate"), decides=False, in_folder=False,
    )  # fmt: skip
    long: Literal["cut", "refuse"] = setting(
        "text", "cut", "a text longer than the model holds is cut into parts, or refused by the service as it comes",
        choices=("cut", "refuse"), near=("long_text", "truncate", "truncation", "chunk", "chunking", "overflow"),
    )  # fmt: skip
    any_part: str | None = setting(
        "text", None, "the label that a text in parts has as soon as one part has it; by default it is the parts' mean",
        near=("any", "any_label", "wins"),
    )  # fmt: skip
    context_tokens: int | None = setting(
        "whole", None, "tokens that the model holds, question and answer together; by default what its service says",
        least=1, near=("context_length", "context_size", "context_window", "max_context", "max_model_len", "n_ctx",
        "num_ctx", "window"),
    )  # fmt: skip
    cache: bool = setting(
        "flag", False, "keep answers on disk and give them again for the same request", decides=False,
        near=("caching", "use_cache", "cached"),
    )  # fmt: skip
    redact: Any = setting(
        "redact", None, "replace private data before sending: True, names of patterns, or detectors",
        near=("pii", "anonymize", "anonymise", "mask", "privacy", "redaction"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_all(self)

    def updated(self, options: Mapping[str, Any]) -> Settings:
        """Give these settings with some of them replaced; raises InputError for an unknown name or a bad value."""
        if not options:
            return self
        known = table(Settings)
        for name in options:
            if name not in known:
                raise InputError(f"unknown option {name!r}{meant(name, known)}", field=name)
        return replace(self, **options)

    def fits_at_first_use(self, *, local: bool) -> bool:
        """Tell whether a task is to be calibrated when it is first asked; by default the embedded model's are."""
        return local if self.calibrate is None else self.calibrate

    @property
    def asked_as(self) -> str:
        """The settings beside the prompt on which answers and their confidence depend: what a promise is made for."""
        names = "scoring decisions votes temperature max_tokens stop reasoning_effort max_repairs extra_body".split()  # noqa: SIM905
        ours, written = Settings(), self.deciding_the_answer
        values = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(ours, name)}
        values |= {name: written[name] for name in ("extra_headers", "extra_query", "redact") if getattr(self, name)}
        return ", ".join(f"{name}={value}" for name, value in values.items()) or "defaults"

    @property
    def deciding_the_prompt(self) -> list[Any]:
        """The settings on which the prompt depends: what a calibration is fitted for."""
        return [self.k, self.select, self.seed, self.form, self.embedding_model]

    @property
    def deciding_the_answer(self) -> dict[str, str]:
        """Every setting that can change an answer, in writing; of what may hold a key, a digest."""
        values = {name: (about, getattr(self, name)) for name, about in table(Settings).items() if about.decides}
        return {name: _digest(value) if about.secret else repr(value) for name, (about, value) in values.items()}


def _digest(value: object) -> str:
    return "None" if value is None else sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


class Options(TypedDict, total=False):
    """Keyword options that every task function takes; `Settings` says what each means."""

    model: str | None
    base_url: str | None
    api_key: str | None
    client: Any
    form: Form | None
    k: int | None
    select: Select
    embedding_model: str | None
    candidates: bool | int | None
    candidate_rows: int
    out_of_scope: float | None
    temperature: float
    top_p: float | None
    seed: int
    max_tokens: int | None
    stop: str | Sequence[str]
    reasoning_effort: str | None
    service_tier: str | None
    extra_body: Mapping[str, Any] | None
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, Any] | None
    timeout: float | None
    max_retries: int
    max_repairs: int
    scoring: bool
    decisions: bool | None
    calibrate: bool | None
    votes: int
    min_confidence: float | Mapping[str, float] | None
    price: tuple[float, float] | None
    long: Literal["cut", "refuse"]
    any_part: str | None
    context_tokens: int | None
    cache: bool
    redact: Any


class TaskOptions(Options, total=False):
    """Keyword options that make a task in code: besides how it is asked, what it is called and what it takes."""

    name: str
    inputs: Sequence[str] | Mapping[str, Any] | None
    """Names of the inputs, or each with its default (`...` for none); by default what the template uses."""
    parameters: Mapping[str, Any] | None
    """What stays the same over many calls, with its value."""
