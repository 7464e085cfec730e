"""Loading: what a good manifest becomes, and where each mistake of a bad one is told."""

from __future__ import annotations

import json
import pickle
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pipeline.canonical import canonical_json, sha256_of
from pipeline.manifest.load import ManifestError, Mistake, load_manifest
from pipeline.manifest.models import CorpusManifest, TrainGeneratorManifest

GOOD = """\
kind: corpus
seed: 7
sources:
  - type: pairs
    path: photos
    metadata: pairs.csv
  - type: photographs
    names: [coffee]
patches: {size: 64, per_image: 3}
generators:
  - name: awgn
    params: {sigma: [5, 25]}
output:
  path: out/x
  bytes_per_shard: 64MB
"""


def write(folder: Path, text: str | bytes, name: str = "m.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def mistakes(folder: Path, text: str | bytes, *overrides: str, **environ: str) -> list[Mistake]:
    with pytest.raises(ManifestError) as caught:
        load_manifest(write(folder, text), overrides=overrides, environ=environ)
    return caught.value.mistakes


def only(folder: Path, text: str | bytes, *overrides: str, **environ: str) -> Mistake:
    (mistake,) = mistakes(folder, text, *overrides, **environ)
    return mistake


def test_a_good_manifest_is_checked_and_keeps_its_data(tmp_path: Path) -> None:
    loaded = load_manifest(write(tmp_path, GOOD), environ={})
    assert isinstance(loaded.manifest, CorpusManifest)
    assert loaded.manifest.output.bytes_per_shard == 64_000_000
    assert loaded.data["output"] == {"path": "out/x", "bytes_per_shard": "64MB"}
    assert loaded.path == str(tmp_path / "m.yaml")
    assert json.loads(canonical_json(loaded.data)) == loaded.data
    assert loaded.sha256 == sha256_of(loaded.data)


def test_the_hash_follows_the_content_and_not_the_writing(tmp_path: Path) -> None:
    plain = load_manifest(write(tmp_path, GOOD), environ={})
    lines = GOOD.splitlines()
    moved = "# a comment\n" + "\n".join([*lines[2:], *lines[:2]])
    same = load_manifest(write(tmp_path, moved, "b.yaml"), environ={})
    other = load_manifest(write(tmp_path, GOOD), overrides=["seed=8"], environ={})
    assert plain.sha256 == same.sha256 != other.sha256


def test_the_other_kind_is_told_by_kind(tmp_path: Path) -> None:
    text = """
kind: train-generator
name: x
data: {sources: [{type: pairs, path: p, clean: "*_a.png", noisy: "*_b.png"}]}
schedule: {steps: 3, learning_rate: 5e-4, betas: [0.9, 0.999]}
output: {path: o}
"""
    manifest = load_manifest(write(tmp_path, text), environ={}).manifest
    assert isinstance(manifest, TrainGeneratorManifest)
    assert manifest.schedule.learning_rate == 5e-4


def test_an_unknown_key_names_its_line_a_guess_and_the_allowed_keys(tmp_path: Path) -> None:
    text = GOOD.replace("patches: {size: 64, per_image: 3}", "patches:\n  sise: 64")
    with pytest.raises(ManifestError) as caught:
        load_manifest(write(tmp_path, text, "quick.yaml"), environ={})
    assert str(caught.value) == (
        f"{tmp_path}/quick.yaml:10: patches.sise: unknown key 'sise'; did you mean 'size'? "
        "Allowed: size, stride, per_image, min_texture, color"
    )
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.column, mistake.key_path) == (10, 3, "patches.sise")


# What is changed in the good manifest; line and key of the one mistake; words of the message.
SLIPS = {
    "type": ("seed: 7", "seed: seven", 2, "seed", "found 'seven'; expected a whole number"),
    "range": ("seed: 7", "seed: -7", 2, "seed", "found -7; expected a whole number at least 0"),
    "bounds": ("size: 64", "size: 4", 9, "patches.size", "from 8 to 4096"),
    "truth value for a number": ("seed: 7", "seed: true", 2, "seed", "found true"),
    "nothing": ("size: 64", "size:", 9, "patches.size", "found nothing; expected a whole number"),
    "fraction": ("size: 64", "size: 64.5", 9, "patches.size", "found 64.5"),
    "not a number": ("size: 64", "size: .nan", 9, "patches.size", "expected a finite number"),
    "number for a text": (
        "path: photos",
        "path: 2024",
        5,
        "sources.0.path",
        "found 2024; expected a text",
    ),
    "blank path": ("path: out/x", "path: '  '", 14, "output.path", "a text that is not empty"),
    "empty path": ("path: out/x", "path: ''", 14, "output.path", "a text that is not empty"),
    "bytes": ("64MB", "64XB", 15, "output.bytes_per_shard", "no number of bytes; write 64MB"),
    "list of bytes": ("64MB", "[1]", 15, "output.bytes_per_shard", "a text or a whole number"),
    "choice in a list": ("[coffee]", "[coffe]", 8, "sources.1.names.0", "did you mean 'coffee'?"),
    "empty list": ("[coffee]", "[]", 8, "sources.1.names", "a list with at least one item"),
    "kind": ("kind: corpus", "kind: corpse", 1, "kind", "did you mean 'corpus'? Allowed: corpus,"),
    "source type": (
        "type: photographs",
        "type: fotographs",
        7,
        "sources.1.type",
        "did you mean 'photographs'? Allowed: photographs, images, pairs, corpus",
    ),
    "generator": (
        "name: awgn",
        "name: agwn",
        11,
        "generators.0.name",
        "unknown generator 'agwn'; did you mean 'awgn'? Allowed: awgn, awgn-measured,",
    ),
    "source without type": (
        "type: photographs",
        "split: val",
        7,
        "sources.1.type",
        "missing key 'type'; expected one of photographs, images, pairs, corpus",
    ),
    "item that is no mapping": (
        "- name: awgn\n    params: {sigma: [5, 25]}",
        "- 3",
        11,
        "generators.0",
        "found 3; expected a mapping with the keys name, label",
    ),
    "key of another type": (
        "names: [coffee]",
        "path: x",
        8,
        "sources.1.path",
        "it belongs to type images, pairs, corpus",
    ),
    "key of the top in a section": (
        "  path: out/x",
        "  path: out/x\n  report: false",
        15,
        "output.report",
        "; it belongs to the top of the manifest, not into a section",
    ),
    "key of another section": ("seed: 7", "size: 7", 2, "size", "did you mean 'patches.size'?"),
    "missing key": ("  path: out/x\n", "", 13, "output.path", "missing key 'path'; expected"),
    "indentation": ("generators:", "", 11, "", "not valid YAML"),
    "duplicate": (
        "seed: 7",
        "seed: 7\nseed: 8",
        3,
        "seed",
        "duplicate key 'seed', first given on line 2",
    ),
    "both kinds of patches": ("size: 64", "stride: 3", 9, "patches.per_image", "not both"),
    "one way to pair": ("metadata: pairs.csv", "clean: a", 4, "sources.0.noisy", "give either"),
    "mapping for a text": (
        "path: out/x",
        "path: {a: 1}",
        14,
        "output.path",
        "found a mapping; expected a text",
    ),
    "text for a mapping": (
        "patches: {size: 64, per_image: 3}",
        "patches: 64",
        9,
        "patches",
        "found 64; expected a mapping with the keys size, stride",
    ),
    "tag": ("seed: 7", "seed: !!binary abcd", 2, "seed", "tag '!!binary'"),
    "python tag": ("seed: 7", "seed: !!python/name:os.system x", 2, "seed", "!!python/name"),
    "character": ("photos", '"a\\0b"', 5, "sources.0.path", "found 'a\\x00b'"),
    "huge number": ("seed: 7", f"seed: {'9' * 5000}", 2, "seed", "whole number below 2^64"),
    "alias of itself": ("{sigma: [5, 25]}", "&a {b: *a}", 12, "generators.0.params.b", "itself"),
    "list as a key": ("seed: 7", "? [1]\n: 2", 2, "", "a key that is a list or a mapping"),
    "tab": ("  path: out/x", "\tpath: out/x", 14, "", "indent with spaces, not with tabs"),
    "colon": ("path: photos", "path: a: b", 5, "", "(column 12)"),
    "expression in a list": ("[coffee]", "[${A}]", 8, "", "put quotes around ${...}"),
    "expression": ("photos", "${A-b}", 5, "sources.0.path", "is no environment expression"),
    "open expression": ("photos", "${A", 5, "sources.0.path", "without a closing"),
    "unset variable": ("photos", "${A}/b", 5, "sources.0.path", "variable A is not set"),
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
def test_a_slip_gives_one_mistake_at_its_line(
    tmp_path: Path, slip: tuple[str, str, int, str, str]
) -> None:
    old, new, line, key_path, words = slip
    assert GOOD.count(old) == 1
    mistake = only(tmp_path, GOOD.replace(old, new))
    assert words in str(mistake)
    assert (mistake.line, mistake.key_path) == (line, key_path)
    assert "\n" not in str(mistake)


def test_all_mistakes_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = """\
kind: corpsu
sede: 1
sources:
  - {type: image, path: "${NOT_SET}/x", scene: "("}
  - {type: pairs, path: p}
patches: {size: 4, stride: 8, per_image: 2, colour: grey}
generators: [{name: awgn}, {name: awgn}, {nam: camera}]
splits: {train: 0.5}
output: {path: "", formats: [hdf5, hdf5], rows_per_shard: 0}
output: {path: x}
"""
    found = mistakes(tmp_path, text, "limits.max_rejected=2", "nonsense")
    assert [(m.line, m.key_path) for m in found] == [
        (1, "kind"),
        (2, "sede"),
        (4, "sources.0.type"),
        (4, "sources.0.path"),
        (4, "sources.0.scene"),
        (5, "sources.1.noisy"),
        (6, "patches.size"),
        (6, "patches.per_image"),
        (6, "patches.colour"),
        (7, "generators.1.name"),
        (7, "generators.2.name"),
        (7, "generators.2.nam"),
        (8, "splits.test"),
        (9, "output.path"),
        (9, "output.formats"),
        (9, "output.rows_per_shard"),
        (10, "output"),
        (None, "limits.max_rejected"),
        (None, ""),
    ]


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "- a\n- b\n", "text", "3", "---\n---\n"]
)
def test_a_file_that_is_no_mapping_is_one_mistake(tmp_path: Path, text: str) -> None:
    assert only(tmp_path, text).file.endswith("m.yaml")


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"kind: corpus\nname: caf\xe9\n", 2, "byte 0xe9 is not UTF-8"),
        (b"kind: corpus\nname: a\x00b\n", 2, "character '\\x00' is not allowed"),
        (b"[" * 3000, 1, "nested too deeply"),
        (b"kind: " + b"[" * 60 + b"]" * 60, 1, "too deeply nested"),
        (b'kind: "\\U00110000"', 1, "not valid YAML"),
        (b"x" * 4_000_001, None, "more than 4 MB"),
    ],
    ids=["latin-1", "nul", "deep", "too deep", "no such character", "large"],
)
def test_odd_files_are_mistakes(
    tmp_path: Path, content: bytes, line: int | None, words: str
) -> None:
    found = mistakes(tmp_path, content)
    assert any(m.line == line and words in str(m) for m in found)


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert any("too many values" in str(m) for m in mistakes(tmp_path, "\n".join(rows)))


def test_anchors_and_merge_keys_work_and_keep_their_lines(tmp_path: Path) -> None:
    text = GOOD.replace(
        "    params: {sigma: [5, 25]}\n",
        "    params: &noise\n      sigma: 5\n      mode: a\n"
        "  - name: camera\n    params:\n      <<: *noise\n      mode: b\n",
    )
    loaded = load_manifest(
        write(tmp_path, text), overrides=["generators.1.params.sigma=9"], environ={}
    )
    assert loaded.data["generators"][0]["params"] == {"sigma": 5, "mode": "a"}
    assert loaded.data["generators"][1]["params"] == {"sigma": 9, "mode": "b"}
    bad = text.replace("patches: {", "splits: &s\n  train: 2\npatches: {<<: *s, ")
    assert [(m.line, m.key_path) for m in mistakes(tmp_path, bad)] == [
        (10, "patches.train"),
        (10, "splits.train"),
    ]


def test_yaml_is_read_as_editors_read_it(tmp_path: Path) -> None:
    params = "{a: on, b: 12:30, c: 5e-4, d: 010, e: 0x1F, f: 2020-01-01, g: 1_000, h: ~, 5: no}"
    text = GOOD.replace("{sigma: [5, 25]}", params)
    data = load_manifest(write(tmp_path, text), environ={}).data
    assert data["generators"][0]["params"] == {
        "a": "on", "b": "12:30", "c": 5e-4, "d": 10, "e": 31, "f": "2020-01-01", "g": "1_000",
        "h": None, "5": "no",
    }  # fmt: skip


def test_the_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert (
        load_manifest(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()), environ={}).data["seed"]
        == 7
    )


def test_a_message_stays_on_one_line_whatever_the_keys(tmp_path: Path) -> None:
    mistake = only(tmp_path, GOOD.replace("seed: 7", '"a\\nb\\e[31m": 7'))
    assert str(mistake).isprintable()


def test_the_error_survives_pickling(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(write(tmp_path, GOOD + "x: 1\n"), environ={})
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.mistakes == caught.value.mistakes
    assert str(again) == str(caught.value)


def test_a_wrong_name_lists_the_bundled_manifests_with_a_guess(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"did you mean 'quickstart'\? .*polyu-naflow"):
        load_manifest("quikstart")
    with pytest.raises(ManifestError, match="no such manifest; bundled manifests: "):
        load_manifest(str(tmp_path / "zzz.yaml"))
    with pytest.raises(ManifestError, match="no such manifest"):
        load_manifest("")


def test_a_file_without_an_ending_is_taken_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, GOOD, "mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match=r"did you mean the file '\./mine'\?"):
        load_manifest("mine")
    assert load_manifest("./mine", environ={}).data["seed"] == 7


@pytest.mark.parametrize("name", ["{}", "{}/a/b.yaml", "{}/a\0b.yaml", "{}/" + "x" * 300 + ".yaml"])
def test_paths_that_cannot_be_read_are_mistakes(tmp_path: Path, name: str) -> None:
    write(tmp_path, GOOD, "a")
    with pytest.raises(ManifestError) as caught:
        load_manifest(name.format(tmp_path))
    assert len(caught.value.mistakes) == 1


def test_a_mistake_found_later_still_gets_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    loaded = load_manifest(path, overrides=["generators.0.params.sigma=5"], environ={})
    later = loaded.mistake("sources", 0, "path", found="no such folder 'photos'", hint="make it")
    assert str(later) == f"{path}:5: sources.0.path: no such folder 'photos'; make it"
    param = loaded.mistake("generators", 0, "params", "sigma", found="too small")
    assert str(param) == "--set generators.0.params.sigma=5: generators.0.params.sigma: too small"


def test_a_clash_of_installed_generators_is_told_as_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint(name="awgn", value="elsewhere:Noise", group="noisemill.generators")
    monkeypatch.setattr(
        "generators.registry.entry_points", lambda group: [entry] if group == entry.group else []
    )
    assert "plug-in generator 'awgn'" in str(only(tmp_path, GOOD))
