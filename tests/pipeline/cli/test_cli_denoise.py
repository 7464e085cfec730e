from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

import denoisers
from generators.weights_file import save_weights
from tests.contracts.command import document, noisemill

Texture = Callable[..., np.ndarray]
Write = Callable[[Path, np.ndarray], Path]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small denoisers in files: grey and rgb."""
    files = {}
    for name, channels in (("grey", 1), ("rgb", 3)):
        made: Any = denoisers.create("dncnn", channels=channels, seed=0, depth=3, width=4)
        files[name] = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        state, config = made.state_dict(), made.config.to_dict()
        save_weights(files[name], family="dncnn", config=config, tensors=state, license="CC0-1.0")
    return files


@pytest.fixture
def odd(tmp_path: Path, texture: Texture, write_image: Write) -> Path:
    """A photograph of 37x53 pixels."""
    return write_image(tmp_path / "odd.png", texture(37, 53))


def test_a_picture_is_denoised_and_named(
    tmp_path: Path, odd: Path, weights: dict[str, Path]
) -> None:
    out = tmp_path / "denoised"
    called = noisemill("denoise", odd, "--denoiser", weights["rgb"], "--out", out, "--tile", "100")
    assert called.exit_code == 0, called.output
    assert called.stdout == f"{out / 'odd_rgb.png'}\n"
    assert called.stderr == ""
    assert cv2.imread(str(out / "odd_rgb.png")).shape == (37, 53, 3)


def test_the_depth_of_the_picture_is_kept_and_opaque_alpha_dropped(
    tmp_path: Path, texture: Texture, weights: dict[str, Path]
) -> None:
    pixels = texture(16, 24)
    opaque = np.dstack([pixels, np.full((16, 24), 255, np.uint8)])
    half = np.dstack([pixels, np.full((16, 24), 100, np.uint8)])
    cv2.imwrite(str(tmp_path / "deep.png"), pixels.astype(np.uint16) * 257)
    tifffile.imwrite(tmp_path / "deep.tiff", pixels.astype(np.uint16) * 257, photometric="rgb")
    tifffile.imwrite(tmp_path / "float.tiff", pixels.astype(np.float32) / 255, photometric="rgb")
    cv2.imwrite(str(tmp_path / "photo.jpg"), pixels)
    cv2.imwrite(str(tmp_path / "opaque.png"), opaque)
    cv2.imwrite(str(tmp_path / "half.png"), half)
    names = ("deep.png", "deep.tiff", "float.tiff", "photo.jpg", "opaque.png", "half.png")
    call = ("--denoiser", weights["rgb"], "--out", tmp_path / "out")
    found = document("denoise", *(tmp_path / n for n in names), *call, exit_code=1)
    files = [Path(one["denoised"]) for one in found[:-1]]
    expected = ["deep_rgb.png", "deep_rgb-2.png", "float_rgb.tiff", "photo_rgb.png"]
    assert [file.name for file in files] == [*expected, "opaque_rgb.png"]
    read = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files]
    assert [one.dtype.name for one in read] == ["uint16"] * 2 + ["float32"] + ["uint8"] * 2
    assert {one.shape for one in read} == {(16, 24, 3)}
    assert "half.png" in found[-1]["error"]
    assert "transparent; flatten the image" in found[-1]["error"]


def test_grey_and_colour_pictures_and_denoisers(
    tmp_path: Path, odd: Path, texture: Texture, write_image: Write, weights: dict[str, Path]
) -> None:
    grey = write_image(tmp_path / "grey.png", texture(16, 24, 1))
    out = ("--out", tmp_path / "out")
    first, second = document("denoise", grey, odd, "--denoiser", weights["grey"], *out)
    assert cv2.imread(first["denoised"], cv2.IMREAD_UNCHANGED).shape == (16, 24)
    assert cv2.imread(second["denoised"], cv2.IMREAD_UNCHANGED).shape == (37, 53, 3)
    called = noisemill("denoise", grey, odd, "--denoiser", weights["rgb"], *out)
    assert called.exit_code == 1
    assert "grey.png: the picture is grey (1 channel), and denoiser 'dncnn'" in called.stderr
    assert called.stdout == f"{tmp_path / 'out' / 'odd_rgb.png'}\n"


def test_bad_pictures_are_named_and_the_others_are_made(
    tmp_path: Path, odd: Path, weights: dict[str, Path]
) -> None:
    bad = tmp_path / "text.png"
    bad.write_text("no picture")
    call = ("--denoiser", weights["rgb"], "--out", tmp_path / "out")
    called = noisemill("denoise", bad, tmp_path / "absent.png", odd, *call)
    assert called.exit_code == 1
    assert len(called.stderr.splitlines()) == 2
    assert str(bad) in called.stderr
    assert "absent.png: no such file" in called.stderr
    assert called.stdout == f"{tmp_path / 'out' / 'odd_rgb.png'}\n"


def test_clean_partners_and_ensembles(tmp_path: Path, odd: Path, weights: dict[str, Path]) -> None:
    call = ("--denoiser", weights["rgb"], "--out", tmp_path / "out", "--clean", odd)
    called = noisemill("denoise", odd, *call, "--ensemble", "flips")
    assert called.exit_code == 0, called.output
    assert "PSNR inf -> " in called.stdout
    assert " dB (kair)" in called.stdout
    (found,) = document("denoise", odd, *call)
    assert found["psnr"]["denoised"] > 20
    assert found["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--denoiser", "nothing"), "there are no weights 'nothing'"),
        (("--denoiser", "invdn"), "needs trained weights, such as invdn-polyu"),
        (("--denoiser", "naflow-polyu"), "no weights 'naflow-polyu'"),
        (("--denoiser", "invdn-polyu", "--sigma", "0.1"), "is not told the noise level"),
        (("--denoiser", "invdn-polyu", "--draws", "0"), "draws must be at least 1"),
        (("--denoiser", "invdn-polyu", "--param", "x"), "--param takes KEY=VALUE"),
        (("--denoiser", "invdn-polyu", "--clean", "a", "--clean", "b"), "1 picture and 2 --clean"),
        (("--denoiser", "invdn-polyu", "--device", "cuda"), "torch sees no GPU"),
        ((), "Missing option '--denoiser'"),
    ],
)
def test_wrong_calls_are_told_before_any_work(
    arguments: tuple[str, ...], message: str, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    called = noisemill("denoise", odd, *arguments)
    assert called.exit_code == 2
    assert message in called.stderr


def test_without_the_package_bm3d_says_how_to_get_it(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("denoisers.bm3d.BM3D.absent", lambda *_: "pip install 'noisemill[bm3d]'")
    called = noisemill("denoise", odd, "--denoiser", "bm3d")
    assert called.exit_code == 2
    assert "pip install 'noisemill[bm3d]'" in called.stderr
