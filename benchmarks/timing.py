"""Timing in turn: A B A B ..., so that what else the machine does falls on both alike."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["in_turn", "ratios", "seconds"]


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def in_turn(*runs: Callable[[], object], rounds: int, warm: bool) -> list[tuple[float, ...]]:
    """Time several calls in turn.

    Args:
        runs: The calls.
        rounds: How often each is timed.
        warm: Call each once before, untimed.

    Returns:
        One tuple a round, one wall time a call, seconds.
    """
    if warm:
        for run in runs:
            run()
    return [tuple(seconds(run) for run in runs) for _ in range(rounds)]


def ratios(times: list[tuple[float, ...]], above: int, below: int) -> tuple[float, ...]:
    """Return the ratio of two of the calls, one value a round."""
    return tuple(each[above] / each[below] for each in times)
