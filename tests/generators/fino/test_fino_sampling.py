"""FINO as a generator: the contract, what a transfer copies and what shuffling makes new."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

import generators
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.fino.network import Codes, Fino, FinoConfig
from generators.fino.sampling import FINOGenerator
from generators.seeds import standard_normal, uniform
from generators.weights_file import save_weights
from noisemill.testing.generators import CHECKS, GeneratorCase


def haar_only() -> Fino:
    """Return a fresh network: a linear map, in which everything can be worked out."""
    return Fino(FinoConfig(blocks=1, hidden=4))


def moved() -> Fino:
    model = Fino(FinoConfig(blocks=2, hidden=8))
    rng = np.random.default_rng(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.03, parameter.shape)).float())
    return model


def pictures(rows: int, height: int, width: int, *, seed: int = 1) -> Tensor:
    return uniform([seed], (rows, 3, height, width), "pictures", low=0.2, high=0.8)[0]


def white(clean: Tensor, *, sigma: float = 0.05, seed: int = 2) -> Tensor:
    return sigma * standard_normal([seed], clean.shape, "white")[0]


def ask(
    clean: Tensor,
    reference: Tensor,
    *,
    reference_clean: Tensor | None = None,
    seeds: list[int] | None = None,
) -> NoiseRequest:
    rows = len(clean)
    return NoiseRequest(
        context=NoiseContext(
            clean=clean, capture=CaptureMetadata.same(rows, camera=None, iso=None)
        ),
        seeds=seeds or list(range(rows)),
        reference=reference,
        reference_clean=reference_clean,
    )


CASES = {
    "roll": GeneratorCase(make=lambda: FINOGenerator(moved()), tolerance=1e-4),
    "positions-as-decoded": GeneratorCase(
        make=lambda: FINOGenerator(moved(), transfer="code", shuffle="positions", level="none"),
        tolerance=1e-4,
    ),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_contract(case: GeneratorCase, check: Callable[[GeneratorCase], None]) -> None:
    check(case)


def test_the_papers_transfer_copies_what_the_code_holds_of_the_noise() -> None:
    """Onto its own clean partner, a linear network gives the noise's projection on 12 of 48
    channels: a copy, the same for every seed."""
    model, clean = haar_only(), pictures(2, 16, 16)
    noise = white(clean)
    generator = FINOGenerator(model, transfer="code", shuffle="none", level="none")
    made = generator.sample(ask(clean, clean + noise))
    code = model.encode(noise).noise
    projection = model.decode(Codes(torch.zeros(2, 36, 4, 4), code))
    torch.testing.assert_close(made.noisy - clean, projection, atol=1e-6, rtol=0)
    again = generator.sample(ask(clean, clean + noise, seeds=[8, 9]))
    assert torch.equal(again.noisy, made.noisy)


def test_noise_comes_to_the_references_level() -> None:
    clean = pictures(2, 32, 32)
    noise = white(clean) * torch.tensor([1.0, 2.0])[:, None, None, None]
    made = FINOGenerator(haar_only()).sample(ask(clean, clean + noise))
    spread = (made.noisy - clean).std(dim=(1, 2, 3)) / noise.std(dim=(1, 2, 3))
    # A linear network loses the same whatever the place; only the mean may be another.
    torch.testing.assert_close(spread, torch.ones(2), atol=0.02, rtol=0)
    assert [row["level"] for row in made.params] == pytest.approx([2.0, 2.0], rel=0.1)


def test_a_reference_of_another_scene_is_measured_on_its_own_partner() -> None:
    clean, partner = pictures(1, 16, 16), pictures(1, 32, 24, seed=8)
    reference = partner + white(partner)
    made = FINOGenerator(haar_only()).sample(ask(clean, reference, reference_clean=partner))
    assert made.noisy.shape == clean.shape
    assert made.params[0]["level"] == pytest.approx(2.0, rel=0.1)
    smaller = FINOGenerator(haar_only(), shuffle="none").sample(
        ask(partner, clean + white(clean), reference_clean=clean)
    )
    assert smaller.noisy.shape == partner.shape


def test_a_reference_without_noise_leaves_the_picture_alone() -> None:
    """Whatever the network has left in the noise code: only ``code`` moves it along."""
    clean, partner = pictures(1, 16, 16), pictures(1, 16, 16, seed=8)
    request = ask(clean, partner, reference_clean=partner)
    made = FINOGenerator(moved(), level="none").sample(request)
    torch.testing.assert_close(made.noisy, clean, atol=1e-5, rtol=0)
    leaks = FINOGenerator(moved(), transfer="code", level="none").sample(request)
    assert float((leaks.noisy - clean).abs().max()) > 0.1


def test_rolling_keeps_the_noises_correlation_and_drawing_positions_does_not() -> None:
    """A noise code tied over neighbouring positions; how much of it is left in the result."""
    model, clean = haar_only(), torch.full((1, 3, 128, 128), 0.5)
    code = avg_pool2d(standard_normal([3], (1, 12, 34, 34), "code")[0], 3, stride=1)
    noise = model.decode(Codes(torch.zeros(1, 36, 32, 32), 0.05 * code)).detach()
    tied = {}
    for shuffle in ("none", "roll", "positions"):
        generator = FINOGenerator(model, shuffle=shuffle, level="none")
        made = generator.sample(ask(clean, clean + noise, seeds=[5])).noisy - clean
        tied[shuffle] = neighbours(model.encode(made).noise)
        assert float(made.std() / noise.std()) == pytest.approx(1.0, abs=0.05)
    assert tied["none"] > 0.6
    assert tied["roll"] == pytest.approx(tied["none"], abs=0.05)
    assert abs(tied["positions"]) < 5 / np.sqrt(12 * 32 * 31)


def neighbours(code: Tensor) -> float:
    """Return the correlation between a position and the one to its right."""
    left, right = code[..., :-1].flatten(), code[..., 1:].flatten()
    return float(torch.corrcoef(torch.stack([left, right]))[0, 1])


def test_wrong_requests_and_parameters_are_refused() -> None:
    clean = pictures(1, 16, 16)
    with pytest.raises(ValueError, match="they must be equal"):
        FINOGenerator(haar_only()).sample(ask(clean, pictures(1, 32, 32)))
    with pytest.raises(ValueError, match=r"reference is .*18.*they must be equal"):
        FINOGenerator(haar_only()).sample(ask(clean, pictures(1, 16, 18)))
    with pytest.raises(ValueError, match="shuffle must be one of none, roll, positions"):
        FINOGenerator(haar_only(), shuffle="flips")  # type: ignore[arg-type]


def test_it_is_made_from_a_weights_file_by_name(tmp_path: Path) -> None:
    model, path = moved(), tmp_path / "codes.safetensors"
    config: dict[str, Any] = model.config.to_dict()
    save_weights(path, family="fino", config=config, tensors=model.state_dict(), license="CC0")
    made = generators.create("fino", params={"shuffle": "none"}, weights=path)
    clean = pictures(1, 8, 8)
    request = ask(clean, clean + white(clean))
    expected = FINOGenerator(model, shuffle="none").sample(request)
    assert torch.equal(made.sample(request).noisy, expected.noisy)
