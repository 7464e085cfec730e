"""What SIDD's names say, and its published lists: phones, held-out instances, splits.

A *scene instance* is one burst: a scene, a phone and its settings. Its folder name has 30
characters,

    0001_001_S6_00100_00060_3200_L
    instance _ scene _ phone _ ISO _ shutter _ illuminant in kelvin _ brightness

with the phones G4 (LG), GP (Google Pixel), IP (iPhone 7), N6 (Nexus 6), S6 (Galaxy S6 Edge), the
shutter as the denominator of seconds, and the brightness L(ow), N(ormal) or H(igh).

The 200 instances show 10 scenes. 160 are public; of the 40 others only blocks are, as validation
(with clean images) and benchmark (without).

Sources: Abdelhamed et al. 2018, "A high-quality denoising dataset for smartphone cameras"; the
split is that of Abdelhamed et al. 2019, "Noise Flow", which Noise2NoiseFlow and the sRGB flow of
Kousha et al. 2022 use too: scenes 3, 7 and 10 for testing, the others for training, and of both
only the ISO speeds that were common enough to fit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.images.mosaic import Cfa
from pipeline.manifest.models import Split

__all__ = ["HELD_OUT", "PHONES", "Instance", "noise_flow_split", "parse_instance"]

# The colour filter array of each phone, in the orientation of MATLAB's picture.
PHONES: dict[str, Cfa] = {
    "G4": "BGGR",
    "GP": "BGGR",
    "IP": "RGGB",
    "N6": "BGGR",
    "S6": "GRBG",
}
_BRIGHTNESS = {"L": "low", "N": "normal", "H": "high"}
_INSTANCE = re.compile(
    r"(?P<number>\d{4})_(?P<scene>\d{3})_(?P<phone>[A-Z0-9]{2})_(?P<iso>\d{5})"
    r"(?:_(?P<shutter>\d{5})_(?P<illuminant>\d{4})_(?P<brightness>[LNH]))?"
)

# The 40 held-out instances, in the order of the validation and benchmark files.
HELD_OUT = tuple(
    """
    0009_001_S6_00800 0021_001_GP_10000 0024_001_N6_03200 0026_001_G4_00400 0031_001_IP_01600
    0037_002_GP_06400 0041_002_IP_01600 0046_002_G4_00400 0049_002_N6_00800 0053_002_S6_03200
    0056_003_N6_03200 0058_003_G4_00400 0061_003_S6_00800 0067_003_GP_01600 0071_003_IP_02000
    0074_004_N6_00400 0079_004_G4_00800 0082_004_S6_03200 0085_004_GP_06400 0093_004_IP_01250
    0095_005_N6_00400 0100_005_G4_00800 0103_005_S6_01600 0109_005_GP_10000 0112_005_IP_01000
    0119_006_N6_00400 0124_006_G4_00800 0128_006_S6_03200 0131_006_GP_01600 0141_006_IP_01600
    0143_007_N6_00800 0148_007_G4_00400 0153_007_S6_03200 0158_007_GP_03200 0162_007_IP_01600
    0171_008_N6_03200 0174_008_G4_00800 0176_008_S6_00400 0183_008_GP_06400 0187_008_IP_01600
    """.split()
)

_NOISE_FLOW: dict[Split, frozenset[int]] = {
    "train": frozenset(
        {
            *(4, 11, 13, 17, 18, 20, 22, 23, 25, 27, 28, 29, 30, 34, 35, 39, 40, 42, 43, 44, 45),
            *(47, 81, 86, 88, 90, 101, 102, 104, 105, 110, 111, 115, 116, 125, 126, 127, 129, 132),
            *(135, 138, 140, 175, 177, 178, 179, 180, 181, 185, 186, 189, 192, 193, 194, 196, 197),
        }
    ),
    "test": frozenset(
        {
            *(54, 55, 57, 59, 60, 62, 63, 66, 150, 151, 152, 154, 155, 159, 160, 161, 163, 164),
            *(165, 166, 198, 199),
        }
    ),
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One burst of SIDD.

    Args:
        name: Folder name; its first 17 characters for the held-out instances.
        number: 1 to 200.
        scene: Number of the scene, three digits.
        phone: One of :data:`PHONES`.
        iso: ISO speed.
        shutter: Denominator of the shutter speed; None where the name does not say.
        illuminant: Kelvin.
        brightness: ``low``, ``normal`` or ``high``.
    """

    name: str
    number: int
    scene: str
    phone: str
    iso: int
    shutter: int | None
    illuminant: int | None
    brightness: str | None

    @property
    def details(self) -> tuple[tuple[str, str | int], ...]:
        """What camera and ISO leave unsaid."""
        known = {
            "instance": self.name,
            "shutter": self.shutter,
            "illuminant_k": self.illuminant,
            "brightness": self.brightness,
        }
        return tuple((key, value) for key, value in known.items() if value is not None)


def parse_instance(name: str) -> Instance:
    """Read an instance's name.

    Raises:
        ValueError: If it is none, or the phone is unknown.

    Example:
        >>> parse_instance("0001_001_S6_00100_00060_3200_L").iso
        100
    """
    match = _INSTANCE.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{name!r} is no scene instance of SIDD; expected a name such as "
            "0001_001_S6_00100_00060_3200_L."
        )
    if match["phone"] not in PHONES:
        raise ValueError(f"{name!r}: phone {match['phone']!r} is none of {', '.join(PHONES)}.")
    shutter, illuminant = (match[key] and int(match[key]) for key in ("shutter", "illuminant"))
    return Instance(
        name=name,
        number=int(match["number"]),
        scene=match["scene"],
        phone=match["phone"],
        iso=int(match["iso"]),
        shutter=shutter or None,
        illuminant=illuminant or None,
        brightness=_BRIGHTNESS.get(match["brightness"] or ""),
    )


def noise_flow_split(instance: Instance) -> Split | None:
    """Return the split of Noise Flow; None for instances that it leaves out."""
    return next((split for split, ids in _NOISE_FLOW.items() if instance.number in ids), None)
