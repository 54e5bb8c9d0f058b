"""Cost against corpus size, on synthetic corpora (synthetic.py) of 10,000, 50,000 and 200,000 documents; more if asked.

    python -m benchmarks.scale ../shared/data/scifact
    python -m benchmarks.scale ../shared/data/scifact --documents 1000000 --name scale-1m

Per size, in a result row that is written as soon as it is there: the build (tokens/s, seconds per stage, peak RssAnon
of its process), bytes on disk by array, opening, latency and recall@10 of exact search at several settings, the
cheapest with at least .95, the latency that 8 client threads see together, and exact search against the kernel alone.
Then the law, seconds = a * documents ** b, fitted over the sizes, drawn as PNG where matplotlib is installed. The disk
that is needed is stated first, and a disk that has too little is refused.

Queries: real ones, of the BEIR folder, and passages of 32 real tokens, half and half.

Prediction (2 cores, 4 bits, 128 dims): K grows with the square root of the tokens, so probed lists hold documents in
proportion to sqrt(N); the coarse products grow with sqrt(N) too, and the documents scored stay the same. Default search
thus N ** .3 to .4: 4 ms at 10,000, 12 ms at 200,000, 25 ms at 1,000,000, of which the table of 65,536 centroids alone
takes 6. Exact search N ** 1. Building N ** 1.3, by assignment to sqrt(N) centroids, less where lists bound it.

Looking back (2 cores with AVX-512 that were at times half as fast as at others): default search 2.6, 3.9, 3.3 and 9 to
11 ms at 10,000 to 1,000,000 documents, as N ** .26; recall of at least .95 costs 1.8, 3.2, 3.3 and 16 ms (.965 there;
9 ms when the machine was quiet), where it was predicted to take more candidates and takes more probes: lists hold 1,700
documents then, and reading them is half of the time. Exact search as N ** 1.06, .97 to 1.22 times its kernel. Building
49,000 to 70,000 tokens/s at every size, since lists bound the assignment, with .46 to .60 GB. Of 8 clients the p99 is
1.7 to 2.1 times the median. A million documents were built beside other work, in 33 minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.corpora import embeddings, load_beir
from benchmarks.harness import RESULTS, commit, memory_of, timed, watched, write_result
from benchmarks.scale_law import draw, law
from benchmarks.scale_search import measure_search, sampled_queries
from benchmarks.synthetic import MEAN_TOKENS, RealTokens, SyntheticCorpus, likeness
from jcb_engine import IndexWriter, Searcher
from jcb_engine.codec import default_centroid_count
from jcb_engine.codec.centroids import TOKENS_PER_CENTROID
from jcb_engine.indexing.options import DEFAULT_MAX_RAM_BYTES

DIM = 128
SIZES = [10_000, 50_000, 200_000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a BEIR folder, as mini@1 encodes it, to resample")
    parser.add_argument("--documents", type=int, nargs="+", default=SIZES)
    parser.add_argument("--clusters", type=int, default=4_096, help="of the real vectors, whose residuals are mixed")
    parser.add_argument("--nbits", type=int, default=4)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3, help="runs of every query per setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for the indexes, one at a time; default: the system's own")
    parser.add_argument(
        "--keep", type=Path, help="keep each index here, as <documents>; one that is there is measured, not built again"
    )
    parser.add_argument("--name", default="scale", help="of the result file")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    real = _real_tokens(arguments)
    if arguments.child is not None:
        _build(arguments, real)
        return
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        _check_disk(arguments, Path(work))
        _measure_sizes(arguments, real, Path(work))


def _measure_sizes(arguments: argparse.Namespace, real: RealTokens, work: Path) -> None:
    settings = {
        name: getattr(arguments, name) for name in ("nbits", "queries", "runs", "seed", "documents", "clusters")
    }
    settings |= {"collection": arguments.folder.name, "model": "mini@1", "dim": DIM}
    figures: dict[str, Any] = {"likeness": likeness(real, arguments.seed), "sizes": []}
    print(json.dumps(figures["likeness"], indent=2))
    for documents in sorted(arguments.documents):
        path = (arguments.keep or work) / str(documents)
        row = _measured(arguments, real, documents, path)
        figures["sizes"].append(row)
        figures["law"] = law(figures["sizes"])
        print(json.dumps(row, indent=2, default=vars))
        write_result(arguments.name, settings, figures)  # what is done stays, if cut off
        if arguments.keep is None:
            shutil.rmtree(path)
    print(json.dumps(figures["law"], indent=2))
    draw(figures["sizes"], figures["law"], RESULTS / f"{arguments.name}.png")


def _measured(arguments: argparse.Namespace, real: RealTokens, documents: int, path: Path) -> dict[str, Any]:
    build = _build_once(arguments, documents, path)
    queries = sampled_queries(arguments.folder, real, arguments.queries, DIM, arguments.seed)
    sizes = {file.stem: file.stat().st_size for file in sorted(path.glob("segments/*/*"))}
    sizes["codec"] = sum(file.stat().st_size for file in path.glob("codec/*/*"))
    with Searcher.open(path) as searcher:
        info = searcher.info()
        row = {
            "documents": documents,
            "tokens": info.tokens,
            "centroids": info.centroids,
            "backend": searcher.backend,
            "build": build | {"tokens_per_second": info.tokens / build["seconds"]},
            "bytes_on_disk": sizes,
            "bytes_per_token": info.bytes_per_token,
            "open_seconds": timed(lambda: Searcher.open(path).close(), 5),
        }
        return row | measure_search(searcher, path, queries, arguments.runs)


def _build_once(arguments: argparse.Namespace, documents: int, path: Path) -> dict[str, Any]:
    """The figures of a build, and how it was made: of an index that is kept, those written beside it."""
    kept = path.with_suffix(".build.json")
    asked = {name: getattr(arguments, name) for name in ("nbits", "seed", "clusters")}
    if path.exists():
        if not kept.exists():
            raise SystemExit(f"{path} was not built to its end: remove it")
        build = dict(json.loads(kept.read_text()))
        if build["settings"] != asked:
            raise SystemExit(f"{path} was built with {build['settings']}, not with {asked}: give another --keep")
        return build
    build = _measured_build(arguments, documents, path) | {"settings": asked, "commit": commit()}
    if arguments.keep is not None:
        kept.write_text(json.dumps(build))
    return build


def _measured_build(arguments: argparse.Namespace, documents: int, path: Path) -> dict[str, Any]:
    """Build in a process of its own: seconds of the whole process, and of the stages as it tells them."""
    command = [sys.executable, "-m", "benchmarks.scale", str(arguments.folder), "--child", str(path)]
    command += ["--documents", str(documents), "--nbits", str(arguments.nbits), "--seed", str(arguments.seed)]
    command += ["--clusters", str(arguments.clusters)]
    process = watched(command)
    report_file = path.with_suffix(".json")
    report = json.loads(report_file.read_text())
    report_file.unlink()
    return {
        "seconds": sum(report["stages"].values()),
        "stages": report["stages"],
        "peak_rss_anon_bytes": report["peak_rss_anon_bytes"],
        "process": asdict(process),
    }


class StageClock:
    """BuildProgress that notes seconds per stage."""

    def __init__(self, first: str) -> None:
        self.seconds: dict[str, float] = {}
        self._name, self._began = first, time.perf_counter()

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins, and the one before has ended."""
        now = time.perf_counter()
        self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._began
        self._name, self._began = name, now

    def advance(self, count: int) -> None:
        pass

    def finish(self) -> dict[str, float]:
        """Seconds of each stage, the last one ended now."""
        self.stage("", None)
        return self.seconds


def _build(arguments: argparse.Namespace, real: RealTokens) -> None:
    """The measured process: writes the index, and beside it a report of its stages."""
    held_before, _ = memory_of(os.getpid())
    peaks, done = [held_before], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peaks.append(max(peaks.pop(), memory_of(os.getpid())[0]))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    progress = StageClock("reading")
    with IndexWriter.create(arguments.child, dim=DIM, nbits=arguments.nbits, seed=arguments.seed) as writer:
        writer.progress = progress
        writer.add_vectors_from(SyntheticCorpus(real, arguments.documents[0], arguments.seed))
    stages = progress.finish()
    done.set()
    watcher.join()
    # Less what the process held before: the real vectors that the benchmark resamples. Making windows counts.
    report = {"stages": stages, "peak_rss_anon_bytes": peaks[0] - held_before}
    arguments.child.with_suffix(".json").write_text(json.dumps(report))


def _real_tokens(arguments: argparse.Namespace) -> RealTokens:
    documents, _ = embeddings(load_beir(arguments.folder), "mini@1", DIM)
    return RealTokens(documents, arguments.clusters)


def _check_disk(arguments: argparse.Namespace, work: Path) -> None:
    """State the disk that is needed, and refuse to begin where there is too little."""
    keep = arguments.keep
    to_build = sorted(count for count in set(arguments.documents) if not (keep and (keep / str(count)).exists()))
    needs = {documents: disk_bytes(documents, arguments.nbits) for documents in to_build}
    for documents, (index, scratch) in needs.items():
        spool = round(documents * MEAN_TOKENS) * (2 * DIM + 2)
        print(
            f"{documents:,} documents: {index / 1e9:.1f} GB of index and {scratch / 1e9:.1f} GB of scratch files while "
            f"it is built (add_vectors would spool {spool / 1e9:.1f} GB besides)"
        )
    needed, before = 0, 0
    for index, scratch in needs.values():
        needed = max(needed, before + index + scratch)
        before += 0 if keep is None else index
    free = shutil.disk_usage(keep or work).free
    print(f"needed at most at one time: {needed / 1e9:.1f} GB; free: {free / 1e9:.1f} GB", flush=True)
    if free < 1.1 * needed:
        raise SystemExit(
            f"{needed / 1e9:.1f} GB and a tenth are needed and {free / 1e9:.1f} GB are free: give another folder with "
            "--work, or fewer --documents"
        )


def disk_bytes(documents: int, nbits: int) -> tuple[int, int]:
    """What the index of a synthetic corpus takes at most, and its scratch files while it is built."""
    tokens = documents * MEAN_TOKENS
    centroids = default_centroid_count(round(tokens))
    postings = 4 * tokens  # one per token at most: tokens of a document that share a centroid share it
    per_document = 160  # doc_offsets, parents, and a row of SQLite with its two indexes
    index = tokens * (math.ceil(DIM * nbits / 8) + 8) + postings + documents * per_document + centroids * (4 * DIM + 8)
    sample_tokens = min(TOKENS_PER_CENTROID * centroids, DEFAULT_MAX_RAM_BYTES // (4 * 4 * DIM))
    return round(index), round(3 * 4 * DIM * sample_tokens + postings + documents * per_document)


if __name__ == "__main__":
    main()
