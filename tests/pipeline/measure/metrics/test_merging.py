"""The contract of every accumulator: halves merged are the whole, conventions do not mix."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.measure.metrics import (
    Cell,
    ChannelCovariance,
    CorrelationMap,
    GroupSums,
    KldConvention,
    Moments,
    Nll,
    NllConvention,
    NoiseHistogram,
    PooledKld,
    Psnr,
    QualityConvention,
    RadialSpectrum,
    Scores,
    VarianceByIntensity,
    kld,
)
from pipeline.measure.metrics.base import BlockValues

Block = tuple[np.ndarray, np.ndarray, np.ndarray]


def blocks(count: int = 5) -> list[Block]:
    """Return clean images and two noises of each, of different strengths."""
    rng = np.random.default_rng(3)
    made = []
    for i in range(count):
        clean = rng.uniform(0.1, 0.9, (16, 18, 3))
        made.append((clean, *(rng.normal(0, 0.01 + 0.005 * i, clean.shape) for _ in range(2))))
    return made


def pooled(sums: PooledKld, block: Block) -> None:
    clean, real, fake = block
    sums.update_real(real)
    sums.update_fake(fake, clean=clean)


def grouped(sums: GroupSums[Scores], block: Block) -> None:
    level = int(block[1].std() * 1000)
    sums.at(Cell("g", "X", level)).update({"std": float(block[1].std())})


def make_groups() -> GroupSums[Scores]:
    return GroupSums(lambda: Scores(("std",)))


CASES: dict[str, tuple[Callable[[], Any], Callable[[Any, Block], Any]]] = {
    **{f"pooled-{name}": (lambda name=name: PooledKld(name), pooled) for name in KldConvention},
    **{
        f"psnr-{name}": (lambda name=name: Psnr(name), lambda s, b: s.update(b[0], b[0] + b[1]))
        for name in QualityConvention
    },
    "nll": (Nll, lambda s, b: s.update(-float(np.square(b[1]).sum()), b[1].size)),
    "correlation": (CorrelationMap, lambda s, b: s.update(b[1])),
    "covariance": (ChannelCovariance, lambda s, b: s.update(b[1])),
    "spectrum": (RadialSpectrum, lambda s, b: s.update(b[1])),
    "variance": (VarianceByIntensity, lambda s, b: s.update(b[1], b[0])),
    "moments": (Moments, lambda s, b: s.update(b[1])),
    "histogram": (lambda: NoiseHistogram((-0.1, 0.0, 0.1)), lambda s, b: s.update(b[1])),
    "values": (BlockValues, lambda s, b: s.update(float(b[1].std()))),
    "groups": (make_groups, grouped),
}  # fmt: skip


def flat(value: Any) -> list[Any]:
    """Return the numbers and names in a result, whatever its shape."""
    if dataclasses.is_dataclass(value):
        return [x for f in dataclasses.fields(value) for x in flat(getattr(value, f.name))]
    if isinstance(value, dict):
        return [x for key in value for x in [key, *flat(value[key])]]
    if isinstance(value, np.ndarray):
        return list(value.ravel().tolist())
    return list(value) if isinstance(value, list | tuple) else [value]


def result_of(sums: Any) -> list[Any]:
    if isinstance(sums, GroupSums):
        return flat({str(key): found.result() for key, found in sums.by("iso").items()})
    return flat([sums.mean, sums.median] if isinstance(sums, BlockValues) else sums.result())


@pytest.mark.parametrize("cut", [0, 2, 5])
@pytest.mark.parametrize(("make", "update"), CASES.values(), ids=CASES)
def test_halves_merge_to_the_whole(
    make: Callable[[], Any], update: Callable[[Any, Block], Any], cut: int
) -> None:
    whole, first, second = make(), make(), make()
    for i, block in enumerate(blocks()):
        update(whole, block)
        update(first if i < cut else second, block)
    untouched = result_of(copy.deepcopy(second))
    if not isinstance(second, GroupSums):  # its factory is a function of the test
        second = pickle.loads(pickle.dumps(second))
    first.merge(second)
    assert str(result_of(second)) == str(untouched)
    assert_equal(result_of(first), result_of(whole))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PooledKld(KldConvention.NECA), PooledKld(KldConvention.NAFLOW)),
        (Psnr(), Psnr(QualityConvention.INVDN)),
        (Nll(), Nll(NllConvention.AS_STORED)),
        (CorrelationMap(2), CorrelationMap(3)),
        (RadialSpectrum(8), RadialSpectrum(9)),
        (Scores(("kld",)), Scores(("akld",))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_conventions_do_not_mix(one: Any, other: Any) -> None:
    with pytest.raises(ValueError, match="cannot merge"):
        one.merge(other)


@pytest.mark.parametrize("name", list(KldConvention))
def test_pooled_kld_of_one_block_is_the_blocks_own(name: KldConvention) -> None:
    clean, real, fake = blocks()[2]
    one = PooledKld(name)
    pooled(one, (clean, real, fake))
    assert one.result() == pytest.approx(kld(real, fake, name, clean=clean), rel=1e-12)
    assert np.isnan(PooledKld(name).result())


def assert_equal(found: list[Any], expected: list[Any], *, rel: float = 1e-9) -> None:
    for a, b in zip(found, expected, strict=True):
        if isinstance(a, float):
            assert a == pytest.approx(b, rel=rel, abs=1e-12, nan_ok=True)
        else:
            assert a == b


@pytest.mark.parametrize(("make", "update"), CASES.values(), ids=CASES)
@given(order=st.permutations(range(5)))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_the_order_of_blocks_changes_nothing(
    make: Callable[[], Any], update: Callable[[Any, Block], Any], order: list[int]
) -> None:
    in_order, permuted = make(), make()
    every = blocks()
    for block in every:
        update(in_order, block)
    for i in order:
        update(permuted, every[i])
    found, expected = result_of(permuted), result_of(in_order)
    if isinstance(in_order, GroupSums):  # groups are named in the order they came in
        found, expected = sorted(map(str, found)), sorted(map(str, expected))
    assert_equal(found, expected)


# The correlation map tells (1, 1) from (1, -1), which a flip exchanges.
TURNABLE = [name for name in CASES if name not in ("correlation", "groups", "values")]


@pytest.mark.parametrize("name", TURNABLE)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)], ids=["upside-down", "mirrored", "turned"])
def test_pictures_flipped_together_measure_the_same(name: str, axes: tuple[int, ...]) -> None:
    make, update = CASES[name]
    upright, flipped = make(), make()
    for clean, real, fake in blocks():
        update(upright, (clean, real, fake))
        update(flipped, tuple(np.ascontiguousarray(np.flip(x, axes)) for x in (clean, real, fake)))
    assert_equal(result_of(flipped), result_of(upright), rel=1e-7)


@pytest.mark.parametrize("name", TURNABLE)
def test_a_flip_of_one_alone_is_noticed_where_places_matter(name: str) -> None:
    make, update = CASES[name]
    upright, odd = make(), make()
    for clean, real, fake in blocks():
        update(upright, (clean, real, fake))
        update(odd, (clean, real, np.flip(np.roll(fake, 1, 2), 1) * 1.5))
    same = str(result_of(odd)) == str(result_of(upright))
    uses_fake = name.startswith(("kld", "pooled", "akld"))
    assert same is not uses_fake
