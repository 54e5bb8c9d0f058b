"""`verify` finds every flipped bit and every truncation; readers of a damaged index get our errors or an answer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jcb_engine.errors import CorruptIndexError, IndexNotFoundError, JcbError, NotAnIndexError
from jcb_engine.storage import Snapshot, verify
from jcb_engine.storage.checksum import hash_file
from jcb_engine.storage.files import LocalFiles
from jcb_engine.storage.layout import manifest_name
from jcb_engine.storage.manifest import Manifest
from jcb_engine.storage.versions import read_manifest
from jcb_engine.types import AnyArray

from .sample_index import UnsyncedFiles, commit_sample, files_of, read_everything, some_positions


@pytest.fixture
def index(tmp_path: Path) -> Path:
    commit_sample(tmp_path / "index", 2, files=UnsyncedFiles(tmp_path / "index"))
    return tmp_path / "index"


def test_a_sound_index_has_no_problems_and_every_byte_was_read(index: Path) -> None:
    report = verify(index)
    assert report.problems == []
    assert report.version == 1
    assert report.files_checked == len(files_of(index))
    assert report.bytes_checked == sum(map(len, files_of(index).values()))


def _check_damage(index: Path, name: str, content: bytes, what: str) -> None:
    (index / name).write_bytes(content)
    problems = verify(index).problems
    assert problems, f"{what} of {name} was not found"
    assert Path(name).name in " ".join(problems), problems
    try:
        with Snapshot.open(index) as snapshot:
            read_everything(snapshot)
    except JcbError:
        return


def _check_flips_and_truncations(index: Path, positions_of: Callable[[str, int], list[int]]) -> int:
    checked = 0
    for name, content in files_of(index).items():
        for position in positions_of(name, len(content)):
            flipped = bytearray(content)
            flipped[position] ^= 1 << (position * 5 % 8)
            _check_damage(index, name, bytes(flipped), f"bit flip at byte {position}")
            _check_damage(index, name, content[:position], f"truncation to {position} bytes")
            checked += 2
        (index / name).write_bytes(content)
    assert verify(index).problems == []
    return checked


def test_flips_and_truncations_of_every_file_are_found_and_never_crash_a_reader(index: Path) -> None:
    assert _check_flips_and_truncations(index, lambda name, length: some_positions(length, 24, seed=length)) > 500


@pytest.mark.slow
def test_all_flips_and_truncations_of_every_file_are_found_and_never_crash_a_reader(index: Path) -> None:
    assert _check_flips_and_truncations(index, lambda name, length: list(range(length))) > 30_000


def test_bytes_behind_the_end_and_missing_files_are_found(index: Path) -> None:
    for name, content in files_of(index).items():
        _check_damage(index, name, content + b"\0", "an added byte")
        (index / name).write_bytes(content)
        if not name.startswith("manifest"):
            (index / name).unlink()
            assert any("is missing" in problem and Path(name).name in problem for problem in verify(index).problems)
            with pytest.raises(CorruptIndexError, match="is missing"):
                Snapshot.open(index)
        (index / name).write_bytes(content)


def test_all_damage_is_reported_not_only_the_first(index: Path) -> None:
    names = [name for name in files_of(index) if name.endswith(".bin")]
    for name in names:
        content = (index / name).read_bytes()
        (index / name).write_bytes(content[:-1] + b"\1")
    problems = verify(index).problems
    assert all(any(Path(name).name in problem for problem in problems) for name in names)


def test_a_damaged_manifest_is_a_problem_of_the_report(index: Path) -> None:
    (index / manifest_name(1)).write_bytes(b"x")
    report = verify(index)
    assert (report.version, report.files_checked) == (1, 0)
    assert "checksum" in report.problems[0]


def test_what_is_not_an_index_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(NotAnIndexError):
        verify(tmp_path)
    with pytest.raises(IndexNotFoundError):
        verify(tmp_path / "missing")


def _forge(index: Path, name: str, change: Callable[[AnyArray], None]) -> None:
    """Change an array and make every checksum fit, as only somebody hostile (or a defect of a writer) would."""
    (path,) = index.glob(f"segments/*/{name}.bin")
    with Snapshot.open(index) as snapshot:
        (segment,) = snapshot.segments
        values = np.array(segment.array(name))
    change(values)
    content = path.read_bytes()
    path.write_bytes(values.tobytes() + content[values.nbytes :])
    files = LocalFiles(index)
    manifest = read_manifest(files, 1)
    (record,) = manifest.segments
    hashed = {**record.files, f"{name}.bin": hash_file(files, str(path.relative_to(index)))}
    forged = dataclasses.replace(manifest, segments=(dataclasses.replace(record, files=hashed),))
    assert isinstance(forged, Manifest)
    (index / manifest_name(1)).write_bytes(forged.to_bytes())


def _set(position: int, value: float) -> Callable[[AnyArray], None]:
    def change(values: AnyArray) -> None:
        values[position] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("doc_offsets", _set(0, 1), "doc_offsets goes from 1 to 8; expected 0 to 8"),
        ("doc_offsets", _set(-1, 7), "doc_offsets goes from 0 to 7; expected 0 to 8"),
        ("doc_offsets", _set(1, 5), "doc_offsets falls after entry 1"),
        ("doc_offsets", _set(1, -1), "doc_offsets falls after entry 0"),
        ("centroid_ids", _set(4, 3), "centroid_ids\\[4\\] is 3; expected less than 3"),
        ("posting_offsets", _set(1, 100), "posting_offsets falls"),
        ("posting_documents", _set(0, 4), "posting_documents\\[0\\] is 4; expected less than 4"),
        ("posting_documents", lambda values: values.fill(1), "does not rise inside its list"),
        ("parents", _set(2, 2**31), "parents\\[2\\] is 2147483648"),
        ("sigmas", _set(1, float("nan")), "sigmas\\[1\\] is nan"),
        ("norms", _set(1, float("inf")), "norms\\[1\\] is inf"),
        ("norms", _set(0, -1.0), "norms\\[0\\] is -1.0"),
    ],
)
def test_structure_is_checked_where_checksums_fit(
    index: Path, name: str, change: Callable[[AnyArray], None], problem: str
) -> None:
    _forge(index, name, change)
    problems = verify(index).problems
    assert len(problems) >= 1
    assert re.search(problem, problems[0]), problems
    assert "/segments/" in problems[0]


def test_lists_that_start_lower_than_the_last_one_ended_are_sound(index: Path) -> None:
    with Snapshot.open(index) as snapshot:
        documents = snapshot.segments[0].array("posting_documents")
        assert (np.diff(documents.astype(np.int64)) <= 0).any(), "the sample must have such lists"
    assert verify(index).problems == []
