"""A denoiser of another package ranks generators: nothing of this project is touched."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import denoisers
from denoisers.base import DenoiserModule
from denoisers.dncnn import DnCNNConfig
from tests.pipeline.benchmark.test_benchmark_run import Make, benchmark, pairs, run

__all__ = ["benchmark", "pairs"]  # fixtures


class Smooth(DenoiserModule):
    """One convolution, trained like any network."""

    name = "smooth"
    config_type = DnCNNConfig

    def __init__(self, config: DnCNNConfig) -> None:
        super().__init__()
        self.config, self.channels = config, config.channels
        self.mean = nn.Conv2d(config.channels, config.channels, 3, padding=1)
        nn.init.dirac_(self.mean.weight)

    def forward(self, noisy: Tensor) -> Tensor:
        mean: Tensor = self.mean(noisy)
        return mean


def test_a_benchmark_trains_a_denoiser_of_another_package(
    benchmark: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = EntryPoint(name="smooth", value=f"{__name__}:Smooth", group="noisemill.denoisers")
    monkeypatch.setattr(
        "generators.registry.entry_points", lambda group: [entry] if group == entry.group else []
    )
    one = {"name": "awgn", "label": "strong", "params": {"sigma": 40}}
    result: Any = run(benchmark(denoiser={"name": "smooth"}, generators=[one], seeds=[1]))
    ranked = {row.name: row for row in result.ranking.rows}
    assert set(ranked) == {"noisy", "real", "awgn", "strong"}
    trained = list((tmp_path / "benchmark").rglob("*.safetensors"))
    assert len(trained) == 3
    assert {type(denoisers.load(path)).__name__ for path in trained} == {"Smooth"}
