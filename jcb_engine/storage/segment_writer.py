"""A segment being written in a staging folder, invisible to readers until the transaction commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy.typing as npt

from jcb_engine.errors import InputError, StorageError
from jcb_engine.storage.arrays import ArrayWriter, map_array
from jcb_engine.storage.checksum import FileRecord, canonical_json, content_id
from jcb_engine.storage.document_writer import DocumentWriter
from jcb_engine.storage.failures import writing
from jcb_engine.storage.files import Files
from jcb_engine.storage.layout import ARRAY_NAME, DOCUMENTS_NAME, array_file
from jcb_engine.storage.manifest import MAX_DOCUMENTS, SegmentRecord
from jcb_engine.storage.structure import Counts, segment_shape_problems
from jcb_engine.types import AnyArray, JsonValue

CentroidCount = Callable[[str], int | None]  # of a codec by its id; InputError for an id that is not known


class SegmentWriter:
    """Documents and arrays of one new segment; `seal` finishes it."""

    def __init__(self, files: Files, folder: str, scratch_path: str, centroid_count: CentroidCount) -> None:
        self._files = files
        self._folder = folder
        self._centroid_count = centroid_count
        self._arrays: dict[str, ArrayWriter] = {}
        self.record: SegmentRecord | None = None
        with writing(files, folder):
            files.make_directory(folder)
        self.documents = DocumentWriter(files, scratch_path)

    def array(self, name: str, dtype: npt.DTypeLike, columns: int | None = None) -> ArrayWriter:
        """Start an array of the segment: [rows], or [rows, columns]. See structure.py for the names."""
        self._check_unsealed()
        if not ARRAY_NAME.fullmatch(name):
            raise InputError(f"array name {name!r}; expected {ARRAY_NAME.pattern}")
        if name in self._arrays:
            raise InputError(f"array {name} was started before; a segment has each array once")
        writer = ArrayWriter(self._files, self._path(name), dtype, columns)
        self._arrays[name] = writer
        return writer

    def map(self, name: str) -> AnyArray:
        """A closed array, mapped read-only."""
        record = self._arrays[name].record if name in self._arrays else None
        if record is None:
            raise InputError(f"array {name!r} cannot be read; write and close it first")
        return map_array(self._files, self._path(name), record.size)

    def seal(self, codec_id: str, *, token_count: int, statistics: Mapping[str, JsonValue]) -> None:
        """Finish the segment. InputError when arrays are open or do not fit the documents, tokens and codec."""
        self._check_unsealed()
        canonical_json(statistics)
        unfinished = [name for name, writer in self._arrays.items() if writer.record is None]
        if unfinished:
            raise InputError(f"segment cannot be sealed: close the arrays {', '.join(unfinished)} first")
        if len(self.documents) > MAX_DOCUMENTS:
            raise InputError(f"segment has {len(self.documents):,} documents; at most {MAX_DOCUMENTS:,}: start another")
        counts = Counts(len(self.documents), token_count, self._centroid_count(codec_id))
        shapes = {name: (writer.dtype, writer.shape) for name, writer in self._arrays.items()}
        problems = segment_shape_problems(shapes, counts)
        if problems:
            raise InputError(f"segment cannot be sealed: {problems[0]}")
        files: dict[str, FileRecord] = {
            array_file(name): writer.record for name, writer in self._arrays.items() if writer.record is not None
        }
        files[DOCUMENTS_NAME] = self.documents.seal(f"{self._folder}/{DOCUMENTS_NAME}")
        self.record = SegmentRecord(
            id=content_id(files, {"codec": codec_id}),
            codec=codec_id,
            documents=counts.documents,
            tokens=token_count,
            statistics=dict(statistics),
            files=files,
        )

    @property
    def folder(self) -> str:
        return self._folder

    def abandon(self) -> None:
        """Close everything that is open, keeping no promise."""
        self.documents.close()
        for writer in self._arrays.values():
            if writer.record is None:
                try:
                    writer.abandon()
                except StorageError:
                    continue  # the file is thrown away

    def _check_unsealed(self) -> None:
        if self.record is not None:
            raise InputError("the segment is sealed; start another with new_segment()")

    def _path(self, name: str) -> str:
        return f"{self._folder}/{array_file(name)}"
