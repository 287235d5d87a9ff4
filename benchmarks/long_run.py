"""Does a long run grow: memory, open files, threads and log over many small pairs in one process.

``python -m benchmarks.long_run --pairs 200`` registers as many pairs of tiny images in one run of the
program, looks at the process twice a second, and fits a line to what it saw after the first fifth of the
pairs, in which libraries are loaded and caches fill. With ``--out docs/results/long-run`` it writes
``long-run.json`` and ``long-run.md``. Pictures of the report are drawn small: they would take most of the
time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import machine
from bids_nodereg.app.served import resident_mib
from bids_nodereg.cli import main as program
from tests.reliability import tiny
from tests.reliability.forker import small_pictures

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
        with small_pictures():
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
    parser.add_argument("--out", type=Path, help="path of the results, without extension")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        sights = watch_run(options.pairs, Path(folder) / "data")
    found = growth(sights)
    print(json.dumps(asdict(found), indent=2))
    if options.out is not None:
        _write(options.out, options.pairs, found, sights)
    return 0


def _write(stem: Path, pairs: int, found: Growth, sights: Sequence[Sight]) -> None:
    """Write all numbers as JSON, and what a reader wants to know as Markdown."""
    command = f"python -m benchmarks.long_run --pairs {pairs}"
    about = machine()
    some = sights[:: max(1, len(sights) // 20)]
    told = {
        "command": command,
        "machine": about,
        "growth": asdict(found),
        "course": [asdict(sight) for sight in some],
    }
    stem.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Many pairs in one process\n",
        f"{pairs} pairs of tiny images, one after the other in one process, looked at twice a second. "
        "After the first fifth, in which libraries are loaded and caches fill:\n",
        "| | first | last | gained |",
        "|---|---:|---:|---:|",
        f"| resident memory, MiB | {found.rss_mib_first:g} | {found.rss_mib_last:g} | "
        f"{found.rss_mib_per_pair:+.4f} a pair (fitted) |",
        f"| open files | | | {found.files_gained:+d} |",
        f"| threads | | | {found.threads_gained:+d} |",
        f"| run.log, bytes | | | {found.log_bytes_per_pair:+.0f} a pair, bounded at 50 MB |",
        "",
        "| pairs done | memory, MiB | open files | threads | run.log, kB |",
        "|---:|---:|---:|---:|---:|",
        *(
            f"| {at.pairs} | {at.rss_mib:.1f} | {at.files} | {at.threads} | {at.log_bytes / 1e3:.0f} |"
            for at in some
        ),
        "",
        f"Command: `{command}`. {', '.join(f'{name} {value}' for name, value in about.items())}.",
    ]
    stem.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
