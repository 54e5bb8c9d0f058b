"""Any object that encodes is an encoder, and what it gives is checked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from jcb_engine.encoder import Encoder
from jcb_engine.errors import EncoderError, InputError
from jcb_engine.types import RaggedEmbeddings


class Giving:
    """An encoder whose documents are what a function gives."""

    def __init__(self, give: Callable[[list[str]], object]) -> None:
        self._give = give

    def encode_query(self, texts: list[str]) -> object:
        return self._give(texts)

    def encode_document(self, texts: list[str]) -> object:
        return self._give(texts)


def arrays(texts: list[str], dim: int = 4, dtype: type = np.float32) -> list[np.ndarray]:
    return [np.full((len(text), dim), number, dtype=dtype) for number, text in enumerate(texts)]


def test_a_list_of_arrays_becomes_ragged() -> None:
    vectors = Encoder(Giving(arrays)).encode_document(["ab", "", "abc"])
    assert vectors.offsets.tolist() == [0, 2, 2, 5]
    assert vectors.values.tolist() == [[0.0] * 4] * 2 + [[1.0] * 4] * 3
    assert (vectors.tokens_cut, vectors.unknown_tokens) == (None, None)


def test_ragged_embeddings_keep_their_counts() -> None:
    def give(texts: list[str]) -> RaggedEmbeddings:
        counts = np.ones(len(texts), dtype=np.int64)
        return RaggedEmbeddings(np.ones((len(texts), 3), np.float32), np.arange(len(texts) + 1), counts, 2 * counts)

    vectors = Encoder(Giving(give)).encode_document(["a", " ", "b"])
    assert vectors.tokens_cut is not None
    assert vectors.tokens_cut.tolist() == [1, 0, 1]
    assert vectors.unknown_tokens is not None
    assert vectors.unknown_tokens.tolist() == [2, 0, 2]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_of_any_float_type_are_taken(dtype: str) -> None:
    torch = pytest.importorskip("torch")

    def give(texts: list[str]) -> object:
        return [torch.full((2, 3), 0.5, dtype=getattr(torch, dtype), requires_grad=True) for _ in texts]

    vectors = Encoder(Giving(give)).encode_query(["a", "b"])
    assert vectors.values.dtype == np.float32
    assert vectors.values.tolist() == [[0.5] * 3] * 4


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_arrays_of_any_float_type_are_taken(dtype: type) -> None:
    assert Encoder(Giving(lambda texts: arrays(texts, dtype=dtype))).encode_query(["ab"]).values.dtype == np.float32


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda texts: arrays(texts[:1]), "gave vectors of 1 texts for 2"),
        (lambda texts: [np.ones(4, np.float32) for _ in texts], r"array of float32 and shape \(4,\) for text 0"),
        (
            lambda texts: [np.ones((1, 4 + i), np.float32) for i in range(len(texts))],
            "5 dimensions for text 1; expected 4",
        ),
        (lambda texts: [np.ones((1, 4), np.int64) for _ in texts], "array of int64"),
        (lambda texts: [[[1.0]] for _ in texts], "gave a list for text 0"),
        (lambda texts: None, "gave a NoneType"),
        (lambda texts: "vectors", "gave a str"),
        (lambda texts: np.ones((2, 3, 4)), "gave a ndarray"),
        (lambda texts: [np.ones((1, 2)), np.array([[1.0, np.nan]])], "a NaN or an infinity for text 1"),
        (lambda texts: [np.ones((1, 2)), np.array([[1.0, -np.inf]])], "a NaN or an infinity for text 1"),
    ],
)
def test_anything_else_is_an_error_that_says_what_came(give: Callable[[list[str]], object], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        Encoder(Giving(give)).encode_document(["first", "second"])


def test_a_query_and_a_document_have_one_dimension() -> None:
    encoder = Encoder(Giving(lambda texts: arrays(texts, dim=len(texts))))
    encoder.encode_document(["a", "b"])
    with pytest.raises(EncoderError, match="3 dimensions for text 0; expected 2"):
        encoder.encode_document(["a", "b", "c"])


def test_the_dimension_is_stated_or_found_out() -> None:
    stating = Giving(arrays)
    stating.dim = 9  # type: ignore[attr-defined]
    assert Encoder(stating).dim == 9
    assert Encoder(Giving(arrays)).dim == 4
    assert Encoder(Giving(arrays), dim=4).dim == 4
    with pytest.raises(InputError, match=r"dim 5 is asked of .*Giving, whose vectors have 9"):
        Encoder(stating, dim=5)


def test_the_record_names_class_and_object() -> None:
    named = Giving(arrays)
    named.name = "of the house"  # type: ignore[attr-defined]
    record = Encoder(named).record
    assert (record.family, record.name, record.dim) == (
        "object",
        f"{__name__}.Giving 'of the house'",
        4,
    )
    assert Encoder(Giving(arrays)).record.differences(record) != []
    with pytest.raises(EncoderError, match=r"made with an object of .*Giving 'of the house'.*pass such an object"):
        Encoder.from_record(record)


def test_an_object_has_no_tokens_to_name_and_words_for_spans() -> None:
    encoder = Encoder(Giving(arrays))
    assert encoder.query_tokens("two words") is None
    assert encoder.document_tokens("two words") is None
    assert encoder.token_spans("two words, über") == [(0, 3), (4, 9), (9, 10), (11, 15)]


def test_an_encoder_of_an_encoder_is_the_same() -> None:
    encoder = Encoder(Giving(arrays))
    assert Encoder(encoder).record == encoder.record
    with pytest.raises(InputError, match="dim 7 is asked of an Encoder that is loaded with 4"):
        Encoder(encoder, dim=7)


def test_an_object_that_gives_arrays_does_not_bring_in_torch() -> None:
    code = """
import sys
import numpy as np
from jcb_engine.encoder import Encoder
class Own:
    encode_query = encode_document = lambda self, texts: [np.ones((2, 3)) for _ in texts]
assert Encoder(Own()).encode_query(["a"]).dim == 3
assert not {"torch", "transformers", "tokenizers", "faiss"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
