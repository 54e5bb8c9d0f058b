"""Side by side with the peers: the same vectors, threads, bits and centroids, measured in turns in one run.

    python -m benchmarks.peers environments                           once: installs every peer, 10 GB with torch
    python -m benchmarks.peers run scifact --data ../shared/data      indexes that are not there yet, rounds, plot

Prediction, from the figures that issue 5 gives for 1.04 M tokens on another processor: fast-plaid at its fixed setting
70 to 100 ms and some 500 at its default, recall .95 at 4 bits; xtr-warp-rs 11 to 35 ms at .73 to .85; ours at those
recalls 1.5 to 3 ms, so 30x and 200x fast-plaid's two settings, 5x and 15x those of xtr-warp-rs.

`environments.py` pins the peers, `drivers/` has one program per peer that its own interpreter runs and that knows
nothing of this engine, `indexes.py` builds and caches, `rounds.py` measures, `comparison.py` says what it means.
"""
