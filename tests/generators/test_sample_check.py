"""What a generator made is looked at once: rows, shapes, types, and that every value is finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from generators.base import NoiseContext, NoiseRequest, NoiseSample
from generators.capture import CaptureMetadata
from generators.parametric import AWGN
from generators.sample_check import SampleError, check_sample, checked_sample


def request(rows: int = 3) -> NoiseRequest:
    clean = torch.full((rows, 3, 8, 6), 0.5)
    capture = CaptureMetadata.same(rows, camera=None, iso=None)
    return NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=range(rows))


def poisoned(row: int, value: float, side: str = "noisy") -> Callable[[NoiseSample], NoiseSample]:
    def change(sample: NoiseSample) -> NoiseSample:
        image = getattr(sample, side).clone()
        image[row, 1, 4, 5] = value
        return replace(sample, **{side: image})

    return change


FAULTS: dict[str, tuple[Callable[[NoiseSample], Any], str]] = {
    "nan": (poisoned(1, float("nan")), r"nan at y 4, x 5, channel 1 of a noisy .*: photo 1\. "),
    "inf": (poisoned(2, float("inf")), r"inf at y 4, x 5, .*\(1 of 144 values .*: photo 2\. "),
    "clean": (poisoned(0, -float("inf"), "clean"), r"-inf at .* of a clean image .*: photo 0\. "),
    "row short": (
        lambda s: replace(s, noisy=s.noisy[:-1]),
        r"noisy images of shape \(2, 3, 8, 6\); expected \(3, 3, 8, 6\): photo 0, and the rest",
    ),
    "column short": (
        lambda s: replace(s, noisy=s.noisy[..., :-1]),
        r"of shape \(3, 3, 8, 5\); expected \(3, 3, 8, 6\)",
    ),
    "bytes": (
        lambda s: replace(s, noisy=(255 * s.noisy).to(torch.uint8)),
        r"noisy images of torch\.uint8; expected torch\.float32",
    ),
    "numpy": (lambda s: replace(s, noisy=s.noisy.numpy()), "without a tensor 'noisy'"),
    "nothing": (lambda s: None, "returned NoneType, without a tensor 'clean'"),
    "params": (lambda s: replace(s, params=[{}]), "gave 1 params for 3 rows"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_sample_is_told_with_generator_and_place(name: str) -> None:
    change, message = FAULTS[name]

    class Faulty(AWGN):
        def sample(self, request: NoiseRequest) -> NoiseSample:
            faulty: NoiseSample = change(super().sample(request))
            return faulty

    with pytest.raises(SampleError, match=f"^generator 'awgn' .*{message}"):
        checked_sample(Faulty(sigma=5.0), request(), where=lambda row: f"photo {row}")


def test_a_right_sample_comes_back_as_it_was_made() -> None:
    expected = AWGN(sigma=5.0).sample(request())
    sample = checked_sample(AWGN(sigma=5.0), request())
    assert torch.equal(sample.noisy, expected.noisy)
    check_sample(expected, request(), name="awgn")


def test_raw_made_of_photographs_may_have_another_shape() -> None:
    raw = torch.zeros(3, 4, 4, 3)
    check_sample(NoiseSample(clean=raw, noisy=raw), request(), name="x", same_size=False)
    for clean, noisy, message in (
        (raw[:2], raw[:2], r"expected \(3, C, H, W\)"),
        (raw, raw[..., :2], r"\(3, 4, 4, 2\) for clean ones of \(3, 4, 4, 3\)"),
    ):
        with pytest.raises(SampleError, match=message):
            check_sample(
                NoiseSample(clean=clean, noisy=noisy), request(), name="x", same_size=False
            )
