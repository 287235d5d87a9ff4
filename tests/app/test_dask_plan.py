"""What a run on dask workers asks of the machine, and of the machines of the workers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bids_nodereg.app.dask_executor import _cluster, _of_machine, _status_of
from bids_nodereg.app.dask_gpus import Places
from bids_nodereg.app.dask_worker import Machine
from bids_nodereg.app.device import own_hardware
from bids_nodereg.app.gpus import with_gpus
from bids_nodereg.app.status import Status
from bids_nodereg.config import Resources, RunConfig
from bids_nodereg.errors import TemporaryError, UsageError


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def config(**resources) -> RunConfig:
    return RunConfig(Path("in"), Path("out"), "participant", resources=Resources(**resources))


@pytest.mark.parametrize(
    ("resources", "names"),
    [
        ({"executor": "dask"}, ("4", "7")),
        ({"executor": "dask", "device": "cuda"}, ("4", "7")),
        ({"executor": "dask", "gpus": 1}, ("4",)),
        ({"executor": "dask", "n_procs": 2}, ("4", "7")),
        ({"executor": "dask", "dask_workers": 1}, ("4",)),
        ({"executor": "dask", "device": "cpu", "n_procs": 3}, ()),
        ({"executor": "dask", "dask_scheduler": "tcp://10.0.0.1:8786"}, ()),
        ({"executor": "local"}, ()),
    ],
)
def test_dask_workers_of_this_machine_have_a_gpu_each(two_gpus, resources, names):
    found, gpus = with_gpus(config(**resources))
    assert gpus == names
    if names:
        assert (found.resources.n_procs, found.resources.gpus) == (len(names), len(names))
    else:
        assert found == config(**resources)


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"n_procs": 4, "dask_workers": 4}, "--dask-workers"),
        ({"n_procs": 4}, "--n-procs"),
        ({"gpus": 4}, "--gpus"),
    ],
)
def test_too_few_gpus_are_told_with_the_option_that_was_given(two_gpus, asked, option):
    with pytest.raises(UsageError, match=f"{option} 4: 2 CUDA device"):
        with_gpus(config(executor="dask", **asked))


def test_without_a_gpu_there_are_as_many_workers_as_were_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asked = config(executor="dask", n_procs=3)
    assert with_gpus(asked) == (asked, ())


def test_the_process_of_the_run_needs_no_gpu_where_workers_have_them():
    hardware = own_hardware(
        Resources(device="cuda", executor="dask", dask_scheduler="s.json", omp_nthreads=1)
    )
    assert hardware.device.type == "cpu"
    assert hardware.name == "that of each dask worker"


@pytest.mark.parametrize(
    ("asked", "machine", "threads", "mem_mb"),
    [
        ({}, Machine(4, None), 4, None),
        ({"omp_nthreads": 2}, Machine(4, 10_000_000_000), 2, 8000),
        ({"mem_mb": 3000}, Machine(1, 10_000_000_000), 1, 3000),
    ],
)
def test_a_pair_has_what_the_worker_of_a_given_cluster_was_started_with(asked, machine, threads, mem_mb):
    found = _of_machine(Resources(executor="dask", dask_scheduler="s.json", **asked), machine)
    assert (found.omp_nthreads, found.mem_mb) == (threads, mem_mb)


def test_a_pair_has_its_share_of_this_machine():
    asked = Resources(executor="dask", n_procs=3, omp_nthreads=2)
    assert _of_machine(asked, Machine(1, None)) == asked


def test_workers_of_this_machine_are_started_on_the_gpus_that_are_left():
    places = Places({"GPU 4": "4", "GPU 7": "7"})
    assert places.first_loss() is None
    places.lose("GPU 4", TemporaryError("dask worker GPU 4: CUDA error."), others=0)
    assert places.has_left  # however many workers there happen to be just now
    assert places.gpus_left() == {"GPU 7": "7"}
    places.lose("GPU 7", TemporaryError("dask worker GPU 7: CUDA error too."), others=1)
    assert not places.has_left
    assert places.first_loss() is places.why_lost("GPU 4")
    with pytest.raises(TemporaryError, match=r"No dask worker is left.*GPU 4: CUDA error\."):
        _cluster(Resources(executor="dask", n_procs=2), places)  # and none is started without a GPU


@pytest.mark.parametrize(("others", "trouble"), [(1, "gpu lost"), (0, "device lost")])
def test_a_pair_is_put_back_as_long_as_a_given_cluster_has_another_worker(others, trouble):
    """The loss of the last one ends the run (rounds.py)."""
    places = Places()
    places.lose("tcp://10.0.0.1:4000", TemporaryError("CUDA error"), others)
    lost, done = Status("pair", "01", "failed", trouble="device lost"), Status("pair", "01", "done")
    assert _status_of(None, lost, places).trouble == trouble
    assert _status_of(None, done, places) is done
