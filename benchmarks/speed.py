"""How long it takes: by stage, as a function of voxels, iterations and pairs, and beside other programs.

    python benchmarks/speed.py --prepared CASES --scratch DIR --out docs/results/speed
    python benchmarks/speed.py --quick ...          a minute, on coarse grids, to see that all of it works

Every run is a process of its own, measured from outside: wall clock, processor seconds and peak memory, start
of the interpreter and reading included. What is compared runs in turns, all of it once, then all of it again,
so that a busy machine is busy for everybody; the fastest of the repeats counts. One pair of two people is
used (T1w fixed, T2w moving), with one affine start for all; accuracy stands beside every time. Other
programs: as for ``accuracy.py`` (``PEERS_PYTHON``, ``DEEDS_DIR``); one that is not there is told.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from common import ROOT, machine, shared_data
from peers.case_list import choose
from peers.launch import MethodFailedError, find_field, run_measured
from peers.methods import OURS, Method, method_named
from peers.prepare import prepared_case, read_truth
from peers.scaled import scaled_case
from peers.score import score

from bids_nodereg.config import PRESETS
from bids_nodereg.files import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from peers.launch import Cost
    from peers.prepare import CaseFiles

Result = TypeVar("Result")

CASE = "kirbyT1-omsT2"
HERE = Path(__file__).resolve().parent
SYN = {"metric": "mattes", "sampling": 32}
EXTRA = {
    "ants-syn-default": Method("ants-syn-default", "run_ants.py", {**SYN, "iterations": (40, 20, 0)}),
}
"""antspyx as it comes: its last number is 0, so it never works at full resolution."""
SIDE_BY_SIDE = (
    *("nodereg-default", "nodereg-fast", "ants-syn-default", "ants-syn-mi", "greedy-nmi"),
    *("greedy-sv-wncc-inv", "convexadam", "deeds", "fireants-cc"),
)
PARTS = ("stages", "voxels", "iterations", "pairs", "peers")
ROWS = (
    ("kirby113", "T1w", "kirby113", "T2w"),
    ("kirby113", "T1w", "kirby113", "FLAIR"),
    ("openms07", "T1w", "openms07", "T2w"),
    ("openms07", "T1w", "openms07", "FLAIR"),
)
"""Pairs of one run, by participant and contrast: fixed, moving."""


@dataclass(frozen=True)
class Plan:
    """How large everything is."""

    spacing_mm: float = 1.0
    spacings_mm: tuple[float, ...] = (2.0, 1.5, 1.0, 0.7)
    factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    pairs: tuple[int, ...] = (1, 2, 4)
    methods: tuple[str, ...] = SIDE_BY_SIDE
    presets: tuple[str, ...] = ("default", "fast")


FEW = ("nodereg-fast", "ants-syn-default", "convexadam")
QUICK = Plan(4.0, (6.0, 4.0), (0.5, 1.0), (1, 2), FEW, ("fast",))


@dataclass(frozen=True)
class Bench:
    """What all parts share.

    Attributes
    ----------
    files
        The prepared case.
    scratch
        Folder of what is made on the way.
    plan
        How large.
    threads, repeats, limit_s
        Of each process, of each measurement, and the most seconds of one.
    devices
        Where our own method runs.
    skipped
        Methods that are not there, with the reason; filled on the way.
    """

    files: CaseFiles
    scratch: Path
    plan: Plan
    threads: int
    repeats: int
    limit_s: float
    devices: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Measure the parts that are asked for and write ``OUT.json`` and ``OUT.md``."""
    arguments = parse()
    (case,) = choose([CASE])
    bench = Bench(
        files=prepared_case(case, arguments.prepared),
        scratch=arguments.scratch.resolve(),
        plan=QUICK if arguments.quick else Plan(),
        threads=arguments.threads,
        repeats=1 if arguments.quick else arguments.repeats,
        limit_s=arguments.limit_s,
        devices=("cpu", "cuda") if torch.cuda.is_available() else ("cpu",),
    )
    measured = {
        name: part(bench)
        for name, part in zip(PARTS, (stages, voxels, iterations, pairs, peers), strict=True)
        if name in arguments.parts
    }
    about = {**machine(), "threads": str(bench.threads), "repeats": str(bench.repeats), "case": CASE}
    command = f"python benchmarks/speed.py {' '.join(sys.argv[1:])}"
    write_json(
        arguments.out.with_suffix(".json"),
        {"command": command, "machine": about, "skipped": bench.skipped, **plain(measured)},
    )
    text = page(measured, bench, about, command)
    write_text(arguments.out.with_suffix(".md"), text)
    print(text)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prepared", type=Path, required=True, help="prepared cases of accuracy.py")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for what is made on the way")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "speed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=1800, help="most seconds of one process")
    parser.add_argument("--quick", action="store_true", help="coarse and once")
    return parser.parse_args()


# ---- our own program, by stage and by number of pairs ----------------------------------------------


def stages(bench: Bench) -> list[dict[str, Any]]:
    """End to end on a pair of two people: seconds and peak memory by stage, for each preset and device."""
    rows = []
    for device in bench.devices:
        for preset in bench.plan.presets:
            name = f"stages-{preset}-{device}"
            runs = repeated(bench, name, partial(program, bench, [CROSS], preset, device, name))
            if not runs:
                continue
            cost, told = min(runs, key=lambda run: run[0].wall_s)
            head = {"device": device, "preset": preset}
            rows += [{**head, **row} for row in told]
            total = {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_mib": cost.peak_mb}
            rows.append({**head, "stage": "whole process", **total})
    return rows


CROSS = ("kirby113", "T1w", "openms07", "T2w")
"""The pair of the case, as the program gets it: with its own affine start."""


def pairs(bench: Bench) -> list[dict[str, Any]]:
    """Several pairs in one run."""
    rows = []
    preset = bench.plan.presets[-1]
    for device in bench.devices:
        for count in bench.plan.pairs:
            name = f"pairs-{count}-{device}"
            runs = repeated(bench, name, partial(program, bench, ROWS[:count], preset, device, name))
            if runs:
                costs = [cost for cost, _ in runs]
                rows.append({"device": device, "preset": preset, "pairs": count, **best(costs)})
    return rows


def program(
    bench: Bench, rows: Sequence[tuple[str, ...]], preset: str, device: str, name: str
) -> tuple[Cost, list[dict[str, Any]]]:
    """Run the program on pairs of the shared data; what it cost, and its stages."""
    folder = bench.scratch / name
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "pairs.tsv"
    images = [[f"sub-{s}/anat/sub-{s}_{c}.nii.gz" for s, c in (row[:2], row[2:])] for row in rows]
    table.write_text("\n".join("\t".join(row) for row in [["fixed", "moving"], *images]) + "\n")
    words = [
        *(str(shared_data("ds-brain")), str(folder / "out"), "participant", "--pairs-file", str(table)),
        *("--preset", preset, "--device", device, "--omp-nthreads", str(bench.threads), "--quiet"),
        *("--skip-bids-validation", "--force"),
    ]
    if bench.plan == QUICK:
        words += ["--working-resolution", f"{bench.plan.spacing_mm:g}"]
    command = [sys.executable, "-m", "peers.run_stages", str(folder / "stages.json"), *words]
    cost = run_measured(command, folder, bench.limit_s, bench.threads)
    say(f"{name}: {cost.wall_s:.1f} s")
    return cost, json.loads((folder / "stages.json").read_text())


# ---- our own registration, from arrays to fields ---------------------------------------------------


def voxels(bench: Bench) -> list[dict[str, Any]]:
    """The same pair on grids of several spacings."""
    rows = []
    for device in bench.devices:
        for spacing in bench.plan.spacings_mm:
            files = scaled_case(bench.files, bench.scratch / "cases", spacing)
            count = math.prod(read_truth(files).grid.shape)
            name = f"nodereg:working_resolution_mm={spacing:g}"
            row = {"device": device, "spacing_mm": spacing, "voxels": count}
            found = fields(bench, files, name, device, f"voxels-{spacing:g}-{device}")
            rows += [row | found] if found else []
    return rows


def iterations(bench: Bench) -> list[dict[str, Any]]:
    """The same pair with more and fewer iterations of every level, none ended early."""
    spacing = bench.plan.spacing_mm
    files = scaled_case(bench.files, bench.scratch / "cases", spacing)
    rows = []
    for device in bench.devices:
        for factor in bench.plan.factors:
            levels = [
                {"shrink": level.shrink, "iterations": max(1, round(level.iterations * factor))}
                for level in PRESETS["default"].registration.levels
            ]
            changes = {
                "working_resolution_mm": spacing,
                "registration.levels": levels,
                "registration.convergence_tolerance": 0.0,
            }
            name = "nodereg:" + ",".join(f"{key}={json.dumps(value)}" for key, value in changes.items())
            count = sum(level["iterations"] for level in levels)
            row = {"device": device, "iterations": count}
            found = fields(bench, files, name, device, f"iterations-{count}-{device}")
            rows += [row | found] if found else []
    return rows


def fields(bench: Bench, files: CaseFiles, name: str, device: str, folder_name: str) -> dict[str, Any]:
    """Seconds from arrays to both fields, and of the whole process; the fastest repeat, empty for none."""
    out = bench.scratch / folder_name
    out.mkdir(parents=True, exist_ok=True)
    words = [files.case.name, name, str(files.folder), str(out), "--threads", str(bench.threads)]
    command = [sys.executable, "-m", "peers.run_ours", *words, "--device", device]

    def once() -> dict[str, Any]:
        cost = run_measured(command, out, bench.limit_s, bench.threads)
        return {**json.loads((out / "field.json").read_text()), **vars(cost)}

    runs = repeated(bench, folder_name, once)
    if not runs:
        return {}
    fastest = min(runs, key=lambda run: run["fields_wall_s"])
    say(f"{folder_name}: {fastest['fields_wall_s']:.1f} s from arrays to fields")
    return {**fastest, "peak_mb": max(run["peak_mb"] for run in runs)}


def repeated(bench: Bench, name: str, once: Callable[[], Result]) -> list[Result]:
    """Do something several times; what fails is told on the page, and the rest goes on."""
    results: list[Result] = []
    try:
        while len(results) < bench.repeats:
            results.append(once())
    except MethodFailedError as error:
        bench.skipped[name] = " ".join(str(error).split())[-300:]
        say(f"{name}: FAILED {error}")
    return results


def slope(rows: Sequence[dict[str, Any]], x: str, y: str) -> float:
    """Exponent p of cost = c x^p, by least squares of the logarithms; 1 is linear."""
    if len(rows) < 2:
        return math.nan
    return float(np.polyfit(np.log([row[x] for row in rows]), np.log([row[y] for row in rows]), 1)[0])


# ---- beside other programs --------------------------------------------------------------------------


def peers(bench: Bench) -> list[dict[str, Any]]:
    """All methods on one pair, in turns; cost of whole processes, Dice beside."""
    files = scaled_case(bench.files, bench.scratch / "cases", bench.plan.spacing_mm)
    truth = read_truth(files)
    methods = list(present(bench))
    costs: dict[str, list[Cost]] = {method.name: [] for method in methods}
    rows = {}
    for turn in range(bench.repeats):
        for method in methods:
            out = bench.scratch / f"peers-{turn}" / method.name.split(":")[0]
            try:
                found = find_field(method, files, truth.grid, out, bench.limit_s, bench.threads)
            except MethodFailedError as error:
                bench.skipped[method.name.split(":")[0]] = " ".join(str(error).split())[-300:]
                continue
            if found.cost is not None:
                costs[method.name].append(found.cost)
            if method.name not in rows:
                scores = score(truth, found.forward, found.inverse)
                rows[method.name] = accuracy_of(scores["measures"], found.note)
            say(f"{method.name.split(':')[0]}: {costs[method.name][-1].wall_s:.1f} s")
    table = [
        {"method": name.split(":")[0], **best(costs[name]), **row}
        for name, row in rows.items()
        if costs[name]
    ]
    return with_ratios(table)


def present(bench: Bench) -> Iterable[Method]:
    """Methods that can run here; ours work on the grid of the case, but for ``fast``, which is coarser."""
    for name in bench.plan.methods:
        method = EXTRA.get(name) or method_named(name)
        if name == f"{OURS}-default":
            method = method_named(f"{name}:working_resolution_mm={bench.plan.spacing_mm:g}")
        reason = method.missing()
        if reason:
            bench.skipped[name] = reason
        else:
            yield method


def accuracy_of(measures: dict[str, Any], note: dict[str, Any]) -> dict[str, Any]:
    """What of the accuracy stands beside the times."""
    names = ("dice", "hd95_mm", "folded_voxels", "sd_log_jacobian")
    return {name: measures.get(name) for name in names} | {"fields_wall_s": note.get("fields_wall_s")}


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times the wall clock of our first preset each method takes."""
    ours = next((row["wall_s"] for row in rows if row["method"].startswith(OURS)), None)
    return [{**row, "times_ours": row["wall_s"] / ours if ours else None} for row in rows]


def best(costs: Sequence[Cost]) -> dict[str, Any]:
    """The fastest of several runs, its spread, and the largest peak."""
    fastest = min(costs, key=lambda cost: cost.wall_s)
    return {
        "wall_s": fastest.wall_s,
        "cpu_s": fastest.cpu_s,
        "peak_mb": max(cost.peak_mb or 0.0 for cost in costs),
        "slowest_s": max(cost.wall_s for cost in costs),
    }


# ---- the page ---------------------------------------------------------------------------------------

TITLES = {
    "stages": "Where the time goes: the whole program on one pair",
    "voxels": "Voxels",
    "iterations": "Iterations",
    "pairs": "Pairs in one run",
    "peers": "Beside other programs",
}
SLOPES = {
    "voxels": ("voxels", "fields_cpu_s"),
    "iterations": ("iterations", "fields_cpu_s"),
    "pairs": ("pairs", "wall_s"),
}
"""What grows with what."""


def page(measured: dict[str, Any], bench: Bench, about: dict[str, str], command: str) -> str:
    """All tables as Markdown."""
    parts = ["# Speed\n"]
    for name, rows in measured.items():
        parts.append(f"## {TITLES[name]}\n\n{table_of(rows)}")
        for device in bench.devices if name in SLOPES else ():
            x, y = SLOPES[name]
            found = slope([row for row in rows if row["device"] == device], x, y)
            parts.append(f"On {device}, {y} grows as {x} to the power of {found:.2f}.\n")
    parts += [f"Not run: {name} ({reason}).\n" for name, reason in bench.skipped.items()]
    parts.append(
        "wall_s, cpu_s, peak_mb: of the whole process, start and reading included, the fastest repeat; "
        "fields_*: from arrays in memory to both fields in memory. times_ours: wall clock over that of our "
        "first row.\n"
    )
    parts.append(f"Command: `{command}`\n")
    parts.append(f"Measured: {', '.join(f'{name} {value}' for name, value in about.items())}.\n")
    return "\n".join(parts)


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown table of rows with the same keys."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(keys) + " |", "|" + " --- |" * len(keys)]
    lines += ["| " + " | ".join(cell(row.get(key)) for key in keys) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plain(measured: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Rows as JSON holds them: null for what is no finite number."""
    return {
        name: [
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in row.items()
            }
            for row in rows
        ]
        for name, rows in measured.items()
    }


def cell(value: object) -> str:
    """One value in few digits."""
    if value is None:
        return "n/a"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
