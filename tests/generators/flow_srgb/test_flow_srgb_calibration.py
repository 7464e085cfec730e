"""A training ends with samples that have the mean and deviation of the training noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.flow_srgb.network import FlowSRGB
from generators.flow_srgb.sampling import FlowSRGBGenerator
from generators.weights_file import save_weights
from tests.generators.flow_srgb.test_flow_srgb_training import CAPTURES, LEVELS, batch, make


def finished() -> FlowSRGB:
    """Return a flow whose samples are far too strong, after the end of its training."""
    task = make()
    task.initialise(batch())
    with torch.no_grad():
        for parameter in task.module.parameters():
            parameter.mul_(0.6)
    task.finish(lambda number: batch(rows=24, side=24, step=number))
    return task.module


def deviations(model: FlowSRGB, moments: str) -> list[float]:
    generator = FlowSRGBGenerator(model, moments=moments)  # type: ignore[arg-type]
    found = []
    for camera, iso in CAPTURES:
        clean = batch(rows=3, side=48, step=99).clean
        context = NoiseContext(clean=clean, capture=CaptureMetadata.same(3, camera=camera, iso=iso))
        made = generator.sample(NoiseRequest(context=context, seeds=[1, 2, 3]))
        found.append(float((made.noisy - clean).std()) * 255)
    return found


def test_matched_samples_have_the_deviation_of_the_training_noise() -> None:
    model = finished()
    # Some 10,000 samples each way; clean images differ, which a flow this untrained feels a little.
    assert deviations(model, "matched") == pytest.approx(LEVELS, rel=0.1)
    assert deviations(model, "flow") != pytest.approx(LEVELS, rel=0.3)


def test_weights_without_moments_sample_as_the_flow_has_it() -> None:
    model = finished()
    bare = FlowSRGB(replace(model.config, moments=()))
    bare.load_state_dict(model.state_dict())
    assert deviations(bare, "matched") == deviations(model, "flow")


def test_moments_travel_with_the_weights(tmp_path: Path) -> None:
    model = finished()
    path = tmp_path / "flow.safetensors"
    save_weights(
        path,
        family="flow-srgb",
        config=model.config.to_dict(),
        tensors=model.state_dict(),
        license="CC0-1.0",
    )
    assert FlowSRGBGenerator.load_network(path).config == model.config


def test_a_table_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="6 numbers for each of 3"):
        replace(make().module.config, moments=((1.0,) * 6,))
