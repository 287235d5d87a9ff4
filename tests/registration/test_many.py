"""Many pairs at a time: each has the numbers it has alone, whatever the others do."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

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


@pytest.mark.usefixtures("interleaved")
def test_an_error_that_is_not_the_images_loses_no_other_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a card whose memory is full: it comes in the middle, while another pair is under way."""
    real, calls = door.diffeomorphic_maps, []

    def short_of_memory(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            msg = "CUDA out of memory"
            raise torch.OutOfMemoryError(msg)
        return real(*given)

    monkeypatch.setattr(door, "diffeomorphic_maps", short_of_memory)
    results = list(register_many([pairs()[0]] * 3, SETTINGS, together=2))
    monkeypatch.undo()

    assert [type(result) for result in results] == [torch.OutOfMemoryError, Registration, Registration]
    assert same(results[1], results[2])  # type: ignore[arg-type]


def test_the_one_pair_of_register_has_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def short_of_memory(*_given: Any) -> None:
        msg = "CUDA out of memory"
        raise torch.OutOfMemoryError(msg)

    monkeypatch.setattr(door, "diffeomorphic_maps", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        register(pairs()[0], SETTINGS)


def test_images_on_two_grids_are_refused() -> None:
    pair = pairs()[0]
    other = replace(pair, moving=pair.moving[..., 1:], moving_mask=pair.moving_mask[..., 1:])
    with pytest.raises(ValueError, match="must lie on one grid"):
        register(other, SETTINGS)


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_many_pairs_take_turns_on_as_many_streams_as_there_are_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch keeps the memory in reserve for each stream apart: one for each pair would fill the card."""
    pair = pairs()[0]
    there = ImagePair(*(t.cuda() for t in (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask)))
    made: list[Any] = []
    real = torch.cuda.Stream
    monkeypatch.setattr(torch.cuda, "Stream", lambda *given: made.append(given) or real(*given))
    list(register_many([there] * 5, SETTINGS, together=2))
    assert len(made) == 2
