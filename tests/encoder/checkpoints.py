"""Tiny checkpoints with random weights, laid out as the released ones are: file names, tensor names, token rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

HIDDEN, INNER, LAYERS, HEADS, DIM = 32, 64, 2, 4, 16
XLM_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
XLM_PIECES = [
    *["▁", "▁Hello", "▁World", "▁the", "▁car", "▁is", "▁red", "▁fast", "s", "▁東京", "は", "▁Berlin", "ing", "▁unit"],
    *[
        ".",
        ",",
        "!",
        "?",
        "▁!",
        "▁(",
        "▁-",
        "(",
        ")",
        "-",
        "'",
        "▁x",
        "+",
        "1",
        "<",
        ">",
        "/",
        "m",
        "k",
        "▁de",
        "▁d",
        "e",
        "a",
        "r",
        "o",
        "t",
    ],
]
BERT_SPECIAL = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT_PIECES = [
    "hello",
    "world",
    "the",
    "car",
    "is",
    "red",
    "fast",
    "##s",
    "##ing",
    "unit",
    ".",
    ",",
    "!",
    "?",
    "(",
    ")",
]


class Random:
    """Seeded tensors: the same fixture every time."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator) * 0.3

    def linear(self, name: str, outputs: int, inputs: int, *, bias: bool = True) -> dict[str, Tensor]:
        tensors = {f"{name}.weight": self(outputs, inputs)}
        return tensors | ({f"{name}.bias": self(outputs)} if bias else {})

    def norm(self, name: str, size: int = HIDDEN) -> dict[str, Tensor]:
        # off one and zero, so that a norm that is left out shows
        return {f"{name}.weight": 1 + self(size) * 0.3, f"{name}.bias": self(size) * 0.3}


# -- tokenizers --------------------------------------------------------------------------------------------------------
def write_xlm_tokenizer(folder: Path) -> int:
    """XLM-R's kind: SentencePiece, `<mask>` behind the base vocabulary, then Jina's markers. Returns the vocabulary."""
    vocabulary = [*((token, 0.0) for token in XLM_SPECIAL), *((piece, -float(len(piece))) for piece in XLM_PIECES)]
    tokenizer = Tokenizer(models.Unigram([*vocabulary, ("<mask>", 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in XLM_SPECIAL])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    markers = ["[QueryMarker]", "[DocumentMarker]"]
    tokenizer.add_special_tokens([AddedToken(marker, normalized=False, special=True) for marker in markers])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "XLMRobertaTokenizer",
            "additional_special_tokens": markers,
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "mask_token": "<mask>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "model_max_length": 8194,
        },
    )
    return tokenizer.get_vocab_size()


def write_bert_tokenizer(folder: Path) -> int:
    """BERT's kind: WordPiece with markers that are in the vocabulary and nowhere else. Returns the vocabulary."""
    vocabulary = {token: identity for identity, token in enumerate([*BERT_SPECIAL, *BERT_PIECES])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "model_max_length": 512,
        },
    )
    return len(vocabulary)


# -- backbones ---------------------------------------------------------------------------------------------------------
def jina_v2_tensors(random: Random, vocabulary: int) -> dict[str, Tensor]:
    """XLM-R with rotary positions, under the names of Jina's own implementation."""
    tensors = {
        "embeddings.word_embeddings.weight": random(vocabulary, HIDDEN),
        "embeddings.token_type_embeddings.weight": random(1, HIDDEN),
        **random.norm("emb_ln"),
    }
    for layer in range(LAYERS):
        name = f"encoder.layers.{layer}"
        tensors |= random.linear(f"{name}.mixer.Wqkv", 3 * HIDDEN, HIDDEN)
        tensors |= random.linear(f"{name}.mixer.out_proj", HIDDEN, HIDDEN)
        tensors |= random.norm(f"{name}.norm1")
        tensors |= random.linear(f"{name}.mlp.fc1", INNER, HIDDEN) | random.linear(f"{name}.mlp.fc2", HIDDEN, INNER)
        tensors |= random.norm(f"{name}.norm2")
    return tensors | random.linear("pooler.dense", HIDDEN, HIDDEN)


def bert_tensors(random: Random, vocabulary: int, positions: int, types: int = 2) -> dict[str, Tensor]:
    """BERT's and RoBERTa's names."""
    tensors = {
        "embeddings.word_embeddings.weight": random(vocabulary, HIDDEN),
        "embeddings.position_embeddings.weight": random(positions, HIDDEN),
        "embeddings.token_type_embeddings.weight": random(types, HIDDEN),
        **random.norm("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        tensors |= attention_tensors(random, name)
        tensors |= random.linear(f"{name}.intermediate.dense", INNER, HIDDEN)
        tensors |= random.linear(f"{name}.output.dense", HIDDEN, INNER) | random.norm(f"{name}.output.LayerNorm")
    return tensors | random.linear("pooler.dense", HIDDEN, HIDDEN)


def attention_tensors(random: Random, name: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for part in ("query", "key", "value"):
        tensors |= random.linear(f"{name}.attention.self.{part}", HIDDEN, HIDDEN)
    tensors |= random.linear(f"{name}.attention.output.dense", HIDDEN, HIDDEN)
    return tensors | random.norm(f"{name}.attention.output.LayerNorm")


def jina_bert_tensors(random: Random, vocabulary: int) -> dict[str, Tensor]:
    """BERT without position embeddings, with a gated linear unit."""
    tensors = {
        "embeddings.word_embeddings.weight": random(vocabulary, HIDDEN),
        "embeddings.token_type_embeddings.weight": random(2, HIDDEN),
        **random.norm("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        tensors |= attention_tensors(random, name)
        tensors |= random.linear(f"{name}.mlp.gated_layers", 2 * INNER, HIDDEN, bias=False)
        tensors |= random.linear(f"{name}.mlp.wo", HIDDEN, INNER) | random.norm(f"{name}.mlp.layernorm")
    return tensors | random.linear("pooler.dense", HIDDEN, HIDDEN)


def xmod_tensors(random: Random, vocabulary: int, positions: int, languages: Sequence[str]) -> dict[str, Tensor]:
    """RoBERTa's names, and in each layer an adapter for each language."""
    tensors = bert_tensors(random, vocabulary, positions, types=1)
    for layer in range(LAYERS):
        for language in languages:
            name = f"encoder.layer.{layer}.output.adapter_modules.{language}"
            tensors |= random.linear(f"{name}.dense1", HIDDEN // 2, HIDDEN)
            tensors |= random.linear(f"{name}.dense2", HIDDEN, HIDDEN // 2)
    return tensors


# -- folders -----------------------------------------------------------------------------------------------------------
def write_jina_v2(folder: Path, *, config: Mapping[str, Any] | None = None, heads: Sequence[int] = ()) -> Path:
    """As jinaai/jina-colbert-v2 is released; heads: further dimensions beside the default."""
    vocabulary = write_xlm_tokenizer(folder)
    random = Random()
    tensors = prefixed("roberta.", jina_v2_tensors(random, vocabulary)) | {"linear.weight": random(DIM, HIDDEN)}
    tensors |= {f"heads.{dim}.weight": random(dim, HIDDEN) for dim in heads}
    write_tensors(folder, tensors)
    remote = "jinaai/xlm-roberta-flash-implementation--"
    released = {
        "_name_or_path": "jinaai/jina-embeddings-v3-xlm-large-pairs-vol5",
        "architectures": ["HF_ColBERT"],
        "attention_probs_dropout_prob": 0.1,
        "auto_map": {
            "AutoConfig": f"{remote}configuration_xlm_roberta.XLMRobertaFlashConfig",
            "AutoModel": f"{remote}modeling_xlm_roberta.XLMRobertaModel",
        },
        "bos_token_id": 0,
        "emb_pooler": None,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-05,
        "load_trained_adapters": False,
        "lora_adaptations": None,
        "matryoshka_dimensions": None,
        "max_position_embeddings": 8194,
        "output_past": True,
        "pad_token_id": 1,
        "position_embedding_type": "rotary",
        "rotary_emb_base": 10000.0,
        "torch_dtype": "bfloat16",
        "truncate_dim": None,
        "type_vocab_size": 1,
        "use_flash_attn": True,
        "vocab_size": vocabulary,
        **sizes(),
    }
    write_json(folder / "config.json", {**released, **(config or {})})
    write_json(
        folder / "artifact.metadata",
        {
            "query_token_id": "[QueryMarker]",
            "doc_token_id": "[DocumentMarker]",
            "query_maxlen": 32,
            "attend_to_mask_tokens": True,
            "doc_maxlen": 300,
            "mask_punctuation": True,
            "similarity": "cosine",
            "dim": DIM,
        },
    )
    return folder


def write_jina_v1(folder: Path) -> Path:
    """As jinaai/jina-colbert-v1-en is released."""
    vocabulary = write_bert_tokenizer(folder)
    random = Random(1)
    write_tensors(
        folder, prefixed("bert.", jina_bert_tensors(random, vocabulary)) | {"linear.weight": random(DIM, HIDDEN)}
    )
    config = {
        "architectures": ["HF_ColBERT"],
        "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"},
        "model_type": "bert",
        "position_embedding_type": "alibi",
        "feed_forward_type": "geglu",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 8192,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": vocabulary,
        **sizes(),
    }
    write_json(folder / "config.json", config)
    write_json(folder / "artifact.metadata", {"query_maxlen": 32, "doc_maxlen": 300, "dim": DIM})
    return folder


def bert_config(vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": vocabulary,
        **sizes(),
    }


def write_colbert_v2(folder: Path) -> Path:
    """As colbert-ir/colbertv2.0 is released: BERT, and settings of which most are left to the library."""
    vocabulary = write_bert_tokenizer(folder)
    random = Random(2)
    tensors = prefixed("bert.", bert_tensors(random, vocabulary, 512)) | {"linear.weight": random(DIM, HIDDEN)}
    write_tensors(folder, tensors | {"bert.embeddings.position_ids": torch.arange(512)[None]})
    write_json(folder / "config.json", {"architectures": ["HF_ColBERT"], **bert_config(vocabulary)})
    write_json(
        folder / "artifact.metadata", {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "doc_maxlen": 180}
    )
    return folder


def xlm_config(vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "xlm-roberta",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 8194,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "type_vocab_size": 1,
        "vocab_size": vocabulary,
        **sizes(),
    }


def write_bge_m3(folder: Path) -> Path:
    """As BAAI/bge-m3 is released: pickled tensors without a prefix, and the head in a file of its own."""
    vocabulary = write_xlm_tokenizer(folder)
    random = Random(3)
    torch.save(bert_tensors(random, vocabulary, 8194, types=1), folder / "pytorch_model.bin")
    torch.save({"weight": random(HIDDEN, HIDDEN), "bias": random(HIDDEN)}, folder / "colbert_linear.pt")
    torch.save({"weight": random(1, HIDDEN), "bias": random(1)}, folder / "sparse_linear.pt")
    write_json(folder / "config.json", {"architectures": ["XLMRobertaModel"], **xlm_config(vocabulary)})
    modules = [("", "models.Transformer"), ("1_Pooling", "models.Pooling"), ("2_Normalize", "models.Normalize")]
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ],
    )
    return folder


LANGUAGES = ("en_XX", "de_DE", "ja_XX")


def write_colbert_xm(folder: Path) -> Path:
    """As antoinelouis/colbert-xm is released: X-MOD with an adapter for each language."""
    vocabulary = write_xlm_tokenizer(folder)
    random = Random(4)
    tensors = prefixed("roberta.", xmod_tensors(random, vocabulary, 514, LANGUAGES)) | {
        "linear.weight": random(DIM, HIDDEN)
    }
    write_tensors(folder, tensors)
    config = {
        **xlm_config(vocabulary),
        "architectures": ["HF_ColBERT"],
        "model_type": "xmod",
        "max_position_embeddings": 514,
        "adapter_layer_norm": False,
        "adapter_reduction_factor": 2,
        "adapter_reuse_layer_norm": True,
        "ln_before_adapter": True,
        "pre_norm": False,
        "default_language": "en_XX",
        "languages": list(LANGUAGES),
    }
    write_json(folder / "config.json", config)
    # its vocabulary has no [unused0] and [unused1]: colbert-ai took the unknown token for both
    markers = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]"}
    write_json(folder / "artifact.metadata", {**markers, "query_maxlen": 16, "doc_maxlen": 64})
    return folder


def write_pylate(folder: Path, *, layers: Sequence[tuple[int, int]] = ((HIDDEN, DIM),), residual: bool = False) -> Path:
    """As PyLate saves: modules.json with one or more Dense layers of its own, [inputs, outputs] each."""
    vocabulary = write_bert_tokenizer(folder)
    random = Random(5)
    write_tensors(folder, bert_tensors(random, vocabulary, 512))
    write_json(folder / "config.json", {"architectures": ["BertModel"], **bert_config(vocabulary)})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 511, "do_lower_case": False})
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, (inputs, outputs) in enumerate(layers, start=1):
        home = folder / f"{number}_Dense"
        home.mkdir()
        tensors = random.linear("linear", outputs, inputs, bias=False)
        if residual and inputs != outputs:
            tensors |= random.linear("residual", outputs, inputs, bias=False)
        write_tensors(home, tensors)
        write_json(
            home / "config.json",
            {
                "in_features": inputs,
                "out_features": outputs,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
                "use_residual": residual,
            },
        )
        modules.append({"idx": number, "name": str(number), "path": home.name, "type": "pylate.models.Dense.Dense"})
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "ColBERT",
            "prompts": {"query": "", "document": ""},
            "similarity_fn_name": "MaxSim",
            "query_prefix": "[unused0]",
            "document_prefix": "[unused1]",
            "query_length": 24,
            "document_length": 48,
            "attend_to_expansion_tokens": False,
            "skiplist_words": [".", ",", "!", "~"],
            "do_query_expansion": True,
        },
    )
    return folder


def sizes() -> dict[str, int]:
    return {
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2), "utf-8")
