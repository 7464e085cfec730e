"""Metrics as sums that merge: of noise (KLD, AKLD, correlation, moments) and of quality."""

from pipeline.measure.metrics.akld import AkldMetric, akld, local_variance
from pipeline.measure.metrics.correlation import (
    ChannelCovariance,
    CorrelationMap,
    lag1_correlation,
    map_distance,
)
from pipeline.measure.metrics.groups import LEVELS, Cell, GroupSums, Scores
from pipeline.measure.metrics.kld import CONVENTIONS, KldConvention, KldMetric, PooledKld, kld
from pipeline.measure.metrics.likelihood import (
    Nll,
    NllConvention,
    NllMetric,
    NllValue,
    bits_per_dimension,
)
from pipeline.measure.metrics.metric import Metric, NoiseBlock, NoiseMetric, PictureMetric
from pipeline.measure.metrics.moments import Moments, NoiseHistogram, VarianceByIntensity
from pipeline.measure.metrics.quality import (
    QUALITY_CONVENTIONS,
    Psnr,
    PsnrMetric,
    Quality,
    QualityConvention,
    QualityRule,
    SsimMetric,
    psnr,
    ssim,
)
from pipeline.measure.metrics.spectrum import RadialSpectrum, Spectrum, spectrum_distance

__all__ = [
    "CONVENTIONS",
    "LEVELS",
    "QUALITY_CONVENTIONS",
    "AkldMetric",
    "Cell",
    "ChannelCovariance",
    "CorrelationMap",
    "GroupSums",
    "KldConvention",
    "KldMetric",
    "Metric",
    "Moments",
    "Nll",
    "NllConvention",
    "NllMetric",
    "NllValue",
    "NoiseBlock",
    "NoiseHistogram",
    "NoiseMetric",
    "PictureMetric",
    "PooledKld",
    "Psnr",
    "PsnrMetric",
    "Quality",
    "QualityConvention",
    "QualityRule",
    "RadialSpectrum",
    "Scores",
    "Spectrum",
    "SsimMetric",
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
