"""What all report pages share: the template environment, its filters, words for keys.

A page is one HTML file without scripts and without outside resources. ``style.html.j2`` is the
style sheet that every template includes.
"""

from __future__ import annotations

import math
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

__all__ = ["count", "fixed", "label", "layout", "plain", "sig", "size", "time"]


def layout(name: str) -> Template:
    """Return one of the package's templates."""
    # Everything is escaped: names of files, cameras and generators come from outside.
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {"count": count, "fixed": fixed, "label": label, "sig": sig, "size": size, "time": time}
    )
    return environment.get_template(name)


def label(key: str) -> str:
    """Return a key as words.

    Example:
        >>> label("gpu_memory")
        'GPU memory'
    """
    words = key.replace("_", " ").replace("cpu", "CPU").replace("gpu", "GPU")
    return words[:1].upper() + words[1:]


def plain(value: Any) -> str:
    """Return a JSON value as text; lists with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def count(value: float) -> str:
    """Return a whole number with separators of thousands."""
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Return a number of bytes.

    Example:
        >>> size(1500), size(123_456_789)
        ('1.5 kB', '123 MB')
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"


def time(seconds: float) -> str:
    """Return a duration.

    Example:
        >>> time(1.25), time(7260)
        ('1.2 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def sig(value: float | None, digits: int = 3) -> str:
    """Return a number to a few significant digits, and a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}g}".replace("-", "−")


def fixed(value: float | None, digits: int = 2) -> str:
    """Return a number to a fixed number of digits, and a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    # Adding 0 after rounding turns -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _source(name: str) -> str:
    return files("pipeline.report").joinpath(name).read_text(encoding="utf-8")
