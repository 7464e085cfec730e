"""Checks that generators share: parameters when one is made, requests when one is used.

Every message says which generator or parameter, what was expected, what was found and what to do,
so that a mistake in a manifest is understood without reading the code.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from generators.request import Domain, Need, NoiseRequest

__all__ = [
    "check_choice",
    "check_flag",
    "check_number",
    "check_params",
    "check_range",
    "check_request",
    "check_whole",
]

_CHANNELS: dict[Domain, tuple[int, ...]] = {"srgb": (1, 3), "raw": (4,)}
_REMEDY: dict[Need, str] = {
    "camera": "Use a source that knows the camera, or set `camera` of the source.",
    "iso": "Use a source that knows the ISO speed, or set `iso` of the source.",
    "reference": "Use a source of pairs.",
}


def check_request(
    request: NoiseRequest,
    *,
    name: str,
    accepts: Domain,
    needs: frozenset[Need],
    color_only: bool = False,
) -> None:
    """Refuse a request that a generator cannot serve.

    Args:
        request: What was asked for.
        name: Registry name of the generator, for the message.
        accepts: Domain of the clean image that the generator reads.
        needs: What each row must carry.
        color_only: Whether grey sRGB is refused.

    Raises:
        ValueError: If the number of channels is not one of the domain's, or if a row lacks a need.
    """
    shape = tuple(request.context.clean.shape)
    channels = (3,) if color_only and accepts == "srgb" else _CHANNELS[accepts]
    if shape[1] not in channels:
        expected = " or ".join(str(n) for n in channels)
        raise ValueError(
            f"generator '{name}' reads {accepts} images of {expected} channels; "
            f"clean has shape {shape}."
        )
    for need in sorted(needs):
        if need == "reference":
            row = 0 if request.reference is None else None
        else:
            row = _first_none(request.context.capture[need])
        if row is not None:
            remedy = _REMEDY.get(need, f"Use a source whose table has a column `{need}`.")
            raise ValueError(
                f"generator '{name}' needs '{need}' with every row; row {row} has none. {remedy}"
            )


def check_number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
) -> float:
    """Return ``value`` as a float if it is a finite number in the range.

    Args:
        name: Name of the parameter, for the message.
        value: What was given.
        low: Smallest value allowed.
        high: Largest value allowed.
        open_low: Whether ``low`` itself is refused.

    Raises:
        ValueError: If it is no number, not finite, or out of range.
    """
    allowed = _describe_range(low, high, open_low)
    # bool is an int in Python, but `sigma: true` in a manifest is a mistake.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number{allowed}; it is {value!r}.")
    number = float(value)
    below = number <= low if open_low else number < low
    if not math.isfinite(number) or below or number > high:
        raise ValueError(f"{name} must be a finite number{allowed}; it is {value!r}.")
    return number


def check_range(
    name: str, value: Any, *, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    """Return the ends of a range given as two numbers, the first below the second.

    Args:
        name: Name of the parameter, for the message.
        value: What was given, e.g. ``[5, 50]``.
        low: Smallest value allowed for either end.
        high: Largest value allowed for either end.

    Raises:
        ValueError: If it is not two numbers in the range, in rising order.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"{name} must be a range of two numbers [low, high]; it is {value!r}.")
    first = check_number(f"{name}[0]", value[0], low=low, high=high)
    last = check_number(f"{name}[1]", value[1], low=low, high=high)
    if first >= last:
        raise ValueError(
            f"{name} must be a range [low, high] with low < high; it is {list(value)!r}. "
            "Write one number for a fixed value."
        )
    return first, last


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return ``value`` if it is one of the words allowed.

    Raises:
        ValueError: If it is not; the message lists them.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; it is {value!r}.")
    return str(value)


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is true or false.

    Raises:
        ValueError: If it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false; it is {value!r}.")
    return value


def check_whole(name: str, value: Any, *, low: int = 1) -> int:
    """Return ``value`` if it is a whole number.

    Raises:
        ValueError: If it is none, or below ``low``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be a whole number >= {low}; it is {value!r}.")
    return value


def check_params(name: str, params: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Refuse parameters that a training does not take.

    Args:
        name: Of the training, for the message.
        params: A manifest's.
        allowed: Names it takes.

    Raises:
        ValueError: If there is another; the message names it and those allowed.
    """
    unknown = sorted(set(params) - set(allowed))
    if unknown:
        close = difflib.get_close_matches(unknown[0], sorted(allowed), n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(
            f"{name} has no parameter {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(sorted(allowed))}.{hint}"
        )


def _first_none(values: Sequence[object]) -> int | None:
    return next((row for row, value in enumerate(values) if value is None), None)


def _describe_range(low: float, high: float, open_low: bool) -> str:
    parts = []
    if low > -math.inf:
        parts.append(f"{'>' if open_low else '>='} {low:g}")
    if high < math.inf:
        parts.append(f"<= {high:g}")
    return f" {' and '.join(parts)}" if parts else ""
