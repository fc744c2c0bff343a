"""What a new task folder says to its author and to the model, in the languages that there are."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.authoring.check_spec import PLACEHOLDER

__all__ = ["LANGUAGES", "Words", "language_of"]


@dataclass(frozen=True)
class Words:
    """The texts of a folder; braces are filled in."""

    about_file: str
    describe: str
    version: str
    labels_or: str
    kind_or: str
    inputs: str
    an_input: str
    descriptions: str
    settings: str
    k: str
    select: str
    min_confidence: str
    max_tokens: str
    one_of: str
    number_only: str
    instruction: str
    input_block: str
    output_block: str
    label_cue: str
    answer_cue: str
    write_for_label: str
    write_answer: str
    write_input: str
    own_examples: str
    next: str
    measure: str
    hides: str
    as_texts: str


LANGUAGES = {
    "en": Words(
        about_file="`fewshot show {name}` prints the prompt that this makes; `fewshot check {name}` finds mistakes.",
        describe=f"Say here in a sentence what the task does. {PLACEHOLDER}",
        version="stands in every result; raise it when answers may change",
        labels_or='the labels; or "text", "number"',
        kind_or='or "text", "number", or labels: ["yes", "no"]',
        inputs="what a call gives: each name with what it means",
        an_input="the {name}",
        descriptions="what a label means; prompt.jinja shows it to the model",
        settings="how it is asked; a call can override each: load(…, k=4)",
        k="how many examples a prompt shows",
        select='labels in turn; or "first", "random", "bm25" (those most like the question)',
        min_confidence="abstain (None) below this probability",
        max_tokens="the longest answer",
        one_of="Answer with one of:",
        number_only="Answer with a number only.",
        instruction="What the model reads. The instruction comes first and stays the same for every call.",
        input_block="How one input looks, in the examples as in the question.",
        output_block="How an answer looks: what stands before the output is the cue that the question ends with.",
        label_cue="Label",
        answer_cue="Answer",
        write_for_label=f"Write here a {{name}} whose answer is {{label}}. {PLACEHOLDER}",
        write_answer=f"Write here its answer. {PLACEHOLDER}",
        write_input=f"Write here a {{name}}. {PLACEHOLDER}",
        own_examples="put your own examples into {file}, then ",
        next="next: {todo}`fewshot check {name}` and `fewshot try {name}`",
        measure="measure it: `fewshot eval {name} --data {file}`",
        hides="{name} now means this folder here and hides the task that ships, for load('{name}') and on the command "
        "line; the function of the package keeps its own",
        as_texts="the answers are taken for texts: if they are labels, name them with --labels",
    ),
    "ko": Words(
        about_file="`fewshot show {name}`: 실제 프롬프트를 출력합니다. `fewshot check {name}`: 잘못된 곳을 찾습니다.",
        describe=f"이 작업이 하는 일을 한 문장으로 적으세요. {PLACEHOLDER}",
        version="모든 결과에 기록됩니다. 답이 달라질 수 있는 변경이면 올리세요",
        labels_or='레이블. 또는 "text", "number"',
        kind_or='또는 "text", "number", 레이블: ["예", "아니요"]',
        inputs="호출할 때 넘기는 값: 이름과 뜻",
        an_input="{name}",
        descriptions="레이블의 뜻. prompt.jinja가 모델에 보여 줍니다",
        settings="질문 방식. 호출할 때 바꿀 수 있습니다: load(…, k=4)",
        k="프롬프트에 넣을 예시 수",
        select='레이블을 번갈아. 또는 "first", "random", "bm25"(질문과 비슷한 예시)',
        min_confidence="확률이 이보다 낮으면 답하지 않음(None)",
        max_tokens="답의 최대 길이",
        one_of="다음 중 하나로만 답하세요:",
        number_only="숫자로만 답하세요.",
        instruction="모델이 읽는 글입니다. 지시문이 맨 앞에 오고, 호출마다 같습니다.",
        input_block="입력 하나의 모양입니다. 예시와 질문에 똑같이 쓰입니다.",
        output_block="답의 모양입니다. output 앞에 있는 글로 질문이 끝납니다.",
        label_cue="레이블",
        answer_cue="답",
        write_for_label=f"답이 {{label}}인 {{name}} 예시를 적으세요. {PLACEHOLDER}",
        write_answer=f"답을 적으세요. {PLACEHOLDER}",
        write_input=f"{{name}} 예시를 적으세요. {PLACEHOLDER}",
        own_examples="{file}에 직접 만든 예시를 넣고, ",
        next="다음 단계: {todo}`fewshot check {name}`, `fewshot try {name}`",
        measure="측정하려면: `fewshot eval {name} --data {file}`",
        hides="이제 이 폴더에서 {name}은(는) 새 작업이며, 함께 제공되는 작업을 가립니다(load('{name}')과 명령줄). "
        "패키지의 함수는 그대로입니다",
        as_texts="답을 자유로운 글로 보았습니다. 레이블이라면 --labels로 적어 주세요",
    ),
}
"""Each under its ISO 639-1 code."""


def language_of(text: str) -> str:
    """Tell the language of a description: Korean where it has syllables of Hangul, else English."""
    return "ko" if any("\uac00" <= sign <= "\ud7a3" for sign in text) else "en"
