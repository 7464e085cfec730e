"""Where the pictures of a call go: PNG or TIFF, and no picture that is there is lost unasked.

Two pictures of one call may have one name (``a/1.png``, ``b/1.png``); the second gets ``-2`` behind
it. What is to become of files that were there before the call, the caller says once.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["PictureFolder", "Present", "save_picture"]

Present = Literal["number", "refuse", "replace"]


class PictureFolder:
    """A folder of results.

    Args:
        path: The folder; made with the first picture.
        present: What happens where a file is there already: ``number`` puts -2, -3 ... behind the
            new name, ``refuse`` raises, ``replace`` replaces it.
    """

    def __init__(self, path: Path, present: Present) -> None:
        self.path, self.present = path, present
        self._used: Counter[str] = Counter()

    def save(self, stem: str, pixels: NDArray[Any]) -> Path:
        """Write a picture and return its file.

        Args:
            stem: Name without suffix.
            pixels: ``(H, W, C)`` uint8, uint16 or float32.

        Raises:
            FileExistsError: If there is such a file and ``present`` is ``refuse``.
            OSError: If it cannot be written.
        """
        return save_picture(self.free(stem, suffix_of(pixels)), pixels)

    def free(self, stem: str, suffix: str) -> Path:
        """Return the file that a result of a name gets; errors as :meth:`save`."""
        while True:
            self._used[stem] += 1
            number = self._used[stem]
            path = self.path / f"{stem if number == 1 else f'{stem}-{number}'}{suffix}"
            if self.present == "replace" or not path.exists():
                return path
            if self.present == "refuse":
                self._used[stem] -= 1
                raise FileExistsError(
                    f"{path} is there already; give another --out, or --overwrite to replace it."
                )


def suffix_of(pixels: NDArray[Any]) -> str:
    """Return ``.tiff`` for what PNG cannot hold, floats and packed raw, else ``.png``."""
    return ".tiff" if pixels.dtype == np.float32 or pixels.shape[2] == 4 else ".png"


def save_picture(path: Path, pixels: NDArray[Any]) -> Path:
    """Write a PNG (8 or 16 bit, grey or RGB), or a TIFF of float samples or packed raw.

    Returns:
        The file; its suffix is ``.tiff`` where it is a TIFF.

    Raises:
        OSError: If it cannot be written.
    """
    import cv2
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = suffix_of(pixels)
    path = path.with_name(f"{path.name.removesuffix('.png').removesuffix('.tiff')}{suffix}")
    if suffix == ".tiff":
        photometric = "rgb" if pixels.shape[2] == 3 else "minisblack"
        tifffile.imwrite(path, pixels, photometric=photometric, planarconfig="contig")
        return path
    bgr = pixels[..., ::-1] if pixels.shape[2] == 3 else pixels
    done, data = cv2.imencode(".png", np.ascontiguousarray(bgr))
    if not done:
        raise OSError(f"{path} cannot be encoded as PNG.")
    path.write_bytes(data.tobytes())
    return path
