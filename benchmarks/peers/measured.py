"""Run a command and write what it cost: ``python measured.py COST.json COMMAND ...``.

A child's peak memory starts at that of the process it was forked from. This one imports next to nothing,
so that the peak is the command's own.
"""

import json
import os
import subprocess
import sys
import time

KIB_PER_MB = 1024  # Linux counts the peak in KiB


def main() -> int:
    """Pass on the exit status of the command."""
    began = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - began,
        "peak_mb": usage.ru_maxrss / KIB_PER_MB,
    }
    with open(sys.argv[1], "w") as file:  # noqa: PTH123 - pathlib would count as memory of every command
        json.dump(cost, file)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
