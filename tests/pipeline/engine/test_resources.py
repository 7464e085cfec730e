"""Actors: never all CPUs, never more than there is, and no wish that waits for ever."""

from __future__ import annotations

import pytest

from pipeline.engine.resources import ActorPool, Machine, actor_pool_for
from pipeline.errors import PlanError
from pipeline.manifest.models import Resources


def pool(machine: Machine, **wishes: float) -> ActorPool:
    return actor_pool_for(Resources.model_validate(wishes), machine)


MACHINES = [Machine(c, 0, n) for c, n in ((1, 1), (2, 1), (3, 1), (16, 1), (4, 2), (4, 4), (64, 8))]


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_however_actors_are_spread_one_machine_has_a_whole_cpu_left(machine: Machine) -> None:
    for actors in range(1, machine.cpus + 1):
        for threads in (1, 2, 5):
            found = pool(machine, actors=actors, threads=threads)
            assert found.actors == actors
            # At worst every machine keeps just under one CPU, which no cut task fits in.
            assert found.actors * found.cpus <= machine.cpus - machine.nodes + 1e-9
            # Ray counts in ten-thousandths.
            assert round(found.cpus * 10_000) == pytest.approx(found.cpus * 10_000)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("threads", [1, 2, 100])
def test_without_wishes_as_many_actors_work_as_have_cpus(machine: Machine, threads: int) -> None:
    found = pool(machine, threads=threads)
    assert found.actors == max(1, machine.cpus // threads)
    assert found.threads == threads
    assert found.gpus == 0


def test_actors_reserve_their_threads_where_there_is_room() -> None:
    assert pool(Machine(16, 0), actors=3, threads=4).cpus == 4
    assert pool(Machine(16, 0), actors=4, threads=4).cpus == 3.75


def test_no_actor_reserves_more_than_a_machine_has() -> None:
    assert pool(Machine(8, 0, 4), actors=1, threads=6).cpus <= 2


def test_more_actors_than_cpus_are_refused_with_the_number_that_fits() -> None:
    with pytest.raises(PlanError, match=r"3 actors on 2 CPUs .*wait for ever.* to 2 or less"):
        pool(Machine(2, 0), actors=3)


@pytest.mark.parametrize(
    ("machine", "wishes", "remedy"),
    [
        (Machine(8, 0), {"gpus_per_actor": 1}, "gpus_per_actor to 0"),
        (Machine(8, 1), {"gpus_per_actor": 1, "actors": 2}, "actors to 1 or"),
        (Machine(8, 1), {"gpus_per_actor": 0.4, "actors": 3}, "actors to 2 or"),
        # 1.8 of 2 GPUs, but no third actor fits on either.
        (Machine(8, 2), {"gpus_per_actor": 0.6, "actors": 3}, "actors to 2 or"),
        (Machine(8, 3), {"gpus_per_actor": 2, "actors": 2}, "actors to 1 or"),
    ],
)
def test_more_gpus_than_there_are_is_refused_with_what_fits(
    machine: Machine, wishes: dict[str, float], remedy: str
) -> None:
    with pytest.raises(PlanError, match=f"wait for ever.*{remedy}"):
        pool(machine, **wishes)


@pytest.mark.parametrize(
    ("machine", "wishes", "actors", "gpus"),
    [
        (Machine(8, 2), {}, 2, 1),
        (Machine(8, 2), {"gpus_per_actor": 0}, 8, 0),
        (Machine(8, 2), {"gpus_per_actor": 0.25}, 8, 0.25),
        (Machine(8, 1), {"gpus_per_actor": 0.1}, 8, 0.1),
        (Machine(64, 1), {"gpus_per_actor": 0.1}, 10, 0.1),
        (Machine(8, 2), {"gpus_per_actor": 0.6}, 2, 0.6),
        (Machine(2, 4), {}, 2, 1),
    ],
)
def test_gpus_are_used_where_there_are_any(
    machine: Machine, wishes: dict[str, float], actors: int, gpus: float
) -> None:
    found = pool(machine, **wishes)
    assert (found.actors, found.gpus) == (actors, gpus)
