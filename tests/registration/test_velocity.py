from __future__ import annotations

import pytest
import torch

from bids_nodereg.registration.settings import VelocitySettings
from bids_nodereg.registration.velocity import RIM_VOXELS, VELOCITIES, VelocityField, boundary_window
from tests.registration.fields import SHAPE, noise, smooth_velocity

NAMES = sorted(VELOCITIES)
SMALL = (11, 14, 9)


def make(name: str, shape: tuple[int, int, int] = SMALL, seed: int = 3, **changes: float) -> VelocityField:
    torch.manual_seed(seed)
    settings = VelocitySettings(name=name, channels=4, bottleneck=5, **changes)
    return VelocityField(torch.zeros(1, 3, *shape), settings, working_voxels_per_voxel=2)


def train(field: VelocityField, iterations: int) -> list[torch.Tensor]:
    """Pull the field towards noise; return it before each step."""
    truth = noise(*field.base.shape, dtype=torch.float32)
    optimiser = torch.optim.Adam(field.networks.parameters(), lr=0.01)
    seen = []
    for _ in range(iterations):
        velocity = field()
        seen.append(velocity.detach())
        optimiser.zero_grad()
        (velocity - truth).square().mean().backward()
        optimiser.step()
    return seen


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [SMALL, (5, 17, 8), (2, 3, 2), SHAPE])
def test_every_field_starts_at_zero_with_the_shape_of_its_lattice(
    name: str, shape: tuple[int, int, int]
) -> None:
    velocity = make(name, shape)()

    assert velocity.shape == (1, 3, *shape)
    assert velocity.dtype == torch.float32
    assert not velocity.any()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_gradient_after_one_step(name: str) -> None:
    field = make(name)

    train(field, 2)

    parameters = dict(field.networks[0].named_parameters())
    assert parameters
    for label, parameter in parameters.items():
        assert parameter.grad is not None, label
        assert bool(torch.isfinite(parameter.grad).all()), label
        assert float(parameter.grad.abs().max()) > 0, label


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_field_moves_inside_and_rests_on_the_boundary(name: str) -> None:
    field = make(name)

    seen = train(field, 25)
    velocity = field().detach()

    for axis in (2, 3, 4):
        for end in (0, -1):
            assert not velocity.select(axis, end).any()
    assert float(velocity[..., 3:-3, 3:-3, 3:-3].abs().mean()) > 0.01
    truth = noise(*velocity.shape, dtype=torch.float32)
    assert (velocity - truth).square().mean() < (seen[0] - truth).square().mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_everything(name: str) -> None:
    first, second = (torch.stack(train(make(name), 3)) for _ in range(2))

    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["decoder", "nodeo"])
def test_another_seed_is_another_start(name: str) -> None:
    assert not torch.equal(train(make(name), 3)[-1], train(make(name, seed=4), 3)[-1])


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_kept_and_not_optimised(name: str) -> None:
    base = smooth_velocity(SMALL, 2, 1.5).float()
    field = VelocityField(base, VelocitySettings(name=name), working_voxels_per_voxel=2)

    assert torch.equal(field(), base)
    train(field, 2)
    assert torch.equal(field.base, base)
    assert all(parameter is not field.base for parameter in field.parameters())


def test_smoothing_acts_before_the_window() -> None:
    rough, smooth = make("grid", smoothing_sigma=0.0), make("grid", smoothing_sigma=1.5)
    for field in (rough, smooth):
        field.networks[0].vectors.data = noise(1, 3, *SMALL, dtype=torch.float32) - 0.5

    inner = (..., slice(4, -4), slice(4, -4), slice(4, -4))
    assert torch.equal(rough(), rough.window * rough.networks[0].vectors)
    assert float(smooth()[inner].detach().std()) < 0.3 * float(rough()[inner].detach().std())
    assert not smooth()[:, :, 0].any()


def test_the_window_is_a_smoothstep_over_the_rim_in_working_voxels() -> None:
    for scale in (1.0, 2.0, 4.0):
        window = boundary_window((41, 35, 37), scale)[0, 0]
        profile = window[:, 17, 18]

        depth = torch.arange(21) * scale / RIM_VOXELS
        ramp = depth.clamp(max=1)
        torch.testing.assert_close(profile[:21], ramp**2 * (3 - 2 * ramp), rtol=0, atol=1e-6)
        assert torch.equal(profile, profile.flip(0))
        assert float(profile[0]) == 0
        assert float(profile[20]) == 1
    assert window.shape == (41, 35, 37)


def test_the_window_of_a_small_lattice_is_zero_on_all_six_faces_only() -> None:
    window = boundary_window((5, 7, 3), 2.0)[0, 0]

    assert int((window > 0).sum()) == 3 * 5 * 1
    assert bool((window[1:-1, 1:-1, 1:-1] > 0).all())
