"""A reader sees one version for as long as it holds it, is never blocked, and opens in a moment."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from jcb_engine.errors import CorruptIndexError, IndexNotFoundError, InputError, NotAnIndexError
from jcb_engine.storage import Snapshot, Transaction
from jcb_engine.storage.files import Files
from jcb_engine.storage.layout import manifest_name
from jcb_engine.storage.versions import read_manifest

from .sample_index import UnsyncedFiles, commit_sample, marker_of


def test_an_open_snapshot_is_readable_after_its_files_were_collected(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    with Snapshot.open(tmp_path) as old:
        for marker in (2, 3, 4):
            commit_sample(tmp_path, marker)
        assert old.segments[0].id not in os.listdir(tmp_path / "segments")
        results: list[int] = []
        threads = [threading.Thread(target=lambda: results.append(marker_of(old))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [1, 1, 1]
    with pytest.raises(CorruptIndexError, match="missing"):
        Snapshot.open(tmp_path, version=1)


def test_readers_during_commits_each_see_one_whole_version(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1, files=UnsyncedFiles(tmp_path))
    stop = threading.Event()
    failures: list[BaseException] = []
    opened: list[int] = []

    def read() -> None:
        try:
            last = 0
            while not stop.is_set():
                with Snapshot.open(tmp_path) as snapshot:
                    assert snapshot.version >= last
                    assert marker_of(snapshot) == snapshot.version
                    last = snapshot.version
                    opened.append(last)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for marker in range(2, 20):
        commit_sample(tmp_path, marker, files=UnsyncedFiles(tmp_path))
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert len(set(opened)) > 2


def test_a_version_that_is_collected_while_it_is_opened_gives_way_to_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_sample(tmp_path, 1)

    def commits_come_between(files: Files, version: int) -> object:
        manifest = read_manifest(files, version)
        if version == 1:
            for marker in (2, 3, 4):
                commit_sample(tmp_path, marker)
        return manifest

    monkeypatch.setattr("jcb_engine.storage.snapshot.read_manifest", commits_come_between)
    with Snapshot.open(tmp_path) as snapshot:
        assert (snapshot.version, marker_of(snapshot)) == (4, 4)


def test_a_damaged_newest_manifest_is_an_error_and_no_older_version_takes_its_place(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    commit_sample(tmp_path, 2)
    newest = tmp_path / manifest_name(2)
    content = newest.read_bytes()
    for damaged in (b"", content[:-1], content.replace(b"jcb-engine", b"jcb-enginf")):
        newest.write_bytes(damaged)
        with pytest.raises(CorruptIndexError, match=newest.name):
            Snapshot.open(tmp_path)
    with Snapshot.open(tmp_path, version=1) as snapshot:
        assert marker_of(snapshot) == 1


def test_a_manifest_under_another_number_is_damage(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    (tmp_path / manifest_name(1)).rename(tmp_path / manifest_name(9))
    with pytest.raises(CorruptIndexError, match="version is 1; expected 9"):
        Snapshot.open(tmp_path)


def test_what_is_not_an_index_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError, match="there is no index"):
        Snapshot.open(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NotAnIndexError, match="is a file"):
        Snapshot.open(tmp_path / "file")
    with pytest.raises(NotAnIndexError, match="no manifest"):
        Snapshot.open(tmp_path)
    Transaction.begin(tmp_path / "unfinished").discard()
    with pytest.raises(NotAnIndexError, match="no finished index"):
        Snapshot.open(tmp_path / "unfinished")


def test_arrays_that_are_missing_are_named(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    with Snapshot.open(tmp_path) as snapshot:
        (segment,) = snapshot.segments
        assert not segment.has_array("nothing")
        with pytest.raises(CorruptIndexError, match="no array 'nothing'; it has centroid_ids, codes"):
            segment.array("nothing")
        with pytest.raises(CorruptIndexError, match="no array 'rotation'; it has centroids, cutoffs"):
            snapshot.codec(segment.codec_id).array("rotation")
        assert (segment.document_count, segment.token_count, segment.tombstones) == (3, 6, None)


def test_a_closed_snapshot_keeps_its_arrays_and_refuses_documents(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    with Snapshot.open(tmp_path) as snapshot:
        codes = snapshot.segments[0].array("codes")
    snapshot.close()
    assert codes.sum() > 0
    with pytest.raises(InputError, match="closed"):
        snapshot.segments[0].documents.get([0])


def test_opening_takes_milliseconds(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        Snapshot.open(tmp_path).close()
        best = min(best, time.perf_counter() - start)
    assert best < 0.010
