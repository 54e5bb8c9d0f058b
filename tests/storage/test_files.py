"""The real file system behind the door: no links are followed, nothing is overwritten, new folders are durable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from jcb_engine.errors import CorruptIndexError
from jcb_engine.storage import Snapshot
from jcb_engine.storage.arrays import map_array, write_array
from jcb_engine.storage.files import LocalFiles

from .sample_index import UnsyncedFiles, commit_sample, marker_of


def test_a_name_that_is_taken_is_never_overwritten(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    for action in (lambda: files.create("a"), lambda: files.publish("b", "a"), lambda: files.make_directory("a")):
        with pytest.raises(FileExistsError):
            action()
    assert (tmp_path / "a").read_bytes() == b"a"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_a_commit_renames_and_still_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    index = tmp_path / "index"
    assert commit_sample(index, 1, files=UnsyncedFiles(index)) == 1
    assert commit_sample(index, 2, files=UnsyncedFiles(index)) == 2
    with Snapshot.open(index) as snapshot:
        assert marker_of(snapshot) == 2
    (tmp_path / "new").touch()
    (tmp_path / "old").touch()
    with pytest.raises(FileExistsError):
        LocalFiles(tmp_path).publish("new", "old")


def test_every_folder_that_is_made_on_the_way_to_an_index_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    files = LocalFiles(tmp_path / "a" / "b" / "index")
    files.make_root()
    assert synced == [folder.stat().st_ino for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")]
    files.make_root()
    assert len(synced) == 3


def test_all_that_a_version_names_went_through_real_fsyncs_before_its_manifest_got_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_ino)
        real_fsync(descriptor)

    def link(source: Path, target: Path) -> None:
        real_link(source, target)
        events.append("published")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    commit_sample(tmp_path, 1)
    before, after = events[: events.index("published")], events[events.index("published") + 1 :]
    named = [path for path in tmp_path.rglob("*") if path.name != "LOCK" and "staging" not in path.parts]
    assert {path.stat().st_ino for path in named} <= set(before)
    assert len(named) > 15
    assert tmp_path.stat().st_ino in before
    assert tmp_path.stat().st_ino in after


@pytest.mark.parametrize("kind", ["file link", "folder link", "folder", "pipe", "missing", "empty"])
def test_only_regular_files_in_real_folders_are_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "outside").mkdir()
    write_array(LocalFiles(tmp_path), "outside/a.bin", np.zeros(3, np.uint8))
    root = tmp_path / "index"
    root.mkdir()
    if kind == "folder link":
        (root / "d").symlink_to(tmp_path / "outside")
    else:
        (root / "d").mkdir()
    target = root / "d" / "a.bin"
    if kind == "file link":
        target.symlink_to(tmp_path / "outside" / "a.bin")
    elif kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "empty":
        target.touch()
    with pytest.raises(CorruptIndexError, match="index/d"):
        map_array(LocalFiles(root), "d/a.bin")


def test_a_link_in_place_of_the_documents_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "index"
    commit_sample(index, 1)
    (documents,) = index.glob("segments/*/documents.sqlite")
    documents.rename(tmp_path / "elsewhere.sqlite")
    documents.symlink_to(tmp_path / "elsewhere.sqlite")
    with pytest.raises(CorruptIndexError, match="symbolic link"):
        Snapshot.open(index)


def test_an_index_may_itself_be_reached_through_a_link(tmp_path: Path) -> None:
    commit_sample(tmp_path / "index", 1)
    (tmp_path / "link").symlink_to(tmp_path / "index")
    with Snapshot.open(tmp_path / "link") as snapshot:
        assert marker_of(snapshot) == 1
