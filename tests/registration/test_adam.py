"""Our door to Adam: the steps of torch's own, and nothing loaded that is not used."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from bids_nodereg.registration.adam import Adam, cosine
from tests.registration.fields import noise


def weights() -> list[torch.Tensor]:
    """Two types and sizes; the last one never gets a gradient."""
    made = [noise(3, 4, 5), noise(7).float(), noise(2, 9, seed=1).float(), noise(3, seed=2)]
    return [weight.requires_grad_() for weight in made]


def loss(leaves: list[torch.Tensor], number: int) -> torch.Tensor:
    """A valley that moves; the second weight has no part in the first iterations."""
    used = [leaves[0], leaves[2]] if number < 3 else leaves[:3]
    return torch.stack([(leaf.double() - 0.1 * number).cosh().sum() for leaf in used]).sum()


def test_the_steps_are_those_of_torch_to_the_last_bit() -> None:
    rates = [0.1, 0.1, 0.02, 0.3, 0.05, 0.0, 0.1]
    ours, theirs = weights(), weights()
    mine, torchs = Adam(ours), torch.optim.Adam(theirs, fused=True)
    for number, rate in enumerate(rates):
        mine.forget_gradients()
        loss(ours, number).backward()
        mine.step(rate)
        torchs.zero_grad()
        torchs.param_groups[0]["lr"] = rate
        loss(theirs, number).backward()
        torchs.step()

    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], weights()[0])
    assert torch.equal(ours[3], weights()[3])


def test_the_rate_falls_along_half_a_cosine_as_that_of_torch() -> None:
    optimiser = torch.optim.Adam([torch.zeros(1)], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 9, eta_min=0.03)
    theirs = []
    for _ in range(9):
        theirs.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()

    assert [cosine(0.3, 0.03, step, 9) for step in range(9)] == pytest.approx(theirs)


def test_an_iteration_loads_no_compiler_of_torch() -> None:
    """It takes a second that a first iteration waits for, and memory; this test says where it comes back."""
    program = (
        "import sys, torch\n"
        "from bids_nodereg.registration.register import register\n"
        "from bids_nodereg.registration.image_pair import ImagePair\n"
        "from bids_nodereg.registration.settings import Level, RegistrationSettings\n"
        "one = torch.rand(1, 1, 12, 12, 12)\n"
        "whole = torch.ones_like(one)\n"
        "register(ImagePair(one, one.flip(2), whole, whole), RegistrationSettings(levels=(Level(1, 2),)))\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split()[-1:] == ["False"], done.stderr[-2000:]
