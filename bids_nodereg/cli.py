"""The command line: arguments to a RunConfig, errors to one line of text and an exit code."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from bids_nodereg import apply_cli, demo_cli, evaluate_cli, sbatch_cli
from bids_nodereg.arguments import is_command
from bids_nodereg.bids.spaces import TO_TEMPLATE, output_spaces
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
from bids_nodereg.errors import NodeRegError, OutputError, ShortOfMemoryError, TemporaryError, UsageError
from bids_nodereg.interruption import end_on_signals
from bids_nodereg.options import build_parser
from bids_nodereg.plain_text import printable
from bids_nodereg.waiting import wait_asleep

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

_COMMANDS = {evaluate_cli.COMMAND: evaluate_cli.evaluate, apply_cli.COMMAND: apply_cli.apply}

SQUARINGS = 7
"""Of ``--solver squaring`` without ``--steps``; more gain nothing, see docs/results/integration-error.md."""

LIBRARIES_BYTES = 1_200_000_000
"""Address space that the process has when all libraries are loaded and no image is; 1.1 GB were measured."""


def entry_point() -> int:
    """Run the program with the arguments of the process; returns the exit code."""
    end_on_signals()
    return main(sys.argv[1:])


def main(argv: Sequence[str]) -> int:
    """Parse the arguments and do what they ask; the only place that turns an error into text."""
    try:
        if demo_cli.is_demo(argv):
            argv = demo_cli.demo_words(argv[1:])
        if sbatch_cli.is_sbatch(argv):
            return sbatch_cli.sbatch(argv[1:], parse)
        for command, run in _COMMANDS.items():
            if is_command(argv, command):
                _refuse_narrow_address_space()
                return run(argv[1:])
        config = parse(argv)
        _refuse_narrow_address_space()
        return _run(config)
    except NodeRegError as error:
        sys.stderr.write(f"nodereg: error: {printable(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        name = str(interrupt) or "Ctrl-C"
        sys.stderr.write(f"nodereg: interrupted by {name}; run the same command again to go on.\n")
        return TemporaryError.exit_code


def _refuse_narrow_address_space() -> None:
    """Say what is too small before a library finds out: some then wait for ever, deaf to signals.

    Raises
    ------
    ShortOfMemoryError
        If the libraries cannot be loaded within ``RLIMIT_AS``.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LIBRARIES_BYTES:
        msg = (
            f"The address space is limited to {limit / 1e9:.1f} GB (ulimit -v), and the libraries alone take "
            f"{LIBRARIES_BYTES / 1e9:.1f} GB. Lift that limit; --mem-mb limits what a run takes."
        )
        raise ShortOfMemoryError(msg)


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
        pairs=_rules(options),
        output_spaces=output_spaces(options.output_spaces),
        pairs_file=options.pairs_file,
        fixed_suffix=options.fixed_suffix,
        moving_suffix=tuple(options.moving_suffix),
        all_pairs=options.all_pairs,
        apply_to=tuple(options.apply_to),
        carry=not options.no_carry,
        pair_within=options.pair_within,
        longitudinal_base=options.longitudinal_base,
        shard=options.shard,
    )
    config = RunConfig(
        bids_dir=options.bids_dir.absolute(),
        output_dir=options.output_dir.absolute(),
        analysis_level=options.analysis_level,
        preset=options.preset,
        settings=_settings(options),
        selection=selection,
        resources=_resources(options),
        derivatives=dict(options.derivatives),
        bids_database_dir=options.bids_database_dir,
        work_dir=options.work_dir and options.work_dir.absolute(),
        fetch_templates=options.fetch_templates,
        skip_bids_validation=options.skip_bids_validation,
        force=options.force,
        fail_fast=options.fail_fast,
        fail_on_qc=options.fail_on_qc,
        dry_run=options.dry_run is not None,
        reports_only=options.reports_only,
        boilerplate_only=options.boilerplate_only,
        interactive_report=options.interactive_report,
        json_output=options.dry_run == "json",
        verbosity=-1 if options.quiet else options.verbose,
    )
    if config.dry_run and config.analysis_level == "group":
        msg = "--dry-run shows pairs, which the group level has not. Leave it out, or say participant."
        raise UsageError(msg)
    _refuse_part_of_input(config.bids_dir, "OUTPUT_DIR", config.output_dir)
    if config.work_dir is not None:
        _refuse_part_of_input(config.bids_dir, "--work-dir", config.work_dir)
    return config


def _refuse_part_of_input(bids_dir: Path, name: str, folder: Path) -> None:
    """Refuse a folder to write to that is the data set itself or lies in one of its participants.

    Raises
    ------
    UsageError
        If it is.
    """
    raw, out = bids_dir.resolve(), folder.resolve()
    if out == raw or (out.is_relative_to(raw) and out.relative_to(raw).parts[0].startswith("sub-")):
        msg = f"{name} {folder} is part of the input {raw}, which is never written to. "
        msg += "Choose another, such as BIDS_DIR/derivatives/nodereg."
        raise UsageError(msg)


def _rules(options: argparse.Namespace) -> tuple[str, ...]:
    """Rules that were asked for, by name or by naming output spaces."""
    spaces = bool(options.output_spaces)
    rules = tuple(options.pairs or (("within-session", TO_TEMPLATE) if spaces else ("within-session",)))
    if spaces != (TO_TEMPLATE in rules):
        given, lacking = ("--output-spaces", f"--pairs {TO_TEMPLATE}")[:: 1 if spaces else -1]
        msg = f"{given} is given without {lacking}, and one needs the other. Add it, or leave both out."
        raise UsageError(msg)
    if spaces and options.pairs_file is not None:
        msg = "--output-spaces goes with the rules, and --pairs-file replaces them. Make two runs."
        raise UsageError(msg)
    return rules


def _resources(options: argparse.Namespace) -> Resources:
    """What the run may use."""
    executor, n_procs = _dask(options)
    if options.gpus is not None and options.device not in {"auto", "cuda"}:
        msg = f"--gpus {options.gpus} takes GPUs that are visible (CUDA_VISIBLE_DEVICES); leave out --device."
        raise UsageError(msg)
    if options.gpus is not None and executor == "dask" and n_procs > 1:
        msg = f"--gpus {options.gpus}: each dask worker has a GPU of its own; leave out --n-procs."
        raise UsageError(msg)
    return Resources(
        device=options.device,
        omp_nthreads=options.omp_nthreads,
        n_procs=n_procs,
        isolate=options.isolate,
        mem_mb=options.mem_mb,
        n_cpus=options.n_cpus,
        gpus=options.gpus,
        time_limit_s=options.time_limit,
        executor=executor,
        dask_scheduler=options.dask_scheduler,
        dask_workers=options.dask_workers,
    )


def _dask(options: argparse.Namespace) -> tuple[Literal["local", "dask"], int]:
    """Who does the pairs, and how many at a time on this machine; the options of dask imply it.

    Raises
    ------
    UsageError
        If options contradict one another.
    """
    given, workers = options.dask_scheduler, options.dask_workers
    is_dask = options.executor == "dask" or given is not None or workers is not None
    rules = {
        "--dask-scheduler and --dask-workers do not go with --executor local": not is_dask
        or options.executor != "local",
        "--dask-workers says what --n-procs says; give one of them": workers is None
        or options.n_procs in {1, workers},
        "The cluster of --dask-scheduler has workers and GPUs of its own; leave out --dask-workers, "
        "--n-procs and --gpus": given is None or (workers, options.n_procs, options.gpus) == (None, 1, None),
        f"--device {options.device}: each dask worker has a GPU of its own; use --device cuda, and choose by "
        "CUDA_VISIBLE_DEVICES": not is_dask or ":" not in options.device,
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        msg = f"{'. '.join(broken)}."
        raise UsageError(msg)
    return ("dask" if is_dask else "local"), workers or options.n_procs


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
    "brain_mask": ("brain_mask",),
    "bias_correction": ("bias_correction",),
    "write_velocity": ("write_velocity",),
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


def _use_work_dir(folder: Path) -> None:
    """Send the temporary files of this process and of those that it starts to a folder.

    Raises
    ------
    OutputError
        If it cannot be made or written to.
    """
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"--work-dir {folder} cannot be written to ({error.strerror}). Choose another, or leave it out."
        raise OutputError(msg) from error
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # it is asked for anew


def _run(config: RunConfig) -> int:
    """Import what the run needs, and no more: torch only where something is computed."""
    wait_asleep()
    if config.work_dir is not None and not config.dry_run:
        _use_work_dir(config.work_dir)
    from rich.console import Console

    from bids_nodereg.app.log import log_to_console

    console = Console(stderr=True)
    log_to_console(console, config.verbosity)
    if config.dry_run:
        from bids_nodereg.app.dry_run import dry_run

        return dry_run(config, Console())
    if config.analysis_level == "group":
        from bids_nodereg.app.group import run_group

        return run_group(config)
    from bids_nodereg.app.run import run_participants

    return run_participants(config, console)
