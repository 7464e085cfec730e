"""``noisemill sample``: noise on anybody's picture, or one sample of a corpus again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

import noisemill
from pipeline.cli.output import print_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generators.base import NoiseGenerator
    from pipeline.models.choice import ChosenWeights
    from pipeline.pictures.sample import Regenerated
    from pipeline.pictures.saving import PictureFolder

    Pair = tuple[NDArray[Any], NDArray[Any]]

__all__ = ["parse_params", "sample"]


@click.command(short_help="Put noise on pictures.")
@click.argument("images", nargs=-1)
@click.option("--generator", help="Name of the generator; see `noisemill models`.")
@click.option("--weights", help="Bundled weights by name, or a .safetensors file.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Its parameter.")
@click.option("--camera", help="Camera of the shot.")
@click.option("--iso", type=int, help="ISO of the shot.")
@click.option("--reference", nargs=2, metavar="CLEAN NOISY", help="A real pair to follow.")
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal noise.")
@click.option("--out", default="noisy", show_default=True, help="Folder for the results.")
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
@click.option("--corpus", help="Make a sample of this corpus again, by --id.")
@click.option("--id", "sample_id", help="The sample's id.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def sample(
    images: tuple[str, ...],
    generator: str | None,
    weights: str | None,
    params: tuple[str, ...],
    camera: str | None,
    iso: int | None,
    reference: tuple[str, str] | None,
    seed: int,
    out: str,
    overwrite: bool,
    corpus: str | None,
    sample_id: str | None,
    as_json: bool,
) -> None:
    """Put noise on IMAGES and write PNG files of the same depth (TIFF for float and raw).

    A generator with trained weights takes the bundled ones that know --camera and --iso, and says
    which; --weights names others. A result that is there is not replaced without --overwrite.

    With --corpus and --id: make one sample of a corpus again, compare it with the stored pixels,
    and write both images; exit with 1 if they differ. A network on another kind of processor than
    the corpus was made on is compared within a tolerance.
    """
    from pipeline.pictures.saving import PictureFolder

    folder = PictureFolder(Path(out), "replace" if overwrite else "refuse")
    if corpus is not None or sample_id is not None:
        _again(corpus, sample_id, folder, as_json)
        return
    if not images or generator is None:
        raise click.UsageError("give at least one image and --generator NAME.")
    values = parse_params(params)
    given = {"camera": camera, "iso": iso, "reference": reference}
    chosen = _weights(generator, weights, given)
    made = _make(generator, chosen, values, given)
    _check_needs(made, given)
    if chosen is not None:
        click.echo(f"noisemill: {chosen.describe()}", err=True)
    results = []
    pair = None if reference is None else _read_pair(*reference)
    about = {} if chosen is None else {"weights": chosen.name, "license": chosen.license}
    for result in _sample_all(images, made, camera, iso, pair, seed, folder):
        results.append({**result, **about})
        if "error" in result:
            click.echo(f"Error: {result['error']}", err=True)
        elif not as_json:
            click.echo(result["noisy"])
    if as_json:
        print_json(results)
    sys.exit(1 if any("error" in result for result in results) else 0)


def _weights(generator: str, named: str | None, given: Mapping[str, Any]) -> ChosenWeights | None:
    from pipeline.models.choice import choose_weights, named_weights

    try:
        if named is not None:
            return named_weights(named)
        return choose_weights(generator, camera=given["camera"], iso=given["iso"])
    except (ValueError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from error


def _make(
    name: str, weights: ChosenWeights | None, values: dict[str, Any], given: Mapping[str, Any]
) -> NoiseGenerator:
    try:
        return noisemill.load_generator(
            name,
            weights=None if weights is None else weights.name,
            params=values,
            camera=given["camera"],
            iso=given["iso"],
            reference=given["reference"] is not None,
        )
    except (ValueError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from error


def _read_pair(clean: str, noisy: str) -> Pair:
    from pipeline.images import read_pixels

    pair = read_pixels(clean), read_pixels(noisy)
    if pair[0].shape != pair[1].shape:
        raise click.UsageError(
            f"--reference: {clean} is {_size(pair[0])} and {noisy} is {_size(pair[1])}; a pair "
            "shows the same pixels."
        )
    return pair


def _size(pixels: NDArray[Any]) -> str:
    height, width, channels = pixels.shape
    return f"{width}x{height} with {'1 channel' if channels == 1 else f'{channels} channels'}"


def _sample_all(
    images: tuple[str, ...],
    generator: NoiseGenerator,
    camera: str | None,
    iso: int | None,
    reference: Pair | None,
    seed: int,
    out: PictureFolder,
) -> Iterator[dict[str, str]]:
    """Yield the result of each image: where it went, or why it could not be made."""
    from pipeline.images import read_pixels
    from pipeline.pictures.noise import add_noise

    for image in images:
        try:
            picture = read_pixels(image)
        except ValueError as error:
            yield {"image": image, "error": str(error)}
            continue
        try:
            noisy = add_noise(
                generator, picture, seed=seed, camera=camera, iso=iso, reference=reference
            )
        except ValueError as error:
            grey = " The picture is grey: convert it to RGB first." * (picture.shape[2] == 1)
            yield {"image": image, "error": f"{image}: {error}{grey}"}
            continue
        try:
            path = out.save(f"{Path(image).stem}_{generator.name}", noisy)
        except FileExistsError as error:
            yield {"image": image, "error": str(error)}
            continue
        yield {"image": image, "noisy": str(path)}


def _check_needs(generator: NoiseGenerator, given: Mapping[str, object]) -> None:
    """Refuse a call that lacks what the generator needs, or gives what it would ignore."""
    import generators

    lacking = [need for need in sorted(generator.needs) if given[need] is None]
    if lacking:
        raise click.UsageError(
            f"generator '{generator.name}' needs {', '.join('--' + need for need in lacking)}."
        )
    for key, value in given.items():
        used = key in generator.needs or generators.has_parameter(generator.name, key)
        if value is not None and not used:
            raise click.UsageError(f"generator '{generator.name}' has no use for --{key}.")


def parse_params(texts: tuple[str, ...]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` options, the values as YAML.

    Raises:
        click.UsageError: If one is no such text.
    """
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--param takes KEY=VALUE; got {text!r}.")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise click.UsageError(f"--param {key}: {value!r} is no YAML value.") from None
    return values


def _again(corpus: str | None, sample_id: str | None, out: PictureFolder, as_json: bool) -> None:
    from pipeline.pictures.sample import regenerate

    if corpus is None or sample_id is None:
        raise click.UsageError("--corpus and --id go together.")
    made = regenerate(corpus, sample_id)
    files = {
        name: str(out.save(f"{sample_id}_{name}", pixels))
        for name, pixels in (("clean", made.clean), ("noisy", made.noisy))
    }
    if as_json:
        print_json(
            {
                "sample_id": sample_id,
                "equal": made.equal,
                "verdict": made.verdict,
                "made_on": made.made_on,
                "made_here": made.made_here,
                **files,
            }
        )
    else:
        click.echo(f"{sample_id}: made again, {_compared(made)}.")
        click.echo("\n".join(files.values()))
    sys.exit(1 if made.verdict == "different" else 0)


def _compared(made: Regenerated) -> str:
    """Return how a sample that was made again compares with the stored one, in words."""
    if made.same_bits or made.made_on == made.made_here:
        return f"{'equal to' if made.equal else 'DIFFERENT from'} the stored pixels"
    words = {
        "equal": "equal to the stored pixels",
        "within tolerance": "within the tolerance between kinds of processor of the stored pixels",
        "different": "DIFFERENT from the stored pixels by more than kinds of processor differ",
    }
    return (
        f"{words[made.verdict]} (made on {made.made_on or 'a processor that is not recorded'}; "
        f"this is {made.made_here})"
    )
