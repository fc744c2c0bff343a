"""Spans: whatever a model names, what is given stands in the text, at the place that is told."""

from __future__ import annotations

import csv
import dataclasses
import json
import pickle
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from fewshot import Completion, InputError, OutputError, ScriptedClient, Span, Task, find, load
from fewshot.authoring.check import check
from fewshot.cli.main import main
from fewshot.evaluation.parts import micro_f1, overlap_f1, spans_in
from fewshot.outputs.kinds import output_of
from fewshot.outputs.mentions import _folded
from fewshot.outputs.schema import spans_of
from fewshot.outputs.spans import Finder
from fewshot.types import TokenLogprob

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
Kind = Literal["person", "place"]


class Move(BaseModel):
    who: Span[Literal["person"]]
    to: Span[Literal["place"]] | None
    how: Literal["by train", "on foot"] = "on foot"


def named(*texts: str, label: str = "person") -> str:
    return json.dumps([{"label": label, "text": text} for text in texts])


def found(text: str, *names: str) -> list[tuple[str, int]]:
    """Text and start of what is given for these names."""
    return [(span.text, span.start) for span in Finder(text).placed([Span("x", name) for name in names])]


@pytest.mark.parametrize(
    ("text", "name", "given"),
    [
        ("Kim met Lee.", "Lee", ("Lee", 8)),
        ("KIM met Lee.", "kim", ("KIM", 0)),
        ("She said “hi”.", '"hi"', ("“hi”", 9)),
        ("the  New\n York office", "New York", ("New\n York", 5)),
        ("caf\u00e9", "cafe\u0301", ("caf\u00e9", 0)),
        ("ca\u200bfe\u0301!", "caf\u00e9", ("ca\u200bfe\u0301", 0)),
        ("\uc11c\uc6b8\uc5d0\uc11c \ubd24\ub2e4", "\u1109\u1165\u110b\u116e\u11af", ("\uc11c\uc6b8", 0)),
        ("\U0001f469\u200d\U0001f680 Ada\U0001f600", "Ada", ("Ada", 4)),
        ("Ｔｏｋｙｏ tower", "Tokyo", ("Ｔｏｋｙｏ", 0)),
        ("Straße 9", "STRASSE", ("Straße", 0)),
        ("pages 1–2", "1-2", ("1–2", 6)),
        ("a party for Art", "art", ("Art", 12)),
        ("robots", "robot", ("robot", 0)),
        ("President Barack Obama spoke", "Barak Obama", ("Barack Obama", 10)),
    ],
)
def test_what_is_named_is_found_as_the_text_has_it(text, name, given):
    assert found(text, name) == [given]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Marie Curie won.", "Albert Einstein"),
        ("a bill of 10,001 dollars", "10,000 dollars"),
        ("Jonathan Smith and Jonathin Smith", "Jonathon Smith"),  # as near to one as to the other
        ("\ud55c\uad6d", "\ud558"),  # which is only a part of the first character
        ("anything", "  "),
        ("", "Ada"),
        ("Lee", "Lea"),
    ],
)
def test_what_stands_nowhere_is_not_given(text, name):
    assert found(text, name) == []


@pytest.mark.parametrize(
    ("text", "names", "starts"),
    [
        ("Kim saw Kim and Kim", ["Kim", "Kim"], [0, 8]),
        ("Kim saw Lee", ["Kim", "Kim"], [0]),
        ("The University of Oxford, in Oxford", ["Oxford", "University of Oxford"], [4, 29]),
        ("The University of Oxford", ["Oxford", "University of Oxford"], [4, 18]),
        ("Kimberly met Kim", ["Kim", "Kim"], [13]),
        ("aaa", ["aa", "aa"], [0, 1]),
    ],
)
def test_each_name_has_a_mention_of_its_own(text, names, starts):
    assert [start for _, start in found(text, *names)] == starts


def test_one_mention_may_have_two_labels():
    spans = Finder("Apple").placed([Span("company", "Apple"), Span("fruit", "Apple"), Span("fruit", "Apple")])
    assert spans == [Span("company", "Apple", 0, 5), Span("fruit", "Apple", 0, 5)]


NASTY = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("aA ß\u0301\u200b\u200d\ufe0f\u1109\u1165한ﬁİ“'-–\n\t\u3000\ud800\U0001f469\U0001f1f0\u0e33"),
    ),
    max_size=40,
)


@given(NASTY, st.data())
@settings(deadline=None)
def test_every_part_of_any_text_is_found_where_it_stands(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    part = text[start:end]
    assume(part.strip())
    (span,) = Finder(text).placed([Span("x", part)])
    assert span.text == text[span.start : span.end]
    assert span.text == part.strip() or _folded(span.text)[0] == _folded(part.strip())[0].strip()  # which cuts no word
    assert Finder(text, exact=True).placed([Span("x", part, start, end)]) == [Span("x", part, start, end)]


@given(NASTY, st.lists(NASTY | st.sampled_from(["aA", "han", "ss", "f", " - "]), max_size=5))
@settings(deadline=None)
def test_whatever_is_named_only_what_the_text_has_is_given(text, names):
    finder = Finder(text)
    spans = finder.placed([Span("x", name) for name in [*names, text.upper(), unicodedata.normalize("NFKC", text)]])
    assert all(span.text and span.text == text[span.start : span.end] for span in spans)
    assert len(spans) + len(finder.left_out) <= len(names) + 2


def test_a_long_text_is_searched_in_bounded_steps():
    text = "the quick brown fox jumps over the lazy dog and " * 4_000
    assert found(text, "a quick brown fix jumps over a lazy cat") == []
    assert found(text + "Barack Obama", "Barak Obama") == [("Barack Obama", len(text))]


def test_what_is_not_in_the_text_is_asked_again_once_then_left_out_and_counted():
    client = ScriptedClient(named("Kim", "Bob"), named("Lee", "Zoe", "Ann"))
    result = find.run("Kim met Lee.", ["person", "place"], client=client)
    assert result.value == [Span("person", "Lee", 8, 11)]
    assert result.warnings == ("spans left out that are not in the text: 2",)
    assert len(client.requests) == 2
    assert "not in the text: 'Bob'" in client.requests[1].chat[-1].content


def test_a_second_answer_that_is_none_leaves_the_first():
    client = ScriptedClient(named("Kim", "Bob"), "no idea")
    assert find("Kim met Lee.", ["person"], client=client) == [Span("person", "Kim", 0, 3)]


def test_all_in_place_is_asked_once():
    client = ScriptedClient(named("Kim"))
    result = find.run("Kim met Lee.", ["person"], client=client)
    assert (result.value, result.warnings, len(client.requests)) == ([Span("person", "Kim", 0, 3)], (), 1)


def test_a_label_that_is_not_one_is_an_invalid_answer():
    result = find.run("Kim", ["person"], client=ScriptedClient(lambda _: named("Kim", label="dog")))
    assert isinstance(result.error, OutputError)


def test_votes_are_of_what_stands_in_the_text():
    client = ScriptedClient(named("Kim", "Bob"), named("Kim"), named("Lee"))
    result = find.run("Kim met Lee.", ["person"], client=client, votes=3)
    assert result.value == [Span("person", "Kim", 0, 3)]
    assert result.confidence == pytest.approx(2 / 3)


def test_a_relation_stands_only_with_all_that_it_needs():
    task = Task.of("Who moved where?", list[Move])
    said = [
        {"who": {"label": "person", "text": "Ada"}, "to": {"label": "place", "text": "rome"}, "how": "on foot"},
        {"who": {"label": "person", "text": "Ada"}, "to": {"label": "place", "text": "Paris"}, "how": "on foot"},
        {"who": {"label": "person", "text": "Zoe"}, "to": None, "how": "by train"},
    ]
    client = ScriptedClient(lambda _: json.dumps(said))
    result = task.run("Ada walked to Rome, Ada rested.", client=client)
    ada = Span("person", "Ada", 0, 3)
    assert result.value == [Move(who=ada, to=Span("place", "Rome", 14, 18)), Move(who=ada, to=None)]
    assert result.warnings == ("spans left out that are not in the text: 2",)


def test_a_record_that_cannot_do_without_a_span_is_an_error():
    @dataclasses.dataclass
    class Author:
        name: Span[Literal["person"]]

    client = ScriptedClient(lambda _: '{"name": {"label": "person", "text": "Bob"}}')
    result = Task.of("Who wrote it?", Author).run("By Ada.", client=client)
    assert result.value is None
    assert "not in the text: 'Bob'" in str(result.error)
    assert Task.of("Who wrote it?", Author)(
        "By Ada.", client=ScriptedClient('{"name": {"label": "person", "text": "ada"}}')
    ) == Author(Span("person", "Ada", 3, 6))


def test_too_few_spans_are_an_invalid_answer():
    class Pair(BaseModel):
        both: list[Span] = Field(min_length=2)

    said = '{"both": [{"label": "a", "text": "Kim"}, {"label": "a", "text": "Bob"}]}'
    result = Task.of("Name two.", Pair).run("Kim met Lee.", client=ScriptedClient(lambda _: said))
    assert isinstance(result.error, OutputError)


def test_private_data_comes_back_at_its_own_place():
    text = "Write to kim@example.com, then to Lee."
    client = ScriptedClient(named("[EMAIL_1]", "Lee"))
    spans = find(text, ["person"], client=client, redact=True)
    assert [(span.text, text[span.start : span.end]) for span in spans] == [("kim@example.com",) * 2, ("Lee",) * 2]


def test_a_part_of_a_placeholder_is_not_given():
    result = find.run(
        "Mail kim@example.com", ["person"], client=ScriptedClient(lambda _: named("EMAIL_1")), redact=True
    )
    assert result.value == []
    assert result.warnings == ("spans left out that are not in the text: 1",)


def test_a_model_is_asked_for_no_places():
    client = ScriptedClient(named("Kim"))
    find("Kim", ["person"], examples=[("Ada, Ada", [Span("person", "Ada", 5, 8)])], client=client)
    request = client.requests[0]
    assert '[{"label":"person","text":"Ada"}]' in [turn.content for turn in request.chat]
    assert '"start"' not in str(request.schema)
    assert "every person" in request.chat[0].content


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({"label": "person", "text": "Bob"}, "'Bob' does not stand in the text"),
        ({"label": "person", "text": "ada"}, "'ada' does not stand in the text"),
        ({"label": "person", "text": "Ada", "start": 1, "end": 4}, "the text has 'da ' from 1 to 4, and not 'Ada'"),
        ({"label": "dog", "text": "Ada"}, "Input should be 'person' or 'place'"),
    ],
)
def test_an_example_whose_span_is_not_there_is_refused(span, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        find("Kim", ["person", "place"], examples=[("Ada slept.", [span])])


@pytest.mark.parametrize("labels", [[], "person", ["a", "A"], ["a", " "], {"a": "b"}, None, [1]])
def test_labels_of_spans_are_texts_that_differ(labels):
    with pytest.raises(InputError, match="labels"):
        find("Kim", labels)


def test_ways_to_say_it_are_one():
    assert repr(find.task(["person", "place"])) == "<Task find: text -> person | place, 6 examples>"
    assert output_of({"spans": ["person", "place"]}) == output_of(list[Span[Kind]]) == spans_of(["person", "place"])
    assert pickle.loads(pickle.dumps(spans_of(["person"]))) == spans_of(["person"])


def test_a_folder_says_it_and_is_checked(tmp_path, capsys):
    folder = Task.of("Find names.", list[Span[Kind]], [("Ada, Ada", [Span("person", "Ada", 5, 8)])]).save(
        tmp_path / "who"
    )
    assert 'output = {spans = ["person", "place"]}' in (folder / "task.toml").read_text()
    assert load(folder).examples[0].output == [Span("person", "Ada", 5, 8)]
    assert [finding.code for finding in check(folder).findings if finding.severity == "error"] == []
    rows = (folder / "examples.jsonl").read_text() + '{"text": "Kim", "output": [{"label": "person", "text": "Bob"}]}\n'
    (folder / "examples.jsonl").write_text(rows)
    assert main(["check", str(folder)]) == 1
    assert "examples.jsonl:2" in (said := capsys.readouterr().out)
    assert "'Bob' does not stand in the text" in said


@pytest.mark.parametrize(
    "output", ['{ spans = "person" }', "{ spans = [] }", '{ spans = ["a", "A"] }', "{ spans = [1] }"]
)
def test_labels_that_are_none_are_a_fault_of_the_folder(output, tmp_path):
    (tmp_path / "task.toml").write_text(f'description = "Find."\noutput = {output}\n[inputs]\ntext = "a text"\n')
    (tmp_path / "prompt.jinja").write_text((TEMPLATES / "find" / "prompt.jinja").read_text(encoding="utf-8"))
    (fault,) = [finding for finding in check(tmp_path).findings if finding.severity == "error"]
    assert (fault.code, fault.line) == ("output", 2)
    assert "spans" in fault.message


def test_a_record_with_spans_is_not_written_as_a_folder(tmp_path):
    with pytest.raises(InputError, match="cannot be written as a folder"):
        Task.of("Who moved?", list[Move]).save(tmp_path / "moves")


def test_rows_resume_and_tables_have_the_places(tmp_path):
    task = find.task(["person"], client=ScriptedClient(lambda request: named(request.chat[-1].content[6:9])))
    out = tmp_path / "found.jsonl"
    first = [result.value for result in task.map(["Kim met.", "Lee left."], out=out)]
    again = [result.value for result in task.using(client=ScriptedClient()).map(["Kim met.", "Lee left."], out=out)]
    assert first == again == [[Span("person", "Kim", 0, 3)], [Span("person", "Lee", 0, 3)]]


def test_figures_count_spans_over_all_rows():
    def spans(*places: Any) -> list[dict[str, Any]]:
        return [{"label": la, "text": "…", "start": s, "end": e} for la, s, e in places]

    assert spans_in({"a": spans(("x", 1, 2)), "b": [{"c": spans(("y", 1, 2))}]}) == {("x", 1, 2), ("y", 1, 2)}
    true, said = spans_in(spans(("x", 0, 4), ("x", 6, 9))), spans_in(spans(("x", 0, 4), ("x", 8, 12), ("y", 0, 4)))
    assert micro_f1([true, set()], [said, set()]) == pytest.approx(2 * 1 / 5)
    assert overlap_f1([true, set()], [said, set()]) == pytest.approx(4 / 5)
    assert overlap_f1([set()], [set()]) == micro_f1([set()], [set()]) == 1.0


def test_an_evaluation_tells_entity_f1(tmp_path):
    rows = [{"text": "Kim met Lee.", "spans": [{"label": "person", "text": "Kim"}, {"label": "person", "text": "Lee"}]}]
    rows.append({"text": "It rained.", "spans": []})
    task = find.task(["person"], client=ScriptedClient(lambda _: named("kim")))
    report = task.using(max_repairs=0).evaluate(rows)
    assert {name: report.metrics[name].value for name in report.metrics if name.startswith("entity")} == pytest.approx(
        {"entity_f1": 2 / 3, "entity_f1_overlap": 2 / 3}
    )
    assert report.metrics["exact_match"].value == 0.5
    assert "entity_f1" in str(report)
    assert "label and both ends" in report.to_html()
    with pytest.raises(InputError, match="row 1: 'Bob' does not stand in the text"):
        task.evaluate([{"text": "Kim", "spans": [{"label": "person", "text": "Bob"}]}])


def test_the_command_line_finds_other_labels(capsys):
    assert main(["show", "find", "Kim flew.", "--labels", "person,animal", "--form", "text"]) == 0
    shown = capsys.readouterr().out
    assert "Find in the text every person, animal, as JSON" in shown
    assert "Ines Calder" not in shown  # shots that say nothing of animals teach to find none
    assert main(["show", "find", "Kim flew.", "--labels", "person", "--form", "text"]) == 0
    shown = capsys.readouterr().out
    assert '[{"label":"person","text":"Ines Calder"}]' in shown


def test_a_table_holds_spans_as_json(tmp_path):
    from fewshot.testing import answers

    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\nKim met Lee.\n", encoding="utf-8")
    with answers(lambda _: named("Lee")):
        assert main(["run", "find", "--file", str(source), "--out", str(out)]) == 0
    (row,) = csv.DictReader(out.read_text(encoding="utf-8-sig").splitlines())
    assert json.loads(row["value"]) == [{"label": "person", "text": "Lee", "start": 8, "end": 11}]


def test_the_fields_of_a_record_have_what_the_record_has():
    said = json.dumps(
        {"who": {"label": "person", "text": "kim"}, "to": {"label": "place", "text": "Oslo"}, "how": "on foot"}
    )
    tokens = tuple(TokenLogprob(sign.encode(), -0.1, ((sign.encode(), -0.1),)) for sign in said)
    client = ScriptedClient(lambda _: Completion(text=said, tokens=tokens))
    client.top_logprobs = 20
    result = Task.of("Who moved?", Move).run("Kim walked.", client=client)
    assert result.value == Move(who=Span("person", "Kim", 0, 3), to=None)
    assert {name: field.value for name, field in result.fields.items()} == {
        "who": {"label": "person", "text": "Kim", "start": 0, "end": 3},
        "to": None,
        "how": "on foot",
    }


def test_the_fields_of_a_record_have_private_data_put_back():
    class Mail(BaseModel):
        to: str

    said = '{"to": "[EMAIL_1]"}'
    tokens = tuple(TokenLogprob(sign.encode(), -0.1, ((sign.encode(), -0.1),)) for sign in said)
    client = ScriptedClient(Completion(text=said, tokens=tokens))
    client.top_logprobs = 20
    result = Task.of("Read.", Mail).run("Mail kim@example.com", client=client, redact=True)
    assert result.fields["to"].value == result.value.to == "kim@example.com"


def test_a_list_that_repeats_itself_is_not_given_more_room():
    label = ("person", "place")
    items = [f'{{"label":"{label[n % 3 == 0]}","text":"Moscow"}}' for n in range(12)]
    client = ScriptedClient(Completion(text='{"answer":[' + ",".join(items) + ',{"lab', finish_reason="length"))
    result = find.run("Kim", ["person", "place"], client=client)
    assert "repeats itself without end" in str(result.error)
    assert len(client.requests) == 1
