"""``noisemill models``: a short list of what there is, and everything about one thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import denoisers
from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.weights_file import save_weights, sha256_of_file
from pipeline.models.catalogue import bundled_weights, details, known_denoisers, known_generators
from tests.contracts.command import document, noisemill

CARD = {
    "parameters": 77,
    "metrics": {"val": {"kld": {"mean": 0.01234567}, "blocks": 45, "odd": None}},
    "training_data": {"scenes": [f"scene{n}" for n in range(9)], "share": 0.5},
}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of bundled weights: one NAFlow with a card; and one of denoisers: a DnCNN."""
    folder = tmp_path / "weights"
    monkeypatch.setattr("generators.weights_file.FOLDER", folder)
    config = NAFlowConfig(configurations=("phone_00800", "phone_01600", "my camera_00100"))
    tensors = NAFlow(config).state_dict()
    save_weights(
        folder / "naflow-small.safetensors",
        family="naflow",
        config=config.to_dict(),
        tensors=tensors,
        license="CC0-1.0",
    )
    (folder / "naflow-small.json").write_text(json.dumps(CARD))
    made = denoisers.create("dncnn", channels=4, seed=0, depth=2, width=4)
    dncnn = tmp_path / "denoisers" / "dncnn-tiny.safetensors"
    config_of_it = made.config.to_dict()  # type: ignore[union-attr,operator]
    save_weights(
        dncnn, family="dncnn", config=config_of_it, tensors=made.state_dict(), license="MIT"
    )
    monkeypatch.setattr(denoisers, "bundled", lambda: {"dncnn-tiny": dncnn})
    return folder


@pytest.mark.usefixtures("shelf")
def test_the_list_is_short_and_says_what_is_needed() -> None:
    called = noisemill("models")
    assert called.exit_code == 0
    lines = [line.split(maxsplit=2) for line in called.stdout.splitlines()]
    rows = {line[0]: line[2] for line in lines if len(line) == 3}
    assert rows["naflow"].startswith("weights, reference  ")
    assert rows["awgn"].startswith("-")
    assert "naflow-small  naflow  srgb    2 cameras, ISO 100-1600          77  CC0-1.0" in (
        called.stdout
    )
    assert "dncnn-tiny    dncnn   raw     -" in called.stdout
    assert rows["dncnn"] == "a stack of 3x3 convolutions that predicts the noise."


@pytest.mark.usefixtures("shelf")
def test_machines_get_everything() -> None:
    found = document("models")
    assert found == {
        "generators": known_generators(),
        "denoisers": known_denoisers(),
        "weights": bundled_weights(),
    }
    weights, tiny = found["weights"]
    assert weights["shots"][-1] == {"camera": "my camera", "iso": 100}
    assert len(weights["sha256"]) == 64
    assert weights["metrics"] == CARD["metrics"]
    assert weights["training_data"] == CARD["training_data"]
    assert (tiny["domain"], tiny["shots"]) == ("raw", [])
    assert next(d for d in found["denoisers"] if d["name"] == "dncnn")["weights"] == ["dncnn-tiny"]


def test_weights_are_told_in_full(shelf: Path) -> None:
    path = shelf / "naflow-small.safetensors"
    for name in ("naflow-small", path):
        shown = noisemill("models", name).stdout
        assert f"sha256      {sha256_of_file(path)}" in shown
        assert "phone         800, 1600" in shown
        assert "my camera     100" in shown
        assert "val, kld, mean  0.01235" in shown
        assert "scenes         9: scene0, scene1, scene2, scene3, scene4, scene5, ..." in shown
        assert "odd" not in shown
    found = document("models", "naflow-small")
    assert found == details("naflow-small")
    assert found["kind"] == "weights"
    assert found["card"] == CARD


@pytest.mark.usefixtures("shelf")
def test_generators_and_denoisers_are_told_with_their_parameters() -> None:
    shown = noisemill("models", "naflow").stdout
    assert "needs      weights, reference (with default parameters)" in shown
    assert "weights    naflow-small" in shown
    assert "temperature  1.0" in shown
    shown = noisemill("models", "awgn").stdout
    assert "needs      -" in shown
    assert "sigma      required" in shown
    shown = noisemill("models", "dncnn").stdout
    assert "weights   dncnn-tiny" in shown
    assert "bias            'first'" in shown
    assert document("models", "unet")["kind"] == "denoiser"


@pytest.mark.usefixtures("shelf")
def test_what_cannot_be_used_here_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("denoisers.bm3d.BM3D.absent", lambda *_: "pip install 'noisemill[bm3d]'")
    assert "Absent: pip install 'noisemill[bm3d]'." in noisemill("models").stdout
    assert "cannot be used  pip install" in noisemill("models", "bm3d").stdout
    monkeypatch.setattr("denoisers.bm3d.BM3D.absent", lambda *_: None)
    assert "noisemill[bm3d]" not in noisemill("models").stdout


def test_generators_that_denoise_say_so() -> None:
    assert "denoises   with the same weights" in noisemill("models", "invdn").stdout
    assert not document("models", "awgn")["denoises"]
    weights = {d["name"]: d["weights"] for d in document("models")["denoisers"]}
    assert weights["bm3d"] is None
    assert "invdn-polyu" in weights["invdn"]


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nafow", "Did you mean 'naflow'?"),
        ("dncnn-tini", "Did you mean 'dncnn-tiny'?"),
        ("zzz", "There are awgn, "),
    ],
)
def test_a_name_that_is_not_there_is_wrong_usage(name: str, message: str) -> None:
    called = noisemill("models", name)
    assert called.exit_code == 2
    assert f"'{name}' is no generator, denoiser, bundled weights or weights file" in called.stderr
    assert message in called.stderr


def test_a_file_that_is_no_weights_file_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text("no weights")
    called = noisemill("models", path)
    assert called.exit_code == 1
    assert "damaged or no safetensors file" in called.stderr


def test_without_weights_it_says_so(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in shelf.iterdir():
        path.unlink()
    monkeypatch.setattr(denoisers, "bundled", dict)
    assert noisemill("models").stdout.endswith("\nNo weights are bundled.\n")
    assert document("models")["weights"] == []
