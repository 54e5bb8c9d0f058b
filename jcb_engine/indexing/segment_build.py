"""From spooled documents to a sealed segment: sample, train, compress, postings. The steps of every build."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jcb_engine.codec import ResidualCodec, default_centroid_count, train_codec
from jcb_engine.codec.candidate_index import centroid_index, encoding_index
from jcb_engine.codec.centroids import TOKENS_PER_CENTROID
from jcb_engine.errors import InputError
from jcb_engine.indexing.compressor import CompressedChunk, SegmentCompressor
from jcb_engine.indexing.options import IndexOptions
from jcb_engine.indexing.report import BuildProgress
from jcb_engine.indexing.sampling import SampleFile, documents_needed, first_documents, sample_order
from jcb_engine.indexing.sources import VectorSource
from jcb_engine.kernels import Backend
from jcb_engine.storage import SegmentWriter, Transaction
from jcb_engine.types import Int64Array, RaggedEmbeddings

# Share of max_ram that the training vectors may take as float32; k-means reads them again and again.
_SAMPLE_SHARE_OF_RAM = 4


@dataclass(frozen=True, slots=True)
class BuiltSegment:
    codec: ResidualCodec
    sampled_documents: int
    tokens: int
    documents_with_vectors: int


def build_segment(
    transaction: Transaction,
    segment: SegmentWriter,
    source: VectorSource,
    options: IndexOptions,
    backend: Backend,
    progress: BuildProgress,
) -> BuiltSegment:
    """Train a codec on a seeded sample of `source`, then compress all of it into `segment` and seal it."""
    scratch = transaction.scratch_path("training").parent
    sample = SampleFile(scratch / "sample", source.dim)
    try:
        progress.stage("sampling", None)
        rows = _draw_sample(source, sample, options, progress)
        codec = _train(source, sample, options, backend, scratch, progress)
        # An index that could not be opened must not replace one that can; and hours of compressing come next.
        centroid_index(codec.arrays.centroids, options.faiss_factory)
        codec_arrays, properties = codec.to_stored()
        codec_id = transaction.write_codec(codec_arrays, properties)
        progress.stage("compressing", source.documents)
        encoding = None if options.muvera is None else options.muvera.encoding(source.dim, options.seed)
        with SegmentCompressor(segment, codec, backend, scratch, encoding) as compressor:
            _compress(source.chunks(rows, sample), compressor, progress)
            statistics = compressor.seal(codec_id)
        if options.muvera is not None and options.muvera.factory != "Flat":
            encoding_index([segment.map("encodings")], options.muvera.factory)  # refused here, not when it is searched
    finally:
        sample.abandon()
    with_vectors = statistics["documents_with_vectors"]
    assert isinstance(with_vectors, int)
    return BuiltSegment(codec, len(rows), compressor.tokens, with_vectors)


def _compress(chunks: Iterable[RaggedEmbeddings], compressor: SegmentCompressor, progress: BuildProgress) -> None:
    """Compress one chunk while the next is encoded and the one before is written.

    Vectors of never more than two are in memory, of three where encodings are made of them.
    """
    with (
        ThreadPoolExecutor(1, thread_name_prefix="compress") as compressing,
        ThreadPoolExecutor(1, thread_name_prefix="write") as writing,
    ):
        compressed: Future[CompressedChunk] | None = None
        written: Future[int] | None = None
        for chunk in chunks:
            if compressed is not None:
                written = _written_after(written, compressed.result(), compressor, writing, progress)
            compressed = compressing.submit(compressor.compress, chunk)
        if compressed is not None:
            written = _written_after(written, compressed.result(), compressor, writing, progress)
        _finish(written, progress)


def _written_after(
    before: Future[int] | None,
    chunk: CompressedChunk,
    compressor: SegmentCompressor,
    writing: ThreadPoolExecutor,
    progress: BuildProgress,
) -> Future[int]:
    """Wait for the chunk before, then have this one written."""
    _finish(before, progress)

    def write() -> int:
        compressor.write(chunk)
        return len(chunk.offsets) - 1

    return writing.submit(write)


def _finish(written: Future[int] | None, progress: BuildProgress) -> None:
    if written is not None:
        progress.advance(written.result())


def _draw_sample(
    source: VectorSource, sample: SampleFile, options: IndexOptions, progress: BuildProgress
) -> Int64Array:
    """Fill `sample` and return the rows that are in it, in the order of their vectors."""
    order = sample_order(source.documents, options.seed)
    taken, needed = 0, first_documents(source.documents)
    if source.tokens is not None:
        needed = max(needed, _documents_needed(source, sample, taken, options))
    while taken < needed:
        sample.extend(source.vectors_of(order[taken:needed]))
        progress.advance(needed - taken)
        taken = needed
        # The first documents say how long documents are; where they all are empty, look at more of them.
        needed = _documents_needed(source, sample, taken, options) if sample.tokens else 4 * taken
        needed = min(source.documents, max(taken, needed))
    return order[:taken]


def _documents_needed(source: VectorSource, sample: SampleFile, taken: int, options: IndexOptions) -> int:
    """Documents that hold the tokens wanted, by the average length of all; of those taken, where that is not known."""
    wanted = _sample_tokens(source, sample, options)
    if source.tokens is not None:
        return documents_needed(source.documents, source.tokens, source.documents, wanted)
    return documents_needed(source.documents, sample.tokens, taken, wanted)


def _train(
    source: VectorSource,
    sample: SampleFile,
    options: IndexOptions,
    backend: Backend,
    scratch: Path,
    progress: BuildProgress,
) -> ResidualCodec:
    if sample.tokens == 0:
        raise InputError(f"there is nothing to search: none of the {source.documents} documents has a token vector")
    progress.stage("training", None)
    vectors = sample.training_copy(scratch / "training", _sample_token_limit(source.dim, options))
    centroid_count = _centroid_count(source, sample, options)
    return train_codec(vectors, options.nbits, centroid_count, options.seed, backend, source.largest_norm)


def _total_tokens(source: VectorSource, sample: SampleFile) -> int:
    """Known, or estimated from the sample."""
    if source.tokens is not None:
        return source.tokens
    return round(sample.tokens / max(1, sample.documents) * source.documents)


def _centroid_count(source: VectorSource, sample: SampleFile, options: IndexOptions) -> int:
    return options.centroids or default_centroid_count(_total_tokens(source, sample))


def _sample_token_limit(dim: int, options: IndexOptions) -> int:
    return max(1, options.max_ram_bytes // (_SAMPLE_SHARE_OF_RAM * 4 * dim))


def _sample_tokens(source: VectorSource, sample: SampleFile, options: IndexOptions) -> int:
    wanted = TOKENS_PER_CENTROID * _centroid_count(source, sample, options)
    return min(wanted, _sample_token_limit(source.dim, options))
