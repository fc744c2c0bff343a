"""An answer in prose is read only where it says that a label or a number is the answer; all else is asked again."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fewshot._wording import without_run_on
from fewshot.errors import OutputError
from fewshot.outputs.kinds import Labels, Number, Schema
from fewshot.outputs.numbers import read_number
from fewshot.outputs.spans import Finder, Span

MOOD = Labels(("positive", "negative", "neutral"))
STARS = Labels(("1", "2", "3", "4", "5"))
SIGNS = Labels(("-1", "0", "1"))
LETTERS = Labels(("A", "B", "C"))
YES_NO = Labels(("yes", "no"))

NOT_SAID = """
Less positive than I thought|It would be a stretch to call it positive.|It is hard to call it positive
It's difficult to say it is positive|If it were positive, it would say so.|It stops short of positive|Almost positive
It used to be positive.|One could mistake it for positive.|The user claims it is positive. I disagree.
I refuse to say positive.|The previous answer was positive.|Either positive or something else|It could be positive.
~~positive~~|<del>positive</del>|!positive|¬positive|false positive|A false positive.|double negative|positive=false
positive: false|positive: 0|positive: 0.1|positive 0%|10% positive|positive: 10%|positive,0.02|[ ] positive|☐ positive
✗ positive|positive ❌|Rejected: positive|Previous label: positive|positive (?)|We stay positive here
{"rejected": "positive"}|{"not": "positive"}|{"was": "positive"}|{"label": "positive", "final_label": "negative"}
positive\\nEdit: negative|positive\\n\\nThat was a mistake. The label is negative.|positive\\n\\nFinal answer: negative
positive\\n\\nSo the sentiment is negative.|positive\\n\\n**Final label:** negative|positive\\nOR\\nnegative
positive\\n\\nJust kidding.|positive\\nHmm, on reflection that is wrong.|Answer: positive\\nAnswer: negative
Das ist kaum positive.|Es ist alles andere als positive.|Ei ole positive|Nem positive|Není positive|Δεν είναι positive
לא positive|ไม่ positive|tidak positive|nu este positive|لا positive|非positive|비positive|chẳng positive
"""
SAID = """
The sentiment expressed in the text is **negative**.|I'd classify the sentiment as "negative".|Negative, 95%
This review is clearly negative.|The review expresses a negative sentiment.|Based on the wording, I would say negative.
Overall, negative.|Negative sentiment.|Negative (the product broke)|Negative (confidence: 0.95)|negative - it broke
Negative: the writer complains.|The answer is: negative|=> negative|1. negative|It falls into the negative category.
I would go with negative.|The text appears to be negative in tone.|This should be labeled as negative.|😠 negative
\\boxed{negative}|Negative\\n\\nThe product broke and the writer is upset.|Reason: it broke\\nSentiment: negative
Here's the classification:\\n\\n**negative**|The author feels negative about it.|Die Stimmung ist negative.
Ich würde den Text als negative einstufen.|감정은 negative입니다.|情感是negative。|Тональность: negative
Classification: **Negative**\\n\\nReason: complaint about delay.|I believe this falls under the category of negative.
The sentiment in this sentence is overwhelmingly negative.|The user is expressing a negative opinion.
negative\\n\\nText: What a day!\\nSentiment: positive
"""
OTHERS = [
    (Labels(("긍정", "부정")), "긍정이라고 보기 어렵습니다"), (Labels(("正面", "负面")), "难说是正面"),
    (Labels(("肯定", "否定")), "肯定とは言い難い"), (Labels(("позитив", "негатив")), "это вряд ли позитив"),
    (Labels(("positif", "négatif")), "à peine positif"), (Labels(("positiv", "negativ")), "Positiv wäre falsch"),
    (Labels(("إيجابي", "سلبي")), "لا إيجابي"), (Labels(("a", "a b")), "a b d"),
    (Labels(("true", "false")), "half true"),
    *((STARS, said) for said in (">3", "at least 3", "The text has 3 sentences", "3%")),
    *((STARS, said) for said in ("$3", "3 million", "10^3", "2+2")),
    *((SIGNS, said) for said in ("–1", "- 1", "minus 1", "negative 1", "±1")),
    *((LETTERS, said) for said in ("A-", "A−", "Vitamin C", "Plan B", "5 °C", "A friend came.")),
    *((YES_NO, said) for said in ("No doubt.", "no problem", "No. 5", "no one knows")),
    *((YES_NO, said) for said in ("No comment", "no\nidea", "If yes")),
    (Labels(("other", "refund")), "On the other hand it is unclear"), (Labels(("May", "June")), "It may be"),
    (Labels(("US", "UK")), "Tell us more"), (Labels(("IT", "HR")), "It is unclear"),
    (Labels(("open", "closed")), "This is an open question"), (Labels(("help", "bug")), "I can help with that"),
    (Labels(("request", "complaint")), "I am unable to process this request"),
]  # fmt: skip
NO_NUMBER = """
EUR 1.000|€ 1.000|1.000,-|1.23.456|from 3|3 or so|almost 40|just under 40|over 40|minimum 40|40 plus|40ish|40-odd|5 5
one in three|50-50|—5|‑5|－5|5-|5 below|−\u00a05|--5|+-5|±5|マイナス5|영하 5도|零下5度|moins 5|por lo menos 5
负5|минус 5|1×10³|√4|log 5|2π|2 pi|5 MM|5T|5 May|May 5|5. Mai|5月12日|12.30 Uhr|5pm|5 p.m.|Q3 2024|1990s
5 (?)|could be 5
5\\nCorrection: 6|5\\n\\nWait, that's wrong. It is 6.|~~5~~|if 5|It used to be 5.|The previous value was 5.
I would need 2 more values.|Sorry, my knowledge ends in 2023.|Unknown as of 2023.|Step 1: unclear|1. I can't tell
Error 404|HTTP 500|Error: 429 Too Many Requests|0 (unknown)|N/A (0)|,5|5 ,5|{"min": 5}|{"answer": "at least 5"}
{"answer": "5+"}|{"confidence": 0.9}|{"error": 404}|{"not": 5}|#### nearly 5|\\boxed{under 5}
"""
NUMBER_42 = """
Thus, Wendi needs 42 cups of feed.|In total, they walked 42 km.|It weighs 42 kg.|Carlos must wait 42 years.
The train travels 42 miles.|He ran 42 meters a week.|He needs 42 more.
The total cost is $42.|It costs $42.|She now has 42 apples left.|There are 42 apples in the basket.|Total: $42|x = 42
He spent a total of $42 on books.|42 people are mentioned.|Approximately 42.|~42|42 (forty-two)|$$42$$|=> 42|<b>42</b>
{"count": 42}|42\\nExplanation: it stands there.|6 x 7 = 42 apples|Das Ergebnis ist 42.|La réponse est 42.|答案是42。
정답은 42입니다.|42円|Your total comes to 42 dollars.|She will have 42 marbles.|42\\n\\nQuestion: 3 + 3?\\nAnswer: 6
5\\n\\nFinal answer: 42
"""


def told(table: str) -> list[str]:
    return [said.replace("\\n", "\n") for said in table.replace("\n", "|").split("|") if said]


@pytest.mark.parametrize(("output", "answer"), [*((MOOD, said) for said in told(NOT_SAID)), *OTHERS])
def test_a_label_that_is_not_said_to_be_the_answer_is_refused(output: Labels, answer: str) -> None:
    with pytest.raises(OutputError):
        output.parse(answer, cue="Sentiment:")


@pytest.mark.parametrize("answer", told(SAID))
def test_a_label_that_is_said_to_be_the_answer_is_read(answer: str) -> None:
    assert MOOD.parse(answer, cue="Sentiment:") == "negative"


@pytest.mark.parametrize(
    ("output", "answer", "label"),
    [
        (STARS, "I'd rate it 4.", "4"), (STARS, "4 stars", "4"), (STARS, "I would give it a 4.", "4"),
        (LETTERS, "B) Paris", "B"), (LETTERS, "The correct option is B) Paris.", "B"), (LETTERS, "B is correct.", "B"),
        (YES_NO, "No, it doesn't.", "no"), (YES_NO, "No. The text says nothing of it.", "no"), (SIGNS, "(-1)", "-1"),
        (YES_NO, "no because it is not there", "no"),
        (Labels(("bug report", "refund")), "This looks like a bug report.", "bug report"),
        (Labels(("World", "Sports")), "The article is about sports.", "Sports"),
    ],
)  # fmt: skip
def test_labels_of_other_kinds_are_read_too(output: Labels, answer: str, label: str) -> None:
    assert output.parse(answer) == label


@pytest.mark.parametrize("answer", told(NO_NUMBER))
def test_a_number_that_is_not_said_to_be_the_answer_is_refused(answer: str) -> None:
    with pytest.raises(OutputError):
        Number().parse(answer, cue="Answer:")


@pytest.mark.parametrize("answer", told(NUMBER_42))
def test_a_number_that_is_said_to_be_the_answer_is_read(answer: str) -> None:
    assert read_number(answer, "Answer:") == 42


WORDS = st.text(alphabet="bdfghjkpqvwxz", min_size=2, max_size=9)


@given(st.lists(WORDS, min_size=1, max_size=4), st.sampled_from(["positive", "negative"]))
def test_words_of_no_known_language_right_before_a_label_never_yield_it(words: list[str], label: str) -> None:
    with pytest.raises(OutputError):
        MOOD.parse(f"{' '.join(words)} {label}")


@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(2, 999))
def test_words_of_no_known_language_right_before_a_number_never_yield_it(words: list[str], number: int) -> None:
    with pytest.raises(OutputError):
        read_number(f"{' '.join(words)} {number}")


def test_only_an_example_that_goes_on_to_the_cue_is_run_on_text() -> None:
    assert without_run_on("Text: dull\nSentiment: negative", "Sentiment:") == ""
    assert (
        without_run_on("Final answer: x\nSentiment: negative", "Sentiment:") == "Final answer: x\nSentiment: negative"
    )


class Record(BaseModel):
    name: str = "Kim"
    day: dt.date | None = None
    at: dt.datetime | None = None
    price: Decimal = Decimal(1)
    days: list[dt.date] = []


@pytest.mark.parametrize(
    "answer",
    [
        '{"day": "0"}', '{"day": "1704153600"}', '{"at": "2024"}', '{"at": "20240102"}', '{"at": "10.30"}',
        '{"days": ["2024-01-02", "86400"]}',
        '{"price": 0.12345678901234567890123}', '{"price": 12345678901234567890.12}',
        'An example would be {"name": "X"}, but the text has none.', 'The format is {"name": "string"}',
        "I can't do that: {\"name\": \"X\"}", 'It is not {"name": "X"}',
    ],
)  # fmt: skip
def test_a_record_that_is_read_as_another_or_said_to_be_none_is_refused(answer: str) -> None:
    with pytest.raises(OutputError):
        Schema(Record).parse(answer)


def test_a_record_keeps_numbers_that_are_texts_and_the_digits_of_its_decimals() -> None:
    answer = 'Here is the object in the format you asked for:\n{"name": "2024", "price": 0.1234, "day": "2024-01-02"}'
    assert Schema(Record).parse(answer) == Record(name="2024", price=Decimal("0.1234"), day=dt.date(2024, 1, 2))
    assert Schema(Record).parse('{"price": "0.12345678901234567890123"}').price == Decimal("0.12345678901234567890123")


@pytest.mark.parametrize("name", ["Kim met Rob in Paris", "Kim met Bob at Paris", "Kim met Bob in Paris, now in paris"])
def test_a_span_with_another_short_word_is_none_of_the_text(name: str) -> None:
    assert Finder("Kim met Bob in Paris, not in paris.").placed([Span("x", name)]) == []
