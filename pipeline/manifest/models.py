"""What a manifest may contain, as pydantic models; unknown keys are errors everywhere.

One union, told apart by ``kind``: a corpus, or the training of a generator. Field descriptions are
part of the product: they appear in the JSON Schema, so editors show them while a manifest is typed.
The parts live in ``sources``, ``corpus`` and ``training``; this module is where others take them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.manifest.base import Filled, Fraction, Model, Positive, Split
from pipeline.manifest.corpus import (
    CorpusManifest,
    GeneratorSpec,
    Limits,
    Output,
    Patches,
    Resources,
)
from pipeline.manifest.sources import (
    AuditLimits,
    CorpusSource,
    ImagesSource,
    MosaicsSource,
    NoisyPairsSource,
    PairsSource,
    PhotographsSource,
    SiddSource,
    Source,
    SourceBase,
    Splits,
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
    "CorpusManifest",
    "CorpusSource",
    "Device",
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
    "Resources",
    "Schedule",
    "SiddSource",
    "Source",
    "SourceBase",
    "Split",
    "Splits",
    "TrainGeneratorManifest",
    "TrainingData",
    "TrainingOutput",
    "Validation",
    "parse_bytes",
]

Manifest = Annotated[CorpusManifest | TrainGeneratorManifest, Field(discriminator="kind")]
