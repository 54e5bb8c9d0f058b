"""The one writer of an index: stages segments and codecs, then publishes them as one version, or leaves no trace."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from jcb_engine import __version__
from jcb_engine.errors import (
    CorruptIndexError,
    IndexChangedError,
    IndexExistsError,
    IndexNotFoundError,
    IndexTooNewError,
    IndexTooOldError,
    InputError,
    JcbError,
    NotAnIndexError,
    StorageError,
)
from jcb_engine.storage.arrays import map_array
from jcb_engine.storage.codec import write_codec
from jcb_engine.storage.collect import collect, collect_staging, remove_tree
from jcb_engine.storage.failures import writing
from jcb_engine.storage.files import Files, LocalFiles
from jcb_engine.storage.layout import (
    LOCK_NAME,
    STAGING_FOLDER,
    array_file,
    codec_path,
    foreign_names,
    is_plain_name,
    manifest_versions,
    segment_path,
)
from jcb_engine.storage.lock import WriterLock
from jcb_engine.storage.manifest import FORMAT_VERSION, CodecRecord, Manifest, SegmentRecord, creation_time
from jcb_engine.storage.publish import OutcomeUnknownError, StagedFolder, publish
from jcb_engine.storage.segment_writer import SegmentWriter
from jcb_engine.storage.tuning import TuningCurve, curves_with
from jcb_engine.storage.versions import index_names, newest_version, read_manifest
from jcb_engine.types import AnyArray, JsonValue

_log = logging.getLogger(__name__)


class Transaction:
    """Made by `begin`, ended by `commit` or by leaving the `with` block, which discards what was staged."""

    def __init__(self, files: Files, lock: WriterLock, staging: str) -> None:
        self._files = files
        self._lock = lock
        self._staging = staging
        self._segments: list[SegmentWriter] = []
        self._codecs: dict[str, CodecRecord] = {}
        self._codec_folders: dict[str, str] = {}
        self._folders_made = 0
        self._is_open = True

    @staticmethod
    def begin(path: str | Path, *, overwrite: bool = False, files: Files | None = None) -> Transaction:
        """Take the lock and open a staging folder; the index folder is made when it is missing.

        Raises IndexExistsError (an index is there and `overwrite` is False), NotAnIndexError (the folder holds other
        things), IndexLockedError (another writer is at work), StorageError (the system refuses).
        """
        creation_time()  # refuses now, not after hours of work, what it would refuse when the manifest is written
        seam = LocalFiles(path) if files is None else files
        _check_target(seam, overwrite)  # first: a folder of somebody else's gets no LOCK
        with writing(seam, ""):
            seam.make_root()
        lock = WriterLock.acquire(seam.real_path(LOCK_NAME))
        try:
            _check_target(seam, overwrite)
            return Transaction(seam, lock, _open_staging(seam))
        except BaseException:
            lock.release()
            raise

    def new_segment(self) -> SegmentWriter:
        """Start a segment; seal it before committing."""
        self._check_open()
        number = len(self._segments)
        scratch = f"{self._staging}/documents/{number}.sqlite"
        writer = SegmentWriter(self._files, self._new_folder("segment"), scratch, self._centroid_count)
        self._segments.append(writer)
        return writer

    def write_codec(self, arrays: Mapping[str, AnyArray], properties: Mapping[str, JsonValue]) -> str:
        """Store a codec and return its id, which derives from its content."""
        self._check_open()
        folder = self._new_folder("codec")
        record = write_codec(self._files, folder, arrays, properties)
        if record.id not in self._codecs:
            self._codecs[record.id] = record
            self._codec_folders[record.id] = folder
        return record.id

    def scratch_path(self, name: str) -> Path:
        """A path for a plain file of the caller's, gone after the transaction."""
        self._check_open()
        if not is_plain_name(name):
            raise InputError(f"scratch name {name!r}; expected a plain file name without '/'")
        return self._files.real_path(f"{self._staging}/scratch/{name}")

    def commit(self, *, encoder: Mapping[str, JsonValue] | None, settings: Mapping[str, JsonValue]) -> int:
        """Publish the sealed segments as a new version and return its number; the transaction is over.

        The version before stays readable until the next commit. StorageError: nothing was published, unless it is an
        OutcomeUnknownError.
        """
        self._check_open()
        segments = self._sealed_segments()
        manifest = Manifest(
            tuning=_tuning_before(self._files),
            version=max(manifest_versions(index_names(self._files)), default=0) + 1,
            created=creation_time(),
            writer=f"jcb-engine {__version__}",
            encoder=encoder,
            settings=settings,
            codecs=dict(self._codecs),
            segments=tuple(segments),
        )
        return self._publish(manifest, self._staged_folders(segments))

    def commit_tuning(self, curve: TuningCurve) -> int:
        """Publish the newest version once more, with a curve that was measured on its content; the transaction is over.

        Raises IndexChangedError where another content was committed since, and as `commit`. Nothing else that was
        staged is published.
        """
        self._check_open()
        newest = self.unchanged(curve.version, curve.content)
        manifest = replace(
            newest,
            version=newest.version + 1,
            created=creation_time(),
            writer=f"jcb-engine {__version__}",
            tuning=curves_with(newest.tuning, curve),
        )
        return self._publish(manifest, [])

    def unchanged(self, version: int, content: str) -> Manifest:
        """The newest manifest. Raises IndexChangedError unless its content is that of `version`."""
        newest = read_manifest(self._files, newest_version(self._files))
        root = self._files.real_path("")
        if newest.content != content:
            raise IndexChangedError(
                f"{root} has changed: version {version} was opened to be tuned, version {newest.version} holds "
                "something else; nothing was published: open it again and tune that"
            )
        if newest.format_version > FORMAT_VERSION:
            raise IndexTooNewError(
                f"{root} has format {newest.format_version}, which this version of jcb-engine reads but cannot write: "
                "install a newer jcb-engine"
            )
        return newest

    def _publish(self, manifest: Manifest, folders: list[StagedFolder]) -> int:
        manifest.to_bytes()  # what cannot be written is refused before anything is moved
        try:
            publish(self._files, self._staging, folders, manifest)
        except OutcomeUnknownError:
            self._end(collect_files=False)
            raise
        except BaseException:
            self._end(collect_files=True)
            raise
        self._end(collect_files=True)
        return manifest.version

    def discard(self) -> None:
        """Remove what was staged and free the lock. Does nothing after a commit."""
        self._end(collect_files=False)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _end(self, *, collect_files: bool) -> None:
        """Clean up as far as the system lets us, and free the lock. The outcome is settled: failures are logged."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            for segment in self._segments:
                segment.abandon()
            _remove_staging(self._files, self._staging)
            if collect_files:
                _collect(self._files)
        finally:
            self._lock.release()

    def _check_open(self) -> None:
        if not self._is_open:
            raise InputError("the transaction is over; begin another")

    def _new_folder(self, kind: str) -> str:
        self._folders_made += 1
        return f"{self._staging}/{kind}-{self._folders_made}"

    def _centroid_count(self, codec_id: str) -> int | None:
        if codec_id not in self._codecs:
            raise InputError(f"codec {codec_id!r} was not written in this transaction; call write_codec() first")
        name = array_file("centroids")
        if name not in self._codecs[codec_id].files:
            return None
        return len(map_array(self._files, f"{self._codec_folders[codec_id]}/{name}"))

    def _sealed_segments(self) -> list[SegmentRecord]:
        records = [writer.record for writer in self._segments if writer.record is not None]
        if len(records) != len(self._segments):
            raise InputError("a segment is not sealed; call seal() on each before commit()")
        if len({record.id for record in records}) != len(records):
            raise InputError("two segments of the transaction hold the same documents; ids must be unique")
        return records

    def _staged_folders(self, segments: list[SegmentRecord]) -> list[StagedFolder]:
        codecs = [
            StagedFolder(self._codec_folders[codec_id], codec_path(codec_id), record.files)
            for codec_id, record in self._codecs.items()
        ]
        return codecs + [
            StagedFolder(writer.folder, segment_path(record.id), record.files)
            for writer, record in zip(self._segments, segments, strict=True)
        ]


def _tuning_before(files: Files) -> tuple[TuningCurve, ...]:
    """The curves of the version before, which know what content they belong to; none where it cannot be read."""
    versions = manifest_versions(index_names(files))
    if not versions:
        return ()
    try:
        return read_manifest(files, versions[-1]).tuning
    except (CorruptIndexError, IndexTooOldError, IndexTooNewError) as error:
        _log.warning("what was tuned before is not kept: %s", error)
        return ()


def _collect(files: Files) -> None:
    """Collect as far as the system lets us; the next commit collects the rest."""
    try:
        collect(files)
    except (OSError, JcbError) as error:
        _log.warning("%s was not cleaned up, the next commit tries again: %s", files.real_path(""), error)


def check_target(path: str | Path, *, overwrite: bool) -> None:
    """Raise IndexExistsError or NotAnIndexError unless a new index may be written at `path`; nothing is made."""
    _check_target(LocalFiles(path), overwrite)


def _check_target(files: Files, overwrite: bool) -> None:
    """Raise unless a new index may be written here."""
    try:
        names = index_names(files)
    except IndexNotFoundError:
        return
    root = files.real_path("")
    if manifest_versions(names):
        if not overwrite:
            raise IndexExistsError(
                f"there is an index at {root}; choose another path, or overwrite it (--overwrite, overwrite=True)"
            )
        return
    foreign = foreign_names(names)
    if foreign:
        raise NotAnIndexError(
            f"{root} holds no index but other things, such as {foreign[0]!r}; choose an empty or a new folder"
        )


def _open_staging(files: Files) -> str:
    """Remove what dead writers left, and make a staging folder with its scratch folders."""
    staging = f"{STAGING_FOLDER}/{secrets.token_hex(8)}"
    with writing(files, STAGING_FOLDER):
        if not files.is_directory(STAGING_FOLDER):
            files.make_directory(STAGING_FOLDER)
        collect_staging(files)
    try:
        with writing(files, staging):
            for folder in (staging, f"{staging}/scratch", f"{staging}/documents"):
                files.make_directory(folder)
    except StorageError:
        _remove_staging(files, staging)
        raise
    return staging


def _remove_staging(files: Files, staging: str) -> None:
    """Remove a staging folder as far as the system lets us; the next writer removes the rest."""
    try:
        if files.is_directory(staging):
            remove_tree(files, staging)
    except OSError as error:
        _log.warning("%s was not removed, the next writer tries again: %s", files.real_path(staging), error)
