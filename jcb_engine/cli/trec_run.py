"""Lines of a TREC run whose order survives the tools that sort it again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jcb_engine.cli.queries import check_run_word
from jcb_engine.types import Hits

_ADVICE = "index the texts under other ids, or ask one query at a time: jcb-search query --json takes any id"
_BELOW_ALL = np.float32(-np.inf)


def run_lines(query_id: str, hits: Hits, tag: str) -> Iterator[str]:
    """`query_id Q0 document_id rank score tag` for each hit.

    trec_eval ignores the ranks: it sorts by score, read as a 32-bit float, and equal scores by descending document
    id. So scores have the 9 digits that tell two such floats apart, and one that does not fall below the score before
    it is lowered to the next smaller float. Raises InputError for a document id with white space.
    """
    previous = np.float32(np.inf)
    for hit in hits:
        check_run_word(hit.id, "document id", _ADVICE)
        score = min(np.float32(hit.score), np.nextafter(previous, _BELOW_ALL))
        yield f"{query_id} Q0 {hit.id} {hit.rank} {score:.9g} {tag}"
        previous = score
