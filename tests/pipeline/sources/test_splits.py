"""Splits: by scene, the same on every machine, in the shares asked for, never across a scene."""

from __future__ import annotations

from math import sqrt

import pytest

from pipeline.manifest.models import Split, Splits
from pipeline.sources.base import Candidate
from pipeline.sources.splits import assign, split_of

SHARES = Splits(train=0.7, val=0.2, test=0.1)


def photo(scene: str, split: Split | None = None, name: str = "a.png") -> Candidate:
    return Candidate(clean=name, scene=scene, split=split)


def test_shares_are_met_within_five_standard_errors() -> None:
    n = 20_000
    found = [split_of(f"scene-{i}", SHARES) for i in range(n)]
    for name, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
        assert found.count(name) / n == pytest.approx(share, abs=5 * sqrt(share * (1 - share) / n))


def test_the_split_of_a_scene_never_changes() -> None:
    # Fixed answers: a change here moves photographs between the splits of existing corpora.
    scenes = ("astronaut", "chelsea", "coffee", "rocket", "Canon5D2_desk", "a/b.png")
    assert [split_of(scene, SHARES) for scene in scenes] == [
        "train",
        "train",
        "train",
        "test",
        "test",
        "train",
    ]


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_split_with_everything_takes_everything(name: str) -> None:
    everything = Splits(**{"train": 0.0, "val": 0.0, "test": 0.0, name: 1.0})
    assert {split_of(str(i), everything) for i in range(500)} == {name}


def test_shares_that_miss_one_by_rounding_leave_no_gap() -> None:
    thirds = Splits(train=0.333333, val=0.333333, test=0.3333335)
    assert {split_of(str(i), thirds) for i in range(500)} == {"train", "val", "test"}


def test_photographs_of_one_scene_stay_together() -> None:
    found = assign([photo(f"{i % 50}") for i in range(500)], SHARES)
    assert all(found[i] == found[i % 50] for i in range(500))
    assert len(set(found)) == 3


def test_a_split_given_with_one_photograph_holds_for_its_scene() -> None:
    assert assign([photo("s"), photo("s", "test"), photo("s")], Splits()) == ["test"] * 3


def test_a_scene_with_two_given_splits_is_an_error_that_names_both_files() -> None:
    with pytest.raises(ValueError, match=r"'s'.*one\.png in train.*two\.png in val"):
        assign([photo("s", "train", "one.png"), photo("s", "val", "two.png")], SHARES)


def test_a_scene_name_of_any_kind_has_a_split() -> None:
    assert split_of("caf\udce9", SHARES) == split_of("caf\udce9", SHARES)
