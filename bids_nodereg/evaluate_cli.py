"""The sub-command ``evaluate``: its arguments, and nothing that takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_nodereg.arguments import OneLineParser, flag, positive
from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from bids_nodereg.app.evaluate_files import Request

COMMAND = "evaluate"
FILES = {
    "moving": "moving image; adds the part of the mask that the map sends into its field of view",
    "fixed-dseg": "label map of the fixed image",
    "moving-dseg": "label map of the moving image",
    "lookup": "names of the labels: TSV with columns index, name",
    "fixed-mask": "where folds and errors are measured; default: the whole fixed image",
    "fixed-points": "landmarks: .tsv with x, y, z in RAS+ mm and optionally name or index; or .csv in LPS mm",
    "moving-points": "the same landmarks in the moving image",
}
CHAINS = {
    "inverse": "the map back, moving to fixed points: adds the inverse error",
    "truth": "the true map, such as a displacement field: adds the endpoint error",
}


def evaluate(argv: Sequence[str]) -> int:
    """Run the sub-command on the words after its name; returns the exit code.

    Raises
    ------
    NodeRegError
        If the arguments contradict one another, or a file cannot be used.
    SystemExit
        From argparse, for ``--help``.
    """
    options = build_parser().parse_args(argv)
    alone = [name for name in _SINGLE if getattr(options, name)]
    if options.table is not None and alone:
        msg = f"--table names everything by its columns; --{alone[0].replace('_', '-')} cannot be with it."
        raise UsageError(msg)
    if options.table is None and (options.fixed is None or not options.transform):
        msg = "evaluate needs --fixed and --transform, or --table. See: bids-nodereg evaluate --help"
        raise UsageError(msg)
    from rich.console import Console

    from bids_nodereg.app.evaluate_files import evaluate_one, evaluate_table
    from bids_nodereg.app.evaluate_results import Outputs
    from bids_nodereg.app.log import log_to_console

    log_to_console(Console(stderr=True), -1 if options.quiet else 0)
    outputs = Outputs(options.out, options.labels_out)
    if options.table is not None:
        return evaluate_table(options.table, outputs, threads=options.omp_nthreads)
    evaluate_one(_request(options), outputs, threads=options.omp_nthreads)
    return 0


def _request(options: argparse.Namespace) -> Request:
    """The one evaluation that single options ask for."""
    from bids_nodereg.app.evaluate_files import LISTS, Request, default_name
    from bids_nodereg.imaging.chain_files import transform_file

    values: dict[str, Any] = {name: getattr(options, name) for name in _SINGLE}
    for name in LISTS:
        values[name] = tuple(map(transform_file, values[name]))
    return Request(**{**values, "name": options.name or default_name(values["transform"])})


_SINGLE = ("fixed", "transform", "name", *(name.replace("-", "_") for name in (*FILES, *CHAINS)))


def build_parser() -> argparse.ArgumentParser:
    """All options; a flag is spelled with hyphens or underscores alike."""
    parser = OneLineParser(
        prog=f"bids-nodereg {COMMAND}",
        description="Score given transforms: overlap of labels, distance of landmarks, folds, inverse error.",
        epilog="A transform is .h5 (ITK composite), .txt, .tfm or .mat (affine), or .nii[.gz] "
        "(displacements), and takes fixed points to moving points, as antsApplyTransforms -t. Of several "
        "the first acts first on fixed points, as there; [FILE,1] inverts an affine. A data set called "
        "'evaluate' is written ./evaluate. Details: docs/evaluate.md. Exit codes: 0 done, 1 some row "
        "failed, 64 usage, 65 data, 66 input missing, 73 output not writable.",
    )
    one = parser.add_argument_group("one evaluation")
    flag(one, "--fixed", type=Path, metavar="FILE", help="fixed image: its grid is where labels are compared")
    flag(one, "--transform", nargs="+", default=[], metavar="T", help="map from fixed to moving points")
    for name, text in CHAINS.items():
        flag(one, f"--{name}", nargs="+", default=[], metavar="T", help=text)
    for name, text in FILES.items():
        flag(one, f"--{name}", type=Path, metavar="FILE", help=text)
    flag(one, "--name", help="what the row is called; default: after the first transform")
    several = parser.add_argument_group("several evaluations")
    flag(
        several,
        "--table",
        type=Path,
        metavar="FILE.tsv",
        help="one row each, columns named as the options above (fixed_dseg, ...); paths relative to the "
        "table; several transforms in a cell with ; between them",
    )
    results = parser.add_argument_group("results")
    text = "the measures, with what they mean in a .json of the same name"
    flag(results, "--out", type=Path, metavar="FILE.tsv", required=True, help=text)
    flag(results, "--labels-out", type=Path, metavar="FILE.tsv", help="the same for each label")
    flag(results, "--omp-nthreads", "--nthreads", type=positive, default=1, metavar="N", help="CPU threads")
    results.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")
    return parser
