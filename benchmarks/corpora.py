"""BEIR collections from a folder, their embeddings (cached by content), and exact MaxSim over uncompressed vectors."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jcb_engine import Encoder, RaggedEmbeddings

CACHE = Path(__file__).parent.parent / ".cache" / "benchmarks"


@dataclass(frozen=True)
class Collection:
    """Documents, the queries of one split, and their judgements {query: {document: relevance}}."""

    name: str
    document_ids: list[str]
    texts: list[str]
    query_ids: list[str]
    queries: list[str]
    qrels: dict[str, dict[str, int]]


def _json_lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="\n") as file:  # texts may hold other line ends of Unicode
        return [json.loads(line) for line in file if line.strip()]


def load_beir(folder: Path, split: str = "test") -> Collection:
    documents = _json_lines(folder / "corpus.jsonl")
    queries = {row["_id"]: row["text"] for row in _json_lines(folder / "queries.jsonl")}
    qrels: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / f"{split}.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return Collection(
        folder.name,
        [row["_id"] for row in documents],
        [f"{row['title']} {row['text']}" if row.get("title") else row["text"] for row in documents],
        list(qrels),
        [queries[name] for name in qrels],
        qrels,
    )


def embeddings(collection: Collection, model: str, dim: int) -> tuple[RaggedEmbeddings, RaggedEmbeddings]:
    """Documents and queries as the model encodes them; kept on disk, since encoding is not what is measured."""
    encoder: Encoder | None = None
    found = []
    for kind, texts in (("documents", collection.texts), ("queries", collection.queries)):
        key = hashlib.sha256("\0".join([model, str(dim), kind, *texts]).encode()).hexdigest()[:16]
        path = CACHE / f"{collection.name}-{kind}-{dim}-{key}.npz"
        if not path.exists():
            encoder = encoder or Encoder(model, dim=dim)
            encoded = encoder.encode_document(texts) if kind == "documents" else encoder.encode_query(texts)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, values=encoded.values, offsets=encoded.offsets)
        with np.load(path) as arrays:
            found.append(RaggedEmbeddings(arrays["values"], arrays["offsets"]))
    return found[0], found[1]


def first_dims(vectors: RaggedEmbeddings, dim: int) -> RaggedEmbeddings:
    """The first `dim` dimensions, of unit norm again: what a nested (Matryoshka) head gives, as those of `mini` are."""
    shorter = np.array(vectors.values[:, :dim])
    shorter /= np.linalg.norm(shorter, axis=1, keepdims=True)
    return RaggedEmbeddings(shorter, vectors.offsets)


def exact_scores(queries: RaggedEmbeddings, documents: RaggedEmbeddings) -> np.ndarray:
    """MaxSim [queries, N] in numpy, independent of the kernels; -inf for documents without vectors."""
    scores = np.full((len(queries), len(documents)), -np.inf, dtype=np.float32)
    filled = np.flatnonzero(np.diff(documents.offsets))
    starts = documents.offsets[:-1][filled]
    for row, query in enumerate(queries):
        similarities = documents.values @ query.T
        scores[row, filled] = np.maximum.reduceat(similarities, starts, axis=0).sum(axis=1)
    return scores


def best(scores: np.ndarray, ids: list[str], k: int) -> dict[str, float]:
    """The k best documents of one query."""
    order = np.argsort(-scores, kind="stable")[:k]
    return {ids[number]: float(scores[number]) for number in order}


def overlap(found: list[list[str]], wanted: list[list[str]]) -> float:
    """Mean share of `wanted` that is in `found`: recall@k against another search."""
    return float(np.mean([len(set(f) & set(w)) / len(w) for f, w in zip(found, wanted, strict=True)]))


def ndcg_at_10(run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]) -> float:
    """Mean nDCG@10 over every judged query, by ir_measures."""
    import ir_measures
    from ir_measures import nDCG

    return float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10])
