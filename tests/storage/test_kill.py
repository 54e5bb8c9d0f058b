"""A writer killed at any moment loses no acknowledged version and leaves no half one.

Process death only: the system still writes what it was given. test_power_loss.py is about power.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jcb_engine.errors import NotAnIndexError
from jcb_engine.storage import Snapshot, verify

from .sample_index import commit_sample, marker_of


def _kill_loop(index: Path, rounds: int, seed: int) -> int:
    """Kill a committing process `rounds` times; return the last acknowledged version."""
    generator = random.Random(seed)
    tests = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    acknowledged = 0
    for _ in range(rounds):
        worker = subprocess.Popen(
            [sys.executable, "-m", "storage.kill_worker", str(index)], stdout=subprocess.PIPE, env=environment
        )
        assert worker.stdout is not None
        # Wait for the first commit, so that the kill meets commits and not the start of Python.
        first = worker.stdout.readline()
        assert first, "the worker ended by itself"
        time.sleep(generator.random() * 0.15)
        worker.send_signal(signal.SIGKILL)
        rest = worker.communicate()[0]
        acknowledged = int((first + rest).split()[-1])
        with Snapshot.open(index) as snapshot:
            assert acknowledged <= snapshot.version <= acknowledged + 1
            marker_of(snapshot)
        assert verify(index).problems == []
    return acknowledged


def test_ten_kills_lose_nothing(tmp_path: Path) -> None:
    index = tmp_path / "index"
    assert _kill_loop(index, rounds=10, seed=0) >= 10
    commit_sample(index, 1)
    assert os.listdir(index / "staging") == []
    assert len(os.listdir(index / "segments")) <= 2


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    _kill_loop(tmp_path / "index", rounds=200, seed=1)


def test_a_first_build_that_is_killed_leaves_no_index_and_can_be_run_again(tmp_path: Path) -> None:
    index = tmp_path / "index"
    script = (
        "import os, signal, sys; from jcb_engine.storage import Transaction; "
        "transaction = Transaction.begin(sys.argv[1]); transaction.new_segment(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(index)], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(NotAnIndexError, match="no finished index"):
        Snapshot.open(index)
    assert commit_sample(index, 1, overwrite=False) == 1
    assert os.listdir(index / "staging") == []
