"""Does a long run grow: memory, open files, threads and log over many small pairs in one process.

``python -m benchmarks.long_run --pairs 200 --json docs/results/long-run.json`` registers as many pairs of
tiny images in one run of the program, looks at the process twice a second, and fits a line to what it saw
after the first fifth of the pairs, in which libraries are loaded and caches fill.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.app.served import resident_mib
from bids_nodereg.cli import main as program
from tests.reliability import tiny

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM_UP = 0.2
"""Part of the pairs that the line is not fitted to."""


@dataclass(frozen=True)
class Sight:
    """What the process held when so many pairs were done: MiB resident, open files, threads, bytes of log."""

    pairs: int
    rss_mib: float
    files: int
    threads: int
    log_bytes: int


@dataclass(frozen=True)
class Growth:
    """Per pair, after the warm-up; `rss_mib` is the fitted line, the others last less first."""

    pairs: int
    rss_mib_first: float
    rss_mib_last: float
    rss_mib_per_pair: float
    files_gained: int
    threads_gained: int
    log_bytes_per_pair: float


def watch_run(pairs: int, root: Path, more: Sequence[str] = ()) -> list[Sight]:
    """Run the program on so many tiny participants; what was seen meanwhile.

    Raises
    ------
    RuntimeError
        If the program did not end well.
    """
    raw = tiny.make(root, [f"{number:04d}" for number in range(pairs)])
    out = root / "out"
    sights: list[Sight] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.5):
            sights.append(_sight(out))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        code = program(tiny.arguments(raw, out, "-q", *more))
    finally:
        is_over.set()
        watcher.join()
    if code:
        msg = f"the run ended with exit code {code}; see {out}/logs"
        raise RuntimeError(msg)
    return sights


def growth(sights: Sequence[Sight]) -> Growth:
    """Fit what was seen after the warm-up.

    Raises
    ------
    ValueError
        If too little was seen to fit a line.
    """
    last = sights[-1].pairs
    warm = [sight for sight in sights if sight.pairs >= WARM_UP * last]
    if len(warm) < 10:
        msg = f"{len(warm)} looks at the process after the warm-up, expected 10 or more: use more pairs."
        raise ValueError(msg)
    pairs = np.array([sight.pairs for sight in warm], float)
    rss = np.array([sight.rss_mib for sight in warm])
    slope = float(np.polyfit(pairs, rss, 1)[0])
    edges = [warm[: len(warm) // 5], warm[-(len(warm) // 5) :]]  # at the same moments of a pair, on average
    files, threads = (
        [int(np.median([getattr(sight, key) for sight in edge])) for edge in edges]
        for key in ("files", "threads")
    )
    return Growth(
        pairs=last,
        rss_mib_first=round(float(np.median([sight.rss_mib for sight in edges[0]])), 1),
        rss_mib_last=round(float(np.median([sight.rss_mib for sight in edges[1]])), 1),
        rss_mib_per_pair=round(slope, 4),
        files_gained=files[1] - files[0],
        threads_gained=threads[1] - threads[0],
        log_bytes_per_pair=round((warm[-1].log_bytes - warm[0].log_bytes) / max(last - warm[0].pairs, 1), 1),
    )


def _sight(out: Path) -> Sight:
    process = Path("/proc/self")
    return Sight(
        pairs=sum(1 for _ in out.glob("logs/*/status_*.json")),
        rss_mib=resident_mib(),
        files=sum(1 for _ in (process / "fd").iterdir()),
        threads=sum(1 for _ in (process / "task").iterdir()),
        log_bytes=sum(path.stat().st_size for path in out.glob("logs/*/run.log*")),
    )


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        sights = watch_run(options.pairs, Path(folder) / "data")
    found = growth(sights)
    told = {
        "Date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "Command": f"python -m benchmarks.long_run --pairs {options.pairs}",
        "Machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "Growth": asdict(found),
        "Course": [asdict(sight) for sight in sights[:: max(1, len(sights) // 40)]],
    }
    print(json.dumps(told["Growth"], indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
