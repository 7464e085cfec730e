"""The corpus as a torch data set, at the address that scripts and dataset cards name."""

from pipeline.corpus.dataset import CorpusDataset

__all__ = ["CorpusDataset"]
