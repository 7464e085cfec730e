"""``noisemill verify`` and ``noisemill inspect``."""

from __future__ import annotations

import sys

import click

from pipeline.cli.output import count_of, print_json, print_table, size_of

__all__ = ["inspect", "verify"]


@click.command(short_help="Check every file, checksum and row of a corpus.")
@click.argument("corpus")
@click.option("--quick", is_flag=True, help="Do not compare the formats pixel by pixel.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def verify(corpus: str, quick: bool, as_json: bool) -> None:
    """Check CORPUS, a folder or URL; exit with 1 if anything is wrong."""
    from pipeline.corpus.verify import verify as check

    report = check(corpus, deep=not quick)
    if as_json:
        print_json(report.to_dict())
    elif report.ok:
        checked = f"{count_of(report.rows, 'pair')}, {count_of(report.files, 'file')}"
        click.echo(f"{corpus}: sound: {checked}, {size_of(report.bytes)}.")
    else:
        for problem in report.problems:
            click.echo(problem, err=True)
        found = count_of(len(report.problems), "problem")
        click.echo(f"{corpus}: {found}. Run its manifest again to mend it.")
    sys.exit(0 if report.ok else 1)


@click.command(short_help="Summarise a corpus and draw some of it.")
@click.argument("corpus")
@click.option("--gallery", metavar="FILE", help="Draw a contact sheet into this PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def inspect(corpus: str, gallery: str | None, as_json: bool) -> None:
    """Summarise CORPUS: rows by split, generator, camera and ISO; noise levels; sizes."""
    from pipeline.corpus.inspect import draw_gallery, summarise

    summary = summarise(corpus)
    if gallery is not None:
        draw_gallery(corpus, gallery)
    if as_json:
        print_json(summary.to_dict())
        return
    print_table(
        ["split", "pairs"],
        [[split, f"{rows:,}"] for split, rows in summary.splits.items()],
        title=f"{summary.name}: {count_of(summary.rows, 'pair')}, {summary.rejected:,} refused",
    )
    click.echo()
    click.echo("Noise standard deviation in grey levels of 255:")
    print_table(
        ["generator", "pairs", "median", "lowest", "highest"],
        [
            [
                key,
                f"{summary.generators[key]:,}",
                f"{255 * levels.median:.2f}",
                f"{255 * levels.minimum:.2f}",
                f"{255 * levels.maximum:.2f}",
            ]
            for key, levels in summary.noise.items()
        ],
    )
    click.echo()
    print_table(
        ["camera", "ISO", "pairs"],
        [[camera, iso or "-", f"{rows:,}"] for (camera, iso), rows in summary.captures.items()],
    )
    click.echo()
    print_table(
        ["format", "files", "size"],
        [[f, summary.files[f], size_of(count)] for f, count in summary.bytes.items()],
    )
    if gallery is not None:
        click.echo(f"\nDrawn: {gallery}")
