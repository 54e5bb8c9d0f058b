"""A checkpoint, the caller's options and the machine: an encoder."""

from __future__ import annotations

import hashlib
from functools import partial

import torch

from jcb_engine.encoder.backbones import Backbone
from jcb_engine.encoder.backbones.architecture import can_be_packed, is_jina_bert, is_plain_bert, longest_text
from jcb_engine.encoder.backbones.bert import BertEncoder, BertShape
from jcb_engine.encoder.backbones.weights import Weights
from jcb_engine.encoder.checkpoint import Checkpoint
from jcb_engine.encoder.colbert_tokenizer import ColbertTokenizer
from jcb_engine.encoder.devices import chosen_devices, chosen_dtype, uses_flash_attn
from jcb_engine.encoder.model_files import weights_sha256
from jcb_engine.encoder.options import MACHINE_OPTIONS, TOKEN_OPTIONS, EncoderOptions
from jcb_engine.encoder.packed_model import PackedModel, Replica
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.saving import StanfordWriter
from jcb_engine.encoder.token_rules import TokenRules
from jcb_engine.errors import EncoderError, InputError

FAMILY = "colbert"
_XMOD = "xmod"


def model_of(checkpoint: Checkpoint, dim: int | None, options: EncoderOptions) -> PackedModel:
    """dim: None: the checkpoint's default.

    Raises InputError for a dim or an option that is not there, EncoderError where the checkpoint contradicts itself.
    """
    is_xmod = checkpoint.config.get("model_type") == _XMOD
    allowed = (*TOKEN_OPTIONS, *MACHINE_OPTIONS, *(("language",) if is_xmod else ()))
    options.require_only(allowed, f"'{checkpoint.name}'")
    dim = checkpoint.heads.default if dim is None else dim
    head = checkpoint.heads.head(dim, checkpoint.name)
    rules = options.applied_to(checkpoint.rules, longest_text(checkpoint.config), checkpoint.name)
    tokenizer = _tokenizer(checkpoint, rules)
    devices = chosen_devices(options)
    dtype = chosen_dtype(options, devices)
    flash_attn = uses_flash_attn(options, devices, dtype)
    if flash_attn and is_jina_bert(checkpoint.config):
        raise InputError(f"attention 'flash-attn' cannot add the biases of '{checkpoint.name}' (ALiBi); leave it out")
    backbones = [_backbone(checkpoint, device, dtype, options.language) for device in devices]
    for backbone in backbones:
        _require_width(head.layers[0].weight.shape[1], backbone, checkpoint.name)
    replicas = [
        Replica(backbone, checkpoint.heads, dtype, checkpoint.name, flash_attn=flash_attn) for backbone in backbones
    ]
    writer = None if checkpoint.prefix is None else StanfordWriter(checkpoint, dim, rules, options.language)
    record = partial(_record, checkpoint, dim, rules, options)
    return PackedModel(tokenizer, replicas, checkpoint.heads, dim, record, writer)


def _record(checkpoint: Checkpoint, dim: int, rules: TokenRules, options: EncoderOptions) -> EncoderRecord:
    is_xmod = checkpoint.config.get("model_type") == _XMOD
    return EncoderRecord(
        family=FAMILY,
        name=checkpoint.name,
        revision=checkpoint.revision,
        dim=dim,
        head_sha256=checkpoint.heads.head(dim, checkpoint.name).sha256(),
        weights_sha256=weights_sha256(checkpoint.folder),
        tokenizer_sha256=hashlib.sha256(checkpoint.tokenizer_json.encode()).hexdigest(),
        query_length=rules.query_length,
        document_length=rules.document_length,
        query_expansion=rules.query_expansion,
        attends_to_expansion=rules.attends_to_expansion,
        punctuation=rules.punctuation,
        special_tokens_as_text=rules.special_tokens_as_text,
        query_marker=rules.query_marker or "",
        document_marker=rules.document_marker or "",
        language=options.language or checkpoint.config.get("default_language") if is_xmod else None,
    )


def _tokenizer(checkpoint: Checkpoint, rules: TokenRules) -> ColbertTokenizer:
    try:
        tokenizer = ColbertTokenizer(checkpoint.tokenizer_json, rules, checkpoint.mask_token, checkpoint.pad_token)
    except ValueError as error:
        raise EncoderError(f"the tokenizer of '{checkpoint.name}' does not fit its settings: {error}") from error
    tokenizer.require_room(checkpoint.name)
    return tokenizer


def _backbone(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, language: str | None) -> Backbone:
    config, name = checkpoint.config, checkpoint.name
    if is_plain_bert(config) or is_jina_bert(config):
        weights = Weights(checkpoint.tensors, device, dtype)
        return BertEncoder(weights, BertShape.from_config(config, name), name)
    if not can_be_packed(config):
        raise EncoderError(f"'{name}' has a backbone of type {config.get('model_type')!r}, which is not known")
    # transformers is imported only where a model needs it: that takes seconds
    from jcb_engine.encoder.backbones.hugging_face import HuggingFaceBackbone

    return HuggingFaceBackbone(config, checkpoint.tensors, device, dtype, name, language)


def _require_width(inputs: int, backbone: Backbone, name: str) -> None:
    if inputs != backbone.hidden_size:
        raise EncoderError(
            f"the head of '{name}' takes {inputs} dimensions, its backbone gives {backbone.hidden_size}; "
            "get a complete copy of the checkpoint"
        )
