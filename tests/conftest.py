"""Fixtures that several test files share: the development data, and small folders of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Tensors here are tiny: threads would wait for each other longer than they compute, and on a busy
# machine for minutes. Set before torch is imported, and inherited by every process a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, and those that need Ray with the one cluster."""
    for item in items:
        ray = item.get_closest_marker("ray") is not None
        item.add_marker(pytest.mark.xdist_group("ray" if ray else item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real photographs; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("NOISEMILL_DATA", DATA)).resolve()
    if not (folder / "polyu" / "metadata.csv").is_file():
        pytest.skip(f"no development data in {folder}; set NOISEMILL_DATA")
    return folder


@pytest.fixture
def texture() -> Callable[..., np.ndarray]:
    """Makes a smooth random picture, (H, W, C) uint8, different for each seed."""

    def make(height: int = 48, width: int = 64, channels: int = 3, *, seed: int = 0) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(height, width, channels))
        smooth = cv2.GaussianBlur(noise, (0, 0), 2).reshape(height, width, channels)
        return np.clip(128 + smooth * 50 / smooth.std(), 1, 254).round().astype(np.uint8)

    return make


@pytest.fixture
def write_image() -> Callable[[Path, np.ndarray], Path]:
    """Writes (H, W, C) grey or RGB pixels to a file; the suffix tells the format."""

    def write(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = pixels[..., ::-1] if pixels.shape[2] == 3 else pixels
        ok, data = cv2.imencode(path.suffix, stored)
        assert ok
        path.write_bytes(data.tobytes())
        return path

    return write


@pytest.fixture
def photo_folder(
    tmp_path: Path,
    texture: Callable[..., np.ndarray],
    write_image: Callable[[Path, np.ndarray], Path],
) -> Path:
    """Three different PNG photographs: a.png, b.png and below/c.png."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(("a.png", "b.png", "below/c.png")):
        write_image(folder / name, texture(seed=seed))
    return folder


@pytest.fixture
def pair_folder(
    tmp_path: Path,
    texture: Callable[..., np.ndarray],
    write_image: Callable[[Path, np.ndarray], Path],
) -> Path:
    """Two pairs, desk and wall, with noise of 5 grey levels: *_mean.png and *_Real.png."""
    folder = tmp_path / "pairs"
    rng = np.random.default_rng(9)
    for seed, name in enumerate(("desk", "wall")):
        clean = texture(seed=10 + seed)
        noisy = np.clip(clean + rng.normal(0, 5, clean.shape), 0, 255).round().astype(np.uint8)
        write_image(folder / f"{name}_mean.png", clean)
        write_image(folder / f"{name}_Real.png", noisy)
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray with 2 CPUs for the whole session, started when the first test asks."""
    from pipeline.engine.connection import connected
    from pipeline.engine.resources import Machine

    with connected(None, Machine(2, 0)):
        yield
