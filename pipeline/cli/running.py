"""``noisemill run`` and ``noisemill plan``."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

import noisemill
from noisemill.manifests import read_manifest
from pipeline.building.progress import duration
from pipeline.cli.output import count_of, print_json, print_table, size_of

if TYPE_CHECKING:
    from pipeline.building.run import Result
    from pipeline.manifest.load import LoadedManifest

__all__ = ["plan", "run"]

_SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the manifest."
)
_ADDRESS = click.option("--address", help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
# The face's function for each other kind of manifest; its result has to_dict() and describe().
_JOBS = {
    "benchmark": "benchmark",
    "evaluate": "evaluate",
    "train-denoiser": "train",
    "train-generator": "train",
}
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.command(short_help="Carry out a manifest.")
@click.argument("manifest")
@_SET
@_ADDRESS
@click.option("--inline", is_flag=True, help="In this process, without Ray; for debugging.")
@click.option("--overwrite", is_flag=True, help="Replace a corpus made by another manifest.")
@_JSON
def run(
    manifest: str,
    overrides: tuple[str, ...],
    address: str | None,
    inline: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Carry out MANIFEST: a bundled one by name, or a YAML file.

    Run it again after any interruption: what is there is kept, what is missing is made.
    """
    loaded = read_manifest(manifest, overrides)
    if loaded.manifest.kind != "corpus":
        _refuse_corpus_options(loaded, address=address, inline=inline, overwrite=overwrite)
        _carry_out(loaded, as_json)
        return
    loaded = read_manifest(manifest, [*overrides, *_cluster(address)])
    built = noisemill.build(loaded, inline=inline, overwrite=overwrite, progress=_style(as_json))
    root = loaded.manifest.output.path
    if as_json:
        print_json(_summary(built, root))
    else:
        _print_result(built, root)


@click.command(short_help="Say what a run would do and cost.")
@click.argument("manifest")
@_SET
@_ADDRESS
@_JSON
def plan(manifest: str, overrides: tuple[str, ...], address: str | None, as_json: bool) -> None:
    """Say what running MANIFEST would do: images, patches, shards, bytes, time, CPUs and GPUs.

    Nothing is written. The time is measured on one batch of each generator on this machine.
    """
    loaded = read_manifest(manifest, overrides)
    if loaded.manifest.kind != "corpus":
        raise click.UsageError(
            f"plan is for corpora; {manifest} is of kind {loaded.manifest.kind}."
        )
    estimate = noisemill.plan(manifest, overrides=[*overrides, *_cluster(address)])
    if as_json:
        print_json(estimate.to_dict())
        return
    print_table(["", ""], estimate.rows(), title=f"Plan of {loaded.manifest.name}")
    for line in estimate.notes:
        click.echo(line)


def _cluster(address: str | None) -> list[str]:
    return [] if address is None else [f"resources.address={address}"]


def _refuse_corpus_options(
    loaded: LoadedManifest, *, address: str | None, inline: bool, overwrite: bool
) -> None:
    given = {"--address": address is not None, "--inline": inline, "--overwrite": overwrite}
    wrong = ", ".join(option for option, is_given in given.items() if is_given)
    if wrong:
        raise click.UsageError(
            f"{wrong}: only for manifests of kind corpus; {loaded.path} is of kind "
            f"{loaded.manifest.kind}."
        )


def _carry_out(loaded: LoadedManifest, as_json: bool) -> None:
    """Do the job of a manifest that is no corpus, and print what it says of itself."""
    job = getattr(noisemill, _JOBS[loaded.manifest.kind])
    result = job(loaded, progress=_style(as_json))
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(result.describe())


def _style(as_json: bool) -> Any:
    return "json" if as_json else "auto"


def _summary(result: Result, root: str) -> dict[str, Any]:
    totals = result.index.totals
    return {
        "path": root,
        "rows": totals.rows,
        "bytes": totals.bytes,
        "rejected": totals.rejected,
        "shards": len(result.index.shards),
        "shards_made": result.made,
        "splits": result.index.splits,
        "formats": result.index.formats,
        "seconds": round(result.seconds, 3),
        "patches_per_second": round(result.patches_per_s, 2),
        "plan_sha256": result.index.plan_sha256,
        "report": result.report,
    }


def _print_result(result: Result, root: str) -> None:
    index = result.index
    rows = [
        [split, f"{count:,}", sum(s.split == split for s in index.shards), ", ".join(index.formats)]
        for split, count in index.splits.items()
    ]
    print_table(
        ["split", "pairs", "shards", "formats"], rows, title=f"Corpus {index.name} in {root}"
    )
    click.echo()
    _print_refused(root)
    made = f"{count_of(result.made, 'shard')} made now" if result.made else "nothing was missing"
    rate = f", {result.patches_per_s:,.0f} patches/s" if result.made else ""
    click.echo(f"{size_of(index.totals.bytes)}; {made}; {duration(result.seconds)}{rate}.")
    if result.report:
        click.echo(f"Report: {result.report}")
    click.echo("\nLoad it:\n")
    click.echo("    from torch.utils.data import DataLoader")
    click.echo("    from pipeline.dataset import CorpusDataset")
    click.echo(f"    loader = DataLoader(CorpusDataset({root!r}), batch_size=32, shuffle=True)")


def _print_refused(root: str) -> None:
    """Say how much was refused, and why, from the list that the run has left."""
    from pipeline.storage import join, read_bytes

    rejects = [json.loads(line) for line in read_bytes(root, "rejected.jsonl").splitlines()]
    if not rejects:
        return
    # A photograph whose patches lie in two shards is refused in each.
    inputs = Counter(reason for _, reason in {(r["uri"], r["reason"]) for r in rejects})
    patches = Counter[str]()
    for reject in rejects:
        patches[reject["reason"]] += reject["patches"]
    print_table(
        ["refused because", "inputs", "patches lost"],
        [
            [reason, f"{count:,}", f"{patches[reason]:,}" if patches[reason] else "-"]
            for reason, count in sorted(inputs.items(), key=lambda item: (-item[1], item[0]))
        ],
    )
    click.echo(f"Each with its reason: {join(root, 'rejected.jsonl')}\n")
