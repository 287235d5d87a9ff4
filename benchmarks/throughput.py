"""Pairs an hour of one GPU beside so many cores, as far as a machine without a GPU can tell.

What the GPU does, the search for both maps and the second look at the images, is replaced by a wait of
``--solve-s`` seconds, of which one goes on at a time, and by a smooth map. The rest is done for real:
reading, preparing, measuring, writing, drawing. So this measures how many pairs the cores can feed to one
GPU, and how that grows with the processes that share it::

    python -m benchmarks.throughput --n-procs 1 2 --out docs/results/throughput

The images are those of the demo on voxels of 1 mm. Wall clock counts: the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.clones import make_clones, seconds_a_pair
from benchmarks.common import ROOT, write_results
from bids_nodereg.app import executors, pair
from bids_nodereg.app.stages import Solution, common_grid
from bids_nodereg.cli import main as program
from bids_nodereg.imaging.maps import DisplacementField, forward_map, inverse_map
from bids_nodereg.registration.smoothing import gaussian

if TYPE_CHECKING:
    from collections.abc import Callable

    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.config import Settings

REACH_MM = 2.0
SECOND_LOOK = {"turned_distance_ratio": 2.0, "mirrored_distance_ratio": 1.5}

_real_worker = executors.prepare_worker


def fake_gpu(solve_s: float, lock: Path) -> None:
    """Replace in this process what a GPU would do."""

    def solve(inputs: Inputs, settings: Settings, *_: object) -> Solution:
        began = time.perf_counter()
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            waited = time.perf_counter() - began
            solution = smooth_solution(inputs, settings)
            time.sleep(max(0.0, solve_s + waited - (time.perf_counter() - began)))
        return solution

    pair.solve = solve
    pair.doubt_measures = lambda *_: dict(SECOND_LOOK)


def smooth_solution(inputs: Inputs, settings: Settings) -> Solution:
    """A map of the right size in no time: a random one on few points, and its negative for the inverse."""
    grid = common_grid(inputs.fixed, settings)
    rough = torch.randn(1, 3, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    rough = gaussian(rough, 2.0)
    fine = torch.nn.functional.interpolate(rough, size=grid.shape, mode="trilinear", align_corners=True)
    vectors = (fine * (REACH_MM / fine.norm(dim=1).max()))[0].movedim(0, -1).contiguous().numpy()
    forward, inverse = DisplacementField(grid, vectors), DisplacementField(grid, -vectors)
    unmoved = np.eye(4)
    return Solution(grid, unmoved, forward_map(unmoved, forward), inverse_map(unmoved, inverse))


def prepare_worker_with_fake_gpu(solve_s: float, lock: Path, *arguments: Any) -> Callable[..., Any]:
    """Make a worker process ready; sent to each by its name."""
    fake_gpu(solve_s, lock)
    return _real_worker(*arguments)


def one_run(data: Path, out: Path, n_procs: int, solve_s: float) -> int:
    """Run the program in this process, as it would run beside a GPU."""
    lock = out.with_suffix(".lock")
    fake_gpu(solve_s, lock)
    executors.prepare_worker = partial(prepare_worker_with_fake_gpu, solve_s, lock)
    # The words of a CPU: what is replaced is all that would go to the GPU.
    words = ["--device", "cpu", "--n-procs", str(n_procs), "--skip-bids-validation", "--quiet"]
    return program([str(data), str(out), "participant", *words])


def measure(data: Path, scratch: Path, n_procs: int, solve_s: float, pairs: int) -> dict[str, Any]:
    """Time one run; the pairs that the processes begin with count neither as pairs nor in the seconds."""
    out = scratch / f"out-{n_procs}"
    child = ["--child", str(data), str(out), "--n-procs", str(n_procs), "--solve-s", str(solve_s)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "benchmarks.throughput", *child], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = seconds_a_pair(out, n_procs)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "processes": n_procs,
        "pairs": pairs,
        "s a pair": round(seconds, 2),
        "pairs an hour": round(3600 / seconds),
        "processor s a pair, with the start": round(cpu_s / pairs, 2),
    }


def main() -> int:
    """Measure and write ``NAME.json`` and ``NAME.md``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--n-procs", nargs="+", type=int, default=[1, 2, 4], help="processes")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--solve-s", type=float, default=0.5, help="seconds a pair holds the GPU")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "throughput")
    parser.add_argument("--child", nargs=2, type=Path, metavar=("DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        return one_run(*options.child, options.n_procs[0], options.solve_s)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        make_clones(scratch / "bids", options.pairs)
        rows = [
            measure(scratch / "bids", scratch, count, options.solve_s, options.pairs)
            for count in options.n_procs
        ]
    notes = [
        f"One pair at a time waits {options.solve_s:g} s in the place of a GPU; {3600 / options.solve_s:.0f} "
        "pairs an hour is therefore the most. Load of the machine at the end: "
        f"{os.getloadavg()[0]:.1f}.",
    ]
    write_results(options.out, "Pairs an hour that the cores can feed to one GPU", rows, notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
