"""What it brings that the next pair is read and the last one written while one is registered.

The demo data are registered with and without, in turn, in processes of their own::

    python -m benchmarks.overlap --threads 2 --out docs/results/overlap

Wall clock is what counts here, so the machine should do nothing else. Processor seconds beside it say what
the threads cost that compete for the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import machine

DEMO = Path(__file__).resolve().parents[1] / "bids_nodereg" / "data" / "demo"
WAYS = {"overlapping": True, "one after the other": False}


def one_run(words: list[str], *, overlap: bool) -> None:
    """Run the program in this process, and print seconds and the peak of its memory as JSON."""
    from bids_nodereg.app import executors
    from bids_nodereg.cli import main as run

    executors.can_overlap = lambda _hardware: overlap
    began = time.perf_counter()
    code = run(words)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "code": code,
        "wall_s": time.perf_counter() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1000,
    }
    print(json.dumps(found))


def measure(data: Path, threads: int, repeats: int, more: list[str]) -> dict[str, object]:
    """Both ways in turn; the best of the repeats by wall clock."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    fixed = ["--device", "cpu", "--omp-nthreads", str(threads), "--skip-bids-validation", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(repeats + 1):  # the first one compiles
            for name, overlap in WAYS.items():
                out = Path(scratch, f"{number}-{overlap}")
                words = [str(data), str(out), "participant", *fixed]
                told = subprocess.run(
                    [sys.executable, "-m", "benchmarks.overlap", "--child", str(int(overlap)), "--", *words],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                ).stdout
                if number:
                    runs[name].append(json.loads(told.strip().splitlines()[-1]))
    best = {name: min(each, key=lambda run: run["wall_s"]) for name, each in runs.items()}
    command = f"python -m benchmarks.overlap --threads {threads} --repeats {repeats} {' '.join(more)}"
    return {"machine": machine(), "command": command.strip(), "load": os.getloadavg()[0], "best": best}


def as_markdown(found: dict[str, object]) -> str:
    """The table of a measurement."""
    rows = [
        f"| {name} | {run['wall_s']:.1f} | {run['cpu_s']:.1f} | {run['peak_mb']:.0f} |"
        for name, run in found["best"].items()  # type: ignore[attr-defined]
    ]
    told = ", ".join(f"{key} {value}" for key, value in found["machine"].items())  # type: ignore[attr-defined]
    head = ["# Overlapping pairs", "", f"{told}; load {found['load']:.1f}. `{found['command']}`", ""]
    table = ["| pairs | wall clock, s | processor, s | peak memory, MB |", "|---|---|---|---|", *rows, ""]
    return "\n".join([*head, *table])


def main() -> None:
    """Measure and write ``NAME.json`` and ``NAME.md``; with ``--child`` do one run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, default=DEMO, help="a BIDS data set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, help="name of the results, without ending; default: to the screen"
    )
    parser.add_argument("words", nargs="*", help="more options of the program, after --")
    options = parser.parse_args()
    if options.child is not None:
        one_run(options.words, overlap=bool(options.child))
        return
    found = measure(options.data, options.threads, options.repeats, options.words or ["--preset", "fast"])
    text = as_markdown(found)
    if options.out is None:
        print(text)
        return
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
