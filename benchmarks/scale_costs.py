"""What one pair takes: seconds, memory, bytes, files. Real images, the whole program, on the CPU.

    python -m benchmarks.scale_costs --out docs/results/scale-costs

One participant of ds-openms (whole heads, T1w, T2w and FLAIR) is registered into a temporary folder, in
several ways, each a process of its own; then once more, when all is done, which tells what a run takes
that is no pair. The first run warms caches and is not counted. ``benchmarks/scale_plan.py`` makes a plan.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import ROOT, shared_data, write_results
from benchmarks.counted import run_program

PARTICIPANT = "04"
THREADS = 2


@dataclass(frozen=True)
class Way:
    """One way to register the participant.

    Attributes
    ----------
    name
        In the table.
    pairs
        How many there are.
    words
        Options of the program.
    """

    name: str
    pairs: int
    words: tuple[str, ...]


def ways(scratch: Path) -> list[Way]:
    """Two resolutions, and the fast preset."""
    coarse = scratch / "coarse.toml"
    coarse.write_text("[settings]\nworking_resolution_mm = 1.5\n")
    return [
        Way("fast, 2 mm", 2, ("--preset", "fast")),
        Way("default, 1.5 mm", 2, ("--config", str(coarse))),
        Way("default, 1 mm", 1, ("--moving-suffix", "T2w")),
    ]


def measured(way: Way, raw: Path, scratch: Path) -> list[dict[str, str | float]]:
    """Register the pairs, and look at them again; gives the row of a pair and that of the rest.

    The row of a pair is what the first run took less what the second took, for each pair.
    """
    out = scratch / "out"
    fixed = ["--participant-label", PARTICIPANT, "--device", "cpu", "--omp-nthreads", str(THREADS)]
    words = [str(raw), str(out), "participant", *fixed, "--skip-bids-validation", *way.words]
    first, again = run_program(words, scratch), run_program(words, scratch)
    files, folders, size_mb = contents(out)
    inputs = [path for path in raw.glob(f"sub-{PARTICIPANT}/**/*.nii.gz") if _is_used(path, way)]
    pair: dict[str, str | float] = {"what": f"a pair, {way.name}"}
    for key in ("wall_s", "cpu_s", "read_mb", "written_mb"):
        pair[key] = (first[key] - again[key]) / way.pairs
    pair |= {"peak_mb": first["peak_mb"], "input_mb": sum(path.stat().st_size for path in inputs) / 1e6}
    pair |= {"files": files / way.pairs, "folders": folders, "output_mb": size_mb / way.pairs}
    rest = {"what": f"a run that finds {way.pairs} done, {way.name}", **again}
    clear(out)
    return [pair, {key: rest.get(key, 0.0) for key in pair}]


def contents(out: Path) -> tuple[int, int, float]:
    """Files and folders of the participants in an output folder, and 10^6 bytes; logs are left out."""
    mine = [path for top in out.glob("sub-*") for path in (top, *top.rglob("*"))]
    files = [path for path in mine if path.is_file()]
    return len(files), len(mine) - len(files), sum(path.stat().st_size for path in files) / 1e6


def clear(folder: Path) -> None:
    """Remove a folder with all that is in it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


def _is_used(path: Path, way: Way) -> bool:
    """Whether an image is one of the pairs'."""
    return "T1w" in path.name or "--moving-suffix" not in way.words or "T2w" in path.name


def main() -> None:
    """Warm up, measure every way, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "scale-costs")
    parser.add_argument("--only", type=int, help="so many of the ways, the quickest first")
    options = parser.parse_args()
    raw = shared_data("ds-openms")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        known = ways(scratch)[: options.only]
        measured(Way("warming up", 1, ("--iterations", "1", "1", "--preset", "fast")), raw, scratch)
        rows = [row for way in known for row in measured(way, raw, scratch)]
    write_results(
        options.out,
        "What one pair takes",
        rows,
        [
            f"Whole heads as they come from the scanner (sub-{PARTICIPANT} of ds-openms), {THREADS} threads.",
            "A pair: what a run took less what the same run takes when all is done, divided by its pairs;",
            "peak memory is that of the whole process, input and folders are those of the participant.",
            "Read and written: asked of the system, libraries and its cache included.",
            "MB: 10^6 bytes, but 2^20 of memory. Processor time is the process's own; the wall clock is",
            "that of a machine which others used too.",
        ],
    )


if __name__ == "__main__":
    main()
