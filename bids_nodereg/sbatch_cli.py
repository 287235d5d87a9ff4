"""The sub-command ``sbatch``: prints the script of a Slurm array that does a data set."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from bids_nodereg import __version__
from bids_nodereg.app.preconditions import check_is_folder
from bids_nodereg.arguments import (
    LEVELS,
    OneLineParser,
    flag,
    folder,
    is_data_set,
    leading_words,
    positive,
)
from bids_nodereg.durations import as_slurm, seconds_of
from bids_nodereg.errors import UsageError
from bids_nodereg.sbatch_container import (
    image_of,
    is_in_image,
    read_paths,
    refuse_strange_paths,
    templates_of,
    written_paths,
)
from bids_nodereg.sbatch_script import USUAL_WORK_DIR, ArrayJob, script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bids_nodereg.config import Resources, RunConfig

COMMAND = "sbatch"

USUAL_SHARE = 10
"""Participants of a task where nothing is said: so many that the start of a task takes a small part of it."""
MOST_TASKS = 1000
"""Of an array, unless more are asked for: Slurm allows 1,001 where the site has not said otherwise."""
PROGRAM = (sys.executable, "-m", "bids_nodereg")
_MIB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
MIB_IN_MB = 1.048576
"""A MiB in MB: Slurm counts by the one, the program by the other."""
LEAST_MIB = 1024
"""Memory below which no pair can be registered: the program and its libraries take 0.6 GB of it."""
SHORT_S = 600
"""Time of a task below which it may well be that hours were meant."""
_GPU = re.compile(r"gpu(?::(?!\d+$)[\w.-]+)?(?::(\d+))?")


def is_sbatch(argv: Sequence[str]) -> bool:
    """Tell the sub-command from a data set whose folder has its name (see :func:`is_data_set`).

    A level of analysis after two folders is one that is too many, for either.

    Examples
    --------
    >>> is_sbatch(["sbatch", "raw", "out"]), is_sbatch(["raw", "out", "participant"])
    (True, False)
    """
    is_too_many = not LEVELS.isdisjoint(leading_words(argv)[3:])
    return list(argv[:1]) == [COMMAND] and (is_too_many or not is_data_set(argv))


def sbatch(argv: Sequence[str], parse: Callable[[Sequence[str]], RunConfig]) -> int:
    """Print a script for the words after the sub-command's name; returns the exit code. Nothing is written.

    Parameters
    ----------
    argv
        The words; after ``--`` those of each run.
    parse
        Reads the command line of a run, so that what is wrong in it is told now and not by each task.

    Raises
    ------
    NodeRegError
        If the arguments contradict one another, or the data set cannot be used.
    SystemExit
        From argparse, for ``--help``.
    """
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    own, further = words[:end], words[end + 1 :]
    options = _options(own)
    config = parse([str(options.bids_dir), str(options.output_dir), "participant", *further])
    _check(options, config)
    templates = templates_of(options.container, config)
    job = replace(_array_job(options, config, further, _count(config)), templates=templates.folder)
    refuse_strange_paths(job)
    _check_gpus(job.gpus or 0, parse(_words_of_a_task(job)).resources)
    notes = (_short_time(job), templates.note)
    sys.stderr.write("".join(f"nodereg: {note}\n" for note in notes if note))
    sys.stdout.write(script(job, __version__))
    return 0


def _options(words: Sequence[str]) -> argparse.Namespace:
    """Options of the script.

    Raises
    ------
    UsageError
        If there are words that it does not know.
    """
    parser = build_parser()
    options, unknown = parser.parse_known_args(words)
    levels = [word for word in (str(options.output_dir), *unknown) if word in LEVELS]
    if levels:
        msg = (
            f"{COMMAND} takes no level of analysis: leave out {levels[0]!r}. Tasks do 'participant', and the "
            f"head of the script tells how to do 'group'. A data set in a folder {COMMAND} is ./{COMMAND}."
        )
        raise UsageError(msg)
    if unknown:
        parser.error(
            f"unrecognized arguments: {' '.join(unknown)}. Options of the runs stand after --, others of "
            "Slurm go with its own command: sbatch --qos=long FILE"
        )
    return options


def _words_of_a_task(job: ArrayJob) -> list[str]:
    """Command line of the first task, with all that was added to the options."""
    return [str(job.bids_dir), str(job.output_dir), "participant", "--shard", f"1/{job.tasks}", *job.options]


def _short_time(job: ArrayJob) -> str:
    """What to say of a time that may be a slip; empty for all others."""
    if job.time_s is None or job.time_s >= SHORT_S:
        return ""
    return (
        f"--time is {as_slurm(job.time_s)} (hours:minutes:seconds) for each task, as Slurm takes a single "
        "number for minutes. Four hours are 4:00:00."
    )


def _count(config: RunConfig) -> int:
    """Participants that the run has; their images are not looked for."""
    from bids_nodereg.app.jobs import chosen_participants, open_input

    return len(chosen_participants(config, open_input(config)))


def _array_job(
    options: argparse.Namespace, config: RunConfig, further: Sequence[str], participants: int
) -> ArrayJob:
    contained = options.container != "none"
    share = options.participants_per_task or max(USUAL_SHARE, -(-participants // MOST_TASKS))
    directives = (
        f"--{name}={value}"
        for name in ("gres", "partition", "account")
        if (value := getattr(options, name)) is not None
    )
    job = ArrayJob(
        bids_dir=config.bids_dir,
        output_dir=config.output_dir,
        participants=participants,
        tasks=min(participants, options.tasks or -(-participants // share)),
        program=PROGRAM,
        container=options.container,
        image=image_of(options.container, options.image or ""),
        paths=read_paths(further, config) if contained else (),
        writable=written_paths(config) if contained else (),
        work_dir=options.work_dir or USUAL_WORK_DIR,
        directives=tuple(directives),
        max_running=options.max_running,
        time_s=options.time,
        mem_mib=options.mem,
        cpus=options.cpus_per_task,
        gpus=_gpus(options.gres or ""),
    )
    chosen = (*_resources(job, config.resources), *further)
    return replace(job, options=chosen)


def _resources(job: ArrayJob, said: Resources) -> Iterator[str]:
    """Options of each run that tell it what the task has, unless they are given."""
    if job.time_s is not None and said.time_limit_s is None:
        yield from ("--time-limit", as_slurm(job.time_s - job.notice_s))
    if said.dask_scheduler is not None:
        return  # the pairs are done elsewhere, with what is there
    if job.cpus is not None and said.n_cpus is None and said.omp_nthreads is None:
        yield from ("--n-cpus", str(job.cpus))
    if job.mem_mib is not None and said.mem_mb is None:
        yield from ("--mem-mb", str(int(job.mem_mib * MIB_IN_MB * 0.95)))  # MiB to MB, and some for the shell
    if job.gpus and said.device == "auto" and said.gpus is None:
        is_shared_out = job.gpus > 1 and said.executor == "local"  # dask starts a worker for each by itself
        yield from ("--gpus", str(job.gpus)) if is_shared_out else ("--device", "cuda")


def _gpus(gres: str) -> int:
    """GPUs that a task is given.

    Examples
    --------
    >>> [_gpus(text) for text in ("gpu:1", "gpu:a100:2", "gpu", "ssd:1,gpu:4", "ssd:1")]
    [1, 2, 1, 4, 0]
    >>> [_gpus(text) for text in ("gpu:1g.5gb:2", "gpu:3090:1", "gpu:2080ti", "gpu:2080ti:3")]
    [2, 1, 1, 3]
    """
    found = [_GPU.fullmatch(word) for word in gres.split(",")]
    return sum(int(match[1] or 1) for match in found if match)


def _check_gpus(gpus: int, resources: Resources) -> None:
    """Refuse what the GPUs of a task are too few for, or cannot share; they need not be in this machine.

    Parameters
    ----------
    gpus
        Of a task; none where nothing was said, and then nothing is known.
    resources
        Of the run, with all that was added to the options.

    Raises
    ------
    UsageError
        If each task would end with that.
    """
    if not gpus or resources.dask_scheduler is not None:
        return
    from bids_nodereg.app.gpus import asked_gpus, option_of, processes_on

    number = resources.device.partition(":")[2]
    asked = asked_gpus(resources)
    if number.isdecimal() and int(number) >= gpus:
        msg = f"--device {resources.device}: --gres gives each task {gpus} GPU(s), counted from 0. "
        msg += "Leave the option out."
        raise UsageError(msg)
    if isinstance(asked, int) and asked > gpus:
        msg = (
            f"{option_of(resources)} {asked}: --gres gives each task {gpus} GPU(s). Ask for as many there, "
            "or leave the option out."
        )
        raise UsageError(msg)
    if asked is not None:
        processes_on(resources, gpus if asked == "all" else asked)


def _check(options: argparse.Namespace, config: RunConfig) -> None:
    """Refuse what cannot be in a script of an array."""
    if (options.container == "none") is not (options.image is None):
        msg = f"--container {options.container} " + ("needs" if options.image is None else "takes no")
        msg = f"{msg} --image. Give both of them, or none."
        raise UsageError(msg)
    if options.container == "none" and is_in_image():
        msg = (
            "This program runs in a container, and tasks outside it do not have its Python. Say how they are "
            "to run it: --container apptainer --image FILE.sif, or --container docker --image NAME."
        )
        raise UsageError(msg)
    if config.selection.shard != (1, 1):
        msg = "--shard: the script says it, for each task. Leave it out."
        raise UsageError(msg)
    check_is_folder(config.output_dir)
    if config.dry_run:
        msg = "--dry-run: the tasks are to register. Run it by itself, before."
        raise UsageError(msg)
    _refuse_more_than_given(options, config.resources)
    if config.work_dir is not None:
        msg = "--work-dir stands before --, for the script: each task gets a folder of its own in it."
        raise UsageError(msg)
    if options.container == "docker" and config.resources.dask_scheduler is not None:
        msg = (
            "--dask-scheduler does not go with --container docker: its containers have no network. Use "
            "--container apptainer, or none."
        )
        raise UsageError(msg)


def _refuse_more_than_given(options: argparse.Namespace, resources: Resources) -> None:
    """Refuse runs that are to take more than Slurm gives their task."""
    taken = {
        "--mem-mb": (resources.mem_mb, "--mem", options.mem and options.mem * MIB_IN_MB),
        "--n-cpus": (resources.n_cpus, "--cpus-per-task", options.cpus_per_task),
    }
    for option, (wanted, limit, given) in taken.items():
        if wanted and given and wanted > given:
            msg = f"{option} {wanted} is more than {limit} gives a task ({given:.0f}). Leave {option} out."
            raise UsageError(msg)


def build_parser() -> argparse.ArgumentParser:
    """Options of the script; those of the runs stand after ``--``."""
    parser = OneLineParser(
        prog=f"bids-nodereg {COMMAND}",
        usage="bids-nodereg sbatch BIDS_DIR OUTPUT_DIR [options] [-- options of each run]",
        description="Print the script of a Slurm array that registers a data set: each task does a part of "
        "the participants, ends before its time is over, and goes on where it ended when it is started "
        "again. Nothing is written or submitted, and Slurm is not needed.",
        epilog="Options of each run are those of the ordinary command, such as --preset fast; see "
        "bids-nodereg --help. Other options of Slurm can be given to its own sbatch with the script. "
        "Details: docs/clusters.md. "
        "Exit codes: 0 done, 16 invalid BIDS, 18 nothing selected, 64 usage, 66 input missing.",
    )
    text = "the BIDS data set, seen by all nodes"
    parser.add_argument("bids_dir", type=folder, metavar="BIDS_DIR", help=text)
    text = "where the derivatives go, seen by all nodes"
    parser.add_argument("output_dir", type=folder, metavar="OUTPUT_DIR", help=text)
    _add_program(parser)
    _add_array(parser)
    return parser


def _add_program(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how the program is run")
    text = "none (default): the Python that prints this"
    flag(group, "--container", choices=("none", "docker", "apptainer"), default="none", help=text)
    text = "of the container: for apptainer a file, or a name with ://; for docker a name"
    flag(group, "--image", metavar="IMAGE", help=text)
    text = (
        "folder on the node for what is temporary, removed afterwards; may begin with a variable, such as "
        "'$SLURM_TMPDIR' (default: TMPDIR, else /tmp)"
    )
    flag(group, "--work-dir", type=_for_the_shell, metavar="DIR", help=text)


def _add_array(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("array and resources")
    how_many = group.add_mutually_exclusive_group()
    text = f"default {USUAL_SHARE}, more where that makes over {MOST_TASKS} tasks"
    flag(how_many, "--participants-per-task", type=positive, metavar="N", help=text)
    flag(how_many, "--tasks", type=positive, metavar="N", help="instead: the number of tasks")
    flag(group, "--max-running", type=positive, metavar="N", help="tasks at a time, at most")
    flag(group, "--time", type=seconds_of, metavar="TIME", help="of a task, as Slurm: minutes, or 4:00:00")
    flag(group, "--mem", type=_mebibytes, metavar="SIZE", help="memory of a task, such as 16G")
    flag(group, "--cpus-per-task", type=positive, metavar="N", help="cores of a task")
    text = "such as gpu:1; of several GPUs each gets a process of its own"
    flag(group, "--gres", type=_gres, metavar="LIST", help=text)
    flag(group, "--partition", type=_plain_word, metavar="NAME", help="where to run")
    flag(group, "--account", type=_plain_word, metavar="NAME", help="who pays")


def _plain_word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.,:@+=/-]*", text):
        msg = f"expected a word of letters, digits and . , : @ + = / - _, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return text


def _gres(text: str) -> str:
    """Read resources of any name; those that are GPUs by any spelling have to be so for Slurm."""
    for word in _plain_word(text).split(","):
        name = re.split(r"[:=]", word)[0].lower().removeprefix("gres/")
        match = _GPU.fullmatch(word)
        if name in {"gpu", "gpus"} and (match is None or not int(match[1] or 1)):
            msg = f"expected gpu:N or gpu:TYPE:N with N of 1 or more, got {word!r}. Without GPU, leave it out"
            raise argparse.ArgumentTypeError(msg)
    return text


def _mebibytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMGT]?)", text)
    size = int(int(match[1]) * _MIB[match[2] or "M"]) if match else 0
    if not size:
        msg = f"expected a size in MiB or with K, M, G or T, such as 16G, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    if size < LEAST_MIB:
        meant = f" (did you mean {text}G?)" if text.isdecimal() else ""
        msg = f"expected at least 1G, which the smallest pair needs, got {size} MiB{meant}"
        raise argparse.ArgumentTypeError(msg)
    return size


def _for_the_shell(text: str) -> str:
    """Quote a folder but for the variable that it may begin with."""
    match = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})(/[^\n\r]*)?", text, flags=re.ASCII)
    if match is not None:
        rest = match[3] or ""
        return f'"${{{match[1] or match[2]}:?}}"' + (shlex.quote(rest) if rest else "")
    if not text.startswith("/") or {"\n", "\r"} & set(text):
        msg = f"expected an absolute path or $VARIABLE[/folder], got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return shlex.quote(text)
