"""Where images come from: one file a layout, one function for all of them.

:func:`scan` turns the sources of a manifest into image records in a fixed order, and says of every
input that was refused what is wrong with it.
"""

from collections.abc import Sequence

from pipeline.images import display
from pipeline.manifest.models import Source, Splits
from pipeline.records import ImageRecord
from pipeline.sources.ancestry import photographs_behind, photographs_of
from pipeline.sources.base import Scan, duplicate, with_capture
from pipeline.sources.splits import split_of
from pipeline.sources.views import load_training_views

__all__ = [
    "Scan",
    "load_training_views",
    "photographs_behind",
    "photographs_of",
    "scan",
    "scan_for_training",
    "split_of",
]


def scan(sources: Sequence[Source], splits: Splits) -> Scan:
    """Read the headers of sources of clean images.

    Args, returns and raises as :func:`scan_for_training`, and:

    Raises:
        ValueError: If a source gives noisy images without a clean one.
    """
    found = scan_for_training(sources, splits)
    for record in found.records:
        if record.role != "clean":
            raise ValueError(
                f"source '{record.source}' gives noisy images without a clean one "
                f"({display(record.uri)}); only a training that needs no clean image can use "
                "them. Take a source of clean images or of pairs (SIDD: layout small, medium, full "
                "or validation with `offer: pairs`)."
            )
    return found


def scan_for_training(sources: Sequence[Source], splits: Splits) -> Scan:
    """Read the headers of all sources, noisy images without a clean one included.

    Args:
        sources: Sources of a manifest.
        splits: How scenes without a split of their own are divided.

    Returns:
        Records and rejects, in the order of the sources and of their files; the same for the same
        files whatever the machine. No two records have the same ``image_id``.

    Raises:
        FileNotFoundError: If a folder, CSV or corpus does not exist.
        ValueError: If a source is empty or its metadata wrong, or if the same picture or the same
            scene of a source is in two splits.
    """
    total = Scan()
    by_id: dict[str, ImageRecord] = {}
    by_content: dict[str, ImageRecord] = {}
    for source in sources:
        found: Scan = source.scan(splits)
        total.rejects.extend(found.rejects)
        total.indexes.update(found.indexes)
        for record in (with_capture(one, source.capture or {}) for one in found.records):
            other = by_content.setdefault(record.sha256, record)
            if other.split != record.split:
                raise ValueError(
                    f"the same picture is in two splits: {other.uri} in {other.split}, "
                    f"{record.uri} in {record.split}. Remove one, or give both sources one split."
                )
            first = by_id.setdefault(record.image_id, record)
            if first is record:
                total.records.append(record)
            else:
                total.rejects.append(duplicate(record.uri, first.uri))
    return total
