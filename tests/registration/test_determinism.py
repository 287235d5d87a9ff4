"""The same numbers again: in one process, in another, with other threads, on a GPU, with graphs or not."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.register import Registration, register
from bids_nodereg.registration.settings import Execution, Level, RegistrationSettings
from tests.registration.fields import known_pair

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = RegistrationSettings(levels=(Level(2, 10), Level(1, 2)))
THREADS_VOXELS = 0.01
"""Mean distance of the maps that another number of threads may make, as docs/method.md says."""
DEVICE_VOXELS = 0.05
"""The same of a GPU and a CPU."""

CHILD = """
import torch, numba
torch.set_num_threads({threads}); numba.set_num_threads({threads})
from tests.registration.test_determinism import SETTINGS, digest
from tests.registration.fields import known_pair
from bids_nodereg.registration.register import register
found = [register(known_pair()[0], SETTINGS) for _ in range({times})]
torch.save(found[0].forward, {path!r})
print(*map(digest, found))
"""


def digest(found: Registration) -> str:
    content = b"".join(t.cpu().numpy().tobytes() for t in (found.forward, found.inverse, found.velocity))
    return hashlib.sha256(content).hexdigest()


def in_a_process(threads: int, path: Path, times: int = 1) -> list[str]:
    """Digests of registrations in one process, which keeps the first forward field."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", CHILD.format(threads=threads, times=times, path=str(path))]
    result = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=250
    )
    return result.stdout.split()


def test_another_process_gives_the_same_bits(tmp_path: Path) -> None:
    first, second = (digest(register(known_pair()[0], SETTINGS)) for _ in range(2))

    assert first == second
    assert in_a_process(1, tmp_path / "field.pt") == [first]


def test_two_threads_repeat_themselves_and_differ_little_from_one(tmp_path: Path) -> None:
    alone = register(known_pair()[0], SETTINGS).forward

    first, second = in_a_process(2, tmp_path / "field.pt", times=2)

    assert first == second
    gap = (torch.load(tmp_path / "field.pt", weights_only=True) - alone).norm(dim=1)
    assert float(gap.mean()) < THREADS_VOXELS
    assert float(alone.norm(dim=1).mean()) > 20 * THREADS_VOXELS


def on_gpu(pair: ImagePair) -> ImagePair:
    return ImagePair(*(t.cuda() for t in (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("graphs", [False, True])
def test_a_gpu_repeats_its_own_bits_and_is_near_the_cpu(graphs: bool) -> None:
    pair, _ = known_pair()
    execution = Execution(graphs=graphs)

    first, second = (register(on_gpu(pair), SETTINGS, execution=execution) for _ in range(2))

    assert digest(first) == digest(second)
    assert first.remarks == ()
    gap = (first.forward.cpu() - register(pair, SETTINGS).forward).norm(dim=1)
    assert float(gap.mean()) < DEVICE_VOXELS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_graphs_and_the_host_give_the_same_bits() -> None:
    pair = on_gpu(known_pair()[0])
    settings = replace(SETTINGS, convergence_tolerance=0.0)

    by_host, replayed = (register(pair, settings, execution=Execution(graphs=g)) for g in (False, True))

    assert digest(by_host) == digest(replayed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_bfloat16_changes_the_maps_little() -> None:
    pair = on_gpu(known_pair()[0])

    single, mixed = (register(pair, SETTINGS, execution=Execution(mixed=m)) for m in (False, True))

    assert float((single.forward - mixed.forward).norm(dim=1).mean()) < DEVICE_VOXELS
