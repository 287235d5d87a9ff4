"""How long the program takes until it works: help, dry run, and the first iteration of a first pair.

Run with the environment of the program::

    python -m benchmarks.startup --out docs/results/startup

Each command is a process of its own, started several times, and the best time counts: of wall clock and of
processor. The first iteration is seen in the log, as is what comes before it. numba's compiled loops are
kept in a folder of the benchmark, so that the first run is cold and the others are warm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

DEMO = Path(__file__).resolve().parents[1] / "bids_nodereg" / "data" / "demo"
TICKS = os.sysconf("SC_CLK_TCK")

MARKS = {
    "imports done, pairs found": "nodereg ",
    "pair begun": "[1/",
    "first iteration": "iteration 1/",
}
"""What the log says when something is reached."""


@dataclass(frozen=True)
class Timing:
    """One command.

    Attributes
    ----------
    name
        What was asked.
    wall_s, cpu_s
        Seconds until it had ended, or until the last mark.
    marks
        Seconds of wall clock and of processor until each mark.
    """

    name: str
    wall_s: float
    cpu_s: float
    marks: dict[str, tuple[float, float]] = field(default_factory=dict)


def whole(name: str, words: list[str], environment: dict[str, str]) -> Timing:
    """Time a command that ends by itself."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(_command(words), check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Timing(name, wall, cpu)


def until_first_iteration(name: str, words: list[str], environment: dict[str, str]) -> Timing:
    """Time a command to its marks, and end it at the last one."""
    began = time.perf_counter()
    waiting, marks = dict(MARKS), {}
    with subprocess.Popen(
        _command(words), stderr=subprocess.PIPE, text=True, env=environment, cwd=DEMO.parents[2]
    ) as process:
        for line in process.stderr:  # type: ignore[union-attr] # it is piped
            for mark, sign in list(waiting.items()):
                if sign in line:
                    marks[mark] = (time.perf_counter() - began, _cpu_of(process.pid))
                    del waiting[mark]
            if not waiting:
                break
        process.kill()
    if waiting:
        msg = f"{' '.join(words)} ended before: {', '.join(waiting)}"
        raise RuntimeError(msg)
    last = marks["first iteration"]
    return Timing(name, *last, marks)


def imports(
    environment: dict[str, str], module: str = "bids_nodereg.app.run", most: int = 12
) -> list[list[object]]:
    """Give what importing takes, package by package: those of the most seconds, with what they import."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"],
        check=True, capture_output=True, text=True, env=environment,
    ).stderr  # fmt: skip
    totals: dict[str, float] = {}
    for line in told.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdecimal():
            package = parts[2].strip().split(".")[0]
            totals[package] = totals.get(package, 0.0) + int(parts[0]) / 1e6
    return [
        [name, round(seconds, 3)] for name, seconds in sorted(totals.items(), key=lambda row: -row[1])[:most]
    ]


def measure(repeats: int, scratch: Path) -> dict[str, object]:
    """Time everything; the best of so many repeats, one after the other in turn."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(scratch / "numba")}
    first = ["--participant-label", "01", "--preset", "fast", "--device", "cpu", "--skip-bids-validation"]
    demo = [str(DEMO), str(scratch / "out"), "participant"]

    def pair() -> Timing:
        return until_first_iteration("first iteration", [*demo, *first, "--force"], environment)

    cold = pair()
    runs: dict[str, list[Timing]] = {}
    for _ in range(repeats):
        for timing in (
            whole("--help", ["--help"], environment),
            whole("--version", ["--version"], environment),
            whole("--dry-run", [*demo, "--dry-run"], environment),
            pair(),
        ):
            runs.setdefault(timing.name, []).append(timing)
    fastest = [min(each, key=lambda timing: timing.wall_s) for each in runs.values()]
    least = {name: min(timing.cpu_s for timing in each) for name, each in runs.items()}
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "command": "python -m benchmarks.startup",
        "repeats": repeats,
        "load": os.getloadavg()[0],
        "timings": [asdict(cold) | {"name": "first iteration, cold cache of numba"}]
        + [asdict(timing) | {"cpu_s": least[timing.name]} for timing in fastest],
        "imports": imports(environment),
    }


def as_markdown(found: dict[str, object]) -> str:
    """The table of a measurement."""
    rows = [f"| {each['name']} | {each['wall_s']:.2f} | {each['cpu_s']:.2f} |" for each in found["timings"]]  # type: ignore[attr-defined]
    last = found["timings"][-1]["marks"]  # type: ignore[index]
    marks = [f"| {name} | {wall:.2f} | {cpu:.2f} |" for name, (wall, cpu) in last.items()]
    packages = [f"| {name} | {seconds:.2f} |" for name, seconds in found["imports"]]  # type: ignore[attr-defined]
    return "\n".join(
        [
            "# Start-up",
            "",
            f"{found['date']}; {found['machine']}, Python {found['python']}; load of the machine "
            f"{found['load']:.1f}; best of {found['repeats']}, made by `{found['command']}`.",
            "",
            "| until | wall clock, s | processor, s |",
            "|---|---|---|",
            *rows,
            "",
            "On the way to the first iteration, warm:",
            "",
            "| reached | wall clock, s | processor, s |",
            "|---|---|---|",
            *marks,
            "",
            "Of the imports (seconds of their own, with `-X importtime`):",
            "",
            "| package | s |",
            "|---|---|",
            *packages,
            "",
        ]
    )


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "bids_nodereg", *words]


def _cpu_of(pid: int) -> float:
    """Processor seconds of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    """Measure and write ``NAME.json`` and ``NAME.md``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, help="name of the results, without ending; default: to the screen"
    )
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(options.repeats, Path(scratch))
    text = as_markdown(found)
    if options.out is None:
        print(text)
        return
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
