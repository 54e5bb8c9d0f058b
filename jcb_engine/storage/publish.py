"""The commit: how staged folders become a version, whole or not at all, through crash and power loss.

    1  write every file of a folder in staging, each made durable as it is finished        (arrays, documents, codec)
    2  make the names inside the folder durable, move the folder to its final name
    3  make the final names durable: the parent folders, then the index folder
    4  write the manifest in staging and make it durable
    5  give it its name, which must be free: the commit point
    6  make that name durable; only then is the commit acknowledged

A crash before 5 leaves folders that no manifest names, which the next commit collects. When 6 fails the outcome is
unknown: the version may or may not be there after a power loss, so nothing is removed.
Proven by tests/storage/test_power_loss.py, which drops each of these steps in turn and must notice.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jcb_engine.errors import CorruptIndexError, StorageError
from jcb_engine.storage.checksum import FileRecord, HashedFile, hash_file
from jcb_engine.storage.failures import storage_error, writing
from jcb_engine.storage.files import Files
from jcb_engine.storage.layout import manifest_name
from jcb_engine.storage.manifest import Manifest


@dataclass(frozen=True, slots=True)
class StagedFolder:
    """A finished folder in staging, the name it is to have, and its files."""

    source: str
    target: str
    files: Mapping[str, FileRecord]


class OutcomeUnknownError(StorageError):
    """The new manifest is in place, but the system could not make its name durable."""


def publish(files: Files, staging: str, folders: Sequence[StagedFolder], manifest: Manifest) -> None:
    """Publish a manifest and the folders it names. StorageError: nothing happened; OutcomeUnknownError: see above."""
    data = manifest.to_bytes()
    parents = sorted({folder.target.rpartition("/")[0] for folder in folders})
    for parent in parents:
        _make_folder(files, parent)
    for folder in folders:
        _place(files, staging, folder)
    for parent in (*parents, ""):
        with writing(files, parent):
            files.fsync_directory(parent)
    staged_manifest = f"{staging}/manifest"
    _write_file(files, staged_manifest, data)
    _publish_manifest(files, staged_manifest, manifest_name(manifest.version))


def _make_folder(files: Files, path: str) -> None:
    with writing(files, path):
        if not files.is_directory(path):
            files.make_directory(path)


def _place(files: Files, staging: str, folder: StagedFolder) -> None:
    """Move a folder to its final name. Equal content has equal names, so the name may be taken."""
    with writing(files, folder.target):
        if files.is_directory(folder.target):
            if _is_sound(files, folder):
                _make_durable(files, folder)  # whoever left it may have stopped before doing so
                return
            files.rename(folder.target, f"{staging}/damaged-{folder.target.rpartition('/')[2]}")
        files.fsync_directory(folder.source)
        files.rename(folder.source, folder.target)


def _is_sound(files: Files, folder: StagedFolder) -> bool:
    try:
        return files.list(folder.target) == sorted(folder.files) and all(
            hash_file(files, f"{folder.target}/{name}") == record for name, record in folder.files.items()
        )
    except CorruptIndexError:
        return False


def _make_durable(files: Files, folder: StagedFolder) -> None:
    for name in folder.files:
        files.fsync(f"{folder.target}/{name}")
    files.fsync_directory(folder.target)


def _write_file(files: Files, path: str, data: bytes) -> None:
    file = HashedFile(files, path)
    try:
        file.write(data)
        file.finish()
    except BaseException:
        file.abandon()
        raise


def _publish_manifest(files: Files, source: str, target: str) -> None:
    with writing(files, target):
        try:
            files.publish(source, target)
        except FileExistsError as error:
            raise storage_error(
                errno.EEXIST,
                f"{files.real_path(target)} was published by another writer; nothing was lost: run again, and check "
                "that the lock works on this disk",
            ) from error
    try:
        files.fsync_directory("")
    except OSError as error:
        unknown = OutcomeUnknownError(
            f"{files.real_path(target)} is in place, but the disk failed to confirm it ({error.strerror}): it may or "
            "may not be there after a power loss. Check the disk, open the index to see which version it holds"
        )
        unknown.errno = error.errno
        raise unknown from error
