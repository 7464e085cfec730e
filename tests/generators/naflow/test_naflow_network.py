"""NAFlow against conformance vectors of the released network, and what training relies on.

The vectors lie outside the project (NOISEMILL_GOLDEN, by default ``../shared/golden``); tests that
need them are skipped where they are absent. Tolerances are those of the vectors' README: the
released network's own float32 error, times about ten.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata, configuration_name
from generators.flows.coupling import ConvActNorm
from generators.flows.pointwise import ActNorm
from generators.flows.recompute import Memory
from generators.naflow.checkpoint_import import load_released, to_ours
from generators.naflow.config import NAFlowConfig
from generators.naflow.fused import FoldedNAFlow
from generators.naflow.latent import LatentGaussian, blend
from generators.naflow.network import NAFlow, nll, perturb
from generators.naflow.sampling import NAFlowGenerator
from tests.generators.flows.test_recompute import Bytes

GOLDEN = Path(__file__).resolve().parents[3] / ".." / "shared" / "golden"
SIDD = tuple(
    configuration_name(camera, iso)
    for camera, speeds in {
        "G4": (100, 200, 400, 800),
        "GP": (50, 100, 200, 400, 800, 1600, 3200, 6400, 10000),
        "IP": (100, 200, 320, 400, 500, 640, 800, 1000, 1600, 2000),
        "N6": (100, 400, 800, 1600, 3200),
        "S6": (100, 200, 400, 800, 1600, 3200),
    }.items()
    for iso in speeds
)
Vectors = dict[str, Tensor]
Decoder = Callable[[NAFlow, Tensor, Tensor], Tensor]


def folder() -> Path:
    found = Path(os.environ.get("NOISEMILL_GOLDEN", GOLDEN)).resolve()
    if not (found / "04_naflow_io.npz").is_file():
        pytest.skip(f"no conformance vectors in {found}; set NOISEMILL_GOLDEN")
    return found


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    with np.load(folder() / "04_naflow_io.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file if file[name].dtype.kind == "f"}


@pytest.fixture(scope="module")
def labels() -> list[str]:
    with np.load(folder() / "04_naflow_io.npz") as file:
        return [str(name) for name in file["label"]]


@pytest.fixture(scope="module")
def released() -> Vectors:
    with np.load(folder() / "04_naflow_state_fp16.npz") as file:
        return {name: torch.from_numpy(file[name].astype(np.float32)) for name in file}


@pytest.fixture(scope="module")
def model(released: Vectors) -> NAFlow:
    return load_released(released, SIDD).requires_grad_(False)


def dequantised(vectors: Vectors) -> Tensor:
    return vectors["noisy"] + (vectors["u"] - 0.5) / 256


def encode(model: NAFlow, x: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    return model.encode(x, model.prepare(clean), model.encoder_maps())


def decode(model: NAFlow, z: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    return model.decode(z, model.prepare(clean), model.decoder_maps())


def decode_folded(model: NAFlow, z: Tensor, clean: Tensor) -> Tensor:
    return FoldedNAFlow(model).decode(z, clean)


DECODERS: dict[str, Decoder] = {
    "network": lambda model, z, clean: decode(model, z, clean)[0],
    "folded": decode_folded,
}
each_decoder = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)


def assert_images_agree(found: Tensor, expected: Tensor) -> None:
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def walk(model: NAFlow, x: Tensor, clean: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield image and log-determinant of each of the released network's layers, nothing folded."""
    ladj = x.new_zeros(len(x))

    def through(layers: list[nn.Module]) -> tuple[Tensor, Tensor]:
        nonlocal x, ladj
        for layer in layers:
            x, step = layer(x, x)
            ladj = ladj + step
        return x, ladj

    embedding = list(model.embedding)
    yield through(embedding[:1])
    for start in range(1, len(embedding), 2):
        yield through(embedding[start : start + 2])
    for level, condition in zip(model.levels, model.condition(clean), strict=True):
        x = pixel_unshuffle(x, 2)
        yield x, ladj
        transitions = list(level.transitions)
        for start in range(0, len(transitions), 2):
            yield through(transitions[start : start + 2])
        for step, entered in zip(level.steps, level.enter(condition), strict=True):
            through([step.actnorm, step.mix])
            x, from_coupling = step.coupling.encode(x, entered)
            ladj = ladj + from_coupling
            yield x, ladj


# The released network.


def test_latents_and_densities_are_the_released_ones(model: NAFlow, vectors: Vectors) -> None:
    z, ladj = encode(model, dequantised(vectors), vectors["clean"])
    # The released constant counts pixels, not channels.
    official = ladj - math.log(256) * 64 * 64
    torch.testing.assert_close(z, vectors["z"], atol=1e-3, rtol=0)
    torch.testing.assert_close(official, vectors["logdet"], rtol=1e-5, atol=0)
    torch.testing.assert_close(official.double(), vectors["logdet_f64"], rtol=1e-5, atol=0)
    torch.testing.assert_close(
        FoldedNAFlow(model).encode(dequantised(vectors), vectors["clean"])[0],
        vectors["z"],
        atol=1e-3,
        rtol=0,
    )


def test_objective_is_the_released_one_but_for_the_constant(
    model: NAFlow, vectors: Vectors, labels: list[str]
) -> None:
    loss = nll(
        model,
        noisy=vectors["noisy"],
        clean=vectors["clean"],
        labels=torch.tensor([SIDD.index(name) for name in labels]),
        dequantisation=vectors["u"],
        condition_noise=torch.zeros_like(vectors["clean"]),
    )
    bits_per_pixel = (3 * loss - 2 * math.log(256)) / math.log(2)
    torch.testing.assert_close(bits_per_pixel, vectors["nll_bits_per_pixel"], rtol=1e-5, atol=0)


def test_features_of_the_clean_image_are_the_released_ones(model: NAFlow, vectors: Vectors) -> None:
    lifted = model.condition.lift(vectors["clean"])
    torch.testing.assert_close(lifted[:, :8], vectors["fea_down1_ch0_8"], atol=1e-5, rtol=1e-5)
    deepest = model.condition(vectors["clean"])[-1]
    torch.testing.assert_close(deepest, vectors["fea_down8"], atol=1e-5, rtol=1e-5)


def test_every_layer_is_the_released_one(model: NAFlow, vectors: Vectors) -> None:
    layers = list(walk(model, dequantised(vectors)[:1], vectors["clean"][:1]))
    assert len(layers) == 18
    for index, (x, ladj) in enumerate(layers):
        out, logdet = vectors[f"layer{index:02d}_out"], vectors[f"layer{index:02d}_logdet"]
        torch.testing.assert_close(x, out, atol=1e-3, rtol=0, msg=lambda m, i=index: f"{i}: {m}")
        torch.testing.assert_close(ladj, logdet, rtol=1e-5, atol=2e-2)


@each_decoder
def test_decoded_images_are_the_released_ones(
    model: NAFlow, vectors: Vectors, decoder: Decoder
) -> None:
    x = decoder(model, vectors["z_in"], vectors["clean"])
    assert_images_agree(x, vectors["x_from_z_in"])


@each_decoder
def test_decoding_gives_the_encoded_image_back(
    model: NAFlow, vectors: Vectors, decoder: Decoder
) -> None:
    x = decoder(model, vectors["z"], vectors["clean"])
    torch.testing.assert_close(x, vectors["x_from_z"], atol=1e-3, rtol=0)
    z, _ = encode(model, dequantised(vectors), vectors["clean"])
    back = decoder(model, z, vectors["clean"])
    torch.testing.assert_close(back, dequantised(vectors), atol=1e-3, rtol=0)


def test_log_determinants_of_both_directions_cancel(model: NAFlow, vectors: Vectors) -> None:
    _, ladj = encode(model, dequantised(vectors), vectors["clean"])
    _, back = decode(model, vectors["z"], vectors["clean"])
    torch.testing.assert_close(back, vectors["inverse_logdet"], rtol=1e-5, atol=0)
    torch.testing.assert_close(back, -ladj, rtol=1e-5, atol=0)


@each_decoder
def test_samples_by_label_are_the_released_ones(
    model: NAFlow, vectors: Vectors, labels: list[str], decoder: Decoder
) -> None:
    rows = torch.tensor([SIDD.index(name) for name in labels])
    gaussian = LatentGaussian(model.prior_mean[rows], model.prior_std[rows])
    x = decoder(model, gaussian.draw(vectors["label_eps"]), vectors["clean"])
    assert_images_agree(x, vectors["label_sample"])


@each_decoder
@pytest.mark.parametrize("row", [0, 1])
def test_noise_aware_sampling_is_the_released_one(
    model: NAFlow, vectors: Vectors, decoder: Decoder, row: int
) -> None:
    nas = {key.partition("_")[2]: v for key, v in vectors.items() if key.startswith(f"nas{row}_")}
    log_prior = model.log_prior(vectors["z"][row : row + 1])
    torch.testing.assert_close(log_prior[0], nas["loglik"], rtol=1e-5, atol=0)
    gaussian, weights = blend(
        log_prior, model.prior_mean, model.prior_std, positions=64, weighting="tempered"
    )
    torch.testing.assert_close(weights[0], nas["weights"], atol=1e-4, rtol=0)
    torch.testing.assert_close(gaussian.mean[0], nas["mean"], atol=1e-4, rtol=0)
    torch.testing.assert_close(gaussian.std[0], nas["std"], atol=1e-4, rtol=0)
    z = gaussian.draw(nas["eps"])
    torch.testing.assert_close(z, nas["z"], atol=1e-3, rtol=0)
    assert_images_agree(decoder(model, z, vectors["clean"][row : row + 1]), nas["x"])


@pytest.mark.parametrize("row", [0, 1])
def test_posterior_weights_are_those_of_algorithm_1(
    model: NAFlow, vectors: Vectors, row: int
) -> None:
    log_prior = model.log_prior(vectors["z"][row : row + 1])
    gaussian, weights = blend(
        log_prior, model.prior_mean, model.prior_std, positions=64, weighting="posterior"
    )
    truth = vectors[f"nas{row}_true_posterior"].float()
    torch.testing.assert_close(weights[0], truth, atol=1e-4, rtol=0)
    variance = truth @ model.prior_std.square()
    torch.testing.assert_close(gaussian.std[0].square(), variance, atol=1e-4, rtol=1e-4)


def test_every_released_tensor_is_used_once(released: Vectors) -> None:
    ours = to_ours({f"model.{name}": value for name, value in released.items()}, SIDD)
    # Means and deviations of the classes become one tensor each.
    assert len(released) == 314
    assert len(ours) == 314 - 2 * len(SIDD) + 2
    assert sum(v.numel() for v in ours.values()) == sum(v.numel() for v in released.values())
    assert set(ours) == set(NAFlow(NAFlowConfig(configurations=SIDD)).state_dict())


def test_a_foreign_checkpoint_is_refused_by_name(released: Vectors) -> None:
    with pytest.raises(ValueError, match=r"'flowUpsamplerNet\.other'"):
        to_ours({**released, "flowUpsamplerNet.other": torch.zeros(1)}, SIDD)
    with pytest.raises(ValueError, match="mean_shift_Q9_00100"):
        to_ours(released, (*SIDD, "Q9_00100"))


# The arrangement.


def test_parameters_are_the_papers_count() -> None:
    model = NAFlow(NAFlowConfig(configurations=SIDD))
    assert len(SIDD) == 34
    assert sum(p.numel() for p in model.parameters()) == 1_114_955
    # The released network trains its unused convolution (24,960) too: 1,078,091.
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 1_078_091 - 24_960


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"configurations": ()}, "at least one configuration"),
        ({"levels": 5}, "levels must be 1 to 4; got 5"),
        ({"condition_channels": 30}, "divide by 4; got 30"),
        ({"models": "residual"}, "models must be one of noisy, noise; it is 'residual'"),
        ({"coupled": 0}, "coupled must be a whole number of at least 1; it is 0"),
        ({"transitions": True}, "transitions must be a whole number of at least 0; it is True"),
        ({"condition_noise": -1.0}, "condition_noise must be a finite number >= 0"),
        ({"single_prior": "yes"}, "single_prior must be true or false; it is 'yes'"),
        (
            {
                "configurations": ("A_00100", "B_00200"),
                "trainable_mean": False,
                "trainable_std": False,
            },
            r"2 Gaussians that all stay N\(0, 1\) are one; set single_prior: true",
        ),
    ],
)
def test_an_impossible_arrangement_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NAFlowConfig.from_dict({"configurations": ("A_00100",), **values})


def test_the_arrangement_survives_its_dictionary() -> None:
    config = NAFlowConfig(configurations=("A_00100", "B b_12800"), levels=2, models="noise", seed=4)
    assert NAFlowConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("shape", [(1, 3, 12, 16), (1, 3, 16, 12), (1, 4, 16, 16)])
def test_sides_that_do_not_divide_are_refused(shape: tuple[int, ...]) -> None:
    model = small()
    with pytest.raises(ValueError, match="3 channels and sides divisible by 8"):
        model.prepare(torch.zeros(shape))
    with pytest.raises(ValueError, match="3 channels and sides divisible by 8"):
        FoldedNAFlow(model).encode(torch.zeros(shape), torch.zeros(shape))


# Behaviour.


def small(**values: object) -> NAFlow:
    given = {"configurations": ("A_00100", "B_00200"), "condition_channels": 8, "hidden": 8}
    return NAFlow(NAFlowConfig.from_dict({**given, **values}))


def batch(shape: tuple[int, ...] = (6, 3, 24, 16)) -> tuple[Tensor, Tensor]:
    """Return noisy and clean images; noise that follows the signal and its neighbours."""
    rng = np.random.default_rng(5)
    clean = torch.from_numpy(rng.uniform(0.1, 0.9, shape).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 0.05, shape).astype(np.float32))
    return clean + (noise + noise.roll(1, dims=3)) * clean.sqrt(), clean


def shaken(model: NAFlow, size: float = 0.01) -> NAFlow:
    """Move every parameter, so that no coupling is the identity."""
    rng = np.random.default_rng(6)
    with torch.no_grad():
        for parameter in model.parameters():
            step = rng.normal(0, size, parameter.shape).astype(np.float32)
            parameter.add_(torch.from_numpy(step))
    return model


def initialised(**values: object) -> NAFlow:
    """Return a small network as a training finds it, shaken so that each layer matters."""
    model = small(**values)
    noisy, clean = batch()
    model.initialise(noisy - clean if model.config.models == "noise" else noisy, clean)
    return shaken(model).requires_grad_(False)


def test_initialisation_gives_every_actnorm_mean_0_and_variance_1() -> None:
    model = shaken(small(), 0.05).requires_grad_(False)
    x, clean = batch()
    seen: list[Tensor] = []
    model.initialise(x, clean)
    for module in model.modules():
        if isinstance(module, ActNorm):
            module.register_forward_hook(lambda m, i, o: seen.append(o[0]))
        elif isinstance(module, ConvActNorm):
            module.register_forward_hook(lambda m, i, o: seen.append(o))
    for _ in walk(model, x, clean):
        pass
    outside = len(seen)
    for level, condition in zip(model.levels, model.condition(clean), strict=True):
        for step in level.steps:
            step.coupling.inject(condition)
    # 2 embedding, 4 a level outside the couplings; what the walk runs inside them counts too.
    assert outside >= 2 + 3 * 4
    assert len(seen) > outside
    for output in seen:
        mean, variance = output.mean((0, 2, 3)), output.var((0, 2, 3), unbiased=False)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
        torch.testing.assert_close(variance, torch.ones_like(variance), atol=1e-3, rtol=0)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (2, 3, 16, 40), (1, 3, 8, 8)])
def test_folded_maps_are_the_networks(levels: int, shape: tuple[int, ...]) -> None:
    model = initialised(levels=levels)
    noisy, clean = batch(shape)
    z, ladj = encode(model, noisy, clean)
    folded = FoldedNAFlow(model)
    latent, folded_ladj = folded.encode(noisy, clean)
    assert_images_agree(latent, z)
    torch.testing.assert_close(folded_ladj, ladj, rtol=1e-5, atol=1e-3)
    drawn = torch.from_numpy(np.random.default_rng(7).normal(size=z.shape).astype(np.float32))
    assert_images_agree(folded.decode(drawn, clean), decode(model, drawn, clean)[0])


def test_folding_does_not_write_into_its_arguments() -> None:
    model = initialised()
    noisy, clean = batch()
    z, _ = encode(model, noisy, clean)
    folded = FoldedNAFlow(model)
    for memory in (torch.contiguous_format, torch.channels_last):
        given = [t.contiguous(memory_format=memory) for t in (noisy, clean, z)]
        kept = [t.clone() for t in given]
        folded.encode(given[0], given[1])
        folded.decode(given[2], given[1])
        assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))


def test_a_folded_row_does_not_depend_on_its_batch() -> None:
    model = initialised()
    noisy, clean = batch((5, 3, 24, 16))
    folded = FoldedNAFlow(model)
    whole = folded.encode(noisy, clean)
    for row in range(5):
        alone = folded.encode(noisy[row : row + 1], clean[row : row + 1])
        for one, all_rows in zip(alone, whole, strict=True):
            torch.testing.assert_close(one[0], all_rows[row], atol=1e-5, rtol=1e-5)


def test_threads_change_neither_the_result_nor_their_number() -> None:
    model = initialised()
    noisy, clean = batch((40, 3, 16, 16))
    folded, before = FoldedNAFlow(model), torch.get_num_threads()
    found = {}
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = folded.encode(noisy, clean)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for threads in (2, 3):
        assert all(map(torch.equal, found[1], found[threads]))


def test_a_fault_in_a_part_comes_through() -> None:
    folded = FoldedNAFlow(initialised())
    noisy, clean = batch((40, 3, 16, 16))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(RuntimeError, match="invalid for input of size"):
            folded.decode(noisy, clean)  # images are no latents
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_log_prior_is_the_sum_of_normal_densities() -> None:
    model = initialised(levels=1)
    model.prior_std[1] *= -1  # its square is what counts
    rng = np.random.default_rng(8)
    z = torch.from_numpy(rng.normal(0.3, 1.5, (2, 12, 3, 5)).astype(np.float32))
    expected = torch.zeros(2, 2, dtype=torch.float64)
    for row in range(2):
        for c in range(2):
            for channel in range(12):
                density = torch.distributions.Normal(
                    model.prior_mean[c, channel].double(),
                    model.prior_std[c, channel].double().abs(),
                )
                expected[row, c] += density.log_prob(z[row, channel].double()).sum()
    torch.testing.assert_close(model.log_prior(z).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("models", ["noisy", "noise"])
def test_objective_is_a_density_of_the_dequantised_image(models: str) -> None:
    model = initialised(models=models)
    noisy, clean = batch((2, 3, 16, 8))
    rng = np.random.default_rng(9)
    u = torch.from_numpy(rng.random(noisy.shape).astype(np.float32))
    normal = torch.from_numpy(rng.normal(size=noisy.shape).astype(np.float32))
    label = torch.tensor([1, 0])
    loss = nll(
        model,
        noisy=noisy,
        clean=clean,
        labels=label,
        dequantisation=u,
        condition_noise=normal,
    )
    x = noisy + (u - 0.5) / 256 - (clean if models == "noise" else 0)
    z, ladj = encode(model, x, perturb(clean, normal, 3.0))
    log_density = model.log_prior(z)[torch.arange(2), label] + ladj
    # In units of a grey level of 255 / 256 the density of x is 256 times smaller a dimension.
    expected = math.log(256) - log_density / (3 * 16 * 8)
    torch.testing.assert_close(loss, expected)


def test_gradient_of_the_objective_reaches_every_trainable_parameter() -> None:
    model = shaken(small(condition_noise=0.0))
    noisy, clean = batch()
    nll(
        model,
        noisy=noisy,
        clean=clean,
        labels=torch.tensor([0, 1, 0, 1, 0, 1]),
        dequantisation=torch.zeros_like(noisy),
        condition_noise=torch.zeros_like(noisy),
    ).sum().backward()
    still = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert still == {"unused_identity", "unused_conv.weight", "unused_conv.bias"}


def test_one_prior_for_all_ignores_labels() -> None:
    model = initialised(single_prior=True)
    noisy, clean = batch((1, 3, 16, 8))
    zeros = torch.zeros_like(noisy)
    losses = [
        nll(
            model,
            noisy=noisy,
            clean=clean,
            labels=torch.tensor([label]),
            dequantisation=zeros,
            condition_noise=zeros,
        )
        for label in (0, 1)
    ]
    assert model.prior_mean.shape == (1, 192)
    assert torch.equal(*losses)


def test_bfloat16_subnetworks_leave_path_and_density_in_float32() -> None:
    model = initialised()
    noisy, clean = batch()
    exact, exact_ladj = encode(model, noisy, clean)
    prepared = model.prepare(clean, dtype=torch.bfloat16)
    z, ladj = model.encode(noisy, prepared, model.encoder_maps())
    assert z.dtype == ladj.dtype == torch.float32
    # bfloat16 keeps 8 bits: about a hundredth after a few layers, and far more than float32's.
    error = float((z - exact).std() / exact.std())
    assert 1e-5 < error < 0.03
    assert float((ladj - exact_ladj).abs().max()) < 0.01 * noisy[0].numel()


# The paper's ablations.

ABLATIONS: dict[str, dict[str, object]] = {
    **{f"levels-{levels}": {"levels": levels} for levels in (1, 2, 3)},
    # 768 channels: no more of them than the test must have.
    "levels-4": {"levels": 4, "transitions": 0, "coupled": 1},
    "K-1": {"coupled": 1},
    "K-3": {"coupled": 3, "transitions": 0},
    "one-gaussian": {"single_prior": True},
    "one-fixed-gaussian": {
        "single_prior": True,
        "trainable_mean": False,
        "trainable_std": False,
    },
    "means-only": {"trainable_std": False},
    "deviations-only": {"trainable_mean": False},
}


@pytest.mark.parametrize("values", ABLATIONS.values(), ids=ABLATIONS)
def test_every_ablation_trains_and_samples(values: dict[str, object]) -> None:
    model = small(**{"levels": 2, "models": "noise", **values})
    noisy, clean = batch((4, 3, 32, 32))
    model.initialise(noisy - clean, clean)
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = objective(model, noisy, clean).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert ("prior_mean" in moved) == model.config.trainable_mean
    assert ("prior_std" in moved) == model.config.trainable_std
    assert model.prior_mean.shape[0] == (1 if model.config.single_prior else 2)
    context = NoiseContext(
        clean=clean, capture=CaptureMetadata.same(len(clean), camera="A", iso=100)
    )
    generator = NAFlowGenerator(model, sampling="label")
    made = generator.sample(NoiseRequest(context=context, seeds=range(len(clean)))).noisy - clean
    real = noisy - clean
    assert 0.7 < float(made.std() / real.std()) < 1.4


def test_weights_from_before_mean_and_deviation_were_told_apart_still_load() -> None:
    old = {"configurations": ("A_00100",), "trainable_prior": False}
    config = NAFlowConfig.from_dict(old)
    assert (config.trainable_mean, config.trainable_std) == (False, False)


# Training with activations rebuilt from the inverse.


def objective(model: NAFlow, noisy: Tensor, clean: Tensor, **how: Any) -> Tensor:
    zeros = torch.zeros_like(noisy)
    labels = torch.arange(len(noisy)) % 2
    return nll(
        model,
        noisy=noisy,
        clean=clean,
        labels=labels,
        dequantisation=zeros + 0.5,
        condition_noise=zeros,
        **how,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rebuilt_activations_give_the_same_gradients(dtype: torch.dtype) -> None:
    model = shaken(small(models="noise", coupled=3))
    noisy, clean = batch()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    model, noisy, clean = model.to(wide), noisy.to(wide), clean.to(wide)
    found: list[dict[str, Tensor]] = []
    for memory in ("keep", "recompute"):
        model.zero_grad(set_to_none=True)
        loss = objective(model, noisy, clean, dtype=dtype, memory=memory)
        loss.mean().backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append({"loss": loss.detach(), **grads})
    kept, rebuilt = found
    assert set(kept) == set(rebuilt)
    assert "condition.lift.weight" in rebuilt
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1}[dtype]
    for name, grad in kept.items():
        assert float((rebuilt[name] - grad).norm()) <= tolerance * float(grad.norm()), name


def saved_bytes(coupled: int, memory: Memory) -> int:
    """Return the most bytes, weights left out, that one training step holds for backward."""
    model = small(models="noise", levels=2, coupled=coupled)
    noisy, clean = batch((4, 3, 32, 32))
    counter = Bytes(list(model.parameters()))
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda held: held.tensor):
        loss = objective(model, noisy, clean, memory=memory).mean()
        loss.backward()
    return counter.peak


def test_rebuilding_makes_memory_independent_of_the_number_of_steps() -> None:
    shallow, deep = (saved_bytes(coupled, "recompute") for coupled in (8, 16))
    assert deep <= 1.1 * shallow
    kept = saved_bytes(16, "keep")
    assert kept > 1.8 * saved_bytes(8, "keep")
    assert deep < 0.2 * kept


def test_perturbed_conditions_stay_images() -> None:
    clean = torch.tensor([0.0, 0.5, 1.0])
    normal = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(perturb(clean, normal, 3.0), torch.tensor([0.0, 0.5 + 3 / 255, 1.0]))
