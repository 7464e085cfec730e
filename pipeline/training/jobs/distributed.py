"""A denoiser's training shared by several processes: Ray Train starts them, torch's DDP joins them.

Worker r of N takes rows r B / N to (r + 1) B / N of every batch of B rows, which are the rows that
one process would draw there. Each worker's loss is the mean over its rows, DDP averages the
gradients, and equal shares make that the gradient of the whole batch: the same training but for the
order of sums. Batch norm alone differs: it normalises by the worker's own share, not by the whole
batch (torch synchronises it on GPUs only), and the running statistics are those of the first
worker.

The first worker writes checkpoint, log and validation into the training's folder, which all
workers must see. An interrupted training goes on from the checkpoint with any number of workers.
Collectives run on gloo between CPUs and on NCCL between GPUs.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.manifest.models import TrainDenoiserManifest
from pipeline.training.engine.loop import ProcessGroup, TrainingProgress, train
from pipeline.training.jobs.denoiser_task import prepare_denoiser
from pipeline.training.jobs.schedule import loop_settings

__all__ = ["train_on_ray"]

_POLL_S = 0.5
_STATE = "_ray"
# One worker validates while the others wait for its next gradient.
_TIMEOUT = timedelta(hours=2)


def train_on_ray(
    manifest: TrainDenoiserManifest, folder: Path, *, report: Callable[[TrainingProgress], None]
) -> None:
    """Train with ``manifest.workers`` processes until the folder holds the last checkpoint.

    Args:
        manifest: The training.
        folder: Of the training; gets ``checkpoint.pt`` and ``log.jsonl``.
        report: Called with every line that the workers add to the log.

    Raises:
        ConnectionError: If there is no cluster at the manifest's address.
        ValueError: If the cluster has fewer CPUs or GPUs than workers.
        RuntimeError: If a worker fails; the message is its own.
    """
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    from pipeline.engine.connection import cluster_machine, connected
    from pipeline.engine.resources import Machine

    gpu = torch.device(manifest.schedule.device).type == "cuda"
    local = Machine(
        max(os.cpu_count() or 1, manifest.workers), torch.cuda.device_count() if gpu else 0
    )
    with connected(manifest.address, local):
        machine = cluster_machine()
        there = machine.gpus if gpu else machine.cpus
        if there < manifest.workers:
            raise ValueError(
                f"{manifest.workers} workers need a {'GPU' if gpu else 'CPU'} each, and the "
                f"cluster has {there}; lower `workers` or join a larger one."
            )
        with _followed(folder / "log.jsonl", manifest.schedule.steps, report):
            _fit(manifest, folder.resolve(), gpu=gpu)


def _fit(manifest: TrainDenoiserManifest, folder: Path, *, gpu: bool) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    logging.getLogger("ray.train").setLevel(logging.ERROR)
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "manifest": manifest.model_dump(mode="json"),
            "folder": str(folder),
            "directory": os.getcwd(),  # manifests' relative paths start here
        },
        scaling_config=ScalingConfig(num_workers=manifest.workers, use_gpu=gpu),
        torch_config=TorchConfig(
            backend="nccl" if gpu else "gloo", timeout_s=int(_TIMEOUT.total_seconds())
        ),
        run_config=RunConfig(name="ray-train", storage_path=str(folder / _STATE)),
    )
    try:
        trainer.fit()
    except Exception as error:
        raise RuntimeError(f"a worker of the training failed: {_cause(error)}") from error
    finally:
        shutil.rmtree(folder / _STATE, ignore_errors=True)


def _work(config: dict[str, Any]) -> None:
    """Train one worker's share; runs in the worker's process."""
    from ray import train as ray_train
    from ray.train.torch import get_device

    if Path(config["directory"]).is_dir():
        os.chdir(config["directory"])
    manifest = TrainDenoiserManifest.model_validate(config["manifest"])
    context = ray_train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(manifest.schedule.threads or 1)
    device = torch.device(get_device())
    part = manifest.schedule.batch_size // workers
    ready = prepare_denoiser(
        manifest,
        share=range(rank * part, (rank + 1) * part),
        validated=rank == 0,
        device=device,
    )
    task = ready.task
    task.forward = nn.parallel.DistributedDataParallel(
        task.module, device_ids=[device] if device.type == "cuda" else None
    )

    def mean(value: Tensor) -> Tensor:
        total = value.clone()
        torch.distributed.all_reduce(total)
        shared: Tensor = total / workers
        return shared

    try:
        train(
            task,
            loop_settings(manifest),
            Path(config["folder"]),
            device=device,
            report=lambda progress: None,
            processes=ProcessGroup(leads=rank == 0, mean=mean),
        )
        torch.distributed.barrier()
    finally:
        task.close()


class _followed:
    """Reads a log while somebody else writes it, and tells its new lines.

    Args:
        path: The log.
        steps: Of the training.
        report: Called with every new line.
    """

    def __init__(self, path: Path, steps: int, report: Callable[[TrainingProgress], None]) -> None:
        self._path, self._steps, self._report = path, steps, report
        self._told = _last_step(path)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._tell()

    def _follow(self) -> None:
        while not self._ended.wait(_POLL_S):
            self._tell()

    def _tell(self) -> None:
        for line in _lines(self._path):
            if line["step"] <= self._told:
                continue
            self._told = line["step"]
            self._report(
                TrainingProgress(
                    step=line["step"],
                    steps=self._steps,
                    loss=float("nan") if line["loss"] is None else line["loss"],
                    learning_rate=line["learning_rate"],
                    seconds=line["seconds"],
                    skipped=line["skipped"],
                    validation=line.get("validation"),
                )
            )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in text if line.endswith("\n")]


def _last_step(path: Path) -> int:
    lines = _lines(path)
    return int(lines[-1]["step"]) if lines else 0


def _cause(error: BaseException) -> str:
    """Return what the worker itself said: the last line that names an exception."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
