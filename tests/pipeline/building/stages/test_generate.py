"""Generate: full batches, rows that know nothing of their neighbours, columns that say it all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from generators.base import NoiseRequest, NoiseSample
from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.naflow.sampling import NAFlowGenerator
from generators.sample_check import SampleError
from generators.seeds import patch_seed, standard_normal
from pipeline.building.plan import PlannedShard, patch_id
from pipeline.building.run import Prepared, inline_stages, prepare, task_for
from pipeline.building.stages.generate import GenerateStage
from pipeline.building.stages.work import MadeShard
from pipeline.corpus.columns import COLUMNS, ShardRows
from pipeline.manifest.models import CorpusManifest

Make = Callable[..., CorpusManifest]


@dataclass
class Witness:
    """Adds noise and remembers the batches that it was given."""

    name: str = "witness"
    revision: int = 3
    accepts: str = "srgb"
    gives: str = "srgb"
    needs: frozenset[str] = frozenset()
    requests: list[NoiseRequest] = field(default_factory=list)

    def sample(self, request: NoiseRequest) -> NoiseSample:
        self.requests.append(request)
        clean = request.context.clean
        noise = 0.05 * standard_normal(request.seeds, clean.shape[1:], "noise")
        params = [{"number": i} for i in range(len(clean))]
        return NoiseSample(clean=clean, noisy=clean + noise, params=params)


@pytest.fixture
def ready(corpus_manifest: Make) -> Prepared:
    return prepare(corpus_manifest(output={"rows_per_shard": 1000}))


def with_generators(ready: Prepared, generators: Sequence[Any]) -> Prepared:
    pairs = zip(ready.loaded, generators, strict=True)
    return replace(ready, loaded=[replace(one, generator=other) for one, other in pairs])


def rows_of(shard: PlannedShard, rows: Sequence[int]) -> PlannedShard:
    columns = {name: getattr(shard, name)[list(rows)] for name in ("image", "y", "x", "generator")}
    return replace(shard, **columns)


def made(ready: Prepared, rows: Sequence[int], *, batch_size: int = 4) -> MadeShard:
    cut, _ = inline_stages(ready)
    stage = GenerateStage(
        ready.loaded,
        seed=7,
        size=16,
        batch_size=batch_size,
        encoding=ready.manifest.output.encoding,
    )
    return stage(cut(task_for(ready, rows_of(ready.plan.shards[0], rows))))


def test_batches_are_always_full_and_padded_with_the_last_row(ready: Prepared) -> None:
    witnesses = [Witness(), Witness()]
    # Rows alternate between the two generators: 5 of the first, 4 of the second.
    made(with_generators(ready, witnesses), range(9))
    assert [len(r.seeds) for w in witnesses for r in w.requests] == [4, 4, 4]
    last = witnesses[0].requests[1]
    assert len(set(last.seeds)) == 1
    assert torch.equal(last.context.clean, last.context.clean[:1].expand(4, -1, -1, -1))
    assert last.context.capture.camera == ("X",) * 4
    assert last.context.capture.iso == (800,) * 4


def naflow() -> NAFlowGenerator:
    """A small NAFlow whose output depends on its input through every layer."""
    config = NAFlowConfig(configurations=("X_00800",), levels=2, condition_channels=8, hidden=8)
    model = NAFlow(config)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.from_numpy(rng.normal(0, 0.05, parameter.shape)).float()
    return NAFlowGenerator(model, sampling="label")


@pytest.mark.parametrize("generator", ["formulas", "network"])
def test_a_rows_pixels_do_not_depend_on_its_neighbours(ready: Prepared, generator: str) -> None:
    if generator == "network":
        ready = with_generators(ready, [naflow(), naflow()])
    whole = made(ready, range(23))
    assert whole.noisy.std(axis=(1, 2, 3)).min() > 0
    # Alone, in a partial batch, in another order, at another place of its batch.
    for rows in ([22], [0, 1, 2], [9, 3, 4, 16, 17, 5, 11], [5, 5, 5]):
        part = made(ready, rows)
        np.testing.assert_array_equal(part.noisy, whole.noisy[rows])
        np.testing.assert_array_equal(part.clean, whole.clean[rows])
        assert part.columns["params"] == [whole.columns["params"][row] for row in rows]
        assert part.columns["seed"] == [whole.columns["seed"][row] for row in rows]


def test_rows_come_in_the_order_of_the_plan_however_generators_share_them(
    ready: Prepared,
) -> None:
    shard = ready.plan.shards[0]
    whole = made(ready, range(len(shard)))
    keys = [ready.loaded[int(g)].spec.key for g in shard.generator]
    assert whole.columns["generator"] == keys
    assert whole.columns["crop_y"] == shard.y.tolist()
    assert whole.columns["crop_x"] == shard.x.tolist()
    records = [ready.plan.records[int(i)] for i in shard.image]
    ids = [
        f"{patch_id(record, int(y), int(x), 16)}-{key}"
        for record, y, x, key in zip(records, shard.y, shard.x, keys, strict=True)
    ]
    assert whole.columns["sample_id"] == ids
    assert len(set(ids)) == len(ids)


def test_the_seed_of_a_row_follows_from_manifest_patch_and_generator(ready: Prepared) -> None:
    result = made(ready, range(8))
    for sample, key, seed in zip(
        *(result.columns[name] for name in ("sample_id", "generator", "seed")), strict=True
    ):
        assert seed == patch_seed(7, sample.removesuffix(f"-{key}"), key)
    assert len(set(result.columns["seed"])) == 8


def test_columns_are_complete_and_fit_a_shard(ready: Prepared) -> None:
    witnesses = [Witness(), Witness()]
    result = made(with_generators(ready, witnesses), range(6))
    assert set(result.columns) == set(COLUMNS)
    rows = ShardRows(clean=result.clean, noisy=result.noisy, columns=result.columns)
    assert len(rows) == 6
    assert result.columns["generator_revision"] == [3] * 6
    assert [json.loads(p)["number"] for p in result.columns["params"]] == [0, 0, 1, 1, 2, 2]
    noise = result.noisy.astype(np.float64) - result.clean
    expected = noise.std(axis=(1, 2, 3)) / 255
    np.testing.assert_allclose(result.columns["noise_std"], expected, rtol=1e-6)


def test_a_shard_of_which_nothing_was_left_stays_empty(ready: Prepared) -> None:
    result = made(ready, [])
    assert len(result.noisy) == len(result.columns["sample_id"]) == 0
    assert set(result.columns) == set(COLUMNS)


def test_only_generators_that_follow_a_reference_are_given_one(
    corpus_manifest: Make, pair_folder: Any
) -> None:
    source = {"type": "pairs", "path": str(pair_folder), "clean": "*_mean.png"}
    manifest = corpus_manifest(
        sources=[source | {"noisy": "*_Real.png"}], output={"rows_per_shard": 1000}
    )
    witnesses = [Witness(needs=frozenset({"reference"})), Witness()]
    ready = with_generators(prepare(manifest), witnesses)
    made(ready, range(4))
    follows, free = (w.requests[0] for w in witnesses)
    assert follows.reference is not None
    assert follows.reference_clean is not None
    assert torch.equal(follows.reference_clean, follows.context.clean)
    noise = follows.reference - follows.context.clean
    # The folder's noise has a deviation of 5 grey levels; 4 x 768 samples.
    assert abs(float(noise.std()) * 255 - 5) < 5 * 5 / np.sqrt(2 * 4 * 768)
    assert free.reference is None
    assert free.reference_clean is None


@pytest.mark.parametrize("encoding", ["uint8", "uint16", "float32"])
def test_pixels_are_stored_in_the_manifests_encoding(corpus_manifest: Make, encoding: str) -> None:
    manifest = corpus_manifest(output={"rows_per_shard": 1000, "encoding": encoding})
    result = made(prepare(manifest), range(4))
    assert result.clean.dtype == result.noisy.dtype == np.dtype(encoding)


@dataclass
class Poisoned(Witness):
    """Like Witness, but one value of the patch of one seed is not finite, or a param no JSON."""

    seed: int = 0
    value: float = float("nan")
    params: Any = None

    def sample(self, request: NoiseRequest) -> NoiseSample:
        sample = super().sample(request)
        for row, seed in enumerate(request.seeds):
            if seed == self.seed:
                sample.noisy[row, 0, 2, 3] = self.value
        return replace(sample, params=[self.params] * len(request.seeds) if self.params else ())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_value_that_is_not_finite_is_ever_stored(ready: Prepared, value: float) -> None:
    plain = made(with_generators(ready, [Witness(), Witness()]), range(9))
    seeds, columns = plain.columns["seed"], plain.columns
    with pytest.raises(SampleError) as caught:
        made(with_generators(ready, [Poisoned(seed=seeds[6], value=value), Witness()]), range(9))
    for words in (
        f"generator '{ready.loaded[0].spec.key}'",
        f"made {value} at y 2, x 3",
        f"{columns['source_uri'][6]}, patch at y {columns['crop_y'][6]}, x {columns['crop_x'][6]}",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("params", [{"sigma": float("nan")}, {"sigma": object()}])
def test_params_that_are_no_json_are_told(ready: Prepared, params: dict[str, Any]) -> None:
    faulty = with_generators(ready, [Poisoned(params=params), Witness()])
    with pytest.raises(SampleError, match="no finite JSON values"):
        made(faulty, range(9))
