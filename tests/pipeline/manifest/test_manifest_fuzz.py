"""Nothing but a ManifestError ever comes out of a bad manifest."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.manifest import reader
from pipeline.manifest.load import LoadedManifest, ManifestError, bundled_names, load_manifest
from pipeline.manifest.scalars import CoreLoader

WRONG: list[Any] = [
    None, True, -1, 0.5, 2**70, "", "zzz", "${NOPE}", "a\0b", [], [[]], [None], {}, {"zzz": {}},
    {"type": []}, {"kind": {}},
]  # fmt: skip


def attempt(path: Path, text: str | bytes, *overrides: str) -> LoadedManifest | None:
    """Load; any exception but a ManifestError fails the test."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        return load_manifest(str(path), overrides=overrides, environ={})
    except ManifestError as error:
        caught = error
    assert caught.mistakes
    assert len(str(caught).splitlines()) == len(caught.mistakes)
    return None


def full_manifest(name: str) -> dict[str, Any]:
    """Return a bundled manifest with every section written out."""
    loaded = load_manifest(name, environ={})
    full = json.loads(loaded.manifest.model_dump_json())
    if full["kind"] == "corpus":
        full["patches"].pop("stride")
        full["output"].pop("bytes_per_shard")
    if full["kind"] == "train-denoiser":  # keys of a corpus may not stand beside pairs
        for one in full["data"]["inputs"]:
            if one["pairs"] is not None:
                for key in ("generators", "split", "format"):
                    one.pop(key)
    return dict(full)


def paths(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*path, key))


def parent(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path[:-1]:
        data = data[part]
    return data


def spliced(node: yaml.Node, path: tuple[str | int, ...], value: yaml.Node) -> yaml.Node:
    """Return a node graph with the value at a path replaced, as if its text were parsed again."""
    if not path:
        return value
    if isinstance(node, yaml.MappingNode):
        inside: list[Any] = [
            (key, spliced(old, path[1:], value) if key.value == path[0] else old)
            for key, old in node.value
        ]
    else:
        inside = [
            spliced(old, path[1:], value) if at == path[0] else old
            for at, old in enumerate(node.value)
        ]
    return type(node)(node.tag, inside, node.start_mark, node.end_mark, node.flow_style)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> dict[str, yaml.Node]:
    """Texts whose nodes are known; parsing is four fifths of the work on a long text."""
    known: dict[str, yaml.Node] = {}

    class Loader(CoreLoader):
        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__("" if text in known else text)

        def get_single_node(self) -> Any:
            return known.get(self.text) or super().get_single_node()

    monkeypatch.setattr(reader, "CoreLoader", Loader)
    return known


def nodes_of(text: str) -> Any:
    return CoreLoader(text).get_single_node()


def test_spliced_nodes_are_those_of_the_text() -> None:
    good = full_manifest("pairs")
    for path in list(paths(good))[::7]:
        bad = copy.deepcopy(good)
        parent(bad, path)[path[-1]] = {"zzz": [1, None]}
        found = spliced(nodes_of(json.dumps(good)), path, nodes_of('{"zzz": [1, null]}'))
        assert yaml.serialize(found) == yaml.serialize(nodes_of(json.dumps(bad)))


@pytest.mark.parametrize("name", bundled_names())
def test_a_full_manifest_written_out_loads_again(tmp_path: Path, name: str) -> None:
    assert attempt(tmp_path / "m.yaml", json.dumps(full_manifest(name))) is not None


@pytest.mark.parametrize("name", ["pairs", "train-naflow-polyu"])
def test_misspelt_keys_are_mistakes_everywhere_but_in_params(tmp_path: Path, name: str) -> None:
    good = full_manifest(name)
    for path in paths(good):
        if isinstance(path[-1], str) and "params" not in path[:-1]:
            bad = copy.deepcopy(good)
            node = parent(bad, path)
            node[f"{path[-1]}x"] = node.pop(path[-1])
            assert attempt(tmp_path / "m.yaml", json.dumps(bad)) is None, path


@pytest.mark.parametrize("name", ["pairs", "train-naflow-polyu"])
def test_wrong_values_never_raise_anything_else(
    tmp_path: Path, name: str, parsed: dict[str, yaml.Node]
) -> None:
    good = full_manifest(name)
    text = json.dumps(good)
    parsed[text] = nodes_of(text)
    refused = 0
    for index, path in enumerate(paths(good)):
        for wrong in WRONG[index % 2 :: 2]:
            bad = copy.deepcopy(good)
            parent(bad, path)[path[-1]] = wrong
            parsed[json.dumps(bad)] = spliced(parsed[text], path, nodes_of(json.dumps(wrong)))
            refused += attempt(tmp_path / "m.yaml", json.dumps(bad)) is None
        # All of them over each other: the last one counts, and none may leave traces.
        key = ".".join(map(str, path))
        overrides = [f"{key}={json.dumps(wrong)}" for wrong in WRONG]
        assert attempt(tmp_path / "m.yaml", text, *overrides) is None or "params" in key
    assert refused > 50


@pytest.mark.parametrize("name", ["quickstart"])
def test_every_cut_of_the_text_is_harmless(tmp_path: Path, name: str) -> None:
    text = (resources.files("manifests") / f"{name}.yaml").read_bytes()
    for end in range(0, len(text), 11):
        attempt(tmp_path / "m.yaml", text[:end])


def test_random_edits_of_the_text_are_harmless(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    text = (resources.files("manifests") / "pairs.yaml").read_text()
    pieces = [*"\t\n :-[]{}&*!|>'\"%@`#,?$\\", "${", "}", "<<: *a", "&a ", "!!int ", "!!set "]
    pieces += ["\x85", "\ud800", "\0", "1e999", "\U0001f600", "---\n", "...", "%YAML 9.9\n", "? "]
    outcomes = {True: 0, False: 0}
    for _ in range(400):
        edited = text
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(0, len(edited)))
            gone = int(rng.integers(0, 4))
            edited = edited[:at] + str(rng.choice(np.array(pieces, object))) + edited[at + gone :]
        outcomes[attempt(tmp_path / "m.yaml", edited) is None] += 1
    assert outcomes[True] > 50


def test_random_bytes_are_harmless(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for size in (1, 2, 3, 5, 10, 100, 1000) * 20:
        assert attempt(tmp_path / "m.yaml", rng.bytes(size)) is None


def test_random_overrides_are_harmless(tmp_path: Path, parsed: dict[str, yaml.Node]) -> None:
    rng = np.random.default_rng(3)
    good = json.dumps(full_manifest("pairs"))
    parsed[good] = nodes_of(good)
    alphabet = np.array(
        [*"abk.=.=[]{}:*&!'\" \n\t\\$0129-", "sources", "0", "kind", "${", "\udcff"], object
    )
    for _ in range(150):
        override = "".join(rng.choice(alphabet, size=int(rng.integers(0, 12))))
        attempt(tmp_path / "m.yaml", good, override)
        attempt(tmp_path / "m.yaml", good, f"generators.0.params.x={override}")
