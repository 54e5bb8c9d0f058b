"""BERT's encoder (Devlin et al. 2019, arXiv:1810.04805), and JinaBERT's (Günther et al. 2023, arXiv:2310.19923).

BERT stands here instead of transformers' BertModel because importing that class takes longer than everything else that
a command does to answer one question, torch included. The tests hold both equal. JinaBERT, the backbone of
jina-colbert-v1-en, is in no library: it has ALiBi (Press et al. 2022, arXiv:2108.12409) in place of position
embeddings, and a gated linear unit (Shazeer 2020, arXiv:2002.05202) as its feed-forward net.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from jcb_engine.encoder.backbones.alibi import AlibiBias
from jcb_engine.encoder.backbones.attention import Bias, attend
from jcb_engine.encoder.backbones.linear import Linear, linear
from jcb_engine.encoder.backbones.packing import Packed
from jcb_engine.encoder.backbones.weights import Weights
from jcb_engine.errors import EncoderError


@dataclass(frozen=True, slots=True)
class BertShape:
    """The numbers of a config.json that the forward pass needs. has_alibi: JinaBERT's positions and feed-forward."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    has_alibi: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: str) -> BertShape:
        """Raises EncoderError where a number is missing or no number."""
        values: dict[str, Any] = {"has_alibi": config.get("position_embedding_type") == "alibi"}
        for name in cls.__slots__:
            if name in values:
                continue
            value = config.get(name, 1e-12 if name == "layer_norm_eps" else None)
            wanted = (int, float) if name == "layer_norm_eps" else (int,)
            if isinstance(value, bool) or not isinstance(value, wanted) or value <= 0:
                raise EncoderError(f"config.json of '{source}' has {name} {value!r}; expected a number above 0")
            values[name] = value
        if values["hidden_size"] % values["num_attention_heads"]:
            raise EncoderError(
                f"config.json of '{source}' has {values['num_attention_heads']} heads for {values['hidden_size']} "
                "dimensions, which they do not divide"
            )
        return cls(**values)


@dataclass(frozen=True, slots=True)
class _LayerNorm:
    weight: Tensor  # [hidden]
    bias: Tensor  # [hidden]
    eps: float

    def __call__(self, inputs: Tensor) -> Tensor:
        return F.layer_norm(inputs, self.weight.shape, self.weight, self.bias, self.eps)


class BertEncoder:
    """Token ids of several texts -> the hidden states of the last layer."""

    def __init__(self, weights: Weights, shape: BertShape, source: str) -> None:
        """weights: named as in a BertModel checkpoint, `embeddings.*` and `encoder.layer.N.*`.

        Raises EncoderError where a tensor is missing, left over or of another shape.
        """
        hidden = shape.hidden_size
        self.words = weights.take("embeddings.word_embeddings.weight", shape.vocab_size, hidden)
        segments = weights.take("embeddings.token_type_embeddings.weight", shape.type_vocab_size, hidden)
        positions = None
        if not shape.has_alibi:
            name = "embeddings.position_embeddings.weight"
            positions = weights.take(name, shape.max_position_embeddings, hidden)
        self.norm = _layer_norm(weights, "embeddings.LayerNorm", shape)
        self.layers = [_Layer(weights, f"encoder.layer.{index}", shape) for index in range(shape.num_hidden_layers)]
        weights.require_all_taken(source)
        # Every text is one segment, so the vector of segment 0 is always added: to the positions, once.
        self.segment = segments[0]
        self.positions = None if positions is None else positions + self.segment
        self.bias = AlibiBias(shape.num_attention_heads, self.words.device) if shape.has_alibi else None

    @property
    def device(self) -> torch.device:
        return self.words.device

    @property
    def hidden_size(self) -> int:
        return int(self.words.shape[1])

    def __call__(self, packed: Packed) -> Tensor:
        words = F.embedding(packed.ids, self.words)
        if self.positions is None:
            hidden = self.norm(words + self.segment)
        else:
            hidden = self.norm(words + F.embedding(packed.positions(), self.positions))
        for layer in self.layers:
            hidden = layer(hidden, packed, self.bias)
        return hidden


class _Layer:
    """Attention, then a feed-forward net, each added to its input and normalised after."""

    def __init__(self, weights: Weights, name: str, shape: BertShape) -> None:
        hidden = shape.hidden_size
        self.query = _linear(weights, f"{name}.attention.self.query", hidden, hidden)
        self.key = _linear(weights, f"{name}.attention.self.key", hidden, hidden)
        self.value = _linear(weights, f"{name}.attention.self.value", hidden, hidden)
        self.attention_output = _linear(weights, f"{name}.attention.output.dense", hidden, hidden)
        self.attention_norm = _layer_norm(weights, f"{name}.attention.output.LayerNorm", shape)
        self.feed_forward = _GatedUnit(weights, name, shape) if shape.has_alibi else _FeedForward(weights, name, shape)
        self.heads = shape.num_attention_heads

    def __call__(self, hidden: Tensor, packed: Packed, bias: Bias | None) -> Tensor:
        """hidden: [tokens, hidden] -> [tokens, hidden]."""
        tokens = len(hidden)
        # [tokens, heads, hidden / heads]
        query, key, value = (part(hidden).view(tokens, self.heads, -1) for part in (self.query, self.key, self.value))
        attended = self.attention_output(attend(query, key, value, packed, bias=bias).flatten(1))
        return self.feed_forward(self.attention_norm(hidden + attended))


class _FeedForward:
    """BERT's: expand, GELU, contract."""

    def __init__(self, weights: Weights, name: str, shape: BertShape) -> None:
        inner, hidden = shape.intermediate_size, shape.hidden_size
        self.expand = _linear(weights, f"{name}.intermediate.dense", inner, hidden, gelu=True)
        self.contract = _linear(weights, f"{name}.output.dense", hidden, inner)
        self.norm = _layer_norm(weights, f"{name}.output.LayerNorm", shape)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.norm(hidden + self.contract(self.expand(hidden)))


class _GatedUnit:
    """JinaBERT's: one half of the expanded tokens, through GELU, gates the other half."""

    def __init__(self, weights: Weights, name: str, shape: BertShape) -> None:
        inner, hidden = shape.intermediate_size, shape.hidden_size
        self.expand = linear(weights.take(f"{name}.mlp.gated_layers.weight", 2 * inner, hidden), None)
        self.contract = _linear(weights, f"{name}.mlp.wo", hidden, inner)
        self.norm = _layer_norm(weights, f"{name}.mlp.layernorm", shape)

    def __call__(self, hidden: Tensor) -> Tensor:
        gate, gated = self.expand(hidden).chunk(2, dim=1)
        return self.norm(hidden + self.contract(F.gelu(gate) * gated))


def _linear(weights: Weights, name: str, outputs: int, inputs: int, *, gelu: bool = False) -> Linear:
    weight, bias = weights.take(f"{name}.weight", outputs, inputs), weights.take(f"{name}.bias", outputs)
    return linear(weight, bias, gelu=gelu)


def _layer_norm(weights: Weights, name: str, shape: BertShape) -> _LayerNorm:
    weight, bias = (weights.take(f"{name}.{part}", shape.hidden_size) for part in ("weight", "bias"))
    return _LayerNorm(weight, bias, shape.layer_norm_eps)
