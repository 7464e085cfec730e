"""Who works: actors, their CPUs and GPUs, checked before anything starts.

An actor pool that reserves every CPU never lets a cut task run, and the job hangs for ever (Ray
issue 44687). So actors always leave one whole CPU: where there are as many of them as CPUs, each
reserves a fraction and they share. One whole CPU must be left on one machine, so of a cluster as
many CPUs stay free as it has machines: then, however Ray spreads the actors, one machine has one.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from pipeline.errors import PlanError
from pipeline.manifest.models import Resources

__all__ = ["ActorPool", "Machine", "actor_pool_for", "local_machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a cluster, or this machine, has: CPUs, GPUs, and machines that have CPUs."""

    cpus: int
    gpus: int
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class ActorPool:
    """The generator actors.

    Args:
        actors: How many.
        cpus: CPUs that each reserves; may be a fraction.
        gpus: GPUs that each reserves.
        threads: CPU threads that each uses.
    """

    actors: int
    cpus: float
    gpus: float
    threads: int


def local_machine() -> Machine:
    """Return the CPUs this process may use and the GPUs torch sees."""
    import torch

    return Machine(len(os.sched_getaffinity(0)), torch.cuda.device_count())


def actor_pool_for(resources: Resources, machine: Machine) -> ActorPool:
    """Decide on the actors.

    Args:
        resources: The manifest's wishes.
        machine: What there is.

    Raises:
        PlanError: If the wishes would leave the run waiting for ever.
    """
    gpus = resources.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if machine.gpus else 0.0
    actors = resources.actors or _as_many_as_fit(machine, gpus, resources.threads)
    if gpus and actors > _room(machine, gpus):
        raise PlanError(
            f"resources: {actors} actors of {gpus:g} GPUs need {gpus * actors:g} GPUs and there "
            f"are {machine.gpus}; the run would wait for ever. {_remedy(gpus, machine)}"
        )
    if actors > machine.cpus:
        raise PlanError(
            f"resources: {actors} actors on {machine.cpus} CPUs leave none for reading and "
            f"writing; the run would wait for ever. Set resources.actors to {machine.cpus} or less."
        )
    free = max(0, machine.cpus - machine.nodes)
    # No actor may ask for more CPUs than a machine has, as far as that is known here.
    reserve = min(float(resources.threads), free / actors, machine.cpus / machine.nodes)
    # Ray counts CPUs in ten-thousandths; rounding down keeps the last CPU whole.
    return ActorPool(actors, int(reserve * 100) / 100, gpus, resources.threads)


def _remedy(gpus: float, machine: Machine) -> str:
    fitting = _room(machine, gpus)
    if not fitting:
        return "Set resources.gpus_per_actor to 0."
    return f"Set resources.actors to {fitting} or resources.gpus_per_actor to 0."


def _as_many_as_fit(machine: Machine, gpus: float, threads: int) -> int:
    if gpus:
        return max(1, min(_room(machine, gpus), machine.cpus))
    return max(1, machine.cpus // threads)


def _room(machine: Machine, gpus: float) -> int:
    """Return how many actors the GPUs hold; an actor's share lies on one GPU, or on whole ones."""
    share = round(gpus, 4)
    if share < 1:
        return machine.gpus * int((1 + 1e-9) / share)
    return int(machine.gpus // math.ceil(share))
