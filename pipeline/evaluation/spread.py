"""Measuring many pieces where they lie: in this process, or as tasks of Ray Data, and merging.

Each piece gives partial sums, some ten kilobytes whatever the size of its pixels, and only those
travel. They are merged as they come, in the order of the pieces: the result does not depend on
which worker was first, and memory does not grow with their number.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from pipeline.engine.connection import connected
from pipeline.engine.resources import local_machine

__all__ = ["in_process", "on_ray"]

_Piece = TypeVar("_Piece")
_Sums = TypeVar("_Sums")


def in_process(measure: Callable[[_Piece], _Sums], pieces: Sequence[_Piece]) -> Iterator[_Sums]:
    """Measure one piece after the other."""
    return map(measure, pieces)


def on_ray(
    measure: Callable[[_Piece], _Sums], pieces: Sequence[_Piece], *, address: str | None
) -> Iterator[_Sums]:
    """Measure pieces on a Ray cluster, several at a time.

    Args:
        measure: Picklable; sent to the workers once.
        pieces: Picklable and small, one a task.
        address: Of the cluster; a local one is started if absent.

    Yields:
        The sums of each piece, in their order.

    Raises:
        ConnectionError: If there is no cluster at the address.
        Exception: What ``measure`` raised, as it was raised.
    """
    with connected(address, local_machine()):
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.enable_operator_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.verbose_progress = False
        context.execution_options.preserve_order = True
        rows = [{"work": pickle.dumps(piece)} for piece in pieces]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            partial(_measure_batch, measure), batch_size=1, num_cpus=1
        )
        for row in dataset.iter_rows():
            found = pickle.loads(row["work"])
            if isinstance(found, _Failure):
                raise found.error
            yield found


class _Failure:
    """What a task raised, on its way to the driver; left to Ray it would come back as text."""

    def __init__(self, error: Exception) -> None:
        try:
            self.error: Exception = pickle.loads(pickle.dumps(error))
        except Exception:
            self.error = RuntimeError(f"{type(error).__name__}: {error}")


def _measure_batch(measure: Callable[[Any], Any], batch: dict[str, Any]) -> dict[str, list[bytes]]:
    import cv2

    # One task, one CPU: OpenCV would otherwise start a thread a core in every worker.
    cv2.setNumThreads(1)
    return {"work": [_pickled(measure, piece) for piece in batch["work"]]}


def _pickled(measure: Callable[[Any], Any], piece: bytes) -> bytes:
    try:
        return pickle.dumps(measure(pickle.loads(piece)))
    except Exception as error:
        return pickle.dumps(_Failure(error))
