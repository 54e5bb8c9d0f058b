"""The tensors of a checkpoint, each to be used: what is missing or left over is an error, never a silent mis-load."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from jcb_engine.errors import EncoderError

# Parts of a checkpoint that take no part in token vectors: the pooled output, heads for pretraining, and the numbers
# 0, 1, 2 ... that old versions of transformers saved along.
_NO_PART = re.compile(r"(pooler|lm_head|cls|mlm)\..*|embeddings\.(position_ids|token_type_ids)")
_NAMES_SHOWN = 8


def without_other_parts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an encoder that take part in token vectors, by their names without a prefix."""
    return {name: tensor for name, tensor in tensors.items() if not _NO_PART.fullmatch(name)}


def require_complete(missing: Iterable[str], unexpected: Iterable[str], source: str) -> None:
    """Raises EncoderError with the names where there are any."""
    parts = [
        f"{kind} {_shown(sorted(names))}"
        for kind, names in (("missing", set(missing)), ("not expected", set(unexpected)))
        if names
    ]
    if parts:
        raise EncoderError(
            f"the weights of '{source}' are not those of its config.json: {'; '.join(parts)}; "
            "get a complete copy of the checkpoint"
        )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


class Weights:
    """Tensors by name, on one device and in one dtype, that remember which were taken."""

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
        self._tensors = without_other_parts(tensors)
        self._device, self._dtype = device, dtype
        self._taken: set[str] = set()
        self._missing: list[str] = []
        self._misshapen: list[str] = []

    def take(self, name: str, *shape: int) -> Tensor:
        """One tensor of a shape. What is wrong with it is told by `require_all_taken`."""
        self._taken.add(name)
        tensor = self._tensors.get(name)
        if tensor is None:
            self._missing.append(name)
        elif tensor.shape != shape:
            self._misshapen.append(f"{name} {list(tensor.shape)} instead of {list(shape)}")
        if tensor is None or tensor.shape != shape:
            return torch.empty(shape, device="meta")  # stands in until all is looked at
        return tensor.to(self._device, self._dtype)

    def require_all_taken(self, source: str) -> None:
        """Raises EncoderError with the names of tensors that are missing, left over or of another shape."""
        require_complete(self._missing, self._tensors.keys() - self._taken, source)
        if self._misshapen:
            raise EncoderError(
                f"the weights of '{source}' are not those of its config.json: {_shown(self._misshapen)}; "
                "get a complete copy of the checkpoint"
            )
