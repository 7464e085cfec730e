"""What happens between the light on a pixel and the number in a raw file.

A sensor is described in the units of its data sheet: electrons (e-) and digital numbers (DN). At an
ISO speed S the amplifier turns electrons into DN with the conversion gain

    K = (white - black) / full_well * S / base_iso          [DN per e-]

so a pixel that is white at ISO S holds N = full_well * base_iso / S electrons: twice the speed,
half the light. A clean value x (white at 1) becomes a stored number D, and a raw value r, by

    e = Poisson(N x)                                        shot noise
    v = e + read_noise * z1 + row_noise * z2(row)           before the amplifier, in e-
    D = round(black + K v + adc_noise * z3)                 after it, in DN
    r = (clip(D, 0, 2^bits - 1) - black) / (white - black)

with z standard normal numbers, z2 shared by a row of the mosaic, and white = 2^bits - 1. The black
level is what lets the read-out be negative: r is not clipped at 0, only at
-black / (white - black). As long as nothing clips, the variance of r is

    x / N + (read_noise^2 + row_noise^2) / N^2 + (adc_noise^2 + 1/12) / (white - black)^2

where 1/12 is the rounding (it holds when the noise spans a step or more).

The presets are generic and their numbers made up: of the size that data sheets and published
measurements show for the class of camera, but measured on none.

Sources: EMVA Standard 1288 (linear camera model: gain, shot, dark and quantisation noise); Healey
and Kondepudy 1994, "Radiometric CCD camera calibration and noise estimation", IEEE PAMI 16(3); Wei
et al. 2020, "A physics-based noise formation model for extreme low-light raw denoising", CVPR (row
noise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generators import exact
from generators.checks import check_number
from generators.seeds import standard_normal, stream_rng

__all__ = ["SENSORS", "Sensor", "photon_counts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """The physical parameters of a sensor.

    Args:
        full_well_e: Electrons that make a pixel white at the base ISO, > 0.
        read_noise_e: Noise before the amplifier, e-, >= 0.
        row_noise_e: Noise that a row of the mosaic shares, e-, >= 0.
        adc_noise_dn: Noise after the amplifier, DN, >= 0.
        bits: Bits of the analogue-to-digital converter: 8 to 16.
        black_level_dn: DN of a pixel without light, >= 0, below 2^bits - 1.
        base_iso: Lowest ISO speed, > 0.

    Raises:
        ValueError: If a parameter is out of range.
    """

    full_well_e: float
    read_noise_e: float
    row_noise_e: float
    adc_noise_dn: float
    bits: int
    black_level_dn: int
    base_iso: int

    def __post_init__(self) -> None:
        check_number("full_well_e", self.full_well_e, low=0.0, open_low=True)
        check_number("read_noise_e", self.read_noise_e, low=0.0)
        check_number("row_noise_e", self.row_noise_e, low=0.0)
        check_number("adc_noise_dn", self.adc_noise_dn, low=0.0)
        check_number("bits", self.bits, low=8, high=16)
        check_number("black_level_dn", self.black_level_dn, low=0, high=2 ** int(self.bits) - 2)
        check_number("base_iso", self.base_iso, low=0, open_low=True)
        if int(self.bits) != self.bits:
            raise ValueError(f"bits must be a whole number; it is {self.bits!r}.")

    @property
    def steps(self) -> float:
        """DN between black and white."""
        return float(2**self.bits - 1 - self.black_level_dn)

    def electrons_at_white(self, iso: float) -> float:
        """Return how many electrons make a pixel white at this ISO speed.

        Raises:
            ValueError: If the speed is below the sensor's base.
        """
        if not iso >= self.base_iso:
            raise ValueError(
                f"ISO {iso:g} is below the sensor's base ISO {self.base_iso}, its lowest speed. "
                "Use a higher ISO or another camera."
            )
        return self.full_well_e * self.base_iso / iso

    def variance_at(self, x: float, iso: float) -> float:
        """Return the variance of a raw value whose clean value is ``x``, if nothing clips.

        Example:
            >>> round(SENSORS["full-frame"].variance_at(0.5, 3200) ** 0.5, 4)
            0.0164
        """
        white = self.electrons_at_white(iso)
        dark = self.read_noise_e**2 + self.row_noise_e**2
        return x / white + dark / white**2 + (self.adc_noise_dn**2 + 1 / 12) / self.steps**2

    def expose(self, mosaic: Tensor, isos: Sequence[float], seeds: Sequence[int]) -> Tensor:
        """Take the picture of a noiseless mosaic.

        Args:
            mosaic: ``(B, 4, h, w)`` float32 packed RGGB, white at 1, >= 0, on the CPU.
            isos: ISO speed of each row.
            seeds: Seed of each row.

        Returns:
            ``(B, 4, h, w)`` float32 raw values, whole DN steps apart, in
            [-black / (white - black), 1].
        """
        white = torch.tensor([self.electrons_at_white(iso) for iso in isos], dtype=torch.float64)
        white = white[:, None, None, None]
        electrons = photon_counts(mosaic.double() * white, seeds, "shot")
        gain = self.steps / white
        # Read and converter noise are independent normals, so one draw with the sum of the
        # variances has the same law as two.
        readout = exact.sqrt((self.read_noise_e * gain).square() + self.adc_noise_dn**2)
        dn = electrons * gain + readout * standard_normal(seeds, mosaic.shape[1:], "read").double()
        dn += self.row_noise_e * gain * self._row_offsets(mosaic.shape[2], seeds)
        dn = (dn + self.black_level_dn).round().clamp(0.0, 2.0**self.bits - 1.0)
        return ((dn - self.black_level_dn) / self.steps).float()

    def _row_offsets(self, rows: int, seeds: Sequence[int]) -> Tensor:
        """Return one N(0, 1) number per mosaic row, as ``(B, 4, rows, 1)`` float64."""
        # R and the first G lie on the even rows of the mosaic, the second G and B on the odd ones.
        offsets = standard_normal(seeds, (2, rows), "row").double()
        return offsets.repeat_interleave(2, dim=1)[..., None]


def photon_counts(expected: Tensor, seeds: Sequence[int], stream: str) -> Tensor:
    """Draw Poisson numbers, exactly, one independent block a seed.

    Args:
        expected: ``(B, ...)`` expected number of electrons, >= 0.
        seeds: One seed a row.
        stream: Name of the stream.

    Returns:
        Same shape, float64 whole numbers, on the CPU; row i depends on row i and seed i only.

    Raises:
        ValueError: If an expectation is negative or not a number.
    """
    least = float(expected.min())
    if not least >= 0:
        raise ValueError(
            f"photons can only be counted where clean >= 0; the smallest expected count is "
            f"{least:.4g}. Subtract the black level and clip before this stage."
        )
    counts = torch.empty(expected.shape, dtype=torch.float64)
    for row, seed in enumerate(seeds):
        mean = expected[row].double().cpu().numpy()
        counts[row] = torch.from_numpy(stream_rng(seed, stream).poisson(mean))
    return counts


SENSORS: dict[str, Sensor] = {
    # Small pixels: few electrons, little light, 10 bits. Above ISO 1600 its read-out in the dark
    # reaches below the black level and clips at 0, so dark areas turn a little brighter.
    "phone": Sensor(
        full_well_e=5000,
        read_noise_e=2.5,
        row_noise_e=0.4,
        adc_noise_dn=0.5,
        bits=10,
        black_level_dn=64,
        base_iso=50,
    ),
    # A one-inch sensor.
    "compact": Sensor(
        full_well_e=15000,
        read_noise_e=2.5,
        row_noise_e=0.4,
        adc_noise_dn=1.0,
        bits=12,
        black_level_dn=256,
        base_iso=100,
    ),
    "full-frame": Sensor(
        full_well_e=60000,
        read_noise_e=2.5,
        row_noise_e=0.3,
        adc_noise_dn=2.0,
        bits=14,
        black_level_dn=512,
        base_iso=100,
    ),
}
