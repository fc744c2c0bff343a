"""Read a free text out of an answer with its full stops and inner quotes left as they are."""

from __future__ import annotations

import re

from fewshot._wording import bare, blocks, cue_name, drop_cue, enclosed, fold, json_in, sentences, tidy, unquote
from fewshot.errors import OutputError

__all__ = ["no_answer", "quoted", "read_text"]


def read_text(text: str, cue: str = "") -> str:
    """Give an answer without what encloses the whole of it; raises OutputError when nothing is left."""
    value = _own_part(tidy(text), cue)
    block = enclosed(value)
    if block is not None:
        language, content = block
        inner = json_in(content) if language == "json" else None
        value = inner if isinstance(inner, str) else _wrapped(inner, cue) or tidy(content)
    else:
        value = _wrapped(json_in(_only_json_block(value)), cue) or unquote(value)
    value = tidy(value)
    if not value:
        raise OutputError("the answer is empty; answer with a text", reason="empty", raw=text)
    return value


def quoted(value: str) -> str:
    """Write a text so that `read_text` gives it back: as it is, or enclosed where it would lose its own quotes."""
    ticks = "`" * max((len(run) + 1 for run in re.findall(r"`{3,}", value)), default=3)
    ways = (value, f"“{value}”", f"«{value}»", f"{ticks}\n{value}\n{ticks}")
    return next((way for way in ways if read_text(way) == value), value)


def no_answer(value: str, phrase: str) -> bool:
    """Tell whether an answer begins or ends its first sentence with the phrase that means "no answer"."""
    wanted = _plain(phrase)
    first = _plain(sentences(value)[0]) if value else ""
    if first == wanted:
        return True
    long_enough = len(wanted.split()) > 2
    follows = r"\b" if long_enough else r"\s*[,;:.!(–—]"
    return bool(re.match(re.escape(wanted) + follows, first)) or (long_enough and first.endswith(" " + wanted))


def _plain(text: str) -> str:
    return bare(fold(text)).replace("do not", "don't")


def _own_part(answer: str, cue: str) -> str:
    """Cut a repeated cue, the preface before it, and the next example that a model goes on to invent."""
    if not cue_name(cue):
        return answer
    answer = drop_cue(answer, cue)
    paragraphs = re.split(r"\n[ \t]*\n", answer)
    for number, paragraph in enumerate(paragraphs[1:], start=1):
        lines = paragraph.strip().split("\n")
        if drop_cue(lines[0], cue) != lines[0]:
            return "\n\n".join([drop_cue(paragraph.strip(), cue), *paragraphs[number + 1 :]])
        if any(drop_cue(line, cue) != line for line in lines[1:]):
            return "\n\n".join(paragraphs[:number])
    return answer


def _only_json_block(value: str) -> str:
    """Give the text that may be JSON: the one `json` block among some prose, or the whole."""
    found = [content for language, content in blocks(value) if language == "json"] if "```" in value else []
    return found[0] if len(found) == 1 else value


def _wrapped(value: object, cue: str) -> str | None:
    """Give the text in an object such as `{"answer": "…"}`; None when it is not such a wrapper."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    key, held = next(iter(value.items()))
    known = {"answer", "label", "output", "result", "text", fold(cue_name(cue))}
    return held if isinstance(held, str) and fold(str(key)) in known and tidy(held) else None
