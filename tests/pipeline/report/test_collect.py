"""A report's sample: fair between generators, independent of shards, with real noise beside it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.records import ImageRecord
from pipeline.report import collect
from pipeline.report.collect import Cell, ReportSamples, collect_samples, real_pairs_from


def places(samples: ReportSamples) -> list[tuple[str, int, int]]:
    return [(patch.source_id, patch.y, patch.x) for patch in samples.patches]


def test_every_generator_is_shown_on_the_same_patches(make_corpus: Callable[..., Any]) -> None:
    root, index = make_corpus()
    samples = collect_samples(root, index, per_cell=3)
    assert samples.generators == ["weak", "strong"]
    assert all(list(patch.made) == ["weak", "strong"] for patch in samples.patches)
    assert {cell: len(found) for cell, found in samples.cells.items()} == {
        Cell("Nikon D800", 800): 3,
        Cell("Nikon D800", 3200): 3,
    }
    assert samples.rows_seen == 48


def test_pixels_and_details_are_those_of_the_row(make_corpus: Callable[..., Any]) -> None:
    root, index = make_corpus()
    for patch in collect_samples(root, index).patches:
        assert patch.scene == patch.source_id.replace("source", "scene")
        assert patch.made["weak"].params == {"sigma": 3 / 255}
        for key, level in (("weak", 3.0), ("strong", 12.0)):
            noise = patch.made[key].noise * 255
            assert noise.std() == pytest.approx(level, rel=0.1)
            np.testing.assert_allclose(noise, np.rint(noise), atol=1e-9)


def test_choice_depends_on_neither_format_nor_order(
    make_corpus: Callable[..., Any], make_row: Callable[..., Any]
) -> None:
    rows = [make_row(s, p, "weak") for s in range(4) for p in range(6)]
    first = collect_samples(*make_corpus(rows, formats=("hdf5",), folder="a"), per_cell=4)
    other = collect_samples(*make_corpus(rows[::-1], formats=("parquet",), folder="b"), per_cell=4)
    assert places(first) == places(other)
    for one, two in zip(first.patches, other.patches, strict=True):
        np.testing.assert_array_equal(one.made["weak"].noisy, two.made["weak"].noisy)
    more = collect_samples(*make_corpus(rows, folder="c"), per_cell=5)
    assert set(places(first)) < set(places(more))


def test_mixed_generators_have_their_own_patches(
    make_corpus: Callable[..., Any], make_row: Callable[..., Any]
) -> None:
    rows = [make_row(0, p, ("weak", "strong")[p % 2]) for p in range(8)]
    samples = collect_samples(*make_corpus(rows), per_cell=2)
    keys = [key for patch in samples.patches for key in patch.made]
    assert sorted(keys) == ["strong", "strong", "weak", "weak"]


def test_rows_of_unknown_camera_are_one_cell(
    make_corpus: Callable[..., Any], make_row: Callable[..., Any]
) -> None:
    rows = [make_row(s, 0, "weak", camera=None, iso=None) for s in range(3)]
    samples = collect_samples(*make_corpus(rows))
    assert [str(cell) for cell in samples.cells] == ["camera unknown"]
    assert str(Cell("Phone", None)) == "Phone"
    assert str(Cell(None, 100)) == "ISO 100"


def test_large_patches_are_fewer(
    make_corpus: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "PIXEL_BUDGET", 3 * 4 * 32 * 32)
    samples = collect_samples(*make_corpus())
    assert [len(found) for found in samples.cells.values()] == [3, 3]


def test_only_some_shards_of_a_large_corpus_are_opened(
    make_corpus: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "MAX_FILES", 2)
    assert collect_samples(*make_corpus()).rows_seen == 32


def test_real_noise_comes_with_its_own_clean_image(
    make_corpus: Callable[..., Any], pairs: Callable[..., Any]
) -> None:
    samples = collect_samples(*make_corpus(), real_pairs=pairs)
    assert samples.has_real
    for patch in samples.patches:
        assert (patch.real is None) == (patch.source_id == "source3")
        if patch.real is not None and patch.y < 160:
            assert patch.real.noise.std() * 255 == pytest.approx(5, rel=0.1)
            assert patch.clean is patch.real.clean


def test_real_pixels_of_another_shape_are_left_out(make_corpus: Callable[..., Any]) -> None:
    def grey(source_id: str, y: int, x: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((size, size, 1), np.uint8), np.zeros((size, size, 1), np.uint8)

    assert not collect_samples(*make_corpus(), real_pairs=grey).has_real


def test_photographs_are_read_once_each_and_cut_in_place(make_corpus: Callable[..., Any]) -> None:
    reads: list[str] = []

    def read(uri: str) -> np.ndarray:
        reads.append(uri)
        image = np.zeros((400, 64, 3), np.uint8)
        image[:, :, 0] = np.arange(400)[:, None] // 32 + (100 if uri.startswith("noisy") else 0)
        return image

    records = [
        ImageRecord(
            image_id=f"source{i}", uri=f"clean{i}", sha256="", height=400, width=64, channels=3,
            depth="uint8", scene="s", split="train", source="s", license="",
            noisy_uri=f"noisy{i}" if i < 2 else None,
        )
        for i in range(4)
    ]  # fmt: skip
    samples = collect_samples(*make_corpus(), real_pairs=real_pairs_from(records, read))
    assert sorted(reads) == ["clean0", "clean1", "noisy0", "noisy1"]
    for patch in samples.patches:
        assert (patch.real is not None) == (patch.source_id in ("source0", "source1"))
        if patch.real is not None:
            assert (patch.real.clean[..., 0] == patch.y // 32).all()
            assert (patch.real.noisy[..., 0] == patch.y // 32 + 100).all()


def test_an_empty_corpus_gives_no_patches(make_corpus: Callable[..., Any]) -> None:
    root, index = make_corpus([])
    samples = collect_samples(root, index)
    assert (list(samples.patches), samples.has_real, samples.cells) == ([], False, {})
