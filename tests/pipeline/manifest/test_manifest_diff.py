"""Differences between manifests."""

from __future__ import annotations

from pipeline.manifest.diff import manifest_difference
from pipeline.manifest.load import load_manifest


def test_equal_manifests_have_no_difference() -> None:
    data = load_manifest("quickstart", environ={}).data
    assert manifest_difference(data, data) == []


def test_each_override_is_one_line() -> None:
    old = load_manifest("quickstart", environ={}).data
    overrides = ["patches.size=32", "generators.2.params.sigma.0=7", "license=", "mix=weighted"]
    new = load_manifest("quickstart", overrides=overrides, environ={}).data
    assert manifest_difference(old, new) == [
        "patches.size: 64 -> 32",
        "generators.2.params.sigma.0: 5 -> 7",
        'license: "CC0-1.0" -> null',
        'mix: (absent) -> "weighted"',
    ]


def test_what_was_added_and_removed_is_shown() -> None:
    old = {"a": [1, {"b": 2}], "c": {"d": 3}, "e": 1}
    new = {"a": [1], "c": 3, "e": True}
    assert manifest_difference(old, new) == [
        'a.1: {"b": 2} -> (absent)',
        'c: {"d": 3} -> 3',
        "e: 1 -> true",
    ]
    assert manifest_difference({"a": []}, {"a": [5]}) == ["a.0: (absent) -> 5"]


def test_lines_stay_lines_and_short() -> None:
    (line,) = manifest_difference({"a": "x\ny"}, {"a": "z" * 1000})
    assert line.isprintable()
    assert len(line) < 200
