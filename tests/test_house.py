"""The house keeps its own rules: layers, light imports, documents that tell the truth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import jcb_engine

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "csrc/README.md"]


def test_imports_point_downwards_only() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_importing_the_package_loads_neither_torch_nor_faiss() -> None:
    program = (
        "import sys, jcb_engine\n"
        "loaded = {'torch', 'faiss', 'transformers', 'numpy', 'typer'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_public_names_are_all_there() -> None:
    assert jcb_engine.__all__ == [
        "Document",
        "Encoder",
        "Hit",
        "Hits",
        "IndexWriter",
        "JcbError",
        "RaggedEmbeddings",
        "Searcher",
        "maxsim",
    ]
    for name in jcb_engine.__all__:
        assert getattr(jcb_engine, name).__name__ == name
    with pytest.raises(AttributeError, match="it has Document, Encoder"):
        jcb_engine.Indexer  # noqa: B018


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_every_package_is_on_the_map() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    for package in (ROOT / "jcb_engine").iterdir():
        if package.is_dir() and (package / "__init__.py").exists():
            assert f"jcb_engine/{package.name}/" in page


def test_an_index_is_data_never_code() -> None:
    forbidden = re.compile(
        r"^\s*(import pickle|from pickle)|allow_pickle=True|torch\.load\(|trust_remote_code=True", re.M
    )
    for source in (ROOT / "jcb_engine").rglob("*.py"):
        if source.name != "torch_files.py":
            assert not forbidden.search(source.read_text()), source


def test_the_one_place_that_unpickles_takes_tensors_alone() -> None:
    source = (ROOT / "jcb_engine" / "torch_files.py").read_text()
    calls = re.findall(r"torch\.load\(([^)]*)\)", source)
    assert calls
    assert all("weights_only=True" in call for call in calls)
