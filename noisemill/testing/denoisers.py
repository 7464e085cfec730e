"""The contract of a denoiser, as checks that any implementation can be put through.

class TestMyDenoiser(DenoiserContract):
def case(self) -> DenoiserCase:
return DenoiserCase(make=lambda: MyDenoiser(MyConfig()))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from denoisers.base import Denoiser

__all__ = ["CHECKS", "DenoiserCase", "DenoiserContract"]

SIZES = ((1, 1), (7, 33), (40, 32))


@dataclass(frozen=True, kw_only=True)
class DenoiserCase:
    """A denoiser and the images it takes.

    Args:
        make: Makes the denoiser, always with the same weights.
        sizes: Heights and widths.
        tolerance: Largest difference allowed between an image alone and in a batch, white levels.
            Convolutions sum in another order there.
    """

    make: Callable[[], Denoiser]
    sizes: tuple[tuple[int, int], ...] = SIZES
    tolerance: float = 1e-5


def noisy_images(rows: int, channels: int, size: tuple[int, int]) -> Tensor:
    """Return ``(rows, channels, *size)`` float32, every row different, some values out of range."""
    values = np.random.default_rng(2).normal(0.5, 0.2, (rows, channels, *size))
    return torch.from_numpy(values.astype(np.float32))


@torch.inference_mode()
def check_images_of_any_size_keep_shape_and_type(case: DenoiserCase) -> None:
    denoiser = case.make()
    for size in case.sizes:
        noisy = noisy_images(2, denoiser.channels, size)
        estimate = denoiser(noisy)
        assert estimate.shape == noisy.shape, f"{tuple(noisy.shape)} gave {tuple(estimate.shape)}"
        assert estimate.dtype == torch.float32, f"the estimate is {estimate.dtype}"
        assert bool(torch.isfinite(estimate).all()), "the estimate is not finite"


@torch.inference_mode()
def check_a_row_is_the_same_alone_and_in_a_batch(case: DenoiserCase) -> None:
    denoiser = case.make()
    noisy = noisy_images(3, denoiser.channels, case.sizes[-1])
    whole = denoiser(noisy)
    for row in range(3):
        difference = float((denoiser(noisy[row : row + 1])[0] - whole[row]).abs().max())
        assert difference <= case.tolerance, f"row {row} changes by {difference:.3g} in a batch"


@torch.inference_mode()
def check_it_makes_the_same_estimate_twice(case: DenoiserCase) -> None:
    denoiser, other = case.make(), case.make()
    noisy = noisy_images(1, denoiser.channels, case.sizes[-1])
    assert torch.equal(denoiser(noisy), denoiser(noisy)), "a second call gave another estimate"
    assert torch.equal(denoiser(noisy), other(noisy)), "a second instance gave another estimate"


@torch.inference_mode()
def check_the_image_is_not_written_to(case: DenoiserCase) -> None:
    denoiser = case.make()
    noisy = noisy_images(1, denoiser.channels, case.sizes[-1])
    before = noisy.clone()
    denoiser(noisy)
    assert torch.equal(noisy, before), "the noisy image was written to"


@torch.inference_mode()
def check_estimates_stay_near_the_range(case: DenoiserCase) -> None:
    denoiser = case.make()
    estimate = denoiser(noisy_images(1, denoiser.channels, case.sizes[-1]).clip(0, 1))
    # Untrained networks may overshoot; grey levels of 255 are what this is about.
    assert float(estimate.abs().max()) < 10, "the white level is 1; these are other units"


@torch.inference_mode()
def check_a_wrong_number_of_channels_is_refused(case: DenoiserCase) -> None:
    denoiser = case.make()
    with pytest.raises(ValueError, match="channel"):
        denoiser(noisy_images(1, denoiser.channels + 1, case.sizes[-1]))


def check_it_keeps_the_protocol(case: DenoiserCase) -> None:
    denoiser = case.make()
    assert isinstance(denoiser, Denoiser), "name, channels, multiple or config is missing"
    assert type(denoiser.name) is str
    assert denoiser.channels in (1, 3, 4)
    assert denoiser.multiple >= 1


CHECKS: dict[str, Callable[[DenoiserCase], None]] = {
    name.removeprefix("check_"): check
    for name, check in sorted(globals().items())
    if name.startswith("check_")
}


class DenoiserContract:
    """The contract as tests; derive, call it ``Test...``, and say what the case is."""

    def case(self) -> DenoiserCase:
        """Return the denoiser and the images it takes."""
        raise NotImplementedError("a DenoiserContract needs case(), which returns a case.")

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_contract(self, check: Callable[[DenoiserCase], None]) -> None:
        check(self.case())
