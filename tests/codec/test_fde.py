"""The encodings are those of the paper, typed again token by token, and their inner products follow MaxSim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.codec import fde as fde_module
from jcb_engine.codec.fde import FixedDimensionalEncoding
from jcb_engine.errors import InputError
from jcb_engine.kernels import select
from jcb_engine.types import RaggedEmbeddings
from tests.conftest import brute_force, random_embeddings


def by_the_paper(encoding: FixedDimensionalEncoding, tokens: np.ndarray, *, is_query: bool) -> np.ndarray:
    """One text, before the final projection, with loops over repetitions, cells and tokens in float64."""
    out = []
    for rows in encoding._rows.astype(np.float64):
        planes, projection = rows[: encoding.simhash_bits], rows[encoding.simhash_bits :]
        cells = [[int(plane @ token > 0) for plane in planes] for token in tokens.astype(np.float64)]
        projected = [projection @ token for token in tokens.astype(np.float64)]
        for number in range(encoding.cells):
            bits = [number >> place & 1 for place in range(encoding.simhash_bits)]
            inside = [vector for cell, vector in zip(cells, projected, strict=True) if cell == bits]
            if inside:
                out.append(np.sum(inside, axis=0) / (1 if is_query else len(inside)))
            elif is_query or not projected:
                out.append(np.zeros(encoding.projection_dim))
            else:
                distances = [sum(a != b for a, b in zip(cell, bits, strict=True)) for cell in cells]
                out.append(projected[distances.index(min(distances))])
    return np.concatenate(out)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), bits=st.integers(0, 5), projection=st.sampled_from([1, 3, 16]), limit=st.booleans())
def test_encodings_are_those_of_the_paper(seed: int, bits: int, projection: int, limit: bool) -> None:
    values, offsets = random_embeddings(7, 16, seed=seed, longest=9)
    encoding = FixedDimensionalEncoding(16, 3, bits, projection, seed=seed)
    texts = RaggedEmbeddings(values, offsets)
    with pytest.MonkeyPatch.context() as patch:
        if limit:  # blocks of few texts and of one repetition
            patch.setattr(fde_module, "_VALUES_AT_ONCE", 200)
        queries = encoding.encode_queries(texts, select())
        documents = encoding.encode_documents(texts, select())
    for number in range(7):
        tokens = values[offsets[number] : offsets[number + 1]]
        np.testing.assert_allclose(queries[number], by_the_paper(encoding, tokens, is_query=True), atol=1e-4)
        np.testing.assert_allclose(documents[number], by_the_paper(encoding, tokens, is_query=False), atol=1e-4)


def test_a_final_projection_adds_every_value_to_one_place_with_a_sign() -> None:
    whole, short = FixedDimensionalEncoding(8, 2, 2, 4), FixedDimensionalEncoding(8, 2, 2, 4, 5)
    texts = RaggedEmbeddings(*random_embeddings(6, 8))
    words = np.random.PCG64([0, 8, 2]).random_raw(32)
    expected = np.zeros((6, 5))
    for word, column in zip(words, whole.encode_documents(texts, select()).T, strict=True):
        expected[:, (int(word) >> 1) % 5] += column if int(word) & 1 else -column
    np.testing.assert_allclose(short.encode_documents(texts, select()), expected, atol=1e-5)


def test_inner_products_follow_maxsim() -> None:
    values, offsets = random_embeddings(300, 32, seed=3)
    documents = RaggedEmbeddings(values, offsets)
    encoding = FixedDimensionalEncoding(32, 20, 5, 16)
    query = values[offsets[20] : offsets[21]]
    encoded = encoding.encode_queries(RaggedEmbeddings(query, np.array([0, len(query)])), select())
    filled = np.diff(offsets) > 0
    estimates = (encoding.encode_documents(documents, select()) @ encoded[0])[filled]
    assert np.corrcoef(estimates, brute_force(query, values, offsets)[filled])[0, 1] > 0.7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((8, 0, 1, 1), "repetitions of the encodings is 0"),
        ((8, 1, 11, 1), "simhash_bits of the encodings is 11"),
        ((8, 1, 1, 9), "projection_dim of the encodings is 9; it must be a whole number from 1 to 8"),
        ((8, 100, 10, 8), "819,200 values per document; at most 131,072"),
        ((8, 1, 1, 4, 9), "final_dim of the encodings is 9"),
        ((8, True, 1, 4), "repetitions of the encodings is True"),
    ],
)
def test_what_cannot_be_is_refused(values: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FixedDimensionalEncoding(*values)


def test_the_random_vectors_of_a_seed_stay_what_they_are() -> None:
    encoding = FixedDimensionalEncoding(4, 1, 1, 2, seed=7)
    assert FixedDimensionalEncoding.from_json(encoding.to_json()) == encoding
    assert np.array_equal(encoding._rows, FixedDimensionalEncoding(4, 1, 1, 2, seed=7)._rows)
    assert not np.array_equal(encoding._rows, FixedDimensionalEncoding(4, 1, 1, 2, seed=8)._rows)
