"""The base of generators: what it checks and fills in, and that plain classes are served too."""

from __future__ import annotations

import pytest
import torch

from generators.base import (
    Likelihood,
    NoiseContext,
    NoiseGenerator,
    NoiseRequest,
    NoiseSample,
    as_generator,
)
from generators.capture import CaptureMetadata
from generators.seeds import patch_seed, standard_normal


class Follows(NoiseGenerator):
    """Noise as strong as the row's exposure is long."""

    name = "follows"
    revision = 1
    color_only = True

    def __init__(self, *, exposure: float | None = None) -> None:
        self._pin("exposure", exposure=exposure)

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        clean = request.context.clean
        levels = torch.tensor(request.context.capture["exposure"])[:, None, None, None]
        noise = levels * standard_normal(request.seeds, clean.shape[1:], "noise")
        return NoiseSample(clean=clean, noisy=clean + noise)

    def _check_capture(self, capture: CaptureMetadata) -> None:
        if any(seconds < 0.01 for seconds in capture["exposure"]):
            raise ValueError("too short")


class Plain:
    """A generator that knows nothing of the base, as another package may have it."""

    name = "plain"
    revision = 3
    accepts = "srgb"
    gives = "srgb"
    needs = frozenset({"iso"})
    multiple = 4

    def sample(self, request: NoiseRequest) -> NoiseSample:
        clean = request.context.clean
        iso = torch.tensor(request.context.shots.iso)[:, None, None, None]
        noise = iso / 1e4 * standard_normal(request.seeds, clean.shape[1:], "noise")
        return NoiseSample(clean=clean, noisy=clean + noise)


class PlainWithDensity(Plain):
    weights = "its own"

    def log_prob(self, noisy: torch.Tensor, context: NoiseContext) -> torch.Tensor:
        return torch.zeros(len(noisy))


def ask(rows: int = 2, channels: int = 3, **columns: object) -> NoiseRequest:
    context = NoiseContext(
        clean=torch.full((rows, channels, 4, 6), 0.5),
        capture=CaptureMetadata.same(rows, **columns),  # type: ignore[arg-type]
    )
    return NoiseRequest(context=context, seeds=range(rows))


def test_any_column_is_a_need_and_a_row_without_it_is_named() -> None:
    assert Follows().needs == {"exposure"}
    with pytest.raises(ValueError, match=r"'follows' needs 'exposure' .*row 0.*column `exposure`"):
        Follows().sample(ask(iso=800))


def test_a_parameter_takes_the_place_of_the_rows_own_column() -> None:
    pinned = Follows(exposure=0.1)
    assert pinned.needs == frozenset()
    expected = Follows().sample(ask(exposure=0.1)).noisy
    assert torch.equal(pinned.sample(ask()).noisy, expected)
    assert torch.equal(pinned.sample(ask(exposure=0.3)).noisy, expected)


def test_capture_metadata_is_checked_with_the_parameters_put_in() -> None:
    short = CaptureMetadata.same(2, exposure=0.001)
    with pytest.raises(ValueError, match="too short"):
        Follows().check_capture(short)
    Follows(exposure=0.1).check_capture(short)


def test_grey_is_refused_by_a_generator_of_colour() -> None:
    with pytest.raises(ValueError, match=r"'follows' reads srgb images of 3 channels.*1, 4, 6"):
        Follows().sample(ask(channels=1, exposure=0.1))


def test_twice_is_the_same_scene_with_noise_of_its_own_seed() -> None:
    request = ask(exposure=0.1)
    first, second = Follows().sample_twice(request)
    seeds = [patch_seed(seed, "second") for seed in request.seeds]
    again = NoiseRequest(context=request.context, seeds=seeds)
    assert torch.equal(first.noisy, Follows().sample(request).noisy)
    assert torch.equal(second, Follows().sample(again).noisy)


def test_a_plain_class_gets_the_defaults_and_keeps_its_own() -> None:
    made = as_generator(Plain())
    assert (made.name, made.revision, made.needs, made.multiple) == ("plain", 3, {"iso"}, 4)
    assert not made.color_only
    made.place("cpu")
    made.check_capture(CaptureMetadata.unknown(1))
    request = ask(iso=800)
    assert torch.equal(made.sample(request).noisy, Plain().sample(request).noisy)
    assert not torch.equal(made.sample_twice(request)[1], made.sample(request).noisy)
    assert not isinstance(made, Likelihood)


def test_a_plain_class_with_a_density_is_a_likelihood() -> None:
    made = as_generator(PlainWithDensity())
    assert isinstance(made, Likelihood)
    assert made.weights == "its own"  # type: ignore[attr-defined]


def test_what_is_no_generator_is_told_what_it_lacks() -> None:
    with pytest.raises(TypeError, match=r"object is no noise generator.*revision.*sample"):
        as_generator(object())


def test_a_request_carries_a_reference_only_where_it_is_needed() -> None:
    clean, noisy = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    capture = CaptureMetadata.unknown(1)

    def of(generator: object) -> NoiseRequest:
        return NoiseRequest.of(
            generator,  # type: ignore[arg-type]
            clean=clean,
            capture=capture,
            seeds=[1],
            reference=noisy,
        )

    class Asks(Plain):
        needs = frozenset({"reference"})

    assert of(Plain()).reference is None
    assert of(Asks()).pair[0] is noisy
    assert of(Asks()).pair[1] is clean
