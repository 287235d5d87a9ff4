"""The fixture that records what was tried and how it ended (:mod:`tests.outcomes`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.outcomes import TABLE, VARIABLE, Outcome, append, lacking

if TYPE_CHECKING:
    from collections.abc import Callable


def pytest_configure(config: pytest.Config) -> None:
    # a busy machine is no fault: neither of an example nor of drawing it
    settings.register_profile("nodereg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("nodereg")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run only what records when recording."""
    if os.environ.get(VARIABLE):
        others = [item for item in items if "outcome" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture
def outcome() -> Callable[..., None]:
    """Tell what was tried and how it ended: ``outcome(kind, case, result, code=None, count=1)``.

    Where nothing is recorded, a case that the committed table does not name fails its test.
    """

    def tell(kind: str, case: str, result: str, code: int | None = None, count: int = 1) -> None:
        row = Outcome(kind, case, result, code, count)
        if path := os.environ.get(VARIABLE):
            append(Path(path), row)
        else:
            assert not lacking(TABLE.read_text("utf-8"), [row]), f"{TABLE} lacks {case!r}: run make outcomes"

    return tell
