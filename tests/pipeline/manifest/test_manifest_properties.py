"""What must hold for every manifest: `--set` is editing, and YAML out is YAML in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest.bundled import bundled_names
from pipeline.manifest.load import load_manifest

END = "\n..."  # PyYAML ends a lone scalar with it
BASE: dict[str, Any] = {
    "kind": "corpus",
    "name": "small",
    "seed": 7,
    "sources": [{"type": "images", "path": "photos", "camera": "X", "iso": 800}],
    "patches": {"size": 16},
    "generators": [
        {"name": "awgn", "params": {"sigma": [5, 25]}},
        {"name": "heteroscedastic", "params": {"beta1": 0.01, "beta2": 0.0001}},
    ],
    "output": {"path": "out/small", "rows_per_shard": 8},
}
CAMERAS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
# One key each with values that a person could mean; text as it would have to be quoted in YAML.
EDITS: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 2**63 - 1),
    "name": st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
    "description": CAMERAS,
    "patches.size": st.integers(8, 512),
    "patches.per_image": st.integers(1, 10**6),
    "sources.0.path": st.from_regex(r"[A-Za-z0-9_./~ *-]{1,30}", fullmatch=True),
    "sources.0.iso": st.integers(1, 10**6),
    "sources.0.camera": CAMERAS.filter(str.strip),
    "generators.0.params.sigma": st.floats(0.01, 255.0) | st.integers(1, 255),
    "generators.1.weight": st.floats(0.001, 1e6),
    "output.formats": st.sampled_from([["hdf5"], ["parquet"], ["parquet", "hdf5"]]),
    "output.rows_per_shard": st.integers(1, 10**6),
    "limits.max_rejected": st.floats(0.0, 1.0),
    "report": st.booleans(),
}
SOME_EDITS = st.fixed_dictionaries({}, optional=EDITS)


def edited(data: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where a dotted key says, as a person with an editor would."""
    *path, last = key.split(".")
    node: Any = data
    for part in path:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value


def as_override(key: str, value: Any) -> str:
    """Return a `--set` argument; the value is YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    return f"{key}={text.partition(END)[0].strip()}"


def load(folder: Path, data: Any, overrides: list[str] | None = None) -> Any:
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return load_manifest(str(path), overrides=overrides or [], environ={}).manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests")


@given(edits=SOME_EDITS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_set_equals_editing_the_file(folder: Path, edits: dict[str, Any]) -> None:
    data = yaml.safe_load(yaml.safe_dump(BASE))
    for key, value in edits.items():
        edited(data, key, value)
    by_hand = load(folder, data)
    by_set = load(folder, BASE, [as_override(key, value) for key, value in edits.items()])
    assert by_set == by_hand


@given(edits=SOME_EDITS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_manifest_written_as_yaml_is_read_back_as_itself(
    folder: Path, edits: dict[str, Any]
) -> None:
    data = yaml.safe_load(yaml.safe_dump(BASE))
    for key, value in edits.items():
        edited(data, key, value)
    manifest = load(folder, data)
    assert load(folder, manifest.model_dump(mode="json")) == manifest


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_manifest_written_as_yaml_is_read_back_as_itself(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("NOISEMILL_PHOTOGRAPHS", "NOISEMILL_PAIRS", "NOISEMILL_DATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    manifest = load_manifest(name).manifest
    assert load(tmp_path, manifest.model_dump(mode="json", exclude_unset=True)) == manifest
