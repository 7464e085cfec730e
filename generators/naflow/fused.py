"""NAFlow folded for use: the same maps as :mod:`generators.naflow.network`, in half the time.

Training keeps each layer apart; sampling and densities, where weights stand still, multiply
neighbours together once. What is linear in the clean image (condition network, first convolution
of every subnetwork) becomes one matrix a level, from the level's own clean pixels: 12, 48 and 192
numbers in place of 128 features. A residual and its bias go into the products around them; a
subnetwork's last layer is ordered shifts first, then scales, so that both are slices. Encoding sums
the logarithms of the scales on the way; decoding leaves them out, since sampling needs none.

Images are kept as matrices, one row a pixel, ``(B * h * w, C)``: a 1x1 convolution is then one
product, which may write into a slice of its result, and a 3x3 convolution sees the same memory as a
channels-last image. A few images are taken through the whole network at a time, so that what one
layer leaves is in the cache when the next reads it.

Same results as the network's own within 1e-4 of the maximum
(tests/generators/naflow/test_naflow_network.py); the subnetworks may run in bfloat16 behind their
first product, the flow's own path and its log-determinant are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, pixel_shuffle, pixel_unshuffle

from generators.flows.coupling import MIN_SCALE, Subnet
from generators.flows.pointwise import AffineMap
from generators.naflow.network import NAFlow
from generators.threads import on_threads

__all__ = ["FoldedNAFlow"]

Tensors = tuple[Tensor, ...]

# Images taken at a time hold so many bytes of one hidden image of the first level: 1 MiB fits the
# second-level cache of today's cores. Measured: half as much costs 4 %, twice as much 15 %.
_HIDDEN_BYTES = 1 << 20
_MOST_ROWS = 16


@dataclass(frozen=True, slots=True)
class _Subnet:
    """One subnetwork; products are ``pixels @ matrix``.

    Args:
        enter: ``(inputs, hidden)``, float32; the inputs are those of the flow, the level's clean
            pixels and a one, which carries the bias.
        spread: ``(hidden, hidden, 3, 3)`` channels-last weight, and its bias.
        middle: ``(hidden, hidden)``; its bias is in ``leave``'s.
        leave: ``(hidden, 2 n)``, n shifts, then n raw scales; the bias holds the scales' + 2.
    """

    enter: Tensor
    spread: tuple[Tensor, Tensor]
    middle: Tensor
    leave: tuple[Tensor, Tensor]

    def __call__(self, inputs: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return shifts and scales, float32 ``(pixels, n)``."""
        # float32 in any case: it is a twenty-fifth of the work, and rounding an image to the 8 bits
        # of bfloat16 made three quarters of the density's error (0.0017 bits a pixel and row).
        hidden = torch.mm(inputs, self.enter).relu_().to(self.middle.dtype)
        spread = conv2d(_image(hidden, size), *self.spread, padding=1).relu_()
        hidden.addmm_(_pixels(spread), self.middle)
        weight, bias = self.leave
        raw = torch.addmm(bias, hidden, weight).float()
        shift, scale = raw.chunk(2, dim=1)
        return shift, scale.sigmoid().add_(MIN_SCALE)


@dataclass(frozen=True, slots=True)
class _Step:
    """One coupled step: pointwise maps in both directions, and the coupling.

    ``clean`` is the level's clean pixels with a one behind them, ``(pixels, 3 * 4^l + 1)``.
    """

    mix: tuple[Tensor, Tensor]
    unmix: tuple[Tensor, Tensor]
    inject: _Subnet
    couple: _Subnet
    half: int

    def encode(self, x: Tensor, clean: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the image and the logarithm of its scales, summed over each row, ``(B,)``."""
        x = torch.addmm(self.mix[1], x, self.mix[0])
        shift, scale = self._couple(x, clean, size)
        x[:, self.half :].div_(scale).sub_(shift)
        shift, scales = self.inject(clean, size)
        x.div_(scales).sub_(shift)
        scales[:, self.half :].mul_(scale)  # one logarithm for both; a scale is above 0.001
        return x, scales.log_().view(-1, size[0] * size[1] * scales.shape[1]).sum(dim=1)

    def decode(self, z: Tensor, clean: Tensor, size: tuple[int, int]) -> Tensor:
        shift, scale = self.inject(clean, size)
        z.add_(shift).mul_(scale)
        shift, scale = self._couple(z, clean, size)
        z[:, self.half :].add_(shift).mul_(scale)
        return torch.addmm(self.unmix[1], z, self.unmix[0])

    def _couple(self, x: Tensor, clean: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        return self.couple(torch.cat([x[:, : self.half], clean], dim=1), size)


class FoldedNAFlow:
    """A network's weights as sampling wants them; later changes to the network do not reach it.

    Args:
        model: The network; its device is this object's.
        dtype: Precision of the subnetworks.
    """

    def __init__(self, model: NAFlow, *, dtype: torch.dtype = torch.float32) -> None:
        with torch.no_grad():
            encoder, decoder = model.encoder_maps(), model.decoder_maps()
            self._embed, self._unembed = _matrix(encoder.embedding), _matrix(decoder.embedding)
            self._levels = [
                _fold_level(model, level, encoder.levels[level], decoder.levels[level], dtype)
                for level in range(model.config.levels)
            ]
            # Of the pointwise maps: nats a pixel, at full resolution and at each level.
            self._ladjs = [float(encoder.embedding.ladj)]
            self._ladjs += [sum(float(mix.ladj) for mix in mixes) for mixes in encoder.levels]
        self._config = model.config
        self._hidden_bytes = model.config.hidden * dtype.itemsize

    @torch.inference_mode()
    def encode(self, x: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Map images to latents.

        Args:
            x: ``(B, 3, H, W)`` float32 noisy images, or noise where the network models noise.
            clean: ``(B, 3, H, W)`` float32 in [0, 1], condition noise already added.

        Returns:
            ``(B, D, H / 2^L, W / 2^L)`` and log|det dz/dx|, ``(B,)``, in nats; float32.

        Raises:
            ValueError: If ``clean`` has not 3 channels or a side that the levels do not divide.
        """
        z, ladj = self._in_parts(self._encode, x, clean)
        return z, ladj

    @torch.inference_mode()
    def decode(self, z: Tensor, clean: Tensor) -> Tensor:
        """Map latents to images; the inverse of :meth:`encode`.

        Args:
            z: ``(B, D, H / 2^L, W / 2^L)`` float32.
            clean: ``(B, 3, H, W)`` float32 in [0, 1], condition noise already added.

        Returns:
            ``(B, 3, H, W)`` float32, as :meth:`encode` takes it.

        Raises:
            ValueError: As :meth:`encode`.
        """
        return self._in_parts(self._decode, z, clean)[0]

    def _encode(self, x: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        size = (x.shape[2], x.shape[3])
        x = _image(torch.addmm(self._embed[1], _pixels(x), self._embed[0]), size)
        ladj = x.new_full((x.shape[0],), self._ladjs[0] * size[0] * size[1])
        levels = zip(self._levels, self._pyramid(clean), self._ladjs[1:], strict=True)
        for steps, pixels, constant in levels:
            x = pixel_unshuffle(x, 2)
            size, flat = (x.shape[2], x.shape[3]), _pixels(x)
            ladj += constant * size[0] * size[1]
            for step in steps:
                flat, logs = step.encode(flat, pixels, size)
                ladj -= logs
            x = _image(flat, size)
        return x, ladj

    def _decode(self, z: Tensor, clean: Tensor) -> tuple[Tensor]:
        x = z.contiguous(memory_format=torch.channels_last).clone()  # steps write in place
        pyramid = self._pyramid(clean)
        for steps, pixels in zip(reversed(self._levels), reversed(pyramid), strict=True):
            size, flat = (x.shape[2], x.shape[3]), _pixels(x)
            for step in reversed(steps):
                flat = step.decode(flat, pixels, size)
            x = pixel_shuffle(_image(flat, size), 2)
        size = (x.shape[2], x.shape[3])
        return (_image(torch.addmm(self._unembed[1], _pixels(x), self._unembed[0]), size),)

    def _pyramid(self, clean: Tensor) -> list[Tensor]:
        """Return the pixels of the clean image squeezed once, twice, ..., a one behind each."""
        image, pyramid = clean.contiguous(memory_format=torch.channels_last), []
        for _ in self._levels:
            image = pixel_unshuffle(image, 2)
            pyramid.append(pad(_pixels(image), (0, 1), value=1.0))
        return pyramid

    def _in_parts(
        self, run: Callable[[Tensor, Tensor], Tensors], first: Tensor, clean: Tensor
    ) -> Tensors:
        """Run a few rows at a time, always equally many: padding keeps rows free of the batch."""
        self._config.check_image(clean)
        rows, height, width = clean.shape[0], clean.shape[2], clean.shape[3]
        image_bytes = self._hidden_bytes * (height // 2) * (width // 2)
        part = min(max(1, _HIDDEN_BYTES // image_bytes), _MOST_ROWS)
        if clean.device.type != "cpu":
            part = rows

        def one(start: int) -> Tensors:
            x, c = first[start : start + part], clean[start : start + part]
            missing = part - len(x)
            if missing:
                x, c = _pad(x, missing), _pad(c, missing)
            return tuple(made[: part - missing] for made in run(x, c))

        parts = on_threads(one, range(0, rows, part))
        return tuple(torch.cat(made).contiguous() for made in zip(*parts, strict=True))


def _fold_level(
    model: NAFlow,
    level: int,
    mixes: list[AffineMap],
    unmixes: list[AffineMap],
    dtype: torch.dtype,
) -> list[_Step]:
    features = model.condition.folded()[level]
    couplings = [step.coupling for step in model.levels[level].steps]
    return [
        _Step(
            mix=_matrix(mix),
            unmix=_matrix(unmix),
            inject=_fold_subnet(coupling.inject, features, 0, dtype),
            couple=_fold_subnet(coupling.couple, features, coupling.split_at, dtype),
            half=coupling.split_at,
        )
        for coupling, mix, unmix in zip(couplings, mixes, unmixes, strict=True)
    ]


def _fold_subnet(net: Subnet, features: AffineMap, own: int, dtype: torch.dtype) -> _Subnet:
    """Fold a subnetwork whose first ``own`` inputs are the flow's, the others the features."""
    weight, bias = (tensor.double() for tensor in net.enter.folded())
    from_clean = weight[:, own:] @ features.matrix
    constant = weight[:, own:] @ features.offset + bias
    enter = torch.cat([weight[:, :own], from_clean, constant[:, None]], dim=1)
    middle_weight, middle_bias = net.middle.folded()
    leave_weight, leave_bias = net.leave_layer()
    leave_bias = leave_bias + leave_weight @ middle_bias
    # Even channels shift, odd ones scale; sigmoid(raw + 2) has its 2 in the bias.
    leave_weight = torch.cat([leave_weight[0::2], leave_weight[1::2]])
    leave_bias = torch.cat([leave_bias[0::2], leave_bias[1::2] + 2.0])
    spread_weight, spread_bias = net.spread_layer()
    spread = spread_weight.detach().to(dtype, memory_format=torch.channels_last)
    return _Subnet(
        enter=enter.T.contiguous().float(),
        spread=(spread, spread_bias.detach().to(dtype)),
        middle=middle_weight.T.contiguous().to(dtype),
        leave=(leave_weight.T.contiguous().to(dtype), leave_bias.to(dtype)),
    )


def _matrix(affine: AffineMap) -> tuple[Tensor, Tensor]:
    """Return what ``torch.addmm`` takes of a channel map: transposed matrix and offset."""
    return affine.matrix.T.contiguous().float(), affine.offset.float()


def _pixels(image: Tensor) -> Tensor:
    """View ``(B, C, h, w)`` as ``(B * h * w, C)``; copies only what is not channels-last."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])


def _image(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """View ``(B * h * w, C)`` as a channels-last ``(B, C, h, w)``."""
    return pixels.view(-1, *size, pixels.shape[1]).permute(0, 3, 1, 2)


def _pad(rows: Tensor, missing: int) -> Tensor:
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])
