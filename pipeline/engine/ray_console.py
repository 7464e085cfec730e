"""What Ray prints, kept out of what noisemill prints.

Standard output is for results: with ``--json`` it is one document. Ray prints a cluster's messages
there from a thread of its own, and its C++ core announces its log level on standard error. Here the
first go to standard error, without colours, and the second nowhere.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

__all__ = ["ray_prints_to_stderr", "without_native_log"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# No news: a worker ended because this run ends (an interrupt, a full disk); processes start more
# slowly than work arrives, which Ray suspects of being a mistake and which is a busy machine here.
_NO_NEWS = ("killed by `ray.kill`", "worker processes have been started on node")


class _Messages(io.TextIOBase):
    """Hands whole lines on to standard error."""

    def __init__(self) -> None:
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip() and not any(phrase in line for phrase in _NO_NEWS):
                print(_COLOUR.sub("", line), file=sys.stderr, flush=True)
        return len(text)


@contextmanager
def ray_prints_to_stderr() -> Iterator[None]:
    """Send what is printed on standard output to standard error until the block ends."""
    with redirect_stdout(_Messages()):
        yield


@contextmanager
def without_native_log() -> Iterator[None]:
    """Silence standard error, C++ code included, until the block ends; for moments only."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
