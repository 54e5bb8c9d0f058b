"""From query vectors to ranked documents: candidates, narrowing, scores; wider where too few come out.

A snapshot's own: what `Searcher` asks for hits, and tuning for document numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jcb_engine.codec import ResidualCodec
from jcb_engine.kernels import (
    Backend,
    Candidates,
    CentroidTable,
    Lists,
    Probing,
    ProbingBackend,
    Ranges,
    ScanningBackend,
    Store,
)
from jcb_engine.search.candidates import CandidateSettings, CandidateStage, CentroidProbing
from jcb_engine.search.lists import lists_of
from jcb_engine.search.narrowing import Narrowing
from jcb_engine.search.query import QueryVectors, blocks_of_tokens
from jcb_engine.search.ranking import Ranking, rank
from jcb_engine.search.stopping import Stop
from jcb_engine.search.subset import Subset
from jcb_engine.types import Float32Array, Int64Array, Uint32Array

# Scores of an exact search, or a GPU's sums of a document and query, that are held together: 64 MB.
_SCORES_AT_ONCE = 2**24
# A sparse subset of up to so many times the pool is narrowed as a whole. What the nearest centroids hold of it is too
# little to choose from, and centroid-only MaxSim of 1,000 documents takes .4 ms (160 tokens each, 2 cores, AVX-512).
_POOLS_NARROWED = 16
_WIDEST_PROBING = 8  # times the probes, where a subset leaves a fraction of every posting list


class Cascade:
    """The stages of a search over one store."""

    def __init__(self, backend: Backend, store: Store, codec: ResidualCodec, stage: CandidateStage) -> None:
        self._backend, self._store, self._codec = backend, store, codec
        self._narrowing = Narrowing(backend, store, codec.arrays)
        self.stage = stage
        # Asked once: looking at a protocol takes as long as scoring some hundred documents.
        self._scanner = backend if isinstance(backend, ScanningBackend) else None
        self._prober = backend if isinstance(backend, ProbingBackend) else None

    def ranked(
        self,
        encoded: QueryVectors,
        k: int,
        settings: CandidateSettings,
        groups: Uint32Array | None,
        exact: bool,
        among: Subset,
        may_scan: bool = False,
    ) -> Iterator[tuple[Ranking, bool]]:
        """For each query what was ranked, and whether all documents of `among` were. k: as `Subset.bounded` has it.

        may_scan: everything may be searched instead, where the backend expects that to take little.
        """
        exact = exact or self._all_are_scored(settings, among)
        scanning = self._scanning(exact, may_scan, groups, among)
        probing = None if exact else self._probing(groups, among)
        most_queries = len(encoded)
        if exact or scanning is not None or probing is not None:
            scored = len(among) if scanning is None and probing is None else self._store.documents
            most_queries = max(1, _SCORES_AT_ONCE // max(1, scored))
        rotated = self._codec.rotate(encoded.vectors, self._backend)
        for first, last in blocks_of_tokens(encoded.offsets, most_queries):
            offsets = encoded.offsets[first : last + 1]
            vectors = np.ascontiguousarray(rotated[offsets[0] : offsets[-1]])
            offsets = offsets - offsets[0]
            found = None
            if scanning is not None:
                found = scanning.best_of_all(self._store, vectors, offsets, k, among.mask)
            if found is not None:
                yield from ((Ranking(documents, scores), True) for documents, scores in found)
            else:
                yield from self._rankings(vectors, offsets, k, settings, groups, exact, among)

    def _scanning(
        self, exact: bool, may_scan: bool, groups: Uint32Array | None, among: Subset
    ) -> ScanningBackend | None:
        """The backend, where it searches everything by itself. Of a sparse subset less would do."""
        backend = self._scanner
        if backend is None or groups is not None or among.is_sparse:
            return None
        return backend if exact or (may_scan and backend.scan_is_cheap(self._store)) else None

    def _rankings(
        self,
        queries: Float32Array,
        offsets: Int64Array,
        k: int,
        settings: CandidateSettings,
        groups: Uint32Array | None,
        exact: bool,
        among: Subset,
    ) -> list[tuple[Ranking, bool]]:
        if exact:
            everything = self._everything(len(offsets) - 1, among)
            table = self._backend.centroid_scores(self._store, queries)
            rankings = self._ranked(queries, offsets, table, everything, k, groups, proven=True)
            return [(ranking, True) for ranking in rankings]
        found = self._probed(queries, offsets, k, settings, groups, among)
        if found is None:
            table = self._backend.centroid_scores(self._store, queries, "fast")
            lists, stop = self._found(queries, offsets, table, settings, among)
            found = self._ranked(queries, offsets, table, lists, k, groups, stop if groups is None else None)
        answers = []
        for number, ranking in enumerate(found):
            if self._too_few(ranking, k, groups):
                own = queries[offsets[number] : offsets[number + 1]]
                answers.append(self._widened(own, k, settings, groups, among))
            else:
                answers.append((ranking, False))
        return answers

    def _probed(
        self,
        queries: Float32Array,
        offsets: Int64Array,
        k: int,
        settings: CandidateSettings,
        groups: Uint32Array | None,
        among: Subset,
    ) -> list[Ranking] | None:
        """What a backend finds that does all of it, scoring included; None where it does not, or not this.

        Such a backend scores without the adaptive stop: it would wait for the host longer than it scores.
        """
        backend = self._probing(groups, among)
        if backend is None:
            return None
        probing = Probing(settings.probes, settings.pool, settings.documents)
        found = backend.best_among_probed(self._store, queries, offsets, k, probing, among.mask)
        return None if found is None else [Ranking(documents, scores) for documents, scores in found]

    def _probing(self, groups: Uint32Array | None, among: Subset) -> ProbingBackend | None:
        """The backend, where it does all of this by itself. In a sparse subset the first stage is another."""
        stage = self.stage
        if self._prober is None or groups is not None or among.is_sparse:
            return None
        return self._prober if isinstance(stage, CentroidProbing) and stage.compares_all else None

    def _found(
        self,
        queries: Float32Array,
        offsets: Int64Array,
        table: CentroidTable,
        settings: CandidateSettings,
        among: Subset,
    ) -> tuple[Lists, Stop | None]:
        """The documents to score, and when to stop scoring them."""
        pool = self._pool(queries, offsets, table, settings, among)
        narrowed = self._narrowing.keep(pool, table, offsets, settings.documents)
        if settings.margin is None or narrowed.scores is None:
            return narrowed.lists, None
        margins = (settings.margin * np.diff(offsets)).astype(np.float32)
        return narrowed.lists, Stop(narrowed.scores, margins)

    def _pool(
        self,
        queries: Float32Array,
        offsets: Int64Array,
        table: CentroidTable,
        settings: CandidateSettings,
        among: Subset,
    ) -> Lists:
        """The documents to choose from: the stage's, or all of a subset that leaves the stage little to find."""
        if not among.is_sparse:
            return self.stage.find(queries, offsets, table, settings, among.mask)
        if self._narrowing.narrows and len(among) <= _POOLS_NARROWED * settings.pool:
            return lists_of([among.numbers().astype(np.uint32)] * (len(offsets) - 1))
        wider = replace(settings, probes=settings.probes * min(_WIDEST_PROBING, among.total // len(among)))
        return self.stage.find(queries, offsets, table, wider, among.mask)

    @staticmethod
    def _all_are_scored(settings: CandidateSettings, among: Subset) -> bool:
        """Whether nothing is missed for no more work; in a sparse subset, for about as much."""
        return (settings.pool if among.is_sparse else settings.documents) >= len(among)

    def _widened(
        self, query: Float32Array, k: int, settings: CandidateSettings, groups: Uint32Array | None, among: Subset
    ) -> tuple[Ranking, bool]:
        """One query again, wider and wider, until there are k hits or everything was scored."""
        offsets = np.array([0, len(query)], dtype=np.int64)
        table = self._backend.centroid_scores(self._store, query, "fast")
        while not self._all_are_scored(settings, among):
            settings = settings.wider()
            lists, _ = self._found(query, offsets, table, settings, among)
            ranking = self._ranked(query, offsets, table, lists, k, groups)[0]
            if not self._too_few(ranking, k, groups):
                return ranking, False
        if not table.is_exact:
            table = self._backend.centroid_scores(self._store, query)
        return self._ranked(query, offsets, table, self._everything(1, among), k, groups, proven=True)[0], True

    def _ranked(
        self,
        queries: Float32Array,
        offsets: Int64Array,
        table: CentroidTable,
        candidates: Candidates,
        k: int,
        groups: Uint32Array | None,
        stop: Stop | None = None,
        proven: bool = False,
    ) -> list[Ranking]:
        # Only an exact answer needs the proof that nothing was passed over: some hits are not among candidates anyway.
        return rank(self._backend, self._store, queries, offsets, table, candidates, k, groups, stop, proven)

    def _too_few(self, ranking: Ranking, k: int, groups: Uint32Array | None) -> bool:
        if groups is None:
            return len(ranking.documents) < k
        return len(np.unique(groups[ranking.documents])) < k

    def _everything(self, queries: int, among: Subset) -> Candidates:
        """All documents that may be hits."""
        if among.mask is None:
            return Ranges(np.array([0], np.int64), np.array([self._store.documents], np.int64))
        numbers = among.numbers()
        list_offsets = np.arange(queries + 1, dtype=np.int64) * len(numbers)
        return Lists(np.tile(numbers.astype(np.uint32), queries), list_offsets)
