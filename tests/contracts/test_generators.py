"""Every generator keeps the contract, and every check of the contract can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

import generators
from generators.base import NoiseGenerator, NoiseRequest, NoiseSample
from generators.on_raw import OnRaw
from noisemill.testing.generators import CHECKS, GeneratorCase


def case(name: str, params: Mapping[str, Any], **rest: Any) -> GeneratorCase:
    return GeneratorCase(make=lambda: generators.create(name, params=params), **rest)


def raw_generator() -> NoiseGenerator:
    return generators.create("heteroscedastic", params={"table": "sidd", "domain": "raw"})


CASES = {
    "awgn": case("awgn", {"sigma": 25}),
    "awgn-grey": case("awgn", {"sigma": 25}, channels=1),
    "awgn-range": case("awgn", {"sigma": [5, 50]}),
    "awgn-raw": case("awgn", {"sigma": 25, "domain": "raw"}, channels=4),
    "spatially-variant-awgn": case("spatially-variant-awgn", {"sigma": [0, 50]}),
    "spatially-variant-awgn-peaks": case(
        "spatially-variant-awgn", {"sigma": [15, 35], "map": "peaks"}
    ),
    "heteroscedastic": case("heteroscedastic", {"beta1": 1e-3, "beta2": 1e-5}),
    "heteroscedastic-table": case(
        "heteroscedastic", {"table": "sidd", "domain": "raw"}, channels=4
    ),
    "poisson-gaussian": case("poisson-gaussian", {"gain": 1e-3, "read_noise": 2e-3}),
    "real": case("real", {}, seeded=False),
    "real-raw": case("real", {"domain": "raw"}, channels=4, seeded=False),
    "awgn-measured": case("awgn-measured", {}),
    "heteroscedastic-fitted": case("heteroscedastic-fitted", {}),
    "camera": case("camera", {}),
    "camera-grey": case("camera", {"iso": [100, 6400]}, channels=1),
    "camera-raw": case("camera", {"output": "raw", "camera": "compact"}),
    "camera-shot": case("camera", {"iso": "shot", "camera": "full-frame"}),
    "on-raw": GeneratorCase(make=lambda: OnRaw(raw_generator())),
    "on-raw-grey": GeneratorCase(make=lambda: OnRaw(raw_generator()), channels=1),
    "on-raw-kept": GeneratorCase(make=lambda: OnRaw(raw_generator(), output="raw")),
    # 4 by 4 is the smallest mosaic that can be developed.
    "camera-smallest": case("camera", {"iso": {"one_of": [100, 200]}}, size=(4, 4)),
}

# Generators with trained weights keep the contract in a test beside their weights.
TRAINED = {"fino", "flow-srgb", "invdn", "naflow", "nlf", "noise-flow"}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_contract(made: GeneratorCase, check: Callable[[GeneratorCase], None]) -> None:
    check(made)


def test_every_generator_has_a_case() -> None:
    assert {made.make().name for made in CASES.values()} | TRAINED >= set(generators.names())


class Faulty:
    """AWGN, right in everything but what a subclass breaks."""

    name = "faulty"
    revision = 1
    accepts = "srgb"
    gives = "srgb"
    needs: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.inner = generators.create("awgn", params={"sigma": 25})

    def sample(self, request: NoiseRequest) -> NoiseSample:
        return self.inner.sample(request)


class LooksAtItsNeighbours(Faulty):
    def sample(self, request: NoiseRequest) -> NoiseSample:
        made = self.inner.sample(request)
        noisy = made.noisy + 1e-6 * made.noisy.mean()
        return NoiseSample(clean=made.clean, noisy=noisy, params=made.params)


class SeedsByPlace(Faulty):
    def sample(self, request: NoiseRequest) -> NoiseSample:
        seeds = list(range(len(request.seeds)))
        return self.inner.sample(NoiseRequest(context=request.context, seeds=seeds))


class ForgetsTheHighBits(Faulty):
    def sample(self, request: NoiseRequest) -> NoiseSample:
        seeds = [seed % 2**32 for seed in request.seeds]
        return self.inner.sample(NoiseRequest(context=request.context, seeds=seeds))


class KeepsState(Faulty):
    calls = 0

    def sample(self, request: NoiseRequest) -> NoiseSample:
        self.calls += 1
        seeds = [seed + self.calls for seed in request.seeds]
        return self.inner.sample(NoiseRequest(context=request.context, seeds=seeds))


class WritesInPlace(Faulty):
    def sample(self, request: NoiseRequest) -> NoiseSample:
        made = self.inner.sample(request)
        request.context.clean.add_(0.001)
        return made


class GivesDoubles(Faulty):
    def sample(self, request: NoiseRequest) -> NoiseSample:
        made = self.inner.sample(request)
        return NoiseSample(clean=made.clean, noisy=made.noisy.double())


class RecordsTensors(Faulty):
    def sample(self, request: NoiseRequest) -> NoiseSample:
        made = self.inner.sample(request)
        params = [{"sigma": torch.tensor(25.0)}] * len(request.seeds)
        return NoiseSample(clean=made.clean, noisy=made.noisy, params=params)  # type: ignore[arg-type]


class HidesANeed(Faulty):
    def sample(self, request: NoiseRequest) -> NoiseSample:
        [iso + 0 for iso in request.context.capture.iso]  # type: ignore[operator]
        return self.inner.sample(request)


class ClaimsANeed(Faulty):
    needs = frozenset({"iso"})


class TakesAnyChannels(Faulty):
    def sample(self, request: NoiseRequest) -> NoiseSample:
        return NoiseSample(clean=request.context.clean, noisy=request.context.clean + 0.1)


class HasNoRevision(Faulty):
    revision = None


FAULTS = {
    LooksAtItsNeighbours: "row_is_the_same_alone_and_in_a_batch",
    SeedsByPlace: "row_does_not_depend_on_its_place_or_neighbours",
    ForgetsTheHighBits: "two_seeds_give_different_noise",
    KeepsState: "same_request_gives_the_same_pixels_twice",
    WritesInPlace: "the_request_is_not_changed",
    GivesDoubles: "types_shapes_and_ranges",
    RecordsTensors: "params_are_json_scalars_one_set_a_row",
    HidesANeed: "a_missing_need_is_refused_by_name",
    ClaimsANeed: "a_missing_need_is_refused_by_name",
    TakesAnyChannels: "a_wrong_number_of_channels_is_refused",
    HasNoRevision: "it_keeps_the_protocol",
}


@pytest.mark.parametrize(
    ("faulty", "check"), FAULTS.items(), ids=lambda x: getattr(x, "__name__", x)
)
def test_contract_catches(faulty: type[Faulty], check: str) -> None:
    with pytest.raises((AssertionError, TypeError, pytest.fail.Exception)):
        CHECKS[check](GeneratorCase(make=faulty))


def test_every_check_is_shown_to_fail() -> None:
    assert set(FAULTS.values()) == set(CHECKS)
