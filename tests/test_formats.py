"""The files that owners of labels have: how each gets in, what is told, and that docs/data.md says the same."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fewshot import Task
from fewshot.data.labelled import gold_rows, read_labelled
from fewshot.errors import InputError

PAIRS = [("Nice thing", "positive"), ("Bad thing", "negative")]
DOCS = Path(__file__).parent.parent / "docs" / "data.md"


def lines(*records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def each(make: Callable[[str, str], Any]) -> list[Any]:
    return [make(text, label) for text, label in PAIRS]


def table(delimiter: str = ",", header: tuple[str, ...] = ("text", "label"), end: str = "\n") -> str:
    return "".join(delimiter.join(row) + end for row in [header, *PAIRS])


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    what: str
    file: str
    content: Any
    option: str = ""
    """What has to be said, which the message without it names."""
    told: str = ""
    """What the log tells, or why it is refused."""
    refused: bool = False
    named: dict[str, Any] = field(default_factory=dict)
    """The option as arguments."""


def said(text: str, label: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}], **more}


def studio(text: str, *labels: str, **more: Any) -> dict[str, Any]:
    def one(label: str) -> dict[str, Any]:
        choice = {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
        return {"result": [choice] * bool(label), "was_cancelled": not label, **more}

    return {"id": 1, "data": {"text": text}, "annotations": [one(label) for label in labels], "predictions": []}


def argilla(text: str, *given: tuple[str, str]) -> dict[str, Any]:
    return {
        "id": "x", "text": text, "status": "completed", "_server_id": "y", "label.suggestion": "positive",
        "label.responses": [label for label, _ in given], "label.responses.users": ["u"] * len(given),
        "label.responses.status": [status for _, status in given],
    }  # fmt: skip


def prodigy(text: str, label: str, answer: str) -> dict[str, Any]:
    return {"text": text, "label": label, "_input_hash": 1, "_task_hash": 2, "answer": answer}


def choice(text: str, accept: list[str], answer: str = "accept") -> dict[str, Any]:
    options = [{"id": "positive", "text": "Positive"}, {"id": "negative", "text": "Negative"}]
    return {"text": text, "options": options, "accept": accept, "answer": answer, "_task_hash": 1}


def with_names() -> bytes:
    import io

    import pyarrow
    from pyarrow import parquet

    features = {"text": {"_type": "Value"}, "label": {"names": ["negative", "positive"], "_type": "ClassLabel"}}
    rows = pyarrow.table({"text": [text for text, _ in PAIRS], "label": [1, 0]})
    rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    parquet.write_table(rows, file)
    return file.getvalue()


def arrow() -> bytes:
    import io

    import pyarrow

    rows = pyarrow.table({"text": [text for text, _ in PAIRS], "label": [label for _, label in PAIRS]})
    file = io.BytesIO()
    with pyarrow.ipc.new_stream(file, rows.schema) as writer:
        writer.write_table(rows)
    return file.getvalue()


def excel() -> bytes:
    import io

    import openpyxl

    book = openpyxl.Workbook()
    for row in [("text", "label"), *PAIRS]:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


GLUE = 'sentence\tlabel\n"Nice" thing\tpositive\n"Bad thing\tnegative\n'
RECORDS = each(lambda text, label: {"text": text, "label": label})
ESCAPED = 'text,label\n"Nice \\"thing\\"",positive\nBad thing,negative\n'
COLUMNS = {"text": {"0": PAIRS[0][0], "1": PAIRS[1][0]}, "label": {"0": "positive", "1": "negative"}}
HUB = {"features": [{"name": "label", "type": {"names": ["negative", "positive"], "_type": "ClassLabel"}}],
       "rows": [{"row_idx": n, "row": {"text": t, "label": int(la == "positive")}, "truncated_cells": []}
                for n, (t, la) in enumerate(PAIRS)]}  # fmt: skip
KINDS = [
    Kind("CSV", "f.csv", table()),
    Kind("CSV with `;`, as spreadsheets write it where the comma is a decimal point", "f.csv", table(";")),
    Kind("CSV with tabs", "f.csv", table("\t")),
    Kind("CSV with vertical bars", "f.csv", table("|")),
    Kind("CSV with a first line `sep=;`", "f.csv", "sep=;\n" + table(";")),
    Kind("CSV with a byte order mark and CRLF", "f.csv", "\ufeff" + table(end="\r\n")),
    Kind("CSV in UTF-16", "f.csv", table().encode("utf-16")),
    Kind("“Unicode text” of a spreadsheet", "f.txt", table("\t").encode("utf-16")),
    Kind("CSV in cp949, as Excel writes it in Korea", "f.csv", table(header=("text", "label", "비고 내용"), end=",\n").encode("cp949"),
         "--encoding cp949", named={"encoding": "cp949"}),
    Kind("CSV in cp1252", "f.csv", table(header=("text", "label", "étiquette"), end=",\n").encode("cp1252"),
         "--encoding cp1252", named={"encoding": "cp1252"}),
    Kind("CSV in UTF-16 without a byte order mark", "f.csv", table().encode("utf-16-le"), "--encoding utf-16-le",
         named={"encoding": "utf-16-le"}),
    Kind("CSV padded with blank cells and blank rows", "f.csv", table(end=",,,\n") + ",\n,,,\n"),
    Kind("CSV with the index of pandas", "f.csv", ",text,label\n0,Nice thing,positive\n1,Bad thing,negative\n"),
    Kind("CSV whose quotes are escaped by `\\` (Spark, MySQL)", "f.csv", ESCAPED),
    Kind("CSV with names in another case, or blanks round them", "f.csv", table(header=(" Text ", "LABEL"))),
    Kind("CSV without a usual name for the answer", "f.csv", table(header=("text", "verdict")), "--target verdict",
         named={"target": "verdict"}),
    Kind("CSV without a usual name for the input", "f.csv", table(header=("review", "label")), "--map text=review",
         named={"columns": {"text": "review"}}),
    Kind("CSV, compressed (gzip, bzip2, xz)", "f.csv.gz", gzip.compress(table().encode())),
    Kind("CSV called .txt", "f.txt", table()),
    Kind("TSV", "f.tsv", table("\t")),
    Kind("TSV without quoting (GLUE)", "f.tsv", GLUE),
    Kind("Excel (.xlsx, .xls, .ods), one sheet", "f.xlsx", excel),
    Kind("Parquet or Arrow", "f.arrow", arrow),
    Kind("Parquet of the Hugging Face hub, labels as numbers with names", "f.parquet", with_names),
    Kind("JSON lines", "f.jsonl", lines(*RECORDS)),
    Kind("JSON lines with blank lines and trailing commas", "f.jsonl", lines(*RECORDS).replace("\n", ",\n\n")),
    Kind("JSON lines, compressed", "f.jsonl.gz", gzip.compress(lines(*RECORDS).encode())),
    Kind("JSON objects one after another, over several lines", "f.json", "\n".join(json.dumps(r, indent=1) for r in RECORDS)),
    Kind("JSON list", "f.json", json.dumps(RECORDS, indent=1)),
    Kind('JSON `{"data": […]}`', "f.json", json.dumps({"version": 1, "data": RECORDS})),
    Kind('JSON `{"train": […]}`', "f.json", json.dumps({"train": RECORDS})),
    Kind("JSON with several splits", "f.json", json.dumps({"train": RECORDS, "test": RECORDS}), refused=True,
         told="holds train, test: put the one that is meant into a file of its own"),
    Kind("JSON of pandas, by columns (the default)", "f.json", json.dumps(COLUMNS)),
    Kind("JSON of pandas, `split`", "f.json", json.dumps({"columns": ["text", "label"], "index": [0, 1], "data": PAIRS})),
    Kind("JSON of pandas, `table`", "f.json", json.dumps({"schema": {"fields": []}, "data": RECORDS})),
    Kind("JSON of pandas, `index`", "f.json", json.dumps({"0": RECORDS[0], "1": RECORDS[1]})),
    Kind("JSON of columns as lists", "f.json", json.dumps({"text": [t for t, _ in PAIRS], "label": [la for _, la in PAIRS]})),
    Kind("rows of the Hugging Face viewer", "f.json", json.dumps(HUB)),
    Kind("label as a number beside `label_text` (SetFit)", "f.jsonl",
         lines(*each(lambda t, la: {"text": t, "label": 1, "label_text": la}))),
    Kind("nested records", "f.jsonl", lines(*each(lambda t, la: {"doc": {"body": t}, "label": la})), "--map text=doc.body",
         named={"columns": {"text": "doc.body"}}),
    Kind("YAML", "f.yaml", "- text: Nice thing\n  label: positive\n- {text: Bad thing, label: negative}\n"),
    Kind("doccano JSONL", "f.jsonl", lines(*each(lambda t, la: {"id": 1, "text": t, "label": [la], "Comments": []}))),
    Kind("doccano JSONL with several labels in a row", "f.jsonl", lines({"text": "x", "label": ["positive", "negative"]}),
         refused=True, told="row 1: has several labels (positive, negative), and the task gives one: this is multi-label data"),
    Kind("doccano with `is_confirmed`", "f.jsonl",
         lines(*each(lambda t, la: {"text": t, "label": [la], "is_confirmed": True}),
               {"text": "x", "label": ["positive"], "is_confirmed": False}),
         told="2 of 3 rows are taken; left out: 1 not confirmed"),
    Kind("Prodigy, binary", "f.jsonl",
         lines(*(prodigy(t, la, "accept") for t, la in PAIRS), prodigy("x", "positive", "reject"), prodigy("y", "positive", "ignore")),
         told="2 of 4 rows are taken; left out: 1 rejected, 1 ignored"),
    Kind("Prodigy, choice", "f.jsonl",
         lines(*(choice(t, [la]) for t, la in PAIRS), choice("x", [], "ignore")), told="2 of 3 rows are taken; left out: 1 ignored"),
    Kind("Prodigy, choice, several accepted", "f.jsonl", lines(choice("x", ["positive", "negative"])), refused=True,
         told="this is multi-label data"),
    Kind("Prodigy with a status that is not known", "f.jsonl", lines(prodigy("x", "positive", "maybe")), refused=True,
         told="the status 'maybe' is not understood"),
    Kind("Argilla 1", "f.jsonl",
         lines(*each(lambda t, la: {"text": t, "inputs": {"text": t}, "prediction": None, "annotation": la, "status": "Validated"}),
               {"text": "x", "inputs": {"text": "x"}, "prediction": None, "annotation": "positive", "status": "Discarded"}),
         told="2 of 3 rows are taken; left out: 1 discarded"),
    Kind("Argilla 2, as a data set", "f.jsonl",
         lines(*(argilla(t, (la, "submitted"), ("positive", "draft")) for t, la in PAIRS), argilla("x", ("positive", "draft"))),
         told="2 of 3 rows are taken; left out: 1 drafts"),
    Kind("Argilla 2, records", "f.json",
         json.dumps(each(lambda t, la: {"id": 1, "fields": {"text": t}, "suggestions": {}, "status": "completed",
                                        "responses": {"label": [{"value": la, "user_id": "u"}]}}))),
    Kind("Argilla, REST", "f.jsonl",
         lines(*each(lambda t, la: {"fields": {"text": t},
                                    "responses": [{"values": {"label": {"value": la}}, "status": "submitted"}]}))),
    Kind("Argilla 2, annotators who disagree", "f.jsonl",
         lines(argilla("x", ("positive", "submitted"), ("negative", "submitted"))), refused=True,
         told="the annotators disagree: positive, negative"),
    Kind("Label Studio JSON", "f.json", json.dumps([*(studio(t, la) for t, la in PAIRS), studio("x", "")]),
         told="2 of 3 rows are taken; left out: 1 cancelled"),
    Kind("Label Studio JSON, several annotators who agree", "f.json", json.dumps([studio(t, la, la) for t, la in PAIRS])),
    Kind("Label Studio JSON, annotators who disagree", "f.json", json.dumps([studio("x", "positive", "negative")]), refused=True,
         told="the annotators disagree: positive, negative"),
    Kind("Label Studio JSON_MIN", "f.json",
         json.dumps(each(lambda t, la: {"text": t, "sentiment": la, "id": 1, "annotator": 1, "annotation_id": 2})),
         "--target sentiment", named={"target": "sentiment"}),
    Kind("Label Studio CSV", "f.csv", table(header=("text", "sentiment", "annotator"), end=",1\n").replace("annotator,1", "annotator"),
         "--target sentiment", named={"target": "sentiment"}),
    Kind("Label Studio: rating, number, text, taxonomy of one level, pairwise", "f.json",
         json.dumps([{"data": {"text": t}, "annotations": [{"result": [
             {"from_name": "x", "type": "taxonomy", "value": {"taxonomy": [[la]]}}]}]} for t, la in PAIRS])),
    Kind("Label Studio JSON_MIN or CSV, annotators who disagree", "f.csv",
         "annotation_id,id,label,text\n1,1,positive,x\n2,1,negative,x\n", refused=True,
         told="row 2: the annotators disagree: positive, negative"),
    Kind("Prodigy, annotators who disagree", "f.jsonl", lines(prodigy("x", "positive", "accept"), prodigy("x", "positive", "reject")),
         refused=True, told="row 2: the annotators disagree: accept, reject"),
    Kind("Argilla 1, as a data set", "f.jsonl",
         lines(*each(lambda t, la: {"text": t, "mood": [{"user_id": "u", "value": la, "status": "submitted"}],
                                    "mood-suggestion": None, "external_id": None}))),
    Kind("spaCy `cats`", "f.jsonl",
         lines(*each(lambda t, la: {"text": t, "cats": {"positive": float(la == "positive"), "negative": float(la == "negative")}}))),
    Kind("spaCy training pairs", "f.json", json.dumps(each(lambda t, la: [t, {"cats": {la: 1.0, "other": 0.0}}]))),
    Kind("OpenAI fine-tuning, `messages`", "f.jsonl", lines(*each(said))),
    Kind("OpenAI fine-tuning, a conversation of several turns", "f.jsonl",
         lines({"messages": said("a", "positive")["messages"] * 2}), refused=True, told="is a conversation of several turns"),
    Kind("OpenAI fine-tuning, `prompt` and `completion`", "f.jsonl",
         lines(*each(lambda t, la: {"prompt": t, "completion": f" {la}"}))),
    Kind("OpenAI evals, `ideal`", "f.jsonl",
         lines(*each(lambda t, la: {"input": [{"role": "system", "content": "Classify."}, {"role": "user", "content": t}],
                                    "ideal": la}))),
    Kind("ShareGPT, `conversations`", "f.json",
         json.dumps(each(lambda t, la: {"conversations": [{"from": "human", "value": t}, {"from": "gpt", "value": la}]}))),
    Kind("Alpaca", "f.json", json.dumps(each(lambda t, la: {"instruction": "Classify.", "input": t, "output": la}))),
    Kind("fastText", "f.txt", "".join(f"__label__{la} {t}\n" for t, la in PAIRS)),
    Kind("promptfoo tests", "f.yaml",
         "tests:\n" + "".join(f"- vars: {{text: {t}}}\n  assert: [{{type: equals, value: {la}}}]\n" for t, la in PAIRS)),
    Kind("promptfoo CSV", "f.csv", table(header=("text", "__expected")).replace("positive", "equals: positive")),
    Kind("CSV with a comma that is not quoted", "f.csv", "text,label\nNice, thing,positive\n", refused=True,
         told="f.csv:2: has 3 cells where the header has 2: quote a text that holds the delimiter"),
    Kind("CSV with a quote that never closes", "f.csv", 'text,label\n"Nice thing,positive\n', refused=True,
         told="f.csv:2: is not valid CSV: a quote opens that is never closed"),
    Kind("CSV with two columns of one name", "f.csv", "text,text,label\na,b,c\n", refused=True,
         told="f.csv:1: the column 'text' is there 2 times"),
    Kind("anything else: .docx, .pdf, .zip, .html …", "f.docx", "x", refused=True, told="'.docx' is not a kind of file that is read"),
]  # fmt: skip


def task() -> Task[Any]:
    return Task.of("Which?", ["positive", "negative"])


def row_of(kind: Kind) -> str:
    how = "refused" if kind.refused else f"with `{kind.option}`" if kind.option else "as it is"
    return f"| {kind.what} | {how} | {kind.told} |".replace("  ", " ")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
def test_a_file_gets_in_or_is_told_what_to_do(kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = kind.content
    if callable(content):
        for module in {"f.xlsx": ("openpyxl", "python_calamine")}.get(kind.file, ("pyarrow",)):
            pytest.importorskip(module, reason="an extra is not installed")
        content = content()
    path = tmp_path / kind.file
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if kind.refused or kind.option:
        with pytest.raises(InputError) as error:
            read_labelled(task(), path)
        assert (kind.told if kind.refused else kind.option) in str(error.value)
    if kind.refused:
        return
    options = dict(kind.named)
    with caplog.at_level(logging.WARNING, "fewshot"):
        given = gold_rows(path, encoding=options.pop("encoding", None))
        found = read_labelled(task(), given, **options)
    wanted = [(text.replace('"', ""), label) for text, label in ((row.inputs["text"], row.truth) for row in found)]
    assert wanted == PAIRS
    assert kind.told in caplog.text


def test_at_least_52_of_the_kinds_get_in_with_at_most_one_option() -> None:
    assert sum(not kind.refused for kind in KINDS) >= 52


def test_the_docs_have_the_same_table() -> None:
    text = DOCS.read_text(encoding="utf-8")
    there = [line for line in text.split("\n") if line.startswith("| ") and "---" not in line][1:]
    assert there[: len(KINDS)] == [row_of(kind) for kind in KINDS]
