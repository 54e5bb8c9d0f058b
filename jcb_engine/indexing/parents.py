"""Which documents are passages of the same parent."""

from __future__ import annotations

from array import array

import numpy as np
import xxhash

from jcb_engine.types import Document, Uint32Array


class ParentRanks:
    """One number per document, equal for passages of one parent: 16 bytes of memory per document while adding.

    A document without a parent is its own. Parents are told apart by a 128-bit hash of their id.
    """

    def __init__(self) -> None:
        self._keys = array("Q")
        self._any_parent = False

    def append(self, document: Document) -> None:
        self._any_parent |= document.parent is not None
        self._keys.extend(_key(document))

    def replace(self, row: int, document: Document) -> None:
        self._any_parent |= document.parent is not None
        self._keys[2 * row : 2 * row + 2] = array("Q", _key(document))

    def ranks(self) -> Uint32Array:
        """[N] uint32."""
        keys = np.array(self._keys, dtype=np.uint64).reshape(-1, 2)
        if not self._any_parent:  # ids are unique, so every document is alone
            return np.arange(len(keys), dtype=np.uint32)
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        is_new = np.any(keys[order[1:]] != keys[order[:-1]], axis=1)
        ranks = np.empty(len(keys), dtype=np.uint32)
        ranks[order] = np.concatenate([np.zeros(min(1, len(keys)), np.int64), np.cumsum(is_new)])
        return ranks


def _key(document: Document) -> tuple[int, int]:
    name = document.id if document.parent is None else document.parent
    digest = xxhash.xxh3_128_intdigest(name.encode("utf-8", "surrogatepass"))
    return digest >> 64, digest & (2**64 - 1)
