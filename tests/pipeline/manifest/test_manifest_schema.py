"""The JSON Schema and the bundled manifests agree with the models."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jsonschema
import pytest
import yaml

import generators
from pipeline.manifest.load import bundled_names, load_manifest
from pipeline.manifest.models import CorpusManifest, TrainGeneratorManifest
from pipeline.manifest.schema import json_schema, schema_text

MANIFESTS = resources.files("manifests")


def valid(data: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(data))


def corpus(**changes: Any) -> dict[str, Any]:
    good = {
        "kind": "corpus",
        "sources": [{"type": "photographs"}],
        "generators": [{"name": "awgn"}],
        "output": {"path": "x"},
    }
    return {**good, **changes}


def test_the_schema_file_is_the_schema() -> None:
    text = (MANIFESTS / "schema.json").read_text(encoding="utf-8")
    assert text == schema_text(), "write it again: noisemill schema > manifests/schema.json"


def test_the_schema_is_valid_draft_2020_12() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["$id"]


def test_every_key_is_described() -> None:
    for name, definition in json_schema()["$defs"].items():
        assert definition.get("description"), name
        for key, value in definition.get("properties", {}).items():
            # Pydantic leaves the text to the section where both say the same.
            assert value.get("description") or "$ref" in value, f"{name}.{key}"


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_manifests_satisfy_schema_and_models(name: str) -> None:
    text = (MANIFESTS / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    jsonschema.validate(yaml.safe_load(text), json_schema())
    loaded = load_manifest(name, environ={})
    assert loaded.path.endswith(f"{name}.yaml")


def test_the_bundled_manifests_that_scripts_rely_on_are_there() -> None:
    assert {"quickstart", "polyu-naflow"} <= set(bundled_names())
    readme = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in readme for name in bundled_names())


def test_quickstart_runs_a_trained_naflow_and_two_parametric_generators() -> None:
    manifest = load_manifest("quickstart", environ={}).manifest
    assert isinstance(manifest, CorpusManifest)
    assert {spec.name for spec in manifest.generators} == {"naflow", "awgn", "camera"}
    assert [spec.weights for spec in manifest.generators if spec.name == "naflow"] == [
        "naflow-polyu",
        "naflow-polyu",
    ]
    assert manifest.output.path == "out/quickstart"
    assert set(manifest.output.formats) == {"hdf5", "parquet"}


def test_polyu_follows_the_environment_and_gives_five_thousand_patches() -> None:
    manifest = load_manifest("polyu-naflow", environ={"NOISEMILL_DATA": "/data"}).manifest
    assert isinstance(manifest, CorpusManifest)
    assert manifest.sources[0].type == "pairs"
    assert manifest.sources[0].path == "/data/polyu"
    assert manifest.sources[0].only == ["val"]
    assert manifest.patches.per_image is not None
    assert 5 * manifest.patches.per_image >= 5000
    fallback = load_manifest("polyu-naflow", environ={}).data
    assert fallback["sources"][0]["path"] == "../shared/data/polyu"


@pytest.mark.parametrize("name", ["pairs", "photographs", "polyu-naflow", "quickstart"])
def test_bundled_generators_take_their_parameters(name: str) -> None:
    manifest = load_manifest(name, environ={}).manifest
    assert isinstance(manifest, CorpusManifest)
    for spec in manifest.generators:
        if spec.weights is None:
            assert generators.create(spec.name, params=spec.params).name == spec.name
        else:
            assert set(spec.params) <= set(generators.parameters(spec.name))


def test_training_uses_the_train_split_only() -> None:
    manifest = load_manifest("train-naflow-polyu", environ={}).manifest
    assert isinstance(manifest, TrainGeneratorManifest)
    assert [source.only for source in manifest.data.sources if source.type == "pairs"] == [
        ["train"]
    ]
    assert manifest.data.max_offset == 4.0
    assert manifest.data.remove_offset
    assert (manifest.schedule.learning_rate, manifest.schedule.batch_size) == (5e-4, 16)


@pytest.mark.parametrize(
    "data",
    [
        corpus(),
        corpus(seed="${SEED:-3}"),
        corpus(report="${REPORT}"),
        corpus(output={"path": "${OUT}/x", "formats": "${FORMATS:-[hdf5]}", "encoding": "${E}"}),
        corpus(resources={"batch_size": "${BATCH}", "actors": None}),
    ],
)
def test_the_schema_takes_what_a_manifest_may_hold(data: dict[str, Any]) -> None:
    assert valid(data)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "zzz"},
        corpus(sede=1),
        corpus(seed="seven"),
        corpus(sources=[]),
        corpus(sources=[{"type": "photographs", "path": "x"}]),
        corpus(sources=[{"type": "zzz"}]),
        corpus(output={}),
        corpus(output={"path": ""}),
        corpus(patches={"size": 4}),
        corpus(patches={"color": "gray"}),
    ],
)
def test_the_schema_refuses_what_the_models_refuse(data: dict[str, Any]) -> None:
    assert not valid(data)
