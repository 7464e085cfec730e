"""How a photograph is thought to have been developed: drawn for each row, as JSON scalars.

Nobody knows what a photograph's camera did, so white balance, brightness and colour matrix are
drawn as in the paper: red gain U[1.9, 2.4], blue gain U[1.5, 1.9], brightness gain 1 / N(0.8, 0.1),
and a random mixture of four cameras' matrices (:mod:`generators.isp` has the steps themselves).

Differs from the paper: the brightness divisor is kept within [0.5, 1], since a gain below 1 would
need a sensor brighter than white.

Source: Brooks et al. 2019, "Unprocessing images for learned raw denoising", CVPR.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from generators.base import Params
from generators.checks import check_choice, check_number
from generators.isp import MATRICES, Rendering
from generators.seeds import stream_rng

__all__ = ["RenderingChoice", "rendering_of"]

_RED, _BLUE = (1.9, 2.4), (1.5, 1.9)
_BRIGHTNESS_MEAN, _BRIGHTNESS_STD, _BRIGHTNESS_ENDS = 0.8, 0.1, (0.5, 1.0)


@final
class RenderingChoice:
    """What of the development is fixed, and what is drawn for each row.

    Args:
        matrix: ``random``, or the name of one camera's colour matrix (``generators.isp.MATRICES``).
        white_balance: ``random``, or ``[red gain, blue gain]``, each >= 1.
        brightness: ``random``, or the brightness gain, >= 1.

    Raises:
        ValueError: If a parameter is unknown or out of range.

    Example:
        >>> RenderingChoice(brightness=1.25).draw(7)["brightness_gain"]
        1.25
    """

    def __init__(
        self,
        *,
        matrix: str = "random",
        white_balance: str | Sequence[float] = "random",
        brightness: str | float = "random",
    ) -> None:
        self._matrix = check_choice("matrix", matrix, ("random", *MATRICES))
        self._white_balance = None if white_balance == "random" else _read_gains(white_balance)
        self._brightness = (
            None if brightness == "random" else check_number("brightness", brightness, low=1.0)
        )

    def draw(self, seed: int) -> dict[str, float | int | str]:
        """Return what one row is developed with."""
        # All numbers are drawn whatever is fixed, so fixing one leaves the others as they were.
        rng = stream_rng(seed, "rendering")
        shares = rng.random(len(MATRICES))
        red, blue = rng.uniform(*_RED), rng.uniform(*_BLUE)
        divisor = rng.normal(_BRIGHTNESS_MEAN, _BRIGHTNESS_STD)
        divisor = min(max(divisor, _BRIGHTNESS_ENDS[0]), _BRIGHTNESS_ENDS[1])
        if self._white_balance is not None:
            red, blue = self._white_balance
        gain = 1.0 / divisor if self._brightness is None else self._brightness
        drawn: dict[str, float | int | str] = {
            "red_gain": float(red),
            "blue_gain": float(blue),
            "brightness_gain": float(gain),
            "matrix": self._matrix,
        }
        for name, share in zip(MATRICES, shares / shares.sum(), strict=True):
            chosen = float(self._matrix == name)
            drawn[f"matrix_{name}"] = float(share) if self._matrix == "random" else chosen
        return drawn


def rendering_of(params: Sequence[Params]) -> Rendering:
    """Return the rendering of B rows from what :meth:`RenderingChoice.draw` returned for each."""
    return Rendering.from_weights(
        [[float(row[f"matrix_{name}"]) for name in MATRICES] for row in params],
        red=[float(row["red_gain"]) for row in params],
        blue=[float(row["blue_gain"]) for row in params],
        brightness=[float(row["brightness_gain"]) for row in params],
    )


def _read_gains(value: object) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"white_balance must be 'random' or [red, blue]; it is {value!r}.")
    red, blue = (check_number(f"white_balance[{i}]", v, low=1.0) for i, v in enumerate(value))
    return red, blue
