"""A tiny index whose every part follows from one number, its marker: parts of two versions cannot be mixed unseen."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from jcb_engine.storage import Snapshot, Transaction
from jcb_engine.storage.files import Files, LocalFile, LocalFiles
from jcb_engine.types import AnyArray, Document

CENTROIDS = 3
DIM = 4


class UnsyncedFile(LocalFile):
    def fsync(self) -> None:
        return


class UnsyncedFiles(LocalFiles):
    """LocalFiles that promises nothing about power, for tests that are about something else."""

    def create(self, path: str) -> UnsyncedFile:
        return UnsyncedFile(self.root / path)

    def fsync(self, path: str) -> None:
        self.size(path)

    def fsync_directory(self, path: str) -> None:
        self.list(path)


def documents_of(marker: int) -> list[Document]:
    count = 2 + marker % 3
    return [
        Document(id=f"{marker}-{row}", text=f"text {row} of {marker}", title="t" * row, metadata={"marker": marker})
        for row in range(count)
    ]


def arrays_of(marker: int) -> dict[str, AnyArray]:
    """Arrays of a segment: every document has two tokens, every centroid's list is ascending."""
    generator = np.random.default_rng(marker)
    documents = 2 + marker % 3
    tokens = 2 * documents
    ids = generator.integers(0, CENTROIDS, tokens).astype(np.uint16)
    lists = [sorted({token // 2 for token in range(tokens) if ids[token] == c}) for c in range(CENTROIDS)]
    return {
        "doc_offsets": np.arange(0, tokens + 1, 2, dtype=np.int64),
        "centroid_ids": ids,
        "codes": generator.integers(0, 256, (tokens, 1)).astype(np.uint8),
        "sigmas": generator.random(tokens).astype(np.float16),
        "norms": generator.random(tokens).astype(np.float16),
        "posting_offsets": np.cumsum([0, *map(len, lists)], dtype=np.int64),
        "posting_documents": np.array([row for members in lists for row in members], dtype=np.uint32),
        "parents": np.arange(documents, dtype=np.uint32),
    }


def codec_of(marker: int) -> dict[str, AnyArray]:
    return {
        "centroids": np.full((CENTROIDS, DIM), marker, dtype=np.float32),
        "cutoffs": np.zeros(3, dtype=np.float32),
        "levels": np.arange(4, dtype=np.float32),
    }


def write_sample(transaction: Transaction, marker: int) -> None:
    """Stage the codec and the segment of a marker."""
    codec_id = transaction.write_codec(codec_of(marker), {"dim": DIM, "nbits": 2})
    segment = transaction.new_segment()
    for document in documents_of(marker):
        segment.documents.add(document)
    for name, values in arrays_of(marker).items():
        columns = values.shape[1] if values.ndim == 2 else None
        with segment.array(name, values.dtype, columns) as writer:
            writer.append(values)
    tokens = 2 * len(documents_of(marker))
    segment.seal(codec_id, token_count=tokens, statistics={"marker": marker})


def commit_sample(path: str | Path, marker: int, *, overwrite: bool = True, files: Files | None = None) -> int:
    """Publish the version of a marker."""
    with Transaction.begin(path, overwrite=overwrite, files=files) as transaction:
        write_sample(transaction, marker)
        return transaction.commit(encoder={"marker": marker}, settings={"marker": marker})


def marker_of(snapshot: Snapshot) -> int:
    """The marker of a snapshot, after every byte that a reader can reach was compared with what it must be."""
    assert snapshot.manifest.encoder is not None
    marker = snapshot.manifest.encoder["marker"]
    assert isinstance(marker, int)
    (segment,) = snapshot.segments
    assert snapshot.manifest.settings["marker"] == segment.statistics["marker"] == marker
    codec = snapshot.codec(segment.codec_id)
    for name, values in codec_of(marker).items():
        np.testing.assert_array_equal(codec.array(name), values)
    for name, values in arrays_of(marker).items():
        np.testing.assert_array_equal(segment.array(name), values)
    assert [document for batch in segment.documents.iterate() for document in batch] == documents_of(marker)
    return marker


def read_everything(snapshot: Snapshot) -> None:
    """Touch every byte that a reader can reach, whatever it holds."""
    for segment in snapshot.segments:
        for name in segment.file_sizes():
            array = name.removesuffix(".bin")
            if segment.has_array(array):
                segment.array(array).tobytes()
        rows = range(len(segment.documents))
        ids = segment.documents.ids(rows)
        segment.documents.rows_of([*ids, "not there"])
        segment.documents.get(rows)
        for batch in segment.documents.iterate(batch_size=2):
            for document in batch:
                assert isinstance(document.text, str)


def files_of(root: Path) -> dict[str, bytes]:
    """All files of an index but the LOCK, by relative path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "LOCK"
    }


def some_positions(length: int, count: int, seed: int) -> list[int]:
    """Up to `count` positions of a file: both ends (where the format lives) and a seeded sample between."""
    edge = min(length, count // 3)
    middle = range(edge, max(edge, length - edge))
    sample = random.Random(seed).sample(middle, min(len(middle), count - 2 * edge)) if len(middle) else []
    return sorted({*range(edge), *sample, *range(max(length - edge, 0), length)})
