"""When a level has converged."""

from __future__ import annotations

from dataclasses import replace

from bids_nodereg.registration.settings import RegistrationSettings
from bids_nodereg.registration.stopping import ends_window, has_converged


def test_convergence_compares_two_windows_of_losses() -> None:
    settings = RegistrationSettings(convergence_window=3, convergence_tolerance=0.01)

    assert not has_converged([1.0] * 5, settings)  # fewer than two windows
    assert has_converged([1.0] * 6, settings)
    falls_on, ends = [5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.98, 0.98, 0.98], [5.0] + [1.0] * 5 + [0.995] * 3
    assert has_converged(ends, settings)
    assert not has_converged(falls_on, settings)
    for constant in (-1.0, -100.0, 7.0):  # a loss has no natural zero
        assert has_converged([loss + constant for loss in ends], settings)
        assert not has_converged([loss + constant for loss in falls_on], settings)
    assert has_converged([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], settings)  # rising
    assert not has_converged([-1.0] * 3 + [-1.1] * 3, settings)
    assert not has_converged([1.0] * 60, replace(settings, convergence_tolerance=0.0))  # all iterations


def test_windows_follow_each_other_from_the_first_iteration() -> None:
    settings = RegistrationSettings(convergence_window=3)

    assert [count for count in range(1, 11) if ends_window(count, settings)] == [3, 6, 9]
