"""What repeats, and how exactly: one promise for corpora, for ``sample`` and for the reader.

Noise by formula has the same bits on every processor (:mod:`generators.exact`). A network's sums
follow the width of the processor's registers and its maker's libraries: the same kind of processor
gives the same bits, another one gives them within a tolerance, measured in docs/architecture.md.
So each shard's record says on which kind it was made.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pixels import grey_levels

__all__ = ["mixed_processors", "processor", "promise", "within_tolerance"]

# Grey levels of 255, and the share of values that may differ at all, by precision. Measured over
# processors with 128 to 512 bits: docs/architecture.md, "What repeats".
_TOLERANCES = {"float32": (1, 1e-3), "bf16": (4, 0.5)}

# What oneDNN and MKL choose their code by, beyond the width that torch names.
_INSTRUCTIONS = ("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


def processor(device: str) -> str:
    """Return the kind of processor that generators on a device compute on, in a few words.

    Two processors of one kind give the same bits with the same versions of the libraries.

    Args:
        device: ``cpu`` or a CUDA device of torch.

    Returns:
        Maker, family and model, and the instructions that libraries choose by, e.g.
        ``AuthenticAMD 25/17 AVX512 avx512_vnni avx512_bf16``; before it the GPU's name.
    """
    if device == "cpu":
        return _cpu()
    import torch

    return f"{torch.cuda.get_device_name(device)}; {_cpu()}"


def promise(*, same_bits: bool, precision: str) -> str:
    """Return what a rerun of a generator gives on which processor, as corpus.json says it.

    Args:
        same_bits: Whether the generator gives the same bits on every processor.
        precision: ``float32`` or ``bf16``, of a network.
    """
    if same_bits:
        return "the same bits on every processor"
    levels, share = _TOLERANCES[precision]
    return (
        "the same bits on the same kind of processor with the same software; elsewhere within "
        f"{levels} grey level{'s' * (levels > 1)} of 255, at fewer than {share:g} of the values"
    )


def within_tolerance(one: NDArray[Any], other: NDArray[Any], *, precision: str) -> bool:
    """Return True if stored pixels differ by no more than networks do between processors.

    Args:
        one: Any shape; uint8, uint16 or float32 stored samples.
        other: Likewise, of the same type.
        precision: ``float32`` or ``bf16``, of the network.
    """
    if one.shape != other.shape:
        return False
    scale = grey_levels(one.dtype)
    levels = (np.rint(pixels.astype(np.float64) * scale) for pixels in (one, other))
    difference = np.abs(np.subtract(*levels))
    most, share = _TOLERANCES[precision]
    return bool(difference.max() <= most and np.mean(difference > 0) <= share)


def mixed_processors(kinds: Iterable[str]) -> str:
    """Return one line about shards that were made on several kinds of processor; else nothing."""
    shards: dict[str, int] = {}
    for kind in kinds:
        shards[kind or "unknown"] = shards.get(kind or "unknown", 0) + 1
    if len(shards) < 2:
        return ""
    several = ", ".join(f"{count:,} on {kind}" for kind, count in shards.items())
    return (
        f"shards from {len(shards)} kinds of processor ({several}): networks repeat to the bit on "
        "the kind that a shard's record names, elsewhere within a tolerance"
    )


@cache
def _cpu() -> str:
    import torch

    facts = _facts()
    name = f"{facts['vendor_id']} {facts['cpu family']}/{facts['model']}" if facts else ""
    flags = facts.get("flags", "").split()
    words = [
        name or platform.processor() or platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        *(flag for flag in _INSTRUCTIONS if flag in flags),
        *(f"{limit}={os.environ[limit]}" for limit in _LIMITS if os.environ.get(limit)),
    ]
    return " ".join(words)


def _facts() -> dict[str, str]:
    """Return what Linux says of the first x86 core; nothing elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    return facts if {"vendor_id", "cpu family", "model"} <= facts.keys() else {}
