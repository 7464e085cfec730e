"""Photographs that a text file names, one a line, relative to the file; `#` begins a remark."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.manifest.source_base import SourceBase, Splits
from pipeline.sources.base import UNSPECIFIED, Candidate, Scan, examine, label_of
from pipeline.sources.splits import assign

__all__ = ["ListSource"]


class ListSource(SourceBase):
    """The photographs that a text file names."""

    type: Literal["list"] = Field(description="The photographs that a text file names.")
    path: str = Field(min_length=1, description="Text file with one photograph a line.")

    def scan(self, splits: Splits) -> Scan:
        """Return what the file names, in its order.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it names nothing.
        """
        file = Path(self.path).expanduser()
        lines = file.read_text(encoding="utf-8").splitlines()
        names = [name for line in lines if (name := line.partition("#")[0].strip())]
        if not names:
            raise ValueError(f"{file} names no photograph; expected one file a line.")
        candidates = [
            Candidate(
                clean=str(file.parent / name), scene=name, license=self.license or UNSPECIFIED
            )
            for name in names
        ]
        return examine(candidates, assign(candidates, splits), label_of(self))
