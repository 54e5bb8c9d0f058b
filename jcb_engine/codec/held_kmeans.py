"""K-means over vectors that a backend holds, and compares with all centroids in every iteration: on a GPU.

In two levels, as the processor has it, it would be many small problems, each too small for a GPU. Comparing all costs
it little: of 1 M vectors with 16,384 centroids a pass is 4.4 TFLOP, by the matrix units 7 ms at best (H100, predicted),
and the whole training is 11 passes.

What was expected: flat k-means from vectors at random is as near as two levels by as many iterations. It is not quite.
Measured (python -m benchmarks.device_centroids, operands in fp16 as on a GPU) on 262k tokens of 128 dimensions, 4,096
centroids, mean squared distance of other tokens to their centroid: two levels, polished, .3953; flat from vectors at
random .3960 after 8 iterations and .3946 after 24; flat from vectors drawn in rounds, the farther from those drawn
before the likelier, .3931 after 8 and .3923 after 16. Hence rounds, and 8. Lists get no more unequal than matters: an
index of 1.24 M tokens at 2 bits finds .9353 of the ten best by default, and .9357 with the processor's centroids.
"""

from __future__ import annotations

import numpy as np

# here, not when first used: an interrupt is lost where it meets numpy in the middle of importing this
from numpy.random import Generator, default_rng

from jcb_engine.kernels.interface import HeldVectors
from jcb_engine.types import Float32Array, Int64Array, Uint32Array

ROUNDS = 4
ITERATIONS = 8
_ROWS_AT_ONCE = 65_536
_NO_DISTANCE = 1e-30  # of vectors that are drawn when no others are left


def kmeans_of_held(
    held: HeldVectors,
    vectors: Float32Array,
    count: int,
    seed: int,
    *,
    rounds: int = ROUNDS,
    iterations: int = ITERATIONS,
) -> Float32Array:
    """Centroids [count, D] float32 of vectors [S, D], S >= count, which are those that are held.

    rounds: in which the first centroids are drawn; 1 draws all at random. Deterministic for a seed. The vectors may be
    a map of a file: some of its rows are read, no copy is made.
    """
    centroids = _drawn(held, vectors, count, rounds, default_rng([seed, count]))
    for _ in range(iterations):
        centroids, ids = held.means(centroids)
        fill_empty(centroids, vectors, ids, np.bincount(ids, minlength=count))
    return centroids


def _drawn(held: HeldVectors, vectors: Float32Array, count: int, rounds: int, random: Generator) -> Float32Array:
    """A share of `count` vectors at random, then in each round as many more, none of them twice."""
    share = count // rounds
    chosen = np.sort(random.choice(len(vectors), count - (rounds - 1) * share, replace=False))
    centroids = np.asarray(vectors[chosen], dtype=np.float32)
    for _ in range(rounds - 1 if share else 0):
        distances = held.squared_distances(centroids)
        distances[chosen] = 0
        more = _farther_likelier(distances, chosen, share, random)
        chosen = np.concatenate([chosen, more])
        centroids = np.concatenate([centroids, vectors[more]])
    return centroids


def _farther_likelier(distances: Float32Array, taken: Int64Array, count: int, random: Generator) -> Int64Array:
    """`count` of the rows that are not taken, ascending, each next one in proportion to its squared distance [S].

    The least of exponential variables, each divided by its weight, is such a draw, and so are the least `count`.
    """
    keys = random.standard_exponential(len(distances)) / np.maximum(distances, _NO_DISTANCE, dtype=np.float64)
    keys[taken] = np.inf
    return np.sort(np.argpartition(keys, count - 1)[:count])


def means_of(vectors: Float32Array, ids: Uint32Array, count: int) -> Float32Array:
    """The mean [count, D] of the vectors [S, D] of each id [S], summed in double precision; zeros of none."""
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float64)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        own = ids[start : start + _ROWS_AT_ONCE]
        order = np.argsort(own, kind="stable")
        present, first = np.unique(own[order], return_index=True)
        sums[present] += np.add.reduceat(vectors[start : start + _ROWS_AT_ONCE][order], first, axis=0)
    sizes = np.bincount(ids, minlength=count)
    return np.asarray(sums / np.maximum(sizes, 1)[:, None], dtype=np.float32)


def fill_empty(means: Float32Array, vectors: Float32Array, ids: Uint32Array, sizes: Int64Array) -> None:
    """Give each empty centroid the first vector of a large cluster, each of another one, while there are any."""
    empty = np.flatnonzero(sizes == 0)[: np.count_nonzero(sizes)]
    if len(empty):
        largest = np.argsort(-sizes, kind="stable")[: len(empty)]
        clusters, first = np.unique(ids, return_index=True)
        means[empty] = vectors[first[np.searchsorted(clusters, largest)]]
