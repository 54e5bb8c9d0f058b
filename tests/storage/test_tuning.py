"""Curves in a manifest: published whole or not at all, kept by later commits, refused where they cannot be true."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jcb_engine.errors import CorruptIndexError, IndexChangedError, IndexLockedError, StorageError
from jcb_engine.storage import (
    Snapshot,
    Transaction,
    TunedPoint,
    TuningCurve,
    check_tunable,
    describe_index,
    publish_tuning,
    verify,
)
from jcb_engine.storage.fields import Field
from jcb_engine.storage.publish import OutcomeUnknownError
from jcb_engine.storage.tuning import MAX_CURVES, MAX_POINTS, read_tuning, short_text, tuning_json

from .fault_files import FaultFiles
from .sample_index import UnsyncedFiles, commit_sample, files_of, marker_of
from .simulated_files import SimulatedFiles, write_image

POINTS = (
    TunedPoint(4, 20, None, 0.91, 0.01, 1_000.0, 0.5),
    TunedPoint(None, 30, -0.25, 0.97, 0.005, 2_000.5, 0.75),
    TunedPoint(None, None, None, 1.0, 0.0, 1e6, 30.0),
)


def curve_of(content: str, version: int = 1, k: int = 10) -> TuningCurve:
    return TuningCurve(
        k=k,
        stage="centroids Flat",
        query_source="file fragen_ä.tsv",
        queries=300,
        version=version,
        content=content,
        created="2026-01-02T03:04:05Z",
        machine="a processor, 2 cores",
        backend="cpu/avx2",
        threads=2,
        asked_recall=0.99,
        points=POINTS,
    )


def content_of(root: Path) -> str:
    with Snapshot.open(root) as snapshot:
        return snapshot.manifest.content


@pytest.fixture
def index(tmp_path: Path) -> Path:
    root = tmp_path / "index"
    commit_sample(root, 1, files=UnsyncedFiles(root))
    return root


def test_a_curve_comes_back_as_it_was_and_the_content_is_the_same(index: Path) -> None:
    curve = curve_of(content_of(index))
    assert publish_tuning(index, curve) == 2
    with Snapshot.open(index) as snapshot:
        assert snapshot.manifest.tuning == (curve,)
        assert snapshot.manifest.content == curve.content
        assert marker_of(snapshot) == 1
        (info,) = describe_index(snapshot, str(index)).tuning
        assert info.is_current
    assert verify(index).problems == []


def test_a_version_without_curves_says_nothing_of_them(index: Path) -> None:
    assert b"tuning" not in files_of(index)[f"manifest.{1:020d}"]


def test_a_commit_of_another_content_keeps_the_curve_as_stale_and_the_old_content_revives_it(index: Path) -> None:
    curve = curve_of(content_of(index))
    publish_tuning(index, curve)
    for marker, is_current in [(2, False), (1, True)]:
        commit_sample(index, marker)
        with Snapshot.open(index) as snapshot:
            assert snapshot.manifest.tuning == (curve,)
            assert describe_index(snapshot, "x").tuning[0].is_current is is_current


def test_a_curve_of_another_content_is_refused(index: Path) -> None:
    curve = curve_of(content_of(index))
    with Snapshot.open(index) as old:
        commit_sample(index, 2)
        before = files_of(index)
        with pytest.raises(IndexChangedError, match="version 1 was opened to be tuned, version 2 holds something else"):
            publish_tuning(index, curve)
        with pytest.raises(IndexChangedError):
            check_tunable(index, old.manifest)
    assert files_of(index) == before


def test_another_curve_that_was_published_meanwhile_is_kept(index: Path) -> None:
    content = content_of(index)
    for k in (20, 5, 10):
        publish_tuning(index, curve_of(content, k=k))
    publish_tuning(index, replace(curve_of(content, k=5), queries=7))
    with Snapshot.open(index) as snapshot:
        assert [(curve.k, curve.queries) for curve in snapshot.manifest.tuning] == [(5, 7), (10, 300), (20, 300)]


def test_while_somebody_writes_nothing_is_published(index: Path) -> None:
    with Snapshot.open(index) as snapshot, Transaction.begin(index, overwrite=True):
        for attempt in (
            lambda: check_tunable(index, snapshot.manifest),
            lambda: publish_tuning(index, curve_of(snapshot.manifest.content)),
        ):
            with pytest.raises(IndexLockedError):
                attempt()


def test_a_damaged_version_before_does_not_hinder_a_new_build(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = index / f"manifest.{1:020d}"
    path.write_bytes(path.read_bytes()[:-5])
    commit_sample(index, 2)
    with Snapshot.open(index) as snapshot:
        assert (marker_of(snapshot), snapshot.manifest.tuning) == (2, ())
    assert "what was tuned before is not kept" in caplog.text


def test_every_power_loss_while_publishing_leaves_the_version_before_or_the_curve(tmp_path: Path) -> None:
    files = SimulatedFiles(tmp_path / "scratch")
    commit_sample("unused", 1, files=files)
    write_image(next(iter(files.crash_images(random.Random(0)))), tmp_path / "content")
    curve = curve_of(content_of(tmp_path / "content"))
    generator, outcomes, images = random.Random(1), set(), 0

    def check() -> None:
        nonlocal images
        for image in files.crash_images(generator, 2):
            images += 1
            root = tmp_path / "image"
            write_image(image, root)
            with Snapshot.open(root) as snapshot:
                assert marker_of(snapshot) == 1
                assert snapshot.manifest.tuning in ((), (curve,))
                outcomes.add((snapshot.version, len(snapshot.manifest.tuning)))
            shutil.rmtree(root)

    files.after_operation = check
    assert publish_tuning("unused", curve, files=files) == 2
    outcomes_before_the_end, images_before_the_end = set(outcomes), images
    outcomes.clear()
    check()
    assert outcomes == {(2, 1)}, "acknowledged is durable"
    assert outcomes_before_the_end == {(1, 0), (2, 1)}
    assert images_before_the_end > 100


@pytest.mark.parametrize("start", [0, 1])
def test_every_failing_operation_leaves_the_version_before_or_the_curve(index: Path, start: int) -> None:
    content = content_of(index)
    scout = index.with_name("scout")
    shutil.copytree(index, scout)
    counting = FaultFiles(UnsyncedFiles(scout), -1, 0)
    publish_tuning(scout, curve_of(content), files=counting)
    assert len(counting.operations) > 10
    for fail_at in range(start, len(counting.operations), 2):
        trial = index.with_name(f"trial-{fail_at}")
        shutil.copytree(index, trial)
        error: StorageError | None = None
        try:
            publish_tuning(trial, curve_of(content), files=FaultFiles(UnsyncedFiles(trial), fail_at, 5))
        except StorageError as raised:
            error = raised
        with Snapshot.open(trial) as snapshot:
            assert marker_of(snapshot) == 1
            published = error is None or isinstance(error, OutcomeUnknownError)
            assert len(snapshot.manifest.tuning) == published
        shutil.rmtree(trial)


Json = dict[str, Any]


def _sound() -> list[Json]:
    return copy.deepcopy(tuning_json((curve_of("0123456789abcdef" * 2),)))  # type: ignore[arg-type,return-value]


def _read(value: object) -> tuple[TuningCurve, ...]:
    return read_tuning(Field(value, "manifest.7", "tuning"))


def test_what_is_written_is_read() -> None:
    assert _read(_sound()) == (curve_of("0123456789abcdef" * 2),)


def _set(*path: str | int) -> Callable[[list[Json], object], None]:
    def change(body: Any, value: object) -> None:
        for step in path[:-1]:
            body = body[step]
        body[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "value", "field"),
    [
        (_set(0), 3, r"tuning\[0\] is 3"),
        (_set(0, "k"), 0, r"tuning\[0\].k is 0"),
        (_set(0, "k"), True, "k is True"),
        (_set(0, "stage"), "", "stage is ''"),
        (_set(0, "stage"), "a\x1b[2J", "stage is"),
        (_set(0, "query_source"), "x" * 301, "query_source is"),
        (_set(0, "query_source"), 7, "query_source is 7"),
        (_set(0, "queries"), 0, "queries is 0"),
        (_set(0, "version"), -1, "version is -1"),
        (_set(0, "content"), "x", "content is 'x'"),
        (_set(0, "created"), "now", "created is 'now'"),
        (_set(0, "machine"), None, "machine is None"),
        (_set(0, "backend"), "a\nb", "backend is"),
        (_set(0, "threads"), 0, "threads is 0"),
        (_set(0, "asked_recall"), 1.5, "asked_recall is 1.5"),
        (_set(0, "asked_recall"), float("nan"), "asked_recall is nan"),
        (_set(0, "surprise"), 1, "unknown field 'surprise'"),
        (_set(0, "points"), {}, "points is {}"),
        (_set(0, "points"), [], "points must end with exact search"),
        (_set(0, "points"), [_sound()[0]["points"][-1]] * (MAX_POINTS + 1), "has 257 elements; at most 256"),
        (_set(0, "points", 0), None, r"points\[0\] is None"),
        (_set(0, "points", 0, "more"), 1, "unknown field 'more'"),
        (_set(0, "points", 0, "probes"), 0, r"points\[0\].probes is 0"),
        (_set(0, "points", 0, "documents"), 2**60, "documents is"),
        (_set(0, "points", 0, "documents"), None, "points must end with exact search"),
        (_set(0, "points", 2, "documents"), 5, "points must end with exact search"),
        (_set(0, "points", 0, "margin"), "wide", "margin is 'wide'"),
        (_set(0, "points", 0, "margin"), float("inf"), "margin is inf"),
        (_set(0, "points", 0, "recall"), 1.01, "recall is 1.01"),
        (_set(0, "points", 0, "recall"), False, "recall is False"),
        (_set(0, "points", 2, "recall"), 0.5, "give exact search a recall other than 1"),
        (_set(0, "points", 0, "standard_error"), -0.1, "standard_error is -0.1"),
        (_set(0, "points", 0, "cost"), 10**30, "cost is"),
        (_set(0, "points", 0, "cost"), 9_999, "not ordered by cost"),
        (_set(0, "points", 0, "median_ms"), None, "median_ms is None"),
    ],
)
def test_each_value_that_cannot_be_is_named(
    change: Callable[[list[Json], object], None], value: object, field: str
) -> None:
    body = _sound()
    change(body, value)
    with pytest.raises(CorruptIndexError, match=rf"^manifest\.7: .*{field}"):
        _read(body)


@pytest.mark.parametrize("name", [*_sound()[0]])
def test_each_missing_field_of_a_curve_is_named(name: str) -> None:
    body = _sound()
    del body[0][name]
    with pytest.raises(CorruptIndexError, match=f"has no {name}"):
        _read(body)


@pytest.mark.parametrize("name", [*_sound()[0]["points"][0]])
def test_each_missing_field_of_a_point_is_named(name: str) -> None:
    body = _sound()
    del body[0]["points"][0][name]
    with pytest.raises(CorruptIndexError, match=f"has no {name}"):
        _read(body)


def test_two_curves_for_one_thing_and_too_many_are_refused() -> None:
    with pytest.raises(CorruptIndexError, match="two curves for one k and stage"):
        _read(_sound() * 2)
    with pytest.raises(CorruptIndexError, match=f"at most {MAX_CURVES}"):
        _read([{**_sound()[0], "k": k} for k in range(1, MAX_CURVES + 2)])


def test_texts_that_come_from_outside_are_made_fit() -> None:
    assert short_text("file a\nb\x1b[0m.tsv") == "file ab[0m.tsv"
    assert short_text("\n\x00") == "unknown"
    assert len(short_text("é" * 1_000)) == 300
