"""What other readers of Parquet find in a shard."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisemill.testing.formats import NAME
from noisemill.testing.rows import make_rows, options
from pipeline.corpus.formats import sink


def written(tmp_path: Path, **rows: Any) -> Path:
    return tmp_path / sink("parquet", options()).write(str(tmp_path), NAME, make_rows(**rows)).path


@pytest.mark.parametrize("channels", [1, 3])
def test_another_png_decoder_sees_the_same_colours(channels: int, tmp_path: Path) -> None:
    rows = make_rows(channels=channels)
    table = pq.read_table(written(tmp_path, channels=channels)).to_pylist()
    for key, images in (("clean", rows.clean), ("noisy", rows.noisy)):
        for line, expected in zip(table, images, strict=True):
            picture = Image.open(io.BytesIO(line[key]["bytes"]))
            assert picture.mode == ("RGB" if channels == 3 else "L")
            assert np.array_equal(np.asarray(picture).reshape(expected.shape), expected)
            assert line[key]["path"] == f"{line['sample_id']}_{key}.png"


def test_schema_tells_hugging_face_where_images_are(tmp_path: Path) -> None:
    schema = pq.read_schema(written(tmp_path))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["clean"] == features["noisy"] == {"_type": "Image"}
    assert features["seed"] == {"dtype": "uint64", "_type": "Value"}
    # `datasets` takes a field for an image only if it is exactly this, nullable included.
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert schema.field("clean") == pa.field("clean", struct)


def test_image_bytes_are_plain_and_the_rest_is_compressed(tmp_path: Path) -> None:
    group = pq.ParquetFile(written(tmp_path)).metadata.row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        image = column.path_in_schema.startswith(("clean", "noisy"))
        assert column.compression == ("UNCOMPRESSED" if image else "ZSTD")
        assert column.has_dictionary_page is not image
        assert column.has_offset_index


def test_row_groups_stay_small(tmp_path: Path) -> None:
    rows = make_rows(230, height=8, width=8)
    record = sink("parquet", options()).write(str(tmp_path), NAME, rows)
    footer = pq.ParquetFile(tmp_path / record.path).metadata
    sizes = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    assert sizes == [100, 100, 30]


@pytest.mark.parametrize(
    ("encoding", "channels"), [("uint16", 3), ("float32", 1), ("uint8", 4), ("float32", 4)]
)
def test_what_png_cannot_hold_is_a_tensor_column(
    encoding: str, channels: int, tmp_path: Path
) -> None:
    path = written(tmp_path, encoding=encoding, channels=channels)
    assert path.parent.name == "tensor"
    table = pq.read_table(path)
    assert b"huggingface" not in table.schema.metadata
    assert isinstance(table.schema.field("clean").type, pa.FixedShapeTensorType)
    images = table["noisy"].combine_chunks().to_numpy_ndarray()
    assert np.array_equal(images, make_rows(encoding=encoding, channels=channels).noisy)


def test_hugging_face_datasets_opens_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = written(tmp_path)
    table = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert np.array_equal(np.asarray(table[3]["noisy"]), make_rows().noisy[3])
