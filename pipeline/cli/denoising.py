"""``noisemill denoise``: anybody's pictures, with less noise."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import noisemill
from pipeline.cli.output import count_of, print_json
from pipeline.cli.sampling import parse_params

__all__ = ["denoise"]


@click.command(short_help="Denoise pictures.")
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--denoiser",
    required=True,
    metavar="NAME|FILE",
    help="Bundled weights, a .safetensors file, or bm3d.",
)
@click.option("--out", default="denoised", show_default=True, help="Folder for the results.")
@click.option("--sigma", type=float, help="Noise level, a share of white: 25 of 255 are 0.098.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Its parameter.")
@click.option(
    "--ensemble",
    type=click.Choice(["none", "flips"]),
    default="none",
    show_default=True,
    help="Average over the picture's eight turns.",
)
@click.option("--draws", type=int, help="Estimates to average, of one that draws; 16, 1 a turn.")
@click.option("--tile", type=int, help="Longest side of a tile, pixels; less takes less memory.")
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal results.")
@click.option("--clean", multiple=True, help="Clean partner, one a picture: measures the PSNR.")
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def denoise(
    images: tuple[str, ...],
    denoiser: str,
    out: str,
    sigma: float | None,
    params: tuple[str, ...],
    ensemble: str,
    draws: int | None,
    tile: int | None,
    seed: int,
    clean: tuple[str, ...],
    overwrite: bool,
    device: str,
    as_json: bool,
) -> None:
    """Denoise IMAGES (PNG, JPEG or TIFF of 8 or 16 bits) and write PNG files of the same depth.

    A result is called IMAGE_DENOISER.png; where there is such a file, -2, -3 ... is put behind the
    name, and nothing is replaced without --overwrite. A colour picture for a grey denoiser is taken
    channel by channel. A picture that cannot be denoised is told, the others are made, and the exit
    code is 1.
    """
    if clean and len(clean) != len(images):
        pictures = count_of(len(images), "picture")
        raise click.UsageError(f"{pictures} and {len(clean)} --clean; give one each.")
    from pipeline.pictures.denoise import Way, denoise_pictures
    from pipeline.pictures.saving import PictureFolder

    try:
        way = Way(ensemble=ensemble, draws=draws, tile=tile, seed=seed)  # type: ignore[arg-type]
        made = noisemill.load_denoiser(
            denoiser, sigma=sigma, params=parse_params(params), device=device
        )
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    live = sys.stderr.isatty()
    results = []
    for result in denoise_pictures(
        images,
        made,
        label=Path(denoiser).stem,
        out=PictureFolder(Path(out), "replace" if overwrite else "number"),
        way=way,
        clean=clean,
        progress=_show if live else None,
    ):
        if live:
            click.echo("\r\x1b[K", nl=False, err=True)
        results.append(result)
        if "error" in result:
            click.echo(f"Error: {result['error']}", err=True)
        elif not as_json:
            click.echo(_line(result))
    if as_json:
        print_json(results)
    sys.exit(1 if any("error" in result for result in results) else 0)


def _line(result: dict[str, Any]) -> str:
    quality = result.get("psnr")
    if quality is None:
        return str(result["denoised"])
    return (
        f"{result['denoised']}  PSNR {quality['noisy']:.2f} -> {quality['denoised']:.2f} dB (kair)"
    )


def _show(image: str, done: int, total: int) -> None:
    click.echo(f"\r\x1b[K{Path(image).name}: tile {done} of {total}", nl=False, err=True)
