"""``noisemill run`` and ``noisemill plan``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from pipeline.building.progress import duration
from pipeline.cli.output import count_of, print_json, print_table, size_of

if TYPE_CHECKING:
    from pipeline.building.run import Result
    from pipeline.manifest.load import LoadedManifest
    from pipeline.manifest.models import CorpusManifest

__all__ = ["plan", "run"]

_SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the manifest."
)
_ADDRESS = click.option("--address", help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
# What does the job of each other kind: f(manifest, source=, style=) -> something with to_dict()
# and describe(). Text, so that a command imports only what it does.
_JOBS = {
    "benchmark": "pipeline.benchmark.run:run_benchmark",
    "evaluate": "pipeline.evaluation:evaluate",
    "train-denoiser": "pipeline.training.jobs.denoiser:train_denoiser",
    "train-generator": "pipeline.training.jobs.generator:train_generator",
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
    loaded = _load(manifest, overrides)
    if loaded.manifest.kind != "corpus":
        _refuse_corpus_options(loaded, address=address, inline=inline, overwrite=overwrite)
        _carry_out(loaded, as_json)
        return
    from pipeline.building.run import build

    corpus = _corpus(manifest, overrides, address)
    built = build(corpus, inline=inline, overwrite=overwrite, style=_style(as_json))
    if as_json:
        print_json(_summary(built, corpus.output.path))
    else:
        _print_result(built, corpus.output.path)


@click.command(short_help="Say what a run would do and cost.")
@click.argument("manifest")
@_SET
@_ADDRESS
@_JSON
def plan(manifest: str, overrides: tuple[str, ...], address: str | None, as_json: bool) -> None:
    """Say what running MANIFEST would do: images, patches, shards, bytes, time, CPUs and GPUs.

    Nothing is written. The time is measured on one batch of each generator on this machine.
    """
    loaded = _load(manifest, overrides)
    if loaded.manifest.kind != "corpus":
        raise click.UsageError(
            f"plan is for corpora; {manifest} is of kind {loaded.manifest.kind}."
        )
    from pipeline.building.estimate import estimate

    found = estimate(_corpus(manifest, overrides, address))
    if as_json:
        print_json(found.to_dict())
        return
    print_table(["", ""], found.rows(), title=f"Plan of {loaded.manifest.name}")
    for line in found.notes:
        click.echo(line)


def _load(name: str, overrides: Sequence[str]) -> LoadedManifest:
    from pipeline.manifest.load import load_manifest

    return load_manifest(name, overrides=overrides)


def _corpus(name: str, overrides: Sequence[str], address: str | None) -> CorpusManifest:
    """Return a corpus manifest whose generators can be made.

    Raises:
        ManifestError: With the line of each generator that cannot.
    """
    from pipeline.building.recipe import load_generators
    from pipeline.manifest.mistakes import ManifestError

    cluster = [] if address is None else [f"resources.address={address}"]
    loaded = _load(name, [*overrides, *cluster])
    manifest = loaded.manifest
    if manifest.kind != "corpus":
        raise TypeError(f"{name} is of kind {manifest.kind}; expected corpus.")
    mistakes = []
    for number, spec in enumerate(manifest.generators):
        try:
            load_generators([spec], precision=manifest.resources.precision)
        except (ValueError, TypeError, OSError) as error:
            about_weights = "weights" in str(error) and "weights know" not in str(error)
            key = "weights" if about_weights else "params"
            mistakes.append(loaded.mistake("generators", number, key, found=str(error)))
    if mistakes:
        raise ManifestError(mistakes)
    return manifest


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
    module, _, name = _JOBS[loaded.manifest.kind].partition(":")
    job = getattr(import_module(module), name)
    result = job(loaded.manifest, source=loaded.path, style=_style(as_json))
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
