"""Generators by name: what is there, what is refused and what plug-ins may do."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import generators
from generators import registry
from generators.base import NoiseRequest, NoiseSample


class Trained:
    """Stands for a generator with weights.

    Second paragraph.
    """

    name = "trained"
    revision = 3
    accepts = "srgb"
    gives = "srgb"
    needs = frozenset({"reference"})

    def __init__(self, network: str, *, strength: float = 1.0) -> None:
        if strength < 0:
            raise ValueError(f"strength must be >= 0; it is {strength}.")
        self.network, self.strength = network, strength

    @staticmethod
    def load_network(path: Path) -> str:
        return f"the network of {path}"

    def sample(self, request: NoiseRequest) -> NoiseSample:
        raise NotImplementedError


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "trained", "trained_plug_in:Trained")
    monkeypatch.setitem(sys.modules, "trained_plug_in", sys.modules[__name__])


def install(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = EntryPoint(name=name, value=value, group="noisemill.generators")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [entry] if group == entry.group else []
    )


def test_names_are_those_of_the_manual() -> None:
    assert set(generators.names()) >= {
        "awgn",
        "camera",
        "heteroscedastic",
        "naflow",
        "poisson-gaussian",
        "spatially-variant-awgn",
    }
    assert list(generators.names()) == sorted(generators.names())


def test_importing_the_registry_loads_no_torch_and_no_numpy() -> None:
    code = (
        "import generators, sys; generators.names(); print({'torch', 'numpy'} & set(sys.modules))"
    )
    root = Path(generators.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["awgn", "camera", "heteroscedastic", "poisson-gaussian"])
def test_generators_are_called_in_the_code_what_they_are_called_in_the_registry(name: str) -> None:
    description = generators.describe(name)
    assert generators._load(name).name == name
    assert description.accepts == "srgb"
    assert description.gives == "srgb"
    assert description.needs == frozenset()
    assert description.summary.endswith(".")
    assert "\n" not in description.summary


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no generator 'agwn'.*Did you mean 'awgn'\?"):
        generators.create("agwn", params={})
    with pytest.raises(ValueError, match="there are awgn, "):
        generators.describe("zzz")


def test_an_unknown_parameter_is_refused_with_the_nearest_and_the_list() -> None:
    with pytest.raises(ValueError, match=r"'awgn'.*'sgima'.*sigma, domain.*Did you mean 'sigma'\?"):
        generators.create("awgn", params={"sgima": 25})


def test_a_lacking_parameter_is_named() -> None:
    with pytest.raises(ValueError, match="'poisson-gaussian' needs parameter 'gain', 'read_noise'"):
        generators.create("poisson-gaussian", params={})


def test_a_wrong_value_is_refused_with_the_generators_name() -> None:
    with pytest.raises(ValueError, match="generator 'awgn': sigma must be a number"):
        generators.create("awgn", params={"sigma": "loud"})
    with pytest.raises(ValueError, match="generator 'camera': white_balance"):
        generators.create("camera", params={"white_balance": {"red": 2}})


def test_weights_for_a_generator_without_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'awgn' has no trained weights.*x\.safetensors"):
        generators.create("awgn", params={"sigma": 1}, weights=Path("x.safetensors"))


@pytest.mark.usefixtures("plug_in")
def test_a_plug_in_is_listed_described_and_made() -> None:
    assert "trained" in generators.names()
    assert generators.describe("trained") == (
        "srgb",
        "srgb",
        frozenset({"reference"}),
        "Stands for a generator with weights.",
    )
    made: Any = generators.create("trained", params={"strength": 2.0}, weights=Path("w"))
    assert (made.network, made.strength) == ("the network of w", 2.0)


@pytest.mark.usefixtures("plug_in")
def test_a_trained_generator_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="'trained' needs trained weights; set `weights`"):
        generators.create("trained", params={})


@pytest.mark.usefixtures("plug_in")
def test_parameters_of_a_trained_generator_are_those_behind_its_network() -> None:
    assert generators.parameters("trained") == {"strength": "1.0"}
    with pytest.raises(ValueError, match=r"no parameter 'network'; it has strength\."):
        generators.create("trained", params={"network": "x"}, weights=Path("w"))
    with pytest.raises(ValueError, match="generator 'trained': strength must be >= 0"):
        generators.create("trained", params={"strength": -1}, weights=Path("w"))


def test_a_plug_in_cannot_take_the_name_of_a_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "awgn", "elsewhere:Noise")
    with pytest.raises(ValueError, match=r"plug-in generator 'awgn'.*elsewhere:Noise.*uninstall"):
        generators.names()


@pytest.mark.usefixtures("plug_in")
def test_whether_a_generator_takes_a_parameter_can_be_asked() -> None:
    assert generators.has_parameter("awgn", "sigma")
    assert not generators.has_parameter("awgn", "strength")
    assert generators.has_parameter("trained", "strength")
    with pytest.raises(ValueError, match="no generator"):
        generators.has_parameter("agwn", "sigma")
