"""Searcher: a snapshot of an index that answers queries, from any number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Literal, Self

import numpy as np

from jcb_engine.encoder import Encoder, EncoderRecord, Token
from jcb_engine.errors import EncoderMismatchError, InputError
from jcb_engine.kernels import Backend, Candidates, CentroidTable, Lists, Ranges, select
from jcb_engine.search.candidates import CandidateSettings, CandidateStage, CentroidProbing, MuveraStage
from jcb_engine.search.explain import Explanation, explain_match
from jcb_engine.search.lookup import DocumentLookup
from jcb_engine.search.narrowing import Narrowing
from jcb_engine.search.query import Query, QueryVectors, check_query, encode_queries
from jcb_engine.search.ranking import Ranking, rank
from jcb_engine.search.stored_vectors import (
    decode_document,
    deleted_mask,
    load_codec,
    parent_groups,
    segment_arrays,
)
from jcb_engine.storage import IndexInfo, Snapshot, describe_index
from jcb_engine.types import EncoderSource, Float32Array, Hits, Int64Array, Uint32Array

# Stated, conservative defaults for an index that is not tuned.
DEFAULT_PROBES = 16
DEFAULT_CANDIDATES = 256
CANDIDATES_PER_HIT = 8
_MOST = 2**31  # more candidates or probes than any index has
_SCORES_AT_ONCE = 2**24  # scores of an exact search that are held together: 64 MB
_TOKENS_AT_ONCE = 1_024  # query tokens of a batch that are scored in one call: bounds the table of centroid scores


class Searcher:
    """A snapshot: it keeps answering from the version it opened, whatever is committed later."""

    def __init__(
        self,
        snapshot: Snapshot,
        path: str,
        backend: Backend,
        encoder: EncoderSource | None,
        candidates: str | None = None,
    ) -> None:
        self._snapshot, self._path, self._backend = snapshot, path, backend
        self._codec = load_codec(snapshot)
        self._store = backend.prepare(self._codec.arrays, [segment_arrays(s) for s in snapshot.segments])
        self._candidates = _first_stage(snapshot, candidates)
        self._stage = self._new_stage()
        self._narrowing = Narrowing(backend, self._store, self._codec.arrays)
        self._lookup = DocumentLookup(snapshot.segments)
        self._mask = deleted_mask(snapshot.segments)
        self._encoder: Encoder | None = None
        self._encoder_lock = Lock()
        record = snapshot.manifest.encoder
        self._record = None if record is None else EncoderRecord.from_json(record)
        if encoder is not None:
            self._encoder = encoder if isinstance(encoder, Encoder) else Encoder(encoder, dim=self.dim)
            self._check_encoder(self._encoder)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: EncoderSource | None = None,
        backend: str | None = None,
        threads: int | None = None,
        candidates: str | None = None,
    ) -> Searcher:
        """Open the newest version of the index at `path`.

        encoder: for text queries where the index does not say how to load one (vectors of one's own, an encoder
            object): what `Encoder` takes, or an Encoder. It must be the one the index was made with.
        backend: "cpu" or "reference"; None takes the best here. threads: of the native kernels; None for all.
        candidates: how documents worth scoring are found: "centroids", "muvera", or None: as the index says.
        Raises IndexNotFoundError, NotAnIndexError, CorruptIndexError, EncoderMismatchError.
        """
        snapshot = Snapshot.open(path)
        try:
            return cls(snapshot, str(path), select(backend, threads), encoder, candidates)
        except BaseException:
            snapshot.close()
            raise

    def _new_stage(self) -> CandidateStage:
        settings = self._snapshot.manifest.settings
        if self._candidates == "muvera":
            return MuveraStage(self._backend, self._snapshot.segments, settings.get("muvera"), self.dim)
        factory = str(settings.get("faiss_factory", "Flat"))
        return CentroidProbing(self._backend, self._store, self._codec.arrays, factory)

    @cached_property
    def _parent_groups(self) -> Uint32Array:
        return parent_groups(self._snapshot.segments)

    @property
    def dim(self) -> int:
        """Dimensions of the stored token vectors, and of query vectors."""
        return self._codec.dim

    @property
    def version(self) -> int:
        return self._snapshot.version

    @property
    def backend(self) -> str:
        return self._backend.name

    @property
    def document_count(self) -> int:
        return self._store.documents

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        exact: bool = False,
        by: Literal["parent"] | None = None,
        probes: int | None = None,
        candidates: int | None = None,
    ) -> Hits:
        """The k best documents for a text, or for query vectors [tokens, dim].

        exact: score every document. by="parent": k unique parents, each with its best passage.
        probes: centroids looked up per query token; candidates: documents scored, the best of a pool 2.5 times as large
        by their centroids (an index of 16 bits has no centroid per token: all of the pool is scored).
        None: DEFAULT_PROBES, and the larger of DEFAULT_CANDIDATES and CANDIDATES_PER_HIT * k; both widen until
        there are k hits, while the corpus has them.
        Raises InputError on k < 1, an empty query, and vectors that do not fit.
        """
        return self.search_batch([query], k, exact=exact, by=by, probes=probes, candidates=candidates)[0]

    def search_batch(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        exact: bool = False,
        by: Literal["parent"] | None = None,
        probes: int | None = None,
        candidates: int | None = None,
    ) -> list[Hits]:
        """`search` for many queries, scored together; the answers are the same."""
        settings = _checked_settings(k, by, probes, candidates)
        if probes is not None and self._candidates == "muvera":
            raise InputError(
                "probes are of centroids, and candidates are found by MUVERA's encodings here: leave it out"
            )
        if not isinstance(queries, (list, tuple)):
            raise InputError(f"search_batch takes a list of queries, not {type(queries).__name__}; or use search")
        for number, query in enumerate(queries):
            try:
                check_query(query, self.dim)
            except InputError as error:
                if len(queries) == 1:
                    raise
                raise InputError(f"query {number} of the batch: {error}") from error
        if not queries:
            return []
        needs_encoder = any(isinstance(query, str) for query in queries)
        encoded = encode_queries(queries, self.encoder() if needs_encoder else None, self.dim)
        return self.search_encoded(encoded, k, settings, exact=exact, by_parent=by == "parent")

    def search_encoded(
        self, encoded: QueryVectors, k: int, settings: CandidateSettings, *, exact: bool, by_parent: bool
    ) -> list[Hits]:
        """Answer queries that are vectors already, a bounded number of query tokens at a time."""
        groups = self._parent_groups if by_parent else None
        # The best k are all there is where k is larger; what is passed on must fit a machine's integers.
        k = min(k, max(1, self._store.documents))
        most_queries = max(1, _SCORES_AT_ONCE // max(1, self._store.documents)) if exact else len(encoded)
        rotated = self._codec.rotate(encoded.vectors, self._backend)
        answers: list[Hits] = []
        for first, last in _blocks(encoded.offsets, most_queries):
            offsets = encoded.offsets[first : last + 1]
            vectors = np.ascontiguousarray(rotated[offsets[0] : offsets[-1]])
            rankings = self._rankings(vectors, offsets - offsets[0], k, settings, groups, exact)
            for number, (ranking, was_exact) in enumerate(rankings, start=first):
                hits = self._lookup.hits(ranking.documents, ranking.scores, k, groups)
                answers.append(Hits(hits, was_exact, None, self.backend, self.version, encoded.tokens_cut[number]))
        return answers

    def _rankings(
        self,
        queries: Float32Array,
        offsets: Int64Array,
        k: int,
        settings: CandidateSettings,
        groups: Uint32Array | None,
        exact: bool,
    ) -> list[tuple[Ranking, bool]]:
        count = len(offsets) - 1
        table = self._backend.centroid_scores(self._store, queries)
        if exact or settings.documents >= self._store.documents:  # then it is no more work, and nothing is missed
            return [
                (ranking, True) for ranking in self._ranked(queries, offsets, table, self._everything(count), k, groups)
            ]
        lists = self._found(queries, offsets, table, settings)
        found = self._ranked(queries, offsets, table, lists, k, groups)
        answers = []
        for number, ranking in enumerate(found):
            if self._too_few(ranking, k, groups):
                own = queries[offsets[number] : offsets[number + 1]]
                answers.append(self._widened(own, k, settings, groups))
            else:
                answers.append((ranking, False))
        return answers

    def _found(
        self, queries: Float32Array, offsets: Int64Array, table: CentroidTable, settings: CandidateSettings
    ) -> Lists:
        """The documents to score."""
        pool = self._stage.find(queries, offsets, table, settings, self._mask)
        return self._narrowing.keep(pool, table, offsets, settings.documents)

    def _widened(
        self, query: Float32Array, k: int, settings: CandidateSettings, groups: Uint32Array | None
    ) -> tuple[Ranking, bool]:
        """One query again, wider and wider, until there are k hits or everything was scored."""
        offsets = np.array([0, len(query)], dtype=np.int64)
        table = self._backend.centroid_scores(self._store, query)
        while settings.documents < self._store.documents:
            settings = settings.wider()
            lists = self._found(query, offsets, table, settings)
            ranking = self._ranked(query, offsets, table, lists, k, groups)[0]
            if not self._too_few(ranking, k, groups):
                return ranking, False
        return self._ranked(query, offsets, table, self._everything(1), k, groups)[0], True

    def _ranked(
        self,
        queries: Float32Array,
        offsets: Int64Array,
        table: CentroidTable,
        candidates: Candidates,
        k: int,
        groups: Uint32Array | None,
    ) -> list[Ranking]:
        return rank(self._backend, self._store, queries, offsets, table, candidates, k, groups)

    def _too_few(self, ranking: Ranking, k: int, groups: Uint32Array | None) -> bool:
        if groups is None:
            return len(ranking.documents) < k
        return len(np.unique(groups[ranking.documents])) < k

    def _everything(self, queries: int) -> Candidates:
        """All documents that are not deleted."""
        if self._mask is None:
            return Ranges(np.array([0], np.int64), np.array([self._store.documents], np.int64))
        allowed = np.flatnonzero(np.unpackbits(self._mask, bitorder="little")[: self._store.documents])
        list_offsets = np.arange(queries + 1, dtype=np.int64) * len(allowed)
        return Lists(np.tile(allowed.astype(np.uint32), queries), list_offsets)

    def explain(self, query: Query, document_id: str) -> Explanation:
        """Which query token matched which token of a document; the parts add up to its score.

        Raises InputError where no document has that id, or it has no vectors.
        """
        return self.explain_many(query, [document_id])[0]

    def explain_many(self, query: Query, document_ids: Sequence[str]) -> list[Explanation]:
        """`explain` for several documents; the query is encoded once."""
        check_query(query, self.dim)
        encoder = self.encoder() if isinstance(query, str) else self._encoder
        encoded = encode_queries([query], encoder, self.dim)
        vectors = self._codec.rotate(encoded.vectors, self._backend)
        tokens = encoder.query_tokens(query) if encoder is not None and isinstance(query, str) else None
        return [self._explain(vectors, tokens, name, encoder) for name in document_ids]

    def _explain(
        self, query: Float32Array, query_tokens: Sequence[Token] | None, document_id: str, encoder: Encoder | None
    ) -> Explanation:
        number = self._lookup.number_of(document_id)
        if number is None:
            raise InputError(f"no document of this index has the id {document_id!r}")
        segment, row = self._lookup.place(number)
        vectors = decode_document(self._codec, self._backend, segment, row)
        if len(vectors) == 0:
            raise InputError(f"document {document_id!r} has no token vectors: it was empty, so it is never a hit")
        text = self._lookup.get([number])[0].full_text
        return explain_match(
            self._backend,
            document_id,
            query,
            vectors,
            query_tokens,
            encoder.document_tokens(text) if encoder is not None and text else None,
        )

    def encoder(self) -> Encoder:
        """The query encoder, loaded when first needed. Raises InputError where the index does not name one."""
        with self._encoder_lock:
            if self._encoder is None:
                if self._record is None:
                    raise InputError(
                        "this index was made from vectors and names no encoder: pass query vectors, or name an encoder "
                        "(encoder=..., --model)"
                    )
                self._encoder = Encoder.from_record(self._record)
            return self._encoder

    def _check_encoder(self, encoder: Encoder) -> None:
        if encoder.dim != self.dim:
            raise EncoderMismatchError(
                f"the encoder gives {encoder.dim} dimensions, the index holds {self.dim}: load it with dim={self.dim}"
            )
        differences = [] if self._record is None else self._record.differences(encoder.record)
        if differences:
            raise EncoderMismatchError(
                f"this is not the encoder that the index was made with: {'; '.join(differences)}"
            )

    def info(self) -> IndexInfo:
        return describe_index(self._snapshot, self._path)

    def close(self) -> None:
        self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _first_stage(snapshot: Snapshot, asked: str | None) -> str:
    if asked not in (None, "centroids", "muvera"):
        raise InputError(f"candidates is {asked!r}; it must be 'centroids', 'muvera' or left out")
    return asked or ("muvera" if snapshot.manifest.settings.get("muvera") is not None else "centroids")


def _checked_settings(k: int, by: object, probes: int | None, candidates: int | None) -> CandidateSettings:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError(f"k is {k!r}; it must be a whole number of at least 1")
    if by not in (None, "parent"):
        raise InputError(f"by is {by!r}; it must be 'parent' or left out")
    for name, value in (("probes", probes), ("candidates", candidates)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1):
            raise InputError(f"{name} is {value!r}; it must be a whole number of at least 1")
    wanted = candidates if candidates is not None else max(DEFAULT_CANDIDATES, CANDIDATES_PER_HIT * int(k))
    return CandidateSettings(min(probes or DEFAULT_PROBES, _MOST), min(int(wanted), _MOST))


def _blocks(offsets: Int64Array, most_queries: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `most_queries` queries, of at most _TOKENS_AT_ONCE tokens together; a longer query is alone."""
    first, queries = 0, len(offsets) - 1
    while first < queries:
        last = int(np.searchsorted(offsets, offsets[first] + _TOKENS_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), first + most_queries, queries)
        yield first, last
        first = last
