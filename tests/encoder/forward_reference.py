"""Forward passes in plain torch, from the papers' descriptions, over a padded batch with an attention mask.

BERT (arXiv:1810.04805), RoBERTa's positions (arXiv:1907.11692), rotary positions (arXiv:2104.09864), ALiBi
(arXiv:2108.12409) in both directions, GLU (arXiv:2002.05202), X-MOD's adapters (arXiv:2205.06266). Names of tensors are
those of the released checkpoints. Nothing here is shared with the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def padded(texts: Sequence[Sequence[int]], attended: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(ids, mask) [texts, longest]; mask is 1 where a token is attended to."""
    longest = max(map(len, texts))
    ids, mask = torch.zeros(len(texts), longest, dtype=torch.int64), torch.zeros(len(texts), longest)
    for row, (text, count) in enumerate(zip(texts, attended, strict=True)):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, :count] = 1
    return ids, mask


def linear(weights: Weights, name: str, states: Tensor) -> Tensor:
    product = states @ weights[f"{name}.weight"].T
    return product + weights[f"{name}.bias"] if f"{name}.bias" in weights else product


def norm(weights: Weights, name: str, states: Tensor, eps: float) -> Tensor:
    centred = states - states.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(states: Tensor) -> Tensor:
    return states * (1 + torch.erf(states / math.sqrt(2))) / 2


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    heads: int,
    turned: Callable[[Tensor], Tensor] = lambda part: part,
    bias: Tensor | float = 0.0,
) -> Tensor:
    """[texts, length, hidden] each. turned: what is done to queries and keys [texts, heads, length, head_dim]."""
    texts, length, hidden = query.shape
    query, key, value = (
        part.reshape(texts, length, heads, hidden // heads).permute(0, 2, 1, 3) for part in (query, key, value)
    )
    products = turned(query) @ turned(key).transpose(2, 3) / math.sqrt(hidden // heads) + bias
    products = products.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
    return (torch.softmax(products, dim=-1) @ value).permute(0, 2, 1, 3).reshape(texts, length, hidden)


def rotated(base: float) -> Callable[[Tensor], Tensor]:
    """Rotary positions: dimensions j and j + d/2 of a head are turned by position * base^(-2j/d)."""

    def turn(part: Tensor) -> Tensor:
        length, size = part.shape[2], part.shape[3]
        speeds = torch.tensor([base ** (-2 * j / size) for j in range(size // 2)], dtype=torch.float64)
        angles = torch.arange(length, dtype=torch.float64)[:, None] * speeds
        cos, sin = angles.cos().float(), angles.sin().float()
        left, right = part[..., : size // 2], part[..., size // 2 :]
        return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)

    return turn


def jina_v2(weights: Weights, ids: Tensor, mask: Tensor, heads: int, base: float) -> Tensor:
    """XLM-R with rotary positions and post-norm; q, k and v lie one after the other in Wqkv."""
    states = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0]
    states = norm(weights, "emb_ln", states, 1e-5)
    for layer in range(count_layers(weights, "encoder.layers")):
        name = f"encoder.layers.{layer}"
        query, key, value = linear(weights, f"{name}.mixer.Wqkv", states).chunk(3, dim=-1)
        attended = attention(query, key, value, mask, heads, rotated(base))
        states = norm(weights, f"{name}.norm1", states + linear(weights, f"{name}.mixer.out_proj", attended), 1e-5)
        inner = gelu(linear(weights, f"{name}.mlp.fc1", states))
        states = norm(weights, f"{name}.norm2", states + linear(weights, f"{name}.mlp.fc2", inner), 1e-5)
    return states


def bert(
    weights: Weights,
    ids: Tensor,
    mask: Tensor,
    heads: int,
    *,
    eps: float = 1e-12,
    first_position: int = 0,
    language: str | None = None,
) -> Tensor:
    """BERT; RoBERTa with first_position 2; X-MOD with a language, whose adapter stands behind each feed-forward net."""
    positions = torch.arange(ids.shape[1]) + first_position
    states = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][positions]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    states = norm(weights, "embeddings.LayerNorm", states, eps)
    for layer in range(count_layers(weights, "encoder.layer")):
        name = f"encoder.layer.{layer}"
        states = attended_states(weights, name, states, mask, heads, eps)
        inner = linear(weights, f"{name}.output.dense", gelu(linear(weights, f"{name}.intermediate.dense", states)))
        states = states + inner
        if language is not None:
            # the adapter's input is normalised with the layer's own norm; the residual is taken behind that
            states = norm(weights, f"{name}.output.LayerNorm", states, eps)
            adapter = f"{name}.output.adapter_modules.{language}"
            states = states + linear(weights, f"{adapter}.dense2", gelu(linear(weights, f"{adapter}.dense1", states)))
        states = norm(weights, f"{name}.output.LayerNorm", states, eps)
    return states


def jina_bert(weights: Weights, ids: Tensor, mask: Tensor, heads: int) -> Tensor:
    """BERT with ALiBi and a gated linear unit."""
    states = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0]
    states = norm(weights, "embeddings.LayerNorm", states, 1e-12)
    places = torch.arange(ids.shape[1])
    distances = (places[:, None] - places[None, :]).abs()
    # heads is a power of two here: 2^(-8/heads), 2^(-16/heads), ...
    slopes = torch.tensor([2.0 ** (-8 * (head + 1) / heads) for head in range(heads)])
    bias = -slopes[None, :, None, None] * distances
    for layer in range(count_layers(weights, "encoder.layer")):
        name = f"encoder.layer.{layer}"
        states = attended_states(weights, name, states, mask, heads, 1e-12, bias)
        gate, gated = linear(weights, f"{name}.mlp.gated_layers", states).chunk(2, dim=-1)
        inner = linear(weights, f"{name}.mlp.wo", gelu(gate) * gated)
        states = norm(weights, f"{name}.mlp.layernorm", states + inner, 1e-12)
    return states


def attended_states(
    weights: Weights, name: str, states: Tensor, mask: Tensor, heads: int, eps: float, bias: Tensor | float = 0.0
) -> Tensor:
    query, key, value = (linear(weights, f"{name}.attention.self.{part}", states) for part in ("query", "key", "value"))
    attended = attention(query, key, value, mask, heads, bias=bias)
    attended = linear(weights, f"{name}.attention.output.dense", attended)
    return norm(weights, f"{name}.attention.output.LayerNorm", states + attended, eps)


def count_layers(weights: Weights, name: str) -> int:
    return len({key.split(".")[2] for key in weights if key.startswith(f"{name}.")})


def unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
