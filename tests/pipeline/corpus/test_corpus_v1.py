"""Corpora of format version 1 open for ever (tests/golden/corpus-v1, never made again)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.corpus.dataset import CorpusDataset
from pipeline.corpus.formats import open_shard
from pipeline.corpus.index import load_corpus
from pipeline.corpus.verify import verify
from pipeline.storage import sha256_bytes

GOLDEN = Path(__file__).parents[2] / "golden"
PIXELS = {
    "train": (
        "6cf26603350e9d0f9c8c05241a07c66350b2ad9f11d022ceab72cec977c72e52",
        "cb92cab951ad1b8e438708e7bd150932d0336a9da6f4fbca94600c8365ed4420",
    ),
    "val": (
        "8fcd48067d7efedb4bddc9d1546ebec196ab9b1f6ffdd1082c3a511d58e8dc2d",
        "47dd486590d6696428be60fea993d96ba274c8ac0077fff7d514c5ee643d50d0",
    ),
    "test": (
        "56c789482a4f2861874a486544d180b9145aeb98f6b2e6f1e3bd875f5a02a118",
        "a84a74dfce39bdc6cc4c5341aa7fd7117707374f1418d1e601ec1802caae552b",
    ),
}


@pytest.mark.parametrize("name", ["corpus-v1", "corpus-v1-uint16"])
def test_an_old_corpus_verifies(name: str) -> None:
    assert verify(str(GOLDEN / name), deep=True).problems == []


@pytest.mark.parametrize("name", ["corpus-v1", "corpus-v1-uint16"])
def test_an_old_corpus_gives_its_pixels(name: str) -> None:
    for shard in load_corpus(str(GOLDEN / name)).shards:
        for file in shard.files:
            with open_shard(str(GOLDEN / name), file) as reader:
                clean, noisy = reader.images(0, reader.rows)
            found = (sha256_bytes(clean.tobytes()), sha256_bytes(noisy.tobytes()))
            assert found == PIXELS[shard.split], file.path


def test_an_old_corpus_trains() -> None:
    for format in ("hdf5", "parquet"):
        data = CorpusDataset(GOLDEN / "corpus-v1", format=format)
        assert [data[i]["sample_id"] for i in (0, 5)] == [
            "35f2d1460b71-0-awgn",
            "c246e5fac27f-1-awgn",
        ]
