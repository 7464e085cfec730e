"""InvDN's task: what a step is made of, refusals, and that rebuilt activations change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import generators
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.invdn.training import InvDNTask
from generators.invdn.weights import load_invdn
from generators.seeds import standard_normal, uniform
from generators.training import TrainingBatch, TrainingSetup
from generators.weights_file import save_weights

CAPTURES = (("A", 100), ("A", 800))
SMALL = {"blocks": [1, 2], "hidden": 4}


def setup(**values: Any) -> TrainingSetup:
    return TrainingSetup(**{"captures": CAPTURES, "seed": 1, **values})


def batch(number: int, *, side: int = 16) -> TrainingBatch:
    """Return four smooth crops, the second configuration four times as noisy as the first."""
    seeds = [4 * number + row for row in range(4)]
    labels = torch.tensor([0, 1, 0, 1])
    clean = uniform(seeds, (3, 1, 1), "clean", low=0.2, high=0.8).expand(-1, 3, side, side)
    sigma = torch.tensor([0.01, 0.04])[labels].view(-1, 1, 1, 1)
    noisy = clean + sigma * standard_normal(seeds, (3, side, side), "noise")
    capture = CaptureMetadata(camera=("A",) * 4, iso=(100, 800, 100, 800))
    return TrainingBatch(capture=capture, labels=labels, clean=clean.contiguous(), noisy=noisy)


def gradients(task: InvDNTask) -> list[Tensor]:
    task.module.zero_grad(set_to_none=True)
    task.loss(batch(0), 3).backward()
    found = [parameter.grad for parameter in task.module.parameters()]
    return [grad for grad in found if grad is not None]


def test_a_steps_loss_follows_from_weights_batch_and_step() -> None:
    task, same = (InvDNTask.create(SMALL, setup()) for _ in range(2))
    first = float(task.loss(batch(0), 3).detach())
    assert float(same.loss(batch(0), 3).detach()) == first
    assert float(task.loss(batch(0), 4).detach()) != first
    assert float(InvDNTask.create(SMALL, setup(seed=2)).loss(batch(0), 3).detach()) != first


def test_rebuilt_activations_give_the_same_gradients() -> None:
    values = {**SMALL, "start": "random"}
    kept = gradients(InvDNTask.create(values, setup()))
    rebuilt = gradients(InvDNTask.create({**values, "recompute": True}, setup()))
    assert len(kept) == len(rebuilt) == 3 * 18
    for one, other in zip(rebuilt, kept, strict=True):
        assert float((one - other).norm()) <= 1e-3 * float(other.norm())


def test_bfloat16_gives_the_same_direction() -> None:
    values = {**SMALL, "start": "random"}
    exact = torch.cat([g.flatten() for g in gradients(InvDNTask.create(values, setup()))])
    low = gradients(InvDNTask.create(values, setup(dtype=torch.bfloat16)))
    found = torch.cat([g.flatten() for g in low])
    assert found.dtype == torch.float32
    assert float(torch.cosine_similarity(found, exact, dim=0)) > 0.99


def test_a_step_down_the_gradient_lowers_the_loss() -> None:
    task = InvDNTask.create(SMALL, setup())
    before = task.loss(batch(0), 0)
    before.backward()
    with torch.no_grad():
        for parameter in task.module.parameters():
            if parameter.grad is not None:
                parameter -= 1e-2 * parameter.grad
        assert float(task.loss(batch(0), 0)) < float(before.detach())


@torch.no_grad()
def test_weights_of_the_terms_count() -> None:
    alone = {"forward": 0, "gradient": 0, "structure": 0}
    one = InvDNTask.create({**SMALL, "weights": alone}, setup())
    two = InvDNTask.create({**SMALL, "weights": {**alone, "backward": 2}}, setup())
    assert float(two.loss(batch(0), 0)) == pytest.approx(2 * float(one.loss(batch(0), 0)))
    assert float(one.loss(batch(0), 0)) == pytest.approx(one.measure(batch(0), 0)["loss_backward"])


def test_measure_gives_finite_figures() -> None:
    found = InvDNTask.create(SMALL, setup()).measure(batch(0), 0)
    names = {"loss", "loss_forward", "loss_backward", "loss_gradient", "loss_structure", "psnr"}
    assert set(found) == names
    assert 0 < found["psnr"] < 60


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"depth": 3}, "no parameter 'depth'; it has blocks, hidden"),
        ({"seed": 3}, "no parameter 'seed'"),
        ({"blocks": 8}, "blocks must be a list of whole numbers"),
        ({"blocks": [1.5]}, "blocks must be a list of whole numbers"),
        ({"recompute": 1}, "recompute must be true or false"),
        ({"weights": {"l1": 1}}, "no parameter 'l1'; it has backward"),
        ({"weights": {"forward": -1}}, "weights.forward must be a finite number"),
        ({"weights": 16}, "weights must map terms"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        InvDNTask.create(params, setup())


def test_raw_images_are_refused() -> None:
    with pytest.raises(ValueError, match="3 channels; the data has 4"):
        InvDNTask.create(SMALL, setup(channels=4))


def test_the_finished_training_draws_noise_of_each_configurations_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generators.invdn.training._PRIOR_POSITIONS", 4096)
    task = InvDNTask.create(SMALL, setup())
    assert task.generator() is None
    assert task.findings() == {}
    task.finish(lambda number: batch(number, side=32))
    assert set(task.findings()["latent_noise"]) == {"A_00100", "A_00800", "any"}
    part = task.parts()[""]
    path = tmp_path / "weights.safetensors"
    save_weights(
        path, family=part.family, config=part.config, tensors=part.tensors, license="CC0-1.0"
    )
    loaded = load_invdn(path)
    assert loaded.configurations == ("A_00100", "A_00800")
    generator = generators.create("invdn", params={"mode": "resample"}, weights=path)
    held = batch(1000, side=32)
    assert held.clean is not None
    request = NoiseRequest(
        context=NoiseContext(clean=held.clean, capture=held.capture), seeds=[1, 2, 3, 4]
    )
    made = generator.sample(request)
    spread = (made.noisy - made.clean).flatten(1).std(1)
    # Identity blocks: the encoding is linear, so the noise's level must come back.
    expected = torch.tensor([0.01, 0.04, 0.01, 0.04])
    torch.testing.assert_close(spread, expected, rtol=0.1, atol=0)
    ours = task.generator()
    assert ours is not None
    torch.testing.assert_close(ours.sample(request).noisy, made.noisy)
