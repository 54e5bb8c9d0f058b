"""`mini`, the embedded encoder: all-MiniLM-L6-v2 with a head, for English.

Every token's vector is kept, [CLS] and [SEP] included. Queries are not filled up with [MASK]: the model never learnt
to expand them, and nDCG@10 on xquad-en falls from .98 to .63 if it has to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load_file

from jcb_engine.encoder.backbones.bert import BertEncoder, BertShape
from jcb_engine.encoder.backbones.weights import Weights
from jcb_engine.encoder.colbert_tokenizer import ColbertTokenizer
from jcb_engine.encoder.devices import chosen_devices, chosen_dtype, uses_flash_attn
from jcb_engine.encoder.head_files import read_heads
from jcb_engine.encoder.hub import HubAccess
from jcb_engine.encoder.mini_files import WEIGHTS_SHA256, find_mini_files
from jcb_engine.encoder.options import MACHINE_OPTIONS, EncoderOptions
from jcb_engine.encoder.packed_model import PackedModel, Replica
from jcb_engine.encoder.projection import Dense, Head, Heads
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.token_rules import TokenRules

DEFAULT_DIM = 128
HIDDEN_SIZE = 384
# What the model was trained with; its 512 positions are an inheritance of the model that it was made from.
MAX_LENGTH = 256
QUERY_LENGTH = 64
OPTIONS = ("query_length", "document_length", *MACHINE_OPTIONS)

_RULES = TokenRules(query_length=QUERY_LENGTH, document_length=MAX_LENGTH, special_tokens_as_text=True)
_SHAPE = BertShape(
    vocab_size=30522,
    hidden_size=HIDDEN_SIZE,
    intermediate_size=1536,
    num_hidden_layers=6,
    num_attention_heads=12,
    max_position_embeddings=512,
    type_vocab_size=2,
    layer_norm_eps=1e-12,
)


@dataclass(frozen=True, slots=True)
class MiniBackbone:
    """Tokenizer and weights, without a head."""

    tokenizer: ColbertTokenizer
    tokenizer_sha256: str
    encoders: Sequence[BertEncoder]


def load_backbone(
    access: HubAccess,
    rules: TokenRules = _RULES,
    devices: Sequence[torch.device] = (torch.device("cpu"),),
    dtype: torch.dtype = torch.float32,
) -> MiniBackbone:
    """One encoder for each device. Raises EncoderError where the weights are not to be had."""
    files = find_mini_files(access)
    tokenizer_json = files.tokenizer.read_bytes()
    tokenizer = ColbertTokenizer(tokenizer_json.decode("utf-8"), rules, mask_token=None, pad_token=None)
    tokenizer.require_room("mini")
    # mapped: a query touches a few of the 47 MB of word embeddings
    tensors = load_file(files.weights)
    encoders = [BertEncoder(Weights(tensors, device, dtype), _SHAPE, "mini") for device in devices]
    return MiniBackbone(tokenizer, hashlib.sha256(tokenizer_json).hexdigest(), encoders)


def load_mini(dim: int | None, version: int | None, options: EncoderOptions, access: HubAccess) -> PackedModel:
    """`mini` with its heads. dim: None: 128; version of the heads: None: the newest.

    Raises InputError for a dim, a version or an option that is not there, EncoderError where weights cannot be had.
    """
    options.require_only(OPTIONS, "'mini'")
    rules = options.applied_to(_RULES, MAX_LENGTH, "mini")
    file = read_heads(version)
    heads = Heads([Head((Dense(torch.from_numpy(weight)),)) for weight in file.weights.values()], DEFAULT_DIM)
    dim = DEFAULT_DIM if dim is None else dim
    heads.head(dim, file.name)  # before the weights are loaded
    devices = chosen_devices(options)
    # float32 on a GPU, too: so small a model is not what takes time there
    dtype = torch.float32 if options.dtype is None else chosen_dtype(options, devices)
    flash_attn = uses_flash_attn(options, devices, dtype)
    backbone = load_backbone(access, rules, devices, dtype)
    record = EncoderRecord(
        family="mini",
        name=file.name,
        dim=dim,
        head_version=file.version,
        head_sha256=file.sha256,
        weights_sha256=WEIGHTS_SHA256,
        tokenizer_sha256=backbone.tokenizer_sha256,
        query_length=rules.query_length,
        document_length=rules.document_length,
        query_expansion=False,
    )
    replicas = [Replica(encoder, heads, dtype, file.name, flash_attn=flash_attn) for encoder in backbone.encoders]
    return PackedModel(backbone.tokenizer, replicas, heads, dim, lambda: record)
