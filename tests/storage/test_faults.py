"""Whatever operation fails, the version before stays, the error says what happened, and the next commit works."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from jcb_engine.errors import StorageError
from jcb_engine.storage import OutcomeUnknownError, Snapshot, Transaction, verify
from jcb_engine.storage.files import Files

from .fault_files import FaultFiles
from .sample_index import UnsyncedFiles, commit_sample, documents_of, files_of, marker_of


@pytest.fixture
def index(tmp_path: Path) -> Path:
    root = tmp_path / "index"
    assert commit_sample(root, 1, files=UnsyncedFiles(root)) == 1
    return root


def _commit_with_fault(root: Path, marker: int, files: FaultFiles) -> StorageError | None:
    try:
        commit_sample(root, marker, files=files)
    except StorageError as error:
        return error
    return None


def _operations_of_a_commit(root: Path, marker: int) -> int:
    scout = root.with_name("scout")
    shutil.copytree(root, scout)
    files = FaultFiles(UnsyncedFiles(scout), -1, 0)
    commit_sample(scout, marker, files=files)
    shutil.rmtree(scout)
    return len(files.operations)


def _check_survived(root: Path, error: StorageError | None) -> None:
    """The old version, or the new one where the commit got that far; sound."""
    with Snapshot.open(root) as snapshot:
        marker = marker_of(snapshot)
    if error is None or isinstance(error, OutcomeUnknownError):
        assert marker == 2
    else:
        assert marker == 1
    assert verify(root).problems == []


def _check_next_commit(root: Path) -> None:
    """It works, and leaves just the files of two versions."""
    commit_sample(root, 4, files=UnsyncedFiles(root))
    with Snapshot.open(root) as snapshot:
        assert marker_of(snapshot) == 4
        kept = {segment.id for segment in snapshot.segments}
    assert os.listdir(root / "staging") == []
    assert kept < set(os.listdir(root / "segments"))
    assert len(os.listdir(root / "segments")) == len(os.listdir(root / "codec")) == 2


# The first three together fail each operation once; in the last two all operations after a failure fail as well.
@pytest.mark.parametrize(
    ("code", "for_ever", "start", "stride"),
    [
        (errno.EIO, False, 0, 2),
        (errno.ENOSPC, False, 1, 4),
        (errno.EACCES, False, 3, 4),
        (errno.ENOSPC, True, 1, 9),
        (errno.EIO, True, 5, 9),
    ],
)
def test_every_failing_operation_leaves_a_whole_version(
    index: Path, code: int, for_ever: bool, start: int, stride: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    total = _operations_of_a_commit(index, 2)
    assert total > 80
    outcomes = set()
    for fail_at in range(start, total, stride):
        trial = index.with_name(f"trial-{fail_at}")
        shutil.copytree(index, trial)
        files = FaultFiles(UnsyncedFiles(trial), fail_at, code, for_ever=for_ever)
        error = _commit_with_fault(trial, 2, files)
        assert files.failed
        if error is not None:
            assert error.errno == code
            assert str(trial) in str(error)
        synced = [step for step in files.operations[fail_at + 1 :] if step[0] == "fsync"]
        assert files.failed[0] not in synced, "a failed fsync was tried again"
        if not for_ever:
            _check_cleaned_up(trial, error, files.failed[0])
        _check_survived(trial, error)
        if fail_at % 4 == 0:
            _check_next_commit(trial)
        outcomes.add(type(error))
        shutil.rmtree(trial)
    assert StorageError in outcomes


def test_every_kind_of_operation_is_among_those_that_fail(index: Path) -> None:
    files = FaultFiles(UnsyncedFiles(index), -1, 0)
    commit_sample(index, 2, files=files)
    commit_sample(index, 2, files=files)  # meets its own folders
    kinds = {operation for operation, _ in files.operations}
    assert kinds >= {"create", "write", "fsync", "fsync folder", "publish", "rename", "make folder", "remove", "read"}


def _check_cleaned_up(root: Path, error: StorageError | None, failed: tuple[str, str]) -> None:
    operation, path = failed
    was_cleaning = operation in ("look", "list", "remove", "remove folder") and path.startswith("staging/")
    if not was_cleaning:
        assert os.listdir(root / "staging") == []
    if error is not None and not isinstance(error, OutcomeUnknownError) and not was_cleaning:
        assert len(os.listdir(root / "segments")) == 1


def test_when_the_last_fsync_fails_the_outcome_is_called_unknown_and_nothing_is_removed(index: Path) -> None:
    class LastSyncFails(UnsyncedFiles):
        published = False

        def publish(self, source: str, target: str) -> None:
            super().publish(source, target)
            self.published = True

        def fsync_directory(self, path: str) -> None:
            if self.published:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    before = files_of(index)
    with pytest.raises(OutcomeUnknownError, match="may or may not be there"):
        commit_sample(index, 2, files=LastSyncFails(index))
    after = files_of(index)
    assert before.items() <= after.items()
    with Snapshot.open(index) as snapshot:
        assert (snapshot.version, marker_of(snapshot)) == (2, 2)


def test_a_full_disk_names_the_file_and_what_was_needed(index: Path) -> None:
    class FullDisk(UnsyncedFiles):
        def free_bytes(self) -> int:
            return 4096

    def create_fails_on_write(files: Files) -> FaultFiles:
        scout = FaultFiles(files, -1, 0)
        commit_sample(index, 2, files=scout)
        first_write = next(n for n, (operation, _) in enumerate(scout.operations) if operation == "write")
        return FaultFiles(files, first_write, errno.ENOSPC)

    files = create_fails_on_write(FullDisk(index))
    with pytest.raises(StorageError) as raised:
        commit_sample(index, 3, files=files)
    message = str(raised.value)
    assert "the disk is full" in message
    assert "centroids.bin" in message
    assert "128 more bytes were needed, 4,096 bytes free" in message


def test_another_writer_who_published_the_same_number_is_noticed(index: Path) -> None:
    with Transaction.begin(index, overwrite=True) as transaction:
        shutil.copy(index / f"manifest.{1:020d}", index / f"manifest.{2:020d}.other")
        original = UnsyncedFiles.publish

        class Raced(UnsyncedFiles):
            def publish(self, source: str, target: str) -> None:
                (index / target).touch()
                original(self, source, target)

        transaction._files = Raced(index)
        with pytest.raises(StorageError, match="published by another writer"):
            transaction.commit(encoder=None, settings={})


def test_a_full_disk_in_the_scratch_database_is_a_storage_error(index: Path) -> None:
    with Transaction.begin(index, overwrite=True) as transaction:
        segment = transaction.new_segment()

        class Full:
            def execute(self, *arguments: object) -> object:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error

            def close(self) -> None:
                return

        real, segment.documents._connection = segment.documents._connection, Full()  # type: ignore[assignment]
        with pytest.raises(StorageError, match="the disk is full") as raised:
            segment.documents.add(documents_of(1)[0])
        assert raised.value.errno == errno.ENOSPC
        segment.documents._connection = real


_LIMITED_BUILD = """
import resource, sys
import numpy as np
from jcb_engine.errors import StorageError
from jcb_engine.storage import Transaction
from jcb_engine.types import Document
path, kind = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    with Transaction.begin(path, overwrite=True) as transaction:
        segment = transaction.new_segment()
        if kind == "array":
            with segment.array("codes", np.uint8, 100) as writer:
                for _ in range(10):
                    writer.append(np.zeros((10_000, 100), np.uint8))
        for row in range(10_000):
            segment.documents.add(Document(id=str(row), text="text " * 100))
        codec = transaction.write_codec({}, {})
        with segment.array("doc_offsets", np.int64) as writer:
            writer.append(np.zeros(10_001, np.int64))
        segment.seal(codec, token_count=0, statistics={})
        transaction.commit(encoder=None, settings={})
except StorageError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.parametrize(("kind", "file"), [("array", "codes.bin"), ("documents", "sqlite")])
def test_a_file_that_the_system_refuses_to_grow_ends_the_build_and_nothing_else(
    index: Path, kind: str, file: str
) -> None:
    before = files_of(index)
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED_BUILD, str(index), kind],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert file in done.stdout
    assert files_of(index) == before
