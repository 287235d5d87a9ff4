"""Files spoiled at random, a few thousand with a fixed seed: each is read, or refused by one of our errors.

``make fuzz`` does the same for hours, guided by coverage (fuzz/README.md).
"""

from __future__ import annotations

import random
import resource

import pytest

from fuzz.targets import TARGETS

COUNTS = {
    "image": 800,
    "field": 200,
    "composite": 200,
    "affine-text": 200,
    "matlab": 200,
    "json": 150,
    "table": 400,
    "settings": 60,
    "weights": 400,
}
MEMORY = 2**28


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path, name, outcome):
    target, rng = TARGETS[name], random.Random(20261122)  # noqa: S311 - no secret
    seeds = target.seeds()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with target.around():
        for _ in range(COUNTS[name]):
            target.run(target.mutate(rng.choice(seeds), rng), tmp_path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY
    outcome("fuzz", f"{name}: changed at random", "read, or refused by one of our errors", None, COUNTS[name])


def test_the_seeds_themselves_are_sound():
    """What is spoiled was whole before: most changes would otherwise be of no use."""
    assert set(COUNTS) == set(TARGETS)
    assert all(target.seeds() for target in TARGETS.values())
