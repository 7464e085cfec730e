"""Bad input, end to end: one clear line of what and where, and nothing already made is lost."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.weights_file import save_weights
from pipeline.corpus.verify import verify
from tests.contracts.command import document, noisemill, write_manifest
from tests.contracts.networks import save_naflow

Texture = Callable[..., np.ndarray]
Write = Callable[[Path, np.ndarray], Path]


@pytest.fixture
def good(tmp_path: Path, texture: Texture, write_image: Write) -> Path:
    """A folder with two good photographs of 32x48: 6 patches each."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(("good-1.png", "good-2.png")):
        write_image(folder / name, texture(32, 48, seed=seed))
    return folder


def rejected(out: Path) -> list[dict[str, Any]]:
    """Return what was refused, once an input: a photograph of two shards is refused in each."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for line in (out / "rejected.jsonl").read_bytes().splitlines():
        reject = json.loads(line)
        first = merged.setdefault((reject["uri"], reject["reason"]), reject)
        if first is not reject:
            first["patches"] += reject["patches"]
    return list(merged.values())


# One function a kind of bad file: it puts the file into a folder and returns its name.


def zero_bytes(folder: Path, picture: np.ndarray) -> str:
    (folder / "zero.png").write_bytes(b"")
    return "zero.png"


def text(folder: Path, picture: np.ndarray) -> str:
    (folder / "text.png").write_text("This is no picture.\n")
    return "text.png"


def truncated_jpeg(folder: Path, picture: np.ndarray) -> str:
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    return "cut.jpg"


def one_pixel(folder: Path, picture: np.ndarray) -> str:
    cv2.imwrite(str(folder / "one.png"), picture[:1, :1])
    return "one.png"


def smaller_than_the_patch(folder: Path, picture: np.ndarray) -> str:
    cv2.imwrite(str(folder / "small.png"), picture[:15, :40])
    return "small.png"


def cmyk(folder: Path, picture: np.ndarray) -> str:
    Image.fromarray(picture).convert("CMYK").save(folder / "print.jpg")
    return "print.jpg"


def transparent(folder: Path, picture: np.ndarray) -> str:
    alpha = np.full((*picture.shape[:2], 1), 128, np.uint8)
    cv2.imwrite(str(folder / "logo.png"), np.concatenate([picture, alpha], axis=2))
    return "logo.png"


def link_loop(folder: Path, picture: np.ndarray) -> str:
    (folder / "loop.png").symlink_to("loop.png")
    return "loop.png"


def bomb(folder: Path, picture: np.ndarray) -> str:
    data = bytearray(cv2.imencode(".png", picture)[1].tobytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (folder / "bomb.png").write_bytes(data)
    return "bomb.png"


def nan_in_float_tiff(folder: Path, picture: np.ndarray) -> str:
    pixels = picture.astype(np.float32) / 255
    pixels[3, 5, 1] = np.nan
    tifffile.imwrite(folder / "scan.tiff", pixels, photometric="rgb")
    return "scan.tiff"


def equal_content(folder: Path, picture: np.ndarray) -> str:
    shutil.copy(folder / "good-1.png", folder / "same.png")
    return "same.png"


BAD: dict[Callable[[Path, np.ndarray], str], tuple[str, str]] = {
    zero_bytes: ("empty", "0 bytes"),
    text: ("not-an-image", "expected a PNG, JPEG or TIFF file"),
    truncated_jpeg: ("truncated", "no end-of-image marker"),
    one_pixel: ("too-small", "1x1 pixels"),
    smaller_than_the_patch: ("too-small", "40x15 pixels hold no 16x16 patch"),
    cmyk: ("cmyk", "Convert it to sRGB"),
    transparent: ("alpha", "transparent"),
    link_loop: ("unreadable", "Too many levels of symbolic links"),
    bomb: ("too-large", "60000x60000 pixels"),
    nan_in_float_tiff: ("not-finite", "1 samples are NaN or infinite"),
    equal_content: ("duplicate", "good-1.png; taken once"),
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_file_is_refused_by_name_and_reason_and_the_good_go_on(
    make: Callable[[Path, np.ndarray], str], tmp_path: Path, good: Path, texture: Texture
) -> None:
    name, (reason, detail) = make(good, texture(32, 48, seed=9)), BAD[make]
    manifest = write_manifest(tmp_path / "m.yaml", source=good, limits={"max_rejected": 0.5})
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 0, called.output
    (reject,) = rejected(tmp_path / "out")
    assert reject["uri"] == str(good / name)
    assert reject["reason"] == reason
    assert detail in reject["detail"]
    assert "\n" not in reject["detail"]
    assert reason in called.stdout
    assert str(tmp_path / "out" / "rejected.jsonl") in called.stdout
    assert document("verify", tmp_path / "out")["rows"] == 12


@pytest.mark.parametrize(
    "make", [make for make in BAD if make is not equal_content], ids=lambda make: make.__name__
)
def test_a_folder_with_nothing_but_a_bad_file_is_a_failure_that_names_it(
    make: Callable[[Path, np.ndarray], str], tmp_path: Path, good: Path, texture: Texture
) -> None:
    name = make(good, texture(32, 48, seed=9))
    for path in good.glob("good-*.png"):
        path.unlink()
    manifest = write_manifest(tmp_path / "m.yaml", source=good)
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code in (1, 2)
    assert called.stdout == ""
    assert str(good / name) in called.stderr
    assert BAD[make][1] in called.stderr
    assert not (tmp_path / "out" / "corpus.json").exists()


def test_sixteen_bit_grey_opaque_alpha_and_odd_names_are_taken(
    tmp_path: Path, texture: Texture
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    grey = texture(16, 16, 1, seed=1)[..., 0].astype(np.uint16) * 257
    cv2.imwrite(str(folder / "grey16.png"), grey)
    opaque = np.full((16, 16, 1), 255, np.uint8)
    rgba = np.concatenate([texture(16, 16, seed=2), opaque], axis=2)
    cv2.imwrite(str(folder / "opaque.png"), rgba)
    data = cv2.imencode(".png", texture(16, 16, seed=3))[1].tobytes()
    Path(os.fsdecode(os.path.join(os.fsencode(folder), b"caf\xe9.png"))).write_bytes(data)
    (folder / "new\nline.png").write_bytes(cv2.imencode(".png", texture(16, 16, seed=4))[1])
    manifest = write_manifest(tmp_path / "m.yaml", source=folder)
    assert noisemill("run", manifest, "--inline").exit_code == 0
    assert rejected(tmp_path / "out") == []
    assert document("verify", tmp_path / "out")["rows"] == 4
    assert noisemill("plan", manifest).exit_code == 0


def test_a_bad_file_with_a_name_that_is_no_text_is_told_on_one_line(
    tmp_path: Path, good: Path
) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(good), b"caf\xe9.png"))).write_text("no picture")
    manifest = write_manifest(tmp_path / "m.yaml", source=good, limits={"max_rejected": 0.0})
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 1
    assert "caf%E9.png" in called.stderr


def test_an_empty_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, words in (("empty", "no image"), ("absent", "does not exist")):
        manifest = write_manifest(tmp_path / "m.yaml", source=tmp_path / name)
        for command in (("run", manifest, "--inline"), ("plan", manifest)):
            called = noisemill(*command)
            assert called.exit_code == 1
            assert called.stderr.count("\n") == 1
            assert str(tmp_path / name) in called.stderr
            assert words in called.stderr
    assert not (tmp_path / "out").exists()


def test_past_the_budget_the_run_stops_with_the_reasons_and_keeps_what_is_made(
    tmp_path: Path, good: Path, texture: Texture
) -> None:
    manifest = write_manifest(tmp_path / "m.yaml", source=good, limits={"max_rejected": 0.2})
    for make in (zero_bytes, text, link_loop):
        make(good, texture(32, 48))
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 1
    assert "3 of 5 photographs were refused" in called.stderr
    assert "limits.max_rejected = 0.2" in called.stderr
    for name in ("zero.png", "text.png", "loop.png"):
        assert str(good / name) in called.stderr
        (good / name).unlink()

    # Damage that shows only when pixels are read: the first photograph's shard stays.
    nan_in_float_tiff(good, texture(32, 48, seed=9))
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 1
    assert re.search(r"of 18 patches were refused \(not-finite: \d\)", called.stderr)
    assert str(good / "scan.tiff") in called.stderr
    made = sorted((tmp_path / "out" / "hdf5").glob("*.h5"))
    assert made
    times = [path.stat().st_mtime_ns for path in made]
    assert not (tmp_path / "out" / "corpus.json").exists()
    called = noisemill("run", manifest, "--inline", "--set", "limits.max_rejected=0.5")
    assert called.exit_code == 0, called.output
    assert [path.stat().st_mtime_ns for path in made] == times


def test_a_file_lost_between_plan_and_run_is_a_reject(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.building.run import build
    from pipeline.manifest.load import load_manifest

    manifest = write_manifest(tmp_path / "m.yaml", source=good, limits={"max_rejected": 0.6})
    loaded = load_manifest(str(manifest)).manifest
    assert loaded.kind == "corpus"
    monkeypatch.setattr(
        "pipeline.building.run.remember_plan",
        lambda *_: (good / "good-2.png").unlink(),
        raising=True,
    )
    build(loaded, inline=True, overwrite=False, style="quiet")
    (reject,) = rejected(tmp_path / "out")
    assert reject["uri"] == str(good / "good-2.png")
    assert (reject["reason"], reject["patches"]) == ("missing", 6)


# Pairs


@pytest.mark.parametrize(
    ("spoil", "reason", "words"),
    [
        ("unequal", "size-mismatch", "must show the same pixels"),
        ("missing", "missing-partner", "with the same wildcard text"),
        ("unreadable", "not-an-image", "expected a PNG"),
    ],
)
def test_a_bad_pair_is_refused_and_the_good_pair_goes_on(
    spoil: str, reason: str, words: str, tmp_path: Path, pair_folder: Path, write_image: Write
) -> None:
    partner = pair_folder / "wall_Real.png"
    if spoil == "unequal":
        write_image(partner, cv2.imread(str(partner))[:40])
    elif spoil == "missing":
        partner.unlink()
    else:
        partner.write_text("no picture")
    source = {"type": "pairs", "path": str(pair_folder), "clean": "*_mean.png"}
    source["noisy"] = "*_Real.png"
    manifest = write_manifest(tmp_path / "m.yaml", source=source, limits={"max_rejected": 0.5})
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 0, called.output
    (reject,) = rejected(tmp_path / "out")
    assert reject["reason"] == reason
    assert "wall" in reject["uri"]
    assert words in reject["detail"]

    globs = ("--clean", "*_mean.png", "--noisy", "*_Real.png")
    audited = noisemill("audit", pair_folder, *globs)
    assert audited.exit_code == 1
    assert "desk" in audited.stdout
    assert words in audited.stderr
    assert [
        r["reason"] for r in document("audit", pair_folder, *globs, exit_code=1)["refused"]
    ] == [reason]


# Weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small untrained NAFlow."""
    config = NAFlowConfig(configurations=("phone_00800",))
    return save_naflow(tmp_path / "small.safetensors", NAFlow(config))


def damage(path: Path) -> str:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return "cannot be read"


def not_finite(path: Path) -> str:
    config = NAFlowConfig(configurations=("phone_00800",))
    tensors = NAFlow(config).state_dict()
    name = next(name for name, t in tensors.items() if t.is_floating_point())
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_weights(path, family="naflow", config=config.to_dict(), tensors=tensors, license="CC0-1.0")
    return "not finite"


def of_another_model(path: Path) -> str:
    tensors = {"a": torch.zeros(1)}
    save_weights(path, family="fino", config={}, tensors=tensors, license="CC0-1.0")
    return "holds weights of 'fino', not of 'naflow'"


def of_another_configuration(path: Path) -> str:
    config = NAFlowConfig(configurations=("phone_00800",))
    tensors = {"a": torch.zeros(1)}
    save_weights(path, family="naflow", config=config.to_dict(), tensors=tensors, license="CC0-1.0")
    return "does not hold the network that its header describes: it lacks "


def with_a_key_too_many(path: Path) -> str:
    config = NAFlowConfig(configurations=("phone_00800",))
    tensors = {**NAFlow(config).state_dict(), "more": torch.zeros(1)}
    save_weights(path, family="naflow", config=config.to_dict(), tensors=tensors, license="CC0-1.0")
    return "it has more, unknown to the network"


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code from a weights file was run",))


def with_pickled_code(path: Path) -> str:
    torch.save({"a": torch.zeros(1), "b": Code()}, path)
    return "cannot be read"


def absent(path: Path) -> str:
    path.unlink()
    return "there are no weights"


@pytest.mark.parametrize(
    "spoil",
    [
        damage,
        not_finite,
        of_another_model,
        of_another_configuration,
        with_a_key_too_many,
        with_pickled_code,
        absent,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_bad_weights_are_named_with_the_line_of_the_manifest(
    spoil: Callable[[Path], str], tmp_path: Path, good: Path, weights: Path
) -> None:
    words = spoil(weights)
    spec = {"name": "naflow", "weights": str(weights), "params": {"sampling": "random"}}
    manifest = write_manifest(tmp_path / "m.yaml", source=good, generators=[spec])
    for command in (("run", manifest, "--inline"), ("plan", manifest)):
        called = noisemill(*command)
        assert called.exit_code == 2
        assert called.stdout == ""
        (line,) = called.stderr.splitlines()
        assert line.startswith(f"Error: {manifest}:")
        assert "generators.0.weights" in line
        assert str(weights) in line
        assert words in line
    assert not (tmp_path / "out").exists()


def test_a_camera_that_the_weights_do_not_know_is_told_before_work(
    tmp_path: Path, good: Path, weights: Path
) -> None:
    spec = {"name": "naflow", "weights": str(weights), "params": {"sampling": "label"}}
    source = {"type": "images", "path": str(good), "camera": "Leica M9", "iso": 100}
    manifest = write_manifest(tmp_path / "m.yaml", source=source, generators=[spec])
    for command in (("run", manifest, "--inline"), ("plan", manifest)):
        called = noisemill(*command)
        assert called.exit_code == 2
        (line,) = called.stderr.splitlines()
        for words in ("'Leica M9' at ISO 100", "phone ISO 800", str(good), "Set `camera`"):
            assert words in line
    assert not (tmp_path / "out").exists()
    # The same said by a parameter is a mistake of the parameters, with its line.
    spec["params"] = {"sampling": "label", "camera": "Leica M9", "iso": 100}
    manifest = write_manifest(tmp_path / "m.yaml", source=good, generators=[spec])
    called = noisemill("plan", manifest)
    assert called.exit_code == 2
    assert "generators.0.params: generator 'naflow' does not know" in called.stderr


# The output


@pytest.fixture
def without_privilege() -> Iterator[None]:
    """Take root's power over file permissions away for the time of a test."""
    if os.geteuid() != 0:
        yield
        return
    # capget and capset, version 3; CAP_DAC_OVERRIDE is bit 1 and CAP_DAC_READ_SEARCH bit 2.
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", 0x20080522, 0)
    before = ctypes.create_string_buffer(24)
    if libc.capget(header, before) != 0:
        pytest.skip("capabilities cannot be read here")
    effective, *rest = struct.unpack("=6I", before.raw)
    if libc.capset(header, struct.pack("=6I", effective & ~0b110, *rest)) != 0:
        pytest.skip("root's power over permissions cannot be dropped here")
    yield
    assert libc.capset(header, before.raw) == 0


@pytest.mark.usefixtures("without_privilege")
def test_an_unreadable_file_is_a_reject(tmp_path: Path, good: Path) -> None:
    (good / "good-2.png").chmod(0)
    manifest = write_manifest(tmp_path / "m.yaml", source=good, limits={"max_rejected": 0.5})
    called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 0, called.output
    (reject,) = rejected(tmp_path / "out")
    assert reject["uri"] == str(good / "good-2.png")
    assert "Permission denied" in reject["detail"]


@pytest.mark.usefixtures("without_privilege")
def test_an_output_folder_that_cannot_be_written_is_told_before_work(
    tmp_path: Path, good: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.yaml", source=good)
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    for path in (locked, locked / "below", good / "good-1.png"):
        called = noisemill("run", manifest, "--inline", "--set", f"output.path={path}")
        assert called.exit_code == 1
        assert str(path) in called.stderr.splitlines()[-1]
        assert called.stdout == ""
    locked.chmod(0o700)
    assert list(locked.iterdir()) == []


@pytest.mark.usefixtures("without_privilege")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, good: Path) -> None:
    (good / "below").mkdir(mode=0)
    called = noisemill("run", write_manifest(tmp_path / "m.yaml", source=good), "--inline")
    (good / "below").chmod(0o700)
    assert called.exit_code == 1
    assert str(good / "below") in called.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if (
        mount is None
        or os.geteuid() != 0
        or subprocess.run(command, capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_room_makes_the_run_go_on(
    tmp_path: Path, good: Path, small_disk: Path
) -> None:
    out = small_disk / "out"
    manifest = write_manifest(tmp_path / "m.yaml", source=good, output={"path": str(out)})
    whole = ("--inline", "--set", "output.rows_per_shard=2")
    called = noisemill("run", manifest, *whole)
    assert called.exit_code == 1
    assert "the disk is full; free space there" in called.stderr.splitlines()[-1]
    assert str(out) in called.stderr.splitlines()[-1]
    kept = {path: path.read_bytes() for path in out.rglob("*.h5")}
    assert kept
    assert not list(out.rglob(".tmp-*"))
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    assert noisemill("run", manifest, *whole).exit_code == 0
    assert {path: path.read_bytes() for path in kept} == kept
    assert verify(str(out), deep=True).ok


@pytest.mark.parametrize("lucky", [0, 1, 3, 6, 8])
def test_whenever_the_disk_fills_up_nothing_made_is_lost(
    lucky: int, tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import storage

    write, written = storage._write_local, 0

    def write_until_full(target: Path, data: storage.Data) -> None:
        nonlocal written
        written += target.suffix in (".h5", ".parquet", ".json", ".jsonl")
        if written > lucky:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(target, data)

    manifest = write_manifest(tmp_path / "m.yaml", source=good)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "_write_local", write_until_full)
        called = noisemill("run", manifest, "--inline")
    assert called.exit_code == 1
    assert "the disk is full" in called.stderr.splitlines()[-1]
    out = tmp_path / "out"
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("_records/train-*.json")}
    assert not (out / "corpus.json").exists()
    assert noisemill("run", manifest, "--inline").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert verify(str(out), deep=True).ok


def test_a_folder_that_is_no_corpus_is_left_as_it_is(tmp_path: Path, good: Path) -> None:
    manifest = write_manifest(tmp_path / "m.yaml", source=good, output={"path": str(good)})
    before = {path: path.read_bytes() for path in good.iterdir()}
    for overwrite in ((), ("--overwrite",)):
        called = noisemill("run", manifest, "--inline", *overwrite)
        assert called.exit_code == 1
        assert f"{good} is not empty and not a corpus" in called.stderr
        assert "good-1.png" in called.stderr
    for command in ("verify", "inspect"):
        called = noisemill(command, good)
        assert called.exit_code == 1
        assert f"{good} is not a corpus" in called.stderr
    assert {path: path.read_bytes() for path in good.iterdir()} == before


@pytest.mark.parametrize(
    "name", ["hdf5/train-00001-of-00002.h5", "data/train-00000-of-00002.parquet"]
)
def test_a_shard_changed_by_one_byte_is_named_and_mended(
    name: str, tmp_path: Path, good: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.yaml", source=good)
    assert noisemill("run", manifest, "--inline").exit_code == 0
    out = tmp_path / "out"
    shards = {path: path.read_bytes() for path in out.rglob("train-*") if path.suffix != ".json"}
    data = bytearray(shards[out / name])
    data[len(data) // 2] ^= 1
    (out / name).write_bytes(data)

    called = noisemill("verify", out)
    assert called.exit_code == 1
    (problem,) = called.stderr.splitlines()
    assert problem.startswith(f"{name}: ")
    assert "Run its manifest again to mend it" in called.stdout
    assert document("verify", out, exit_code=1)["problems"] == [problem]

    again = document("run", manifest, "--inline")
    assert again["shards_made"] == 1
    assert {path: path.read_bytes() for path in shards} == shards
    assert noisemill("verify", out).exit_code == 0


def test_another_manifest_is_refused_with_the_difference(tmp_path: Path, good: Path) -> None:
    manifest = write_manifest(tmp_path / "m.yaml", source=good)
    assert noisemill("run", manifest, "--inline").exit_code == 0
    other = ("--set", "seed=4", "--set", "generators.0.params.sigma=20")
    index = (tmp_path / "out" / "corpus.json").read_bytes()
    called = noisemill("run", manifest, "--inline", *other)
    assert called.exit_code == 1
    assert "seed" in called.stderr
    assert "sigma" in called.stderr
    assert "--overwrite" in called.stderr
    assert (tmp_path / "out" / "corpus.json").read_bytes() == index
    assert noisemill("run", manifest, "--inline", *other, "--overwrite").exit_code == 0
    assert document("inspect", tmp_path / "out")["noise"]["awgn"]["median"] > 15 / 255


def test_bad_input_through_a_pipe_keeps_standard_output_clean(
    tmp_path: Path, good: Path, texture: Texture
) -> None:
    for make in (zero_bytes, nan_in_float_tiff):
        make(good, texture(32, 48, seed=9))
    manifest = write_manifest(tmp_path / "m.yaml", source=good, limits={"max_rejected": 0.5})
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "run", str(manifest), "--inline", "--json"],
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rejected"] == 6
    for line in done.stderr.splitlines():
        assert json.loads(line)["event"] in ("note", "progress")
