"""BERT's encoder (Devlin et al. 2019, arXiv:1810.04805) for inference over texts laid end to end.

It stands here instead of transformers' BertModel because importing that class takes longer than everything else that a
command does to answer one question, torch included. The tests hold both equal.

Texts are packed, never padded: the linear layers see [tokens, hidden], attention sees each run of texts of equal length
as one batch without a mask. So no vector depends on what else is in the batch beyond rounding, and no time is lost on
padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from jcb_engine.encoder.batches import runs_of_equal_length


@dataclass(frozen=True, slots=True)
class BertShape:
    """The numbers of a BERT's config.json that its forward pass needs."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    layer_norm_eps: float


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Tensor  # [outputs, inputs]
    bias: Tensor  # [outputs]

    def __call__(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _LayerNorm:
    weight: Tensor  # [hidden]
    bias: Tensor  # [hidden]
    eps: float

    def __call__(self, inputs: Tensor) -> Tensor:
        return F.layer_norm(inputs, self.weight.shape, self.weight, self.bias, self.eps)


class BertEncoder:
    """Token ids of several texts -> the hidden states of the last layer, on the device of the weights."""

    def __init__(self, weights: Mapping[str, Tensor], shape: BertShape) -> None:
        """weights: named as in a BertModel checkpoint, `embeddings.*` and `encoder.layer.N.*`; KeyError for a gap."""
        self.words = weights["embeddings.word_embeddings.weight"]
        # Every text is one segment, so the vector of segment 0 is always added: once, here.
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        self.positions = weights["embeddings.position_embeddings.weight"] + segment
        self.norm = _layer_norm(weights, "embeddings.LayerNorm", shape)
        self.layers = [_Layer(weights, f"encoder.layer.{index}", shape) for index in range(shape.num_hidden_layers)]

    @property
    def device(self) -> torch.device:
        return self.words.device

    def __call__(self, token_ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """token_ids: [tokens] int64, texts end to end; lengths: tokens of each text -> [tokens, hidden] float32."""
        position_ids = torch.cat([torch.arange(length, device=self.device) for length in lengths])
        hidden = self.norm(F.embedding(token_ids, self.words) + F.embedding(position_ids, self.positions))
        runs = runs_of_equal_length(lengths)
        for layer in self.layers:
            hidden = layer(hidden, runs)
        return hidden


class _Layer:
    """Attention, then a feed-forward net, each added to its input and normalised after."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, shape: BertShape) -> None:
        self.query = _linear(weights, f"{name}.attention.self.query")
        self.key = _linear(weights, f"{name}.attention.self.key")
        self.value = _linear(weights, f"{name}.attention.self.value")
        self.attention_output = _linear(weights, f"{name}.attention.output.dense")
        self.attention_norm = _layer_norm(weights, f"{name}.attention.output.LayerNorm", shape)
        self.expand = _linear(weights, f"{name}.intermediate.dense")
        self.contract = _linear(weights, f"{name}.output.dense")
        self.norm = _layer_norm(weights, f"{name}.output.LayerNorm", shape)
        self.heads = shape.num_attention_heads

    def __call__(self, hidden: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
        """hidden: [tokens, hidden]; runs: (texts, length) of each run of texts of equal length -> [tokens, hidden]."""
        attended = self.attention_output(self._attend(hidden, runs))
        hidden = self.attention_norm(hidden + attended)
        return self.norm(hidden + self.contract(F.gelu(self.expand(hidden))))

    def _attend(self, hidden: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
        query, key, value = self.query(hidden), self.key(hidden), self.value(hidden)
        attended = torch.empty_like(hidden)
        start = 0
        for texts, length in runs:
            rows = slice(start, start + texts * length)
            attended[rows] = self._attend_run(query[rows], key[rows], value[rows], texts)
            start = rows.stop
        return attended

    def _attend_run(self, query: Tensor, key: Tensor, value: Tensor, texts: int) -> Tensor:
        """Attention within each of some texts of equal length: [texts * length, hidden] each and returned."""
        attended = F.scaled_dot_product_attention(
            self._by_head(query, texts), self._by_head(key, texts), self._by_head(value, texts)
        )
        return attended.transpose(1, 2).reshape(query.shape)

    def _by_head(self, part: Tensor, texts: int) -> Tensor:
        """[texts * length, hidden] -> [texts, heads, length, hidden / heads]."""
        return part.view(texts, -1, self.heads, part.shape[1] // self.heads).transpose(1, 2)


def _linear(weights: Mapping[str, Tensor], name: str) -> _Linear:
    return _Linear(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _layer_norm(weights: Mapping[str, Tensor], name: str, shape: BertShape) -> _LayerNorm:
    return _LayerNorm(weights[f"{name}.weight"], weights[f"{name}.bias"], shape.layer_norm_eps)
