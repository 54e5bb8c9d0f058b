"""Which versions an index folder holds, and the manifest of one."""

from __future__ import annotations

from jcb_engine.errors import CorruptIndexError, IndexNotFoundError, NotAnIndexError
from jcb_engine.storage.failures import reading, storage_error
from jcb_engine.storage.files import Files
from jcb_engine.storage.layout import foreign_names, manifest_name, manifest_versions
from jcb_engine.storage.manifest import MAX_MANIFEST_BYTES, Manifest


def index_names(files: Files) -> list[str]:
    """Names in the index folder. IndexNotFoundError, NotAnIndexError (no folder) or StorageError (refused)."""
    root = files.real_path("")
    try:
        return files.list("")
    except FileNotFoundError as error:
        raise IndexNotFoundError(f"there is no index at {root}; build one, or check the path") from error
    except NotADirectoryError as error:
        raise NotAnIndexError(f"{root} is a file; an index is a folder") from error
    except OSError as error:
        raise storage_error(error.errno, f"{root} cannot be read: {error.strerror}; check its permissions") from error


def newest_version(files: Files) -> int:
    """Number of the newest manifest. NotAnIndexError when there is none."""
    names = index_names(files)
    versions = manifest_versions(names)
    if versions:
        return versions[-1]
    root = files.real_path("")
    if names and not foreign_names(names):
        raise NotAnIndexError(
            f"{root} holds no finished index: a build is at work there, or one was stopped; wait, or build again"
        )
    raise NotAnIndexError(f"{root} is not an index: it has no manifest; check the path, or build an index there")


def read_manifest(files: Files, version: int) -> Manifest:
    """The manifest of a version, checked. A damaged one is an error; no other version is taken in its place."""
    path = manifest_name(version)
    name = str(files.real_path(path))
    with reading(files, path):
        size = files.size(path)
        if size > MAX_MANIFEST_BYTES:
            raise CorruptIndexError(f"{name} has {size:,} bytes; a manifest has at most {MAX_MANIFEST_BYTES:,}")
        data = b"".join(files.chunks(path))
    manifest = Manifest.from_bytes(data, name)
    if manifest.version != version:
        raise CorruptIndexError(f"{name}: version is {manifest.version}; expected {version}, the number in its name")
    return manifest
