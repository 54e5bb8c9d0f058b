"""Vectors <-> centroid id, residual codes and two scalars per token."""

from jcb_engine.codec.assignment import CentroidAssigner
from jcb_engine.codec.centroids import default_centroid_count, train_centroids
from jcb_engine.codec.residual import BIT_WIDTHS, EncodedTokens, ResidualCodec, largest_norm, train_codec

__all__ = [
    "BIT_WIDTHS",
    "CentroidAssigner",
    "EncodedTokens",
    "ResidualCodec",
    "default_centroid_count",
    "largest_norm",
    "train_centroids",
    "train_codec",
]
