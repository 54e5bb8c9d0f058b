"""Reading every byte of an index and comparing it with what the manifest says."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from jcb_engine.errors import CorruptIndexError, StorageError
from jcb_engine.storage.checksum import FileRecord, hash_file
from jcb_engine.storage.codec import StoredCodec
from jcb_engine.storage.files import Files, LocalFiles
from jcb_engine.storage.layout import ARRAY_SUFFIX, codec_path, manifest_name, segment_path
from jcb_engine.storage.manifest import CodecRecord, SegmentRecord
from jcb_engine.storage.segment import Segment
from jcb_engine.storage.structure import Counts, content_problems
from jcb_engine.storage.tombstones import tombstones_path
from jcb_engine.storage.versions import newest_version, read_manifest

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found. An index is sound when `problems` is empty."""

    version: int
    files_checked: int
    bytes_checked: int
    problems: list[str]


@dataclass(slots=True)
class _Tally:
    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def verify(path: str | Path, *, files: Files | None = None) -> VerifyReport:
    """Check the newest version: checksum and size of every file, then structure inside them. Memory is bounded.

    Damage is reported, all of it, not raised. Raises IndexNotFoundError, NotAnIndexError, IndexTooOldError,
    IndexTooNewError, and StorageError when the system refuses to read (an I/O error of the disk counts as damage).
    """
    seam = LocalFiles(path) if files is None else files
    version = newest_version(seam)
    while True:
        report = _verify_version(seam, version)
        newest = newest_version(seam)
        if not report.problems or newest == version:
            return report
        version = newest  # the version was replaced and collected while it was read


def _verify_version(files: Files, version: int) -> VerifyReport:
    tally = _Tally()
    manifest = _checked(tally, partial(read_manifest, files, version))
    if manifest is not None:
        tally.files += 1
        tally.bytes += files.size(manifest_name(version))
        codecs = {codec.id: _check_codec(files, codec, tally) for codec in manifest.codecs.values()}
        for segment in manifest.segments:
            _check_segment(files, segment, codecs[segment.codec], tally)
    return VerifyReport(version, tally.files, tally.bytes, tally.problems)


def _check_codec(files: Files, record: CodecRecord, tally: _Tally) -> StoredCodec | None:
    """The codec, or None when it is damaged."""
    if not _check_files(files, _in_folder(codec_path(record.id), record.files), tally):
        return None
    return _checked(tally, partial(StoredCodec.open, files, record))


def _check_segment(files: Files, record: SegmentRecord, codec: StoredCodec | None, tally: _Tally) -> None:
    """Checksums, then structure: of sound files only, since damaged ones tell nothing more."""
    named = _in_folder(segment_path(record.id), record.files)
    if record.tombstones is not None:
        named[tombstones_path(record.tombstones.name)] = record.tombstones.file
    if not _check_files(files, named, tally) or codec is None:
        return
    segment = _checked(tally, partial(Segment.open, files, record, codec))
    if segment is not None:
        _check_contents(files, record, segment, codec, tally)
        segment.close()


def _check_contents(files: Files, record: SegmentRecord, segment: Segment, codec: StoredCodec, tally: _Tally) -> None:
    folder = files.real_path(segment_path(record.id))
    names = [name.removesuffix(ARRAY_SUFFIX) for name in record.files if name.endswith(ARRAY_SUFFIX)]
    counts = Counts(record.documents, record.tokens, codec.centroid_count)
    problems = content_problems({name: segment.array(name) for name in names}, counts)
    tally.problems += [f"{folder}: {problem}" for problem in problems]
    tally.problems += _checked(tally, segment.documents.check_all) or []


def _in_folder(folder: str, records: Mapping[str, FileRecord]) -> dict[str, FileRecord]:
    return {f"{folder}/{name}": record for name, record in records.items()}


def _check_files(files: Files, named: Mapping[str, FileRecord], tally: _Tally) -> bool:
    """Compare files with what the manifest says of them; True when all are sound."""
    problems_before = len(tally.problems)
    for path, expected in named.items():
        found = _checked(tally, partial(hash_file, files, path))
        if found is None:
            continue
        tally.files += 1
        tally.bytes += found.size
        if found != expected:
            tally.problems.append(
                f"{files.real_path(path)} is damaged: {found.size:,} bytes with xxh3-128 {found.xxh3_128}; "
                f"expected {expected.size:,} bytes with {expected.xxh3_128}"
            )
    return len(tally.problems) == problems_before


def _checked(tally: _Tally, step: Callable[[], _Result]) -> _Result | None:
    """Result of a step, or None with its damage noted."""
    try:
        return step()
    except CorruptIndexError as error:
        tally.problems.append(str(error))
    except StorageError as error:
        if error.errno != errno.EIO:
            raise
        tally.problems.append(str(error))
    return None
