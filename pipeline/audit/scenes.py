"""Do two noisy images show the same scene?

Noise hides a pixel but not a picture: means over blocks of 8x8 pixels have an eighth of the noise,
so those of two shots of one scene correlate near 1, and those of two scenes do not. Brightness and
contrast may differ; the correlation does not see them.

Where a picture is so flat, or so noisy, that even the block means are mostly noise, nothing can be
told, and the pair passes. That is decided by measurement: the variance that noise alone gives a
block mean is the variance inside the blocks divided by the number of pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_CORRELATION", "check_same_scene", "scene_correlation"]

BLOCK = 8
LEAST_CORRELATION = 0.5
# Block means whose variance is less than this many times what noise gives them say nothing. Fine
# texture counts as noise here, which errs towards letting a pair pass.
_LEAST_SIGNAL = 2.0
_LEAST_BLOCKS = 16


def scene_correlation(
    first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]
) -> float | None:
    """Return the correlation of two images' block means.

    Args:
        first: ``(H, W, C)``.
        second: Same shape.

    Returns:
        A number in [-1, 1], or None where there is too little picture to tell.
    """
    means, within = zip(*(_blocks(image) for image in (first, second)), strict=True)
    if means[0].size < _LEAST_BLOCKS:
        return None
    spread = [float(mean.var()) for mean in means]
    floor = [noise / BLOCK**2 for noise in within]
    if any(s <= _LEAST_SIGNAL * f for s, f in zip(spread, floor, strict=True)):
        return None
    a, b = (mean - mean.mean() for mean in means)
    return float((a * b).mean() / np.sqrt(spread[0] * spread[1]))


def check_same_scene(
    first: npt.NDArray[np.generic], second: npt.NDArray[np.generic], *, names: tuple[str, str]
) -> None:
    """Refuse a noisy pair that shows two scenes.

    Args:
        first: ``(H, W, C)``.
        second: The other shot.
        names: What they are called, for the message.

    Raises:
        ValueError: If the sizes differ or the pictures do not correlate.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"noisy pairs of different scenes: {names[0]} has shape {first.shape} and {names[1]} "
            f"{second.shape}. The two must show the same pixels of one scene."
        )
    found = scene_correlation(first, second)
    if found is not None and found < LEAST_CORRELATION:
        raise ValueError(
            f"noisy pairs of different scenes: {names[0]} and {names[1]} correlate by only "
            f"{found:.2f} where shots of one scene exceed {LEAST_CORRELATION:g}. Correct the "
            "globs that pair them, or remove the pair."
        )


def _blocks(image: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.float64], float]:
    """Return the means of the blocks of the channels' mean, and the mean variance inside them."""
    grey = image.astype(np.float64).mean(axis=2)
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    blocks = grey[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    if not blocks.size:
        return np.zeros((0, 0)), 0.0
    return blocks.mean(axis=(1, 3)), float(blocks.var(axis=(1, 3)).mean())
