"""Side by side with the peers: the same vectors, threads, bits and centroids, measured in turns in one run.

    python -m benchmarks.peers environments                           once: installs every peer, 10 GB with torch
    python -m benchmarks.peers run scifact --data ../shared/data      indexes that are not there yet, rounds, plot

Prediction, from the figures that issue 5 gives for 1.04 M tokens on another processor: fast-plaid at its fixed setting
70 to 100 ms and some 500 at its default, recall .95 at 4 bits; xtr-warp-rs 11 to 35 ms at .73 to .85; ours at those
recalls 1.5 to 3 ms, so 30x and 200x fast-plaid's two settings, 5x and 15x those of xtr-warp-rs.

Looking back (gesetze-de, all peers in one run, 2 cores with AVX-512; at the recall of each): fast-plaid's two settings
44x and 259x at 4 bits, 54x and 285x at 2; xtr-warp-rs' 5.1x and 15.6x, 5.6x and 18.3x; colbert-ai's PLAID 11x at its
default and 26x to 108x at wider ones; PyLate's 622x. scifact: 36x, 269x, 8.2x and 14.4x at 4 bits, 46x, 258x, 8.0x
and 17.8x at 2; with the tile unit (AMX) 40x, 350x, 8.8x and 19.2x, 45x, 288x, 6.7x and 15.3x.

`environments.py` pins the peers, `drivers/` has one program per peer that its own interpreter runs and that knows
nothing of this engine, `indexes.py` builds and caches, `rounds.py` measures, `comparison.py` says what it means.
"""
