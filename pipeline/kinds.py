"""What the pipeline knows by name: sources, shard formats and metrics.

Text only, so that a manifest can be checked, and `noisemill models` can list, without importing
OpenCV, h5py, pyarrow or torch. Generators and trainings are listed in :mod:`generators`, denoisers
in :mod:`denoisers`. A new one of our own is its file and one line here; another distribution's is
an entry point in the registry's group.
"""

from __future__ import annotations

from generators.registry import Registry

__all__ = ["FORMATS", "METRICS", "SOURCES"]

# Each is the model of its part of a manifest; the model knows what scans it.
SOURCES = Registry(
    "source",
    "noisemill.sources",
    {
        "corpus": "pipeline.manifest.sources:CorpusSource",
        "images": "pipeline.manifest.sources:ImagesSource",
        "mosaics": "pipeline.manifest.sources:MosaicsSource",
        "noisy-pairs": "pipeline.manifest.sources:NoisyPairsSource",
        "pairs": "pipeline.manifest.sources:PairsSource",
        "photographs": "pipeline.manifest.sources:PhotographsSource",
        "sidd": "pipeline.manifest.sources:SiddSource",
    },
    needs=("model_fields", "scan"),
    base="pipeline.manifest.source_base.SourceBase",
)

FORMATS = Registry(
    "format",
    "noisemill.formats",
    {
        "hdf5": "pipeline.corpus.formats.hdf5:Hdf5Sink",
        "parquet": "pipeline.corpus.formats.parquet:ParquetSink",
    },
    needs=("encode", "folders", "format", "path", "reader", "settings", "suffix"),
    base="pipeline.corpus.formats.base.Sink",
)

# Each is a pipeline.measure.metrics.metric.Metric.
METRICS = Registry(
    "metric",
    "noisemill.metrics",
    {
        "akld": "pipeline.measure.metrics.akld:AkldMetric",
        "kld": "pipeline.measure.metrics.kld:KldMetric",
        "nll": "pipeline.measure.metrics.likelihood:NllMetric",
        "psnr": "pipeline.measure.metrics.quality:PsnrMetric",
        "ssim": "pipeline.measure.metrics.quality:SsimMetric",
    },
    needs=("about", "better", "compares", "name"),
    base="pipeline.measure.metrics.metric.Metric",
)
