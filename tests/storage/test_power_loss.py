"""After a power loss at any operation, an index holds the last acknowledged version or the one in flight, whole."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import pytest

from jcb_engine.errors import JcbError, NotAnIndexError
from jcb_engine.storage import Snapshot, verify

from .sample_index import UnsyncedFiles, commit_sample, marker_of
from .simulated_files import Image, SimulatedFiles, _File, write_image

# What versions 1, 2, ... hold; the third equals the first, so a commit meets a folder that has its name already.
MARKERS = [1, 2, 1, 3]


class PromiseBrokenError(Exception):
    """A power loss that an index did not survive."""


class PowerLossTrial:
    """Runs commits on a simulated disk and checks every crash image at every operation boundary."""

    def __init__(
        self, files: SimulatedFiles, folder: Path, *, acknowledged: int = 0, seed: int = 0, random_subsets: int = 6
    ) -> None:
        self.files = files
        self.folder = folder
        self.images = 0
        self.distinct: dict[bytes, int] = {}  # digest of an image -> version it recovers to
        self.recommitted = 0
        self.survivors: list[tuple[int, Image]] = []  # some images, staging included, with their version
        self._generator = random.Random(seed)
        self._random_subsets = random_subsets
        self._acknowledged = acknowledged
        files.after_operation = self._check

    def run(self, commits: int) -> None:
        for _ in range(commits):
            version = commit_sample("unused", _marker(self._acknowledged + 1), files=self.files)
            assert version == self._acknowledged + 1
            self._acknowledged = version
            self._check()

    def _check(self) -> None:
        for image in self.files.crash_images(self._generator, self._random_subsets):
            self.images += 1
            digest = _digest(image)
            if digest not in self.distinct:
                self.distinct[digest] = self._recover(image)
                self.survivors.append((self.distinct[digest], image))
            recovered = self.distinct[digest]
            if recovered not in (self._acknowledged, self._acknowledged + 1):
                raise PromiseBrokenError(f"version {recovered} after {self._acknowledged} was acknowledged")

    def _recover(self, image: Image) -> int:
        root = self.folder / str(len(self.distinct))
        write_image(image, root)
        try:
            return self._open(root)
        finally:
            shutil.rmtree(root)

    def _open(self, root: Path) -> int:
        try:
            with Snapshot.open(root) as snapshot:
                assert marker_of(snapshot) == _marker(snapshot.version)
            assert verify(root).problems == []
        except NotAnIndexError:
            return 0
        except (JcbError, AssertionError) as error:
            raise PromiseBrokenError(str(error)) from error
        if len(self.distinct) % 20 == 0:  # what is left must not stand in the way of the next commit
            assert commit_sample(root, 7, files=UnsyncedFiles(root)) == snapshot.version + 1
            with Snapshot.open(root) as after:
                assert marker_of(after) == 7
            self.recommitted += 1
        return snapshot.version


def _marker(version: int) -> int:
    return MARKERS[(version - 1) % len(MARKERS)]


def _digest(image: Image) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for path, contents in sorted(image.items()):
        if not path.startswith("staging"):
            digest.update(f"{path}\0{-1 if contents is None else len(contents)}\0".encode() + (contents or b""))
    return digest.digest()


def test_every_power_loss_leaves_the_acknowledged_version_or_the_one_in_flight(tmp_path: Path) -> None:
    trial = PowerLossTrial(SimulatedFiles(tmp_path / "scratch"), tmp_path / "images")
    trial.run(commits=4)
    assert trial.images > 5_000
    assert len(trial.distinct) > 60
    assert trial.recommitted > 3


def test_a_second_power_loss_during_the_commit_after_the_first_is_survived_too(tmp_path: Path) -> None:
    first = PowerLossTrial(SimulatedFiles(tmp_path / "scratch"), tmp_path / "images")
    first.run(commits=2)
    chosen = random.Random(0).sample(first.survivors, 8)
    for number, (version, image) in enumerate(chosen):
        files = SimulatedFiles(tmp_path / f"scratch-{number}")
        files.load(image)
        PowerLossTrial(files, tmp_path / f"images-{number}", acknowledged=version, random_subsets=1).run(commits=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_every_power_loss_with_many_more_subsets_of_names(tmp_path: Path, seed: int) -> None:
    PowerLossTrial(SimulatedFiles(tmp_path / "scratch"), tmp_path / "images", seed=seed, random_subsets=60).run(4)


class NoFsyncOfData(SimulatedFiles):
    def make_data_durable(self, path: str, node: _File) -> None:
        if path.endswith("/manifest"):
            super().make_data_durable(path, node)


class NoFsyncOfDocuments(SimulatedFiles):
    def make_data_durable(self, path: str, node: _File) -> None:
        if not path.endswith("documents.sqlite"):
            super().make_data_durable(path, node)


class NoFsyncOfManifest(SimulatedFiles):
    def make_data_durable(self, path: str, node: _File) -> None:
        if not path.endswith("/manifest"):
            super().make_data_durable(path, node)


class NoFsyncOfSegmentFolder(SimulatedFiles):
    def fsync_directory(self, path: str) -> None:
        if "/segment-" not in path:
            super().fsync_directory(path)


class NoFsyncOfCodecFolder(SimulatedFiles):
    def fsync_directory(self, path: str) -> None:
        if "/codec-" not in path:
            super().fsync_directory(path)


class NoFsyncOfSegmentsFolder(SimulatedFiles):
    def fsync_directory(self, path: str) -> None:
        if path != "segments":
            super().fsync_directory(path)


class NoFsyncOfCodecsFolder(SimulatedFiles):
    def fsync_directory(self, path: str) -> None:
        if path != "codec":
            super().fsync_directory(path)


class NoFsyncOfRootBeforePublishing(SimulatedFiles):
    def fsync_directory(self, path: str) -> None:
        if path != "" or self.operations[-1][0] == "publish":
            super().fsync_directory(path)


class NoFsyncOfRootAfterPublishing(SimulatedFiles):
    def fsync_directory(self, path: str) -> None:
        if path != "" or self.operations[-1][0] != "publish":
            super().fsync_directory(path)


class ManifestWrittenInPlace(SimulatedFiles):
    def publish(self, source: str, target: str) -> None:
        file = self.create(target)
        file.write(self.map(source))
        file.fsync()
        self.operations.append(("publish", target))


class ManifestPublishedBeforeItsFolders(SimulatedFiles):
    """Moves folders only after the manifest has its name: the order of steps 2 and 5 exchanged."""

    def __init__(self, scratch_root: Path) -> None:
        super().__init__(scratch_root)
        self._late: list[tuple[str, str]] = []

    def rename(self, source: str, target: str) -> None:
        self._late.append((source, target))

    def publish(self, source: str, target: str) -> None:
        super().publish(source, target)
        for late_source, late_target in self._late:
            super().rename(late_source, late_target)
        self._late = []
        for folder in ("codec", "segments"):
            super().fsync_directory(folder)


MUTANTS = [
    NoFsyncOfData,
    NoFsyncOfDocuments,
    NoFsyncOfManifest,
    NoFsyncOfSegmentFolder,
    NoFsyncOfCodecFolder,
    NoFsyncOfSegmentsFolder,
    NoFsyncOfCodecsFolder,
    NoFsyncOfRootBeforePublishing,
    NoFsyncOfRootAfterPublishing,
    ManifestWrittenInPlace,
    ManifestPublishedBeforeItsFolders,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_commit_without_one_of_its_steps_is_caught(tmp_path: Path, mutant: type[SimulatedFiles]) -> None:
    trial = PowerLossTrial(mutant(tmp_path / "scratch"), tmp_path / "images")
    with pytest.raises(PromiseBrokenError):
        trial.run(commits=2)
