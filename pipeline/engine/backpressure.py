"""A window over shards: how many may be under way between the first stage and the disk.

Ray Data's own back-pressure counts bytes against 30 % of the machine's memory, so it cuts shard
after shard where cutting is fast: of 40 shards all were cut before the first was written, and
memory grew with the corpus. Here the first stage waits until a shard is written.

The policy class is Ray's internal extension point, the same from Ray 2.56 to 2.60; that it holds is
tested (tests/pipeline/building/test_run_on_ray.py).
"""

from __future__ import annotations

from typing import Any

from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
)
from ray.data._internal.execution.backpressure_policy.backpressure_policy import BackpressurePolicy

__all__ = ["ShardWindow", "limit_shards"]

_WINDOW = "noisemill.shards_under_way"


class ShardWindow(BackpressurePolicy):  # type: ignore[misc]
    """Holds the first stage back while as many shards are under way as the window has."""

    def can_add_input(self, op: Any) -> bool:
        """Return True if an operator may start on another shard."""
        stages = [one for one in self._topology if one.input_dependencies]
        if op is not stages[0]:
            return True
        under_way = op.metrics.num_tasks_submitted - stages[-1].metrics.num_tasks_finished
        return bool(under_way < self._data_context.get_config(_WINDOW))


def limit_shards(context: Any, window: int) -> None:
    """Let at most ``window`` shards be under way in datasets that run under a Ray data context."""
    context.set_config(_WINDOW, window)
    policies = [*ENABLED_BACKPRESSURE_POLICIES, ShardWindow]
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, policies)
