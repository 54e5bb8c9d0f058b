"""A build that is killed, or runs out of disk, leaves what was there before: no half index that opens, nothing lost."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from jcb_engine import Searcher
from jcb_engine.errors import IndexNotFoundError, NotAnIndexError
from jcb_engine.storage import verify

# Builds over and over in one process, so that a kill falls into any stage; prints a line when it begins to.
BUILDER = """
import sys
import numpy as np
from jcb_engine import IndexWriter
values = np.random.default_rng(0).standard_normal((6_000, 16)).astype(np.float32)
offsets = np.arange(0, 6_001, 10)
print("ready", flush=True)
while True:
    with IndexWriter.create(sys.argv[1], dim=16, nbits=2, overwrite=True, centroids=64) as writer:
        writer.add_vectors([str(number) for number in range(600)], values, offsets)
    if sys.argv[2] == "once":
        break
"""
# The size limit of a file stands in for a full disk: the system answers EFBIG where a disk would answer ENOSPC.
LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
"""


def run_builder(path: Path, rounds: str, prefix: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", prefix + BUILDER, str(path), rounds]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_after(path: Path, seconds: float) -> None:
    process = run_builder(path, "for ever")
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.06, 0.15, 0.4, 1.0])
def test_a_killed_build_leaves_a_sound_index_or_none(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "index"
    killed_after(path, seconds)
    try:
        with Searcher.open(path) as searcher:
            assert searcher.document_count == 600
        assert verify(path).problems == []
    except (IndexNotFoundError, NotAnIndexError):
        assert not list(path.glob("manifest.*"))
    # and the folder can be built in again, with what the killed one left behind
    process = run_builder(path, "once")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    with Searcher.open(path) as searcher:
        assert searcher.document_count == 600
    assert not list((path / "staging").iterdir())


@pytest.mark.parametrize("limit", [2_000, 30_000, 150_000])
def test_a_disk_that_fills_keeps_the_old_index(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "index"
    run_builder(path, "once").communicate()
    with Searcher.open(path) as searcher:
        before = searcher.version
    process = run_builder(path, "once", LIMITED.format(limit=limit))
    _, errors = process.communicate()
    assert process.returncode != 0
    last_line = errors.strip().splitlines()[-1]
    assert last_line.startswith("jcb_engine.errors.StorageError"), errors
    assert "nothing was published" in last_line
    with Searcher.open(path) as searcher:
        assert searcher.version == before
    assert verify(path).problems == []
    assert not list((path / "staging").iterdir())


SMALL_ADDS = """
import sys
import numpy as np
from jcb_engine import IndexWriter
from jcb_engine.errors import StorageError

values = np.ones((30, 64), np.float32)
try:
    with IndexWriter.create(sys.argv[1], dim=64) as writer:
        for number in range(400):
            writer.add_vectors([str(number)], values, np.array([0, 30]))
except StorageError as error:
    assert "the disk is full" in str(error), error
else:
    raise SystemExit("the limit did not matter")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with IndexWriter.create(sys.argv[1], dim=64) as writer:  # the lock is free again, in this very process
    writer.add_vectors(["a"], values, np.array([0, 30]))
"""


def test_a_disk_that_fills_during_small_adds_frees_the_lock_and_leaves_nothing(tmp_path: Path) -> None:
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))\n"
    command = [sys.executable, "-c", limit + SMALL_ADDS, str(tmp_path / "index")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "index" / "staging").iterdir())
    with Searcher.open(tmp_path / "index") as searcher:
        assert searcher.document_count == 1
