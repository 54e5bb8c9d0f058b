"""Searcher: a snapshot of an index that answers queries, from any number of threads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Literal, Self

from jcb_engine.encoder import Encoder, EncoderRecord, Token
from jcb_engine.errors import EncoderMismatchError, InputError
from jcb_engine.kernels import Backend, WarmedBackend, select
from jcb_engine.search.candidates import CandidateSettings, CandidateStage, CentroidProbing, MuveraStage
from jcb_engine.search.cascade import Cascade
from jcb_engine.search.explain import Explanation, explain_match
from jcb_engine.search.lookup import DocumentLookup
from jcb_engine.search.plan import Plan, check_recall, checked_settings, plan_search
from jcb_engine.search.query import Query, QueryVectors, check_query, encode_queries
from jcb_engine.search.stored_vectors import (
    decode_document,
    load_codec,
    parent_groups,
    posting_lengths,
    segment_arrays,
    token_counts,
)
from jcb_engine.search.subset import Subset, all_documents, chosen_by_id, chosen_by_test
from jcb_engine.search.tuning.applied import AppliedTuning
from jcb_engine.search.tuning.queries import DEFAULT_SAMPLE, TuningQueries, passages_as_queries
from jcb_engine.search.tuning.survey import Finding
from jcb_engine.search.tuning.tune import Tuned, machine_name, measure
from jcb_engine.storage import (
    IndexInfo,
    Snapshot,
    TuningCurve,
    check_tunable,
    describe_index,
    publish_tuning,
)
from jcb_engine.storage.manifest import creation_time
from jcb_engine.storage.tuning import short_text
from jcb_engine.types import Document, EncoderSource, Float32Array, Hits, Int64Array, Uint32Array

_log = logging.getLogger(__name__)

_ALL = CandidateSettings(1, 1)  # stands where everything is scored


class Searcher:
    """A snapshot: it keeps answering from the version it opened, whatever is committed later."""

    def __init__(
        self,
        snapshot: Snapshot,
        path: str,
        backend: Backend,
        encoder: EncoderSource | None,
        first_stage: str | None = None,
    ) -> None:
        self._snapshot, self._path, self._backend = snapshot, path, backend
        self._codec = load_codec(snapshot)
        self._store = backend.prepare(self._codec.arrays, [segment_arrays(s) for s in snapshot.segments])
        self._everything = all_documents(snapshot.segments, snapshot.manifest.content)
        stage = self._new_stage(_first_stage(snapshot, first_stage))
        self._cascade = Cascade(backend, self._store, self._codec, stage)
        self._lookup = DocumentLookup(snapshot.segments)
        self._tuning = AppliedTuning(snapshot.manifest.tuning, self._cascade.stage.name, snapshot.manifest.content)
        self._encoder: Encoder | None = None
        self._encoder_lock = Lock()
        record = snapshot.manifest.encoder
        self._record = None if record is None else EncoderRecord.from_json(record)
        if encoder is not None:
            self._encoder = encoder if isinstance(encoder, Encoder) else Encoder(encoder, dim=self.dim)
            self._check_encoder(self._encoder)
        if isinstance(backend, WarmedBackend):  # last: it may take seconds, which no error should wait for
            backend.warm(self._store)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: EncoderSource | None = None,
        backend: str | None = None,
        threads: int | None = None,
        device: str | None = None,
        first_stage: str | None = None,
    ) -> Searcher:
        """Open the newest version of the index at `path`.

        encoder: for text queries where the index does not say how to load one (vectors of one's own, an encoder
            object): what `Encoder` takes, or an Encoder. It must be the one the index was made with.
        backend: "cpu", "cuda", "triton" or "reference" (see kernels.select); None takes the best for the device.
            threads: of the native kernels; None for all. device: "cpu", "cuda" or "cuda:N"; None is the processor
            unless the backend runs on a GPU, which holds a copy of the index's codes (in pinned host memory where its
            own has no room: a warning says what that costs).
        first_stage: how documents worth scoring are found: "centroids", "muvera", or None: as the index says.
        Raises IndexNotFoundError, NotAnIndexError, CorruptIndexError, EncoderMismatchError, BackendUnavailableError.
        """
        snapshot = Snapshot.open(path)
        try:
            return cls(snapshot, str(path), select(backend, threads, device), encoder, first_stage)
        except BaseException:
            snapshot.close()
            raise

    def _new_stage(self, name: str) -> CandidateStage:
        settings = self._snapshot.manifest.settings
        if name == "muvera":
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
        recall: float | None = None,
        subset: Subset | None = None,
    ) -> Hits:
        """The k best documents for a text, or for query vectors [tokens, dim].

        exact: score every document. by="parent": k unique parents, each with its best passage.
        probes: centroids looked up per query token; candidates: documents scored, the best of a pool 2.5 times as large
        by their centroids (an index of 16 bits has no centroid per token: all of the pool is scored).
        None: DEFAULT_PROBES, and the larger of DEFAULT_CANDIDATES and CANDIDATES_PER_HIT * k; both widen until
        there are k hits, while the corpus has them. With both None, a GPU scores every document where that is
        expected to take a millisecond at most; the hits then say `exact`.
        recall: at least this share of the exact k best, on the average of queries like those that the index was tuned
        with (`tune`): the cheapest settings that were measured to reach it. 1 is exact search.
        subset: search among these documents only (`subset`); where they are no more than `candidates`, exactly.
        Raises InputError on k < 1, an empty query, vectors that do not fit, and a recall that nothing has measured:
        with another k, by="parent", a subset, or after a commit.
        """
        return self.search_batch(
            [query], k, exact=exact, by=by, probes=probes, candidates=candidates, recall=recall, subset=subset
        )[0]

    def search_batch(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        exact: bool = False,
        by: Literal["parent"] | None = None,
        probes: int | None = None,
        candidates: int | None = None,
        recall: float | None = None,
        subset: Subset | None = None,
    ) -> list[Hits]:
        """`search` for many queries, scored together.

        The answers are the same: exact ones always; of others a hit may be missed here, about once in a million, that a
        query with few candidates finds when it comes alone and all of them are scored in fp32 (ranking.py).
        """
        plan = plan_search(self._cascade.stage, self._tuning, k, exact, by, probes, candidates, recall, subset)
        among = self._among(subset)
        if not isinstance(queries, (list, tuple)):
            raise InputError(f"search_batch takes a list of queries, not {type(queries).__name__}; or use search")
        if not queries:
            return []
        return self._search_encoded(self._encoded(queries), k, plan, among, by_parent=by == "parent")

    def _encoded(self, queries: Sequence[Query]) -> QueryVectors:
        """Vectors of queries, each checked. Raises InputError with the number of one that is none."""
        for number, query in enumerate(queries):
            try:
                check_query(query, self.dim)
            except InputError as error:
                if len(queries) == 1:
                    raise
                raise InputError(f"query {number} of the batch: {error}") from error
        needs_encoder = any(isinstance(query, str) for query in queries)
        return encode_queries(queries, self.encoder() if needs_encoder else None, self.dim)

    def subset(self, ids: Iterable[str] | None = None, *, where: Callable[[Document], bool] | None = None) -> Subset:
        """Documents to search among: those with these ids, or those for which `where` is true.

        where: such as `lambda document: document.metadata.get("year") == 2024`, or by `document.parent` where documents
        were split; every document is read once. Made once, it serves any number of searches of this Searcher.
        Raises InputError on an id that no document has.
        """
        if (ids is None) == (where is None):
            raise InputError("subset takes either ids or where=")
        if ids is not None:
            return chosen_by_id(self._everything, self._lookup, ids)
        assert where is not None
        return chosen_by_test(self._everything, self._snapshot.segments, where)

    def _among(self, subset: Subset | None) -> Subset:
        """Raises InputError on what is no subset of this snapshot."""
        if subset is None:
            return self._everything
        if not isinstance(subset, Subset):
            raise InputError(f"subset is a {type(subset).__name__}; make one with Searcher.subset")
        if subset.content != self._everything.content:
            raise InputError(
                "the subset was made from another index or another version of it, where documents have other numbers: "
                "make it again with Searcher.subset"
            )
        return subset

    def _search_encoded(
        self, encoded: QueryVectors, k: int, plan: Plan, among: Subset, *, by_parent: bool
    ) -> list[Hits]:
        """Answer queries that are vectors already, a bounded number of query tokens at a time."""
        groups = self._parent_groups if by_parent else None
        k = among.bounded(k)
        answers = []
        ranked = self._cascade.ranked(encoded, k, plan.settings, groups, plan.exact, among, plan.may_scan)
        for cut, (ranking, was_exact) in zip(encoded.tokens_cut, ranked, strict=True):
            hits = self._lookup.hits(ranking.documents, ranking.scores, k, groups)
            recall = None if was_exact else plan.recall
            answers.append(Hits(hits, was_exact, recall, self.backend, self.version, cut))
        return answers

    def tune(
        self,
        queries: Sequence[Query] | None = None,
        *,
        recall: float = 0.99,
        k: int = 10,
        sample: int = DEFAULT_SAMPLE,
        seed: int = 0,
        query_source: str | None = None,
        tell: Callable[[str], object] = _log.debug,
    ) -> TuningCurve:
        """Measure recall and cost of many settings against exact search, publish the curve, and use it from now on.

        queries: such as users ask, some hundred of them; None takes `sample` passages of the index in their place.
        recall: where the curve is to be finest; k: for which number of hits, the only one that the curve speaks of.
        query_source: what the record calls the queries; tell: gets a line for each step.
        The curve becomes a new version of the index, with the same content. Raises IndexLockedError while somebody
        writes, IndexChangedError where the index has changed since it was opened, InputError as `search` does.
        """
        check_recall(recall)
        defaults = checked_settings(k, None, None, None)
        check_tunable(self._path, self._snapshot.manifest)  # again when it is published, but now it costs no work
        chosen = self._given(queries, query_source) if queries is not None else self._passages(sample, seed)
        points = measure(self._tuned(), chosen, int(k), float(recall), defaults, tell)
        curve = TuningCurve(
            k=int(k),
            stage=self._cascade.stage.name,
            query_source=short_text(chosen.source),
            queries=len(chosen.vectors),
            version=self.version,
            content=self._snapshot.manifest.content,
            created=creation_time(),
            machine=short_text(machine_name()),
            backend=self.backend,
            threads=getattr(self._backend, "threads", None),
            asked_recall=float(recall),
            points=points,
        )
        publish_tuning(self._path, curve)
        self._tuning = self._tuning.with_curve(curve)
        return curve

    def _given(self, queries: Sequence[Query], source: str | None) -> TuningQueries:
        if not isinstance(queries, (list, tuple)) or not queries:
            raise InputError("tune takes a list of queries, at least one; or None for passages of the index")
        encoded = self._encoded(queries)
        kind = "texts" if isinstance(queries[0], str) else "vectors"
        return TuningQueries(encoded, source or f"{len(queries):,} given {kind}")

    def _passages(self, sample: int, seed: int) -> TuningQueries:
        def decode(document: int) -> Float32Array:
            segment, row = self._lookup.place(document)
            return self._codec.unrotate(decode_document(self._codec, self._backend, segment, row))

        if sample < 1 or seed < 0:
            raise InputError(f"sample is {sample} and seed {seed}; expected a sample of at least 1 and a seed from 0")
        return passages_as_queries(
            decode, token_counts(self._snapshot.segments), self._everything.numbers(), sample, seed
        )

    def _tuned(self) -> Tuned:
        """What tuning measures: the parts of this searcher."""
        finding = Finding(
            self._backend,
            self._store,
            self._codec.arrays,
            self._cascade.stage,
            self._everything.mask,
            token_counts(self._snapshot.segments),
            posting_lengths(self._snapshot.segments, len(self._codec.arrays.centroids)),
        )

        def numbers(queries: QueryVectors, k: int, settings: CandidateSettings | None) -> list[Int64Array]:
            k = self._everything.bounded(k)
            ranked = self._cascade.ranked(queries, k, settings or _ALL, None, settings is None, self._everything)
            return [self._lookup.best(ranking.documents, ranking.scores, k) for ranking, _ in ranked]

        def hits(queries: QueryVectors, k: int, settings: CandidateSettings | None) -> list[Hits]:
            plan = Plan(settings or _ALL, settings is None, None)
            return self._search_encoded(queries, k, plan, self._everything, by_parent=False)

        return Tuned(
            finding, numbers, hits, partial(self._codec.rotate, backend=self._backend), self._everything.numbers()
        )

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
        raise InputError(f"first_stage is {asked!r}; it must be 'centroids', 'muvera' or left out")
    return asked or ("muvera" if snapshot.manifest.settings.get("muvera") is not None else "centroids")
