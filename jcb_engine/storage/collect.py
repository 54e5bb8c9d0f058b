"""Removing what no kept version names. Only the holder of the writer lock may: then all foreign staging is abandoned.

Only names that a writer makes are ever removed. Open readers are not disturbed: the system keeps a removed file for
those who have it open.
"""

from __future__ import annotations

import re

from jcb_engine.storage.files import Files
from jcb_engine.storage.layout import (
    CODEC_FOLDER,
    CONTENT_ID,
    SEGMENT_FOLDER,
    STAGING_FOLDER,
    STAGING_NAME,
    TOMBSTONE_FOLDER,
    TOMBSTONE_NAME,
    manifest_name,
    manifest_versions,
)
from jcb_engine.storage.versions import read_manifest

KEPT_VERSIONS = 2  # the newest, and the one before for readers that are opening it and for going back


def collect(files: Files) -> None:
    """Remove manifests older than the kept ones and all files that no kept one names.

    Raises OSError or JcbError: what is left then is left for the next commit. Removes nothing when a kept manifest
    cannot be read, since it might name anything.
    """
    versions = manifest_versions(files.list(""))
    kept = [read_manifest(files, version) for version in versions[-KEPT_VERSIONS:]]
    segments = [segment for manifest in kept for segment in manifest.segments]
    # Manifests first: a crash halfway must not leave one that names removed files.
    for version in versions[:-KEPT_VERSIONS]:
        files.remove_file(manifest_name(version))
    _remove_others(files, SEGMENT_FOLDER, CONTENT_ID, {segment.id for segment in segments})
    _remove_others(files, CODEC_FOLDER, CONTENT_ID, {codec for manifest in kept for codec in manifest.codecs})
    tombstones = {segment.tombstones.name for segment in segments if segment.tombstones is not None}
    _remove_others(files, TOMBSTONE_FOLDER, TOMBSTONE_NAME, tombstones)


def collect_staging(files: Files) -> None:
    """Remove the staging folders of writers that ended without cleaning up."""
    _remove_others(files, STAGING_FOLDER, STAGING_NAME, set())


def remove_tree(files: Files, path: str) -> None:
    """Remove a folder with all that is in it, or a file. Links are removed, not followed."""
    if not files.is_directory(path):
        files.remove_file(path)
        return
    for name in files.list(path):
        remove_tree(files, f"{path}/{name}")
    files.remove_directory(path)


def _remove_others(files: Files, folder: str, ours: re.Pattern[str], kept: set[str]) -> None:
    if not files.is_directory(folder):
        return
    for name in files.list(folder):
        if ours.fullmatch(name) and name not in kept:
            remove_tree(files, f"{folder}/{name}")
