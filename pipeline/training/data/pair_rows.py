"""Stored pairs as training rows: row i of a step is a function of (seed, step, i), and cheap.

    PairChunks     where pixels come from: chunks of patches, loaded when they are due
    PairRows      visits its rows in order, cuts the crop, turns it

A source that fits the memory it may use is loaded once. A larger one is read in windows
(:mod:`pipeline.training.data.shuffle_buffer`), or, where single rows are read as fast as chunks
(HDF5 on a disk), row by row, which leaves keeping them to the system's own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.base import Domain
from generators.capture import CaptureMetadata
from generators.seeds import batch_rng
from generators.training import TrainingBatch
from pipeline.pixels import white_level
from pipeline.training.data.batches import Augmentation, turned
from pipeline.training.data.epoch_order import EpochOrder
from pipeline.training.data.shuffle_buffer import ShuffleBuffer

__all__ = [
    "Crops",
    "Pair",
    "PairChunks",
    "PairRows",
    "Rows",
    "random_crops",
    "stacked",
    "unlabelled",
]

Pair = tuple[NDArray[Any], NDArray[Any]]
"""Two images of one scene, ``(H, W, C)`` as stored: clean and noisy, or noisy and second."""


class Rows(Protocol):
    """One input of a training."""

    @property
    def channels(self) -> int:
        """Channels of the images."""
        ...

    @property
    def domain(self) -> Domain:
        """Domain of the images."""
        ...

    def rows(self, step: int, numbers: Sequence[int]) -> TrainingBatch:
        """Return some rows of a step's batch; each depends on the step and its number only."""
        ...


class PairChunks(Protocol):
    """Pixels in chunks."""

    @property
    def counts(self) -> Sequence[int]:
        """Rows of each chunk, none empty."""
        ...

    @property
    def sizes(self) -> Sequence[int]:
        """Bytes of pixels that each chunk takes in memory."""
        ...

    @property
    def by_row(self) -> bool:
        """Whether single rows are read as fast as chunks."""
        ...

    def load(self, chunk: int) -> Callable[[int], Pair]:
        """Read a chunk; what is returned gives the pair of a row in it, from memory.

        It may be called from another thread, never from two at a time.
        """
        ...

    def pair(self, chunk: int, row: int) -> Pair:
        """Read one row."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Crops:
    """How rows are cut.

    Args:
        patch: Side of a crop, pixels.
        size: Rows of a whole batch, B.
        seed: The training's seed.
        augmentation: How crops are turned.
    """

    patch: int
    size: int
    seed: int
    augmentation: Augmentation


class PairRows:
    """Rows of a source.

    Args:
        source: Where pixels come from.
        crops: How they are cut.
        names: What the two images are: ``("clean", "noisy")`` or ``("noisy", "second")``.
        domain: Of the images.
        channels: Of the images.
        memory: Bytes of pixels that may be kept; a larger source is read in windows.

    Raises:
        ValueError: If the source is empty.
    """

    def __init__(
        self,
        source: PairChunks,
        crops: Crops,
        *,
        names: tuple[str, str],
        domain: Domain,
        channels: int,
        memory: int,
    ) -> None:
        self.domain, self.channels = domain, channels
        self._source, self._crops, self._names = source, crops, names
        self._order: EpochOrder | None = None
        self._buffer: ShuffleBuffer[Callable[[int], Pair]] | None = None
        if source.by_row and sum(source.sizes) > memory:
            self._order = EpochOrder(source.counts, seed=crops.seed, window=None)
        else:
            self._buffer = ShuffleBuffer(
                source.counts,
                source.sizes,
                source.load,
                seed=crops.seed,
                memory=memory,
            )

    @property
    def how(self) -> str:
        """How rows are read: ``from memory``, ``in windows`` or ``row by row``."""
        return "row by row" if self._buffer is None else self._buffer.how

    def rows(self, step: int, numbers: Sequence[int]) -> TrainingBatch:
        """Return some rows of a step's batch."""
        crops = random_crops(self._crops, step)
        pairs = [self._pair(step * self._crops.size + number) for number in numbers]
        cut = [
            tuple(crops(image, number) for image in pair)
            for pair, number in zip(pairs, numbers, strict=True)
        ]
        images = {name: stacked([pair[k] for pair in cut]) for k, name in enumerate(self._names)}
        return unlabelled(images, len(numbers))

    def _pair(self, position: int) -> Pair:
        if self._buffer is not None:
            chunk, row = self._buffer.at(position)
            return chunk(row)
        assert self._order is not None
        return self._source.pair(*self._order.at(position))


def random_crops(crops: Crops, step: int) -> Callable[[NDArray[Any], int], NDArray[Any]]:
    """Return what cuts row ``number`` of a step: both of its images alike."""
    rng = batch_rng(crops.seed, step, "pair-crops")
    places, turns = rng.random((crops.size, 2)), rng.integers(2, size=(crops.size, 3))

    def cut(image: NDArray[Any], number: int) -> NDArray[Any]:
        side = crops.patch
        y = int(places[number, 0] * (image.shape[0] - side + 1))
        x = int(places[number, 1] * (image.shape[1] - side + 1))
        crop = image[y : y + side, x : x + side]
        return turned(crop, turns[number], crops.augmentation)

    return cut


def stacked(patches: Sequence[NDArray[Any]]) -> Tensor:
    """Return stored ``(H, W, C)`` patches as ``(B, C, H, W)`` float32 with the white level at 1.

    The result keeps the order of the pixels in memory, channels last: networks want that anyway,
    and turning bytes round costs several times what reading them does.
    """
    first = patches[0]
    rows = np.empty((len(patches), *first.shape), first.dtype)
    for row, patch in zip(rows, patches, strict=True):
        # numpy copies a picture whose columns are turned pixel by pixel, 47 us for 64x64; channel
        # by channel it takes 13.
        if patch.strides[1] == patch.shape[2] * patch.itemsize:
            row[...] = patch
        else:
            for channel in range(patch.shape[2]):
                row[..., channel] = patch[..., channel]
    white = white_level(rows.dtype)
    if rows.dtype == np.uint16:
        rows = rows.astype(np.float32)  # torch converts few types of 16 bits
    return torch.from_numpy(rows).permute(0, 3, 1, 2).to(torch.float32, copy=True).div_(white)


def unlabelled(images: dict[str, Tensor], count: int) -> TrainingBatch:
    """Return a batch of which no camera or ISO is said: a denoiser is told neither."""
    capture = CaptureMetadata(camera=(None,) * count, iso=(None,) * count)
    return TrainingBatch(capture=capture, labels=torch.zeros(count, dtype=torch.int64), **images)
