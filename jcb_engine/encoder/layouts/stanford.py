"""Stanford's layout, which Jina-ColBERT-v2, v1-en, colbertv2.0 and most others are released in.

config.json with architectures ["HF_ColBERT"], artifact.metadata with the settings of training, and one file of tensors:
the backbone's under its prefix, and the head as `linear.weight` [dim, hidden] without a bias. Ours adds heads of other
dimensions as `heads.<dim>.weight` beside it, and the settings `query_expansion` and `special_tokens_as_text`, which
other libraries leave aside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from jcb_engine.encoder.backbones.weights import require_complete, without_other_parts
from jcb_engine.encoder.checkpoint import Checkpoint
from jcb_engine.encoder.layouts.tensors import prefix_of, read_tensors, split_by_prefix
from jcb_engine.encoder.layouts.tokenizer_files import read_tokenizer
from jcb_engine.encoder.model_files import read_json
from jcb_engine.encoder.projection import Dense, Head, Heads
from jcb_engine.encoder.token_rules import TokenRules
from jcb_engine.errors import EncoderError

METADATA = "artifact.metadata"
DEFAULT_HEAD = "linear.weight"
OTHER_HEAD = "heads.{dim}.weight"
_OTHER_HEAD = re.compile(r"heads\.(\d+)\.weight")
# What colbert-ai takes where artifact.metadata does not say.
_QUERY_MARKER, _DOCUMENT_MARKER = "[unused0]", "[unused1]"
_QUERY_LENGTH, _DOCUMENT_LENGTH = 32, 220


def read(folder: Path, name: str, revision: str | None) -> Checkpoint:
    """Raises EncoderError where the folder does not hold what its config.json says."""
    config = read_json(folder / "config.json", dict)
    tensors = read_tensors(folder, name)
    prefix = prefix_of(tensors, name)
    backbone, rest = split_by_prefix(tensors, prefix)
    # without a prefix, the heads stand among the tensors of the backbone
    heads = {key: tensor for key, tensor in (backbone | rest).items() if key == DEFAULT_HEAD or _OTHER_HEAD.match(key)}
    backbone = {key: tensor for key, tensor in backbone.items() if key not in heads}
    require_complete(() if DEFAULT_HEAD in heads else [DEFAULT_HEAD], without_other_parts(rest).keys() - heads, name)
    tokenizer = read_tokenizer(folder, name)
    return Checkpoint(
        name=name,
        folder=folder,
        revision=revision,
        config=config,
        tensors=backbone,
        heads=_heads(heads, config, name),
        rules=_rules(read_json(folder / METADATA, dict), folder),
        tokenizer_json=tokenizer.json,
        mask_token=tokenizer.mask_token,
        pad_token=tokenizer.pad_token,
        prefix=prefix,
    )


def _heads(tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str) -> Heads:
    hidden = config.get("hidden_size")
    for key, tensor in tensors.items():
        if tensor.ndim != 2 or tensor.shape[1] != hidden:
            raise EncoderError(f"'{name}' has {key} of shape {list(tensor.shape)}; expected [dim, {hidden}]")
    for key in tensors:
        match = _OTHER_HEAD.fullmatch(key)
        if match and tensors[key].shape[0] != int(match[1]):
            raise EncoderError(f"'{name}' has {key} of {tensors[key].shape[0]} dimensions")
    default = int(tensors[DEFAULT_HEAD].shape[0])
    heads = [Head((Dense(tensor),)) for key, tensor in tensors.items() if key != DEFAULT_HEAD]
    return Heads([*heads, Head((Dense(tensors[DEFAULT_HEAD]),))], default, _truncatable(config))


def _truncatable(config: Mapping[str, Any]) -> list[int]:
    """Dimensions that the model says its one head was trained to be cut down to."""
    dims = config.get("matryoshka_dimensions") or []
    return [dim for dim in dims if isinstance(dim, int)] if isinstance(dims, list) else []


def _rules(metadata: Mapping[str, Any], folder: Path) -> TokenRules:
    return TokenRules(
        # some repositories hold an object there; some vocabularies have no such token, and were trained with <unk>
        unknown_markers=True,
        query_marker=_text(metadata.get("query_token_id"), _QUERY_MARKER),
        document_marker=_text(metadata.get("doc_token_id"), _DOCUMENT_MARKER),
        query_length=_number(metadata, "query_maxlen", _QUERY_LENGTH, folder),
        document_length=_number(metadata, "doc_maxlen", _DOCUMENT_LENGTH, folder),
        query_expansion=bool(metadata.get("query_expansion", True)),
        special_tokens_as_text=bool(metadata.get("special_tokens_as_text", False)),
        attends_to_expansion=bool(metadata.get("attend_to_mask_tokens", False)),
        punctuation="reference" if metadata.get("mask_punctuation", True) else "off",
    )


def _text(value: object, default: str) -> str:
    return value if isinstance(value, str) and value else default


def _number(metadata: Mapping[str, Any], key: str, default: int, folder: Path) -> int:
    value = metadata.get(key, default)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise EncoderError(f"{folder / METADATA} has {key} {value!r}; expected a whole number from 1")
    return value
