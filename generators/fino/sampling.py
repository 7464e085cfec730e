"""FINO as a generator: the noise of a reference, put on another photograph.

With x' the clean image, y the noisy reference, x its clean partner and S a shuffle of positions,

    code         noisy = flow^-1(c_x', S[n_y])                   the paper's transfer
    difference   noisy = flow^-1(c_x', n_x' + S[n_y - n_x])

Training leaves some fine detail of the picture in its noise code. ``difference`` moves none of it
to another place or picture, and without noise it returns x' exactly. Where y is the noisy partner
of x' itself and nothing is shuffled, the two are the same.

This is a *transfer*: the result follows the reference's own noise field as far as the noise code
carries it. With ``shuffle="none"`` one reference gives one noise, whatever the seed; and where the
reference is the noisy partner of the very same photograph, the result is nearly that partner, which
one already had. Two ways make noise that is new:

    roll         shifts the code in a circle by a random number of positions (4 pixels each). The
                 field keeps its correlation but for one seam a direction
    positions    draws each position of the code from a random one, with replacement. The noise
                 keeps its distribution within a 4x4 square and loses what ties squares together

Either way noise that depends on brightness comes to lie on other brightness.

The code holds a part of the noise only, 12 of 48 numbers a square, and training with absolute
errors shrinks what cannot be told from it. So ``level="reference"`` scales the decoded noise by
what the code loses at the reference itself: the deviation of the reference's noise over that of the
noise decoded from its code onto its own clean partner. That brings back the level of the noise, not
the part of its correlation that the code does not hold. Measured with the weights `fino-polyu` on
five 64x64 crops of PolyU's val scenes: the code holds 0.73 of the noise's deviation, and the scaled
noise has a correlation of 0.54 between neighbours (real: 0.53) and of 0.10 two pixels apart (0.27).

Reference and clean image may differ in size: codes are cropped, or repeated where they are smaller.

Source: "FINO: Flow-based Joint Image and Noise Model", section 3, for the exchange of codes; the
difference, shuffling and level are ours. The paper's transfer is ``transfer="code"``,
``shuffle="none"``, ``level="none"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final, get_args

import numpy as np
import torch
from torch import Tensor

from generators.base import NoiseRequest, NoiseSample, Params, TrainedGenerator
from generators.checks import check_choice
from generators.fino.network import Codes, Fino, load_fino
from generators.seeds import stream_rng

__all__ = ["FINOGenerator", "Level", "Shuffle", "Transfer"]

Transfer = Literal["difference", "code"]
Shuffle = Literal["none", "roll", "positions"]
Level = Literal["reference", "none"]
# A code that loses more than this holds no noise to speak of: scaling would show its errors.
_MOST = 8.0


@final
class FINOGenerator(TrainedGenerator[Fino]):
    """Noise transfer: the noise code of a noisy reference, decoded onto another clean image.

    Args:
        model: The trained network.
        transfer: ``difference`` or ``code``, see :mod:`generators.fino.sampling`.
        shuffle: How new noise is made of the reference's code: ``roll``, ``positions`` or ``none``.
        level: ``reference`` scales the noise to the reference's own level, ``none`` leaves it as
            decoded.

    Raises:
        ValueError: If a parameter is none of its words.
    """

    name = "fino"
    revision = 1
    color_only = True
    needs = frozenset({"reference"})

    def __init__(
        self,
        model: Fino,
        *,
        transfer: Transfer = "difference",
        shuffle: Shuffle = "roll",
        level: Level = "reference",
    ) -> None:
        check_choice("transfer", transfer, get_args(Transfer))
        check_choice("shuffle", shuffle, get_args(Shuffle))
        check_choice("level", level, get_args(Level))
        self._model = model.eval().requires_grad_(False)
        self._transfer, self._shuffle, self._level = transfer, shuffle, level
        self._device = next(model.parameters()).device
        self.multiple = model.config.multiple

    @classmethod
    def load_network(cls, path: Path) -> Fino:
        """Read a weights file; see :class:`~generators.base.TrainedGenerator`."""
        return load_fino(path)

    @torch.inference_mode()
    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Put each row's reference noise on its clean image.

        Args:
            request: sRGB, three channels, sides divisible by :attr:`multiple`; ``reference`` of any
                such size. Its clean partner is ``reference_clean``, or the row's own clean image.

        Returns:
            Noisy images, unclipped, on the CPU.

        Raises:
            ValueError: If the reference is missing, or its shape is not that of its partner.
        """
        clean = request.context.clean
        self._model.config.check_image(clean, name="clean")
        reference, partner = request.pair
        self._model.config.check_image(reference, name="reference")
        here, there = clean.to(self._device), partner.to(self._device)
        noisy_code = self._model.encode(reference.to(self._device)).noise
        codes = self._model.encode(here)
        partner_codes = codes if torch.equal(there, here) else self._model.encode(there)
        size = (codes.noise.shape[2], codes.noise.shape[3])
        if self._transfer == "difference":
            moved, params = self._shuffled(noisy_code - partner_codes.noise, request.seeds, size)
            moved = codes.noise + moved
        else:
            moved, params = self._shuffled(noisy_code, request.seeds, size)
        noise = self._model.decode(Codes(codes.content, moved)) - here
        if self._level == "reference":
            carried = self._model.decode(Codes(partner_codes.content, noisy_code)) - there
            factor = (_spread(reference.to(there) - there) / _spread(carried)).clamp(max=_MOST)
            # Only the deviation is scaled: an error in brightness would grow with it.
            mean = noise.mean(dim=(2, 3), keepdim=True)
            noise = mean + factor[:, None, None, None] * (noise - mean)
            params = [
                {**row, "level": round(float(one), 4)}
                for row, one in zip(params, factor, strict=True)
            ]
        return NoiseSample(clean=clean, noisy=clean + noise.contiguous().cpu(), params=params)

    def _shuffled(
        self, code: Tensor, seeds: Sequence[int], size: tuple[int, int]
    ) -> tuple[Tensor, list[Params]]:
        """Return codes ``(B, K, *size)`` made of ``code`` ``(B, K, h, w)``, and what was drawn."""
        height, width = code.shape[2], code.shape[3]
        y, x = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
        rows: list[Tensor] = []
        params: list[Params] = []
        for one, seed in zip(code, seeds, strict=True):
            rng = stream_rng(seed, f"fino-{self._shuffle}")
            drawn: Params = {}
            if self._shuffle == "positions":
                place = rng.integers(height * width, size=size)
            elif self._shuffle == "roll":
                down, right = int(rng.integers(height)), int(rng.integers(width))
                place = ((y + down) % height) * width + (x + right) % width
                drawn = {"down": down, "right": right}
            else:
                place = (y % height) * width + x % width
            picked = torch.from_numpy(place.ravel()).to(code.device)
            rows.append(one.flatten(1)[:, picked].unflatten(1, size))
            params.append(drawn)
        return torch.stack(rows), params


def _spread(noise: Tensor) -> Tensor:
    """Return each row's standard deviation around its channels' means, ``(B,)``; above 0."""
    centred = noise - noise.mean(dim=(2, 3), keepdim=True)
    return centred.square().mean(dim=(1, 2, 3)).sqrt().clamp_min(1e-8)
