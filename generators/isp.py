"""From an sRGB photograph back to the sensor, and from the sensor to a photograph again.

A camera's image signal processor (ISP) turns linear sensor values into sRGB. ``develop`` is a small
one; ``unprocess`` runs its steps backwards to guess what the sensor saw:

    develop     white balance > demosaic > colour matrix > sRGB gamma > tone curve
    unprocess   tone curve^-1 > gamma^-1 > colour matrix^-1 > white balance^-1 (> mosaic)

Noise that is white on the sensor comes out of ``develop`` correlated between neighbours
(demosaicing interpolates), between channels (the matrix mixes them), and with a variance that the
gamma and the tone curve bend: that is why simulated sRGB noise is made on the sensor and not on the
photograph.

The steps, with x in [0, 1]:

* tone curve: 3 x^2 - 2 x^3, and back 1/2 - sin(asin(1 - 2 x) / 3);
* gamma: the piecewise curve of IEC 61966-2-1 (sRGB);
* colour matrix: the camera's published XYZ-to-camera matrix times sRGB-to-XYZ (D65), each row
  divided by its sum so that white stays white;
* white balance: gains (red, 1, blue) times an overall brightness gain; backwards they divide,
  except towards white, where saturated highlights would turn grey: with m the mean of the three
  channels and a = max((m - 0.9) / 0.1, 0)^2, the factor 1/g becomes a + (1 - a) / g;
* Bayer mosaic RGGB, packed to four channels of half the size (R, G of the red row, G of the blue
  row, B), and the 5x5 linear interpolation of Malvar et al.

Like a camera and unlike other code here, ``develop`` clips: to white before demosaicing (else
highlights turn pink) and to [0, 1] before the gamma, which has no value outside.

Differs from the paper: the true sRGB curve instead of a power of 2.2, and Malvar's interpolation
instead of the bilinear one.

Sources: Brooks et al. 2019, "Unprocessing images for learned raw denoising", CVPR, section 3;
Malvar, He and Cutler 2004, "High-quality linear interpolation for demosaicing of Bayer-patterned
color images", ICASSP. Matrices: the D65 ``ColorMatrix2`` of Adobe's DNG files for the four cameras
of the Darmstadt Noise Dataset (Ploetz and Roth 2017), which Brooks et al. use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from generators import exact

__all__ = [
    "MATRICES",
    "Rendering",
    "demosaic",
    "develop",
    "linear_to_srgb",
    "mosaic",
    "srgb_to_linear",
    "tone_curve",
    "tone_curve_inverse",
    "unprocess",
]

# CIE XYZ -> camera, D65.
MATRICES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "nexus-6p": (
        (1.0234, -0.2969, -0.2266),
        (-0.5625, 1.6328, -0.0469),
        (-0.0703, 0.2188, 0.6406),
    ),
    "olympus-e-m10": (
        (0.8380, -0.2630, -0.0639),
        (-0.2887, 1.0725, 0.2496),
        (-0.0627, 0.1427, 0.5438),
    ),
    "sony-a7r": (
        (0.4913, -0.0541, -0.0202),
        (-0.6130, 1.3513, 0.2906),
        (-0.1564, 0.2151, 0.7183),
    ),
    "sony-rx100m4": (
        (0.6596, -0.2079, -0.0562),
        (-0.4782, 1.3016, 0.1933),
        (-0.0970, 0.1581, 0.5181),
    ),
}

_SRGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_HIGHLIGHTS = 0.9  # where the safe white balance starts to bend, as in the paper


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How each row is developed: colour matrix and gains.

    Args:
        to_camera: ``(B, 3, 3)`` float32, linear sRGB to camera RGB; rows sum to 1.
        to_srgb: ``(B, 3, 3)`` float32, its inverse.
        gains: ``(B, 3)`` float32, what white balance and brightness multiply R, G and B by.
    """

    to_camera: Tensor
    to_srgb: Tensor
    gains: Tensor

    @classmethod
    def from_weights(
        cls,
        weights: Sequence[Sequence[float]],
        *,
        red: Sequence[float],
        blue: Sequence[float],
        brightness: Sequence[float],
    ) -> Rendering:
        """Make the rendering of B rows from mixtures of the known matrices.

        Args:
            weights: For each row the share of each matrix of ``MATRICES``, in its order; sums to 1.
            red: White balance gain of red, one a row.
            blue: White balance gain of blue, one a row.
            brightness: Gain of all three, one a row.
        """
        known = torch.tensor(list(MATRICES.values()), dtype=torch.float64)
        to_xyz = torch.tensor(_SRGB_TO_XYZ, dtype=torch.float64)
        to_camera = [
            _product(sum(w * m for w, m in zip(row, known, strict=True)), to_xyz) for row in weights
        ]
        to_camera = [m / (m[:, :1] + m[:, 1:2] + m[:, 2:]) for m in to_camera]
        gains = [(k * r, k, k * b) for r, b, k in zip(red, blue, brightness, strict=True)]
        return cls(
            to_camera=torch.stack(to_camera).float(),
            to_srgb=torch.stack([_inverse(matrix) for matrix in to_camera]).float(),
            gains=torch.tensor(gains, dtype=torch.float64).float(),
        )


def unprocess(srgb: Tensor, rendering: Rendering) -> Tensor:
    """Guess the linear camera RGB that develops into an sRGB image.

    Args:
        srgb: ``(B, 3, H, W)`` float32; values outside [0, 1] are clipped.
        rendering: How it was developed.

    Returns:
        ``(B, 3, H, W)`` float32 in [0, 1]; colours outside the sensor's range are clipped.
    """
    linear = srgb_to_linear(tone_curve_inverse(srgb.clamp(0.0, 1.0)))
    camera = _apply_matrix(linear, rendering.to_camera)
    grey = (camera[:, :1] + camera[:, 1:2] + camera[:, 2:]) / 3.0
    share = ((grey - _HIGHLIGHTS) / (1.0 - _HIGHLIGHTS)).clamp_min(0.0).square()
    factor = rendering.gains.reciprocal()[:, :, None, None]
    # Beyond white the share passes 1 and the blend would fall below the plain factor.
    safe = torch.maximum(share + (1.0 - share) * factor, factor)
    return (camera * safe).clamp(0.0, 1.0)


def develop(raw: Tensor, rendering: Rendering) -> Tensor:
    """Develop packed raw into an sRGB photograph.

    Args:
        raw: ``(B, 4, h, w)`` float32 packed RGGB, black at 0 and white at 1; h and w at least 2.
        rendering: How to develop it.

    Returns:
        ``(B, 3, 2 h, 2 w)`` float32 in [0, 1].
    """
    gains = rendering.gains[:, (0, 1, 1, 2), None, None]
    camera = demosaic((raw * gains).clamp_max(1.0))
    linear = _apply_matrix(camera, rendering.to_srgb).clamp(0.0, 1.0)
    return tone_curve(linear_to_srgb(linear))


def mosaic(rgb: Tensor) -> Tensor:
    """Keep one colour a pixel, RGGB, and pack it: ``(B, 3, H, W)`` to ``(B, 4, H/2, W/2)``."""
    return torch.stack(
        [
            rgb[:, 0, 0::2, 0::2],
            rgb[:, 1, 0::2, 1::2],
            rgb[:, 1, 1::2, 0::2],
            rgb[:, 2, 1::2, 1::2],
        ],
        dim=1,
    )


def demosaic(packed: Tensor) -> Tensor:
    """Interpolate the two missing colours of each pixel (Malvar et al. 2004).

    A 5x5 filter on the mosaic reaches one packed cell to each side, so all twelve filters (three
    colours, four places in the cell) are one 3x3 convolution of the packed image.

    Args:
        packed: ``(B, 4, h, w)`` float32, h and w at least 2.

    Returns:
        ``(B, 3, 2 h, 2 w)`` float32. The colour a pixel has is kept exactly.
    """
    # Mirrored about the border pixel, which keeps red on red.
    padded = F.pixel_unshuffle(F.pad(F.pixel_shuffle(packed, 2), (2, 2, 2, 2), mode="reflect"), 2)
    height, width = packed.shape[2:]
    # Term by term, equal weights first: a convolution's sums follow the processor's registers.
    cells = []
    for groups in _malvar_filters():
        cell = torch.zeros_like(packed[:, 0])
        for weight, taps in groups:
            total = torch.zeros_like(cell)
            for channel, down, right in taps:
                total += padded[:, channel, down : down + height, right : right + width]
            cell += weight * total
        cells.append(cell)
    return F.pixel_shuffle(torch.stack(cells, dim=1), 2)


def tone_curve(x: Tensor) -> Tensor:
    """Return the smooth S-curve 3 x^2 - 2 x^3 of x in [0, 1]."""
    return x.square() * (3.0 - 2.0 * x)


def tone_curve_inverse(y: Tensor) -> Tensor:
    """Return the x in [0, 1] whose tone curve is y in [0, 1]."""
    return 0.5 - exact.sin(exact.asin(1.0 - 2.0 * y) / 3.0)


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """Undo the sRGB gamma of values in [0, 1]."""
    return torch.where(
        encoded <= 0.04045,
        encoded / 12.92,
        exact.power((encoded.clamp_min(0.04045) + 0.055) / 1.055, 2.4),
    )


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Apply the sRGB gamma to values in [0, 1]."""
    return torch.where(
        linear <= 0.0031308,
        linear * 12.92,
        1.055 * exact.power(linear.clamp_min(0.0031308), 1.0 / 2.4) - 0.055,
    )


def _apply_matrix(image: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the colour of each pixel by its row's matrix."""
    r, g, b = image.unbind(1)
    m = matrix[..., None, None]
    return torch.stack([m[:, i, 0] * r + m[:, i, 1] * g + m[:, i, 2] * b for i in range(3)], dim=1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of two 3x3 matrices, its sums in the order of the columns."""
    return a[:, :1] * b[0] + a[:, 1:2] * b[1] + a[:, 2:] * b[2]


def _inverse(matrix: Tensor) -> Tensor:
    """Return the inverse of a 3x3 matrix by its cofactors."""
    a, b, c = matrix
    cofactors = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)])
    determinant = a[0] * cofactors[0, 0] + a[1] * cofactors[0, 1] + a[2] * cofactors[0, 2]
    inverse: Tensor = cofactors.T / determinant
    return inverse


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a.roll(-1) * b.roll(-2) - a.roll(-2) * b.roll(-1)


@cache
def _malvar_filters() -> list[list[tuple[float, list[tuple[int, int, int]]]]]:
    """Return the twelve demosaicing filters: weights, and the taps (channel, y, x) they share."""
    same = {(0, 0): 8.0}
    cross = {(0, -1): 2.0, (0, 1): 2.0, (-1, 0): 2.0, (1, 0): 2.0}
    far = {(0, -2): -1.0, (0, 2): -1.0, (-2, 0): -1.0, (2, 0): -1.0}
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    green = {(0, 0): 4.0} | cross | far
    beside = (
        {(0, 0): 5.0, (0, -1): 4.0, (0, 1): 4.0}
        | {(0, -2): -1.0, (0, 2): -1.0, (-2, 0): 0.5, (2, 0): 0.5}
        | dict.fromkeys(corners, -1.0)
    )
    above = {(dx, dy): value for (dy, dx), value in beside.items()}
    opposite = {(0, 0): 6.0} | dict.fromkeys(far, -1.5) | dict.fromkeys(corners, 2.0)
    # For each colour the filter at the four places of the cell: R, G in the red row, G in the blue
    # row, B. Values are in eighths.
    filters = [
        [same, beside, above, opposite],
        [green, same, same, green],
        [opposite, above, beside, same],
    ]
    return [_by_weight(taps, place) for places in filters for place, taps in enumerate(places)]


def _by_weight(
    taps: Mapping[tuple[int, int], float], place: int
) -> list[tuple[float, list[tuple[int, int, int]]]]:
    """Return a filter on packed cells, at one of a cell's four places."""
    groups: dict[float, list[tuple[int, int, int]]] = {}
    for (dy, dx), value in taps.items():
        cell_y, y = divmod(place // 2 + dy, 2)
        cell_x, x = divmod(place % 2 + dx, 2)
        groups.setdefault(value / 8.0, []).append((2 * y + x, cell_y + 1, cell_x + 1))
    return list(groups.items())
