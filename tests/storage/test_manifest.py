"""A manifest says one thing or is refused, with the file and the field; nothing in it leads out of the index."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jcb_engine.errors import CorruptIndexError, IndexTooNewError, IndexTooOldError, InputError, JcbError
from jcb_engine.storage import Manifest, Snapshot, verify
from jcb_engine.storage import manifest as manifest_module
from jcb_engine.storage.checksum import hash_bytes
from jcb_engine.storage.layout import is_plain_name, manifest_name

from .sample_index import UnsyncedFiles, commit_sample, read_everything

Json = dict[str, Any]
_ID = "0123456789abcdef" * 2
_FILE = {"size": 64, "xxh3_128": _ID}


def _sound() -> Json:
    segment = {
        "id": _ID,
        "codec": _ID,
        "documents": 1,
        "tokens": 2,
        "statistics": {},
        "files": {"codes.bin": dict(_FILE)},
        "tombstones": {"name": f"{_ID}.1.bin", **_FILE},
    }
    return {
        "format_version": 0,
        "min_reader_version": 0,
        "writer": "jcb-engine 0.1.0",
        "version": 1,
        "created": "2026-01-02T03:04:05Z",
        "encoder": None,
        "settings": {},
        "codecs": {_ID: {"files": {"centroids.bin": dict(_FILE)}, "properties": {"dim": 4}}},
        "segments": [segment],
    }


def _file(body: object) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return hash_bytes(text).encode() + b"\n" + text


def _parse(body: object) -> Manifest:
    return Manifest.from_bytes(_file(body), "manifest.7")


def test_a_manifest_comes_back_and_its_bytes_are_canonical() -> None:
    manifest = _parse(_sound())
    data = manifest.to_bytes()
    assert Manifest.from_bytes(data, "x") == manifest
    checksum, _, body = data.partition(b"\n")
    assert checksum == hash_bytes(body).encode()
    assert body == json.dumps(_sound(), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _set(*path: str | int) -> Callable[[Json, object], None]:
    def change(body: Json, value: object) -> None:
        target: Any = body
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "value", "field"),
    [
        (_set("version"), -1, "version is -1"),
        (_set("version"), True, "version is True"),
        (_set("version"), 1.0, "version is 1.0"),
        (_set("version"), 2**63, "version is 9223372036854775808"),
        (_set("created"), "yesterday", "created is 'yesterday'"),
        (_set("writer"), "a\nb", "writer is"),
        (_set("encoder"), [], "encoder is \\[\\]"),
        (_set("settings"), None, "settings is None"),
        (_set("codecs"), [], "codecs is \\[\\]"),
        (_set("codecs", "../x"), {}, "codecs\\['../x'\\]"),
        (_set("codecs", _ID, "properties"), 3, "properties is 3"),
        (_set("codecs", _ID, "more"), 3, "unknown field 'more'"),
        (_set("segments"), {}, "segments is {}"),
        (_set("segments", 0), 3, "segments\\[0\\] is 3"),
        (_set("segments", 0, "id"), "../../etc", "segments\\[0\\].id is '../../etc'"),
        (_set("segments", 0, "id"), _ID.upper(), "segments\\[0\\].id is"),
        (_set("segments", 0, "codec"), "f" * 32, "segments\\[0\\].codec is f+, which is not among the codecs"),
        (_set("segments", 0, "documents"), 2**32 + 1, "segments\\[0\\].documents"),
        (_set("segments", 0, "tokens"), "2", "segments\\[0\\].tokens is '2'"),
        (_set("segments", 0, "files", "codes.bin", "size"), -64, "files\\['codes.bin'\\].size is -64"),
        (_set("segments", 0, "files", "codes.bin", "xxh3_128"), "x", "xxh3_128 is 'x'"),
        (_set("segments", 0, "files", "codes.bin", "url"), "http://x", "unknown field 'url'"),
        (_set("segments", 0, "tombstones", "name"), "../LOCK", "tombstones.name is"),
        (_set("segments", 0, "tombstones"), False, "tombstones is False"),
        (_set("surprise"), 1, "unknown field 'surprise'"),
    ],
)
def test_each_wrong_field_is_named_with_its_file(
    change: Callable[[Json, object], None], value: object, field: str
) -> None:
    body = _sound()
    change(body, value)
    with pytest.raises(CorruptIndexError, match=rf"^manifest\.7: .*{field}"):
        _parse(body)


@pytest.mark.parametrize("name", [*_sound()])
def test_each_missing_field_is_named(name: str) -> None:
    body = _sound()
    del body[name]
    with pytest.raises(CorruptIndexError, match=f"has no {name}"):
        _parse(body)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", "a\nb", "a\\b", "x" * 256, "\x7f", "\u202e", "\ud800"]
)
def test_names_that_are_not_plain_are_refused(name: str) -> None:
    assert not is_plain_name(name)
    body = _sound()
    body["segments"][0]["files"] = {name: dict(_FILE)}
    with pytest.raises(CorruptIndexError, match="no plain file name"):
        _parse(body)


def test_the_same_segment_twice_is_refused() -> None:
    body = _sound()
    body["segments"] *= 2
    with pytest.raises(CorruptIndexError, match="same id twice"):
        _parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"a": NaN}',
        b'{"version": ' + b"9" * 5000 + b"}",
        b'{"version": 1, "version": 2}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_not_the_json_of_a_manifest_is_damage(body: bytes) -> None:
    with pytest.raises(CorruptIndexError, match=r"manifest\.7"):
        _parse(body)


@pytest.mark.parametrize("data", [b"", b"\n", b"0" * 32, b"0" * 32 + b"\n{}", _file({})[:-1], b" " + _file({})])
def test_a_checksum_that_does_not_fit_is_damage(data: bytes) -> None:
    with pytest.raises(CorruptIndexError, match="checksum"):
        Manifest.from_bytes(data, "manifest.7")


def test_a_newer_index_is_too_new_and_not_called_damaged() -> None:
    body = {"format_version": 9, "min_reader_version": 7, "other": "shape"}
    with pytest.raises(IndexTooNewError, match=r"format 7.* up to format 0.* newer jcb-engine"):
        _parse(body)


def test_a_newer_format_that_admits_this_reader_is_read_past_its_additions() -> None:
    assert _parse({**_sound(), "format_version": 9, "surprise": 1}).format_version == 9


def test_an_older_format_than_the_oldest_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "OLDEST_READABLE_FORMAT", 1)
    with pytest.raises(IndexTooOldError, match=r"format 0.* from format 1"):
        _parse(_sound())


def test_times_honour_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    assert manifest_module.creation_time() == "2026-01-02T03:04:05Z"
    for wrong in ("", "soon", "1e9", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
            manifest_module.creation_time()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert _parse({**_sound(), "created": manifest_module.creation_time()}).created.startswith("2")


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 2, 64, 128, 2**32, 2**63 - 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["..", "/", "a/b", "documents.sqlite", "codes.bin", _ID, {}, []]),
)


def _mutate(body: Any, data: st.DataObject) -> Any:
    """Replace, remove, add or copy one value somewhere in a JSON value."""
    target, steps = body, data.draw(st.integers(0, 6))
    for _ in range(steps):
        children = list(target) if isinstance(target, dict) else list(range(len(target)))
        containers = [key for key in children if isinstance(target[key], (dict, list)) and target[key]]
        if not containers:
            break
        target = target[data.draw(st.sampled_from(containers))]
    keys = list(target) if isinstance(target, dict) else list(range(len(target)))
    key = data.draw(st.sampled_from(keys))
    action = data.draw(st.sampled_from(["replace", "remove", "add", "swap"]))
    if action == "replace":
        target[key] = data.draw(_VALUES)
    elif action == "remove":
        del target[key]
    elif action == "swap":
        other = data.draw(st.sampled_from(keys))
        target[key], target[other] = target[other], target[key]
    elif isinstance(target, dict):
        target[data.draw(st.text(max_size=5) | st.just("tokens.bin"))] = data.draw(_VALUES | st.just(dict(_FILE)))
    else:
        target.append(copy.deepcopy(target[key]))
    return body


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "index"
    commit_sample(root, 1, files=UnsyncedFiles(root))
    return root


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_hostile_manifest_raises_our_errors_only(index: Path, data: st.DataObject) -> None:
    path = index / manifest_name(1)
    original = path.read_bytes()
    body = json.loads(original.partition(b"\n")[2])
    for _ in range(data.draw(st.integers(1, 3))):
        body = _mutate(body, data)
    try:
        path.write_bytes(_file(body))
        try:
            with Snapshot.open(index) as snapshot:
                read_everything(snapshot)
            verify(index)
        except JcbError:
            return
    finally:
        path.write_bytes(original)
