"""The real weights of Jina-ColBERT-v2 give the published vectors of "Hello World".

Runs where the weights are: JCB_ENGINE_JINA_COLBERT_V2 names a folder with them, or the name on the hub to load them
from there. The values are those of fastembed's tests (fp32 ONNX export, first 5 of 128 dimensions).
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from jcb_engine.encoder import Encoder

VARIABLE = "JCB_ENGINE_JINA_COLBERT_V2"
DOCUMENT = [
    [0.0744, 0.0590, -0.2404, -0.1776, 0.0198],
    [0.1318, 0.0882, -0.1136, -0.2065, 0.1461],
    [-0.0178, -0.1359, -0.0136, -0.1075, -0.0509],
    [0.0004, -0.1198, -0.0696, -0.0482, -0.0650],
    [0.0766, 0.0448, -0.2344, -0.1829, 0.0061],
]
QUERY = {
    0: [0.0475, 0.0250, -0.2225, -0.1087, -0.0297],
    1: [0.0211, -0.0844, -0.0070, -0.1715, 0.0154],
    2: [-0.0062, -0.0958, -0.0142, -0.1283, -0.0218],
    3: [0.0490, -0.0500, -0.1613, 0.0193, 0.0280],
    4: [0.0477, 0.0250, -0.2279, -0.1128, -0.0289],
    5: [0.0597, -0.0676, -0.0955, -0.0756, 0.0234],
    31: [0.0205, -0.0859, -0.0385, -0.1231, -0.0331],
}

pytestmark = pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"needs the weights: {VARIABLE}=folder or jinaai/jina-colbert-v2"
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    # the export that the values come from keeps every token
    return Encoder(os.environ[VARIABLE], dtype="float32", device="cpu", punctuation="off")


def test_document_vectors_are_the_published_ones(encoder: Encoder) -> None:
    vectors = encoder.encode_document(["Hello World"])[0]
    assert vectors.shape == (5, 128)
    np.testing.assert_allclose(vectors[:, :5], DOCUMENT, atol=2e-3)


def test_query_vectors_are_the_published_ones(encoder: Encoder) -> None:
    vectors = encoder.encode_query(["Hello World"])[0]
    assert vectors.shape == (32, 128)
    published = np.array(list(QUERY.values()))
    came = vectors[list(QUERY), :5]
    # whether the export normalises queries is not documented: directions first, then lengths
    np.testing.assert_allclose(
        came / np.linalg.norm(came, axis=1, keepdims=True),
        published / np.linalg.norm(published, axis=1, keepdims=True),
        atol=1e-2,
    )
    np.testing.assert_allclose(came, published, atol=2e-3)
