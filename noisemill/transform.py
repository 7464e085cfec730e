"""Any generator as a transform inside somebody's own data set.

    noise = NoiseTransform("naflow", weights="naflow-polyu", params={"sampling": "random"}, seed=7)
    noisy = noise(clean, index=index, epoch=epoch)

What comes in comes out, with noise:

    numpy   (H, W, C), (H, W, 1) or (H, W)   uint8, uint16, or floats in [0, 1]
    tensor  (C, H, W), (1, H, W) or (H, W)   uint8, or floats in [0, 1], on any device

Noise belongs to the picture: it follows from the seed, the picture's index or key, and the epoch,
and from nothing else, so the number of workers and their order do not enter. Integers are clipped
and rounded; floats are neither unless asked, as KAIR does it for AWGN.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.base import NoiseGenerator, as_generator
from generators.capture import CaptureMetadata, CaptureValue
from noisemill.models import check_device, load_generator
from pipeline.errors import InputError, WrongTypeError, within_the_tree
from pipeline.pictures.noise import add_noise_to_floats
from pipeline.pixels import quantise, to_unit

__all__ = ["NoiseTransform"]

Image = TypeVar("Image", NDArray[Any], Tensor)

_CHANNELS = {"srgb": (1, 3), "raw": (4,)}
_KINDS = "uint8, uint16 or floats in [0, 1]"


class NoiseTransform:
    """Puts a generator's noise on pictures, the same on each whenever it is asked.

    May be pickled, and used by forked and spawned workers: each process makes its own generator.

    Args:
        generator: Name of a generator, or a generator; the latter must itself be fit for pickling
            where workers are spawned.
        weights: Bundled weights by name, or a file; the bundled ones that fit if absent.
        params: The generator's parameters, as in a manifest.
        camera: Camera whose noise is wanted, for generators that need one.
        iso: ISO speed, likewise.
        capture: Further capture metadata, by column.
        seed: Another seed, other noise.
        clip: Whether floats are clipped to [0, 1].
        quantise: Whether floats are rounded to 8 bits, as a stored picture is; clips, too.
        device: Where the generator's network works, e.g. ``cuda:0``.

    Raises:
        Error: If there is no such generator, or it cannot be made like this or serve as a
            transform.

    Example:
        >>> clean = np.full((8, 8, 3), 128, np.uint8)
        >>> noise = NoiseTransform("awgn", params={"sigma": 25}, seed=1)
        >>> noisy = noise(clean, index=0)
        >>> noisy.dtype, noisy.shape, bool((noisy == noise(clean, index=0)).all())
        (dtype('uint8'), (8, 8, 3), True)
    """

    @within_the_tree()
    def __init__(
        self,
        generator: str | NoiseGenerator,
        *,
        weights: str | os.PathLike[str] | None = None,
        params: Mapping[str, Any] | None = None,
        camera: str | None = None,
        iso: int | None = None,
        capture: Mapping[str, CaptureValue] | None = None,
        seed: int = 0,
        clip: bool = False,
        quantise: bool = False,
        device: str = "cpu",
    ) -> None:
        named = isinstance(generator, str)
        if not named and (weights is not None or params is not None):
            raise InputError(
                "weights and params are for a generator's name", where="NoiseTransform"
            )
        self.generator, self.seed, self.device = generator, seed, device
        self.clip, self.quantise = clip, quantise
        self._options = {"weights": weights, "params": params, "camera": camera, "iso": iso}
        self._capture = CaptureMetadata.same(1, camera=camera, iso=iso, **(capture or {}))
        self._made: NoiseGenerator | None = None
        self._process = 0
        check_device(device)
        # Mistakes are told here, not by a worker. The network stays on the CPU until it is used:
        # one that is on a GPU does not survive a fork.
        model = self._make()
        self.name = model.name
        _check_serves(model, self._capture)
        self._keep(model if device == "cpu" else None)

    @within_the_tree()
    def __call__(
        self, clean: Image, *, index: int | None = None, key: str | None = None, epoch: int = 0
    ) -> Image:
        """Return a picture with noise on it, of the same kind, type and shape.

        Args:
            clean: See the module.
            index: The picture's number in its data set.
            key: The picture's name, in place of a number. Without both, the picture's content names
                it.
            epoch: Another epoch, other noise.

        Raises:
            Error: If it is no such picture, or the generator does not take it.
        """
        return self._pair(clean, index=index, key=key, epoch=epoch)[1]

    @within_the_tree()
    def pair(
        self, clean: Image, *, index: int | None = None, key: str | None = None, epoch: int = 0
    ) -> tuple[Image, Image]:
        """Return the clean partner too: a simulated camera develops one of its own.

        Args, errors as for a call.
        """
        return self._pair(clean, index=index, key=key, epoch=epoch)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None, "_process": 0}

    def _pair(
        self, clean: Image, *, index: int | None, key: str | None, epoch: int
    ) -> tuple[Image, Image]:
        if index is not None and key is not None:
            raise InputError("index and key both name the picture", expected="one of them")
        picture = _to_picture(clean)
        name = f"index:{int(index)}" if index is not None else f"key:{key}"
        if index is None and key is None:
            name = f"content:{hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()}"
        with _one_thread():
            made = add_noise_to_floats(
                self._generator(),
                to_unit(picture),
                seed=self.seed,
                key=f"{name}:{int(epoch)}",
                capture=self._capture,
            )
        return self._like(clean, made[0]), self._like(clean, made[1])

    def _generator(self) -> NoiseGenerator:
        if self._made is None or self._process != os.getpid():
            check_device(self.device)
            model = self._make()
            if self.device != "cpu":
                model.place(self.device)
            self._keep(model)
            return model
        return self._made

    def _make(self) -> NoiseGenerator:
        if isinstance(self.generator, str):
            return load_generator(self.generator, **self._options)  # type: ignore[arg-type]
        return as_generator(self.generator)

    def _keep(self, model: NoiseGenerator | None) -> None:
        self._made, self._process = model, os.getpid()

    def _like(self, clean: Image, picture: NDArray[np.float32]) -> Image:
        """Return a float picture ``(H, W, C)`` in the kind, type and shape of ``clean``."""
        if isinstance(clean, Tensor):
            planes = picture.transpose(2, 0, 1) if clean.ndim == 3 else picture[:, :, 0]
            stored = self._stored(planes, str(clean.dtype).removeprefix("torch."))
            return torch.from_numpy(np.ascontiguousarray(stored)).to(clean.device, clean.dtype)
        pixels = picture if clean.ndim == 3 else picture[:, :, 0]
        return self._stored(pixels, clean.dtype.name).astype(clean.dtype, copy=False)

    def _stored(self, image: NDArray[np.float32], kind: str) -> NDArray[Any]:
        if kind in ("uint8", "uint16"):
            return quantise(image, kind)  # type: ignore[arg-type]
        if self.quantise:
            return to_unit(quantise(image, "uint8"))
        return np.clip(image, 0.0, 1.0) if self.clip else image


def _check_serves(model: NoiseGenerator, capture: CaptureMetadata) -> None:
    """Refuse a generator that cannot put noise on a picture by itself."""
    if model.accepts != model.gives:
        raise InputError(
            f"generator '{model.name}' turns {model.accepts} into {model.gives}; a transform gives "
            "what it takes. Choose parameters with which it does, or build a corpus."
        )
    if "reference" in model.needs:
        raise InputError(
            f"generator '{model.name}' follows a noisy reference, which a transform does not have. "
            "Choose another generator or way of sampling, or build a corpus."
        )
    for need in sorted(model.needs):
        if capture[need][0] is None:
            raise InputError(
                f"generator '{model.name}' needs {need}. Give NoiseTransform(..., {need}=...)."
            )
    model.check_capture(capture)


def _to_picture(image: Any) -> NDArray[Any]:
    """Return any picture as ``(H, W, C)``, uint8, uint16 or float32."""
    if isinstance(image, Tensor):
        planes = image.detach().cpu()
        pixels = planes.numpy() if planes.ndim == 2 else planes.movedim(0, -1).numpy()
    elif isinstance(image, np.ndarray):
        pixels = image
    else:
        raise WrongTypeError(
            f"a picture is a numpy array or a tensor; got {type(image).__name__}. Use "
            "numpy.asarray(picture)."
        )
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise InputError(
            f"a picture of shape {tuple(image.shape)}",
            expected="(H, W, C) or (H, W) of numpy, (C, H, W) or (H, W) of a tensor, C 1, 3 or 4",
            what_to_do="A transform takes one picture, not a batch.",
        )
    if pixels.dtype.kind == "f":
        return _checked_floats(pixels.astype(np.float32))
    if pixels.dtype.name not in ("uint8", "uint16"):
        raise WrongTypeError(f"a picture of {image.dtype}", expected=_KINDS)
    return pixels


def _checked_floats(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    # Resized pictures overshoot a little; grey levels of 255 are what this is about.
    low, high = float(pixels.min(initial=0.0)), float(pixels.max(initial=0.0))
    if not (np.isfinite(pixels).all() and -1.0 <= low and high <= 2.0):
        raise InputError(
            f"floats from {low:g} to {high:g}",
            expected="values in [0, 1]",
            what_to_do="Divide by the white level first.",
        )
    return pixels


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, as a loader's worker does: a network's last bits depend on their number."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
