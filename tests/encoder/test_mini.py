"""`mini` gives the vectors of all-MiniLM-L6-v2, whatever the batch, and counts what it cuts and does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from jcb_engine.encoder import Encoder
from jcb_engine.encoder.mini_files import package_folder
from jcb_engine.errors import InputError
from tests.encoder.bert_reference import hidden_states

TEXTS = [
    "How do I parse dates?",
    "datetime.strptime(date_string, format)\n\nCreate a datetime object from a string and a format.",
    "naïve café, über-long",
    "a",
    "tokens " * 30,
]


@pytest.fixture(scope="session")
def folder(mini: Encoder) -> Path:
    found = package_folder()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def reference_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def test_vectors_are_those_of_bert_as_the_paper_describes_it(
    mini: Encoder, folder: Path, reference_tokenizer: Tokenizer
) -> None:
    weights = {name: array.astype(np.float64) for name, array in load_file(folder / "model.safetensors").items()}
    heads = load_file(Path(__file__).parents[2] / "jcb_engine" / "encoder" / "heads" / "mini-1.safetensors")
    head = heads["heads.128.weight"].astype(np.float64)
    for text, vectors in zip(TEXTS, mini.encode_document(TEXTS), strict=True):
        expected = hidden_states(weights, reference_tokenizer.encode(text).ids) @ head.T
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_vectors_of_384_dimensions_are_those_of_transformers(folder: Path, reference_tokenizer: Tokenizer) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers", reason="compares with transformers' BertModel")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    model = transformers.BertModel.from_pretrained(str(folder), add_pooling_layer=False).eval()
    for text, vectors in zip(TEXTS, Encoder("mini", 384).encode_document(TEXTS), strict=True):
        with torch.inference_mode():
            hidden = model(torch.tensor([reference_tokenizer.encode(text).ids])).last_hidden_state[0]
        np.testing.assert_allclose(vectors, torch.nn.functional.normalize(hidden, dim=1).numpy(), atol=1e-5)


def test_a_vector_does_not_depend_on_what_else_is_encoded(mini: Encoder) -> None:
    together = mini.encode_document([*TEXTS, *reversed(TEXTS)])
    for position, text in enumerate(TEXTS):
        alone = mini.encode_document([text])[0]
        np.testing.assert_allclose(together[position], alone, atol=1e-5)
        np.testing.assert_allclose(together[2 * len(TEXTS) - 1 - position], alone, atol=1e-5)


def test_the_same_texts_give_the_same_bits(mini: Encoder) -> None:
    assert mini.encode_document(TEXTS).values.tobytes() == mini.encode_document(TEXTS).values.tobytes()


def test_vectors_are_of_unit_length_and_of_the_dimension(mini: Encoder) -> None:
    vectors = mini.encode_query(["which file holds the time zone?"])
    assert vectors.values.shape == (vectors.offsets[-1], mini.dim) == (vectors.offsets[-1], 128)
    assert vectors.values.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.values, axis=1), 1, atol=1e-6)


def test_a_query_is_not_expanded(mini: Encoder) -> None:
    tokens = mini.query_tokens("parse dates")
    assert tokens is not None
    assert [token.text for token in tokens] == ["[CLS]", "par", "##se", "dates", "[SEP]"]
    assert len(mini.encode_query(["parse dates"])[0]) == 5


def test_documents_are_cut_at_256_and_queries_at_64_and_the_rest_is_counted(mini: Encoder) -> None:
    texts = ["word " * count for count in (10, 62, 63, 254, 255, 1000)]
    documents, queries = mini.encode_document(texts), mini.encode_query(texts)
    assert np.diff(documents.offsets).tolist() == [12, 64, 65, 256, 256, 256]
    assert np.diff(queries.offsets).tolist() == [12, 64, 64, 64, 64, 64]
    assert documents.tokens_cut is not None
    assert documents.tokens_cut.tolist() == [0, 0, 0, 0, 1, 746]
    assert queries.tokens_cut is not None
    assert queries.tokens_cut.tolist() == [0, 0, 1, 192, 193, 938]


def test_a_cut_text_has_the_vectors_of_its_beginning(mini: Encoder) -> None:
    np.testing.assert_allclose(
        mini.encode_query(["word " * 200])[0], mini.encode_query(["word " * 62])[0], rtol=0, atol=1e-5
    )


def test_unknown_tokens_are_counted_and_many_in_chinese(mini: Encoder) -> None:
    vectors = mini.encode_document(
        ["an English sentence", "如何解析日期?我想知道时区的名称。", "\U0001f600 \U0001f600"]
    )
    assert vectors.unknown_tokens is not None
    assert vectors.unknown_tokens[0] == 0
    assert vectors.unknown_tokens[1] / len(vectors[1]) > 0.3
    assert vectors.unknown_tokens[2] == 2


def test_special_tokens_in_a_text_are_text(mini: Encoder) -> None:
    tokens = mini.document_tokens("a [SEP] b")
    assert tokens is not None
    assert [token.text for token in tokens] == ["[CLS]", "a", "[", "sep", "]", "b", "[SEP]"]


@pytest.mark.parametrize("text", ["", "  \n", "\u200b", "\x00"])
def test_a_document_without_a_wordpiece_has_no_vector(mini: Encoder, text: str) -> None:
    vectors = mini.encode_document(["before", text, "after"])
    assert np.diff(vectors.offsets).tolist() == [3, 0, 3]
    assert mini.document_tokens(text) == []


@pytest.mark.parametrize("text", ["", "  \n", "\u200b"])
def test_a_query_without_a_wordpiece_is_refused(mini: Encoder, text: str) -> None:
    with pytest.raises(InputError, match="nothing to search for"):
        mini.encode_query([text])


def test_tokens_and_vectors_correspond_and_spans_point_into_the_text(mini: Encoder) -> None:
    text = "Über   naïve Tokenization, in 2024!"
    tokens = mini.document_tokens(text)
    assert tokens is not None
    assert len(tokens) == len(mini.encode_document([text])[0])
    assert (tokens[0].start, tokens[0].end) == (tokens[-1].start, tokens[-1].end) == (-1, -1)
    words = [text[token.start : token.end] for token in tokens[1:-1]]
    assert words[0] == "Über"
    assert "".join(words) == text.replace(" ", "")
    assert mini.token_spans(text) == [(token.start, token.end) for token in tokens[1:-1]]


def test_half_of_a_surrogate_pair_is_refused_by_number(mini: Encoder) -> None:
    with pytest.raises(InputError, match="text 1 holds half a surrogate pair"):
        mini.encode_document(["fine", "bad \ud800"])
