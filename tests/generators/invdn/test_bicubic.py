"""Antialiased bicubic downscaling: against the formula, and what a crop may be trusted with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from generators.invdn.bicubic import border, downscale
from generators.seeds import uniform


def cubic(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t <= 2 else 0.0


def slowly(line: np.ndarray, factor: int) -> np.ndarray:
    """Shrink one line by the definition: mirrored, every weight from the kernel, normalised."""
    size = len(line)
    mirrored = np.concatenate([line[::-1], line, line[::-1]])
    made = []
    for number in range(size // factor):
        centre = (number + 0.5) * factor - 0.5
        weights = np.array([cubic((j - size - centre) / factor) for j in range(3 * size)])
        made.append(float((weights * mirrored).sum() / weights.sum()))
    return np.array(made)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_line_is_shrunk_by_the_definition(factor: int) -> None:
    line = uniform([1], (24,), "line").double()[0]
    expected = slowly(line.numpy(), factor)
    upright = downscale(line.view(1, 1, -1, 1).expand(1, 1, 24, factor), factor)
    across = downscale(line.view(1, 1, 1, -1).expand(1, 1, factor, 24), factor)
    np.testing.assert_allclose(upright.flatten().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(across.flatten().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("factor", "margin"), [(2, 2), (4, 2), (8, 2)])
def test_a_crops_interior_is_the_whole_images(factor: int, margin: int) -> None:
    assert border(factor) == margin
    image = uniform([1], (3, 16 * factor, 12 * factor), "image").double()
    whole = downscale(image, factor)
    y, x, height, width = 3, 2, 8, 7
    crop = image[:, :, y * factor : (y + height) * factor, x * factor : (x + width) * factor]
    part, same = downscale(crop, factor), whole[:, :, y : y + height, x : x + width]
    inside = (..., slice(margin, -margin), slice(margin, -margin))
    torch.testing.assert_close(part[inside], same[inside], atol=1e-12, rtol=0)
    # One pixel less would not do: the border is as wide as it is said to be.
    less = (..., slice(margin - 1, 1 - margin), slice(margin - 1, 1 - margin))
    assert float((part[less] - same[less]).abs().max()) > 1e-6


def test_constants_and_ramps_are_kept() -> None:
    ramp = torch.arange(32.0, dtype=torch.float64).view(1, 1, 1, 32).expand(1, 1, 32, 32)
    small = downscale(ramp, 4)
    torch.testing.assert_close(small[..., 2:-2], (ramp[..., 1::4] + 0.5)[..., :8, 2:-2])
    torch.testing.assert_close(downscale(torch.ones(1, 3, 4, 4), 4), torch.ones(1, 3, 1, 1))


def test_values_may_leave_the_range() -> None:
    edge = torch.zeros(1, 1, 32, 32)
    edge[..., 16:] = 1
    assert float(downscale(edge, 4).max()) > 1.0


@pytest.mark.parametrize(
    ("shape", "factor", "told"),
    [((1, 3, 8, 8), 3, "even number"), ((1, 3, 8, 6), 4, "divisible by 4")],
)
def test_what_does_not_divide_is_refused(shape: tuple[int, ...], factor: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        downscale(torch.zeros(shape), factor)
