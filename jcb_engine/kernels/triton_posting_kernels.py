"""Posting expansion as a Triton program: what the postings of probed centroids gain each document.

    sum(d) = sum over query tokens of the largest gain among the token's probes whose posting holds d

Gains are positive integers. A program takes a part of one probe's posting. `best` has, of each query token in work, the
largest gain that a document has had so far; atomic_max says what it was before, and only what is more than that is
added to the document's sum. These additions telescope: together they are the largest gain, whichever program comes
first. So nothing is ordered, nothing waits, and sums of integers are the same bits every time.

Imported by triton_postings.py alone: importing it imports triton.
"""

from __future__ import annotations

import triton
import triton.language as tl


# Arguments. documents [P] int32, posting_offsets [K + 1] int64: checked when they were copied. centroids [Q, probes]
# int64, gains [Q, probes] int32: the probes of query tokens; query_of_token [Q] int64; allowed: bitmap of documents,
# not read unless is_masked; best [tokens at once, documents] int32, zeros before; sums [queries, documents] int32;
# first_token: of those that `best` is for. Programs along the second axis share a posting.
@triton.jit(do_not_specialize=["first_token", "probes", "document_count", "parts"])
def gain_by_postings(
    documents,
    posting_offsets,
    centroids,
    gains,
    query_of_token,
    allowed,
    best,
    sums,
    first_token,
    probes,
    document_count,
    parts,
    step: tl.constexpr,
    is_masked: tl.constexpr,
):
    """One probe of one query token, and every `parts`-th block of `step` documents of its posting."""
    row = tl.program_id(0) // probes
    token = (first_token + row).to(tl.int64)
    probe = token * probes + tl.program_id(0) % probes
    centroid = tl.load(centroids + probe)
    gain = tl.load(gains + probe)
    begin = tl.load(posting_offsets + centroid)
    length = (tl.load(posting_offsets + centroid + 1) - begin).to(tl.int32)
    own_best = best + row.to(tl.int64) * document_count
    own_sums = sums + tl.load(query_of_token + token) * document_count
    for start in range(tl.program_id(1) * step, length, parts * step):
        entry = start + tl.arange(0, step)
        counts = entry < length
        document = tl.load(documents + begin + entry, mask=counts, other=0)
        if is_masked:
            bits = tl.load(allowed + (document >> 3), mask=counts, other=0).to(tl.int32)
            counts = counts & (((bits >> (document & 7)) & 1) != 0)
        before = tl.atomic_max(own_best + document, gain, mask=counts, sem="relaxed")
        tl.atomic_add(own_sums + document, gain - before, mask=counts & (before < gain), sem="relaxed")
