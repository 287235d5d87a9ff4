"""A Slurm cluster of its own on this machine: a controller and some nodes, for the time of a test.

Each node lives in a PID namespace, so that a node can be switched off as a power cut does it, with all that
runs on it, and nothing outlives the test: whatever ends this process ends the namespaces too. Debian's
packages ``slurmctld slurmd slurm-client munge`` are all that is needed, and root.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "unshare", "setpriv")
PATIENCE_S = 60.0
"""How long anything is waited for if not told otherwise."""
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}
UNTIL_I_END = ("setpriv", "--pdeathsig", "KILL")
APART = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
CONFIGURATION = """\
ClusterName=nodereg
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# The second number is also how long a requeued job waits at least.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
SlurmdTimeout=6
KillWait=5
# Ended jobs stay known.
MinJobAge=86400
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
MailProg=/bin/true
GresTypes=gpu
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=64000 Gres=gpu:1"
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")
"""In place of graphics cards: Slurm only asks that the files exist."""


@dataclass(frozen=True)
class Task:
    """A task of an array, as the controller knows it.

    Attributes
    ----------
    index
        Its number in the array.
    state
        Slurm's word, such as ``RUNNING``.
    exit_code
        Of its script; negative for a signal.
    restarts
        How often it was begun again.
    node
        Where it runs or ran last.
    """

    index: int
    state: str
    exit_code: int
    restarts: int
    node: str


def why_not() -> str:
    """Why no cluster can be had here; empty where one can."""
    if os.geteuid() != 0:
        return "only root can run slurmd"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return (
            f"{', '.join(missing)} not installed; Debian: apt-get install slurmctld slurmd slurm-client munge"
        )
    if subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        return "no PID namespace can be made here"
    return ""


class Machine:
    """The running cluster; to be had from :func:`slurm_machine`."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = ExitStack()
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        self.conf.write_text(_configuration(folder, self.nodes))
        devices = zip(self.nodes, DEVICES, strict=False)
        (folder / "gres.conf").write_text("".join(f"NodeName={n} Name=gpu File={d}\n" for n, d in devices))

    def start(self) -> None:
        """Start all, and wait until every node takes jobs."""
        words = ("key-file", "munge.key"), ("socket", "munge.socket"), ("seed-file", "munge.seed")
        files = [f"--{word}={self.folder / name}" for word, name in (*words, ("pid-file", "munged.pid"))]
        self._start("munged", ["munged", "--foreground", "--force", *files])
        self.wait("munged", (self.folder / "munge.socket").exists)
        self._start("slurmctld", ["slurmctld", "-D", "-i", "-f", str(self.conf)])
        for node in self.nodes:
            self.switch_on(node)
        self.wait("nodes", lambda: self._idle() == len(self.nodes))

    def stop(self) -> None:
        """End all daemons and all that their nodes run."""
        for name in [*self.nodes, "slurmctld", "munged"]:
            self._end(name)
        self._logs.close()

    def switch_on(self, node: str) -> None:
        """Start a node."""
        slurmd = f"slurmd -D -N {node} -f '{self.conf}' & wait $!"  # the shell takes in orphans, as init does
        self._start(node, [*APART, "bash", "-c", slurmd])

    def switch_off(self, node: str) -> None:
        """End a node and all that runs there at once, as a power cut does."""
        self._end(node)

    def submit(self, script: Path, *options: str) -> int:
        """Submit a batch script; the number of the job.

        Raises
        ------
        AssertionError
            If it is refused, with what sbatch said.
        """
        return int(self.ask("sbatch", "--parsable", *options, str(script)))

    def ask(self, *words: str) -> str:
        """What a client program of Slurm prints.

        Raises
        ------
        AssertionError
            If it fails, with what it said.
        """
        environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=environment, timeout=PATIENCE_S
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def tasks(self, job: int) -> dict[int, Task]:
        """All tasks of an array, by number."""
        columns = "ArrayTaskID:.16,State:.16,exit_code:.16,RestartCnt:.16,NodeList:.16"
        rows = self.ask(
            "squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", f"--Format={columns}"
        )
        tasks = (_task(row.split()) for row in rows.splitlines())
        return {task.index: task for task in tasks}

    def wait(self, what: str, condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
        """Wait until something is so.

        Raises
        ------
        AssertionError
            If it is not so in time, with the state of the cluster.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not after {seconds:.0f} s\n{self._state()}"
            time.sleep(0.1)

    def wait_for_end(self, job: int, seconds: float = PATIENCE_S) -> dict[int, Task]:
        """Wait until all tasks of an array have ended; gives them."""
        self.wait(
            f"end of job {job}", lambda: all(t.state in ENDED for t in self.tasks(job).values()), seconds
        )
        return self.tasks(job)

    def processes(self, job: int, index: int, word: str) -> list[int]:
        """Processes of a task that have a word in their command line, as numbers of this namespace."""
        marks = {f"SLURM_ARRAY_JOB_ID={job}", f"SLURM_ARRAY_TASK_ID={index}", f"SLURM_CONF={self.conf}"}
        return [pid for pid in _numbers() if _is_of(pid, marks, word)]

    def _start(self, name: str, words: list[str]) -> None:
        log = self._logs.enter_context((self.folder / f"{name}.log").open("ab"))
        environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        self._running[name] = subprocess.Popen(
            [*UNTIL_I_END, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the test, which then ends all
        )

    def _end(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        inside = _children(process.pid)
        process.kill()
        process.wait()
        self.wait(f"end of {name}", lambda: not any(_lives(pid) for pid in inside))

    def _idle(self) -> int:
        with suppress(AssertionError):  # the controller is not there yet
            return self.ask("sinfo", "--noheader", "--Node", "--format=%T").split().count("idle")
        return 0

    def _state(self) -> str:
        with suppress(AssertionError):
            return self.ask("squeue", "--array", "--states=all") + "\n" + self.ask("sinfo")
        return (self.folder / "slurmctld.log").read_text()


@contextmanager
def slurm_machine(nodes: int = 2) -> Iterator[Machine]:
    """A cluster for as long as the block lasts; each node has four processors and one make-believe GPU."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:  # a short path: the socket's must be
        machine = Machine(Path(folder), nodes)
        try:
            machine.start()
            yield machine
        finally:
            machine.stop()


def _configuration(folder: Path, nodes: tuple[str, ...]) -> str:
    host = platform.node().partition(".")[0]
    port, *ports = _free_ports(1 + len(nodes))
    rows = [NODE.format(name=name, host=host, port=each) for name, each in zip(nodes, ports, strict=True)]
    return CONFIGURATION.format(folder=folder, host=host, port=port, nodes="\n".join(rows))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _task(columns: list[str]) -> Task:
    """A task of a row of squeue; one that waits has no node yet."""
    index, state, status, restarts, *node = columns
    return Task(int(index), state, _exit_code(int(status)), int(restarts), node[0] if node else "")


def _exit_code(status: int) -> int:
    return os.waitstatus_to_exitcode(status)


def _numbers() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _is_of(pid: int, marks: set[str], word: str) -> bool:
    with suppress(OSError):  # it may end meanwhile
        folder = Path(f"/proc/{pid}")
        if word.encode() in (folder / "cmdline").read_bytes():
            return marks <= set((folder / "environ").read_text("utf-8", "replace").split("\0"))
    return False


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
