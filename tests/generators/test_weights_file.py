"""Weights files say what they are, are refused when they are not, and are the same for the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators import weights_file
from generators.weights_file import (
    bundled,
    card,
    find,
    load_header,
    load_state,
    load_weights,
    save_weights,
    sha256_of_file,
)

TENSORS = {"scale": torch.arange(6.0).reshape(2, 3), "count": torch.tensor([7])}


def save(path: Path, **values: Any) -> str:
    given = {"family": "naflow", "config": {"levels": 3}, "tensors": TENSORS, "license": "CC0-1.0"}
    return save_weights(path, **{**given, **values})


def save_foreign(path: Path, metadata: dict[str, str] | None) -> Path:
    save_file({"scale": torch.zeros(2)}, path, metadata=metadata)
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "below" / "one.safetensors"
    digest = save(path, config={"levels": 3, "names": ["a", "é"], "wide": 0.5})
    weights = load_weights(path, family="naflow")
    assert weights.family == "naflow"
    assert weights.license == "CC0-1.0"
    assert weights.config == {"levels": 3, "names": ["a", "é"], "wide": 0.5}
    assert weights.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(weights.tensors[name], TENSORS[name]) for name in TENSORS)
    assert weights.tensors["count"].dtype == torch.int64
    assert digest == sha256_of_file(path)
    assert [file.name for file in path.parent.iterdir()] == ["one.safetensors"]


def test_others_read_the_tensors(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save(path)
    read: dict[str, Tensor] = load_file(path)
    assert all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)


def test_strided_and_tracked_tensors_are_saved_by_value(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save(path, tensors={"turned": TENSORS["scale"].T, "tracked": torch.ones(2, requires_grad=True)})
    read = load_weights(path, family="naflow").tensors
    assert torch.equal(read["turned"], TENSORS["scale"].T)
    assert not read["tracked"].requires_grad


def test_equal_weights_are_equal_files_in_every_process(tmp_path: Path) -> None:
    script = (
        "import sys, torch; from pathlib import Path; from generators.weights_file import *;"
        "print(save_weights(Path(sys.argv[1]), family='naflow', config={'b': 1, 'a': 2},"
        "tensors={'x': torch.ones(3), 'a': torch.zeros(2)}, license='CC0-1.0'))"
    )
    root = Path(weights_file.__file__).parents[1]
    there = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "there.safetensors")],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
    ).stdout.strip()
    same = {"x": torch.ones(3), "a": torch.zeros(2)}
    here = save(tmp_path / "here.safetensors", config={"a": 2, "b": 1}, tensors=same)
    again = save(tmp_path / "again.safetensors", config={"b": 1, "a": 2}, tensors=same)
    assert here == again == there
    other = save(tmp_path / "other.safetensors", config={"a": 2, "b": 2}, tensors=same)
    assert other != here


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.safetensors"
    save(path)
    before = path.read_bytes()

    def killed(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        save(path, config={"levels": 1})
    assert path.read_bytes() == before


def test_the_header_tells_configuration_and_size(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save(path)
    header = load_header(path)
    assert (header.family, header.config, header.license) == ("naflow", {"levels": 3}, "CC0-1.0")
    assert header.parameters == 7


@pytest.mark.parametrize("cut", [0, 4, 60, -1])
def test_a_cut_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "one.safetensors"
    save(path)
    path.write_bytes(path.read_bytes()[:cut])
    for read in (load_header, lambda p: load_weights(p, family="naflow")):
        with pytest.raises(ValueError, match=r"one\.safetensors cannot be read .* damaged"):
            read(path)


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("These are no weights.")
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        load_weights(text, family="naflow")
    with pytest.raises(ValueError, match="cannot be read"):
        load_weights(tmp_path, family="naflow")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_foreign_safetensors_file_is_refused(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = save_foreign(tmp_path / "foreign.safetensors", metadata)
    with pytest.raises(ValueError, match="without this project's header"):
        load_weights(path, family="naflow")


def test_a_newer_format_and_a_poor_header_are_refused(tmp_path: Path) -> None:
    newer = save_foreign(
        tmp_path / "newer.safetensors", {"format": "noisemill-weights", "format_version": "2"}
    )
    with pytest.raises(ValueError, match=r"format 2; .* reads format 1"):
        load_weights(newer, family="naflow")
    poor = save_foreign(
        tmp_path / "poor.safetensors",
        {"format": "noisemill-weights", "format_version": "1", "family": "naflow"},
    )
    with pytest.raises(ValueError, match="lacks config, license"):
        load_header(poor)


def test_another_family_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save(path)
    with pytest.raises(ValueError, match="weights of 'naflow', not of 'noise-flow'"):
        load_weights(path, family="noise-flow")


def test_tensors_that_do_not_fit_the_network_are_named(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    module = nn.Linear(2, 3)
    before = module.weight.clone()
    save(path, tensors={"weight": torch.ones(3, 2), "bias": torch.zeros(3)})
    good = load_weights(path, family="naflow")
    save(path, tensors={"weight": torch.ones(2, 3), "scale": torch.zeros(1)})
    bad = load_weights(path, family="naflow")
    with pytest.raises(ValueError, match=r"one\.safetensors does not hold") as caught:
        load_state(module, bad, path)
    for text in ("it lacks bias;", "it has scale,", "weight 2x3 instead of 3x2", "import"):
        assert text in str(caught.value)
    assert torch.equal(module.weight, before)
    load_state(module, good, path)
    assert torch.equal(module.weight, torch.ones(3, 2))


def test_only_a_few_of_many_missing_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save(path)
    module = nn.Sequential(*(nn.Linear(1, 1) for _ in range(5)))
    with pytest.raises(ValueError, match=r"lacks 0.bias, 0.weight, 1.bias, 1.weight and 6 more"):
        load_state(module, load_weights(path, family="naflow"), path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused_by_tensor(tmp_path: Path, value: float) -> None:
    path = tmp_path / "one.safetensors"
    save(path, tensors={**TENSORS, "shift": torch.tensor([0.0, value])})
    with pytest.raises(ValueError, match="tensor 'shift' holds values that are not finite"):
        load_weights(path, family="naflow")


def test_weights_are_found_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_file, "FOLDER", tmp_path)
    save(tmp_path / "naflow-tiny.safetensors")
    save(tmp_path / "elsewhere" / "mine.safetensors")
    assert bundled() == {"naflow-tiny": tmp_path / "naflow-tiny.safetensors"}
    assert find("naflow-tiny") == tmp_path / "naflow-tiny.safetensors"
    mine = tmp_path / "elsewhere" / "mine.safetensors"
    assert find(str(mine)) == mine
    with pytest.raises(FileNotFoundError, match=r"no weights 'naflow-tyni'.*'naflow-tiny'\?"):
        find("naflow-tyni")
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    assert find("~/mine.safetensors") == mine


def test_the_card_lies_beside(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    assert card(path) == {}
    (tmp_path / "one.json").write_text(json.dumps({"license": "CC0-1.0"}))
    assert card(path) == {"license": "CC0-1.0"}


def test_bundled_weights_are_the_file_that_their_card_describes() -> None:
    if not bundled():
        pytest.skip("no weights are bundled with this checkout")
    for name, path in bundled().items():
        described = card(path)
        assert described, f"{name} has no card beside it"
        assert described["sha256"] == sha256_of_file(path), name
        assert described["license"] == load_header(path).license, name


def test_a_bundled_card_names_the_licence_of_every_scene_that_was_trained_on() -> None:
    if not bundled():
        pytest.skip("no weights are bundled with this checkout")
    for name, path in bundled().items():
        data = card(path)["training_data"]
        named = [scene for scenes in data["licenses"].values() for scene in scenes]
        assert sorted(named) == data["scenes"], name
        assert all(data["licenses"]), name
