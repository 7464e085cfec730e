"""Hand a manifest to a Ray cluster's job server, once, and follow it.

Sending the same manifest twice must not run it twice: a cron job that fires again, a laptop that
lost its connection. So the submission id follows from the manifest's text and overrides, and a job
found under it is followed instead of started:

    no such job, or it failed before    start it (the n-th time under ``<id>-n``)
    waiting or running                  follow it
    succeeded                           say so; 0

A run that failed may be sent again because it resumes: only the missing shards are made. To run a
manifest again that succeeded, give a submission id of your own (for instance with the date in it).

The job server refuses a known id with HTTP 500 and plain text (Ray 2.60), so an id that someone
else takes between the look and the submission is recognised by looking again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO
from urllib.parse import urlsplit

from pipeline.errors import JobError
from pipeline.jobs.portable import JobManifest, check_paths
from pipeline.version import __version__

__all__ = ["connect", "follow_job", "submission_id_for", "submit"]

MANIFEST_FILE = "noisemill-manifest.yaml"
PACKAGES = ("denoisers", "generators", "manifests", "noisemill", "pipeline")
# The job server's own limit for an uploaded folder is 512 MiB (Ray 2.60).
MAX_UPLOAD_BYTES = 500 * 2**20
NO_CLIENT = (
    "submitting needs Ray's job client, which is not installed. Run: pip install 'noisemill[jobs]'"
)
CONNECT_SECONDS = 10.0
LOST_CONTACT_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
# These set their own level to INFO and tell of every upload and every closed connection.
CHATTY = (
    "ray._private.runtime_env.packaging",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
# Ray prefers these over the address it is given; an address on our command line must win.
ADDRESS_VARIABLES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


# How long a head's agent may take to start: on a busy machine with 2 cores, most of a minute.
AGENT_SECONDS, AGENT_POLL_SECONDS = 90.0, 1.0


def submit(
    manifest_path: str | Path,
    *,
    address: str,
    submission_id: str | None = None,
    follow: bool = True,
    overrides: Sequence[str] = (),
    working_dir: str | Path | None = None,
    packages: Literal["installed", "sent"] = "installed",
    entrypoint: str | None = None,
    out: TextIO | None = None,
) -> int:
    """Submit a manifest to a Ray cluster, unless it is there already, and follow its log.

    Args:
        manifest_path: A file, or a bundled manifest's name. It travels as text; ``${VAR}`` is
            expanded over there.
        address: The job server, ``http://HEAD:8265``.
        submission_id: Name of the job; derived from the manifest if absent.
        follow: Print the job's log until it ends; otherwise return once it is handed over.
        overrides: ``key=value`` settings that travel along.
        working_dir: A folder to send along; the job starts in it. At most 500 MiB.
        packages: ``installed`` if the cluster's image has noisemill, ``sent`` to send these
            packages along (the image must then have their dependencies).
        entrypoint: Shell command to run instead of ``noisemill run``.
        out: Where the log and the notes go; standard output if absent.

    Returns:
        0 if the job succeeded (or was handed over and is not followed), else its own exit status,
        1 where it has none.

    Raises:
        FileNotFoundError: If ``working_dir`` is missing.
        ManifestError: If there is no such manifest.
        ValueError: If an argument is malformed, or a path in the manifest does not travel.
        JobError: If the job server does not answer or refuses the job.
    """
    stream = out or sys.stdout
    manifest = JobManifest.read(manifest_path, overrides)
    _check_travel(manifest, working_dir)
    names = _candidate_ids(manifest, submission_id)
    client = connect(address)
    with _staged(manifest, working_dir) as folder:
        environment: dict[str, Any] = {"working_dir": str(folder)}
        if packages == "sent":
            environment["py_modules"] = _package_folders()
        name, status = _place(
            client,
            names,
            {
                "entrypoint": entrypoint or manifest.command(MANIFEST_FILE),
                "runtime_env": environment,
                "metadata": _metadata(manifest),
            },
        )
    print(f"job {name} at {address}: {status}", file=stream, flush=True)
    if status.startswith("succeeded"):
        return 0
    return follow_job(client, name, stream) if follow else 0


def submission_id_for(manifest: JobManifest) -> str:
    """Return the submission id of a manifest: equal for equal text and overrides.

    Example:
        >>> submission_id_for(JobManifest(name="My corpus", text="kind: corpus"))
        'noisemill-my-corpus-25b377f65526'
    """
    return f"noisemill-{manifest.slug}-{manifest.digest[:12]}"


def connect(address: str) -> Any:
    """Return a client of the job server at an address.

    Args:
        address: ``http://HOST:PORT`` or ``https://HOST[:PORT]`` of the cluster's dashboard.

    Raises:
        ValueError: If the address has another form.
        JobError: If nothing answers within ten seconds, if it asks for a token that this process
            does not send, or if ``ray[default]`` is not installed.
    """
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(
            f"address must be the URL of the cluster's job server; got {address!r}. "
            "Write http://HEAD:8265, where HEAD is the head node."
        )
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname, port), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise JobError(_no_answer(address, error)) from None
    try:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise JobError(NO_CLIENT) from error
    for logger in CHATTY:
        logging.getLogger(logger).setLevel(logging.WARNING)
    try:
        with _without_environment(ADDRESS_VARIABLES):
            return JobSubmissionClient(address)
    except AuthenticationError as error:
        # Ray's own token goes out only if asked for: it must not be sent to any address typed here.
        raise JobError(
            f"the job server at {address} asks for a token ({str(error).splitlines()[0]}). "
            "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's "
            "token where it is not the one in ~/.ray/auth_token."
        ) from error
    except (RuntimeError, ConnectionError) as error:
        if "ray[default]" in str(error):
            raise JobError(NO_CLIENT) from error
        raise JobError(_no_answer(address, error)) from error


def follow_job(client: Any, name: str, out: TextIO) -> int:
    """Print a job's log until it ends.

    Args:
        client: What :func:`connect` returned.
        name: Submission id.
        out: Where the log goes, and one line about the end.

    Returns:
        0 if it succeeded, else its own exit status, 1 where it has none (stopped, killed).

    Raises:
        JobError: If the job server stays out of reach for half a minute.
    """
    printed = 0
    waits = iter(LOST_CONTACT_WAITS)
    while True:
        try:
            for text in _tail(client, name, skip=printed):
                printed += len(text)
                print(text, end="", file=out, flush=True)
                waits = iter(LOST_CONTACT_WAITS)
            info = client.get_job_info(name)
            if info.status.is_terminal():
                # The stream may end before the last lines; the stored log has them.
                print(client.get_job_logs(name)[printed:], end="", file=out, flush=True)
                break
        except (OSError, RuntimeError) as error:
            wait = next(waits, None)
            if wait is None:
                raise JobError(
                    f"lost contact with job {name}: {error}. It may still be running; "
                    "submit the same manifest again to follow it."
                ) from error
        else:
            wait = LOST_CONTACT_WAITS[0]
        time.sleep(wait)
    if info.status.value == "SUCCEEDED":
        print(f"job {name}: succeeded", file=out, flush=True)
        return 0
    message = (info.message or "").strip().splitlines()
    note = f": {message[0]}" if message else ""
    print(f"job {name}: {info.status.value.lower()}{note}", file=out, flush=True)
    code = info.driver_exit_code
    return code if code is not None and 0 < code < 128 else 1


def _check_travel(manifest: JobManifest, working_dir: str | Path | None) -> None:
    def travels(key: str, path: str) -> bool:
        if Path(path).is_absolute():
            return True
        read = not key.startswith("output")
        return read and working_dir is not None and (Path(working_dir) / path).exists()

    check_paths(
        manifest,
        travels,
        advice="The job starts in a temporary folder of the head node. Give URLs or absolute "
        "paths that every node sees, e.g. --set output.path=s3://bucket/corpus.",
    )
    if working_dir is None:
        return
    folder = Path(working_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder to send along.")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if size > MAX_UPLOAD_BYTES:
        raise ValueError(
            f"{folder} holds {size / 2**20:.0f} MiB; at most {MAX_UPLOAD_BYTES // 2**20} MiB "
            "travel with a job. Put the data under a URL that the cluster reads."
        )


def _candidate_ids(manifest: JobManifest, submission_id: str | None) -> Iterator[str]:
    if submission_id is None:
        first = submission_id_for(manifest)
        return itertools.chain([first], (f"{first}-{n}" for n in itertools.count(2)))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}", submission_id):
        raise ValueError(
            f"a submission id has letters, digits, '.', '_' and '-' only; got {submission_id!r}."
        )
    return iter([submission_id])


@contextmanager
def _staged(manifest: JobManifest, working_dir: str | Path | None) -> Iterator[Path]:
    """Make the folder that is uploaded: the manifest, and what the caller sends along."""
    with tempfile.TemporaryDirectory(prefix="noisemill-job-") as name:
        folder = Path(name) / "job"
        if working_dir is None:
            folder.mkdir()
        else:
            shutil.copytree(working_dir, folder)
        (folder / MANIFEST_FILE).write_text(manifest.text, encoding="utf-8")
        yield folder


def _place(client: Any, names: Iterator[str], job: Mapping[str, Any]) -> tuple[str, str]:
    """Start the job under the first free name, unless it is there; return its name and state."""
    name, info = "", None
    for name in names:
        info = _info(client, name)
        if info is None or info.status.value not in ("FAILED", "STOPPED"):
            break
    if info is None:
        try:
            _submit(client, name, job)
            return name, "submitted"
        except (RuntimeError, ValueError, OSError) as error:
            info = _info(client, name)
            if info is None:
                raise JobError(f"the job server refused job {name}: {error}") from error
    if info.status.value == "SUCCEEDED":
        return name, "succeeded before; to run it again give it another submission id"
    return name, f"already {info.status.value.lower()}"


def _submit(client: Any, name: str, job: Mapping[str, Any]) -> None:
    """Start a job, and wait for a head that has only just started itself."""
    until = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            client.submit_job(submission_id=name, **job)
            return
        except RuntimeError as error:
            # The server answers before the agent beside it does, which starts the jobs.
            if "No available agent" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(AGENT_POLL_SECONDS)


def _metadata(manifest: JobManifest) -> dict[str, str]:
    return {
        "noisemill": __version__,
        "manifest": manifest.name,
        "manifest_sha256": manifest.digest,
    }


def _package_folders() -> list[str]:
    """Return the folders of our packages, without importing what is heavy in them."""
    root = Path(__file__).resolve().parents[2]
    return [str(root / package) for package in PACKAGES]


def _info(client: Any, name: str) -> Any:
    """Return what the server knows of a job, or None if it knows none of that name."""
    try:
        return client.get_job_info(name)
    except RuntimeError as error:
        if "404" in str(error) or "does not exist" in str(error):
            return None
        raise JobError(
            f"the job server could not say whether job {name} exists: {error}"
        ) from error


def _tail(client: Any, name: str, *, skip: int) -> Iterator[str]:
    """Yield a job's log from the ``skip``-th character on, as it grows, until the stream ends."""
    # Imported here: it is there only with ray[default], and connect() has said so if it is not.
    import aiohttp

    loop = asyncio.new_event_loop()
    stream = client.tail_job_logs(name)
    try:
        while True:
            try:
                text = loop.run_until_complete(anext(stream))
            except StopAsyncIteration:
                return
            except aiohttp.ClientError as error:
                raise ConnectionError(str(error)) from error
            fresh = text[skip:]
            skip = max(0, skip - len(text))
            if fresh:
                yield fresh
    finally:
        loop.run_until_complete(stream.aclose())
        loop.close()


@contextmanager
def _without_environment(names: Sequence[str]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _no_answer(address: str, error: Exception) -> str:
    return (
        f"no Ray job server answers at {address}: {error}. Give the URL of the cluster's "
        "dashboard, by default port 8265 of the head node; forward it if it is not reachable."
    )
