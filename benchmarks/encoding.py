"""Throughput of encoding documents, beside sentence-transformers' MultiVectorEncoder at its own best batch size.

    python -m benchmarks.encoding shared/data/scifact --model mini
    python -m benchmarks.encoding shared/data/scifact --model xlm-roberta --layers 2
    python -m benchmarks.encoding shared/data/scifact --model xlm-roberta --layers 24 --device cuda --dtype bfloat16

Two ways for texts to come. "at once": a sample of the collection as one list, which both engines sort by length.
"stream": texts of 10 to 2,000 tokens, log-uniformly, made of the collection's words, in chunks of 256: ours reads ahead
within its window, sentence-transformers gets a chunk a call. Both engines run in turns, and the medians are compared.
Quality beside it: the largest difference of any component of any vector.

xlm-roberta is Jina-ColBERT-v2 by layout and widths, with random weights and --layers of its 24 layers: what a layer
costs is the same for each of them.

With --dtype bfloat16 the effect on scores is shown: MaxSim of the collection's queries with its documents, against the
same model in float32, and the share of the ten best that stay. With xlm-roberta the rate of arithmetic is given as a
share of what one large matrix product reaches on the same device in the same run. Targets: bfloat16 at least twice
float32 on a CPU that has it, and on CUDA at least twice sentence-transformers.

Prediction: padding is what is saved. At once, sorted texts share a batch with others of nearly their length, so little
is left (some percent), and what batches of 2,048 tokens save by staying in the cache: 1.1 to 1.2 times. In a stream of
mixed lengths a batch spans more: chunks of 256 sorted texts in batches of 8 differ by 8 / 256 of the range from longest
to shortest, 6 % of padding in the middle and 16 % at the ends, and masked attention cannot take the kernels without a
mask: 1.3 to 1.5 times.

Looking back (2 cores of a Xeon with AVX-512 and AMX; xlm-roberta): in float32 1.15 to 1.17 times at once and 1.12 to
1.24 in the stream. There, products of matrices take .7 to .8 of the time at a rate near that of one large product, and
the library loses less to padding than was thought: its best batches are of two texts. In bfloat16, 2.1 to 2.3 times
float32, where all that is not a product weighs more: 1.40 and 1.45 times (mini: 1.44 and 1.84); .993 of the ten best
stay. On a Zen 3 float32 gave 1.34 and 1.39. Tried, and no faster in either: one product for queries, keys and values,
and rotary positions in place.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.corpora import exact_scores, load_beir
from benchmarks.harness import Times, write_result
from benchmarks.random_checkpoints import write_jina_colbert
from jcb_engine import Encoder
from jcb_engine.encoder.mini_files import package_folder

CHUNK, SHORTEST, LONGEST = 256, 10, 2000
BATCH_SIZES = (2, 4, 8, 16, 32)
_PROBED_TEXTS = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path, help="a BEIR folder")
    parser.add_argument("--model", choices=("mini", "xlm-roberta"), default="mini")
    parser.add_argument("--layers", type=int, default=2, help="of xlm-roberta")
    parser.add_argument("--documents", type=int, default=500, help="at once")
    parser.add_argument("--streamed", type=int, default=512, help="texts of the stream")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    texts = load_beir(arguments.collection).texts
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = _engines(arguments, Path(folder))
        figures = {
            "at once": _compared(ours, theirs, _sample(texts, arguments), None, arguments),
            "stream": _compared(ours, theirs, _mixed(texts, arguments), CHUNK, arguments),
        }
        if arguments.dtype != "float32":
            figures["effect on scores"] = _effect_on_scores(ours, arguments, Path(folder))
        figures["query"] = _query_latency(ours, load_beir(arguments.collection).queries[:100], arguments)
    settings = {name: value for name, value in vars(arguments).items() if name != "collection"}
    name = "-".join(["encoding", arguments.model, arguments.device, arguments.dtype])
    write_result(
        name, {"collection": arguments.collection.name, "threads": torch.get_num_threads(), **settings}, figures
    )


# -- engines -----------------------------------------------------------------------------------------------------------
def _engines(arguments: argparse.Namespace, folder: Path) -> tuple[Encoder, Any]:
    from sentence_transformers import MultiVectorEncoder

    options: dict[str, Any] = {"device": arguments.device}
    kwargs = {"dtype": getattr(torch, arguments.dtype)}
    if arguments.model == "mini":
        theirs = _mini_of_sentence_transformers(arguments.device).to(getattr(torch, arguments.dtype))
        return Encoder("mini", dtype=arguments.dtype, **options), theirs
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    encoder = Encoder(write_jina_colbert(checkpoint, arguments.layers), dtype=arguments.dtype, **options)
    encoder.export(folder / "exported")
    library = MultiVectorEncoder(str(folder / "exported"), device=arguments.device, model_kwargs=kwargs)
    return encoder, library


def _mini_of_sentence_transformers(device: str) -> Any:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    from jcb_engine.encoder.head_files import read_heads

    head = torch.from_numpy(read_heads().weights[128])
    dense = Dense(384, 128, False, torch.nn.Identity(), init_weight=head, module_input_name="token_embeddings")
    transformer = Transformer(str(package_folder()), document_length=256)
    modules = [transformer, dense, Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device=device)


# -- texts -------------------------------------------------------------------------------------------------------------
def _sample(texts: list[str], arguments: argparse.Namespace) -> list[str]:
    return random.Random(arguments.seed).sample(texts, min(arguments.documents, len(texts)))


def _mixed(texts: list[str], arguments: argparse.Namespace) -> list[str]:
    """Texts of about SHORTEST to LONGEST tokens: a token of English is some .75 words."""
    generator = random.Random(arguments.seed)
    words = " ".join(generator.sample(texts, min(2000, len(texts)))).split()
    mixed = []
    for _ in range(arguments.streamed):
        tokens = SHORTEST * (LONGEST / SHORTEST) ** generator.random()
        count = max(1, round(tokens * 0.6))
        start = generator.randrange(len(words) - count)
        mixed.append(" ".join(words[start : start + count]))
    return mixed


# -- measuring ---------------------------------------------------------------------------------------------------------
def _compared(
    ours: Encoder, theirs: Any, texts: list[str], chunk: int | None, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Tokens a second of both, in turns."""
    lengths = [len(tokens) for tokens in theirs.tokenizer(texts, truncation=False, padding=False)["input_ids"]]
    batch_size = _best_batch_size(theirs, texts)

    def of_ours() -> list[np.ndarray]:
        return list(ours.encode_document(texts)) if chunk is None else list(ours.stream_documents(iter(texts)))

    def of_theirs() -> list[np.ndarray]:
        vectors = []
        for part in _chunks(texts, chunk or len(texts)):
            vectors += theirs.encode_document(
                part, batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False
            )
        return vectors

    seconds: dict[str, list[float]] = {"ours": [], "sentence-transformers": []}
    for _ in range(arguments.runs):
        for name, call in (("ours", of_ours), ("sentence-transformers", of_theirs)):
            took, vectors = _timed(call, arguments.device)
            seconds[name].append(took)
            if name == "ours":
                reference = vectors
    difference = max(float(np.abs(a - b).max()) for a, b in zip(reference, vectors, strict=True))
    kept = sum(len(array) for array in reference)
    figures = {
        name: {"seconds": Times.of(times), "tokens_per_second": round(kept / Times.of(times).median, 1)}
        for name, times in seconds.items()
    }
    figures |= {
        "texts": len(texts),
        "vectors": kept,
        "mean_length": round(float(np.mean(lengths)), 1),
        "batch_size_of_sentence_transformers": batch_size,
        "speed_up": round(Times.of(seconds["sentence-transformers"]).median / Times.of(seconds["ours"]).median, 3),
        "largest_difference": difference,
    }
    if arguments.model == "xlm-roberta":
        rate = _operations(lengths, arguments.layers) / Times.of(seconds["ours"]).median
        figures |= {"tflops": round(rate / 1e12, 4), "share_of_peak": round(rate / _peak(arguments), 3)}
    print("stream" if chunk else "at once", figures)
    return figures


def _operations(lengths: list[int], layers: int) -> float:
    """Multiplications and additions of XLM-R-large's layers: 24 H^2 for each token, 4 H T^2 for each text."""
    hidden = 1024
    return layers * sum(24 * hidden**2 * length + 4 * hidden * length**2 for length in lengths)


def _peak(arguments: argparse.Namespace) -> float:
    """Operations a second of one large matrix product."""
    size = 2048 if arguments.device == "cpu" else 8192
    left, right = (
        torch.randn(size, size, device=arguments.device, dtype=getattr(torch, arguments.dtype)) for _ in range(2)
    )
    times = [_timed(lambda: [left @ right], arguments.device)[0] for _ in range(7)]
    return 2 * size**3 / Times.of(times).median


def _effect_on_scores(ours: Encoder, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """MaxSim of queries and documents of the collection, against the same model in float32."""
    collection = load_beir(arguments.collection)
    documents = _sample(collection.texts, arguments)
    queries = collection.queries[:100]
    source = "mini" if arguments.model == "mini" else folder / "checkpoint"
    exact = Encoder(source, dtype="float32", device=arguments.device)
    wanted, came = (
        exact_scores(encoder.encode_query(queries), encoder.encode_document(documents)) for encoder in (exact, ours)
    )
    best_of = [[set(np.argsort(-row, kind="stable")[:10]) for row in scores] for scores in (wanted, came)]
    return {
        "largest_difference_of_a_score": float(np.abs(came - wanted).max()),
        "mean_difference_of_a_score": float(np.abs(came - wanted).mean()),
        "mean_score": float(wanted.mean()),
        "share_of_the_ten_best_kept": float(np.mean([len(a & b) / 10 for a, b in zip(*best_of, strict=True)])),
    }


def _best_batch_size(theirs: Any, texts: list[str]) -> int:
    probed = texts[:: max(1, len(texts) // _PROBED_TEXTS)][:_PROBED_TEXTS]
    times = {}
    for size in BATCH_SIZES:
        began = time.perf_counter()
        theirs.encode_document(probed, batch_size=size, convert_to_numpy=True, show_progress_bar=False)
        times[size] = time.perf_counter() - began
    return min(times, key=lambda size: times[size])


def _timed(call: Callable[[], list[np.ndarray]], device: str) -> tuple[float, list[np.ndarray]]:
    began = time.perf_counter()
    vectors = call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began, vectors


def _chunks(texts: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _query_latency(ours: Encoder, queries: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """One query a call, and all of them in one."""
    ours.encode_query(queries[:1])
    single = [_timed(lambda query=query: ours.encode_query([query]), arguments.device)[0] for query in queries]
    batched = Times.of([_timed(lambda: ours.encode_query(queries), arguments.device)[0] for _ in range(arguments.runs)])
    return {
        "one_ms": round(1000 * Times.of(single).median, 3),
        "batched_ms_each": round(1000 * batched.median / len(queries), 3),
    }


if __name__ == "__main__":
    main()
