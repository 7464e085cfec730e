"""Ray: starting or joining a cluster, and the only place where the stages become a Ray Data graph.

One row of the dataset is one shard (a pickled value), from the plan to the record that the writer
returns; nothing large passes through the driver. Ray's own progress bars and logs are off: the
stages report to a small actor, and the driver shows it.

An exception in a stage travels as a value of its own through the stages behind it and is raised on
the driver. Left to Ray it would come back as text inside Ray's own exceptions.
"""

from __future__ import annotations

import logging
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.building.plan import PlannedShard
from pipeline.building.progress import Ledger
from pipeline.building.recipe import load_generators
from pipeline.building.stages.cut import CutStage
from pipeline.building.stages.generate import GenerateStage
from pipeline.building.stages.work import CutShard, CutTask, MadeShard
from pipeline.building.stages.write import WriteStage
from pipeline.corpus.shard_records import ShardRecord
from pipeline.engine.ray_console import ray_prints_to_stderr, without_native_log
from pipeline.engine.resources import Crew, Machine
from pipeline.errors import WorkerError
from pipeline.manifest.models import CorpusManifest

__all__ = ["Board", "cluster_machine", "connected", "run_on_ray"]

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
# Crashes are counted for each shard; this is for what hangs. A shard of large patches through a
# network on one CPU may rightly take half an hour.
_NO_PROGRESS_S = 2 * 3600
# A cluster that grows when it is asked to may take a while to have a machine.
_ACTORS_START_S = 1800


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


@dataclass(frozen=True, slots=True)
class Board:
    """Handle of the actor that counts; picklable, so stages carry it to their workers.

    Args:
        actor: The actor.
        attempts: How often a stage may begin a shard. Ray itself tries for ever what kills its
            worker.
    """

    actor: Any
    attempts: int

    @classmethod
    def start(cls, attempts: int) -> Board:
        """Start the counting actor; it reserves no CPU."""
        import ray

        return cls(ray.remote(num_cpus=0)(Ledger).remote(), attempts)

    def begin(self, stage: str, shard: PlannedShard) -> None:
        """Count that a stage begins a shard.

        Raises:
            WorkerError: If it was begun too often and never came to an end.
        """
        import ray

        if ray.get(self.actor.begin.remote(stage, shard.index)) > self.attempts:
            raise WorkerError(
                f"shard {shard.name.stem} has ended its worker process {self.attempts} times in "
                f"stage {stage} (out of memory, killed, or a crash in native code). Smaller shards "
                "(output.rows_per_shard), smaller batches or fewer actors need less memory; "
                "finished shards are kept."
            )

    def add(self, stage: str, patches: int, rejected: int) -> None:
        """Count, without waiting."""
        self.actor.add.remote(stage, patches, rejected)

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Return (patches, rejected) of each stage."""
        import ray

        return dict(ray.get(self.actor.snapshot.remote()))


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


class _Cut:
    """Cut tasks: one shard's task in, one cut shard out."""

    def __init__(self, stage: CutStage, board: Board) -> None:
        self.stage, self.board = stage, board

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        import cv2

        # One task, one CPU: OpenCV would otherwise start a thread a core in every worker.
        cv2.setNumThreads(1)
        return _through(self._work, row)

    def _work(self, task: CutTask) -> CutShard:
        self.board.begin("cut", task.shard)
        cut = self.stage(task)
        self.board.add("cut", len(cut.rows), len(task.shard) - len(cut.rows))
        return cut


class _Generate:
    """The actor: loads the generators once, then serves shards."""

    def __init__(self, manifest: CorpusManifest, threads: int, gpus: float, board: Board) -> None:
        self.board = board
        try:
            self.stage: GenerateStage | Exception = _generate_stage(manifest)
            self.stage.place("cuda:0" if gpus else "cpu", threads)
        except Exception as error:
            # Raised with the first shard, so that it comes back as what it is.
            self.stage = error

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        return _through(self._work, row)

    def _work(self, cut: CutShard) -> MadeShard:
        if isinstance(self.stage, Exception):
            raise self.stage
        self.board.begin("generate", cut.task.shard)
        made = self.stage(cut)
        rows = len(made.columns["sample_id"])
        self.board.add("generate", rows, len(cut.task.shard) - rows)
        return made


class _Write:
    """Write tasks: one shard in, its record out."""

    def __init__(self, stage: WriteStage, board: Board) -> None:
        self.stage, self.board = stage, board

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        return _through(self._work, row)

    def _work(self, made: MadeShard) -> ShardRecord:
        self.board.begin("write", made.task.shard)
        record = self.stage(made)
        self.board.add("write", record.rows, record.planned - record.rows)
        return record


def run_on_ray(
    tasks: Sequence[CutTask],
    manifest: CorpusManifest,
    *,
    cut: CutStage,
    write: WriteStage,
    crew: Crew,
    board: Board,
) -> Iterator[ShardRecord]:
    """Make shards on the cluster joined; records come as shards finish, in any order.

    Args:
        tasks: The shards to be made; at least one.
        manifest: The corpus.
        cut: The cut stage.
        write: The write stage.
        crew: The generator actors.
        board: Where stages report.

    Raises:
        WorkerError: If workers are lost and trying again does not help.
        Exception: What a stage raised. Shards already recorded stay in either case.
    """
    import ray.exceptions

    dataset = _dataset(tasks, manifest, cut=cut, write=write, crew=crew, board=board)
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
    tasks: Sequence[CutTask],
    manifest: CorpusManifest,
    *,
    cut: CutStage,
    write: WriteStage,
    crew: Crew,
    board: Board,
) -> Any:
    """Wire the stages; nothing runs yet."""
    import ray.data

    from pipeline.engine.backpressure import limit_shards

    context = ray.data.DataContext.get_current()
    _configure(context)
    actors = min(crew.actors, len(tasks))
    # An actor has one shard in work and one waiting; a CPU has one to cut or to write.
    limit_shards(context, 2 * actors + cluster_machine().cpus)
    rows = [{"work": _dump(task)} for task in tasks]
    return (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map(_Cut(cut, board), num_cpus=1)
        .map(
            _Generate,
            fn_constructor_args=(manifest, crew.threads, crew.gpus, board),
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
            # Not 1: Ray makes one task of two stages that ask for the same. Then the actor cuts its
            # shards itself, and while it generates nobody does.
            num_cpus=0.99 if crew.cpus == 1 else crew.cpus,
            num_gpus=crew.gpus or None,
        )
        .map(_Write(write, board), num_cpus=1)
    )


def _generate_stage(manifest: CorpusManifest) -> GenerateStage:
    loaded = load_generators(manifest.generators, precision=manifest.resources.precision)
    return GenerateStage(
        loaded,
        seed=manifest.seed,
        size=manifest.patches.size,
        batch_size=manifest.resources.batch_size,
        encoding=manifest.output.encoding,
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
