"""A MultiVectorEncoder's folder gives that model's own vectors, its counts and the tokens behind them."""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path

import numpy as np
import pytest

from jcb_engine.encoder import Encoder, EncoderRecord
from jcb_engine.errors import EncoderError, EncoderMismatchError, InputError

sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs jcb-engine[models]")
torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: E402
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast  # noqa: E402

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
WORDS = ["the", "red", "car", "is", "fast", "slow", "how", "##s", "?", ".", ",", "blue", "house"]
TEXTS = ["The red car is fast.", "car", "the blue house, the slow cars ...", "fast " * 40, "unheard-of words"]
DIM, DOCUMENT_LENGTH, QUERY_LENGTH = 16, 24, 12


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: identity for identity, word in enumerate([*SPECIAL, *WORDS])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=64, **{f"{role}_token": name for role, name in names.items()}
    )


def save_backbone(folder: Path) -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny MultiVectorEncoder: prompts, query expansion, punctuation left out of documents."""
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Normalize

    backbone = tmp_path_factory.mktemp("backbone")
    save_backbone(backbone)
    modules = [
        Transformer(
            str(backbone),
            document_length=DOCUMENT_LENGTH,
            query_expansion={"strategy": "fixed", "attend": False, "length": QUERY_LENGTH},
        ),
        Dense(32, DIM, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
        MultiVectorMask(skiplist_words=[".", ","]),
        Normalize(module_input_name="token_embeddings"),
    ]
    saved = tmp_path_factory.mktemp("multi-vector")
    prompts = {"query": "how ", "document": "the "}
    sentence_transformers.MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu").save_pretrained(
        str(saved), create_model_card=False
    )
    return saved


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder(folder)


@pytest.fixture(scope="module")
def original(folder: Path) -> object:
    return sentence_transformers.MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)


@pytest.mark.parametrize("method", ["encode_query", "encode_document"])
def test_vectors_are_the_models_own(encoder: Encoder, original: object, method: str) -> None:
    vectors = getattr(encoder, method)(TEXTS)
    assert vectors.dim == encoder.dim == DIM
    for text, came in zip(TEXTS, vectors, strict=True):
        expected = getattr(original, method)([text], convert_to_numpy=True)[0]
        np.testing.assert_allclose(came, expected, atol=1e-5)


def test_the_object_itself_gives_the_same(encoder: Encoder, original: object) -> None:
    expected = encoder.encode_document(TEXTS)
    came = Encoder(original).encode_document(TEXTS)  # type: ignore[arg-type]
    np.testing.assert_allclose(came.values, expected.values, atol=1e-5)
    np.testing.assert_array_equal(came.offsets, expected.offsets)


def test_cut_and_unknown_tokens_are_counted(encoder: Encoder) -> None:
    documents, queries = encoder.encode_document(TEXTS), encoder.encode_query(TEXTS)
    # [CLS] the ... [SEP] leaves 21 of 24 to a document, and [CLS] how ... [SEP] 9 of 12 to a query
    assert documents.tokens_cut is not None
    assert documents.tokens_cut.tolist() == [0, 0, 0, 19, 0]
    assert queries.tokens_cut is not None
    assert queries.tokens_cut.tolist() == [0, 0, 2, 31, 0]
    assert documents.unknown_tokens is not None
    assert documents.unknown_tokens.tolist() == [0, 0, 0, 0, 4]


def test_every_vector_has_its_token_and_every_token_its_characters(encoder: Encoder) -> None:
    for text in TEXTS:
        documents, queries = encoder.document_tokens(text), encoder.query_tokens(text)
        assert documents is not None
        assert queries is not None
        assert len(documents) == len(encoder.encode_document([text])[0])
        assert len(queries) == len(encoder.encode_query([text])[0]) == QUERY_LENGTH
    text = TEXTS[2]
    tokens = encoder.document_tokens(text)
    assert tokens is not None
    found = [(token.text, text[token.start : token.end] if token.start >= 0 else None) for token in tokens]
    assert found == [
        ("[CLS]", None), ("the", None), ("the", "the"), ("blue", "blue"), ("house", "house"), ("the", "the"),
        ("slow", "slow"), ("car", "car"), ("##s", "s"), ("[SEP]", None),
    ]  # fmt: skip
    expanded = encoder.query_tokens("car")
    assert expanded is not None
    assert [token.text for token in expanded] == ["[CLS]", "how", "car", "[SEP]", *["[MASK]"] * 8]
    assert [(token.start, token.end) for token in expanded] == [(-1, -1), (-1, -1), (0, 3), *[(-1, -1)] * 9]


def test_spans_cover_the_whole_text(encoder: Encoder) -> None:
    assert encoder.token_spans("fast " * 100) == [(5 * word, 5 * word + 4) for word in range(100)]


def test_the_record_tells_lengths_expansion_and_hashes(encoder: Encoder, folder: Path) -> None:
    record = encoder.record
    assert (record.family, record.name, record.dim) == ("multi-vector", str(folder), DIM)
    assert (record.query_length, record.document_length) == (QUERY_LENGTH, DOCUMENT_LENGTH)
    assert record.query_expansion is True
    assert EncoderRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_moved_model_is_the_same_and_a_changed_one_is_refused(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert Encoder(moved).record.differences(encoder.record) == []
    record = Encoder(moved).record
    weights = load_file(moved / "1_Dense" / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in weights.items()}, moved / "1_Dense" / "model.safetensors")
    with pytest.raises(EncoderMismatchError, match="weights_sha256 is"):
        Encoder.from_record(record)


def test_another_dimension_than_the_models_is_refused(folder: Path) -> None:
    assert Encoder(folder, dim=DIM).dim == DIM
    with pytest.raises(InputError, match=f"dim 64 is asked of '.*', whose vectors have {DIM}"):
        Encoder(folder, dim=64)


def test_a_folder_that_lacks_a_file_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="cannot be loaded by sentence-transformers: OSError") as caught:
        Encoder(broken)
    assert "\n" not in str(caught.value)


def test_stanfords_layout_is_loaded_with_its_projection_and_markers(tmp_path: Path) -> None:
    model = save_backbone(tmp_path)
    projection = torch.randn(DIM, 32)
    weights = {f"bert.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file({**weights, "linear.weight": projection}, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    metadata = {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 10, "doc_maxlen": 20,
        "mask_punctuation": True, "attend_to_mask_tokens": False,
    }  # fmt: skip
    (tmp_path / "artifact.metadata").write_text(json.dumps(metadata))
    encoder = Encoder(tmp_path)
    assert (encoder.dim, encoder.record.query_length, encoder.record.document_length) == (DIM, 10, 20)
    tokens = encoder.document_tokens("the car, fast.")
    assert tokens is not None
    assert [token.text for token in tokens] == ["[CLS]", "[unused1]", "the", "car", "fast", "[SEP]"]
    ids = tokenizer().convert_tokens_to_ids(["[CLS]", "[unused1]", "the", "car", ",", "fast", ".", "[SEP]"])
    with torch.inference_mode():
        hidden = model.eval()(torch.tensor([ids])).last_hidden_state[0][[0, 1, 2, 3, 5, 7]]
    expected = torch.nn.functional.normalize(hidden @ projection.T, dim=1).numpy()
    assert not set(string.punctuation) & {token.text for token in tokens}
    np.testing.assert_allclose(encoder.encode_document(["the car, fast."])[0], expected, atol=1e-5)


def test_pylates_layout_is_loaded_with_its_projection_and_prefixes(tmp_path: Path) -> None:
    model = save_backbone(tmp_path)
    projection = torch.randn(DIM, 32)
    (tmp_path / "1_Dense").mkdir()
    save_file({"linear.weight": projection}, tmp_path / "1_Dense" / "model.safetensors", {"format": "pt"})
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
        "sentence_bert_config.json": {"max_seq_length": 23, "do_lower_case": False},
        "1_Dense/config.json": {
            "in_features": 32, "out_features": DIM, "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
        "config_sentence_transformers.json": {
            "model_type": "ColBERT", "query_prefix": "[unused0]", "document_prefix": "[unused1]", "query_length": 10,
            "document_length": 20, "attend_to_expansion_tokens": False, "skiplist_words": list(string.punctuation),
            "similarity_fn_name": "MaxSim", "__version__": {"sentence_transformers": "4.0.2"},
        },
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    encoder = Encoder(tmp_path)
    assert (encoder.dim, encoder.record.query_length, encoder.record.document_length) == (DIM, 10, 20)
    assert encoder.record.query_expansion is True
    tokens = encoder.document_tokens("the car, fast.")
    assert tokens is not None
    assert [token.text for token in tokens] == ["[CLS]", "[unused1]", "the", "car", "fast", "[SEP]"]
    assert encoder.encode_query(["the car"])[0].shape == (10, DIM)
    ids = tokenizer().convert_tokens_to_ids(["[CLS]", "[unused1]", "the", "car", ",", "fast", ".", "[SEP]"])
    with torch.inference_mode():
        hidden = model.eval()(torch.tensor([ids])).last_hidden_state[0][[0, 1, 2, 3, 5, 7]]
    expected = torch.nn.functional.normalize(hidden @ projection.T, dim=1).numpy()
    np.testing.assert_allclose(encoder.encode_document(["the car, fast."])[0], expected, atol=1e-5)
