"""The stages as a Ray Data graph: the only place that knows Ray Data.

One row of the dataset is one shard (a pickled value), from the plan to the record that the writer
returns; nothing large passes through the driver.

An exception in a stage travels as a value of its own through the stages behind it and is raised on
the driver. Left to Ray it would come back as text inside Ray's own exceptions.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.engine.connection import cluster_machine
from pipeline.engine.progress_actor import ProgressActor
from pipeline.engine.resources import ActorPool
from pipeline.engine.work import ShardWork, Stages
from pipeline.errors import WorkerError

__all__ = ["run_on_ray"]

# Crashes are counted for each shard; this is for what hangs. A shard of large patches through a
# network on one CPU may rightly take half an hour.
_NO_PROGRESS_S = 2 * 3600
# A cluster that grows when it is asked to may take a while to have a machine.
_ACTORS_START_S = 1800


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a stage raised, on its way to the driver."""

    error: BaseException

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        """Wrap an exception in a form that survives the way."""
        try:
            copy = pickle.loads(pickle.dumps(error))
        except Exception:
            copy = RuntimeError(f"{type(error).__name__}: {error}")
        # Shown by NOISEMILL_DEBUG=1; the driver's own traceback knows nothing of the worker.
        copy.add_note(f"In a worker:\n{''.join(traceback.format_exception(error))}")
        return cls(copy)


def _through(stage: Callable[[Any], Any], row: dict[str, bytes]) -> dict[str, bytes]:
    """Take one shard through a stage; a failure from before passes it untouched."""
    work = pickle.loads(row["work"])
    if not isinstance(work, _Failure):
        try:
            work = stage(work)
        except Exception as error:
            work = _Failure.of(error)
    return {"work": _dump(work)}


@dataclass(frozen=True, slots=True)
class _Counted:
    """A stage that reports when it begins a shard, and what it did."""

    name: str
    stage: Callable[[Any], Any]
    progress: ProgressActor

    def __call__(self, work: Any) -> Any:
        self.progress.begin(self.name, work)
        result = self.stage(work)
        self.progress.add(self.name, *result.counts)
        return result


class _Task:
    """Tasks of one CPU: a shard in, a shard out."""

    def __init__(self, name: str, stage: Callable[[Any], Any], progress: ProgressActor) -> None:
        self.stage = _Counted(name, stage, progress)

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        import cv2

        # One task, one CPU: OpenCV would otherwise start a thread a core in every worker.
        cv2.setNumThreads(1)
        return _through(self.stage, row)


class _Generator:
    """The actor: loads the generators once, then serves shards."""

    def __init__(
        self,
        make: Callable[[str, int], Callable[[Any], Any]],
        threads: int,
        gpus: float,
        progress: ProgressActor,
    ) -> None:
        self.fault: Exception | None = None
        try:
            self.stage = _Counted("generate", make("cuda:0" if gpus else "cpu", threads), progress)
        except Exception as error:
            # Raised with the first shard, so that it comes back as what it is.
            self.fault = error

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        return _through(self._work, row)

    def _work(self, work: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        return self.stage(work)


def run_on_ray(
    tasks: Sequence[ShardWork], stages: Stages, *, pool: ActorPool, progress: ProgressActor
) -> Iterator[Any]:
    """Make shards on the cluster joined; records come as shards finish, in any order.

    Args:
        tasks: The shards to be made; at least one.
        stages: What each goes through.
        pool: The generator actors.
        progress: Where stages report.

    Raises:
        WorkerError: If workers are lost and trying again does not help.
        Exception: What a stage raised. Shards already recorded stay in either case.
    """
    import ray.exceptions

    dataset = _dataset(tasks, stages, pool=pool, progress=progress)
    try:
        for row in dataset.iter_rows():
            work = pickle.loads(row["work"])
            if isinstance(work, _Failure):
                raise work.error
            yield work
    except ray.exceptions.RayError as error:
        raise WorkerError(
            "Ray lost workers and could not go on; finished shards are kept, run it again. "
            f"Ray says: {str(error).strip().splitlines()[0]}"
        ) from error


def _dataset(
    tasks: Sequence[ShardWork], stages: Stages, *, pool: ActorPool, progress: ProgressActor
) -> Any:
    """Wire the stages; nothing runs yet."""
    import ray.data

    from pipeline.engine.backpressure import limit_shards

    context = ray.data.DataContext.get_current()
    _configure(context)
    actors = min(pool.actors, len(tasks))
    # An actor has one shard in work and one waiting; a CPU has one to cut or to write.
    limit_shards(context, 2 * actors + cluster_machine().cpus)
    rows = [{"work": _dump(task)} for task in tasks]
    return (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map(_Task("cut", stages.cut, progress), num_cpus=1)
        .map(
            _Generator,
            fn_constructor_args=(stages.generate, pool.threads, pool.gpus, progress),
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
            # Not 1: Ray makes one task of two stages that ask for the same. Then the actor cuts its
            # shards itself, and while it generates nobody does.
            num_cpus=0.99 if pool.cpus == 1 else pool.cpus,
            num_gpus=pool.gpus or None,
        )
        .map(_Task("write", stages.write, progress), num_cpus=1)
    )


def _configure(context: Any) -> None:
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    # A shard must stay one block, however large.
    context.target_max_block_size = None
    context.execution_options.preserve_order = False
    context.execution_options.verbose_progress = False
    # Ray Data's shares of CPUs let nothing be written on two CPUs while there is something to cut.
    context.op_resource_reservation_enabled = False
    # Where nothing runs Ray Data passes over every limit; so it is while actors load networks.
    context.wait_for_min_actors_s = _ACTORS_START_S
    if hasattr(context, "execution_no_progress_timeout_s"):
        context.execution_no_progress_timeout_s = _NO_PROGRESS_S


def _dump(value: object) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
