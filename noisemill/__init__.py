"""noisemill's face: what other programs import.

Nothing heavy is imported before it is used: a name here is a place, looked up the first time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisemill.errors import Error as Error
    from pipeline.version import __version__ as __version__

__all__ = ["Error", "__version__"]

_PLACES = {
    "Error": "noisemill.errors",
    "__version__": "pipeline.version",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for the first time."""
    if name not in _PLACES:
        raise AttributeError(f"module 'noisemill' has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
