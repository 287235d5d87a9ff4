"""How long the workers of a dask cluster are waited for: counted here without one."""

from __future__ import annotations

import pytest

from bids_nodereg.app import dask_patience
from bids_nodereg.app.dask_patience import MOST_FALSE_STARTS, Patience
from bids_nodereg.errors import TemporaryError


def test_five_workers_in_a_row_that_die_before_they_are_ready_end_the_run():
    patience = Patience(is_ours=True)
    for number in range(MOST_FALSE_STARTS - 1):
        patience.lose(f"worker {number}")
    with pytest.raises(TemporaryError, match=r"^5 dask workers were lost before they were ready.*worker 4\."):
        patience.lose("worker 4")


def test_one_that_gets_ready_begins_the_count_anew():
    patience = Patience(is_ours=True)
    for number in range(3 * MOST_FALSE_STARTS):
        if number % (MOST_FALSE_STARTS - 1) == 0:
            patience.begun()
        patience.lose(f"worker {number}")


@pytest.mark.parametrize("is_ours", [True, False])
def test_only_of_a_given_cluster_workers_can_be_started(monkeypatch, is_ours):
    patience = Patience(is_ours=is_ours)
    patience.see(is_useful=True, may_come=True)
    patience.check(paused=0)
    monkeypatch.setattr(dask_patience, "PATIENCE_S", -1.0)
    patience.see(is_useful=False, may_come=True)
    with pytest.raises(TemporaryError, match=r"no worker of use.*and 2 that are paused") as raised:
        patience.check(paused=2)
    assert ("dask worker ADDRESS" in str(raised.value)) != is_ours
    assert "the same command again to go on." in str(raised.value)


def test_where_no_worker_can_come_none_is_waited_for():
    patience = Patience(is_ours=True)
    patience.see(is_useful=False, may_come=False)
    with pytest.raises(TemporaryError, match=r"no dask worker of this machine is left.*again to go on"):
        patience.check(paused=0)
