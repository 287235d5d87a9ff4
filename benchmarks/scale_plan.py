"""Make the tables of docs/scale.md from what was measured, so that they cannot drift.

    python -m benchmarks.scale_plan

Reads ``scale-costs.json`` (one pair), ``scale-run.json`` (many tiny ones) and, where it is there,
``gpu-end-to-end.json`` in docs/results. :mod:`benchmarks.scale_model` has the arithmetic.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from benchmarks.common import ROOT
from benchmarks.scale_model import (
    HOUR_S,
    MOST_OVERHEAD,
    MOST_TASKS,
    WORDS,
    Bounds,
    Costs,
    Group,
    PairCost,
    Site,
    bottleneck,
    demand,
    fit_index,
    task_start_s,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "scale.md"
COHORTS = (100, 10_000, 100_000)
PAIRS_EACH = 2
WAYS = {"default": "default, 1 mm", "fast": "fast, 2 mm"}
"""Presets of the plan, and how they are called among the measured ways."""
CORES = 2
GPU_CORES = 16
AT_ONCE = {"CPU": (10, 100, 500), "GPU": (1, 4, 16)}
"""Tasks at the same time, for each cohort."""
CONTAINER_S = 3.0
"""Seconds that a container takes to start: assumed."""
TARGET_PAIRS_AN_HOUR = 1500.0
"""Of one GPU with 16 cores: the goal that the program was built for; it stands in until one is measured."""
HELPER_CHUNK = 10
"""Participants of a task where ``bids-nodereg sbatch`` is told nothing."""


@dataclass(frozen=True)
class Rate:
    """Pairs an hour of one GPU, and whether that was measured."""

    pairs_an_hour: float
    is_measured: bool


def rows_of(name: str) -> list[dict[str, Any]]:
    """Rows of a table in docs/results."""
    return list(json.loads((RESULTS / f"{name}.json").read_text())["rows"])


def gpu_rate(preset: str) -> Rate:
    """Pairs an hour end to end, the best of what was measured with a preset."""
    path = RESULTS / "gpu-end-to-end.json"
    if path.is_file():
        content = json.loads(path.read_text())
        rates = [row["pairs an hour"] for row in content["rows"] if row["preset"] == preset]
        if rates and "gpu" in content["machine"]:
            return Rate(max(rates), is_measured=True)
    return Rate(TARGET_PAIRS_AN_HOUR, is_measured=False)


def costs_of(preset: str, pairs: Sequence[Mapping[str, Any]], run: Sequence[Mapping[str, Any]]) -> Costs:
    """What was measured, as the model takes it.

    Parameters
    ----------
    preset
        Key of :data:`WAYS`.
    pairs, run
        Rows of ``scale-costs`` and ``scale-run``.
    """
    way = WAYS[preset]
    pair = next(row for row in pairs if row["what"] == f"a pair, {way}")
    rest = next(row for row in pairs if row["what"] == f"a run that finds 2 done, {WAYS['fast']}")
    index = fit_index([_asked(row) for row in run if row["what"].startswith("dry run")])
    known = {row["what"]: row for row in run}
    few, many = known["group level of a shard"], known["group level of copied records"]
    more = many["pairs"] - few["pairs"]
    shard, everything = known["a shard, all done"], known["all, all done"]
    indexed_s = [index.seconds(row["pairs"], row["participants"]) for row in (shard, everything)]
    done_s = everything["cpu_s"] - shard["cpu_s"] - (indexed_s[1] - indexed_s[0])
    group = Group(
        start_s=few["cpu_s"],
        pair_s=(many["cpu_s"] - few["cpu_s"]) / more,
        start_mb=few["peak_mb"],
        pair_mb=max(0.0, many["peak_mb"] - few["peak_mb"]) / more,
        pair_page_bytes=many["page_mb"] * 1e6 / many["pairs"],
    )
    return Costs(
        pair=PairCost(
            core_s=pair["cpu_s"],
            gpu_s=HOUR_S / gpu_rate(preset).pairs_an_hour,
            memory_mb=pair["peak_mb"],
            read_mb=pair["read_mb"],
            written_mb=pair["written_mb"],
            stored_mb=pair["output_mb"],
            files=pair["files"],
            folders=pair["folders"],
        ),
        index=index,
        start_s=max(0.0, rest["cpu_s"] - index.seconds(1, 1)),
        done_pair_s=done_s / (everything["pairs"] - shard["pairs"]),
        group=group,
    )


def _asked(row: Mapping[str, Any]) -> tuple[int, int, float]:
    """Participants asked for, participants present, processor seconds of a dry run."""
    return int(row["asked"]), int(row["participants"]), float(row["cpu_s"])


def tables(costs: Mapping[str, Costs], rates: Mapping[str, Rate]) -> dict[str, str]:
    """The tables of the page, by the name of their place."""
    told = "measured" if rates["default"].is_measured else "**not measured**, assumed"
    return {
        "costs": costs_table(costs),
        "cpu-default": cohort_table(costs["default"], "CPU"),
        "cpu-fast": cohort_table(costs["fast"], "CPU"),
        "gpu-default": f"{rates['default'].pairs_an_hour:,.0f} pairs an hour of one GPU: {told}.\n\n"
        + cohort_table(costs["default"], "GPU"),
        "chunks": chunk_table(costs),
        "bounds": bounds_table(),
    }


def costs_table(costs: Mapping[str, Costs]) -> str:
    """What a pair takes, preset by preset, and what a run takes beside."""
    pairs = [each.pair for each in costs.values()]
    common = next(iter(costs.values()))
    index, group = common.index, common.group
    lines = [
        _line("a pair", *(WAYS[preset] for preset in costs)),
        _line("---", *("---" for _ in costs)),
        _line("processor time", *(f"{pair.core_s:.0f} s" for pair in pairs)),
        _line("peak memory of the process", *(f"{pair.memory_mb / 1024:.1f} GiB" for pair in pairs)),
        _line("read", *(f"{pair.read_mb:.0f} MB" for pair in pairs)),
        _line("written", *(f"{pair.written_mb:.0f} MB" for pair in pairs)),
        _line("left on the disk", *(f"{pair.stored_mb:.0f} MB" for pair in pairs)),
        _line("files left", *(f"{pair.files:.0f}" for pair in pairs)),
    ]
    beside = [
        _line("beside the pairs", "processor time"),
        _line("---", "---"),
        _line("start of the program, before it asks for images", f"{index.start_s:.1f} s"),
        _line("libraries of the registration, once a process", f"{common.start_s:.1f} s"),
        _line("each participant that is asked for", f"{1000 * index.each_s:.1f} ms"),
        _line(
            "each participant that is present, for every 500 that are asked for",
            f"{1000 * index.listed_s:.2f} ms",
        ),
        _line("a pair that is found done", f"{1000 * common.done_pair_s:.0f} ms"),
        _line("a pair in the group level", f"{1000 * group.pair_s:.2f} ms, {1024 * group.pair_mb:.0f} KiB"),
    ]
    return "\n".join([*lines, "", *beside])


def cohort_table(costs: Costs, kind: str) -> str:
    """What each cohort takes."""
    sites = [site_of(kind, place) for place in range(len(COHORTS))]
    found = [demand(people, PAIRS_EACH, costs, site) for people, site in zip(COHORTS, sites, strict=True)]
    first = [bottleneck(each, Bounds()) for each in found]
    rows = {
        "participants": [f"{people:,}" for people in COHORTS],
        "---": ["---:" for _ in COHORTS],
        "pairs": [f"{each.pairs:,}" for each in found],
        "tasks of so many participants": [f"{each.tasks:,} of {each.chunk}" for each in found],
        "time of a task": [_hours(each.task_h) for each in found],
        "of that, its start": [f"{100 * each.overhead:.1f} %" for each in found],
        "core hours": [f"{each.core_h:,.0f}" for each in found],
        "GPU hours": [f"{each.gpu_h:,.1f}" for each in found] if kind == "GPU" else [],
        "tasks at a time": [
            f"{min(site.at_once, each.tasks)}" for site, each in zip(sites, found, strict=True)
        ],
        "time until all is done": [_hours(each.hours) for each in found],
        "memory of a task": [f"{costs.pair.memory_mb / 1024:.1f} GiB" for _ in found]
        if kind == "CPU"
        else [],
        "read, written, all together": [
            f"{each.read_mb_s:.1f}, {each.written_mb_s:.1f} MB/s" for each in found
        ],
        "files made a second": [f"{each.files / (each.hours * HOUR_S):,.1f}" for each in found],
        "storage": [_bytes(each.stored_tb) for each in found],
        "files and folders": [f"{each.files + each.folders:,}" for each in found],
        "looking through all that is done, one core": [_hours(each.again_h) for each in found],
        "group level": [f"{each.group_s:,.0f} s, {each.group_mb / 1024:.1f} GiB" for each in found],
        "its page": [f"{each.page_mb:,.1f} MB" for each in found],
        "closest to its bound": [
            f"{name}: {_rounded(100 * part)} %" if part < 1 else f"{name}: {_rounded(part)} times"
            for name, part in first
        ],
    }
    return "\n".join(_line(name, *cells) for name, cells in rows.items() if cells)


def site_of(kind: str, place: int) -> Site:
    """Where a cohort runs."""
    cores, gpus = (GPU_CORES, 1) if kind == "GPU" else (CORES, 0)
    return Site(cores, gpus, AT_ONCE[kind][place], CONTAINER_S)


def chunk_table(costs: Mapping[str, Costs]) -> str:
    """Participants of a task for each way and cohort, beside what the helper takes by itself."""
    lines = [
        _line(
            "way", "participants", "of a task", "start", "part of the task", f"with {HELPER_CHUNK} of a task"
        ),
        _line("---", "---:", "---:", "---:", "---:", "---:"),
    ]
    ways = [("default", "CPU"), ("fast", "CPU"), ("default", "GPU")]
    for preset, kind in ways:
        for place, people in enumerate(COHORTS):
            known, site = costs[preset], site_of(kind, place)
            best = demand(people, PAIRS_EACH, known, site)
            helper = demand(people, PAIRS_EACH, known, site, HELPER_CHUNK)
            start_s = task_start_s(best.chunk, people, known, site)
            lines.append(
                _line(
                    f"{preset}, {kind}",
                    f"{people:,}",
                    str(best.chunk),
                    f"{start_s:.0f} s",
                    f"{100 * best.overhead:.1f} %",
                    f"{100 * helper.overhead:.1f} %",
                )
            )
    most = f"{100 * MOST_OVERHEAD:.0f} %"
    note = f"At most {most} of a task is its start, and an array has at most {MOST_TASKS:,} tasks."
    return "\n".join([*lines, "", note])


def bounds_table() -> str:
    """What counts as a bottleneck."""
    units = {"hours": "h", "written_mb_s": "MB/s written", "stored_tb": "TB", "files": "files and folders"}
    lines = [_line("what", "bound"), _line("---", "---:")]
    for field in fields(Bounds):
        unit = units.get(field.name, "MB")
        lines.append(_line(WORDS[field.name], f"{getattr(Bounds(), field.name):,.0f} {unit}"))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rounded(number: float) -> str:
    """Two digits, and no power of ten for what is larger.

    Examples
    --------
    >>> _rounded(0.0123), _rounded(9.96), _rounded(99.6), _rounded(1234.5)
    ('0.012', '10', '100', '1,234')
    """
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * HOUR_S:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:,.1f} h"


def _bytes(terabytes: float) -> str:
    return f"{terabytes * 1000:,.0f} GB" if terabytes < 1 else f"{terabytes:,.1f} TB"


def filled(page: str, parts: Mapping[str, str]) -> str:
    """Put tables into their places, between ``<!-- table: NAME -->`` and ``<!-- end -->``.

    Raises
    ------
    ValueError
        If the page lacks a place.
    """
    for name, table in parts.items():
        place = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(page):
            msg = f"{PAGE}: no place for the table {name}, expected <!-- table: {name} --> and <!-- end -->."
            raise ValueError(msg)
        page = place.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", page)
    return page


def measured() -> tuple[dict[str, Costs], dict[str, Rate]]:
    """Costs and rates of each preset, from docs/results."""
    sources = rows_of("scale-costs"), rows_of("scale-run")
    rates = {preset: gpu_rate(preset) for preset in WAYS}
    return {preset: costs_of(preset, *sources) for preset in WAYS}, rates


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(filled(PAGE.read_text(), tables(*measured())))
    print(f"{PAGE.relative_to(ROOT)}: tables written")


if __name__ == "__main__":
    main()
