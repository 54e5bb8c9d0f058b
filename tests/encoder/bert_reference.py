"""BERT in float64 numpy, from the paper (arXiv:1810.04805) and "Attention is all you need", one text at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_erf = np.vectorize(math.erf)


def hidden_states(weights: Mapping[str, Array], token_ids: list[int], layers: int = 6, heads: int = 12) -> Array:
    """Hidden states [tokens, hidden] of the last layer."""
    states = (
        weights["embeddings.word_embeddings.weight"][token_ids]
        + weights["embeddings.position_embeddings.weight"][: len(token_ids)]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    states = _norm(weights, "embeddings.LayerNorm", states)
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        attended = _linear(weights, f"{name}.attention.output.dense", _attention(weights, name, states, heads))
        states = _norm(weights, f"{name}.attention.output.LayerNorm", states + attended)
        inner = _linear(weights, f"{name}.intermediate.dense", states)
        inner = inner * 0.5 * (1 + _erf(inner / math.sqrt(2)))
        states = _norm(weights, f"{name}.output.LayerNorm", states + _linear(weights, f"{name}.output.dense", inner))
    return states


def _attention(weights: Mapping[str, Array], layer: str, states: Array, heads: int) -> Array:
    query, key, value = (
        _linear(weights, f"{layer}.attention.self.{part}", states) for part in ("query", "key", "value")
    )
    size = states.shape[1] // heads
    outputs = []
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        scores = query[:, columns] @ key[:, columns].T / math.sqrt(size)
        exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
        outputs.append(exponents / exponents.sum(axis=1, keepdims=True) @ value[:, columns])
    return np.concatenate(outputs, axis=1)


def _linear(weights: Mapping[str, Array], name: str, inputs: Array) -> Array:
    return inputs @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Mapping[str, Array], name: str, inputs: Array) -> Array:
    centred = inputs - inputs.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
