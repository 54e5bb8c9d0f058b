"""One writer at a time; a second learns who holds the lock; a dead writer's lock is free."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jcb_engine.errors import IndexLockedError, StorageError
from jcb_engine.storage import Snapshot, Transaction
from jcb_engine.storage.lock import WriterLock

from .sample_index import commit_sample, marker_of

_HOLD = """
import sys, time
from jcb_engine.storage import Transaction
transaction = Transaction.begin(sys.argv[1], overwrite=True)
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_told_who_writes_and_a_killed_writer_frees_the_lock(tmp_path: Path) -> None:
    index = tmp_path / "index"
    commit_sample(index, 1)
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(index)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(IndexLockedError) as raised:
            Transaction.begin(index, overwrite=True)
        assert f"process {holder.pid} on {socket.gethostname()} since 20" in str(raised.value)
        assert str(index) in str(raised.value)
        with Snapshot.open(index) as snapshot:  # readers take no lock
            assert marker_of(snapshot) == 1
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert commit_sample(index, 2) == 2
    assert os.listdir(index / "staging") == []


def test_two_writers_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with Transaction.begin(tmp_path), pytest.raises(IndexLockedError, match=f"process {os.getpid()} "):
        Transaction.begin(tmp_path)
    Transaction.begin(tmp_path).discard()


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"{}", b'{"pid": "x"}', b"[" * 5000])
def test_a_lock_file_with_any_text_locks_and_its_holder_is_unknown(tmp_path: Path, text: bytes) -> None:
    lock = WriterLock.acquire(tmp_path / "LOCK")
    (tmp_path / "LOCK").write_bytes(text)
    with pytest.raises(IndexLockedError, match="another process"):
        WriterLock.acquire(tmp_path / "LOCK")
    lock.release()
    lock.release()
    WriterLock.acquire(tmp_path / "LOCK").release()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "LOCK").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match="LOCK"):
        WriterLock.acquire(tmp_path / "LOCK")
    assert (tmp_path / "victim").read_text() == "precious"
