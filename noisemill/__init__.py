"""noisemill's face: what other programs import.

    import noisemill

    corpus = noisemill.build("quickstart", overrides={"output.path": "out/quickstart"})
    rows = noisemill.open_corpus("out/quickstart")
    noise = noisemill.NoiseTransform("awgn", params={"sigma": 25})

Functions take a manifest's path, bundled name, dict or model, return frozen results, and raise
:class:`Error` only; nothing is printed. Nothing heavy is imported before it is used: a name here is
a place, looked up the first time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisemill import errors as errors
    from noisemill import testing as testing
    from noisemill.corpora import open_corpus as open_corpus
    from noisemill.errors import Error as Error
    from noisemill.jobs import benchmark as benchmark
    from noisemill.jobs import build as build
    from noisemill.jobs import evaluate as evaluate
    from noisemill.jobs import plan as plan
    from noisemill.jobs import train as train
    from noisemill.models import load_denoiser as load_denoiser
    from noisemill.models import load_generator as load_generator
    from noisemill.pictures import sample as sample
    from noisemill.transform import NoiseTransform as NoiseTransform
    from pipeline.version import __version__ as __version__

__all__ = [
    "Error",
    "NoiseTransform",
    "__version__",
    "benchmark",
    "build",
    "errors",
    "evaluate",
    "load_denoiser",
    "load_generator",
    "open_corpus",
    "plan",
    "sample",
    "testing",
    "train",
]

_PLACES = {
    "Error": "noisemill.errors",
    "NoiseTransform": "noisemill.transform",
    "__version__": "pipeline.version",
    "benchmark": "noisemill.jobs",
    "build": "noisemill.jobs",
    "evaluate": "noisemill.jobs",
    "load_denoiser": "noisemill.models",
    "load_generator": "noisemill.models",
    "open_corpus": "noisemill.corpora",
    "plan": "noisemill.jobs",
    "sample": "noisemill.pictures",
    "train": "noisemill.jobs",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for the first time."""
    if name in ("errors", "testing"):
        return import_module(f"noisemill.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'noisemill' has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
