"""The fixture that records what was tried and how it ended (:mod:`tests.outcomes`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.outcomes import VARIABLE, Outcome, append

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED = pytest.StashKey[list[Outcome]]()
LAST = "test_the_committed_table_names_every_recorded_case"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORDED] = []
    # a busy machine is no fault: neither of an example nor of drawing it
    settings.register_profile("nodereg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("nodereg")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run only what records when recording; and the check of the table after all that record."""
    if os.environ.get(VARIABLE):
        others = [item for item in items if "outcome" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    items.sort(key=lambda item: item.name == LAST)


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Tell what was tried and how it ended: ``outcome(kind, case, result, code=None, count=1)``."""

    def tell(kind: str, case: str, result: str, code: int | None = None, count: int = 1) -> None:
        row = Outcome(kind, case, result, code, count)
        request.config.stash[RECORDED].append(row)
        if path := os.environ.get(VARIABLE):
            append(Path(path), row)

    return tell


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> list[Outcome]:
    """All that was told so far in this session."""
    return request.config.stash[RECORDED]
