"""Evaluation manifests: one subject, named rows, data that fit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.manifest.models import EvaluateManifest
from pipeline.measure.metrics import KldConvention, NllConvention, QualityConvention

BASE: dict[str, Any] = {"kind": "evaluate", "name": "e", "output": {"path": "out"}}
PAIRS: dict[str, Any] = {"sources": [{"type": "pairs", "path": "p", "metadata": "m.csv"}]}


def make(**keys: Any) -> EvaluateManifest:
    return EvaluateManifest.model_validate({**BASE, **keys})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "give one of"),
        ({"corpus": {"path": "c"}, "generators": [{"name": "awgn"}], "data": PAIRS}, "give one of"),
        ({"generators": [{"name": "awgn"}]}, "give `data.sources`"),
        ({"denoisers": [{"name": "a"}]}, "give `data.sources`"),
        ({"denoisers": [{"name": "a"}, {"name": "x/a.safetensors"}], "data": PAIRS}, "a names two"),
        ({"denoisers": [{"name": "noisy input"}], "data": PAIRS}, "noisy input names two"),
        ({"corpus": {"path": "c"}, "data": {**PAIRS, "awgn": [25]}}, "are for denoisers"),
        (
            {"corpus": {"path": "c"}, "data": {**PAIRS, "noise": [{"name": "awgn"}]}},
            "are for denoi",
        ),
        (
            {"denoisers": [{"name": "a"}], "data": {**PAIRS, "noise": [{"name": "awgn"}] * 2}},
            "generators awgn appear twice",
        ),
        ({"denoisers": [{"name": "a"}], "data": {**PAIRS, "awgn": [5, 5]}}, "given twice"),
        (
            {"generators": [{"name": "awgn"}, {"name": "awgn"}], "data": PAIRS},
            "generators awgn appear twice",
        ),
    ],
)
def test_mistakes_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**keys)


def test_each_subject_alone_is_right() -> None:
    assert make(corpus={"path": "c"}).data is None
    assert make(generators=[{"name": "awgn"}], data=PAIRS).metrics.kld == ["naflow"]
    assert make(denoisers=[{"name": "x/a.safetensors"}], data=PAIRS).denoisers[0].key == "a"  # type: ignore[index]


def test_every_convention_of_the_metrics_can_be_asked_for() -> None:
    metrics = {"kld": list(KldConvention), "quality": list(QualityConvention)}
    for nll in NllConvention:
        made = make(corpus={"path": "c"}, metrics={**metrics, "nll": nll}).metrics
        assert len(made.kld) == 5
        assert len(made.quality) == 8
