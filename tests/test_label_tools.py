"""What label tools write: whose answer is the gold label, what is refused, and that nothing ends in a traceback."""

from __future__ import annotations

import copy
import io
import json
import logging
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import KINDS, argilla, choice, prodigy

import fewshot
from fewshot import FewshotError, InputError, Span, Task, examples_from
from fewshot.data.columns import Columns
from fewshot.data.formats import flat
from fewshot.data.labelled import read_labelled
from fewshot.data.readers import read

MOOD = Task.of("Which?", ["positive", "negative"])
SETS = Task.of("Which?", list[Literal["positive", "negative", "mixed"]])
STARS = Task.of("How many?", [1, 2, 3, 4, 5])
WHO = Task.of("Find.", list[Span[Literal["person", "place"]]])
WORDS = Task.of("Say it.", str)


def part(kind: str, held: Any, name: str = "mood", **more: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": kind, "value": {kind: held, **more}, "id": "a"}


def span(start: int, end: int, text: str, *labels: str, **more: Any) -> dict[str, Any]:
    return part("labels", list(labels), "who", start=start, end=end, text=text, **more)


def studio(data: Any, *annotations: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    made = [{"id": 1, "result": result, "was_cancelled": False} for result in annotations]
    data = data if isinstance(data, dict) else {"text": data}
    return {"id": 1, "annotations": made, "drafts": [], "predictions": [], "data": data, **more}


def record(fields: dict[str, Any], **given: Any) -> dict[str, Any]:
    said = {
        name: [{"value": v, "user_id": "u", "status": "submitted"} for v in values] for name, values in given.items()
    }
    return {"id": "x", "status": "completed", "fields": fields, "suggestions": {}, "responses": said}


def lines(*records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def feedback(status: str, value: str) -> dict[str, Any]:
    said = [{"user_id": "u", "value": value, "status": status}]
    return {"text": "Nice", "mood": said, "mood-suggestion": "negative", "external_id": None, "metadata": "{}"}


KIM = [Span("person", "Kim", 0, 3)]
GOOD = part("choices", ["positive"])
MIN = {"text": "Nice", "id": 1, "annotator": 1, "annotation_id": 1}
CSV = 'annotation_id,annotator,id,mood,text\n1,1,1,"{""choices"":[""positive"",""mixed""]}",Nice\n'
GOLD: list[tuple[str, Task[Any], str, Any, str | None, Any]] = [
    ("studio: what its data call output is not the label", MOOD, "json",
     [studio({"text": "Nice", "output": "negative"}, [GOOD])], None, ["positive"]),
    ("studio: nor what they call label", MOOD, "json",
     [studio({"text": "Nice", "label": "negative"}, [GOOD])], None, ["positive"]),
    ("studio: nor what has the name of the question", MOOD, "json",
     [studio({"text": "Nice", "mood": "negative"}, [GOOD])], "mood", ["positive"]),
    ("studio: a question called like the text", MOOD, "json",
     [studio("Nice", [part("choices", ["positive"], "text")])], None, ["positive"]),
    ("argilla: a field called output", MOOD, "json",
     [record({"text": "Nice", "output": "negative"}, q=["positive"])], None, ["positive"]),
    ("argilla: a field called answer", WORDS, "json",
     [record({"text": "Nice", "answer": "No."}, q=["Yes."])], None, ["Yes."]),
    ("argilla: a question called like the field", MOOD, "json", [record({"text": "Nice"}, text=["positive"])], None,
     ["positive"]),
    ("studio: one set in two orders", SETS, "json",
     [studio("Nice", [part("choices", ["positive", "mixed"])], [part("choices", ["mixed", "positive"])])], None,
     [("positive", "mixed")]),
    ("argilla: one set in two orders", SETS, "json",
     [record({"text": "Nice"}, q=[["positive", "mixed"], ["mixed", "positive"]])], None, [("positive", "mixed")]),
    ("studio: taxonomy", MOOD, "json", [studio("Nice", [part("taxonomy", [["positive"]])])], None, ["positive"]),
    ("studio: pairwise", Task.of("Which?", ["left", "right"]), "json", [studio("Nice", [part("selected", "left")])], None,
     ["left"]),
    ("studio: rating", STARS, "json", [studio("Nice", [part("rating", 4)])], None, ["4"]),
    ("studio: its first versions", MOOD, "json", [{"id": 1, "data": {"text": "Nice"}, "completions": [{"result": [GOOD]}]}],
     None, ["positive"]),
    ("studio: a relation is no answer", MOOD, "json", [studio("Nice", [GOOD, {"type": "relation", "from_id": "a"}])], None,
     ["positive"]),
    ("studio: parts of the text", WHO, "json",
     [studio("Kim ran to Bergen", [span(0, 3, "Kim", "person"), span(11, 17, "Bergen", "place")])], None,
     [[*KIM, Span("place", "Bergen", 11, 17)]]),
    ("studio: JSON_MIN, several", SETS, "json", [{**MIN, "mood": {"choices": ["positive", "mixed"]}}], "mood",
     [("positive", "mixed")]),
    ("studio: JSON_MIN, rating", STARS, "json", [{**MIN, "stars": [{"rating": 4}]}], "stars", ["4"]),
    ("studio: JSON_MIN, parts", WHO, "json",
     [{**MIN, "text": "Kim", "label": [{"start": 0, "end": 3, "text": "Kim", "labels": ["person"]}]}], None, [KIM]),
    ("studio: CSV, several", SETS, "csv", CSV, "mood", [("positive", "mixed")]),
    ("studio: JSON_MIN, two who agree are one row", MOOD, "json",
     [{**MIN, "mood": "positive"}, {**MIN, "mood": "positive", "annotator": 2, "annotation_id": 2}], "mood", ["positive"]),
    ("argilla 1, as a data set", MOOD, "jsonl", lines(feedback("submitted", "positive"), feedback("discarded", "negative")),
     None, ["positive"]),
    ("prodigy: parts of the text", WHO, "jsonl",
     lines({"text": "Kim ran", "spans": [{"start": 0, "end": 3, "label": "person"}], "_task_hash": 1, "answer": "accept"}),
     None, [KIM]),
    ("doccano: parts of the text", WHO, "jsonl", lines({"id": 1, "text": "Kim ran", "label": [[0, 3, "person"]]}), None,
     [KIM]),
    ("doccano: entities", WHO, "jsonl",
     lines({"text": "Kim ran", "entities": [{"id": 1, "label": "person", "start_offset": 0, "end_offset": 3}]}), None, [KIM]),
    ("spacy: entities", WHO, "json", [["Kim ran", {"entities": [[0, 3, "person"]]}]], None, [KIM]),
    ("argilla: parts of the text", WHO, "json",
     [record({"text": "Kim ran"}, q=[[{"label": "person", "start": 0, "end": 3}]])], None, [KIM]),
    ("argilla 1: tokens", WHO, "jsonl",
     lines({"text": "Kim ran", "tokens": [], "prediction": None, "annotation": [["person", 0, 3]], "status": "Validated"}),
     None, [KIM]),
    ("doccano: a CSV writes True", MOOD, "csv", "text,label,is_confirmed\nNice,positive,True\nBad,negative,False\n", None,
     ["positive"]),
]  # fmt: skip
REFUSED: list[tuple[str, Task[Any], str, Any, str | None, str]] = [
    ("prodigy: one accepts, one rejects", MOOD, "jsonl",
     lines(prodigy("a", "positive", "accept"), prodigy("a", "positive", "reject")), None,
     "row 2: the annotators disagree: accept, reject"),
    ("prodigy: two choose", MOOD, "jsonl", lines(choice("a", ["positive"]), choice("a", ["negative"])), None,
     "row 2: the annotators disagree: positive, negative"),
    ("studio: JSON_MIN, two who disagree", MOOD, "json",
     [{**MIN, "mood": "positive"}, {**MIN, "mood": "negative", "annotation_id": 2}], "mood", "row 2: the annotators disagree"),
    ("studio: CSV, two who disagree", MOOD, "csv", "annotation_id,id,mood,text\n1,1,positive,a\n2,1,negative,a\n", "mood",
     "row 2: the annotators disagree"),
    ("studio: a taxonomy with levels", MOOD, "json", [studio("a", [part("taxonomy", [["tone", "positive"]])])], None,
     "its place in the taxonomy has several levels (tone > positive)"),
    ("studio: choices for a part of the text", MOOD, "json",
     [studio("Kim", [part("choices", ["positive"], start=0, end=3, text="Kim")])], None, "not one for the whole text"),
    ("studio: places that are not those of the text", WHO, "json", [studio("😀 Kim", [span(3, 6, "Kim", "person")])], None,
     "the text has 'im' from 3 to 6, and not 'Kim'"),
    ("doccano: places that may count otherwise", WHO, "jsonl", lines({"text": "😀 Kim!", "label": [[3, 6, "person"]]}), None,
     "stands after a character that some tools count as two: give it its text, too"),
    ("doccano: a place outside the text", WHO, "jsonl", lines({"text": "Kim", "label": [[0, 9, "person"]]}), None,
     "is not in its text"),
    ("argilla: a CSV of lists", MOOD, "csv", "text,label.responses,label.responses.status\na,['positive'],['submitted']\n",
     None, "its label.responses are a text and not a list: export it as JSON or Parquet"),
    ("argilla: a status for one of two", MOOD, "jsonl",
     lines({**argilla("a", ("positive", "submitted")), "label.responses": ["positive", "positive"]}), None,
     "row 1: is not as a label tool writes it"),
    ("doccano: a confirmation that is none", MOOD, "csv", "text,label,is_confirmed\na,positive,perhaps\n", None,
     "the status 'perhaps' is not understood"),
]  # fmt: skip


def put(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("task", "ending", "content", "target", "truths"), [case[1:] for case in GOLD], ids=[c[0] for c in GOLD]
)
def test_the_gold_label_is_what_people_said(
    task: Task[Any], ending: str, content: Any, target: str | None, truths: list[Any], tmp_path: Path
) -> None:
    path = put(tmp_path / f"f.{ending}", content)
    found = read_labelled(task, path, target=target)
    assert [row.truth for row in found] == truths
    assert all(row.inputs["text"].split()[0] in ("Nice", "Kim") for row in found)
    if target is None and task is MOOD:
        assert [row["output"] for row in examples_from(path, {"output": "label"})] == truths


@pytest.mark.parametrize(
    ("task", "ending", "content", "target", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_an_answer_in_doubt_is_refused(
    task: Task[Any], ending: str, content: Any, target: str | None, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        read_labelled(task, put(tmp_path / f"f.{ending}", content), target=target)
    assert told in str(error.value)


SQUAD = {
    "data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "q", "answers": [{"text": "a"}]}]}]}]
}


def documents() -> list[Any]:
    found: list[Any] = [SQUAD, *(case[3] for case in (*GOLD, *REFUSED) if not isinstance(case[3], str))]
    for kind in KINDS:
        if isinstance(kind.content, str) and kind.file == "f.json" and "\n{" not in kind.content:
            found.append(json.loads(kind.content))
        elif isinstance(kind.content, str) and kind.file == "f.jsonl":
            found.append([json.loads(line.rstrip(",")) for line in kind.content.split("\n") if line])
    return found


def spots(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [spot for key in keys for spot in spots(value[key])]


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from([2.5, "", "positive", "accept", "user", "draft"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["value", "id", "text", "0"]), inner),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(documents()), st.data(), ODD, st.booleans())
def test_a_file_with_something_odd_at_one_place_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, document: Any, data: st.DataObject, odd: Any, gone: bool
) -> None:
    """Whatever stands where a label tool or a hub writes something else, it is rows or an error of ours."""
    logging.getLogger("fewshot").setLevel(logging.ERROR)
    document = copy.deepcopy(document)
    holder, key = data.draw(st.sampled_from(spots(document)))
    if gone:
        del holder[key]
    else:
        holder[key] = odd
    columns = Columns(fewshot.load("sentiment"))
    path = put(tmp_path_factory.mktemp("odd") / "f.json", document)
    try:
        for _, row in read(path):
            if isinstance(row, dict):
                flat(row)
                columns.row(row)
        read_labelled(MOOD, path)
    except FewshotError:
        return
    finally:
        logging.getLogger("fewshot").setLevel(logging.NOTSET)


@pytest.mark.parametrize("about", [b"{", b"[1]", b'{"info": null}', b'{"info": {"features": [1]}}'])
def test_what_the_hub_says_of_a_file_may_be_broken(about: bytes, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="an extra is not installed")
    from pyarrow import parquet

    rows = pyarrow.table({"text": ["a"], "label": [1]}).replace_schema_metadata({b"huggingface": about})
    parquet.write_table(rows, tmp_path / "f.parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet or Arrow"):
        list(read(tmp_path / "f.parquet"))


def test_several_labels_of_the_hub_have_their_names(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="an extra is not installed")
    from pyarrow import parquet

    names = {"names": ["positive", "negative", "mixed"], "_type": "ClassLabel"}
    about = json.dumps({"info": {"features": {"labels": {"feature": names, "_type": "Sequence"}}}}).encode()
    rows = pyarrow.table({"text": ["a", "b"], "labels": [[0, 2], [1]]}).replace_schema_metadata({b"huggingface": about})
    file = io.BytesIO()
    parquet.write_table(rows, file)
    (tmp_path / "f.parquet").write_bytes(file.getvalue())
    assert [row.truth for row in read_labelled(SETS, tmp_path / "f.parquet")] == [("positive", "mixed"), ("negative",)]
