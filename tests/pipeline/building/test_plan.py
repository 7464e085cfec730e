"""The plan: places inside photographs, ids from content, proportions, a hash of what is made."""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from generators.base import NoiseRequest, NoiseSample, as_generator
from pipeline.building.plan import Plan, make_plan, patch_id, rows_per_shard
from pipeline.building.recipe import LoadedGenerator, load_generators
from pipeline.errors import PlanError
from pipeline.manifest.models import CorpusManifest

Make = Callable[..., CorpusManifest]
Write = Callable[[Path, np.ndarray], Path]


def planned(manifest: CorpusManifest) -> Plan:
    return make_plan(manifest, load_generators(manifest.generators, precision="float32"))


def columns(plan: Plan) -> dict[str, np.ndarray]:
    names = ("image", "y", "x", "generator")
    return {name: np.concatenate([getattr(s, name) for s in plan.shards]) for name in names}


def ids(plan: Plan) -> list[str]:
    table = columns(plan)
    rows = zip(table["image"], table["y"], table["x"], strict=True)
    return [patch_id(plan.records[int(i)], int(y), int(x), plan.size) for i, y, x in rows]


@dataclass
class Fake:
    """A generator that is planned for and never run."""

    name: str = "fake"
    revision: int = 1
    accepts: str = "srgb"
    gives: str = "srgb"
    needs: frozenset[str] = frozenset()
    multiple: int = 1

    def sample(self, request: NoiseRequest) -> NoiseSample:
        raise NotImplementedError


def loaded(manifest: CorpusManifest, generator: Fake, **changes: Any) -> list[LoadedGenerator]:
    first = load_generators(manifest.generators[:1], precision="float32")[0]
    return [replace(first, generator=as_generator(generator), **changes)]


@pytest.mark.parametrize(
    "patches",
    [{"size": 16}, {"size": 16, "stride": 5}, {"size": 48}, {"size": 17, "per_image": 30}],
    ids=["grid", "overlapping", "as high as the photograph", "random"],
)
def test_every_patch_lies_inside_its_photograph_and_only_once(
    corpus_manifest: Make, patches: dict[str, int]
) -> None:
    plan = planned(corpus_manifest(patches=patches))
    table = columns(plan)
    for image, record in enumerate(plan.records):
        y, x = (table[name][table["image"] == image] for name in ("y", "x"))
        assert len(y) > 0
        assert y.min() >= 0
        assert x.min() >= 0
        assert y.max() + plan.size <= record.height
        assert x.max() + plan.size <= record.width
        # Each through both generators, so every place exactly twice.
        assert set(Counter(zip(y.tolist(), x.tolist(), strict=True)).values()) == {2}


def test_a_grid_covers_the_photograph_up_to_less_than_a_patch(corpus_manifest: Make) -> None:
    table = columns(planned(corpus_manifest(patches={"size": 20})))
    assert sorted(set(table["y"].tolist())) == [0, 20]
    assert sorted(set(table["x"].tolist())) == [0, 20, 40]


def test_random_places_reach_both_edges_and_are_spread_evenly(
    corpus_manifest: Make, tmp_path: Path, texture: Callable[..., np.ndarray], write_image: Write
) -> None:
    write_image(tmp_path / "one" / "a.png", texture(40, 40))
    source = {"type": "images", "path": str(tmp_path / "one")}
    plan = planned(corpus_manifest(sources=[source], patches={"size": 31, "per_image": 100}))
    places = np.stack([columns(plan)["y"], columns(plan)["x"]])[:, ::2]
    # 10 x 10 places; 400 draws find a given one with probability 1 - 0.99**400 = 0.98.
    found = places.shape[1]
    assert 90 <= found <= 100
    assert set(places[0]) == set(places[1]) == set(range(10))


def test_ids_follow_content_and_not_names_or_order(
    corpus_manifest: Make, tmp_path: Path, photo_folder: Path
) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, name in enumerate(("below/c.png", "a.png", "b.png")):
        (renamed / f"{number}.png").write_bytes((photo_folder / name).read_bytes())
    for patches in ({"size": 16}, {"size": 16, "per_image": 9}):
        before = planned(corpus_manifest(patches=patches))
        source = {"type": "images", "path": str(renamed)}
        after = planned(corpus_manifest(patches=patches, sources=[source]))
        assert ids(before) != ids(after)
        assert sorted(ids(before)) == sorted(ids(after))


def test_ids_differ_between_places_sizes_and_photographs(corpus_manifest: Make) -> None:
    first, second = planned(corpus_manifest()).records[:2]
    variants = [(first, 0, 1, 16), (first, 1, 0, 16), (first, 0, 1, 17), (second, 0, 1, 16)]
    assert len({patch_id(*variant) for variant in variants}) == 4


def test_shards_hold_the_planned_rows_in_order_and_the_last_one_the_rest(
    corpus_manifest: Make,
) -> None:
    plan = planned(corpus_manifest(output={"rows_per_shard": 10}))
    assert [len(shard) for shard in plan.shards] == [10] * 7 + [2]
    assert [shard.index for shard in plan.shards] == list(range(8))
    assert plan.shards[3].name.stem == "train-00003-of-00008"
    assert plan.patches == 72


def test_splits_get_shards_of_their_own_and_share_no_photograph(
    corpus_manifest: Make, photo_folder: Path
) -> None:
    sources = [
        {"type": "images", "path": str(photo_folder), "pattern": pattern, "split": split}
        for pattern, split in (("a.png", "val"), ("b.png", "train"), ("below/*", "train"))
    ]
    labels = [{"label": str(number), **source} for number, source in enumerate(sources)]
    plan = planned(corpus_manifest(sources=labels))
    for shard in plan.shards:
        assert {plan.records[int(i)].split for i in shard.image} == {shard.name.split}
    assert Counter((s.name.split, s.name.count) for s in plan.shards) == {
        ("train", 6): 6,
        ("val", 3): 3,
    }


def test_bytes_a_shard_count_clean_and_noisy_pixels(corpus_manifest: Make) -> None:
    output = {"rows_per_shard": None, "bytes_per_shard": 100_000}
    assert rows_per_shard(corpus_manifest(output=output)) == 100_000 // (2 * 16 * 16 * 3)
    grey = corpus_manifest(output=output | {"encoding": "uint16"}, patches={"color": "grey"})
    assert rows_per_shard(grey) == 100_000 // (2 * 16 * 16 * 2)
    assert (
        rows_per_shard(corpus_manifest(output={"rows_per_shard": None, "bytes_per_shard": 9})) == 1
    )
    assert rows_per_shard(corpus_manifest(output={"rows_per_shard": None})) == 512


@pytest.fixture
def many(
    corpus_manifest: Make, tmp_path: Path, texture: Callable[..., np.ndarray], write_image: Write
) -> Callable[..., CorpusManifest]:
    """A manifest of 1e5 patches: two photographs of 240x240, a patch at every pixel."""
    for seed in range(2):
        write_image(tmp_path / "many" / f"{seed}.png", texture(240, 240, seed=seed))
    source = {"type": "images", "path": str(tmp_path / "many")}
    patches = {"size": 16, "stride": 1}

    def make(**changes: Any) -> CorpusManifest:
        return corpus_manifest(
            sources=[source], patches=patches, output={"rows_per_shard": 512}, **changes
        )

    return make


def test_each_puts_every_patch_through_every_generator(corpus_manifest: Make) -> None:
    plan = planned(corpus_manifest())
    assert Counter(columns(plan)["generator"].tolist()) == {0: 36, 1: 36}
    assert set(Counter(ids(plan)).values()) == {2}


def test_weights_give_the_shares_of_the_patches(many: Make) -> None:
    specs = [
        {"name": "awgn", "params": {"sigma": 9}, "weight": 3},
        {"name": "poisson-gaussian", "params": {"gain": 0.01, "read_noise": 0.0}, "weight": 1},
    ]
    table = columns(planned(many(generators=specs, mix="weighted")))
    generator, count = table["generator"], len(table["generator"])
    assert count == 2 * 225**2
    share = float((generator == 0).mean())
    assert abs(share - 0.75) < 5 * np.sqrt(0.75 * 0.25 / count)
    # Neighbours choose independently: equal pairs come as often as two independent draws give.
    equal = float((generator[1:] == generator[:-1]).mean())
    assert abs(equal - 0.625) < 5 * np.sqrt(0.625 * 0.375 / count)


def test_a_photograph_keeps_its_generators_when_others_join(
    corpus_manifest: Make,
    photo_folder: Path,
    texture: Callable[..., np.ndarray],
    write_image: Write,
) -> None:
    manifest = corpus_manifest(mix="weighted")
    before = planned(manifest)
    write_image(photo_folder / "0-first.png", texture(48, 64, seed=77))
    after = planned(manifest)
    drawn = [
        dict(zip(ids(plan), columns(plan)["generator"].tolist(), strict=True))
        for plan in (before, after)
    ]
    assert len(drawn[0]) == 36
    assert len(drawn[1]) == 48
    assert {key: drawn[1][key] for key in drawn[0]} == drawn[0]


def test_planning_a_hundred_thousand_patches_takes_little_time_and_memory(many: Make) -> None:
    # A million may take 30 s and 1 GB (`make bench` plans them); this is a tenth with room.
    manifest = many()
    generators = load_generators(manifest.generators[:1], precision="float32")
    manifest.generators[1:] = []
    tracemalloc.start()
    try:
        started = time.perf_counter()
        plan = make_plan(manifest, generators)
        seconds = time.perf_counter() - started
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert plan.patches == 2 * 225**2
    assert peak < 50e6
    assert seconds < 10


def test_equal_manifests_and_photographs_give_equal_hashes(corpus_manifest: Make) -> None:
    assert planned(corpus_manifest()).sha256 == planned(corpus_manifest()).sha256


CHANGES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 8},
    "patch size": {"patches": {"size": 8}},
    "stride": {"patches": {"stride": 15}},
    "texture": {"patches": {"min_texture": 1.0}},
    "generator's parameter": {
        "generators": [
            {"name": "awgn", "params": {"sigma": [5, 26]}},
            {"name": "heteroscedastic", "params": {"beta1": 0.01, "beta2": 1e-4}},
        ]
    },
    "encoding": {"output": {"encoding": "uint16"}},
    "formats": {"output": {"formats": ["parquet"]}},
    "rows a shard": {"output": {"rows_per_shard": 9}},
    "batch size": {"resources": {"batch_size": 5}},
    "threads": {"resources": {"threads": 2}},
    "precision": {"resources": {"precision": "bf16"}},
    "mix": {"mix": "weighted"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_hash_follows_what_decides_the_bytes(
    corpus_manifest: Make, change: dict[str, Any]
) -> None:
    assert planned(corpus_manifest(**change)).sha256 != planned(corpus_manifest()).sha256


FREE: dict[str, dict[str, Any]] = {
    "actors": {"resources": {"actors": 2}},
    "GPUs": {"resources": {"gpus_per_actor": 0}},
    "output path": {"output": {"path": "/somewhere/else"}},
    "limits": {"limits": {"max_rejected": 0.5}},
    "report": {"report": True},
    "name": {"name": "other", "description": "words", "license": "CC0-1.0", "attribution": "me"},
}


@pytest.mark.parametrize("change", FREE.values(), ids=FREE)
def test_the_hash_does_not_follow_how_and_where(
    corpus_manifest: Make, change: dict[str, Any]
) -> None:
    assert planned(corpus_manifest(**change)).sha256 == planned(corpus_manifest()).sha256


def test_the_hash_follows_weights_revisions_and_photographs(
    corpus_manifest: Make,
    photo_folder: Path,
    texture: Callable[..., np.ndarray],
    write_image: Write,
) -> None:
    manifest = corpus_manifest()
    hashes = [
        make_plan(
            manifest, loaded(manifest, Fake(revision=revision), weights_sha256=weights)
        ).sha256
        for revision, weights in ((1, ""), (2, ""), (1, "a"), (1, "b"))
    ]
    write_image(photo_folder / "b.png", texture(48, 64, seed=78))
    hashes.append(make_plan(manifest, loaded(manifest, Fake())).sha256)
    assert len(set(hashes)) == 5


@pytest.mark.parametrize(
    ("needs", "source", "words"),
    [
        ({"camera"}, {}, ["needs camera;", "provides clean images only", "`camera`"]),
        ({"iso"}, {"camera": "X"}, ["needs iso;", "provides camera", "`iso`"]),
        ({"camera", "iso"}, {}, ["needs camera, iso;"]),
        ({"reference"}, {"camera": "X", "iso": 100}, ["needs reference;", "type: pairs"]),
    ],
)
def test_what_a_generator_needs_and_the_source_lacks_is_told_before_work(
    corpus_manifest: Make,
    photo_folder: Path,
    needs: set[str],
    source: dict[str, Any],
    words: list[str],
) -> None:
    manifest = corpus_manifest(
        sources=[{"type": "images", "path": str(photo_folder), "label": "mine", **source}]
    )
    with pytest.raises(PlanError) as raised:
        make_plan(manifest, loaded(manifest, Fake(needs=frozenset(needs))))
    for word in ["generator 'awgn'", "source 'mine'", "a.png", *words]:
        assert word in str(raised.value)


def test_a_source_of_pairs_serves_a_generator_that_needs_a_reference(
    corpus_manifest: Make, pair_folder: Path
) -> None:
    source = {"type": "pairs", "path": str(pair_folder), "clean": "*_mean.png"}
    manifest = corpus_manifest(sources=[source | {"noisy": "*_Real.png"}])
    plan = make_plan(manifest, loaded(manifest, Fake(needs=frozenset({"reference"}))))
    assert plan.patches > 0


def test_sizes_that_a_generator_does_not_divide_are_refused_with_the_next_that_it_does(
    corpus_manifest: Make,
) -> None:
    manifest = corpus_manifest(patches={"size": 18})
    with pytest.raises(PlanError, match=r"divides by 8; patches\.size is 18\. Set it to 24"):
        make_plan(manifest, loaded(manifest, Fake(multiple=8)))


def test_generators_of_two_domains_are_refused(corpus_manifest: Make) -> None:
    manifest = corpus_manifest()
    pair = [*loaded(manifest, Fake()), *loaded(manifest, Fake(gives="raw"))]
    with pytest.raises(PlanError, match="awgn: srgb, awgn: raw"):
        make_plan(manifest, pair)


def test_photographs_of_another_domain_than_the_generator_reads_are_refused(
    corpus_manifest: Make,
) -> None:
    manifest = corpus_manifest()
    with pytest.raises(PlanError, match=r"reads raw images; source 'images' gives srgb"):
        make_plan(manifest, loaded(manifest, Fake(accepts="raw", gives="raw")))


def test_a_photograph_smaller_than_a_patch_is_a_reject_and_the_rest_goes_on(
    corpus_manifest: Make,
    photo_folder: Path,
    texture: Callable[..., np.ndarray],
    write_image: Write,
) -> None:
    write_image(photo_folder / "small.png", texture(15, 200))
    plan = planned(corpus_manifest())
    assert plan.patches == 72
    (reject,) = plan.rejects
    assert reject.uri.endswith("small.png")
    assert reject.reason == "too-small"
    assert "200x15" in reject.detail
    assert "16x16" in reject.detail


def test_nothing_to_cut_is_one_error_that_says_why(corpus_manifest: Make) -> None:
    with pytest.raises(PlanError, match=r"no patch can be cut from 3 photographs.*64x48"):
        planned(corpus_manifest(patches={"size": 64}))


def test_patch_ids_are_those_of_the_first_release() -> None:
    record: Any = SimpleNamespace(image_id="0" * 32)
    assert patch_id(record, 64, 128, 32) == "2e25931e9066e81aea04aab7"
