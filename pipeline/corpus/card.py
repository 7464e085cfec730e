"""The card of a corpus: a README.md that people read and that Hugging Face ``datasets`` obeys.

The YAML head names the files of each split, so ``load_dataset("path/to/corpus")`` opens the
pictures with no options although other shards, records and a report lie beside them. The split that
rows call ``val`` is called ``validation`` there, as everywhere on the Hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from pipeline.corpus.columns import known_columns
from pipeline.corpus.formats import format_of
from pipeline.corpus.index import INDEX_NAME, CorpusIndex
from pipeline.corpus.inspect import Summary, summarise_index
from pipeline.storage import publish

__all__ = ["CARD_NAME", "render_card", "write_card"]

CARD_NAME = "README.md"
_LISTED_FILES = 200
_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
# What the Hub accepts as ``license``; anything else becomes ``other`` with a name.
_LICENSES = frozenset(
    "apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause cc cc-by-2.0 cc-by-3.0 cc-by-4.0 "
    "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
    "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 gpl-3.0 "
    "lgpl-3.0 mit mpl-2.0 odbl odc-by pddl unknown unlicense".split()
)


def write_card(root: str, index: CorpusIndex) -> None:
    """Publish ``README.md``; the shards must be there, ``corpus.json`` need not be yet.

    Args:
        root: Folder or URL of the corpus.
        index: Its index.

    Raises:
        StorageError: If it cannot be written.
        DatasetError: If a shard is damaged.
    """
    publish(root, CARD_NAME, render_card(index, summarise_index(root, index)).encode())


def render_card(index: CorpusIndex, summary: Summary) -> str:
    """Return the card's text: a YAML head and Markdown."""
    head = yaml.safe_dump(_head(index), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---",
        f"# {index.name}",
        _opening(index, summary),
        "## Load it",
        _loading(index),
        "## Generators",
        _generators(index, summary),
        "## Cameras and ISO",
        _captures(summary),
        "## Columns",
        _table(
            ("column", "type", "meaning"),
            [
                (f"`{name}`", column.kind, column.doc)
                for name, column in known_columns(summary.further).items()
            ],
        ),
        "## Sources and licences",
        _licences(index),
        "## How it was made",
        _making(index),
        "## Checksums",
        _checksums(index),
    ]
    return "\n\n".join(parts) + "\n"


def _head(index: CorpusIndex) -> dict[str, Any]:
    rows = index.totals.rows
    size = next((name for limit, name in _SIZES if rows < limit), "100M<n<1B")
    head: dict[str, Any] = {
        "pretty_name": index.name,
        **_hub_license(index.manifest.get("license")),
        "task_categories": ["image-to-image"],
        "tags": ["denoising", "image-restoration", "synthetic", "camera-noise", "noisemill"],
        "size_categories": [size],
    }
    files = _hub_files(index)
    if files:
        head["configs"] = [{"config_name": "default", "data_files": files}]
    return head


def _hub_license(text: object) -> dict[str, str]:
    if not text:
        return {"license": "unknown"}
    slug = "-".join(str(text).lower().split())
    if slug in _LICENSES:
        return {"license": slug}
    return {"license": "other", "license_name": slug}


def _hub_files(index: CorpusIndex) -> list[dict[str, str]]:
    """Return the pattern of each split's files: the pictures if there are any, else any format."""
    folders = {file.path.split("/")[0] for shard in index.shards for file in shard.files}
    formats = [format_of(name) for name in index.formats]
    for one in sorted(formats, key=lambda one: not one.hub_pictures):
        if one.hub_folder in folders:
            return [
                {"split": _HUB_SPLITS[split], "path": f"{one.hub_folder}/{split}-*{one.suffix}"}
                for split in index.splits
            ]
    return []


def _opening(index: CorpusIndex, summary: Summary) -> str:
    splits = ", ".join(f"{rows:,} {split}" for split, rows in summary.splits.items())
    sizes = ", ".join(f"{width}x{height}" for height, width in summary.image)
    description = str(index.manifest.get("description") or "").strip()
    text = (
        f"{summary.rows:,} pairs of clean and noisy images ({splits}), {sizes} pixels, made by "
        "noisemill: clean photographs with camera noise put on them by the generators below."
    )
    return f"{description}\n\n{text}" if description else text


def _loading(index: CorpusIndex) -> str:
    torch = (
        "```python\nfrom pipeline.dataset import CorpusDataset\n"
        "from torch.utils.data import DataLoader\n"
        'loader = DataLoader(CorpusDataset("PATH"), batch_size=32, shuffle=True, num_workers=2)\n'
        "```"
    )
    if not _hub_files(index):
        return torch
    split = _HUB_SPLITS[next(iter(index.splits), "train")]
    hub = (
        "With Hugging Face `datasets`:\n\n"
        "```python\nfrom datasets import load_dataset\n"
        f'pairs = load_dataset("PATH", split="{split}")\nclean, noisy = pairs[0]["clean"], '
        'pairs[0]["noisy"]\n```'
    )
    return f"{torch}\n\n{hub}"


def _generators(index: CorpusIndex, summary: Summary) -> str:
    rows = []
    for entry in index.generators:
        levels = summary.noise.get(entry.key)
        noise = "-"
        if levels:
            noise = f"{255 * levels.median:.2f} ({255 * levels.q05:.2f} to {255 * levels.q95:.2f})"
        weights = f"{entry.weights} `{entry.weights_sha256[:12]}`" if entry.weights else "-"
        pairs = summary.generators.get(entry.key, 0)
        rows.append((f"`{entry.key}`", entry.name, entry.revision, weights, f"{pairs:,}", noise))
    note = "Noise: standard deviation of a pair, median (5 % to 95 %), in grey levels of 255."
    heads = ("key", "generator", "revision", "weights", "pairs", "noise")
    return f"{_table(heads, rows)}\n\n{note}"


def _captures(summary: Summary) -> str:
    rows = [
        (camera, "unknown" if iso is None else iso, f"{pairs:,}")
        for (camera, iso), pairs in summary.captures.items()
    ]
    return _table(("camera", "ISO", "pairs"), rows)


def _licences(index: CorpusIndex) -> str:
    sources = [
        (source.label, source.type, source.images, source.license or "not stated")
        for source in index.sources
    ]
    lines = [_table(("source", "type", "images", "licence"), sources)]
    weights = [
        (f"`{entry.key}`", entry.weights, entry.license or "not stated")
        for entry in index.generators
        if entry.weights
    ]
    if weights:
        lines.append(_table(("generator", "weights", "licence of the weights"), weights))
    lines.append(f"Licence of this corpus: {index.manifest.get('license') or 'not stated'}.")
    if index.manifest.get("attribution"):
        lines.append(f"Attribution: {index.manifest['attribution']}")
    return "\n\n".join(lines)


def _making(index: CorpusIndex) -> str:
    facts = [
        ("created", index.created),
        ("seed", index.seed),
        ("manifest SHA-256", f"`{index.manifest_sha256}`"),
        ("plan SHA-256", f"`{index.plan_sha256}`"),
        ("refused pairs", index.totals.rejected),
        *((name, version or "not installed") for name, version in index.software.items()),
    ]
    text = f"The full manifest is in `{INDEX_NAME}`; run again, it gives the same pixels."
    return f"{text}\n\n{_table(('what', 'value'), facts)}"


def _checksums(index: CorpusIndex) -> str:
    files = [file for shard in index.shards for file in shard.files]
    text = f"`{INDEX_NAME}` lists the SHA-256 of every shard; `noisemill verify` checks them."
    if len(files) > _LISTED_FILES:
        return text
    rows = [(f"`{file.path}`", file.rows, file.bytes, f"`{file.sha256}`") for file in files]
    return f"{text}\n\n{_table(('file', 'rows', 'bytes', 'sha256'), rows)}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
