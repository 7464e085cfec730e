"""``noisemill models`` and ``import-weights``: what there is, and weights that others released."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import count_of, print_json, print_table, size_of

__all__ = ["import_weights", "models"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
# Equal to those of pipeline.models.checkpoint_import (a test), which --help must not wait for: it
# imports torch.
_FAMILIES = (
    "dncnn",
    "flow-srgb",
    "invdn",
    "naflow",
    "noise-flow",
    "noise2noiseflow",
    "unet",
)
_FEW = 6
# What is said of some kinds only: key of the entry, and what stands before it.
_SAID = {
    "uses": "trained from",
    "params": "params",
    "suffix": "suffix",
    "compares": "compares",
    "better": "better",
    "unit": "unit",
}


@click.command(
    "import-weights", short_help="Turn released weights into weights files.", no_args_is_help=True
)
@click.argument("family", type=click.Choice(_FAMILIES))
@click.argument("file")
@click.option("--out", required=True, help="Weights file to write, NAME.safetensors.")
@click.option("--license", help="Licence of the weights, if not that of their project.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@_JSON
def import_weights(
    family: str, file: str, out: str, license: str | None, overwrite: bool, as_json: bool
) -> None:
    """Turn FILE, a checkpoint released by the authors of FAMILY, into a weights file with a card.

    Every tensor is mapped; a checkpoint that holds more or less than its network, or asks for
    Python code to be run, is refused. A joint file (noise2noiseflow) gives two: OUT and
    OUT-denoiser.
    """
    from pipeline.models.checkpoint_import import import_weights as convert

    done = convert(family, Path(file).expanduser(), Path(out), license=license, overwrite=overwrite)
    if as_json:
        print_json({"weights": [{"path": str(i.path), **i.card} for i in done]})
        return
    print_table(
        ["weights file", "family", "domain", "parameters", "licence"],
        [
            [
                i.path,
                i.card["family"],
                i.card["domain"],
                f"{i.card['parameters']:,}",
                i.card["license"],
            ]
            for i in done
        ],
    )
    if license is None:
        click.echo("\nThe licence is that of the project's own weights; --license names another.")


@click.command(short_help="List generators, denoisers and bundled weights.")
@click.argument("name", required=False)
@_JSON
def models(name: str | None, as_json: bool) -> None:
    """List what there is: generators, denoisers, weights, trainings, sources, formats, metrics.

    With NAME (of any of them, or a weights file) say all about it.
    """
    from pipeline.errors import UnknownNameError
    from pipeline.models.listing import all_about, known

    if name is not None:
        try:
            thing = all_about(name)
        except UnknownNameError as error:
            raise click.UsageError(str(error)) from error
        if as_json:
            print_json(thing)
            return
        for number, part in enumerate([thing, *thing["also"]]):
            if number:
                click.echo()
            _print_details(part)
        return
    kinds = known()
    if as_json:
        print_json(kinds)
        return
    _print_generators(kinds["generators"])
    click.echo()
    print_table(["denoiser", "what it is"], [[d["name"], _told(d)] for d in kinds["denoisers"]])
    click.echo()
    if kinds["weights"]:
        _print_weights_list(kinds["weights"])
    else:
        click.echo("No weights are bundled.")
    click.echo()
    print_table(
        ["training", "domain", "from", "what it is"],
        [
            [t["name"], t.get("domain", "-"), t.get("uses", "-"), _told(t)]
            for t in kinds["trainings"]
        ],
    )
    for kind in ("source", "format", "metric"):
        click.echo()
        print_table([kind, "what it is"], [[e["name"], _told(e)] for e in kinds[f"{kind}s"]])
    click.echo("\n`noisemill models NAME` says all about one of them.")


def _print_generators(generators: Sequence[Mapping[str, Any]]) -> None:
    print_table(
        ["generator", "domain", "needs", "what it is"],
        [
            [g["name"], "-", "-", _told(g)]
            if g["broken"]
            else [g["name"], _domain(g), ", ".join(_needed(g)) or "-", _told(g)]
            for g in generators
        ],
    )


def _print_weights_list(weights: Sequence[Mapping[str, Any]]) -> None:
    print_table(
        ["weights", "of", "domain", "know", "parameters", "licence"],
        [
            [
                w["name"],
                w["family"],
                w["domain"] or "-",
                _knows(w["shots"]),
                f"{w['parameters']:,}",
                w["license"],
            ]
            for w in weights
        ],
    )


def _print_details(found: Mapping[str, Any]) -> None:
    if found["kind"] == "weights":
        _print_weights(found)
        return
    lines = [[found["kind"], found["name"]], ["", found["summary"]]]
    if found["kind"] == "generator":
        # Which of its needs a trained generator has depends on how it is told to sample.
        how = " (with default parameters)" if found["weights"] is not None else ""
        needs = ", ".join(_needed(found)) or "-"
        lines += [["domain", _domain(found)], ["needs", f"{needs}{how}"]]
        if found["denoises"]:
            lines.append(["denoises", "with the same weights: `noisemill denoise`"])
    elif found.get("absent"):
        lines.append(["cannot be used", found["absent"]])
    lines += [[label, str(found[key])] for key, label in _SAID.items() if found.get(key)]
    if found.get("owner", "noisemill") != "noisemill":
        lines.append(["from", found["owner"]])
    lines += _fitting(found.get("weights") or ())
    print_table(["", ""], lines)
    if found.get("parameters"):
        click.echo()
        print_table(["parameter", "default"], list(found["parameters"].items()))


def _fitting(names: Sequence[str]) -> list[list[str]]:
    """Return a line for each of the bundled weights named: what they know, and their licence."""
    from pipeline.models.catalogue import bundled_weights

    fitting = [weights for weights in bundled_weights() if weights["name"] in names]
    return [
        ["" if number else "weights", f"{w['name']}: {_knows(w['shots'])}; {w['license']}"]
        for number, w in enumerate(fitting)
    ]


def _print_weights(found: Mapping[str, Any]) -> None:
    lines = [
        ["weights", found["name"]],
        ["of", found["family"]],
        ["domain", found["domain"] or "-"],
        ["parameters", f"{found['parameters']:,}"],
        ["size", size_of(found["bytes"])],
        ["licence", found["license"]],
        ["sha256", found["sha256"]],
    ]
    source = found["card"].get("source")
    if isinstance(source, Mapping):
        lines.append(["imported from", f"{source.get('file')}, sha256 {source.get('sha256')}"])
    data = list(_leaves(found["training_data"]))
    if isinstance(found["training_data"], str):
        lines += [["trained on", text] for _, text in data]
        data = []
    print_table(["", ""], lines)
    if data:
        click.echo()
        print_table(["training data", ""], data)
    if found["shots"]:
        click.echo()
        print_table(["knows camera", "at ISO"], _by_camera(found["shots"]))
    metrics = list(_leaves(found["metrics"]))
    if metrics:
        click.echo()
        print_table(["metric", "value"], [[key, value] for key, value in metrics])


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield what a card's nested values hold, one line each; long lists are counted."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}, {key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value, 1):
            yield from _leaves(item, path if len(value) == 1 else f"{path} {number}")
    elif isinstance(value, list | tuple):
        shown = ", ".join(map(str, value[:_FEW]))
        yield path, f"{len(value)}: {shown}, ..." if len(value) > _FEW else shown
    elif isinstance(value, float):
        yield path, f"{value:.4g}"
    elif value not in (None, ""):
        yield path, str(value)


def _told(entry: Mapping[str, Any]) -> str:
    """Return what something is, who gives it, and why it cannot be used where that is so."""
    owner = entry["owner"] if entry["owner"] != "noisemill" else None
    absent = entry.get("absent")
    parts = [entry["summary"], f"Absent: {absent}." if absent else "", entry["broken"] or ""]
    return " ".join([*filter(None, parts), *([f"[{owner}]"] if owner else [])])


def _domain(generator: Mapping[str, Any]) -> str:
    accepts, gives = generator["accepts"], generator["gives"]
    return str(accepts) if accepts == gives else f"{accepts} to {gives}"


def _needed(generator: Mapping[str, Any]) -> list[str]:
    return [*(["weights"] if generator["weights"] is not None else []), *generator["needs"]]


def _knows(shots: Sequence[Mapping[str, Any]]) -> str:
    """Return how many cameras and which ISO speeds weights know, in a few words."""
    if not shots:
        return "-"
    cameras = {shot["camera"] for shot in shots}
    speeds = sorted(shot["iso"] for shot in shots if shot["iso"])
    text = count_of(len(cameras), "camera")
    if not speeds:
        return text
    span = f"{speeds[0]}" if speeds[0] == speeds[-1] else f"{speeds[0]}-{speeds[-1]}"
    return f"{text}, ISO {span}"


def _by_camera(shots: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    speeds: dict[str, list[str]] = {}
    for shot in shots:
        speeds.setdefault(shot["camera"], []).append("-" if not shot["iso"] else str(shot["iso"]))
    return [[camera, ", ".join(isos)] for camera, isos in speeds.items()]
