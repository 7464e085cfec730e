"""Denoisers on noise that is put on: levels, generators, what they are told, images of any size."""

from __future__ import annotations

from collections.abc import Callable
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import denoisers
import generators
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.seeds import patch_seed
from pipeline.evaluation import evaluate
from pipeline.evaluation.degradations import Generated, degradations_of
from pipeline.manifest.models import EvaluateManifest, Splits
from pipeline.sources import scan
from tests.contracts.raw_files import write_sidd

Make = Callable[..., EvaluateManifest]
PEAKS = {
    "name": "spatially-variant-awgn",
    "label": "varying",
    "params": {"sigma": [10, 40], "map": "peaks"},
}


class Told(nn.Module):
    """Gives back a grey image as bright as the level that it was told."""

    name, channels, multiple = "told", 3, 1
    config = None

    def __init__(self, level: float = 0.0) -> None:
        super().__init__()
        self.level = level

    def with_sigma(self, sigma: float) -> Told:
        return Told(sigma)

    def forward(self, noisy: Tensor) -> Tensor:
        return torch.full_like(noisy, self.level)


class Packed(Told):
    """Gives packed raw back as it is."""

    channels = 4

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Denoisers by name that no file holds."""
    made: dict[str, Callable[[], nn.Module]] = {"told": Told, "packed": Packed}
    monkeypatch.setattr(denoisers, "load", lambda name, **more: made[name]())


@pytest.fixture
def photos(photo_folder: Path) -> dict[str, Any]:
    return {"type": "images", "path": str(photo_folder)}


@pytest.fixture
def raw_pairs(tmp_path: Path) -> dict[str, Any]:
    """Three packed raw pairs of some 24x24, noise of 0.05 white levels."""
    write_sidd(tmp_path / "sidd", "small", "raw")
    return {"type": "sidd", "path": str(tmp_path / "sidd"), "layout": "small", "color": "raw"}


def shown(manifest: EvaluateManifest) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the images of each degradation's first picture."""
    assert manifest.data is not None
    records = scan(manifest.data.sources, Splits()).records
    seed = patch_seed(manifest.seed, "evaluate", records[0].image_id)
    return [
        one.pair(records[0], manifest.data, seed)
        for one in degradations_of(manifest.data, list(records), device="cpu")
    ]


def on(photos: dict[str, Any], *noise: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "denoisers": [{"name": "told"}],
        "data": {"sources": [photos], "noise": list(noise), **more},
    }


def test_each_level_and_each_generator_is_a_row_of_its_own(
    evaluation: Make, photos: dict[str, Any]
) -> None:
    found = evaluate(evaluation(**on(photos, PEAKS, awgn=[25]), metrics={"quality": ["srgb-flow"]}))
    assert [row.name for row in found.rows] == [
        "noisy input, sigma 25", "told, sigma 25", "noisy input, varying", "told, varying",
    ]  # fmt: skip
    assert all(row.done for row in found.rows)
    row = found.row("noisy input, varying")
    assert row.about["condition"] == "varying"
    assert row.about["noise"]["params"] == PEAKS["params"]
    assert "sound" not in row.figures["summary"]
    (levels,) = generators.create("spatially-variant-awgn", params=PEAKS["params"]).levels(  # type: ignore[attr-defined]
        [0], 48, 64
    )
    mean_square = float(levels.double().square().mean())
    expected = 10 * log10(255**2 / mean_square)
    # Its fourth power weighs the loud places: fewer pixels count than there are.
    spread = 4.34 * (2 * float(levels.double().pow(4).mean()) / mean_square**2 / (3 * 9216)) ** 0.5
    assert row.subset("all")["psnr (srgb-flow)"]["mean"] == pytest.approx(expected, abs=5 * spread)


def test_the_gain_is_over_the_noisy_input_of_the_same_condition(
    evaluation: Make, photos: dict[str, Any]
) -> None:
    from pipeline.evaluation.tables import main_table

    louder = {"name": "awgn", "label": "louder", "params": {"sigma": 60}}
    manifest = evaluation(**on(photos, PEAKS, louder, awgn=[5]))
    table = main_table(manifest, evaluate(manifest).rows)
    at = list(table.columns).index("gain")
    lines = {line[0]: line for line in table.rows}
    for degradation in ("sigma 5", "varying", "louder"):
        noisy, told = (lines[f"{name}, {degradation}"] for name in ("noisy input", "told"))
        # Both sides are rounded to a hundredth.
        assert float(told[at]) == pytest.approx(float(told[1]) - float(noisy[1]), abs=0.011)


def test_noise_is_the_generators_own_by_the_images_seed(
    evaluation: Make, photos: dict[str, Any]
) -> None:
    ((clean, noisy),) = shown(evaluation(**on(photos, PEAKS), seed=3))
    manifest = evaluation(**on(photos, PEAKS), seed=3)
    assert manifest.data is not None
    record = scan(manifest.data.sources, Splits()).records[0]
    image = torch.from_numpy(np.ascontiguousarray(clean.transpose(2, 0, 1)))[None]
    request = NoiseRequest(
        context=NoiseContext(clean=image, capture=CaptureMetadata.unknown(1)),
        seeds=[patch_seed(3, "evaluate", record.image_id)],
    )
    sample = generators.create("spatially-variant-awgn", params=PEAKS["params"]).sample(request)
    np.testing.assert_array_equal(noisy, sample.noisy[0].permute(1, 2, 0).numpy())
    assert noisy.max() > 1 or noisy.min() < 0  # neither clipped nor rounded
    ((_, other),) = shown(evaluation(**on(photos, PEAKS), seed=4))
    assert not np.array_equal(noisy, other)


def test_a_level_is_told_of_white_noise_only(evaluation: Make, photos: dict[str, Any]) -> None:
    white = {"name": "awgn", "label": "white", "params": {"sigma": 51}}
    manifest = evaluation(
        denoisers=[{"name": "told"}, {"name": "told", "label": "said", "sigma": 51}],
        data={"sources": [photos], "noise": [white], "awgn": [51]},
        metrics={"quality": ["srgb-flow"]},
    )
    found = evaluate(manifest)
    value = {r.name: r.subset("all")["psnr (srgb-flow)"]["mean"] for r in found.rows}
    # Equal figures are equal estimates: 51 / 255 where it is told, black where it is not.
    assert value["told, sigma 51"] == value["said, white"] == value["said, sigma 51"]
    assert value["told, white"] < value["said, white"] - 1


def test_images_of_any_size_are_mirrored_out_and_cut_back(
    evaluation: Make,
    tmp_path: Path,
    texture: Callable[..., np.ndarray],
    write_image: Callable[[Path, np.ndarray], Path],
) -> None:
    write_image(tmp_path / "odd/a.png", texture(31, 45))
    odd = {"type": "images", "path": str(tmp_path / "odd")}
    camera = {"name": "camera", "params": {"camera": "compact", "iso": 1600}}
    manifest = evaluation(**on(odd, camera))
    ((clean, noisy),) = shown(manifest)
    assert clean.shape == noisy.shape == (31, 45, 3)
    assert 0.01 < (noisy - clean).std() < 0.3
    assert evaluate(manifest).row("told").done


def test_raw_noise_on_photographs_gives_packed_raw(
    evaluation: Make, photos: dict[str, Any]
) -> None:
    raw = {
        "name": "heteroscedastic",
        "params": {"beta1": 0.001, "beta2": 1e-5, "domain": "raw"},
        "unprocess": {"output": "raw"},
    }
    manifest = evaluation(
        denoisers=[{"name": "packed"}, {"name": "told"}],
        data={"sources": [photos], "noise": [raw]},
        metrics={"quality": ["noise2noiseflow"]},
    )
    ((clean, noisy),) = shown(manifest)
    assert clean.shape == noisy.shape == (24, 32, 4)
    found = evaluate(manifest)
    first, packed, told = found.rows
    assert first.figures == packed.figures
    assert "trained on raw" in (told.error or "")


@pytest.mark.parametrize(
    ("noise", "more", "message"),
    [
        ({"name": "real"}, {}, "'real' needs a real noisy image"),
        ({"name": "awgn", "params": {"sigma": 5, "domain": "raw"}}, {}, "reads raw images"),
        ({"name": "heteroscedastic", "params": {"table": "sidd"}}, {}, "needs the camera of every"),
        ({"name": "awgn", "params": {"sigma": -5}}, {}, "sigma"),
        (
            {"name": "naflow", "weights": "naflow-polyu", "params": {"sampling": "label"}},
            {"color": "grey"},
            "colour only",
        ),
    ],
)
def test_generators_that_cannot_work_are_refused_before_the_first_row(
    evaluation: Make,
    photos: dict[str, Any],
    tmp_path: Path,
    noise: dict[str, Any],
    more: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(evaluation(**on(photos, noise, **more)))
    assert not list(tmp_path.glob("evaluation/rows/*"))


def test_another_condition_leaves_the_rows_of_the_others(
    evaluation: Make, photos: dict[str, Any]
) -> None:
    evaluate(evaluation(**on(photos, awgn=[5, 15], noise=None)))
    again = evaluate(evaluation(**on(photos, PEAKS, awgn=[5, 15])))
    assert (again.taken_over, len(again.rows)) == (4, 6)
    louder = {**PEAKS, "params": {"sigma": [10, 50], "map": "peaks"}}
    changed = evaluate(evaluation(**on(photos, louder, awgn=[5, 15])))
    assert (changed.taken_over, len(changed.rows)) == (4, 6)


def test_raw_pairs_are_denoised_in_packed_raw(evaluation: Make, raw_pairs: dict[str, Any]) -> None:
    manifest = evaluation(
        denoisers=[{"name": "packed"}],
        data={"sources": [raw_pairs]},
        metrics={"quality": ["noise2noiseflow"], "sound_offset": 100},
    )
    found = evaluate(manifest)
    entry = found.row("packed").subset("all")["psnr (noise2noiseflow)"]
    # Noise of 0.05, a little less where it was clipped; no rounding to 8 bits.
    assert entry["mean"] == pytest.approx(-20 * log10(0.05), abs=0.3)
    with pytest.raises(ValueError, match=r"kair of metrics\.quality rounds to 8 bits"):
        evaluate(evaluation(denoisers=[{"name": "packed"}], data={"sources": [raw_pairs]}))


def test_generators_are_held_against_raw_pairs(evaluation: Make, raw_pairs: dict[str, Any]) -> None:
    def white(sigma: float) -> dict[str, Any]:
        params = {"sigma": sigma, "domain": "raw"}
        return {"name": "awgn", "label": f"white-{sigma:g}", "params": params}

    metrics = {"kld": ["noise2noiseflow"], "nll": "as-stored", "sound_offset": 100}
    data = {"sources": [raw_pairs], "block": 16, "grid": 2}
    manifest = evaluation(
        generators=[
            white(0.05 * 255),
            white(0.02 * 255),
            {"name": "camera", "params": {"iso": 800}},
        ],
        data=data,
        metrics=metrics,
    )
    right, quiet, camera = evaluate(manifest).rows
    found = right.subset("all")
    assert found["blocks"] == 12
    # 12 blocks of 1024 values.
    assert found["std"]["mean"] == pytest.approx(0.05 * 255, rel=5 / (2 * 12 * 1024) ** 0.5)
    name = "kld (noise2noiseflow)"
    assert found[name]["mean"] < 0.5 * quiet.subset("all")[name]["mean"]
    assert found["nll (as-stored)"]["mean"] == pytest.approx(
        np.log(0.05 * np.sqrt(2 * np.pi)) + 0.5, abs=0.1
    )
    assert "the pairs are raw" in (camera.error or "")
    for change, message in (
        ({"kld": ["neca"]}, "neca of metrics.kld"),
        ({"nll": "dequantised"}, "as-stored"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(evaluation(generators=[white(9)], data=data, metrics={**metrics, **change}))


def test_raw_and_developed_images_are_not_averaged(
    evaluation: Make, raw_pairs: dict[str, Any], pairs: dict[str, Any]
) -> None:
    for subject in (
        {"denoisers": [{"name": "told"}]},
        {"generators": [{"name": "awgn", "params": {"sigma": 5}}]},
    ):
        with pytest.raises(ValueError, match=r"mix \w+ images"):
            evaluate(evaluation(**subject, data={"sources": [raw_pairs, pairs]}))


def test_the_page_names_every_noise(evaluation: Make, photos: dict[str, Any]) -> None:
    from pipeline.report.evaluation import render_evaluation

    manifest = evaluation(**on(photos, PEAKS, awgn=[25]))
    page = render_evaluation(manifest, evaluate(manifest).rows)
    assert "white Gaussian noise, sigma 25 of 255; varying" in page
    assert "sound: brightness offset" not in page


def test_generated_noise_is_the_same_for_every_denoiser(
    evaluation: Make, photos: dict[str, Any]
) -> None:
    manifest = evaluation(**on(photos, PEAKS))
    (first,), (second,) = shown(manifest), shown(manifest)
    np.testing.assert_array_equal(first[1], second[1])
    assert manifest.data is not None
    records = list(scan(manifest.data.sources, Splits()).records)
    (degradation,) = degradations_of(manifest.data, records, device="cpu")
    assert isinstance(degradation, Generated)
    assert degradation.sigma is None
