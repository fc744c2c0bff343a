"""A question to a model, with all that decides how it is asked and read, and the answer that it came to."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fewshot.calibration.promise import text_of
from fewshot.calibration.ridge import Top, token_features
from fewshot.inference.answerable import LISTED, refusal_of
from fewshot.narrowing.head import Reading
from fewshot.narrowing.prompt import NarrowedPrompt
from fewshot.outputs.kinds import Output
from fewshot.prompts.prompt import Prompt
from fewshot.prompts.selection import BY_QUESTION
from fewshot.result import Field
from fewshot.settings import Settings
from fewshot.types import Completion, Form, Json, Request

if TYPE_CHECKING:
    from fewshot.calibration.calibration import Calibration

__all__ = ["Answer", "Question", "Talk", "left_out"]

Talk = Generator[tuple[Request, ...], tuple[Completion, ...], "Answer"]
"""A conversation: yields requests to send side by side, is sent their completions, returns the answer."""


_MOST_LISTED = 50_000
"""Log-probabilities in one reply: they are listed for every token, and thousands of tokens would make it too long."""
_LISTED_IN_RECORDS = 20
"""Log-probabilities that are listed for every token of a record."""
_NO_THINKING: tuple[tuple[str, Any], ...] = (
    ("chat_template_kwargs", Json('{"enable_thinking": false}')),
    ("reasoning_effort", "none"),
    ("think", False),
)
"""How servers are told not to think: vLLM, SGLang and llama.cpp; OpenAI, OpenRouter and Gemini; Ollama."""


@dataclass(frozen=True)
class Question:
    """One input, and everything that decides how it is asked and how the answer is read."""

    prompt: Prompt
    inputs: Mapping[str, Any]
    settings: Settings
    model: str
    form: Form
    top_logprobs: int | None
    """How many log-probabilities the endpoint lists; None when it lists none."""
    decides: bool = False
    """The endpoint gives a distribution over labels itself (decisions)."""
    continues: bool = False
    """The endpoint goes on from an unfinished assistant turn (llama.cpp does)."""
    extra: tuple[tuple[str, Any], ...] = ()
    room: int = 0
    """Tokens that this model was seen to need at least (it may think before it answers)."""
    thinks: Literal["", "seen", "always"] = ""
    """Whether this model was seen to think before it answers: it is asked not to, or that was seen to be in vain."""
    window: int = 0
    """Tokens that the model holds, question and answer together; 0 where nobody says, or it is of no matter."""
    counted: tuple[float, ...] = ()
    """Tokens of the prompt without its text, and of each block of that, as the model's own server counts; or of all."""
    calibration: Calibration | None = None
    completions: list[Completion] = field(default_factory=list)
    """Filled as the conversation goes, so that nothing paid for is forgotten when it fails."""
    thoughts: list[str] = field(default_factory=list)
    """What the model thought before each of these."""
    refusals: list[int] = field(default_factory=list)
    """Statuses with which the decisions endpoint refused."""
    windows: list[int] = field(default_factory=list)
    """Tokens that the model holds, as refusals of too long a text told."""
    of_parts: list[Request] = field(default_factory=list)
    """What was asked first of the parts of a text."""

    @cached_property
    def output(self) -> Output[Any]:
        """How the answer is read."""
        return self.prompt.output

    @cached_property
    def reading(self) -> Reading | None:
        """What a head says of all the labels, where the prompt holds only its candidates."""
        return self.prompt.reading if isinstance(self.prompt, NarrowedPrompt) else None

    @cached_property
    def is_scored(self) -> bool:
        """Whether to read label probabilities: a closed set, wanted, and the model lists what it may say."""
        if self.output.labels is None or self.thinks == "always":
            return False
        return self.settings.scoring and self.top_logprobs is not None

    @property
    def found_silent(self) -> bool:
        """Whether a token came without the log-probabilities asked for; half a character has none on llama.cpp."""
        if not self.is_scored or not self.completions or any(self.thoughts):
            return False
        first = self.completions[0]
        return "\ufffd" not in first.text and not (first.tokens and first.tokens[0].top)

    @property
    def listed(self) -> int | None:
        """How many log-probabilities to ask for where labels are read."""
        most = _MOST_LISTED // max(self.settings.max_tokens or self.longest_answer, self.room)
        return self.top_logprobs and min(self.top_logprobs, most)

    @property
    def extra_without_thinking(self) -> tuple[tuple[str, Any], ...]:
        """The further parameters, and those that ask not to think, unless the caller decides that."""
        own = {name for name, _ in self.extra}
        decided = self.form == "text" or bool(own & {"reasoning", "thinking", *(name for name, _ in _NO_THINKING)})
        return self.extra if decided else (*self.extra, *_NO_THINKING)

    @property
    def top(self) -> Top:
        """The likeliest tokens where the answer begins; known when it was asked."""
        return self.completions[0].tokens[0].top if self.completions and self.completions[0].tokens else ()

    def features(self, top: Top) -> dict[str, float]:
        """Give what its calibration reads beside the labels' own probabilities.

        Arguments:
            top: the likeliest tokens where the answer begins.
        """
        calibration = self.calibration
        of_head = self.reading.features if self.reading else {}
        of_text = self.vector if calibration and calibration.encoder else {}
        return {**token_features(top, calibration.features if calibration else ()), **of_head, **of_text}

    @cached_property
    def vector(self) -> dict[str, float]:
        """What the sentence encoder makes of the inputs, under names of their own."""
        from fewshot.models.local.encoder import features_of

        return features_of([text_of(self.inputs)])[0]

    @property
    def listed_with_answers(self) -> int | None:
        """How many log-probabilities to ask for beside a written answer: none where only its own tokens count."""
        if self.top_logprobs is None or not self.settings.scoring or self.thinks == "always":
            return None
        closed = any(field.values for field in self.output.fields)
        if refusal_of(self.output) is None and not closed:
            return 0
        most = _MOST_LISTED // (self.settings.max_tokens or self.longest_answer)
        return min(self.top_logprobs, _LISTED_IN_RECORDS if closed else LISTED, most)

    @property
    def longest_answer(self) -> int:
        """Tokens enough for any valid answer: a token is seldom shorter than a byte of a label, or half a word."""
        output = self.output
        if output.labels is not None:
            return 8 + max(8, output.longest_label)
        return 64 if output.kind == "number" else 512

    def read(self, text: str, *, sent_schema: bool) -> tuple[Any, tuple[str, ...]]:
        """Give the value of an answer, and the texts of the spans that were left out of it."""
        value = self.output.parse_json(text) if sent_schema else self.output.parse(text, cue=self.prompt.cue)
        return self.output.placed(value, self.inputs)

    def request(self, **changes: Any) -> Request:
        """Build the request for the question itself, which is rendered once."""
        return Request(**self._asked | changes)

    @cached_property
    def plain(self) -> Request:
        """The request for the question itself."""
        return self.request()

    @cached_property
    def _asked(self) -> dict[str, Any]:
        settings = self.settings
        chosen_anew = settings.select in BY_QUESTION and self.reading is None
        common: dict[str, Any] = {
            "model": self.model,
            "temperature": settings.temperature,
            "seed": settings.seed,
            "max_tokens": max(settings.max_tokens or self.longest_answer, self.room),
            "extra": self.extra_without_thinking if self.thinks == "seen" else self.extra,
        }
        if self.form == "text":
            common |= {"text": self.prompt.text(self.inputs), "stop": settings.stop or (self.prompt.stop,)}
            common["shared"] = (len(self.prompt.text_prefix) - (len(self.prompt.shots_text) if chosen_anew else 0),)
        else:
            common |= {
                "prefix": self.prompt.prefix,
                "messages": (self.prompt.turn(self.inputs),),
                "stop": settings.stop,
                "shared": (bool(self.prompt.instruction) if chosen_anew else len(self.prompt.prefix.messages),),
            }
        if self.reading is not None:  # the labels and the shots are those of this question alone
            common["shared"] = ()
        return common


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a conversation came to."""

    value: Any
    method: str
    probabilities: Mapping[str, float] | None = None
    confidence: float | None = None
    coverage: float | None = None
    calibration: str = "none"
    warnings: tuple[str, ...] = ()
    sure: float | None = None
    """Mean token probability of a written answer."""
    fields: Mapping[str, Field] | None = None
    """What is known of each field of a record."""
    held_back: bool = False
    """Whether it is held back whatever its confidence: no label may be right, or none is likelier than all others."""
    room: int = 0
    """Tokens that it took to get an answer after one that was cut off; 0 when none was."""
    parts: int = 1
    """In how many parts the text was read."""

    def falls_short(self, least: float | Mapping[str, float]) -> bool:
        """Tell whether to hold it back: nothing says of an answer without a confidence that it has enough."""
        if isinstance(least, Mapping):
            return any(self.short_fields(least))
        return self.confidence is None or self.confidence < least

    def short_fields(self, least: Mapping[str, float]) -> Iterator[str]:
        """Say which fields of a record are not as sure as they must be."""
        fields = self.fields or {}
        for name, wanted in least.items():
            sure = fields[name].confidence if name in fields else None
            if sure is None or sure < wanted:
                told = "no confidence" if sure is None else f"a confidence of {sure:.3f}"
                yield f"held back: the field {name!r} has {told}, and min_confidence wants {wanted:g}"


def left_out(missing: Sequence[str]) -> tuple[str, ...]:
    """Tell how many spans were left out, if any."""
    return (f"spans left out that are not in the text: {len(missing)}",) if missing else ()
