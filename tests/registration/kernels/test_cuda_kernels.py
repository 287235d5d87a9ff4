"""The Triton kernels, in a process of their own: under Triton's interpreter, and on a GPU if there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed (Linux only)")


def run(*command: str, **environment: str) -> str:
    """Standard output of a Python program in a process of its own, which must succeed."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**kept, **one_thread, **environment},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def run_checks(**environment: str) -> None:
    told = run(
        "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(FOLDER / "cuda_checks.py"), **environment
    )
    assert " passed" in told
    assert "skipped" not in told


@pytest.mark.timeout(600)
def test_every_kernel_under_the_interpreter() -> None:
    run_checks(TRITON_INTERPRET="1")


@pytest.mark.timeout(600)
def test_every_kernel_compiles_without_a_gpu(tmp_path: Path) -> None:
    if tuple(map(int, version("triton").split(".")[:2])) < (3, 4):
        pytest.skip("Triton before 3.4 describes what is compiled in another way")

    told = run(str(FOLDER / "cuda_compiled.py"), TRITON_CACHE_DIR=str(tmp_path))

    # Of 16 operations and most of their gradients.
    assert int(told.split()[0]) > 25


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.timeout(600)
def test_every_kernel_on_the_gpu() -> None:
    run_checks()
