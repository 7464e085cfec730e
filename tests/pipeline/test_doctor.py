"""The machine check: every finding can come out both ways, and none raises."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.doctor import GIB, Check, examine, worst


def test_this_machine_can_be_examined(tmp_path: Path) -> None:
    checks = examine(tmp_path / "yet" / "to be made")
    names = [check.name for check in checks]
    assert len(set(names)) == len(names) == 13
    assert not (tmp_path / "yet").exists()
    for check in checks:
        assert check.detail
        assert bool(check.fix) == (check.status != "ok"), check
        assert json.loads(json.dumps(check.to_dict()))["name"] == check.name


def test_the_gravest_status_wins() -> None:
    findings = [Check(name=s, status=s, detail="") for s in ("ok", "warn", "fail")]  # type: ignore[arg-type]
    assert worst([]) == "ok"
    assert worst(findings[:1]) == "ok"
    assert worst(findings[:2]) == "warn"
    assert worst(findings) == "fail"


def test_python_must_be_new_and_64_bit() -> None:
    assert doctor.check_python((3, 11), 64).status == "ok"
    assert doctor.check_python((3, 10), 64).status == "fail"
    assert doctor.check_python((3, 12), 32).status == "fail"


def test_a_module_that_does_not_load_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_wheel_x.py").write_text("raise OSError('libGL.so.1: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    found = doctor.check_imports(("json", "broken_wheel_x", "no_such_module_x"))
    assert found.status == "fail"
    assert "broken_wheel_x (libGL.so.1" in found.detail
    assert "no_such_module_x" in found.detail
    assert "json" not in found.detail
    assert doctor.check_imports(("json",)).status == "ok"


@pytest.mark.parametrize("module", ["torch", "ray"])
def test_a_missing_torch_or_ray_is_a_finding(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = getattr(doctor, f"check_{module}")()
    assert found.status == "fail"
    assert "pip install" in found.fix
    assert doctor.check_gpus().status == (
        "warn" if module == "torch" else doctor.check_gpus().status
    )


def test_a_container_with_less_time_than_cpus_is_noticed() -> None:
    assert doctor.check_cpus(8, None).status == "ok"
    assert doctor.check_cpus(8, 8.0).status == "ok"
    limited = doctor.check_cpus(8, 1.5)
    assert limited.status == "warn"
    assert "1.5" in limited.detail
    assert doctor.check_cpus(1, None).status == "warn"


def test_container_limits_are_read_in_both_layouts(tmp_path: Path) -> None:
    machine = doctor.total_memory(tmp_path)
    assert doctor.quota_cpus(tmp_path) is None
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.quota_cpus(tmp_path) is None
    assert doctor.total_memory(tmp_path) == machine
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    assert doctor.quota_cpus(tmp_path) == 1.5
    assert doctor.total_memory(tmp_path) == min(machine, GIB)

    old = tmp_path / "v1"
    for name, value in (
        ("cpu/cpu.cfs_quota_us", "50000"),
        ("cpu/cpu.cfs_period_us", "100000"),
        ("memory/memory.limit_in_bytes", str(GIB // 2)),
    ):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text(value)
    assert doctor.quota_cpus(old) == 0.5
    assert doctor.total_memory(old) == GIB // 2


@pytest.mark.parametrize(("gib", "status"), [(1, "fail"), (2, "warn"), (16, "ok")])
def test_memory_is_judged(gib: int, status: str) -> None:
    assert doctor.check_memory(gib * GIB).status == status


def test_shared_memory_smaller_than_the_object_store_is_noticed(tmp_path: Path) -> None:
    assert doctor.check_shared_memory(tmp_path, 1.0).status == "ok"
    small = doctor.check_shared_memory(tmp_path, 1e18)
    assert small.status == "warn"
    assert "--shm-size" in small.fix
    assert doctor.check_shared_memory(tmp_path / "none", 1e18).status == "ok"


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = doctor.check_folder("output folder", blocked)
    assert found.status == "fail"
    assert str(blocked) in found.detail
    assert doctor.check_folder("output folder", tmp_path).status in ("ok", "warn")
    assert list(tmp_path.iterdir()) == [blocked]


@pytest.mark.parametrize(
    ("free", "total", "status"),
    [(0.1, 100, "fail"), (2, 100, "warn"), (40, 1000, "warn"), (60, 100, "ok")],
)
def test_room_on_the_disk_is_judged(
    free: float, total: float, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": free * GIB, "total": total * GIB})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert doctor.check_folder("output folder", tmp_path).status == status


def test_a_scratch_folder_too_deep_for_sockets_fails() -> None:
    assert doctor.check_socket_paths(Path("/tmp")).status == "ok"
    deep = doctor.check_socket_paths(Path("/" + "x" * 60))
    assert deep.status == "fail"
    assert "RAY_TMPDIR" in deep.fix


def test_weights_are_held_against_their_cards(tmp_path: Path) -> None:
    assert doctor.check_weights([tmp_path, tmp_path / "none"]).status == "warn"
    weights, card = tmp_path / "a.safetensors", tmp_path / "a.json"
    weights.write_bytes(b"weights")
    assert "no card" in doctor.check_weights([tmp_path]).detail
    card.write_text(json.dumps({"sha256": hashlib.sha256(b"weights").hexdigest()}))
    assert doctor.check_weights([tmp_path]).status == "ok"
    weights.write_bytes(b"weightz")
    changed = doctor.check_weights([tmp_path])
    assert changed.status == "fail"
    assert "a.safetensors" in changed.detail


def test_the_bundled_weights_are_as_on_their_cards() -> None:
    assert doctor.check_weights(doctor._weight_folders()).status in ("ok", "warn")


@pytest.mark.skipif(os.name != "posix", reason="affinity is a POSIX notion")
def test_cpus_are_counted() -> None:
    assert 1 <= doctor.available_cpus() <= (os.cpu_count() or 1)
