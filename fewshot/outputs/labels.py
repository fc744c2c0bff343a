"""Read one label out of an answer, or refuse: never a guess.

An answer is read literally first, then with its wrapping off, then by its first line, then as JSON, then as prose. In
prose a label counts where it stands as a word of its own; two labels, a denial or a question are refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from fewshot._wording import (
    MAX_ANSWER,
    bare,
    blocks,
    cue_name,
    denies,
    distinct_fold,
    drop_cue,
    excerpt,
    fold,
    json_in,
    json_objects,
    not_the_answer,
    sentences,
    states,
    tidy,
    without_run_on,
)
from fewshot.errors import OutputError

__all__ = ["LabelReader"]

_OPERATORS = tuple("-–—<>")
"""What begins a bullet or a quotation before a word, and before digits may be a sign of them."""
_SHORT = 3
"""Words up to which a sentence is read together with its neighbour: "Positive? No way.", "It is not. Positive."."""


class LabelReader:
    """Reads answers that name one of several labels.

    Arguments:
        shown: for each label the word that the model is asked for. Both are understood, the word first.
        codes: what stands for a label where it is all of an answer, and may not stand before another one.
    """

    def __init__(self, shown: Mapping[str, str], codes: Mapping[str, str] = MappingProxyType({})) -> None:
        self._shown = tuple(shown.values())
        self.literal = {word: label for label, word in shown.items()}
        for label in shown:
            self.literal.setdefault(label, label)
        self._fold = distinct_fold(self._shown)
        self._folded: dict[str, str] = {}
        for form, label in self.literal.items():
            self._folded.setdefault(self._fold(form), label)
        self._in_prose = tuple(form for form in self._folded if any(map(str.isalnum, form)))
        self._codes = {self._fold(code): label for label, code in codes.items()}
        self._folded = self._codes | self._folded
        self._bare = _unambiguous((bare(form), label) for form, label in self._folded.items())

    def read(self, text: str, cue: str) -> str:
        """Give the label that an answer names; raises OutputError when it names none, several or a denied one."""
        answer = drop_cue(tidy(text), cue)
        if not answer:
            raise OutputError("the answer is empty; " + self._wanted(), reason="empty", raw=text)
        try:
            found = self._lookup(answer) or self._on_first_line(answer, cue) or self._searched(answer, cue)
            if self._codes.get(bare(self._fold(answer.split(maxsplit=1)[0])), found) != found:
                raise _RefusedError("the answer has the letter of one label and the name of another", ambiguous=True)
            return found
        except _RefusedError as refused:
            message = f"{refused.why}: {excerpt(tidy(text))}; {self._wanted()}"
            raise OutputError(message, reason="ambiguous" if refused.ambiguous else "invalid", raw=text) from None

    def _wanted(self) -> str:
        more = ", …" if len(self._shown) > 20 else ""
        return f"answer with exactly one of: {', '.join(self._shown[:20])}{more}"

    def _lookup(self, text: str) -> str | None:
        if len(text) > 10_000:
            return None
        folded = self._fold(text)
        core = bare(folded)
        if core[:1].isdigit() and folded.partition(core)[0].rstrip()[-1:] in _OPERATORS:
            return self._folded.get(folded)
        return self._folded.get(folded) or self._folded.get(core) or self._bare.get(core)

    def _searched(self, answer: str, cue: str) -> str:
        if len(answer) > MAX_ANSWER:
            raise _RefusedError("the answer is far too long")
        return self._in_json(answer, cue) or self._on_last_line(answer, cue) or self._mentioned(answer)

    def _in_json(self, answer: str, cue: str) -> str | None:
        fenced = [json_in(content) for _, content in blocks(answer)] if "```" in answer else []
        found = {
            label
            for value in (*fenced, *_json_values(answer))
            if value is not None and (label := self._in_value(value, cue)) is not None
        }
        if len(found) > 1:
            raise _RefusedError("the answer names several labels", ambiguous=True)
        return found.pop() if found else None

    def _in_value(self, value: object, cue: str) -> str | None:
        if isinstance(value, dict):
            by_key = {fold(str(key)): held for key, held in value.items()}
            if len({label for held in by_key.values() if isinstance(held, str) and (label := self._lookup(held))}) > 1:
                raise _RefusedError("the answer names several labels", ambiguous=True)
            told = [held for key, held in by_key.items() if not not_the_answer(key)]
            held = by_key.get("label", by_key.get(fold(cue_name(cue)), told))
        else:
            held = value
        texts = [_json_text(item) for item in (held if isinstance(held, list) else [held])]
        found = {label for text in texts if (label := self._lookup(text)) is not None}
        if not found and len(texts) == 1:
            return self._mentioned(texts[0])
        if len(found) != 1:
            raise _RefusedError(f"the answer names {'several labels' if found else 'no label'}", ambiguous=bool(found))
        return found.pop()

    def _on_first_line(self, answer: str, cue: str) -> str | None:
        """Give the label that the first line is, where the rest is run-on text and no second answer."""
        first, _, rest = answer.partition("\n")
        rest = rest.strip()
        label = self._lookup(first) if rest and not rest[0].islower() else None
        rest = without_run_on(rest, cue) if label is not None else ""
        others = (self._lookup(line) not in (None, label) for line in rest.split("\n"))
        if rest and (_RETRACTED.match(rest) or any(others) or self._states_another(rest, label)):
            raise _RefusedError("the answer names several labels, or takes one back", ambiguous=True)
        return label

    def _states_another(self, text: str, label: str | None) -> bool:
        parts = [self._fold(part) for part in sentences(text)]
        return any(
            self._folded[parts[number][start:end]] != label and states(parts[number], start, end)
            for number, start, end in self._named(parts)
        )

    def _named(self, parts: list[str]) -> Iterator[tuple[int, int, int]]:
        """Give where labels stand in sentences as words of their own: the sentence, the start and the end."""
        whole = "\n".join(parts)
        present = sorted((form for form in self._in_prose if form in whole), key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, present)))
        for number, part in enumerate(parts if present else ()):
            spans = (match.span() for match in pattern.finditer(part))
            yield from ((number, *span) for span in spans if _stands_alone(part, *span))

    def _on_last_line(self, answer: str, cue: str) -> str | None:
        """Give the label of the one line that repeats the cue, after some reasoning."""
        cues = dict.fromkeys((cue, "Answer:", "Final answer:"))
        lines = answer.split("\n")
        marked = {line: rest for line in lines for cue in cues if (rest := drop_cue(line, cue)) != line}
        return self._lookup(marked.popitem()[1]) if len(marked) == 1 else None

    def _mentioned(self, answer: str) -> str:
        """Give the one label that stands in some prose, if nothing there denies it or asks for it."""
        parts = [self._fold(part) for part in sentences(answer)]
        found: dict[str, None] = {}
        places: dict[int, list[tuple[int, int]]] = {}
        for number, start, end in self._named(parts):
            found[self._folded[parts[number][start:end]]] = None
            places.setdefault(number, []).append((start, end))
            if len(found) > 1:
                raise _RefusedError(f"the answer names several labels ({', '.join(found)})", ambiguous=True)
        if not found:
            raise _RefusedError("the answer names no label")
        said = any(states(parts[number], *span) for number, spans in places.items() for span in spans)
        if not said or any(_denied(parts, number, spans) for number, spans in places.items()):
            raise _RefusedError("the answer names a label but does not say that it is the one", ambiguous=True)
        return found.popitem()[0]


class _RefusedError(Exception):
    """Why an answer was refused; turned into an OutputError where the whole answer is known."""

    def __init__(self, why: str, *, ambiguous: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.ambiguous = ambiguous


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, set[str]] = {}
    for key, value in pairs:
        values.setdefault(key, set()).add(value)
    return {key: held.pop() for key, held in values.items() if key and len(held) == 1}


_RETRACTED = re.compile(
    r"[^\n]{0,20}?(?:\b(?:wait|actually|correction|on (?:second thought|reflection)|scratch that|sorry|i mean|instead"
    r"|rather|mistake|kidding|joking|typo|negation|edit)\b|\bno[,.]|\b(?:wrong|not)[.!]|아니|정정|사실)",
    re.IGNORECASE,
)
"""How a first line is taken back in what follows it."""


def _json_values(answer: str) -> list[object]:
    whole = json_in(answer) if answer[0] in '["{' else None
    return [whole] if whole is not None else [value for _, value in json_objects(answer)]


def _json_text(value: object) -> str:
    if isinstance(value, str):
        return tidy(value)
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else ""


def _denied(parts: list[str], number: int, spans: list[tuple[int, int]]) -> bool:
    """Tell whether a sentence or a short one next to it denies, doubts or merely asks for the label it names."""
    part = parts[number]
    if part.rstrip("\"'”’»)]*_`").endswith("?") or any(_is_key(part, end) for _, end in spans):
        return True
    around = [_short(parts, number - 1), _short(parts, number + 1)]
    start, end = spans[0]
    if denies(part[start:end]):
        goes_on = _GOES_ON.match(part, end) or "".join(parts[number + 1 : number + 2])[:1].isdigit()
        return denies(f"{around[0]} {part[:start]}") or bool(goes_on)
    masked, last = [], 0
    for start, end in spans:
        masked.append(part[last:start])
        last = end
    claim = _REASON.split(part[last:], maxsplit=1)[0]
    return denies(" … ".join([around[0], *masked, claim, around[1]]))


_GOES_ON = re.compile(r"\s+(?!(?:because|since|as)\b)\w")
"""What makes "no" a word of "no idea", and of "No. 5"."""
_REASON = re.compile(r"\b(?:because|since)\b")
_KEY = re.compile(r"[\"'”’]\s*:")


def _is_key(part: str, end: int) -> bool:
    """Tell whether a mention is the key of something like broken JSON, whose value says what it means."""
    return _KEY.match(part, end) is not None


def _short(parts: list[str], number: int) -> str:
    part = parts[number] if 0 <= number < len(parts) else ""
    return part if len(part.split(maxsplit=_SHORT)) <= _SHORT else ""


# What may follow or precede a label inside one run of letters, in scripts that write particles without a space.
_ENDINGS = frozenset(
    "은 는 이 가 을 를 의 에 도 만 로 으로 과 와 다 이다 입니다 이에요 예요 이예요 임 이라고 라고 으로서 이며 이고 인 "  # noqa: SIM905
    "적 적인 적이다 적입니다 적이에요 적으로 적임 적이며 적이고 적이라고 的 です だ である でした".split()
)
_OPENINGS = frozenset("是为為属屬")


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Tell whether a span is a word of its own, and no part of another word, name or number."""
    return _free_before(text, start) and _free_after(text, end)


def _free_before(text: str, start: int) -> bool:
    before, first = text[start - 1 : start], text[start]
    beyond = text[start - 2 : start - 1] if start > 1 else ""
    if not before:
        return True
    if _is_letter(before):
        same = _script(before) == _script(first) or not first.isalnum()
        return not same or (_script(first) == "han" and before in _OPENINGS)
    if first.isdigit() and before in "-−.,/":
        return before not in "-−" and not beyond.isdigit()
    return not (before in "-_&@" and _is_letter(beyond))


def _free_after(text: str, end: int) -> bool:
    last, after, beyond = text[end - 1], text[end : end + 1], text[end + 1 : end + 2]
    if not after:
        return True
    if after in "+#":
        return False
    if not last.isalnum():
        return True
    if _is_letter(after):
        return _script(after) != _script(last) or _run(text, end) in _ENDINGS
    if last.isdigit() and after in ".,/" and beyond.isdigit():
        return False
    return not (after in "-_'&@" and _is_letter(beyond))


def _run(text: str, start: int) -> str:
    """Give the next letters of one script, up to a few more than any ending has."""
    end = start
    while end < min(len(text), start + 6) and _is_letter(text[end]) and _script(text[end]) == _script(text[start]):
        end += 1
    return text[start:end]


def _is_letter(sign: str) -> bool:
    return sign.isalnum() or (sign > "\x7f" and unicodedata.category(sign)[0] == "M")


def _script(sign: str) -> str:
    if "가" <= sign <= "힣":
        return "hangul"
    if "\u3040" <= sign <= "\u309f":
        return "hiragana"
    if "\u30a0" <= sign <= "\u30ff":
        return "katakana"
    return "han" if "\u3400" <= sign <= "\u9fff" else "other"
