"""A published segment: mapped arrays, documents and deleted rows. Immutable, so any thread may read it."""

from __future__ import annotations

from collections.abc import Mapping

from bitarray import bitarray

from jcb_engine.errors import CorruptIndexError
from jcb_engine.storage.codec import StoredCodec, map_arrays
from jcb_engine.storage.documents import DocumentReader
from jcb_engine.storage.failures import reading
from jcb_engine.storage.files import Files
from jcb_engine.storage.layout import DOCUMENTS_NAME, segment_path
from jcb_engine.storage.manifest import SegmentRecord
from jcb_engine.storage.structure import Counts, segment_shape_problems, shape_of
from jcb_engine.storage.tombstones import read_tombstones
from jcb_engine.types import AnyArray, JsonValue


class Segment:
    """One segment of a snapshot. `tombstones` has one bit per document, set where it is deleted; None: none is."""

    def __init__(
        self,
        record: SegmentRecord,
        arrays: Mapping[str, AnyArray],
        documents: DocumentReader,
        tombstones: bitarray | None,
    ) -> None:
        self._record = record
        self._arrays = arrays
        self.documents = documents
        self.tombstones = tombstones

    @staticmethod
    def open(files: Files, record: SegmentRecord, codec: StoredCodec) -> Segment:
        """Map arrays and open documents. CorruptIndexError when a size, a footer, a shape or a schema is wrong."""
        folder = segment_path(record.id)
        arrays = map_arrays(files, folder, {name: file.size for name, file in record.files.items()})
        counts = Counts(record.documents, record.tokens, codec.centroid_count)
        problems = segment_shape_problems({name: shape_of(array) for name, array in arrays.items()}, counts)
        if problems:
            raise CorruptIndexError(f"{files.real_path(folder)}: {problems[0]}")
        tombstones = None
        if record.tombstones is not None:
            tombstones = read_tombstones(files, record.tombstones, record.documents)
        return Segment(record, arrays, _open_documents(files, record), tombstones)

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def codec_id(self) -> str:
        return self._record.codec

    @property
    def document_count(self) -> int:
        """N, deleted ones included."""
        return self._record.documents

    @property
    def token_count(self) -> int:
        """T, those of deleted documents included."""
        return self._record.tokens

    @property
    def statistics(self) -> Mapping[str, JsonValue]:
        """What the indexer noted about the segment."""
        return self._record.statistics

    def has_array(self, name: str) -> bool:
        return name in self._arrays

    def array(self, name: str) -> AnyArray:
        """A read-only array. CorruptIndexError when the segment has none of that name."""
        if name not in self._arrays:
            raise CorruptIndexError(
                f"segment {self.id} has no array {name!r}; it has {', '.join(sorted(self._arrays))}"
            )
        return self._arrays[name]

    def file_sizes(self) -> Mapping[str, int]:
        """Bytes of each file, by file name; the tombstones' under "tombstones"."""
        sizes = {name: file.size for name, file in self._record.files.items()}
        if self._record.tombstones is not None:
            sizes["tombstones"] = self._record.tombstones.file.size
        return sizes

    def close(self) -> None:
        """Close the documents. Arrays stay valid for as long as they are referenced."""
        self.documents.close()


def _open_documents(files: Files, record: SegmentRecord) -> DocumentReader:
    path = f"{segment_path(record.id)}/{DOCUMENTS_NAME}"
    name = files.real_path(path)
    if DOCUMENTS_NAME not in record.files:
        raise CorruptIndexError(f"segment {record.id} names no {DOCUMENTS_NAME} among its files")
    with reading(files, path):
        size = files.size(path)
    if size != record.files[DOCUMENTS_NAME].size:
        raise CorruptIndexError(
            f"{name} has {size:,} bytes; the manifest says {record.files[DOCUMENTS_NAME].size:,}: the file is damaged; "
            "restore the index from a copy or build it again"
        )
    return DocumentReader.open(name, record.documents, size)
