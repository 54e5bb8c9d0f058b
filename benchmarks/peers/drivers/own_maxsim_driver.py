"""Our fp32 loop over uncompressed vectors: `maxsim` of the native kernels."""

from __future__ import annotations

import numpy as np
import protocol
from uncompressed import Uncompressed, no_build

from jcb_engine.kernels import select


class Opened(Uncompressed):
    def keep(self, documents: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        self._backend = select("cpu", self._threads)
        return np.concatenate(documents), np.cumsum([0, *(len(document) for document in documents)])

    def scores(self, query: np.ndarray, kept: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return self._backend.maxsim(query, np.array([0, len(query)]), *kept)[0]


if __name__ == "__main__":
    protocol.main(no_build, Opened)
