"""A checkpoint is old or new, never half, and loading one runs no code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from pipeline.training.engine.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def test_what_is_saved_is_loaded_to_the_bit(tmp_path: Path) -> None:
    state = {
        "step": 7,
        "seconds": 0.1,
        "module": {"w": torch.tensor([1 / 3, -0.0, 1e-45])},
        "moments": [torch.tensor(5, dtype=torch.int64), torch.ones(2, dtype=torch.float64)],
        "average": None,
    }
    path = tmp_path / "below" / "checkpoint.pt"
    save_checkpoint(path, state)
    read = load_checkpoint(path, device=CPU)
    assert read["step"] == 7
    assert read["seconds"] == 0.1
    assert read["average"] is None
    assert read["module"]["w"].numpy().tobytes() == state["module"]["w"].numpy().tobytes()
    assert all(map(torch.equal, read["moments"], state["moments"]))
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_an_interrupted_save_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync" if moment == "write" else "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path, device=CPU)["step"] == 1


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.pt"
    torch.save({"step": 1, "module": Bomb()}, path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read as a checkpoint"):
        load_checkpoint(path, device=CPU)
    path.write_bytes(pickle.dumps({"step": Bomb()}))
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(path, device=CPU)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="delete it to start anew"):
        load_checkpoint(path, device=CPU)


@pytest.mark.parametrize("other", [{"w": torch.ones(1)}, [1, 2], torch.ones(2)])
def test_another_files_tensors_are_no_checkpoint(tmp_path: Path, other: object) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(other, path)
    with pytest.raises(ValueError, match="no checkpoint of a training"):
        load_checkpoint(path, device=CPU)
