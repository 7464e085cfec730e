"""The pair audit: is a noisy image really the clean one plus noise?

:func:`measure_pair` measures one pair, as a whole and region by region, and its verdict says what
is suspect. :func:`patch_within` and :func:`pair_within` hold patches and pairs against a manifest's
limits. :func:`local_offset_map` tells training which places to leave out, and
:func:`check_same_scene` whether two noisy images belong together.
"""

from pipeline.audit.measure import (
    DEFAULT_LIMITS,
    PairAudit,
    measure_pair,
    pair_within,
    patch_within,
)
from pipeline.audit.offsets import local_offset_map
from pipeline.audit.run import AuditRow, audit_records
from pipeline.audit.scenes import check_same_scene, scene_correlation
from pipeline.audit.shift import Shift

__all__ = [
    "DEFAULT_LIMITS",
    "AuditRow",
    "PairAudit",
    "Shift",
    "audit_records",
    "check_same_scene",
    "local_offset_map",
    "measure_pair",
    "pair_within",
    "patch_within",
    "scene_correlation",
]
