"""``noisemill models``: a short list of what there is, and everything about one thing."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import denoisers
from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.weights_file import save_weights, sha256_of_file
from pipeline.models.listing import all_about, known
from tests.contracts.command import document, noisemill
from tests.contracts.networks import save_naflow

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
    save_naflow(folder / "naflow-small.safetensors", NAFlow(config))
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
    # A name is listed once a kind, among generators first.
    rows = {line[0]: line[2] for line in reversed(lines) if len(line) == 3}
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
    assert found == known()
    assert set(found) == {
        *("generators", "denoisers", "weights", "trainings", "sources", "formats", "metrics")
    }
    assert all(each["summary"] for kind in found if kind != "weights" for each in found[kind])
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
    assert found == all_about("naflow-small")
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
    assert f"'{name}' is nothing that noisemill knows, and no file" in called.stderr
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
    assert noisemill("models").stdout.count("\nNo weights are bundled.\n") == 1
    assert document("models")["weights"] == []


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("naflow", ["generator", "training"]),
        ("fino", ["generator", "denoiser", "training"]),
        ("glow", ["training"]),
        ("r2r-flow", ["training"]),
        ("pairs", ["source"]),
        ("hdf5", ["format"]),
        ("kld", ["metric"]),
        ("unet", ["denoiser"]),
    ],
)
def test_a_name_is_told_in_all_that_it_stands_for(name: str, kinds: list[str]) -> None:
    found = document("models", name)
    assert [part["kind"] for part in (found, *found["also"])] == kinds
    shown = noisemill("models", name).stdout
    assert all(part["summary"] in shown for part in (found, *found["also"]))


def test_the_bundled_family_of_a_name_is_told() -> None:
    assert [part["kind"] for part in all_about("glow")["also"]] == ["weights family"]
    assert "glow-bsd" in noisemill("models", "glow").stdout


def test_a_training_says_what_it_is_trained_from_and_its_parameters() -> None:
    shown = noisemill("models", "r2r-flow").stdout
    assert "trained from  single-noisy" in shown
    assert "alpha, 0.5; noise_model, denoiser" in shown


@pytest.mark.parametrize(
    ("group", "value", "message"),
    [
        ("generators", "no_such:Thing", "cannot be imported from no_such:Thing"),
        ("generators", "json:dumps", "is no generator: it has no accepts, gives, needs"),
        ("denoisers", "json:dumps", "is no denoiser: it has no absent"),
        ("tasks", "json:dumps", "is no training: it has no create"),
        ("sources", "no_such:Thing", "cannot be imported"),
        ("formats", "json:dumps", "is no format: it has no"),
        ("metrics", "json:dumps", "is no metric: it has no"),
    ],
)
def test_a_broken_plug_in_is_listed_with_its_distribution_and_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, group: str, value: str, message: str
) -> None:
    entry = EntryPoint(name="mine", value=value, group=f"noisemill.{group}")
    monkeypatch.setattr(
        "generators.registry.entry_points", lambda group: [entry] if group == entry.group else []
    )
    listed = noisemill("models")
    assert listed.exit_code == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("mine ")]
    assert message in line
    assert line.endswith("[an unknown distribution]")
    told = noisemill("models", "mine")
    assert told.exit_code != 0
    assert message in told.stderr
