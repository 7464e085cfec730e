"""Finished corpora, opened for reading."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import within_the_tree

if TYPE_CHECKING:
    from pipeline.corpus.damage import Check
    from pipeline.corpus.reader import CorpusReader

__all__ = ["open_corpus"]


@within_the_tree()
def open_corpus(
    root: str | os.PathLike[str],
    *,
    splits: Sequence[str] | None = None,
    generators: Sequence[str] | None = None,
    format: str | None = None,
    check: Check = "nothing",
) -> CorpusReader:
    """Open a corpus; the result has a length, and rows by number.

    A row is a dict: ``clean`` and ``noisy``, ``(H, W, C)`` as stored, and what is known of it
    (``sample_id``, ``generator``, ``camera``, ``iso``, ``split`` ...; ``None`` where unknown).

    Args:
        root: Folder or URL.
        splits: Only rows of these splits; all if absent.
        generators: Only rows of these generators, by key; all if absent.
        format: Which format to read; the fastest that is there if absent.
        check: ``sizes`` or ``checksums`` to hold the files against the index first.

    Raises:
        Error: If there is no corpus, it has no such split, generator or format, or is damaged.
    """
    from pipeline.corpus.reader import open_corpus as open_reader

    return open_reader(root, splits=splits, generators=generators, format=format, check=check)
