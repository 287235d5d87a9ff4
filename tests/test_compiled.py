from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from numba.core import caching

from bids_nodereg import compiled as module
from bids_nodereg.compiled import compiled

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    import pytest

LOOP = """
from bids_nodereg.compiled import compiled

@compiled()
def double(x):
    return 2 * x
"""


def imported(path: Path) -> ModuleType:
    """A file as a new process would import it."""
    module._sources.cache_clear()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def was_kept(path: Path) -> bool:
    """Whether the loop of a file ran without being compiled."""
    loop = imported(path).double
    assert loop(3) == 6
    return sum(loop.stats.cache_hits.values()) == 1


def test_compiled_code_is_kept_until_a_file_of_its_folder_changes(tmp_path: Path) -> None:
    loop, helper = tmp_path / "a_loop.py", tmp_path / "a_helper.py"
    loop.write_text(LOOP)
    helper.write_text("STEP = 1\n")

    assert not was_kept(loop)
    assert was_kept(loop)
    helper.write_text("STEP = 2\n")
    os.utime(helper, (1, 1))
    assert not was_kept(loop)
    assert was_kept(loop)


def test_without_a_place_to_keep_it_the_loop_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    @compiled(fastmath={"contract"})
    def triple(x: float) -> float:
        return 3 * x

    assert triple(2.0) == 6.0
    assert not triple.stats.cache_path
