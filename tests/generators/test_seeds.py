"""Random numbers depend on the seed and the stream, and on nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from generators.seeds import batch_rng, patch_seed, standard_normal, stream_rng, uniform

N = 200_000


def test_streams_are_pinned() -> None:
    """Golden numbers: if they move, every corpus ever made is another one."""
    assert patch_seed(0, "patch", "awgn") == 0xE53C3036B92ECDF0
    assert stream_rng(7, "noise").integers(2**32, size=3).tolist() == [
        488980358,
        4149878820,
        4054244339,
    ]


def test_parts_of_a_patch_seed_are_kept_apart() -> None:
    seeds = {
        patch_seed(1, "ab", "c"),
        patch_seed(1, "a", "bc"),
        patch_seed(1, "abc"),
        patch_seed(1, "abc", ""),
        patch_seed(2, "abc"),
        patch_seed(1),
        patch_seed(-1),
    }
    assert len(seeds) == 7
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_patch_seeds_of_many_patches_differ() -> None:
    assert len({patch_seed(3, f"patch-{i}", "awgn") for i in range(N)}) == N


def test_torch_forgets_the_high_bits_of_a_seed_and_a_stream_does_not() -> None:
    """The reason for Philox: 32 bits are too few for a million patches."""
    low, high = 123, 123 + 2**32
    forgetful = [
        torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed in (low, high)
    ]
    assert torch.equal(*forgetful)
    assert not torch.equal(
        standard_normal([low], (8,), "noise"), standard_normal([high], (8,), "noise")
    )


@pytest.mark.parametrize("draw", [standard_normal, uniform])
def test_a_row_depends_on_its_own_seed_only(draw) -> None:  # noqa: ANN001
    many = draw([5, 6, 7], (2, 3), "noise")
    assert torch.equal(many[2], draw([7], (2, 3), "noise")[0])
    assert torch.equal(many[2], draw([7, 7], (2, 3), "noise")[1])


def test_streams_of_one_seed_are_unrelated() -> None:
    a, b = (standard_normal([9], (N,), stream)[0].double() for stream in ("noise", "read"))
    assert abs(float((a * b).mean())) < 5 / math.sqrt(N)


def test_neighbouring_seeds_are_unrelated() -> None:
    a, b = standard_normal([9, 10], (N,), "noise").double()
    assert abs(float((a * b).mean())) < 5 / math.sqrt(N)


def test_normal_numbers_are_standard_normal() -> None:
    z = standard_normal([1], (N,), "noise")[0].double()
    assert abs(float(z.mean())) < 5 / math.sqrt(N)
    assert abs(float(z.square().mean()) - 1) < 5 * math.sqrt(2 / N)
    assert abs(float(z.pow(3).mean())) < 5 * math.sqrt(15 / N)
    assert abs(float(z.pow(4).mean()) - 3) < 5 * math.sqrt(96 / N)


def test_uniform_numbers_fill_their_range() -> None:
    u = uniform([1], (N,), "sigma", low=2.0, high=6.0)[0].double()
    assert float(u.min()) >= 2.0
    assert float(u.max()) <= 6.0
    assert abs(float(u.mean()) - 4) < 5 * 4 / math.sqrt(12 * N)
    assert uniform([1, 2], (), "sigma").shape == (2,)


def test_training_draws_are_repeated_by_step() -> None:
    again = [batch_rng(1, 10, "crop").random(4).tolist() for _ in range(2)]
    assert again[0] == again[1]
    assert batch_rng(1, 11, "crop").random(4).tolist() != again[0]
    assert batch_rng(2, 10, "crop").random(4).tolist() != again[0]
