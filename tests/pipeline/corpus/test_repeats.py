"""Kinds of processor, the tolerance between them, and what is promised."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from pipeline.corpus.repeats import mixed_processors, processor, promise, within_tolerance
from tests.contracts.processors import PROCESSORS, environment


def test_a_processor_has_one_short_kind() -> None:
    kind = processor("cpu")
    assert kind == processor("cpu")
    assert 0 < len(kind) < 100
    assert "\n" not in kind


@pytest.mark.parametrize("name", PROCESSORS)
def test_an_emulated_processor_is_of_another_kind(name: str) -> None:
    code = "from pipeline.corpus.repeats import processor; print(processor('cpu'))"
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, env=environment(name), capture_output=True, check=True)
    assert told.stdout.decode().strip() != processor("cpu")


near = partial(within_tolerance, precision="float32")


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_the_tolerance_is_one_grey_level_at_one_value_in_a_thousand(kind: str) -> None:
    white = {"uint8": 255, "uint16": 65535, "float32": 1}[kind]
    level = white / 255
    image = np.full((100, 100, 3), 100 * level, kind)
    assert near(image, image.copy())
    other = image.copy()
    other.flat[:30] = 101 * level
    assert near(image, other)
    other.flat[30] = 99 * level
    assert not near(image, other)
    other = image.copy()
    other.flat[0] = 102 * level
    assert not near(image, other)
    assert not near(image, image[:50])


def test_values_between_grey_levels_may_differ_a_little() -> None:
    image = np.full((10, 10, 3), 0.5, np.float32)
    assert near(image, image + np.float32(1e-6))


def test_only_mixed_processors_are_told_in_one_line() -> None:
    assert mixed_processors([]) == mixed_processors(["a", "a"]) == ""
    line = mixed_processors(["a", "b", "a", ""])
    assert "3 kinds of processor (2 on a, 1 on b, 1 on unknown)" in line
    assert "\n" not in line


def test_formulas_are_promised_to_the_bit_and_networks_within_the_tolerance() -> None:
    assert promise(same_bits=True, precision="float32") == "the same bits on every processor"
    assert "the same kind of processor" in promise(same_bits=False, precision="float32")


def test_bfloat16_may_differ_more() -> None:
    image = np.full((100, 100, 3), 100, np.uint8)
    other = image.copy()
    other[:40] += 4
    assert within_tolerance(image, other, precision="bf16")
    assert not near(image, other)
    assert not within_tolerance(image, other + np.uint8(1), precision="bf16")
    assert "4 grey levels" in promise(same_bits=False, precision="bf16")
