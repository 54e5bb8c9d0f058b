"""Every released layout gives the vectors of an independent forward pass, for ids that are those of the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs jcb-engine[models]")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from jcb_engine.encoder import Encoder  # noqa: E402
from tests.encoder import checkpoints, forward_reference  # noqa: E402
from tests.encoder.checkpoints import DIM, HEADS, HIDDEN  # noqa: E402
from tests.encoder.forward_reference import padded, unit  # noqa: E402
from tests.encoder.token_reference import (  # noqa: E402
    document_ids,
    query_ids,
    reference_tokenizer,
    skipped_ids,
)

TEXTS = [
    "Hello World",
    "Hello, World! (the red-car) is fast .",
    "the cars is fast - unit ' x+1",
    "the " * 9,
    "東京は the Berlin",
    "car " * 70,
    "unheard-of words",
    "the car",
    "is red",
]


@dataclass(frozen=True, slots=True)
class Case:
    """A layout with what its reference needs: settings, and hidden states [texts, length, hidden] of padded ids."""

    write: Callable[[Path], Path]
    hidden: Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
    prefix: str
    query_marker: str
    document_marker: str
    query_length: int
    document_length: int
    attends: bool
    rule: str
    words: list[str] | None = None


def rotary(weights: dict[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    return forward_reference.jina_v2(weights, ids, mask, HEADS, base=10_000.0)


def alibi(weights: dict[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    return forward_reference.jina_bert(weights, ids, mask, HEADS)


def plain_bert(weights: dict[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    return forward_reference.bert(weights, ids, mask, HEADS)


def english(weights: dict[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    return forward_reference.bert(weights, ids, mask, HEADS, eps=1e-5, first_position=2, language="en_XX")


JINA_MARKERS, BERT_MARKERS = ("[QueryMarker]", "[DocumentMarker]"), ("[unused0]", "[unused1]")
CASES = {
    "jina-colbert-v2": Case(checkpoints.write_jina_v2, rotary, "roberta.", *JINA_MARKERS, 32, 300, True, "reference"),
    "jina-colbert-v1": Case(checkpoints.write_jina_v1, alibi, "bert.", *BERT_MARKERS, 32, 300, False, "reference"),
    "colbertv2.0": Case(checkpoints.write_colbert_v2, plain_bert, "bert.", *BERT_MARKERS, 32, 180, False, "reference"),
    "colbert-xm": Case(checkpoints.write_colbert_xm, english, "roberta.", *BERT_MARKERS, 16, 64, False, "reference"),
    "pylate": Case(
        checkpoints.write_pylate, plain_bert, "", *BERT_MARKERS, 24, 48, False, "pylate", [".", ",", "!", "~"]
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.write(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder(folder)


def backbone(folder: Path, prefix: str) -> dict[str, Tensor]:
    tensors = load_file(folder / "model.safetensors")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def head(folder: Path) -> Tensor:
    dense = folder / "1_Dense" / "model.safetensors"
    return load_file(dense if dense.is_file() else folder / "model.safetensors")["linear.weight"]


def test_queries_are_those_of_the_reference_id_for_id_and_vector_for_vector(
    case: Case, folder: Path, encoder: Encoder
) -> None:
    tokenizer = reference_tokenizer(folder)
    pairs = [query_ids(tokenizer, text, case.query_marker, case.query_length) for text in TEXTS]
    attended = [len(ids) if case.attends else sum(mask) for ids, mask in pairs]
    ids, mask = padded([ids for ids, _ in pairs], attended)
    expected = unit(case.hidden(backbone(folder, case.prefix), ids, mask) @ head(folder).T)
    for text, row, (text_ids, _), vectors in zip(TEXTS, expected, pairs, encoder.encode_query(TEXTS), strict=True):
        tokens = encoder.query_tokens(text)
        assert tokens is not None
        assert [token.text for token in tokens] == tokenizer.convert_ids_to_tokens(text_ids)
        assert vectors.shape == (case.query_length, DIM)
        np.testing.assert_allclose(vectors, row.numpy(), atol=1e-5)


def test_documents_are_those_of_the_reference_id_for_id_and_vector_for_vector(
    case: Case, folder: Path, encoder: Encoder
) -> None:
    tokenizer = reference_tokenizer(folder)
    documents = [document_ids(tokenizer, text, case.document_marker, case.document_length) for text in TEXTS]
    skipped = skipped_ids(tokenizer, case.rule, case.words)
    ids, mask = padded(documents, list(map(len, documents)))
    expected = unit(case.hidden(backbone(folder, case.prefix), ids, mask) @ head(folder).T)
    for text, row, text_ids, vectors in zip(TEXTS, expected, documents, encoder.encode_document(TEXTS), strict=True):
        kept = [position for position, identity in enumerate(text_ids) if identity not in skipped]
        tokens = encoder.document_tokens(text)
        assert tokens is not None
        assert [token.text for token in tokens] == tokenizer.convert_ids_to_tokens([text_ids[p] for p in kept])
        np.testing.assert_allclose(vectors, row[kept].numpy(), atol=1e-5)


def test_the_reference_would_notice_another_base_of_the_rotary_positions(tmp_path: Path) -> None:
    folder = checkpoints.write_jina_v2(tmp_path)
    ids, mask = padded([[0, 5, 6, 7, 8, 9, 2]], [7])
    weights = backbone(folder, "roberta.")
    bases = [forward_reference.jina_v2(weights, ids, mask, HEADS, base) for base in (10_000.0, 20_000.0)]
    assert (bases[0] - bases[1]).abs().max() > 1e-3


def test_the_base_of_the_rotary_positions_is_the_checkpoints_own_and_else_the_papers(tmp_path: Path) -> None:
    vectors = {}
    for name, config in {
        "released": {},
        "not said": {"rotary_emb_base": None},
        "twice": {"rotary_emb_base": 20_000.0},
        "library": {"rotary_emb_base": None, "rope_parameters": {"rope_type": "default", "rope_theta": 20_000.0}},
    }.items():
        (tmp_path / name).mkdir()
        encoder = Encoder(checkpoints.write_jina_v2(tmp_path / name, config=config))
        vectors[name] = encoder.encode_document(["Hello World the car is fast"]).values
    np.testing.assert_array_equal(vectors["released"], vectors["not said"])
    np.testing.assert_array_equal(vectors["twice"], vectors["library"])
    assert np.abs(vectors["released"] - vectors["twice"]).max() > 1e-4


def test_bge_m3_has_no_marker_and_no_vector_for_the_first_token(tmp_path: Path) -> None:
    folder = checkpoints.write_bge_m3(tmp_path)
    encoder = Encoder(folder)
    tokenizer = reference_tokenizer(folder)
    texts = [text for text in TEXTS if len(text) < 100]
    texts_ids = [tokenizer(text)["input_ids"] for text in texts]
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    projection = torch.load(folder / "colbert_linear.pt", weights_only=True)
    ids, mask = padded(texts_ids, list(map(len, texts_ids)))
    hidden = forward_reference.bert(weights, ids, mask, HEADS, eps=1e-5, first_position=2)
    expected = unit(hidden @ projection["weight"].T + projection["bias"])
    for method in (encoder.encode_query, encoder.encode_document):
        for text_ids, row, vectors in zip(texts_ids, expected, method(texts), strict=True):
            assert vectors.shape == (len(text_ids) - 1, HIDDEN)
            np.testing.assert_allclose(vectors, row[1 : len(text_ids)].numpy(), atol=1e-5)
    assert [token.text for token in encoder.query_tokens("Hello World") or []] == ["▁Hello", "▁World", "</s>"]


def test_each_language_has_its_adapter(tmp_path: Path) -> None:
    folder = checkpoints.write_colbert_xm(tmp_path)
    ids = document_ids(reference_tokenizer(folder), "Hello World", "[unused1]", 64)
    padded_ids, mask = padded([ids], [len(ids)])
    for language in checkpoints.LANGUAGES:
        weights = backbone(folder, "roberta.")
        hidden = forward_reference.bert(weights, padded_ids, mask, HEADS, eps=1e-5, first_position=2, language=language)
        encoder = Encoder(folder, language=language)
        np.testing.assert_allclose(
            encoder.encode_document(["Hello World"]).values, unit(hidden @ head(folder).T)[0].numpy(), atol=1e-5
        )
        assert encoder.record.language == language


@pytest.mark.parametrize("residual", [False, True])
def test_two_dense_layers_and_residuals_are_applied_in_order(tmp_path: Path, residual: bool) -> None:
    layers = ((HIDDEN, HIDDEN), (HIDDEN, DIM))
    folder = checkpoints.write_pylate(tmp_path, layers=layers, residual=residual)
    ids = document_ids(reference_tokenizer(folder), "hello world", "[unused1]", 48)
    padded_ids, mask = padded([ids], [len(ids)])
    states = forward_reference.bert(backbone(folder, ""), padded_ids, mask, HEADS)
    for number, (inputs, outputs) in enumerate(layers, start=1):
        weights = load_file(folder / f"{number}_Dense" / "model.safetensors")
        beside = states @ weights["residual.weight"].T if inputs != outputs and residual else states
        states = states @ weights["linear.weight"].T + (beside if residual else 0)
    np.testing.assert_allclose(
        Encoder(folder).encode_document(["hello world"]).values, unit(states)[0].numpy(), atol=1e-5
    )


def test_packed_texts_get_what_they_get_alone(encoder: Encoder) -> None:
    together = encoder.encode_document([*TEXTS, *reversed(TEXTS)])
    for position, text in enumerate(TEXTS):
        alone = encoder.encode_document([text])[0]
        np.testing.assert_allclose(together[position], alone, atol=1e-5)
        np.testing.assert_allclose(together[-1 - position], alone, atol=1e-5)


def test_several_devices_share_the_texts(folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jcb_engine.encoder.packed_model.CPU_TOKEN_BUDGET", 16)  # several batches
    shared = Encoder(folder, device=["cpu", "cpu"]).encode_document(TEXTS)
    np.testing.assert_allclose(shared.values, encoder.encode_document(TEXTS).values, atol=1e-5)


def test_a_text_as_long_as_the_model_takes_is_encoded_whole_and_a_longer_one_is_cut_and_says_so(tmp_path: Path) -> None:
    for name, write, longest in (
        ("v1", checkpoints.write_jina_v1, 8192),
        ("v2", checkpoints.write_jina_v2, 8192),
        ("xm", checkpoints.write_colbert_xm, 512),
    ):
        (tmp_path / name).mkdir()
        encoder = Encoder(write(tmp_path / name), document_length=longest)
        # marker, start and end take three
        vectors = encoder.encode_document(["car " * (longest - 3), "car " * (longest + 7)])
        assert np.diff(vectors.offsets).tolist() == [longest, longest]
        assert vectors.tokens_cut is not None
        assert vectors.tokens_cut.tolist() == [0, 10]
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
