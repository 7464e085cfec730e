"""KLD: each convention against an independent count, its rules of support, and merging."""

from itertools import pairwise
from math import log, sqrt
from statistics import NormalDist

import numpy as np
import pytest

from pipeline.measure.metrics.kld import CONVENTIONS, KldConvention, KldMetric, kld
from pipeline.measure.metrics.metric import NoiseBlock


def laplace_and_gauss(sigma: float, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.laplace(0, sigma / sqrt(2), (size, size, 3)), rng.normal(0, sigma, (size, size, 3))


def by_hand(
    real: np.ndarray, fake: np.ndarray, *, edges: list[float], smooth: int, masked: bool
) -> float:
    """The same definition, one bin at a time in plain Python over sorted values."""
    total, n = 0.0, len(edges) - 1
    real, fake = np.sort(real.ravel()), np.sort(fake.ravel())
    for i, (low, high) in enumerate(pairwise(edges)):
        side = "right" if i == n - 1 else "left"
        count = [
            int(np.searchsorted(values, high, side) - np.searchsorted(values, low, "left"))
            for values in (real, fake)
        ]
        p = (count[0] + smooth) / (real.size + smooth * n)
        q = (count[1] + smooth) / (fake.size + smooth * n)
        if not masked or (p > 0 and q > 0):
            total += p * log(p / q)
    return total


TAILS = [-1000.0, *[(i - 32) * 0.003125 for i in range(65)], 1000.0]
CASES = {
    "naflow": {"edges": [i / 128 - 1 for i in range(257)], "smooth": 0, "masked": True},
    "noise-flow": {"edges": TAILS, "smooth": 0, "masked": True},
    "noise2noiseflow": {"edges": TAILS, "smooth": 1, "masked": False},
    "srgb-flow": {
        "edges": [(4 * i - 260) / 255 for i in range(131)],
        "smooth": 1,
        "masked": False,
    },
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sigma", [0.02, 0.06])
def test_each_convention_equals_a_count_by_hand(name: str, sigma: float) -> None:
    # Quarter grey levels: no value lies on an edge of any convention.
    real, fake = ((np.rint(255 * n) + 0.25) / 255 for n in laplace_and_gauss(sigma))
    assert kld(real, fake, name) == pytest.approx(by_hand(real, fake, **CASES[name]), abs=1e-12)


def test_conventions_have_the_published_number_of_bins() -> None:
    bins = {str(name): rule.bins for name, rule in CONVENTIONS.items()}
    assert bins == {
        "naflow": 256,
        "noise-flow": 66,
        "noise2noiseflow": 66,
        "srgb-flow": 130,
        "neca": 66,
    }


def test_conventions_disagree_on_the_same_noise() -> None:
    real, fake = laplace_and_gauss(0.02, size=256)
    values = {name: kld(real, fake, name) for name in CASES}
    assert max(values.values()) > 1.15 * min(values.values())


def test_two_gaussians_give_the_binned_closed_form() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(0, 0.05, (512, 512, 3))
    fake = rng.normal(0, 0.06, (512, 512, 3))
    edges = CASES["naflow"]["edges"]
    cdf = [[NormalDist(0, s).cdf(e) for e in edges] for s in (0.05, 0.06)]
    p, q = (np.diff(c) for c in cdf)
    inside = p > 1e-12
    exact = float(np.sum(p[inside] * np.log(p[inside] / q[inside])))
    assert kld(real, fake, "naflow") == pytest.approx(exact, rel=0.02)
    # The bins are narrow beside the noise: the binned value is near that of the densities.
    densities = log(0.06 / 0.05) + 0.05**2 / (2 * 0.06**2) - 0.5
    assert exact == pytest.approx(densities, rel=0.02)


@pytest.mark.parametrize("name", list(KldConvention))
def test_noise_against_itself_is_zero(name: KldConvention) -> None:
    clean = np.full((16, 16, 3), 128 / 255)
    noise = np.random.default_rng(0).integers(-20, 21, (16, 16, 3)) / 255
    assert kld(noise, noise, name, clean=clean) == pytest.approx(0.0, abs=1e-15)


def test_naflow_ignores_bins_filled_on_one_side_and_smoothing_does_not() -> None:
    real = np.concatenate([np.zeros(90), np.full(10, 0.05)]).reshape(10, 10)
    fake = np.zeros((10, 10))
    assert kld(real, fake, "naflow") == pytest.approx(0.9 * log(0.9))
    assert kld(real, fake, "noise2noiseflow") > 0.1


def test_disjoint_noise_is_infinitely_far() -> None:
    assert kld(np.zeros((4, 4)), np.full((4, 4), 0.5), "naflow") == float("inf")


def test_neca_measures_what_eight_bits_keep() -> None:
    rng = np.random.default_rng(3)
    clean = rng.integers(0, 30, (64, 64, 3)) / 255
    real = np.clip(np.rint(255 * (clean + rng.normal(0, 0.04, clean.shape))), 0, 255) / 255 - clean
    fake = rng.normal(0, 0.04, clean.shape)
    stored = np.clip(np.rint(255 * (clean + fake)), 0, 255) / 255 - clean
    assert kld(real, fake, "neca", clean=clean) == kld(real, stored, "noise-flow")
    assert kld(real, fake, "neca", clean=clean) < 0.5 * kld(real, fake, "noise-flow")


def counted(levels: np.ndarray) -> dict[int, int]:
    """Counts of whole grey levels by bin of Noise Flow's edges, in whole numbers alone.

    Bin k holds n / 255 in [k - 32, k - 31) / 320, hence k = 32 + floor(320 n / 255); the tails are
    bins -1 and 64.
    """
    counts: dict[int, int] = {}
    for level, count in zip(*np.unique(levels, return_counts=True), strict=True):
        place = min(max(32 + (64 * int(level)) // 51, -1), 64)
        counts[place] = counts.get(place, 0) + int(count)
    return counts


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_neca_counts_eight_bit_images_as_whole_grey_levels(kind: type) -> None:
    rng = np.random.default_rng(5)
    clean = rng.integers(0, 256, (64, 64, 3))
    real, drawn = (np.clip(clean + rng.normal(0, s, clean.shape), 0, 255) for s in (3, 4))
    noisy, fake = np.rint(real).astype(int), np.rint(drawn).astype(int)
    p, q = counted(noisy - clean), counted(fake - clean)
    expected = sum(p[k] / clean.size * log(p[k] / q[k]) for k in p.keys() & q.keys())
    images = [(image / 255).astype(kind) for image in (clean, noisy, drawn)]
    base, noises = images[0], [image - images[0] for image in images[1:]]
    found = kld(noises[0], noises[1], "neca", clean=base)
    assert found == pytest.approx(expected, rel=1e-12)
    # Real noise whose zeros have come off the edge is counted like any other.
    again = kld(noises[0] + kind(3e-8), noises[1], "neca", clean=base)
    assert again == pytest.approx(expected, rel=1e-12)
    assert kld(noises[0] - kind(3e-8), noises[1], "neca", clean=base) == again


def test_whole_grey_levels_fall_in_their_bin_whatever_the_rounding() -> None:
    clean = np.arange(256.0)[:, None].repeat(4, axis=1)
    exact = np.full(clean.shape, 4.0) / 255
    rounded = (clean / 255 + exact) - clean / 255
    assert np.any(rounded < exact)
    assert kld(exact, rounded, "srgb-flow") == 0.0


def test_a_value_names_its_convention() -> None:
    real, fake = laplace_and_gauss(0.02, size=32)
    metric = KldMetric(KldConvention.NOISE_FLOW)
    assert metric.title == "kld (noise-flow)"
    assert metric.measure(NoiseBlock(real=real, fakes=[fake])) == kld(real, fake, "noise-flow")


def test_mistakes_are_named() -> None:
    noise = np.zeros((4, 4, 3))
    with pytest.raises(ValueError, match="choose one of naflow, noise-flow"):
        kld(noise, noise, "nafow")
    with pytest.raises(ValueError, match="clean image"):
        kld(noise, noise, "neca")
    with pytest.raises(TypeError, match="wrap around"):
        kld(noise.astype(np.uint8), noise, "naflow")
    with pytest.raises(ValueError, match="not finite"):
        kld(noise + np.nan, noise, "naflow")


def test_the_divergence_is_of_real_from_fake() -> None:
    real, fake = laplace_and_gauss(0.02)
    assert kld(real, 3 * fake, "noise2noiseflow") == pytest.approx(0.8, abs=0.3)
    assert kld(3 * fake, real, "noise2noiseflow") > 1.3 * kld(real, 3 * fake, "noise2noiseflow")
