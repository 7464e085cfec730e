"""The version of noisemill: the one place where it is written.

Kept apart from the package's metadata because on a cluster the packages may travel without it
(:mod:`pipeline.jobs.submit`).
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
