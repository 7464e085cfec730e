"""The page is one safe file that says everything, whatever the corpus holds."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline.report import collect_samples, figures, render_report, write_report
from pipeline.report.layout import fixed, size, time
from pipeline.report.page import pick_gallery
from pipeline.storage import publish

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, resources and text; checks that tags are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.resources: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        found = dict(attrs)
        names = ("src", "href", "xlink:href", "data", "action")
        self.resources += [found[name] or "" for name in names if name in found]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "pre"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the diagrams out where they do not matter: they take most of the time."""
    for name in ("histogram_svg", "variance_svg", "correlation_svg", "covariance_svg"):
        monkeypatch.setattr(figures, name, lambda *_: "<svg></svg>")


def test_page_is_one_file_without_outside_resources(
    make_corpus: Callable[..., Any], pairs: Callable[..., Any]
) -> None:
    root, index = make_corpus()
    html = render_report(index, collect_samples(root, index, real_pairs=pairs))
    page = Page(html)
    assert page.open == []
    assert "script" not in page.tags
    assert page.resources
    assert all(item.startswith(("data:image/png;base64,", "#")) for item in page.resources)
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r'https?://[^\s"<]+', html)) <= namespaces
    assert "@import" not in html


def test_page_says_what_was_measured_and_made(
    make_corpus: Callable[..., Any], pairs: Callable[..., Any]
) -> None:
    root, index = make_corpus()
    html = render_report(index, collect_samples(root, index, real_pairs=pairs))
    text = Page(html).text
    for word in (
        "weak", "strong", "real camera", "Nikon D800, ISO 800", "Nikon D800, ISO 3200",
        "KLD, naflow", "AKLD", "All cameras and ISO speeds", "48 clean/noisy pairs of 32 × 32",
        "24/s", "CC0-1.0", "numpy", "amplified 5 times", "3 of 51 planned pairs refused",
        "2026-01-31 12:00:00 UTC",
    ):  # fmt: skip
        assert word in text, word
    for file in [file for shard in index.shards for file in shard.files]:
        assert file.sha256 in text
        assert file.path in text


@pytest.mark.usefixtures("plain")
def test_another_convention_is_named(
    make_corpus: Callable[..., Any], pairs: Callable[..., Any]
) -> None:
    root, index = make_corpus()
    samples = collect_samples(root, index, real_pairs=pairs)
    text = Page(render_report(index, samples, convention="srgb-flow")).text
    assert "KLD, srgb-flow" in text
    assert "naflow" not in text


@pytest.mark.usefixtures("plain")
def test_without_real_noise_no_distance_is_claimed(make_corpus: Callable[..., Any]) -> None:
    root, index = make_corpus()
    text = Page(render_report(index, collect_samples(root, index))).text
    assert "KLD" not in text
    assert "real camera" not in text
    assert "no real noisy partner" in text


@pytest.mark.usefixtures("plain")
def test_names_from_outside_are_escaped(
    make_corpus: Callable[..., Any], make_row: Callable[..., Any]
) -> None:
    evil = "<script>alert('x')</script>&\"{{ 7 * 7 }}"
    rows = [make_row(0, p, "weak", camera=evil, scene=evil) for p in range(3)]
    manifest = {"kind": "corpus", "name": evil, "description": evil, "license": evil}
    root, index = make_corpus(rows, manifest=manifest)
    rejects = [{"reason": evil, "uri": evil, "detail": evil, "patches": 1}]
    page = Page(render_report(index, collect_samples(root, index), rejects))
    assert "script" not in page.tags
    assert page.text.count("alert('x')") >= 5
    assert "{{ 7 * 7 }}" in page.text


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("verified", "word"),
    [(None, "check with noisemill verify"), (True, "✓ verified"), (False, "verification failed")],
)
def test_verification_is_stated(
    make_corpus: Callable[..., Any], verified: bool | None, word: str
) -> None:
    root, index = make_corpus()
    page = render_report(index, collect_samples(root, index, per_cell=2), verified=verified)
    assert word in Page(page).text


@pytest.mark.parametrize(
    "kind",
    [
        {"channels": 1},
        {"channels": 4, "dtype": "float32"},
        {"dtype": "uint16"},
        {"size": 6},
        {"size": 130},
    ],
    ids=str,
)
def test_every_kind_of_corpus_has_a_page(
    make_corpus: Callable[..., Any], make_row: Callable[..., Any], kind: dict[str, Any]
) -> None:
    domain = "raw" if kind.get("channels") == 4 else "srgb"
    rows = [make_row(s, 0, g, domain=domain) for s in range(2) for g in ("weak", "strong")]
    root, index = make_corpus(rows, **kind)
    page = Page(render_report(index, collect_samples(root, index)))
    assert page.open == []
    assert "strong" in page.text


@pytest.mark.usefixtures("plain")
def test_an_empty_corpus_has_a_page(make_corpus: Callable[..., Any]) -> None:
    root, index = make_corpus([])
    assert "holds no pairs" in Page(render_report(index, collect_samples(root, index))).text


def test_gallery_shows_every_generator_and_skips_unsound_patches(
    make_corpus: Callable[..., Any], make_row: Callable[..., Any], pairs: Callable[..., Any]
) -> None:
    rows = [make_row(0, p, ("weak", "strong", "other")[p % 3]) for p in range(6)]
    samples = collect_samples(*make_corpus(rows), real_pairs=pairs)
    ((_, shown),) = pick_gallery(samples)
    assert {key for patch in shown for key in patch.made} == {"weak", "strong", "other"}
    assert len(shown) == 4
    both = collect_samples(*make_corpus(folder="each"), real_pairs=pairs)
    for _, patches in pick_gallery(both):
        assert len({patch.source_id for patch in patches}) == 2
        assert all(patch.real is None or patch.y < 160 for patch in patches)


@pytest.mark.usefixtures("plain")
def test_many_cells_are_thinned_evenly(
    make_corpus: Callable[..., Any], make_row: Callable[..., Any]
) -> None:
    rows = [make_row(0, p, "weak", iso=100 * (p + 1)) for p in range(30)]
    root, index = make_corpus(rows)
    samples = collect_samples(root, index)
    shown = [cell.iso for cell, _ in pick_gallery(samples)]
    assert len(shown) == 12
    assert (shown[0], shown[-1]) == (100, 3000)
    assert "12 of 30 combinations" in Page(render_report(index, samples)).text


@pytest.mark.usefixtures("plain")
def test_report_and_gallery_are_published_with_the_rejects(
    make_corpus: Callable[..., Any], pairs: Callable[..., Any]
) -> None:
    root, index = make_corpus()
    lines = [
        {"uri": f"{i}.png", "reason": reason, "detail": "why", "stage": "cut", "patches": i}
        for i, reason in enumerate(["cmyk", "truncated", "truncated"])
    ]
    publish(root, "rejected.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    samples = collect_samples(root, index, real_pairs=pairs)
    where = write_report(root, index, samples)
    html = Path(where).read_text(encoding="utf-8")
    assert where == str(Path(root) / "report.html")
    assert (Path(root) / "gallery.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"truncated 2 3 1\.png why cmyk 1 0 0\.png", Page(html).text)
    assert Path(write_report(root, index, samples)).read_text(encoding="utf-8") == html


def test_numbers_are_written_for_people() -> None:
    assert [size(n) for n in (0, 999, 1500, 123_456_789)] == [
        "0 bytes", "999 bytes", "1.5 kB", "123 MB",
    ]  # fmt: skip
    assert [time(s) for s in (1.25, 83, 7260)] == ["1.2 s", "1 min 23 s", "2 h 1 min"]
    assert [fixed(v) for v in (-0.001, -1.5, float("nan"), None)] == ["0.00", "−1.50", "–", "–"]
