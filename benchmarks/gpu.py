"""All that a machine with a GPU can tell, in one command: checks, kernels, one pair, many pairs, end to end.

    python benchmarks/gpu.py                      # everything; says so and ends where there is no GPU
    python benchmarks/gpu.py --only pair batch    # some of it
    python benchmarks/gpu.py --device cpu --spacing 4 --presets fast --only pair batch end-to-end

The images come with the code: a demo brain, moved by a known map. ``--case DIR`` takes a case that
``accuracy.py`` has prepared. Each part writes a table and its numbers beside ``--out``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from clones import make_clones, seconds_a_pair
from common import ROOT, write_results
from painted_pair import KnownPair, painted_pair, prepared_pair

from bids_nodereg.app.device import choose_hardware
from bids_nodereg.config import PRESETS, Resources
from bids_nodereg.registration.register import Registration, register, register_many
from bids_nodereg.registration.settings import Execution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bids_nodereg.config import Settings

WAYS = {
    "host, float32": Execution(graphs=False, mixed=False),
    "host, mixed": Execution(graphs=False, mixed=True),
    "graphs, float32": Execution(graphs=True, mixed=False),
    "graphs, mixed": Execution(graphs=True, mixed=True),
}
"""How the GPU is used: who launches the kernels, and what the network of the velocity computes in."""
SLOW_PRESET = "paper"
"""Is measured in the last of the ways only."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and where.

    Attributes
    ----------
    device
        Of torch.
    spacing_mm
        Voxel size that replaces 1 mm; a preset that works twice as coarsely still does.
    case
        A prepared case in the place of the painted pair.
    presets, together, pairs, n_procs
        Presets; numbers of pairs at a time; pairs in a batch, and end to end; numbers of processes there.
    repeats
        Measured runs, of which the fastest counts; one more warms up.
    stem
        Start of the names of the results.
    """

    device: torch.device
    spacing_mm: float
    case: Path | None
    presets: tuple[str, ...]
    together: tuple[int, ...]
    pairs: int
    n_procs: tuple[int, ...]
    repeats: int
    stem: Path

    def pair(self, settings: Settings) -> KnownPair:
        """The pair on the grid that a preset works on."""
        if self.case is not None:
            return prepared_pair(self.case)
        return painted_pair(self.spacing_mm * settings.working_resolution_mm)

    def out(self, part: str) -> Path:
        """Where the results of a part go."""
        return self.stem.with_name(f"{self.stem.name}-{part}")


def main() -> int:
    """Go through the parts that were asked for."""
    arguments = parse()
    if arguments.device != "cpu" and not torch.cuda.is_available():
        print(f"No CUDA device is seen by torch {torch.__version__}: nothing was measured.")
        return 0
    hardware = choose_hardware(Resources(device=arguments.device))
    plan = Plan(
        device=hardware.device,
        spacing_mm=arguments.spacing,
        case=arguments.case,
        presets=tuple(arguments.presets),
        together=tuple(arguments.together),
        pairs=arguments.pairs,
        n_procs=tuple(arguments.n_procs),
        repeats=arguments.repeats,
        stem=arguments.out,
    )
    failed = [part for part, measure in PARTS.items() if part in arguments.only and not measure(plan)]
    if failed:
        print(f"Failed: {', '.join(failed)}")
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--spacing", type=float, default=1.0, help="voxel size in mm of the painted pair")
    parser.add_argument("--case", type=Path, help="a folder that accuracy.py has prepared")
    parser.add_argument("--presets", nargs="+", default=["default", "fast", SLOW_PRESET])
    parser.add_argument("--together", nargs="+", type=int, default=[1, 2, 4, 8], help="pairs at a time")
    parser.add_argument("--pairs", type=int, default=16, help="pairs of a batch, and end to end")
    parser.add_argument("--n-procs", nargs="+", type=int, default=[1, 8], help="processes, end to end")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "gpu")
    return parser.parse_args()


def checks(_plan: Plan) -> bool:
    """Run the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", str(ROOT / "tests")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def kernels(plan: Plan) -> bool:
    """Run the benchmarks of the kernels, which have programs of their own: of all, and the GPU's roofline."""
    programs = ["kernels.py", "kernels_gpu.py"] if plan.device.type == "cuda" else ["kernels.py"]
    codes = []
    for program in programs:
        name = program.removesuffix(".py").replace("_", "-")
        command = [sys.executable, str(ROOT / "benchmarks" / program), "--out", str(plan.out(name))]
        codes.append(subprocess.run(command, cwd=ROOT, check=False).returncode)
    return not any(codes)


def one_pair(plan: Plan) -> bool:
    """From arrays in memory to both fields, for every preset and way."""
    rows = []
    for preset in plan.presets:
        settings = PRESETS[preset]
        known = plan.pair(settings)
        ways = list(WAYS)[-1:] if preset == SLOW_PRESET or plan.device.type == "cpu" else list(WAYS)
        rows += [pair_row(plan, preset, settings, known, way) for way in ways]
    write_results(plan.out("pair"), "One pair, from arrays to both fields", rows, [about(plan)])
    return True


def pair_row(plan: Plan, preset: str, settings: Settings, known: KnownPair, way: str) -> dict[str, Any]:
    """Measure one preset in one way; the error is that of the map."""
    pair = known.on(plan.device)
    seconds, found = fastest(
        plan,
        lambda: register(pair, settings.registration, execution=WAYS[way]),
        1 if preset == SLOW_PRESET else plan.repeats,
    )
    optimising = sum(step.seconds for step in last_of_levels(found))
    return {
        "preset": preset,
        "way": way if plan.device.type == "cuda" else "CPU",
        "voxels": pair.fixed.numel(),
        "s": seconds,
        "iterations": len(found.history),
        "iterations/s": len(found.history) / optimising,
        "peak MiB": peak_mib(plan),
        **known.score(found.forward),
        "remarks": "; ".join(found.remarks),
    }


def last_of_levels(found: Registration) -> list[Any]:
    """The last step of every level: it knows how long the level took."""
    return list({step.level: step for step in found.history}.values())


def batch(plan: Plan) -> bool:
    """Many pairs, several at a time, from arrays to both fields."""
    settings = PRESETS["default"] if "default" in plan.presets else PRESETS[plan.presets[0]]
    pair = plan.pair(settings).on(plan.device)
    pairs = [replace(pair) for _ in range(plan.pairs)]
    rows = []
    for together in plan.together:

        def run(together: int = together) -> list[Any]:
            return list(register_many(pairs, settings.registration, together=together))

        seconds, results = fastest(plan, run, 1)
        rows.append(
            {
                "pairs at a time": together,
                "pairs": len(pairs),
                "s a pair": seconds / len(pairs),
                "pairs an hour": 3600 * len(pairs) / seconds,
                "peak MiB": peak_mib(plan),
                "equal": all(torch.equal(results[0].forward, other.forward) for other in results),
            }
        )
    write_results(
        plan.out("batch"), "Many pairs on one device, from arrays to both fields", rows, [about(plan)]
    )
    return True


def end_to_end(plan: Plan) -> bool:
    """The program on clones of a demo participant: reading to report, with several processes on the GPU."""
    presets = [preset for preset in plan.presets if preset != SLOW_PRESET]
    with tempfile.TemporaryDirectory() as scratch:
        make_clones(Path(scratch) / "bids", plan.pairs)
        rows = [
            program_row(plan, Path(scratch), preset, n_procs)
            for preset in presets
            for n_procs in plan.n_procs
        ]
    write_results(plan.out("end-to-end"), "From BIDS to derivatives and report", rows, [about(plan)])
    return all(row["code"] == 0 and row["pairs"] == plan.pairs for row in rows)


def program_row(plan: Plan, scratch: Path, preset: str, n_procs: int) -> dict[str, Any]:
    """One run of the program, from its start to its end."""
    out = scratch / f"{preset}-{n_procs}"
    spacing_mm = plan.spacing_mm * PRESETS[preset].working_resolution_mm
    command = [
        sys.executable, str(ROOT / "run.py"), str(scratch / "bids"), str(out), "participant",
        "--skip-bids-validation", "--preset", preset, "--device", str(plan.device),
        "--working-resolution", str(spacing_mm), "--n-procs", str(n_procs),
    ]  # fmt: skip
    began = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    seconds = time.perf_counter() - began
    done = len(list(out.glob("sub-*/**/*_qc.json")))
    return {
        "preset": preset,
        "processes": n_procs,
        "pairs": done,
        "s, with the start": seconds,
        "pairs an hour": 3600 / seconds_a_pair(out, n_procs),
        "code": code,
    }


PARTS: dict[str, Callable[[Plan], bool]] = {
    "checks": checks,
    "kernels": kernels,
    "pair": one_pair,
    "batch": batch,
    "end-to-end": end_to_end,
}
"""Every part, in the order in which they are run; each says whether all went well."""


def fastest(plan: Plan, work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Seconds of the fastest of some runs after one that warms up, and what the last one returned."""
    times = []
    for _ in range(repeats + 1):
        if plan.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        result = work()
        if plan.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:]), result


def peak_mib(plan: Plan) -> float | str:
    """Most memory that torch has held on the GPU since the last run began."""
    return torch.cuda.max_memory_allocated() / (1 << 20) if plan.device.type == "cuda" else ""


def about(plan: Plan) -> str:
    """The device in words."""
    if plan.device.type != "cuda":
        return "On the CPU."
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        cards: Sequence[str] = subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        cards = [torch.cuda.get_device_name()]
    return f"Card, driver, memory: {'; '.join(cards)}. CUDA of torch: {torch.version.cuda}."


if __name__ == "__main__":
    sys.exit(main())
