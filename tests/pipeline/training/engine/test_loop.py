"""The loop: resumed to the bit, sceptical of numbers that are not finite, honest in its log."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.naflow.training import NAFlowTask
from pipeline.training.data.batches import StoreBatches
from pipeline.training.data.store import TrainingStore, write_store
from pipeline.training.data.training_image import TrainingImage
from pipeline.training.engine import loop
from pipeline.training.engine.checkpoint import load_checkpoint
from pipeline.training.engine.loop import (
    LoopSettings,
    TrainingProgress,
    TrainingResult,
    learning_rate,
    train,
)
from pipeline.training.engine.task import DataTask

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[4]  # of the tests; what they test may be installed elsewhere
RECIPE = LoopSettings(
    steps=6,
    learning_rate=1e-2,
    warmup_steps=2,
    clip_norm=1.0,
    ema=0.9,
    log_every=2,
    checkpoint_every=2,
)


def ignore(_: TrainingProgress) -> None:
    pass


class Line:
    """Fits ``w`` to the step's own target; loss or gradient can be made to fail at a step."""

    def __init__(
        self, *, bad: Callable[[int], bool] = lambda step: False, how: str = "loss"
    ) -> None:
        self.module = nn.Linear(2, 1)
        with torch.no_grad():
            self.module.weight.fill_(0.5)
            self.module.bias.fill_(0.0)
        self.bad, self.how, self.initialised = bad, how, 0

    def initialise(self) -> None:
        self.initialised += 1

    def loss(self, step: int) -> Tensor:
        value = (self.module(torch.tensor([1.0, 2.0])) - math.sin(step)).square().sum()
        if not self.bad(step):
            return value
        if self.how == "loss":
            return value * math.nan
        return value + (self.module.bias * 0).sum().sqrt()  # finite, with an infinite slope

    def validate(self) -> dict[str, float]:
        return {}


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def run(
    task: Any, folder: Path, settings: LoopSettings = RECIPE, stop_at: int | None = None
) -> TrainingResult:
    return train(task, settings, folder, device=CPU, report=ignore, stop_at=stop_at)


def flat(state: Any) -> dict[str, Any]:
    """Return a checkpoint's numbers by path, without the clock."""
    if isinstance(state, dict):
        parts = state.items()
    elif isinstance(state, list | tuple):
        parts = enumerate(state)
    else:
        return {"": state}
    return {
        f"{key}/{rest}": value
        for key, part in parts
        if key != "seconds"
        for rest, value in flat(part).items()
    }


def assert_same_to_the_bit(one: Path, other: Path) -> None:
    left, right = (
        flat(load_checkpoint(folder / "checkpoint.pt", device=CPU)) for folder in (one, other)
    )
    assert left.keys() == right.keys()
    for key, value in left.items():
        if isinstance(value, Tensor):
            assert value.dtype == right[key].dtype, key
            assert value.numpy().tobytes() == right[key].numpy().tobytes(), key
        else:
            assert value == right[key], key


# Resuming.


def make_store(path: Path) -> Path:
    rng = np.random.default_rng(2)
    images = []
    for number in range(2):
        clean = rng.integers(60, 190, (40, 48, 3), dtype=np.uint8)
        noisy = (clean + rng.normal(0, 5, clean.shape)).clip(0, 255).round().astype(np.uint8)
        images.append(
            TrainingImage(
                clean=clean, noisy=noisy, camera="S6", iso=100 + number, scene=f"{number}"
            )
        )
    write_store(path, images)
    return path


def make_naflow(store_file: Path) -> DataTask:
    store = TrainingStore.load(store_file, patch=16, max_offset=None, window=16)
    config = NAFlowConfig(
        configurations=("S6_00100", "S6_00101"), levels=2, condition_channels=8, hidden=8
    )
    batches = StoreBatches(store=store, size=4, seed=5, augmentation="flips", use="pairs")
    task = NAFlowTask(NAFlow(config), seed=5, dtype=torch.bfloat16)
    return DataTask(task, batches, device=CPU)


RESUME = """
import sys
for name in ("ray", "pydantic", "click", "cv2", "pyarrow", "yaml", "fsspec"):
    sys.modules[name] = None  # importing it raises ImportError
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from tests.pipeline.training.engine.test_loop import RECIPE, make_naflow, run
run(make_naflow(Path(sys.argv[2])), Path(sys.argv[3]), RECIPE)
"""


def test_a_training_resumed_in_a_process_without_ray_is_the_uninterrupted_one(
    tmp_path: Path,
) -> None:
    store = make_store(tmp_path / "pairs.h5")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other process: sums are rounded in the order of threads
    try:
        run(make_naflow(store), tmp_path / "whole")
        run(make_naflow(store), tmp_path / "halves", stop_at=3)
    finally:
        torch.set_num_threads(threads)
    half = load_checkpoint(tmp_path / "halves" / "checkpoint.pt", device=CPU)
    assert half["step"] == 3
    arguments = [str(ROOT), str(store), str(tmp_path / "halves")]
    done = subprocess.run(
        [sys.executable, "-c", RESUME, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert_same_to_the_bit(tmp_path / "whole", tmp_path / "halves")
    saved = load_checkpoint(tmp_path / "whole" / "checkpoint.pt", device=CPU)
    assert saved["step"] == 6
    assert {"module", "optimiser", "average"} <= saved.keys()
    moved = saved["module"]["levels.0.steps.0.actnorm.logs"]
    assert not torch.equal(moved, half["module"]["levels.0.steps.0.actnorm.logs"])


@pytest.mark.parametrize("ema", [None, 0.9])
def test_every_stop_resumes_to_the_same_training(tmp_path: Path, ema: float | None) -> None:
    settings = replace(RECIPE, ema=ema)
    whole, parts = Line(bad=lambda step: step == 4), Line(bad=lambda step: step == 4)
    run(whole, tmp_path / "whole", settings)
    for stop in (1, 2, 4, 5, None):
        parts = Line(bad=lambda step: step == 4)
        result = run(parts, tmp_path / "parts", settings, stop_at=stop)
        assert result.step == (stop or 6)
    assert_same_to_the_bit(tmp_path / "whole", tmp_path / "parts")
    assert torch.equal(whole.module.weight, parts.module.weight)
    assert result.skipped == 1


def test_a_training_killed_between_checkpoints_is_made_again_from_the_last(tmp_path: Path) -> None:
    run(Line(), tmp_path / "whole")

    class Killed(Line):
        def loss(self, step: int) -> Tensor:
            if step == 5:
                raise KeyboardInterrupt
            return super().loss(step)

    settings = replace(RECIPE, log_every=1)
    with pytest.raises(KeyboardInterrupt):
        run(Killed(), tmp_path / "killed", settings)
    assert [line["step"] for line in log_of(tmp_path / "killed")] == [1, 2, 3, 4, 5]
    assert load_checkpoint(tmp_path / "killed" / "checkpoint.pt", device=CPU)["step"] == 4
    run(Line(), tmp_path / "killed", settings)
    assert_same_to_the_bit(tmp_path / "whole", tmp_path / "killed")


def test_a_slow_training_leaves_checkpoints_by_the_clock_and_the_same_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(RECIPE, checkpoint_every=1000, log_every=4)
    run(Line(), tmp_path / "whole", settings)

    class Killed(Line):
        def loss(self, step: int) -> Tensor:
            if step == 2:
                raise KeyboardInterrupt
            return super().loss(step)

    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(Killed(), tmp_path / "killed", settings)
    assert load_checkpoint(tmp_path / "killed" / "checkpoint.pt", device=CPU)["step"] == 2
    run(Line(), tmp_path / "killed", settings)
    assert_same_to_the_bit(tmp_path / "whole", tmp_path / "killed")
    # A line's loss is the mean since the line before, also over an interruption.
    whole, killed = (log_of(tmp_path / name) for name in ("whole", "killed"))
    assert [line["loss"] for line in killed] == [line["loss"] for line in whole]


def test_only_a_fresh_training_is_initialised(tmp_path: Path) -> None:
    first, second = Line(), Line()
    run(first, tmp_path, stop_at=2)
    run(second, tmp_path)
    assert (first.initialised, second.initialised) == (1, 0)


def test_a_finished_training_does_nothing_and_gives_its_weights(tmp_path: Path) -> None:
    first, second = Line(bad=lambda step: False), Line(bad=lambda step: True)
    run(first, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    assert run(second, tmp_path).step == 6
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert torch.equal(first.module.weight, second.module.weight)


def test_stopping_at_once_trains_nothing(tmp_path: Path) -> None:
    task = Line()
    assert run(task, tmp_path, stop_at=0).step == 0
    assert task.module.weight[0, 0].item() == 0.5


# Numbers that are not finite.


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path: Path, how: str) -> None:
    task = Line(bad=lambda step: step in (1, 2, 5), how=how)
    result = run(task, tmp_path, replace(RECIPE, log_every=1))
    assert (result.step, result.skipped) == (6, 3)
    assert all(torch.isfinite(p).all() for p in task.module.parameters())
    log = log_of(tmp_path)
    assert [line["skipped"] for line in log] == [0, 1, 2, 2, 2, 3]
    assert [line["loss"] is None for line in log] == [False, True, True, False, False, True]


def test_a_skipped_step_changes_neither_weights_nor_moments(tmp_path: Path) -> None:
    settings = replace(RECIPE, steps=4, checkpoint_every=1)
    run(Line(bad=lambda step: step == 2), tmp_path, settings, stop_at=2)
    before = flat(load_checkpoint(tmp_path / "checkpoint.pt", device=CPU))
    task = Line(bad=lambda step: step == 2)
    run(task, tmp_path, settings, stop_at=3)
    weights = {f"{name}/": value for name, value in task.module.state_dict().items()}
    for name, value in weights.items():
        assert torch.equal(value, before[f"average/{name}"])
    after = flat(load_checkpoint(tmp_path / "checkpoint.pt", device=CPU))
    # The checkpoint is still that of the last good step.
    assert after["step/"] == 2
    assert after.keys() == before.keys()


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_hundred_in_a_row_stop_the_training_and_keep_the_last_good_checkpoint(
    tmp_path: Path, how: str
) -> None:
    settings = replace(RECIPE, steps=500, checkpoint_every=10, log_every=10)
    with pytest.raises(FloatingPointError, match=r"100 steps up to step 125.*checkpoint\.pt"):
        run(Line(bad=lambda step: step >= 25, how=how), tmp_path, settings)
    saved = load_checkpoint(tmp_path / "checkpoint.pt", device=CPU)
    assert saved["step"] == 20
    assert all(torch.isfinite(value).all() for value in saved["module"].values())
    # With the cause removed it goes on from there.
    assert run(Line(), tmp_path, replace(settings, steps=30)).step == 30


def test_ninety_nine_in_a_row_do_not(tmp_path: Path) -> None:
    task = Line(bad=lambda step: step % 100 != 0)
    settings = replace(RECIPE, steps=301, log_every=100, checkpoint_every=100)
    assert run(task, tmp_path, settings).skipped == 297


def test_a_skipped_step_leaves_running_statistics_alone(tmp_path: Path) -> None:
    class Normed(Line):
        def __init__(self, *, bad: Callable[[int], bool], how: str) -> None:
            super().__init__(bad=bad, how=how)
            self.module = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))  # type: ignore[assignment]
            with torch.no_grad():
                self.module[1].weight.fill_(0.5)  # type: ignore[index]
                self.module[1].bias.fill_(0.0)  # type: ignore[index]

        def loss(self, step: int) -> Tensor:
            images = torch.tensor([[1.0, 2.0], [3.0, -1.0]]) * (step + 1)
            value = (self.module(images) - 1.0).square().mean()
            if not self.bad(step):
                return value
            bias = self.module[1].bias  # type: ignore[index]
            return value * math.nan if self.how == "loss" else value + (bias * 0).sum().sqrt()

    for how in ("loss", "gradient"):
        task = Normed(bad=lambda step: step == 1, how=how)
        run(task, tmp_path / how, replace(RECIPE, steps=1, ema=None))
        before = {k: v.clone() for k, v in task.module.named_buffers() if v.is_floating_point()}
        again = Normed(bad=lambda step: step == 1, how=how)
        run(again, tmp_path / how, replace(RECIPE, steps=2, ema=None))
        after = dict(again.module.named_buffers())
        assert before.keys() == {"0.running_mean", "0.running_var"}
        assert all(torch.equal(after[name], value) for name, value in before.items())


# Validation, best and last.


class Checked(Line):
    """Its validation answers from a table by how often it is asked."""

    def __init__(self, *answers: dict[str, float]) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), 0
        self.seen: list[Tensor] = []

    def validate(self) -> dict[str, float]:
        self.seen.append(self.module.weight.detach().clone())
        self.asked += 1
        return self.answers[self.asked - 1]


def nlls(*values: float) -> list[dict[str, float]]:
    return [{"kld": 1.0, "nll": value} for value in values]


CHECKS = replace(RECIPE, validate_every=2, log_every=3)


def test_the_weights_that_validate_best_are_kept_as_they_were_averaged(tmp_path: Path) -> None:
    task = Checked(*nlls(3.0, -1.0, 2.0))
    result = run(task, tmp_path, CHECKS)
    assert (result.best_step, result.best_figures) == (4, {"kld": 1.0, "nll": -1.0})
    assert result.best is not None
    assert torch.equal(result.best["weight"], task.seen[1])
    assert not torch.equal(result.best["weight"], task.module.weight)
    # What was measured is the average, which the module ends with.
    assert torch.equal(task.seen[2], task.module.weight.detach())
    log = log_of(tmp_path)
    assert [line["step"] for line in log] == [2, 3, 4, 6]
    assert [line.get("validation", {}).get("nll") for line in log] == [3.0, None, -1.0, 2.0]


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    measured, alone = Checked(*nlls(3.0, -1.0, 2.0)), Line()
    run(measured, tmp_path / "measured", CHECKS)
    run(alone, tmp_path / "alone")
    assert torch.equal(measured.module.weight, alone.module.weight)


@pytest.mark.parametrize(
    ("answers", "best"),
    [
        (nlls(math.nan, 2.0, math.inf), 4),
        (nlls(math.nan, math.nan, math.nan), 0),
        (nlls(1.0, 1.0, 1.0), 2),
        ([{"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0}], 6),
        ([{"nll": 1.0, "loss": 9.0}, {"nll": 2.0, "loss": 1.0}, {"nll": 3.0, "loss": 1.0}], 2),
        ([{"psnr": 1.0}] * 3, 0),
    ],
)
def test_only_numbers_that_are_finite_and_less_are_better(
    tmp_path: Path, answers: list[dict[str, float]], best: int
) -> None:
    result = run(Checked(*answers), tmp_path, CHECKS)
    assert result.best_step == best
    assert (result.best is None) == (best == 0)
    json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0], parse_constant=pytest.fail)


def test_the_end_is_validated_whatever_the_interval(tmp_path: Path) -> None:
    task = Checked(*nlls(1.0, 2.0))
    assert run(task, tmp_path, replace(RECIPE, validate_every=4)).best_step == 4
    assert task.asked == 2


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_best_and_figures_resume_to_the_bit(tmp_path: Path, stop: int) -> None:
    class Measured(Line):
        def validate(self) -> dict[str, float]:
            return {"nll": abs(self.module.weight[0, 0].item() - 0.5 - 0.02)}

    settings = replace(CHECKS, checkpoint_every=1)
    whole = run(Measured(), tmp_path / "whole", settings)
    run(Measured(), tmp_path / "parts", settings, stop_at=stop)
    parts = run(Measured(), tmp_path / "parts", settings)
    assert_same_to_the_bit(tmp_path / "whole", tmp_path / "parts")
    assert (parts.best_step, parts.best_figures) == (whole.best_step, whole.best_figures)
    checks = [
        [line["validation"] for line in log_of(tmp_path / name) if "validation" in line]
        for name in ("whole", "parts")
    ]
    assert checks[0] == checks[1]
    assert len(checks[0]) == 3


# The settings.


def test_a_constant_rate_stays_and_milestones_cut_it() -> None:
    constant = LoopSettings(steps=9, learning_rate=2e-3, warmup_steps=2, decay="constant")
    rates = [learning_rate(constant, step) for step in range(9)]
    assert rates == pytest.approx([1e-3, *[2e-3] * 8])
    cut = LoopSettings(
        steps=9, learning_rate=2e-3, decay="milestones", milestones=(3, 3, 7), factor=0.1
    )
    rates = [learning_rate(cut, step) for step in range(9)]
    assert rates == pytest.approx([2e-3] * 3 + [2e-5] * 4 + [2e-6] * 2)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_weight_decay_is_adams_l2_penalty(tmp_path: Path, weight_decay: float) -> None:
    settings = replace(
        RECIPE, clip_norm=None, ema=None, weight_decay=weight_decay, decay="constant"
    )
    task, by_hand = Line(), Line()
    run(task, tmp_path, settings)
    parameters = list(by_hand.module.parameters())
    optimiser = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    for step in range(6):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, step)
        optimiser.zero_grad()
        penalty = sum(p.square().sum() for p in parameters) * weight_decay / 2
        (by_hand.loss(step) + penalty).backward()
        optimiser.step()
    torch.testing.assert_close(task.module.weight, by_hand.module.weight, rtol=1e-5, atol=1e-6)


def test_the_rate_rises_linearly_then_falls_as_a_cosine() -> None:
    settings = LoopSettings(
        steps=110, learning_rate=4e-3, final_learning_rate=1e-3, warmup_steps=10
    )
    rates = [learning_rate(settings, step) for step in range(110)]
    assert rates[:10] == pytest.approx([4e-4 * (step + 1) for step in range(10)])
    assert rates[10] == 4e-3
    assert rates[60] == pytest.approx(2.5e-3)  # half-way between peak and end
    assert learning_rate(settings, 110) == pytest.approx(1e-3)
    assert all(one > other for one, other in pairwise(rates[10:]))
    flat_rate = LoopSettings(steps=5, learning_rate=1e-3, final_learning_rate=1e-3)
    assert {learning_rate(flat_rate, step) for step in range(5)} == {1e-3}


def test_each_step_is_adams_at_its_rate(tmp_path: Path) -> None:
    settings = replace(RECIPE, clip_norm=None, ema=None)
    task, by_hand = Line(), Line()
    run(task, tmp_path, settings)
    optimiser = torch.optim.Adam(by_hand.module.parameters(), betas=(0.9, 0.99))
    for step in range(6):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, step)
        optimiser.zero_grad()
        by_hand.loss(step).backward()
        optimiser.step()
    assert torch.equal(task.module.weight, by_hand.module.weight)


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    task = Line()
    task.module.bias.requires_grad_(False)
    run(task, tmp_path)
    assert task.module.bias.item() == 0.0
    assert task.module.weight[0, 0].item() != 0.5


def test_long_gradients_are_clipped(tmp_path: Path) -> None:
    class Recorded(Line):
        norms: list[float]

        def loss(self, step: int) -> Tensor:
            return 1e6 * super().loss(step)

    for clip in (1.0, None):
        task = Recorded()
        run(task, tmp_path / str(clip), replace(RECIPE, clip_norm=clip, steps=1))
        saved = load_checkpoint(tmp_path / str(clip) / "checkpoint.pt", device=CPU)
        first = [state["exp_avg"] for state in saved["optimiser"]["state"].values()]
        norm = float(torch.cat([moment.flatten() for moment in first]).norm())
        # Adam's first moment is a tenth of the first gradient.
        assert (norm == pytest.approx(0.1, rel=1e-4)) == (clip == 1.0)


def test_the_average_warms_up_and_ends_in_the_module(tmp_path: Path) -> None:
    task = Line()
    settings = replace(RECIPE, checkpoint_every=1)
    weights = [task.module.weight.detach().clone()]
    for step in range(1, 7):
        run(Line(), tmp_path, settings, stop_at=step)
        weights.append(load_checkpoint(tmp_path / "checkpoint.pt", device=CPU)["module"]["weight"])
    average = weights[0]
    for step, weight in enumerate(weights[1:], start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        average = average + (1 - decay) * (weight - average)
    run(task, tmp_path, settings)
    torch.testing.assert_close(task.module.weight.detach(), average)
    assert not torch.equal(task.module.weight, weights[-1])


# The log.


def test_no_step_is_logged_twice_after_a_resume_from_an_older_checkpoint(tmp_path: Path) -> None:
    settings = replace(RECIPE, log_every=1, checkpoint_every=3)
    seen: list[int] = []
    train(Line(), settings, tmp_path, device=CPU, report=lambda p: seen.append(p.step), stop_at=3)
    old = (tmp_path / "checkpoint.pt").read_bytes()
    run(Line(), tmp_path, settings, stop_at=5)
    (tmp_path / "checkpoint.pt").write_bytes(old)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while it wrote
    train(Line(), settings, tmp_path, device=CPU, report=lambda p: seen.append(p.step))
    assert [line["step"] for line in log_of(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_log_without_its_checkpoint_starts_anew(tmp_path: Path) -> None:
    run(Line(), tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    run(Line(), tmp_path)
    assert [line["step"] for line in log_of(tmp_path)] == [2, 4, 6]


def test_a_line_tells_the_mean_loss_since_the_last(tmp_path: Path) -> None:
    fine, coarse = replace(RECIPE, log_every=1), replace(RECIPE, log_every=3)
    run(Line(), tmp_path / "fine", fine)
    run(Line(), tmp_path / "coarse", coarse)
    losses = [line["loss"] for line in log_of(tmp_path / "fine")]
    means = [sum(losses[:3]) / 3, sum(losses[3:]) / 3]
    log = log_of(tmp_path / "coarse")
    assert [line["loss"] for line in log] == pytest.approx(means)
    assert log[-1]["learning_rate"] == learning_rate(coarse, 5)
    assert log[-1]["seconds"] >= log[0]["seconds"] >= 0
