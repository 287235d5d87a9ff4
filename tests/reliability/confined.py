"""Run the program in a control group with a memory limit; participant 01 takes all memory there is.

``python -m tests.reliability.confined GROUP ARGUMENTS...``: GROUP is the folder of the control group. Only
worker processes (`--isolate`) take memory: they import this file under a name of multiprocessing's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bids_nodereg.app import attempt
from tests.reliability.forker import make_pictures_small

PIECE = 32 << 20


def _take_all(solve_pair):
    def solve(opened, *rest):
        pieces = []
        while opened.job.pair.moving.subject == "01":
            pieces.append(bytearray(b"\1" * PIECE))
        return solve_pair(opened, *rest)

    return solve


if __name__ in ("__main__", "__mp_main__"):  # not where the tests are collected
    make_pictures_small()

if __name__ == "__mp_main__":
    attempt.solve_pair = _take_all(attempt.solve_pair)

if __name__ == "__main__":
    from bids_nodereg.cli import entry_point

    group, *arguments = sys.argv[1:]
    (Path(group) / "cgroup.procs").write_text("0", encoding="ascii")
    sys.argv = ["bids-nodereg", *arguments]
    sys.exit(entry_point())
