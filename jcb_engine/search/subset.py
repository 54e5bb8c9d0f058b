"""Among which documents to search: all that are not deleted, or some that were chosen.

What is left out is a mask inside every stage and takes no place among candidates. Where it leaves little for the first
stage to find, that looks wider, or is left out (cascade.py); a subset of few documents is searched exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.search.lookup import DocumentLookup
from jcb_engine.search.stored_vectors import deleted_mask
from jcb_engine.storage import Segment
from jcb_engine.types import BoolArray, Document, Int64Array, Uint8Array

_NAMED = 3  # ids in a message


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """Documents of one open index, chosen once (`Searcher.subset`) and searched as often as wanted.

    mask: bitmap, bit d & 7 of byte d >> 3 for document d of the store; None: all of them.
    total: documents of the store, deleted ones included. content: which segments and deletes it is about.
    available: documents that are not deleted.
    """

    mask: Uint8Array | None
    total: int
    content: str
    count: int
    available: int

    def __len__(self) -> int:
        """Documents in it."""
        return self.count

    def bounded(self, k: int) -> int:
        """The best k are all there is where k is larger; what is passed on must fit a machine's integers."""
        return min(k, max(1, self.count))

    @property
    def is_sparse(self) -> bool:
        """Whether it leaves out half of the documents or more."""
        return 2 * self.count <= self.available

    def numbers(self) -> Int64Array:
        """Of the documents in it, ascending."""
        if self.mask is None:
            return np.arange(self.total)
        return np.flatnonzero(np.unpackbits(self.mask, bitorder="little")[: self.total])


def all_documents(segments: Sequence[Segment], content: str) -> Subset:
    """All that are not deleted."""
    total = sum(segment.document_count for segment in segments)
    mask = deleted_mask(segments)
    count = total if mask is None else int(np.unpackbits(mask, bitorder="little")[:total].sum())
    return Subset(mask, total, content, count, count)


def chosen_by_id(everything: Subset, lookup: DocumentLookup, ids: Iterable[str]) -> Subset:
    """Raises InputError where one is no document of the index, or is deleted."""
    if isinstance(ids, str):
        raise InputError(f"a subset takes a list of ids, not one string: [{ids!r}]")
    if not isinstance(ids, Iterable):
        raise InputError(f"a subset takes a list of ids, not {ids!r}")
    names = list(ids)
    numbers = lookup.numbers_of(names)
    unknown = [name for name, number in zip(names, numbers, strict=True) if number is None]
    if unknown:
        more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
        raise InputError(
            f"of {len(names):,} ids no document of this index has {', '.join(map(repr, unknown[:_NAMED]))}{more}; "
            "a document that was split has one id per passage: choose those with where=, by their parent"
        )
    kept = np.zeros(everything.total, bool)
    kept[np.array(numbers, dtype=np.int64)] = True
    return _of(everything, kept)


def chosen_by_test(everything: Subset, segments: Sequence[Segment], test: Callable[[Document], bool]) -> Subset:
    """The documents for which `test` is true: every one is read once. Raises InputError where it is no function."""
    if not callable(test):
        raise InputError(
            f"where is {test!r}; it must be a function that takes a Document and says whether it is wanted"
        )
    kept = np.zeros(everything.total, bool)
    number = 0
    for segment in segments:
        for batch in segment.documents.iterate():
            for document in batch:
                kept[number] = bool(test(document))
                number += 1
    return _of(everything, kept)


def _of(everything: Subset, kept: BoolArray) -> Subset:
    mask = np.packbits(kept, bitorder="little")
    if everything.mask is not None:
        mask &= everything.mask
    count = int(np.unpackbits(mask, bitorder="little").sum())
    return Subset(mask, everything.total, everything.content, count, everything.available)
