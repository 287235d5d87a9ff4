"""The command line: arguments to a RunConfig, errors to one line of text and an exit code."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bids_nodereg import apply_cli, evaluate_cli
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
from bids_nodereg.errors import NodeRegError, ShortOfMemoryError, TemporaryError, UsageError
from bids_nodereg.interruption import end_on_signals
from bids_nodereg.options import build_parser
from bids_nodereg.plain_text import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

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
        resources=Resources(
            options.device, _threads(options), options.n_procs, options.isolate, options.mem_mb
        ),
        derivatives=dict(options.derivatives),
        bids_database_dir=options.bids_database_dir,
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
    raw, out = config.bids_dir.resolve(), config.output_dir.resolve()
    if out == raw or (out.is_relative_to(raw) and out.relative_to(raw).parts[0].startswith("sub-")):
        msg = f"OUTPUT_DIR {config.output_dir} is part of the input {raw}, which is never written to. "
        msg += "Choose another, such as BIDS_DIR/derivatives/nodereg."
        raise UsageError(msg)
    return config


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


def _threads(options: argparse.Namespace) -> int | None:
    """Threads of each pair: its share of all, and no more than one may have; None where nothing is said."""
    share = None if options.n_cpus is None else max(1, options.n_cpus // options.n_procs)
    return min((number for number in (options.omp_nthreads, share) if number is not None), default=None)


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
