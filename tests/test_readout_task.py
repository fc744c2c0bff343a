"""A task calibrated on rows reads all the next tokens that are listed, where those tell more than the labels' own."""

from __future__ import annotations

import math

from fewshot import Completion, Request, Task
from fewshot.models.scripted import ScriptedClient
from fewshot.types import TokenLogprob


class Hinting(ScriptedClient):
    """Says the same of both labels whatever the text, and gives itself away by other tokens."""

    top_logprobs = 20

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        good = "sun" in request.chat[-1].content
        shares = {"positive": 0.3, "negative": 0.2, "lovely": 0.2 if good else 0.02, "sad": 0.02 if good else 0.2}
        top = tuple((token.encode(), math.log(p)) for token, p in sorted(shares.items(), key=lambda s: -s[1]))
        return Completion(text="p", finish_reason="length", tokens=(TokenLogprob(*top[0], top),))


def test_other_tokens_decide_where_the_labels_own_say_nothing() -> None:
    task = Task.of("Judge.", ["positive", "negative"], client=Hinting())
    rows = [(f"sun {i}", "positive") if i % 2 else (f"rain {i}", "negative") for i in range(60)]
    assert task("rain at noon") == "positive", "before: always the same"
    fitted = task.calibrate(rows)
    assert (fitted("rain at noon"), fitted("sun at noon")) == ("negative", "positive")
    assert fitted.run("sun at noon").confidence > 0.9  # type: ignore[operator]
