"""InvDN as a generator: noise by changing what the network encodes beside the picture.

Two modes:

    perturb     the paper's: encode the noisy reference, z' = z + epsilon v with v ~ N(0, 1), decode
    resample    ours: encode the clean image, add a drawn difference d, decode

**What perturb gives.** The network is invertible, so with the reference's own low-resolution part
and nearly its own z, decoding gives back *the reference itself* and a trace of something else
(epsilon 2e-4 changes no pixel by a grey level). Its small distance to the real noise, 0.059 AKLD in
the paper, says that a pair was copied, not that noise was modelled. A larger epsilon leaves the
real noise without coming nearer to another draw of it.

A reference that belongs to another picture is *transferred*: what its noise does to its own
encoding is done to the clean image's,

    noisy = decode(encode(clean) + encode(reference) - encode(reference_clean) + epsilon v on z)

which for the picture's own pair is the paper's formula again.

**What resample gives.** d comes from a distribution fitted after training
(:mod:`generators.invdn.prior`), so the noise is new, and needs no noisy image.

Source: Liu et al. 2021 (InvDN), section 4.4 (the released code has no noise generation).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final, get_args

import torch
from torch import Tensor

from generators.base import NoiseRequest, NoiseSample, Params, TrainedGenerator
from generators.capture import CaptureMetadata, configuration_row
from generators.checks import check_choice, check_number
from generators.invdn.network import InvDN
from generators.invdn.prior import ANY, MARGIN, colouring
from generators.invdn.weights import InvDNWeights, load_invdn
from generators.seeds import standard_normal

__all__ = ["InvDNGenerator", "Mode"]

Mode = Literal["perturb", "resample"]


@final
class InvDNGenerator(TrainedGenerator[InvDN]):
    """An invertible denoiser run backwards, with a perturbed or a newly drawn latent.

    Args:
        weights: The trained network and its prior.
        mode: ``perturb`` a noisy reference's latent, or ``resample`` the noise anew.
        epsilon: Deviation of the perturbation of z, >= 0; for ``perturb``.
        prior: Which noise ``resample`` draws: of the row's ``shot``, or of ``any`` configuration,
            for which neither camera nor ISO is needed.
        camera: Camera of every row, for photographs without metadata.
        iso: ISO of every row, likewise.
        temperature: Factor on the drawn difference, >= 0; for ``resample``.
        precision: ``bf16`` runs the subnetworks in bfloat16, which denoising bears and ``perturb``
            does not: the round trip is then good to a grey level only.

    Raises:
        ValueError: If a parameter is out of range, the weights hold no prior, or the prior does not
            know the configuration.
    """

    name = "invdn"
    revision = 1
    color_only = True

    def __init__(
        self,
        weights: InvDNWeights,
        *,
        mode: Mode = "perturb",
        epsilon: float = 2e-4,
        prior: Literal["shot", "any"] = "shot",
        camera: str | None = None,
        iso: int | None = None,
        temperature: float = 1.0,
        precision: Literal["float32", "bf16"] = "float32",
    ) -> None:
        check_choice("mode", mode, get_args(Mode))
        check_choice("prior", prior, ("shot", "any"))
        check_choice("precision", precision, ("float32", "bf16"))
        self._epsilon = check_number("epsilon", epsilon, low=0.0)
        self._temperature = check_number("temperature", temperature, low=0.0)
        if mode == "resample" and weights.prior is None:
            raise ValueError(
                "mode 'resample' draws from a prior, which these weights do not hold; train them "
                "with this version, or use mode 'perturb'."
            )
        self._model, self._names, self._prior = weights.model, weights.configurations, weights.prior
        self._mode, self._pooled = mode, prior == "any"
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = next(weights.model.parameters()).device
        self._filters: dict[int, Tensor] = {}
        self.multiple = weights.model.config.factor
        told = () if self._pooled else ("camera", "iso")
        self._pin(*(("reference",) if mode == "perturb" else told), camera=camera, iso=iso)
        if mode == "resample" and not self.needs:
            self._row(camera, iso)

    @classmethod
    def load_network(cls, path: Path) -> InvDNWeights:
        """Read a weights file; see :class:`~generators.base.TrainedGenerator`."""
        return load_invdn(path)

    @property
    def configurations(self) -> tuple[str, ...]:
        """Names ``camera_ISO`` that the prior knows."""
        return self._names

    def _check_capture(self, capture: CaptureMetadata) -> None:
        if self._mode == "resample":
            for camera, iso in zip(capture.camera, capture.iso, strict=True):
                self._row(camera, iso)

    def place(self, device: str) -> None:
        """Move network and prior to a device, e.g. ``"cuda:0"``; base noise stays the same."""
        super().place(device)
        self._prior = None if self._prior is None else self._prior.to(self._device)
        self._filters = {row: one.to(self._device) for row, one in self._filters.items()}

    @torch.inference_mode()
    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Make noisy versions of the request's clean images.

        Args:
            request: sRGB, three channels, height and width divisible by :attr:`multiple`.
        """
        clean = request.context.clean
        self._model.check_image(clean)
        make = self._perturb if self._mode == "perturb" else self._resample
        # On the CPU each row by itself: convolutions sum in another order in another batch, and
        # decoding stretches the difference.
        rows = len(clean)
        part = 1 if self._device.type == "cpu" else max(rows, 1)
        made = [make(request, range(i, min(i + part, rows))) for i in range(0, rows, part)]
        noisy = torch.cat([images for images, _ in made]).contiguous()
        return NoiseSample(clean=clean, noisy=noisy, params=[p for _, ps in made for p in ps])

    def _perturb(self, request: NoiseRequest, rows: range) -> tuple[Tensor, list[Params]]:
        reference, partner = self._reference(request, rows)
        clean = request.context.clean[rows.start : rows.stop]
        own = torch.tensor([torch.equal(a, b) for a, b in zip(partner, clean, strict=True)])
        encoded = self._encode(reference)
        if not bool(own.all()):
            moved = self._encode(clean) + encoded - self._encode(partner)
            # The pair's own rows keep the exact encoding, whatever their neighbours are.
            encoded = torch.where(own.to(self._device).view(-1, 1, 1, 1), encoded, moved)
        seeds = request.seeds[rows.start : rows.stop]
        z = encoded[:, 3:]
        encoded = torch.cat([encoded[:, :3], z + self._epsilon * self._normal(seeds, z)], dim=1)
        how = ["own pair" if mine else "transfer" for mine in own.tolist()]
        return self._decode(encoded), [{"epsilon": self._epsilon, "reference": one} for one in how]

    def _resample(self, request: NoiseRequest, rows: range) -> tuple[Tensor, list[Params]]:
        if self._prior is None:  # pragma: no cover - the constructor has refused it
            raise ValueError("these weights hold no prior.")
        capture = request.context.capture.select(rows)
        found = [self._row(c, i) for c, i in zip(capture.camera, capture.iso, strict=True)]
        encoded = self._encode(request.context.clean[rows.start : rows.stop])
        seeds = request.seeds[rows.start : rows.stop]
        channels, height, width = encoded.shape[1:]
        size = (channels, height + 2 * MARGIN, width + 2 * MARGIN)
        white = standard_normal(seeds, size, "invdn-resample").to(self._device)
        filters = [self._filter(row) for row in found]
        labels = torch.tensor(found, device=self._device)
        drawn = self._prior.draw(encoded, labels, white, filters)
        noisy = self._decode(encoded + self._temperature * drawn)
        names = [*self._names, ANY]
        return noisy, [{"configuration": names[row]} for row in found]

    def _encode(self, image: Tensor) -> Tensor:
        with self._precision():
            return self._model.encode(self._placed(image))[0]

    def _decode(self, encoded: Tensor) -> Tensor:
        with self._precision():
            return self._model.decode(self._placed(encoded))[0].cpu()

    def _placed(self, image: Tensor) -> Tensor:
        return image.to(self._device, memory_format=torch.channels_last)

    def _precision(self) -> torch.autocast:
        low = self._dtype == torch.bfloat16
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=low)

    def _normal(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        return standard_normal(seeds, like.shape[1:], "invdn-perturb").to(self._device)

    def _filter(self, row: int) -> Tensor:
        if self._prior is None:  # pragma: no cover - as above
            raise ValueError("these weights hold no prior.")
        if row not in self._filters:
            # On the CPU, wherever the network is: eigenvectors differ between devices.
            self._filters[row] = colouring(self._prior.field[row].cpu()).to(self._device)
        return self._filters[row]

    def _reference(self, request: NoiseRequest, rows: range) -> tuple[Tensor, Tensor]:
        """Return noisy references and their clean partners."""
        reference, partner = request.pair
        clean = request.context.clean
        if reference.shape != clean.shape:
            raise ValueError(
                f"reference is {tuple(reference.shape)} and clean {tuple(clean.shape)}; generator "
                f"'{self.name}' changes the encoding position by position, so they must be "
                "equal. Cut both to one size, or use mode 'resample'."
            )
        return reference[rows.start : rows.stop], partner[rows.start : rows.stop]

    def _row(self, camera: str | None, iso: int | None) -> int:
        """Return the prior's row of a camera and ISO."""
        if self._pooled:
            return len(self._names)
        who = f"generator '{self.name}'"
        return configuration_row(camera, iso, self._names, who=who, remedy="`prior: any`")
