"""Metrics as sums that merge: of noise (KLD, AKLD, correlation, moments) and of quality."""

from pipeline.metrics.akld import Akld, BlockAkld, akld, local_variance
from pipeline.metrics.correlation import (
    ChannelCovariance,
    CorrelationMap,
    lag1_correlation,
    map_distance,
)
from pipeline.metrics.kld import CONVENTIONS, BlockKld, Kld, KldConvention, kld
from pipeline.metrics.moments import Moments, NoiseHistogram, VarianceByIntensity
from pipeline.metrics.quality import (
    QUALITY_CONVENTIONS,
    Psnr,
    Quality,
    QualityConvention,
    QualityRule,
    Ssim,
    psnr,
    ssim,
)

__all__ = [
    "CONVENTIONS",
    "QUALITY_CONVENTIONS",
    "Akld",
    "BlockAkld",
    "BlockKld",
    "ChannelCovariance",
    "CorrelationMap",
    "Kld",
    "KldConvention",
    "Moments",
    "NoiseHistogram",
    "Psnr",
    "Quality",
    "QualityConvention",
    "QualityRule",
    "Ssim",
    "VarianceByIntensity",
    "akld",
    "kld",
    "lag1_correlation",
    "local_variance",
    "map_distance",
    "psnr",
    "ssim",
]
