"""Released checkpoints become weights files whole, or one message and no file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import denoisers
import generators
from denoisers.checkpoint_import import origin
from denoisers.dncnn import DnCNN, DnCNNConfig
from generators.flow_srgb import checkpoint_import as flow_srgb
from generators.flow_srgb.network import FlowSRGB
from generators.invdn.network import InvDN, InvDNConfig
from generators.training import Part
from generators.weights_file import load_header, sha256_of_file
from pipeline.cli.weights import _FAMILIES as OFFERED
from pipeline.models import checkpoint_import as convert
from pipeline.models.catalogue import details
from pipeline.models.checkpoint_import import FAMILIES, import_weights, read_checkpoint
from tests.contracts.command import document, noisemill

GOLDEN = Path(__file__).resolve().parents[3] / ".." / "shared" / "golden"
State = dict[str, Tensor]


def kair(width: int = 4) -> State:
    """A small DnCNN by KAIR's names."""
    network = DnCNN(DnCNNConfig(channels=1, depth=4, width=width, batch_norm=False, bias="all"))
    return {
        f"model.{2 * int(key.split('.')[1])}.{key.split('.')[2]}": value
        for key, value in network.state_dict().items()
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "released.pth"
    torch.save(kair(), path)
    return path


def refused(path: Path, family: str = "dncnn", *options: str) -> str:
    """Import through the command line, which must fail with one line and write nothing."""
    out = path.parent / "out" / "mine.safetensors"
    called = noisemill("import-weights", family, path, "--out", out, *options)
    assert called.exit_code == 1
    assert called.stdout == ""
    assert not out.parent.exists() or list(out.parent.iterdir()) == []
    (line,) = called.stderr.splitlines()
    assert line.startswith("Error: ")
    assert str(path) in line
    return line


def test_a_checkpoint_becomes_weights_with_a_card(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "mine.safetensors"
    called = noisemill("import-weights", "dncnn", checkpoint, "--out", out)
    assert called.exit_code == 0, called.output
    assert "licence is that of the project's own weights" in called.stdout
    assert sorted(path.name for path in out.parent.iterdir()) == ["mine.json", "mine.safetensors"]
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["source"] == {
        "file": "released.pth",
        "sha256": sha256_of_file(checkpoint),
        "family": "dncnn",
    }
    assert (card["family"], card["domain"], card["license"]) == ("dncnn", "srgb", "MIT")
    assert card["sha256"] == sha256_of_file(out)
    state = kair()
    assert card["parameters"] == sum(tensor.numel() for tensor in state.values())
    loaded: Any = denoisers.load(out)
    assert torch.equal(loaded.convs[3].bias, state["model.6.bias"])
    shown = noisemill("models", out).stdout
    assert f"released.pth, sha256 {card['source']['sha256']}" in shown
    assert details(str(out))["card"] == card


def test_the_same_import_gives_the_same_file(checkpoint: Path, tmp_path: Path) -> None:
    first, second = (
        import_weights("dncnn", checkpoint, tmp_path / name)[0] for name in ("one", "two")
    )
    assert first.path.read_bytes() == second.path.read_bytes()


def test_licence_and_name_are_the_callers(checkpoint: Path, tmp_path: Path) -> None:
    # A name without suffix gets one; dots in it stay.
    call = ("import-weights", "dncnn", checkpoint, "--out", tmp_path / "v1.5")
    found = document(*call, "--license", "CC0-1.0")
    (only,) = found["weights"]
    assert only["path"] == str(tmp_path / "v1.5.safetensors")
    assert only["name"] == "v1.5"
    assert only["license"] == load_header(tmp_path / "v1.5.safetensors").license == "CC0-1.0"


def test_files_that_are_there_stay_unless_told(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    out.write_text("precious")
    called = noisemill("import-weights", "dncnn", checkpoint, "--out", out)
    assert called.exit_code == 1
    assert f"{out} is there already" in called.stderr
    assert out.read_text() == "precious"
    assert (
        noisemill("import-weights", "dncnn", checkpoint, "--out", out, "--overwrite").exit_code == 0
    )
    denoisers.load(out)


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict"])
def test_a_training_checkpoint_is_unwrapped(wrap: str, tmp_path: Path) -> None:
    path = tmp_path / "wrapped.pth"
    torch.save({"epoch": 3, wrap: kair(), "optimizer": {"state": {}, "lr": 0.1}}, path)
    assert read_checkpoint(path).keys() == kair().keys()


def test_safetensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "released.safetensors"
    save_file(kair(), path)
    (imported,) = import_weights("dncnn", path, tmp_path / "mine")
    assert imported.card["source"]["file"] == "released.safetensors"


class Runs:
    """Pickles to a call, as a malicious file does."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("modern", [True, False])
def test_code_in_a_file_is_not_run(modern: bool, tmp_path: Path) -> None:
    path, proof = tmp_path / "bad.pth", tmp_path / "was-run"
    torch.save({**kair(), "x": Runs(proof)}, path, _use_new_zipfile_serialization=modern)
    line = refused(path)
    assert "'posix.mkdir'" in line
    assert "would run code from the file; noisemill does not" in line
    assert not proof.exists()
    torch.save(nn.Linear(1, 1), path)
    assert "'torch.nn.modules.linear.Linear'" in refused(path)


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_cut_file_is_refused(modern: bool, share: float, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save(kair(), path, _use_new_zipfile_serialization=modern)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cannot be read: it is damaged, cut short" in refused(path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.pth"
    text.write_text("Weights? What weights?")
    assert "no file of torch.save" in refused(text)
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"12345678 and more")
    assert "cannot be read" in refused(foreign)
    for value, words in (
        ([1, 2], "holds list, not tensors by name"),
        ({}, "holds dict, not tensors by name"),
        ({"state_dict": {"a": 3}}, "entry 'a' is int, not a tensor"),
        ({1: torch.zeros(1)}, "entry 1 is Tensor"),
    ):
        torch.save(value, text)
        assert words in refused(text)
    assert "there is no checkpoint" in refused(tmp_path / "absent.pth")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    path = tmp_path / "nan.pth"
    state = kair()
    state["model.2.bias"][1] = value
    torch.save(state, path)
    assert "tensor 'model.2.bias' holds values that are not finite" in refused(path)


def test_a_tensor_too_many_or_too_few_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    state = kair()
    torch.save({**state, "model.9.weight": torch.zeros(1)}, path)
    assert "has model.9.weight, for which" in refused(path)
    del state["model.2.bias"]
    torch.save(state, path)
    line = refused(path)
    assert "lacks model.2.bias. Give the file as it was released" in line


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "dncnn"])
def test_a_checkpoint_of_another_family_is_refused(family: str, checkpoint: Path) -> None:
    line = refused(checkpoint, family)
    assert f"holds a checkpoint of 'dncnn', not of '{family}'" in line
    assert "Use `noisemill import-weights dncnn`" in line


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("noise_flow.model.1.l", "noise-flow"),
        ("denoiser.dncnn.0.weight", "noise2noiseflow"),
        ("model.flowUpsamplerNet.layers.0.x", "naflow"),
        ("_block6.4.bias", "unet"),
        ("module.operations.0.haar_weights", "invdn"),
        ("model.4._encoder.final_layer.bias", "flow-srgb"),
        ("model.0._scale.beta1", "noise-flow"),
    ],
)
def test_a_family_is_recognised_by_its_names(key: str, family: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({key: torch.zeros(1)}, path)
    assert f"holds a checkpoint of '{family}', not of 'dncnn'" in refused(path)


def test_names_that_nobody_uses_are_refused_by_the_family_named(tmp_path: Path) -> None:
    path = tmp_path / "strange.pth"
    torch.save({"a.weight": torch.zeros(2)}, path)
    for family in FAMILIES:
        line = refused(path, family)
        assert f"checkpoint of '{family}'" in line


def test_weights_of_unknown_origin_need_a_licence(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    state = kair()
    for key in ("model.2.bias", "model.4.bias"):
        del state[key]
    torch.save(state, path)
    part = convert._convert(
        "dncnn", convert._FAMILIES["dncnn"][""], state, source=path, license="x"
    )
    assert origin(part[0]) is None
    assert "licence" in refused(path)
    (imported,) = import_weights("dncnn", path, tmp_path / "out", license="CC0-1.0")
    assert imported.card["license"] == "CC0-1.0"


def unknown_model(released: State) -> Part:
    """A mapping to a model that no generator has."""
    return Part(family="unknown", config={}, tensors=released)


def test_a_joint_file_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "joint.pth"
    denoiser = {f"denoiser.{key}": value for key, value in kair().items()}
    torch.save({**denoiser, "noise_flow.model.0.x": torch.zeros(1)}, path)
    pieces = convert._FAMILIES["noise2noiseflow"]
    strange = convert._Piece(f"{__name__}:unknown_model", "noise_flow.", "CC0-1.0")
    # The denoiser is written first, then the other fails.
    joint = {"-denoiser": pieces["-denoiser"], "": strange}
    monkeypatch.setitem(convert._FAMILIES, "noise2noiseflow", joint)
    out = tmp_path / "out"
    called = noisemill("import-weights", "noise2noiseflow", path, "--out", out / "mine")
    assert called.exit_code == 1
    assert "no generator 'unknown'" in called.stderr
    assert list(out.iterdir()) == []


def test_an_invdn_is_imported(tmp_path: Path) -> None:
    network = InvDN(InvDNConfig(blocks=(1, 1), hidden=4))
    state = {
        key.replace("layers.", "module.operations."): value
        for key, value in network.state_dict().items()
    }
    kernels = torch.tensor(
        [[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]
    )
    for number, channels in ((0, 3), (2, 12)):
        haar = kernels.float().repeat(channels, 1, 1)[:, None]
        state[f"module.operations.{number}.haar_weights"] = haar
    torch.save(state, tmp_path / "released.pth")
    if "invdn" not in generators.names():
        pytest.skip("no generator reads InvDN's weights yet")
    (imported,) = import_weights("invdn", tmp_path / "released.pth", tmp_path / "mine")
    assert imported.card["license"] == "Apache-2.0"


def test_a_flow_srgb_is_imported(tmp_path: Path) -> None:
    network = FlowSRGB(flow_srgb.SIDD)
    state = {key: torch.zeros(1) for key in flow_srgb._CONSTANTS}
    for name, keys in flow_srgb._names().items():
        value = network.state_dict()[name]
        state |= {key: value[None, :, None, None] if "logs" in key else value for key in keys}
    torch.save({"state_dict": state, "epoch_num": 30}, tmp_path / "released.pth")
    (imported,) = import_weights("flow-srgb", tmp_path / "released.pth", tmp_path / "mine")
    assert imported.card["license"] == "CC-BY-NC-SA-4.0"
    assert len(imported.card["configurations"]) == 15


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_naflow_is_imported_plain_and_from_lightning(prefix: str, tmp_path: Path) -> None:
    golden = Path(os.environ.get("NOISEMILL_GOLDEN", GOLDEN)) / "04_naflow_state_fp16.npz"
    if not golden.is_file():
        pytest.skip(f"no conformance vectors {golden}; set NOISEMILL_GOLDEN")
    with np.load(golden) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file}
    state = {f"{prefix}{k}": v.float() if v.is_floating_point() else v for k, v in arrays.items()}
    path = tmp_path / "released.ckpt"
    torch.save({"state_dict": state, "global_step": 5} if prefix else state, path)
    (imported,) = import_weights("naflow", path, tmp_path / "mine")
    assert imported.card["license"] == "MIT"
    assert len(imported.card["configurations"]) == 34
    torch.save({key: value for key, value in state.items() if "layers.4." not in key}, path)
    assert "by our names: it lacks levels.0." in refused(path, "naflow")
    torch.save({**state, f"{prefix}cond_net.down3.bias": torch.zeros(1)}, path)
    assert "cond_net.down3.bias" in refused(path, "naflow")


FILES: dict[str, tuple[str, dict[str, tuple[str, int | None, str]]]] = {
    "kair_dncnn_25": ("dncnn", {"": ("dncnn", 555_137, "MIT")}),
    "naflow_dncnn_checkpoint_G3": ("dncnn", {"": ("dncnn", 670_531, "MIT")}),
    "noise2noiseflow_DnCNN_pretrained": ("dncnn", {"": ("dncnn", 263_616, "CC-BY-NC-SA-4.0")}),
    "noise2noiseflow_UNet_pretrained": ("unet", {"": ("unet", 701_908, "CC-BY-NC-SA-4.0")}),
    "noise2noiseflow_best_model": (
        "noise2noiseflow",
        {
            "": ("noise-flow", None, "CC-BY-NC-SA-4.0"),
            "-denoiser": ("dncnn", 263_616, "CC-BY-NC-SA-4.0"),
        },
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_released_files_are_imported(name: str, data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "weights" / f"{name}.pth"
    if not path.is_file():
        pytest.skip(f"no released weights {path}")
    family, parts = FILES[name]
    if name.endswith("best_model") and "noise-flow" not in generators.names():
        pytest.skip("no generator reads Noise Flow's weights yet")
    done = import_weights(family, path, tmp_path / "mine")
    assert [i.path.name for i in done] == [f"mine{suffix}.safetensors" for suffix in parts]
    for imported, (kind, parameters, license) in zip(done, parts.values(), strict=True):
        assert (imported.card["family"], imported.card["license"]) == (kind, license)
        assert parameters is None or imported.card["parameters"] == parameters
        assert imported.card["source"]["sha256"] == sha256_of_file(path)
        assert len(imported.card["configurations"]) == (25 if kind == "noise-flow" else 0)


def test_the_command_offers_every_family() -> None:
    assert OFFERED == FAMILIES
    called = noisemill("import-weights", "dncn", "x", "--out", "y")
    assert called.exit_code == 2
    assert "'dncn' is not one of 'dncnn'" in called.stderr
    with pytest.raises(ValueError, match=r"no family 'dncn'.*Did you mean 'dncnn'\?"):
        import_weights("dncn", Path("x"), Path("y"))
