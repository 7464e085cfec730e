"""Noise metrics as sums that merge: KLD by named convention, AKLD, correlation, moments."""

from pipeline.metrics.akld import Akld, BlockAkld, akld, local_variance
from pipeline.metrics.correlation import (
    ChannelCovariance,
    CorrelationMap,
    lag1_correlation,
    map_distance,
)
from pipeline.metrics.kld import CONVENTIONS, BlockKld, Kld, KldConvention, kld
from pipeline.metrics.moments import Moments, NoiseHistogram, VarianceByIntensity

__all__ = [
    "CONVENTIONS",
    "Akld",
    "BlockAkld",
    "BlockKld",
    "ChannelCovariance",
    "CorrelationMap",
    "Kld",
    "KldConvention",
    "Moments",
    "NoiseHistogram",
    "VarianceByIntensity",
    "akld",
    "kld",
    "lag1_correlation",
    "local_variance",
    "map_distance",
]
