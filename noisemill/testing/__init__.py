"""The contracts that noisemill's own parts keep, as tests that a plug-in's package runs too.

    from noisemill.testing import GeneratorCase, GeneratorContract

    class TestMyNoise(GeneratorContract):
        def case(self) -> GeneratorCase:
            return GeneratorCase(make=lambda: MyNoise(sigma=25))

One contract a kind of plug-in: generators, denoisers, sources, formats, metrics; and one for the
invertible layers of flows. Needs pytest, which noisemill itself does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisemill.testing.bijections import BijectionCase as BijectionCase
    from noisemill.testing.bijections import BijectionContract as BijectionContract
    from noisemill.testing.denoisers import DenoiserCase as DenoiserCase
    from noisemill.testing.denoisers import DenoiserContract as DenoiserContract
    from noisemill.testing.formats import FormatContract as FormatContract
    from noisemill.testing.generators import GeneratorCase as GeneratorCase
    from noisemill.testing.generators import GeneratorContract as GeneratorContract
    from noisemill.testing.metrics import MetricCase as MetricCase
    from noisemill.testing.metrics import MetricContract as MetricContract
    from noisemill.testing.sources import SourceCase as SourceCase
    from noisemill.testing.sources import SourceContract as SourceContract

__all__ = [
    "BijectionCase",
    "BijectionContract",
    "DenoiserCase",
    "DenoiserContract",
    "FormatContract",
    "GeneratorCase",
    "GeneratorContract",
    "MetricCase",
    "MetricContract",
    "SourceCase",
    "SourceContract",
]


def __getattr__(name: str) -> Any:
    """Import a contract when it is asked for, so that none needs what another needs."""
    if name not in __all__:
        raise AttributeError(f"module 'noisemill.testing' has no attribute {name!r}")
    kind = name.removesuffix("Case").removesuffix("Contract").lower()
    return getattr(import_module(f"noisemill.testing.{kind}s"), name)
