"""Attention with rotary positions (Su et al. 2021, arXiv:2104.09864) for packed texts, in place of the library's own.

The library's multiplies, negates and joins copies of queries and keys, a tenth of the time of a layer on a CPU, and
projects to queries, keys and values one after another. Here one product gives all three, and queries and keys are
turned where they lie. For inference alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from jcb_engine.encoder.backbones.attention import attend
from jcb_engine.encoder.backbones.linear import linear
from jcb_engine.encoder.backbones.packing import Packed


def use_rotary_attention(model: Any) -> None:
    """Replace attention and positions of a JinaEmbeddingsV3Model in place; its other layers stay."""
    model.rotary_emb = RotaryPositions(model.rotary_emb.inv_freq)
    for layer in model.layers:
        layer.self_attn = RotaryAttention(layer.self_attn)


class RotaryPositions(nn.Module):
    """frequencies: [head_dim / 2], turns per position of each pair of dimensions, in radians."""

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, hidden_states: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [tokens, 1, 1, head_dim / 2] for positions [1, tokens], in the dtype of the states."""
        angles = position_ids[0, :, None].float() * self.frequencies.float()
        return angles.cos().to(hidden_states.dtype)[:, None, None], angles.sin().to(hidden_states.dtype)[:, None, None]


class RotaryAttention(nn.Module):
    """attention: the library's module, whose weights are taken over."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        with torch.no_grad():
            weight = torch.cat([part.weight for part in parts])
            bias = torch.cat([part.bias for part in parts])
        self._project = linear(weight, bias)
        self._output = linear(attention.o_proj.weight.detach(), attention.o_proj.bias.detach())
        self._head_dim, self._scale = int(attention.head_dim), float(attention.scaling)

    def forward(
        self, hidden_states: Tensor, *, position_embeddings: tuple[Tensor, Tensor], packed: Packed, **_: object
    ) -> tuple[Tensor, None]:
        """[1, tokens, hidden] in and out, as the library's layer calls it."""
        tokens = hidden_states.shape[1]
        projected = self._project(hidden_states[0]).view(tokens, 3, -1, self._head_dim)
        turn(projected[:, :2], *position_embeddings)
        query, key, value = projected.unbind(1)
        return self._output(attend(query, key, value, packed, scale=self._scale).flatten(1))[None], None


def turn(vectors: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Turn vectors [..., head_dim] in place: dimension i and i + head_dim / 2 are a pair, by its own angle."""
    first, second = vectors.chunk(2, dim=-1)
    turned = torch.mul(first, cosines).addcmul_(second, sines, value=-1)
    second.mul_(cosines).addcmul_(first, sines)
    first.copy_(turned)
