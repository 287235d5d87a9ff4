"""Many pairs at a time: each has the numbers it has alone, whatever the others do."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch

from bids_nodereg.registration import register as door
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.register import Registration, register, register_many
from bids_nodereg.registration.settings import (
    DescriptorSettings,
    Level,
    RegistrationSettings,
    VelocitySettings,
)
from tests.registration.fields import known_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = RegistrationSettings(
    levels=(Level(4, 6), Level(2, 3)), descriptor=DescriptorSettings(lmi_weight=0.0), convergence_window=2
)


def pairs() -> list[ImagePair]:
    pair, _ = known_pair()
    return [pair, pair.swapped(), replace(pair, moving=pair.moving.flip(2))]


def same(one: Registration, other: Registration) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("forward", "inverse", "velocity")
    )


@pytest.fixture
def interleaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pairs on the CPU take turns as those on a GPU do."""

    class Work(door._Work):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            self.on_gpu = True

    monkeypatch.setattr(door, "_Work", Work)


@pytest.mark.parametrize("name", ["decoder", "nodeo"])
@pytest.mark.usefixtures("interleaved")
def test_pairs_that_take_turns_have_the_numbers_they_have_alone(name: str) -> None:
    settings = replace(SETTINGS, velocity=VelocitySettings(name=name))  # type: ignore[arg-type]
    heard: list[int] = []

    together = list(register_many(pairs(), settings, lambda number, _step: heard.append(number), together=2))

    changes = sum(one != other for one, other in pairwise(heard))
    assert changes > 4  # they did take turns
    assert heard.index(2) > heard.index(1) > heard.index(0)
    for found, pair in zip(together, pairs(), strict=True):
        assert isinstance(found, Registration)
        assert same(found, register(pair, settings))


def test_on_the_cpu_one_comes_after_the_other_and_is_asked_for_when_it_is_its_turn() -> None:
    events: list[str] = []

    def told() -> Iterator[ImagePair]:
        for number, pair in enumerate(pairs()):
            events.append(f"asked {number}")
            yield pair

    for number, found in enumerate(register_many(told(), SETTINGS)):
        assert isinstance(found, Registration)
        events.append(f"done {number}")

    assert events == [f"{word} {number}" for number in range(3) for word in ("asked", "done")]


@pytest.mark.parametrize("turns", [False, True])
def test_a_pair_that_cannot_be_used_stops_no_other(turns: bool, request: pytest.FixtureRequest) -> None:
    if turns:
        request.getfixturevalue("interleaved")
    good, bad = pairs()[0], replace(pairs()[1], moving=torch.full_like(pairs()[1].moving, math.nan))

    results = list(register_many([bad, good, bad, good], SETTINGS, together=3))

    assert [type(result) for result in results] == [FloatingPointError, Registration] * 2
    assert same(results[1], results[3])  # type: ignore[arg-type]


def test_nothing_is_registered_of_nothing() -> None:
    assert list(register_many([], SETTINGS)) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_streams_make_no_difference() -> None:
    settings = replace(SETTINGS, descriptor=DescriptorSettings())
    there = [
        ImagePair(*(t.cuda() for t in (p.fixed, p.moving, p.fixed_mask, p.moving_mask))) for p in pairs()
    ]

    together = list(register_many(there, settings, together=3))

    for found, pair in zip(together, there, strict=True):
        assert isinstance(found, Registration)
        assert same(found, register(pair, settings))
