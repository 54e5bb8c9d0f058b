"""Whole processes: `jcb-search query` beside `python -c 'from transformers import BertModel'`, in turns.

    python -m benchmarks.startup INDEX      (an index made with mini)

Prediction: importing transformers' BertModel is most of both; loading 90 MB of weights, one query of ten tokens and the
search add about .3 s, so the ratio is near 1.1. The answers of the query are compared with exact search: recall@10.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import Times, write_result

QUERY = "how do I parse a date from a string?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    search = [str(Path(sys.executable).with_name("jcb-search")), "query", str(arguments.index), QUERY, "--json"]
    if not Path(search[0]).exists():
        search[:1] = [sys.executable, "-c", "import sys; from jcb_engine.cli.search import main; sys.exit(main())"]
    commands = {
        "transformers_import": [sys.executable, "-c", "from transformers import BertModel"],
        "jcb_search_query": search,
        "jcb_search_help": [*search[:-4], "--help"],
        "jcb_index_info": [
            sys.executable,
            "-c",
            "import sys; from jcb_engine.cli.index import main; sys.exit(main())",
            "info",
            str(arguments.index),
        ],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    answers: list[dict[str, Any]] = []
    for run in range(arguments.runs + 1):  # the first round warms the file cache and is not counted
        for name, command in commands.items():
            began = time.perf_counter()
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            if run:
                seconds[name].append(time.perf_counter() - began)
            if name == "jcb_search_query":
                answers.append(json.loads(result.stdout))
    exact = json.loads(subprocess.run([*search, "--exact"], capture_output=True, text=True, check=True).stdout)
    wanted, found = ([hit["id"] for hit in answer["hits"]] for answer in (exact, answers[-1]))
    times = {name: Times.of(values) for name, values in seconds.items()}
    figures: dict[str, Any] = {
        **times,
        "ratio_of_medians": times["jcb_search_query"].median / times["transformers_import"].median,
        "split_seconds": answers[-1]["timings"],
        "recall_at_10_of_exact": len(set(wanted) & set(found)) / len(wanted),
    }
    print(json.dumps(figures, indent=2, default=vars))
    write_result("startup", {"query": QUERY, "runs": arguments.runs}, figures)


if __name__ == "__main__":
    main()
