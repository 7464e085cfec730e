"""Metrics as sums that merge: of noise (KLD, AKLD, correlation, moments) and of quality."""

from pipeline.measure.metrics.akld import Akld, BlockAkld, akld, local_variance
from pipeline.measure.metrics.correlation import (
    ChannelCovariance,
    CorrelationMap,
    lag1_correlation,
    map_distance,
)
from pipeline.measure.metrics.groups import LEVELS, Cell, GroupSums, Scores
from pipeline.measure.metrics.kld import CONVENTIONS, BlockKld, Kld, KldConvention, PooledKld, kld
from pipeline.measure.metrics.likelihood import Nll, NllConvention, NllValue, bits_per_dimension
from pipeline.measure.metrics.moments import Moments, NoiseHistogram, VarianceByIntensity
from pipeline.measure.metrics.quality import (
    QUALITY_CONVENTIONS,
    Psnr,
    Quality,
    QualityConvention,
    QualityRule,
    Ssim,
    psnr,
    ssim,
)
from pipeline.measure.metrics.spectrum import RadialSpectrum, Spectrum, spectrum_distance

__all__ = [
    "CONVENTIONS",
    "LEVELS",
    "QUALITY_CONVENTIONS",
    "Akld",
    "BlockAkld",
    "BlockKld",
    "Cell",
    "ChannelCovariance",
    "CorrelationMap",
    "GroupSums",
    "Kld",
    "KldConvention",
    "Moments",
    "Nll",
    "NllConvention",
    "NllValue",
    "NoiseHistogram",
    "PooledKld",
    "Psnr",
    "Quality",
    "QualityConvention",
    "QualityRule",
    "RadialSpectrum",
    "Scores",
    "Spectrum",
    "Ssim",
    "VarianceByIntensity",
    "akld",
    "bits_per_dimension",
    "kld",
    "lag1_correlation",
    "local_variance",
    "map_distance",
    "psnr",
    "spectrum_distance",
    "ssim",
]
