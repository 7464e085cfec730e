"""``noisemill submit`` and ``noisemill kuberay``."""

from __future__ import annotations

import sys

import click

__all__ = ["kuberay", "submit"]

_SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the manifest."
)


@click.command(short_help="Submit a manifest to a Ray cluster's job server.")
@click.argument("manifest")
@_SET
@click.option("--address", required=True, help="The job server, http://HEAD:8265.")
@click.option("--submission-id", help="Name of the job; from the manifest if absent.")
@click.option("--working-dir", help="Folder that travels with the job.")
@click.option("--send-packages", is_flag=True, help="Send noisemill itself along.")
@click.option("--no-follow", is_flag=True, help="Hand the job over and return.")
def submit(
    manifest: str,
    overrides: tuple[str, ...],
    address: str,
    submission_id: str | None,
    working_dir: str | None,
    send_packages: bool,
    no_follow: bool,
) -> None:
    """Submit MANIFEST, follow its log, and exit with its exit code.

    The same manifest submitted twice is one job: the second call follows the first.
    """
    from pipeline.jobs.submit import submit as send

    sys.exit(
        send(
            manifest,
            address=address,
            submission_id=submission_id,
            follow=not no_follow,
            overrides=overrides,
            working_dir=working_dir,
            packages="sent" if send_packages else "installed",
        )
    )


@click.command(short_help="Print a RayJob or RayCronJob for KubeRay.")
@click.argument("manifest")
@_SET
@click.option("--cron", metavar="'M H D M W'", help="Five-field schedule; a RayCronJob.")
@click.option("--time-zone", help="IANA time zone of the schedule.")
@click.option("--image", default="noisemill:latest", show_default=True, help="Container image.")
@click.option("--namespace", default="default", show_default=True, help="Its namespace.")
@click.option("--workers", default=2, show_default=True, help="Worker pods.")
@click.option("--cpus", default=4, show_default=True, help="CPUs a worker pod.")
@click.option("--gpus", default=0, show_default=True, help="GPUs a worker pod.")
@click.option("--memory", default="8Gi", show_default=True, help="Memory a worker pod.")
@click.option("--claim", help="PersistentVolumeClaim mounted in every pod.")
@click.option("--mount", default="/data", show_default=True, help="Where the claim is mounted.")
@click.option("--secret", help="Secret with credentials of an object store.")
@click.option("--deadline", type=int, metavar="SECONDS", help="End a run after this long.")
def kuberay(
    manifest: str,
    overrides: tuple[str, ...],
    cron: str | None,
    time_zone: str | None,
    image: str,
    namespace: str,
    workers: int,
    cpus: int,
    gpus: int,
    memory: str,
    claim: str | None,
    mount: str,
    secret: str | None,
    deadline: int | None,
) -> None:
    """Print the Kubernetes objects that run MANIFEST once, or on a schedule."""
    from pipeline.jobs.kuberay import ClusterShape, render
    from pipeline.jobs.portable import JobManifest

    shape = ClusterShape(
        image=image,
        namespace=namespace,
        workers=workers,
        cpus=cpus,
        gpus=gpus,
        memory=memory,
        claim=claim,
        mount=mount,
        secret=secret,
        deadline_s=deadline,
    )
    job = JobManifest.read(manifest, overrides)
    print(render(job, shape, cron=cron, time_zone=time_zone), end="")
