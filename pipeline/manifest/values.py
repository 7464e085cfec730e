"""Reading single values of a manifest: numbers of bytes."""

from __future__ import annotations

__all__ = ["parse_bytes"]

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}


def parse_bytes(value: str | int) -> int:
    """Read a number of bytes, with or without a unit.

    Args:
        value: Bytes as a number, or text such as ``64MB`` (10**6) or ``1 GiB`` (2**30).

    Returns:
        Bytes, > 0.

    Raises:
        ValueError: If the text is no number of bytes, or is below one byte.

    Example:
        >>> parse_bytes("64MB"), parse_bytes("1 GiB"), parse_bytes(512)
        (64000000, 1073741824, 512)
    """
    text = str(value).strip().lower()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ").strip()
    unit = text[len(digits) :].strip()
    try:
        size = int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise ValueError(f"{value!r} is no number of bytes; write 64MB, 1GiB or 1048576") from None
    if size <= 0:
        raise ValueError(f"{value!r} must be more than 0 bytes")
    return size
