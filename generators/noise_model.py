"""The seam between a noise density and whoever trains with it.

A joint training estimates the clean image with one network and asks another how likely the noise is
that this leaves. It needs no more of the second than this: a number a row, differentiable in the
noise and in the clean image, so that the gradient reaches the denoiser through both.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from generators.capture import CaptureMetadata

__all__ = ["NoiseModel"]


@runtime_checkable
class NoiseModel(Protocol):
    """A density of noise given the clean image, camera and ISO; in practice an ``nn.Module``."""

    def nll(self, noise: Tensor, clean: Tensor, capture: CaptureMetadata) -> Tensor:
        """Return the negative log-likelihood of each row's noise.

        In training mode rows may share batch statistics; in evaluation mode they are independent.

        Args:
            noise: ``(B, C, H, W)`` float32, ``noisy - clean``, white level 1.
            clean: Same shape; the condition. Values outside [0, 1] are clipped.
            capture: Camera and ISO of the B rows.

        Returns:
            ``(B,)``, nats a dimension (of C * H * W); differentiable in ``noise`` and ``clean``.

        Raises:
            ValueError: If the model does not know a row's camera or ISO.
        """
        ...
