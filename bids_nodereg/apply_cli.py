"""The sub-command ``apply``: its arguments, and nothing that takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bids_nodereg.arguments import OneLineParser, flag, positive
from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

COMMAND = "apply"
RESULTS = ("out", "out_dir", "space")
INPUTS = {
    "image": "images; a series of volumes is carried volume by volume",
    "labels": "label maps: each voxel takes the label with the largest share; codes and type stay",
    "masks": "masks: linear, inside is above a half",
    "shares": "tissue maps and other shares from 0 to 1: linear, kept within 0 and 1",
    "points": "landmarks of the REFERENCE, sent to the images: .tsv (x, y, z in RAS+ mm) or .csv (LPS mm)",
}


def apply(argv: Sequence[str]) -> int:
    """Run the sub-command on the words after its name; returns the exit code.

    Raises
    ------
    NodeRegError
        If the arguments contradict one another, or a file cannot be used or written.
    SystemExit
        From argparse, for ``--help``.
    """
    options = build_parser().parse_args(argv)
    inputs = {name: tuple(getattr(options, name)) for name in INPUTS}
    _check(options, inputs)
    from rich.console import Console

    from bids_nodereg.app.apply_files import Request, apply_request
    from bids_nodereg.app.apply_table import apply_table
    from bids_nodereg.app.log import log_to_console
    from bids_nodereg.imaging.chain_files import transform_file

    log_to_console(Console(stderr=True), -1 if options.quiet else 0)
    if options.table is not None:
        return apply_table(options.table, interpolation=options.interpolation, threads=options.omp_nthreads)
    request = Request(
        transform=tuple(map(transform_file, options.transform)),
        reference=options.reference,
        interpolation=options.interpolation or "linear",
        space=options.space,
        out=options.out,
        out_dir=options.out_dir,
        **inputs,
    )
    apply_request(request, threads=options.omp_nthreads)
    return 0


def _check(options: argparse.Namespace, inputs: Mapping[str, Sequence[Path]]) -> None:
    """See that there is something to do, and that a table stands alone."""
    words = {**inputs, **{name: getattr(options, name) for name in ("transform", "reference", *RESULTS)}}
    given = [name.replace("_", "-") for name, value in words.items() if value]
    if options.table is not None and given:
        msg = f"--table names everything by its columns; --{given[0]} cannot be with it."
        raise UsageError(msg)
    if options.table is None and not (options.transform and any(inputs.values())):
        needed = f"--transform, and something to carry: --{', --'.join(INPUTS)}"
        msg = f"apply needs {needed}; or --table. See: bids-nodereg apply --help"
        raise UsageError(msg)


def build_parser() -> argparse.ArgumentParser:
    """All options; a flag is spelled with hyphens or underscores alike."""
    parser = OneLineParser(
        prog=f"bids-nodereg {COMMAND}",
        description="Carry images, label maps, masks and landmarks through given transforms: any number of "
        "transforms, one interpolation.",
        epilog="A transform is .h5 (ITK composite), .txt, .tfm or .mat (affine), or .nii[.gz] "
        "(displacements), and takes points of the reference to points of the images, as "
        "antsApplyTransforms -t. Of several the first acts first on points of the reference, as there; "
        "[FILE,1] inverts an affine. A data set called 'apply' is written ./apply. Details: docs/apply.md. "
        "Exit codes: 0 done, 1 some row failed, 64 usage, 65 data, 66 input missing, 73 output not writable.",
    )
    text = "map from points of the reference to points of the images"
    flag(parser, "--transform", nargs="+", default=[], metavar="T", help=text)
    text = "its grid is that of the results; only landmarks do without"
    flag(parser, "--reference", type=Path, metavar="FILE", help=text)
    what = parser.add_argument_group("what to carry, any number of each")
    for name, text in INPUTS.items():
        flag(what, f"--{name}", nargs="+", type=Path, default=[], metavar="FILE", help=text)
    text = "of images, in a table of rows that leave their column empty; default linear"
    flag(parser, "--interpolation", choices=("linear", "cubic", "nearest"), help=text)
    several = parser.add_argument_group("several files, each with its own transforms")
    text = (
        "one row each, with columns input, kind (image, labels, mask, share, points), transform, out, and "
        "optionally reference, interpolation; paths relative to the table; ; between several transforms"
    )
    flag(several, "--table", type=Path, metavar="FILE.tsv", help=text)
    results = parser.add_argument_group("results")
    text = "result of a single input"
    flag(results, "--out", type=Path, metavar="FILE", help=text)
    text = "folder for the results, which keep the names of the inputs"
    flag(results, "--out-dir", type=Path, metavar="DIR", help=text)
    text = "put space-NAME into the names of the results in DIR, and into their sidecars"
    flag(results, "--space", metavar="NAME", help=text)
    flag(results, "--omp-nthreads", "--nthreads", type=positive, default=1, metavar="N", help="CPU threads")
    results.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")
    return parser
