"""Small raw files of the kinds that sources read, written as cameras and MATLAB write them."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io
import tifffile

__all__ = [
    "INSTANCES",
    "mosaic_of",
    "write_dng",
    "write_mat5",
    "write_mat73",
    "write_png",
    "write_sidd",
]

# Scene 1 (train in the split of Noise Flow), scene 3 (test), and one that it leaves out.
INSTANCES = (
    "0004_001_S6_00100_00060_4400_N",
    "0055_003_N6_00800_00350_3200_L",
    "0200_010_GP_01600_03200_5500_N",
)


def write_mat73(path: Path, name: str, array: np.ndarray) -> Path:
    """Write a version 7.3 file: 512 bytes of MATLAB's own, then HDF5 with the axes in reverse."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        file[name] = array.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def write_mat5(path: Path, name: str, array: np.ndarray) -> Path:
    """Write a version 5 file, compressed as MATLAB does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {name: array}, do_compression=True)
    return path


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """Write grey (H, W) or RGB (H, W, 3) samples of 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels if pixels.ndim == 2 else pixels[..., ::-1])
    return path


def write_dng(
    path: Path,
    mosaic: np.ndarray,
    *,
    cfa: str,
    black: int = 64,
    white: int = 1023,
    iso: int | None = 800,
    model: str = "Test camera",
) -> Path:
    """Write a minimal DNG file of a (H, W) uint16 mosaic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    identity = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    tags = [
        (50706, "B", 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (50707, "B", 4, bytes([1, 1, 0, 0]), True),
        (50708, "s", 0, model, True),  # UniqueCameraModel
        (33421, "H", 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, "B", 4, bytes("RGB".index(color) for color in cfa), True),
        (50714, "H", 1, black, True),  # BlackLevel
        (50717, "H", 1, white, True),  # WhiteLevel
        (50721, "2i", 9, identity, True),  # ColorMatrix1
        (50778, "H", 1, 21, True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),  # AsShotNeutral
        (271, "s", 0, "Test", True),
        (272, "s", 0, model, True),
    ]
    if iso is not None:
        tags.append((34855, "H", 1, iso, True))
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=tags, metadata=None)
    return path


def mosaic_of(packed: np.ndarray, cfa: str) -> np.ndarray:
    """Lay packed R, G, G, B (h, w, 4) out as a mosaic (2h, 2w), each colour where ``cfa`` has it.

    The two greens are told apart by row: the first belongs to the row of R.
    """
    height, width = packed.shape[:2]
    mosaic = np.zeros((2 * height, 2 * width), packed.dtype)
    red_row = cfa.index("R") // 2
    for place, color in enumerate(cfa):
        y, x = divmod(place, 2)
        channel = {"R": 0, "B": 3}.get(color, 1 if y == red_row else 2)
        mosaic[y::2, x::2] = packed[..., channel]
    return mosaic


def write_sidd(
    root: Path, layout: str, color: str, *, size: int = 48, seed: int = 0
) -> dict[str, np.ndarray]:
    """Write INSTANCES as the small, medium or full set.

    Returns:
        Name of each file's stem -> what was written: RGB, or the mosaic in [0, 1].
    """
    rng = np.random.default_rng(seed)
    written: dict[str, np.ndarray] = {}
    frames = {"small": ("010",), "medium": ("010", "011"), "full": ("001", "002", "003")}[layout]
    for instance in INSTANCES:
        shape = (size, size + 8, 3) if color == "srgb" else (size, size + 8)
        picture = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 6)
        clean = np.clip(0.5 + 0.2 * picture / picture.std(), 0.05, 0.95)
        for frame in frames:
            for kind in ("GT", "NOISY"):
                # Frames of a burst differ a little in brightness, so that no two files are equal.
                noise = rng.normal(0, 0.05, shape) if kind == "NOISY" else int(frame) / 5000
                name = f"{instance[:4]}_{kind}_{color.upper()}"
                folder = root / "Data" / instance
                folder = folder / name if layout == "full" else folder
                values = np.clip(clean + noise, 0, 1)
                stem = f"{name}_{frame}"
                if color == "srgb":
                    written[stem] = np.rint(values * 255).astype(np.uint8)
                    write_png(folder / f"{stem}.PNG", written[stem])
                else:
                    written[stem] = values.astype(np.float32)
                    write_mat73(folder / f"{stem}.MAT", "x", written[stem])
    return written
