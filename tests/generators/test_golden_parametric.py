"""Golden pixels: the noise of a request is the same in every release, or its revision goes up.

If this fails, pixels changed. If that was not meant, it is a fault. If it was, raise the
generator's ``revision``, write a line under **Pixels** in ``CHANGELOG.md``, and make the file
again:

    python -m tests.generators.test_golden_parametric

The formulas that need only sums, products and square roots are compared bit by bit. Exponentials,
powers and convolutions may differ in their last bits between builds of torch, and where such a bit
decides a rounding or a photon count one value moves by a step: those are compared with a tolerance
at all but one in a thousand values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import generators
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata

GOLDEN = Path(__file__).parents[1] / "golden" / "parametric_revision_1.npz"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "awgn": ("awgn", {"sigma": 25}),
    "awgn-range": ("awgn", {"sigma": [5, 50]}),
    "heteroscedastic": ("heteroscedastic", {"beta1": 1e-3, "beta2": 1e-5}),
    "heteroscedastic-sidd": ("heteroscedastic", {"table": "sidd"}),
    "spatially-variant-bumps": ("spatially-variant-awgn", {"sigma": [0, 50]}),
    "spatially-variant-peaks": ("spatially-variant-awgn", {"sigma": [0, 50], "map": "peaks"}),
    "poisson-gaussian": ("poisson-gaussian", {"gain": 1e-3, "read_noise": 2e-3}),
    "camera": ("camera", {}),
    "camera-raw": ("camera", {"output": "raw", "camera": "full-frame", "iso": [100, 6400]}),
}
EXACT = {"awgn", "awgn-range", "heteroscedastic", "heteroscedastic-sidd"}
REVISIONS = dict.fromkeys(
    ("awgn", "heteroscedastic", "spatially-variant-awgn", "poisson-gaussian", "camera"), 1
)


def make(case: str) -> dict[str, np.ndarray]:
    """Return the clean and noisy pixels of one case."""
    name, params = CASES[case]
    row, channel, y, x = np.indices((2, 3, 8, 12))
    clean = torch.from_numpy(((61 * row + 31 * channel + 17 * y + 7 * x) % 256 / 255).astype("f4"))
    request = NoiseRequest(
        context=NoiseContext(clean=clean, capture=CaptureMetadata.same(2, camera="S6", iso=800)),
        seeds=[20240101, 2**64 - 1],
    )
    sample = generators.create(name, params=params).sample(request)
    return {f"{case}/clean": sample.clean.numpy(), f"{case}/noisy": sample.noisy.numpy()}


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_the_revision(case: str) -> None:
    with np.load(GOLDEN) as golden:
        pinned = str(golden["numpy"])
        for name, got in make(case).items():
            expected, hint = golden[name], f"{name} changed (made with numpy {pinned}): see above"
            assert got.shape == expected.shape
            if case in EXACT:
                assert np.array_equal(got, expected), hint
            else:
                assert np.mean(np.abs(got - expected) > 1e-5) <= 1e-3, hint


@pytest.mark.parametrize(("name", "revision"), REVISIONS.items())
def test_the_golden_file_is_of_the_current_revision(name: str, revision: int) -> None:
    assert generators._load(name).revision == revision


if __name__ == "__main__":
    arrays = {key: value for case in CASES for key, value in make(case).items()}
    np.savez_compressed(GOLDEN, numpy=np.array(np.__version__), **arrays)
    print(f"wrote {GOLDEN}, {GOLDEN.stat().st_size} bytes")
