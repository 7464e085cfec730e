"""What a weights file of InvDN holds: the network and, if noise is to be drawn, its prior.

Tensors ``layers.*`` are the network's, ``prior.*`` the prior's. The configuration is the network's
with ``configurations``, the names of the prior's rows (the pooled one, last, has none).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from generators.invdn.network import InvDN, InvDNConfig, channels_last
from generators.invdn.prior import LatentPrior
from generators.weights_file import build_network, load_state, load_weights

__all__ = ["InvDNWeights", "load_invdn"]


@dataclass(frozen=True, slots=True)
class InvDNWeights:
    """A trained InvDN.

    Args:
        model: The network, in evaluation mode and without gradients.
        configurations: Names ``camera_ISO`` that the prior knows.
        prior: What noise does to the encoding; ``None`` for weights that only denoise.
    """

    model: InvDN
    configurations: tuple[str, ...]
    prior: LatentPrior | None


def load_invdn(path: Path) -> InvDNWeights:
    """Read a weights file.

    Raises:
        ValueError: If the file is damaged, of another family, or lacks a tensor or has one too
            many.
    """
    weights = load_weights(path, family="invdn")
    config = dict(weights.config)
    names = tuple(config.pop("configurations", ()))
    own = {key: value for key, value in weights.tensors.items() if not key.startswith("prior.")}
    rest = {key: value for key, value in weights.tensors.items() if key.startswith("prior.")}
    model = build_network(weights, path, lambda _: InvDN(InvDNConfig.from_dict(config)))
    load_state(model, replace(weights, tensors=own), path)
    try:
        prior = LatentPrior.from_tensors(rest) if rest else None
        if prior is not None:
            prior.check(len(names) + 1, model.config.channels)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: its prior does not fit the network ({error}); train the weights again with "
            "this version."
        ) from error
    return InvDNWeights(channels_last(model).eval().requires_grad_(False), names, prior)
