"""The audit of many pairs, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.audit.measure import PairAudit, measure_pair
from pipeline.images import ImageError, display, read_pixels
from pipeline.records import ImageRecord

if TYPE_CHECKING:
    from pipeline.manifest.models import AuditLimits

__all__ = ["AuditRow", "audit_records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """The audit of one pair.

    Args:
        record: The pair.
        audit: Its measures; None if it could not be measured.
        problem: Why it could not, in one line; None if it could.
    """

    record: ImageRecord
    audit: PairAudit | None
    problem: str | None = None

    def verdict(self, limits: AuditLimits | None = None) -> list[str]:
        """Say why the pair is suspect; see :meth:`PairAudit.verdict`."""
        if self.audit is None:
            return [self.problem or "not measured"]
        return self.audit.verdict(limits)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        measures = {} if self.audit is None else self.audit.to_dict()
        return {
            "clean": display(self.record.uri),
            "noisy": display(self.record.noisy_uri or ""),
            "scene": self.record.scene,
            "split": self.record.split,
            "camera": self.record.camera,
            "iso": self.record.iso,
            "problem": self.problem,
            **measures,
        }


def audit_records(records: Iterable[ImageRecord], *, window: int = 128) -> Iterator[AuditRow]:
    """Measure pairs one after the other.

    Args:
        records: Image records; those without a noisy partner are passed over.
        window: Side of a region, pixels.

    Yields:
        A row a pair, also for those that cannot be read or whose sizes differ.
    """
    for record in records:
        if record.noisy_uri is None:
            continue
        try:
            clean, noisy = read_pixels(record.uri), read_pixels(record.noisy_uri)
            if clean.shape != noisy.shape:
                problem = f"size mismatch: clean is {clean.shape} and noisy is {noisy.shape}"
                yield AuditRow(record=record, audit=None, problem=problem)
                continue
            audit = measure_pair(clean, noisy, window=window)
        except ImageError as error:
            yield AuditRow(record=record, audit=None, problem=str(error))
            continue
        yield AuditRow(record=record, audit=audit)
