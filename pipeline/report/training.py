"""The report of a training: its curves, what the validation measured, where everything is from.

    write_training_report(folder, manifest)                              while it runs
    write_training_report(folder, manifest, trained=trained, examples=examples)   at the end

The page is read off what the training leaves: ``log.jsonl``, and the cards beside the weights. It
is one HTML file like the report of a corpus, and can be made while the training runs; a browser
then loads it again every minute.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from markupsafe import Markup

import generators
from pipeline.manifest.models import (
    Device,
    PhotographsSource,
    TrainDenoiserManifest,
    TrainGeneratorManifest,
)
from pipeline.measure.pair import ImagePair
from pipeline.report import curves, figures
from pipeline.report.layout import label, layout, plain, sig
from pipeline.sources.base import label_of
from pipeline.sources.photographs import licenses_of
from pipeline.storage import publish
from pipeline.training.engine.task import Example

if TYPE_CHECKING:
    from pipeline.training.jobs.denoiser_result import TrainedDenoiser
    from pipeline.training.jobs.generator_result import TrainedGenerator

__all__ = ["EXAMPLES", "REPORT_NAME", "read_log", "render_training", "write_training_report"]

Training = TrainGeneratorManifest | TrainDenoiserManifest
REPORT_NAME = "report.html"
EXAMPLES = 6
TILE_PIXELS = 160
GAINS = (5.0, 10.0, 20.0, 40.0)
VISIBLE = 0.12
NAMES = {
    "akld": ("AKLD", "nats, 1 sample"),
    "bits": ("Code length", "bits a dimension"),
    "denoiser_mse": ("Squared error of the denoiser", ""),
    "kld": ("KLD", "nats"),
    "loss": ("Loss on held-out data", ""),
    "nll": ("Negative log-likelihood", "nats a dimension"),
    "nll_grey": ("The same of grey levels", "nats a dimension"),
    "psnr": ("PSNR of the clean estimate", "dB"),
    "psnr_noisy": ("PSNR of the noisy image", "dB"),
}


def write_training_report(
    folder: Path,
    manifest: Training,
    *,
    trained: TrainedGenerator | TrainedDenoiser | None = None,
    examples: Sequence[Example] = (),
) -> str:
    """Write ``report.html`` into the folder of a training.

    Args:
        folder: Of the training; its ``log.jsonl`` is read, and the cards of ``trained``.
        manifest: The training.
        trained: What it left; ``None`` while it runs.
        examples: Held-out crops with the model's noise, or denoised.

    Returns:
        Where the page is.

    Raises:
        StorageError: If it cannot be written.
    """
    weights = () if trained is None else (str(trained.weights), *trained.others)
    cards = [
        json.loads(Path(path).with_suffix(".json").read_text(encoding="utf-8")) for path in weights
    ]
    page = render_training(
        manifest,
        read_log(folder / "log.jsonl"),
        cards=cards,
        findings={} if trained is None else trained.findings,
        files=[_file(Path(path), card) for path, card in zip(weights, cards, strict=True)],
        examples=examples,
    )
    publish(str(folder), REPORT_NAME, page.encode())
    return str(folder / REPORT_NAME)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, without a last one that is only half there; none without a log."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def render_training(
    manifest: Training,
    log: Sequence[Mapping[str, Any]],
    *,
    cards: Sequence[Mapping[str, Any]] = (),
    findings: Mapping[str, Any] | None = None,
    files: Sequence[Mapping[str, Any]] = (),
    examples: Sequence[Example] = (),
) -> str:
    """Return the page's HTML.

    Args:
        manifest: The training.
        log: Its lines so far.
        cards: Of the weights files, the noise model's first; none while the training runs.
        findings: What the training noticed of itself.
        files: Name, family, parameters, size and checksum of each weights file.
        examples: Held-out crops with the model's noise, or denoised.
    """
    card = cards[0] if cards else {}
    total = manifest.schedule.steps
    last: Mapping[str, Any] = log[-1] if log else {"step": 0, "seconds": 0.0, "skipped": 0}
    checks = [line for line in log if line.get("validation") is not None]
    best = _best_step(checks)
    gain, denoises = _gain(examples), manifest.kind == "train-denoiser"
    own = "simulated" if manifest.validation and manifest.validation.simulate else "real"
    text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return layout("training.html.j2").render(
        name=manifest.name,
        model=manifest.denoiser if manifest.kind == "train-denoiser" else manifest.model,
        denoises=denoises,
        done=bool(cards),
        step=last["step"],
        total=total,
        seconds=last["seconds"],
        skipped=last["skipped"],
        loss=last.get("loss"),
        bad=next((x["step"] for x in reversed(log) if x["loss"] is None), None),
        parameters=card.get("parameters"),
        left=_left(log, total),
        best=best if len(checks) > 1 else 0,
        measured=bool(checks),
        curves=_curves(log, checks, best, total),
        figures=_figures(checks, best, card),
        blocks=_blocks(card),
        gain=gain,
        examples=[
            _strip(x, gain, (own, "denoised" if denoises else "generated")) for x in examples
        ],
        findings=_findings(findings) if findings else None,
        configurations=[_configuration(name) for name in card.get("configurations", ())],
        data=card.get("training_data", {}),
        sources=[_source(part, s) for part, s in _sources(manifest)],
        devices=[device.model_dump(mode="json") for device in _devices(manifest)],
        schedule=manifest.schedule,
        patch=manifest.data.patch,
        license=manifest.license,
        files=files,
        generator=card.get("family") if card.get("family") in generators.names() else None,
        weights=files[0]["name"] if files else None,
        hardware={label(k): plain(v) for k, v in card.get("hardware", {}).items() if v},
        software={k: v for k, v in card.get("software", {}).items() if v},
        git=card.get("git"),
        threads=card.get("training", {}).get("threads"),
        manifest=text,
    )


def _file(path: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": path.name,
        "family": card["family"],
        "parameters": card["parameters"],
        "bytes": path.stat().st_size,
        "sha256": card["sha256"],
        "step": card.get("best", {}).get("step", card["training"]["steps"]),
    }


def _best_step(checks: Sequence[Mapping[str, Any]]) -> int:
    """Return the step that validated best, as the loop judges it; 0 if none can be judged."""
    judged = [
        (value, line["step"])
        for line in checks
        if (value := line["validation"].get("nll", line["validation"].get("loss"))) is not None
    ]
    return min(judged)[1] if judged else 0


def _left(log: Sequence[Mapping[str, Any]], total: int) -> float | None:
    """Return the seconds to go at the pace so far; ``None`` at the end and where nothing is known.

    The pace is of all steps but those before the first line, which may hold a slow start.
    """
    if len(log) < 2 or log[-1]["step"] >= total:
        return None
    steps = log[-1]["step"] - log[0]["step"]
    seconds = log[-1]["seconds"] - log[0]["seconds"]
    return float(seconds / steps * (total - log[-1]["step"])) if steps > 0 else None


def _curves(
    log: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]], best: int, total: int
) -> list[dict[str, Any]]:
    if not log:
        return []
    steps, losses = [x["step"] for x in log], [_number(x["loss"]) for x in log]
    rates = [x["learning_rate"] for x in log]
    scale, frame = curves.choose_axis(losses)
    note = "logarithmic axis" if scale == "log" else ""
    if frame is not None:
        above = [step for step, loss in zip(steps, losses, strict=True) if loss > frame[1]]
        note = f"above the frame up to step {max(above):,}" if above else ""
    drawn: list[dict[str, Any]] = [
        {
            "title": "Training loss",
            "unit": note,
            "wide": True,
            "svg": Markup(curves.loss_svg(steps, losses, total=total)),
        },
        {
            "title": "Learning rate",
            "unit": "",
            "wide": False,
            "svg": Markup(curves.rate_svg(steps, rates, total=total)),
        },
    ]
    for place, (name, series) in enumerate(_series(checks).items()):
        title, unit = _named(name)
        color = figures.PALETTE[(place + 1) % (len(figures.PALETTE) - 1)]
        drawing = curves.validation_svg(*series, best=best, total=total, color=color)
        drawn.append({"title": title, "unit": unit, "wide": False, "svg": Markup(drawing)})
    return drawn


def _series(checks: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Return steps and values of each figure that was measured more than once, best known first."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in checks:
        for name, value in line["validation"].items():
            steps, values = found.setdefault(name, ([], []))
            steps.append(line["step"])
            values.append(_number(value))
    return {
        name: found[name]
        for name in sorted(found, key=_place)
        if len(found[name][0]) > 1 and np.isfinite(found[name][1]).any()
    }


def _figures(
    checks: Sequence[Mapping[str, Any]], best: int, card: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return a row for each figure: of the last weights, and of the best if they are others."""
    last = card.get("metrics", {}).get("validation")
    if last is None and checks:
        last = checks[-1]["validation"]
    if not last:
        return None
    step = checks[-1]["step"] if checks else card["training"]["steps"]
    columns = [(step, last)]
    if 0 < best < step:
        columns.append((best, next(x["validation"] for x in checks if x["step"] == best)))
    rows = [
        {"title": title, "unit": unit, "values": [_number(c.get(name)) for _, c in columns]}
        for name in sorted(last, key=_place)
        for title, unit in [_named(name)]
    ]
    return {"steps": [step for step, _ in columns], "rows": rows}


def _blocks(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a table for each evaluation on whole blocks."""
    return [
        {
            "title": "" if name == "blocks" else name,
            "convention": found["kld_convention"],
            "rows": [
                {"what": what, **found[key]}
                for key, what in (("sound", "within 1 grey level of offset"), ("all", "all"))
            ],
        }
        for name, found in card.get("metrics", {}).items()
        if isinstance(found, Mapping) and "sound" in found
    ]


def _gain(examples: Sequence[Example]) -> float:
    """Return one amplification for all examples, that of corpora or, for weak noise, more."""
    strengths = [float(np.std(e.noisy - e.clean)) for e in examples]
    weak = float(np.median(strengths)) if strengths else math.nan
    return next((gain for gain in GAINS if not gain * weak < VISIBLE), GAINS[-1])


def _strip(example: Example, gain: float, titles: tuple[str, str]) -> dict[str, Any]:
    real = ImagePair(clean=example.clean, noisy=example.noisy)
    # Numbers that are not finite would be any colour; white is seen.
    made = ImagePair(clean=example.made_from, noisy=np.nan_to_num(example.made, nan=1.0))
    side = min(figures.MAX_SHOWN, *example.clean.shape[:2])
    where = ", ".join([example.camera] * bool(example.camera) + [f"ISO {example.iso}"])
    return {
        "title": where if example.iso else example.camera or "held-out crop",
        "width": side * max(1, TILE_PIXELS // side),
        "clean": figures.image_uri(figures.crop(figures.picture(example.clean, example.domain))),
        "tiles": [
            {
                "title": title,
                "noisy": figures.image_uri(
                    figures.crop(figures.picture(pair.noisy, example.domain))
                ),
                "noise": figures.image_uri(figures.crop(figures.noise_picture(pair, gain))),
                "std": float(pair.noise.std()) * 255.0,
            }
            for title, pair in zip(titles, (real, made), strict=True)
        ],
    }


def _findings(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return findings as single values, as tables (rows of equal keys), and as lists of values."""
    single: dict[str, str] = {}
    lists: dict[str, dict[str, str]] = {}
    tables: list[dict[str, Any]] = []
    for key, value in found.items():
        rows = list(value.values()) if isinstance(value, Mapping) else []
        if rows and all(isinstance(r, Mapping) and r.keys() == rows[0].keys() for r in rows):
            columns = [column.replace("_", " ") for column in rows[0]]
            cells = [(name, [_short(v) for v in row.values()]) for name, row in value.items()]
            tables.append({"title": label(key), "columns": columns, "rows": cells})
        elif rows:
            lists[label(key)] = {name.replace("_", " "): _short(v) for name, v in value.items()}
        else:
            single[label(key)] = _short(value)
    return {"single": single, "lists": lists, "tables": tables}


def _sources(manifest: Training) -> list[tuple[str, Any]]:
    held_out = [] if manifest.validation is None else manifest.validation.sources
    if manifest.kind == "train-denoiser":
        trained_on = [s for one in manifest.data.inputs if one.pairs for s in one.pairs.sources]
    else:
        trained_on = manifest.data.sources
    return [*(("training", s) for s in trained_on), *(("validation", s) for s in held_out)]


def _devices(manifest: Training) -> list[Device]:
    if manifest.kind == "train-denoiser":
        return [d for one in manifest.data.inputs if one.pairs for d in one.pairs.simulate]
    return manifest.data.simulate


def _source(part: str, source: Any) -> dict[str, Any]:
    return {
        "part": part,
        "label": label_of(source),
        "type": source.type,
        "license": source.license or _license_of(source),
    }


def _license_of(source: Any) -> str | None:
    """Return the licences of photographs that are known without being given."""
    if not isinstance(source, PhotographsSource):
        return None
    return "; ".join(f"{name}: {license}" for name, license in licenses_of(source).items())


def _configuration(name: str) -> str:
    """Return ``camera_00800`` as people say it."""
    camera, _, iso = name.rpartition("_")
    return f"{camera}, ISO {int(iso)}" if camera and iso.isdigit() else name


def _place(name: str) -> tuple[int, str]:
    """Sort what weights are judged by first, then distances, then all else."""
    order = ("nll", "nll_grey", "bits", "loss", "kld", "akld")
    return (order.index(name) if name in order else len(order), name)


def _named(name: str) -> tuple[str, str]:
    return NAMES.get(name, (label(name), ""))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return sig(value, 4)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(value)
