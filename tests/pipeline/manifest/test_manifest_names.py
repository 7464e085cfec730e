"""Names that registries know, in every kind of manifest; sources of other distributions."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
import yaml
from pydantic import Field

from pipeline.manifest.load import ManifestError, load_manifest
from pipeline.manifest.models import CorpusManifest, SourceBase, Splits
from pipeline.manifest.schema import json_schema
from pipeline.records import Reject
from pipeline.sources import Scan, scan

PHOTOGRAPHS = [{"type": "photographs"}]
CORPUS: dict[str, Any] = {
    "kind": "corpus",
    "sources": PHOTOGRAPHS,
    "generators": [{"name": "awgn"}],
    "output": {"path": "x"},
}
TRAINING: dict[str, Any] = {
    "kind": "train-generator",
    "name": "n",
    "data": {"sources": PHOTOGRAPHS},
    "schedule": {"steps": 1},
    "output": {"path": "x"},
}
DENOISING: dict[str, Any] = {
    **TRAINING,
    "kind": "train-denoiser",
    "data": {"inputs": [{"corpus": "c"}]},
}
EVALUATION: dict[str, Any] = {
    "kind": "evaluate",
    "name": "n",
    "data": {"sources": PHOTOGRAPHS},
    "output": {"path": "x"},
}
BENCHMARK: dict[str, Any] = {
    "kind": "benchmark",
    "train": {"sources": PHOTOGRAPHS},
    "test": {"sources": PHOTOGRAPHS},
    "generators": [{"name": "awgn", "label": "one"}],
    "schedule": {"steps": 1},
    "output": {"path": "x"},
}


def mistakes(folder: Path, data: dict[str, Any]) -> list[str]:
    path = folder / "m.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        load_manifest(str(path), environ={})
    return [str(mistake).partition("m.yaml:")[2] for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {**CORPUS, "generators": [{"name": "agwn"}]},
            "5: generators.0.name: unknown generator 'agwn'; did you mean 'awgn'? Allowed: awgn,",
        ),
        (
            {**CORPUS, "output": {"path": "x", "formats": ["hdf"]}},
            "output.formats.0: unknown format 'hdf'; did you mean 'hdf5'? Allowed: hdf5, parquet",
        ),
        (
            {**CORPUS, "sources": [{"type": "photograph"}]},
            "sources.0.type: unknown type 'photograph'; did you mean 'photographs'? Allowed: ",
        ),
        (
            {**BENCHMARK, "generators": [{"name": "flow-srbg"}]},
            "generators.0.name: unknown generator 'flow-srbg'; did you mean 'flow-srgb'? Allowed",
        ),
        (
            {**BENCHMARK, "real": [{"name": "zzz"}]},
            "real.0.name: unknown generator 'zzz'; allowed: awgn, ",
        ),
        (
            {**BENCHMARK, "denoiser": {"name": "dncn"}},
            "denoiser.name: unknown denoiser 'dncn'; did you mean 'dncnn'? Allowed: dncnn, ",
        ),
        (
            {**DENOISING, "denoiser": "bm3d"},
            "denoiser: denoiser 'bm3d' cannot be used here; allowed: dncnn, fino, invdn, unet",
        ),
        (
            {**DENOISING, "data": {"inputs": [{"corpus": "c", "format": "zarr"}]}},
            "data.inputs.0.format: unknown format 'zarr'; allowed: hdf5, parquet",
        ),
        (
            {**TRAINING, "model": "r2rflow"},
            "model: unknown training 'r2rflow'; did you mean 'r2r-flow'? Allowed: fino,",
        ),
        (
            {
                **TRAINING,
                "data": {
                    "sources": PHOTOGRAPHS,
                    "simulate": [{"camera": "a", "isos": [1], "generator": "camra"}],
                },
            },
            "data.simulate.0.generator: unknown generator 'camra'; did you mean 'camera'?",
        ),
        (
            {**EVALUATION, "generators": [{"name": "nafow"}]},
            "generators.0.name: unknown generator 'nafow'; did you mean 'naflow'?",
        ),
        (
            {
                **EVALUATION,
                "denoisers": [{"name": "dncnn-awgn25"}],
                "data": {"sources": PHOTOGRAPHS, "noise": [{"name": "nafow"}]},
            },
            "data.noise.0.name: unknown generator 'nafow'; did you mean 'naflow'?",
        ),
        (
            {**BENCHMARK, "generators": [{"name": "nlf"}, {"name": "camera", "label": "nlf"}]},
            "generators.1.label: 'nlf' is the name of generators.0 too; give each its own `label`",
        ),
    ],
)
def test_an_unknown_name_is_told_by_its_line_with_a_guess(
    tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    (mistake,) = mistakes(tmp_path, data)
    assert message in mistake
    assert mistake.partition(":")[0].isdigit()


class DrawerSource(SourceBase):
    """Photographs in a drawer."""

    type: Literal["drawer"] = Field(description="A drawer.")
    depth: int = Field(default=1, ge=1, description="How deep to look.")

    def scan(self, splits: Splits) -> Scan:
        return Scan(rejects=[Reject(uri=f"drawer-{self.depth}", reason="corrupt", detail="dusty.")])


@pytest.fixture
def drawer(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "drawer", f"{__name__}:DrawerSource")


def install(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = EntryPoint(name=name, value=value, group="noisemill.sources")
    monkeypatch.setattr(
        "generators.registry.entry_points", lambda group: [entry] if group == entry.group else []
    )


@pytest.mark.usefixtures("drawer")
def test_a_source_of_another_distribution_is_read_scanned_and_written_again(tmp_path: Path) -> None:
    data = {**CORPUS, "sources": [*PHOTOGRAPHS, {"type": "drawer", "depth": 3}]}
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    manifest = load_manifest(str(path), environ={}).manifest
    assert isinstance(manifest, CorpusManifest)
    assert isinstance(manifest.sources[1], DrawerSource)
    assert [reject.uri for reject in scan(manifest.sources[1:], manifest.splits).rejects] == [
        "drawer-3"
    ]
    written = manifest.model_dump(mode="json")
    assert written["sources"][1] == {
        "label": None,
        "license": None,
        "type": "drawer",
        "depth": 3,
    }
    assert CorpusManifest.model_validate(written) == manifest
    short = manifest.model_dump(mode="json", exclude_defaults=True)["sources"]
    assert short == [{"type": "photographs"}, {"type": "drawer", "depth": 3}]


@pytest.mark.usefixtures("drawer")
def test_mistakes_in_a_source_of_another_distribution_are_told_like_any(tmp_path: Path) -> None:
    sources = [{"type": "drawer", "depth": 0}, {"type": "drawer", "dept": 2}, {"type": "drawr"}]
    depth, unknown, kind = mistakes(tmp_path, {**CORPUS, "sources": sources})
    assert depth == "4: sources.0.depth: found 0; expected a whole number at least 1"
    assert unknown.startswith("6: sources.1.dept: unknown key 'dept'; did you mean 'depth'?")
    assert kind.startswith("7: sources.2.type: unknown type 'drawr'; did you mean 'drawer'?")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere:Source", "plug-in source 'drawer' of .* cannot be imported from nowhere:Source"),
        (
            f"{__name__}:mistakes",
            r"plug-in source 'drawer' of .* has no model_fields, scan; see",
        ),
        ("pipeline.manifest.models:ImagesSource", 'has no `type: Literal."drawer".`'),
    ],
)
def test_a_broken_source_of_another_distribution_is_told_at_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, message: str
) -> None:
    install(monkeypatch, "drawer", value)
    (mistake,) = mistakes(tmp_path, {**CORPUS, "sources": [{"type": "drawer"}]})
    assert mistake.startswith("3: sources.0.type: ")
    assert re.search(message, mistake), mistake


@pytest.mark.usefixtures("drawer")
def test_the_schema_lists_what_is_installed_only_where_that_is_asked_for() -> None:
    data = {**CORPUS, "sources": [{"type": "drawer", "depth": 3}]}
    full, shipped = json_schema(plug_ins=True), json_schema()
    jsonschema.validate(data, full)
    assert not jsonschema.Draft202012Validator(shipped).is_valid(data)
    assert set(full["$defs"]) - set(shipped["$defs"]) == {"DrawerSource"}
