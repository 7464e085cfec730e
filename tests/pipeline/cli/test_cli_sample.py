from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

import generators
from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from pipeline.building.stages.generate import GenerateStage
from pipeline.building.stages.work import CutShard, MadeShard
from pipeline.dataset import CorpusDataset
from pipeline.models.choice import choose_weights
from tests.contracts.command import document, noisemill, write_manifest
from tests.contracts.networks import save_naflow

Texture = Callable[..., np.ndarray]
Write = Callable[[Path, np.ndarray], Path]
GAUSSIAN = {"name": "awgn", "params": {"sigma": 25}}
GENERATORS = {
    "awgn": ("--param", "sigma=25"),
    "camera": ("--iso", "3200"),
    "heteroscedastic": ("--param", "beta1=0.01", "--param", "beta2=0.0002"),
    "naflow": (),
    "poisson-gaussian": ("--param", "gain=0.01", "--param", "read_noise=0.01"),
    "spatially-variant-awgn": ("--param", "sigma=[5, 50]"),
}


KNOWN = NAFlowConfig(configurations=("phone_00800", "phone_01600", "my camera_00100"))


def write_weights(path: Path, config: NAFlowConfig = KNOWN, license: str = "CC0-1.0") -> Path:
    return save_naflow(path, NAFlow(config), license=license)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of bundled weights, with one NAFlow in it."""
    monkeypatch.setattr("generators.weights_file.FOLDER", tmp_path / "weights")
    write_weights(tmp_path / "weights" / "naflow-small.safetensors")
    return tmp_path / "weights"


@pytest.fixture
def odd(tmp_path: Path, texture: Texture, write_image: Write) -> Path:
    """A photograph of 37x53 pixels."""
    return write_image(tmp_path / "odd.png", texture(37, 53))


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("name", GENERATORS)
def test_every_generator_puts_noise_on_a_photograph_of_odd_size(
    name: str, tmp_path: Path, odd: Path
) -> None:
    out = tmp_path / "noisy"
    called = noisemill("sample", odd, "--generator", name, *GENERATORS[name], "--out", out)
    assert called.exit_code == 0, called.output
    target = out / f"odd_{name}.png"
    assert called.stdout == f"{target}\n"
    noise = cv2.imread(str(target)).astype(float) - cv2.imread(str(odd))
    assert noise.shape == (37, 53, 3)
    # The last row and column too: what is padded must not be left as it was.
    assert min(noise[-1].std(), noise[:, -1].std(), noise[:-1, :-1].std()) > 0.5


def test_every_generator_without_weights_is_tried() -> None:
    untrained = {
        name
        for name in generators.names()
        if not generators.is_trained(name) and "reference" not in generators.describe(name).needs
    }
    assert set(GENERATORS) == untrained | {"naflow"}


def test_the_depth_of_the_picture_is_kept(tmp_path: Path, texture: Texture) -> None:
    pixels = texture(16, 24)
    cv2.imwrite(str(tmp_path / "deep.png"), pixels.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "grey.png"), pixels[..., 0])
    tifffile.imwrite(tmp_path / "linear.tiff", pixels.astype(np.float32) / 255, photometric="rgb")
    pictures = [tmp_path / name for name in ("deep.png", "grey.png", "linear.tiff")]
    call = ("--generator", "awgn", "--param", "sigma=5", "--out", tmp_path / "noisy")
    results = document("sample", *pictures, *call)
    deep, grey, linear = (result["noisy"] for result in results)
    assert cv2.imread(deep, cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert cv2.imread(grey, cv2.IMREAD_UNCHANGED).shape == (16, 24)
    assert linear.endswith(".tiff")
    assert tifffile.imread(linear).dtype == np.float32


def test_equal_seeds_give_equal_pictures(tmp_path: Path, odd: Path) -> None:
    data = []
    for seed in ("1", "1", "2"):
        call = ("--generator", "awgn", "--param", "sigma=5", "--seed", seed, "--overwrite")
        (result,) = document("sample", odd, *call, "--out", tmp_path / "noisy")
        data.append(Path(result["noisy"]).read_bytes())
    assert data[0] == data[1] != data[2]


def test_pictures_of_one_name_do_not_overwrite_one_another(
    tmp_path: Path, odd: Path, texture: Texture, write_image: Write
) -> None:
    other = write_image(tmp_path / "below" / "odd.png", texture(16, 16))
    call = ("--generator", "awgn", "--param", "sigma=5", "--out", tmp_path / "noisy")
    results = document("sample", odd, other, *call)
    assert [Path(r["noisy"]).name for r in results] == ["odd_awgn.png", "odd_awgn-2.png"]


def test_a_bad_picture_is_named_and_the_others_are_made(tmp_path: Path, odd: Path) -> None:
    bad = tmp_path / "text.png"
    bad.write_text("no picture")
    call = ("--generator", "awgn", "--param", "sigma=5", "--out", tmp_path / "noisy")
    called = noisemill("sample", bad, tmp_path / "absent.png", odd, *call)
    assert called.exit_code == 1
    assert len(called.stderr.splitlines()) == 2
    assert str(bad) in called.stderr
    assert "absent.png: no such file" in called.stderr
    assert called.stdout == f"{tmp_path / 'noisy' / 'odd_awgn.png'}\n"
    results = document("sample", bad, odd, *call, "--overwrite", exit_code=1)
    assert [sorted(result) for result in results] == [["error", "image"], ["image", "noisy"]]


def test_a_grey_picture_for_a_colour_network_is_told(
    tmp_path: Path, shelf: Path, texture: Texture, write_image: Write
) -> None:
    grey = write_image(tmp_path / "grey.png", texture(16, 16, 1))
    called = noisemill("sample", grey, "--generator", "naflow", "--out", tmp_path / "noisy")
    assert called.exit_code == 1
    assert f"{grey}: " in called.stderr
    assert "convert it to RGB first" in called.stderr


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ((), "give at least one image and --generator NAME"),
        (("--generator", "agwn"), "Did you mean 'awgn'?"),
        (("--generator", "awgn"), "needs parameter 'sigma'"),
        (("--generator", "awgn", "--param", "sigma"), "--param takes KEY=VALUE"),
        (("--generator", "awgn", "--param", "sigm=5"), "Did you mean 'sigma'?"),
        (("--generator", "awgn", "--param", "sigma=["), "is no YAML value"),
        (("--generator", "awgn", "--param", "sigma=5", "--iso", "800"), "has no use for --iso"),
        (("--generator", "awgn", "--weights", "x", "--param", "sigma=5"), "there are no weights"),
        (("--generator", "naflow", "--camera", "phone"), "needs --iso"),
        (("--generator", "naflow", "--camera", "x", "--iso", "9"), "does not know camera 'x'"),
        (("--generator", "naflow", "--param", "sampling=noise-aware"), "needs --reference"),
        (("--corpus", "x"), "--corpus and --id go together"),
    ],
)
def test_a_wrong_call_is_refused_with_what_is_missing(
    call: tuple[str, ...], words: str, shelf: Path, tmp_path: Path, odd: Path
) -> None:
    called = noisemill("sample", odd, *call, "--out", tmp_path / "noisy")
    assert called.exit_code == 2
    assert words in called.stderr
    assert called.stdout == ""
    assert not (tmp_path / "noisy").exists()


@pytest.mark.usefixtures("shelf")
def test_naflow_samples_by_what_it_is_given(tmp_path: Path, odd: Path, pair_folder: Path) -> None:
    pair = (pair_folder / "desk_mean.png", pair_folder / "desk_Real.png")
    for number, how in enumerate(
        [(), ("--camera", "my camera", "--iso", "100"), ("--reference", *pair)]
    ):
        out = tmp_path / str(number)
        called = noisemill("sample", odd, "--generator", "naflow", *how, "--out", out)
        assert called.exit_code == 0, called.output
    crooked = (pair_folder / "desk_mean.png", odd)
    called = noisemill("sample", odd, "--generator", "naflow", "--reference", *crooked)
    assert called.exit_code == 2
    assert "is 64x48 with 3 channels" in called.stderr


def test_the_weights_that_know_the_camera_and_iso_are_taken_and_told(
    tmp_path: Path, shelf: Path, odd: Path
) -> None:
    few = NAFlowConfig(configurations=("tablet_00400", "phone_00800"))
    write_weights(shelf / "naflow-few.safetensors", few, license="terms of few")
    call = ("sample", odd, "--generator", "naflow", "--overwrite", "--out", tmp_path / "noisy")
    for given, taken in (
        ((), "naflow-small"),  # knows more
        (("--camera", "tablet", "--iso", "400"), "naflow-few"),
        (("--camera", "my camera", "--iso", "100"), "naflow-small"),
        (("--camera", "phone", "--iso", "800"), "naflow-small"),  # both do
        (("--weights", "naflow-few"), "naflow-few"),
    ):
        terms = "terms of few" if taken == "naflow-few" else "CC0-1.0"
        called = noisemill(*call, *given)
        assert called.exit_code == 0, called.output
        assert f"weights {taken} ({terms})" in called.stderr
        (result,) = document(*call, *given)
        assert (result["weights"], result["license"]) == (taken, terms)
    called = noisemill(*call, "--camera", "tablet", "--iso", "800")
    assert called.exit_code == 2
    assert "of generator 'naflow' know camera 'tablet' at ISO 800:" in called.stderr
    assert "naflow-few knows tablet, phone (terms of few)" in called.stderr
    assert "terms of few" in noisemill("models", "naflow").stdout


def test_a_result_that_is_there_is_replaced_only_if_asked(tmp_path: Path, odd: Path) -> None:
    out = tmp_path / "noisy"
    call = ("sample", odd, "--generator", "awgn", "--param", "sigma=25", "--out", out)
    assert noisemill(*call).exit_code == 0
    first = (out / "odd_awgn.png").read_bytes()
    called = noisemill(*call, "--seed", "1")
    assert called.exit_code == 1
    assert "odd_awgn.png is there already" in called.stderr
    assert "--overwrite" in called.stderr
    assert [path.name for path in out.iterdir()] == ["odd_awgn.png"]
    assert (out / "odd_awgn.png").read_bytes() == first
    assert noisemill(*call, "--seed", "1", "--overwrite").exit_code == 0
    assert [path.name for path in out.iterdir()] == ["odd_awgn.png"]
    assert (out / "odd_awgn.png").read_bytes() != first


def test_weights_are_chosen_among_those_that_are_bundled(
    tmp_path: Path, shelf: Path, odd: Path
) -> None:
    assert choose_weights("awgn") is None
    write_weights(shelf / "naflow-other.safetensors")
    chosen = choose_weights("naflow")
    assert chosen is not None
    assert (chosen.name, chosen.others) == ("naflow-other", ["naflow-small"])  # of equals the first
    call = ("sample", odd, "--generator", "naflow", "--overwrite", "--out", tmp_path / "noisy")
    assert noisemill(*call).exit_code == 0
    assert noisemill(*call, "--weights", "naflow-small").exit_code == 0
    assert noisemill(*call, "--weights", shelf / "naflow-other.safetensors").exit_code == 0
    for path in shelf.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="none are bundled"):
        choose_weights("naflow")
    with pytest.raises(ValueError, match="there is no generator 'x'"):
        choose_weights("x")


def test_a_sample_of_a_corpus_is_made_again(tmp_path: Path, photo_folder: Path) -> None:
    manifest = write_manifest(tmp_path / "m.yaml", source=photo_folder)
    assert noisemill("run", manifest, "--inline").exit_code == 0
    from pipeline.corpus.formats import open_shard
    from pipeline.corpus.index import load_corpus

    corpus, out = tmp_path / "out", tmp_path / "again"
    with open_shard(str(corpus), load_corpus(str(corpus)).shards[0].files[0]) as shard:
        name = shard.columns(["sample_id"])["sample_id"][3]
        stored = shard.pair(3)[1]
    again = document("sample", "--corpus", corpus, "--id", name, "--out", out)
    assert again["equal"] is True
    assert again["verdict"] == "equal"
    assert again["made_on"] == again["made_here"] != ""
    assert np.array_equal(cv2.imread(again["noisy"])[..., ::-1], stored)
    called = noisemill("sample", "--corpus", corpus, "--id", "nothing", "--out", out)
    assert called.exit_code == 1
    assert "holds no sample 'nothing'" in called.stderr
    (photo_folder / "a.png").unlink()
    called = noisemill("sample", "--corpus", corpus, "--id", name, "--out", out)
    assert called.exit_code == 1
    assert "is not among the sources any more" in called.stderr


@pytest.mark.usefixtures("shelf")
def test_a_networks_sample_is_compared_within_a_tolerance_on_another_kind_of_processor(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"name": "naflow", "weights": "naflow-small", "params": {"sampling": "random"}}
    manifest = write_manifest(
        tmp_path / "m.yaml", source=photo_folder, generators=[network, GAUSSIAN]
    )
    assert noisemill("run", manifest, "--inline").exit_code == 0
    corpus = tmp_path / "out"
    names = [row["sample_id"] for row in CorpusDataset(corpus)]
    naflow, awgn = (next(n for n in names if n.endswith(g)) for g in ("-naflow", "-awgn"))
    call = ("sample", "--corpus", corpus, "--out", tmp_path / "again", "--overwrite", "--id")
    assert "(made on" not in noisemill(*call, naflow).stdout

    make = GenerateStage.__call__

    def one_level_off(stage: GenerateStage, cut: CutShard) -> MadeShard:
        shard = make(stage, cut)
        shard.noisy[0, 0, 0, 0] ^= 1
        return shard

    monkeypatch.setattr(GenerateStage, "__call__", one_level_off)
    assert "DIFFERENT" in noisemill(*call, naflow).stdout
    monkeypatch.setattr("pipeline.building.stages.generate.processor", lambda device: "another")
    monkeypatch.setattr(
        "pipeline.pictures.sample.within_tolerance", lambda one, other, precision: True
    )
    called = noisemill(*call, naflow)
    assert called.exit_code == 0
    assert "within the tolerance between kinds of processor" in called.stdout
    assert "this is another)" in called.stdout
    called = noisemill(*call, awgn)
    assert called.exit_code == 1
    assert "DIFFERENT" in called.stdout
