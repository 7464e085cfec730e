"""Flow-sRGB: a flow over sRGB noise, conditioned on the clean image, camera and ISO.

Noise ``n = noisy - clean`` is mapped to a latent z ~ N(0, I) of the same shape, by layers that an
arrangement lists from data to latent:

    CL    one scale and bias a camera and ISO                       (isotropic Gaussian noise alone)
    CL2   the same, one a channel                                   (diagonal Gaussian noise alone)
    AC    invertible 1x1 convolution, then an affine coupling that passes channel 0
    CAC   the same; the coupling also sees the clean image, and its log-scales are multiplied by a
          number made of camera and ISO

    log p(n | clean, camera, ISO) = log N(z; 0, I) + log|det dz/dn|

Units. Images have white at 1, and densities are per unit of that. Stored images have 256 grey
levels: an 8-bit value v becomes ``v / 255``. The layers see it as released, ``(v + u) / 256``, so
noise enters them as ``255/256 n`` and the clean image as ``(255 clean + 1/2) / 256``, the mean of
its dequantised value. Densities of noise in grey levels, the published unit, cost ``ln 255`` more:

    nats a dimension, published = nats a dimension here + ln 255        (3.072 there is -2.469 here)

which is the released code's constant ``8 ln 2`` and the step from 256ths to 255ths.

What it can hardly do. Each coupling adds to two channels something filtered from the third, and
no layer sees a channel's own neighbours. As far as the shifts are linear and the scales constant,
the flow's determinant is the same at every spatial frequency, and so is that of the noise's 3x3
cross-spectrum: one mixture of channels can only be smooth where another is rough. Noise that a
camera has smoothed in all channels is out of reach. After a short training on PolyU, neighbours in
a row correlate by 0.16, in the real noise by 0.58, and the logarithm of that determinant falls by
4 from low to high frequencies instead of by 12.

A good likelihood alone therefore does not make good samples: latents of real noise keep what the
flow could not undo (neighbours correlate by 0.4), and sampling draws white ones. After that short
training one channel's mean was 1.6 grey levels off and the deviation 12 % low; after a longer one,
with a better likelihood, the deviation was twice too high. So a training ends by measuring both on
its own samples, and sampling puts them right unless told not to
(:mod:`generators.flow_srgb.calibration`).

Source: Kousha et al. 2022, "Modeling sRGB Camera Noise with Normalizing Flows" (CVPR), section 4.

Differs from the released code: log-determinants are right for any height and width (there: square
only), each row has its own camera and ISO throughout, the arrangement serves any number of cameras
and ISOs, channels are RGB unless the weights say BGR, and scales and biases start from the first
batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from generators.capture import CaptureMetadata, configuration_name, configurations_in_words
from generators.flow_srgb.embedding import CaptureEmbedding
from generators.flows.border_coupling import BorderCoupling
from generators.flows.conditional_linear import ConditionalLinear
from generators.flows.pointwise import Invertible1x1

__all__ = ["GREY_NATS", "PUBLISHED", "Cells", "FlowSRGB", "FlowSRGBConfig", "Token"]

Token = Literal["CL", "CL2", "AC", "CAC"]
PUBLISHED: tuple[Token, ...] = ("CL2", "CAC", "CAC") * 4
# What a density in grey levels costs more than one with white at 1, nats a dimension.
GREY_NATS = math.log(255.0)
CHANNELS, PASSING = 3, 1
# From white at 1 to the layers' units: 256ths, of values that count from 0 to 255.
UNIT = 255.0 / 256.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSRGBConfig:
    """The arrangement of a Flow-sRGB; the default layers are the paper's.

    Args:
        cameras: Camera names, one row of the embedding each.
        isos: ISO speeds, likewise.
        configurations: Names ``camera_ISO`` (five digits) of the cells that training saw; others
            are refused. All of the grid if empty.
        arrangement: Layers from data to latent.
        dequantisation: What training spreads over its grey level: ``both`` images (released), which
            leaves the clean image's 1/12 squared grey level in the noise, or the ``noisy`` one
            only, which rounding to 8 bits undoes exactly.
        order: Channel order that the layers work in; images are RGB outside either way.
        moments: For each of ``known``, what brings samples to the mean and deviation of the
            training noise: three factors, then three shifts (R, G, B; white level 1). None for
            weights without (:func:`generators.flow_srgb.calibration.match_moments`).
        seed: Seed of the initial weights.

    Raises:
        ValueError: If a list is empty, repeats itself, or names what is not there.
    """

    cameras: tuple[str, ...]
    isos: tuple[int, ...]
    configurations: tuple[str, ...] = ()
    arrangement: tuple[Token, ...] = PUBLISHED
    dequantisation: Literal["both", "noisy"] = "both"
    order: Literal["rgb", "bgr"] = "rgb"
    moments: tuple[tuple[float, ...], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in (("cameras", self.cameras), ("isos", self.isos)):
            if not values or len(set(values)) != len(values):
                raise ValueError(
                    f"Flow-sRGB needs {name}, each once; got {', '.join(map(str, values))!r}."
                )
        if not self.arrangement:
            raise ValueError("Flow-sRGB's arrangement needs at least one layer, e.g. 'CL2'.")
        for token in self.arrangement:
            if token not in get_args(Token):
                raise ValueError(
                    f"arrangement has no layer {token!r}; it has {', '.join(get_args(Token))}."
                )
        if self.dequantisation not in ("both", "noisy"):
            raise ValueError(
                f"dequantisation must be 'both' or 'noisy'; got {self.dequantisation!r}."
            )
        if self.order not in ("rgb", "bgr"):
            raise ValueError(f"order must be 'rgb' or 'bgr'; got {self.order!r}.")
        grid = {configuration_name(c, i) for c in self.cameras for i in self.isos}
        strange = sorted(set(self.configurations) - grid)
        if strange:
            raise ValueError(f"configurations {', '.join(strange)} are not in cameras x isos.")
        shape = {len(row) for row in self.moments}
        if self.moments and (len(self.moments) != len(self.known) or shape != {6}):
            raise ValueError(
                f"moments must have 6 numbers for each of {len(self.known)} configurations; got "
                f"{len(self.moments)} rows of {sorted(shape)}."
            )

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the cells that can be sampled."""
        return self.configurations or tuple(
            configuration_name(camera, iso) for camera in self.cameras for iso in self.isos
        )

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> FlowSRGBConfig:
        """Read what :meth:`to_dict` wrote."""
        known: dict[str, Any] = dict(values)
        for name in ("cameras", "isos", "configurations"):
            known[name] = tuple(known.get(name, ()))
        known["moments"] = tuple(tuple(row) for row in known.get("moments", ()))
        if isinstance(known.get("arrangement"), str):
            known["arrangement"] = tuple(str(known["arrangement"]).split("|"))
        return cls(**known)

    def to_dict(self) -> dict[str, object]:
        """Return JSON scalars and lists; the arrangement as in the paper's code."""
        lists = {name: list(getattr(self, name)) for name in ("cameras", "isos", "configurations")}
        lists["moments"] = [list(row) for row in self.moments]
        return {**asdict(self), **lists, "arrangement": "|".join(self.arrangement)}


@dataclass(frozen=True, slots=True)
class Cells:
    """Index of each row's camera and ISO.

    Args:
        camera: ``(B,)`` int64.
        iso: ``(B,)`` int64.
        cell: ``(B,)`` int64, ``number of cameras * iso + camera``.
    """

    camera: Tensor
    iso: Tensor
    cell: Tensor


class Coupled(nn.Module):
    """Invertible 1x1 convolution and affine coupling.

    Args:
        config: The network's.
        conditional: Whether the coupling sees the clean image, camera and ISO.
        seed: Seed of the initial weights.
    """

    def __init__(self, config: FlowSRGBConfig, *, conditional: bool, seed: int) -> None:
        super().__init__()
        self.mix = Invertible1x1(CHANNELS, seed=seed)
        condition = CHANNELS if conditional else 0
        self.coupling = BorderCoupling(CHANNELS, passing=PASSING, condition=condition, seed=seed)
        self.embedding = (
            CaptureEmbedding(
                isos=len(config.isos), cameras=len(config.cameras), seed=seed, stream="embedding"
            )
            if conditional
            else None
        )

    def forward(self, x: Tensor, clean: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """Map data to latent."""
        x, first = self.mix(x, clean)
        z, second = self.coupling(x, clean, self._factor(cells))
        return z, first + second

    def inverse(self, z: Tensor, clean: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """Map latent to data."""
        z, second = self.coupling.inverse(z, clean, self._factor(cells))
        x, first = self.mix.inverse(z, clean)
        return x, first + second

    def _factor(self, cells: Cells) -> Tensor | None:
        if self.embedding is None:
            return None
        number: Tensor = self.embedding(cells.iso, cells.camera)
        return number


class Linear(nn.Module):
    """A conditional linear layer that reads the cell from :class:`Cells`."""

    def __init__(self, config: FlowSRGBConfig, *, shared: bool) -> None:
        super().__init__()
        cells = len(config.cameras) * len(config.isos)
        self.affine = ConditionalLinear(cells, CHANNELS, shared=shared)

    def forward(self, x: Tensor, clean: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """Map data to latent."""
        z, ladj = self.affine(x, cells.cell)
        return z, ladj

    def inverse(self, z: Tensor, clean: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """Map latent to data."""
        return self.affine.inverse(z, cells.cell)


class FlowSRGB(nn.Module):
    """The network.

    Args:
        config: Its arrangement.
    """

    def __init__(self, config: FlowSRGBConfig) -> None:
        super().__init__()
        self.config = config
        layers = nn.ModuleList()
        for number, token in enumerate(config.arrangement):
            seed = config.seed + 1000 * (number + 1)
            if token in ("CL", "CL2"):
                layers.append(Linear(config, shared=token == "CL"))
            else:
                layers.append(Coupled(config, conditional=token == "CAC", seed=seed))
        self.layers = cast("Sequence[Linear | Coupled]", layers)
        self._known = frozenset(config.known)
        self._camera_rows: dict[str | None, int] = {
            name: row for row, name in enumerate(config.cameras)
        }
        self._iso_rows: dict[int | None, int] = {iso: row for row, iso in enumerate(config.isos)}

    def cells(self, capture: CaptureMetadata) -> Cells:
        """Look up each row's camera and ISO.

        Raises:
            ValueError: If a row's camera or ISO is not known, or training never saw the two
                together.
        """
        camera_rows, iso_rows = [], []
        for camera, iso in zip(capture.camera, capture.iso, strict=True):
            named = camera is not None and iso is not None
            if not named or configuration_name(camera, iso) not in self._known:  # type: ignore[arg-type]
                raise ValueError(self._unknown(camera, iso))
            camera_rows.append(self._camera_rows[camera])
            iso_rows.append(self._iso_rows[iso])
        device = next(self.parameters()).device
        camera_at = torch.tensor(camera_rows, device=device)
        iso_at = torch.tensor(iso_rows, device=device)
        return Cells(camera_at, iso_at, len(self._camera_rows) * iso_at + camera_at)

    def encode(self, noise: Tensor, clean: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """Map noise to latents.

        Args:
            noise: ``(B, 3, H, W)``, ``noisy - clean``, white level 1, RGB.
            clean: Same shape, in [0, 1].
            cells: The rows' cameras and ISOs.

        Returns:
            ``(B, 3, H, W)`` and log|det dz/dn|, ``(B,)``, in nats.
        """
        condition, x = self._condition(clean), self._ordered(noise) * UNIT
        ladj = noise.new_full((len(noise),), math.log(UNIT) * noise[0].numel())
        for layer in self.layers:
            x, step = layer(x, condition, cells)
            ladj = ladj + step
        return x, ladj

    def decode(self, z: Tensor, clean: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """Map latents to noise; the inverse of :meth:`encode`."""
        condition, x = self._condition(clean), z
        ladj = z.new_full((len(z),), -math.log(UNIT) * z[0].numel())
        for layer in reversed(self.layers):
            x, step = layer.inverse(x, condition, cells)
            ladj = ladj + step
        return self._ordered(x) / UNIT, ladj

    def log_prob(self, noise: Tensor, clean: Tensor, cells: Cells) -> Tensor:
        """Return log p(noise | clean, camera, ISO) of each row, ``(B,)``, in nats."""
        z, ladj = self.encode(noise, clean, cells)
        normal = -0.5 * (z.square().sum(dim=(1, 2, 3)) + z[0].numel() * math.log(2 * math.pi))
        return normal + ladj

    def nll(self, noise: Tensor, clean: Tensor, capture: CaptureMetadata) -> Tensor:
        """Return nats a dimension of each row; see :class:`generators.noise_model.NoiseModel`."""
        clipped = clean.clamp(0.0, 1.0)
        return -self.log_prob(noise, clipped, self.cells(capture)) / noise[0].numel()

    @torch.no_grad()
    def initialise(self, noise: Tensor, clean: Tensor, cells: Cells) -> None:
        """Set every CL and CL2 from the first training batch, layer by layer.

        Without it the first layer's scale has to travel from 1 to about 50, a step of the learning
        rate at a time.
        """
        condition, x = self._condition(clean), self._ordered(noise) * UNIT
        for layer in self.layers:
            if isinstance(layer, Linear):
                layer.affine.initialise(x, cells.cell)
            x, _ = layer(x, condition, cells)

    def _condition(self, clean: Tensor) -> Tensor:
        """Return the clean image as the layers see it, the mean of its dequantised value."""
        return self._ordered(clean) * UNIT + 0.5 / 256.0

    def _ordered(self, image: Tensor) -> Tensor:
        return image.flip(1) if self.config.order == "bgr" else image

    def _unknown(self, camera: str | None, iso: int | None) -> str:
        return (
            f"generator 'flow-srgb' was not trained on camera {camera!r} at ISO {iso}; its weights "
            f"know {configurations_in_words(self.config.known)}. Set `camera` and `iso` to one "
            "of them, or train it on that camera."
        )
