"""Names inside an index folder: what may lie where, and which names are ours.

    manifest.<20 digits>              one per commit; the highest number is the index, older ones are for open readers
    codec/<codec-id>/<array>.bin      centroids, rotation, cutoffs, levels; shared by segments; see arrays.py
    segments/<segment-id>/<array>.bin one array each, see arrays.py
    segments/<segment-id>/documents.sqlite   ids, titles, texts, metadata; see documents.py
    tombstones/<segment-id>.<n>.bin   deleted rows of a segment, one new file per commit that deletes; see tombstones.py
    staging/<random>/                 what a writer has not published; worthless once no writer holds the lock
    LOCK                              held by the one writer; see lock.py

Ids are the xxh3-128 of what they name, as 32 hex digits: equal content has equal names. A published file never
changes. Everything else in the folder belongs to somebody else and is left alone.
"""

from __future__ import annotations

import re

MANIFEST_PREFIX = "manifest."
CODEC_FOLDER = "codec"
SEGMENT_FOLDER = "segments"
TOMBSTONE_FOLDER = "tombstones"
STAGING_FOLDER = "staging"
LOCK_NAME = "LOCK"
DOCUMENTS_NAME = "documents.sqlite"
ARRAY_SUFFIX = ".bin"

CONTENT_ID = re.compile(r"[0-9a-f]{32}")
STAGING_NAME = re.compile(r"[0-9a-f]{16}")
TOMBSTONE_NAME = re.compile(r"[0-9a-f]{32}\.[0-9]{1,20}\.bin")
ARRAY_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MANIFEST_NAME = re.compile(r"manifest\.([0-9]{20})")
_OWN_NAMES = frozenset({CODEC_FOLDER, SEGMENT_FOLDER, TOMBSTONE_FOLDER, STAGING_FOLDER, LOCK_NAME})


def manifest_name(version: int) -> str:
    """Name of the manifest of a version: 20 digits, so that names sort like numbers."""
    return f"{MANIFEST_PREFIX}{version:020d}"


def manifest_versions(names: list[str]) -> list[int]:
    """Versions that have a manifest among `names`, ascending."""
    return sorted(int(match[1]) for match in map(_MANIFEST_NAME.fullmatch, names) if match)


def foreign_names(names: list[str]) -> list[str]:
    """Names in an index folder that no index writer makes, sorted."""
    return sorted(name for name in names if name not in _OWN_NAMES and not _MANIFEST_NAME.fullmatch(name))


def is_plain_name(name: str) -> bool:
    """True for a name that stays inside its folder and prints as it is: no '/', no '..', no control characters."""
    return (
        0 < len(name) <= 255 and name not in (".", "..") and "/" not in name and "\\" not in name and name.isprintable()
    )


def array_file(name: str) -> str:
    """File name of an array."""
    return name + ARRAY_SUFFIX


def codec_path(codec_id: str) -> str:
    return f"{CODEC_FOLDER}/{codec_id}"


def segment_path(segment_id: str) -> str:
    return f"{SEGMENT_FOLDER}/{segment_id}"
