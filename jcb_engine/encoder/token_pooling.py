"""Token pooling: the token vectors of a document are clustered, and each cluster becomes its mean.

Source: Clavié, Chaffin and Adams 2024 (arXiv:2409.14683); the clustering is sentence-transformers' (Ward's linkage on
cosine distances; the first token is kept as it is).
"""

from __future__ import annotations

import importlib.util
import math
from functools import cached_property
from typing import Any

import numpy as np

from jcb_engine.errors import InputError, MissingDependencyError
from jcb_engine.types import RaggedEmbeddings

_LIBRARY = "sentence_transformers"


class TokenPooling:
    """So many vectors become one. The library is imported with the first document: queries need none of it."""

    def __init__(self, factor: float) -> None:
        """Raises InputError unless factor is a number above 1."""
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not math.isfinite(factor) or factor <= 1:
            raise InputError(f"token_pooling is {factor!r}; expected a number above 1, such as 2 to halve the vectors")
        self.factor = float(factor)

    def require_library(self) -> None:
        """Raises MissingDependencyError where documents could not be pooled."""
        if importlib.util.find_spec(_LIBRARY) is None:
            raise MissingDependencyError(
                f"token_pooling needs the package {_LIBRARY}; install it with: pip install 'jcb-engine[models]'"
            )

    @cached_property
    def _clustering(self) -> Any:
        self.require_library()
        from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

        return HierarchicalTokenPooling(pool_factor=self.factor)

    def __call__(self, vectors: RaggedEmbeddings) -> RaggedEmbeddings:
        """Fewer vectors for each text, unit length; none stays none."""
        import torch

        arrays = [torch.from_numpy(np.ascontiguousarray(array)) for array in vectors]
        pooled = [self._clustering.pool_one(array).numpy() if len(array) else array.numpy() for array in arrays]
        offsets = np.zeros(len(pooled) + 1, dtype=np.int64)
        np.cumsum([len(array) for array in pooled], out=offsets[1:])
        values = np.concatenate([np.zeros((0, vectors.dim), np.float32), *pooled])
        # how many of the tokens behind a cluster are unknown says nothing of the vectors that are left
        return RaggedEmbeddings(values, offsets, vectors.tokens_cut, None)
