"""Peak memory of encoding a stream of short documents: does it grow with their number?

    python -m benchmarks.encoding_memory --documents 40000

Encodes texts of some 12 words with `mini`, once a quarter of them and once all, each in a process of its own, and
reports the highest RssAnon (memory of the process, file cache apart). Vectors are let go as they come. Quality beside
it: the stream's vectors of the first texts are those of a list, so nothing is gained by encoding otherwise.

Prediction: a window of 2^18 characters holds about 4,000 such texts, 60,000 tokens and 31 MB of vectors at 128
dimensions, whatever comes behind it: no growth beyond the allocator's noise, 5 %.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.harness import memory_of, write_result
from jcb_engine import Encoder

_WORDS = "river bridge animal letter garden winter market island doctor engine paper window silver forest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _encode(arguments)
        return
    quarter, whole = (_measured(arguments, documents) for documents in (arguments.documents // 4, arguments.documents))
    figures = {
        "quarter": quarter,
        "whole": whole,
        "rss_anon_growth": whole["peak_rss_anon_bytes"] / quarter["peak_rss_anon_bytes"] - 1,
        "largest_difference_to_a_list": _difference(arguments),
    }
    print(json.dumps(figures, indent=2))
    write_result(
        "encoding-memory", {"documents": arguments.documents, "seed": arguments.seed, "model": "mini"}, figures
    )


def _texts(documents: int, seed: int) -> Iterator[str]:
    generator = random.Random(seed)
    words = _WORDS.split()
    for _ in range(documents):
        yield " ".join(generator.choices(words, k=generator.randint(6, 18)))


def _encode(arguments: argparse.Namespace) -> None:
    """The measured process."""
    tokens = sum(
        len(vectors) for vectors in Encoder("mini").stream_documents(_texts(arguments.documents, arguments.seed))
    )
    print(tokens)


def _measured(arguments: argparse.Namespace, documents: int) -> dict[str, Any]:
    options = ["--child", "--documents", str(documents), "--seed", str(arguments.seed)]
    command = [sys.executable, "-m", "benchmarks.encoding_memory", *options]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of(process.pid)[0])
        time.sleep(0.02)
    if process.returncode != 0:
        raise SystemExit(f"encoding {documents} documents failed")
    assert process.stdout is not None
    tokens, seconds = int(process.stdout.read()), time.perf_counter() - began
    return {"documents": documents, "tokens": tokens, "seconds": seconds, "peak_rss_anon_bytes": peak}


def _difference(arguments: argparse.Namespace) -> float:
    encoder, texts = Encoder("mini"), list(_texts(500, arguments.seed))
    streamed = np.concatenate(list(encoder.stream_documents(iter(texts))))
    return float(np.abs(streamed - encoder.encode_document(texts).values).max())


if __name__ == "__main__":
    main()
