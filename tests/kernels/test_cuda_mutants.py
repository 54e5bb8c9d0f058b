"""Broken CUDA kernels: the native tests have to notice each, or they prove little of the real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = "csrc/cuda/kernels/"
# What is broken: file, what stands there, what stands there instead.
MUTANTS = {
    "a tile is used before it has arrived": (
        KERNELS + "maxsim_fast.h",
        "wait_for_copies<Shape::kStages - 2>()",
        "wait_for_copies<Shape::kStages - 1>()",
    ),
    "lanes do not wait for each other's copies": (
        KERNELS + "maxsim_fast.h",
        "    warp_barrier();\n    const char* const tile",
        "    const char* const tile",
    ),
    "the ring is filled one tile too far": (
        KERNELS + "maxsim_fast.h",
        "i < Shape::kStages - 1; ++i",
        "i < Shape::kStages; ++i",
    ),
    "two columns read one centroid score": (
        KERNELS + "maxsim_fast.h",
        "row_scores[row].y, 0x4342",
        "row_scores[row].y, 0x4340",
    ),
    "a code is looked up a nibble off": (
        KERNELS + "look_up.h",
        "permute_bytes(table.words[0], 0, selectors >> 16)",
        "permute_bytes(table.words[0], 0, selectors >> 12)",
    ),
    "half of the query is forgotten": (KERNELS + "prepare_queries.h", "= sum >> 1;", "= 0;"),
    "two tokens begin alike": (KERNELS + "maxsim_fast.h", "first_sums.of(2 * n + i % 2)", "first_sums.of(2 * n)"),
    "the sign is that of the other row": (
        KERNELS + "look_up.h",
        "permute_bytes(0x8000, 0, signs >> (16 * row));\n  }\n}\n\n}",
        "permute_bytes(0x8000, 0, signs >> (16 - 16 * row));\n  }\n}\n\n}",
    ),
    "the fourth bit of a code is lost": (KERNELS + "look_up.h", "(high & is_high)", "(low & is_high)"),
    "rows are not compared across lanes": (
        KERNELS + "maxsim_fast.h",
        "for (int bits = 4; bits",
        "for (int bits = 8; bits",
    ),
    "a document without tokens has a score": (KERNELS + "maxsim_fast.h", "tiles == 0 ? kMinusInfinity : sum", "sum"),
    "items without tiles weigh nothing": (KERNELS + "work.h", "tile_sums[item] + item", "tile_sums[item]"),
    "a border is a step too far": (KERNELS + "work.h", "end - wide + 1;", "end;"),
    "the query of the block before is multiplied": (
        KERNELS + "maxsim_exact.h",
        "      wait_for_copies<0>();\n      warp_barrier();",
        "      warp_barrier();",
    ),
    "a block overtakes itself": (
        KERNELS + "maxsim_batch.h",
        "    arrive();\n    block_barrier();\n  }",
        "    arrive();\n  }",
    ),
    "a tile is overwritten while it is decoded": (
        KERNELS + "maxsim_batch.h",
        "    warp_barrier();  // and read: the next may come\n",
        "",
    ),
    "a document takes the next one's first tile": (
        KERNELS + "maxsim_batch.h",
        "end_of_item() <= tile",
        "end_of_item() < tile",
    ),
    "low bytes of levels are lost": (KERNELS + "maxsim_batch.h", "table.lower, lower)", "table.upper, lower)"),
    "vectors are overwritten while they are multiplied": (
        KERNELS + "maxsim_exact.h",
        "      warp_barrier();\n    }\n#pragma unroll\n    for (int token",
        "    }\n#pragma unroll\n    for (int token",
    ),
    "warps do not wait for each other's maxima": (
        KERNELS + "maxsim_exact.h",
        "  block_barrier();\n  for (int other = 0;",
        "  for (int other = 0;",
    ),
    "the query's unit misses the levels'": (
        KERNELS + "prepare_queries.h",
        "? given.level_unit / unit",
        "? 1.0f / unit",
    ),
    "pieces are added over each other": (KERNELS + "add_pieces.h", "static_cast<uint64_t>(piece) * sum.count", "piece"),
    "a byte is another token's": (
        "csrc/cuda/tile_layout.h",
        "4 * block + 2 * half + row",
        "4 * block + half + 2 * row",
    ),
    "raw values are another token's": ("csrc/cuda/tile_layout.h", "2 * (j / 2) + row", "j / 2 + 2 * row"),
    "half of a raw vector is multiplied": (
        "csrc/cuda/tile_layout.h",
        "bits == kRawBits ? 2 * blocks : blocks",
        "blocks",
    ),
    "integers have no sign": (
        KERNELS + "maxsim_batch.h",
        "words[2 * half + row] ^ 0x80808080",
        "words[2 * half + row]",
    ),
    "integers have no unit": (KERNELS + "maxsim_batch.h", "high_of(scalars) * unit;", "high_of(scalars);"),
    "a raw tile is used before it has arrived": (
        KERNELS + "maxsim_batch.h",
        "if constexpr (kBits == kRawBits) wait_for_copies<0>();",
        "if constexpr (kBits == kRawBits) close_copies();",
    ),
    "levels of one integer are one": (
        KERNELS + "maxsim_exact.h",
        "level << given.rank_bits | rank_of(given, ranks, lane / 4 + 8 * row, dimension)",
        "level << given.rank_bits",
    ),
    "ranks are of another tile": (KERNELS + "maxsim_exact.h", "given.ranks + number *", "given.ranks + i *"),
    "all levels of an integer have one rank": (
        "csrc/cuda/tiles.cu",
        "level_bytes.ranks[code], ranks)",
        "0, ranks)",
    ),
    "a raw document keeps the maxima of the one before": (KERNELS + "maxsim_raw.h", "    maxima.clear();\n", ""),
    "a raw document without tokens has a score": (
        KERNELS + "maxsim_raw.h",
        "tiles == 0 ? kMinusInfinity : score",
        "score",
    ),
    "a wide document is its first tile": (
        KERNELS + "maxsim_fast.h",
        "    const char* const tile = source;\n    source += shape.bytes();\n",
        "    const char* const tile = source;\n",
    ),
    "a lane reads another's operand": (
        "csrc/cuda/tile_layout.h",
        "return (step * kWarpLanes + lane) * 16;",
        "return (step * kWarpLanes + (lane ^ 1)) * 16;",
    ),
    "padding takes the next document's tokens": (
        "csrc/cuda/tiles.cu",
        "std::min(begin + row, end - 1)",
        "std::min(begin + row, segment.tokens - 1)",
    ),
}
# The same of a scan, for test_cuda_scan.cpp.
SCAN_MUTANTS = {
    "what lies above a digit is not taken off": (KERNELS + "select.h", "is_there ? digit.above : 0", "0"),
    "scores of other digits are counted": (KERNELS + "select.h", "if (agrees && ranked", "if (ranked"),
    "bins are counted before they are zero": (
        KERNELS + "find_digit.h",
        "counts.bins[i] = 0;\n  block_barrier();",
        "counts.bins[i] = 0;",
    ),
    "what is masked is collected": (
        KERNELS + "ranked.h",
        "(mask == nullptr || (mask[i >> 3] >> (i & 7) & 1))",
        "true",
    ),
    "two blocks write to one place": (
        KERNELS + "select.h",
        "place = add_atomically(counter, count)",
        "place = *counter, *counter = count",
    ),
    "negative scores are in the wrong order": (KERNELS + "keys.h", "bits >> 31 ? ~bits", "bits >> 31 ? bits"),
    "fast scores are taken for exact ones": (
        "csrc/cuda/scan.cu",
        "{nullptr, bounds, counts",
        "{nullptr, nullptr, counts",
    ),
    "digits of the search before are left": (
        "csrc/cuda/graph_memory.h",
        "set_to_zero(results_.data(), zeros_, stream);",
        "",
    ),
    "the pass before is forgotten": (KERNELS + "select.h", "4 * (pass - 2);\n    key", "4 * (pass - 1);\n    key"),
    "what warps above have is not above": (
        KERNELS + "find_digit.h",
        "for (int w = 0; w < warp; ++w) above += shared.of_warps[w];",
        "",
    ),
    "a warp does not wait for those above": (
        KERNELS + "find_digit.h",
        "shared.value = kDigitBins;\n  block_barrier();",
        "shared.value = kDigitBins;",
    ),
    "only the last piece of a query counts": (
        KERNELS + "maxsim_exact.h",
        "sum += sum_of_maxima(",
        "sum = sum_of_maxima(",
    ),
    "a piece overtakes the one before": (
        KERNELS + "maxsim_exact.h",
        "scores[place] = sum;\n      }\n      block_barrier();",
        "scores[place] = sum;\n      }",
    ),
    "a part is all of its document": (
        KERNELS + "maxsim_exact.h",
        "uint32_t i = tiles.part + warp * tiles.parts",
        "uint32_t i = warp * tiles.parts",
    ),
    "the first part adds up": (KERNELS + "maxsim_exact.h", "before, 0) + 1 == parts", "before, 0) == 0"),
    "an old graph keeps its room": ("csrc/cuda/recorded_graphs.h", "throw;\n      graphs_.clear();", "throw;"),
}
# The same of a search among candidates, for test_cuda_probe.cpp.
PROBE_MUTANTS = {
    "a document gains by every probe": (
        KERNELS + "postings.h",
        "(or_atomically(&met[document / 32], bit) & bit) == 0",
        "true",
    ),
    "a worse probe overtakes a better one": (
        KERNELS + "postings.h",
        "      block_barrier();  // who meets a document later meets it by a worse probe\n",
        "",
    ),
    "the worst probe comes first": (KERNELS + "postings.h", "scores[j] > scores[i] ||", "scores[j] < scores[i] ||"),
    "segments gain for each other": (
        KERNELS + "postings.h",
        "given.documents + range.start;",
        "given.documents + range.first;",
    ),
    "steps are of one piece": (
        KERNELS + "postings.h",
        "piece < given.first_pieces[query + 1]",
        "piece < given.first_pieces[query] + 1",
    ),
    "rows of a tile are not compared": (KERNELS + "narrow.h", "for (int bits = 2; bits", "for (int bits = 4; bits"),
    "tokens have each other's steps": (KERNELS + "narrow.h", "kColumns + half * 16", "kColumns"),
    "warps lay out over each other": (KERNELS + "lay_out.h", "start += w < warp ? of_warps[w] : 0;", ""),
    "of ties the higher numbers stay": (KERNELS + "keys.h", "<< 32 | ~number", "<< 32 | number"),
    "what is above a digit is wanted still": (KERNELS + "select.h", "is_there ? digit.above : 0", "0"),
    "of ties all stay": (KERNELS + "select.h", "key.is_there && key.count > key.wanted", "false"),
    "scores that tie are looked for among all": (
        KERNELS + "select.h",
        "counts = key_of(score) == key.value && ranked",
        "counts = ranked",
    ),
    "blocks begin at one place": (
        KERNELS + "select.h",
        "blocks_a_query == 1 ? &shared.found : &given.counts[query]",
        "&shared.found",
    ),
    "two passes are three": (
        KERNELS + "select.h",
        "key.value << (ranked.passes == kDigitPasses ? 0 : digit_bits(kDigitPasses - 1))",
        "key.value",
    ),
    "documents without a gain are candidates": ("csrc/cuda/probe.cu", "    gained.more_than = 0.0f;\n", ""),
    "sums of the search before are left": (
        "csrc/cuda/graph_memory.h",
        "set_to_zero(results_.data(), zeros_, stream);",
        "",
    ),
    "the frontier is probed": ("csrc/cuda/probe.cu", "    reaching.beyond = true;\n", ""),
    "fast scores are believed": (
        "csrc/cuda/selecting.cu",
        "judged, errors, reaching, k, queries",
        "judged, -50.0f * errors, reaching, k, queries",
    ),
    "ranges overlap": (
        "csrc/cuda/postings.cu",
        "range * range_documents <= document",
        "range * range_documents < document",
    ),
}
# The same of how tiles get to a GPU, for test_cuda_tiles.cpp.
TILE_MEMORY = "csrc/cuda/tile_memory.cu"
TILE_MUTANTS = {
    "a chunk lies where the first does": (
        TILE_MEMORY,
        "memory.tiles.data() + first * tile_bytes",
        "memory.tiles.data()",
    ),
    "ranks of a chunk are the next one's": (TILE_MEMORY, "begin * made.rank_bytes()", "end * made.rank_bytes()"),
    "a thread's error is lost": (TILE_MEMORY, "      errors[part] = std::current_exception();\n", ""),
    "nothing is left free": (
        TILE_MEMORY,
        "less(free_memory(), kKeptFree + documents * kScoresADocument + postings * kBytesAPosting)",
        "free_memory()",
    ),
    "tiles keep what memory held before": (
        "csrc/cuda/tiles.cu",
        "  std::memset(tiles, 0, (last - first) * shape.bytes());\n",
        "",
    ),
    "a tile is of the segment after": ("csrc/cuda/tiles.cu", "starts.end(), document)", "starts.end(), document + 1)"),
}
TESTED = {"maxsim": MUTANTS, "scan": SCAN_MUTANTS, "probe": PROBE_MUTANTS, "tiles": TILE_MUTANTS}
SOURCES = (
    "csrc/cuda/maxsim.cu",
    "csrc/cuda/scan.cu",
    "csrc/cuda/selecting.cu",
    "csrc/cuda/postings.cu",
    "csrc/cuda/probe.cu",
    "csrc/cuda/plan.cu",
    "csrc/cuda/tiles.cu",
    "csrc/cuda/tile_memory.cu",
    "csrc/cuda/level_bytes.cpp",
    "csrc/cuda/emulation/threads.cpp",
    "csrc/tests/corpus.cpp",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for mutants in TESTED.values() for name in mutants])
def test_a_broken_kernel_is_noticed(name: str, tmp_path: Path) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler here")
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    test, (file, stands, instead) = next((test, known[name]) for test, known in TESTED.items() if name in known)
    sources = (*SOURCES, f"csrc/tests/test_cuda_{test}.cpp")
    source = (tmp_path / file).read_text()
    assert source.count(stands) == 1, "the mutant no longer fits the source"
    (tmp_path / file).write_text(source.replace(stands, instead))
    program = tmp_path / "test"
    includes = [f"-I{tmp_path / 'csrc'}", f"-I{tmp_path / 'csrc' / 'include'}"]
    command = [compiler, "-std=c++20", "-O1", *includes, "-x", "c++", *(str(tmp_path / name) for name in sources)]
    subprocess.run([*command, "-o", str(program)], check=True)
    # Under some order of threads: what is a race need not show in the first.
    for seed in range(5):
        run = subprocess.run(
            [program], env={**os.environ, "JCB_EMULATION_SEED": str(100 * seed)}, check=False, capture_output=True
        )
        if run.returncode != 0:
            return
    pytest.fail("five orders of threads did not show it")
