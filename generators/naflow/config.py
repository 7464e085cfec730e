"""The arrangement of a NAFlow, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from torch import Tensor

from generators.checks import check_choice, check_number

__all__ = ["NAFlowConfig"]

_SMALLEST = {"levels": 1, "transitions": 0, "coupled": 1, "embedding": 1, "hidden": 1}
_SMALLEST |= {"condition_channels": 4, "seed": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class NAFlowConfig:
    """The arrangement of a NAFlow; the defaults are the paper's.

    The paper's ablations: ``levels`` 1 to 4; ``coupled``; one Gaussian for all (``single_prior``)
    or one for each configuration; their means and deviations learnt or kept at 0 and 1.

    Args:
        configurations: Names ``camera_ISO`` (five digits), one latent Gaussian each.
        levels: L, 1 to 4; H and W must be divisible by ``2**levels``.
        transitions: Steps without coupling at the head of each level.
        coupled: K, steps with coupling a level, at least 1.
        embedding: 1x1 steps at full resolution; the first has no ActNorm.
        condition_channels: Width of the condition network, divisible by 4.
        hidden: Width of the couplings' subnetworks.
        condition_noise: Standard deviation added to the clean image, grey levels of 255.
        models: Encode the ``noisy`` image (released) or the ``noise`` (noisy - clean).
        single_prior: One latent Gaussian for all configurations (ablation).
        trainable_mean: Learn the Gaussians' means, or keep them at 0 (ablation).
        trainable_std: Learn their standard deviations, or keep them at 1 (ablation).
        seed: Seed of the initial weights.

    Raises:
        ValueError: If a value is out of range, or several Gaussians could not differ.
    """

    configurations: tuple[str, ...]
    levels: int = 3
    transitions: int = 2
    coupled: int = 2
    embedding: int = 3
    condition_channels: int = 128
    hidden: int = 64
    condition_noise: float = 3.0
    models: Literal["noisy", "noise"] = "noisy"
    single_prior: bool = False
    trainable_mean: bool = True
    trainable_std: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.configurations:
            raise ValueError("NAFlow needs at least one configuration, e.g. 'S6_00800'.")
        for name, low in _SMALLEST.items():
            _check_whole(name, getattr(self, name), low)
        if self.levels > 4:
            raise ValueError(f"NAFlow's levels must be 1 to 4; got {self.levels}.")
        if self.condition_channels % 4:
            raise ValueError(f"condition_channels must divide by 4; got {self.condition_channels}.")
        check_number("condition_noise", self.condition_noise, low=0.0)
        check_choice("models", self.models, ("noisy", "noise"))
        for name in ("single_prior", "trainable_mean", "trainable_std"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false; it is {getattr(self, name)!r}.")
        several = len(self.configurations) > 1 and not self.single_prior
        if several and not (self.trainable_mean or self.trainable_std):
            raise ValueError(
                f"{len(self.configurations)} Gaussians that all stay N(0, 1) are one; set "
                "single_prior: true, or trainable_mean or trainable_std."
            )

    @property
    def latent_channels(self) -> int:
        """Channels of the latent."""
        return 3 << (2 * self.levels)

    def check_image(self, image: Tensor) -> None:
        """Refuse an image ``(B, 3, H, W)`` that the levels cannot squeeze.

        Raises:
            ValueError: If it has not 3 channels or a side does not divide.
        """
        multiple = 1 << self.levels
        shape = tuple(image.shape)
        if len(shape) != 4 or shape[1] != 3 or shape[2] % multiple or shape[3] % multiple:
            raise ValueError(
                f"NAFlow takes images of 3 channels and sides divisible by {multiple}, with "
                f"{self.levels} levels; got shape {shape}."
            )

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> NAFlowConfig:
        """Read what :meth:`to_dict` wrote."""
        known = dict(values)
        # Weights written before the two were told apart.
        if (both := known.pop("trainable_prior", None)) is not None:
            known["trainable_mean"] = known["trainable_std"] = both
        known["configurations"] = tuple(known["configurations"])  # type: ignore[arg-type]
        return cls(**known)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        """Return JSON scalars and lists."""
        return {**asdict(self), "configurations": list(self.configurations)}


def _check_whole(name: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}; it is {value!r}.")
