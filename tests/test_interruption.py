"""Signals that come together are one, whoever passes them on."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, time
from bids_nodereg import interruption
interruption.TOGETHER_S, interruption.GRACE_S = float(sys.argv[3]), 20.0
interruption.end_on_signals()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
except KeyboardInterrupt:
    gap = float(sys.argv[1])
    deadline = time.monotonic() + gap
    while time.monotonic() < deadline:
        pass
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    time.sleep(0.3)
    print("cleared away", flush=True)
    sys.exit(7)
"""


@pytest.mark.parametrize(
    ("gap_s", "name", "together_s", "said", "code"),
    [
        ("0", "SIGTERM", "10", "cleared away\n", 7),  # that of Slurm, passed on by its script too
        ("0", "SIGUSR1", "10", "cleared away\n", 7),
        ("0.2", "SIGTERM", "0.1", "", 75),  # somebody has no patience
    ],
)
def test_a_signal_that_comes_twice_leaves_time_to_clear_away(gap_s, name, together_s, said, code):
    """The times are longer here than they are, for a machine that has other things to do."""
    assert hasattr(signal, name)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, gap_s, name, together_s],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (found.stdout, found.returncode) == (said, code)


DEAF = """
import os, signal, time, weakref
from bids_nodereg.interruption import end_on_signals

class Own:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)

class Key:
    pass

end_on_signals()
try:
    if {by_weakref}:
        key = Key()
        weakref.finalize(key, os.kill, os.getpid(), signal.SIGTERM)
        del key
    else:
        own = Own()
        del own
    time.sleep(10)
except KeyboardInterrupt as error:
    print(error)
"""


@pytest.mark.parametrize("by_weakref", [True, False])
def test_a_signal_is_heard_though_it_comes_while_python_clears_away_an_object(by_weakref):
    """What is raised there is dropped by Python with a note, "Exception ignored in"."""
    words = [sys.executable, "-c", DEAF.format(by_weakref=by_weakref)]
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert (found.stdout, found.stderr, found.returncode) == ("SIGTERM\n", "", 0)
