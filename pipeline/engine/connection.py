"""Ray: joining a cluster, or starting one of this machine, and leaving it again.

Ray's own progress bars and logs are off: the stages report to a small actor, and the driver shows
it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.engine.ray_console import ray_prints_to_stderr, without_native_log
from pipeline.engine.resources import Machine

__all__ = ["cluster_machine", "connected"]

_QUIET = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    # At any other level Ray warns at each start that its actors have constructor arguments.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray ends workers that idle for a second where there are more than CPUs, and the actors count:
    # every shard would wait for a new process (20 shards: 27 s instead of 1.2 s).
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # Ray's import hook for uv would ship the working directory of whoever starts a run.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@contextmanager
def connected(address: str | None, machine: Machine) -> Iterator[None]:
    """Join the cluster at an address, or start a local one; leave it at the end.

    Args:
        address: ``ray://...``, ``host:port``, ``auto``, or ``None`` for a local cluster.
        machine: CPUs and GPUs of a local cluster.

    Raises:
        ConnectionError: If there is no cluster at the address.
    """
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    import ray

    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "ignore_reinit_error": True}
    local = {"num_cpus": machine.cpus, "num_gpus": machine.gpus, "include_dashboard": False}
    try:
        with without_native_log():
            ray.init(**(local if address is None else {"address": address}), **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = (
            "start a local Ray cluster" if address is None else f"join the Ray cluster {address}"
        )
        raise ConnectionError(f"cannot {where}: {error}") from error
    with ray_prints_to_stderr():
        try:
            yield
        finally:
            ray.shutdown()


def cluster_machine() -> Machine:
    """Return the CPUs, GPUs and worker machines of the cluster joined."""
    import ray

    found = ray.cluster_resources()
    nodes = sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1)
    return Machine(int(found.get("CPU", 1)), int(found.get("GPU", 0)), max(nodes, 1))
