"""Training from a manifest: weights that load, a card, resumed to the bit, one folder each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipeline.training.jobs.folder as train_folder
import pipeline.training.jobs.generator as train_module
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.naflow.sampling import NAFlowGenerator
from generators.naflow.training import NAFlowTask
from generators.weights_file import load_weights
from pipeline.building.run import build
from pipeline.lock import run_lock
from pipeline.manifest.models import CorpusManifest, TrainGeneratorManifest, TrainingData
from pipeline.storage import StorageError
from pipeline.training.engine.checkpoint import load_checkpoint
from pipeline.training.jobs.generator import train_generator
from pipeline.training.jobs.generator_data import load_images
from tests.contracts.command import noisemill
from tests.contracts.trainings import six_steps

Make = Callable[..., TrainGeneratorManifest]

TINY = {"levels": 2, "condition_channels": 8, "hidden": 8, "transitions": 1, "coupled": 1}
TINY |= {"single_prior": True}  # the pairs are of one camera and ISO


def pairs(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "type": "pairs",
        "path": str(folder),
        "clean": "*_mean.png",
        "noisy": "*_Real.png",
        **more,
    }


@pytest.fixture
def training(tmp_path: Path, pair_folder: Path) -> Make:
    """Makes manifests of a training of six steps of four 16x16 crops."""

    def make(name: str = "run", **changes: Any) -> TrainGeneratorManifest:
        data = six_steps(
            "train-generator",
            tmp_path / name,
            changes,
            params=TINY,
            data={"sources": [pairs(pair_folder, camera="X", iso=800)], "patch": 16},
        )
        return TrainGeneratorManifest.model_validate(data)

    return make


def trained(manifest: TrainGeneratorManifest) -> Any:
    return train_generator(manifest, source="somewhere/tiny.yaml", style="quiet")


def test_a_training_leaves_weights_that_load_and_a_card_that_describes_them(
    training: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = trained(training())
    assert capsys.readouterr() == ("", "")
    path = Path(result.weights)
    assert path == tmp_path / "run" / "tiny.safetensors"
    assert result.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    generator = NAFlowGenerator(NAFlowGenerator.load_network(path))
    assert generator.configurations == ("X_00800",)
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["sha256"], card["license"], card["family"]) == (result.sha256, "CC0-1.0", "naflow")
    assert card["configurations"] == ["X_00800"]
    assert card["training"]["steps"] == result.steps == 6
    assert card["training_data"]["scenes"] == ["desk", "wall"]
    assert card["manifest_file"] == "tiny.yaml"
    parameters = sum(t.numel() for t in load_weights(path, family="naflow").tensors.values())
    assert card["parameters"] == parameters


def test_the_weights_serve_a_corpus(
    training: Make, corpus_manifest: Callable[..., CorpusManifest]
) -> None:
    result = trained(training())
    spec = {"name": "naflow", "weights": result.weights, "params": {"sampling": "label"}}
    corpus = build(
        corpus_manifest(generators=[spec]), inline=True, overwrite=False, style="quiet"
    ).index
    (entry,) = corpus.generators
    assert (entry.weights_sha256, entry.license) == (result.sha256, "CC0-1.0")
    assert corpus.totals.rows == 36


def test_training_raises_the_likelihood_of_the_noise_it_saw(
    training: Make, pair_folder: Path
) -> None:
    first, last = (
        trained(training(f"{steps}", schedule={"steps": steps, "learning_rate": 3e-3, "ema": None}))
        for steps in (1, 40)
    )
    images = load_images(training().data, "pairs", "srgb")
    clean, noisy = (
        torch.from_numpy(
            np.stack([getattr(i, name)[:16, :16] for i in images]).transpose(0, 3, 1, 2) / 255.0
        ).float()
        for name in ("clean", "noisy")
    )
    context = NoiseContext(clean=clean, capture=CaptureMetadata.same(2, camera="X", iso=800))
    before, after = (
        NAFlowGenerator(NAFlowGenerator.load_network(Path(one.weights)))
        .log_prob(noisy, context)
        .sum()
        for one in (first, last)
    )
    assert after > before
    request = NoiseRequest(context=context, seeds=[1, 2])
    noise = NAFlowGenerator(
        NAFlowGenerator.load_network(Path(last.weights)), sampling="label"
    ).sample(request)
    assert bool(torch.isfinite(noise.noisy).all())


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    training: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    whole = trained(training("whole"))
    original = train_module.train

    class Killed(BaseException):
        pass

    def killed(task: Any, *arguments: Any, **named: Any) -> Any:
        loss = task.loss

        def counted(step: int) -> Any:
            if step == stop_at:
                raise Killed
            return loss(step)

        task.loss = counted
        return original(task, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "train", killed)
        with pytest.raises(Killed):
            trained(training("stopped"))
    assert not (tmp_path / "stopped" / "tiny.safetensors").exists()
    again = trained(training("stopped"))
    assert again.sha256 == whole.sha256
    logs = [
        [
            json.loads(line)["loss"]
            for line in (tmp_path / name / "log.jsonl").read_text().split("\n")[:-1]
        ]
        for name in ("whole", "stopped")
    ]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 6


def test_a_finished_training_is_not_done_again(training: Make, tmp_path: Path) -> None:
    first = trained(training())
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    assert trained(training()).sha256 == first.sha256
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log


def test_another_manifest_in_the_same_folder_is_refused_with_what_differs(
    training: Make, tmp_path: Path
) -> None:
    first = trained(training())
    with pytest.raises(ValueError, match="another manifest") as raised:
        trained(training(seed=6, schedule={"steps": 9}))
    assert "seed: 5 -> 6" in str(raised.value)
    assert "schedule.steps: 6 -> 9" in str(raised.value)
    weights = Path(first.weights).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == first.sha256
    # The note is that of the first: it may go on.
    assert trained(training()).sha256 == first.sha256


def test_a_damaged_note_is_told_and_nothing_is_trained_over(training: Make, tmp_path: Path) -> None:
    trained(training())
    (tmp_path / "run" / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        trained(training())


def test_two_trainings_do_not_share_a_folder(training: Make, tmp_path: Path) -> None:
    with (
        run_lock(str(tmp_path / "run")),
        pytest.raises(StorageError, match="another run is at work"),
    ):
        trained(training())


@pytest.mark.parametrize("more", [{}, {"camera": "X"}, {"iso": 100}], ids=str)
def test_pairs_without_camera_or_iso_are_refused_by_name(
    training: Make, pair_folder: Path, more: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"desk_mean\.png: training needs the camera and the ISO"):
        trained(training(data={"sources": [pairs(pair_folder, **more)]}))


def test_sources_without_pairs_are_refused(training: Make, photo_folder: Path) -> None:
    source = {"type": "images", "path": str(photo_folder), "camera": "X", "iso": 800}
    with pytest.raises(ValueError, match="no clean/noisy pairs"):
        trained(training(data={"sources": [source]}))


def test_parameters_that_the_model_has_not_are_refused_by_name(training: Make) -> None:
    with pytest.raises(ValueError, match=r"params: .*'levles'"):
        trained(training(params={"levles": 3}))


def test_pairs_are_read_as_they_are_stored(pair_folder: Path) -> None:
    from pipeline.images import read_pixels

    data = TrainingData.model_validate({"sources": [pairs(pair_folder, camera="X", iso=800)]})
    desk, wall = load_images(data, "pairs", "srgb")
    assert (desk.scene, desk.camera, desk.iso) == ("desk", "X", 800)
    np.testing.assert_array_equal(wall.noisy, read_pixels(str(pair_folder / "wall_Real.png")))
    np.testing.assert_array_equal(desk.clean, read_pixels(str(pair_folder / "desk_mean.png")))


def test_validation_measures_the_weights_on_held_out_pairs(
    training: Make,
    tmp_path: Path,
    texture: Callable[..., np.ndarray],
    write_image: Callable[[Path, np.ndarray], Path],
) -> None:
    rng = np.random.default_rng(4)
    clean = texture(256, 256, seed=40)
    noisy = np.clip(clean + rng.normal(0, 5, clean.shape), 0, 255).round().astype(np.uint8)
    write_image(tmp_path / "held" / "door_mean.png", clean)
    write_image(tmp_path / "held" / "door_Real.png", noisy)
    source = pairs(tmp_path / "held", camera="X", iso=800)
    result = trained(training(validation={"sources": [source], "patch": 16}))
    card = json.loads(Path(result.weights).with_suffix(".json").read_text(encoding="utf-8"))
    assert card["metrics"] == json.loads(json.dumps(result.metrics))
    # The picture holds one block of 256, and no block is taken twice.
    assert result.metrics["noise-aware, reference"]["all"]["blocks"] == 1
    assert {"nll", "kld", "akld"} <= result.metrics["validation"].keys()


def test_a_model_trains_on_simulated_shots_of_photographs_and_is_reported(
    training: Make, photo_folder: Path, tmp_path: Path
) -> None:
    device = {"camera": "toy", "isos": [100, 200], "generator": "awgn", "params": {"sigma": 10}}
    sources = [{"type": "images", "path": str(photo_folder), "pattern": "[ab].png"}]
    held = [{"type": "images", "path": str(photo_folder / "below")}]
    result = trained(
        training(
            data={"sources": sources, "simulate": [device]},
            params={"single_prior": False},
            validation={
                "sources": held, "simulate": [device], "patch": 16, "every": 2, "batches": 2,
            },
            report=True,
        )
    )  # fmt: skip
    card = json.loads(Path(result.weights).with_suffix(".json").read_text(encoding="utf-8"))
    assert card["configurations"] == ["toy_00100", "toy_00200"]
    assert card["training_data"]["simulated"][0]["generator"] == "awgn"
    assert card["training_data"]["licenses"] == {"unspecified": ["a.png", "b.png"]}
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "validation" in line] == [2, 4, 6]
    assert result.report == str(tmp_path / "run" / "report.html")
    assert f"Report:  {result.report}" in result.describe()
    assert result.to_dict()["report"] == result.report
    page = Path(result.report).read_text(encoding="utf-8")
    for words in ("finished", "toy, ISO 100", "toy, ISO 200", result.sha256, "noise ×"):
        assert words in page, words
    # The weights that validated best are there too unless they are the last.
    best = min((line["validation"]["nll"], line["step"]) for line in log if "validation" in line)
    assert len(result.others) == (best[1] != 6)


def test_noisy_pairs_train_a_raw_model_that_never_sees_a_clean_image(
    training: Make, photo_folder: Path
) -> None:
    device = {"camera": "phone", "isos": [800, 3200], "params": {"iso": "shot", "output": "raw"}}
    sources = [{"type": "images", "path": str(photo_folder)}]
    manifest = training(data={"sources": sources, "simulate": [device]})
    told = manifest.model_dump() | {"model": "nlf-noisy-pairs", "params": {"batches": 4}}
    result = trained(TrainGeneratorManifest.model_validate(told))
    card = json.loads(Path(result.weights).with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["family"], card["domain"]) == ("nlf", "raw")
    assert card["training_data"]["use"] == "noisy-pairs"
    assert result.findings
    assert card["training"]["objective"] == "nlf-noisy-pairs"


def noisy_pairs(folder: Path, write_image: Callable[[Path, np.ndarray], Path]) -> dict[str, Any]:
    """Write two shots of two sRGB scenes whose noise has a variance of 0.002 x + 0.0004."""
    rng = np.random.default_rng(3)
    x = np.linspace(0.2, 0.8, 96)[:, None, None] * np.ones((96, 96, 3))
    for scene in ("desk", "wall"):
        for shot in ("one", "two"):
            noisy = x + rng.normal(0, 1, x.shape) * np.sqrt(0.002 * x + 0.0004)
            pixels = (255 * noisy).round().clip(0, 255).astype(np.uint8)
            write_image(folder / f"{scene}_{shot}.png", pixels)
        x = x.swapaxes(0, 1)
    globs = {"first": "*_one.png", "second": "*_two.png"}
    return {"type": "noisy-pairs", "path": str(folder), "camera": "X", "iso": 800, **globs}


def test_a_noise_level_function_is_measured_on_noisy_pairs_of_srgb_images(
    training: Make, tmp_path: Path, write_image: Callable[[Path, np.ndarray], Path]
) -> None:
    source = noisy_pairs(tmp_path / "shots", write_image)
    manifest = training(data={"sources": [source], "patch": 32}, schedule={"steps": 1, "ema": None})
    told = manifest.model_dump() | {"model": "nlf-noisy-pairs", "params": {"batches": 16}}
    result = trained(TrainGeneratorManifest.model_validate(told))
    card = json.loads(Path(result.weights).with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["family"], card["domain"]) == ("nlf", "srgb")
    (level,) = result.findings["levels"].values()
    # Four images of 27,648 values: a variance is known to 0.5 %, and rounding adds 0.3 %.
    measured = [level["beta1"] * x + level["beta2"] for x in (0.3, 0.5, 0.7)]
    expected = [0.002 * x + 0.0004 for x in (0.3, 0.5, 0.7)]
    np.testing.assert_allclose(measured, expected, rtol=0.05)


def test_pairs_of_one_camera_and_iso_are_refused_where_several_are_compared(
    training: Make, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"one camera and ISO only, X at ISO 800.*single_prior"):
        trained(training(params={"single_prior": False}))
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_the_licence_of_every_photograph_is_on_the_card_of_the_weights(training: Make) -> None:
    device = {"camera": "toy", "isos": [100, 200], "generator": "awgn", "params": {"sigma": 10}}
    photographs = {"type": "photographs", "names": ["astronaut", "coffee", "rocket"]}
    result = trained(
        training(
            data={"sources": [photographs], "simulate": [device]},
            schedule={"steps": 1},
        )
    )
    card = json.loads(Path(result.weights).with_suffix(".json").read_text(encoding="utf-8"))
    assert card["training_data"]["licenses"] == {
        "CC0-1.0": ["coffee"],
        "public domain (NASA)": ["astronaut"],
        "public domain (SpaceX)": ["rocket"],
    }


def test_validation_on_what_is_trained_on_is_refused(training: Make, pair_folder: Path) -> None:
    source = pairs(pair_folder, camera="X", iso=800)
    with pytest.raises(ValueError, match="validation: desk, wall is also trained on"):
        trained(training(validation={"sources": [source], "patch": 16}))


def test_a_loss_that_stays_non_finite_ends_with_a_message_and_the_last_good_checkpoint(
    training: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = NAFlowTask.loss

    def broken(self: NAFlowTask, batch: Any, step: int) -> torch.Tensor:
        if step < 5:
            return original(self, batch, step)
        return next(self.module.parameters()).sum() * torch.nan

    manifest = training(schedule={"steps": 300})
    (tmp_path / "tiny.yaml").write_text(manifest.model_dump_json(exclude_none=True))
    with monkeypatch.context() as patch:
        patch.setattr(NAFlowTask, "loss", broken)
        called = noisemill("run", tmp_path / "tiny.yaml")
    assert called.exit_code == 1
    assert "not finite for 100 steps up to step 105" in called.output
    assert str(tmp_path / "run" / "checkpoint.pt") in called.output
    assert not (tmp_path / "run" / "tiny.safetensors").exists()
    saved = load_checkpoint(tmp_path / "run" / "checkpoint.pt", device=torch.device("cpu"))
    assert saved["step"] == 4
    assert all(bool(value.isfinite().all()) for value in saved["module"].values())


def test_the_ways_of_a_training_may_change_when_it_goes_on(training: Make) -> None:
    first = trained(training())
    assert trained(training(tensorboard=False, report=True)).sha256 == first.sha256


def test_a_report_that_cannot_be_renewed_does_not_end_a_training(
    training: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise OSError("no space")

    monkeypatch.setattr(train_folder, "_PAGE_EVERY_S", 0.0)
    monkeypatch.setattr("pipeline.report.training.write_training_report", fail)
    monkeypatch.setattr(train_module, "_report", lambda folder, manifest, left, **_: left)
    manifest = training(report=True, schedule={"steps": 2})
    result = train_generator(manifest, source="tiny.yaml", style="auto")
    assert result.steps == 2
    assert "report was not renewed (no space)" in capsys.readouterr().err


def test_progress_is_told_on_standard_error_in_both_styles(
    training: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    train_generator(training("a"), source="tiny.yaml", style="auto")
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith("noisemill: ") for line in err.splitlines())
    assert "noisemill: step 6/6, loss " in err
    train_generator(training("b"), source="tiny.yaml", style="json")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [e["step"] for e in events if e["event"] == "progress"] == [1, 2, 3, 4, 5, 6]
