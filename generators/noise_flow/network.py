"""Noise Flow: from the noise of a raw image to white noise, through a handful of small layers.

The noise n = noisy - clean, given the clean image, camera and ISO, goes through a row of layers;
what comes out is standard normal:

    log p(n | clean, camera, ISO) = sum log N(z; 0, 1) + sum of the layers' log|det|

The row is written as the released code writes it, data first, one word a layer:

    sdn    signal-dependent scale, factors of camera and ISO        generators.flows.signal
    nlf    signal-dependent scale, free for each camera and ISO     (ours)
    gain   one factor
    unc    1x1 convolution, then affine coupling                    pointwise, border_coupling

``nlf`` alone is the noise level function of each camera and ISO, the baseline; in front of a flow
it makes the flow contain that baseline, which ``sdn`` does not (its read noise knows no ISO).

Raw images are packed R, G (red row), G (blue row), B. The released weights want the 2x2 cell
clockwise, last two channels exchanged; ``packing`` does that inside, and users see one order. They
also took the cell as the file has it, whichever colour comes first on that phone, and transposed;
this model puts red first. (No layer but the convolutions can tell.)

Source: Abdelhamed et al. 2019, "Noise Flow: Noise Modeling with Conditional Normalizing Flows"
(ICCV), section 4; arrangement and sizes as released with Maleky et al. 2022, "Noise2NoiseFlow"
(CVPR), 2,719 parameters for five cameras at five ISOs.

Differs from the released code: each row has its own camera and ISO, unknown ones are refused, and
the log-determinant of a 1x1 convolution counts H times W pixels, not the width squared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from generators.capture import CaptureMetadata
from generators.flows.bijection import Bijection
from generators.flows.border_coupling import BorderCoupling
from generators.flows.pointwise import Invertible1x1
from generators.flows.signal import CellScale, Gain, Labels, SignalDependentScale, SignalScale
from generators.seeds import patch_seed

__all__ = ["CHANNELS", "CLOCKWISE", "RELEASED", "Layer", "NoiseFlow", "NoiseFlowConfig", "Packing"]

Layer = Literal["sdn", "nlf", "unc", "gain"]
Packing = Literal["raster", "clockwise"]
CHANNELS = 4
RELEASED: tuple[Layer, ...] = ("sdn", *("unc",) * 4, "gain", *("unc",) * 4)
# Its own inverse.
CLOCKWISE = [0, 1, 3, 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFlowConfig:
    """The arrangement of a Noise Flow; the default is the released one.

    Args:
        cameras: Names of the cameras, e.g. ``("GP", "S6")``.
        isos: ISO speeds, e.g. ``(100, 800)``. Every camera is known at every speed; pairs that
            training never showed are extrapolated.
        arrangement: The layers, data first; as text, e.g. ``"sdn|unc|gain|unc"``, in a manifest.
        packing: Order of the 2x2 cell inside the network.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If a list is empty or holds something twice, or a layer is unknown.

    Example:
        >>> NoiseFlowConfig.from_dict(
        ...     {"cameras": ["S6"], "isos": [800], "arrangement": "sdn|unc"}
        ... ).arrangement
        ('sdn', 'unc')
    """

    cameras: tuple[str, ...]
    isos: tuple[int, ...]
    arrangement: tuple[Layer, ...] = RELEASED
    packing: Packing = "raster"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in (("cameras", self.cameras), ("isos", self.isos)):
            if not values:
                raise ValueError(f"noise-flow needs at least one value in {name}; it has none.")
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must name each once; it is {list(values)}.")
        wrong = [iso for iso in self.isos if isinstance(iso, bool) or not isinstance(iso, int)]
        if wrong or min(self.isos) <= 0:
            raise ValueError(f"isos must be whole numbers > 0; it is {list(self.isos)}.")
        unknown = [layer for layer in self.arrangement if layer not in get_args(Layer)]
        if unknown or not self.arrangement:
            raise ValueError(
                f"arrangement must be layers {', '.join(get_args(Layer))} joined by '|', e.g. "
                f"'{'|'.join(RELEASED)}'; it is {'|'.join(map(str, self.arrangement))!r}."
            )
        if self.packing not in get_args(Packing):
            raise ValueError(f"packing must be 'raster' or 'clockwise'; it is {self.packing!r}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NoiseFlowConfig:
        """Read what :meth:`to_dict` wrote; in a manifest, the arrangement is text.

        Raises:
            ValueError: If a field is unknown, missing or wrong.
        """
        known = [field.name for field in fields(cls)]
        if strange := sorted(set(values) - set(known)):
            raise ValueError(
                f"noise-flow has no parameter {', '.join(map(repr, strange))}; it has "
                f"{', '.join(known)}."
            )
        if missing := [name for name in ("cameras", "isos") if name not in values]:
            raise ValueError(f"a noise-flow configuration lacks {', '.join(missing)}.")
        read = dict(values)
        layers = read.get("arrangement", RELEASED)
        read["arrangement"] = tuple(layers.split("|") if isinstance(layers, str) else layers)
        return cls(**{**read, "cameras": tuple(read["cameras"]), "isos": tuple(read["isos"])})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        lists = {"cameras": list(self.cameras), "isos": list(self.isos)}
        return {**asdict(self), **lists, "arrangement": "|".join(self.arrangement)}


class NoiseFlow(nn.Module):
    """The flow and its density; a :class:`~generators.noise_model.NoiseModel`.

    In training mode the couplings' norms use the batch's statistics; in evaluation mode rows are
    independent of each other.

    Args:
        config: The arrangement.
    """

    def __init__(self, config: NoiseFlowConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for name in config.arrangement:
            layers += _build(name, config, patch_seed(config.seed, "noise-flow", str(len(layers))))
        self.layers = cast("Sequence[Bijection | SignalScale]", nn.ModuleList(layers))

    def labels(self, capture: CaptureMetadata) -> Labels:
        """Return the rows' cameras and ISOs as indices of the configuration's lists.

        Raises:
            ValueError: If a row's camera or ISO is not known.
        """
        device = next(self.parameters()).device
        found = (
            _indices("camera", capture.camera, self.config.cameras),
            _indices("ISO", capture.iso, self.config.isos),
        )
        return Labels(*(torch.tensor(indices, device=device) for indices in found))

    def encode(self, noise: Tensor, clean: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        """Map noise to its latent.

        Args:
            noise: ``(B, 4, H, W)``, any H and W.
            clean: Same shape; clipped to [0, 1].
            labels: Of the B rows.

        Returns:
            The latent, same shape, and log|det dz/dn|, shape ``(B,)``, in nats.

        Raises:
            ValueError: If the shapes differ or there are not four channels.
        """
        x, clean = self._enter(noise, clean)
        total = x.new_zeros(len(x))
        for layer in self.layers:
            if isinstance(layer, SignalScale):
                x, ladj = layer(x, clean, labels)
            else:
                x, ladj = layer(x, clean)
            total = total + ladj
        return x, total

    def decode(self, z: Tensor, clean: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        """Map a latent to noise; the inverse of :meth:`encode`, with log|det dn/dz|."""
        _check_shapes(z, clean)
        x, clean = z, self._packed(clean.clamp(0.0, 1.0))
        total = x.new_zeros(len(x))
        for layer in reversed(self.layers):
            if isinstance(layer, SignalScale):
                x, ladj = layer.inverse(x, clean, labels)
            else:
                x, ladj = layer.inverse(x, clean)
            total = total + ladj
        return self._packed(x), total

    def log_prob(self, noise: Tensor, clean: Tensor, labels: Labels) -> Tensor:
        """Return log p(noise | clean, camera, ISO), shape ``(B,)``, in nats; see :meth:`encode`."""
        z, ladj = self.encode(noise, clean, labels)
        constant = 0.5 * z[0].numel() * math.log(2 * math.pi)
        return ladj - 0.5 * z.square().sum(dim=(1, 2, 3)) - constant

    def nll(self, noise: Tensor, clean: Tensor, capture: CaptureMetadata) -> Tensor:
        """Return nats a dimension, ``(B,)``; see :class:`~generators.noise_model.NoiseModel`."""
        return -self.log_prob(noise, clean, self.labels(capture)) / noise[0].numel()

    def warm_start(self, noise: Tensor, clean: Tensor, labels: Labels) -> None:
        """Fit a first layer that is signal-dependent to some noise, alone, by maximum likelihood.

        As released, the layer starts from a deviation of 1, and noise of 0.01 is hundreds of steps
        away. Nothing happens where another layer comes first.

        Args:
            noise: ``(B, 4, H, W)``.
            clean: Same shape.
            labels: Of the B rows; cameras and ISOs not among them get what the ISO suggests.
        """
        first = self.layers[0]
        if isinstance(first, SignalScale):
            first.fit(*self._enter(noise.detach(), clean.detach()), labels)

    def rough_start(self, noise: Tensor, clean: Tensor, labels: Labels) -> None:
        """Start a signal-dependent first layer with half of the variance from either term.

        Args:
            noise: ``(B, 4, H, W)``.
            clean: Same shape.
            labels: Of the B rows.
        """
        first = self.layers[0]
        if isinstance(first, SignalScale):
            variance = max(float(noise.double().square().mean()), 1e-12)
            brightness = max(float(clean.double().clamp(0.0, 1.0).mean()), 1e-3)
            with torch.no_grad():
                first.start_at(0.5 * variance / brightness, 0.5 * variance, labels)

    def _enter(self, noise: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        _check_shapes(noise, clean)
        return self._packed(noise), self._packed(clean.clamp(0.0, 1.0))

    def _packed(self, x: Tensor) -> Tensor:
        return x if self.config.packing == "raster" else x[:, CLOCKWISE]


def _build(name: Layer, config: NoiseFlowConfig, seed: int) -> list[nn.Module]:
    match name:
        case "sdn":
            return [SignalDependentScale(len(config.cameras), config.isos)]
        case "nlf":
            return [CellScale(len(config.cameras), config.isos)]
        case "gain":
            return [Gain()]
        case "unc":
            coupling = BorderCoupling(CHANNELS, passing=CHANNELS // 2, seed=seed)
            return [Invertible1x1(CHANNELS, seed=seed), coupling]


def _check_shapes(x: Tensor, clean: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != CHANNELS or x.shape != clean.shape:
        raise ValueError(
            f"noise-flow takes packed raw images (B, {CHANNELS}, H, W), noise and clean alike; the "
            f"noise is {tuple(x.shape)} and the clean image {tuple(clean.shape)}."
        )


def _indices(kind: str, values: Sequence[object], known: Sequence[object]) -> list[int]:
    places = {value: place for place, value in enumerate(known)}
    for row, value in enumerate(values):
        if value not in places:
            raise ValueError(
                f"noise-flow does not know {kind} {value!r} (row {row}); its weights know "
                f"{kind} {', '.join(map(str, known))}. Set `camera` and `iso` to known ones, or "
                "train it on that camera."
            )
    return [places[value] for value in values]
