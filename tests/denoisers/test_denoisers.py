"""What holds for every denoiser."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

import denoisers
from denoisers.base import Denoiser, DenoiserModule, mirrored
from denoisers.dncnn import DnCNNConfig
from generators.seeds import standard_normal, uniform
from generators.weights_file import save_weights

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dncnn": ("dncnn", {"depth": 4, "width": 8}),
    "dncnn-plain": ("dncnn", {"depth": 3, "width": 8, "batch_norm": False, "bias": "all"}),
    "dncnn-image": ("dncnn", {"depth": 3, "width": 8, "residual": False, "clamp": True}),
    "unet": ("unet", {}),
    "invdn": ("invdn", {"blocks": (1, 1), "hidden": 4}),
    "fino": ("fino", {"blocks": 1, "hidden": 4}),
    "fino-drawn": ("fino", {"blocks": 1, "hidden": 4, "code_std": 0.1}),
}
COLOUR_ONLY = ("invdn", "fino")
every = pytest.mark.parametrize("case", CASES)


def make(case: str, *, channels: int = 3, seed: int = 1) -> Any:
    name, params = CASES[case]
    return denoisers.create(name, channels=channels, seed=seed, **params)


def picture(*shape: int, seed: int = 0) -> Tensor:
    return uniform([seed], shape, "picture")[0]


@every
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 33), (40, 32)])
def test_images_of_any_size_keep_shape_and_type(
    case: str, channels: int, size: tuple[int, int]
) -> None:
    if channels != 3 and case.startswith(COLOUR_ONLY):
        pytest.skip("works on colour only")
    made = make(case, channels=channels).eval()
    assert isinstance(made, Denoiser)
    assert made.channels == channels
    noisy = picture(2, channels, *size)
    before = noisy.clone()
    estimate = made(noisy)
    assert estimate.shape == noisy.shape
    assert estimate.dtype == torch.float32
    assert bool(torch.isfinite(estimate).all())
    assert torch.equal(noisy, before)


@every
def test_rows_are_independent_in_evaluation(case: str) -> None:
    made = make(case).eval()
    noisy = picture(3, 3, 32, 32)
    torch.testing.assert_close(made(noisy)[1:2], made(noisy[1:2]), atol=1e-5, rtol=0)


@every
def test_initial_weights_follow_the_seed(case: str) -> None:
    first, again, other = (make(case, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@every
def test_the_gradient_reaches_every_parameter(case: str) -> None:
    channels = 3 if case.startswith(COLOUR_ONLY) else 4
    made = make(case, channels=channels).train()
    for number, parameter in enumerate(made.parameters()):
        # Some networks begin as the identity, by last layers of zeros.
        parameter.data += 0.01 * standard_normal([number], parameter.shape, "moved")[0]
    noisy = picture(2, channels, 32, 32)
    (made(noisy) - 0.5).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name


@every
def test_lower_precision_inside_gives_the_images_own_type_outside(case: str) -> None:
    made = make(case).eval()
    noisy = picture(1, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        estimate = made(noisy)
    assert estimate.dtype == torch.float32
    torch.testing.assert_close(estimate, made(noisy), atol=0.05, rtol=0.05)


@every
def test_what_is_saved_is_loaded(case: str, tmp_path: Path) -> None:
    made: Any = make(case)
    made(picture(2, 3, 32, 32))  # moves the running statistics
    path = tmp_path / "one.safetensors"
    save_weights(
        path,
        family=made.name,
        config=made.config.to_dict(),
        tensors=made.state_dict(),
        license="CC0-1.0",
    )
    loaded = denoisers.load(path)
    assert not loaded.training
    assert loaded.config == made.config
    noisy = picture(1, 3, 40, 24)
    assert torch.equal(loaded(noisy), made.eval()(noisy))


@every
@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (3, 8, 8), (1, 3, 0, 8)])
def test_another_number_of_channels_is_refused(case: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"reads images \(B, 3, H, W\).*got shape"):
        make(case)(torch.zeros(shape))


@every
def test_whole_numbers_are_refused(case: str) -> None:
    with pytest.raises(TypeError, match=r"white level at 1; got torch\.uint8"):
        make(case)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_names_and_parameters_that_are_not_there_are_refused_with_a_guess() -> None:
    assert denoisers.names() == ("bm3d", "dncnn", "fino", "flow-prior", "invdn", "unet")
    assert all(denoisers.describe(name).endswith(".") for name in denoisers.names())
    assert denoisers.parameters("dncnn")["depth"] == "9"
    assert [n for n in denoisers.names() if denoisers.must_know_channels(n)] == ["bm3d"]
    assert not denoisers.must_know_channels("dncnn-awgn25")
    assert denoisers.parameters("unet")["channels"] == "required"
    with pytest.raises(ValueError, match=r"no denoiser 'dncn'.*Did you mean 'dncnn'\?"):
        denoisers.create("dncn", channels=3, seed=0)
    with pytest.raises(ValueError, match=r"'dncnn' has no parameter 'dept'.*mean 'depth'\?"):
        denoisers.create("dncnn", channels=3, seed=0, dept=3)
    with pytest.raises(ValueError, match=r"'unet': channels .* integer >= 1; got 0"):
        denoisers.create("unet", channels=0, seed=0)
    with pytest.raises(ValueError, match=r"'invdn' works on images of 3 channels; got 4"):
        denoisers.create("invdn", channels=4, seed=0)
    with pytest.raises(ValueError, match="'flow-prior' needs trained weights of 'glow'"):
        denoisers.create("flow-prior", channels=3, seed=0)
    with pytest.raises(FileNotFoundError, match="'invdn' needs trained weights, such as invdn-"):
        denoisers.load("invdn")
    with pytest.raises(ValueError, match=r"'invdn' has no parameter 'sigma'; its weights say"):
        denoisers.load("invdn-polyu", sigma=0.1)
    with pytest.raises(FileNotFoundError, match="neither a file nor one of the bundled"):
        denoisers.load("nothing")


# White noise is nothing that either was trained on; FINO leaves it about as strong.
@pytest.mark.parametrize(
    ("name", "family", "most"), [("invdn-polyu", "invdn", 0.8), ("fino-polyu", "fino", 1.2)]
)
def test_weights_of_generators_that_denoise_are_loaded_by_name(
    name: str, family: str, most: float
) -> None:
    made: Any = denoisers.load(name)
    assert (made.name, made.channels, made.training) == (family, 3, False)
    assert name in denoisers.bundled()
    flat = torch.full((1, 3, 32, 32), 0.5)
    noisy = flat + 0.02 * standard_normal([0], (3, 32, 32), "noise")
    with torch.inference_mode():
        left = (made(noisy) - flat).std() / (noisy - flat).std()
    assert float(left) < most


def test_the_bundled_dncnn_removes_the_noise_it_was_trained_for() -> None:
    made = denoisers.load("dncnn-awgn25")
    ramp = torch.linspace(0.2, 0.8, 48).expand(1, 3, 48, 48)
    noisy = ramp + 25 / 255 * standard_normal([0], (3, 48, 48), "noise")
    with torch.inference_mode():
        left = (made(noisy) - ramp).std() / (noisy - ramp).std()
    assert float(left) < 0.25


def test_the_bundled_prior_denoises_by_a_search() -> None:
    made = denoisers.load("glow-bsd", sigma=0.1, beta=2.0, steps=40)
    assert (made.name, made.channels) == ("flow-prior", 3)
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32)
    noisy = ramp + 0.1 * standard_normal([0], (3, 32, 32), "noise")
    left = (made(noisy) - ramp).std() / (noisy - ramp).std()
    assert float(left) < 0.6


def test_a_network_trained_here_serves_the_generator_of_its_family(tmp_path: Path) -> None:
    import generators

    for name in COLOUR_ONLY:
        made = make(name)
        path = tmp_path / f"{name}.safetensors"
        tensors, config = made.state_dict(), made.config.to_dict()
        save_weights(path, family=name, config=config, tensors=tensors, license="CC0-1.0")
        assert generators.create(name, params={}, weights=path).name == name


def test_weights_that_are_no_denoisers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    values: dict[str, Any] = {"tensors": nn.Linear(1, 1).state_dict(), "license": "CC0-1.0"}
    save_weights(path, family="naflow", config={}, **values)
    with pytest.raises(ValueError, match="weights of 'naflow', which is no denoiser"):
        denoisers.load(path)
    save_weights(path, family="dncnn", config={"channels": 3, "deep": 4}, **values)
    with pytest.raises(ValueError, match=r"one\.safetensors: its configuration .*'deep'"):
        denoisers.load(path)
    save_weights(path, family="dncnn", config={"channels": 3}, **values)
    with pytest.raises(ValueError, match=r"lacks convs\.0\.bias.*it has bias, weight"):
        denoisers.load(path)


@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [
        (3, 8, [0, 1, 2, 1, 0, 1, 2, 1]),
        (1, 4, [0, 0, 0, 0]),
        (5, 4, [0, 1, 2, 3, 4, 3, 2, 1]),
        (4, 4, [0, 1, 2, 3]),
    ],
)
def test_images_are_mirrored_out_to_a_multiple(
    size: int, multiple: int, expected: list[int]
) -> None:
    row = torch.arange(float(size))
    wide, tall = mirrored(row[None, None, None, :], multiple), mirrored(row[None, None, :, None], 1)
    assert wide.shape[2] % multiple == 0
    assert wide[0, 0, 0].tolist() == expected
    assert tall[0, 0, :, 0].tolist() == row.tolist()


class Blur(DenoiserModule):
    """A denoiser of another package: a mean of 3x3.

    Second paragraph.
    """

    name = "blur"
    config_type = DnCNNConfig

    def __init__(self, config: DnCNNConfig) -> None:
        super().__init__()
        self.config, self.channels = config, config.channels
        self.share = nn.Parameter(torch.ones(1))

    def forward(self, noisy: Tensor) -> Tensor:
        return avg_pool2d(noisy, 3, stride=1, padding=1) * self.share


def install(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = EntryPoint(name="blur", value=value, group="noisemill.denoisers")
    monkeypatch.setattr(
        "generators.registry.entry_points", lambda group: [entry] if group == entry.group else []
    )


def test_a_denoiser_of_another_distribution_is_made_trained_saved_and_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, f"{__name__}:Blur")
    assert "blur" in denoisers.names()
    assert denoisers.describe("blur") == "A denoiser of another package: a mean of 3x3."
    assert denoisers.is_trained("blur")
    made: Any = denoisers.create("blur", channels=3, seed=0)
    path = tmp_path / "blur.safetensors"
    values = {"config": made.config.to_dict(), "tensors": made.state_dict(), "license": "MIT"}
    save_weights(path, family="blur", **values)
    assert type(denoisers.load(path)) is Blur


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Blur", "cannot be imported from no_such_module:Blur: ModuleNotFound"),
        (f"{__name__}:picture", r"is no denoiser: it has no absent, .*DenoiserModule"),
    ],
)
def test_a_broken_plug_in_is_told_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    install(monkeypatch, value)
    with pytest.raises(ValueError, match=f"plug-in denoiser 'blur' of .*{message}"):
        denoisers.create("blur", channels=3, seed=0)
    assert denoisers.denoiser_of("naflow") is None
    assert "dncnn-awgn25" in denoisers.bundled()
