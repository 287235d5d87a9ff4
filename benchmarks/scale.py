"""Ten thousand participants with tiny images: what the program takes beside the registrations.

    python -m benchmarks.scale --scratch DIR --out docs/results/scale-run
    python -m benchmarks.scale --participants 40 --shards 4 --scratch DIR --out /tmp/scale-run     a look

What is real: the data set of 10,000 participants (T1w and T2w each), every query of it, the first of 500
shards (20 pairs registered, rigid, by two processes), the resume of another shard and of everything, and
the group level, all with the program as users run it. What is not: the results of all other participants
are those of the first shard under their names, with their own sidecars, quality files and statuses; images
and pictures are hard links. Then data sets of empty files, up to 100,000 participants, are asked for one and
for a hundred, the smallest for all. The folder DIR should be on a disk with room for half a million files;
what is made there is removed.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import ROOT, write_results
from benchmarks.counted import run_program
from benchmarks.scale_copies import copy_records, copy_results, label, make_names, make_raw
from benchmarks.scale_costs import clear
from tests.reliability import tiny

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (1_000, 10_000, 100_000)
"""Participants of the data sets that are only asked."""
KEYS = (
    "what",
    "participants",
    "asked",
    "pairs",
    "wall_s",
    "cpu_s",
    "peak_mb",
    "read_mb",
    "written_mb",
    "page_mb",
)


@dataclass(frozen=True)
class Place:
    """Where everything is, and how much of it.

    Attributes
    ----------
    scratch, raw, out
        Folder of the benchmark, data set, output folder.
    participants, shards
        Of the data set; parts of it.
    """

    scratch: Path
    raw: Path
    out: Path
    participants: int
    shards: int

    def row(
        self, what: str, pairs: int, words: Sequence[str], level: str = "participant"
    ) -> dict[str, object]:
        """Run the program and count."""
        quick = tiny.arguments(self.raw, self.out, "--transform", "rigid", *words)
        command = quick if level == "participant" else [str(self.raw), str(self.out), level]
        taken = run_program(command, self.scratch)
        print(what, taken, flush=True)
        numbers = {"participants": self.participants, "asked": pairs, "pairs": pairs}
        return {"what": what, **numbers, **taken}


def simulate(place: Place) -> list[dict[str, object]]:
    """Query, shard, resume and group level of the data set with tiny images; in this order."""
    everybody, shard = place.participants, place.participants // place.shards
    part = ("--shard", f"1/{place.shards}")
    asked = [
        place.row("dry run of all", everybody, ["--dry-run"]),
        place.row("dry run of a shard", shard, ["--dry-run", *part]),
        place.row("dry run of one", 1, ["--dry-run", "--participant-label", label(1)]),
        place.row("a shard, registered by two processes", shard, [*part, "--n-procs", "2"]),
        place.row("group level of a shard", shard, [], level="group"),
    ]
    began = time.perf_counter()
    copy_results(place.out, place.participants, place.shards)
    print("copied in", time.perf_counter() - began, flush=True)
    return [
        *asked,
        place.row("a shard, all done", shard, ["--shard", f"2/{place.shards}"]),
        place.row("all, all done", everybody, []),
        place.row("group level", everybody, [], level="group"),
    ]


def grouped(place: Place, count: int) -> dict[str, object]:
    """Run the group level over so many copies of one quality file."""
    out = place.scratch / "records"
    copy_records(next(place.out.glob("sub-*/anat/*_qc.json")), out, count)
    taken = run_program([str(place.raw), str(out), "group"], place.scratch)
    page_mb = (out / "group_registration.html").stat().st_size / 1e6
    print("group level of copied records", taken, page_mb, flush=True)
    clear(out)
    numbers = {"participants": count, "asked": count, "pairs": count}
    return {"what": "group level of copied records", **numbers, **taken, "page_mb": page_mb}


def sizes(out: Path, participants: int) -> list[dict[str, object]]:
    """Files, folders and bytes of the output folder, by where they are, in the columns of the page."""
    places = {
        "participants": "sub-*/**/*",
        "pages": "sub-*.html",
        "logs": "logs/**/*",
        "group page": "group_*.html",
        "group tables": "group_*.[tj]s*",
    }
    rows: list[dict[str, object]] = []
    for name, pattern in places.items():
        found = list(out.glob(pattern))
        files = [path for path in found if path.is_file()]
        rows.append(
            {
                "what": name,
                "participants": participants,
                "files": len(files),
                "folders": len(found) - len(files),
                "mb": sum(path.stat().st_size for path in files) / 1e6,
            }
        )
    return rows


def queries(scratch: Path, participants: int) -> list[dict[str, object]]:
    """Ask a data set of empty files for one participant, a hundred, and, if it is not too large, all."""
    raw = make_names(scratch / f"names-{participants}", participants, ("T1w", "T2w", "FLAIR"))
    shards = max(participants // 100, 1)
    ways: list[tuple[int, tuple[str, ...]]] = [
        (1, ("--participant-label", f"{participants // 2:06d}")),
        (participants // shards, ("--shard", f"1/{shards}")),
    ]
    if participants <= SIZES[0]:
        ways.append((participants, ()))
    rows: list[dict[str, object]] = []
    for asked, words in ways:
        command = [str(raw), str(scratch / "nowhere"), "participant", "--dry-run", "json", *words]
        taken = run_program(command, scratch)
        pairs = (scratch / "said.txt").read_text().count('"taken": true')
        numbers = {"participants": participants, "asked": asked, "pairs": pairs}
        rows.append({"what": "dry run", **numbers, **taken})
        print(rows[-1], flush=True)
    clear(raw)
    return rows


def main() -> None:
    """Make the data sets, run everything, write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--participants", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=500)
    parser.add_argument("--records", type=int, default=10_000, help="pairs of a group level by itself")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="of the data sets of empty files")
    parser.add_argument("--keep", action="store_true", help="leave the simulated data set and its output")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "scale-run")
    options = parser.parse_args()
    folder = options.scratch / f"scale-{os.getpid()}"
    folder.mkdir(parents=True)
    began = time.perf_counter()
    raw = make_raw(folder, options.participants, options.shards)
    made = {"what": "making the data set", "wall_s": time.perf_counter() - began}
    place = Place(folder, raw, folder / "out", options.participants, options.shards)
    rows = [made | {"participants": options.participants}, *simulate(place)]
    rows.append(grouped(place, options.records))
    stored = sizes(place.out, options.participants)
    if not options.keep:
        clear(raw)
        clear(place.out)
    rows += [row for size in options.sizes for row in queries(folder, size)]
    if not options.keep:
        clear(folder)
    write_results(
        options.out,
        f"{options.participants:,} participants with tiny images",
        [{key: row.get(key, "") for key in KEYS} for row in rows],
        [
            f"{options.participants} participants, T1w and T2w of 24 x 26 x 22 voxels. The first shard of",
            f"{options.shards} was registered, the others' results are its results under their names.",
            "The last rows ask data sets of empty T1w, T2w and FLAIR files.",
            "MB: 10^6 bytes, but 2^20 of memory. Processor time is the process's own; the wall clock is",
            "that of a machine which others used too.",
        ],
    )
    write_results(
        options.out.with_name(f"{options.out.name}-files"),
        f"Files of {options.participants:,} participants with tiny images",
        stored,
        ["Bytes as if nothing was a link."],
    )


if __name__ == "__main__":
    main()
