"""Commands of the comparison with the peers; `python -m benchmarks.peers --help`."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import best, exact_scores, ndcg_at_10
from benchmarks.harness import RESULTS, write_result
from benchmarks.peers import __doc__ as overview
from benchmarks.peers.comparison import Setting, against, recall_of, row
from benchmarks.peers.engines import OWN, Engine, centroid_count, engines
from benchmarks.peers.environments import PEERS, make_environments
from benchmarks.peers.indexes import BuiltIndex, build_index, built_index, folder_bytes, index_folder
from benchmarks.peers.kernel import compare_kernels
from benchmarks.peers.material import COLLECTIONS, DIM, MODEL, Material, exchanged, load_material
from benchmarks.peers.plot import check_matplotlib, draw
from benchmarks.peers.rounds import Measured, Worker, run_rounds

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=overview, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    environments = commands.add_parser("environments", help="install the peers, each in its own environment")
    environments.add_argument("peers", nargs="*", help=f"of {', '.join(PEERS)}; all where none is named")
    for name, text in (
        ("build", "build the indexes that are not there yet"),
        ("run", "build what is missing, measure all in turns, write the result and the plot"),
        ("kernel", "uncompressed MaxSim: maxsim-cpu, PyLate's rerank and torch beside our loop"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("collection", choices=list(COLLECTIONS))
        command.add_argument("--data", type=Path, required=True, help="folder of the BEIR collections")
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--rounds", type=int, default=3)
        if name != "kernel":
            command.add_argument("--only", nargs="+", help="of the indexes, such as fast-plaid-4bits jcb-engine-2bits")
        if name == "run":
            command.add_argument("--queries", type=int, help="only the first so many, to try something out")
        if name == "build":
            command.add_argument("--again", action="store_true", help="build also what is there")
    commands.add_parser("plot", help="draw again from the result").add_argument("collection", choices=list(COLLECTIONS))
    arguments = parser.parse_args()
    globals()[f"_{arguments.command}"](arguments)


def _environments(arguments: argparse.Namespace) -> None:
    unknown = set(arguments.peers) - set(PEERS)
    if unknown:
        raise SystemExit(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    make_environments(arguments.peers or list(PEERS))


def _build(arguments: argparse.Namespace) -> None:
    material = load_material(arguments.collection, arguments.data)
    _indexes(material, _job(material, arguments), _chosen(arguments.only), arguments.again)


def _plot(arguments: argparse.Namespace) -> None:
    print(f"drew {draw(RESULTS / f'peers-{arguments.collection}.json').name}")


def _kernel(arguments: argparse.Namespace) -> None:
    material = load_material(arguments.collection, arguments.data)
    job = _job(material, arguments)
    figures = compare_kernels(job, arguments.rounds)
    print(json.dumps(figures, indent=2))
    write_result(f"peers-kernel-{material.name}", _settings(material, job, arguments.rounds), figures)


def _run(arguments: argparse.Namespace) -> None:
    check_matplotlib()
    began = time.perf_counter()
    material = load_material(arguments.collection, arguments.data)
    job = _job(material, arguments)
    indexes = _indexes(material, job, _chosen(arguments.only), again=False)
    truth = exact_scores(material.queries, material.documents)
    print(f"prepared in {time.perf_counter() - began:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        workers = [
            opened.enter_context(closing(Worker(built, _with_searches(job, built.engine), Path(scratch))))
            for built in indexes
        ]
        queries = min(arguments.queries or len(material.queries), len(material.queries))
        measured = run_rounds(workers, queries, arguments.rounds, arguments.seed)
    figures = _figures(material, truth, workers, measured)
    write_result(f"peers-{material.name}", _settings(material, job, arguments.rounds), figures)
    for compared in figures["at_the_peers_recall"]:
        print(json.dumps(compared))
    print(f"drew {draw(RESULTS / f'peers-{material.name}.json').name}; {time.perf_counter() - began:.0f} s in all")


def _chosen(only: list[str] | None) -> list[Engine]:
    known = {engine.label: engine for engine in engines()}
    unknown = set(only or ()) - set(known)
    if unknown:
        raise SystemExit(f"no index {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [engine for label, engine in known.items() if not only or label in only]


def _job(material: Material, arguments: argparse.Namespace) -> dict[str, Any]:
    """What all drivers are told alike."""
    return {
        "documents": str(exchanged(material.documents)),
        "queries": str(exchanged(material.queries)),
        "centroids": centroid_count(len(material.documents.values)),
        "seed": arguments.seed,
        "threads": arguments.threads,
        "k": K,
    }


def _with_searches(job: dict[str, Any], engine: Engine) -> dict[str, Any]:
    return {**job, "nbits": engine.nbits, "searches": {search.name: search.parameters for search in engine.searches}}


def _indexes(material: Material, job: dict[str, Any], chosen: list[Engine], again: bool) -> list[BuiltIndex]:
    found = []
    for engine in chosen:
        folder = index_folder(Path(job["documents"]), engine, job["centroids"], job["seed"])
        built = None if again else built_index(folder, engine)
        if built is None:
            print(f"building {engine.label} ...", flush=True)
            built = build_index(folder, engine, _with_searches(job, engine), len(material.documents.values))
            print(f"{engine.label}: {built.record['seconds']:.0f} s, {built.record['tokens_per_second']:.0f} tokens/s")
        found.append(built)
    return found


def _settings(material: Material, job: dict[str, Any], rounds: int) -> dict[str, Any]:
    return {
        "collection": material.name,
        "chosen": material.note,
        "model": MODEL,
        "dim": DIM,
        "documents": len(material.documents),
        "tokens": len(material.documents.values),
        "queries": len(material.queries),
        "query_tokens_mean": float(np.diff(material.queries.offsets).mean()),
        "centroids": job["centroids"],
        "threads": job["threads"],
        "seed": job["seed"],
        "rounds": rounds,
        "k": K,
    }


def _figures(
    material: Material, truth: np.ndarray, workers: list[Worker], measured: dict[tuple[str, str], Measured]
) -> dict[str, Any]:
    names, query_ids = material.collection.document_ids, material.collection.query_ids
    wanted = [np.argsort(-scores, kind="stable")[:K].tolist() for scores in truth]
    settings, rows = [], []
    for worker in workers:
        for search in worker.built.engine.searches:
            found = measured[worker.built.engine.label, search.name]
            recalls = {query: recall_of(ids, wanted[query]) for query, ids in found.answers.items()}
            setting = Setting(worker.built.engine.name, worker.built.engine.nbits, search.name, recalls, found.seconds)
            settings.append(setting)
            rows.append(row(setting, _ndcg(found.answers, names, query_ids, material.collection.qrels)))
    own = [setting for setting in settings if setting.engine == OWN]
    uncompressed = {query: best(scores, names, K) for query, scores in zip(query_ids, truth, strict=True)}
    return {
        "uncompressed_ndcg_at_10": ndcg_at_10(uncompressed, material.collection.qrels),
        "indexes": {
            worker.built.engine.label: _index_figures(worker, len(material.documents.values)) for worker in workers
        },
        "at_the_peers_recall": [against(setting, own) for setting in settings if setting.engine != OWN] if own else [],
        "rows": rows,
    }


def _index_figures(worker: Worker, tokens: int) -> dict[str, Any]:
    """Bytes are counted after the searches: a peer that unpacks its index when it is opened keeps both forms."""
    return {
        "version": worker.built.engine.version,
        "bytes_per_token": folder_bytes(worker.built.path) / tokens,
        "search_peak_rss_anon_bytes": worker.peak_rss_anon_bytes,
        "build": worker.built.record,
    }


def _ndcg(
    answers: dict[int, list[int]], names: list[str], query_ids: list[str], qrels: dict[str, dict[str, int]]
) -> float:
    """nDCG@10 over the queries asked; the order is the engine's own."""
    run = {query_ids[q]: {names[i]: float(-place) for place, i in enumerate(ids)} for q, ids in answers.items()}
    return ndcg_at_10(run, {query: qrels[query] for query in run})


if __name__ == "__main__":
    main()
