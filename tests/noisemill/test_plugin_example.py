"""The example of a plug-in: installed beside noisemill, it keeps the contracts and does its work.

Nothing is downloaded: the wheel is built with the hatchling that is here, and unpacked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline

ROOT = Path(pipeline.__file__).resolve().parents[1]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin"
USE = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
import noisemill

folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
for name in ("a", "b"):
    clean = rng.integers(40, 216, (64, 64, 3))
    noisy = clean + np.rint(rng.normal(0, 6, (64, 1, 1)) + rng.normal(0, 3, clean.shape))
    Image.fromarray(clean.astype(np.uint8)).save(folder / f"{name}_clean.png")
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{name}_noisy.png")
(folder / "list.txt").write_text("a_clean.png\\nb_clean.png\\n")
corpus = {
    "kind": "corpus", "seed": 1, "report": False,
    "sources": [{"type": "list", "path": str(folder / "list.txt")}],
    "patches": {"size": 32, "per_image": 2},
    "generators": [{"name": "rows", "params": {"sigma": 5}}],
    "output": {"path": str(folder / "corpus")},
}
noisemill.build(corpus, inline=True)
rows = noisemill.open_corpus(folder / "corpus")
assert len(rows) == 4
noise = rows[0]["noisy"].astype(float) - rows[0]["clean"]
assert noise.std() > 2 and noise.std(axis=(1, 2)).max() < 1.0, "no row noise"
evaluation = {
    "kind": "evaluate", "name": "rows",
    "generators": [
        {"name": "rows", "params": {"sigma": 6}}, {"name": "awgn", "params": {"sigma": 7}}
    ],
    "data": {
        "sources": [{
            "type": "pairs", "path": str(folder), "clean": "*_clean.png", "noisy": "*_noisy.png"
        }],
        "block": 64, "grid": 1,
    },
    "metrics": {"kld": ["naflow"], "also": ["row-share"]},
    "output": {"path": str(folder / "evaluation")},
}
rows, awgn = (row.figures["summary"] for row in noisemill.evaluate(evaluation).rows)
shares = [figures["all"]["row-share"]["mean"] for figures in (rows, awgn)]
assert shares[0] < shares[1], shares
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the example into a folder of its own; return the environment that sees it."""
    if not EXAMPLE.is_dir():
        pytest.skip("the examples are in the checkout only")
    place = tmp_path_factory.mktemp("plugin")
    wheel = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheel)]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    (file,) = wheel.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(file), str(place)], check=True)
    path = os.pathsep.join([str(place), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run(arguments: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_keeps_the_contracts(installed: dict[str, str], tmp_path: Path) -> None:
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    assert " passed" in run(tests, installed, tmp_path)


def test_it_builds_a_corpus_and_measures(installed: dict[str, str], tmp_path: Path) -> None:
    run(["-c", USE, str(tmp_path)], installed, tmp_path)
