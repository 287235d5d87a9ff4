"""Fuzz every target, and write what came of it: ``python -m fuzz FOLDER`` (``make fuzz``).

The corpora and the logs go into the folder, and are gone on from when it is given again.
``docs/results/fuzz.json`` and ``fuzz.md`` tell the counts.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

RUNS = {
    "image": 120_000,
    "field": 20_000,
    "composite": 12_000,
    "affine-text": 20_000,
    "matlab": 20_000,
    "json": 20_000,
    "table": 20_000,
    "settings": 20_000,
    "weights": 20_000,
}
WHAT = {
    "image": "NIfTI-1 and -2, plain, compressed, and as gzip bytes",
    "field": "displacement fields as NIfTI",
    "composite": "ITK transforms in HDF5 (by their structure; another process reads them)",
    "affine-text": "ITK transforms as text",
    "matlab": "ITK transforms as MATLAB 4",
    "json": "descriptions, sidecars, filter files",
    "table": "pairs, landmarks, sessions, tasks",
    "settings": "settings in TOML",
    "weights": "weights of a network in safetensors",
}
RESULTS = Path(__file__).parents[1] / "docs" / "results"
COMMAND = "make fuzz"


def main() -> int:
    """Fuzz one target after the other; the exit code is 1 where there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--divide", type=int, default=1, help="make so many times fewer runs")
    parser.add_argument("--only", choices=RUNS, help="fuzz one reader, and keep what is known of the others")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    rows = known() if options.only else {}
    for name in [options.only] if options.only else RUNS:
        rows[name] = fuzzed(name, RUNS[name] // options.divide, folder)
    packages = ("atheris", "nibabel", "numpy", "h5py", "safetensors")
    told = {
        "command": COMMAND,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "targets": {name: rows[name] for name in RUNS if name in rows},
    }
    (RESULTS / "fuzz.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "fuzz.md").write_text(page(told), encoding="utf-8")
    return int(any(row["findings"] for row in rows.values()))


def known() -> dict[str, dict[str, Any]]:
    """Rows of the last table."""
    return dict(json.loads((RESULTS / "fuzz.json").read_text(encoding="utf-8"))["targets"])


def fuzzed(name: str, runs: int, folder: Path) -> dict[str, Any]:
    """Fuzz one target in a process of its own, and read the log that it leaves."""
    log = folder / f"{name}.log"
    words = [sys.executable, "-m", "fuzz.run", name, "--runs", str(runs), "--corpus", str(folder)]
    with log.open("w", encoding="utf-8") as out:
        code = subprocess.run(words, stdout=out, stderr=subprocess.STDOUT, check=False).returncode  # noqa: S603
    row = read_log(log.read_text(encoding="utf-8", errors="replace"))
    found = [path.name for path in folder.glob(f"{name}-*") if re.search(r"-(crash|timeout|oom)-", path.name)]
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return {"date": date, **row, "findings": sorted(found) or ([f"exit code {code}"] if code else [])}


def read_log(text: str) -> dict[str, Any]:
    """Counts of a log of libFuzzer: cases, seconds, coverage (branches and features) at begin and end.

    ``endings`` is how often the process that reads HDF5 ended in which way.
    """
    covered = [tuple(map(int, match)) for match in re.findall(r"cov: (\d+) ft: (\d+)", text)]
    done = re.search(r"^Done (\d+) runs in (\d+)", text, re.MULTILINE)
    slowest = re.search(r"slowest_unit_time_sec:\s*(\d+)", text)
    endings = re.search(r"^stat::endings: (.*)$", text, re.MULTILINE)
    return {
        "cases": int(done[1]) if done else 0,
        "seconds": int(done[2]) if done else 0,
        "slowest_case_s": int(slowest[1]) if slowest else None,
        "branches": [covered[0][0], covered[-1][0]] if covered else None,
        "features": [covered[0][1], covered[-1][1]] if covered else None,
        "endings": json.loads(endings[1]) if endings else {},
    }


def page(told: dict[str, Any]) -> str:
    """The table as Markdown."""
    rows = told["targets"]
    total = sum(row["cases"] for row in rows.values())
    lines = [
        "# Fuzzed readers",
        "",
        f"`{told['command']}`: {total:,} cases. Each file has to be read, or refused by one "
        "of our own errors: no other exception, no end of the process, no case beyond 60 s, no more than 1 "
        f"GiB of memory. Python {told['python']}, "
        + ", ".join(f"{name} {number}" for name, number in told["packages"].items())
        + ". *Branches* are those reached with the seeds, and at the end.",
        "",
        "| reader | what | date | cases | branches | slowest case | findings |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for name, row in rows.items():
        branches = "{} → {}".format(*row["branches"]) if row["branches"] else "—"
        slowest = "—" if row["slowest_case_s"] is None else f"{row['slowest_case_s']} s"
        findings = ", ".join(row["findings"]) or "none"
        told_of = f"| {name} | {WHAT[name]} | {row['date']} | {row['cases']:,} | {branches} | {slowest} |"
        lines.append(f"{told_of} {findings} |")
    if endings := rows.get("composite", {}).get("endings"):
        ordered = sorted(endings.items(), key=lambda each: -each[1])
        ways = ", ".join(f"{way} {count:,}" for way, count in ordered)
        lines += [
            "",
            f"How the process ended that reads HDF5, and may end in any way: {ways}. A signal is a crash of "
            "the library, or one second of processor time (SIGXCPU); whatever it is, the reader tells of a "
            "file that cannot be read.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
