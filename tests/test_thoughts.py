"""Thoughts are parted from the answer whatever marks them, and so is what a chat template leaves round it."""

from __future__ import annotations

import pytest

from fewshot.outputs.thoughts import part

MARKED = (
    "<think>Hm.</think>\n\n{}", "<THINK>Hm.</THINK>{}", "< think >Hm.</ think >{}", '<think id="1">Hm.</think>{}',
    "<thought>Hm.</thought>{}", "<reflection>Hm.</reflection>{}", "<scratch_pad>Hm.</scratch_pad>{}",
    "<inner_thoughts>Hm.</inner_thoughts>{}", "<o_think>Hm.</o_think>{}", "<seed:think>Hm.</seed:think>{}",
    "<analysis>Hm.</analysis>{}", "<reason>Hm.</reason>{}", "<rationale>Hm.</rationale>{}", "<cot>Hm.</cot>{}",
    "<inner_monologue>Hm.</inner_monologue>{}", "&lt;think&gt;Hm.&lt;/think&gt;{}", "[THINK]Hm.[/THINK]{}",
    "◁think▷Hm.◁/think▷{}", "<|begin_of_thought|>Hm.<|end_of_thought|>{}", "<|START_THINKING|>Hm.<|END_THINKING|>{}",
    "Hm.</think>{}", "<|channel>thought\nHm.<channel|>{}", "<|thinking|>Hm.<|/thinking|>{}",
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
)  # fmt: skip


@pytest.mark.parametrize("marked", MARKED)
def test_thoughts_in_any_marks_are_parted_from_the_answer(marked: str) -> None:
    parted = part(marked.replace("{}", "A phone."))
    assert (parted.answer, "Hm." in parted.thoughts, parted.cut) == ("A phone.", True, False)


@pytest.mark.parametrize("text", ["<think>Hm", "Sure. <think>Hm", "<analysis>Hm", "<reason>Hm.</reason>", "[THINK]Hm"])
def test_thoughts_after_which_nothing_comes_are_cut_and_leave_no_answer(text: str) -> None:
    parted = part(text)
    assert (parted.answer, parted.cut or not parted.answer, "Hm" in parted.thoughts) == ("", True, True)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("See the [reasoning](https://example.org) of the court.", ""),
        ("It has an <analysis> element and an </analysis> at its end.", ""),
        ("<analysis>Fine.</analysis>", "Answer in an <analysis> element."),
        ("The tag <think> opens it.", "What does <think> do?"),
        ("A pipe is written <|> or |>.", ""),
        ("They met <b>twice</b>.", ""),
    ],
)
def test_what_only_looks_like_thoughts_is_the_answer(text: str, asked: str) -> None:
    assert (part(text, asked).answer, part(text, asked).thoughts) == (text, "")


@pytest.mark.parametrize(
    "text",
    [
        "A phone.<|im_end|>", "A phone.</s>", "A phone.<|eot_id|>", "A phone.<end_of_turn>\n",
        "A phone.<|im_end|>\n<|im_start|>user\nAnother?", "<|im_start|>assistant\nA phone.<|im_end|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\nA phone.", "<start_of_turn>model\nA phone.",
        "[/INST] A phone.", "<think>Hm.</think>\nA phone.<|endoftext|>",
    ],
)  # fmt: skip
def test_what_a_chat_template_leaves_round_a_turn_is_taken_off(text: str) -> None:
    assert part(text).answer == "A phone."
    asked = "Which marks are <|im_end|>, </s>, <|eot_id|>, <end_of_turn>?"
    if text.startswith("A phone.<") and "\n" not in text:
        assert part(text, asked).answer == text
