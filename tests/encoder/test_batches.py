"""Batches hold every text once, longest first, within the budget."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jcb_engine.encoder.batches import runs_of_equal_length, token_batches

lengths_of_texts = st.lists(st.integers(0, 12), max_size=30)


@given(lengths_of_texts, st.integers(1, 40))
def test_every_text_with_tokens_is_in_one_batch(lengths: list[int], budget: int) -> None:
    order = [int(text) for batch in token_batches(lengths, budget) for text in batch]
    assert sorted(order) == [text for text, length in enumerate(lengths) if length]
    assert all((-lengths[a], a) < (-lengths[b], b) for a, b in pairwise(order))


@given(lengths_of_texts, st.integers(1, 40))
def test_a_batch_keeps_to_the_budget_unless_it_is_one_text(lengths: list[int], budget: int) -> None:
    for batch in token_batches(lengths, budget):
        assert len(batch) == 1 or sum(lengths[text] for text in batch) <= budget


@given(lengths_of_texts, st.integers(1, 40))
def test_no_batch_could_have_taken_the_first_text_of_the_next(lengths: list[int], budget: int) -> None:
    for batch, following in pairwise(token_batches(lengths, budget)):
        assert sum(lengths[text] for text in batch) + lengths[following[0]] > budget


@given(lengths_of_texts)
def test_runs_spell_out_the_lengths(lengths: list[int]) -> None:
    runs = runs_of_equal_length(lengths)
    assert [length for count, length in runs for _ in range(count)] == lengths
    assert all(first != second for (_, first), (_, second) in pairwise(runs))
