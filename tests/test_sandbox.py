"""Templates from elsewhere: nothing published gets out, nothing hangs, nothing fills the memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewshot.errors import TaskError
from fewshot.prompts.template import Template


def render(block: str, **variables: object) -> str:
    source = f"{{% block input %}}{block}{{% endblock %}}{{% block output %}}{{{{ output }}}}{{% endblock %}}"
    return Template(source).input({"text": "hello", "labels": ["a", "b"], "descriptions": {}} | variables)


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ text.__class__ }}",
    "{{ text['__class__'] }}",
    "{{ text | attr('__class__') }}",
    "{{ [text] | map(attribute='__class__') | list }}",
    "{{ [text] | groupby('__class__') | list }}",
    "{{ '{0.__class__.__mro__}'.format(text) }}",
    "{{ '%s' | format(text.__class__) }}",
    "{{ ('{0.__cl' ~ 'ass__}').format(text) }}",
    "{{ text.format.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ loop }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__.os }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ config }}",
    "{{ request.application.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ range(9) | list }}",
    "{{ dict(a=1) }}",
    "{% import 'x' as x %}",
    "{% from 'x' import y %}",
    "{% include '/etc/passwd' %}",
    "{{ (1).__class__.__base__ }}",
    "{{ labels.append('x') }}",
    "{{ descriptions.update({'a': 1}) }}",
    "{{ text.encode('utf-8') }}",
    "{{ [].__class__.__base__.__subclasses__()[0] }}",
    "{% set x = text.__class__ %}{{ x }}",
    "{{ text | xmlattr }}",
    "{{ labels.pop() }}",
    "{{ caller() }}",
    "{{ varargs }}",
    "{% macro m() %}{{ varargs }}{{ caller.__class__ }}{% endmacro %}{{ m() }}",
    "{% filter upper %}{{ text.__class__ }}{% endfilter %}",
    "{% call text.format() %}x{% endcall %}",
]


@pytest.mark.parametrize("block", ESCAPES)
def test_no_published_way_out_of_the_sandbox_works(block: str) -> None:
    with pytest.raises(TaskError):
        render(block)


BOMBS = [
    "{{ 'a' * 1000000000 }}",
    "{{ 10 ** 10 ** 8 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ 'a' | center(1000000000) }}",
    "{{ 'a' | indent(1000000000) }}",
    "{{ text | wordwrap(1) }}",
    "{{ text | replace('', 'aaaaaaaaaaaaaaaa') }}",
    "{% for a in many %}{% for b in many %}{{ a }}{% endfor %}{% endfor %}",
    "{% for a in many recursive %}{{ loop(many) }}{% endfor %}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}" + "{{ " + "d(" * 30 + "text" + ")" * 30 + " }}",
    "{% set a = text ~ text %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a = [text, text] | join %}" + "{% set a = [a, a] | join %}" * 40 + "{{ a }}",
    "{% set a %}{{ text }}{{ text }}{% endset %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40 + "{{ a }}",
    "{% for a in many %}{{ long }}{% endfor %}",
    "{{ " + "(" * 3000 + "text" + ")" * 3000 + " }}",
    "{{ lipsum(n=100000) }}",
    "{{ [1] | batch(100000000, 0) | list }}",
]


@pytest.mark.parametrize("block", BOMBS, ids=[block[:40] for block in BOMBS])
def test_nothing_in_a_template_can_hang_or_fill_the_memory(block: str) -> None:
    with pytest.raises(TaskError):
        render(block, many=list(range(1000)), long="x" * 100_000)


def test_the_useful_part_of_the_language_is_left() -> None:
    block = (
        "{% for label in labels %}{{ loop.index }}. {{ label | upper }}{% if not loop.last %}; {% endif %}{% endfor %}"
    )
    assert render(block) == "1. A; 2. B"
    assert render("{{ labels | join(', ') }} {{ labels | length }}") == "a, b 2"
    assert render("{% for k, v in about | items %}{{ k }}={{ v }}{% endfor %}", about={"x": "y"}) == "x=y"


def test_json_in_a_prompt_is_written_as_a_model_reads_it() -> None:
    written = render("{{ text | tojson }}", text="It's <b> schön\n좋아요")
    assert written == '"It\'s <b> schön\\n좋아요"'


def test_there_is_only_one_environment_for_templates_from_elsewhere() -> None:
    import fewshot

    package = Path(fewshot.__file__).parent
    made = [p.name for p in package.rglob("*.py") if "Environment(" in p.read_text(encoding="utf-8")]
    assert sorted(made) == ["report_html.py", "sandbox.py"], (
        "report_html.py renders the package's own report page, with escaping"
    )
