"""Names that the pipeline lists: each stands for something that is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import denoisers
import generators
from generators.registry import Registry
from pipeline.kinds import FORMATS, METRICS, SOURCES

REGISTRIES = [
    generators.REGISTRY,
    generators.TASKS,
    denoisers.REGISTRY,
    SOURCES,
    FORMATS,
    METRICS,
]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.group)
def test_every_name_can_be_loaded_and_says_in_one_line_what_it_is(registry: Registry) -> None:
    for name in registry.built_in:
        assert 10 <= len(registry.summary(name)) <= 120, name


def test_listing_names_imports_none_of_them() -> None:
    code = (
        "import sys; from pipeline.kinds import FORMATS, METRICS, SOURCES;"
        "print(FORMATS.names(), METRICS.names(), SOURCES.names());"
        "heavy = {'cv2', 'h5py', 'pyarrow', 'pydantic', 'ray', 'torch'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
