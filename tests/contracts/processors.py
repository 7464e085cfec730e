"""Other processors, as far as this one can pretend to be one of them.

Libraries choose their code by what a processor can do, and each can be told to assume less:

    python -m tests.contracts.processors sse4 COMMAND...    run a command as on such a processor

An emulated processor differs from this one by its environment alone, so it takes a new process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import numpy as np

__all__ = ["PROCESSORS", "environment"]

_DISPATCHED = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])  # type: ignore[index]

PROCESSORS: Mapping[str, Mapping[str, str]] = {
    # Vectors of 128 bits and no fused multiply-add, as before 2013.
    "sse4": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": ",".join(_DISPATCHED),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F",
    },
    # Vectors of 256 bits: desktops, and most servers before 2017.
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "MKL_CBWR": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": ",".join(n for n in _DISPATCHED if n != "X86_V3"),
    },
    # Vectors of 512 bits without the instructions for bfloat16.
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
}


def environment(name: str, **more: str) -> dict[str, str]:
    """Return this process's environment with an emulated processor's and further variables."""
    return {**os.environ, **PROCESSORS[name], **more}


if __name__ == "__main__":
    os.execvpe(sys.argv[2], sys.argv[2:], environment(sys.argv[1]))
