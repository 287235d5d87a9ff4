from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small arrays, shared cores: two OpenMP threads that wait for each other take ten times as long.

    Numba first, as the start of its OpenMP threads sets torch's number too.
    """
    before = torch.get_num_threads(), numba.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    yield
    numba.set_num_threads(before[1])
    torch.set_num_threads(before[0])
