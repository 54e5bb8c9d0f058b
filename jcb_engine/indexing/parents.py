"""Which documents are passages of the same parent."""

from __future__ import annotations

from array import array

import numpy as np
import xxhash

from jcb_engine.types import Document, Uint32Array

_PARENT = np.dtype([("high", "<u8"), ("low", "<u8")])


class ParentRanks:
    """One number per document, equal for passages of one parent: 16 bytes of memory per document while adding.

    A document without a parent is its own. Parents are told apart by a 128-bit hash of their id.
    """

    def __init__(self) -> None:
        self._keys = array("Q")

    def append(self, document: Document) -> None:
        self._keys.extend(_key(document))

    def replace(self, row: int, document: Document) -> None:
        self._keys[2 * row : 2 * row + 2] = array("Q", _key(document))

    def ranks(self) -> Uint32Array:
        """[N] uint32."""
        keys = np.frombuffer(self._keys, dtype=_PARENT) if self._keys else np.zeros(0, _PARENT)
        return np.unique(keys, return_inverse=True)[1].astype(np.uint32)


def _key(document: Document) -> tuple[int, int]:
    name = document.id if document.parent is None else document.parent
    digest = xxhash.xxh3_128_intdigest(name.encode("utf-8", "surrogatepass"))
    return digest >> 64, digest & (2**64 - 1)
