"""What a config.json says about the backbone, told without importing the library that has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jcb_engine.errors import EncoderError

JINA_MODEL_TYPE = "jina_embeddings_v3"
# The architectures that `HuggingFaceBackbone` runs on packed texts; whether positions count from pad_token_id + 1.
PACKABLE: Mapping[str, bool] = {
    "bert": False,
    "camembert": True,
    "roberta": True,
    "xlm-roberta": True,
    "xmod": True,
    JINA_MODEL_TYPE: False,
}
# What Jina-ColBERT-v2 was trained with (paper, 4.1), where the checkpoint does not say. The default of the library's
# class is that of another model, so the base is always passed.
_JINA_ROPE_BASE = 10_000.0


def model_type(config: Mapping[str, Any]) -> str | None:
    """The library's name for the architecture of a config.json; Jina's released ones have none."""
    if is_jina_xlm_roberta(config):
        return JINA_MODEL_TYPE
    own = config.get("model_type")
    return own if isinstance(own, str) else None


def is_jina_xlm_roberta(config: Mapping[str, Any]) -> bool:
    """Whether this is XLM-R with rotary positions, as Jina releases it or as the library names it."""
    if config.get("model_type") == JINA_MODEL_TYPE:
        return True
    remote = config.get("auto_map")
    auto_model = remote.get("AutoModel") if isinstance(remote, Mapping) else None
    return "model_type" not in config and (
        config.get("position_embedding_type") == "rotary" or "xlm-roberta-flash-implementation" in str(auto_model)
    )


def is_jina_bert(config: Mapping[str, Any]) -> bool:
    """Whether this is BERT with ALiBi and a gated linear unit, which our own `BertEncoder` runs."""
    return config.get("model_type") == "bert" and config.get("position_embedding_type") == "alibi"


def is_plain_bert(config: Mapping[str, Any]) -> bool:
    """Whether our own `BertEncoder` runs it as the library's class would."""
    return (
        config.get("model_type") == "bert"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act", "gelu") == "gelu"
    )


def can_be_packed(config: Mapping[str, Any]) -> bool:
    """Whether there is a backbone for it that takes packed texts."""
    if config.get("position_embedding_type", "absolute") not in ("absolute", "rotary", "alibi"):
        return False
    return is_jina_bert(config) or model_type(config) in PACKABLE


def longest_text(config: Mapping[str, Any]) -> int:
    """The most tokens that the model has positions for. Raises EncoderError where the config does not say."""
    positions = config.get("max_position_embeddings", 512)
    if isinstance(positions, bool) or not isinstance(positions, int) or positions < 3:
        raise EncoderError(f"config.json has max_position_embeddings {positions!r}; expected a whole number")
    if is_jina_xlm_roberta(config):
        return positions - 2  # it keeps XLM-R's two positions for padding, and is said to take 8,192 of 8,194
    return positions - first_position(config)


def first_position(config: Mapping[str, Any]) -> int:
    """The position of a text's first token: behind that of padding in RoBERTa's family."""
    if not PACKABLE.get(model_type(config) or "", False):
        return 0
    padding = config.get("pad_token_id")
    return (padding if isinstance(padding, int) else 1) + 1


def rope_base(config: Mapping[str, Any]) -> float:
    """The base of the rotary positions: as a config.json says under one of its names, else the paper's 10,000."""
    parameters = config.get("rope_parameters") or {}
    named = parameters.get("rope_theta") or config.get("rotary_emb_base") or config.get("rope_theta")
    return float(named or _JINA_ROPE_BASE)
