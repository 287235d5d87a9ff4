"""Run the program and count what it took: seconds, memory, bytes read and written.

As a script, ``python counted.py COUNTS.json COMMAND ...``, it imports next to nothing: the peak memory of a
child starts at that of the process it comes from. Linux only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

TYPE_CHECKING = False  # that of typing, which is not imported here
if TYPE_CHECKING:
    from pathlib import Path

KIB_PER_MB = 1024
BYTES_PER_MB = 1e6


def main() -> int:
    """Pass on the exit status of the command."""
    began = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{process.pid}/io") as file:  # noqa: PTH123 - pathlib would count as memory of the command
        moved = dict(line.split(": ") for line in file.read().splitlines())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    counts = {
        "wall_s": time.perf_counter() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / KIB_PER_MB,
        "read_mb": int(moved["rchar"]) / BYTES_PER_MB,
        "written_mb": int(moved["wchar"]) / BYTES_PER_MB,
    }
    with open(sys.argv[1], "w") as file:  # noqa: PTH123
        json.dump(counts, file)
    return process.returncode


def run_program(words: list[str], scratch: Path, *, accepts: tuple[int, ...] = (0,)) -> dict[str, float]:
    """Run ``bids-nodereg`` in a process of its own.

    Parameters
    ----------
    words
        Its command line.
    scratch
        Folder for what it says; ``said.txt`` there holds that of the last run.
    accepts
        Exit codes that are no failure.

    Returns
    -------
    dict
        ``wall_s``, ``cpu_s``, ``peak_mb`` (2^20 bytes, of the largest of its processes), and ``read_mb`` and
        ``written_mb``: 10^6 bytes that it asked the system for, libraries and what the system keeps in memory
        included, worker processes left out.

    Raises
    ------
    RuntimeError
        If it ends with another exit code; with the end of what it said.
    """
    counts, said = scratch / "counts.json", scratch / "said.txt"
    command = [sys.executable, "-I", "-S", __file__, str(counts)]
    with said.open("wb") as output:
        code = subprocess.run(
            [*command, sys.executable, "-m", "bids_nodereg", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code not in accepts:
        msg = f"{' '.join(words)} ended with {code}: {said.read_text(errors='replace')[-1000:]}"
        raise RuntimeError(msg)
    return dict(json.loads(counts.read_text()))


if __name__ == "__main__":
    sys.exit(main())
