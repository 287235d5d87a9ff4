"""Thirty pairs in one process: nothing grows. ``python -m benchmarks.long_run`` does two hundred."""

from __future__ import annotations

import pytest

from benchmarks.long_run import Sight, growth, watch_run


def test_nothing_grows_over_many_pairs(tmp_path, outcome):
    found = growth(watch_run(30, tmp_path / "data"))
    # The allocator settles over the first forty pairs or so; long runs are for benchmarks/long_run.py.
    assert found.rss_mib_per_pair < 2.5
    assert found.files_gained == 0
    assert found.threads_gained == 0
    assert found.log_bytes_per_pair < 10_000
    outcome(
        "long run", "30 pairs in one process", "no growth of memory, open files, threads; bounded log", 0, 30
    )


def test_growth_is_seen():
    sights = [Sight(n // 2, 400.0 + 2 * n, 20 + n // 10, 3, 100 * n) for n in range(60)]
    found = growth(sights)
    assert found.rss_mib_per_pair == pytest.approx(4, rel=0.05)
    assert found.files_gained > 2
    assert found.threads_gained == 0
    assert found.log_bytes_per_pair == pytest.approx(200, rel=0.1)


def test_a_run_that_is_too_short_to_tell_is_refused():
    with pytest.raises(ValueError, match="use more pairs"):
        growth([Sight(n, 400.0, 20, 3, 100) for n in range(8)])
