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


def test_what_the_library_does_not_have_is_no_option(modern_bert: Path) -> None:
    with pytest.raises(InputError, match=r"query_length is no option of .* which sentence-transformers loads"):
        Encoder(modern_bert, query_length=8)
    with pytest.raises(InputError, match="several devices are asked"):
        Encoder(modern_bert, device=["cpu", "cpu"])
