"""Every denoiser keeps the contract, and the contract can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import denoisers
from noisemill.testing.denoisers import CHECKS, DenoiserCase


def case(name: str, **params: Any) -> DenoiserCase:
    return DenoiserCase(make=lambda: denoisers.create(name, channels=3, seed=1, **params).eval())


CASES = {
    "dncnn": case("dncnn", depth=4, width=8),
    "unet": case("unet"),
    "invdn": case("invdn", blocks=(1, 1), hidden=4),
    "fino": case("fino", blocks=1, hidden=4),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_contract(made: DenoiserCase, check: Callable[[DenoiserCase], None]) -> None:
    check(made)


def test_every_trained_denoiser_has_a_case() -> None:
    trained = {name for name in denoisers.names() if denoisers.is_trained(name)}
    assert trained <= set(CASES)


class Faulty:
    """An average of an image and its mirror image, right but for what a subclass breaks."""

    name, channels, multiple, config = "faulty", 3, 1, None
    made = 0

    def __call__(self, noisy: Tensor) -> Tensor:
        if noisy.shape[1] != 3:
            raise ValueError("channels")
        return (noisy + noisy.flip(3)) / 2


class CutsTheEdge(Faulty):
    def __call__(self, noisy: Tensor) -> Tensor:
        return super().__call__(noisy)[:, :, : noisy.shape[2] // 2 * 2]


class CentresTheBatch(Faulty):
    def __call__(self, noisy: Tensor) -> Tensor:
        return super().__call__(noisy - noisy.mean() + 0.5)


class CountsItsCalls(Faulty):
    def __call__(self, noisy: Tensor) -> Tensor:
        self.made += 1
        return super().__call__(noisy) + 0.1 * self.made


class WritesInPlace(Faulty):
    def __call__(self, noisy: Tensor) -> Tensor:
        estimate = super().__call__(noisy)
        noisy.clamp_(0.4, 0.6)
        return estimate


class GivesGreyLevels(Faulty):
    def __call__(self, noisy: Tensor) -> Tensor:
        return super().__call__(noisy) * 255


class TakesAnyChannels(Faulty):
    def __call__(self, noisy: Tensor) -> Tensor:
        return torch.zeros_like(noisy)


class HasNoMultiple(Faulty):
    multiple = 0


FAULTS: list[tuple[type[Faulty], str]] = [
    (CutsTheEdge, "images_of_any_size_keep_shape_and_type"),
    (CentresTheBatch, "a_row_is_the_same_alone_and_in_a_batch"),
    (CountsItsCalls, "it_makes_the_same_estimate_twice"),
    (WritesInPlace, "the_image_is_not_written_to"),
    (GivesGreyLevels, "estimates_stay_near_the_range"),
    (HasNoMultiple, "it_keeps_the_protocol"),
]


@pytest.mark.parametrize(("faulty", "check"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_contract_catches(faulty: type[Faulty], check: str) -> None:
    with pytest.raises(AssertionError):
        CHECKS[check](DenoiserCase(make=faulty))  # type: ignore[arg-type]


def test_contract_catches_one_that_takes_any_channels() -> None:
    with pytest.raises(pytest.fail.Exception):
        CHECKS["a_wrong_number_of_channels_is_refused"](DenoiserCase(make=TakesAnyChannels))


def test_every_check_is_shown_to_fail() -> None:
    shown = {check for _, check in FAULTS} | {"a_wrong_number_of_channels_is_refused"}
    assert shown == set(CHECKS)
