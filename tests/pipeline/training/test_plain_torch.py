"""What the architecture test says of sources, shown of a process: training needs torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline import training

BLOCKED = ("click", "cv2", "pyarrow", "pydantic", "ray", "rich")
THREE_STEPS = f"""
import importlib
import pkgutil
import sys
from pathlib import Path

sys.modules.update(dict.fromkeys({BLOCKED!r}))  # importing one raises ModuleNotFoundError

from pipeline.training import data, engine

for package in (data, engine):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)

import numpy as np
import torch

import denoisers
from pipeline.training.data.batches import StoreBatches
from pipeline.training.data.store import TrainingStore
from pipeline.training.data.training_image import TrainingImage
from pipeline.training.engine.denoiser import DenoiserTask
from pipeline.training.engine.loop import train
from pipeline.training.engine.schedule import LoopSettings

clean = np.full((24, 24, 3), 100, np.uint8)
pair = TrainingImage(clean=clean, noisy=clean + 5, camera="", iso=0, scene="flat")
store = TrainingStore([pair], patch=16, max_offset=None, window=16)
task = DenoiserTask(
    denoisers.create("dncnn", channels=3, seed=1, width=4, depth=3),
    StoreBatches(store=store, size=2, seed=1, augmentation="none", use="pairs"),
    loss="l1",
    device=torch.device("cpu"),
)
result = train(
    task,
    LoopSettings(steps=3, learning_rate=1e-3),
    Path(sys.argv[1]),
    device=torch.device("cpu"),
    report=lambda progress: None,
)
task.close()
print(result.step)
"""


def test_engine_and_data_train_where_the_tools_of_manifests_and_clusters_are_not_installed(
    tmp_path: Path,
) -> None:
    root = Path(next(iter(training.__path__))).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", THREE_STEPS, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr[-2000:]) == (0, "3\n", "")
    assert (tmp_path / "checkpoint.pt").is_file()
