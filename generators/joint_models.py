"""The noise models that a joint training can train, by name: what each needs beside its density.

The density is :class:`generators.noise_model.NoiseModel`. A training also makes the model, starts
it, draws from it, saves it and shows it as a generator, and there the models differ.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from generators.base import Domain, NoiseGenerator
from generators.capture import CaptureMetadata, configuration_name
from generators.nlf.network import NLF, NLFConfig
from generators.nlf.sampling import NLFGenerator
from generators.nlf.training import copied, nlf_part, rough_start
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from generators.noise_flow.sampling import NoiseFlowGenerator
from generators.training import Part, TrainingSetup

__all__ = ["domain_of", "draw_from", "fresh_model", "generator_of", "part_of", "start_from"]


def fresh_model(name: str, setup: TrainingSetup, *, arrangement: str | None = None) -> nn.Module:
    """Make a noise model for the cameras and ISOs of the data.

    Args:
        name: ``noise-flow`` or ``nlf``.
        setup: Captures, channels, seed.
        arrangement: Layers of a Noise Flow; ``None`` for the released ones.

    Raises:
        ValueError: If the images do not suit the model, or the arrangement is wrong.
    """
    if name == "nlf":
        names = tuple(configuration_name(*capture) for capture in setup.captures)
        domain: Domain = "srgb" if setup.channels == 3 else "raw"
        return NLF(NLFConfig(configurations=names, domain=domain))
    if setup.channels != 4:
        raise ValueError(
            f"noise_model 'noise-flow' takes packed raw of 4 channels; the data has "
            f"{setup.channels}. Use noise_model 'nlf', or raw data."
        )
    config = {
        "cameras": sorted({camera for camera, _ in setup.captures}),
        "isos": sorted({iso for _, iso in setup.captures}),
        "seed": setup.seed,
        **({} if arrangement is None else {"arrangement": arrangement}),
    }
    return NoiseFlow(NoiseFlowConfig.from_dict(config))


def domain_of(model: nn.Module) -> Domain:
    """Return the domain of a noise model's images."""
    return model.config.domain if isinstance(model, NLF) else "raw"


@torch.no_grad()
def start_from(
    model: nn.Module, noise: Tensor, clean: Tensor, capture: CaptureMetadata, *, fitted: bool = True
) -> None:
    """Bring a fresh model near the level of some noise.

    Args:
        model: Written to.
        noise: ``(B, C, H, W)``, about the right noise.
        clean: Same shape, about the right brightness.
        capture: Of the B rows.
        fitted: Fit how a Noise Flow's level depends on brightness; else it starts with half of the
            variance from either term, for noise and brightness too poor to be fitted: an offset
            fitted to next to nothing makes every dark pixel impossible.
    """
    if isinstance(model, NLF):
        rough_start(model, signal=clean, variance=noise.square())
    if isinstance(model, NoiseFlow) and not fitted:
        model.rough_start(noise, clean, model.labels(capture))
    elif isinstance(model, NoiseFlow):
        model.warm_start(noise, clean, model.labels(capture))


@torch.no_grad()
def draw_from(model: nn.Module, normal: Tensor, clean: Tensor, capture: CaptureMetadata) -> Tensor:
    """Return noise drawn from a model as it stands, without gradient.

    Args:
        model: The noise model.
        normal: ``(B, C, H, W)`` standard normal numbers, the latent.
        clean: Same shape, in [0, 1].
        capture: Of the B rows.

    Raises:
        TypeError: If the model is of a kind that is not known here.
    """
    if isinstance(model, NLF):
        return model.variance(clean, capture).sqrt() * normal
    if isinstance(model, NoiseFlow):
        # The batch's own statistics, as in training: the running ones lag behind a model that has
        # just begun to move, and an inverse with wrong statistics makes noise without bound. This
        # batch must not count among them either, so they are put back.
        was_training = model.training
        running = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model.train()
        try:
            return model.decode(normal, clean, model.labels(capture))[0]
        finally:
            for name, buffer in model.named_buffers():
                buffer.copy_(running[name])
            model.train(was_training)
    raise TypeError(f"{type(model).__name__} is none of the noise models: noise-flow, nlf.")


def part_of(model: nn.Module) -> Part:
    """Return a noise model as a weights file.

    Raises:
        TypeError: If the model is of a kind that is not known here.
    """
    if isinstance(model, NLF):
        return nlf_part(model)
    if isinstance(model, NoiseFlow):
        return Part(family="noise-flow", config=model.config.to_dict(), tensors=model.state_dict())
    raise TypeError(f"{type(model).__name__} is none of the noise models: noise-flow, nlf.")


def generator_of(model: nn.Module) -> NoiseGenerator | None:
    """Return a noise model as a generator of its own; ``None`` for a kind not known here."""
    if isinstance(model, NLF):
        return NLFGenerator(copied(model))
    if isinstance(model, NoiseFlow):
        copy = NoiseFlow(model.config)
        copy.load_state_dict(model.state_dict())
        return NoiseFlowGenerator(copy)
    return None
