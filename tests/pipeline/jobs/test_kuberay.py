"""KubeRay objects: valid against the definitions, strict ones, and true to the manifest."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import manifests
from pipeline.jobs.cron import check_cron
from pipeline.jobs.kuberay import ClusterShape, render
from pipeline.jobs.portable import JobManifest

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("NOISEMILL_DATA", ROOT / "../shared/data"))
EXAMPLES = Path(manifests.__file__).parent / "cluster"
EXAMPLE_SHAPE = ClusterShape(
    image="registry.example.com/noisemill:0.1.0",
    workers=4,
    cpus=8,
    gpus=1,
    memory="32Gi",
    secret="noisemill-s3",
)
EXAMPLE_CRON = {"rayjob.yaml": None, "raycronjob.yaml": "0 3 * * *"}
TEXT = "kind: corpus\nname: Night shift\noutput:\n  path: s3://bucket/corpus\n"
NIGHT = JobManifest(name="Night shift", text=TEXT)
SMALL = ClusterShape(image="noisemill:1")

SHAPES = {
    "small": SMALL,
    "example": EXAMPLE_SHAPE,
    "claim": ClusterShape(image="a/b:c", claim="photos", mount="/mnt/photos", deadline_s=7200),
}
CRONS = {"once": (None, None), "nightly": ("0 3 * * *", None), "zone": ("0 3 * * *", "Asia/Tokyo")}


def objects(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config, job = yaml.safe_load_all(text)
    return config, job


def definition(kind: str) -> dict[str, Any]:
    path = DATA / "kuberay" / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"no KubeRay definitions at {path}; set NOISEMILL_DATA")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    versions = {v["name"]: v for v in document["spec"]["versions"]}
    schema = versions["v1"]["schema"]["openAPIV3Schema"]
    return strict(schema)


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Forbid what the API server would silently drop: fields the definition does not name."""
    schema = copy.deepcopy(schema)
    todo: list[Any] = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
                node["additionalProperties"] = False
            todo += node.values()
    return schema


@pytest.fixture(scope="module")
def schemas() -> dict[str, jsonschema.Draft202012Validator]:
    # Validators, not schemas: jsonschema.validate checks the megabyte of schema itself each time.
    kinds = ("RayJob", "RayCronJob")
    return {kind: jsonschema.Draft202012Validator(definition(kind)) for kind in kinds}


@pytest.mark.parametrize("cron", CRONS.values(), ids=CRONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_job_validates_against_the_definition_with_no_field_it_would_drop(
    schemas: dict[str, Any], shape: ClusterShape, cron: tuple[str | None, str | None]
) -> None:
    _, job = objects(render(NIGHT, shape, cron=cron[0], time_zone=cron[1]))
    assert job["kind"] == ("RayCronJob" if cron[0] else "RayJob")
    schemas[job["kind"]].validate(job)


@pytest.mark.parametrize(
    ("where", "key"),
    [((), "specs"), (("spec",), "entrypoints"), (("spec", "rayClusterSpec"), "rayversion")],
)
def test_the_validation_finds_a_misspelt_field(
    schemas: dict[str, Any], where: tuple[str, ...], key: str
) -> None:
    _, job = objects(render(NIGHT, SMALL))
    node = job
    for step in where:
        node = node[step]
    node[key] = "x"
    with pytest.raises(jsonschema.ValidationError):
        schemas["RayJob"].validate(job)


def test_every_field_down_to_the_containers_is_known_to_the_definition(
    schemas: dict[str, Any],
) -> None:
    _, job = objects(render(NIGHT, SHAPES["claim"]))
    worker = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    worker["containers"][0]["resource"] = {}
    with pytest.raises(jsonschema.ValidationError, match="resource"):
        schemas["RayJob"].validate(job)


@pytest.mark.parametrize("name", EXAMPLE_CRON)
def test_worked_example_is_what_the_command_prints(name: str) -> None:
    manifest = JobManifest.read(EXAMPLES / "s3-corpus.yaml")
    expected = render(manifest, EXAMPLE_SHAPE, cron=EXAMPLE_CRON[name])
    assert (EXAMPLES / name).read_text(encoding="utf-8") == expected


def test_the_example_is_a_valid_manifest() -> None:
    models = pytest.importorskip("pipeline.manifest.models")
    from pydantic import TypeAdapter

    text = (EXAMPLES / "s3-corpus.yaml").read_text(encoding="utf-8")
    assert TypeAdapter(models.Manifest).validate_python(yaml.safe_load(text)).kind == "corpus"


def test_manifest_text_arrives_unchanged_where_the_entry_point_reads_it() -> None:
    text = TEXT + "# ümlaut, trailing blanks   \n\tdescription: 'x: y'\n\n"
    config, job = objects(render(JobManifest(name="n", text=TEXT), SMALL))
    assert config["data"] == {"manifest.yaml": TEXT}
    awkward = JobManifest(name="n", text=text.replace("\t", ""))
    assert objects(render(awkward, SMALL))[0]["data"]["manifest.yaml"] == awkward.text

    spec = job["spec"]
    pod = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "manifest")
    volume = next(v for v in pod["volumes"] if v["name"] == "manifest")
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert f"run {mount['mountPath']}/manifest.yaml " in spec["entrypoint"]


def test_overrides_reach_the_entry_point_quoted() -> None:
    manifest = JobManifest(name="n", text=TEXT, overrides=("name=two words; rm -rf /",))
    _, job = objects(render(manifest, SMALL))
    assert job["spec"]["entrypoint"].endswith("--set 'name=two words; rm -rf /'")


def test_a_changed_manifest_gets_a_new_job_but_keeps_its_cron_job() -> None:
    changed = JobManifest(name=NIGHT.name, text=TEXT + "seed: 2\n")
    once = [objects(render(m, SMALL))[1]["metadata"]["name"] for m in (NIGHT, changed)]
    nightly = [
        objects(render(m, SMALL, cron="0 3 * * *"))[1]["metadata"]["name"] for m in (NIGHT, changed)
    ]
    assert once[0] != once[1]
    assert nightly == ["noisemill-night-shift"] * 2
    assert render(NIGHT, SMALL) == render(NIGHT, SMALL)


def test_long_and_odd_names_become_names_kubernetes_takes() -> None:
    manifest = JobManifest(name="Ünïcode / " + "x" * 200, text=TEXT)
    for text in (render(manifest, SMALL), render(manifest, SMALL, cron="0 3 * * *")):
        name = objects(text)[1]["metadata"]["name"]
        assert len(name) <= 47 - 11
        assert name.replace("-", "a").isalnum()
        assert name.isascii()
        assert name[-1] != "-"


@pytest.mark.parametrize(
    "expression",
    ["* * * * *", "0 3 * * *", "*/5 0-6 1,15 JAN-mar MON,fri", "59 23 31 12 0", "5/15 * * * *"],
)
def test_good_schedules_pass(expression: str) -> None:
    check_cron(expression)


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("", "five fields"),
        ("0 3 * *", "has 4"),
        ("0 0 3 * * *", "has 6"),
        ("@daily", "five fields"),
        ("60 3 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 3 0 * *", "day of month"),
        ("0 3 * 13 *", "month"),
        ("0 3 * * 7", "day of week"),
        ("0 3 * * FUN", "day of week"),
        ("5-1 * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("٣ * * * *", "minute"),
    ],
)
def test_bad_schedules_are_refused_by_field(expression: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        render(NIGHT, SMALL, cron=expression)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image": ""}, "image"),
        ({"workers": 0}, "workers"),
        ({"gpus": -1}, "gpus"),
        ({"memory": "lots"}, "memory"),
        ({"head_memory": "8 GB"}, "head_memory"),
        ({"namespace": "My_Space"}, "namespace"),
        ({"secret": "s3 key"}, "secret"),
        ({"mount": "data"}, "mount"),
        ({"deadline_s": 0}, "deadline_s"),
    ],
)
def test_bad_shapes_are_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ClusterShape(**{"image": "noisemill:1", **change})


def test_paths_no_pod_can_see_are_refused() -> None:
    local = JobManifest(name="n", text="output: {path: out}\nsources: [{path: /photos}]\n")
    with pytest.raises(ValueError, match=r"output\.path: out\n  sources\.0\.path: /photos"):
        render(local, SMALL)
    claimed = ClusterShape(image="i", claim="photos", mount="/photos")
    below = JobManifest(name="n", text="output: {path: /photos/out}\n")
    assert "claimName: photos" in render(below, claimed)
    with pytest.raises(ValueError, match="/photosynthesis"):
        render(JobManifest(name="n", text="output: {path: /photosynthesis}\n"), claimed)


def test_a_manifest_larger_than_a_config_map_is_refused() -> None:
    with pytest.raises(ValueError, match="ConfigMap"):
        render(JobManifest(name="n", text=TEXT + "#" * 1_000_001), SMALL)


def test_a_time_zone_without_a_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="time_zone"):
        render(NIGHT, SMALL, time_zone="UTC")
