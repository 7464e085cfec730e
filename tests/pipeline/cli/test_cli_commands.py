"""Each command once as a script calls it: exit code, message, and one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.doctor import Check
from tests.contracts.command import document, noisemill, write_manifest

Texture = Callable[..., np.ndarray]
Write = Callable[[Path, np.ndarray], Path]


@pytest.fixture
def manifest(tmp_path: Path, photo_folder: Path) -> Path:
    """Three photographs of 48x64 pixels, 12 patches each, in two generators."""
    awgn = {"name": "awgn", "params": {"sigma": 10}}
    loud = {"name": "awgn", "label": "loud", "params": {"sigma": [20, 30]}}
    return write_manifest(tmp_path / "m.yaml", source=photo_folder, generators=[awgn, loud])


@pytest.fixture
def corpus(tmp_path: Path, manifest: Path) -> Path:
    assert noisemill("run", manifest, "--inline").exit_code == 0
    return tmp_path / "out"


# run


def test_run_says_what_it_made_and_how_to_load_it(tmp_path: Path, manifest: Path) -> None:
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 0
    out = tmp_path / "out"
    lines = called.stdout.splitlines()
    assert lines[:3] == [
        f"Corpus tiny in {out}",
        "split  pairs  shards  formats",
        "train     72       9  hdf5, parquet",
    ]
    assert any("9 shards made now" in line for line in lines)
    code = "\n".join(line.strip() for line in lines[lines.index("Load it:") + 2 :])
    assert "refused" not in called.output
    assert called.stderr.splitlines()[0] == ("noisemill: 72 patches from 3 photographs, shards: 9")
    assert all(line.startswith("noisemill: ") for line in called.stderr.splitlines())
    names: dict[str, object] = {}
    exec(code, names)
    batch = next(iter(names["loader"]))  # type: ignore[call-overload]
    assert len(batch["clean"]) == len(batch["noisy"]) == 32


def test_run_again_makes_nothing_and_says_so(manifest: Path, corpus: Path) -> None:
    assert "nothing was missing" in noisemill("run", manifest, "--inline").stdout
    again = document("run", manifest, "--inline")
    assert again["shards_made"] == 0
    assert again["patches_per_second"] == 0


def test_run_as_json_gives_the_numbers_of_the_corpus(tmp_path: Path, manifest: Path) -> None:
    made = document("run", manifest, "--inline")
    index = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert made["path"] == str(tmp_path / "out")
    assert made["rows"] == index["totals"]["rows"] == 72
    assert made["plan_sha256"] == index["plan_sha256"]
    assert made["splits"] == {"train": 72}
    assert made["formats"] == ["hdf5", "parquet"]
    assert made["shards_made"] == made["shards"] == 9


def test_run_says_how_much_was_refused_and_why(
    manifest: Path, photo_folder: Path, texture: Texture, write_image: Write
) -> None:
    write_image(photo_folder / "flat.png", np.full((48, 64, 3), 99, np.uint8))
    (photo_folder / "zero.png").write_bytes(b"")
    settings = ("--set", "patches.min_texture=2", "--set", "limits.max_rejected=0.5")
    called = noisemill("run", manifest, "--inline", *settings)
    assert called.exit_code == 0, called.output
    lines = called.stdout.splitlines()
    start = lines.index("refused because  inputs  patches lost")
    assert lines[start + 1 : start + 3] == [
        "flat                 12            24",
        "empty                 1             -",
    ]


def test_every_mistake_of_a_manifest_is_told_with_its_line(tmp_path: Path, manifest: Path) -> None:
    text = manifest.read_text().replace('"sigma": 10', '"sigm": 10').replace('"seed"', '"sed"')
    manifest.write_text(text.replace('"tiny"', '"a"'))
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 2
    assert "did you mean 'seed'?" in called.stderr

    manifest.write_text(text.replace('"sed"', '"seed"').replace("20,", "-20,"))
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 2
    first, second = called.stderr.removeprefix("Error: ").splitlines()
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "params" in row)
    assert first.startswith(f"{manifest}:{line}")
    assert "has no parameter 'sigm'" in first
    assert "Did you mean 'sigma'?" in first
    assert "generators.1.params" in second
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_manifest_that_is_not_there_is_met_with_the_nearest(command: str) -> None:
    called = noisemill(command, "quickstrat")
    assert called.exit_code == 2
    assert "did you mean 'quickstart'?" in called.stderr


@pytest.mark.parametrize("option", [("--inline",), ("--overwrite",), ("--address", "auto")])
def test_options_of_corpora_are_refused_for_trainings(option: tuple[str, ...]) -> None:
    called = noisemill("run", "train-naflow-polyu", *option)
    assert called.exit_code == 2
    assert f"{option[0]}: only for manifests of kind corpus" in called.stderr


# plan


def test_plan_says_what_would_be_done_and_writes_nothing(tmp_path: Path, manifest: Path) -> None:
    called = noisemill("plan", manifest)
    assert called.exit_code == 0
    rows = dict(line.split(maxsplit=1) for line in called.stdout.splitlines()[1:])
    assert rows["images"] == "3 (0 refused)"
    assert rows["patches"] == "72 (train 72)"
    assert rows["generators"].startswith("awgn 36 (")
    assert rows["shards"] == "9"
    assert rows["time"].startswith("under 1 s with ")
    assert called.stderr == ""
    planned = document("plan", manifest)
    assert (planned["images"], planned["patches"], planned["shards"]) == (3, 72, 9)
    assert planned["generators"] == {"awgn": 36, "loud": 36}
    assert not (tmp_path / "out").exists()


def test_plan_names_what_is_refused(manifest: Path, photo_folder: Path) -> None:
    (photo_folder / "zero.png").write_bytes(b"")
    called = noisemill("plan", manifest)
    assert called.exit_code == 0
    assert called.stdout.splitlines()[-1].startswith(f"refused: {photo_folder / 'zero.png'}: ")


def test_plan_refuses_what_would_wait_for_ever(manifest: Path) -> None:
    called = noisemill("plan", manifest, "--set", "resources.actors=4096")
    assert called.exit_code == 2
    assert "Set resources.actors to" in called.stderr
    called = noisemill("plan", "train-naflow-polyu")
    assert called.exit_code == 2
    assert "of kind train-generator" in called.stderr


# verify and inspect


def test_verify_says_that_a_corpus_is_sound(corpus: Path) -> None:
    called = noisemill("verify", corpus)
    assert called.exit_code == 0
    assert called.stdout.startswith(f"{corpus}: sound: 72 pairs, 18 files, ")
    assert noisemill("verify", corpus, "--quick").exit_code == 0
    found = document("verify", corpus)
    assert found["ok"] is True
    assert found["problems"] == []


def test_verify_names_each_problem(corpus: Path) -> None:
    (corpus / "hdf5" / "train-00002-of-00009.h5").unlink()
    (corpus / "data" / ".tmp-1-x").write_bytes(b"half")
    called = noisemill("verify", corpus)
    assert called.exit_code == 1
    assert called.stdout.startswith(f"{corpus}: 2 problems.")
    assert "hdf5/train-00002-of-00009.h5" in called.stderr
    assert "data/.tmp-1-x" in called.stderr
    assert len(document("verify", corpus, exit_code=1)["problems"]) == 2


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_what_is_no_corpus_is_a_failure(command: str, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        called = noisemill(command, path)
        assert called.exit_code == 1
        assert called.stdout == ""
        assert str(path) in called.stderr
        assert called.stderr.count("\n") == 1


def test_a_damaged_index_is_told_in_a_line(corpus: Path) -> None:
    (corpus / "corpus.json").write_text('{"format": "noisemill-corpus", "shards"')
    for command in ("verify", "inspect"):
        called = noisemill(command, corpus)
        assert called.exit_code == 1
        assert "corpus.json" in called.stderr
        assert called.stderr.count("\n") == 1


def test_inspect_summarises_and_draws(tmp_path: Path, corpus: Path) -> None:
    gallery = tmp_path / "sheet.png"
    called = noisemill("inspect", corpus, "--gallery", gallery)
    assert called.exit_code == 0
    assert called.stdout.startswith("tiny: 72 pairs, 0 refused\n")
    for words in ("loud", "unknown", "parquet", f"Drawn: {gallery}"):
        assert words in called.stdout
    assert gallery.read_bytes().startswith(b"\x89PNG")
    found = document("inspect", corpus)
    assert found["generators"] == {"awgn": 36, "loud": 36}
    assert found["shots"] == [{"camera": "unknown", "iso": None, "rows": 72}]


# audit


def test_audit_tells_sound_pairs_from_suspect_ones(pair_folder: Path, write_image: Write) -> None:
    import cv2

    noisy = cv2.imread(str(pair_folder / "wall_Real.png"))[..., ::-1]
    write_image(pair_folder / "wall_Real.png", np.clip(noisy.astype(int) + 3, 0, 255))
    globs = ("--clean", "*_mean.png", "--noisy", "*_Real.png")
    called = noisemill("audit", pair_folder, *globs)
    assert called.exit_code == 0
    assert called.stderr == ""
    lines = called.stdout.splitlines()
    assert lines[2].startswith("desk")
    assert lines[2].endswith("sound")
    assert lines[3].startswith("wall")
    assert lines[3].endswith("suspect")
    assert "wall  brightness offset +" in called.stdout
    assert "2 pairs: 1 sound, 1 suspect. 50% of all regions" in called.stdout
    found = document("audit", pair_folder, *globs)
    assert [bool(pair["suspect"]) for pair in found["pairs"]] == [False, True]
    assert found["refused"] == []


def test_audit_reads_a_metadata_file_and_the_limits_of_a_manifest(
    tmp_path: Path, pair_folder: Path
) -> None:
    rows = "clean,noisy,camera,iso\ndesk_mean.png,desk_Real.png,Nikon,800\n"
    (pair_folder / "metadata.csv").write_text(rows)
    (pair,) = document("audit", pair_folder)["pairs"]
    assert (pair["camera"], pair["iso"], pair["suspect"]) == ("Nikon", 800, [])
    source = {"type": "pairs", "path": str(pair_folder), "metadata": "metadata.csv"}
    source |= {"audit": {"max_noise": 2.0}}
    manifest = write_manifest(tmp_path / "m.yaml", source=source)
    (pair,) = document("audit", manifest)["pairs"]
    assert "noise" in pair["suspect"][0]


def test_audit_asks_for_what_it_cannot_guess(pair_folder: Path, photo_folder: Path) -> None:
    for call in ((pair_folder,), (pair_folder, "--clean", "*.png")):
        called = noisemill("audit", *call)
        assert called.exit_code == 2
        assert "give --metadata, or both --clean and --noisy" in called.stderr
    called = noisemill("audit", photo_folder, "--clean", "*_a.png", "--noisy", "*_b.png")
    assert called.exit_code == 1
    assert str(photo_folder) in called.stderr


# schema and doctor


def test_schema_prints_the_published_schema() -> None:
    called = noisemill("schema")
    assert called.exit_code == 0
    assert json.loads(called.stdout)["$defs"]


def test_doctor_fails_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = Check(name="python", status="ok", detail="Python 3.11")
    warn = Check(name="cpus", status="warn", detail="1 CPU", fix="Run with --inline.")
    fail = Check(name="disk", status="fail", detail="0 GiB free", fix="Make room.")
    for checks, code in (([fine], 0), ([fine, warn], 0), ([fine, warn, fail], 1)):
        monkeypatch.setattr("pipeline.doctor.examine", lambda found=checks: found)
        called = noisemill("doctor")
        assert called.exit_code == code
        assert ("cpus: Run with --inline." in called.stdout) == (warn in checks)
        found = document("doctor", exit_code=code)
        assert [check["status"] for check in found] == [check.status for check in checks]


# submit and kuberay

AWAY = ("--set", "output.path=s3://bucket/corpus")


def test_kuberay_prints_objects_that_are_yaml() -> None:
    called = noisemill("kuberay", "quickstart", *AWAY, "--cron", "0 3 * * *")
    assert called.exit_code == 0
    (found,) = [item for item in yaml.safe_load_all(called.stdout) if item["kind"] != "ConfigMap"]
    assert found["kind"] == "RayCronJob"
    assert noisemill("kuberay", "quickstart", *AWAY, "--cron", "at night").exit_code in (1, 2)
    called = noisemill("kuberay", "quickstart")
    assert called.exit_code == 1
    assert "output.path: out/quickstart" in called.stderr
    assert noisemill("kuberay", "quickstrat").exit_code == 2


def test_submit_says_that_nobody_answers() -> None:
    called = noisemill("submit", "quickstart", *AWAY, "--address", "http://127.0.0.1:9")
    assert called.exit_code == 1
    assert "127.0.0.1:9" in called.stderr
    assert noisemill("submit", "quickstart").exit_code == 2


# training


def write_training(tmp_path: Path, source: dict[str, object]) -> Path:
    path = tmp_path / "t.yaml"
    manifest = {
        "kind": "train-generator",
        "name": "small",
        "params": {"single_prior": True},
        "data": {"sources": [source], "patch": 16},
        "schedule": {"steps": 3, "batch_size": 2},
        "log_every": 1,
        "output": {"path": str(tmp_path / "trained")},
    }
    path.write_text(json.dumps(manifest))
    return path


def test_a_training_tells_its_steps_and_leaves_weights(tmp_path: Path, pair_folder: Path) -> None:
    source = {"type": "pairs", "path": str(pair_folder), "camera": "phone", "iso": 800}
    source |= {"clean": "*_mean.png", "noisy": "*_Real.png"}
    path = write_training(tmp_path, source)
    called = noisemill("run", path)
    assert called.exit_code == 0, called.output
    assert called.stdout.startswith("Trained 3 steps in ")
    notes = [line.removeprefix("noisemill: ") for line in called.stderr.splitlines()]
    assert notes[:2] == [
        "reading the training data",
        "scenes: 2, settings of camera and ISO: 1, 100% of places within the offset limit",
    ]
    # Lines between come as time passes; the last step is always told.
    steps = [note.partition(",")[0] for note in notes if note.startswith("step ")]
    assert steps[-1] == "step 3/3"
    assert len(set(steps)) == len(steps)
    assert (tmp_path / "trained" / "small.safetensors").is_file()

    done = noisemill("run", path, "--json")
    assert json.loads(done.stdout)["steps"] == 3
    for line in done.stderr.splitlines():
        assert json.loads(line)["event"] in ("note", "progress")


def test_a_training_without_pairs_is_told_in_a_line(tmp_path: Path) -> None:
    called = noisemill("run", write_training(tmp_path, {"type": "photographs"}))
    assert called.exit_code == 1
    assert called.stderr.splitlines()[-1].startswith("Error: the training's sources hold no ")
    assert called.stdout == ""
