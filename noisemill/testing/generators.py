"""The contract of a noise generator, as checks that any implementation can be put through.

    class TestMyNoise(GeneratorContract):
        def case(self) -> GeneratorCase:
            return GeneratorCase(make=lambda: MyNoise(sigma=25))

Each check raises ``AssertionError`` with what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from generators.base import (
    NoiseContext,
    NoiseGenerator,
    NoiseRequest,
    NoiseSample,
    as_generator,
)
from generators.capture import COLUMNS, CaptureMetadata

__all__ = [
    "CHECKS",
    "GeneratorCase",
    "GeneratorContract",
    "make_request",
    "take_rows",
]

SEEDS = (11, 2**63 + 5, 0, 77)


@dataclass(frozen=True, kw_only=True)
class GeneratorCase:
    """A generator and what it can be asked.

    Args:
        make: Makes the generator.
        channels: Channels of its clean images.
        size: Height and width of its clean images.
        camera: A camera it knows.
        iso: An ISO speed it knows.
        tolerance: Largest difference allowed between a row alone and the same row in a batch. 0
            for anything but networks.
        seeded: Whether its noise follows from the seed; not where it is read off a reference.
    """

    make: Callable[[], NoiseGenerator]
    channels: int = 3
    size: tuple[int, int] = (12, 20)
    camera: str = "S6"
    iso: int = 800
    tolerance: float = 0.0
    seeded: bool = True
    seeds: tuple[int, ...] = field(default=SEEDS)


def make_request(case: GeneratorCase) -> NoiseRequest:
    """Return a request with everything a generator may need, every row different."""
    rng = np.random.default_rng(1)
    rows, shape = len(case.seeds), (case.channels, *case.size)
    clean = torch.from_numpy(rng.uniform(0.02, 0.98, (rows, *shape)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 0.03, (rows, *shape)).astype(np.float32))
    return NoiseRequest(
        context=NoiseContext(
            clean=clean, capture=CaptureMetadata.same(rows, camera=case.camera, iso=case.iso)
        ),
        seeds=case.seeds,
        reference=clean + noise,
        reference_clean=clean,
    )


def take_rows(
    request: NoiseRequest,
    rows: list[int],
    *,
    seeds: list[int] | None = None,
    capture: CaptureMetadata | None = None,
) -> NoiseRequest:
    """Return some rows of a request, with other seeds or shots where given."""
    context = request.context
    return NoiseRequest(
        context=NoiseContext(
            clean=context.clean[rows], capture=capture or context.capture.select(rows)
        ),
        seeds=seeds or [request.seeds[i] for i in rows],
        reference=None if request.reference is None else request.reference[rows],
        reference_clean=None if request.reference_clean is None else request.reference_clean[rows],
    )


def check_row_is_the_same_alone_and_in_a_batch(case: GeneratorCase) -> None:
    generator, request = case.make(), make_request(case)
    whole = generator.sample(request)
    for row in range(len(case.seeds)):
        alone = generator.sample(take_rows(request, [row]))
        assert_rows_agree(whole, row, alone, 0, case.tolerance)


def check_row_does_not_depend_on_its_place_or_neighbours(case: GeneratorCase) -> None:
    generator, request = case.make(), make_request(case)
    whole = generator.sample(request)
    order = [2, 0, 0, 3, 1, 2, 3]
    shuffled = generator.sample(take_rows(request, order))
    for place, row in enumerate(order):
        assert_rows_agree(whole, row, shuffled, place, case.tolerance)


def check_same_request_gives_the_same_pixels_twice(case: GeneratorCase) -> None:
    request = make_request(case)
    generator = case.make()
    first, second = generator.sample(request), generator.sample(request)
    other = case.make().sample(request)
    assert torch.equal(first.noisy, second.noisy), "a second call gave other noise: state is kept"
    assert torch.equal(first.noisy, other.noisy), "a second instance gave other noise"


def check_two_seeds_give_different_noise(case: GeneratorCase) -> None:
    if not case.seeded:
        return
    generator, request = case.make(), make_request(case)
    pair = generator.sample(take_rows(request, [0, 0], seeds=[1, 2]))
    assert not torch.equal(pair.noisy[0], pair.noisy[1]), "seeds 1 and 2 gave the same noise"
    # Seeds that agree in their low 32 bits are the ones a weak generator confuses.
    pair = generator.sample(take_rows(request, [0, 0], seeds=[1, 1 + 2**32]))
    assert not torch.equal(pair.noisy[0], pair.noisy[1]), "the seed's high bits are not used"


def check_the_request_is_not_changed(case: GeneratorCase) -> None:
    request = make_request(case)
    before = request.context.clean.clone()
    case.make().sample(request)
    assert torch.equal(request.context.clean, before), "the request's clean image was written to"


def check_types_shapes_and_ranges(case: GeneratorCase) -> None:
    generator, request = case.make(), make_request(case)
    sample = generator.sample(request)
    rows, channels, (height, width) = len(case.seeds), case.channels, case.size
    expected = (rows, channels, height, width)
    if (generator.accepts, generator.gives) == ("srgb", "raw"):
        expected = (rows, 4, height // 2, width // 2)
    for name, image in (("clean", sample.clean), ("noisy", sample.noisy)):
        assert image.dtype == torch.float32, f"{name} is {image.dtype}"
        assert tuple(image.shape) == expected, f"{name} is {tuple(image.shape)}, not {expected}"
        assert bool(torch.isfinite(image).all()), f"{name} has values that are not finite"
    assert float(sample.clean.min()) >= 0.0, "clean is below 0"
    assert float(sample.clean.max()) <= 1.0, "clean is above 1"
    noise = sample.noisy - sample.clean
    assert bool((noise.flatten(1).std(1) > 0).all()), "a row has no noise"


def check_params_are_json_scalars_one_set_a_row(case: GeneratorCase) -> None:
    sample = case.make().sample(make_request(case))
    assert len(sample.params) in (0, len(case.seeds)), f"{len(sample.params)} sets of params"
    for params in sample.params:
        for key, value in params.items():
            assert type(key) is str, f"key {key!r} is no text"
            assert type(value) in (float, int, str), f"{key} is a {type(value).__name__}"
        json.dumps(dict(params), allow_nan=False)


def check_a_missing_need_is_refused_by_name(case: GeneratorCase) -> None:
    generator, request = case.make(), make_request(case)
    capture = request.context.capture
    without = {
        "camera": CaptureMetadata(camera=(*capture.camera[:-1], None), iso=capture.iso),
        "iso": CaptureMetadata(camera=capture.camera, iso=(*capture.iso[:-1], None)),
    }
    rows = list(range(len(case.seeds)))
    for need in generator.needs:
        if need == "reference":
            poor = NoiseRequest(context=request.context, seeds=request.seeds)
        else:
            poor = take_rows(request, rows, capture=without[need])
        with pytest.raises(ValueError, match=need):
            generator.sample(poor)
    bare = NoiseRequest(
        context=NoiseContext(
            clean=request.context.clean,
            capture=CaptureMetadata(
                camera=capture.camera if "camera" in generator.needs else (None,) * len(rows),
                iso=capture.iso if "iso" in generator.needs else (None,) * len(rows),
            ),
        ),
        seeds=request.seeds,
        reference=request.reference if "reference" in generator.needs else None,
        reference_clean=request.reference_clean if "reference" in generator.needs else None,
    )
    generator.sample(bare)  # what it does not name as a need, it must do without


def check_a_wrong_number_of_channels_is_refused(case: GeneratorCase) -> None:
    generator, request = case.make(), make_request(case)
    clean = request.context.clean[:, :1].expand(-1, 2, -1, -1).contiguous()
    context = NoiseContext(clean=clean, capture=request.context.capture)
    with pytest.raises(ValueError, match="channels"):
        generator.sample(NoiseRequest(context=context, seeds=request.seeds))


def check_it_keeps_the_protocol(case: GeneratorCase) -> None:
    generator = as_generator(case.make())  # names an attribute that is missing
    assert type(generator.name) is str
    assert type(generator.revision) is int
    assert generator.revision >= 1
    assert generator.accepts in ("srgb", "raw")
    assert generator.gives in ("srgb", "raw")
    assert generator.needs - {"reference"} <= set(COLUMNS.names())


CHECKS: dict[str, Callable[[GeneratorCase], None]] = {
    name.removeprefix("check_"): check
    for name, check in sorted(globals().items())
    if name.startswith("check_")
}


def assert_rows_agree(
    one: NoiseSample, row: int, other: NoiseSample, place: int, tolerance: float
) -> None:
    for name in ("clean", "noisy"):
        a, b = getattr(one, name)[row], getattr(other, name)[place]
        difference = float((a - b).abs().max())
        assert difference <= tolerance, (
            f"{name} of row {row} changes by {difference:.3g} with its batch; {tolerance} allowed"
        )
    if one.params:
        assert one.params[row] == other.params[place], "params of a row change with its batch"


class GeneratorContract:
    """The contract as tests; derive, call it ``Test...``, and say what the case is."""

    def case(self) -> GeneratorCase:
        """Return the generator and what it can be asked."""
        raise NotImplementedError("a GeneratorContract needs case(), which returns a case.")

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_contract(self, check: Callable[[GeneratorCase], None]) -> None:
        check(self.case())
