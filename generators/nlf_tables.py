"""Noise level functions of real cameras: variance = beta1 * x + beta2 on linear raw in [0, 1].

The built-in table holds the five phones of SIDD at the ISO speeds published with Noise Flow:
Google Pixel (GP), iPhone 7 (IP), Samsung Galaxy S6 Edge (S6), Motorola Nexus 6 (N6), LG G4 (G4).
beta1 is the shot-noise slope and beta2 the read-noise floor, both in squared white levels.

The values describe packed raw. Put on sRGB they are a signal-dependent toy, not that phone's noise.

Source: Abdelhamed et al. 2018, "A high-quality denoising dataset for smartphone cameras" (SIDD);
Abdelhamed et al. 2019, "Noise Flow", the camera noise level functions it compares with.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SIDD", "NoiseTable", "look_up", "read_table"]

NoiseTable = Mapping[str, Mapping[int, tuple[float, float]]]

SIDD: NoiseTable = {
    "G4": {
        100: (0.000739, 0.000002),
        400: (0.001860, 0.000002),
        800: (0.003356, 0.000063),
    },
    "GP": {
        100: (0.000228, 0.000002),
        400: (0.000886, 0.000005),
        800: (0.001764, 0.000012),
        1600: (0.003519, 0.000045),
        3200: (0.007029, 0.000179),
    },
    # Nearly independent of ISO, as published.
    "IP": {
        100: (0.000702, 0.000003),
        400: (0.000735, 0.000003),
        800: (0.000723, 0.000003),
        1600: (0.000687, 0.000002),
    },
    "N6": {
        100: (0.000473, 0.000003),
        400: (0.001760, 0.000013),
        800: (0.003476, 0.000052),
        1600: (0.006909, 0.000208),
        3200: (0.013773, 0.000833),
    },
    "S6": {
        100: (0.000479, 0.000002),
        400: (0.001774, 0.000002),
        800: (0.003696, 0.000002),
        1600: (0.008211, 0.000002),
        3200: (0.019930, 0.000002),
    },
}

_BUILT_IN: dict[str, NoiseTable] = {"sidd": SIDD}


def read_table(table: object) -> NoiseTable:
    """Return a table given by name or as ``{camera: {iso: [beta1, beta2]}}``.

    Args:
        table: ``"sidd"``, or a mapping as a manifest spells it; ISO keys may be text.

    Raises:
        ValueError: If the name is unknown, or an entry is not two numbers >= 0, not both 0.
    """
    if isinstance(table, str):
        if table not in _BUILT_IN:
            raise ValueError(
                f"table must be one of {', '.join(_BUILT_IN)}, or a mapping; got {table!r}."
            )
        return _BUILT_IN[table]
    if not isinstance(table, Mapping) or not table:
        raise ValueError(f"table must map camera -> ISO -> [beta1, beta2]; it is {table!r}.")
    return {str(camera): _read_camera(str(camera), levels) for camera, levels in table.items()}


def look_up(table: NoiseTable, camera: str | None, iso: int | None) -> tuple[float, float]:
    """Return (beta1, beta2) of a camera at an ISO speed.

    Raises:
        ValueError: If the table does not have it; the message names what it has.
    """
    levels = table.get(str(camera))
    if levels is None:
        raise ValueError(
            f"the noise level table has no camera {camera!r}; it knows {', '.join(sorted(table))}. "
            "Give a `table` of your own, or `beta1` and `beta2`."
        )
    if iso is None or iso not in levels:
        known = ", ".join(str(speed) for speed in sorted(levels))
        raise ValueError(
            f"the noise level table has no ISO {iso} for camera {camera!r}; it knows {known}."
        )
    return levels[iso]


def _read_camera(camera: str, levels: object) -> dict[int, tuple[float, float]]:
    if not isinstance(levels, Mapping) or not levels:
        raise ValueError(f"table['{camera}'] must map ISO -> [beta1, beta2]; it is {levels!r}.")
    return {_read_iso(camera, iso): _read_betas(camera, iso, pair) for iso, pair in levels.items()}


def _read_iso(camera: str, iso: object) -> int:
    try:
        return int(str(iso))
    except ValueError:
        raise ValueError(f"table['{camera}'] has {iso!r} where an ISO speed belongs.") from None


def _read_betas(camera: str, iso: object, pair: object) -> tuple[float, float]:
    values = list(pair) if isinstance(pair, list | tuple) else []
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if (
        len(values) != 2
        or not numeric
        or not min(values) >= 0
        or not 0 < max(values) < float("inf")
    ):
        raise ValueError(
            f"table['{camera}'][{iso}] must be [beta1, beta2], numbers >= 0 and not both 0; "
            f"it is {pair!r}."
        )
    return float(values[0]), float(values[1])
