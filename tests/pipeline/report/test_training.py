"""The report of a training: one safe file at any moment of it, whatever was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.manifest.models import TrainGeneratorManifest
from pipeline.report import curves, training
from pipeline.report.curves import choose_axis
from pipeline.report.training import read_log, render_training, write_training_report
from pipeline.training.engine.task import Example
from tests.pipeline.report.test_page import Page

NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
EVIL = "<script>alert('x')</script>&\"{{ 7 * 7 }}"


def manifest(**changes: Any) -> TrainGeneratorManifest:
    data: dict[str, Any] = {
        "kind": "train-generator",
        "name": "small",
        "model": "naflow",
        "data": {
            "sources": [
                {"type": "pairs", "path": "pairs", "metadata": "m.csv", "license": "CC0-1.0"}
            ]
        },
        "schedule": {"steps": 400, "ema": 0.9},
        "output": {"path": "out"},
    }
    return TrainGeneratorManifest.model_validate(data | changes)


def log(lines: int, *, checks: tuple[int, ...] = (), bad: int | None = None) -> list[Any]:
    """Return lines of ten steps; a validation's nll is least at step 100."""
    return [
        {
            "step": 10 * i,
            "loss": None if i == bad else 3.0 / i,
            "learning_rate": 1e-3 / i,
            "seconds": 5.0 * i,
            "skipped": 0 if bad is None or i < bad else 10,
            **(
                {"validation": {"nll": abs(10 * i - 100) / 100 - 2, "kld": 0.1 / i}}
                if i in checks
                else {}
            ),
        }
        for i in range(1, lines + 1)
    ]


def card(**changes: Any) -> dict[str, Any]:
    figures = {
        name: {"mean": 0.25, "median": None}
        for name in ("kld", "akld", "correlation", "real_correlation", "std", "real_std")
    }
    summary = {
        "kld_convention": "naflow",
        "all": {"blocks": 9, **figures},
        "sound": {"blocks": 3, **figures},
    }
    found: dict[str, Any] = {
        "family": "naflow",
        "parameters": 1234,
        "sha256": "ab" * 32,
        "configurations": ["Nikon D800_01600"],
        "training_data": {"scenes": ["desk", "wall"], "share_of_places_within_offset": 0.5},
        "training": {"steps": 400, "threads": 1},
        "metrics": {"validation": {"nll": -1.5, "kld": 0.02}, "noise-aware, reference": summary},
        "hardware": {"cpu": "Example"},
        "software": {"torch": "2"},
        "git": "f00",
    }
    return found | changes


def example(domain: str = "srgb", *, noise: float = 0.02, camera: str = "Nikon D800") -> Example:
    rng = np.random.default_rng(1)
    channels = 4 if domain == "raw" else 3
    clean = np.full((16, 16, channels), 0.4, np.float32)
    noisy, made = ((clean + rng.normal(0, noise, clean.shape)).astype(np.float32) for _ in range(2))
    return Example(
        camera=camera, iso=1600, domain=domain, clean=clean, noisy=noisy, made_from=clean, made=made
    )  # type: ignore[arg-type]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawings out where they do not matter: they take most of the time."""
    for name in ("loss_svg", "rate_svg", "validation_svg"):
        monkeypatch.setattr(curves, name, lambda *_, **__: "<svg></svg>")


def test_the_page_of_a_finished_training_is_one_file_that_says_everything() -> None:
    files = [
        {
            "name": "small.safetensors",
            "family": "naflow",
            "parameters": 1234,
            "bytes": 5000,
            "sha256": "ab" * 32,
            "step": 400,
        }
    ]
    html = render_training(
        manifest(),
        log(40, checks=(5, 10, 40), bad=20),
        cards=[card()],
        findings={"noise_share": 0.25},
        files=files,
        examples=[example()],
    )
    page = Page(html)
    assert page.open == []
    assert "script" not in page.tags
    assert all(item.startswith(("data:image/png;base64,", "#")) for item in page.resources)
    assert set(re.findall(r'https?://[^\s"<]+', html)) <= NAMESPACES
    assert "refresh" not in html
    for word in (
        "✓ finished", "step 100 validated best", "last weights step 400 best weights step 100",
        "Negative log-likelihood nats a dimension −1.5 −2", "KLD, naflow", "Training loss",
        "Learning rate", "10 steps skipped", "last at step 200", "Noise share 0.25", "CC0-1.0",
        "1 camera and ISO", "Nikon D800, ISO 1600", "2 scenes", "desk, wall", "50.0 %", "ab" * 32,
        "1,234", "Licence of the weights: unspecified", "generated noise 5.", "f00",
        "0.2500 / –",
    ):  # fmt: skip
        assert word in page.text, word
    assert html.count("<svg") == 4


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_running_training_has_a_page_that_renews_itself(lines: int) -> None:
    html = render_training(manifest(), log(lines))
    page = Page(html)
    assert page.open == []
    assert 'http-equiv="refresh"' in html
    assert f"at step {10 * lines} when this page was written" in page.text
    assert ("3 min 5 s to go" in page.text) == (lines == 3)  # 370 steps of half a second
    assert ("has no line yet" in page.text) == (lines == 0)
    assert "finished" not in page.text


@pytest.mark.usefixtures("plain")
def test_the_licence_of_each_photograph_is_told() -> None:
    names = ["astronaut", "coffee"]
    data = {
        "scenes": names,
        "licenses": {"CC0-1.0": ["coffee"], "public domain (NASA)": ["astronaut"]},
    }
    page = Page(
        render_training(
            manifest(data={"sources": [{"type": "photographs", "names": names}]}),
            log(2),
            cards=[card(training_data=data)],
            files=[],
        )
    )
    assert "astronaut: public domain (NASA); coffee: CC0-1.0" in page.text
    assert "public domain (NASA): astronaut" in page.text


@pytest.mark.usefixtures("plain")
def test_names_from_outside_are_escaped() -> None:
    sources = [{"type": "images", "path": EVIL, "label": EVIL, "license": EVIL}]
    page = Page(
        render_training(
            manifest(name=EVIL, license=EVIL, data={"sources": sources}),
            log(2),
            cards=[
                card(
                    configurations=[EVIL],
                    training_data={"scenes": [EVIL], "licenses": {EVIL: [EVIL]}},
                )
            ],
            findings={EVIL: EVIL, "more": {EVIL: EVIL}},
            files=[
                {"name": EVIL, "family": EVIL, "parameters": 1, "bytes": 1, "sha256": "", "step": 1}
            ],
            examples=[example(camera=EVIL)],
        )
    )
    assert "script" not in page.tags
    assert page.text.count("alert('x')") >= 8
    assert "{{ 7 * 7 }}" in page.text


@pytest.mark.usefixtures("plain")
def test_findings_of_every_shape_are_shown() -> None:
    found = {
        "levels": {"a": {"beta_1": 0.5, "n": 12000}, "b": {"beta_1": 0.25, "n": None}},
        "not_fitted": {"c": "no batch held it"},
        "uneven": {"d": {"x": 1}, "e": {"y": 2}},
        "names": ["f", "g"],
        "empty": {},
        "sure": True,
    }
    text = Page(render_training(manifest(), log(1), cards=[card()], findings=found)).text
    for word in ("Levels beta 1 n a 0.5 12,000 b 0.25 None", "Not fitted c no batch", "f, g"):
        assert word in text, word
    assert "Sure True" in text


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("domain", ["srgb", "raw"])
def test_weak_noise_is_amplified_more_and_numbers_that_are_not_finite_have_a_page(
    domain: str,
) -> None:
    strong, weak = example(domain, noise=0.1), example(domain, noise=0.002)
    assert training._gain([strong]) == 5.0
    assert training._gain([weak]) == 40.0
    assert training._gain([]) == 5.0
    broken = example(domain)
    broken.made[:] = np.nan
    broken.noisy[0] = np.inf
    with np.errstate(invalid="ignore"):
        html = render_training(manifest(), log(1), cards=[card()], examples=[weak, broken])
    assert Page(html).open == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 2.0, 1.0], ("linear", None)),
        ([30.0, 2.0, 1.0], ("log", None)),
        ([float("nan"), 0.0], ("linear", None)),
        ([], ("linear", None)),
        ([1.0, 1.0], ("linear", None)),
        ([50.0, *[-2.0 - i / 100 for i in range(50)]], ("linear", pytest.approx((-2.537, -1.973)))),
    ],
)
def test_the_axis_shows_what_moves(values: list[float], expected: Any) -> None:
    assert choose_axis(values) == expected


@pytest.mark.parametrize(
    "losses", [[float("nan")], [1.0], [100.0, 10.0, float("nan"), 1e-3], [0.0] * 3, [1.0] * 70]
)
def test_every_log_can_be_drawn(losses: list[float]) -> None:
    steps = list(range(len(losses)))
    text = curves.loss_svg(steps, losses, total=len(losses))
    assert text.startswith("<svg")
    assert "currentColor" in text


@pytest.mark.usefixtures("plain")
def test_a_training_s_folder_gets_its_page(tmp_path: Path) -> None:
    lines = "".join(json.dumps(line) + "\n" for line in log(3))
    (tmp_path / "log.jsonl").write_text(lines + '{"step": 40, "lo')  # killed while it wrote
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [10, 20, 30]
    assert read_log(tmp_path / "none.jsonl") == []
    where = write_training_report(tmp_path, manifest())
    assert where == str(tmp_path / "report.html")
    assert "at step 30" in Page(Path(where).read_text(encoding="utf-8")).text
