"""How ``corpus-v1`` and ``corpus-v1-uint16`` were made; kept to show what is in them.

The fixtures stay as they are for ever: they prove that corpora of format version 1 still open. A
new format version gets a folder and a script of its own.
"""

from __future__ import annotations

import sys

from pipeline.corpus.card import write_card
from tests.contracts.corpora import write_corpus

if __name__ == "__main__":
    pictures, tensors = sys.argv[1:]
    index = write_corpus(pictures, plan=(("train", 4), ("val", 2)), height=8, width=8)
    write_card(pictures, index)
    write_corpus(
        tensors, plan=(("test", 2),), formats=["parquet"], encoding="uint16", height=8, width=8
    )
