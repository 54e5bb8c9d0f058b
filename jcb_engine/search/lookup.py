"""From document numbers of a store to the documents, and the final order of hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from jcb_engine.storage import Segment
from jcb_engine.types import Document, Float32Array, Hit, Int64Array, Uint32Array

_Found = TypeVar("_Found")


class DocumentLookup:
    """Documents of several segments, numbered through."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._starts = np.cumsum([0, *(segment.document_count for segment in segments)], dtype=np.int64)

    def place(self, document: int) -> tuple[Segment, int]:
        """The segment of a document and its row there."""
        number = int(np.searchsorted(self._starts, document, side="right")) - 1
        return self._segments[number], document - int(self._starts[number])

    def ids(self, documents: Sequence[int]) -> list[str]:
        return self._fetched(documents, lambda segment, rows: segment.documents.ids(rows))

    def get(self, documents: Sequence[int]) -> list[Document]:
        return self._fetched(documents, lambda segment, rows: segment.documents.get(rows))

    def _fetched(self, documents: Sequence[int], fetch: Callable[[Segment, list[int]], list[_Found]]) -> list[_Found]:
        """What `fetch` gives for each document, asked for segment by segment."""
        if len(self._segments) == 1:
            return fetch(self._segments[0], [int(number) for number in documents])
        numbers = np.asarray(documents, dtype=np.int64)
        homes = np.searchsorted(self._starts, numbers, side="right") - 1
        found: dict[int, _Found] = {}
        for home in np.unique(homes).tolist():
            own = numbers[homes == home]
            rows = (own - self._starts[home]).tolist()
            found.update(zip(own.tolist(), fetch(self._segments[home], rows), strict=True))
        return [found[int(number)] for number in numbers]

    def number_of(self, document_id: str) -> int | None:
        """The newest document of that id that is not deleted, or None."""
        return self.numbers_of([document_id])[0]

    def numbers_of(self, ids: Sequence[str]) -> list[int | None]:
        """For each id the newest document that has it and is not deleted, or None."""
        found: list[int | None] = [None] * len(ids)
        for segment, start in zip(self._segments, self._starts.tolist(), strict=False):
            for place, row in enumerate(segment.documents.rows_of(ids)):
                if row is not None and not (segment.tombstones is not None and segment.tombstones[row]):
                    found[place] = int(start + row)
        return found

    def hits(self, documents: Uint32Array, scores: Float32Array, k: int, groups: Uint32Array | None) -> tuple[Hit, ...]:
        """The best k by score, then by id (bytewise), also where the cut at k falls among equal scores.

        groups: [N] group of each document; one hit per group then, its best document.
        """
        ordered = self._in_order(documents, scores, k, groups)
        found = self.get([number for number, _ in ordered])
        return tuple(
            Hit(
                document.id,
                score,
                rank,
                document.text,
                document.title,
                document.metadata,
                document.parent,
                document.position,
            )
            for rank, (document, (_, score)) in enumerate(zip(found, ordered, strict=True), start=1)
        )

    def best(self, documents: Uint32Array, scores: Float32Array, k: int) -> Int64Array:
        """Numbers of the best k, in the order of hits."""
        return np.array([number for number, _ in self._in_order(documents, scores, k, None)], dtype=np.int64)

    def _in_order(
        self, documents: Uint32Array, scores: Float32Array, k: int, groups: Uint32Array | None
    ) -> list[tuple[int, float]]:
        by_score = np.argsort(-scores, kind="stable")
        documents, scores = documents[by_score], scores[by_score]
        last = _place_of_kth(scores, k, None if groups is None else groups[documents])
        # Documents that tie with the k-th take part, so that ids decide among them.
        contenders = int(np.searchsorted(-scores, -scores[last], side="right")) if len(scores) else 0
        ordered = self._ties_by_id(documents[:contenders].tolist(), scores[:contenders].tolist())
        chosen, seen = [], set()
        for number, score in ordered:
            group = number if groups is None else int(groups[number])
            if group not in seen:
                seen.add(group)
                chosen.append((number, score))
        return chosen[:k]

    def _ties_by_id(self, numbers: list[int], scores: list[float]) -> list[tuple[int, float]]:
        """Documents with their scores, sorted by score already; equal ones by id. Ids are read where they decide."""
        found = list(zip(numbers, scores, strict=True))
        if len(set(scores)) == len(scores):
            return found
        ids = dict(zip(numbers, self.ids(numbers), strict=True))
        return sorted(found, key=lambda entry: (-entry[1], ids[entry[0]].encode("utf-8", "surrogatepass")))


def _place_of_kth(scores: Float32Array, k: int, groups: Uint32Array | None) -> int:
    """Place of the k-th hit in descending scores, counting one per group; the last place where there are fewer."""
    if groups is None:
        return min(k, len(scores)) - 1
    first_places = np.sort(np.unique(groups, return_index=True)[1])
    return int(first_places[k - 1]) if len(first_places) >= k else len(scores) - 1
