"""Checkpoints that sentence-transformers loads: other architectures than ours, with every tensor used or named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs jcb-engine[models]")

from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import ModernBertConfig, ModernBertModel  # noqa: E402

from jcb_engine.encoder import Encoder  # noqa: E402
from jcb_engine.errors import EncoderError, InputError  # noqa: E402
from tests.encoder import checkpoints  # noqa: E402
from tests.encoder.checkpoints import DIM, HIDDEN  # noqa: E402

TEXTS = ["hello world", "the red car is fast .", "car " * 30]


@pytest.fixture
def modern_bert(tmp_path: Path) -> Path:
    """As lightonai/GTE-ModernColBERT-v1 is released: PyLate's layout over ModernBERT, prefixes as tokens."""
    folder = tmp_path / "modern-bert"
    folder.mkdir()
    checkpoints.write_pylate(folder)
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=512,
        pad_token_id=0,
        cls_token_id=4,
        sep_token_id=5,
        bos_token_id=4,
        eos_token_id=5,
    )
    (folder / "model.safetensors").unlink()
    ModernBertModel(config).save_pretrained(folder)
    return folder


def test_another_architecture_gives_the_librarys_own_vectors(modern_bert: Path) -> None:
    encoder = Encoder(modern_bert)
    library = sentence_transformers.MultiVectorEncoder(str(modern_bert), device="cpu", local_files_only=True)
    assert (encoder.record.family, encoder.dim, encoder.dims) == ("multi-vector", DIM, (DIM,))
    for method in ("encode_query", "encode_document"):
        expected = getattr(library, method)(TEXTS, convert_to_numpy=True)
        for came, wanted in zip(getattr(encoder, method)(TEXTS), expected, strict=True):
            np.testing.assert_allclose(came, wanted, atol=1e-5)


@pytest.mark.parametrize("added", [False, True])
def test_every_tensor_is_used_or_named_there_too(modern_bert: Path, added: bool) -> None:
    tensors = load_file(modern_bert / "model.safetensors")
    name = next(name for name in sorted(tensors) if name.endswith("mlp.Wi.weight"))
    if added:
        tensors["layers.9.mlp.Wi.weight"] = tensors[name].clone()
    else:
        del tensors[name]
    save_file(tensors, modern_bert / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="not expected layers.9" if added else f"missing {name}"):
        Encoder(modern_bert)


def test_lengths_can_be_chosen_there_too_and_come_back_from_the_record(modern_bert: Path) -> None:
    encoder = Encoder(modern_bert, query_length=40, document_length=20)
    assert [len(vectors) for vectors in encoder.encode_query(["hello", "car " * 60])] == [40, 40]
    assert len(encoder.encode_document(["car " * 60])[0]) == 20
    record = encoder.record
    assert (record.query_length, record.document_length) == (40, 20)
    assert (record.query_marker, record.document_marker) == ("[unused0]", "[unused1]")
    again = Encoder.from_record(record)
    assert again.record == record
    np.testing.assert_array_equal(again.encode_query(TEXTS).values, encoder.encode_query(TEXTS).values)
    with pytest.raises(InputError, match=r"document_length is 600; '.*' takes at most 512 tokens"):
        Encoder(modern_bert, document_length=600)


def test_what_the_library_does_not_have_is_no_option(modern_bert: Path) -> None:
    with pytest.raises(InputError, match=r"punctuation is no option of .* which sentence-transformers loads"):
        Encoder(modern_bert, punctuation="off")
    with pytest.raises(InputError, match="several devices are asked"):
        Encoder(modern_bert, device=["cpu", "cpu"])
