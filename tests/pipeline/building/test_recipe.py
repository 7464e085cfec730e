"""The recipe: what decides pixels, and generators made from a manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.naflow.sampling import NAFlowGenerator
from pipeline.building.recipe import load_generators, recipe_of, recipe_sha256
from pipeline.canonical import canonical_json
from pipeline.manifest.models import CorpusManifest, GeneratorSpec, Output, Resources
from tests.contracts.networks import save_naflow

Make = Callable[..., CorpusManifest]

# Every key of a manifest is here or in the recipe: a new one must be thought about.
FREE = {
    *("name", "description", "limits", "license", "attribution", "report"),
    *("output.path", "resources.address", "resources.actors", "resources.gpus_per_actor"),
}


def test_every_key_decides_pixels_or_is_known_not_to(corpus_manifest: Make) -> None:
    recipe = recipe_of(corpus_manifest())
    top = {name for name in CorpusManifest.model_fields if name not in recipe}
    nested = {
        f"{part}.{name}"
        for part, model in (("output", Output), ("resources", Resources))
        for name in model.model_fields
        if name not in recipe[part]
    }
    assert top | nested == FREE


def test_a_recipe_is_json_and_survives_the_way(corpus_manifest: Make) -> None:
    recipe = recipe_of(corpus_manifest())
    assert json.loads(canonical_json(recipe)) == recipe


def test_the_hash_is_the_same_for_the_same_recipe_and_another_for_another(
    corpus_manifest: Make,
) -> None:
    assert recipe_sha256(corpus_manifest()) == recipe_sha256(corpus_manifest(name="other"))
    assert recipe_sha256(corpus_manifest()) != recipe_sha256(corpus_manifest(seed=8))


def weights(folder: Path) -> Path:
    config = NAFlowConfig(configurations=("X_00800",), levels=2, condition_channels=8, hidden=8)
    return save_naflow(folder / "small.safetensors", NAFlow(config), license="CC-BY-4.0")


def spec(**values: Any) -> GeneratorSpec:
    return GeneratorSpec.model_validate(values)


def test_a_network_comes_with_its_file_its_hash_its_licence_and_what_it_divides(
    tmp_path: Path,
) -> None:
    path = weights(tmp_path)
    path.with_suffix(".json").write_text(json.dumps({"license": "CC-BY-4.0"}))
    (one,) = load_generators([spec(name="naflow", weights=str(path))], precision="float32")
    assert isinstance(one.generator, NAFlowGenerator)
    assert one.weights_path == path
    assert len(one.weights_sha256) == 64
    assert one.license == "CC-BY-4.0"
    assert one.multiple == 4


def test_a_formula_has_no_weights_and_divides_everything() -> None:
    (one,) = load_generators([spec(name="awgn", params={"sigma": 5})], precision="float32")
    assert (one.weights_path, one.weights_sha256, one.license, one.multiple) == (None, "", None, 1)


def test_precision_reaches_networks_and_a_generators_own_wins(tmp_path: Path) -> None:
    path = str(weights(tmp_path))
    specs = [
        spec(name="naflow", label="ours", weights=path),
        spec(name="naflow", label="its own", weights=path, params={"precision": "float32"}),
        spec(name="awgn", params={"sigma": 5}),
    ]
    loaded: list[Any] = [one.generator for one in load_generators(specs, precision="bf16")]
    assert [str(one._dtype) for one in loaded[:2]] == ["torch.bfloat16", "torch.float32"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "awng"}, "Did you mean 'awgn'"),
        ({"name": "awgn", "params": {"sgima": 5}}, "Did you mean 'sigma'"),
        ({"name": "naflow"}, "needs trained weights"),
    ],
)
def test_what_is_wrong_with_a_generator_is_told(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_generators([spec(**values)], precision="float32")


def test_weights_that_are_not_there_are_named() -> None:
    with pytest.raises(FileNotFoundError, match="there are no weights 'nowhere'"):
        load_generators([spec(name="naflow", weights="nowhere")], precision="float32")
