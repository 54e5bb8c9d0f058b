"""Measures the kernels on a GPU, each beside the floor of that GPU, and checks what they say: see benchmarks/gpu.sh.

    python -m benchmarks.gpu.measure OUT [--library FILE] [--tokens N]

What cannot be done is skipped by name, with its reason, in OUT/gpu.json as on the screen. Scores are compared with
float64, fast ones with their bound, repeats bit by bit. Times are medians of several runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.peers import PEERS
from benchmarks.gpu.skipping import SkippedError
from benchmarks.gpu.store import expected_score, random_queries, random_segment
from benchmarks.harness import commit, machine
from jcb_engine.errors import BackendUnavailableError
from jcb_engine.kernels.interface import (
    Backend,
    CentroidTable,
    Lists,
    Probing,
    ProbingBackend,
    Ranges,
    ScanningBackend,
    Store,
)

RUNS = 15
CENTROIDS, TOKENS_PER_CENTROID = 16_384, 64  # of a build
WINDOW_TOKENS = 65_536  # that a build encodes at once
CHECKED = 40  # documents whose scores are compared with float64
# Of a token of 128 dimensions, by bits, as the fast CUDA kernels read it; 2 less are stored, but for raw vectors.
TILE_BYTES = {1: 24, 2: 40, 4: 72, 8: 136, 16: 256}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.measure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--library", type=Path, help="the CUDA kernels, where they were built")
    parser.add_argument("--tokens", type=int, default=10_000_000)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "commit": commit(),
        "machine": machine(),
        "tokens": arguments.tokens,
        "skipped": {},
        "failed": {},
    }
    material: dict[tuple[int, int], Any] = {}

    def segment(tokens: int, nbits: int = 2) -> Any:
        if (tokens, nbits) not in material:
            material[tokens, nbits] = random_segment(tokens, nbits)
        return material[tokens, nbits]

    def step(name: str, work: Callable[[], Any]) -> None:
        began = time.perf_counter()
        try:
            record[name] = work()
            print(f"{name}: {json.dumps(record[name])} ({time.perf_counter() - began:.0f} s)")
        except SkippedError as error:
            record["skipped"][name] = str(error)
            print(f"{name}: skipped: {error}")
        except (Exception, SystemExit) as error:  # the other steps are still worth having
            record["failed"][name] = f"{type(error).__name__}: {error}"
            print(f"{name}: FAILED: {record['failed'][name]}")
        _write(arguments.out, record)

    step("gpu", _gpu)
    backends = {"cuda": lambda: _cuda(arguments.library), "triton": _triton}
    for name, make in backends.items():
        step(f"{name}: answers", lambda make=make: _answers(make(), *segment(300_000)))
    step("cuda: batch 1", lambda: _scan(backends["cuda"](), *segment(arguments.tokens), 1))
    step("cuda: batch 64", lambda: _scan(backends["cuda"](), *segment(arguments.tokens), 64))
    few = arguments.tokens // 4  # of many bits: copies in host memory are large
    for nbits in (8, 16):
        step(f"cuda: answers, {nbits} bits", lambda nbits=nbits: _answers(backends["cuda"](), *segment(300_000, nbits)))
        for count in (1, 64):
            step(
                f"cuda: batch {count}, {nbits} bits",
                lambda nbits=nbits, count=count: _scan(backends["cuda"](), *segment(few, nbits), count),
            )
    step("triton: batch 1", lambda: _triton_scan(backends["triton"](), *segment(arguments.tokens)))
    step("triton: answers, 16 bits", lambda: _answers(backends["triton"](), *segment(300_000, 16)))
    step("triton: batch 1, 16 bits", lambda: _triton_scan(backends["triton"](), *segment(few, 16)))
    for name, make in backends.items():
        step(f"{name}: end to end", lambda make=make: _end_to_end(make(), *segment(arguments.tokens)))
        step(f"{name}: 4096 candidates", lambda make=make: _candidates(make(), *segment(arguments.tokens)))
        step(
            f"{name}: 4096 candidates in host memory",
            lambda make=make: _candidates_on_host(make(), *segment(arguments.tokens)),
        )
        step(f"{name}: search among candidates", lambda make=make: _probing(make(), *segment(arguments.tokens)))
    step("triton: training", lambda: _training(backends["triton"]()))
    step("triton: compressing", lambda: _compressing(backends["triton"]()))
    for peer, measure in PEERS.items():
        # The kernels on the vectors of "batch 1, 16 bits"; a whole engine, which takes minutes to build, on fewer.
        size, times = (300_000, _times) if peer == "fast-plaid" else (few, _torch_times)
        step(
            f"peer: {peer}",
            lambda measure=measure, size=size, times=times: measure(*segment(size, 16), times),
        )
    step("picture", lambda: _draw(arguments.out, record))
    if record["failed"]:
        raise SystemExit(f"FAILED: {', '.join(record['failed'])}")
    print(f"wrote {arguments.out / 'gpu.json'}; skipped: {', '.join(record['skipped']) or 'nothing'}")


def _gpu() -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise SkippedError(f"torch is not installed ({error})") from error
    if not torch.cuda.is_available():
        raise SkippedError("no GPU: torch.cuda.is_available() is False")
    properties = torch.cuda.get_device_properties(0)
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds = _torch_times(lambda: target.copy_(source))
    left = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    product = _torch_times(lambda: left @ left)
    return {
        "name": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "torch": torch.__version__,
        "copy_bytes_per_second": 2 * source.numel() / statistics.median(seconds),
        "fp16_flops": 2 * 8192**3 / statistics.median(product),
    }


def _cuda(library: Path | None) -> Backend:
    """Where they were built they must work: one that cannot be loaded, or is newer than the driver, is a failure."""
    from jcb_engine.kernels.cuda_gpu import CudaBackend

    if library is None:
        raise SkippedError("the CUDA kernels were not built: nvcc is missing, or failed (see above)")
    return CudaBackend(_host(), library=library.resolve())


def _triton() -> Backend:
    try:
        from jcb_engine.kernels.triton_gpu import TritonBackend

        return TritonBackend(_host())
    except BackendUnavailableError as error:
        raise SkippedError(str(error)) from error


def _host() -> Backend:
    from jcb_engine.kernels.reference import ReferenceBackend

    return ReferenceBackend()


def _answers(backend: Backend, codec: Any, segment: Any) -> dict[str, float]:
    """Exact scores against float64, fast ones against their bound, and the same bits again."""
    store = backend.prepare(codec, [segment])
    worst = {"exact_error": 0.0, "fast_error": 0.0, "bound": 0.0}
    for count in (1, 8):
        queries, offsets = random_queries(count)
        every = Ranges(np.array([0]), np.array([store.documents]))
        exact = backend.maxsim_quantized(store, queries, offsets, every, "exact")
        fast = backend.maxsim_quantized(store, queries, offsets, every)
        bounds = backend.score_error_bound(store, queries, offsets)
        if not (np.abs(fast - exact) <= bounds[:, None]).all():
            raise SystemExit(f"WRONG: fast scores of {backend.name} leave their bound")
        if not np.array_equal(fast, backend.maxsim_quantized(store, queries, offsets, every)):
            raise SystemExit(f"WRONG: {backend.name} gives other bits the second time")
        for document in np.random.default_rng(2).integers(store.documents, size=CHECKED):
            expected = expected_score(codec, segment, document, queries[:32])
            worst["exact_error"] = max(worst["exact_error"], abs(float(exact[0, document]) - expected))
        worst["fast_error"] = max(worst["fast_error"], float(np.abs(fast - exact).max()))
        worst["bound"] = float(bounds.max())
    if worst["exact_error"] > 1e-3:
        raise SystemExit(f"WRONG: exact scores of {backend.name} are off by {worst['exact_error']}")
    return worst


def _scan(backend: Backend, codec: Any, segment: Any, count: int) -> dict[str, float]:
    """The fast CUDA kernel alone over all tokens."""
    store = backend.prepare(codec, [segment])
    queries, offsets = random_queries(count)
    table = backend.centroid_scores(store, queries)
    prepared = table.prepared(offsets)  # type: ignore[attr-defined]
    prepared.time_scans(2)
    seconds = statistics.median(prepared.time_scans(RUNS))
    return _rate(codec, store, seconds, count)


def _triton_scan(backend: Backend, codec: Any, segment: Any) -> dict[str, float]:
    """Fast scores by Triton on the GPU, what is made of the query for them included."""
    from jcb_engine.kernels.triton_scoring import maxsim
    from jcb_engine.kernels.triton_work import plan

    store: Any = backend.prepare(codec, [segment])
    queries, offsets = random_queries(1)
    table: Any = backend.centroid_scores(store, queries)
    every = Ranges(np.array([0]), np.array([store.documents]))
    work = plan(store, offsets, every, store.centroids.device)
    seconds = _torch_times(lambda: maxsim(store, table, work, "fast"))
    return _rate(codec, store, statistics.median(seconds), 1)


def _end_to_end(backend: Backend, codec: Any, segment: Any) -> dict[str, float]:
    """From query vectors in host memory to the ten best documents by exact scores there; checked against all scores."""
    assert isinstance(backend, ScanningBackend)
    store = backend.prepare(codec, [segment])
    found = {}
    for count in (1, 64):
        queries, offsets = random_queries(count)

        def search(queries: np.ndarray = queries, offsets: np.ndarray = offsets) -> list[np.ndarray]:
            answers = backend.best_of_all(store, queries, offsets, 10)
            if answers is None:
                raise SystemExit(f"WRONG: {backend.name} had no room for the best of {store.documents} documents")
            return [documents[np.argsort(-scores, kind="stable")[:10]] for documents, scores in answers]

        seconds = statistics.median(_times(search))
        found[f"seconds_{count}_queries"] = seconds
        found[f"queries_per_second_{count}"] = count / seconds
        if hasattr(store, "device"):  # the CUDA kernels': their graph alone, copies to and from the host included
            store.device.time_searches(2)
            found[f"graph_seconds_{count}_queries"] = statistics.median(store.device.time_searches(RUNS))
        for best, exact in zip(search(), _all_scores(backend, store, queries, offsets), strict=True):
            if not np.array_equal(np.sort(exact[best])[::-1], np.sort(exact)[::-1][:10]):
                raise SystemExit(f"WRONG: {backend.name} misses some of the ten best documents")
    return found


def _candidates(backend: Backend, codec: Any, segment: Any) -> dict[str, float]:
    """4,096 documents of one query, from host to host."""
    store = backend.prepare(codec, [segment])
    queries, offsets = random_queries(1)
    lists = _some_documents(store)
    table = backend.centroid_scores(store, queries)
    seconds = _times(lambda: backend.maxsim_quantized(store, queries, offsets, lists, "fast", table))
    # Finding candidates comes on top: an index of at least so many tokens is searched faster through them.
    scanned = {}
    if isinstance(backend, ScanningBackend):
        scan = statistics.median(_times(lambda: backend.best_of_all(store, queries, offsets, 10)))
        scanned["tokens_scanned_in_that_time"] = store.tokens * statistics.median(seconds) / scan
    return {"seconds": statistics.median(seconds), **scanned}


def _probing(backend: Backend, codec: Any, segment: Any) -> dict[str, float]:
    """From query vectors to the ten best among 4,096 candidates of 16 probes, and how many of the ten best of all."""
    assert isinstance(backend, ProbingBackend)
    assert isinstance(backend, ScanningBackend)
    store = backend.prepare(codec, [segment])
    probing = Probing(probes=16, pool=10_240, documents=4_096)
    found = {}
    for count in (1, 16):
        queries, offsets = random_queries(count)
        answers = backend.best_among_probed(store, queries, offsets, 10, probing)
        exact = backend.best_of_all(store, queries, offsets, 10)
        if answers is None or exact is None:
            raise SystemExit(f"WRONG: {backend.name} had no room for the candidates of random vectors")
        for (documents, scores), all_scores in zip(answers, _all_scores(backend, store, queries, offsets), strict=True):
            if not np.array_equal(scores, all_scores[documents]):
                raise SystemExit(f"WRONG: {backend.name} gives candidates other scores than all documents")
        shares = [len({*_ten_best(own)} & {*_ten_best(best)}) / 10 for own, best in zip(answers, exact, strict=True)]
        seconds = _times(
            lambda queries=queries, offsets=offsets: backend.best_among_probed(store, queries, offsets, 10, probing)
        )
        found[f"recall_at_10_{count}_queries"] = statistics.mean(shares)
        found[f"seconds_{count}_queries"] = statistics.median(seconds)
        if hasattr(store, "device"):  # the CUDA kernels': their graph alone
            times = store.device.time_searches(RUNS + 2, among_candidates=True)
            found[f"graph_seconds_{count}_queries"] = statistics.median(times[2:])
    return found


def _all_scores(backend: Backend, store: Store, queries: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
    """Exact scores [documents] of each query, one at a time."""
    every = Ranges(np.array([0]), np.array([store.documents]))
    for first, last in itertools.pairwise(offsets.tolist()):
        yield backend.maxsim_quantized(store, queries[first:last], np.array([0, last - first]), every, "exact")[0]


def _ten_best(answer: tuple[np.ndarray, np.ndarray]) -> list[int]:
    documents, scores = answer
    return [int(document) for document in documents[np.argsort(-scores, kind="stable")[:10]]]


def _candidates_on_host(backend: Backend, codec: Any, segment: Any) -> dict[str, float]:
    """The same 4,096 documents with codes kept in host memory: the same bits, and what the bus costs."""
    stores = [backend.prepare(codec, [segment], most) for most in (None, 0)]  # type: ignore[call-arg]
    queries, offsets = random_queries(1)
    lists = _some_documents(stores[0])
    found, seconds = [], []
    for store in stores:
        table = backend.centroid_scores(store, queries)

        def score(store: Store = store, table: CentroidTable = table) -> np.ndarray:
            return backend.maxsim_quantized(store, queries, offsets, lists, "fast", table)

        found.append(score())
        seconds.append(statistics.median(_times(score)))
    if not np.array_equal(*found):
        raise SystemExit(f"WRONG: {backend.name} gives other bits where codes lie in host memory")
    lengths = np.diff(segment.doc_offsets)[lists.documents]
    code_bytes = int((-(-lengths // 16) * 16).sum()) * TILE_BYTES[codec.nbits]  # as the CUDA kernels keep them
    return {"seconds": seconds[1], "seconds_on_gpu": seconds[0], "tile_bytes_per_second": code_bytes / seconds[1]}


def _some_documents(store: Store) -> Lists:
    documents = np.random.default_rng(3).integers(store.documents, size=4096).astype(np.uint32)
    return Lists(documents, np.array([0, 4096], np.int64))


def _training(backend: Backend) -> dict[str, float]:
    """Seconds to train 16,384 centroids of 128 dims on 64 vectors for each, which encoding does not count: whole, and
    its parts. The same bits again, also where the vectors have no room on the GPU.
    """
    from jcb_engine.codec import train_centroids
    from jcb_engine.kernels.interface import AssigningBackend

    assert isinstance(backend, AssigningBackend)
    vectors = _units(np.random.default_rng(5), TOKENS_PER_CENTROID * CENTROIDS)
    trained, seconds = [], []
    for _ in range(3):  # the first compiles
        began = time.perf_counter()
        trained.append(train_centroids(vectors, CENTROIDS, 0, backend))
        seconds.append(time.perf_counter() - began)
    found = {"seconds_first": seconds[0], "seconds": min(seconds[1:])}
    began = time.perf_counter()
    held = backend.hold(vectors)
    found["seconds_upload"] = time.perf_counter() - began
    sent = backend.hold(vectors, 0)  # type: ignore[call-arg]
    for name, kept in (("held", held), ("sent", sent)):
        found[f"seconds_of_means_{name}"] = statistics.median(_times(lambda kept=kept: kept.means(trained[0]), 3))
    found["seconds_of_distances"] = statistics.median(_times(lambda: held.squared_distances(trained[0]), 3))
    found["mean_squared_distance"] = float(held.squared_distances(trained[0]).mean())
    found["mean_squared_distance_of_random"] = float(held.squared_distances(vectors[:CENTROIDS]).mean())
    same = [*zip(held.means(trained[0]), sent.means(trained[0]), strict=True), (trained[0], trained[1])]
    if not all(np.array_equal(*pair) for pair in same):
        raise SystemExit(f"WRONG: {backend.name} trains other bits the second time, or where vectors have no room")
    if found["mean_squared_distance"] >= found["mean_squared_distance_of_random"]:
        raise SystemExit(f"WRONG: training of {backend.name} comes no nearer than vectors at random: {found}")
    return found


def _compressing(backend: Backend) -> dict[str, float]:
    """Tokens per second of 128 dims against 16,384 centroids: on the GPU, in parts and whole, and from host memory.

    Beside them: which share of tokens get their nearest centroid, and of bytes of codes are the reference's.
    """
    import torch

    from jcb_engine.codec.levels import gaussian_levels
    from jcb_engine.kernels.interface import AssigningBackend, CodecArrays
    from jcb_engine.kernels.reference import ReferenceBackend
    from jcb_engine.kernels.triton_building import ROWS_AT_ONCE, DeviceCentroids, DeviceCodec

    assert isinstance(backend, AssigningBackend)
    generator = np.random.default_rng(4)
    centroids = _units(generator, CENTROIDS) * np.float32(0.8)
    vectors = _units(generator, 16 * ROWS_AT_ONCE)
    window = vectors[:WINDOW_TOKENS]
    there, rows = torch.from_numpy(centroids).cuda(), torch.from_numpy(vectors[:ROWS_AT_ONCE]).cuda()
    compared = DeviceCentroids(there)
    ids = compared.nearest(rows)
    products = rows[:2000].double() @ there.double().T - 0.5 * there.double().square().sum(dim=1)
    found = {"nearest_share": float((products.argmax(dim=1) == ids[:2000]).float().mean())}
    found["assigned_per_second"] = ROWS_AT_ONCE / statistics.median(_torch_times(lambda: compared.nearest(rows)))
    for nbits in (1, 2, 4, 8):
        cutoffs, levels = gaussian_levels(nbits)
        codec = CodecArrays(128, nbits, centroids, cutoffs, levels)
        coder = DeviceCodec(codec, rows.device)
        given = (vectors[:2000], ids[:2000].cpu().numpy().astype(np.uint32), codec)
        # A value on a cutoff may get the code beside, a size between two of fp16 the other one.
        equal = backend.quantize(*given)[0] == ReferenceBackend().quantize(*given)[0]
        found[f"equal_code_bytes_{nbits}_bits"] = float(equal.mean())
        for name, call in {
            "codes": lambda coder=coder: coder.quantize(rows, ids),
            "tokens": lambda coder=coder: coder.quantize(rows, compared.nearest(rows)),
        }.items():
            found[f"{name}_per_second_{nbits}_bits"] = ROWS_AT_ONCE / statistics.median(_torch_times(call))
        seconds = statistics.median(_times(lambda codec=codec: backend.encode(vectors, codec)))
        found[f"tokens_per_second_{nbits}_bits_from_host"] = len(vectors) / seconds
        seconds = statistics.median(_times(lambda codec=codec: backend.encode(window, codec)))
        found[f"tokens_per_second_{nbits}_bits_of_a_window"] = len(window) / seconds
        if found[f"equal_code_bytes_{nbits}_bits"] < 0.99:
            raise SystemExit(f"WRONG: codes of {nbits} bits are not the reference's: {found}")
    return found


def _units(generator: np.random.Generator, count: int) -> np.ndarray:
    rows = generator.standard_normal((count, 128), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _rate(codec: Any, store: Store, seconds: float, count: int) -> dict[str, float]:
    return {
        "seconds": seconds,
        "gtokens_per_second_times_queries": store.tokens * count / seconds / 1e9,
        "tile_bytes_per_second": store.tokens * TILE_BYTES[codec.nbits] / seconds,
    }


def _times(call: Callable[[], object], runs: int = RUNS) -> list[float]:
    seconds = []
    for _ in range(runs + 2):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds[2:]


def _torch_times(call: Callable[[], object]) -> list[float]:
    """Seconds on the GPU, by events."""
    import torch

    seconds = []
    for _ in range(RUNS + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return seconds[2:]


def _draw(out: Path, record: dict[str, Any]) -> str:
    """Rates of the kernels beside what this GPU's memory and matrix units allow, measured in the same run."""
    rates = {
        name: record[name]["gtokens_per_second_times_queries"]
        for name in ("cuda: batch 1", "cuda: batch 64", "triton: batch 1")
        if name in record
    }
    if not rates or "gpu" not in record:
        raise SkippedError("nothing was measured")
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise SkippedError(f"matplotlib is not installed ({error})") from error
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.bar(list(rates), list(rates.values()))
    gpu = record["gpu"]
    floors = {
        "memory": gpu["copy_bytes_per_second"] / TILE_BYTES[2] / 1e9,
        "matrix units, fp16": gpu["fp16_flops"] / (2 * 32 * 128) / 1e9,
    }
    for height, (name, floor) in enumerate(floors.items()):
        axes.axhline(floor, color=f"C{height + 1}", linestyle="--", label=f"{name}: {floor:.0f}")
    axes.set_ylabel("Gtoken/s times queries, 2 bits x 128 dims x 32 tokens")
    axes.set_title(gpu["name"])
    axes.legend()
    figure.savefig(out / "gpu.png", dpi=150, bbox_inches="tight")
    return "gpu.png"


def _write(out: Path, record: dict[str, Any]) -> None:
    (out / "gpu.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
