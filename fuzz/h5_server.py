"""The program that reads HDF5, begun once and forked for each file: as bounded as ever, and far sooner.

``python -m fuzz.h5_server SOCKET`` is the side that forks. The other side stands in for
:func:`bids_nodereg.children.child` where :mod:`bids_nodereg.imaging.h5_parts` starts the program.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import h5py  # noqa: F401 - so that no fork has to
import numpy as np  # noqa: F401

from bids_nodereg.imaging import h5_parts, h5_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SECONDS = "1"
"""Of processor time for each file; the program has ten, which a file that loops for ever takes."""
LONGEST_REQUEST = 65536


@dataclass
class Served:
    """What the reader sees of a process."""

    stdout: IO[bytes]
    returncode: int = 0

    def wait(self) -> None:
        """Need nothing: its end is waited for where the block ends."""


class Reader:
    """Starts the server, and gives a process for each file."""

    def __init__(self) -> None:
        self._own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", "fuzz.h5_server", str(theirs.fileno())]
        self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()])  # noqa: S603
        theirs.close()
        self.endings: dict[str, int] = {}

    @contextmanager
    def child(self, words: Sequence[str], *, stdout: int, stderr: IO[bytes], env: Any) -> Iterator[Served]:  # noqa: ARG002
        """Stand in for :func:`bids_nodereg.children.child`."""
        path, voxels = words[2:4]
        reading, writing = os.pipe()
        socket.send_fds(self._own, [f"{voxels} {path}".encode()], [writing, stderr.fileno()])
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            served = Served(stream)
            yield served
        served.returncode = int(self._own.recv(100))
        self._count(served.returncode)

    def _count(self, code: int) -> None:
        known = {0: "read", h5_program.REFUSED: "refused"}
        name = known.get(code) or (signal.Signals(-code).name if code < 0 else f"exit code {code}")
        self.endings[name] = self.endings.get(name, 0) + 1

    def close(self) -> None:
        """End the server."""
        self._own.close()
        self._process.wait()


@contextmanager
def forked_reader() -> Iterator[Mapping[str, int]]:
    """Let HDF5 be read by forks; gives how often they ended in which way, by then."""
    reader, usual = Reader(), h5_parts.child
    h5_parts.child = reader.child  # type: ignore[assignment]
    try:
        yield reader.endings
    finally:
        h5_parts.child = usual
        reader.close()


def _serve(control: socket.socket) -> None:
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, LONGEST_REQUEST, 2)
        if not request:
            return
        voxels, _, path = request.decode().partition(" ")
        pid = os.fork()
        if pid == 0:
            for number, descriptor in enumerate(descriptors, 1):
                os.dup2(descriptor, number)
            _be_the_program(path, voxels)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        control.send(str(os.waitstatus_to_exitcode(status)).encode())


def _be_the_program(path: str, voxels: str) -> None:
    code = 1
    try:
        code = h5_program.main([path, voxels, SECONDS])
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - as the interpreter would end
        sys.stderr.write(f"{type(error).__name__}: {error}")
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
