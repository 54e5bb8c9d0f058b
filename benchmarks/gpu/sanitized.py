"""A small case of every CUDA kernel, for compute-sanitizer: python -m benchmarks.gpu.sanitized LIBRARY."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

from benchmarks.gpu.store import random_queries, random_segment
from jcb_engine.kernels import Probing
from jcb_engine.kernels.cuda_library import CudaLibrary
from jcb_engine.kernels.interface import RAW_BITS


def main() -> None:
    library = CudaLibrary(Path(sys.argv[1]).resolve())
    library.device_name(0)
    for dim, nbits in itertools.product((32, 64, 96, 128, 200), (1, 2, 4, 8, 16)):
        codec, segment = random_segment(1000, nbits, dim, centroids=100, mean_length=40)
        store = library.new_store(0, codec, [segment])
        documents = len(segment.doc_offsets) - 1
        mask = np.full((documents + 7) // 8, 0x6D, np.uint8)
        store.give_postings(codec, [segment])
        for count, tokens in ((1, 32), (6, 40)):
            queries = random_queries(count, tokens, dim)
            found = [store.search(*queries, 3, mask)]
            if nbits != RAW_BITS:
                found += [store.probe(*queries, 3, Probing(4, 20, 8), allowed) for allowed in (None, mask)]
            if None in found:
                sys.exit(f"a search of {documents} documents found no room")
            prepared = store.prepare(*random_queries(count, tokens, dim))
            for exact in (False, True):
                scores = np.empty((count, documents), np.float32)
                prepared.score_ranges(np.array([0]), np.array([documents]), exact, scores)
                listed = np.arange(documents, dtype=np.uint32)
                offsets = np.array([0, *[documents] * count])
                prepared.score_lists(listed, offsets, exact, np.empty(documents, np.float32))
    print("every kernel ran")


if __name__ == "__main__":
    main()
