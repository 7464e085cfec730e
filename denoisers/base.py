"""What every denoiser is: a network from a noisy image to an estimate of the clean one.

Notation: B rows, C channels, H by W pixels. Images are float with the white level at 1, in the
domain of the noise (grey or colour sRGB, packed raw), and so are the estimates, which are clipped
only where an arrangement says so. Any H and W will do: a network that halves its image several
times mirrors it out to a multiple first and cuts the result back (:func:`mirrored`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from generators.weights_file import load_state, load_weights

__all__ = [
    "Denoiser",
    "DenoiserConfig",
    "DenoiserModule",
    "LevelDenoiser",
    "PlainConfig",
    "StochasticDenoiser",
    "can_draw",
    "check_draws",
    "check_image",
    "mirrored",
    "takes_level",
]


class DenoiserConfig(Protocol):
    """From what a denoiser is rebuilt."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class PlainConfig:
    """An arrangement whose fields are JSON scalars; a frozen dataclass derives from it."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON scalars."""
        return asdict(self)


@runtime_checkable
class Denoiser(Protocol):
    """The seam between denoisers and everything else; implementations are ``nn.Module``.

    Attributes:
        name: Registry name, also the family of its weights files.
        channels: Channels of its images: 1 grey, 3 colour, 4 packed raw.
        multiple: What sides it works on must divide by; other images are padded inside.
    """

    name: str
    channels: int
    multiple: int

    @property
    def config(self) -> DenoiserConfig:
        """Its arrangement."""
        ...

    def __call__(self, noisy: Tensor) -> Tensor:
        """Return the estimate of the clean image, ``(B, channels, H, W)`` as ``noisy``."""
        ...


class DenoiserModule(nn.Module):
    """What a denoiser in the registry is derived from: how it is made, trained and loaded.

    A subclass sets ``name`` and ``config_type``, a frozen dataclass with ``from_dict`` and
    ``to_dict`` whose fields are its parameters, and is made from one. It defines
    :meth:`_estimate`, or :meth:`forward` where padding is its own affair. The first line of its
    docstring is what `noisemill models` says of it.

    Attributes:
        trainable: Whether it is trained to denoise; the others follow a rule of their own.
        weights_family: Family of the weights files it is loaded from, ``name`` unless it says
            otherwise; ``None`` for a denoiser without weights.
    """

    name: str
    channels: int
    multiple: int = 1
    config_type: ClassVar[Any]
    trainable: ClassVar[bool] = True
    weights_family: ClassVar[str | None]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the family of weights be called as the denoiser, unless it says otherwise."""
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "name") and not hasattr(cls, "weights_family"):
            cls.weights_family = cls.name

    @classmethod
    def absent(cls) -> str | None:
        """Return why it cannot be used on this machine; ``None`` if it can."""
        return None

    @classmethod
    def from_weights(cls, path: Path) -> Self:
        """Make it from a weights file of its family.

        Raises:
            ValueError: If the file is damaged, of another family, or of another arrangement.
        """
        weights = load_weights(path, family=str(cls.weights_family))
        try:
            made = cls(cls.config_type.from_dict(weights.config))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: its configuration is not that of this version's "
                f"'{cls.weights_family}' ({error}); train or import the weights again."
            ) from error
        load_state(made, weights, path)
        return made

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the estimate of the clean image.

        Args:
            noisy: ``(B, channels, H, W)``, white level 1.

        Returns:
            Same shape and type.

        Raises:
            ValueError: If the shape is another.
            TypeError: If ``noisy`` is not floating point.
        """
        estimate = self._estimate(self._padded(noisy))
        return estimate[..., : noisy.shape[2], : noisy.shape[3]]

    def _estimate(self, image: Tensor) -> Tensor:
        """Return the estimate for a checked image whose sides :attr:`multiple` divides."""
        raise NotImplementedError(f"{type(self).__name__} defines neither _estimate nor forward.")

    def _padded(self, noisy: Tensor) -> Tensor:
        """Check an image and mirror it out to :attr:`multiple`."""
        check_image(noisy, name=self.name, channels=self.channels)
        return mirrored(noisy, self.multiple)


@runtime_checkable
class StochasticDenoiser(Denoiser, Protocol):
    """A denoiser with random numbers of its own: several estimates of one image differ.

    Called like any other it makes one estimate, always with the same random numbers.
    """

    @property
    def stochastic(self) -> bool:
        """Whether this one draws; one that does not gives the same estimate each time."""
        ...

    def draw(self, noisy: Tensor, seeds: Sequence[int], *, draws: int = 1) -> Tensor:
        """Return the mean of several estimates.

        Args:
            noisy: ``(B, channels, H, W)``.
            seeds: One seed a row; row i depends on row i and seed i only.
            draws: Estimates that are averaged, >= 1.
        """
        ...


@runtime_checkable
class LevelDenoiser(Denoiser, Protocol):
    """A denoiser that must know the noise level, and guesses it from the image unless told."""

    def with_sigma(self, sigma: float) -> LevelDenoiser:
        """Return the denoiser for noise of one standard deviation, white levels, > 0."""
        ...


def can_draw(denoiser: object) -> TypeGuard[StochasticDenoiser]:
    """Return True if several estimates of one image differ."""
    return bool(getattr(denoiser, "stochastic", False))


def takes_level(denoiser: object) -> TypeGuard[LevelDenoiser]:
    """Return True if the noise level can be told."""
    return callable(getattr(denoiser, "with_sigma", None))


def check_image(image: Tensor, *, name: str, channels: int) -> None:
    """Refuse what a denoiser cannot read.

    Raises:
        ValueError: If the image is not ``(B, channels, H, W)`` with at least one pixel.
        TypeError: If it does not hold floating point numbers.
    """
    shape = tuple(image.shape)
    if image.ndim != 4 or shape[1] != channels or not shape[2] or not shape[3]:
        raise ValueError(
            f"denoiser '{name}' reads images (B, {channels}, H, W) of {channels} channels; "
            f"got shape {shape}. Use a denoiser made for these images."
        )
    if not image.is_floating_point():
        raise TypeError(
            f"denoiser '{name}' reads floating point images with the white level at 1; "
            f"got {image.dtype}."
        )


def check_draws(image: Tensor, seeds: Sequence[int], draws: int, *, name: str) -> None:
    """Refuse a number of draws, or seeds, that make no estimate.

    Raises:
        ValueError: If ``draws`` is below 1 or there is not one seed a row.
    """
    if draws < 1 or len(seeds) != len(image):
        raise ValueError(
            f"denoiser '{name}' takes draws >= 1 and one seed a row; got draws {draws}, "
            f"{len(seeds)} seeds and {len(image)} rows."
        )


def mirrored(image: Tensor, multiple: int) -> Tensor:
    """Extend an image at the bottom and the right until its sides divide.

    The image is reflected about its last row and column, as often as it takes: unlike torch's own
    reflection, this also extends an image by more than its size.

    Args:
        image: ``(B, C, H, W)``.
        multiple: What the sides must divide by, > 0.

    Returns:
        ``(B, C, H', W')`` with the smallest sides that divide; the image itself if they do already.
    """
    for side in (2, 3):
        size = image.shape[side]
        if size % multiple:
            image = image.index_select(
                side, _reflected(size, -(-size // multiple) * multiple, image)
            )
    return image


def _reflected(size: int, target: int, like: Tensor) -> Tensor:
    """Return where each of ``target`` positions is read from: 0 1 2 1 0 1 ... for size 3."""
    if size == 1:
        return torch.zeros(target, dtype=torch.int64, device=like.device)
    at = torch.arange(target, device=like.device) % (2 * (size - 1))
    return torch.minimum(at, 2 * (size - 1) - at)
