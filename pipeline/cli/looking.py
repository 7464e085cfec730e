"""``noisemill audit``, ``schema`` and ``doctor``: looking before doing."""

from __future__ import annotations

import sys

import click

from pipeline.cli.output import counting, print_json, print_table

__all__ = ["audit", "doctor", "schema"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.command(short_help="Measure clean/noisy pairs and say which are suspect.")
@click.argument("folder_or_manifest")
@click.option("--metadata", help="CSV below the folder with columns clean, noisy, ...")
@click.option("--clean", help="Glob of the clean images, e.g. '*_mean.JPG'.")
@click.option("--noisy", help="Glob of the noisy images, e.g. '*_Real.JPG'.")
@click.option("--window", default=128, show_default=True, help="Side of a region, pixels.")
@_JSON
def audit(
    folder_or_manifest: str,
    metadata: str | None,
    clean: str | None,
    noisy: str | None,
    window: int,
    as_json: bool,
) -> None:
    """Measure the pairs of FOLDER_OR_MANIFEST, as a whole and by region.

    A folder with a metadata.csv needs no option; otherwise name the CSV, or both globs. Limits are
    the manifest's, where it sets any. Suspect pairs are a finding, exit code 0; pairs that cannot
    be measured are a failure, exit code 1.
    """
    from pipeline.audit import audit_records
    from pipeline.cli.pairs import pairs_of, print_audit

    found = pairs_of(folder_or_manifest, metadata=metadata, clean=clean, noisy=noisy)
    measured = audit_records(found.records, window=window)
    rows = list(counting(measured, len(found.records), "pair"))
    if as_json:
        suspects = [row.verdict(found.limits.get(row.record.source)) for row in rows]
        print_json(
            {
                "pairs": [
                    {**row.to_dict(), "suspect": why}
                    for row, why in zip(rows, suspects, strict=True)
                ],
                "refused": [reject.to_dict() for reject in found.rejects],
            }
        )
    else:
        print_audit(rows, found.limits)
    for reject in found.rejects:
        click.echo(f"refused: {reject.uri}: {reject.detail}", err=True)
    sys.exit(1 if found.rejects or any(row.audit is None for row in rows) else 0)


@click.command(short_help="Print the JSON Schema of manifests.")
def schema() -> None:
    """Print the JSON Schema of manifests, for editors."""
    from pipeline.manifest.schema import schema_text

    click.echo(schema_text(plug_ins=True), nl=False)


@click.command(short_help="Check that this machine can run noisemill.")
@_JSON
def doctor(as_json: bool) -> None:
    """Check Python, torch, Ray, disk, memory and weights; exit with 1 if something is missing."""
    from dataclasses import asdict

    from pipeline.doctor import examine, worst

    checks = examine()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_table(["", "check", "found"], [[c.status, c.name, c.detail] for c in checks])
        fixes = [f"{check.name}: {check.fix}" for check in checks if check.status != "ok"]
        click.echo("".join(f"\n{fix}" for fix in fixes), nl=bool(fixes))
    sys.exit(1 if worst(checks) == "fail" else 0)
