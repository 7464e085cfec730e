"""NoiseTransform: what comes in comes out, noise belongs to the picture, workers do not enter."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import generators
import noisemill
from noisemill import NoiseTransform


def picture(height: int = 20, width: int = 28, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.integers(40, 216, (height, width, channels), dtype=np.uint8)


def awgn(**options: Any) -> NoiseTransform:
    return NoiseTransform("awgn", params={"sigma": 10}, seed=3, **options)


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "uint8": lambda x: x,
    "uint16": lambda x: x.astype(np.uint16) * 257,
    "float32": lambda x: x.astype(np.float32) / 255,
    "float64": lambda x: x / 255,
    "grey-hw1": lambda x: x[..., :1],
    "grey-hw": lambda x: x[..., 0],
    "tensor-uint8": lambda x: torch.from_numpy(x).permute(2, 0, 1),
    "tensor-float": lambda x: torch.from_numpy(x).permute(2, 0, 1) / 255,
    "tensor-half": lambda x: (torch.from_numpy(x).permute(2, 0, 1) / 255).half(),
    "tensor-grey": lambda x: torch.from_numpy(x[..., 0]) / 255,
    "fortran-order": np.asfortranarray,
    "mirrored": lambda x: x[:, ::-1],
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_comes_in_comes_out_with_noise(make: Callable[[np.ndarray], Any]) -> None:
    clean = make(picture())
    before = clean.clone() if isinstance(clean, Tensor) else clean.copy()
    noisy = awgn()(clean, index=4)
    assert type(noisy) is type(clean)
    assert noisy.dtype == clean.dtype
    assert noisy.shape == clean.shape
    white = {"uint8": 255, "uint16": 65535}.get(str(clean.dtype).removeprefix("torch."), 1)
    first, second = (np.asarray(x, np.float64) for x in (clean, noisy))
    noise = (second - first) / white * 255
    # Five standard errors of a standard deviation; rounding to 8 bits adds 1/12 to the variance.
    assert abs(noise.std() - 10) < 0.05 + 5 * 10 / np.sqrt(2 * noise.size)
    same = torch.equal(clean, before) if isinstance(clean, Tensor) else (clean == before).all()
    assert same, "the clean picture was written to"


def test_all_kinds_of_one_picture_get_one_noise() -> None:
    noise = awgn()
    floats = noise(KINDS["float32"](picture()), index=0)
    tensor = noise(KINDS["tensor-float"](picture()), index=0)
    assert np.array_equal(floats, tensor.permute(1, 2, 0).numpy())
    rounded = np.rint(np.clip(floats, 0, 1) * np.float32(255)).astype(np.uint8)
    assert np.array_equal(rounded, noise(picture(), index=0))


def test_noise_follows_seed_index_and_epoch_and_nothing_else() -> None:
    clean = picture()
    noise, other = awgn(), NoiseTransform("awgn", params={"sigma": 10}, seed=4)
    first = noise(clean, index=0)
    noise(clean, index=1)
    assert np.array_equal(first, noise(clean, index=0))
    different = [
        noise(clean, index=1),
        noise(clean, index=0, epoch=1),
        noise(clean, key="0"),
        noise(clean),
        other(clean, index=0),
    ]
    for number, one in enumerate(different):
        assert not np.array_equal(first, one)
        assert not any(np.array_equal(one, two) for two in different[:number])
    assert np.array_equal(noise(clean, key="a.png"), awgn()(clean, key="a.png"))
    assert np.array_equal(noise(clean), awgn()(clean))
    assert np.array_equal(noise(clean, index=np.int64(0)), first)  # type: ignore[arg-type]


class Pictures(Dataset[Any]):
    def __init__(self, noise: NoiseTransform) -> None:
        self.noise = noise

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> np.ndarray:
        return self.noise(np.roll(picture(), index, 0), index=index)


@pytest.mark.parametrize("name", ["awgn", "naflow"])
def test_workers_forked_or_spawned_give_the_same_noise(name: str) -> None:
    if name == "awgn":
        noise = awgn()
    else:
        noise = NoiseTransform(name, weights="naflow-polyu", params={"sampling": "random"})
    pictures = Pictures(noise)
    alone = np.stack([pictures[index] for index in range(6)])
    for context in ("fork", "spawn"):
        if name == "naflow" and context == "fork":
            continue  # spawned workers show the same; starting four processes takes seconds
        loader = DataLoader(pictures, batch_size=2, num_workers=2, multiprocessing_context=context)
        batches = torch.cat(list(loader)).numpy()
        assert np.array_equal(batches, alone)


def test_a_transform_that_is_pickled_carries_no_network() -> None:
    noise = NoiseTransform("naflow", weights="naflow-polyu", params={"sampling": "random"})
    noise(picture(), index=0)
    data = pickle.dumps(noise)
    assert len(data) < 5_000
    assert np.array_equal(pickle.loads(data)(picture(), index=0), noise(picture(), index=0))


def test_any_size_is_taken_by_a_network_and_the_threads_do_not_enter() -> None:
    noise = NoiseTransform("naflow", weights="naflow-polyu", params={"sampling": "random"})
    clean = picture(21, 13)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(noise(clean, index=2))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert made[0].shape == clean.shape
    assert np.array_equal(*made)


def test_camera_and_iso_reach_the_generator() -> None:
    options = {"params": {"table": "sidd"}, "camera": "S6"}
    low, high = (NoiseTransform("heteroscedastic", iso=iso, **options) for iso in (100, 3200))
    clean = np.full((32, 32, 3), 128, np.uint8)
    assert high(clean, index=0).std() > 2 * low(clean, index=0).std()


def test_floats_are_clipped_and_rounded_where_asked_only() -> None:
    clean = np.ones((32, 32, 3), np.float32)
    assert awgn()(clean, index=0).max() > 1
    clipped = awgn(clip=True)(clean, index=0)
    assert clipped.max() == 1
    levels = awgn(quantise=True)(clean, index=0) * 255
    assert levels.max() == 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)


def test_a_pair_has_the_clean_picture_that_a_camera_developed() -> None:
    noise = NoiseTransform("camera", params={"iso": 800})
    clean, noisy = noise.pair(picture(32, 32), index=0)
    assert clean.shape == noisy.shape == (32, 32, 3)
    assert np.array_equal(noisy, noise(picture(32, 32), index=0))
    same, _ = awgn().pair(picture(), index=0)
    assert np.array_equal(same, picture())


def test_a_generator_made_before_may_serve() -> None:
    generator = generators.create("awgn", params={"sigma": 10})
    noise = NoiseTransform(generator, seed=3)
    assert np.array_equal(noise(picture(), index=1), awgn()(picture(), index=1))
    with pytest.raises(noisemill.Error, match="for a generator's name"):
        NoiseTransform(generator, params={"sigma": 3})


@pytest.mark.parametrize(
    ("clean", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), "one picture, not a batch"),
        (np.zeros((8, 8, 2), np.uint8), "C 1, 3 or 4"),
        (np.zeros((8, 8, 3), np.int64), "expected uint8"),
        (np.full((8, 8, 3), 200.0), "Divide by the white level"),
        (np.full((8, 8, 3), np.nan), "floats from nan"),
        ([[1, 2]], "numpy.asarray"),
        (np.zeros((0, 0, 3), np.uint8), "empty"),
    ],
)
def test_what_is_no_picture_is_refused(clean: Any, message: str) -> None:
    with pytest.raises(noisemill.Error, match=message):
        awgn()(clean, index=0)


def test_index_and_key_together_are_refused() -> None:
    with pytest.raises(noisemill.Error, match="both name the picture"):
        awgn()(picture(), index=0, key="a")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("awgm", {}, "awgn"),
        ("awgn", {"params": {"sigma": -1}}, "sigma"),
        ("real", {}, "follows a noisy reference"),
        ("camera", {"params": {"output": "raw"}}, "turns srgb into raw"),
        ("heteroscedastic", {"params": {"table": "sidd"}}, "needs camera"),
        ("awgn", {"params": {"sigma": 1}, "device": "tpu"}, "is no device"),
        ("awgn", {"params": {"sigma": 1}, "device": "cuda"}, "sees no GPU"),
    ],
)
def test_a_generator_that_cannot_serve_is_refused_at_once(
    name: str, options: dict[str, Any], message: str
) -> None:
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(noisemill.Error, match=message):
        NoiseTransform(name, **options)


@pytest.mark.gpu
def test_on_a_gpu_a_network_gives_nearly_the_same_noise() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    options = {"weights": "naflow-polyu", "params": {"sampling": "random"}}
    cpu, gpu = (NoiseTransform("naflow", device=d, **options) for d in ("cpu", "cuda"))
    clean = KINDS["tensor-float"](picture(64, 64)).float()
    made = gpu(clean.cuda(), index=0)
    assert made.is_cuda
    torch.testing.assert_close(made.cpu(), cpu(clean, index=0), atol=1e-3, rtol=0)
