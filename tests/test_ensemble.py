"""Several draws of shots for one question: their label probabilities are averaged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from fewshot import Completion, InputError, Request, Task
from fewshot.models.openai_client import ScriptedClient
from fewshot.types import TokenLogprob

NAMING = """{% block instruction %}One of {{ labels | join(', ') }}.{% endblock %}
{% block input %}Input: {{ input }}{% endblock %}
{% block output %}Answer: {{ output }}{% endblock %}
"""
EXAMPLES = [(f"text {n}", "yes" if n % 2 else "no") for n in range(6)]


class Swayed(ScriptedClient):
    """Says "yes" the more, the later the first of its shots comes in the list."""

    top_logprobs = 20

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        self.requests.append(request)
        yes = {0: 0.5, 2: 0.8, 4: 0.9}[shots_of(request)[0]]
        top = ((b"yes", math.log(yes)), (b"no", math.log(1 - yes)), (b"sun", math.log(0.001)))
        return Completion(text="y", finish_reason="length", tokens=(TokenLogprob(*top[0], top),))


def shots_of(request: Request) -> list[int]:
    asked = [turn.content for turn in request.prefix.messages if turn.role == "user"]
    return [int(text.split("text ")[1].split("\n")[0]) for text in asked]


def judge(client: Any = None, **options: Any) -> Task[str]:
    return Task.of("Judge.", ["yes", "no"], EXAMPLES, client=client or Swayed(), **{"k": 2, **options})


def test_each_draw_has_other_shots_and_all_are_asked_once() -> None:
    client = Swayed()
    judge(client, ensemble=3).run("text 9")
    assert [shots_of(request) for request in client.requests] == [[0, 1], [2, 3], [4, 5]]


def test_the_log_probabilities_are_averaged_and_the_result_says_so() -> None:
    result = judge(ensemble=3).run("text 9")
    yes, no = (0.5 * 0.8 * 0.9) ** (1 / 3), (0.5 * 0.2 * 0.1) ** (1 / 3)
    assert result.probabilities == {"yes": pytest.approx(yes / (yes + no)), "no": pytest.approx(no / (yes + no))}
    assert (result.ensemble, result.method, len(result.completions)) == (3, "logprobs", 3)
    assert result.to_dict()["ensemble"] == 3
    assert judge().run("text 9").ensemble == 1


def test_each_draw_names_the_labels_in_another_order_that_does_not_depend_on_the_one_given() -> None:
    def named(labels: list[str], **options: Any) -> list[str]:
        task = Task.of(NAMING, labels, [("text 1", labels[0])], **options)
        return [draw.offline({"input": "text 9"}).instruction for draw in task.prompts.draws]

    orders = ["One of a, b, c.", "One of c, b, a.", "One of b, c, a.", "One of a, c, b."]
    assert named(["b", "c", "a"], ensemble=4) == named(["c", "a", "b"], ensemble=4) == orders
    assert named(["b", "c", "a"]) == ["One of b, c, a."]


def test_where_the_labels_stand_in_another_order_the_answer_is_the_same() -> None:
    asked = [Swayed(), Swayed()]
    given, turned = (
        Task.of(NAMING, labels, EXAMPLES, client=client, k=2, ensemble=3).run("text 9")
        for labels, client in zip((["yes", "no"], ["no", "yes"]), asked, strict=True)
    )
    assert given.probabilities == turned.probabilities
    assert asked[0].requests == asked[1].requests


def test_where_every_example_is_a_shot_the_order_differs() -> None:
    client = ScriptedClient(lambda _: "yes")
    orders = [draw.offline({"input": "text 9"}).examples for draw in judge(client, k=None, ensemble=4).prompts.draws]
    assert len({tuple(e.line for e in order) for order in orders}) == 4
    assert len({frozenset(e.line for e in order) for order in orders}) == 1


def test_shots_that_the_question_chooses_come_in_other_orders() -> None:
    draws = judge(ScriptedClient(), k=4, select="bm25", ensemble=3).prompts.draws
    orders = [draw.offline({"input": "text 3"}).examples for draw in draws]
    assert len({tuple(e.line for e in order) for order in orders}) == 3
    assert len({frozenset(e.line for e in order) for order in orders}) == 1


def test_labels_that_begin_alike_are_settled_in_every_draw() -> None:
    def answer(request: Request) -> Completion:
        very = request.text is not None and request.text.endswith("very")
        shares = {b" bad": 0.9, b" good": 0.1} if very else {b" very": 1.0}
        top = tuple((token, math.log(share)) for token, share in shares.items())
        return Completion(text="x", finish_reason="length", tokens=(TokenLogprob(*top[0], top),))

    client = ScriptedClient(answer)
    client.top_logprobs = 20  # type: ignore[attr-defined]
    examples = [("text 1", "very good"), ("text 2", "very bad")]
    task = Task.of("Judge.", ["very good", "very bad"], examples, client=client, form="text", k=1, ensemble=2)
    result = task.run("text 9")
    assert result.probabilities == {"very good": pytest.approx(0.1), "very bad": pytest.approx(0.9)}
    assert len(client.requests) == 4


def test_a_calibration_is_fitted_on_the_mean_of_the_draws() -> None:
    task = judge(ensemble=3)
    rows = [(f"text {n}", "yes" if n % 2 else "no") for n in range(10, 30)]
    fitted = task.calibrate(rows)
    assert fitted.fitted is not None
    assert fitted.fitted.rows == 20
    assert fitted.run("text 50").probabilities == {
        "yes": pytest.approx(0.5, abs=0.01),
        "no": pytest.approx(0.5, abs=0.01),
    }
    assert task.fingerprint != judge().fingerprint


def test_rows_that_any_draw_shows_are_not_calibrated_on() -> None:
    rows = [*EXAMPLES, ("text 10", "yes"), ("text 11", "no")]
    fitted = judge(ensemble=3).calibrate(rows).fitted
    assert fitted is not None
    assert (fitted.rows, fitted.shots_left_out) == (2, 6)


def test_a_bulk_run_gives_the_same_and_goes_on_where_it_was(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in (7, 8, 9)]
    client = Swayed()
    task = judge(client, ensemble=2)
    first = list(task.map(texts, out=tmp_path / "out.jsonl"))
    assert [r.probabilities for r in first] == [task.run(text).probabilities for text in texts]
    asked = len(client.requests)
    assert [r.ensemble for r in task.map(texts, out=tmp_path / "out.jsonl")] == [2, 2, 2]
    assert len(client.requests) == asked


def test_without_log_probabilities_the_result_warns() -> None:
    result = judge(ScriptedClient("yes"), ensemble=3).run("text 9")
    assert (result.value, result.ensemble) == ("yes", 1)
    assert "only the first draw" in result.warnings[0]


def test_open_answers_have_nothing_to_average() -> None:
    with pytest.raises(InputError, match="use votes="):
        Task.of("Say.", "text", client=ScriptedClient("x"), ensemble=3).run("x")
    with pytest.raises(InputError, match="ensemble=0"):
        judge(ensemble=0)
