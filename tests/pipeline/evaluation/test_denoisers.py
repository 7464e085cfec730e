"""Evaluating denoisers: the noisy input, white noise, ensembles, mistakes; the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import denoisers
from pipeline.evaluation import evaluate
from pipeline.manifest.models import EvaluateManifest
from pipeline.report.evaluation import render_evaluation

Make = Callable[..., EvaluateManifest]


class Halfway(nn.Module):
    """Gives a grey level back for the image: an estimate that is known."""

    name, channels, multiple = "halfway", 3, 1
    config = None

    def forward(self, noisy: Tensor) -> Tensor:
        return torch.full_like(noisy, 0.5)


class Left(Halfway):
    """Darkens the left half: flips average it."""

    def forward(self, noisy: Tensor) -> Tensor:
        result = noisy.clone()
        result[..., : noisy.shape[-1] // 2] -= 0.1
        return result


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Denoisers by name that no file holds."""
    made: dict[str, Callable[[], nn.Module]] = {
        "halfway": Halfway,
        "left": Left,
        "grey": lambda: denoisers.create("dncnn", channels=1, seed=0, depth=3, width=4).eval(),
    }
    original = denoisers.load
    monkeypatch.setattr(
        denoisers, "load", lambda name, **more: made[name]() if name in made else original(name)
    )


@pytest.mark.usefixtures("known")
def test_psnr_is_that_of_the_stored_images(
    evaluation: Make, pairs: dict[str, Any], pair_folder: Path
) -> None:
    import cv2

    found = evaluate(evaluation(denoisers=[{"name": "halfway"}], data={"sources": [pairs]}))
    for row, column in (("noisy input", "noisy"), ("halfway", "grey")):
        expected = []
        for name in ("desk", "wall"):
            clean, noisy = (
                cv2.imread(str(pair_folder / f"{name}_{kind}.png")).astype(float)
                for kind in ("mean", "Real")
            )
            estimate = noisy if column == "noisy" else np.full_like(noisy, 128)
            expected.append(10 * log10(255**2 / ((clean - estimate) ** 2).mean()))
        entry = found.row(row).subset("all")
        assert entry["psnr (kair)"]["mean"] == pytest.approx(np.mean(expected), abs=1e-9)
        assert entry["blocks"] == 2
    assert [e["image"] for e in found.rows[0].figures["groups"]["image"]] == ["desk", "wall"]


@pytest.mark.usefixtures("known")
def test_white_noise_has_its_level_and_is_the_same_for_all(
    evaluation: Make, photo_folder: Path
) -> None:
    data = {"sources": [{"type": "images", "path": str(photo_folder)}], "awgn": [15, 25]}
    metrics = {"quality": ["srgb-flow"]}
    found = evaluate(evaluation(denoisers=[{"name": "halfway"}], data=data, metrics=metrics))
    names = [row.name for row in found.rows]
    assert names == [
        "noisy input, sigma 15", "halfway, sigma 15", "noisy input, sigma 25", "halfway, sigma 25",
    ]  # fmt: skip
    for sigma in (15, 25):
        entry = found.row(f"noisy input, sigma {sigma}").subset("all")["psnr (srgb-flow)"]
        # Three images of 9216 values: the mean square has a relative error of sqrt(2 / 27648).
        assert entry["mean"] == pytest.approx(20 * log10(255 / sigma), abs=5 * 4.34 * 0.0085)
    first, second = (found.row(f"halfway, sigma {s}").figures["summary"] for s in (15, 25))
    assert first == second
    assert "sound" not in first


@pytest.mark.usefixtures("known")
def test_flips_are_averaged(evaluation: Make, pairs: dict[str, Any]) -> None:
    specs = [{"name": "left"}, {"name": "left", "label": "flipped", "ensemble": "flips"}]
    found = evaluate(evaluation(denoisers=specs, data={"sources": [pairs]}))
    one, eight = (
        found.row(name).subset("all")["psnr (kair)"]["mean"] for name in ("left", "flipped")
    )
    # 0.1 on half of the pixels, or 0.05 on all: half the squared error, but for the noise.
    assert 2.0 < eight - one < 3.02


@pytest.mark.usefixtures("known")
def test_wrong_channels_and_missing_files_fail_their_rows(
    evaluation: Make, pairs: dict[str, Any]
) -> None:
    specs = [{"name": "grey"}, {"name": "absent.safetensors"}, {"name": "halfway"}]
    found = evaluate(evaluation(denoisers=specs, data={"sources": [pairs]}))
    assert [row.done for row in found.rows] == [True, False, False, True]
    assert "reads images of 1 channels and the data give 3" in (found.row("grey").error or "")
    assert "absent.safetensors" in (found.row("absent").error or "")
    on_grey = evaluate(evaluation(denoisers=[specs[0]], data={"sources": [pairs], "color": "grey"}))
    assert on_grey.row("grey").done


@pytest.mark.usefixtures("known")
def test_blocks_of_images_can_be_measured(evaluation: Make, pairs: dict[str, Any]) -> None:
    data = {"sources": [pairs], "block": 24, "grid": 2}
    found = evaluate(evaluation(denoisers=[{"name": "halfway"}], data=data))
    assert found.rows[0].subset("all")["blocks"] == 8
    assert "8 blocks" in found.describe() or "blocks within" in found.describe()


@pytest.mark.usefixtures("known")
def test_the_page_is_one_file_with_every_row(
    evaluation: Make, pairs: dict[str, Any], tmp_path: Path
) -> None:
    specs = [{"name": "grey"}, {"name": "halfway", "label": "<halfway>"}]
    manifest = evaluation(denoisers=specs, data={"sources": [pairs]}, report=True)
    found = evaluate(manifest)
    page = (tmp_path / "evaluation/report.html").read_text()
    assert page == render_evaluation(manifest, found.rows)
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "&lt;halfway&gt;" in page
    assert "reads images of 1 channels" in page
    assert "psnr (kair)" in page


def test_generators_page_draws_made_and_real(evaluation: Make, pairs: dict[str, Any]) -> None:
    manifest = evaluation(
        generators=[{"name": "awgn", "params": {"sigma": 5}}],
        data={"sources": [pairs], "block": 24, "grid": 2},
    )
    page = render_evaluation(manifest, evaluate(manifest).rows)
    assert page.count("<svg") == 3
    assert "Power spectrum" in page
