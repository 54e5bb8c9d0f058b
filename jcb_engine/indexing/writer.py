"""IndexWriter: documents, or vectors of one's own, into a committed index."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

from jcb_engine.codec.candidate_index import check_factory
from jcb_engine.encoder import Encoder
from jcb_engine.encoder.options import EncoderArguments
from jcb_engine.errors import InputError
from jcb_engine.indexing.options import DEFAULT_MAX_RAM_BYTES, DEFAULT_NBITS, IndexOptions, MuveraOptions
from jcb_engine.indexing.parents import ParentRanks
from jcb_engine.indexing.report import BuildProgress, BuildReport, SilentProgress
from jcb_engine.indexing.segment_build import BuiltSegment, build_segment
from jcb_engine.indexing.sources import EncodedTexts, SpooledVectors, VectorSource
from jcb_engine.indexing.spool import VectorSpool, check_vectors
from jcb_engine.indexing.vector_stream import VectorBatch, VectorStream
from jcb_engine.kernels import Backend, select
from jcb_engine.storage import Transaction, check_target
from jcb_engine.types import AnyArray, Document, EncoderSource, JsonValue

_STATES = {"failed": "an add of this writer failed half way", "closed": "this writer is closed"}
_ANY_DIM = 64  # a dimension that every factory string takes, to check one before the dimension is known


class IndexWriter:
    """The one writer of an index. A context manager: commits on leaving, or not at all when an error leaves it.

        with IndexWriter.create("index", encoder="mini", dim=128, nbits=2) as writer:
            writer.add([Document(id="a", text="...")])

    Nothing is visible to readers before the commit; an index that was there stays as it was.
    """

    def __init__(
        self,
        transaction: Transaction,
        encoder: Encoder | None,
        dim: int | None,
        options: IndexOptions,
        backend: Backend,
    ) -> None:
        self._transaction, self._encoder, self._dim, self._options = transaction, encoder, dim, options
        self._backend = backend
        self._segment = transaction.new_segment()
        self._parents = ParentRanks()
        self._spool: VectorSpool | None = None
        self._stream: VectorStream | None = None
        self._state: Literal["open", "failed", "closed"] = "open"
        self.report: BuildReport | None = None
        self.progress: BuildProgress = SilentProgress()
        self._began = time.monotonic()
        self._duplicates = 0

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        encoder: EncoderSource | None = None,
        dim: int | None = None,
        nbits: int = DEFAULT_NBITS,
        centroids: int | None = None,
        seed: int = 0,
        max_ram_bytes: int = DEFAULT_MAX_RAM_BYTES,
        faiss_factory: str = "Flat",
        muvera: MuveraOptions | None = None,
        device: str | None = None,
        overwrite: bool = False,
    ) -> IndexWriter:
        """Begin a new index at `path`.

        encoder: what `Encoder` takes ("mini", a folder, an object), or an Encoder; None for vectors of one's own.
        dim: the head dimension of the encoder, or the dimension of the vectors; None takes the encoder's default, or
            the dimension of the first vectors.
        The rest as in IndexOptions. Raises IndexExistsError where an index is there, unless `overwrite`, and
        BackendUnavailableError where nothing can compress on the device.
        """
        options = IndexOptions(
            nbits=nbits,
            centroids=centroids,
            seed=seed,
            max_ram_bytes=max_ram_bytes,
            faiss_factory=faiss_factory,
            muvera=muvera,
            device=device,
        )
        return cls.with_options(path, encoder, dim, options, overwrite)

    @classmethod
    def with_options(
        cls, path: str | Path, encoder: EncoderSource | None, dim: int | None, options: IndexOptions, overwrite: bool
    ) -> IndexWriter:
        """`create` with its options in one object."""
        if dim is not None and dim < 1:
            raise InputError(f"dim is {dim}; it must be at least 1")
        # What can be refused at once is refused before a model is loaded.
        check_target(path, overwrite=overwrite)
        backend = select(device=options.device)
        loaded = _loaded_encoder(encoder, dim, options.device)
        known_dim = loaded.dim if loaded is not None else dim
        check_factory(options.faiss_factory, known_dim or _ANY_DIM)
        if options.muvera is not None:
            encoding = options.muvera.encoding(known_dim or _ANY_DIM, options.seed)
            check_factory(options.muvera.factory, encoding.output_dim)
        transaction = Transaction.begin(path, overwrite=overwrite)
        try:
            return cls(transaction, loaded, dim, options, backend)
        except BaseException:
            transaction.discard()
            raise

    # -- adding --------------------------------------------------------------------------------------------------------
    def add(self, documents: Iterable[Document]) -> None:
        """Add texts, to be encoded when the index is committed. Raises InputError on an id that was used before."""
        if self._encoder is None:
            raise InputError("this writer has no encoder: create it with encoder=..., or use add_vectors")
        self._only_one_kind(texts=True)
        if isinstance(documents, Document):
            raise InputError("add takes several documents; pass [document]")
        with self._all_or_nothing():
            for document in documents:
                self._store(document)

    def add_vectors(self, ids: Sequence[str | Document], values: AnyArray, offsets: AnyArray) -> None:
        """Add documents by their token vectors; call it as often as there are chunks.

        ids: an id each, or a Document each where text is to be kept.
        values: [tokens, dim] float32 or float16, of any norm, zero too. offsets: [len(ids) + 1] whole numbers.
        """
        self._only_one_kind(texts=False)
        if self._stream is not None:
            raise InputError("all vectors of this writer come from add_vectors_from: chain these into its object")
        values, offsets = check_vectors(ids, values, offsets, self._expected_dim)
        if self._spool is None:
            self._spool = VectorSpool(self._scratch_folder, values.shape[1])
        with self._all_or_nothing():
            self._spool.append(values, offsets)
            for item in ids:
                self._store_vectors_of(item)

    def add_vectors_from(self, batches: Iterable[VectorBatch]) -> None:
        """Add documents by vectors that can be read again: no copy of them is put on disk. Once per writer.

        batches: (ids, values, offsets) as `add_vectors` takes them, some ten thousand tokens each, from an object that
        gives the same whenever it is iterated over. That is three times: here, for the sample that trains the codec,
        and to compress them; the last two when the writer commits. Raises InputError on a generator, and when a later
        reading differs from the first.
        """
        self._only_one_kind(texts=False)
        if self._spool is not None or self._stream is not None:
            raise InputError("add_vectors_from is for all vectors of a writer: chain what there is into one object")
        with self._all_or_nothing():
            self._stream = VectorStream(batches, self._expected_dim, self._scratch_folder)
            for ids in self._stream.first_reading():
                for item in ids:
                    self._store_vectors_of(item)

    def replace(self, row: int, document: Document) -> None:
        """Put a text in the place of one that was added in this writer."""
        with self._all_or_nothing():
            _check_document(document)
            self._segment.documents.replace(row, document)
            self._parents.replace(row, document)
            self._duplicates += 1

    def add_one(self, document: Document) -> int:
        """Add one text and return its row. DuplicateDocumentError: its id is there already, and nothing was added."""
        self._only_one_kind(texts=True)
        return self._store(document)

    def count_duplicate(self) -> None:
        """Note a duplicate that was skipped, for the report."""
        self._duplicates += 1

    def _store(self, document: Document) -> int:
        _check_document(document)
        row = self._segment.documents.add(document)
        self._parents.append(document)
        return row

    def _store_vectors_of(self, item: str | Document) -> None:
        self._store(item if isinstance(item, Document) else Document(id=item, text=""))

    @property
    def _expected_dim(self) -> int | None:
        """Dimensions that vectors must have, where that is settled."""
        if self._spool is not None:
            return self._spool.dim
        return self._encoder.dim if self._encoder is not None else self._dim

    @property
    def _scratch_folder(self) -> Path:
        return self._transaction.scratch_path("spool").parent

    def _only_one_kind(self, *, texts: bool) -> None:
        if self._state != "open":
            raise InputError(f"{_STATES[self._state]}; create a new one")
        has_vectors = self._spool is not None or self._stream is not None
        has_texts = len(self._segment.documents) > 0 and not has_vectors
        if (texts and has_vectors) or (not texts and has_texts):
            raise InputError("one writer takes texts or vectors, not both: encode the texts and add all as vectors")

    # -- committing ----------------------------------------------------------------------------------------------------
    def commit(self) -> BuildReport:
        """Train, compress and publish. Afterwards the writer is closed."""
        if self._state != "open":
            raise InputError(f"{_STATES[self._state]}; there is nothing to commit")
        if len(self._segment.documents) == 0:
            raise InputError("there is nothing to index: no document was added")
        self._state = "closed"
        with self._transaction:
            self.report = self._publish()
        return self.report

    def _publish(self) -> BuildReport:
        source = self._source()
        with self._segment.array("parents", np.uint32) as array:
            array.append(self._parents.ranks())
        built = build_segment(self._transaction, self._segment, source, self._options, self._backend, self.progress)
        self.progress.stage("committing", None)
        record = None if self._encoder is None else self._encoder.record.to_json()
        settings: dict[str, JsonValue] = {"faiss_factory": self._options.faiss_factory}
        if (muvera := self._options.muvera) is not None:
            encoding = muvera.encoding(source.dim, self._options.seed)
            settings["muvera"] = {**encoding.to_json(), "factory": muvera.factory}
        version = self._transaction.commit(encoder=record, settings=settings)
        return self._report(source, built, version)

    def _source(self) -> VectorSource:
        if self._stream is not None:
            return self._stream
        if self._spool is not None:
            self._spool.finish()
            return SpooledVectors(self._spool)
        assert self._encoder is not None, "texts are refused where there is no encoder"
        return EncodedTexts(self._segment.documents, self._encoder)

    def _report(self, source: VectorSource, built: BuiltSegment, version: int) -> BuildReport:
        counts = source.counts if isinstance(source, EncodedTexts) else None
        return BuildReport(
            version=version,
            documents=source.documents,
            empty_documents=source.documents - built.documents_with_vectors,
            tokens=built.tokens,
            documents_cut=counts.documents_cut if counts else 0,
            tokens_cut=counts.tokens_cut if counts else 0,
            unknown_share=counts.unknown_share if counts else None,
            duplicates=self._duplicates,
            dim=built.codec.dim,
            nbits=built.codec.nbits,
            centroids=len(built.codec.arrays.centroids),
            sampled_documents=built.sampled_documents,
            seconds=time.monotonic() - self._began,
        )

    def close(self) -> None:
        """Give up what was not committed."""
        if self._spool is not None:
            self._spool.abandon()
        if self._state != "closed":
            self._state = "closed"
            self._transaction.discard()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """An add that fails half way ends the writer: what of it was added can no longer be told from what was not."""
        try:
            yield
        except BaseException:
            self._state = "failed"
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._state == "open":
            try:
                self.commit()
            finally:
                self.close()
            return
        failed = self._state == "failed"
        self.close()
        if kind is None and failed:
            raise InputError(f"nothing was committed: {_STATES['failed']}")


def _loaded_encoder(encoder: EncoderSource | None, dim: int | None, device: str | None) -> Encoder | None:
    """device: of a model that is loaded here; objects know their own."""
    if encoder is None:
        return None
    options: EncoderArguments = {"device": device} if device and isinstance(encoder, str | Path) else {}
    loaded = encoder if isinstance(encoder, Encoder) else Encoder(encoder, dim=dim, **options)
    if dim is not None and loaded.dim != dim:
        raise InputError(f"the encoder gives {loaded.dim} dimensions and dim={dim} was asked for")
    return loaded


def _check_document(document: Document) -> None:
    if not isinstance(document, Document):
        raise InputError(f"expected a Document, got {type(document).__name__}")
    for name, value in (("id", document.id), ("text", document.text), ("title", document.title)):
        if not isinstance(value, str):
            raise InputError(f"the {name} of a document is {type(value).__name__}; it must be a string")
    if not document.id:
        raise InputError("a document has an empty id; every document needs one of its own")
