"""Every flow layer keeps the contract of a bijection, and every check of the contract can fail.

A new layer joins by one :class:`Case`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from generators.fino.network import Fino, FinoConfig
from generators.flow_srgb.network import Cells, FlowSRGB, FlowSRGBConfig
from generators.flows.affine_coupling import AffineCoupling
from generators.flows.bijection import Bijection
from generators.flows.border_coupling import BorderCoupling
from generators.flows.conditional_linear import ConditionalLinear
from generators.flows.coupling import ConditionalCoupling
from generators.flows.haar import Haar
from generators.flows.invertible_block import InvertibleBlock
from generators.flows.pointwise import ActNorm, Invertible1x1, Pointwise, fold, fold_inverse
from generators.flows.reshape import Squeeze
from generators.flows.signal import (
    CellScale,
    Gain,
    Labels,
    SignalDependentScale,
    SignalScale,
)
from generators.glow.network import Glow, GlowConfig
from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from noisemill.testing.bijections import CHECKS, images, layer_of
from noisemill.testing.bijections import BijectionCase as Case


class Chain(Bijection):
    """Pointwise layers one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [ActNorm(3), Invertible1x1(3, seed=1), ActNorm(3), Invertible1x1(3, seed=2)]
        )

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, ladj = layer(x, context)
            total = total + ladj
        return x, total

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for layer in reversed(self.layers):
            z, ladj = layer.inverse(z, context)
            total = total + ladj
        return z, total


class FoldedChain(Chain):
    """The same layers as one matrix."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return apply(fold(self.pointwise()), x)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return apply(fold_inverse(self.pointwise()), z)

    def pointwise(self) -> list[Pointwise]:
        return [layer for layer in self.layers if isinstance(layer, Pointwise)]


def apply(affine: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    ladj = affine.ladj * x.shape[2] * x.shape[3]  # type: ignore[attr-defined]
    return affine(x), ladj.expand(len(x))


class Flow(Bijection):
    """A whole NAFlow, from the noisy image to the latent, whatever it models."""

    def __init__(self, levels: int, models: str) -> None:
        super().__init__()
        config = {"levels": levels, "models": models, "condition_channels": 4, "hidden": 8}
        self.inner = NAFlow(NAFlowConfig.from_dict({"configurations": ("A_00100",), **config}))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x = x - context if self.inner.config.models == "noise" else x
        return self.inner.encode(x, self.prepared(context), self.inner.encoder_maps())

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x, ladj = self.inner.decode(z, self.prepared(context), self.inner.decoder_maps())
        return (x + context if self.inner.config.models == "noise" else x), ladj

    def prepared(self, context: Tensor) -> object:
        return self.inner.prepare(context, dtype=context.dtype)


class LinearByCell(Bijection):
    """A conditional linear layer whose cell is read from the context's first pixel."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.inner = ConditionalLinear(3, 3, shared=shared)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x, (3 * context[:, 0, 0, 0]).long())

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.inverse(z, (3 * context[:, 0, 0, 0]).long())


class FlowSRGBByCell(Bijection):
    """A whole Flow-sRGB in evaluation mode; camera and ISO are read from the context as well."""

    def __init__(self, arrangement: str) -> None:
        super().__init__()
        config = {"cameras": ["A", "B"], "isos": [100, 800], "arrangement": arrangement}
        self.inner = FlowSRGB(FlowSRGBConfig.from_dict(config))
        self.eval()

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.encode(x, context, self.cells(context))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.decode(z, context, self.cells(context))

    def cells(self, context: Tensor) -> Cells:
        camera, iso = ((2 * context[:, channel, 0, 0]).long() for channel in (0, 1))
        return Cells(camera, iso, 2 * iso + camera)


class BySignal(Bijection):
    """A signal-dependent layer; camera and ISO are read from the context as well."""

    def __init__(self, inner: SignalScale) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x, context, labels_in(context))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.inverse(z, context, labels_in(context))


class RawFlow(Bijection):
    """A whole Noise Flow in evaluation mode; the clean image's fourth channel is its first."""

    def __init__(self, arrangement: str, packing: str = "raster") -> None:
        super().__init__()
        config = {"cameras": ["A", "B"], "isos": [100, 800], "arrangement": arrangement}
        self.inner = NoiseFlow(NoiseFlowConfig.from_dict({**config, "packing": packing}))
        self.eval()

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.encode(x, context[:, [0, 1, 2, 0]], labels_in(context))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.decode(z, context[:, [0, 1, 2, 0]], labels_in(context))


def labels_in(context: Tensor) -> Labels:
    """Return one of two cameras and one of two ISOs a row, as its first pixel has it."""
    return Labels((context[:, 0, 0, 0] > 0.5).long(), (context[:, 1, 0, 0] > 0.5).long())


def flow_case(levels: int, models: str) -> Case:
    side = max(4, 2**levels)
    return Case(
        make=lambda: Flow(levels, models),
        shapes=((3, side, side), (3, side, side + 2**levels)),
        beside=("inner.prior_", "inner.unused_"),
    )


def glow_case(levels: int) -> Case:
    side = 2**levels
    return Case(
        make=lambda: Glow(GlowConfig(levels=levels, steps=2, hidden=6)),
        shapes=((3, side, side), (3, side, 2 * side)),
    )


CASES = {
    "border-coupling": Case(
        make=lambda: BorderCoupling(4, passing=2, seed=0).eval(),
        shapes=((4, 3, 3), (4, 2, 5), (4, 1, 1)),
    ),
    "border-coupling-conditioned": Case(
        make=lambda: BorderCoupling(3, passing=1, condition=3, seed=0).eval()
    ),
    "cell-scale": Case(make=lambda: BySignal(CellScale(2, (100, 800)))),
    "gain": Case(make=Gain),
    "noise-flow": Case(
        make=lambda: RawFlow("sdn|unc|gain|unc"), shapes=((4, 3, 3), (4, 2, 4), (4, 1, 1))
    ),
    "noise-flow-clockwise": Case(
        make=lambda: RawFlow("unc|nlf|unc", "clockwise"), shapes=((4, 3, 3), (4, 3, 2))
    ),
    "signal-dependent-scale": Case(make=lambda: BySignal(SignalDependentScale(2, (100, 800)))),
    "actnorm": Case(make=lambda: ActNorm(3)),
    "invertible-1x1": Case(make=lambda: Invertible1x1(3, seed=0)),
    "haar": Case(make=Haar, shapes=((3, 4, 4), (3, 2, 6), (1, 6, 4))),
    "invertible-block": Case(
        make=lambda: InvertibleBlock(12, 3, hidden=6, seed=0), shapes=((12, 3, 3), (12, 2, 4))
    ),
    "invertible-block-halves": Case(
        make=lambda: InvertibleBlock(4, 2, hidden=6, seed=0), shapes=((4, 3, 3), (4, 1, 5))
    ),
    "squeeze": Case(make=Squeeze, shapes=((3, 4, 4), (3, 2, 6), (1, 6, 4))),
    "chain": Case(make=Chain),
    "folded-chain": Case(make=FoldedChain),
    "coupling": Case(
        make=lambda: ConditionalCoupling(4, 3, 6, seed=3),
        shapes=((4, 3, 3), (4, 2, 5), (4, 1, 1)),
    ),
    "affine-coupling": Case(
        make=lambda: AffineCoupling(4, 6, seed=3), shapes=((4, 3, 3), (4, 2, 5), (4, 1, 1))
    ),
    **{f"glow-{levels}": glow_case(levels) for levels in (1, 2, 3)},
    "fino": Case(make=lambda: Fino(FinoConfig(blocks=2, hidden=4)), shapes=((3, 4, 4), (3, 4, 8))),
    "conditional-linear": Case(make=lambda: LinearByCell(shared=False)),
    "conditional-linear-shared": Case(make=lambda: LinearByCell(shared=True)),
    "flow-srgb": Case(make=lambda: FlowSRGBByCell("CL2|CAC|CAC")),
    "flow-srgb-baselines": Case(make=lambda: FlowSRGBByCell("CL|AC|CL2")),
    **{
        f"naflow-{levels}-{models}": flow_case(levels, models)
        for levels in (1, 2, 3)
        for models in ("noisy", "noise")
    },
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_contract(case: Case, check: Callable[[Case], None]) -> None:
    check(case)


def test_folding_changes_nothing_but_rounding() -> None:
    chain, folded = layer_of(CASES["chain"]), layer_of(CASES["folded-chain"])
    folded.load_state_dict(chain.state_dict())
    x, context = images((3, 4, 6))
    torch.testing.assert_close(folded(x, context), chain(x, context))
    torch.testing.assert_close(folded.inverse(x, context), chain.inverse(x, context))


def test_a_coupling_of_odd_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="even number of channels; got 3"):
        ConditionalCoupling(3, 3, 6, seed=0)


# Each check is shown to fail, on an ActNorm with one fault.


class Faulty(ActNorm):
    def __init__(self) -> None:
        super().__init__(3)


class ForgetsThePixels(Faulty):
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x, context)[0], self.logs.sum().expand(len(x))


class SquaresTheWidth(Faulty):
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x, context)[0], (self.logs.sum() * x.shape[3] ** 2).expand(len(x))


class TurnsTheSign(Faulty):
    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x, ladj = super().inverse(z, context)
        return x, -ladj


class ForgetsTheBias(Faulty):
    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x, ladj = super().inverse(z, context)
        return x + self.bias[:, None, None], ladj


class CentresTheBatch(Faulty):
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x - 1e-3 * x.mean(), context)


class SumsOverTheBatch(Faulty):
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, ladj = super().forward(x, context)
        return z, ladj.sum()


class HasADeadParameter(Faulty):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Parameter(torch.zeros(3))


class KeepsAStateOutside(Faulty):
    made = 0

    def __init__(self) -> None:
        super().__init__()
        KeepsAStateOutside.made += 1
        self.shift = torch.tensor(float(self.made))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x + self.shift, context)


class WritesInPlace(Faulty):
    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        made = super().inverse(z, context)
        z.detach().add_(1.0)
        return made


FAULTS = [
    (ForgetsThePixels, "log_determinant_is_that_of_the_jacobian"),
    (SquaresTheWidth, "log_determinant_is_that_of_the_jacobian"),
    (CentresTheBatch, "log_determinant_is_that_of_the_jacobian"),
    (TurnsTheSign, "inverse_log_determinant_is_that_of_its_jacobian"),
    (ForgetsTheBias, "each_direction_undoes_the_other"),
    (CentresTheBatch, "rows_are_free_of_each_other"),
    (SumsOverTheBatch, "rows_are_free_of_each_other"),
    (HasADeadParameter, "gradient_reaches_every_parameter"),
    (KeepsAStateOutside, "saved_weights_make_the_same_layer"),
    (WritesInPlace, "arguments_are_not_written_to"),
]


@pytest.mark.parametrize(("faulty", "check"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_contract_catches(faulty: type[Faulty], check: str) -> None:
    with pytest.raises(AssertionError):
        CHECKS[check](Case(make=faulty))


def test_every_check_is_shown_to_fail() -> None:
    assert {check for _, check in FAULTS} == set(CHECKS)
