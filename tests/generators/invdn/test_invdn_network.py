"""InvDN against conformance vectors of the released network.

The vectors lie outside the project (NOISEMILL_GOLDEN, by default ``../shared/golden``); tests that
need them are skipped where they are absent. Tolerances are those of the vectors' README.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.invdn.bicubic import downscale
from generators.invdn.checkpoint_import import from_released
from generators.invdn.denoise import Latents, decode_with, denoise, ensemble_with
from generators.invdn.losses import backward_loss, forward_loss, gradient_loss, structure_loss
from generators.invdn.network import InvDN, InvDNConfig
from generators.seeds import uniform

GOLDEN = Path(__file__).resolve().parents[3] / ".." / "shared" / "golden"


def folder() -> Path:
    found = Path(os.environ.get("NOISEMILL_GOLDEN", GOLDEN)).resolve()
    if not (found / "05_invdn_io.npz").is_file():
        pytest.skip(f"no conformance vectors in {found}; set NOISEMILL_GOLDEN")
    return found


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    with np.load(folder() / "05_invdn_io.npz") as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file}


@pytest.fixture(scope="module")
def released() -> dict[str, Tensor]:
    with np.load(folder() / "05_invdn_state_fp16.npz") as file:
        return {name: torch.from_numpy(file[name]).float() for name in file}


@pytest.fixture(scope="module")
def model(released: dict[str, Tensor]) -> InvDN:
    return from_released(released)


@pytest.fixture(scope="module")
def latents(vectors: dict[str, Tensor]) -> Latents:
    return lambda number, shape: vectors["z_hf"][number : number + 1]


@torch.no_grad()
def test_every_operation_and_both_jacobians(model: InvDN, vectors: dict[str, Tensor]) -> None:
    x, total = vectors["noisy"], torch.zeros(1)
    for number, layer in enumerate(model.chain):
        x, ladj = layer(x, x)
        total = total + ladj
        torch.testing.assert_close(x, vectors[f"op{number:02d}_out"], atol=1e-5, rtol=0)
    torch.testing.assert_close(x, vectors["fwd"], atol=1e-5, rtol=0)
    torch.testing.assert_close(total[0].double(), vectors["jac_fwd"], rtol=1e-5, atol=0)
    back, ladj = model.decode(x)
    torch.testing.assert_close(back, vectors["noisy"], atol=1e-5, rtol=0)
    torch.testing.assert_close(ladj[0].double(), vectors["jac_rev"], rtol=1e-5, atol=0)


def test_haar(model: InvDN, vectors: dict[str, Tensor]) -> None:
    haar, x = model.chain[0], vectors["haar_in"]
    torch.testing.assert_close(haar(x, x)[0], vectors["haar_out"], atol=1e-6, rtol=0)
    back, _ = haar.inverse(vectors["haar_out"], x)
    torch.testing.assert_close(back, vectors["haar_back"], atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_denoised(
    model: InvDN, vectors: dict[str, Tensor], latents: Latents, layout: torch.memory_format
) -> None:
    noisy = vectors["noisy"].contiguous(memory_format=layout)
    for number, expected in enumerate(vectors["denoised_each"]):
        found = decode_with(model, noisy, latents, [number])[0]
        torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@torch.no_grad()
def test_mean_of_sixteen(model: InvDN, vectors: dict[str, Tensor], latents: Latents) -> None:
    expected = vectors["denoised_mc16"]
    found = decode_with(model, vectors["noisy"], latents, range(16))
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@torch.no_grad()
def test_self_ensemble(model: InvDN, vectors: dict[str, Tensor], latents: Latents) -> None:
    found = ensemble_with(model, vectors["noisy"], latents)
    torch.testing.assert_close(found, vectors["self_ensemble_x8"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_perturbed_latent(model: InvDN, vectors: dict[str, Tensor]) -> None:
    encoded, _ = model.encode(vectors["noisy"])
    encoded = torch.cat([encoded[:, :3], encoded[:, 3:] + 2e-4 * vectors["v"]], dim=1)
    expected = vectors["noisegen_eps2e-4_full"]
    torch.testing.assert_close(model.decode(encoded)[0], expected, atol=1e-5, rtol=0)


def test_losses(vectors: dict[str, Tensor]) -> None:
    clean, decoded = vectors["clean"], vectors["denoised_each"][:1]
    target = downscale(clean, 4)
    torch.testing.assert_close(
        target[0].permute(1, 2, 0), vectors["lr_target_hwc"], atol=1e-6, rtol=0
    )
    found = {
        "loss_forw_l2": forward_loss(vectors["fwd"][:, :3], target),
        "loss_back_l1": backward_loss(clean, decoded),
        "loss_grad": gradient_loss(clean, decoded),
        "loss_ssim": structure_loss(clean, decoded),
    }
    for name, value in found.items():
        assert float(value) == pytest.approx(float(vectors[name]), rel=1e-5)
    total = 16 * found["loss_forw_l2"] + found["loss_back_l1"]
    total = total + 0.1 * found["loss_grad"] + found["loss_ssim"]
    assert float(total) == pytest.approx(float(vectors["loss_total"]), rel=1e-5)


def test_psnr(vectors: dict[str, Tensor]) -> None:
    clean, decoded = vectors["clean"], vectors["denoised_each"][:1]
    a, b = ((image.clamp(0, 1) * 255).round() for image in (clean, decoded))
    for name, inside in (("psnr_u8", slice(None)), ("psnr_u8_crop4", slice(4, -4))):
        error = (a - b)[..., inside, inside].double().square().mean()
        found = 20 * torch.log10(255 / error.sqrt())
        assert float(found) == pytest.approx(float(vectors[name]), abs=1e-4)


# The released checkpoint's names.


def test_parameters_are_the_released_ones_without_the_haar_kernels(
    model: InvDN, released: dict[str, Tensor]
) -> None:
    kernels = sum(value.numel() for key, value in released.items() if "haar" in key)
    ours = sum(parameter.numel() for parameter in model.parameters())
    assert (ours, kernels, ours + kernels) == (2_640_960, 240, 2_641_200)
    assert model.config == InvDNConfig(start="random")


def test_a_prefix_is_stripped(released: dict[str, Tensor], model: InvDN) -> None:
    again = from_released({f"module.{key}": value for key, value in released.items()})
    assert all(map(torch.equal, again.parameters(), model.parameters()))


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("operations.3.G.conv2.bias", r"lacks operations.3.G.conv2.bias \(1 in all\)"),
        ("operations.0.haar_weights", "lacks operations.0.haar_weights"),
    ],
)
def test_a_missing_key_is_named(released: dict[str, Tensor], key: str, told: str) -> None:
    rest = {name: value for name, value in released.items() if name != key}
    with pytest.raises(ValueError, match=told):
        from_released(rest)


@pytest.mark.parametrize("key", ["operations.1.F.conv4.weight", "classifier.weight"])
def test_an_unknown_key_is_named(released: dict[str, Tensor], key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}' is no tensor of an InvDN checkpoint"):
        from_released({**released, key: torch.zeros(1)})


def test_other_haar_kernels_are_refused(released: dict[str, Tensor]) -> None:
    key = "operations.9.haar_weights"
    with pytest.raises(ValueError, match=f"{key} holds other kernels"):
        from_released({**released, key: released[key].flip(0)})


def test_a_wrong_shape_is_named(released: dict[str, Tensor]) -> None:
    key = "operations.2.F.conv3.bias"
    with pytest.raises(ValueError, match=rf"{key} has shape \(4,\); expected \(3,\)"):
        from_released({**released, key: torch.zeros(4)})


# Without vectors.


@pytest.mark.parametrize(
    ("blocks", "expected"), [((8, 8), 2_640_960), ((12, 12), 3_961_440), ((8,), 1_059_696)]
)
def test_known_parameter_counts(blocks: tuple[int, ...], expected: int) -> None:
    model = InvDN(InvDNConfig(blocks=blocks))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_it_starts_as_a_plain_upsampling() -> None:
    model = InvDN(InvDNConfig(blocks=(2, 8), hidden=4))
    image = uniform([1, 2], (3, 16, 24), "image")
    with torch.no_grad():
        encoded, _ = model.encode(image)
        estimate = denoise(model, image, seeds=[3, 4])
    low = torch.nn.functional.avg_pool2d(image, 4)
    torch.testing.assert_close(encoded[:, :3], low)
    upsampled = torch.nn.functional.interpolate(low, scale_factor=4)
    assert float((estimate - upsampled).std()) < 0.08


def test_denoising_a_row_depends_on_its_seed_only() -> None:
    model = InvDN(InvDNConfig(blocks=(1, 1), hidden=4))
    noisy = uniform([1, 2], (3, 8, 8), "image")
    for ensemble in (False, True):
        both = denoise(model, noisy, seeds=[5, 6], draws=2, self_ensemble=ensemble)
        alone = denoise(model, noisy[1:], seeds=[6], draws=2, self_ensemble=ensemble)
        torch.testing.assert_close(both[1:], alone)


def test_self_ensemble_commutes_with_turning() -> None:
    # With z = 0 the mean over all turns cannot depend on which way the image came in.
    model = InvDN(InvDNConfig(blocks=(1, 1), hidden=4, start="random"))
    image = uniform([1], (3, 8, 12), "image")

    def nothing(number: int, shape: tuple[int, int, int]) -> Tensor:
        return torch.zeros(1, *shape)

    with torch.no_grad():
        plain = ensemble_with(model, image, nothing)
        turned = ensemble_with(model, image.transpose(2, 3).flip(2), nothing)
    torch.testing.assert_close(turned, plain.transpose(2, 3).flip(2), atol=1e-5, rtol=1e-5)


def test_no_draws_are_refused() -> None:
    model = InvDN(InvDNConfig(blocks=(1,), hidden=4))
    with pytest.raises(ValueError, match="draws must be at least 1"):
        denoise(model, torch.zeros(1, 3, 4, 4), seeds=[0], draws=0)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 8, 6), (3, 8, 8)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    model = InvDN(InvDNConfig(blocks=(1, 1), hidden=4))
    with pytest.raises(ValueError, match="sides divisible by 4, with 2 levels"):
        model.encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"blocks": ()}, "blocks must be"),
        ({"blocks": (0, 8)}, "blocks must be"),
        ({"blocks": (1, 1, 1, 1)}, "blocks must be"),
        ({"hidden": 0}, "hidden must be"),
        ({"start": "identity"}, "start must be"),
    ],
)
def test_wrong_arrangements_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        InvDNConfig(**values)  # type: ignore[arg-type]


def test_an_arrangement_survives_json() -> None:
    config = InvDNConfig(blocks=(4, 8), hidden=32, seed=3)
    assert InvDNConfig.from_dict(config.to_dict()) == config
