"""build_index: a stream of documents, from any reader, into a committed index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from jcb_engine.encoder import Encoder
from jcb_engine.errors import InputError
from jcb_engine.indexing.options import BuildOptions
from jcb_engine.indexing.passages import split_document
from jcb_engine.indexing.readers import SourceDocument
from jcb_engine.indexing.report import BuildProgress, BuildReport, SilentProgress
from jcb_engine.indexing.writer import IndexWriter
from jcb_engine.storage import DuplicateDocumentError
from jcb_engine.types import Document

_REPORT_EVERY = 256  # documents between two signs of progress while reading


def build_index(
    source: Iterable[SourceDocument],
    path: str | Path,
    encoder: Encoder,
    options: BuildOptions | None = None,
    progress: BuildProgress | None = None,
) -> BuildReport:
    """Read all of `source`, then encode and compress it into a new index at `path`.

    Texts go to the store first, so that the codec is trained on a sample over all of them and memory does not grow
    with the corpus. Nothing is published when anything fails; what was there before stays.
    """
    options = options or BuildOptions()
    progress = progress or SilentProgress()
    with IndexWriter.with_options(path, encoder, encoder.dim, options, options.overwrite) as writer:
        writer.progress = progress
        progress.stage("reading", None)
        _read_all(source, writer, encoder, options, progress)
    assert writer.report is not None, "leaving the writer commits"
    return writer.report


def _read_all(
    source: Iterable[SourceDocument],
    writer: IndexWriter,
    encoder: Encoder,
    options: BuildOptions,
    progress: BuildProgress,
) -> None:
    pending = 0
    for item in source:
        for document in _passages(item.document, encoder, options):
            if not _added(writer, document, item.place, options):
                break  # the document was there before: none of its passages is taken
        pending += 1
        if pending == _REPORT_EVERY:
            progress.advance(pending)
            pending = 0
    progress.advance(pending)


def _passages(document: Document, encoder: Encoder, options: BuildOptions) -> Iterator[Document]:
    if options.split_tokens is None:
        return iter([document])
    return iter(split_document(document, encoder.token_spans, options.split_tokens, options.split_overlap))


def _added(writer: IndexWriter, document: Document, place: str, options: BuildOptions) -> bool:
    """Add a document, or do as told where its id was used before; False where it is skipped."""
    try:
        writer.add_one(document)
    except DuplicateDocumentError as error:
        if options.on_duplicate == "error" or document.position:
            raise InputError(
                f"{place}: id {error.id!r} was used before, by document {error.first_row + 1} of the corpus; "
                "ids must be unique "
                "(--on-duplicate skip or last, in Python on_duplicate, keeps the first or the last)"
            ) from error
        if options.on_duplicate == "skip":
            writer.count_duplicate()
            return False
        writer.replace(error.first_row, document)
    return True
