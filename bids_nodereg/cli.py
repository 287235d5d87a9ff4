"""The command line: arguments to a RunConfig, errors to one line of text and an exit code."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from bids_nodereg import __version__
from bids_nodereg.arguments import flag, positive
from bids_nodereg.config import (
    PRESETS,
    Resources,
    RunConfig,
    Selection,
    Settings,
    check_settings,
    overlay,
    read_settings,
)
from bids_nodereg.errors import NodeRegError, TemporaryError, UsageError
from bids_nodereg.evaluate_cli import evaluate, is_evaluate
from bids_nodereg.registration.settings import SimilarityName

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES = ("within-session", "longitudinal")
SQUARINGS = 7
"""Of ``--solver squaring`` without ``--steps``; more gain nothing, see docs/results/integration-error.md."""

USAGE_CODE = UsageError.exit_code


class _Parser(argparse.ArgumentParser):
    """An argument parser whose usage errors end with exit code 64, as the others of the kind."""

    def error(self, message: str) -> Any:
        self.print_usage(sys.stderr)
        self.exit(USAGE_CODE, f"nodereg: {message}\n")


def entry_point() -> int:
    """Run the program with the arguments of the process; returns the exit code."""
    for number in (signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)):
        signal.signal(number, _interrupt)  # a scheduler's way to say that time is up
    return main(sys.argv[1:])


def _interrupt(number: int, _frame: object) -> None:
    """End as Ctrl-C does: what is done stays done, the pair at work is left for the next run."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(argv: Sequence[str]) -> int:
    """Parse the arguments and do what they ask; the only place that turns an error into text."""
    try:
        if is_evaluate(argv):
            return evaluate(argv[1:])
        config = parse(argv)
        return _run(config)
    except NodeRegError as error:
        sys.stderr.write(f"nodereg: error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        name = str(interrupt) or "Ctrl-C"
        sys.stderr.write(f"nodereg: interrupted by {name}; run the same command again to go on.\n")
        return TemporaryError.exit_code


def parse(argv: Sequence[str]) -> RunConfig:
    """Turn arguments into the configuration of a run.

    Raises
    ------
    UsageError
        If values contradict one another.
    SystemExit
        From argparse, for ``--help``, ``--version`` and malformed arguments.
    """
    options = build_parser().parse_args(argv)
    selection = Selection(
        participant_label=tuple(options.participant_label),
        session_label=tuple(options.session_label),
        bids_filter_file=options.bids_filter_file,
        pairs=tuple(options.pairs),
        pairs_file=options.pairs_file,
        fixed_suffix=options.fixed_suffix,
        moving_suffix=tuple(options.moving_suffix),
        all_pairs=options.all_pairs,
        shard=options.shard,
    )
    config = RunConfig(
        bids_dir=options.bids_dir.absolute(),
        output_dir=options.output_dir.absolute(),
        analysis_level=options.analysis_level,
        preset=options.preset,
        settings=_settings(options),
        selection=selection,
        resources=Resources(options.device, options.omp_nthreads),
        derivatives=dict(options.derivatives),
        bids_database_dir=options.bids_database_dir,
        skip_bids_validation=options.skip_bids_validation,
        force=options.force,
        fail_fast=options.fail_fast,
        dry_run=options.dry_run is not None,
        reports_only=options.reports_only,
        boilerplate_only=options.boilerplate_only,
        json_output=options.dry_run == "json",
        verbosity=-1 if options.quiet else options.verbose,
    )
    raw, out = config.bids_dir.resolve(), config.output_dir.resolve()
    if out == raw or (out.is_relative_to(raw) and out.relative_to(raw).parts[0].startswith("sub-")):
        msg = f"OUTPUT_DIR {config.output_dir} is part of the input {raw}, which is never written to. "
        msg += "Choose another, such as BIDS_DIR/derivatives/nodereg."
        raise UsageError(msg)
    return config


def _settings(options: argparse.Namespace) -> Settings:
    """The preset, changed by the configuration file, changed by single options."""
    settings = PRESETS[options.preset]
    if options.config is not None:
        settings = read_settings(options.config, settings)
    changes: dict[str, Any] = {}
    for name, path in _SHORTCUTS.items():
        value = getattr(options, name)
        if value is not None:
            _put(changes, path, value)
    if options.solver == "squaring" and options.steps is None:
        _put(changes, _SHORTCUTS["steps"], SQUARINGS)
    if options.iterations is not None:
        levels = settings.registration.levels
        if len(options.iterations) != len(levels):
            msg = f"--iterations: there are {len(levels)} level(s), got {len(options.iterations)} number(s)."
            raise UsageError(msg)
        pairs = zip(levels, options.iterations, strict=True)
        new = tuple(replace(level, iterations=number) for level, number in pairs)
        settings = replace(settings, registration=replace(settings.registration, levels=new))
    settings = overlay(settings, changes, "options") if changes else settings
    check_settings(settings)
    return settings


# Options that set one value of the settings, and where it stands.
_SHORTCUTS = {
    "transform": ("transform",),
    "working_resolution": ("working_resolution_mm",),
    "interpolation": ("interpolation",),
    "lesion_masks": ("lesion_masks",),
    "descriptor": ("registration", "descriptor", "name"),
    "symmetric": ("registration", "symmetric"),
    "capture_reach": ("registration", "capture", "reach"),
    "velocity": ("registration", "velocity", "name"),
    "time_parts": ("registration", "velocity", "time_parts"),
    "solver": ("registration", "solver", "scheme"),
    "steps": ("registration", "solver", "steps"),
    "gradient_route": ("registration", "solver", "gradient"),
    "learning_rate": ("registration", "learning_rate"),
    "folding_epsilon": ("registration", "weights", "folding_epsilon"),
    "smoothness": ("registration", "weights", "gradient"),
    "stiffness": ("registration", "weights", "spatial"),
    "seed": ("registration", "seed"),
}


def _put(tree: dict[str, Any], path: Sequence[str], value: object) -> None:
    """Set a value deep in nested dictionaries."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _run(config: RunConfig) -> int:
    """Import what the run needs, and no more: torch only where something is computed."""
    # Waiting threads spin for some microseconds only and then sleep: with long spinning a shared machine
    # does several times the work, with none small images wait for threads to wake. The libraries read
    # this when they are loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    from rich.console import Console

    from bids_nodereg.app.log import log_to_console

    if config.dry_run:
        from bids_nodereg.app.dry_run import dry_run

        return dry_run(config, Console())
    console = Console(stderr=True)
    log_to_console(console, config.verbosity)
    if config.analysis_level == "group":
        from bids_nodereg.app.group import run_group

        return run_group(config)
    from bids_nodereg.app.run import run_participants

    return run_participants(config, console)


def build_parser() -> argparse.ArgumentParser:
    """All options; a flag is spelled with hyphens or underscores alike."""
    parser = _Parser(
        prog="nodereg",
        description="Register the anatomical images of a BIDS data set with one another: "
        "diffeomorphic, across contrasts, with transforms both ways, as BIDS-Derivatives.",
        epilog="To score given transforms: bids-nodereg evaluate --help. Documentation: README.md. "
        "Exit codes: 0 done, 1 some pair failed, 16 invalid BIDS, "
        "18 nothing selected, 64 usage, 65 data, 66 input missing, 73 output not writable, 75 try again.",
    )
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="the BIDS data set; never written to")
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR", help="where the derivatives go")
    parser.add_argument(
        "analysis_level", choices=("participant", "group"), help="register; or tabulate what was registered"
    )
    parser.add_argument("--version", action="version", version=f"nodereg {__version__}")
    _add_selection(parser)
    _add_method(parser)
    _add_running(parser)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which images")
    flag(
        group,
        "--participant-label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="participants, with or without sub-; or a file with one label a line",
    )
    flag(
        group,
        "--session-label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="sessions, with or without ses-; or a file with one label a line",
    )
    flag(
        group,
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help="JSON of pybids filters by contrast (t1w, t2w, flair, ...), as fMRIPrep reads it",
    )
    flag(
        group,
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="pybids database of the data set; made there when missing",
    )
    flag(
        group,
        "--skip-bids-validation",
        "--skip-bids-validator",
        action="store_true",
        help="do not run the BIDS validator (it runs where it is installed, on whole data sets)",
    )
    flag(
        group,
        "--derivatives",
        "-d",
        nargs="+",
        type=_named_path,
        default=[],
        metavar="NAME=PATH",
        help="derivative data sets with brain masks (desc-brain_mask), lesion masks (label-lesion_mask) "
        "and label maps (dseg)",
    )
    flag(
        group,
        "--pairs",
        nargs="+",
        choices=RULES,
        default=[RULES[0]],
        help="pair rules: other contrasts onto the session's reference; later sessions onto the first",
    )
    flag(
        group,
        "--pairs-file",
        type=Path,
        metavar="FILE.tsv",
        help="explicit pairs instead of rules: columns fixed, moving, and optionally fixed_mask, "
        "moving_mask, fixed_dseg, moving_dseg, fixed_lesion, moving_lesion, stiffness; paths relative to "
        "BIDS_DIR or BIDS URIs",
    )
    flag(group, "--fixed-suffix", metavar="SUFFIX", help="only this contrast as the fixed image")
    flag(
        group,
        "--moving-suffix",
        nargs="+",
        default=[],
        metavar="SUFFIX",
        help="only these contrasts as the moving image",
    )
    flag(group, "--all-pairs", action="store_true", help="every run and repetition, not the first only")
    flag(
        group,
        "--shard",
        type=_shard,
        default=(1, 1),
        metavar="I/N",
        help="the I-th of N parts of the participants; 'slurm' takes them from the array task",
    )


def _add_method(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("method")
    flag(
        group,
        "--preset",
        choices=tuple(PRESETS),
        default="default",
        help="default; fast: 2 mm; paper: after Rodriguez-Sanz & Hernandez 2025, slow",
    )
    flag(
        group,
        "--config",
        "--config-file",
        type=Path,
        metavar="FILE.toml",
        help="table [settings] that changes single values, such as the config.toml of a run",
    )
    flag(group, "--transform", choices=("rigid", "affine", "deformable"), help="how far to go")
    flag(
        group,
        "--working-resolution",
        type=float,
        metavar="MM",
        help="voxel size of the working grid, if the fixed image has an edge that fine",
    )
    flag(group, "--interpolation", choices=("linear", "cubic"), help="of the warped image")
    flag(
        group,
        "--no-lesion-mask",
        action="store_const",
        const=False,
        dest="lesion_masks",
        help="compare the images in lesions too; usually what lies in a lesion mask is left out",
    )
    flag(
        group,
        "--descriptor",
        choices=get_args(SimilarityName),
        help="what is compared: structural descriptors, or intensities (lmi; and for images of one contrast "
        "lncc, mse)",
    )
    flag(
        group,
        "--symmetric",
        action=argparse.BooleanOptionalAction,
        help="compare both ways, so that swapping the images inverts the result",
    )
    flag(
        group,
        "--capture-reach",
        type=int,
        metavar="N",
        help="search displacements of up to N voxels of a coarse lattice first; 0: no search",
    )
    flag(group, "--velocity", choices=("decoder", "nodeo", "grid"), help="kind of velocity field")
    flag(group, "--time-parts", type=int, metavar="N", help="equal parts of the time with a field each")
    flag(group, "--solver", choices=("euler", "heun", "rk4", "squaring"), help="ODE scheme")
    flag(group, "--steps", type=int, metavar="N", help="steps over [0, 1]: h = 1/N; or squarings")
    flag(
        group,
        "--gradient-route",
        choices=("backprop", "checkpoint", "adjoint"),
        help="how the gradient comes through the flow",
    )
    flag(group, "--iterations", nargs="+", type=int, metavar="N", help="most iterations of each level")
    flag(group, "--learning-rate", type=float, metavar="X", help="of Adam")
    flag(
        group,
        "--folding-epsilon",
        type=float,
        metavar="X",
        help="the folding barrier acts where a Jacobian determinant is below this",
    )
    flag(group, "--smoothness", type=float, metavar="X", help="weight of the gradient penalty")
    flag(
        group,
        "--stiffness",
        choices=("uniform", "confidence"),
        help="how the gradient penalty varies in space: confidence makes it weak where both images have "
        "structure",
    )
    flag(group, "--seed", "--random-seed", type=int, metavar="N", help="of the initial weights")


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    flag(
        group,
        "--device",
        default="auto",
        metavar="{auto,cuda,cuda:N,cpu}",
        help="auto takes the GPU when there is one, and says so when not",
    )
    flag(group, "--omp-nthreads", "--nthreads", type=positive, metavar="N", help="CPU threads")
    flag(group, "--force", action="store_true", help="register again what is done")
    flag(group, "--fail-fast", "--stop-on-first-crash", action="store_true", help="stop at the first failure")
    flag(
        group,
        "--dry-run",
        nargs="?",
        const="table",
        choices=("table", "json"),
        help="print every candidate pair and why it was taken or left; write nothing",
    )
    flag(group, "--reports-only", action="store_true", help="write the reports again")
    flag(group, "--boilerplate-only", action="store_true", help="write the methods text only")
    flag(group, "--notrack", action="store_true", help="accepted for habit: nodereg never phones home")
    group.add_argument("-v", "--verbose", action="count", default=0, help="say more")
    group.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")


def _named_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        msg = f"expected NAME=PATH, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return name, Path(path)


def _shard(text: str) -> tuple[int, int]:
    """``I/N``, or the place of this task in a Slurm array."""
    if text == "slurm":
        try:
            first, last, mine = (int(os.environ[f"SLURM_ARRAY_TASK_{key}"]) for key in ("MIN", "MAX", "ID"))
        except (KeyError, ValueError) as error:
            msg = "slurm: SLURM_ARRAY_TASK_ID, _MIN and _MAX are not set: not in an array task"
            raise argparse.ArgumentTypeError(msg) from error
        step = int(os.environ.get("SLURM_ARRAY_TASK_STEP", "1"))
        return (mine - first) // step + 1, (last - first) // step + 1
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        msg = f"expected I/N with 1 <= I <= N, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(match[1]), int(match[2])
