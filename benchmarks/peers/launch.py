"""Run one method on one case and count what it cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_nodereg.imaging.maps import DisplacementField
from bids_nodereg.imaging.transforms import read_displacement_nifti, write_displacement_nifti
from peers.methods import ADAPTERS
from peers.ours import register_ours
from peers.prepare import IMAGES

if TYPE_CHECKING:
    from bids_nodereg.geometry import Grid
    from peers.methods import Method
    from peers.prepare import CaseFiles

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
BENCHMARKS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Cost:
    """What a whole process took, start of the interpreter and reading of the images included."""

    cpu_s: float
    wall_s: float
    peak_mb: float | None


@dataclass(frozen=True, eq=False)
class Found:
    """Fields on the case's grid, and what they cost."""

    forward: DisplacementField
    inverse: DisplacementField | None
    cost: Cost | None
    note: dict[str, Any]


class MethodFailedError(RuntimeError):
    """A method ended without a field; the message holds the end of what it printed."""


def find_field(
    method: Method, files: CaseFiles, grid: Grid, out: Path, limit_s: float, threads: int
) -> Found:
    """Run a method in a process of its own; its fields stay in ``out``.

    Raises
    ------
    MethodFailedError
        If it fails or takes longer than the limit.
    """
    out.mkdir(parents=True, exist_ok=True)
    if method.name == "affine":
        return Found(_zero(grid), _zero(grid), None, {})
    with TemporaryDirectory(dir=out) as scratch:
        cost = run_measured(_command(method, files, out, Path(scratch), threads), out, limit_s, threads)
    note_file = out / "field.json"
    note = {"threads": threads} | (json.loads(note_file.read_text()) if note_file.is_file() else {})
    return Found(_read_field(out / "field.nii", grid), _read_inverse(out, grid), cost, note)


def find_field_here(method: Method, files: CaseFiles, out: Path, threads: int) -> Found:
    """Run our own method in this process: saves the start of an interpreter, peak memory unknown."""
    began = time.perf_counter(), time.process_time()
    forward, inverse = register_ours(files, method.name, threads)
    cost = Cost(time.process_time() - began[1], time.perf_counter() - began[0], None)
    write_displacement_nifti(out / "field.nii", forward)
    write_displacement_nifti(out / "inverse.nii", inverse)
    return Found(forward, inverse, cost, {"threads": threads, "in_process": True})


def kept_field(method: Method, grid: Grid, out: Path) -> Found:
    """Read what an earlier run left in its folder."""
    if method.name == "affine":
        return Found(_zero(grid), _zero(grid), None, {})
    result = json.loads((out / "result.json").read_text())
    cost = Cost(**result["cost"]) if result.get("cost") else None
    return Found(_read_field(out / "field.nii", grid), _read_inverse(out, grid), cost, result.get("note", {}))


def _command(method: Method, files: CaseFiles, out: Path, scratch: Path, threads: int) -> list[str]:
    common = ["--threads", str(threads)]
    if method.script is None:
        what = [files.case.name, method.name, str(files.folder), str(out)]
        return [sys.executable, "-m", "peers.run_ours", *what, *common]
    images = [part for name in IMAGES for part in (f"--{name.replace('_', '-')}", str(files.path(name)))]
    places = ["--out", str(out / "field.nii"), "--scratch", str(scratch)]
    options = ["--options", json.dumps(dict(method.options))]
    return [os.environ["PEERS_PYTHON"], str(ADAPTERS / method.script), *images, *places, *common, *options]


def run_measured(command: list[str], out: Path, limit_s: float, threads: int) -> Cost:
    """Run a command, its output in ``log.txt``; the cost is that of the process and its children."""
    began = time.perf_counter()
    log, cost_file = out / "log.txt", out / "cost.json"
    measured = [sys.executable, "-I", "-S", str(Path(__file__).with_name("measured.py")), str(cost_file)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            measured + command,
            stdout=output,
            stderr=output,
            env=_environment(ours=command[0] == sys.executable, threads=threads),
            start_new_session=True,  # so that the command ends with its measurer
        )
        try:
            status = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
    if status != 0:
        end = log.read_text(errors="replace")[-600:]
        seconds = time.perf_counter() - began
        msg = f"ended with {status} after {seconds:.0f} s (limit {limit_s:.0f} s): {end}"
        raise MethodFailedError(msg)
    return Cost(**json.loads(cost_file.read_text()))


def _environment(*, ours: bool, threads: int) -> dict[str, str]:
    """Environment of a method: its threads, and no packages of ours where another program runs."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"OMP_WAIT_POLICY": "passive"}
    paths = environment.pop("PYTHONPATH", None)
    if ours:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(BENCHMARKS), paths)))
    return environment


def _read_field(path: Path, grid: Grid) -> DisplacementField:
    """Read a field and hold it to the grid of the case.

    Raises
    ------
    MethodFailedError
        If it lies elsewhere or holds numbers that are none.
    """
    field = read_displacement_nifti(path)
    if not field.grid.is_close(grid, tolerance_mm=1e-2):
        msg = f"{path.name} is not on the grid of the case: {field.grid.affine.tolist()}"
        raise MethodFailedError(msg)
    if not np.isfinite(field.vectors).all():
        msg = f"{path.name} holds numbers that are none"
        raise MethodFailedError(msg)
    return DisplacementField(grid, field.vectors)


def _read_inverse(out: Path, grid: Grid) -> DisplacementField | None:
    """Inverse field where the method gave one."""
    path = out / "inverse.nii"
    return _read_field(path, grid) if path.is_file() else None


def _zero(grid: Grid) -> DisplacementField:
    return DisplacementField(grid, np.zeros((*grid.shape, 3), np.float32))
