"""The records of label tools and of training files as plain rows: the inputs and the answer under a usual name.

Only what a person has accepted is a gold label. What was rejected, skipped, discarded or is still a draft is left out
and counted; annotators who disagree, and a status that is not understood, are errors.

The shapes are those of doccano, Prodigy, Argilla 1 and 2, Label Studio, spaCy, promptfoo, and OpenAI's fine-tuning and
evals files, as their documentation shows them.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fewshot._checks import brief
from fewshot.errors import InputError

__all__ = ["Annotated", "flat", "gold", "is_plain", "mark_of"]

_log = logging.getLogger("fewshot")

Verdict = str | InputError
"""Why a row is not a gold label: empty where it is one; an error where that cannot be told."""
Flat = tuple[dict[str, Any], Verdict]

_ANSWERED = {
    "accept": "", "reject": "rejected", "ignore": "ignored",  # Prodigy
    "submitted": "", "draft": "drafts", "discarded": "discarded", "pending": "not answered", "completed": "",  # Argilla
    "Validated": "", "Default": "not validated", "Edited": "not validated", "Discarded": "discarded",  # Argilla 1
}  # fmt: skip
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}
_UNANSWERED = "not annotated"
_WHOLE = ("choices", "rating", "number", "text", "taxonomy", "selected", "datetime")
"""Under which name Label Studio keeps an answer for the whole text."""


class Annotated(dict[str, Any]):
    """A row of a label tool: its data, and apart from them what people answered, since names may be the same.

    The answer to a single question is also called `label`.
    """

    __slots__ = ("answers",)

    def __init__(self, data: Mapping[str, Any], answers: Mapping[str, Any]) -> None:
        only = {"label": next(iter(answers.values()))} if len(answers) == 1 else {}
        super().__init__({**answers, **data, **only})
        self.answers: Mapping[str, Any] = {**answers, **only}


def is_plain(names: Iterable[str]) -> bool:
    """Tell a record whose keys are those of no label tool."""
    return not any(name in _TOOLS or name.endswith(".responses") for name in names)


def mark_of(row: Mapping[str, Any]) -> str | None:
    """Give what is the same in rows that hold what several people say of one text; None for a row that is all of it."""
    if "_task_hash" in row:  # Prodigy
        return repr((row["_task_hash"], row.get("text")))
    return repr(row.get("id")) if "annotation_id" in row else None  # Label Studio's JSON_MIN, CSV and TSV


def flat(record: Mapping[str, Any]) -> Flat:
    """Give a record as a plain row, and why it is not a gold label.

    An answer that cannot be used stands in the row as an InputError, since asking does not need it.
    """
    row: dict[str, Any] = dict(record)
    verdict: Verdict = ""
    try:
        if any(name.endswith(".responses") for name in record):
            row, verdict = _argilla_columns(record)
        for name, of_tool in _TOOLS.items():
            apart = verdict or isinstance(row, Annotated)
            found = of_tool(row) if name in row and not apart else None
            if found is not None:
                row, verdict = found
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        told = f"is not as a label tool writes it ({type(error).__name__}: {error})"
        return dict(record), InputError(f"{told}: mend it or leave it out")
    return row, verdict


def gold(
    records: Iterable[tuple[int, Any]], where: str, *, tell: Callable[[str], object] | None = _log.warning
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Give the rows that are gold labels, each with its number from 1 and its line.

    Arguments:
        tell: told how many rows are left out, and why, by default in the log; None to take none of all as no error.

    Raises:
        InputError: a record is broken, or its status is not understood; or there are records and none is gold.
    """
    left: Counter[str] = Counter()
    said: dict[Any, Verdict] = {}
    number = 0
    for number, (line, record) in enumerate(records, start=1):
        if isinstance(record, InputError):
            raise record
        if isinstance(record, list) and len(record) == 2 and isinstance(record[1], Mapping):  # spaCy's training pairs
            record = {"text": record[0], **record[1]}
        if not isinstance(record, Mapping):
            raise InputError(f'{where}:{line}: must be an object like {{"text": …, "output": …}}, not {brief(record)}')
        row, verdict = (dict(record), "") if is_plain(record) else flat(record)
        if (mark := mark_of(record)) and {said.setdefault(mark, verdict), verdict} == {"", "rejected"}:
            verdict = InputError("the annotators disagree: accept, reject")
        if isinstance(verdict, InputError):
            raise InputError(f"{where}: row {number}: {verdict}", row=number)
        if verdict:
            left[verdict] += 1
        else:
            yield number, line, row
    if left and tell is not None:
        told = ", ".join(f"{count:,} {why}" for why, count in left.items())
        if number == left.total():
            raise InputError(f"{where}: none of its {number:,} rows has an accepted label: {told}")
        tell(f"{where}: {number - left.total():,} of {number:,} rows are taken; left out: {told}")


# -- one shape each: what it is, as a plain row, or None where the key means something else ----------------------------


def _messages(row: Mapping[str, Any]) -> Flat | None:
    turns = row.get("messages") or row.get("conversations")
    if not (isinstance(turns, list) and turns and all(isinstance(turn, Mapping) for turn in turns)):
        return None
    rest = _without(row, "messages", "conversations")
    said = [(_role(turn), turn) for turn in turns if _role(turn) in ("user", "assistant")]
    asked = [_said(turn) for role, turn in said if role == "user"]
    if not asked:
        return rest, InputError("its messages hold no turn of the user")
    rest["input"] = asked[-1]
    if said[-1][0] == "assistant":
        unused = said[-1][1].get("weight") == 0
        rest["output"] = InputError("its last turn has the weight 0") if unused else _said(said[-1][1])
    return rest, InputError("is a conversation of several turns: give the question alone") if len(asked) > 1 else ""


def _role(turn: Mapping[str, Any]) -> str:
    name = str(turn.get("role") or turn.get("from"))
    return _ROLES.get(name, name)


def _said(turn: Mapping[str, Any]) -> Any:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
            return InputError("a turn holds something other than text")
        return "".join(part["text"] for part in content)
    return content


def _input(row: Mapping[str, Any]) -> Flat | None:
    """Read OpenAI's evals, whose `input` is a conversation."""
    turns = row["input"]
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], Mapping) or "role" not in turns[0]:
        return None
    found = _messages({"messages": turns})
    return ({**_without(row, "input"), **found[0]}, found[1]) if found else None


def _prodigy(row: Mapping[str, Any]) -> Flat | None:
    if not {"label", "accept", "cats", "options", "spans", "_task_hash"} & row.keys():
        return None  # a question with its answer
    answer = row["answer"]
    rest = _without(row, "answer", "options")
    if isinstance(chosen := row.get("accept"), list) and isinstance(row.get("options"), list):
        texts = {option["id"]: option.get("text", option["id"]) for option in row["options"]}
        rest["label"] = [texts.get(one) if isinstance(one, int) else one for one in chosen]
        del rest["accept"]
    if answer in ("accept", "reject", "ignore"):
        return rest, _ANSWERED[answer]
    if "_task_hash" in row:
        return rest, _not_understood(answer)
    return None


def _spacy(row: Mapping[str, Any]) -> Flat | None:
    if not isinstance(row["cats"], Mapping):
        return None
    return {**_without(row, "cats"), "label": [name for name, share in row["cats"].items() if (share or 0) >= 0.5]}, ""


def _label_studio(row: Mapping[str, Any]) -> Flat | None:
    made, data = row.get("annotations", row.get("completions")), row.get("data")
    if isinstance(made, Mapping) and "cats" in made:
        return _spacy({**_without(row, "annotations"), "cats": made["cats"]})
    if not isinstance(made, list) or not isinstance(data, Mapping) or not all(isinstance(o, Mapping) for o in made):
        return None
    rest = {"id": row.get("id"), **data, **_ours(row, "meta")}
    kept = [one for one in made if not one.get("was_cancelled")]
    kept = [one for one in kept if one.get("ground_truth")] or kept
    if not kept:
        return rest, "cancelled" if made else _UNANSWERED
    answers: dict[str, list[Any]] = {}
    for one in kept:
        parts: dict[str, list[Any]] = {}
        for part in one.get("result", ()):
            if part.get("type") != "relation":
                parts.setdefault(str(part.get("from_name", "label")), []).append(part.get("value") or {})
        for name, values in parts.items():
            answers.setdefault(name, []).append(_chosen(values))
    if not answers:
        return rest, _UNANSWERED
    return Annotated(rest, {name: _agreed(values) for name, values in answers.items()}), ""


def _label_studio_row(row: Mapping[str, Any]) -> Flat | None:
    """Read a row of its JSON_MIN, CSV or TSV, where an answer that is more than a word is JSON."""
    answers = {}
    for name, value in row.items():
        if isinstance(value, str) and value.startswith(('{"', '[{"')):
            try:
                value = json.loads(value)
            except ValueError:
                continue
        values = value if isinstance(value, list) else [value]
        if values and all(isinstance(one, Mapping) and {*_WHOLE, "start"} & one.keys() for one in values):
            answers[name] = _chosen(values)
    return {**row, **answers}, ""


def _ours(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Give the record that `fewshot label --export` has put beside a row."""
    told = (row.get(place) or {}).get("fewshot") if isinstance(row.get(place), Mapping) else None
    return {"fewshot": told} if isinstance(told, str) else {}


def _chosen(values: Sequence[Mapping[str, Any]]) -> Any:
    """Give what one person answered to one question: for all of the text, or a label for each of several parts."""
    spans = [
        {
            "label": label,
            "text": value["text"],
            **{end: value.get("globalOffsets", value)[end] for end in ("start", "end")},
        }
        for value in values
        for label in value.get("labels") or value.get("hypertextlabels") or ()
    ]
    if spans:
        return spans
    found = [value[kind] for value in values for kind in _WHOLE if kind in value and "start" not in value]
    if len(found) != 1 or len(values) != 1:
        told = ", ".join(name for value in values for name in value if name not in ("start", "end", "text"))
        return InputError(f"its answers ({told}) are not one for the whole text: name another question with --target")
    if "taxonomy" not in values[0]:
        return found[0]
    if deep := next((path for path in found[0] if len(path) > 1), None):
        return InputError(f"its place in the taxonomy has several levels ({' > '.join(deep)}): give it one label")
    return [path[0] for path in found[0]]


def _argilla(row: Mapping[str, Any]) -> Flat | None:
    """Read a record of Argilla 2 or its REST service, with `fields` and `responses`."""
    if not isinstance(row.get("fields"), Mapping):
        return None
    rest = {"id": row.get("id"), **row["fields"], **_ours(row, "metadata")}
    answers: dict[str, list[tuple[Any, Any]]] = {}
    given = row.get("responses") or {}
    if isinstance(given, Mapping):
        for name, responses in given.items():
            answers[name] = [(one.get("value"), one.get("status", row.get("status"))) for one in responses]
    else:
        for one in given:
            for name, value in (one.get("values") or {}).items():
                answers.setdefault(name, []).append((value.get("value"), one.get("status")))
    return _responded(rest, answers)


def _argilla_columns(record: Mapping[str, Any]) -> Flat:
    """Read a row that Argilla 2 gives to data sets: `label.responses`, `label.responses.status`."""
    questions = [name.removesuffix(".responses") for name in record if name.endswith(".responses")]
    rest = {
        name: value
        for name, value in record.items()
        if not any(name.startswith((f"{q}.responses", f"{q}.suggestion")) for q in questions)
    }
    answers = {}
    for name in questions:
        values = record[f"{name}.responses"] or []
        if isinstance(values, str):
            return rest, InputError(f"its {name}.responses are a text and not a list: export it as JSON or Parquet")
        statuses = record.get(f"{name}.responses.status") or [record.get("status", "submitted")] * len(values)
        answers[name] = list(zip(values, statuses, strict=True))
    return _responded(rest, answers)


def _argilla_feedback(row: Mapping[str, Any]) -> Flat | None:
    """Read a row that Argilla 1 gives to data sets: `label`, a list of responses, beside `label-suggestion`."""
    questions = [name for name in row if f"{name}-suggestion" in row]
    answers = {name: [(one["value"], one["status"]) for one in row[name] or ()] for name in questions}
    suggested = [name for name in row if name.startswith(tuple(f"{question}-suggestion" for question in questions))]
    return _responded(_without(row, *questions, *suggested), answers) if questions else None


def _responded(rest: dict[str, Any], answers: Mapping[str, Sequence[tuple[Any, Any]]]) -> Flat:
    verdicts: list[Verdict] = [
        _ANSWERED.get(str(status), _not_understood(status)) for pairs in answers.values() for _, status in pairs
    ]
    unknown = next((verdict for verdict in verdicts if isinstance(verdict, InputError)), None)
    why = next((verdict for verdict in verdicts if verdict), _UNANSWERED)
    taken = {name: [v for v, status in pairs if _ANSWERED.get(str(status)) == ""] for name, pairs in answers.items()}
    agreed = {name: _agreed(values) for name, values in taken.items() if values}
    if unknown is not None or not agreed:
        return rest, unknown or why
    return Annotated(rest, agreed), ""


def _argilla_1(row: Mapping[str, Any]) -> Flat | None:
    if not {"prediction", "annotation_agent", "inputs", "status"} & row.keys():
        return None
    texts = row["inputs"] if isinstance(row.get("inputs"), Mapping) else {}
    rest = {**_without(row, "annotation", "inputs", "prediction", "status"), **texts, "label": row["annotation"]}
    status = row.get("status", "Validated")
    verdict = _ANSWERED.get(status, _not_understood(status))
    return rest, verdict or ("" if row["annotation"] is not None else _UNANSWERED)


def _promptfoo(row: Mapping[str, Any]) -> Flat | None:
    if not isinstance(row["vars"], Mapping):
        return None
    rest = dict(row["vars"])
    checks = row.get("assert") or []
    exact = [check.get("value") for check in checks if check.get("type") == "equals"]
    if checks:
        kinds = ", ".join(str(check.get("type")) for check in checks)
        rest["output"] = (
            _agreed(exact) if exact else InputError(f"its check is {kinds}: only `equals` tells the answer")
        )
    return rest, ""


def _promptfoo_cell(row: Mapping[str, Any]) -> Flat:
    kind, colon, value = str(row["__expected"]).partition(":")
    known = bool(colon) and kind.replace("-", "").isalpha() and not kind[:1].isupper() and " " not in kind
    answer: Any = (
        (value.strip() if kind == "equals" else InputError(f"its check is {kind}")) if known else row["__expected"]
    )
    return {**_without(row, "__expected"), "output": answer}, ""


def _doccano(row: Mapping[str, Any]) -> Flat:
    said = str(row["is_confirmed"]).casefold()  # a CSV has it as a text
    verdicts: Mapping[str, Verdict] = {"true": "", "false": "not confirmed"}
    return _without(row, "is_confirmed"), verdicts.get(said, _not_understood(row["is_confirmed"]))


_TOOLS: Mapping[str, Callable[[Mapping[str, Any]], Flat | None]] = {
    "messages": _messages,
    "conversations": _messages,
    "input": _input,
    "cats": _spacy,
    "annotations": _label_studio,
    "completions": _label_studio,
    "annotation_id": _label_studio_row,
    "fields": _argilla,
    "annotation": _argilla_1,
    "external_id": _argilla_feedback,
    "vars": _promptfoo,
    "__expected": _promptfoo_cell,
    "is_confirmed": _doccano,
    "answer": _prodigy,
}
"""By which key a shape is known. Prodigy's `answer` comes last: it judges what the others have read."""


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _agreed(values: Sequence[Any]) -> Any:
    """Give what all annotators say, in whatever order, or the error that they disagree."""
    if wrong := next((value for value in values if isinstance(value, InputError)), None):
        return wrong
    if len({str(sorted(map(str, value)) if isinstance(value, list) else value) for value in values}) == 1:
        return values[0]
    told = (" and ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values)
    return InputError(f"the annotators disagree: {', '.join(dict.fromkeys(told))}")


def _not_understood(status: object) -> InputError:
    return InputError(f"the status {status!r} is not understood: leave out the rows that are not gold labels, and it")
