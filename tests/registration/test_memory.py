"""The estimate of the memory against that of real registrations, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest

from bids_nodereg.config import PRESETS
from bids_nodereg.registration.memory import peak_bytes
from bids_nodereg.registration.settings import (
    CaptureSettings,
    DescriptorSettings,
    Level,
    RegistrationSettings,
)

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ((80, 96, 88), (128, 112, 120))
WITHIN = 0.25

CHILD = """
import re
import torch
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.register import register
from tests.registration.test_memory import CHOICES, short

def pair(shape):
    coarse = torch.rand(1, 1, *[size // 4 for size in shape], generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(coarse, shape, mode="trilinear")
    mask = torch.zeros_like(image)
    mask[..., 8:-8, 8:-8, 8:-8] = 1
    return ImagePair(image, 1 - image, mask, mask.clone())

settings = short(CHOICES[{choice!r}])
register(pair({shape!r}), settings)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


_USUAL = PRESETS["default"].registration
CHOICES = {
    "default": _USUAL,
    "paper": PRESETS["paper"].registration,
    "search": replace(_USUAL, capture=CaptureSettings(reach=6)),
    "dense": replace(_USUAL, descriptor=replace(_USUAL.descriptor, name="mind", search_radius=2)),
}


def short(settings: RegistrationSettings) -> RegistrationSettings:
    """Two iterations a level, and few steps: the memory of a registration without its time."""
    levels = tuple(Level(level.shrink, 2) for level in settings.levels)
    return replace(
        settings, levels=levels, solver=replace(settings.solver, steps=min(4, settings.solver.steps))
    )


@lru_cache(maxsize=8)
def measured(choice: str, shape: tuple[int, int, int]) -> int:
    """Largest resident memory in bytes."""
    command = [sys.executable, "-c", CHILD.format(choice=choice, shape=shape)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=250)
    return int(result.stdout.split()[-1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system tells no peak of the memory")
@pytest.mark.parametrize(
    ("choice", "shape"),
    [
        ("default", SHAPES[0]),
        ("default", SHAPES[1]),
        ("paper", SHAPES[0]),
        ("search", SHAPES[0]),
        ("dense", SHAPES[0]),
    ],
)
def test_the_estimate_is_within_a_quarter(choice: str, shape: tuple[int, int, int]) -> None:
    assert peak_bytes(shape, CHOICES[choice]) == pytest.approx(measured(choice, shape), rel=WITHIN)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system tells no peak of the memory")
def test_what_grows_with_the_image_is_right_by_itself() -> None:
    settings = PRESETS["default"].registration
    found = measured("default", SHAPES[1]) - measured("default", SHAPES[0])
    expected = peak_bytes(SHAPES[1], settings) - peak_bytes(SHAPES[0], settings)

    assert expected == pytest.approx(found, rel=2 * WITHIN)


def test_memory_grows_with_voxels_and_with_what_is_chosen() -> None:
    usual = RegistrationSettings()
    start = peak_bytes((2, 2, 2), usual)
    small, large = (peak_bytes((n, n, n), usual) - start for n in (128, 256))

    assert large == pytest.approx(8 * small, rel=0.1)
    for changed in (
        replace(usual, levels=(Level(1, 10),), velocity=replace(usual.velocity, lattice=1)),
        replace(usual, velocity=replace(usual.velocity, channels=32)),
        replace(usual, velocity=replace(usual.velocity, time_parts=3)),
        replace(usual, descriptor=DescriptorSettings(name="contrastive+mind-ssc")),
        replace(usual, descriptor=DescriptorSettings(name="mind", search_radius=1)),
    ):
        assert peak_bytes((128, 128, 128), changed) > peak_bytes((128, 128, 128), usual)


def test_a_laptop_and_a_small_card_hold_a_head_at_1_mm() -> None:
    head = (256, 256, 256)

    assert peak_bytes(head, RegistrationSettings()) < 6 << 30
    assert peak_bytes(head, RegistrationSettings(), "cuda") < 8 << 30
