"""The collections of the comparison: documents and queries as vectors, judgements, and how they were chosen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.corpora import CACHE, Collection, embeddings, load_beir
from jcb_engine import RaggedEmbeddings

MODEL, DIM = "mini@1", 128
VECTORS = CACHE.parent / "peers" / "vectors"
_SEED = 0
_SAMPLED_DOCUMENTS, _SAMPLED_QUERIES = 5_000, 300
_LONG = 32
_SMALL = 400


@dataclass(frozen=True)
class Material:
    """A collection with its vectors; `note` is what a reader of the figures has to know."""

    name: str
    note: str
    collection: Collection
    documents: RaggedEmbeddings
    queries: RaggedEmbeddings


def load_material(name: str, data: Path) -> Material:
    """SystemExit names the collections there are."""
    if name not in COLLECTIONS:
        raise SystemExit(f"no collection {name!r}; there are {', '.join(COLLECTIONS)}")
    return COLLECTIONS[name](name, data)


def _scifact(name: str, data: Path) -> Material:
    collection = load_beir(data / "scifact")
    note = f"all {len(collection.texts)} documents and the {len(collection.queries)} test queries"
    return Material(name, note, collection, *embeddings(collection, MODEL, DIM))


def _scifact_long(name: str, data: Path) -> Material:
    """Real claims that have 32 tokens or more, of both splits, cut at 32: nothing is padded or repeated."""
    test, train = (load_beir(data / "scifact", split) for split in ("test", "train"))
    documents, _ = embeddings(test, MODEL, DIM)
    names, texts, qrels, vectors = [], [], {}, []
    for collection in (test, train):
        _, queries = embeddings(collection, MODEL, DIM)
        for query_id, text, query in zip(collection.query_ids, collection.queries, queries, strict=True):
            if len(query) >= _LONG:
                names.append(query_id)
                texts.append(text)
                qrels[query_id] = collection.qrels[query_id]
                vectors.append(query[:_LONG])
    note = f"all documents; the {len(names)} claims (test and train) of {_LONG} tokens or more, cut at {_LONG}"
    offsets = np.arange(len(names) + 1, dtype=np.int64) * _LONG
    collection = replace(test, name=name, query_ids=names, queries=texts, qrels=qrels)
    return Material(name, note, collection, documents, RaggedEmbeddings(np.concatenate(vectors), offsets))


def _gesetze(name: str, data: Path) -> Material:
    """Sampled test queries with the passages judged for them, filled up with other passages, in the corpus' order."""
    whole = load_beir(data / "gesetze-de")
    random = np.random.default_rng(_SEED)
    chosen = sorted(random.choice(len(whole.queries), _SAMPLED_QUERIES, replace=False))
    wanted = {document for query in chosen for document in whole.qrels[whole.query_ids[query]]}
    judged = [number for number, document in enumerate(whole.document_ids) if document in wanted]
    others = np.setdiff1d(np.arange(len(whole.texts)), judged)
    filling = random.choice(others, _SAMPLED_DOCUMENTS - len(judged), replace=False)
    collection = _part(whole, sorted([*judged, *filling.tolist()]), chosen, name)
    note = (
        f"{_SAMPLED_DOCUMENTS} of {len(whole.texts)} passages, seed {_SEED}: those judged for {_SAMPLED_QUERIES} "
        "sampled test queries, and others; German, encoded by an English model, so nDCG is that of a wrong model"
    )
    return Material(name, note, collection, *embeddings(collection, MODEL, DIM))


def _small(name: str, data: Path) -> Material:
    """The first 400 documents of scifact and 50 of its queries: to try a change of this benchmark."""
    whole = load_beir(data / "scifact")
    documents, queries = embeddings(whole, MODEL, DIM)
    part = _part(whole, list(range(_SMALL)), list(range(50)), name)
    cut = [
        RaggedEmbeddings(all_.values[: all_.offsets[n]], all_.offsets[: n + 1])
        for all_, n in ((documents, _SMALL), (queries, 50))
    ]
    return Material(name, "400 documents and 50 queries of scifact, for trying out", part, *cut)


def _part(whole: Collection, documents: list[int], queries: list[int], name: str) -> Collection:
    return Collection(
        name,
        [whole.document_ids[number] for number in documents],
        [whole.texts[number] for number in documents],
        [whole.query_ids[number] for number in queries],
        [whole.queries[number] for number in queries],
        {whole.query_ids[number]: whole.qrels[whole.query_ids[number]] for number in queries},
    )


COLLECTIONS = {"scifact": _scifact, "scifact-32": _scifact_long, "gesetze-de": _gesetze, "scifact-small": _small}


def exchanged(vectors: RaggedEmbeddings) -> Path:
    """A folder with values.npy [T, D] float32 and offsets.npy [N + 1] int64, named by a hash of both."""
    values = np.ascontiguousarray(vectors.values, dtype=np.float32)
    offsets = np.ascontiguousarray(vectors.offsets, dtype=np.int64)
    key = hashlib.sha256(json.dumps(values.shape).encode() + offsets.tobytes())
    key.update(values)
    folder = VECTORS / key.hexdigest()[:16]
    if not (folder / "offsets.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "values.npy", values)
        np.save(folder / "offsets.npy", offsets)
    return folder
