"""The spool gives back what was added: fp16 bit for bit, float32 to fp16's precision, at any norm."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.errors import InputError
from jcb_engine.indexing import spool as spool_module
from jcb_engine.indexing.spool import VectorSpool, check_vectors
from tests.conftest import random_embeddings


def test_chunks_and_rows_come_back_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "WINDOW_TOKENS", 50)
    values, offsets = random_embeddings(40, 6)
    halves = values.astype(np.float16)
    spool = VectorSpool(tmp_path, 6)
    spool.append(halves[: offsets[10]], offsets[:11])
    spool.append(halves[offsets[10] :], offsets[10:] - offsets[10])
    spool.finish()
    np.testing.assert_array_equal(spool.lengths, np.diff(offsets))
    chunks = list(spool.chunks())
    assert len(chunks) > 5
    np.testing.assert_array_equal(np.concatenate([chunk.values for chunk in chunks]), halves.astype(np.float32))
    assert [len(rows) for chunk in chunks for rows in chunk] == np.diff(offsets).tolist()
    for row, vectors in zip([7, 0, 39], spool.vectors_of(np.array([7, 0, 39])), strict=True):
        np.testing.assert_array_equal(vectors, halves[offsets[row] : offsets[row + 1]].astype(np.float32))


@settings(max_examples=50, deadline=None)
@given(power=st.integers(-30, 30), seed=st.integers(0, 100))
def test_any_norm_keeps_its_precision(tmp_path_factory: pytest.TempPathFactory, power: int, seed: int) -> None:
    values = (np.random.default_rng(seed).standard_normal((9, 5)) * 10.0**power).astype(np.float32)
    values[3] = 0
    spool = VectorSpool(tmp_path_factory.mktemp("spool"), 5)
    spool.append(values, np.array([0, 4, 9]))
    spool.finish()
    back = np.concatenate([chunk.values for chunk in spool.chunks()])
    largest = np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(back - values) <= largest * 2.0**-11).all()
    np.testing.assert_array_equal(back[3], 0)


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        (np.zeros((3, 4), np.float32), [0, 3], "4 dimensions; this index was created with dim=5"),
        (np.zeros((3, 5), np.float64), [0, 3], "float64; expected float32 or float16"),
        (np.zeros((3, 5), np.float32), [0, 2], "must rise from 0 to the number of tokens"),
        (np.zeros((3, 5), np.float32), [0, 3, 1, 3], "must rise"),
        (np.zeros(15, np.float32), [0, 3], "expected \\[tokens, dim\\]"),
        (np.full((3, 5), np.nan, np.float32), [0, 3], "token vector 0 of these holds NaN"),
    ],
)
def test_vectors_that_cannot_be_are_refused(
    tmp_path: Path, values: np.ndarray, offsets: list[int], message: str
) -> None:
    spool = VectorSpool(tmp_path, 5)
    with pytest.raises(InputError, match=message):
        spool.append(*check_vectors(["d"] * (len(offsets) - 1), values, np.array(offsets), spool.dim))
    spool.abandon()
