"""Noise on single pictures: tiles that join without seams; rows of a corpus made again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, pad

import generators
import pipeline.pictures.noise as noise_module
from generators.base import NoiseRequest, NoiseSample
from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from pipeline.building.run import build
from pipeline.corpus.formats import open_shard
from pipeline.corpus.index import load_corpus
from pipeline.manifest.models import CorpusManifest
from pipeline.pictures.noise import MARGIN, add_noise, tiles
from pipeline.pictures.sample import Regenerated, regenerate
from tests.contracts.networks import save_naflow

Make = Callable[..., CorpusManifest]


@pytest.mark.parametrize(
    ("height", "width", "size"), [(1, 1, 8), (64, 64, 64), (65, 64, 64), (100, 7, 16), (33, 90, 32)]
)
def test_tiles_cover_each_pixel_once_and_windows_hold_them_with_a_margin(
    height: int, width: int, size: int
) -> None:
    covered = np.zeros((height, width), int)
    image = np.arange(height * width).reshape(height, width)
    for tile in tiles(height, width, size=size):
        covered[tile.core] += 1
        np.testing.assert_array_equal(image[tile.window][tile.inside], image[tile.core])
        for axis, length in enumerate((height, width)):
            core, window = tile.core[axis], tile.window[axis]
            assert core.stop - core.start <= size
            assert window.start == max(0, core.start - MARGIN)
            assert window.stop == min(length, core.stop + MARGIN)
    assert (covered == 1).all()


@dataclass
class Blur:
    """A network that only blurs: local, without randomness, sides in multiples."""

    multiple: int
    name: str = "blur"
    revision: int = 1
    accepts: str = "srgb"
    gives: str = "srgb"
    needs: frozenset[str] = frozenset()
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    references: list[tuple[int, ...]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def sample(self, request: NoiseRequest) -> NoiseSample:
        clean = request.context.clean
        self.shapes.append(tuple(clean.shape))
        self.seeds += request.seeds
        if request.reference is not None:
            self.references.append(tuple(request.reference.shape))
        assert clean.shape[2] % self.multiple == clean.shape[3] % self.multiple == 0
        around = pad(clean, (MARGIN // 2,) * 4, mode="replicate")
        return NoiseSample(clean=clean, noisy=avg_pool2d(around, MARGIN + 1, stride=1))


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * width).random((height, width, channels), dtype=np.float32)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 64), (75, 103), (130, 40), (17, 200)])
def test_tiled_equals_whole_for_what_is_local(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(height, width)
    whole = add_noise(Blur(1), image, seed=0)  # type: ignore[arg-type]
    monkeypatch.setattr(noise_module, "TILE", 32)
    network = Blur(8)
    tiled = add_noise(network, image, seed=0)  # type: ignore[arg-type]
    assert tiled.shape == image.shape
    assert len(network.shapes) == -(-height // 32) * -(-width // 32)
    assert len(set(network.seeds)) == len(network.shapes)
    # Where sides were padded by reflection the blur sees the padding instead of its own.
    down, right = -height % 8 and MARGIN // 2, -width % 8 and MARGIN // 2
    inner = (slice(0, height - down), slice(0, width - right))
    np.testing.assert_allclose(tiled[inner], whole[inner], atol=1e-6)


def test_a_formula_gets_the_picture_whole_and_its_noise_is_white_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noise_module, "TILE", 32)
    made = generators.create("awgn", params={"sigma": 10})
    image = np.full((101, 99, 3), 0.5, np.float32)
    noise = (add_noise(made, image, seed=3) - 0.5) * 255
    assert abs(noise.std() - 10) < 5 * 10 / np.sqrt(2 * noise.size)
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 5 * 100 / np.sqrt(noise.size)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_is_of_the_pictures_type_and_size(kind: str, channels: int) -> None:
    top = {"uint8": 255, "uint16": 65535, "float32": 1}[kind]
    image = (picture(31, 45, channels) * top).astype(kind)
    for name, params in (("awgn", {"sigma": 10}), ("camera", {"iso": 800})):
        noisy = add_noise(generators.create(name, params=params), image, seed=1)
        assert noisy.dtype == image.dtype
        assert noisy.shape == image.shape
        assert (noisy != image).mean() > 0.5


def test_equal_seeds_give_equal_noise_and_other_seeds_and_pictures_other() -> None:
    made = generators.create("awgn", params={"sigma": 10})
    image = np.full((16, 16, 3), 0.5, np.float32)
    first = add_noise(made, image, seed=1)
    np.testing.assert_array_equal(add_noise(made, image, seed=1), first)
    assert (add_noise(made, image, seed=2) != first).mean() > 0.9
    other = image.copy()
    other[0, 0] = 0
    assert (add_noise(made, other, seed=1) != first).mean() > 0.9


def test_integers_are_clipped_and_never_wrap() -> None:
    made = generators.create("awgn", params={"sigma": 50})
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    noisy = add_noise(made, image, seed=1)
    # Half of the noise is clipped away on either side; what is left stays on its side.
    assert noisy[:, :32].mean() < 30
    assert noisy[:, 32:].mean() > 225


def test_raw_comes_packed_at_half_the_size() -> None:
    made = generators.create("camera", params={"output": "raw", "iso": 800})
    assert add_noise(made, (picture(31, 45) * 255).astype(np.uint8), seed=1).shape == (16, 23, 4)


def test_a_reference_is_cut_to_what_the_network_divides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_module, "TILE", 32)
    network = Blur(8, needs=frozenset({"reference"}))
    pair = (picture(50, 31), picture(50, 31))
    add_noise(network, picture(40, 40), seed=0, reference=pair)  # type: ignore[arg-type]
    assert set(network.references) == {(1, 3, 32, 24)}


def naflow(folder: Path, **params: Any) -> dict[str, Any]:
    config = NAFlowConfig(
        configurations=("X_00800", "Y_01600"), levels=2, condition_channels=8, hidden=8
    )
    model = NAFlow(config)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.from_numpy(rng.normal(0, 0.05, parameter.shape)).float()
    path = save_naflow(folder / "small.safetensors", model)
    return {"name": "naflow", "weights": str(path), "params": params}


GENERATORS: dict[str, dict[str, Any]] = {
    "awgn": {"name": "awgn", "params": {"sigma": [5, 25]}},
    "spatially variant": {"name": "spatially-variant-awgn", "params": {"sigma": [0, 50]}},
    "heteroscedastic": {"name": "heteroscedastic", "params": {"beta1": 0.01, "beta2": 1e-4}},
    "poisson": {"name": "poisson-gaussian", "params": {"gain": 0.01, "read_noise": 0.01}},
    "camera": {"name": "camera", "params": {"iso": [100, 6400]}},
    "raw camera": {"name": "camera", "params": {"output": "raw", "iso": 1600}},
    "naflow by label": {"sampling": "label"},
    "naflow at random": {"sampling": "random"},
    "naflow by reference": {"sampling": "noise-aware"},
}


@pytest.mark.parametrize("case", GENERATORS)
def test_any_row_made_again_by_its_id_has_the_stored_pixels(
    corpus_manifest: Make,
    pair_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    spec = GENERATORS[case]
    source = {"type": "pairs", "path": str(pair_folder), "clean": "*_mean.png", "camera": "X"}
    manifest = corpus_manifest(
        sources=[source | {"noisy": "*_Real.png", "iso": 800}],
        generators=[spec if "name" in spec else naflow(tmp_path, **spec)],
        patches={"size": 16, "per_image": 5},
        output={"encoding": "uint16", "formats": ["hdf5"], "rows_per_shard": 3},
    )
    build(manifest, inline=True, overwrite=False, style="quiet")
    root = manifest.output.path
    ids: list[str] = []
    for shard in load_corpus(root).shards:
        with open_shard(root, shard.files[0]) as reader:
            ids += reader.columns(["sample_id"])["sample_id"]
    assert len(ids) == 10
    for sample_id in (ids[0], ids[4], ids[9]):
        again = regenerate(root, sample_id)
        assert again.equal
        assert not np.array_equal(again.clean, again.noisy)


@pytest.fixture
def corpus(corpus_manifest: Make, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A corpus and the id of one of its rows."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    manifest = corpus_manifest(output={"rows_per_shard": 1000, "formats": ["parquet"]})
    build(manifest, inline=True, overwrite=False, style="quiet")
    root = manifest.output.path
    with open_shard(root, load_corpus(root).shards[0].files[0]) as reader:
        return root, reader.columns(["sample_id"])["sample_id"][0]


def test_rows_that_share_their_clean_image_are_told_apart(
    corpus: tuple[str, str], corpus_manifest: Make, tmp_path: Path
) -> None:
    source = {"type": "corpus", "path": corpus[0]}
    manifest = corpus_manifest(
        sources=[source],
        generators=[naflow(tmp_path, sampling="noise-aware")],
        output={"path": str(tmp_path / "second"), "rows_per_shard": 1000, "formats": ["hdf5"]},
    )
    build(manifest, inline=True, overwrite=False, style="quiet")
    root = manifest.output.path
    with open_shard(root, load_corpus(root).shards[0].files[0]) as reader:
        columns = reader.columns(["sample_id", "source_sha256"])
    assert len(set(columns["source_sha256"])) == 36
    assert len(set(columns["sample_id"])) == 72
    assert all(regenerate(root, sample_id).equal for sample_id in columns["sample_id"][:4])


def test_an_unknown_id_is_told(corpus: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="holds no sample 'nothing-awgn'"):
        regenerate(corpus[0], "nothing-awgn")


def test_a_photograph_that_changed_or_went_is_told(
    corpus: tuple[str, str],
    photo_folder: Path,
    texture: Callable[..., np.ndarray],
    write_image: Any,
) -> None:
    root, sample_id = corpus
    write_image(photo_folder / "a.png", texture(48, 64, seed=99))
    with pytest.raises(ValueError, match=r"not among the sources any more: .*a\.png"):
        regenerate(root, sample_id)


@pytest.mark.parametrize(
    ("made_on", "same_bits", "change", "verdict"),
    [
        ("here", False, 0, "equal"),
        ("here", False, 1, "different"),
        ("elsewhere", False, 0, "equal"),
        ("elsewhere", False, 1, "within tolerance"),
        ("", False, 1, "within tolerance"),
        ("elsewhere", False, 2, "different"),
        ("elsewhere", True, 1, "different"),
    ],
)
def test_a_sample_made_again_is_judged_by_what_repeats_there(
    made_on: str, same_bits: bool, change: int, verdict: str
) -> None:
    clean = np.full((64, 64, 3), 100, np.uint8)
    noisy = clean.copy()
    noisy[0, 0, 0] += change
    again = Regenerated(
        clean, noisy, clean, clean, made_on=made_on, made_here="here", same_bits=same_bits
    )
    assert again.verdict == verdict
    assert again.equal is (change == 0)
