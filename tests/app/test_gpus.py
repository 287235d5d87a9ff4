"""A process for each GPU that may be used, which sees that one alone; where one is lost, the others go on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from bids_nodereg.app import executors
from bids_nodereg.app.device import choose_hardware
from bids_nodereg.app.executors import Turn, in_processes
from bids_nodereg.app.gpus import VARIABLE, choose_gpus, gpu_slots, visible_gpus, with_gpus
from bids_nodereg.app.limits import TimeLimit
from bids_nodereg.app.retry import may_pass
from bids_nodereg.app.status import Status
from bids_nodereg.app.workers import Lost, Work, in_workers
from bids_nodereg.cli import main, parse
from bids_nodereg.errors import UsageError
from tests.app import gpu_chores
from tests.reliability import tiny
from tests.reliability.chores import InOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bids_nodereg.app.slots import Slots

UUIDS = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-1b0f"
MIGS = "MIG-c6d4f1ef,MIG-cba663e8"
BASE = ["raw", "out", "participant"]


@pytest.mark.parametrize(
    ("value", "seen", "names"),
    [
        (None, 3, ("0", "1", "2")),
        (None, 0, ()),
        ("2,0", 2, ("2", "0")),
        (" 2 , 0 ", 2, ("2", "0")),
        ("", 0, ()),
        ("-1", 0, ()),
        ("1,-1,0", 1, ("1",)),  # CUDA stops at the first that it does not know
        (UUIDS, 2, tuple(UUIDS.split(","))),
        (MIGS, 1, tuple(MIGS.split(","))),  # CUDA shows one part of a GPU, however many are named
        (MIGS, 0, ()),
        ("NoDevFiles", 0, ()),
    ],
)
def test_gpus_are_those_that_cuda_would_take(value, seen, names):
    environment = {} if value is None else {VARIABLE: value}
    assert visible_gpus(environment, lambda: seen) == names


def test_the_first_of_them_are_chosen():
    assert choose_gpus("all", lambda: 3, {}) == ("0", "1", "2")
    assert choose_gpus(2, lambda: 3, {VARIABLE: "5,7,6"}) == ("5", "7")


@pytest.mark.parametrize(("asked", "seen"), [("all", 0), (1, 0), (3, 2)])
def test_too_few_are_told_with_what_can_be_seen(asked, seen):
    with pytest.raises(UsageError, match=f"--gpus {asked}: {seen} CUDA device.*is '4,5'.*--nv"):
        choose_gpus(asked, lambda: seen, {VARIABLE: "4,5"})


@pytest.mark.parametrize("more", [["--executor", "dask", "--n-procs", "2"], ["--device", "cpu"]])
def test_what_contradicts_it_is_refused(more, capsys):
    assert main([*BASE, "--gpus", "2", *more]) == 64
    assert "--gpus 2" in capsys.readouterr().err


def test_each_has_a_process_and_a_share_of_cores_and_memory(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    config, names = with_gpus(parse([*BASE, "--gpus", "all", "--n-cpus", "16"]))
    resources = config.resources
    assert (names, resources.n_procs, resources.threads) == (("0", "1", "2", "3"), 4, 4)
    assert resources.device == "cuda"  # a process that sees no GPU must not begin on the CPU
    unchanged = parse([*BASE, "--n-procs", "3"])
    assert with_gpus(unchanged) == (unchanged, ())


def test_processes_may_share_a_gpu_as_many_on_each(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config, names = with_gpus(parse([*BASE, "--gpus", "all", "--n-procs", "6", "--n-cpus", "12"]))
    assert (config.resources.n_procs, config.resources.gpus, config.resources.threads) == (6, 2, 2)
    slots = gpu_slots(names, 6)
    assert [slots.take().environment[VARIABLE] for _ in range(6)] == ["0", "1"] * 3
    with pytest.raises(UsageError, match="Give a multiple of 2"):
        with_gpus(parse([*BASE, "--gpus", "2", "--n-procs", "3"]))


def test_a_shared_gpu_that_is_lost_is_lost_for_all_that_would_begin_there():
    slots = gpu_slots(("0", "1"), 6)
    slots.give_up(slots.take(), "the test")
    assert len(slots) == 3
    assert [slots.take().environment[VARIABLE] for _ in range(3)] == ["1"] * 3
    assert slots.take() is None


def test_the_memory_of_a_gpu_is_shared_by_the_processes_that_have_it(monkeypatch):
    resources = replace(parse(BASE).resources, device="cpu", n_procs=6, gpus=2, mem_mb=6000)
    hardware = choose_hardware(resources)
    assert (hardware.processes, hardware.gpu_processes) == (6, 3)
    assert choose_hardware(replace(resources, gpus=None)).gpu_processes == 6


def on_gpus(slots: Slots, broken: str = "", tasks: str = "abcd") -> dict[str, tuple[str, str] | Lost]:
    work = Work(gpu_chores.prepare, (broken,), InOrder, slots, gpu_chores.why_unfit)
    return dict(in_workers(tasks, work, 2))


def test_each_process_sees_its_gpu_alone(monkeypatch):
    monkeypatch.setenv(VARIABLE, "7,GPU-1b0f")
    found = on_gpus(gpu_slots(("7", "GPU-1b0f"), 2))
    assert set(found) == set("abcd")
    assert {result[0] for result in found.values()} == {"7", "GPU-1b0f"}
    assert os.environ[VARIABLE] == "7,GPU-1b0f"  # this process has what it had


@pytest.mark.parametrize(("how", "lost"), [("lost 0", ("0", "lost")), ("no start 0", Lost("", True))])
def test_a_lost_gpu_costs_one_pair_and_is_not_used_again(how, lost, caplog):
    slots = gpu_slots(("0", "1"), 2)
    found = on_gpus(slots, how)
    assert [result for result in found.values() if result != ("1", "done")] == [
        replace(lost, how="ended with exit code 1") if isinstance(lost, Lost) else lost
    ]
    assert len(slots) == 1
    assert "GPU 0 is not used any more" in caplog.text
    assert "Places left: 1." in caplog.text
    assert set(on_gpus(slots, how).values()) == {("1", "done")}  # in a second round too


def test_a_process_that_is_killed_before_it_is_ready_costs_a_pair_and_not_the_gpu(tmp_path):
    """Whatever was short of memory just then, it was not the GPU."""
    slots = gpu_slots(("0",), 1)
    found = on_gpus(slots, f"killed once 0 {tmp_path / 'first'}")
    assert found == {"a": Lost("killed by SIGKILL"), **dict.fromkeys("bcd", ("0", "done"))}
    assert len(slots) == 1


def test_a_gpu_where_two_in_a_row_are_is_not_used_again():
    slots = gpu_slots(("0",), 1)
    found = on_gpus(slots, "killed 0")
    assert found == {"a": Lost("killed by SIGKILL"), "b": Lost("killed by SIGKILL", is_place_lost=True)}
    assert len(slots) == 0


def test_without_a_gpu_left_nothing_more_is_begun():
    slots = gpu_slots(("0", "1"), 2)
    found = on_gpus(slots, "lost 0 lost 1")
    assert sorted(found.values()) == [("0", "lost"), ("1", "lost")]
    assert len(slots) == 0


def a_turn(number: int) -> Turn:
    name = f"pair{number}"
    nowhere = Path("nowhere")
    outputs = SimpleNamespace(name=name, claim=name, folder=nowhere, figures_dir=nowhere, out_dir=nowhere)
    moving = SimpleNamespace(subject=f"{number}")
    job = SimpleNamespace(outputs=outputs, parts=(), pair=SimpleNamespace(moving=moving))
    return Turn(job, number, 9)


class Marks:
    """Takes note of the marks that are taken away."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    def remove_of_worker(self, name: str) -> None:
        self.removed.append(name)


class AllFree:
    """Claims that nobody else has."""

    def take(self, _name: str) -> bool:
        return True

    def give_back(self, _name: str) -> None:
        pass


@pytest.mark.parametrize(
    ("names", "result", "trouble"),
    [
        (("0", "1"), Status("pair0", "0", "failed", trouble="device lost"), "gpu lost"),
        (("0",), Status("pair0", "0", "failed", trouble="device lost"), "device lost"),
        ((), Status("pair0", "0", "failed", trouble="device lost"), "device lost"),
        (("0", "1"), Lost("ended with exit code 1", is_place_lost=True), "gpu lost"),
        (("0",), Lost("ended with exit code 1", is_place_lost=True), "device lost"),
        (("0", "1"), Lost("killed by SIGKILL"), "worker lost"),
        ((), Lost("killed by SIGKILL"), "worker lost"),
        (("0", "1"), Status("pair0", "0", "failed", trouble="memory"), "memory"),
    ],
)
def test_a_pair_is_put_back_as_long_as_there_is_another_gpu(names, result, trouble, monkeypatch):
    """The loss of the last one ends the run (rounds.py), all else is tried again."""

    def lose(turns: list[Turn], work: Work, _count: int) -> Iterator[tuple[Turn, Status | Lost]]:
        if work.slots is not None and trouble not in {"memory", "worker lost"}:
            work.slots.give_up(work.slots.take(), "the test")
        yield turns[0], result

    monkeypatch.setattr(executors, "in_workers", lose)
    marks = Marks()
    run = SimpleNamespace(
        limit=TimeLimit(), run_id="", folder=None, pages=None, begun=marks, claims=AllFree()
    )
    config = SimpleNamespace(resources=SimpleNamespace(n_procs=2))
    slots = gpu_slots(names, len(names)) if names else None
    (status,) = in_processes([a_turn(0)], lambda _, status: status, config=config, run=run, slots=slots)
    assert (status.status, status.trouble) == ("failed", trouble)
    assert may_pass(status.trouble) is (trouble != "device lost")
    assert marks.removed == (["pair0"] if isinstance(result, Lost) else [])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_run_uses_all_gpus(tmp_path, capsys):
    raw = tiny.make(tmp_path, ["01", "02"])
    words = [word for word in tiny.arguments(raw, tmp_path / "out", "--gpus", "all") if word != "--device"]
    words.remove("cpu")
    assert main(words) == 0
    names = ", ".join(visible_gpus(os.environ, torch.cuda.device_count))
    assert f"on the GPUs {names}" in " ".join(capsys.readouterr().err.split())
