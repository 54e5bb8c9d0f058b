"""Passages cover their document, respect their size, overlap and keep words whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.errors import InputError
from jcb_engine.indexing.passages import passage_spans, split_document
from jcb_engine.types import Document

Spans = list[tuple[int, int]]
Tokenizer = Callable[[str], Spans]


def word_spans(text: str) -> Spans:
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def piece_spans(text: str) -> Spans:
    """Words in pieces of at most three characters, as a subword tokenizer cuts them."""
    return [match.span() for match in re.finditer(r"\w{1,3}|[^\w\s]", text)]


def byte_spans(text: str) -> Spans:
    """One span per UTF-8 byte: several tokens share the span of one sign, as with byte-level tokenizers."""
    return [(index, index + 1) for index, sign in enumerate(text) for _ in sign.encode(errors="replace")]


def sign_spans(text: str) -> Spans:
    return [(index, index + 1) for index in range(len(text))]


texts = st.text(st.sampled_from("ab cdé日本, .\n\U0001f600"), max_size=120) | st.text(max_size=60)
tokenizers = st.sampled_from([word_spans, piece_spans, byte_spans])


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    max_tokens = draw(st.integers(1, 12))
    return max_tokens, draw(st.integers(0, max_tokens - 1))


def split(text: str, tokenizer: Tokenizer, max_tokens: int, overlap: int = 0) -> list[str]:
    return [passage.text for passage in split_document(Document("d", text), tokenizer, max_tokens, overlap)]


@settings(deadline=None)
@given(texts, tokenizers, st.integers(1, 12))
def test_without_overlap_the_passages_joined_are_the_text(text: str, tokenizer: Tokenizer, max_tokens: int) -> None:
    assert "".join(split(text, tokenizer, max_tokens)) == text


@settings(deadline=None)
@given(texts, tokenizers, sizes())
def test_passages_leave_no_gap_and_each_goes_further(text: str, tokenizer: Tokenizer, size: tuple[int, int]) -> None:
    places = passage_spans(text, tokenizer(text), *size)
    assert places[0][0] == 0
    assert places[-1][1] == len(text)
    for (start, end), (next_start, next_end) in pairwise(places):
        assert start < next_start <= end < next_end
    assert all(start < end for start, end in places) or places == [(0, 0)]


@settings(deadline=None)
@given(texts, st.sampled_from([word_spans, piece_spans]), sizes())
def test_passages_keep_to_the_number_of_tokens_and_of_overlap(
    text: str, tokenizer: Tokenizer, size: tuple[int, int]
) -> None:
    spans, (max_tokens, overlap) = tokenizer(text), size

    def tokens_between(start: int, end: int) -> int:
        return sum(start <= span[0] and span[1] <= end for span in spans)

    places = passage_spans(text, spans, max_tokens, overlap)
    assert all(tokens_between(start, end) <= max_tokens for start, end in places)
    for (_, end), (next_start, _) in pairwise(places):
        shared = tokens_between(next_start, end)
        assert shared <= overlap
        # where a passage that ended early at a word is hardly longer than the overlap, it shares what it can
        assert shared >= overlap - overlap // 2 or max_tokens < 4 * overlap


@settings(deadline=None)
@given(st.lists(st.sampled_from(["lorem", "a", "Zürich", "12"]), min_size=1, max_size=60), sizes())
def test_the_overlap_of_whole_words_is_exact(words: list[str], size: tuple[int, int]) -> None:
    max_tokens, overlap = size
    numbered = [f"{word}{index}" for index, word in enumerate(words)]
    passages = [passage.split() for passage in split(" ".join(numbered), word_spans, *size)]
    for previous, following in pairwise(passages):
        assert following[:overlap] == previous[len(previous) - overlap :]
        assert len(previous) == max_tokens


def test_passages_end_and_begin_between_words() -> None:
    text = "international " * 20
    passages = split(text, piece_spans, max_tokens=24, overlap=6)
    assert all(passage.startswith("international") and passage.endswith("international ") for passage in passages)


def test_a_text_without_word_ends_is_cut_at_tokens() -> None:
    text = "日本語" * 30
    passages = split(text, sign_spans, max_tokens=20)
    assert {len(passage) for passage in passages[:-1]} == {20}


def test_bytes_of_one_sign_stay_together() -> None:
    text = "\U0001f600" * 3
    assert split(text, byte_spans, max_tokens=2) == ["\U0001f600"] * 3


def test_a_passage_names_its_parent_its_position_and_keeps_title_and_metadata() -> None:
    document = Document("manual", "one two three", title="Manual", metadata={"lang": "en"})
    passages = split_document(document, word_spans, 2, 0)
    assert [(passage.id, passage.parent, passage.position, passage.text) for passage in passages] == [
        ("manual#0", "manual", 0, "one two "),
        ("manual#1", "manual", 1, "three"),
    ]
    assert all(passage.title == "Manual" and passage.metadata == {"lang": "en"} for passage in passages)


@pytest.mark.parametrize("text", ["", " \n ", "short"])
def test_a_document_that_fits_is_one_passage(text: str) -> None:
    assert split_document(Document("d", text), word_spans, 5, 1) == [Document("d#0", text, parent="d", position=0)]


def test_a_passage_is_not_split_again() -> None:
    passage = Document("d#3", "one two three", parent="d", position=3)
    assert split_document(passage, word_spans, 1, 0) == [passage]


@pytest.mark.parametrize(("max_tokens", "overlap"), [(0, 0), (-1, 0), (5, 5), (5, -1)])
def test_impossible_sizes_are_refused(max_tokens: int, overlap: int) -> None:
    with pytest.raises(InputError, match="allowed are"):
        split_document(Document("d", "text"), word_spans, max_tokens, overlap)
