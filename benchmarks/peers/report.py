"""The report: Markdown to read and JSON to compute with, from one store of results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from common import machine

from peers.case_list import UNRELIABLE
from peers.methods import OURS
from peers.summary import (
    NOISE_DICE,
    lost_structures,
    mean_and_spread,
    paired_difference,
    read_store,
    structure_table,
    table_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from peers.summary import Record

KINDS = {
    "real": "Two people, T1w with T2w or FLAIR",
    "exact": "Painted T1w and T2w of two anatomies, exact labels",
    "mono": "Two people, T1w with T1w",
    "known": "One person, T1w with T2w, a known warp",
}
LABEL_COLUMNS = {
    "Dice": "dice",
    "Dice, all": "dice_all",
    "HD95 mm": "hd95_mm",
    "folded voxels": "folded_voxels",
    "SD log J": "sd_log_jacobian",
    "inverse error mm": "inverse_error_mean_mm",
}
KNOWN_COLUMNS = {
    "endpoint error mm": "endpoint_error_mean_mm",
    "p95 mm": "endpoint_error_p95_mm",
    "inner mm": "endpoint_error_inner_mean_mm",
    "folded voxels": "folded_voxels",
    "SD log J": "sd_log_jacobian",
    "inverse error mm": "inverse_error_mean_mm",
}
COST_COLUMNS = {"CPU s": "cpu_s", "wall s": "wall_s", "peak MB": "peak_mb"}
COMPARED = {"real": ("dice", "hd95_mm"), "exact": ("dice", "hd95_mm"), "mono": ("dice", "hd95_mm"),
            "known": ("endpoint_error_mean_mm", "endpoint_error_p95_mm")}  # fmt: skip
STRUCTURES = (
    "background",
    "cerebral white matter",
    "cortex",
    "lateral ventricle",
    "inferior lateral ventricle",
    "cerebellar white matter",
    "cerebellar cortex",
    "thalamus",
    "caudate",
    "putamen",
    "pallidum",
    "third ventricle",
    "fourth ventricle",
    "brain stem",
    "hippocampus",
    "amygdala",
    "accumbens",
    "ventral DC",
)
NOTES = f"""\
Every method gets the same two images on one isotropic grid (1.5 mm, known warp 1 mm), aligned by our own
affine start (known warp: as they lie), and gives one displacement field. The original moving labels are
carried once through affine and field. Folds, SD log J and errors are inside the fixed brain. A fold is a
voxel at which one of ten finite-difference determinants is not positive.

*Dice* and *HD95* leave out classes {", ".join(map(str, UNRELIABLE))}, whose automatic labels are poor; where
labels are exact, nothing is left out. *Dice, all* has every class that both maps hold. Values are mean ±
standard deviation between cases. Differences are ours minus the other, with the middle 95 % of 10,000
bootstrap means over cases; some cases share a person, so the intervals are rather narrow. Rows with fewer
cases are not comparable with the others but through the differences, which use shared cases alone.

*Inner* is the mean endpoint error of the brain without its outer 6 mm. The edges of stripped brains differ
by contrast, and mutual information answers to them; so of the misalignment within a session only the rigid
part is taken out, and errors at the rim are the least sure.

CPU seconds and peak memory are those of the whole process, reading included, one thread. The machine
was shared and busy: wall seconds say little, CPU seconds are good to perhaps 30 %.
"""


def write_report(store: Path, ours: str, out: Path) -> None:
    """Write ``out.md`` and ``out.json`` from the results in a store."""
    records = read_store(store)
    if not records:
        msg = f"{store}: no results. Run the methods first."
        raise SystemExit(msg)
    content: dict[str, Any] = {"machine": machine(), "ours": ours, "kinds": {}}
    lines = ["# Accuracy against other programs", "", NOTES]
    for kind, title in KINDS.items():
        if any(record["kind"] == kind for record in records):
            summary = summarise(records, kind, ours)
            content["kinds"][kind] = summary
            lines += ["", f"## {title}", "", *_kind_lines(summary, kind, ours)]
    lines += [*_failures(records), *_residuals(store), *_versions(records)]
    about = ", ".join(f"{name} {value}" for name, value in machine().items())
    lines += ["", "Command: `python benchmarks/accuracy.py report --store STORE`", "", f"Measured: {about}."]
    content["results"] = records
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def summarise(records: Sequence[Record], kind: str, ours: str) -> dict[str, Any]:
    """Everything that the report says about one kind of cases."""
    columns = (KNOWN_COLUMNS if kind == "known" else LABEL_COLUMNS) | COST_COLUMNS
    tables = {measure: table_of(records, kind, measure) for measure in columns.values()}
    first = tables[next(iter(columns.values()))]
    rows = {
        method: {
            "n": len(cases),
            **{
                key: mean_and_spread(list(tables[key][method].values()))
                for key in tables
                if method in tables[key]
            },
        }
        for method, cases in first.items()
    }
    others = [method for method in rows if not method.startswith(OURS)]
    differences = {
        measure: {
            other: paired_difference(tables[measure].get(ours, {}), tables[measure].get(other, {}))
            for other in rows
            if other != ours
        }
        for measure in COMPARED[kind]
    }
    structures = structure_table(records, kind)
    means = {
        code: {method: mean_and_spread(list(cases.values()))[0] for method, cases in by_method.items()}
        for code, by_method in structures.items()
    }
    best = lost_structures(structures, ours, [other for other in others if other != "affine"])
    return {"methods": rows, "differences": differences, "structures": means, "against_best": best}


def _kind_lines(summary: dict[str, Any], kind: str, ours: str) -> list[str]:
    columns = (KNOWN_COLUMNS if kind == "known" else LABEL_COLUMNS) | COST_COLUMNS
    lead = next(iter(columns.values()))
    sign = 1 if kind == "known" else -1
    order = sorted(summary["methods"], key=lambda method: sign * summary["methods"][method][lead][0])
    rows = [
        [method, summary["methods"][method]["n"]]
        + [_spread(summary["methods"][method].get(key)) for key in columns.values()]
        for method in order
    ]
    lines = _table(["method", "cases", *columns], rows)
    for measure, by_method in summary["differences"].items():
        rows = [
            [method, found["n"], _interval(found), f"{found['positive']} of {found['n']}"]
            for method in order
            if (found := by_method.get(method)) is not None
        ]
        if rows:
            lines += ["", f"{ours} minus the other, `{measure}`:", ""]
            lines += _table(["other", "shared cases", "mean difference [95 %]", "above 0"], rows)
    return lines + _structure_lines(summary, order)


def _structure_lines(summary: dict[str, Any], order: list[str]) -> list[str]:
    """Mean Dice of every structure, and where the best other program is clearly better."""
    if not summary["structures"]:
        return []
    rows = [
        [STRUCTURES[int(code)], *(_number(means.get(method)) for method in order)]
        for code, means in summary["structures"].items()
    ]
    title = "Mean Dice by structure, over each method's own cases:"
    return ["", title, "", *_table(["structure", *order], rows), *_best_lines(summary["against_best"])]


def _best_lines(against_best: Sequence[dict[str, Any]]) -> list[str]:
    """Structure by structure, the other program that does best there."""
    if not against_best:
        return []
    rows = [
        [
            STRUCTURES[row["label"]],
            row["best_peer"],
            str(row["n"]),
            _interval(row),
            ("no", "yes")[row["lost"]],
        ]
        for row in against_best
    ]
    header = ["structure", "best other", "cases", "difference [95 %]", f"below -{NOISE_DICE}"]
    title = "Ours minus the best other program, by structure, on shared cases:"
    return ["", title, "", *_table(header, rows)]


def _failures(records: Sequence[Record]) -> list[str]:
    rows = [
        [record["case"], record["method"], record["failed"][:120]] for record in records if "failed" in record
    ]
    return ["", "## Failed", "", *_table(["case", "method", "why"], rows)] if rows else []


def _versions(records: Sequence[Record]) -> list[str]:
    versions = {
        record["method"]: record["note"]["version"]
        for record in records
        if (record.get("note") or {}).get("version")
    }
    return ["", "Versions: " + ", ".join(f"{name} {value}" for name, value in versions.items()) + "."]


def _residuals(store: Path) -> list[str]:
    """What was measured and removed between the images of one session, from the prepared cases."""
    rows = []
    for path in sorted((store / "prepared").glob("known-*/case.json")):
        about = json.loads(path.read_text())["residual"]
        keys = ("ants_mean_mm", "simpleitk_mean_mm", "programs_differ_mean_mm", "removed_mean_mm")
        rows.append([path.parent.name, *(f"{about[key]:.2f}" for key in keys)])
    if not rows:
        return []
    header = ["case", "ANTs mm", "SimpleITK mm", "they differ by mm", "removed mm"]
    text = "Rigid misalignment of the two images of a session, mean over the brain, before the warp:"
    return ["", text, "", *_table(header, rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return ["| " + " | ".join(map(str, cells)) + " |" for cells in (header, ["---"] * len(header), *rows)]


def _spread(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return "-"
    mean, spread = value
    return _number(mean) if spread is None else f"{_number(mean)} ± {_number(spread)}"


def _interval(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['mean']:+.3f}"
    return f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if value else "0"
