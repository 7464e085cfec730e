"""What a corpus says of its making is true of this process."""

from __future__ import annotations

import platform
import re

import numpy as np
import torch

from pipeline.corpus.provenance import git_revision, hardware, software_versions
from pipeline.version import __version__


def test_versions_are_those_that_are_imported() -> None:
    found = software_versions()
    assert found["noisemill"] == __version__
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["torch"] == str(torch.__version__)
    assert set(found) >= {"ray", "h5py", "pyarrow", "opencv"}


def test_the_revision_is_a_commit_or_nothing() -> None:
    revision = git_revision()
    assert revision is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", revision)


def test_hardware_names_processor_cores_and_gpus() -> None:
    found = hardware(["NVIDIA H200"])
    assert found["cpu"]
    assert found["gpus"] == ["NVIDIA H200"]
    assert isinstance(found["cores"], int)
