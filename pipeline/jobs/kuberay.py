"""Write a manifest as Kubernetes objects for KubeRay: a RayJob, or a RayCronJob with a schedule.

Two documents come out. A ConfigMap holds the manifest's text and is mounted in the head pod, where
the job's entry point runs; the workers get their shards from Ray and never see it. The RayJob
starts a cluster of its own, runs, and removes it.

    RayJob       named after the manifest's content: applying the same file again changes nothing
    RayCronJob   named after the manifest alone: applying a changed file changes the schedule.
                 KubeRay >= 1.6 with the feature gate RayCronJob; ``timeZone`` from 1.7 on

KubeRay has no concurrency policy: ticks that were missed may all start at once. Runs into one
folder tolerate that (:mod:`pipeline.lock`). A pod that is lost costs a retry (``backoffLimit``),
which resumes: finished shards are kept.

Source: definitions of ray.io/v1 RayJob and RayCronJob, KubeRay, August 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.jobs.cron import check_cron
from pipeline.jobs.portable import JobManifest, check_paths

__all__ = ["ClusterShape", "render"]

MANIFEST_FOLDER = "/etc/noisemill"
MANIFEST_FILE = "manifest.yaml"
RAY_VERSION = "2.60.0"
# A ConfigMap holds 1 MiB in all (Kubernetes); leave room for its own fields.
MAX_MANIFEST_BYTES = 1_000_000
# KubeRay refuses RayJob names above 47 characters; a cron job appends a suffix to its own.
MAX_NAME = 36
RETRIES = 2
KEEP_FINISHED_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterShape:
    """The Kubernetes side of a job: image, size, storage.

    Args:
        image: Container image with Ray and noisemill in it.
        namespace: Kubernetes namespace.
        workers: Worker pods.
        cpus: CPUs of a worker pod; Ray sees as many.
        gpus: GPUs of a worker pod (``nvidia.com/gpu``).
        memory: Memory of a worker pod, a Kubernetes quantity; Ray's object store takes 30 % of it.
        head_cpus: CPUs of the head pod, where the driver runs and no stage does.
        head_memory: Memory of the head pod.
        claim: PersistentVolumeClaim mounted in every pod, if the manifest names local paths.
        mount: Where the claim is mounted.
        secret: Secret whose entries become environment variables (credentials of an object store).
        deadline_s: Seconds after which a run is ended; without end if absent.

    Raises:
        ValueError: If a value is out of range or no Kubernetes name or quantity.
    """

    image: str
    namespace: str = "default"
    workers: int = 2
    cpus: int = 4
    gpus: int = 0
    memory: str = "8Gi"
    head_cpus: int = 2
    head_memory: str = "8Gi"
    claim: str | None = None
    mount: str = "/data"
    secret: str | None = None
    deadline_s: int | None = None

    def __post_init__(self) -> None:
        if not self.image or re.search(r"\s", self.image):
            raise ValueError(f"image must be an image reference; got {self.image!r}.")
        for name, least in (("workers", 1), ("cpus", 1), ("gpus", 0), ("head_cpus", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}; got {getattr(self, name)}.")
        if self.deadline_s is not None and self.deadline_s < 1:
            raise ValueError(f"deadline_s must be >= 1; got {self.deadline_s}.")
        for name in ("memory", "head_memory"):
            if not re.fullmatch(r"[1-9]\d*(\.\d+)?([KMGT]i|[kMGT])?", getattr(self, name)):
                raise ValueError(
                    f"{name} must be a Kubernetes quantity such as 8Gi; "
                    f"got {getattr(self, name)!r}."
                )
        for name in ("namespace", "claim", "secret"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(
                r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", value
            ):
                raise ValueError(
                    f"{name} must be a Kubernetes name (lower-case letters, digits, '-'); "
                    f"got {value!r}."
                )
        if not self.mount.startswith("/"):
            raise ValueError(f"mount must be an absolute path; got {self.mount!r}.")


def render(
    manifest: JobManifest,
    shape: ClusterShape,
    *,
    cron: str | None = None,
    time_zone: str | None = None,
) -> str:
    """Write the Kubernetes objects that run a manifest, once or on a schedule.

    Args:
        manifest: What to run.
        shape: On what.
        cron: Five-field cron expression; a RayCronJob if given, a RayJob if absent.
        time_zone: IANA name of the schedule's time zone (KubeRay >= 1.7); UTC if absent.

    Returns:
        YAML of a ConfigMap and a RayJob or RayCronJob, for ``kubectl apply -f -``.

    Raises:
        ValueError: If the schedule is malformed, the manifest too large for a ConfigMap, or a path
            in it is neither a URL nor below the mounted claim.
    """
    if cron is not None:
        check_cron(cron)
    elif time_zone is not None:
        raise ValueError("time_zone goes with a schedule; give cron as well.")
    size = len(manifest.text.encode())
    if size > MAX_MANIFEST_BYTES:
        raise ValueError(
            f"manifest {manifest.name!r} has {size} bytes; a ConfigMap holds "
            f"{MAX_MANIFEST_BYTES}. Name files by a folder and a pattern instead of one by one."
        )
    _check_mounted(manifest, shape)
    config = _config_map(manifest, shape)
    job = _job(manifest, shape, config_name=config["metadata"]["name"], cron=cron)
    if time_zone is not None:
        job["spec"]["timeZone"] = time_zone
    text: str = yaml.dump_all(
        [config, job],
        Dumper=_Dumper,
        sort_keys=False,
        explicit_start=True,
        width=100,
        allow_unicode=True,
    )
    return text


def _check_mounted(manifest: JobManifest, shape: ClusterShape) -> None:
    below = shape.mount.rstrip("/") + "/"
    check_paths(
        manifest,
        lambda _, path: shape.claim is not None and path.startswith(below),
        advice="Pods see no disk but a mounted claim. Give URLs, e.g. "
        f"--set output.path=s3://bucket/corpus, or a claim and paths below {below}",
    )


def _config_map(manifest: JobManifest, shape: ClusterShape) -> dict[str, Any]:
    # The name carries the content, so that a job never meets a manifest that changed under it.
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": _name(manifest, manifest.digest[:8]),
            "namespace": shape.namespace,
            "labels": {"app.kubernetes.io/name": "noisemill"},
        },
        "immutable": True,
        "data": {MANIFEST_FILE: manifest.text},
    }


def _job(
    manifest: JobManifest, shape: ClusterShape, *, config_name: str, cron: str | None
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "entrypoint": manifest.command(f"{MANIFEST_FOLDER}/{MANIFEST_FILE}"),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": KEEP_FINISHED_S,
        "backoffLimit": RETRIES,
    }
    if shape.deadline_s is not None:
        spec["activeDeadlineSeconds"] = shape.deadline_s
    spec["rayClusterSpec"] = _cluster(shape, config_name)
    scheduled = cron is not None
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCronJob" if scheduled else "RayJob",
        "metadata": {
            "name": _name(manifest) if scheduled else config_name,
            "namespace": shape.namespace,
            "labels": {"app.kubernetes.io/name": "noisemill"},
        },
        "spec": {"schedule": cron, "jobTemplate": spec} if scheduled else spec,
    }


def _cluster(shape: ClusterShape, config_name: str) -> dict[str, Any]:
    head = _pod(shape, "ray-head", {"cpu": str(shape.head_cpus), "memory": shape.head_memory})
    container = head["spec"]["containers"][0]
    container["volumeMounts"] = [
        {"name": "manifest", "mountPath": MANIFEST_FOLDER, "readOnly": True},
        *container.get("volumeMounts", []),
    ]
    head["spec"]["volumes"] = [
        {"name": "manifest", "configMap": {"name": config_name}},
        *head["spec"].get("volumes", []),
    ]
    limits = {"cpu": str(shape.cpus), "memory": shape.memory}
    if shape.gpus:
        limits["nvidia.com/gpu"] = str(shape.gpus)
    return {
        "rayVersion": RAY_VERSION,
        # No CPUs for Ray on the head: a stage that runs out of memory there ends the whole job.
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": head},
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": shape.workers,
                "minReplicas": shape.workers,
                "maxReplicas": shape.workers,
                "rayStartParams": {},
                "template": _pod(shape, "ray-worker", limits),
            }
        ],
    }


def _pod(shape: ClusterShape, name: str, limits: dict[str, str]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": shape.image,
        # Equal requests and limits: a pod that may be squeezed would measure as slow, or die.
        "resources": {"limits": dict(limits), "requests": dict(limits)},
    }
    spec: dict[str, Any] = {"containers": [container]}
    if shape.secret is not None:
        container["envFrom"] = [{"secretRef": {"name": shape.secret}}]
    if shape.claim is not None:
        container["volumeMounts"] = [{"name": "data", "mountPath": shape.mount}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": shape.claim}}]
    return {"spec": spec}


def _name(manifest: JobManifest, suffix: str = "") -> str:
    room = MAX_NAME - len("noisemill-") - (len(suffix) + 1 if suffix else 0)
    name = f"noisemill-{manifest.slug[:room].strip('-')}"
    return f"{name}-{suffix}" if suffix else name


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes the manifest's text as a literal block, so that a person can read it."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out instead of referring to the first."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
