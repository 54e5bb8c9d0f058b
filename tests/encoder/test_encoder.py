"""Every encoder takes a list of texts and refuses what is none; blanks have no vector."""

from __future__ import annotations

import numpy as np
import pytest

from jcb_engine.encoder import Encoder
from jcb_engine.errors import EncoderError, InputError
from tests.conftest import HashingEncoder


@pytest.fixture
def encoder(hashing_encoder: HashingEncoder) -> Encoder:
    return Encoder(hashing_encoder)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", r"pass a list of texts, such as encode_document\(\[text\]\)"),
        (("a", "b"), "a tuple came; pass a list of texts"),
        (None, "a NoneType came"),
        (["a", 3], "text 1 is a int; expected str"),
        ([b"a"], "text 0 is a bytes; expected str"),
        (["a \udfff"], "text 0 holds half a surrogate pair"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(encoder: Encoder, texts: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder.encode_document(texts)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message.replace("document", "query")):
        encoder.encode_query(texts)  # type: ignore[arg-type]


def test_blank_documents_have_no_vectors_and_the_others_keep_theirs(encoder: Encoder) -> None:
    vectors = encoder.encode_document(["", "red car", "\t\n", "car", " "])
    assert np.diff(vectors.offsets).tolist() == [0, 2, 0, 1, 0]
    np.testing.assert_array_equal(vectors[1], encoder.encode_document(["red car"])[0])
    np.testing.assert_array_equal(vectors[3], vectors[1][1:])


@pytest.mark.parametrize("texts", [[], [""], [" ", "\n"]])
def test_nothing_but_blanks_gives_no_rows_of_the_right_width(encoder: Encoder, texts: list[str]) -> None:
    vectors = encoder.encode_document(texts)
    assert vectors.values.shape == (0, encoder.dim)
    assert vectors.offsets.tolist() == [0] * (len(texts) + 1)


def test_no_queries_give_no_vectors(encoder: Encoder) -> None:
    assert len(encoder.encode_query([])) == 0


def test_a_blank_query_is_named(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="the query is '', which holds nothing to search for"):
        encoder.encode_query([""])
    with pytest.raises(InputError, match="query 1 of 2 is ' ', which holds nothing"):
        encoder.encode_query(["a", " "])


@pytest.mark.parametrize("dim", [0, -1, True, 1.5, "128"])
def test_a_dimension_is_a_whole_number(hashing_encoder: HashingEncoder, dim: object) -> None:
    with pytest.raises(InputError, match="expected a whole number from 1"):
        Encoder(hashing_encoder, dim)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [None, 3, object(), HashingEncoder])
def test_what_cannot_encode_is_refused(source: object) -> None:
    with pytest.raises((InputError, EncoderError), match="what loads is 'mini'"):
        Encoder(source)  # type: ignore[arg-type]
