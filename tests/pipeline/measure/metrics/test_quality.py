"""PSNR and SSIM against scikit-image and by hand; conventions; merging."""

from __future__ import annotations

from math import inf, isnan, log10

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pipeline.measure.metrics.quality import (
    QUALITY_CONVENTIONS,
    Psnr,
    QualityConvention,
    psnr,
    ssim,
)


def images(seed: int, shape: tuple[int, ...] = (40, 33, 3)) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth clean image and a noisy one that leaves [0, 1] here and there."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-0.05, 1.05, shape[0] * shape[1]).reshape(
        *shape[:2], *[1] * (len(shape) - 2)
    )
    clean = np.clip(np.broadcast_to(ramp, shape) + rng.uniform(0, 0.1, shape), 0, 1)
    return clean, clean + rng.normal(0, 0.05 + 0.02 * seed, shape)


def stored(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def axis_of(values: np.ndarray) -> int | None:
    return 2 if values.ndim == 3 else None


@pytest.mark.parametrize("shape", [(40, 33), (40, 33, 1), (40, 33, 3)])
def test_kair_equals_scikit_image_on_rounded_images(shape: tuple[int, ...]) -> None:
    clean, noisy = images(1, shape)
    a, b = stored(clean), stored(noisy)
    assert psnr(clean, noisy) == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-9)
    similarity = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
        channel_axis=axis_of(a),
    )  # fmt: skip
    assert ssim(clean, noisy) == pytest.approx(similarity, abs=1e-9)


@pytest.mark.parametrize("name", ["noise2noiseflow", "srgb-flow"])
def test_narrow_window_equals_scikit_image_unclipped(name: str) -> None:
    clean, noisy = images(2)
    similarity = structural_similarity(
        clean, noisy, gaussian_weights=True, sigma=0.8, use_sample_covariance=False, data_range=1,
        channel_axis=2,
    )  # fmt: skip
    assert ssim(clean, noisy, name) == pytest.approx(similarity, abs=1e-9)
    expected = peak_signal_noise_ratio(clean, noisy, data_range=1)
    assert psnr(clean, noisy, name) == pytest.approx(expected, abs=1e-9)


def test_nm_flowgan_equals_scikit_images_defaults() -> None:
    clean, noisy = images(3)
    similarity = structural_similarity(clean, noisy, data_range=1, channel_axis=2)
    assert ssim(clean, noisy, "nm-flowgan") == pytest.approx(similarity, abs=1e-9)


def test_naflow_adds_its_floor_inside_the_logarithm() -> None:
    clean, noisy = images(4)
    error = ((clean - noisy) ** 2).mean()
    assert psnr(clean, noisy, "naflow") == pytest.approx(-10 * log10(error + 1e-8), abs=1e-9)
    assert psnr(clean, clean, "naflow") == pytest.approx(80.0)


def test_invdn_is_kair_without_four_pixels_at_each_border() -> None:
    clean, noisy = images(5)
    noisy[-4:] = 0.0
    inside = (slice(4, -4), slice(4, -4))
    assert psnr(clean, noisy, "invdn") == pytest.approx(psnr(clean[inside], noisy[inside]))
    assert ssim(clean, noisy, "invdn") == pytest.approx(ssim(clean[inside], noisy[inside]))
    assert psnr(clean, noisy, "invdn") > psnr(clean, noisy) + 1


def test_clipping_and_rounding_are_what_tells_the_conventions_apart() -> None:
    clean, noisy = images(6)
    clipped = np.clip(noisy, 0, 1)
    raw, clip, kair = (psnr(clean, noisy, n) for n in ("srgb-flow", "dncnn-pytorch", "kair"))
    assert clip == pytest.approx(peak_signal_noise_ratio(clean, clipped, data_range=1), abs=1e-9)
    assert clip > raw + 0.01
    assert kair != clip


def test_integers_are_read_as_their_full_range() -> None:
    clean, noisy = images(7)
    a, b = stored(clean), stored(noisy)
    wide = b.astype(np.uint16) * 257
    assert psnr(a, b) == psnr(a / 255.0, b / 255.0) == psnr(a, wide)
    assert ssim(a, b) == pytest.approx(ssim(a, wide), abs=1e-12)


def test_equal_images_are_infinitely_near() -> None:
    clean, _ = images(8)
    assert psnr(clean, clean) == inf
    assert ssim(clean, clean) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", list(QualityConvention))
def test_psnr_halves_merge_to_the_whole(name: str) -> None:
    pairs = [images(seed, (20 + seed, 24, 3)) for seed in range(5)]
    whole, first, second = Psnr(name), Psnr(name), Psnr(name)  # type: ignore[arg-type]
    values = [whole.update(*pair) for pair in pairs]
    for i, pair in enumerate(pairs):
        (first if i < 2 else second).update(*pair)
    first.merge(second)
    found, expected = first.result(), whole.result()
    assert found.convention == expected.convention == name
    assert (found.mean, found.std, found.pooled) == pytest.approx(
        (expected.mean, expected.std, expected.pooled), abs=1e-9
    )
    assert expected.mean == pytest.approx(np.mean(values))
    assert expected.std == pytest.approx(np.std(values), abs=1e-6)


def test_pooled_psnr_is_that_of_all_pixels_together() -> None:
    pairs = [images(seed, (20 + 8 * seed, 24, 3)) for seed in range(3)]
    sums = Psnr(QualityConvention.SRGB_FLOW)
    for pair in pairs:
        sums.update(*pair)
    together = np.concatenate([(a - b).ravel() for a, b in pairs])
    assert sums.result().pooled == pytest.approx(-10 * log10((together**2).mean()), abs=1e-9)


def test_nothing_gives_no_number() -> None:
    assert isnan(Psnr().result().mean)
    assert isnan(Psnr().result().pooled)


def test_a_convention_says_window_range_rounding_and_border() -> None:
    text = str(QUALITY_CONVENTIONS[QualityConvention.INVDN])
    assert text == "peak 255, 8 bits, border of 4 px cut, window 11x11 Gaussian, sigma 1.5"
    assert "no SSIM" in str(QUALITY_CONVENTIONS[QualityConvention.DNCNN_PYTORCH])


def test_mistakes_are_named() -> None:
    clean, noisy = images(0)
    with pytest.raises(ValueError, match="pixel by pixel"):
        psnr(clean, noisy[:-1])
    with pytest.raises(ValueError, match="choose one of kair"):
        psnr(clean, noisy, "matlab")
    with pytest.raises(ValueError, match="has no SSIM"):
        ssim(clean, noisy, "dncnn-pytorch")
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(clean[:8], noisy[:8])
    with pytest.raises(TypeError, match="int64"):
        psnr(clean.astype(np.int64), noisy)
    with pytest.raises(ValueError, match="not finite"):
        psnr(clean, noisy * np.nan)
    with pytest.raises(ValueError, match="cannot merge"):
        Psnr().merge(Psnr(QualityConvention.INVDN))
