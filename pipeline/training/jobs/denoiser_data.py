"""From a denoiser's training manifest to its batches: those trained on, and those held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from generators.base import Domain
from generators.seeds import patch_seed
from pipeline.manifest.models import Splits, TrainDenoiserManifest, Validation
from pipeline.sources import Scan, photographs_of, scan_for_training
from pipeline.training.data.batches import Batches
from pipeline.training.data.mixed import MixedBatches
from pipeline.training.data.pair_rows import Crops
from pipeline.training.jobs.denoiser_inputs import OpenedInput, open_input
from pipeline.training.jobs.generator_data import check_held_out, make_batches

__all__ = ["DenoisingBatches", "denoising_batches", "validation_batches"]

# The crops that are held out do not follow the training's seed: curves of several seeds compare.
_VALIDATION_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisingBatches:
    """A training's data.

    Args:
        batches: This process's rows of every batch.
        domain: Of the images.
        about: What the card says of each input.
        identity: What must not change while the training is interrupted.
        inputs: The inputs.
    """

    batches: MixedBatches
    domain: Domain
    about: list[dict[str, Any]]
    identity: list[str]
    inputs: list[OpenedInput]


def denoising_batches(manifest: TrainDenoiserManifest, share: range) -> DenoisingBatches:
    """Open the inputs of a training.

    Args:
        manifest: The training.
        share: Which rows of each batch this process takes.

    Raises:
        ValueError: If an input is damaged, empty, or of images that the training is not for.
        FileNotFoundError: If an input does not exist.
    """
    data, size = manifest.data, manifest.schedule.batch_size
    made = []
    for number in range(len(data.inputs)):
        seed = patch_seed(manifest.seed, "input", str(number))
        crops = Crops(patch=data.patch, size=size, seed=seed, augmentation=data.augmentation)
        made.append(open_input(number, manifest, crops))
    batches = MixedBatches(
        [one.rows for one in made],
        [one.weight for one in data.inputs],
        size=size,
        seed=manifest.seed,
        share=share,
    )
    shares = [one.weight / sum(i.weight for i in data.inputs) for one in data.inputs]
    about = [{**one.about, "share": round(part, 4)} for one, part in zip(made, shares, strict=True)]
    return DenoisingBatches(
        batches=batches,
        domain=data.domain,
        about=about,
        identity=[one.identity for one in made],
        inputs=made,
    )


def validation_batches(manifest: TrainDenoiserManifest, training: DenoisingBatches) -> Batches:
    """Return the held-out batches of a training that has a validation.

    Raises:
        ValueError: If an image of the validation is also trained on, or there are no pairs.
    """
    validation = manifest.validation
    assert validation is not None
    scanned = scan_for_training(validation.sources, Splits())
    batches, store = make_batches(
        validation,
        use="pairs",
        domain=manifest.data.domain,
        size=manifest.schedule.batch_size,
        seed=_VALIDATION_SEED,
        color=manifest.data.color,
        conditioned=False,
        scanned=scanned,
    )
    traced = any(one.sources for one in training.inputs)
    shown = _photographs(validation, scanned) if traced else set()
    for one in training.inputs:
        if one.store is not None:
            check_held_out(one.store, store)
        both = sorted({one.sources[sha256] for sha256 in shown if sha256 in one.sources})
        if both:
            raise ValueError(
                f"validation: {', '.join(both[:8])} {'is' if len(both) == 1 else 'are'} also "
                f"trained on, in {one.about['input']}, so the figures would mean nothing; keep "
                "validation photographs out of the training data (`split`, `only`, other files)."
            )
    return batches


def _photographs(validation: Validation, scanned: Scan) -> set[str]:
    """Return the SHA-256 of every photograph that a validation shows.

    Rows of a corpus name the photograph that they were cut from.
    """
    found = {sha256 for record in scanned.records for _, sha256 in record.views().values()}
    return found | photographs_of(validation.sources, scanned.indexes).keys()
