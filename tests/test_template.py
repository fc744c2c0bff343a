"""Templates: what renders, what is refused, and where the message points."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fewshot.errors import TaskError
from fewshot.prompts.template import Template

SENTIMENT = """\
{% block instruction %}Classify as {{ labels | join(", ") }}.{% endblock %}
{% block input %}Text: {{ text }}{% endblock %}
{% block output %}Sentiment: {{ output }}{% endblock %}
"""


def sentiment() -> Template:
    return Template(SENTIMENT, "prompt.jinja")


def with_input(block: str) -> Template:
    return Template(f"{{% block input %}}{block}{{% endblock %}}{{% block output %}}{{{{ output }}}}{{% endblock %}}")


def test_blocks_render_with_their_variables() -> None:
    template = sentiment()
    assert template.instruction({"labels": ["good", "bad"]}) == "Classify as good, bad."
    assert template.input({"text": "fine"}) == "Text: fine"
    assert template.cue({}) == "Sentiment:"


@pytest.mark.parametrize("value", ["{{ 7 * 7 }}", "{% raw %}", "{# x #}", "<b>&amp;</b>", "{", "100 %"])
def test_a_value_is_data_and_comes_out_as_it_went_in(value: str) -> None:
    assert sentiment().input({"text": value}) == f"Text: {value}"


def test_a_cue_may_name_parameters() -> None:
    source = "{% block input %}{{ text }}{% endblock %}{% block output %}{{ target }}: {{ output }}{% endblock %}"
    assert Template(source).cue({"target": "French"}) == "French:"


def test_a_template_without_instruction_has_an_empty_one() -> None:
    assert with_input("{{ text }}").instruction({}) == ""


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("{% block input %}\n{{ text }\n{% endblock %}", 2, "unexpected"),
        ("{% block output %}{{ output }}{% endblock %}", 1, "no block 'input'"),
        ("{% block input %}{{ text }}{% endblock %}", 1, "no block 'output'"),
        ("{% block input %}\n\n{{ txet }}{% endblock %}{% block output %}{{ output }}{% endblock %}", 3, "'text'"),
        (
            "{% block instruction %}\n{{ text }}{% endblock %}\n{% block input %}{{ text }}{% endblock %}"
            "{% block output %}{{ output }}{% endblock %}",
            2,
            "changes with every call",
        ),
    ],
)
def test_a_broken_template_is_refused_with_its_line(source: str, line: int, says: str) -> None:
    with pytest.raises(TaskError) as caught:
        Template(source, "prompt.jinja").check(["text"], [])
    assert caught.value.line == line
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"prompt.jinja:{line}: ")


def test_an_input_that_is_not_used_is_refused() -> None:
    with pytest.raises(TaskError, match="'author' is declared but not used"):
        sentiment().check(["text", "author"], [])


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(TaskError, match="unknown block 'intro'"):
        Template(SENTIMENT + "{% block intro %}x{% endblock %}").check(["text"], [])


def test_a_fault_while_rendering_names_its_line() -> None:
    with pytest.raises(TaskError, match="no attribute") as caught:
        with_input("{{ text }}\n{{ text.missing.part }}").input({"text": "x"})
    assert caught.value.line == 2


def test_none_is_never_printed_as_a_word() -> None:
    with pytest.raises(TaskError, match="is None"):
        with_input("{{ text }}").input({"text": None})


def test_set_loops_and_macros_are_understood() -> None:
    template = with_input(
        "{% macro quoted(x) %}«{{ x }}»{% endmacro %}{% set shown = text %}"
        "{% for mark in ['a', 'b'] %}{{ loop.index }}{{ mark }} {% endfor %}{{ quoted(shown) }}"
    )
    template.check(["text"], [])
    assert template.input({"text": "x"}) == "1a 2b «x»"


def test_a_missing_file_is_a_task_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot be read"):
        Template.read(tmp_path / "prompt.jinja")


def test_a_template_pickles() -> None:
    assert pickle.loads(pickle.dumps(sentiment())).input({"text": "x"}) == "Text: x"
