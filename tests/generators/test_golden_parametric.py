"""Golden pixels: the noise of a request is the same in every release, or its revision goes up.

If this fails, pixels changed. If that was not meant, it is a fault. If it was, raise the
generator's ``revision``, write a line under **Pixels** in ``CHANGELOG.md``, and make the file
again:

    python -m tests.generators.test_golden_parametric

All are compared bit by bit, here and once more as a lesser processor would compute them: formulas
may only use what has the same bits everywhere (:mod:`generators.exact`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import generators
from generators import exact
from generators.base import NoiseContext, NoiseGenerator, NoiseRequest
from generators.capture import CaptureMetadata
from generators.on_raw import OnRaw
from generators.weights_file import find
from tests.contracts.processors import PROCESSORS, environment

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "parametric.npz"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "awgn": ("awgn", {"sigma": 25}),
    "awgn-range": ("awgn", {"sigma": [5, 50]}),
    "heteroscedastic": ("heteroscedastic", {"beta1": 1e-3, "beta2": 1e-5}),
    "heteroscedastic-sidd": ("heteroscedastic", {"table": "sidd"}),
    "spatially-variant-bumps": ("spatially-variant-awgn", {"sigma": [0, 50]}),
    "spatially-variant-peaks": ("spatially-variant-awgn", {"sigma": [0, 50], "map": "peaks"}),
    "poisson-gaussian": ("poisson-gaussian", {"gain": 1e-3, "read_noise": 2e-3}),
    "nlf": ("nlf", {}),
    "awgn-measured": ("awgn-measured", {}),
    "heteroscedastic-fitted": ("heteroscedastic-fitted", {}),
    "heteroscedastic-on-raw": ("heteroscedastic", {"table": "sidd", "domain": "raw"}),
    "camera": ("camera", {}),
    "camera-raw": ("camera", {"output": "raw", "camera": "full-frame", "iso": [100, 6400]}),
}
WEIGHTS = {"nlf": "nlf-simulated"}
CAPTURED = {"nlf": ("compact", 1600)}
REVISIONS = {
    "awgn": 1,
    "awgn-measured": 2,
    "camera": 2,
    "heteroscedastic": 2,
    "heteroscedastic-fitted": 2,
    "nlf": 2,
    "poisson-gaussian": 1,
    "spatially-variant-awgn": 2,
}


def make(case: str) -> dict[str, np.ndarray]:
    """Return the clean and noisy pixels of one case."""
    name, params = CASES[case]
    weights = find(WEIGHTS[name]) if name in WEIGHTS else None
    generator: NoiseGenerator = generators.create(name, params=params, weights=weights)
    if case.endswith("-on-raw"):
        generator = OnRaw(generator)
    camera, iso = CAPTURED.get(name, ("S6", 800))
    channels = 4 if generator.accepts == "raw" else 3
    clean, other = pattern(channels, step=61), pattern(channels, step=97)
    request = NoiseRequest(
        context=NoiseContext(clean=clean, capture=CaptureMetadata.same(2, camera=camera, iso=iso)),
        seeds=[20240101, 2**64 - 1],
        reference=0.9 * clean + 0.1 * other if channels == 3 else None,
        reference_clean=clean if channels == 3 else None,
    )
    sample = generator.sample(request)
    return {f"{case}/clean": sample.clean.numpy(), f"{case}/noisy": sample.noisy.numpy()}


def pattern(channels: int, *, step: int) -> Tensor:
    """Return two rows of 8-bit values, ``(2, channels, 8, 12)``."""
    row, channel, y, x = np.indices((2, channels, 8, 12))
    levels = (step * row + 31 * channel + 17 * y + 7 * x) % 256
    return torch.from_numpy(levels.astype("f4") / np.float32(255))


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_the_revision(case: str) -> None:
    with np.load(GOLDEN) as golden:
        pinned = str(golden["numpy"])
        for name, pixels in make(case).items():
            hint = f"{name} changed (made with numpy {pinned}): see above"
            assert np.array_equal(pixels, golden[name]), hint


@pytest.mark.parametrize(
    ("case", "function", "off"),
    [
        ("heteroscedastic", "sqrt", 1e-2),
        ("nlf", "sqrt", 1e-1),
        ("spatially-variant-bumps", "exp", 1e-1),
        ("camera", "power", 1e-2),
        ("camera", "asin", 1e-1),
    ],
)
def test_a_function_off_by_one_unit_in_the_last_place_is_seen(
    case: str, function: str, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch's own functions are on many processors; ``off`` is the share of their values."""
    exactly = getattr(exact, function)

    def nearly(x: Tensor, *more: float) -> Tensor:
        y: Tensor = exactly(x, *more)
        wrong = (torch.arange(y.numel()) % round(1 / off) == 0).reshape(y.shape)
        unit = torch.finfo(torch.float32).eps
        return torch.where(wrong, y * (1.0 + unit), y)

    monkeypatch.setattr(exact, function, nearly)
    with np.load(GOLDEN) as golden:
        assert not all(np.array_equal(made, golden[key]) for key, made in make(case).items())


@pytest.mark.parametrize("name", PROCESSORS)
def test_an_emulated_processor_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    file = tmp_path / "made.npz"
    command = [sys.executable, "-m", "tests.generators.test_golden_parametric", str(file)]
    subprocess.run(command, env=environment(name), cwd=ROOT, check=True)
    with np.load(file) as made, np.load(GOLDEN) as golden:
        assert set(made.files) == set(golden.files)
        for key in set(golden.files) - {"numpy"}:
            assert np.array_equal(made[key], golden[key]), key


@pytest.mark.parametrize(("name", "revision"), REVISIONS.items())
def test_the_golden_file_is_of_the_current_revision(name: str, revision: int) -> None:
    assert generators._load(name).revision == revision


if __name__ == "__main__":
    arrays = {key: value for case in CASES for key, value in make(case).items()}
    target = Path(sys.argv[1]) if sys.argv[1:] else GOLDEN
    np.savez_compressed(target, numpy=np.array(np.__version__), **arrays)
    print(f"wrote {target}, {target.stat().st_size} bytes")
