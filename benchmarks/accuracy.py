"""Accuracy against other programs: same affine start, same evaluator.

    python benchmarks/accuracy.py run --cases real exact --methods affine ants-syn-mi --store DIR
    python benchmarks/accuracy.py report --store DIR --out docs/results/accuracy

Cases are prepared once (``--prepared``). Results lie one file per case and method in the store; what
is there is not done again. Other programs are installed outside the repository from
``benchmarks/requirements.txt``; ``PEERS_PYTHON``, ``DEEDS_DIR`` and ``NIFTYREG_DIR`` say where.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import ROOT
from peers.case_list import choose
from peers.launch import MethodFailedError, find_field, find_field_here, kept_field
from peers.methods import METHODS, OURS, method_named
from peers.prepare import prepared_case, read_truth
from peers.report import write_report
from peers.score import score

from bids_nodereg.errors import NodeRegError
from bids_nodereg.files import write_json
from bids_nodereg.quality.measures import json_ready

if TYPE_CHECKING:
    from peers.case_list import Case
    from peers.methods import Method
    from peers.prepare import CaseFiles

LONGEST_NAME = 100


def main() -> None:
    """Run methods, score stored fields again, or write the report."""
    arguments = parse()
    if arguments.command == "report":
        write_report(arguments.store, arguments.ours, arguments.out)
        return
    for name in arguments.methods:
        method = method_named(name)
        reason = method.missing() if arguments.command == "run" else None
        if reason:
            print(f"{name}: skipped, {reason}", flush=True)
        else:
            run_method(arguments, method)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="find fields that are not there yet, and score them")
    rescore = commands.add_parser("rescore", help="score stored fields again")
    report = commands.add_parser("report", help="write the tables")
    for command in (run, rescore, report):
        command.add_argument("--store", type=Path, required=True, help="folder of the results")
    for command in (run, rescore):
        command.add_argument("--cases", nargs="+", default=["real", "exact", "mono", "known"])
        command.add_argument("--methods", nargs="+", default=list(METHODS))
        command.add_argument("--prepared", type=Path, help="default: prepared/ in the store")
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--redo", nargs="+", default=[], metavar="METHOD", help="run these again")
    run.add_argument("--in-process", action="store_true", help="our own methods in this process")
    run.add_argument("--limit-s", type=float, default=3600, help="most seconds of one method on one case")
    report.add_argument("--ours", default=f"{OURS}-default", help="the method that the others are held to")
    report.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "accuracy")
    return parser.parse_args()


def run_method(arguments: argparse.Namespace, method: Method) -> None:
    """Go through the cases of one method: those without a result, or all that have one."""
    for case in (case for case in choose(arguments.cases) if case.kind in method.kinds):
        folder = result_folder(arguments.store, case, method)
        done = (folder / "result.json").is_file()
        again = arguments.command == "rescore"
        if done if again else not done or method.name in arguments.redo:
            files = prepared_case(case, arguments.prepared or arguments.store / "prepared")
            record = one_result(arguments, method, files, folder)
            write_json(folder / "result.json", record)
            print(line_of(record), flush=True)


def one_result(
    arguments: argparse.Namespace, method: Method, files: CaseFiles, folder: Path
) -> dict[str, Any]:
    """Find or read a field and score it; a failure is a result too."""
    record: dict[str, Any] = {"case": files.case.name, "kind": files.case.kind, "method": method.name}
    truth = read_truth(files)
    try:
        if arguments.command == "rescore":
            found = kept_field(method, truth.grid, folder)
        elif arguments.in_process and method.name.startswith(OURS):
            found = find_field_here(method, files, folder, arguments.threads)
        else:
            found = find_field(method, files, truth.grid, folder, arguments.limit_s, arguments.threads)
        scores = score(truth, found.forward, found.inverse)
    except (MethodFailedError, NodeRegError) as error:
        return record | {"failed": str(error)}
    cost = asdict(found.cost) if found.cost else {}
    measures = json_ready(scores["measures"])
    return record | {
        "cost": cost,
        "note": found.note,
        "measures": measures,
        "structures": scores["structures"],
    }


def result_folder(store: Path, case: Case, method: Method) -> Path:
    """Folder of one result; long names of variants are cut and made unique."""
    name = re.sub(r"[^\w.=,+-]", "_", method.name)
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{sha256(method.name.encode()).hexdigest()[:8]}"
    return store / case.name / name


def line_of(record: dict[str, Any]) -> str:
    """One result in one line, for the terminal."""
    start = f"{record['case']:28s} {record['method']}"
    if "failed" in record:
        return f"{start}: FAILED {record['failed']}"
    keys = (
        "dice",
        "hd95_mm",
        "endpoint_error_mean_mm",
        "endpoint_error_p95_mm",
        "folded_voxels",
        "sd_log_jacobian",
    )
    values = {key: record["measures"][key] for key in keys if key in record["measures"]}
    values |= {key: value for key, value in record.get("cost", {}).items() if value is not None}
    return f"{start}: " + " ".join(f"{key}={value:.4g}" for key, value in values.items())


if __name__ == "__main__":
    main()
