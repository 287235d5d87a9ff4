"""What is done when memory is short: by numbers that are made up, and by a run that may have little."""

import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bids_nodereg.app import available, memory, pair
from bids_nodereg.app.available import Room, host_room
from bids_nodereg.app.device import Hardware
from bids_nodereg.app.memory import GB, SPARE_BYTES, Need, choose
from bids_nodereg.config import Settings
from bids_nodereg.errors import ShortOfMemoryError
from bids_nodereg.geometry import Grid

ASKED = Settings(working_resolution_mm=1.0)
# spacing, GB alone, GB overlapping, GB on a GPU
NEEDS = [(1.0, 3.0, 5.0, 3.0), (1.25, 1.6, 3.0, 1.6), (1.5, 1.0, 2.0, 1.0), (2.0, 0.6, 1.2, 0.6)]


def needs(*, gpu=False):
    for spacing, alone, overlapping, device in NEEDS:
        yield Need(spacing, int(alone * GB), int(overlapping * GB), int(device * GB) if gpu else 0)


def room(gb: float) -> Room:
    return Room(int(gb * GB) + SPARE_BYTES, "a test")


@pytest.mark.parametrize(
    ("host_gb", "spacing_mm", "alone"),
    [
        (16, 1.0, False),
        (5, 1.0, False),
        (4.9, 1.0, True),
        (3, 1.0, True),
        (2.9, 1.25, True),
        (1.6, 1.25, True),
        (1.5, 1.5, True),
        (0.7, 2.0, True),
    ],
)
def test_what_fits_is_done_as_asked_then_alone_then_coarser(host_gb, spacing_mm, alone):
    plan = choose(needs(), ASKED, room(host_gb))
    assert plan.settings == replace(ASKED, working_resolution_mm=spacing_mm)
    assert plan.alone == alone
    assert bool(plan.told) == (spacing_mm > 1.0)
    assert not plan.on_cpu


def test_a_coarser_grid_is_told_with_what_was_needed_and_what_there_was():
    told = choose(needs(), ASKED, room(1.6)).told
    assert "a working grid of 1 mm needs 3.3 GB, there are 1.9 GB (a test)" in told
    assert "1.25 mm instead" in told


def test_what_fits_in_no_way_is_refused_with_numbers():
    with pytest.raises(ShortOfMemoryError, match=r"2 mm needs 0.9 GB, there are 0.8 GB \(a test\)"):
        choose(needs(), ASKED, room(0.5))


@pytest.mark.parametrize(("host_gb", "gpu_gb", "spacing_mm"), [(16, 8, 1.0), (16, 2, 1.25), (1.2, 8, 1.5)])
def test_the_smaller_of_host_and_gpu_decides(host_gb, gpu_gb, spacing_mm):
    plan = choose(needs(gpu=True), ASKED, room(host_gb), room(gpu_gb))
    assert plan.settings.working_resolution_mm == spacing_mm


def test_what_is_not_known_is_no_limit():
    assert choose(needs(gpu=True), ASKED, None, None) == memory.Plan(ASKED)


@pytest.mark.parametrize(("gpu_gb", "alone"), [(5.5, False), (4.5, True)])
def test_a_card_without_room_for_the_pairs_beside_has_one_pair_at_a_time(gpu_gb, alone):
    need = Need(1.0, GB, 2 * GB, gpu=3 * GB, gpu_overlapping=5 * GB)
    assert choose([need], ASKED, room(16), room(gpu_gb)) == memory.Plan(ASKED, alone)


def a_pair(shape=(256, 256, 256)):
    """Whole heads of 1 mm, without their voxels."""
    prepared = SimpleNamespace(volume=SimpleNamespace(data=np.broadcast_to(np.float32(0), shape)))
    return SimpleNamespace(fixed=prepared, moving=prepared)


@pytest.fixture
def whole_head(monkeypatch):
    """A working grid over a brain of 180 x 220 x 180 mm with its margin, as crops of heads have."""

    def grid(_fixed, settings):
        spacing = settings.working_resolution_mm
        return Grid(tuple(round(mm / spacing) for mm in (196, 236, 196)), np.diag([spacing] * 3 + [1.0]))

    monkeypatch.setattr(memory, "common_grid", grid)


@pytest.mark.parametrize("machine_gb", [16, 8])
def test_a_laptop_and_a_small_card_do_whole_heads_at_1_mm(monkeypatch, whole_head, machine_gb):
    """Of 16 GB a system leaves 12, of the 8 GB of a card 7."""
    on_gpu = machine_gb == 8
    monkeypatch.setattr(memory, "host_room", lambda *_: Room(12 * GB, "laptop"))
    monkeypatch.setattr(memory, "device_room", lambda *_: Room(7 * GB, "card") if on_gpu else None)
    hardware = Hardware(torch.device("cuda" if on_gpu else "cpu"), "", 2)
    plan = memory.plan_pair(a_pair(), ASKED, hardware)
    assert plan == memory.Plan(ASKED, alone=plan.alone)


def test_needs_grow_with_voxels_and_a_rigid_pair_needs_little(whole_head):
    at_1, at_2 = (
        next(memory._needs(a_pair(), replace(ASKED, working_resolution_mm=mm), "cpu")) for mm in (1, 2)
    )
    assert 4 < at_1.alone / at_2.alone < 9
    rigid = next(memory._needs(a_pair(), replace(ASKED, transform="rigid"), "cpu"))
    assert rigid.alone < 0.7 * at_1.alone
    assert at_1.overlapping > at_1.alone


def test_a_gpu_without_room_leaves_the_pair_to_the_cpu(monkeypatch, whole_head):
    monkeypatch.setattr(memory, "host_room", lambda *_: Room(60 * GB, "host"))
    monkeypatch.setattr(memory, "device_room", lambda *_: Room(GB // 10, "card"))
    plan = memory.plan_pair(a_pair(), ASKED, Hardware(torch.device("cuda"), "", 2))
    assert plan.on_cpu
    assert plan.settings == ASKED
    assert "(card)" in plan.told
    assert "done on the CPU" in plan.told


def test_the_pairs_beside_need_room_on_the_card_too(whole_head):
    need = next(memory._needs(a_pair(), ASKED, "cuda"))
    assert 1.05 < need.gpu_overlapping / need.gpu < 2
    rigid = next(memory._needs(a_pair(), replace(ASKED, transform="rigid"), "cuda"))
    assert 0 < rigid.gpu < need.gpu


def test_memory_of_which_nothing_can_be_told_is_left_to_the_pair(monkeypatch):
    def lost(*_):
        msg = "CUDA error: an illegal memory access was encountered"
        raise RuntimeError(msg)

    monkeypatch.setattr(memory, "device_room", lost)
    assert memory.wants_all(a_pair(), ASKED, Hardware(torch.device("cpu"), "", 2))


# ---- what there is ----


def put(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine with 20 GB free, and no limit of the address space."""
    put(tmp_path, {"proc/meminfo": "MemTotal:  32000000 kB\nMemAvailable:  20000000 kB\n"})
    put(tmp_path, {"proc/self/status": "Name: python\nVmSize:  4000000 kB\nVmRSS:  1000000 kB\n"})
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY,) * 2)
    return tmp_path


def test_the_machine_alone(system):
    assert host_room(None, root=system) == Room(20_000_000 * 1024, "free memory of the machine")
    assert host_room(None, 4, system).bytes == 5_000_000 * 1024


def test_the_user_limits_the_whole_process(system):
    found = host_room(8000, root=system)
    assert found == Room(8 * GB - 1_000_000 * 1024, "--mem-mb")
    assert host_room(8000, 2, system).bytes == 4 * GB - 1_000_000 * 1024


@pytest.mark.parametrize("group", ["/", "/job_7/step_0"])
def test_control_groups_of_version_2_count_what_is_no_cache(system, group):
    put(system, {"proc/self/cgroup": f"0::{group}\n"})
    put(system, {"sys/fs/cgroup/memory.max": "6000000000\n"})
    put(system, {"sys/fs/cgroup/memory.current": "2500000000\n"})
    put(system, {"sys/fs/cgroup/memory.stat": "anon 2000000000\ninactive_file 500000000\n"})
    if group != "/":
        put(system, {f"sys/fs/cgroup{group}/memory.max": "max\n"})
    assert host_room(None, root=system) == Room(4 * GB, "memory limit of the container or job (cgroup)")


def test_the_tightest_of_nested_groups_counts(system):
    put(system, {"proc/self/cgroup": "0::/job/step\n"})
    for name, limit in (("job", 3 * GB), ("job/step", 5 * GB)):
        put(system, {f"sys/fs/cgroup/{name}/memory.max": f"{limit}\n"})
    assert host_room(None, root=system).bytes == 3 * GB


@pytest.mark.parametrize("line", ["", "0::", "nonsense", "1:2", "::::"])
def test_a_line_that_is_no_control_group_is_passed_over(system, line):
    put(system, {"proc/self/cgroup": f"{line}\n"})
    assert host_room(None, root=system).source == "free memory of the machine"


@pytest.mark.parametrize(
    ("processes", "used", "expected"),
    [(1, 0, 10), (2, 0, 8), (2, 3, 5), (4, 0, 4), (4, 1, 3)],
)
def test_processes_share_the_whole_card_and_none_has_more_than_is_free(
    monkeypatch, processes, used, expected
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10 * GB, 16 * GB))
    for name in ("memory_allocated", "memory_reserved"):
        monkeypatch.setattr(torch.cuda, name, lambda _: used * GB)
    assert available.device_room(torch.device("cuda"), processes).bytes == expected * GB


@pytest.mark.parametrize(("limit", "expected"), [(5 * GB, 4 * GB), (9223372036854771712, 20_000_000 * 1024)])
def test_control_groups_of_version_1(system, limit, expected):
    put(system, {"proc/self/cgroup": "9:cpu:/x\n4:memory:/docker/abc\n"})
    put(system, {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{limit}\n"})
    put(system, {"sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GB}\n"})
    assert host_room(None, root=system).bytes == expected


def test_a_limit_of_the_address_space_counts_what_is_mapped(system, monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (6 * GB, 6 * GB))
    assert host_room(None, 4, system) == Room(
        6 * GB - 4_000_000 * 1024, "limit of the address space (ulimit -v)"
    )


def test_a_system_that_says_nothing_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(available.os, "sysconf_names", {})
    monkeypatch.setattr(available, "_of_process", lambda _root: iter(()))
    assert host_room(None, root=tmp_path) is None


# ---- a GPU that runs out of memory all the same ----


@pytest.fixture
def gpu_run(monkeypatch):
    """A run that believes to have a GPU."""
    monkeypatch.setattr(pair, "on_stream", lambda *_: nullcontext())
    monkeypatch.setattr(pair, "plan_pair", lambda *_: memory.Plan(ASKED))
    monkeypatch.setattr(pair, "plan_on_cpu", lambda *_: memory.Plan(ASKED, told="on the CPU", on_cpu=True))
    return SimpleNamespace(settings=ASKED, hardware=Hardware(torch.device("cuda"), "fake", 1))


def opened() -> pair.OpenedPair:
    return pair.OpenedPair(None, None, {}, np.eye(4), (), 1.0, 0.5)


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_out_of_gpu_memory_is_tried_once_more_and_then_on_the_cpu(monkeypatch, gpu_run, failures):
    devices, found = [], SimpleNamespace(remarks=())

    def solve(_inputs, _settings, device, *_rest):
        devices.append(device.type)
        if len(devices) <= failures:
            msg = "CUDA out of memory"
            raise torch.OutOfMemoryError(msg)
        return found

    monkeypatch.setattr(pair, "solve", solve)
    if failures == 3:
        with pytest.raises(torch.OutOfMemoryError):
            pair.solve_pair(opened(), gpu_run, SimpleNamespace(step=print))
    else:
        solved = pair.solve_pair(opened(), gpu_run, SimpleNamespace(step=print))
        assert solved.solution is found
        assert solved.plan.on_cpu == (failures == 2)
    assert devices == ["cuda", "cuda", "cpu"][: max(1, min(failures + 1, 3))]


def test_on_the_cpu_nothing_is_tried_again(monkeypatch, gpu_run):
    calls = []

    def solve(*_rest):
        calls.append(1)
        raise torch.OutOfMemoryError

    monkeypatch.setattr(pair, "solve", solve)
    gpu_run.hardware = Hardware(torch.device("cpu"), "", 1)
    with pytest.raises(torch.OutOfMemoryError):
        pair.solve_pair(opened(), gpu_run, SimpleNamespace(step=print))
    assert len(calls) == 1


# ---- a run ----


def test_a_pair_that_does_not_fit_fails_before_it_begins(study, tmp_path):
    out = tmp_path / "out"
    assert study.run(out, "--participant-label", "01", "--transform", "rigid", "--mem-mb", "1") == 1
    (status,) = out.glob("logs/*/status_*.json")
    error = json.loads(status.read_text())["error"]
    assert "Not enough memory: a working grid of 3 mm needs" in error
    assert "(--mem-mb)" in error
    assert not list(out.rglob("*_xfm.h5"))


def test_what_is_not_as_asked_is_told_in_sidecar_and_quality_file(study, tmp_path, monkeypatch):
    def plan(_inputs, settings, _hardware):
        return memory.Plan(
            replace(settings, working_resolution_mm=4.0), alone=True, told="Memory is short: told"
        )

    monkeypatch.setattr(pair, "plan_pair", plan)
    out = tmp_path / "out"
    assert study.run(out, "--participant-label", "01", "--transform", "rigid") == 0
    (sidecar,) = out.rglob("*from-T2w_to-T1w_mode-image_xfm.json")
    (quality,) = out.rglob("*from-T2w_to-T1w_mode-image_qc.json")
    told, judged = (json.loads(path.read_text()) for path in (sidecar, quality))
    assert told["MemoryPlan"] == judged["MemoryPlan"] == "Memory is short: told"
    assert told["Settings"]["working_resolution_mm"] == 4.0
    (log,) = out.rglob("run.log")
    assert "WARNING [1/1] Memory is short: told." in log.read_text()
    assert study.run(out, "--participant-label", "01", "--transform", "rigid") == 0
    assert (
        '"status": "already done"'
        in max(out.glob("logs/*/status_*"), key=lambda p: p.stat().st_mtime_ns).read_text()
    )
