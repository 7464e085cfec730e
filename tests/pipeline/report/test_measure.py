"""A report's numbers equal the metrics on the same patches, unsound pairs left out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.measure.metrics import KldConvention, akld, kld, lag1_correlation
from pipeline.measure.pair import ImagePair
from pipeline.report.collect import Cell, ReportSamples, collect_samples
from pipeline.report.measure import REAL, cell_tables, edge_share, profiles


@pytest.fixture
def samples(make_corpus: Callable[..., Any], pairs: Callable[..., Any]) -> ReportSamples:
    return collect_samples(*make_corpus(), real_pairs=pairs)


def test_scores_are_the_metrics_over_sound_patches(samples: ReportSamples) -> None:
    cell = Cell("Nikon D800", 800)
    table = next(t for t in cell_tables(samples) if t.cell == cell)
    sound = [p for p in samples.cells[cell] if p.real is not None and p.sound]
    assert (table.used, table.offset) == (len(sound), 2) == (10, 2)
    for key in ("weak", "strong"):
        score = table.scores[key]
        fake = [(p.real.noise, p.made[key].noise) for p in sound]
        assert score.kld.mean == pytest.approx(np.mean([kld(*f, "naflow") for f in fake]))
        assert score.akld.median == pytest.approx(np.median([akld(*f) for f in fake]))
        assert score.std.mean == pytest.approx(255 * np.mean([f[1].std() for f in fake]))
        right = np.mean([lag1_correlation(f[1])[0] for f in fake])
        assert score.right.mean == pytest.approx(right)


def test_the_camera_is_measured_but_not_compared_with_itself(samples: ReportSamples) -> None:
    real = cell_tables(samples)[0].scores[REAL]
    assert real.right.mean == pytest.approx(0.5, abs=0.05)
    assert real.std.mean == pytest.approx(5, rel=0.05)
    assert real.kld.values == real.akld.values == []


def test_the_first_table_is_all_cells_together(samples: ReportSamples) -> None:
    total, *cells = cell_tables(samples)
    assert total.cell is None
    assert total.used == sum(table.used for table in cells)
    assert total.offset == sum(table.offset for table in cells)
    values = [v for table in cells for v in table.scores["weak"].kld.values]
    assert total.scores["weak"].kld.values == values
    assert list(total.scores) == [REAL, "weak", "strong"]


def test_another_convention_gives_another_number(samples: ReportSamples) -> None:
    first, other = (
        cell_tables(samples, rule)[0].scores["strong"].kld.mean
        for rule in (KldConvention.NAFLOW, KldConvention.SRGB_FLOW)
    )
    assert first != other


def test_profiles_pool_the_same_patches_for_camera_and_generators(samples: ReportSamples) -> None:
    found = profiles(samples)
    sound = [p for p in samples.patches if p.real is not None and p.sound]
    assert list(found) == [REAL, "weak", "strong"]
    assert {profile.patches for profile in found.values()} == {len(sound)}
    pooled = np.concatenate([p.made["weak"].noise.ravel() for p in sound])
    assert found["weak"].moments.result().std == pytest.approx(pooled.std())
    np.testing.assert_allclose(found["weak"].histogram.counts.sum(), pooled.size)
    assert found[REAL].correlation.result()[5, 6] == pytest.approx(0.5, abs=0.03)
    assert abs(found["weak"].correlation.result()[5, 6]) < 0.03


def test_without_real_noise_every_patch_counts(make_corpus: Callable[..., Any]) -> None:
    samples = collect_samples(*make_corpus())
    assert {profile.patches for profile in profiles(samples).values()} == {24}
    table = cell_tables(samples)[0]
    assert (table.used, list(table.scores)) == (24, ["weak", "strong"])
    assert table.scores["weak"].kld.values == []


def test_tiny_patches_have_scores_but_no_profile(
    make_corpus: Callable[..., Any], make_row: Callable[..., Any]
) -> None:
    samples = collect_samples(*make_corpus([make_row(0, 0, "weak")], size=6))
    assert profiles(samples) == {}
    assert len(cell_tables(samples)[0].scores["weak"].std.values) == 1


def textured() -> np.ndarray:
    y, x = np.mgrid[:48, :49] / 6
    return np.repeat((0.5 + 0.2 * np.sin(x + 0.3 * y) * np.cos(y))[..., None], 3, axis=2)


def test_edge_share_tells_a_shifted_pair_from_noise() -> None:
    clean, beside = textured()[:, 1:], textured()[:, :-1]
    noise = np.random.default_rng(0).normal(0, 0.02, clean.shape)
    shifted = 0.5 * (clean + beside)  # by half a pixel

    def share(noisy: np.ndarray) -> float:
        images = (np.float32(clean), np.float32(noisy))
        return edge_share(ImagePair(clean=images[0], noisy=images[1]))

    assert share(clean + noise) < 0.02
    assert share(shifted) > 0.95
    assert share(clean) == 0.0
    assert share(clean + noise) < share(shifted + noise) < share(shifted)


def test_edge_share_of_a_flat_image_is_zero() -> None:
    clean = np.full((16, 16, 3), 0.5, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.02, clean.shape).astype(np.float32)
    assert edge_share(ImagePair(clean=clean, noisy=clean + noise)) == pytest.approx(0.0, abs=1e-9)
