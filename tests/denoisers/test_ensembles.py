from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import denoisers
from denoisers.base import StochasticDenoiser, can_draw
from denoisers.ensembles import TURNS, flip_ensemble, monte_carlo, turned, turned_back
from denoisers.tiles import Tiled
from generators.seeds import uniform


def picture(*shape: int, seed: int = 0) -> Tensor:
    return uniform([seed], shape, "picture")[0]


def invdn() -> Any:
    params: dict[str, Any] = {"blocks": (1, 1), "hidden": 4, "start": "upsampling"}
    return denoisers.create("invdn", channels=3, seed=1, **params).eval()


def test_turns_are_the_eight_of_the_square_and_are_undone() -> None:
    image = picture(1, 2, 5, 5)
    every = [turned(image, turn) for turn in range(TURNS)]
    assert len({tuple(one.flatten().tolist()) for one in every}) == TURNS
    torch.testing.assert_close(every[5][0, :, 1, 0], image[0, :, 0, 3])
    wide = picture(2, 1, 4, 7)
    for turn in range(TURNS):
        assert torch.equal(turned_back(turned(wide, turn), turn), wide)


def test_flips_make_any_denoiser_indifferent_to_turns() -> None:
    network: Any = denoisers.create("dncnn", channels=1, seed=1, depth=3, width=6).eval()
    noisy = picture(2, 1, 12, 9)
    made = flip_ensemble(network, noisy)
    assert not made.requires_grad
    assert float((made - network(noisy)).detach().abs().max()) > 1e-4
    for turn in range(TURNS):
        other = flip_ensemble(network, turned(noisy, turn))
        torch.testing.assert_close(turned_back(other, turn), made, atol=1e-5, rtol=0)


def test_the_mean_of_draws_comes_nearer_to_the_mean_of_many() -> None:
    network, noisy = invdn(), picture(1, 3, 16, 16)
    assert isinstance(network, StochasticDenoiser)
    many = monte_carlo(network, noisy, 400, seed=9)
    one, sixteen = (
        (monte_carlo(network, noisy, draws, seed=1) - many).square().mean() for draws in (1, 16)
    )
    # The error of a mean falls as 1 / draws; 768 numbers bring it within a fifth of that.
    assert float(one / sixteen) == pytest.approx(16, rel=0.5)


def test_rows_depend_on_their_own_seed_only() -> None:
    network, noisy = invdn(), picture(3, 3, 16, 20)
    for made in (
        lambda image, seed: monte_carlo(network, image, 2, seed),
        lambda image, seed: flip_ensemble(network, image, draws=2, seed=seed),
        lambda image, seed: monte_carlo(Tiled(network, tile=16, overlap=4), image, 2, seed),
    ):
        rows = made(noisy, [5, 6, 7])
        torch.testing.assert_close(made(noisy[1:2], [6]), rows[1:2], atol=1e-5, rtol=0)
        assert not torch.allclose(made(noisy[1:2], [5]), rows[1:2], atol=1e-5)
        torch.testing.assert_close(made(noisy, 6)[1], rows[1], atol=1e-5, rtol=0)


def test_every_turn_draws_its_own_numbers() -> None:
    seen: list[list[int]] = []

    class Spy:
        name, channels, multiple, config, stochastic = "spy", 3, 1, None, True

        def draw(self, noisy: Tensor, seeds: list[int], *, draws: int = 1) -> Tensor:
            seen.append(list(seeds))
            return noisy

    spy: Any = Spy()
    flip_ensemble(spy, picture(2, 3, 4, 4), seed=[1, 2])
    assert len({seed for seeds in seen for seed in seeds}) == 2 * TURNS


def test_what_cannot_be_averaged_is_refused() -> None:
    plain: Any = denoisers.create("dncnn", channels=3, seed=1, depth=2, width=2)
    noisy = picture(2, 3, 8, 8)
    assert not can_draw(plain)
    with pytest.raises(ValueError, match=r"'dncnn' draws no random numbers.*over flips instead"):
        monte_carlo(plain, noisy)
    with pytest.raises(ValueError, match="draws no random numbers"):
        flip_ensemble(plain, noisy, draws=2)
    with pytest.raises(ValueError, match="draws must be at least 1; it is 0"):
        monte_carlo(invdn(), noisy, 0)
    with pytest.raises(ValueError, match="one seed, or one a row; got 3 of 2"):
        monte_carlo(invdn(), noisy, 1, [1, 2, 3])
    fixed: Any = denoisers.create("fino", channels=3, seed=1, blocks=1, hidden=2)
    with pytest.raises(ValueError, match="'fino' draws no random numbers"):
        monte_carlo(fixed, noisy)
