"""Fit the heads of `mini@1`: principal components of its token vectors on the standard library's documentation.

    python scripts/fit_mini_heads.py jcb_engine/encoder/heads/mini-1.safetensors

Reads what `jcb-index build --from python-docs` indexes, so it needs no download and no labels, and sees no text that the
engine is measured on. Same Python, same torch, same processor: same file.

Choices, by nDCG@10 with exact MaxSim (see ARCHITECTURE.md for the figures): see `principal_components`.
"""
