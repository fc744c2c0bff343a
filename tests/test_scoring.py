"""Label probabilities from token log-probabilities, whatever the labels look like."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.inference.label_tree import LabelTree, Open, mean_logprob
from fewshot.types import TokenLogprob


def position(**shares: float) -> TokenLogprob:
    top = tuple((token.replace("_", " ").encode(), math.log(p)) for token, p in shares.items())
    return TokenLogprob(*top[0], top)


def tree(*labels: str) -> LabelTree:
    return LabelTree({label: label for label in labels})


def shares(found: LabelTree) -> dict[str, float]:
    return {label: round(math.exp(p), 3) for label, p in found.logprobs().items()}


def test_a_token_that_begins_one_label_counts_for_it() -> None:
    found = tree("positive", "negative")
    found.add(position(_positive=0.5, _neg=0.2, Pos=0.1, _fine=0.1))
    assert found.coverage == pytest.approx(0.8)
    assert shares(found) == {"positive": 0.75, "negative": 0.25}
    assert found.next_open() is None


def test_a_token_that_begins_several_labels_is_asked_about_once() -> None:
    found = tree("very good", "very bad", "fine")
    found.add(position(_very=0.8, _fine=0.2))
    shared = found.next_open()
    assert shared == Open(b"very", pytest.approx(0.8))
    found.add(position(_good=0.75, _bad=0.25), shared)
    assert shares(found) == {"very good": 0.6, "very bad": 0.2, "fine": 0.2}
    assert found.next_open() is None


def test_labels_that_are_prefixes_of_others_are_told_apart_by_how_they_end() -> None:
    found = tree("sport", "sports")
    found.add(position(_sport=0.6, _sports=0.2))
    shared = found.next_open()
    assert shared is not None
    top = ((b"\n", math.log(0.5)), (b"s", math.log(0.25)), (b"<|im_end|>", math.log(0.25)))
    found.add(TokenLogprob(*top[0], top), shared)
    assert shares(found) == {"sport": pytest.approx(0.562), "sports": pytest.approx(0.438)}


def test_digits_that_begin_longer_numbers() -> None:
    found = tree("1", "10", "2")
    found.add(position(**{"1": 0.6, "2": 0.3, "10": 0.1}))
    shared = found.next_open()
    assert shared is not None
    found.add(position(**{"0": 0.5, "\n": 0.5}), shared)
    assert shares(found) == {"1": 0.3, "10": 0.4, "2": 0.3}


def test_a_part_of_a_character_begins_a_label() -> None:
    found = tree("긍정", "부정")
    first = "긍".encode()[:2]
    top = ((first, math.log(0.7)), ("부".encode(), math.log(0.3)))
    found.add(TokenLogprob(*top[0], top))
    assert shares(found) == {"긍정": 0.7, "부정": 0.3}


def test_labels_that_differ_only_by_case_stay_apart() -> None:
    found = tree("us", "US")
    found.add(position(us=0.9, US=0.1))
    assert shares(found) == {"us": 0.9, "US": 0.1}


def test_a_cut_inside_a_character_is_gone_on_from_where_all_labels_share_the_whole_of_it() -> None:
    tree = LabelTree({label: label for label in ("매우 긍정", "매우 부정", "중립")})
    assert tree.as_written("매".encode()[:1]) == "매"
    assert tree.as_written("매우 ".encode()) == "매우 "
    assert LabelTree({label: label for label in ("가", "긍")}).as_written("가".encode()[:1]) is None


def test_labels_that_differ_only_by_case_are_gone_on_from_as_they_are_spelled() -> None:
    tree = LabelTree({label: label for label in ("a1", "A1", "A2")})
    assert (tree.as_written(b"A"), tree.as_written(b"a")) == ("A", "a")


def test_a_label_that_was_not_listed_gets_little_but_not_nothing() -> None:
    found = tree("yes", "no")
    found.add(position(yes=0.999))
    assert 0 < shares(found)["no"] <= 0.001


def test_a_label_that_was_not_listed_never_wins_over_one_that_was() -> None:
    found = tree("c", "va", "vb")
    found.add(position(z=0.9, y=0.05, v=0.0005))
    shared = found.next_open()
    assert shared is not None
    found.add(position(b=0.9, a=0.1), shared)
    assert shares(found) == {"c": 0.31, "va": 0.069, "vb": 0.621}


def test_blanks_round_a_label_do_not_count() -> None:
    found = tree(" yes", "no ")
    found.add(position(yes=0.7, no=0.3))
    assert shares(found) == {" yes": 0.7, "no ": 0.3}


def test_mass_that_cannot_be_settled_is_split_in_proportion() -> None:
    found = tree("ab", "ac", "d")
    found.add(position(a=0.6, ab=0.1, d=0.3))
    shared = found.next_open()
    assert shared is not None
    found.spread(shared)
    assert sum(shares(found).values()) == pytest.approx(1, abs=0.01)
    assert shares(found)["ab"] > shares(found)["ac"]


def test_a_part_of_a_capital_begins_the_labels_with_that_letter() -> None:
    found = tree("Да", "Нет", "Ясно", "École")
    first, *rest = "Д".encode(), "Н".encode(), "Я".encode()
    top = ((first[:1], math.log(0.8)), (" É".encode()[:2], math.log(0.2)))
    found.add(TokenLogprob(*top[0], top))
    shared = found.next_open()
    assert shared == Open(first[:1], pytest.approx(0.8))
    after = tuple((letter[1:], math.log(p)) for letter, p in zip((first, *rest), (0.5, 0.25, 0.25), strict=True))
    found.add(TokenLogprob(*after[0], after), shared)
    assert shares(found) == {"Да": 0.4, "Нет": 0.2, "Ясно": 0.2, "École": 0.2}


def test_capitals_are_no_other_case_where_case_counts() -> None:
    found = tree("ä", "Ä")
    top = (("ä".encode()[:1], 0.0),)
    found.add(TokenLogprob(*top[0], top))
    shared = found.next_open()
    assert shared is not None
    after = (("ä".encode()[1:], math.log(0.75)), ("Ä".encode()[1:], math.log(0.25)))
    found.add(TokenLogprob(*after[0], after), shared)
    assert shares(found) == {"ä": 0.75, "Ä": 0.25}


def test_mass_on_all_of_a_label_is_not_given_to_longer_ones_that_have_tokens_of_their_own() -> None:
    found = tree("sport", "sports", "film")
    found.add(position(_sport=0.6, _sports=0.1, _film=0.3))
    shared = found.next_open()
    assert shared is not None
    found.spread(shared)
    assert shares(found) == {"sport": 0.6, "sports": 0.1, "film": 0.3}


def test_a_blank_is_asked_about_where_it_outweighs_the_labels() -> None:
    found = tree("1", "2")
    found.add(position(_=0.9, **{"1": 0.02, "2": 0.03}))
    shared = found.next_open()
    assert shared == Open(b"", pytest.approx(0.9))
    assert found.as_written(b"") == ""
    found.add(position(**{"1": 0.75, "2": 0.25}), shared)
    assert found.coverage == pytest.approx(0.95)
    assert shares(found) == {"1": pytest.approx(0.73, abs=0.01), "2": pytest.approx(0.27, abs=0.01)}
    found = tree("1", "2")
    found.add(position(_=0.4, **{"1": 0.3, "2": 0.3}))
    assert found.next_open() is None


@given(
    st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=6, unique_by=str.casefold),
    st.lists(st.tuples(st.binary(max_size=5), st.floats(0.001, 1)), min_size=1, max_size=12),
)
def test_whatever_the_tokens_the_result_is_a_distribution(labels: list[str], tokens: list[tuple[bytes, float]]) -> None:
    total = sum(p for _, p in tokens)
    top = tuple((token, math.log(p / total)) for token, p in tokens)
    found = LabelTree({label: label for label in labels})
    found.add(TokenLogprob(*top[0], top))
    probabilities = [math.exp(p) for p in found.logprobs().values()]
    assert math.fsum(probabilities) == pytest.approx(1)
    assert all(p > 0 for p in probabilities)


def test_mean_logprob_is_none_without_tokens() -> None:
    assert mean_logprob(()) is None
    assert mean_logprob([TokenLogprob(b"a", -1.0), TokenLogprob(b"b", -2.0)]) == -1.5
