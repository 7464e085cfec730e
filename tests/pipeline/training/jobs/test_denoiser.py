"""Training a denoiser from a manifest: weights that load, resumed to the byte, sound data only."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

import denoisers
import pipeline.training.jobs.denoiser as module
from generators.weights_file import load_weights
from pipeline.building.run import build
from pipeline.errors import RejectBudgetError
from pipeline.manifest.models import CorpusManifest, TrainDenoiserManifest
from pipeline.storage import DatasetError
from pipeline.training.jobs.denoiser import train_denoiser
from pipeline.training.jobs.denoiser_data import denoising_batches
from tests.contracts.command import noisemill
from tests.contracts.trainings import six_steps

Make = Callable[..., TrainDenoiserManifest]
IMAGES = ("clean", "noisy", "second")


def pairs(folder: Path, **more: Any) -> dict[str, Any]:
    source = {"type": "pairs", "path": str(folder), "clean": "*_mean.png", "noisy": "*_Real.png"}
    return {"sources": [source], **more}


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """What one test has made and the others only read, by name."""
    return {}


@pytest.fixture
def corpus(made: dict[str, str], corpus_manifest: Callable[..., CorpusManifest]) -> str:
    """36 patches of 16x16 through two generators, in both formats; not to be changed."""
    if "corpus" not in made:
        manifest = corpus_manifest(
            splits={"train": 1.0, "val": 0.0, "test": 0.0}, output={"rows_per_shard": 24}
        )
        build(manifest, inline=True, overwrite=False, style="quiet")
        made["corpus"] = manifest.output.path
    return made["corpus"]


@pytest.fixture
def own_corpus(corpus: str, tmp_path: Path) -> str:
    """A copy of it that a test may change."""
    return shutil.copytree(corpus, str(tmp_path / "own"))


@pytest.fixture
def stream(tmp_path: Path, corpus_manifest: Callable[..., CorpusManifest]) -> str:
    """The manifest of such a corpus, as a file."""
    return written(corpus_manifest(splits={"train": 1.0, "val": 0.0, "test": 0.0}), tmp_path)


@pytest.fixture
def second_hand(tmp_path: Path, corpus: str, corpus_manifest: Callable[..., CorpusManifest]) -> str:
    """The manifest of a corpus that is cut from the rows of the first, as a file."""
    manifest = corpus_manifest(
        sources=[{"type": "corpus", "path": corpus}],
        splits={"train": 1.0, "val": 0.0, "test": 0.0},
        patches={"size": 16, "per_image": 1},
    )
    return written(manifest, tmp_path)


def written(manifest: CorpusManifest, folder: Path) -> str:
    path = folder / "stream.yaml"
    path.write_text(yaml.safe_dump(manifest.model_dump(mode="json", exclude_none=True)))
    return str(path)


@pytest.fixture
def training(tmp_path: Path) -> Make:
    """Makes manifests of trainings of six steps of four 16x16 crops."""

    def make(inputs: list[dict[str, Any]], name: str = "run", **changes: Any) -> Any:
        data = six_steps(
            "train-denoiser",
            tmp_path / name,
            changes,
            params={"depth": 3, "width": 4},
            data={"inputs": inputs, "patch": 16},
        )
        return TrainDenoiserManifest.model_validate(data)

    return make


def trained(manifest: TrainDenoiserManifest) -> Any:
    return train_denoiser(manifest, source="somewhere/tiny.yaml", style="quiet")


def batch(manifest: TrainDenoiserManifest, step: int, share: range = range(4)) -> Any:
    return denoising_batches(manifest, share).batches.batch(step)


def equal(a: Any, b: Any) -> bool:
    return all(
        (x is None and y is None) or torch.equal(x, y)
        for x, y in ((getattr(a, name), getattr(b, name)) for name in IMAGES)
    )


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_a_training_leaves_weights_that_load_and_a_card(
    training: Make, corpus: str, tmp_path: Path, format: str, pair_folder: Path
) -> None:
    manifest = training(
        [{"corpus": corpus, "format": format, "generators": ["awgn"]}],
        validation={**pairs(pair_folder), "patch": 16, "every": 2, "batches": 2},
        report=True,
    )
    left = trained(manifest)
    assert left.weights == tmp_path / "run" / "tiny.safetensors"
    network = denoisers.load(left.weights)
    assert network(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 5, 7)
    card = json.loads(left.weights.with_suffix(".json").read_text())
    (about,) = card["training_data"]["inputs"]
    index = (Path(corpus) / "corpus.json").read_bytes()
    assert about["corpus_json_sha256"] == hashlib.sha256(index).hexdigest()
    assert (about["rows"], about["generators"], about["format"]) == (36, ["awgn"], format)
    assert card["metrics"]["validation"] == left.figures
    assert set(left.figures) == {"loss", "psnr", "psnr_noisy"}
    assert "rounded to 8 bits" in card["psnr_convention"]
    assert (card["license"], card["family"]) == ("CC0-1.0", "dncnn")
    assert str(tmp_path) not in json.dumps(card)
    assert "Its estimates" in Path(left.report).read_text()
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 6


def test_training_lowers_the_loss_on_held_out_pairs(
    training: Make, stream: str, pair_folder: Path
) -> None:
    held_out = {**pairs(pair_folder), "patch": 16}
    first, last = (
        trained(
            training(
                [{"stream": stream}],
                name=str(steps),
                params={"batch_norm": False, "bias": "all"},
                schedule={"steps": steps, "ema": None, "learning_rate": 3e-3},
                validation=held_out,
            )
        ).figures["loss"]
        for steps in (1, 60)
    )
    assert last < 0.5 * first


@pytest.mark.parametrize("kind", ["corpus", "pairs", "stream", "mixed"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(
    training: Make,
    corpus: str,
    stream: str,
    pair_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    known = {
        "corpus": {"corpus": corpus},
        "pairs": {"pairs": pairs(pair_folder)},
        "stream": {"stream": stream},
    }
    inputs = list(known.values()) if kind == "mixed" else [known[kind]]
    how = {"optimizer": "adamw", "weight_decay": 0.01}
    whole = trained(training(inputs, name="whole", schedule=how))
    original = module.train

    def state(name: str) -> tuple[dict[str, Any], list[float]]:
        saved = torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        return saved["optimiser"]["state"], [json.loads(line)["loss"] for line in log]

    for stop_at in (1, 4):
        name = f"stopped-{stop_at}"

        def stopped(*arguments: Any, stop_at: int = stop_at, **named: Any) -> Any:
            original(*arguments, **named, stop_at=stop_at)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "train", stopped)
            with pytest.raises(KeyboardInterrupt):
                trained(training(inputs, name=name, schedule=how))
        again = trained(training(inputs, name=name, schedule=how))
        assert again.weights.read_bytes() == whole.weights.read_bytes()
        (moments, losses), (other_moments, other_losses) = state("whole"), state(name)
        assert all(
            torch.equal(value, other_moments[number][key])
            for number, kept in moments.items()
            for key, value in kept.items()
        )
        assert losses == other_losses


@pytest.mark.parametrize("step", [0, 7, 30])
def test_batches_are_equal_however_the_corpus_is_read(
    training: Make, corpus: str, step: int
) -> None:
    data = {"patch": 12}
    hdf5, parquet = (
        training([{"corpus": corpus, "format": format}], data=data)
        for format in ("hdf5", "parquet")
    )
    row_by_row = hdf5.model_copy(update={"data": hdf5.data.model_copy(update={"memory": 1})})
    assert denoising_batches(row_by_row, range(4)).about[0]["read"] == "row by row"
    assert equal(batch(hdf5, step), batch(parquet, step))
    assert equal(batch(hdf5, step), batch(row_by_row, step))


def test_a_large_parquet_corpus_is_read_in_windows(training: Make, corpus: str) -> None:
    manifest = training([{"corpus": corpus, "format": "parquet"}], data={"memory": 40_000})
    data = denoising_batches(manifest, range(4))
    assert data.about[0]["read"] == "in windows"
    seen = torch.cat([data.batches.batch(step).clean for step in range(18)])  # type: ignore[misc]
    plain = manifest.model_copy(
        update={"data": manifest.data.model_copy(update={"augmentation": "none"})}
    )
    rows = torch.cat([batch(plain, step).noisy for step in range(18)])
    assert len(seen) == 72
    assert len({row.numpy().tobytes() for row in rows}) == 72


@pytest.mark.parametrize("kind", ["pairs", "mixed"])
def test_shares_of_a_batch_make_the_batch(
    training: Make, corpus: str, stream: str, pair_folder: Path, kind: str
) -> None:
    inputs: list[dict[str, Any]] = [{"pairs": pairs(pair_folder)}]
    inputs += [{"corpus": corpus, "weight": 2.0}, {"stream": stream}] if kind == "mixed" else []
    manifest = training(inputs)
    opened = [
        denoising_batches(manifest, share).batches for share in (range(4), range(2), range(2, 4))
    ]
    for step in range(4):
        whole, *parts = (one.batch(step) for one in opened)
        for name in ("clean", "noisy"):
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(joined, getattr(whole, name))


def test_weights_decide_how_often_an_input_is_drawn(
    training: Make, corpus: str, tmp_path: Path, pair_folder: Path
) -> None:
    manifest = training(
        [{"corpus": corpus, "weight": 3.0}, {"pairs": pairs(pair_folder)}],
        schedule={"batch_size": 64},
        data={"augmentation": "none"},
    )
    data = denoising_batches(manifest, range(64))
    own = denoising_batches(
        manifest.model_copy(
            update={"data": manifest.data.model_copy(update={"inputs": manifest.data.inputs[:1]})}
        ),
        range(64),
    )
    same = 0
    for step in range(10):
        mixed, alone = data.batches.batch(step).clean, own.batches.batch(step).clean
        assert mixed is not None
        assert alone is not None
        same += int((mixed == alone).flatten(1).all(dim=1).sum())
    # Five standard errors of a share of 3/4 among 640 rows.
    assert abs(same / 640 - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 640)


def test_a_stream_has_new_noise_in_every_visit_and_the_same_in_the_same_step(
    training: Make, stream: str
) -> None:
    manifest = training([{"stream": stream, "generators": ["awgn"]}], data={"augmentation": "none"})
    data = denoising_batches(manifest, range(4)).batches
    assert equal(data.batch(3), batch(manifest, 3))
    noise: dict[bytes, set[bytes]] = {}
    for step in range(27):  # three epochs of 36 patches
        found = data.batch(step)
        assert found.clean is not None
        assert found.noisy is not None
        for clean, noisy in zip(found.clean, found.noisy, strict=True):
            noise.setdefault(clean.numpy().tobytes(), set()).add(noisy.numpy().tobytes())
    assert len(noise) == 36
    assert all(len(kinds) == 3 for kinds in noise.values())
    assert bool(((found.noisy * 255).round() / 255 == found.noisy).all())  # type: ignore[operator]


def test_a_stream_refuses_as_much_as_its_manifest_allows_and_no_more(
    training: Make, corpus_manifest: Callable[..., CorpusManifest], photo_folder: Path
) -> None:
    # Cut off behind its header, a photograph is planned with and fails when it is read.
    damaged = photo_folder / "b.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    for limit, fits in ((0.2, False), (0.5, True)):
        manifest = corpus_manifest(limits={"max_rejected": limit})
        path = photo_folder.parent / f"{limit}.yaml"
        path.write_text(yaml.safe_dump(manifest.model_dump(mode="json", exclude_none=True)))
        kept = training([{"stream": str(path), "split": None}])
        with (
            nullcontext()
            if fits
            else pytest.raises(RejectBudgetError, match=r"max_rejected = 0\.2")
        ):
            denoising_batches(kept, range(4))


@pytest.mark.parametrize("kind", ["corpus", "stream"])
def test_noise2noise_takes_two_noisy_images_of_one_patch(
    training: Make, corpus: str, stream: str, kind: str
) -> None:
    place = {"corpus": corpus, "stream": stream}[kind]
    manifest = training([{kind: place}], loss="noise2noise")
    found = batch(manifest, 2)
    assert found.clean is None
    assert not torch.equal(found.noisy, found.second)
    # Two shots of one scene are far more alike than two scenes.
    own = (found.noisy - found.second).square().mean()
    other = (found.noisy - found.second.roll(1, 0)).square().mean()
    assert own < 0.3 * other
    assert trained(manifest).steps == 6


def test_noise2noise_without_second_shots_is_refused(training: Make, corpus: str) -> None:
    manifest = training([{"corpus": corpus, "generators": ["awgn"]}], loss="noise2noise")
    with pytest.raises(ValueError, match="no patch stands in two rows"):
        trained(manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "val"}, "has no split 'val'; it has train"),
        ({"generators": ["nobody"]}, "has no generator 'nobody'; it has awgn, heteroscedastic"),
    ],
)
def test_a_corpus_without_what_is_wanted_is_refused(
    training: Make, corpus: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        trained(training([{"corpus": corpus, **change}]))


def test_a_folder_that_is_no_corpus_is_refused(training: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a corpus: it holds no corpus\.json"):
        trained(training([{"corpus": str(tmp_path / "nothing")}]))


def test_missing_and_altered_shards_are_refused(training: Make, own_corpus: str) -> None:
    shard = sorted(Path(own_corpus).glob("hdf5/*.h5"))[1]
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DatasetError, match=f"{shard.name}: changed since it was written"):
        trained(training([{"corpus": own_corpus}]))
    shard.unlink()
    with pytest.raises(DatasetError, match=f"{shard.name}: .*no such file"):
        trained(training([{"corpus": own_corpus}]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"domain": "raw"}, "gives srgb images of 3 channels.* trained on raw images of 4"),
        ({"color": "grey"}, "gives srgb images of 3 channels.* trained on srgb images of 1"),
        ({"patch": 24}, "has patches of 16x16 pixels, and data.patch is 24"),
    ],
)
def test_images_of_another_kind_are_refused(
    training: Make, corpus: str, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        trained(training([{"corpus": corpus}], data=data))


def test_pairs_serve_a_grey_denoiser(training: Make, pair_folder: Path) -> None:
    manifest = training([{"pairs": pairs(pair_folder)}], data={"color": "grey"})
    assert denoisers.load(trained(manifest).weights).channels == 1


@pytest.mark.parametrize("kind", ["corpus", "stream", "second_hand"])
def test_validation_on_photographs_that_are_trained_on_is_refused(
    training: Make,
    request: pytest.FixtureRequest,
    photo_folder: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    folder = tmp_path / "copied"
    folder.mkdir()
    data = (photo_folder / "a.png").read_bytes()
    (folder / "other_mean.png").write_bytes(data)
    (folder / "other_Real.png").write_bytes((photo_folder / "b.png").read_bytes())
    key = "corpus" if kind == "corpus" else "stream"
    manifest = training(
        [{key: request.getfixturevalue(kind)}], validation={**pairs(folder), "patch": 16}
    )
    with pytest.raises(ValueError, match=r"also trained on, in (corpus|stream of) small"):
        trained(manifest)


def test_validation_on_pairs_that_are_trained_on_is_refused(
    training: Make, pair_folder: Path
) -> None:
    held_out = {**pairs(pair_folder), "patch": 16}
    with pytest.raises(ValueError, match="is also trained on"):
        trained(training([{"pairs": pairs(pair_folder)}], validation=held_out))


def test_pairs_of_unequal_size_are_refused(
    training: Make, tmp_path: Path, texture: Any, write_image: Any, capsys: Any
) -> None:
    write_image(tmp_path / "odd" / "x_mean.png", texture(48, 64))
    write_image(tmp_path / "odd" / "x_Real.png", texture(48, 48))
    with pytest.raises(ValueError, match="hold no clean/noisy pairs"):
        trained(training([{"pairs": pairs(tmp_path / "odd")}]))


def test_a_folder_with_the_training_on_other_data_is_refused(
    training: Make, own_corpus: str, corpus_manifest: Callable[..., CorpusManifest]
) -> None:
    trained(training([{"corpus": own_corpus}]))
    changed = corpus_manifest(
        seed=8,
        splits={"train": 1.0, "val": 0.0, "test": 0.0},
        output={"path": own_corpus, "formats": ["hdf5"], "rows_per_shard": 72},
    )
    build(changed, inline=True, overwrite=True, style="quiet")
    with pytest.raises(ValueError, match="data_sha256"):
        trained(training([{"corpus": own_corpus}]))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([{}], "exactly one of corpus, pairs, stream"),
        ([{"corpus": "a", "stream": "b"}], "corpus and stream"),
        ([{"pairs": {"sources": [{"type": "photographs"}]}, "split": "val"}], "for a corpus"),
    ],
)
def test_an_input_is_exactly_one_kind_of_data(
    training: Make, inputs: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        training(inputs)


def test_workers_must_share_a_batch_evenly(training: Make) -> None:
    with pytest.raises(ValidationError, match="3 workers cannot share a batch of 4 rows evenly"):
        training([{"corpus": "a"}], workers=3)


def test_the_command_line_trains(training: Make, corpus: str, tmp_path: Path) -> None:
    manifest = training([{"corpus": corpus}])
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump(manifest.model_dump(mode="json", exclude_none=True)))
    called = noisemill("run", str(path), "--json")
    assert called.exit_code == 0, called.output
    found = json.loads(called.stdout)
    assert found["steps"] == 6
    assert load_weights(Path(found["weights"]), family="dncnn").license == "CC0-1.0"
