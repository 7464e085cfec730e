"""Environment expressions and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest.expand import expand
from pipeline.manifest.load import LoadedManifest, ManifestError, load_manifest

ENV = {"A": "x", "EMPTY": "", "N": "32", "T": "true", "LIST": "[5, 50]", "BAD": "[5"}

TEMPLATE = """\
kind: corpus
sources:
  - {type: images, path: photos}
  - type: pairs
    path: ${DATA}/polyu
    metadata: m.csv
generators:
  - name: awgn
    params:
      value: VALUE
output: {path: out}
"""


def load(folder: Path, *overrides: str, text: str = TEMPLATE, **environ: str) -> LoadedManifest:
    path = folder / "m.yaml"
    path.write_text(text)
    return load_manifest(str(path), overrides=overrides, environ={"DATA": "/d", **environ})


def failure(folder: Path, *overrides: str, text: str = TEMPLATE, **environ: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(folder, *overrides, text=text, **environ)
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a${A}b${A}", "axbx"),
        ("${B:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("${B:-}", ""),
        ("${B:-${A}/y}", "x/y"),
        ("${B:-${C:-z}}", "z"),
        ("$A $ {A} $", "$A $ {A} $"),
        ("$${A}", "${A}"),
        ("$${A} ${A}", "${A} x"),
        ("${B:-a:-b}", "a:-b"),
    ],
)
def test_expressions_expand_as_in_a_shell(text: str, expected: str) -> None:
    expansion = expand(text, ENV)
    assert expansion.text == expected
    assert expansion.problems == ()


@pytest.mark.parametrize("text", ["${B}", "${}", "${1}", "${A", "${A-b}", "${B:-${C}}", "${A B}"])
def test_expressions_without_a_value_are_problems(text: str) -> None:
    assert len(expand(text, ENV).problems) == 1


def test_values_are_not_expanded_again() -> None:
    assert expand("${X}", {"X": "${Y}"}).text == "${Y}"


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        ("${N}", 32),
        ("${B:-5e-4}", 5e-4),
        ("${T}", True),
        ("${LIST}", [5, 50]),
        ("${BAD}", "[5"),
        ("${EMPTY}", None),
        ('"${N}"', "32"),
        ("'${N}'", "32"),
        ("${N}0", "320"),
        ("$${N}", "${N}"),
        ("${A}", "x"),
    ],
)
def test_only_a_bare_expression_is_read_again(tmp_path: Path, scalar: str, expected: Any) -> None:
    data = load(tmp_path, text=TEMPLATE.replace("VALUE", scalar), **ENV).data
    value = data["generators"][0]["params"]["value"]
    assert (value, type(value)) == (expected, type(expected))


def test_a_text_from_the_environment_that_looks_like_a_number_stays_a_text(tmp_path: Path) -> None:
    text = TEMPLATE.replace("{path: out}", "\n  path: ${DIR}")
    loaded = load(tmp_path, text=text, DIR="2024")
    assert loaded.manifest.output.path == loaded.data["output"]["path"] == "2024"
    assert "must" not in failure(tmp_path, text=text, DIR="")[0]


def test_a_variable_of_nearly_the_name_is_offered(tmp_path: Path) -> None:
    text = TEMPLATE.replace("${DATA}", "${NOISEMILL_DATE}")
    (line,) = failure(tmp_path, text=text, NOISEMILL_DATA="/secret")
    assert "did you mean 'NOISEMILL_DATA'" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("patches.size=32", ("patches", "size"), 32),
        ("sources.0.path=x", ("sources", 0, "path"), "x"),
        ("generators.0.params.sigma=[5,50]", ("generators", 0, "params", "sigma"), [5, 50]),
        ("generators.0.params={a: {b: 1}}", ("generators", 0, "params"), {"a": {"b": 1}}),
        ("output.path=a=b", ("output", "path"), "a=b"),
        ("sources.0.pattern=*.png", ("sources", 0, "pattern"), "*.png"),
        ("output.path=s3://bucket/x", ("output", "path"), "s3://bucket/x"),
        ("license=", ("license",), None),
        ("output.path='7'", ("output", "path"), "7"),
        ("output.path=${A}/y", ("output", "path"), "x/y"),
        ("patches.size=${N}", ("patches", "size"), 32),
    ],
)
def test_overrides_put_yaml_values_at_dotted_paths(
    tmp_path: Path, override: str, path: tuple[str | int, ...], expected: Any
) -> None:
    value: Any = load(tmp_path, override, **ENV).data
    for part in path:
        value = value[part]
    assert value == expected


def test_the_last_override_wins_and_an_earlier_fault_is_forgotten(tmp_path: Path) -> None:
    loaded = load(tmp_path, "patches.size=[1", "patches.size=[16, 1]", "patches.size=48")
    assert loaded.data["patches"] == {"size": 48}


def test_an_override_makes_an_unset_variable_harmless(tmp_path: Path) -> None:
    text = TEMPLATE.replace("${DATA}", "${NOT_SET}")
    assert load(tmp_path, "sources.1.path=p", text=text).data["sources"][1]["path"] == "p"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("patches", "no '='; expected key=value"),
        ("=3", "the key is ''"),
        ("patches..size=3", "the key is 'patches..size'"),
        ("patchs.size=3", "patchs: unknown key 'patchs'; did you mean 'patches'?"),
        ("sources.2.path=x", "sources.2: no item '2'; expected a number from 0 to 1"),
        ("sources.-1.path=x", "sources.-1: no item '-1'"),
        ("sources.x.path=x", "sources.x: no item 'x'"),
        ("kind.x=1", "kind.x: 'kind' is 'corpus'; expected a mapping or a list there"),
        ("patches.size=2", "patches.size: found 2; expected a whole number from 8 to 4096"),
        ("patches.size=[1", "patches.size: not valid YAML"),
        ("patches={size: 2, sise: 16}", "patches.sise: unknown key 'sise'"),
        ("patches={size: 9, size: 16}", "patches.size: duplicate key 'size'"),
        ("sources=", "sources: found nothing; expected a list"),
        ("patches.size=${NOT_SET}", "patches.size: environment variable NOT_SET is not set"),
        ("kind=corps", "kind: unknown kind 'corps'"),
        ("output.formats.0=hdf5", "output.formats: found a mapping; expected a list"),
    ],
)
def test_a_mistake_in_an_override_names_the_override(
    tmp_path: Path, override: str, words: str
) -> None:
    lines = failure(tmp_path, override)
    assert any(line.startswith(f"--set {override}: ") and words in line for line in lines)
    assert all(line.startswith("--set") for line in lines)


def test_a_mistake_beside_an_override_keeps_its_line(tmp_path: Path) -> None:
    text = TEMPLATE.replace("metadata: m.csv", "metadata: 5")
    (line,) = failure(tmp_path, "sources.1.path=p", text=text)
    assert line.startswith(f"{tmp_path}/m.yaml:6: sources.1.metadata: found 5")


def test_odd_bytes_in_overrides_and_environment_are_mistakes(tmp_path: Path) -> None:
    for override in ("output.path=a\udcffb", "\udcff=1", "output.path=\x00", "a\n=1"):
        assert all(line.isprintable() for line in failure(tmp_path, override))
    assert all(line.isprintable() for line in failure(tmp_path, DATA="\udcff"))
