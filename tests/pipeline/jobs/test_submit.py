"""Submission against a real local Ray head with its job server.

The head is a cluster of its own: own ports, own temporary folder, own session; other Ray clusters
of this machine are neither met nor stopped.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import JobError
from pipeline.jobs import submit as submit_module
from pipeline.jobs.portable import JobManifest
from pipeline.jobs.submit import connect, follow_job, submission_id_for, submit

START_SECONDS = 90.0
TEXT = "kind: corpus\nname: small\noutput: {path: /tmp/nowhere}\n"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def ray_head(folder: str, log: Any) -> tuple[subprocess.Popen[bytes], str]:
    port, dashboard, client, agent, agent_grpc, metrics = free_ports(6)
    options = {
        "node-ip-address": "127.0.0.1",
        "port": port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "ray-client-server-port": client,
        "dashboard-agent-listen-port": agent,
        "dashboard-agent-grpc-port": agent_grpc,
        "metrics-export-port": metrics,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "num-cpus": 2,
        "object-store-memory": 100 * 2**20,
        "include-dashboard": "true",
        "include-log-monitor": "false",
        "temp-dir": folder,
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--{key}={value}" for key, value in options.items()]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    process = subprocess.Popen(
        command,
        stdout=log,
        stderr=subprocess.STDOUT,
        # Ray 2.60 asks for a token wherever an earlier ray.init() has left one in ~/.ray; a head
        # that listens on the loopback for half a minute does not take part in that.
        env={**kept, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"},
        start_new_session=True,
    )
    return process, f"http://127.0.0.1:{dashboard}"


def processes_of(folder: str) -> list[int]:
    """Return the processes of one cluster: they all carry its temporary folder's name."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc/self").exists() else ():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if folder.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def stop(process: subprocess.Popen[bytes], folder: str) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    for pid in processes_of(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="the job server needs ray[default]")
    # Short: the paths of Ray's sockets are limited to 107 bytes.
    folder = tempfile.mkdtemp(prefix="nm-", dir="/tmp")
    with tempfile.TemporaryFile() as log:
        process, address = ray_head(folder, log)
        try:
            wait_until_it_takes_jobs(process, address, log)
            yield address
        finally:
            stop(process, folder)


def wait_until_it_takes_jobs(process: subprocess.Popen[bytes], address: str, log: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(JobError, RuntimeError, OSError):
            connect(address).list_jobs()
            return
        time.sleep(0.5)
    log.seek(0)
    pytest.fail(f"no Ray head after {START_SECONDS:g} s:\n{log.read().decode()[-3000:]}")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_manifest(tmp_path)


def write_manifest(folder: Path, more: str = "") -> Path:
    file = folder / "small.yaml"
    # The folder's name makes each test's manifest, and so its submission id, its own.
    file.write_text(f"{TEXT}{more}# {folder.name}\n", encoding="utf-8")
    return file


def run(manifest: Path, server: str, **options: Any) -> tuple[int, str]:
    out = io.StringIO()
    code = submit(manifest, address=server, out=out, **options)
    return code, out.getvalue()


def python(code: str) -> str:
    return f'python -c "{code}"'


def send_everything(server: str, folder: Path) -> tuple[int, str]:
    (folder / "sent" / "photos").mkdir(parents=True)
    (folder / "sent" / "photos" / "a.txt").write_text("pixels", encoding="utf-8")
    manifest = write_manifest(folder, "sources: [{type: images, path: photos}]\n")
    show = "import pipeline.version, generators.capture; print(pipeline.version.__file__); "
    show += "[print(f'line {i}', flush=True) for i in range(500)]; "
    show += "print(open('photos/a.txt').read(), open('noisemill-manifest.yaml').read())"
    return run(
        manifest, server, entrypoint=python(show), working_dir=folder / "sent", packages="sent"
    )


def send_a_success_twice(server: str, folder: Path) -> list[tuple[int, str]]:
    manifest, count = write_manifest(folder), f"echo run >> {folder}/runs"
    return [run(manifest, server, entrypoint=count) for _ in range(2)]


def mend_and_send_again(server: str, folder: Path) -> list[tuple[int, str]]:
    manifest, fails_once = write_manifest(folder), f"test -e {folder}/mended || exit 42"
    first = run(manifest, server, entrypoint=fails_once)
    (folder / "mended").touch()
    return [first, run(manifest, server, entrypoint=fails_once)]


def send_twice_under_one_name(server: str, folder: Path) -> list[tuple[int, str]]:
    manifest = write_manifest(folder)
    return [
        run(manifest, server, entrypoint=command, submission_id="mine")
        for command in ("echo before; exit 2", "exit 0")
    ]


def send_twice_at_once(server: str, folder: Path) -> list[tuple[int, str]]:
    manifest = write_manifest(folder)
    entrypoint = f"echo run >> {folder}/runs; sleep 2; echo done; exit 5"
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, manifest, server, entrypoint=entrypoint) for _ in range(2)]
    return [each.result() for each in both]


def stop_after_handing_over(server: str, folder: Path) -> tuple[tuple[int, str], int, str]:
    manifest = write_manifest(folder)
    handed = run(manifest, server, entrypoint="sleep 300", follow=False, submission_id="long")
    connect(server).stop_job("long")
    out = io.StringIO()
    return handed, follow_job(connect(server), "long", out), out.getvalue()


SCENARIOS: tuple[Callable[[str, Path], Any], ...] = (
    send_everything,
    send_a_success_twice,
    mend_and_send_again,
    send_twice_under_one_name,
    send_twice_at_once,
    stop_after_handing_over,
)


class Outcomes:
    """Runs all scenarios at once: a job takes Ray seven seconds, nearly all of them waiting."""

    def __init__(self, server: str, folder: Path, pool: ThreadPoolExecutor) -> None:
        self.folders = {scenario: folder / scenario.__name__ for scenario in SCENARIOS}
        for each in self.folders.values():
            each.mkdir()
        self._futures = {s: pool.submit(s, server, self.folders[s]) for s in SCENARIOS}

    def of(self, scenario: Callable[[str, Path], Any]) -> Any:
        return self._futures[scenario].result(timeout=120)


@pytest.fixture(scope="module")
def outcomes(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield Outcomes(server, tmp_path_factory.mktemp("jobs"), pool)


@pytest.mark.ray
def test_manifest_folder_and_packages_arrive_and_every_line_of_the_log_comes_back(
    outcomes: Outcomes,
) -> None:
    code, log = outcomes.of(send_everything)
    assert code == 0, log
    lines = log.splitlines()
    assert [line for line in lines if line.startswith("line ")] == [f"line {i}" for i in range(500)]
    folder = outcomes.folders[send_everything]
    assert "pixels " + (folder / "small.yaml").read_text(encoding="utf-8") in log
    assert "runtime_resources/py_modules" in log
    assert lines[-1].endswith(": succeeded")
    assert not (folder / "sent" / "noisemill-manifest.yaml").exists()


@pytest.mark.ray
def test_a_manifest_that_succeeded_is_not_run_again(outcomes: Outcomes) -> None:
    (code, _), (again, log) = outcomes.of(send_a_success_twice)
    assert (code, again) == (0, 0)
    assert "succeeded before" in log
    runs = outcomes.folders[send_a_success_twice] / "runs"
    assert runs.read_text(encoding="utf-8").split() == ["run"]


@pytest.mark.ray
def test_a_manifest_that_failed_is_run_again_under_the_next_name(outcomes: Outcomes) -> None:
    (code, _), (again, log) = outcomes.of(mend_and_send_again)
    assert (code, again) == (42, 0)
    manifest = JobManifest.read(outcomes.folders[mend_and_send_again] / "small.yaml")
    assert f"{submission_id_for(manifest)}-2" in log


@pytest.mark.ray
def test_a_chosen_name_keeps_its_outcome_and_its_exit_status(outcomes: Outcomes) -> None:
    first, second = outcomes.of(send_twice_under_one_name)
    assert (first[0], second[0]) == (2, 2)
    assert "already failed" in second[1]
    assert all("before\n" in log for _, log in (first, second))


@pytest.mark.ray
def test_two_submissions_at_once_run_one_job_and_both_follow_it(outcomes: Outcomes) -> None:
    results = outcomes.of(send_twice_at_once)
    assert [code for code, _ in results] == [5, 5]
    assert all("done\n" in log for _, log in results)
    runs = outcomes.folders[send_twice_at_once] / "runs"
    assert runs.read_text(encoding="utf-8").split() == ["run"]


@pytest.mark.ray
def test_without_following_it_returns_at_once_and_a_stopped_job_is_a_failure(
    outcomes: Outcomes, server: str
) -> None:
    handed, code, log = outcomes.of(stop_after_handing_over)
    assert handed == (0, f"job long at {server}: submitted\n")
    assert code == 1
    assert "stopped" in log


@pytest.mark.ray
def test_the_address_given_wins_over_the_environment(
    outcomes: Outcomes, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes.of(stop_after_handing_over)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    assert connect(server).get_address() == server
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:9"


def test_overrides_change_the_submission_id_and_equal_ones_keep_it(manifest: Path) -> None:
    ids = [submission_id_for(JobManifest.read(manifest, o)) for o in ([], ["seed=2"], ["seed=2"])]
    assert ids[1] == ids[2] != ids[0]
    assert ids[0].startswith("noisemill-small-")


@pytest.mark.parametrize(
    "address", ["", "auto", "127.0.0.1:8265", "ray://head:10001", "http://", "/tmp/x"]
)
def test_an_address_that_is_no_url_is_refused_before_anything_else(
    manifest: Path, address: str
) -> None:
    with pytest.raises(ValueError, match="http://HEAD:8265"):
        submit(manifest, address=address)


def test_a_server_that_does_not_answer_is_one_clear_error(manifest: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(JobError, match=f"127.0.0.1:{port}.*port 8265"):
        submit(manifest, address=f"http://127.0.0.1:{port}")


class AsksForToken(BaseHTTPRequestHandler):
    """Answers as a Ray head with token authentication does."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"Unauthorized: Missing authentication token")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_server_that_asks_for_a_token_is_one_clear_error(manifest: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), AsksForToken) as asking:
        thread = threading.Thread(target=asking.serve_forever)
        thread.start()
        try:
            with pytest.raises(JobError, match=r"asks for a token.*RAY_AUTH_MODE=token"):
                submit(manifest, address=f"http://127.0.0.1:{asking.server_port}")
        finally:
            asking.shutdown()
            thread.join()


def test_a_missing_job_client_is_named_with_its_fix(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with pytest.raises(JobError, match=r"pip install 'noisemill\[jobs\]'"):
            submit(manifest, address=f"http://127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "x" * 200, "ü"])
def test_a_submission_id_that_would_not_survive_a_url_is_refused(manifest: Path, name: str) -> None:
    with pytest.raises(ValueError, match="submission id"):
        submit(manifest, address="http://127.0.0.1:9", submission_id=name)


def test_a_corpus_that_would_vanish_with_the_job_is_refused(manifest: Path, tmp_path: Path) -> None:
    manifest.write_text("output: {path: out}\nsources: [{path: photos}]\n", encoding="utf-8")
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="photos") as caught:
        submit(manifest, address="http://127.0.0.1:9")
    assert "output.path: out" in str(caught.value)
    # With the folder sent along the photographs are there; the corpus would still be lost.
    with pytest.raises(ValueError, match=r"output\.path: out") as caught:
        submit(manifest, address="http://127.0.0.1:9", working_dir=tmp_path)
    assert "photos" not in str(caught.value)


def test_a_folder_too_large_to_travel_is_refused(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit_module, "MAX_UPLOAD_BYTES", 3 * 2**20)
    (tmp_path / "big").write_bytes(b"x" * 4 * 2**20)
    with pytest.raises(ValueError, match="4 MiB; at most 3 MiB"):
        submit(manifest, address="http://127.0.0.1:9", working_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        submit(manifest, address="http://127.0.0.1:9", working_dir=tmp_path / "none")


class Flaky:
    """A job server that goes away in the middle: ``faults`` calls fail, then it is back."""

    def __init__(self, faults: int) -> None:
        self.faults = faults

    async def tail_job_logs(self, name: str) -> Any:
        yield "one\n"
        if self.faults > 0:
            self.faults -= 1
            raise RuntimeError("connection closed")
        yield "two\n"

    def get_job_info(self, name: str) -> Any:
        status = type("S", (), {"value": "SUCCEEDED", "is_terminal": lambda self: True})()
        return type("I", (), {"status": status, "message": "", "driver_exit_code": 0})()

    def get_job_logs(self, name: str) -> str:
        return "one\ntwo\nthree\n"


def test_a_lost_connection_costs_no_line_and_repeats_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_module.time, "sleep", lambda _: None)
    out = io.StringIO()
    assert follow_job(Flaky(3), "j", out) == 0
    assert out.getvalue() == "one\ntwo\nthree\njob j: succeeded\n"
    with pytest.raises(JobError, match="submit the same manifest again"):
        follow_job(Flaky(100), "j", io.StringIO())


class _Starting:
    """A job server whose agent is not there yet."""

    def __init__(self, refusals: int, reason: str) -> None:
        self.refusals, self.reason, self.started = refusals, reason, list[str]()

    def submit_job(self, *, submission_id: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError(f"Request failed with status code 500: {self.reason}")
        self.started.append(submission_id)


def test_a_head_that_has_only_just_started_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_module, "AGENT_POLL_SECONDS", 0.0)
    server = _Starting(3, "No available agent to submit job, please try again later..")
    submit_module._submit(server, "mine", {})
    assert server.started == ["mine"]
    with pytest.raises(RuntimeError, match="disk is full"):
        submit_module._submit(_Starting(1, "the disk is full"), "mine", {})
    monkeypatch.setattr(submit_module, "AGENT_SECONDS", -1.0)
    with pytest.raises(RuntimeError, match="No available agent"):
        submit_module._submit(_Starting(1, server.reason), "mine", {})
