"""Misalignment of a pair, to a few hundredths of a pixel, under noise.

If the noisy image is the clean one moved by ``d`` (pixels, down and right), plus noise, then

    clean(p)  = s(p)
    noisy(p)  = s(p - d) + noise(p)  ~  s(p) - d . grad s(p) + noise(p)

so ``d`` is a least-squares fit of the residual on the clean image's gradient. The gradient comes
from the clean image alone, hence noise in the other one spreads the estimate but does not pull it
to zero; the fit's own standard error says how far to trust it. Because the expansion holds for
small ``d`` only, whole pixels are found first by the peak of the cross-correlation of a tile.
Several textured tiles vote, and their median is taken: a leaf in the wind moves one tile, not the
pair.

Source: Lucas and Kanade 1981, "An iterative image registration technique", IJCAI, section 4; the
correlation by the convolution theorem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Shift", "estimate_shift"]

Grey = npt.NDArray[np.float32]

TILE = 256
TILES = 9
TRUST = 0.1  # pixels; tiles with a larger standard error have too little texture to vote
_STEPS = 4
# The blur makes (256 / 70) ** 2 = 13 neighbouring pixels one observation, a camera's own
# correlation about twice as many.
_CORRELATED = 27.0


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the noisy image lies from the clean one.

    Args:
        down: Pixels.
        right: Pixels.
        error: Standard error of a single tile's estimate, pixels (median of the tiles).
        tiles: How many tiles voted.
    """

    down: float
    right: float
    error: float
    tiles: int

    @property
    def pixels(self) -> float:
        """Length of the shift, pixels."""
        return float(np.hypot(self.down, self.right))


def estimate_shift(clean: npt.NDArray[np.generic], noisy: npt.NDArray[np.generic]) -> Shift | None:
    """Measure how far two images of one scene are moved against each other.

    Args:
        clean: ``(H, W, C)``, any numeric type.
        noisy: Same shape and type.

    Returns:
        The median shift of the most textured tiles, or None where no tile has texture enough.
    """
    votes = []
    for y, x in _textured_tiles(clean):
        place = (slice(y, y + TILE), slice(x, x + TILE))
        vote = _tile_shift(_grey(clean[place]), _grey(noisy[place]))
        if vote is not None and vote[2] <= TRUST:
            votes.append(vote)
    if not votes:
        return None
    down, right, error = (float(np.median([vote[i] for vote in votes])) for i in range(3))
    return Shift(down, right, error, len(votes))


def _grey(image: npt.NDArray[np.generic]) -> Grey:
    return np.asarray(image.astype(np.float32).mean(axis=2))


def _textured_tiles(clean: npt.NDArray[np.generic]) -> list[tuple[int, int]]:
    """Return the corners of the tiles with the strongest gradients, best first."""
    height, width = clean.shape[:2]
    if min(height, width) < 48:
        return []
    corners = [(y, x) for y in _starts(height) for x in _starts(width)]
    # Every fourth sample is enough to rank tiles.
    scores = []
    for y, x in corners:
        tile = _grey(clean[y : y + TILE : 4, x : x + TILE : 4])
        down, right = np.diff(tile, axis=0), np.diff(tile, axis=1)
        # The weaker direction counts: one straight edge fixes only half of the shift.
        scores.append(min(float((down**2).mean()), float((right**2).mean())))
    order = np.argsort(scores)[::-1][:TILES]
    return [corners[i] for i in order]


def _starts(length: int) -> list[int]:
    if length <= TILE:
        return [0]
    return [int(v) for v in np.linspace(0, length - TILE, -(-length // TILE))]


def _tile_shift(clean: Grey, noisy: Grey) -> tuple[float, float, float] | None:
    down, right = _whole_pixels(clean, noisy)
    reach = min(clean.shape) // 4
    for _ in range(_STEPS):
        if max(abs(down), abs(right)) > reach:
            return None
        step = _fit(*_overlap(clean, noisy, down, right))
        if step is None:
            return None
        # Noise or repeated texture can put the peak a pixel off, where the expansion is poor.
        # Between 0.5 and 0.75 staying is as good as moving, and ends the walk.
        off = round(step[0] * 2 / 3), round(step[1] * 2 / 3)
        if off == (0, 0):
            return down + step[0], right + step[1], step[2]
        down, right = down + off[0], right + off[1]
    return None


def _whole_pixels(clean: Grey, noisy: Grey) -> tuple[int, int]:
    """Return the whole-pixel shift at the peak of the cross-correlation."""
    # A Hann window hides that the tile's opposite edges do not fit each other.
    taper = np.outer(np.hanning(clean.shape[0]), np.hanning(clean.shape[1]))
    spectra = [np.fft.rfft2(_detail(image) * taper) for image in (clean, noisy)]
    surface = np.fft.irfft2(np.conj(spectra[0]) * spectra[1], s=clean.shape)
    peak = np.unravel_index(int(surface.argmax()), surface.shape)
    down, right = (
        int(p) if p <= n // 2 else int(p) - n for p, n in zip(peak, surface.shape, strict=True)
    )
    return down, right


def _detail(image: Grey) -> Grey:
    """Return the image without its slow brightness: differences from a 17-pixel box mean."""
    return image - _box(_box(image, 0), 1)


def _box(image: Grey, axis: int, radius: int = 8) -> Grey:
    padded = np.pad(image, [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)], "edge")
    sums = np.cumsum(padded, axis=axis, dtype=np.float64)
    size = 2 * radius + 1
    top = np.take(sums, range(size, sums.shape[axis]), axis)
    return ((top - np.take(sums, range(sums.shape[axis] - size), axis)) / size).astype(np.float32)


def _overlap(clean: Grey, noisy: Grey, down: int, right: int) -> tuple[Grey, Grey]:
    """Return the parts of both that show the same, after a shift by whole pixels."""
    height, width = clean.shape
    y, x = max(down, 0), max(right, 0)
    h, w = height - abs(down), width - abs(right)
    return clean[y - down : y - down + h, x - right : x - right + w], noisy[y : y + h, x : x + w]


def _fit(clean: Grey, noisy: Grey) -> tuple[float, float, float] | None:
    """Return (down, right, standard error) of the least-squares fit; None without texture."""
    smooth = _smooth(clean)
    residual = _detail(_smooth(noisy) - smooth)
    inner = (slice(8, -8), slice(8, -8))  # the box mean and the gradient are one-sided at the rim
    slopes = [np.asarray(np.gradient(smooth, axis=axis))[inner] for axis in (0, 1)]
    gradient = np.stack([-slope.ravel() for slope in slopes], axis=1).astype(np.float64)
    target = residual[inner].ravel().astype(np.float64)
    normal = gradient.T @ gradient
    if np.linalg.det(normal) <= 1e-6 * target.size:
        return None
    inverse = np.linalg.inv(normal)
    step = inverse @ (gradient.T @ target)
    left = target - gradient @ step
    error = np.sqrt(np.trace(inverse) * left.var() * _CORRELATED)
    return float(step[0]), float(step[1]), float(error)


def _smooth(image: Grey) -> Grey:
    """Blur with 1-4-6-4-1 both ways: finite differences are gradients only of smooth images."""
    for axis in (0, 1):
        for _ in range(2):
            pad = [(1, 1) if a == axis else (0, 0) for a in (0, 1)]
            wide = np.pad(image, pad, "edge").swapaxes(0, axis)
            image = (0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:]).swapaxes(0, axis)
    return image
