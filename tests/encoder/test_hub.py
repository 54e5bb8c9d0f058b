"""A name on the hub: what is fetched and how, with the real client over a cache that lies as the client lays it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("transformers", reason="needs jcb-engine[models]")

from jcb_engine.encoder import Encoder, known_models  # noqa: E402
from jcb_engine.errors import EncoderError, InputError  # noqa: E402
from tests.encoder import checkpoints  # noqa: E402

COMMIT, OLDER = "4cf816e5e2b03167b132a3c847a9ecd48ba708e1", "1" * 40
NAME = "jinaai/jina-colbert-v2"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two commits of a model; the older one is tagged v0."""
    home = tmp_path / "models--jinaai--jina-colbert-v2"
    for commit, length in ((COMMIT, 32), (OLDER, 24)):
        snapshot = home / "snapshots" / commit
        snapshot.mkdir(parents=True)
        checkpoints.write_jina_v2(snapshot)
        metadata = {"query_token_id": "[QueryMarker]", "doc_token_id": "[DocumentMarker]", "query_maxlen": length}
        checkpoints.write_json(snapshot / "artifact.metadata", metadata)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    (home / "refs" / "v0").write_text(OLDER)
    for module in ("constants", "file_download.constants", "_snapshot_download.constants"):
        monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("cache")
def test_a_name_loads_from_the_cache_without_a_network() -> None:
    encoder = Encoder(NAME, local_files_only=True)
    assert (encoder.record.name, encoder.record.revision) == (NAME, COMMIT)
    assert encoder.encode_query(["Hello World"]).values.shape == (32, checkpoints.DIM)


@pytest.mark.usefixtures("cache")
def test_a_revision_is_the_one_that_is_asked_for_and_is_recorded() -> None:
    older = Encoder(NAME, revision="v0", local_files_only=True)
    assert (older.record.revision, older.record.query_length) == (OLDER, 24)
    again = Encoder.from_record(older.record, local_files_only=True)
    assert again.record == older.record
    with pytest.raises(EncoderError, match="is not in the hub's cache on this machine"):
        Encoder(NAME, revision="v9", local_files_only=True)


@pytest.mark.usefixtures("cache")
def test_the_licence_is_told_when_weights_are_first_loaded(caplog: pytest.LogCaptureFixture) -> None:
    known_models.forget_told()
    Encoder(NAME, local_files_only=True)
    Encoder(NAME, local_files_only=True)
    told = [record.getMessage() for record in caplog.records if "CC-BY-NC-4.0" in record.getMessage()]
    assert told == [
        "the weights of 'jinaai/jina-colbert-v2' are Jina AI's, under CC-BY-NC-4.0: "
        "they may not be used commercially without their permission"
    ]


def test_the_licence_of_others_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Encoder(checkpoints.write_jina_v1(tmp_path))  # Apache-2.0
    assert not [record for record in caplog.records if "CC-BY-NC" in record.getMessage()]


def test_only_what_is_needed_is_fetched_with_what_the_caller_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client itself is replaced here: its calls are what is looked at."""
    snapshot = cache / "models--jinaai--jina-colbert-v2" / "snapshots" / COMMIT
    calls = []

    def snapshot_download(name: str, **arguments: object) -> str:
        calls.append((name, arguments))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    Encoder(NAME, revision="abc", token="hf_secret")
    assert [name for name, _ in calls] == [NAME, NAME]
    for _, arguments in calls:
        assert (arguments["revision"], arguments["token"]) == ("abc", "hf_secret")
        assert "onnx/*" in arguments["ignore_patterns"]
    small, all_files = (arguments["allow_patterns"] for _, arguments in calls)
    assert not {"*.safetensors", "*.bin"} & set(small)
    assert "*.safetensors" in all_files
    assert not {"*", "*.bin", "*.onnx", "*.pt"} & set(all_files)


def test_an_encoder_without_a_head_is_refused_before_its_weights_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.write_json(tmp_path / "config.json", {"architectures": ["BertModel"], "model_type": "bert"})
    calls = []

    def snapshot_download(name: str, **arguments: object) -> str:
        calls.append(arguments["allow_patterns"])
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(EncoderError, match="'owner/name' is an encoder without a trained projection"):
        Encoder("owner/name")
    assert len(calls) == 1


def test_a_revision_is_for_the_hub(tmp_path: Path) -> None:
    for name in ("mini", str(checkpoints.write_jina_v2(tmp_path))):
        with pytest.raises(InputError, match=r"revision 'v0' is asked of '.*', which is not on the hub"):
            Encoder(name, revision="v0")


def test_a_cache_that_lost_its_weights_is_told(cache: Path) -> None:
    snapshot = cache / "models--jinaai--jina-colbert-v2" / "snapshots" / COMMIT
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="'jinaai/jina-colbert-v2' has no weights in the hub's cache"):
        Encoder(NAME, local_files_only=True)
    shutil.rmtree(snapshot)
    with pytest.raises((EncoderError, InputError), match="jinaai/jina-colbert-v2"):
        Encoder(NAME, local_files_only=True)
