"""Workers of a real dask cluster: one that dies costs its task alone, and none is waited for in vain."""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("distributed", reason='needs dask: pip install "bids-nodereg[cluster]"')

import psutil

from bids_nodereg.app import dask_cluster, dask_crew, dask_patience
from bids_nodereg.app.dask_cluster import LocalWorkers, local_cluster, names_of_started
from bids_nodereg.app.dask_crew import in_dask
from bids_nodereg.app.dask_executor import _cluster
from bids_nodereg.app.dask_gpus import Places
from bids_nodereg.app.dask_terms import Terms
from bids_nodereg.app.dask_worker import environment, look
from bids_nodereg.app.workers import Lost, Work
from bids_nodereg.config import Resources
from bids_nodereg.errors import TemporaryError, UsageError
from tests.app.dask_chores import prepare, prepare_and_die, prepare_to_see, prepare_without, refuse
from tests.reliability.chores import InOrder, Never

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

ADDING = Work(prepare, (10,), InOrder)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local_cluster(LocalWorkers(2)) as client:
        yield client


@pytest.fixture
def terms(request) -> Terms:
    return Terms(request.node.name, lambda _addresses: {})


def addresses(client) -> set[str]:
    return set(client.scheduler_info(n_workers=-1)["workers"])


def has_two(client) -> bool:
    return len(addresses(client)) == 2


def wait_until(holds, seconds=60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert holds()


@pytest.fixture(autouse=True)
def both_there(client):
    """Workers that a test has killed come back before the next one begins."""
    wait_until(lambda: has_two(client))


def test_all_tasks_are_done_and_told_here(client, terms, caplog):
    with caplog.at_level(logging.INFO, logger="nodereg"):
        found = dict(in_dask(client, [f"add {number}" for number in range(20)], ADDING, terms))
    assert {task: result[1] for task, result in found.items()} == {f"add {n}": n + 10 for n in range(20)}
    pids = {result[0] for result in found.values()}
    assert 1 <= len(pids) <= 2
    assert os.getpid() not in pids
    assert sorted(caplog.messages) == sorted(f"add {n} has 1 thread(s)" for n in range(20))


def test_no_more_futures_than_workers_are_alive(client, terms):
    most = 0
    for _ in in_dask(client, [f"add {number}" for number in range(60)], ADDING, terms):
        most = max(most, len(client.futures))
    assert 1 <= most <= 2


def test_a_task_may_have_the_machine_for_itself(client, terms):
    alone = Terms(terms.run, terms.check, one_per_host=True)
    alive = [len(client.futures) for _ in in_dask(client, ["add 1", "add 2", "add 3"], ADDING, alone)]
    assert max(alive) <= 1


@pytest.mark.parametrize("death", ["die 0", "leave 0"])
def test_a_worker_that_dies_costs_its_task_alone(client, terms, death, outcome):
    tasks = [death, *(f"add {n}" for n in range(1, 6))]
    found = dict(in_dask(client, tasks, ADDING, terms))
    assert isinstance(found[death], Lost)
    assert "lost with the dask worker tls://127.0.0.1:" in found[death].how
    assert [found[f"add {n}"][1] for n in range(1, 6)] == list(range(11, 16))
    outcome("fault", "dask worker killed over its pair", "costs that pair one try; the others go on")


def test_a_worker_that_has_done_its_share_is_started_afresh(client, terms, monkeypatch):
    monkeypatch.setattr(dask_crew, "MOST_TASKS", 2)
    renewing = Terms(terms.run, terms.check, is_ours=True)
    found = [pid for _, (pid, _) in in_dask(client, [f"add {n}" for n in range(6)], ADDING, renewing)]
    assert all(found.count(pid) <= 2 for pid in found)
    assert len(set(found)) >= 3


def test_who_wants_no_more_stops_what_is_under_way(client, terms):
    with closing(in_dask(client, ["add 1", "wait 2", "wait 3"], ADDING, terms)) as ended:
        assert next(ended)[0] == "add 1"
        before = time.monotonic()
    assert time.monotonic() - before < dask_crew.FAREWELL_S + 3
    again = Terms(f"{terms.run} again", terms.check)
    assert len(dict(in_dask(client, ["add 1", "add 2", "add 3"], ADDING, again))) == 3


def test_a_worker_that_cannot_be_used_is_told_once_and_left_out(client, terms, caplog):
    left_out = []

    def check(addresses):
        left_out.extend(addresses[:1] if not left_out else [])
        return {each: UsageError(f"dask worker {each}: it is too old.") for each in left_out}

    found = dict(in_dask(client, ["add 1", "add 2", "add 3"], ADDING, Terms(terms.run, check)))
    assert len({pid for pid, _ in found.values()}) == 1
    assert caplog.messages.count(f"Dask worker {left_out[0]}: it is too old. It is not used.") == 1


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_worker_whose_gpu_is_lost_is_not_used_in_any_round(client, terms, is_ours):
    lost: list[int] = []

    def why_unfit(result: tuple[int, int]) -> str:
        lost.extend([] if lost else result[:1])
        return "CUDA error" if result[0] in lost else ""

    tasks, work = [f"add {number}" for number in range(8)], replace(ADDING, why_unfit=why_unfit)
    terms = replace(terms, is_ours=is_ours, places=Places())
    first = [pid for _, (pid, _) in in_dask(client, tasks, work, terms)]
    if is_ours:  # a new process, at a new address, has the GPU of the old one
        before = addresses(client)
        os.kill(lost[0], signal.SIGKILL)
        wait_until(lambda: has_two(client) and addresses(client) != before)
    second = [pid for _, (pid, _) in in_dask(client, tasks, work, replace(terms, run=f"{terms.run} again"))]
    assert len(set(first)) == 2
    assert first.count(lost[0]) == 1
    assert set(second) == {*first} - {*lost}


def test_where_every_gpu_is_lost_the_run_ends(client, terms):
    every = replace(ADDING, why_unfit=lambda _: "CUDA error")
    terms, found = replace(terms, places=Places()), []
    with pytest.raises(TemporaryError, match=r"No dask worker is left.*again to go on\..*CUDA error"):
        found.extend(each for each in in_dask(client, ["add 1", "add 2", "add 3"], every, terms))
    assert not terms.places.has_left
    with pytest.raises(TemporaryError, match="No dask worker is left"):
        list(in_dask(client, ["add 1"], ADDING, replace(terms, run=f"{terms.run} again")))


def test_where_no_worker_can_be_used_the_reason_ends_the_run(client, terms):
    def check(addresses):
        return {each: UsageError(f"dask worker {each}: it is too old.") for each in addresses}

    with pytest.raises(UsageError, match="it is too old"):
        list(in_dask(client, ["add 1"], ADDING, Terms(terms.run, check)))


def test_workers_without_a_gpu_are_told_how_to_offer_one(client, terms):
    asking = Terms(terms.run, terms.check, {"GPU": 1.0})
    with pytest.raises(UsageError, match=r'does not offer GPU=1.*--resources "GPU=1"'):
        list(in_dask(client, ["add 1"], ADDING, asking))


def test_each_worker_of_this_machine_sees_one_gpu_and_offers_it(terms):
    asking = Terms(terms.run, terms.check, {"GPU": 1.0})
    with local_cluster(LocalWorkers(2, {"GPU 3": "3", "GPU GPU-5f": "GPU-5f"})) as with_gpus:
        tasks = [f"see {number}" for number in range(8)]
        found = [seen for _, seen in in_dask(with_gpus, tasks, Work(prepare_to_see, (), InOrder), asking)]
    assert set(found) == {"3", "GPU-5f"}


def test_in_a_later_round_no_worker_is_started_on_a_gpu_that_is_lost(terms):
    resources = Resources(executor="dask", device="cuda", n_procs=2, gpus=2)
    places = Places({"GPU 3": "3", "GPU GPU-5f": "GPU-5f"})
    places.lose("GPU 3", TemporaryError("CUDA error"), others=1)
    asking = replace(terms, resources={"GPU": 1.0}, is_ours=True, places=places)
    with _cluster(resources, places) as left:
        found = dict(in_dask(left, ["see 1", "see 2"], Work(prepare_to_see, (), InOrder), asking))
        assert len(addresses(left)) == 1
    assert found == {"see 1": "GPU-5f", "see 2": "GPU-5f"}


def test_a_gpu_on_which_a_worker_cannot_begin_is_lost_and_the_last_one_ends_the_run(terms, monkeypatch):
    monkeypatch.setattr(dask_patience, "PATIENCE_S", 30.0)  # not to be waited for: nobody starts workers
    places = Places({"GPU 3": "3", "GPU 5": "5"})
    asking = replace(terms, resources={"GPU": 1.0}, is_ours=True, places=places)
    work = Work(prepare_without, ("3",), InOrder)
    with local_cluster(LocalWorkers(2, places.gpus_left())) as with_gpus:
        found = dict(in_dask(with_gpus, ["see 1", "see 2", "see 3"], work, asking))
        assert found == dict.fromkeys(("see 1", "see 2", "see 3"), "5")
        assert "did not get ready [RuntimeError: CUDA error" in str(places.why_lost("GPU 3"))
        assert places.gpus_left() == {"GPU 5": "5"}
        again, falling = f"{terms.run} again", replace(work, why_unfit=lambda _: "it fell")
        ended = in_dask(with_gpus, ["see 1", "see 2"], falling, replace(asking, run=again))
        assert next(ended) == ("see 1", "5")
        with pytest.raises(TemporaryError, match=r"No dask worker is left.*again to go on\..*CUDA error"):
            next(ended)
    assert not places.has_left
    assert "it fell" in str(places.why_lost("GPU 5"))


def test_a_worker_that_does_not_get_ready_says_why(client, terms):
    with pytest.raises(TemporaryError, match=r"did not get ready.*no such library"):
        list(in_dask(client, ["add 1"], Work(refuse, (), InOrder), terms))


def test_tasks_that_wait_for_one_another_are_told(client, terms):
    with pytest.raises(RuntimeError, match="2 tasks wait for one another"):
        list(in_dask(client, ["add 1", "add 2"], Work(prepare, (0,), Never), terms))


def test_what_a_worker_sees_of_the_folders(client, tmp_path):
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.mkdir()
    for seen in client.run(look, (there,), (gone,), True).values():
        assert seen.environment == environment()
        assert seen.missing == (gone,)
        assert seen.read_only == ()


@pytest.mark.slow
def test_workers_that_all_die_before_they_are_ready_end_the_run(terms):
    """dask may give one up that dies in the moment it is there: then fewer than five deaths are all."""
    said = "5 dask workers were lost before they were ready|no dask worker of this machine is left"
    ours = replace(terms, is_ours=True)
    with local_cluster(LocalWorkers(2)) as short_lived, pytest.raises(TemporaryError, match=said):
        list(in_dask(short_lived, ["add 1"], Work(prepare_and_die, (), InOrder), ours))


def test_a_cluster_without_workers_is_not_waited_for_for_ever(terms, monkeypatch):
    with local_cluster(LocalWorkers(0)) as empty:
        with pytest.raises(TemporaryError, match="no dask worker of this machine is left"):
            list(in_dask(empty, ["add 1"], ADDING, replace(terms, is_ours=True)))
        monkeypatch.setattr(dask_patience, "PATIENCE_S", 0.2)
        with pytest.raises(TemporaryError, match="no worker of use"):
            list(in_dask(empty, ["add 1"], ADDING, terms))


def test_a_worker_that_is_not_started_again_is_not_waited_for(terms, monkeypatch):
    monkeypatch.setattr(dask_cluster, "RETURN_S", 0.3)
    with local_cluster(LocalWorkers(1)) as alone:
        [nanny] = alone.cluster.workers.values()
        assert names_of_started(alone) == ["0"]
        nanny.instantiate = never  # as where no process can be made
        ended = in_dask(alone, ["add 1", "die 2", "add 3"], ADDING, replace(terms, is_ours=True))
        assert next(ended)[0] == "add 1"
        assert isinstance(next(ended)[1], Lost)
        with pytest.raises(TemporaryError, match="no dask worker of this machine is left"):
            next(ended)
        assert names_of_started(alone) == []


async def never() -> None:
    """In place of a start that does not succeed."""


def test_the_workers_end_with_the_cluster_and_nothing_listens_to_others(client, terms):
    with local_cluster(LocalWorkers(1)) as other:
        told = other.scheduler_info(n_workers=-1)
        addresses = [told["address"], *told["workers"]]
        [(_, (pid, _))] = in_dask(other, ["add 1"], ADDING, terms)
        assert listens_at(pid) == {"127.0.0.1"}
        assert listens_at(os.getpid()) == {"127.0.0.1"}
    assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
    wait_until(lambda: not psutil.pid_exists(pid))


def listens_at(pid: int) -> set[str]:
    """Addresses at which a process waits for connections."""
    found = psutil.Process(pid).net_connections(kind="inet")
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}
