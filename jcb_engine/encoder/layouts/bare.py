"""A bare encoder with new heads: where training begins. Its vectors mean nothing before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from jcb_engine.encoder.backbones.architecture import can_be_packed, is_jina_xlm_roberta, longest_text, model_type
from jcb_engine.encoder.checkpoint import Checkpoint
from jcb_engine.encoder.layouts.tensors import prefix_of, read_tensors, split_by_prefix
from jcb_engine.encoder.layouts.tokenizer_files import parsed, read_tokenizer
from jcb_engine.encoder.model_files import read_json
from jcb_engine.encoder.projection import Dense, Head, Heads
from jcb_engine.encoder.token_rules import TokenRules
from jcb_engine.errors import EncoderError, InputError

QUERY_MARKER, DOCUMENT_MARKER = "[QueryMarker]", "[DocumentMarker]"
# Tokens of BERT's vocabulary that no text has, as ColBERT uses them.
_BERT_MARKERS = ("[unused0]", "[unused1]")
_WORDS = "embeddings.word_embeddings.weight"
# Jina-ColBERT-v2's (paper, 5.1).
_QUERY_LENGTH, _DOCUMENT_LENGTH = 32, 300


def read(folder: Path, name: str, revision: str | None, dims: Sequence[int], seed: int) -> Checkpoint:
    """A checkpoint in the shape of Jina-ColBERT-v2: separate heads of these dimensions, the first the default.

    Heads are drawn from a normal distribution of the config's initializer_range. Where the vocabulary has no markers
    they are added, and their embeddings begin as the mean of all others.
    Raises InputError for dims that cannot be, EncoderError where the folder holds no encoder of a known architecture.
    """
    config = read_json(folder / "config.json", dict)
    if not can_be_packed(config):
        raise EncoderError(f"'{name}' has a backbone of type {config.get('model_type')!r}, which is not known")
    hidden = config.get("hidden_size")
    is_list = isinstance(dims, Sequence) and all(isinstance(d, int) and not isinstance(d, bool) for d in dims)
    if not is_list or not dims or len(set(dims)) != len(dims):
        raise InputError(f"dims is {dims!r}; expected different whole numbers, such as [128, 64]")
    if min(dims) < 1 or max(dims) > int(hidden or 0):
        raise InputError(f"dims is {list(dims)}; each must be from 1 to the {hidden} dimensions of '{name}'")
    tensors = read_tensors(folder, name)
    backbone, _ = split_by_prefix(tensors, prefix_of(tensors, name))
    tokenizer = read_tokenizer(folder, name)
    tokenizer_json, markers = _with_markers(parsed(tokenizer.json, name), tokenizer.json)
    backbone = _with_embeddings(backbone, parsed(tokenizer_json, name).get_vocab_size())
    generator = torch.Generator().manual_seed(seed)
    spread = float(config.get("initializer_range", 0.02))
    heads = [Head((Dense(torch.randn(dim, hidden, generator=generator) * spread),)) for dim in dims]
    longest = longest_text(config)
    return Checkpoint(
        name=name,
        folder=folder,
        revision=revision,
        config=_without_task({**config, "vocab_size": len(backbone[_WORDS])}),
        tensors=backbone,
        heads=Heads(heads, dims[0]),
        rules=TokenRules(
            query_marker=markers[0],
            document_marker=markers[1],
            query_length=min(_QUERY_LENGTH, longest),
            document_length=min(_DOCUMENT_LENGTH, longest),
            query_expansion=True,
            attends_to_expansion=True,
            punctuation="reference",
        ),
        tokenizer_json=tokenizer_json,
        mask_token=tokenizer.mask_token,
        pad_token=tokenizer.pad_token,
        prefix="bert." if model_type(config) == "bert" and not is_jina_xlm_roberta(config) else "roberta.",
    )


def _without_task(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("architectures", "auto_map")}


def _with_markers(tokenizer: Tokenizer, tokenizer_json: str) -> tuple[str, tuple[str, str]]:
    """A tokenizer.json with markers, and which they are."""
    for markers in ((QUERY_MARKER, DOCUMENT_MARKER), _BERT_MARKERS):
        if all(tokenizer.token_to_id(marker) is not None for marker in markers):
            return tokenizer_json, markers
    added = [AddedToken(marker, normalized=False, special=True) for marker in (QUERY_MARKER, DOCUMENT_MARKER)]
    tokenizer.add_special_tokens(added)
    return tokenizer.to_str(), (QUERY_MARKER, DOCUMENT_MARKER)


def _with_embeddings(backbone: dict[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """As many word embeddings as there are tokens; a checkpoint may hold more."""
    words = backbone[_WORDS]
    missing = vocabulary - len(words)
    if missing <= 0:
        return backbone
    mean = words.float().mean(dim=0, keepdim=True).to(words.dtype)
    return {**backbone, _WORDS: torch.cat([words, mean.expand(missing, -1)])}
