"""A manifest about to leave this machine: name, identity, paths."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pipeline.jobs.portable import JobManifest, check_paths

TEXT = """
kind: corpus
sources:
  - {type: images, path: photos}
  - {type: photographs}
generators:
  - {name: naflow, weights: mine.safetensors}
  - {name: naflow, weights: naflow-polyu}
output: {path: "${OUT:-/out}"}
"""


def test_paths_are_found_by_key_and_overrides_replace_them() -> None:
    manifest = JobManifest(name="n", text=TEXT)
    assert manifest.paths() == {
        "sources.0.path": "photos",
        "generators.0.weights": "mine.safetensors",
        "output.path": "${OUT:-/out}",
    }
    changed = JobManifest(name="n", text=TEXT, overrides=("sources.0.path=s3://b/p", "seed=3"))
    assert changed.paths()["sources.0.path"] == "s3://b/p"
    assert "seed" not in changed.paths()


def test_urls_and_variables_travel_and_every_other_path_is_listed() -> None:
    asked: list[str] = []

    def travels(key: str, path: str) -> bool:
        asked.append(key)
        return False

    with pytest.raises(ValueError, match="mine") as caught:
        check_paths(JobManifest(name="n", text=TEXT), travels, advice="Do this.")
    assert asked == ["sources.0.path", "generators.0.weights"]
    assert "sources.0.path: photos" in str(caught.value)
    assert str(caught.value).endswith("Do this.")
    check_paths(JobManifest(name="n", text="output: {path: s3://b}"), travels, advice="")


def test_the_digest_follows_text_and_overrides_and_cannot_be_shifted_between_them() -> None:
    same = [JobManifest(name="a", text="x", overrides=("k=1",)).digest for _ in range(2)]
    assert same[0] == same[1]
    others = {
        JobManifest(name="a", text="x").digest,
        JobManifest(name="a", text="y", overrides=("k=1",)).digest,
        JobManifest(name="a", text="x", overrides=("k=2",)).digest,
        JobManifest(name="a", text="x", overrides=("k=", "1")).digest,
        same[0],
    }
    assert len(others) == 5


def test_the_command_survives_a_shell() -> None:
    awkward = "name=it's $HOME `x`"
    words = shlex.split(JobManifest(name="n", text="", overrides=(awkward,)).command("/a b.yaml"))
    assert words == [
        *("python", "-m", "pipeline.cli", "run", "/a b.yaml", "--address", "auto"),
        *("--set", awkward),
    ]


def test_reading_takes_the_name_from_the_manifest_or_the_file(tmp_path: Path) -> None:
    named, unnamed = tmp_path / "a.yaml", tmp_path / "b.yaml"
    named.write_text("kind: corpus\nname: mill\n", encoding="utf-8")
    unnamed.write_text("kind: corpus\n", encoding="utf-8")
    assert JobManifest.read(named).name == "mill"
    assert JobManifest.read(unnamed).name == "b"


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [", "no YAML"), ("- a", "mapping"), ("", "mapping"), ("a: 1", r"key=value; got 'seed'")],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        JobManifest.read(file, ["seed"] if content == "a: 1" else [])


def test_a_missing_manifest_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        JobManifest.read(tmp_path / "nowhere.yaml")
