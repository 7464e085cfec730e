"""The face: every form of a manifest, typed results, one tree of errors, nothing printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noisemill
from pipeline.images import read_pixels
from pipeline.manifest.models import CorpusManifest
from pipeline.pictures.saving import save_picture


@pytest.fixture
def manifest(tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    (tmp_path / "photographs").mkdir()
    for number in range(2):
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        save_picture(tmp_path / "photographs" / f"{number}.png", pixels)
    return {
        "kind": "corpus",
        "seed": 1,
        "sources": [{"type": "images", "path": tmp_path / "photographs", "pattern": "*.png"}],
        "patches": {"size": 16, "per_image": 3},
        "generators": [{"name": "awgn", "params": {"sigma": 25}}],
        "output": {"path": str(tmp_path / "corpus")},
        "report": False,
    }


def test_importing_the_face_imports_nothing_heavy() -> None:
    script = (
        "import sys, noisemill; noisemill.Error\n"
        "heavy = {'torch', 'ray', 'numpy', 'cv2', 'rich', 'pydantic', 'click'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there_and_no_other() -> None:
    for name in noisemill.__all__:
        assert getattr(noisemill, name) is not None
    assert set(dir(noisemill)) >= set(noisemill.__all__)
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        noisemill.biuld  # noqa: B018


def test_a_manifest_as_dict_becomes_a_corpus_with_a_length_and_rows(
    manifest: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    estimate = noisemill.plan(manifest)
    assert (estimate.images, estimate.patches) == (2, 6)
    result = noisemill.build(manifest, inline=True)
    assert result.index.totals.rows == 6
    corpus = noisemill.open_corpus(manifest["output"]["path"])
    assert len(corpus) == 6
    row = corpus[5]
    assert row["clean"].shape == row["noisy"].shape == (16, 16, 3)
    assert row["generator"] == "awgn"
    with pytest.raises(IndexError):
        corpus[6]
    assert len(noisemill.open_corpus(manifest["output"]["path"], generators=["awgn"])) == 6
    assert capfd.readouterr() == ("", "")


def test_a_file_a_dict_and_a_model_are_the_same_manifest(
    manifest: dict[str, Any], tmp_path: Path
) -> None:
    import yaml

    plain = {**manifest, "sources": [{**manifest["sources"][0], "path": str(tmp_path / "a")}]}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(plain))
    from noisemill.manifests import read_manifest

    forms = [plain, tmp_path / "a.yaml", str(tmp_path / "a.yaml")]
    models = [read_manifest(form).manifest for form in forms]
    models.append(read_manifest(CorpusManifest.model_validate(plain)).manifest)
    assert all(model == models[0] for model in models)
    for overrides in ({"seed": 7}, ["seed=7"]):
        changed = [read_manifest(form, overrides).manifest for form in [*forms, models[0]]]
        assert {model.seed for model in changed} == {7}


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        (lambda m, p: noisemill.plan({**m, "sed": 1}), "manifest", "did you mean 'seed'"),
        (lambda m, p: noisemill.plan("quickstrat"), "manifest", "quickstart"),
        (lambda m, p: noisemill.plan(p / "no.yaml"), "manifest", "no.yaml"),
        (lambda m, p: noisemill.train(m), "invalid-value", "kind corpus; expected train-generator"),
        (lambda m, p: noisemill.evaluate(m), "invalid-value", "expected evaluate"),
        (lambda m, p: noisemill.benchmark(m), "invalid-value", "expected benchmark"),
        (lambda m, p: noisemill.build(m, overrides="seed=1"), "invalid-value", "a list of such"),
        (lambda m, p: noisemill.plan(3), "wrong-type", "int"),
        (
            lambda m, p: noisemill.build(m, overrides={"generators.0.params.sigma": -1}),
            "manifest",
            "sigma",
        ),
        (
            lambda m, p: noisemill.build(m, overrides={"patches.size": 512}, inline=True),
            "plan",
            "no patch can be cut",
        ),
        (lambda m, p: noisemill.open_corpus(p / "none"), "not-found", "none"),
        (lambda m, p: noisemill.load_generator("awgm"), "invalid-value", "awgn"),
        (lambda m, p: noisemill.load_generator("real", device="tpu"), "invalid-value", "no device"),
        (lambda m, p: noisemill.load_denoiser("dncnm"), "not-found", "dncnm"),
        (lambda m, p: noisemill.sample(p / "none.png", "camera"), "image", "none.png"),
    ],
)
def test_a_mistake_is_one_of_the_tree(
    manifest: dict[str, Any], tmp_path: Path, call: Any, code: str, message: str
) -> None:
    with pytest.raises(noisemill.Error) as raised:
        call(manifest, tmp_path)
    assert raised.value.code == code
    assert message in str(raised.value)


def test_sample_puts_noise_on_a_file_or_an_array(manifest: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "photographs" / "0.png"
    options = {"params": {"sigma": 25}, "seed": 3}
    made = noisemill.sample(file, "awgn", **options)
    again = noisemill.sample(
        read_pixels(str(file)), noisemill.load_generator("awgn", params={"sigma": 25}), seed=3
    )
    assert np.array_equal(made.noisy, again.noisy)
    noise = made.noisy.astype(float) - made.clean
    assert 15 < noise.std() < 30  # clipped at both ends
    with pytest.raises(noisemill.Error, match="for a generator's name"):
        noisemill.sample(file, noisemill.load_generator("awgn", params={"sigma": 1}), params={})
