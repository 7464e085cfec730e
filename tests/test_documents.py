"""Every command, manifest and Python block of the documents works.

Command lines are read out of the documents and tried in a small prepared folder: run as they stand,
or, where that takes hours, a cluster or a file that only a person has, held against the command's
options, the manifest being read, its generators made, and planned where there are photographs. A
command that fits nothing here fails: prepare what it needs, or list it with a reason.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import pytest
import torch
import yaml
from pydantic import BaseModel

import denoisers
from generators.weights_file import bundled
from pipeline.building.recipe import load_generators
from pipeline.cli import main
from pipeline.corpus.formats import open_shard
from pipeline.corpus.index import load_corpus
from pipeline.manifest.load import load_manifest
from pipeline.manifest.models import DenoiserSpec, GeneratorSpec
from tests.contracts.command import noisemill
from tests.contracts.documents import ROOT, Block, Command, blocks, commands

MANIFESTS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "manifests").rglob("*.yaml")
    if path.name not in ("rayjob.yaml", "raycronjob.yaml")  # Kubernetes' own, printed by kuberay
)
CONTEXT = click.Context(main, info_name="noisemill")
# What documents leave to the reader.
GIVEN = {
    "MANIFEST": "manifest.yaml",
    "path/to/file.yaml": "manifest.yaml",
    "NAME": "quickstart",
    "FAMILY": "naflow",
}
# Commands that only their options are looked at, and why.
ELSEWHERE = {
    "submit": "needs a job server; tests/pipeline/jobs/test_submit.py runs it on a real one",
    "import-weights": "needs a file that its authors released; tests/pipeline/models",
}
# Commands that are run as they stand.
EXECUTED = ("audit", "denoise", "kuberay", "models", "sample", "schema", "verify")
# Corpora planned without the research data, by what is put in place of their photographs.
PHOTOGRAPHS = "sources.0.path=Pictures"
PLANNED = {
    "manifest.yaml": (),
    "quickstart": (),
    "photographs": (),
    "pairs": (),
    "manifests/cluster/s3-corpus.yaml": (PHOTOGRAPHS, "output.path=out/planned"),
}
# YAML that is a part of a manifest, by what makes it whole; the kind is told by its keys.
CORPUS = {
    "kind": "corpus",
    "sources": [{"type": "images", "path": "Pictures"}],
    "generators": [{"name": "awgn", "params": {"sigma": 5}}],
    "patches": {"size": 64},
    "output": {"path": "out/x"},
}
EVALUATION = {"kind": "evaluate", "name": "x", "output": {"path": "out/x"}}
TRAINING = {
    "kind": "train-generator",
    "name": "x",
    "model": "noise-flow",
    "schedule": {"steps": 10},
    "output": {"path": "out/x"},
}
# YAML that is no manifest: the file that describes plain mosaics.
OTHER_YAML = {"cfa": "tests/pipeline/sources/test_mosaics.py"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photograph, pictures, pairs, a manifest and its corpus."""
    here: Path = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    for name in ("holiday.jpg", "photo.png", "photo.jpg", "Pictures/a.jpg", "Pictures/b.jpg"):
        write(here / name, rng, side=160 if name.startswith("Pictures") else 32)
    for clean, noisy in (("mean.JPG", "Real.JPG"), ("clean.png", "noisy.png")):
        pixels = write(here / f"pairs/1_{clean}", rng, side=160)
        pixels = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(here / f"pairs/1_{noisy}"), pixels)
    for file in ("naflow-polyu.safetensors", "naflow-polyu.json"):
        mine = here / "out/my-cameras" / file.replace("naflow-polyu", "my-cameras")
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.symlink_to(bundled()["naflow-polyu"].with_name(file))
    manifest = {
        **CORPUS,
        "name": "mine",
        "sources": [{"type": "images", "path": str(here / "Pictures")}],
        "output": {"path": str(here / "out/mine")},
        "report": False,
    }
    (here / "manifest.yaml").write_text(json.dumps(manifest))
    for name in ("mine", "quickstart"):
        path = f"output.path={here / 'out' / name}"
        called = noisemill("run", here / "manifest.yaml", "--inline", "--set", path)
        assert called.exit_code == 0, called.output
    (here / "manifests").symlink_to(ROOT / "manifests")
    return here


@pytest.fixture
def reader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sit down in the prepared folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    for name, value in (("PAIRS", "pairs"), ("PHOTOGRAPHS", "Pictures"), ("DEVICE", "cpu")):
        monkeypatch.setenv(f"NOISEMILL_{name}", str(folder / value if name != "DEVICE" else value))
    return folder


def write(path: Path, rng: np.random.Generator, *, side: int) -> np.ndarray:
    smooth = cv2.GaussianBlur(rng.normal(size=(side, side, 3)), (0, 0), 2)
    pixels = np.clip(128 + smooth * 50 / smooth.std(), 1, 254).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return pixels


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.text)
def test_every_command_of_the_documents_works(
    command: Command, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *rest = command.arguments
    if not rest and any(parameter.required for parameter in named(name).params):
        return  # the command's name in a sentence
    for variable, value in command.environment:
        monkeypatch.setenv(variable, value.replace("~", str(reader)))
    arguments = [GIVEN.get(word, word.replace("~", str(reader))) for word in rest]
    parse(name, arguments)
    if name in ("run", "plan"):
        check_manifest(arguments[0])
    elif name in EXECUTED:
        run(name, arguments, reader)
    else:
        assert name in ELSEWHERE, f"nothing here tries `{command.text}`"


def named(name: str) -> click.Command:
    command = main.get_command(CONTEXT, name)
    assert command is not None, f"there is no command {name}"
    return command


def parse(name: str, arguments: list[str]) -> None:
    """Hold a call against the command's options."""
    named(name).make_context(name, list(arguments), parent=CONTEXT)


def run(name: str, arguments: list[str], reader: Path) -> None:
    if name == "sample" and "ID" in arguments:
        corpus = str(reader / "out/mine")
        with open_shard(corpus, load_corpus(corpus).shards[0].files[0]) as shard:
            arguments[arguments.index("ID")] = shard.columns(["sample_id"])["sample_id"][0]
    if name == "kuberay":
        # Paths of this machine would vanish with their pod: the manifest of a cluster has URLs.
        arguments[0] = arguments[0].replace("manifest.yaml", "manifests/cluster/s3-corpus.yaml")
    if name in ("sample", "denoise"):
        arguments = [*arguments, "--overwrite"]
    if "glow-bsd" in arguments:
        arguments += ["--param", "steps=2"]  # each takes a pass through a large network
    called = noisemill(name, *arguments)
    assert called.exit_code == 0, called.output


def check_manifest(name: str) -> None:
    """Read a manifest, make its generators and denoisers, and plan it where that is possible."""
    manifest = load_manifest(name).manifest
    for part in parts(manifest):
        if isinstance(part, GeneratorSpec) and (part.weights is None or part.weights in bundled()):
            make_generator(part.model_dump_json())
        elif isinstance(part, DenoiserSpec) and part.name in denoisers.bundled():
            make_denoiser(part.name)
    if name in PLANNED:
        overrides = [word for change in PLANNED[name] for word in ("--set", change)]
        called = noisemill("plan", name, *overrides)
        assert called.exit_code == 0, called.output


@functools.cache
def make_generator(spec: str) -> None:
    load_generators([GeneratorSpec.model_validate_json(spec)], precision="float32")


@functools.cache
def make_denoiser(name: str) -> None:
    denoisers.load(name)


def parts(model: Any) -> Iterator[BaseModel]:
    """Yield a manifest and all models in it."""
    if isinstance(model, BaseModel):
        yield model
        model = [getattr(model, name) for name in type(model).model_fields]
    values = model.values() if isinstance(model, Mapping) else model
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        return
    for value in values:
        yield from parts(value)


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.usefixtures("reader")
def test_every_manifest_is_valid_and_its_generators_can_be_made(name: str) -> None:
    bare = Path(name).stem if Path(name).parent.name == "manifests" else name
    check_manifest(bare)


def test_manifests_on_the_research_data_can_be_planned(
    data_dir: Path, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOISEMILL_DATA", str(data_dir))
    # One of two that differ in their generators only; scanning the photographs takes a while.
    called = noisemill("plan", "polyu-naflow", "--set", f"output.path={reader / 'out/polyu'}")
    assert called.exit_code == 0, called.output


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.name)
def test_every_yaml_block_is_a_manifest_or_a_part_of_one(block: Block, reader: Path) -> None:
    part = yaml.safe_load(block.text)
    if any(key in OTHER_YAML for key in part):
        return
    path = reader / "part.yaml"
    path.write_text(json.dumps(part if "kind" in part else {**whole(part), **part}))
    check_manifest(str(path))


def whole(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if "data" not in part:
        return CORPUS
    return EVALUATION if {"denoisers", "generators", "corpus"} & part.keys() else TRAINING


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.name)
@pytest.mark.usefixtures("reader")
def test_every_python_block_runs(block: Block) -> None:
    rng = np.random.default_rng(0)
    given = {
        "noisy": torch.from_numpy(rng.random((1, 3, 16, 16), np.float32)),
        "clean": rng.random((16, 16, 3)),
        "denoised": rng.random((16, 16, 3)),
        "path": denoisers.bundled()["glow-bsd"],
    }
    exec(compile(block.text, block.document, "exec"), given)
