"""sRGB or packed raw: an evaluation follows its images, and takes only measures that fit them.

Raw is linear, with the white level at 1, and most of it is dark: rounded to 8 bits its noise is
gone. So conventions that round are refused there, with the names of those that do not.
"""

from __future__ import annotations

from collections.abc import Sequence

from generators.base import Domain
from pipeline.manifest.models import EvaluateManifest
from pipeline.measure.metrics.kld import CONVENTIONS
from pipeline.measure.metrics.quality import QUALITY_CONVENTIONS
from pipeline.records import ImageRecord

__all__ = ["check_domain", "one_domain"]

_KLD = [str(name) for name, rule in CONVENTIONS.items() if not rule.quantise_fake]
_QUALITY = [str(name) for name, rule in QUALITY_CONVENTIONS.items() if not rule.rounding]


def one_domain(records: Sequence[ImageRecord]) -> Domain:
    """Return the domain of the images.

    Raises:
        ValueError: If they are of both.
    """
    first = records[0]
    other = next((r for r in records if r.domain != first.domain), None)
    if other is not None:
        raise ValueError(
            f"data.sources mix {first.domain} images ({first.uri}) with {other.domain} ones "
            f"({other.uri}), whose figures cannot be averaged; make an evaluation of each."
        )
    return "raw" if first.domain == "raw" else "srgb"


def check_domain(manifest: EvaluateManifest, domain: Domain) -> None:
    """Refuse measures that are not defined on the images.

    Raises:
        ValueError: If one of the manifest's is not.
    """
    if domain == "srgb":
        return
    metrics = manifest.metrics
    key, named, fitting = "metrics.kld", [str(name) for name in metrics.kld], _KLD
    if manifest.denoisers is not None:
        key, named, fitting = "metrics.quality", [str(n) for n in metrics.quality], _QUALITY
    wrong = [name for name in named if name not in fitting]
    if wrong:
        raise ValueError(
            f"the images are raw, and {', '.join(wrong)} of {key} rounds to 8 bits, which dark "
            f"linear values do not survive; choose of {', '.join(fitting)}."
        )
    if manifest.generators is not None and metrics.nll == "dequantised":
        raise ValueError(
            "the images are raw, and metrics.nll `dequantised` spreads 8-bit values; set it to "
            "`as-stored`."
        )
