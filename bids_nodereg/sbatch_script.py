"""The script of a Slurm array that does a data set: its text, from a record of what it is to do."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bids_nodereg.durations import as_slurm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Container = Literal["none", "docker", "apptainer"]

LONGEST_NOTICE_S = 120
"""Time before the end of a task at which Slurm tells the program so."""
USUAL_WORK_DIR = '"${TMPDIR:-/tmp}"'
"""Folder for what is temporary, as the shell reads it."""
MOST_REQUEUES = 10
"""How often a task that ran out of time puts itself back into the queue."""


@dataclass(frozen=True)
class ArrayJob:
    """What an array of tasks is to do, and with what.

    Attributes
    ----------
    bids_dir, output_dir
        Absolute paths; in a container they are the same.
    participants, tasks
        How many; task I does the I-th of so many parts.
    program
        Words that start the program where there is no container.
    options
        Further words of the command line of each task.
    container, image
        How the program is run, and from what.
    paths, writable
        What the options name, to be read in the container, and folders to be written to.
    templates
        Folder of TemplateFlow's templates, to be read in the container; None for those of the image alone.
    work_dir
        Folder on the node in which each task has one of its own, as the shell is to read it.
    directives
        Words for Slurm that stand for themselves, such as ``--partition=gpu``.
    max_running
        Tasks at a time; None for as many as there is room for.
    time_s
        What a task may take, in seconds; None for what the partition allows.
    mem_mib
        Memory of a task, in MiB; None for what the partition gives.
    cpus, gpus
        Cores and GPUs of a task; None for what the partition gives.
    """

    bids_dir: Path
    output_dir: Path
    participants: int
    tasks: int
    program: tuple[str, ...]
    options: tuple[str, ...] = ()
    container: Container = "none"
    image: str = ""
    paths: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    templates: Path | None = None
    work_dir: str = USUAL_WORK_DIR
    directives: tuple[str, ...] = ()
    max_running: int | None = None
    time_s: int | None = None
    mem_mib: int | None = None
    cpus: int | None = None
    gpus: int | None = None

    @property
    def notice_s(self) -> int:
        """Seconds before its end at which a task is told; a quarter of a very short one."""
        return LONGEST_NOTICE_S if self.time_s is None else min(LONGEST_NOTICE_S, self.time_s // 4)

    @property
    def share(self) -> int:
        """Participants of a task, at most."""
        return -(-self.participants // self.tasks)


def script(job: ArrayJob, version: str) -> str:
    """Give the text of the script.

    Every path and option in it is quoted, so that the shell takes none for anything else.
    """
    parts = (_heading(job, version), _directives(job), _preparation(job), _command(job), _course())
    return "\n".join(parts)


def _heading(job: ArrayJob, version: str) -> str:
    group = " ".join((*_start(job), _quoted([str(job.bids_dir), str(job.output_dir), "group"])))
    place = [word for word in job.directives if word.startswith(("--partition=", "--account="))]
    later = ["--dependency=afterany:JOB", "--job-name=nodereg-group", "--output=nodereg_group_%j.log", *place]
    return f"""\
#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions that signals call
# nodereg {version}: {job.participants} participant(s) in {job.tasks} task(s) of at most {job.share}.
# Submit this file with sbatch. Submitted again, it passes over what is done. A task has the same participants
# in whatever array: sbatch --array=3,7 FILE does tasks 3 and 7 again.
# When all tasks have ended, one table and one page of all participants:
#   {group}
# The same as a job that waits for the array, with the number that sbatch has told in place of JOB:
#   {_quoted(["sbatch", *later, "--wrap", group])}"""


def _directives(job: ArrayJob) -> str:
    throttle = "" if job.max_running is None else f"%{job.max_running}"
    resources = {
        "time": None if job.time_s is None else as_slurm(job.time_s),
        "mem": None if job.mem_mib is None else f"{job.mem_mib}M",
        "cpus-per-task": job.cpus,
    }
    words = [
        "--job-name=nodereg",
        f"--array=1-{job.tasks}{throttle}",
        "--output=nodereg_%A_%a.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{job.notice_s}",
        *(f"--{name}={value}" for name, value in resources.items() if value is not None),
        *job.directives,
    ]
    return "\n".join(f"#SBATCH {word}" for word in words)


def _preparation(job: ArrayJob) -> str:
    remove_container = '    docker rm --force "$name" >/dev/null 2>&1\n' if job.container == "docker" else ""
    name = _NAME if job.container == "docker" else ""
    gpus = _GPUS if job.container == "docker" and job.gpus else ""
    temporary = 'export TMPDIR="$scratch"\n' if job.container == "none" else ""
    return f"""
set -u
task=${{SLURM_ARRAY_TASK_ID:?submit this file with sbatch}}
{gpus}mkdir -p -- {_quoted([str(folder) for folder in (job.output_dir, *job.writable)])} || exit 73
mkdir -p -- {job.work_dir} || exit 73
scratch=$(mktemp -d -- {job.work_dir}/nodereg-XXXXXXXX) || exit 73
{name}{temporary}child=
told=
stopped=

clean() {{
{remove_container}    rm -rf -- "$scratch"
}}

# Pass a signal on to the program, which then ends with 75.
pass() {{
    told=1
    [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null
}}

end_of_time() {{
    pass USR1
}}

stop() {{
    stopped=1
    pass TERM
}}
"""


def _command(job: ArrayJob) -> str:
    """Lines of the array of words: those for the container, then the program's own."""
    lines = [
        *_container_lines(job),
        _quoted([str(job.bids_dir), str(job.output_dir), "participant"]),
        f'--shard "$task/{job.tasks}"',
        *([_quoted(job.options)] if job.options else []),
    ]
    return "command=(\n" + "\n".join(f"    {line}" for line in lines) + "\n)\n"


def _container_lines(job: ArrayJob) -> list[str]:
    if job.container == "none":
        return [_quoted(job.program)]
    binds = [_quoted([_BIND[job.container], _bind(job.bids_dir, read_only=True)])]
    binds += [_quoted([_BIND[job.container], _bind(path, read_only=True)]) for path in job.paths]
    if job.templates is not None:
        bind = _bind(job.templates, read_only=True)
        binds.append(_quoted([_BIND[job.container], bind, "--env", f"TEMPLATEFLOW_HOME={job.templates}"]))
    written = (*job.writable, job.output_dir)
    binds += [_quoted([_BIND[job.container], _bind(path, read_only=False)]) for path in written]
    if job.container == "docker":
        return [
            'docker run --rm --name "$name" --network none --read-only',
            '--user "$(id -u):$(id -g)" --volume "$scratch:/tmp"',
            *_docker_limits(job),
            *binds,
            _quoted([job.image]),
        ]
    gpu = ['--nv ${CUDA_VISIBLE_DEVICES+--env "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES"}']
    return [
        'apptainer run --cleanenv --containall --workdir "$scratch" --pwd /tmp',
        *(gpu if job.gpus else []),
        *binds,
        _quoted([job.image]),
    ]


_BIND: dict[Container, str] = {"docker": "--volume", "apptainer": "--bind"}
_NAME = """\
name=nodereg-$SLURM_JOB_ID
# If this script was killed in an earlier turn of the task, its container may still run.
docker rm --force "$name" >/dev/null 2>&1
"""
_GPUS = """\
# Docker counts all GPUs of the node, Slurm those of a job from 0; other names are the same for both.
case ${CUDA_VISIBLE_DEVICES:?} in
    *[!0-9,]*) gpus=$CUDA_VISIBLE_DEVICES ;;
    *) gpus=${SLURM_JOB_GPUS:-$CUDA_VISIBLE_DEVICES} ;;
esac
"""


def _docker_limits(job: ArrayJob) -> list[str]:
    """Limits for Docker, whose processes are none of the job's, so that Slurm cannot limit them."""
    lines = []
    if job.cpus is not None:
        lines.append(f"--cpus {job.cpus}")
    if job.mem_mib is not None:
        lines.append(f"--memory {job.mem_mib}m")
    if job.gpus:
        # a list of devices has commas, which Docker takes for its own unless they are in quotes
        lines.append('--gpus "\\"device=$gpus\\""')
    return lines


def _course() -> str:
    return f"""\
trap clean EXIT
trap end_of_time USR1
trap stop TERM

"${{command[@]}}" &
child=$!
# A signal ends the waiting, and not the program: wait for it again.
while told=; wait "$child"; code=$?; [ -n "$told" ]; do :; done
child=

# Out of time, and not cancelled or pre-empted, about which Slurm decides itself: go on in another turn.
# (SLURM_JOB_ID would not do: that of the last task is the whole array's. 138 is that of a program which was
# told to end before it could hear it.)
if [[ "$code" =~ ^(75|138)$ && -z "$stopped" && "${{SLURM_RESTART_COUNT:-0}}" -lt {MOST_REQUEUES} ]]; then
    clean
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$task" && echo "nodereg: task $task is in the queue again."
fi
exit "$code"
"""


def _start(job: ArrayJob) -> tuple[str, ...]:
    """Start of the command line by hand, for the level of the group, as the shell is to read it."""
    if job.container == "none":
        return (_quoted(job.program),)
    folders = (_bind(job.bids_dir, read_only=True), _bind(job.output_dir, read_only=False))
    binds = [_quoted([_BIND[job.container], folder]) for folder in folders]
    if job.container == "docker":
        return ('docker run --rm --user "$(id -u):$(id -g)"', *binds, _quoted([job.image]))
    return ("apptainer run --cleanenv", *binds, _quoted([job.image]))


def _bind(path: Path, *, read_only: bool) -> str:
    return f"{path}:{path}" + (":ro" if read_only else "")


def _quoted(words: Sequence[str]) -> str:
    return shlex.join(words)
