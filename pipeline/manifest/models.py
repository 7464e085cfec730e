"""What a manifest may contain, as pydantic models; unknown keys are errors everywhere.

One union, told apart by ``kind``: a corpus, the training of a generator or of a denoiser. Field
descriptions are part of the product: they appear in the JSON Schema, so editors show them.
The parts live in ``sources``, ``corpus`` and ``training``; this module is where others take them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.manifest.base import Filled, Fraction, Model, Positive, Split
from pipeline.manifest.benchmark import BenchmarkManifest
from pipeline.manifest.corpus import (
    CorpusManifest,
    GeneratorSpec,
    Limits,
    Output,
    Patches,
    Resources,
)
from pipeline.manifest.denoising import (
    DenoisingData,
    DenoisingInput,
    DenoisingSchedule,
    RealPairs,
    TrainDenoiserManifest,
)
from pipeline.manifest.evaluation import (
    CorpusSubject,
    DenoiserSpec,
    EvaluateManifest,
    EvaluationData,
)
from pipeline.manifest.source_base import AuditLimits, SourceBase, Splits
from pipeline.manifest.sources import (
    CorpusSource,
    ImagesSource,
    MosaicsSource,
    NoisyPairsSource,
    PairsSource,
    PhotographsSource,
    SiddSource,
    Source,
)
from pipeline.manifest.training import (
    Device,
    Schedule,
    TrainGeneratorManifest,
    TrainingData,
    TrainingOutput,
    Validation,
)
from pipeline.manifest.values import parse_bytes

__all__ = [
    "AuditLimits",
    "BenchmarkManifest",
    "CorpusManifest",
    "CorpusSource",
    "CorpusSubject",
    "DenoiserSpec",
    "DenoisingData",
    "DenoisingInput",
    "DenoisingSchedule",
    "Device",
    "EvaluateManifest",
    "EvaluationData",
    "Filled",
    "Fraction",
    "GeneratorSpec",
    "ImagesSource",
    "Limits",
    "Manifest",
    "Model",
    "MosaicsSource",
    "NoisyPairsSource",
    "Output",
    "PairsSource",
    "Patches",
    "PhotographsSource",
    "Positive",
    "RealPairs",
    "Resources",
    "Schedule",
    "SiddSource",
    "Source",
    "SourceBase",
    "Split",
    "Splits",
    "TrainDenoiserManifest",
    "TrainGeneratorManifest",
    "TrainingData",
    "TrainingOutput",
    "Validation",
    "parse_bytes",
]

Manifest = Annotated[
    CorpusManifest
    | TrainGeneratorManifest
    | TrainDenoiserManifest
    | EvaluateManifest
    | BenchmarkManifest,
    Field(discriminator="kind"),
]
