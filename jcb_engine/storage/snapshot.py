"""A reader's view of one version of an index, unchanged for as long as it is open, whatever writers do."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.storage.codec import StoredCodec
from jcb_engine.storage.files import Files, LocalFiles
from jcb_engine.storage.manifest import Manifest
from jcb_engine.storage.segment import Segment
from jcb_engine.storage.versions import newest_version, read_manifest


class Snapshot:
    """One version: its manifest, codecs and segments. Thread-safe. Every file is open or mapped from the start."""

    def __init__(self, manifest: Manifest, codecs: dict[str, StoredCodec], segments: tuple[Segment, ...]) -> None:
        self.manifest = manifest
        self.segments = segments
        self._codecs = codecs

    @staticmethod
    def open(path: str | Path, *, version: int | None = None, files: Files | None = None) -> Snapshot:
        """Open the newest version, or an older one that is still kept.

        Checks the manifest's checksum, and sizes, footers and shapes of the files it names; contents are left to
        `verify`. Raises IndexNotFoundError, NotAnIndexError, CorruptIndexError, IndexTooOldError, IndexTooNewError,
        and StorageError when the system refuses to read.
        """
        seam = LocalFiles(path) if files is None else files
        if version is not None:
            return _open_version(seam, version)
        newest = newest_version(seam)
        while True:
            try:
                return _open_version(seam, newest)
            except CorruptIndexError:
                # Writers may have published and collected meanwhile: then the files are gone with good reason.
                tried, newest = newest, newest_version(seam)
                if newest == tried:
                    raise

    @property
    def version(self) -> int:
        return self.manifest.version

    def codec(self, codec_id: str) -> StoredCodec:
        """A codec of this version."""
        if codec_id not in self._codecs:
            raise InputError(f"codec {codec_id!r} is not in version {self.version}; it has {', '.join(self._codecs)}")
        return self._codecs[codec_id]

    def close(self) -> None:
        """Close the documents. Arrays stay valid for as long as they are referenced. A second call does nothing."""
        for segment in self.segments:
            segment.close()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_version(files: Files, version: int) -> Snapshot:
    manifest = read_manifest(files, version)
    codecs = {codec_id: StoredCodec.open(files, record) for codec_id, record in manifest.codecs.items()}
    with ExitStack() as opened:
        segments = []
        for record in manifest.segments:
            segment = Segment.open(files, record, codecs[record.codec])
            opened.callback(segment.close)
            segments.append(segment)
        opened.pop_all()
    return Snapshot(manifest, codecs, tuple(segments))
