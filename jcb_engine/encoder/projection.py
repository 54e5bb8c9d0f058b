"""From hidden states to token vectors: the head of a dimension, and the heads that a checkpoint offers.

The heads of Jina-ColBERT-v2 are separate matrices trained side by side on one backbone (paper, 3.3 and 5.3): a smaller
vector is another projection, not the beginning of a larger one. Only a model that says it was trained so (MRL-E) has
its head cut down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jcb_engine.errors import InputError

ACTIVATIONS: Mapping[str, nn.Module] = {
    f"{type(module).__module__}.{type(module).__qualname__}": module
    for module in (nn.Identity(), nn.Tanh(), nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Sigmoid())
}


@dataclass(frozen=True, slots=True)
class Dense:
    """One layer of a head: activation(weight @ x + bias) + residual @ x.

    weight: [outputs, inputs]; bias: [outputs] or None. residual: [outputs, inputs], "input" for x itself, or None.
    activation: a key of ACTIVATIONS.
    """

    weight: Tensor
    bias: Tensor | None = None
    residual: Tensor | str | None = None
    activation: str = "torch.nn.modules.linear.Identity"

    def __call__(self, inputs: Tensor) -> Tensor:
        output: Tensor = ACTIVATIONS[self.activation](F.linear(inputs, self.weight, self.bias))
        if self.residual is None:
            return output
        return output + (inputs if isinstance(self.residual, str) else F.linear(inputs, self.residual))

    def to(self, device: torch.device, dtype: torch.dtype) -> Dense:
        """The same layer there."""
        bias = None if self.bias is None else self.bias.to(device, dtype)
        residual = self.residual.to(device, dtype) if isinstance(self.residual, Tensor) else self.residual
        return Dense(self.weight.to(device, dtype), bias, residual, self.activation)

    def parts(self) -> list[Tensor]:
        """Its tensors, in a fixed order."""
        return [part for part in (self.weight, self.bias, self.residual) if isinstance(part, Tensor)]


@dataclass(frozen=True, slots=True)
class Head:
    """Layers, one after the other, then L2 normalisation where `normalized`."""

    layers: tuple[Dense, ...]
    normalized: bool = True

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.layers[-1].weight.shape[0])

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: [tokens, hidden] -> [tokens, dim] float32."""
        vectors = hidden
        for layer in self.layers:
            vectors = layer(vectors)
        vectors = vectors.float()
        return F.normalize(vectors, dim=1) if self.normalized else vectors

    def to(self, device: torch.device, dtype: torch.dtype) -> Head:
        """The same head there."""
        return Head(tuple(layer.to(device, dtype) for layer in self.layers), self.normalized)

    def sha256(self) -> str:
        """Hash of dtypes, shapes and bytes of all its tensors."""
        digest = hashlib.sha256()
        for layer in self.layers:
            digest.update(layer.activation.encode())
            for part in layer.parts():
                digest.update(f"{part.dtype}{list(part.shape)}".encode())
                digest.update(part.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class Heads:
    """The heads of a checkpoint, by dimension."""

    def __init__(self, heads: Sequence[Head], default: int, truncatable: Sequence[int] = ()) -> None:
        """default: the dimension without a choice. truncatable: dimensions that the default may be cut down to."""
        self._heads = {head.dim: head for head in heads}
        self.default = default
        self._truncatable = tuple(dim for dim in truncatable if dim < default)

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions on offer, smallest first."""
        return tuple(sorted({*self._heads, *self._truncatable}))

    @property
    def own(self) -> Mapping[int, Head]:
        """The heads that have matrices of their own."""
        return self._heads

    def head(self, dim: int, source: str) -> Head:
        """The head of a dimension. Raises InputError with the dimensions on offer where it is none of them."""
        if dim in self._heads:
            return self._heads[dim]
        if dim in self._truncatable:
            return _cut_down(self._heads[self.default], dim)
        known = ", ".join(map(str, self.dims))
        raise InputError(
            f"'{source}' has no head of {dim} dimensions; it has {known}. A smaller vector is another projection, so "
            "none is made by cutting one down"
        )


def _cut_down(head: Head, dim: int) -> Head:
    """The first `dim` dimensions of a head that was trained for that."""
    *first, last = head.layers
    residual = last.residual[:dim] if isinstance(last.residual, Tensor) else last.residual
    cut = Dense(last.weight[:dim], None if last.bias is None else last.bias[:dim], residual, last.activation)
    return Head((*first, cut), head.normalized)
